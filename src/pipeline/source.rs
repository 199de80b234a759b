//! From an image id to model input and labels: what happens to one image before the model sees it.

use crate::{
    augment::{DrawViews as _, Renderer, Scene, Views},
    cache::{ImageKey, MissingLabels, Sha256Bytes, to_hex},
    dataset::{ClassMap, Sample, Truth},
    preprocess::{self, DecodeLimits, InputRule, LetterboxPlan, Preprocessor, RgbImage},
    remote,
    types::{BoxXyxyPx, Failure, FailureStage, ImageSize, TruthBox, ViewChange},
};
use sha2::{Digest, Sha256};
use std::{fs, io::Read, path::Path};

/// Largest image file that is read; more is refused before memory is taken.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The samples of a data set and how they become model input.
pub struct ImageSource<'a> {
    /// Images are asked for by their position here.
    pub samples: &'a [Sample],
    /// `[samples]` their ids, which their views are drawn from; `None`: the positions are the ids.
    pub image_ids: Option<&'a [i64]>,
    /// The model's input.
    pub input: ImageSize,
    /// How images become it.
    pub rule: InputRule,
    /// `None`: labels are not read.
    pub class_map: Option<&'a ClassMap>,
    /// For images without a label file.
    pub missing_labels: MissingLabels,
    /// The views that are asked for beside the images themselves.
    pub views: Views,
}

/// Memory that one decoding task uses again and again.
pub struct Scratch {
    image: RgbImage,
    preprocessor: Preprocessor,
    renderer: Renderer,
    /// Where views are made: the image that lies in `levels`.
    held: Option<Prepared>,
    /// Its letterboxed picture, `[H, W, 3]`.
    levels: Vec<u8>,
    /// A view of it.
    view: Vec<u8>,
}

impl Scratch {
    /// Empty; grows with the pictures.
    fn new(rule: &InputRule) -> Self {
        Self {
            image: RgbImage::empty(),
            preprocessor: Preprocessor::new(rule),
            renderer: Renderer::default(),
            held: None,
            levels: Vec::new(),
            view: Vec::new(),
        }
    }
}

/// An image, or a view of it, on its way to the model.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Position in the data set.
    pub image_id: i64,
    /// 0 for the image as it is.
    pub view: i32,
    /// What makes the view of the letterboxed image.
    pub change: ViewChange,
    /// How it was fitted into the input.
    pub plan: LetterboxPlan,
    /// Relative to the data set.
    pub path: String,
    /// Digest of the image file.
    pub file_sha256: [u8; 32],
    /// Ground truth in the model's class ids, crowd regions included; `None` for an unlabelled image.
    pub truth: Option<Vec<TruthBox>>,
}

impl Prepared {
    /// How boxes of the model's input come into pixels of the image, clipped to it.
    pub fn to_image(&self) -> impl Fn(BoxXyxyPx) -> BoxXyxyPx {
        let (plan, scene) = (self.plan, Scene::of_view(&self.change, 0, self.plan.input));
        move |b| match scene.tiles.first() {
            Some(tile) => plan.to_image(scene.unplace(tile, b)),
            None => plan.to_image(b),
        }
    }
}

impl ImageSource<'_> {
    /// Values of one image's model input: `3 * H * W`.
    pub fn values_per_image(&self) -> usize {
        3 * self.input.height as usize * self.input.width as usize
    }

    /// Memory for [`ImageSource::prepare`].
    pub fn scratch(&self) -> Scratch {
        Scratch::new(&self.rule)
    }

    /// Begins to fetch an image that lies in an object store, and its labels.
    pub(super) fn read_ahead(&self, image_id: i64) {
        let Some(sample) = usize::try_from(image_id).ok().and_then(|i| self.samples.get(i)) else { return };
        remote::read_ahead(&sample.path);
        if let Some(labels) = sample.label_file().filter(|_| self.class_map.is_some()) {
            remote::read_ahead(labels);
        }
    }

    /// Reads, decodes and letterboxes one image, makes the view of it, in `pixels` (`[3, H, W]`, as the rule says), and reads
    /// its labels. An image whose views are asked for one after the other is decoded once.
    ///
    /// # Errors
    /// The image's failure, with the reason.
    pub fn prepare(
        &self,
        (image_id, view): ImageKey,
        scratch: &mut Scratch,
        pixels: &mut [f32],
    ) -> Result<Prepared, Failure> {
        if self.views.count == 0 && view == 0 {
            return self.open(image_id, scratch, |preprocessor, image, plan, _| {
                preprocessor.letterbox_into(image, plan, pixels);
            });
        }
        let held = match scratch.held.take().filter(|held| held.image_id == image_id) {
            Some(held) => held,
            None => self.open(image_id, scratch, |preprocessor, image, plan, levels| {
                levels.resize(self.values_per_image(), 0);
                preprocessor.letterbox_levels_into(image, plan, levels);
            })?,
        };
        let input = held.plan.input;
        let drawn_from = self.image_ids.and_then(|ids| ids.get(usize::try_from(image_id).ok()?)).unwrap_or(&image_id);
        let prepared = Prepared { view, change: self.views.change(*drawn_from, view, input), ..held.clone() };
        let Scratch { preprocessor, renderer, levels, view: out, .. } = scratch;
        if view == 0 {
            preprocessor.levels_into(levels, pixels);
        } else {
            out.resize(levels.len(), 0);
            renderer.render_view(&prepared.change, &Scene::of_view(&prepared.change, 0, input), levels, out);
            preprocessor.levels_into(out, pixels);
        }
        scratch.held = Some(held);
        Ok(prepared)
    }

    /// Reads and decodes one image and its labels; `draw` gets the decoded picture, its place in the input, and the buffer of
    /// levels.
    fn open(
        &self,
        image_id: i64,
        scratch: &mut Scratch,
        draw: impl FnOnce(&mut Preprocessor, &RgbImage, &LetterboxPlan, &mut Vec<u8>),
    ) -> Result<Prepared, Failure> {
        let Some(sample) = usize::try_from(image_id).ok().and_then(|i| self.samples.get(i)) else {
            return Err(self.failure(image_id, FailureStage::Read, "no such image in the data set".into()));
        };
        let fail = |stage, reason| self.failure(image_id, stage, reason);
        let bytes = read_file(&sample.path).map_err(|reason| fail(FailureStage::Read, reason))?;
        let Scratch { image, preprocessor, levels, .. } = scratch;
        preprocess::decode_into(&bytes, &DecodeLimits::default(), image)
            .map_err(|reason| fail(FailureStage::Decode, reason.to_string()))?;
        let truth = self.truth(sample, image.size).map_err(|reason| fail(FailureStage::Labels, reason))?;
        let plan = LetterboxPlan::by(self.rule.fit, image.size, self.input);
        draw(preprocessor, image, &plan, levels);
        Ok(Prepared {
            image_id,
            view: 0,
            change: ViewChange::NONE,
            plan,
            path: sample.relative.clone(),
            file_sha256: Sha256::digest(&bytes).into(),
            truth,
        })
    }

    /// The model input of the first image that can be had: something to run a model on.
    pub fn first_input(&self) -> Option<Vec<f32>> {
        let (mut scratch, mut pixels) = (self.scratch(), vec![0.0; self.values_per_image()]);
        (0..self.samples.len() as i64)
            .find(|&id| self.prepare((id, 0), &mut scratch, &mut pixels).is_ok())
            .map(|_| pixels)
    }

    /// An image's failure, under the path that the cache would show.
    pub fn failure(&self, image_id: i64, stage: FailureStage, reason: String) -> Failure {
        let sample = usize::try_from(image_id).ok().and_then(|i| self.samples.get(i));
        let path = sample.map_or_else(String::new, |s| s.relative.clone());
        Failure { image_id, path, stage, reason }
    }

    fn truth(&self, sample: &Sample, size: ImageSize) -> Result<Option<Vec<TruthBox>>, String> {
        self.class_map.map_or(Ok(None), |map| mapped_truth(sample, map, size, self.missing_labels))
    }
}

/// A sample's ground truth in the model's class ids; `None` for an unlabelled image.
///
/// # Errors
/// What is wrong with its label file, in words.
pub fn mapped_truth(
    sample: &Sample,
    class_map: &ClassMap,
    size: ImageSize,
    missing_labels: MissingLabels,
) -> Result<Option<Vec<TruthBox>>, String> {
    match sample.truth_boxes(size)? {
        Truth::NoLabels => Ok(None),
        Truth::Missing => Ok((missing_labels == MissingLabels::Background).then(Vec::new)),
        Truth::Labelled(boxes) => {
            let mapped = boxes.into_iter().map(|b| {
                let class_id = class_map.apply(b.class_id).ok_or_else(|| class_map.why_unknown(b.class_id))?;
                Ok(TruthBox { class_id, ..b })
            });
            mapped.collect::<Result<_, _>>().map(Some)
        }
    }
}

/// That an image file is not the one that was cached, in words; `None` where it is.
pub fn changed_since(cached: &Sha256Bytes, found: &Sha256Bytes) -> Option<String> {
    let text = || {
        let (cached, found) = (to_hex(cached), to_hex(found));
        format!("the image file changed since the cache was made: its SHA-256 is {found}, in the cache it is {cached}")
    };
    (cached != found).then(text)
}

/// A regular file's bytes; anything else (a pipe would block for ever) and what is too large is refused.
///
/// # Errors
/// What is wrong, in words that name the file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let words = |e: std::io::Error| match e.get_ref() {
        // What a store says names its object.
        Some(said) if remote::is_link(path) => said.to_string(),
        _ => format!("cannot read {}: {e}", path.display()),
    };
    let meta = match fs::metadata(path) {
        Err(error) => return remote::read(path, MAX_FILE_BYTES).unwrap_or(Err(error)).map_err(words),
        Ok(meta) => meta,
    };
    if !meta.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    if meta.len() > MAX_FILE_BYTES {
        return Err(format!("{} has {} bytes, more than the limit of {MAX_FILE_BYTES}", path.display(), meta.len()));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    // `take`: a file that grows while it is read stays within the limit.
    fs::File::open(path).and_then(|f| f.take(MAX_FILE_BYTES).read_to_end(&mut bytes)).map_err(words)?;
    Ok(bytes)
}
