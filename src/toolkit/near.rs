//! Images that are the same or nearly so: found by their digest and their perceptual hash, put into
//! groups.

use super::{
    CHUNK, Run,
    hash::Hash,
    load::{Loaded, of_size},
};
use crate::{
    Result,
    dataset::Sample,
    preprocess::{DecodeLimits, RgbImage, decode_into},
    types::ImageSize,
};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fs,
};

/// Bits of a hash.
pub const HASH_BITS: u32 = 256;
/// Bits in which near-duplicates differ at most, unless the user says otherwise.
pub const DEFAULT_DISTANCE: u32 = 20;

/// What decoding an image tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    pub(super) size: ImageSize,
    /// SHA-256 of the file.
    pub(super) digest: [u8; 32],
    pub(super) hash: Hash,
}

/// Decodes images and reads their labels; gives them to `take` in their order, with the number of
/// each.
///
/// # Errors
/// [`crate::Error::Interrupted`].
pub(super) fn look_at_all<'a>(
    samples: &[&'a Sample],
    run: &Run<'_>,
    mut take: impl FnMut(usize, &'a Sample, Result<(Seen, Loaded), String>),
) -> Result<()> {
    (run.total)(samples.len() as u64);
    for (chunk, first) in samples.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        let seen: Vec<Result<Result<(Seen, Loaded), String>>> = chunk
            .par_iter()
            .map(|sample| {
                run.go_on()?;
                let seen = look_at(sample);
                (run.done)(seen.is_err());
                Ok(seen)
            })
            .collect();
        for ((at, sample), seen) in (first..).zip(chunk).zip(seen) {
            take(at, sample, seen?);
        }
    }
    Ok(())
}

/// Decodes an image.
///
/// # Errors
/// Why it cannot be read, in words.
fn look_at(sample: &Sample) -> Result<(Seen, Loaded), String> {
    thread_local! {
        static PICTURE: RefCell<RgbImage> = RefCell::new(RgbImage::empty());
    }
    let words = |e: std::io::Error| format!("cannot read the image: {e}");
    // Asked before the file is opened: opening a named pipe would wait for a writer.
    if !fs::metadata(&sample.path).map_err(words)?.is_file() {
        return Err("cannot read the image: it is not a regular file".into());
    }
    let bytes = fs::read(&sample.path).map_err(words)?;
    let digest = Sha256::digest(&bytes).into();
    let (size, hash) = PICTURE.with_borrow_mut(|picture| {
        decode_into(&bytes, &DecodeLimits::default(), picture).map_err(|e| e.to_string())?;
        Ok::<_, String>((picture.size, Hash::of(picture)))
    })?;
    Ok((Seen { size, digest, hash }, of_size(sample, size)))
}

/// Two images whose hashes are near, by their numbers; the first is the smaller one.
pub(super) type Near = (usize, usize, u32);

/// All pairs of images that are the same file, or whose hashes are near ([`Hash::is_near`]), in
/// order. Of several images with one digest or one hash only pairs with the first of them are
/// given: they are all near to what it is near to.
///
/// Hashes that differ in at most `distance` bits agree wholly in one of `distance + 1` parts, so
/// only those that share a part are compared.
pub(super) fn near(images: &[Seen], distance: u32) -> Vec<Near> {
    let mut first_file: HashMap<[u8; 32], usize> = HashMap::new();
    let mut first_of: BTreeMap<Hash, usize> = BTreeMap::new();
    let mut pairs: Vec<Near> = Vec::new();
    for (at, Seen { digest, hash, .. }) in images.iter().enumerate() {
        let same_file = *first_file.entry(*digest).or_insert(at);
        if same_file != at {
            pairs.push((same_file, at, 0));
            continue;
        }
        let first = *first_of.entry(*hash).or_insert(at);
        if first != at && hash.is_near(*hash, distance) {
            pairs.push((first, at, 0));
        }
    }
    let distinct: Vec<(Hash, usize)> = first_of.into_iter().collect();
    let parts = distance as usize + 1;
    let edge = |part: usize| part * HASH_BITS as usize / parts;
    // A part of more than 64 bits is compared by its first 64, which keeps every pair.
    let key = |hash: Hash, part: usize| hash.bits(edge(part), edge(part + 1).min(edge(part) + 64));
    let of_part = |part: usize| {
        let mut keyed: Vec<(u64, usize)> =
            distinct.iter().enumerate().map(|(at, (hash, _))| (key(*hash, part), at)).collect();
        keyed.sort_unstable();
        let mut found = Vec::new();
        for run in keyed.chunk_by(|a, b| a.0 == b.0) {
            for (one, &(_, a)) in run.iter().enumerate() {
                for &(_, b) in &run[one + 1..] {
                    let (a, b) = (distinct[a], distinct[b]);
                    // A pair that shares an earlier part was found there.
                    if a.0.is_near(b.0, distance) && (0..part).all(|earlier| key(a.0, earlier) != key(b.0, earlier)) {
                        found.push((a.1.min(b.1), a.1.max(b.1), a.0.distance(b.0)));
                    }
                }
            }
        }
        found
    };
    if distance > 0 {
        pairs.par_extend((0..parts).into_par_iter().flat_map_iter(of_part));
    }
    pairs.sort_unstable();
    pairs
}

/// Groups of images that are joined by pairs, each sorted, the groups in the order of their first
/// images. Images that are alone are in no group.
pub(super) fn groups(count: usize, pairs: &[Near]) -> Vec<Vec<usize>> {
    let mut above: Vec<usize> = (0..count).collect();
    fn top(above: &mut [usize], mut at: usize) -> usize {
        while above[at] != at {
            above[at] = above[above[at]];
            at = above[at];
        }
        at
    }
    for &(a, b, _) in pairs {
        let (a, b) = (top(&mut above, a), top(&mut above, b));
        // The smaller number stands for the group.
        above[a.max(b)] = a.min(b);
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in 0..count {
        let first = top(&mut above, at);
        if first != at {
            members.entry(first).or_insert_with(|| vec![first]).push(at);
        }
    }
    members.into_values().collect()
}

/// Digest of a file as hexadecimal digits.
pub(super) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn hash(words: [u64; 4]) -> Hash {
        let mut picture = RgbImage::empty();
        picture.size = ImageSize { width: 17, height: 16 };
        // A picture whose hash has these bits: each cell is one pixel.
        for row in 0..16 {
            let mut level: i32 = 128;
            let mut line = vec![level];
            for column in 0..16 {
                let bit = row * 16 + column;
                level += if (words[bit / 64] >> (bit % 64)) & 1 == 1 { 7 } else { -7 };
                line.push(level);
            }
            picture.pixels.extend(line.into_iter().flat_map(|level| [level.clamp(0, 255) as u8; 3]));
        }
        Hash::of(&picture)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_search_finds_what_comparing_all_finds(seed in any::<u64>(), distance in 0u32..40) {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut hashes = Vec::new();
            for _ in 0..12 {
                let base: [u64; 4] = random.random();
                hashes.push(hash(base));
                for flips in [0, 1, 5, 12, 20, 39] {
                    let mut near = base;
                    for _ in 0..flips {
                        let bit = random.random_range(0..256usize);
                        near[bit / 64] ^= 1 << (bit % 64);
                    }
                    hashes.push(hash(near));
                }
            }
            let size = ImageSize { width: 17, height: 16 };
            let seen = |(at, &hash): (usize, &Hash)| Seen { size, digest: [at as u8; 32], hash };
            let images: Vec<Seen> = hashes.iter().enumerate().map(seen).collect();
            let mut expected = Vec::new();
            let first = |at: usize| (0..at).all(|earlier| hashes[earlier] != hashes[at]);
            for a in 0..hashes.len() {
                for b in a + 1..hashes.len() {
                    let bits = hashes[a].distance(hashes[b]);
                    if hashes[a].is_near(hashes[b], distance) && first(a) && (bits == 0 || first(b)) {
                        expected.push((a, b, bits));
                    }
                }
            }
            prop_assert_eq!(near(&images, distance), expected);
        }
    }

    #[test]
    fn groups_are_joined_by_pairs() {
        assert_eq!(groups(8, &[(0, 3, 0), (3, 5, 1), (6, 7, 2), (1, 0, 0)]), [vec![0, 1, 3, 5], vec![6, 7]]);
        assert!(groups(3, &[]).is_empty());
    }
}
