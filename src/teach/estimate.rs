//! How large a cache will be, from what the teacher says of a few of its own images.

use super::{BuildOptions, commit::selection_of, select::Selector};
use crate::{
    augment::Views,
    cache::{MissingLabels, columns::RowBytes},
    dataset::Dataset,
    detector::{Detector, DetectorSession, HeadSpec},
    pipeline::ImageSource,
    types::{LogitType, Profile, Store},
};

/// Images that the teacher is shown for the estimate, at most; of a small build one in so many.
const SAMPLED: usize = 32;
const ONE_IN: usize = 8;

/// Bytes of a part's two files beside its rows: schemas, the footers' columns, the dictionary of codes.
const BYTES_PER_PART: u64 = 9_500;
/// The manifest without its parts and class names, and a name in it.
const BYTES_OF_MANIFEST: u64 = 2_500;
const BYTES_PER_CLASS: u64 = 16;
/// Anchors of an image that are kept, and those with class logits, where the teacher could not be asked: means of COCO.
const TYPICAL: Kept = Kept { rows: 230.0, class_rows: 80.0 };

/// Anchors kept of an image, and those of them that keep their class logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    rows: f64,
    class_rows: f64,
}

impl Kept {
    /// The means over a few of the images that are still to do, spread evenly.
    pub fn sampled(
        session: &mut DetectorSession,
        model: &Detector,
        dataset: &Dataset,
        options: &BuildOptions,
        batch: usize,
        pending: &[i64],
    ) -> Self {
        let most = Self::most(&model.head, options);
        if options.profile == Profile::Dense || pending.is_empty() {
            return most;
        }
        let mut selector = Selector::new(
            model.head.clone(),
            selection_of(options, &model.head),
            options.store_of(&model.head) == Store::All,
        );
        let source = ImageSource {
            samples: &dataset.samples,
            image_ids: None,
            input: model.input,
            rule: model.input_rule,
            class_map: None,
            missing_labels: MissingLabels::Unlabelled,
            views: Views::default(),
        };
        let (mut scratch, values) = (source.scratch(), source.values_per_image());
        let mut pixels = vec![0.0; batch * values];
        let count = (pending.len() / ONE_IN).clamp(1, SAMPLED);
        let mut found = Vec::new();
        for id in (0..count).filter_map(|i| pending.get(i * pending.len() / count)) {
            let Ok(image) = source.prepare((*id, 0), &mut scratch, &mut pixels[..values]) else { continue };
            let Ok(heads) = session.run(batch, &pixels) else { continue };
            let selected = heads.view(0).and_then(|head| selector.select_with(head, image.to_image()));
            if let Ok(selected) = selected {
                let kept = &selected.predictions;
                found.push((kept.len(), kept.class_row_count(model.head.num_classes)));
            }
        }
        if found.is_empty() {
            return Self { rows: TYPICAL.rows.min(most.rows), class_rows: TYPICAL.class_rows.min(most.class_rows) };
        }
        let mean = |of: fn(&(usize, usize)) -> usize| found.iter().map(of).sum::<usize>() as f64 / found.len() as f64;
        Self { rows: mean(|(rows, _)| *rows), class_rows: mean(|(_, class_rows)| *class_rows) }
    }

    /// What `--top-k` allows, all with class logits.
    pub fn most(head: &HeadSpec, options: &BuildOptions) -> Self {
        let dense = options.profile == Profile::Dense;
        let most = if dense { head.num_places() } else { head.num_places().min(options.top_k.get()) } as f64;
        Self { rows: most, class_rows: most }
    }

    /// Bytes that so many images with `views` each take, in the cache of this head.
    pub fn bytes(&self, images: u64, head: &HeadSpec, dataset: &Dataset, options: &BuildOptions) -> u64 {
        if images == 0 {
            return 0;
        }
        let dfl = match options.store_of(head) {
            Store::All => 4 * head.reg_max(),
            Store::Cls => 0,
        };
        let logits = if options.profile == Profile::Dense { LogitType::Float16 } else { options.logits };
        let bytes = RowBytes::of(logits, head.num_classes);
        let of_rows = bytes.of_rows(self.rows, self.class_rows, head.num_classes, dfl);
        let path = dataset.samples.iter().map(|sample| sample.relative.len() as u64).sum::<u64>()
            / (dataset.samples.len() as u64).max(1);
        let pictures = images * options.views.per_image() as u64;
        let parts = images.div_ceil(options.images_per_part.get() as u64);
        let manifest = BYTES_OF_MANIFEST + BYTES_PER_CLASS * head.num_classes as u64;
        manifest + parts * BYTES_PER_PART + pictures * (RowBytes::PER_IMAGE + path + of_rows as u64)
    }
}
