//! The images of a training, checked against the cache, and how one of them becomes a row of a batch.

use super::{
    Augment, Batch, TrainImage,
    pixel_cache::PixelCache,
    pixels::{Decoder, Pixels, bytes_per_image},
};
use crate::{
    Error, Result,
    augment::{DrawViews as _, Draws, GRID_STEP_PX, HsvChange, Picture, Renderer, Scene, Views},
    cache::{CacheReader, ImageView, Teacher},
    preprocess::{InputRule, LetterboxPlan},
    targets::{Anchors, ObjectBatch, ObjectClasses},
    types::{Failure, ImageSize, InputSize, ViewChange},
};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

/// Where decoded pictures are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PixelCacheOptions {
    /// A folder of its own; made where it is missing. The file in it is used again by a later run over the same images.
    pub folder: PathBuf,
    /// More than this many bytes are not kept: images are then decoded each time. [`pixel_cache_bytes`] tells what is needed.
    pub max_bytes: u64,
}

/// What a pixel cache of so many images takes, but for some hundred bytes an image.
pub fn pixel_cache_bytes(images: usize, input: ImageSize) -> u64 {
    images as u64 * bytes_per_image(input) as u64
}

/// The images of a training with their pixels and cached predictions.
#[derive(Debug)]
pub struct TrainSet {
    input: ImageSize,
    images: Vec<TrainImage>,
    failures: Vec<Failure>,
    pixels: Pixels,
    teacher: Option<CachedTeacher>,
    /// Of a teacher that teaches by its objects.
    objects: Option<(Arc<CacheReader>, ObjectClasses)>,
    /// Ids of the teacher's classes that the student has, in the order of its own; `None`: all.
    teacher_classes: Option<Vec<usize>>,
    /// Positions of labelled and of unlabelled images: mosaics are made of one kind.
    labelled: Vec<usize>,
    unlabelled: Vec<usize>,
}

#[derive(Debug)]
struct CachedTeacher {
    reader: Arc<CacheReader>,
    anchors: Anchors,
    num_classes: usize,
    dfl_len: usize,
}

impl TrainSet {
    /// Prepares the images for an input of `input`, whose sides are multiples of 32. With `pixel_cache` all pictures are decoded
    /// now, in parallel (`progress` is called with 1 for each), or found decoded by an earlier run; those that cannot be
    /// are left out and named by [`TrainSet::failures`]; that may be all of them. Raising `stop` ends the decoding. With
    /// `teacher`, batches carry its predictions.
    ///
    /// # Errors
    /// - [`Error::Mismatch`] where input and cache do not fit, where an image is not in the cache or is another one there,
    ///   where files have changed since the cache was built (all are named), or where `images` is empty;
    /// - [`Error::Interrupted`] after `stop`;
    /// - [`Error::NoSpace`], [`Error::Io`], [`Error::Cache`] from the files.
    pub fn open(
        images: Vec<TrainImage>,
        input: ImageSize,
        pixel_cache: Option<&PixelCacheOptions>,
        teacher: Option<Arc<CacheReader>>,
        progress: &(dyn Fn(u64) + Sync),
        stop: &AtomicBool,
    ) -> Result<Self> {
        if !InputSize::from(input).is_possible(GRID_STEP_PX) {
            return Err(Error::Mismatch {
                found: format!("the input is {} pixels", InputSize::from(input).in_words()),
                remedy: format!("Give a size whose sides are multiples of {GRID_STEP_PX}."),
            });
        }
        if images.is_empty() {
            return Err(Error::Mismatch {
                found: "there is no image to train on".into(),
                remedy: "Check the data set and its split.".into(),
            });
        }
        let teacher = teacher.map(|reader| CachedTeacher::new(reader, input)).transpose()?;
        let kept = pixel_cache.filter(|options| pixel_cache_bytes(images.len(), input) <= options.max_bytes);
        let mut set = match kept {
            None => Self::of(images, input, Pixels::Files),
            Some(options) => {
                let cache = PixelCache::open_or_make(&options.folder, &images, input, progress, stop)?;
                Self::mapped(images, input, cache)
            }
        };
        if let Some(teacher) = &teacher {
            set.check_images(&teacher.reader)?;
        }
        set.teacher = teacher;
        Ok(set)
    }

    /// The same set, whose batches have the teacher's objects: of the views that its anchors are
    /// shown of, else of view 0. A teacher whose anchors are not the student's ([`other_places`])
    /// has no others to show; boxes follow every change of a picture, so all augmentation is then
    /// free.
    ///
    /// # Errors
    /// As [`TrainSet::open`] where an image is not in the cache or is another one there.
    pub fn with_objects(mut self, reader: Arc<CacheReader>, classes: ObjectClasses) -> Result<Self> {
        self.check_images(&reader)?;
        self.objects = Some((reader, classes));
        Ok(self)
    }

    /// The same set, whose batches have only these of the teacher's classes, in this order.
    pub fn with_teacher_classes(self, teacher_classes: Option<Vec<usize>>) -> Self {
        Self { teacher_classes, ..self }
    }

    /// Leaves out what could not be decoded.
    fn mapped(images: Vec<TrainImage>, input: ImageSize, cache: PixelCache) -> Self {
        let (mut usable, mut places, mut plans, mut failures) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (place, (image, entry)) in images.into_iter().zip(cache.entries()).enumerate() {
            match entry {
                Ok(size) => {
                    usable.push(image);
                    places.push(place);
                    plans.push(LetterboxPlan::fit(*size, input.height, input.width));
                }
                Err((stage, reason)) => failures.push(Failure {
                    image_id: image.image_id,
                    path: image.relative,
                    stage: *stage,
                    reason: reason.clone(),
                }),
            }
        }
        Self { failures, ..Self::of(usable, input, Pixels::Mapped { cache, places, plans }) }
    }

    fn of(images: Vec<TrainImage>, input: ImageSize, pixels: Pixels) -> Self {
        let (labelled, unlabelled) = (0..images.len()).partition(|&i| images[i].labels.is_some());
        Self {
            input,
            images,
            failures: Vec::new(),
            pixels,
            teacher: None,
            objects: None,
            teacher_classes: None,
            labelled,
            unlabelled,
        }
    }

    /// Every image must be in the cache, under its path and of its size.
    fn check_images(&self, reader: &CacheReader) -> Result<()> {
        for (index, image) in self.images.iter().enumerate() {
            let found = match reader.image(image.image_id, 0)? {
                None => Some("it is not in the cache".to_owned()),
                Some(view) if view.path != image.relative => Some(format!("in the cache it is {}", view.path)),
                Some(view) => match &self.pixels {
                    Pixels::Mapped { plans, .. } if plans[index].image != view.size => {
                        let (now, then) = (plans[index].image, view.size);
                        Some(format!(
                            "it has {} x {} pixels, in the cache {} x {}",
                            now.width, now.height, then.width, then.height
                        ))
                    }
                    _ => None,
                },
            };
            if let Some(found) = found {
                return Err(Error::Mismatch {
                    found: format!("image {} ({}): {found}", image.image_id, image.relative),
                    remedy: "Build the cache over the data set as it is now.".into(),
                });
            }
        }
        Ok(())
    }

    /// The usable images; batches name them by their position here.
    pub fn images(&self) -> &[TrainImage] {
        &self.images
    }

    /// The images that were left out, with the reasons.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The student's input.
    pub fn input(&self) -> ImageSize {
        self.input
    }

    /// Length of the pixel cache's file and whether an earlier run made it; `None` where images are decoded each time.
    pub fn pixel_cache(&self) -> Option<(u64, bool)> {
        match &self.pixels {
            Pixels::Mapped { cache, .. } => Some((cache.bytes(), cache.reused)),
            Pixels::Files => None,
        }
    }

    /// The views that the cache holds of each image; none without a cache.
    pub fn views(&self) -> Views {
        self.teacher.as_ref().map_or(Views::default(), |teacher| teacher.reader.manifest().settings.views())
    }

    /// How batches carry the teacher's objects, where they do.
    pub fn object_classes(&self) -> Option<ObjectClasses> {
        self.objects.as_ref().map(|(_, classes)| *classes)
    }

    /// Whether batches carry cached predictions of anchors.
    pub fn has_teacher(&self) -> bool {
        self.teacher.is_some()
    }

    /// Fills `batch` (whose buffers are used again) with these images, changed as (seed, epoch of the batch, position in the set)
    /// say. With
    /// `views` each image, of a mosaic too, is the cached view whose turn it is.
    /// Returns the time spent on cached predictions.
    ///
    /// # Errors
    /// [`Error::Dataset`] naming the image that cannot be decoded (or has changed), [`Error::Cache`] for damaged values.
    pub fn fill(
        &self,
        batch: &mut Batch,
        indices: &[usize],
        augment: &Augment,
        seed: u64,
        views: Views,
        scratch: &mut Scratch,
    ) -> Result<Duration> {
        let image_bytes = bytes_per_image(self.input);
        batch.input = self.input;
        batch.indices.clear();
        batch.indices.extend(indices);
        batch.sources.clear();
        batch.pixels.resize(indices.len() * image_bytes, 0);
        batch.labelled.clear();
        batch.labels.batch_index.clear();
        batch.labels.class_id.clear();
        batch.labels.boxes_xyxy_input_px.clear();
        let mut predictions = self.teacher.as_ref().map(|teacher| {
            let mut predictions = batch.teacher.take().unwrap_or_default();
            predictions.start(
                indices.len(),
                teacher.num_classes,
                teacher.dfl_len,
                teacher.anchors.grid().num_anchors(),
            );
            predictions
        });
        let mut objects = self.objects.as_ref().map(|(reader, classes)| {
            let mut objects = batch.objects.take().unwrap_or_default();
            objects.start(reader.manifest().class_len(), *classes);
            objects
        });
        let mut on_targets = Duration::ZERO;
        for (row, &index) in indices.iter().enumerate() {
            let labelled = self.images[index].labels.is_some();
            let draws = Draws::new(seed, batch.epoch, index);
            let pool = if labelled { &self.labelled } else { &self.unlabelled };
            let partners = augment.partners(&draws, pool);

            let (mut pictures, mut shown, mut letterboxes) = (Vec::new(), Vec::new(), Vec::new());
            let chosen = std::iter::once(index).chain(partners.into_iter().flatten());
            for (image, decoded) in chosen.zip(&mut scratch.decoded) {
                let file = (image, &self.images[image]);
                let (plan, letterbox) = self.pixels.picture(file, self.input, &mut scratch.decoder, decoded)?;
                let start = Instant::now();
                let view = match &self.teacher {
                    Some(teacher) => {
                        let number = views.shown(seed, batch.epoch, file.1.image_id);
                        Some(view(&teacher.reader, file.1.image_id, number)?)
                    }
                    None => None,
                };
                on_targets += start.elapsed();
                let change = view.as_ref().map_or(ViewChange::NONE, |view| view.change);
                pictures.push(Picture::new(image, plan, change));
                shown.extend(view);
                letterboxes.push(letterbox);
            }
            let scene = augment.scene(&draws, &pictures, self.input);
            let tiles = scene.tiles.iter().zip(&pictures).zip(letterboxes).zip(&mut scratch.drawn);
            let levels: Vec<&[u8]> = tiles
                .map(|(((tile, picture), letterbox), drawn)| {
                    picture.pixels(tile, &mut scratch.renderer, letterbox, drawn)
                })
                .collect();
            let out = &mut batch.pixels[row * image_bytes..(row + 1) * image_bytes];
            scratch.renderer.render(&scene, &levels, out);
            // A view has changed colours already, which the teacher saw.
            if let Some(changes) = augment.colour_changes(&draws).filter(|_| views.count == 0) {
                HsvChange::new(changes).apply(out);
            }
            batch.sources.extend(pictures.iter().map(|picture| picture.image));
            batch.labelled.push(labelled);
            self.push_labels(batch, row, &scene, &pictures);
            if let (Some(teacher), Some(predictions)) = (&self.teacher, &mut predictions) {
                let start = Instant::now();
                for (tile, (picture, view)) in scene.tiles.iter().zip(pictures.iter().zip(&shown)) {
                    predictions.push(row, &scene, tile, view, picture, &teacher.anchors);
                }
                on_targets += start.elapsed();
            }
            if let (Some((reader, _)), Some(objects)) = (&self.objects, &mut objects) {
                let start = Instant::now();
                self.push_objects(objects, row, &scene, (&pictures, &shown), reader)?;
                on_targets += start.elapsed();
            }
        }
        if let Some(columns) = &self.teacher_classes {
            if let (Some(predictions), Some(teacher)) = (&mut predictions, &self.teacher) {
                predictions.keep_classes(columns, teacher.reader.manifest().teacher.head);
            }
            if let (Some(objects), Some((reader, _))) = (&mut objects, &self.objects) {
                objects.keep_classes(columns, reader.manifest().teacher.head);
            }
        }
        batch.teacher = predictions;
        batch.objects = objects;
        Ok(on_targets)
    }

    /// `shown`: the cached views of the pictures, where anchors are shown.
    fn push_objects(
        &self,
        objects: &mut ObjectBatch,
        row: usize,
        scene: &Scene,
        (pictures, shown): (&[Picture], &[ImageView<'_>]),
        reader: &CacheReader,
    ) -> Result<()> {
        for (place, (tile, picture)) in scene.tiles.iter().zip(pictures).enumerate() {
            match shown.get(place) {
                Some(view) => objects.push(row, scene, tile, view, picture),
                None => {
                    let view = view(reader, self.images[picture.image].image_id, 0)?;
                    objects.push(row, scene, tile, &view, picture);
                }
            }
        }
        Ok(())
    }

    fn push_labels(&self, batch: &mut Batch, row: usize, scene: &Scene, pictures: &[Picture]) {
        for (tile, picture) in scene.tiles.iter().zip(pictures) {
            for label in self.images[picture.image].labels.iter().flatten() {
                if let Some(b) = scene.place_label(tile, picture.to_picture(label.box_xyxy_px)) {
                    batch.labels.batch_index.push(row as i64);
                    batch.labels.class_id.push(i64::from(label.class_id));
                    batch.labels.boxes_xyxy_input_px.extend([b.x1, b.y1, b.x2, b.y2]);
                }
            }
        }
    }
}

/// Why a teacher's places are not the anchors of a student of this input size, in words; `None` where they are, for a student
/// of the same strides. Its objects can teach all the same: [`TrainSet::with_objects`].
pub fn other_places(teacher: &Teacher, input: ImageSize) -> Option<String> {
    if teacher.places().grid().is_none() {
        return Some(
            "the teacher's predictions belong to queries, which have no position on the student's grid".into(),
        );
    }
    if teacher.strides.windows(2).any(|pair| matches!(pair, [a, b] if a >= b)) {
        let strides = &teacher.strides;
        return Some(format!("the teacher has several boxes in a cell (strides {strides:?}), a student has one"));
    }
    if let Some(stride) = teacher.strides.iter().find(|&&s| s == 0 || !GRID_STEP_PX.is_multiple_of(s)) {
        return Some(format!("the teacher has a stride of {stride} pixels, which does not divide {GRID_STEP_PX}"));
    }
    if !teacher.input_rule.is_default() {
        let (found, own) = (teacher.input_rule, InputRule::default());
        return Some(format!("the teacher takes images by the rule {found}, a student by {own}"));
    }
    let of_teacher = teacher.input();
    (of_teacher != input).then(|| {
        let [own, theirs] = [input, of_teacher].map(|size| InputSize::from(size).in_words());
        format!("the student's input is {own} pixels, the cache was built at {theirs}")
    })
}

/// Why the levels of a teacher's grid are not those of a student with these strides, in words;
/// `None` where they are.
pub fn other_strides(teacher: &Teacher, student: &[u32]) -> Option<String> {
    let theirs = &teacher.strides;
    (theirs != student).then(|| format!("the teacher has the strides {theirs:?}, the student {student:?}"))
}

impl CachedTeacher {
    fn new(reader: Arc<CacheReader>, input: ImageSize) -> Result<Self> {
        let manifest = reader.manifest();
        let teacher = &manifest.teacher;
        let refuse = |found| {
            Error::Mismatch {
            found,
            remedy: "Train at the cache's size, or build a cache at the student's. If the teacher's anchors are others, the student learns from its detected boxes."
                .into(),
        }
        };
        if let Some(found) = other_places(teacher, input) {
            return Err(refuse(found));
        }
        let Some(grid) = teacher.places().grid().cloned() else { return Err(refuse("the teacher has no grid".into())) };
        let anchors = Anchors::new(grid);
        let (num_classes, dfl_len) = (manifest.class_len(), manifest.dfl_len());
        Ok(Self { anchors, num_classes, dfl_len, reader })
    }
}

/// A view that a sound cache has.
fn view(reader: &CacheReader, image_id: i64, number: i32) -> Result<ImageView<'_>> {
    reader.image(image_id, number)?.ok_or_else(|| Error::Cache {
        path: reader.folder().to_owned(),
        found: format!("image {image_id} has no view {number}"),
        remedy: "Run `verify()`; build again with `overwrite=true`.".into(),
    })
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub struct Scratch {
    decoder: Decoder,
    renderer: Renderer,
    /// Letterboxes that are decoded each time.
    decoded: [Vec<u8>; 4],
    /// Views.
    drawn: [Vec<u8>; 4],
}
