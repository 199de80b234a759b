//! JPEGs that lack their end marker or a restart marker: read where every pixel is there, else
//! refused with the true reason.

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
use logitcache::preprocess::{DecodeLimits, RgbImage, decode, size_of};
use std::{fs, path::PathBuf};

const END: &[u8] = &[0xFF, 0xD9];

fn read(file: &[u8]) -> Result<RgbImage, String> {
    decode(file, &DecodeLimits::default()).map_err(|error| error.to_string())
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/good").join(name)).unwrap()
}

/// A picture with some detail everywhere, 70 x 50, so that no part of it compresses to nothing.
fn pixels() -> Vec<u8> {
    (0..70 * 50 * 3)
        .map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 27) as u8 * 4 + (index / 210) as u8)
        .collect()
}

fn encoded(build: impl FnOnce(Encoder<'_>) -> Encoder<'_>) -> Vec<u8> {
    let pixels = pixels();
    build(Encoder::new(&pixels, 70, 50, PixelFormat::Rgb).quality(85).subsampling(Subsampling::S420)).encode().unwrap()
}

/// Whole files of several scans and of one.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files: Vec<(&str, Vec<u8>)> = ["progressive_420.jpg", "grey_progressive.jpg", "cmyk_progressive.jpg"]
        .into_iter()
        .chain(["baseline_420.jpg", "baseline_444.jpg", "grey.jpg", "cmyk_four_scans.jpg", "restart_markers.jpg"])
        .chain(["ycck_420.jpg", "rgb_colourspace.jpg", "orientation_6.jpg"])
        .map(|name| (name, fixture(name)))
        .collect();
    files.push(("progressive", encoded(|e| e.progressive(true))));
    files.push(("progressive 4:4:4", encoded(|e| e.progressive(true).subsampling(Subsampling::S444))));
    files.push(("progressive with restarts", encoded(|e| e.progressive(true).restart_blocks(3))));
    files.push(("optimised", encoded(|e| e.optimize_huffman(true))));
    files.push(("restarts", encoded(|e| e.restart_blocks(2))));
    files
}

#[test]
fn without_an_end_marker_a_whole_file_is_read() {
    for (name, file) in files() {
        let whole = read(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let body = file.strip_suffix(END).unwrap();
        let second = [&fixture("baseline_444.jpg")[..], END].concat();
        for (what, tail) in [
            ("nothing", vec![]),
            ("half a marker", vec![0xFF]),
            ("fill bytes", vec![0xFF; 9]),
            ("one zero", vec![0]),
            ("64 zeros", vec![0; 64]),
            ("many zeros", vec![0; 100_000]),
            ("half a comment", vec![0xFF, 0xFE, 0, 99, b'x']),
            ("a comment", vec![0xFF, 0xFE, 0, 3, b'x']),
            ("a second picture", second),
        ] {
            let cut = [body, &tail].concat();
            let image = read(&cut).unwrap_or_else(|error| panic!("{name} with {what} instead: {error}"));
            assert!(image == whole, "{name} with {what} instead of the marker: other pixels");
            assert_eq!(size_of(&cut, &DecodeLimits::default()).unwrap(), whole.size, "{name}, {what}");
        }
    }
}

/// Never grey, never the blurred picture of the scans before, and never zeros taken for pixels.
#[test]
fn a_cut_file_is_refused_or_whole() {
    for (name, file) in files() {
        let whole = read(&file).unwrap();
        let step = file.len() / 400 + 1;
        for end in (2..file.len()).step_by(step).chain(file.len() - 40..file.len()) {
            for tail in [vec![], vec![0; 2], vec![0; 5_000], vec![0xFF; 30], [vec![0; 99], vec![0xFF; 99]].concat()] {
                match read(&[&file[..end], &tail].concat()) {
                    Ok(image) => {
                        let bytes = file.len();
                        assert!(image == whole, "{name} cut at {end} of {bytes} with {} bytes behind", tail.len());
                    }
                    Err(error) => assert!(error.contains("JPEG"), "{name}: {error}"),
                }
            }
        }
        // In the middle of its last scan.
        let error = read(&file[..file.len() - 12]).unwrap_err();
        assert!(error.ends_with("it ends before its last pixel"), "{name}: {error}");
    }
}

#[test]
fn a_file_cut_between_scans_is_refused() {
    for name in ["progressive_420.jpg", "cmyk_four_scans.jpg", "grey_progressive.jpg"] {
        let file = fixture(name);
        let scans: Vec<usize> = (0..file.len() - 1).filter(|&at| file[at..at + 2] == [0xFF, 0xDA]).collect();
        assert!(scans.len() > 1, "{name}");
        for &scan in &scans[1..] {
            let error = read(&file[..scan]).unwrap_err();
            assert!(error.ends_with("it ends before its last pixel"), "{name} cut at {scan}: {error}");
        }
    }
    // With an end marker OpenCV shows the first scans, and a whole component as grey.
    let file = fixture("cmyk_four_scans.jpg");
    let last = file.windows(2).rposition(|two| two == [0xFF, 0xDA]).unwrap();
    let error = read(&[&file[..last], END].concat()).unwrap_err();
    assert!(error.ends_with("one of its colour components is missing"), "{error}");
}

/// Arithmetic coding may leave out zeros at the end, so nothing tells a whole file from one that is
/// cut.
#[test]
fn arithmetic_coding_needs_its_end_marker() {
    for progressive in [false, true] {
        let file = encoded(|e| e.arithmetic(true).progressive(progressive));
        read(&file).unwrap();
        for end in [file.len() - 2, file.len() - 60, file.len() / 2] {
            let error = read(&file[..end]).unwrap_err();
            assert!(error.contains("no end marker") || error.contains("before its last pixel"), "{error}");
        }
    }
}

/// Where the restart markers of a file are.
fn restarts(file: &[u8]) -> Vec<usize> {
    let scan = file.windows(2).position(|two| two == [0xFF, 0xDA]).unwrap();
    (scan..file.len() - 1).filter(|&at| file[at] == 0xFF && (0xD0..=0xD7).contains(&file[at + 1])).collect()
}

#[test]
fn a_lost_moved_or_damaged_restart_marker_is_named() {
    for (name, file) in files() {
        let markers = restarts(&file);
        if markers.is_empty() {
            continue;
        }
        assert!(markers.len() > 3, "{name}");
        for &at in [&markers[..3], &markers[markers.len() - 2..]].concat().iter() {
            let without = [&file[..at], &file[at + 2..]].concat();
            let twice = [&file[..at + 2], &file[at..]].concat();
            let mut turned_to_data = file.clone();
            turned_to_data[at] = 0x7F;
            let mut stuffed = file.clone();
            stuffed[at + 1] = 0;
            let mut renumbered = file.clone();
            renumbered[at + 1] ^= 3;
            let mut other_marker = file.clone();
            other_marker[at + 1] = 0xC3;
            let cases = [without, twice, turned_to_data, stuffed, renumbered, other_marker];
            for (index, damaged) in cases.iter().enumerate() {
                let error = read(damaged).expect_err(&format!("{name}: restart marker at {at}, fault {index}"));
                assert!(error.contains("restart marker"), "{name}, at {at}, fault {index}: {error}");
            }
        }
        // A part of the pixels between two restart markers is lost.
        let hole = [&file[..markers[1] - 3], &file[markers[1]..]].concat();
        if let Err(error) = read(&hole) {
            assert!(error.contains("some of its pixel data are missing"), "{name}: {error}");
        }
    }
}

#[test]
fn restart_markers_that_no_pixel_needs_do_no_harm() {
    let file = fixture("restart_markers.jpg");
    let whole = read(&file).unwrap();
    let markers = restarts(&file);
    let body = file.strip_suffix(END).unwrap();
    let next = 0xD0 + (markers.len() % 8) as u8;
    for number in [next, 0xD7] {
        assert_eq!(read(&[body, &[0xFF, number], END].concat()).unwrap(), whole, "behind the last pixel");
    }
    assert_eq!(read(&[&file[..markers[0]], &[0xFF; 3], &file[markers[0]..]].concat()).unwrap(), whole, "fill bytes");

    // In a file that announces none.
    let file = fixture("baseline_420.jpg");
    let middle = file.len() - 40;
    assert_ne!(file[middle - 1], 0xFF);
    let error = read(&[&file[..middle], &[0xFF, 0xD0], &file[middle..]].concat()).unwrap_err();
    assert!(error.contains("a restart marker stands among its pixel data where none belongs"), "{error}");
}

#[test]
fn bytes_between_scans_do_no_harm() {
    for name in ["progressive_420.jpg", "cmyk_four_scans.jpg"] {
        let file = fixture(name);
        let whole = read(&file).unwrap();
        let scans: Vec<usize> = (0..file.len() - 1).filter(|&at| file[at..at + 2] == [0xFF, 0xDA]).collect();
        for &scan in &scans {
            for junk in [&[0u8; 20][..], b"some words", &[0xFF; 5], &[0xFF, 0xFE, 0, 5, 1, 2, 3]] {
                assert_eq!(read(&[&file[..scan], junk, &file[scan..]].concat()).unwrap(), whole, "{name} at {scan}");
            }
        }
        // A comment that reaches over the last scan hides it. OpenCV shows the coarser picture of a
        // progressive file and a component in grey.
        let last = scans[scans.len() - 1];
        let length = (file.len() - last) as u16;
        let hidden = [&file[..last], &[0xFF, 0xFE], &length.to_be_bytes()[..], &file[last..]].concat();
        let image = read(&hidden);
        assert_eq!(image.is_ok(), name == "progressive_420.jpg", "{name}: {:?}", image.err());
    }
}
