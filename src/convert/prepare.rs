//! Everything that can be refused before the first image: direction, state of the cache, place, space.

use super::{ConvertOptions, Target};
use crate::{
    Error, Result,
    cache::{
        self, Manifest, PartEntry,
        columns::{self, RowBytes},
        seen_from,
    },
    dataset::paths,
    fsio::{self, Lock},
    outputs::real_path,
    remote,
    teach::{refuse_foreign_files, refuse_unfinished_shards},
    types::Profile,
};
use indicatif::HumanBytes;
use std::path::Path;

/// A conversion that may start: the new cache's folder is locked.
pub struct Conversion {
    pub(super) options: ConvertOptions,
    pub(super) source: Manifest,
    pub(super) lock: Lock,
    /// Of the new cache, with the parts that an interrupted conversion finished.
    pub(super) manifest: Manifest,
}

impl Conversion {
    /// Checks everything. Creates the new cache's folder and takes its lock, removes what a killed conversion left behind.
    ///
    /// # Errors
    /// Whatever would make the new cache wrong or impossible.
    pub fn prepare(options: ConvertOptions) -> Result<Self> {
        let ConvertOptions { cache, out, target, overwrite } = &options;
        let source = Manifest::load(cache)?;
        source.check_writer_features(cache)?;
        refuse_impossible(cache, &source, *target)?;
        refuse_unfinished(cache, &source)?;
        let (from, to) = (real_path(cache), real_path(out));
        if to.starts_with(&from) || from.starts_with(&to) {
            return Err(Error::Mismatch {
                found: format!("one of {} and {} is inside the other", out.display(), cache.display()),
                remedy: "Choose a separate folder for `out=`.".into(),
            });
        }
        if out.exists() {
            refuse_foreign_files(out)?;
        }
        let mut wanted = source.clone();
        wanted.producer = Manifest::current_producer();
        wanted.set_archive(*target == Target::Archive);
        wanted.dataset = seen_from(&source.dataset, cache, out)?;
        (wanted.complete, wanted.digests) = (false, None);
        wanted.parts.clear();

        fsio::create_folder(out)?;
        let lock = remote::storage(out)?.lock()?;
        if *overwrite {
            cache::clear(&lock)?;
        }
        refuse_unfinished_shards(out)?;
        if let Some(found) = Manifest::load_to_extend(&lock)? {
            wanted.parts = parts_to_keep(out, found, &wanted, &source)?;
        }
        cache::remove_leftovers(&lock, Some(&wanted))?;
        let conversion = Self { options, source, lock, manifest: wanted };
        conversion.refuse_if_it_cannot_fit()?;
        Ok(conversion)
    }

    /// Images of the whole cache.
    pub fn images(&self) -> u64 {
        self.source.images()
    }

    /// Images that an interrupted conversion finished.
    pub fn images_done(&self) -> u64 {
        self.manifest.images()
    }

    /// What the user should know, a line each.
    pub fn notes(&self) -> Vec<String> {
        columns::hidden_by_path(&paths::absolute(&self.options.out)).into_iter().collect()
    }

    /// Parts still to do.
    pub(super) fn pending(&self) -> Vec<&PartEntry> {
        let done = |part: &PartEntry| self.manifest.parts.iter().any(|p| p.name == part.name);
        self.source.parts.iter().filter(|part| !done(part)).collect()
    }

    fn refuse_if_it_cannot_fit(&self) -> Result<()> {
        let needed: u64 = self.pending().iter().map(|part| self.bytes_of(part)).sum();
        let free = fsio::free_space_bytes(&self.options.out)?;
        if needed <= free {
            return Ok(());
        }
        Err(Error::Mismatch {
            found: format!(
                "{}: the new cache needs about {}, but only {} are free",
                self.options.out.display(),
                HumanBytes(needed),
                HumanBytes(free)
            ),
            remedy: "Free some space, or choose another `out=`.".into(),
        })
    }

    /// About how many bytes a part will take.
    fn bytes_of(&self, part: &PartEntry) -> u64 {
        match self.options.target {
            // Real logits leave about three quarters.
            Target::Archive => (part.images_file.bytes + part.predictions_file.bytes) / 4 * 3,
            Target::Unpacked(_) => {
                let (class, dfl) = (self.source.class_len(), self.source.dfl_len());
                let bytes = RowBytes::of(self.source.settings.logits, class);
                // As if every row had class logits: how many have is not known here, and nowhere near all of them have. So no
                // more than real archives grow by.
                let rows = part.rows as f64;
                let most = bytes.of_rows(rows, rows, class, dfl) as u64 + part.images * RowBytes::PER_IMAGE;
                most.min((part.images_file.bytes + part.predictions_file.bytes) / 3 * 5)
            }
        }
    }
}

/// Only what is in a cache can be in the one that is made from it.
fn refuse_impossible(cache: &Path, source: &Manifest, target: Target) -> Result<()> {
    let kept = source.settings.profile;
    let Target::Unpacked(wanted) = target else {
        return if source.is_archive() { Err(same_already(cache, "an archive")) } else { Ok(()) };
    };
    let reason = match (kept, wanted) {
        (a, b) if a == b && source.is_archive() => return Ok(()),
        (a, b) if a == b => return Err(same_already(cache, &format!("a {} cache", a.as_str()))),
        (Profile::Mapped, _) => format!(
            "it keeps at most {} of the teacher's {} anchors of an image, and a dense cache has them all",
            u64::from(source.settings.top_k).min(source.teacher.total_anchors()),
            source.teacher.total_anchors()
        ),
        (Profile::Dense, _) => {
            "a mapped cache holds statistics of the anchors that it drops, computed from the teacher's exact outputs, \
             and a dense cache has these rounded to half precision"
                .to_owned()
        }
    };
    let what = if source.is_archive() { "the archive of a" } else { "a" };
    let possible = if source.is_archive() { kept.as_str() } else { "archive" };
    Err(Error::Mismatch {
        found: format!(
            "{} is {what} {} cache and cannot become a {} one: {reason}",
            cache.display(),
            kept.as_str(),
            wanted.as_str()
        ),
        remedy: format!("Convert it with `profile={possible}`, or build again with `profile={}`.", wanted.as_str()),
    })
}

fn same_already(cache: &Path, what: &str) -> Error {
    Error::Mismatch {
        found: format!("{} is {what} already", cache.display()),
        remedy: "If you need it twice, copy its folder; the files do not depend on their location.".into(),
    }
}

fn refuse_unfinished(cache: &Path, source: &Manifest) -> Result<()> {
    if source.complete && source.digests.is_some() {
        return Ok(());
    }
    Err(Error::Cache {
        path: cache.to_owned(),
        found: format!(
            "this cache is not finished: it has {} of {} images",
            source.images() + source.failures.len() as u64,
            source.dataset.samples
        ),
        remedy: "Run the command that made it again; it resumes where it stopped.".into(),
    })
}

/// The parts of an interrupted conversion of the same cache; anything else that is at --out is refused.
fn parts_to_keep(out: &Path, found: Manifest, wanted: &Manifest, source: &Manifest) -> Result<Vec<PartEntry>> {
    let refused = |what: &str| Error::Cache {
        path: out.to_owned(),
        found: format!("it already holds {what}"),
        remedy: "Choose another `out=`, or replace it with `overwrite=true`.".into(),
    };
    if found.complete {
        return Err(refused("a finished cache"));
    }
    let of_source =
        |part: &PartEntry| source.parts.iter().any(|p| p.name == part.name && p.content_sha256 == part.content_sha256);
    let same = found.format == wanted.format && found.settings_difference(wanted).is_empty();
    if same && found.parts.iter().all(of_source) {
        return Ok(found.parts);
    }
    Err(refused("the unfinished cache of another command"))
}
