//! The images of a cache, as images to run a model on once more.

use crate::{
    Error, Result,
    cache::{CacheReader, images_root},
    dataset::{DataSource, Dataset, Sample, refuse_if_moved},
};
use std::collections::HashMap;

/// The ids of a cache's images, in order; none of an empty cache.
///
/// # Errors
/// [`Error::Cache`] for a damaged cache.
pub(crate) fn image_ids(reader: &CacheReader) -> Result<Vec<i64>> {
    let ids = reader.keys().filter_map(|key| match key {
        Ok((id, 0)) => Some(Ok(id)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    Ok(ids.collect::<Result<Vec<i64>, _>>()?)
}

/// As [`image_ids`], of a cache that is to have some.
///
/// # Errors
/// [`Error::Cache`] for a damaged cache, or one without images.
pub(crate) fn cached_ids(reader: &CacheReader) -> Result<Vec<i64>> {
    let ids = image_ids(reader)?;
    if ids.is_empty() {
        return Err(Error::Cache {
            path: reader.folder().to_owned(),
            found: "the cache holds no images".to_owned(),
            remedy: "Finish the build first.".to_owned(),
        });
    }
    Ok(ids)
}

/// Where the pictures of cached images lie: where the cache says, or in `source`, the data set's new place.
///
/// # Errors
/// [`Error::Mismatch`] where an image is not in the cache or not in `source`, [`Error::Dataset`] where the data set has moved.
pub(crate) fn cached_samples(reader: &CacheReader, ids: &[i64], source: Option<&DataSource>) -> Result<Vec<Sample>> {
    let dataset = source.map(Dataset::open).transpose()?;
    let by_path: Option<HashMap<&str, &Sample>> =
        dataset.as_ref().map(|d| d.samples.iter().map(|s| (s.relative.as_str(), s)).collect());
    let root = match &dataset {
        Some(dataset) => dataset.root.clone(),
        None => images_root(reader)?,
    };
    let sample = |&id: &i64| {
        let missing = |found: String| Error::Mismatch {
            found,
            remedy: "Name the data set that the cache was built from with `data=`.".to_owned(),
        };
        let view = reader.image(id, 0)?.ok_or_else(|| missing(format!("image {id} is not in the cache")))?;
        match &by_path {
            Some(samples) => samples
                .get(view.path)
                .map(|sample| (*sample).clone())
                .ok_or_else(|| missing(format!("image {id} ({}) is not in this data set", view.path))),
            None => Sample::of_picture(&root, view.path).map_err(missing),
        }
    };
    let samples = ids.iter().map(sample).collect::<Result<Vec<_>>>()?;
    if by_path.is_none() {
        refuse_if_moved(&root, samples.iter().map(|sample| sample.path.as_path()))?;
    }
    Ok(samples)
}
