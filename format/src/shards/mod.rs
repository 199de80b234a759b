//! A cache that several machines build, each a piece of the list of images: `docs/format.md`, "Shards".
//!
//! Nothing here is ever written twice: the job, the record of each shard and in the end the manifest are put where there is
//! none yet, in one step. So workers may come in any order, twice, and die at any time.

mod cache;
mod publish;

pub use cache::{JOB_NAME, ShardedCache};
pub use publish::Publication;

use crate::{
    Manifest, PartEntry,
    manifest::{DatasetInfo, Settings, Teacher},
    types::Failure,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range, str::FromStr};

/// The folder of the records inside a cache's folder.
pub const SHARDS_FOLDER: &str = "shards";
/// The most shards of one cache.
pub const MAX_SHARDS: u32 = 1_000_000;

/// One of `count` pieces of a list of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: u32,
    count: u32,
}

impl Shard {
    /// Shard `number` of `count`, both from 1 on; `None` where that is no shard.
    pub fn new(number: u32, count: u32) -> Option<Self> {
        ((1..=count).contains(&number) && count <= MAX_SHARDS).then_some(Self { number, count })
    }

    /// Which one, from 1 on.
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The image ids of this shard in a data set of so many samples. The shards' ranges follow each other and differ in length
    /// by one at most; with more shards than samples some are empty.
    pub fn image_ids(self, samples: u64) -> Range<i64> {
        let end_of = |number: u32| (u128::from(samples) * u128::from(number) / u128::from(self.count)) as i64;
        end_of(self.number - 1)..end_of(self.number)
    }

    /// Name of its record in the cache's folder.
    fn record_name(self) -> String {
        format!("{SHARDS_FOLDER}/{:06}-of-{:06}.json", self.number, self.count)
    }

    /// Name of the file that says how far it is.
    fn progress_name(self) -> String {
        format!("{SHARDS_FOLDER}/{:06}-of-{:06}{PROGRESS_SUFFIX}", self.number, self.count)
    }
}

/// What the name of a file ends with that says how far a shard is.
const PROGRESS_SUFFIX: &str = ".progress.json";

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// `3/64`
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed =
            text.split_once('/').and_then(|(number, count)| Self::new(number.parse().ok()?, count.parse().ok()?));
        parsed.ok_or_else(|| format!("expected I/N with whole numbers, I from 1 to N, N up to {MAX_SHARDS}: 3/64"))
    }
}

/// `shards/job.json`: what all shards have in common. The first worker writes it, the others must want the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShardJob {
    /// Version of this file and of the records: 1.
    pub version: u32,
    /// The program and version that wrote it.
    pub producer: String,
    /// Number of shards.
    pub shards: u32,
    /// SHA-256 over path, size and time of the last change of the images and their label files; of more than 100,000 images,
    /// over as many at even distances. Which images there are is in `dataset.samples_sha256`.
    pub files_sha256: String,
    /// As in the manifest.
    pub teacher: Teacher,
    /// As in the manifest.
    pub dataset: DatasetInfo,
    /// As in the manifest.
    pub settings: Settings,
}

impl ShardJob {
    /// The version of [`ShardJob::version`].
    pub const VERSION: u32 = 1;

    /// The job of a build that starts from `manifest`, whose parts do not count.
    pub fn new(manifest: &Manifest, shards: u32, files_sha256: String) -> Self {
        Self {
            version: Self::VERSION,
            producer: Manifest::current_producer(),
            shards,
            files_sha256,
            teacher: manifest.teacher.clone(),
            dataset: manifest.dataset.clone(),
            settings: manifest.settings.clone(),
        }
    }

    /// The manifest that the cache starts from.
    pub fn manifest(&self) -> Manifest {
        Manifest::new(self.teacher.clone(), self.dataset.clone(), self.settings.clone())
    }

    /// Its shards in order.
    pub fn each_shard(&self) -> impl Iterator<Item = Shard> {
        let count = self.shards;
        (1..=count).filter_map(move |number| Shard::new(number, count))
    }
}

/// `shards/<I>-of-<N>.json`: a finished shard. With `.progress.json` instead: the finished parts of one that is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShardRecord {
    /// SHA-256 of the `job.json` that it belongs to.
    pub job_sha256: String,
    /// Which shard, from 1 on.
    pub shard: u32,
    /// Of how many.
    pub shards: u32,
    /// Lowest image id of the shard.
    pub first_image_id: i64,
    /// The image id after its highest; equal to `first_image_id` in a shard without images.
    pub end_image_id: i64,
    /// Its parts, as in the manifest, in order of (first_image_id, name).
    pub parts: Vec<PartEntry>,
    /// Its images that are not in a part, as in the manifest, in order of their ids.
    pub failures: Vec<Failure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_out_every_image_once_in_order() {
        for (samples, count) in [(0, 3), (1, 1), (5, 7), (64, 64), (1000, 7), (50_000_000_000, 999_999)] {
            let mut next = 0;
            let (mut shortest, mut longest) = (i64::MAX, 0);
            for number in 1..=count {
                let range = Shard::new(number, count).unwrap().image_ids(samples);
                assert_eq!(range.start, next);
                next = range.end;
                (shortest, longest) = (shortest.min(range.end - range.start), longest.max(range.end - range.start));
            }
            assert_eq!(next as u64, samples);
            assert!(longest - shortest <= 1);
        }
    }

    #[test]
    fn only_i_of_n_is_a_shard() {
        assert_eq!("3/64".parse(), Ok(Shard { number: 3, count: 64 }));
        assert_eq!("64/64".parse::<Shard>().unwrap().to_string(), "64/64");
        for text in ["0/4", "5/4", "1/0", "1", "/4", "1/", "a/4", "-1/4", "1/4/4", "1/1000001", "1 / 4", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
