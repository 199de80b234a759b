//! What a build will do, told before it starts.

use crate::{Error, Result, augment::with_views, cache::Shard, words::counted};
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use std::{fmt, path::PathBuf, time::Duration};

/// The plan of a build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Teacher, head, input, precision, in words.
    pub teacher: String,
    /// Data set, format, split, in words.
    pub dataset: String,
    /// ONNX Runtime's version, provider and threads, in words.
    pub runtime: String,
    /// Size of the teacher's input and so of every student's, in words.
    pub input: String,
    /// The shard that is built, if it is not the whole.
    pub shard: Option<Shard>,
    /// Samples of the data set, or of the shard.
    pub samples: u64,
    /// Samples that are in the cache already.
    pub already_done: u64,
    /// Samples that failed before and are tried again.
    pub retried: u64,
    /// Samples that this run will work on.
    pub pending: u64,
    /// Views of each image beside the image itself.
    pub views: u32,
    /// Estimated bytes that this run adds.
    pub estimated_bytes: u64,
    /// The most that this run can add.
    pub most_bytes: u64,
    /// Free bytes where the cache lies.
    pub free_bytes: u64,
    /// Estimated time of this run, in seconds.
    pub estimated_s: f64,
    /// What the user should know of the data set, the cache's place and the teacher.
    pub notes: Vec<String>,
    /// What the user must know of the teacher.
    pub warning: Option<String>,
}

impl Plan {
    /// Where the most that can be needed is more than the free space, that is told; a build that runs out of it goes on later.
    ///
    /// # Errors
    /// When the estimate is much more than the free space.
    pub(super) fn refuse_if_it_cannot_fit(&mut self) -> Result<()> {
        // A few images do not speak for all of them: what may fit is begun.
        if self.estimated_bytes / 4 * 3 <= self.free_bytes {
            if self.most_bytes > self.free_bytes {
                self.notes.push(format!(
                    "warning: at most {} could be needed, more than the {} that are free; if the build runs out of \
                     space, run the same command again to resume",
                    HumanBytes(self.most_bytes),
                    HumanBytes(self.free_bytes)
                ));
            }
            return Ok(());
        }
        Err(Error::Mismatch {
            found: format!(
                "{}: the cache needs about {}, but only {} are free",
                self.cache.display(),
                HumanBytes(self.estimated_bytes),
                HumanBytes(self.free_bytes)
            ),
            remedy:
                "Free some space, choose another `out=`, or keep less: `views=`, `top_k=`, `min_score=`, `store=cls`."
                    .into(),
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "teacher   {}", self.teacher)?;
        writeln!(f, "data      {}", self.dataset)?;
        for note in &self.notes {
            writeln!(f, "          note: {note}")?;
        }
        writeln!(f, "runtime   {}", self.runtime)?;
        writeln!(f, "cache     {}; students train from it at {}", self.cache.display(), self.input)?;
        if let Some(shard) = self.shard {
            writeln!(f, "shard     {shard}")?;
        }
        write!(f, "to do     {} of {}", HumanCount(self.pending), counted(self.samples, "image"))?;
        write!(f, "{}", with_views(self.views))?;
        if self.already_done > 0 {
            write!(f, ", {} done before", HumanCount(self.already_done))?;
        }
        if self.retried > 0 {
            write!(f, ", {} failed before and tried again", HumanCount(self.retried))?;
        }
        if self.pending > 0 {
            write!(
                f,
                "\nestimate  {} (at most {}), {} free; about {}",
                HumanBytes(self.estimated_bytes),
                HumanBytes(self.most_bytes),
                HumanBytes(self.free_bytes),
                HumanDuration(Duration::from_secs_f64(self.estimated_s))
            )?;
        }
        Ok(())
    }
}
