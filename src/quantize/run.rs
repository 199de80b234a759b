//! The steps, in order.

use super::{
    Calibration, Candidate, LayerChoice, QuantizeOptions, QuantizeReport,
    accuracy::{Accuracy, against_labels, against_model},
    divergence::{Comparison, references},
    images::{calibration_ids, divided, inputs, other_images, samples, source},
    observe::{Observed, Wanted, observe},
    plan::float_layers,
    range::range,
    speed::speed,
};
use crate::{
    Error, Result,
    cache::{CacheReader, open_finished, to_hex},
    detector::{
        self, ActivationRange, BatchSize, Detector, DetectorOptions, Placement, Provider, Quantizable, QuantizePlan,
        SessionOptions,
    },
    fsio::TempFile,
    outputs::{self, OutputFile},
    pipeline::{self, cached_samples},
    toolkit::Run,
    types::Store,
    words::counted,
};
use indicatif::HumanCount;
use rayon::prelude::*;
use std::{
    collections::{HashMap, HashSet},
    io::Write as _,
    num::NonZeroUsize,
    path::Path,
};

/// Images that models are compared on.
const COMPARED: usize = 16;

/// Images of these on which the file is looked at where nothing is chosen by them.
const LOOKED_AT: usize = 4;

/// Images of these on which each layer alone is compared.
const COMPARED_BY_LAYER: usize = 8;

/// Writes a detector's file with 8-bit integers.
///
/// # Errors
/// [`Error::Model`] of a file that cannot be quantized; [`Error::Cache`] of a cache that is damaged or unfinished; [`Error::Mismatch`]
/// of a cache of other classes, a model of a fixed batch, or an `out` that another program wrote; [`Error::Dataset`] where the images are gone or the
/// labelled data set cannot be used; [`Error::Runtime`], [`Error::Io`] and [`Error::Interrupted`]. Nothing is written then.
pub fn quantize(options: &QuantizeOptions, run: &Run<'_>) -> Result<QuantizeReport> {
    let data = options.source.as_ref().map(|source| source.data.as_path());
    outputs::refuse_input(&options.out, data.into_iter().chain([options.model.as_path()]))?;
    outputs::refuse_foreign_file(&options.out, OutputFile::QuantizedOnnx, options.overwrite)?;
    // Before the work, so that a place that cannot be written to is told at once.
    let mut file = new_file(&options.out)?;
    detector::runtime::init(options.ort_lib.as_deref())?;
    let options = &QuantizeOptions { jobs: pipeline::useful_jobs(options.jobs), ..options.clone() };
    let reader = open_finished(&options.cache)?;
    let (settings, detector) = load(options, &reader)?;
    let quantizable = Quantizable::of(&detector)?;
    refuse_what_does_not_fit(&detector, &reader)?;
    let placement = options.placement.unwrap_or_else(|| placement_for(options.provider));
    let session = SessionOptions { provider: options.provider, intra_threads: 1 };
    detector.self_check(&SessionOptions { intra_threads: options.jobs.get(), ..session })?;
    let chooses = options.calibration == Calibration::Divergence || options.keep_float > 0.0;

    let (ids, any_seen) = calibration_ids(&reader, options.images.get() + COMPARED)?;
    let samples = samples(&reader, &ids, options.source.as_ref())?;
    let (to_observe, mut to_compare, apart) = divided(&samples, options.images.get(), COMPARED);
    to_compare.truncate(if chooses { COMPARED } else { LOOKED_AT });

    let mut failures = Vec::new();
    let layer_inputs: HashSet<&String> = quantizable.layers().iter().map(|layer| &layer.input).collect();
    let wanted = |name: String| Wanted { means: layer_inputs.contains(&name), name };
    let tensors: Vec<Wanted> = quantizable.to_observe(placement).into_iter().map(wanted).collect();
    let only_ends = options.calibration == Calibration::MinMax;
    (run.total)(to_observe.len() as u64);
    let source = source(&to_observe, &detector);
    let observed = observe(&detector, &tensors, only_ends, &source, options.jobs, run.stop, &mut |failure| {
        (run.done)(failure.is_some());
        failures.extend(failure);
    })?;
    let observed: HashMap<String, Observed> = tensors.into_iter().map(|tensor| tensor.name).zip(observed).collect();
    let with_means = observed.iter().filter(|(_, seen)| !seen.channel_means.is_empty());
    let input_means = with_means.map(|(name, seen)| (name.clone(), seen.channel_means.clone())).collect();
    let work = Work {
        options,
        settings: &settings,
        quantizable: &quantizable,
        placement,
        observed: &observed,
        input_means: &input_means,
    };

    let observed_images = (to_observe.len() - failures.len()) as u64;
    let inputs = inputs(&to_compare, &detector, &mut failures);
    let compared_images = inputs.len() as u64;
    let sessions = NonZeroUsize::new(pipeline::num_sessions(options.provider, options.jobs));
    // Where a few images are looked at and no more, a second session costs more memory than it saves time.
    let jobs = sessions.filter(|_| chooses).unwrap_or(NonZeroUsize::MIN);
    let references = references(&detector, &inputs, jobs, &session)?;
    let comparison = Comparison { inputs: &inputs, references: &references, jobs, options: session };
    let (calibration, ranges, candidates) = work.choose_calibration(&comparison, run)?;
    let multiply_adds = work.multiply_adds();
    let divergences = match options.keep_float > 0.0 {
        true => work.divergence_of_layers(&comparison, &ranges, run)?,
        false => vec![None; quantizable.layers().len()],
    };
    let float = float_layers(quantizable.layers(), &multiply_adds, &divergences, options.keep_float);

    let bytes = work.write(&ranges, &float)?;
    let quantized = work.read(bytes.clone())?;
    let measured = candidates.iter().find(|candidate| float.is_empty() && candidate.calibration == calibration);
    let divergence =
        measured.map_or_else(|| comparison.divergence(&quantized), |candidate| Ok(candidate.divergence))?;
    let model_bytes = std::fs::metadata(&options.model).map_err(|e| Error::io(&options.model, "open", e))?.len();
    let accuracy = match &options.source {
        Some(source) => {
            let models = [(detector.clone(), model_bytes), (quantized.clone(), bytes.len() as u64)];
            Some(against_labels(options, source, models, &samples, run)?)
        }
        None if !chooses => None,
        None => {
            let others = cached_samples(&reader, &other_images(&reader, &ids)?, None)?;
            let models = || [detector.clone(), quantized.clone()];
            match against_model(options, &others, models(), &[], run)? {
                // It may be that all images with objects are among those that were used.
                None => against_model(options, &samples, models(), &samples, run)?,
                found => found,
            }
        }
    };
    let speed = match inputs.first() {
        Some(pixels) if options.latency_runs > 0 => {
            let (runs, go_on) = (options.latency_runs, || run.go_on());
            speed(&detector, &quantized, options.provider, pixels, options.jobs, runs, &go_on)?
        }
        _ => Vec::new(),
    };
    run.go_on()?;
    file.write_all(&bytes).map_err(|e| Error::io(&options.out, "write to", e))?;
    file.persist(&options.out)?;

    let layers = layers(&quantizable, &multiply_adds, divergences, &float);
    let stays = layers.iter().filter(|layer| layer.float_because.is_some());
    let float_adds: u64 = stays.map(|layer| layer.multiply_adds).sum();
    let mut notes: Vec<String> = quantized.warning().into_iter().collect();
    if !any_seen {
        notes.push(
            "on no image of the cache does the teacher see an object: ranges that are measured on such images may cut off \
             what objects give"
                .into(),
        );
    }
    if !apart {
        notes.push(format!(
            "the cache has only {} that can be used: models were compared on the images that the ranges were measured on",
            counted(samples.len(), "image")
        ));
    }
    match &accuracy {
        None if options.source.is_none() && !chooses => notes
            .push("no accuracy was measured: give labelled images with `data=` to have both models scored".into()),
        None => notes.push(
            "the model detects nothing on those images of the cache that it was run on, so there is no measure of accuracy"
                .into(),
        ),
        Some(Accuracy { calibration_images: 0, .. }) => {}
        Some(accuracy) => notes.push(format!(
            "{} of the {} that accuracy was measured on served to calibrate as well: on others it may be lower",
            HumanCount(accuracy.calibration_images),
            counted(accuracy.images, "image")
        )),
    }
    Ok(QuantizeReport {
        written_by: format!("logitcache {}", env!("CARGO_PKG_VERSION")),
        model: options.model.clone(),
        model_sha256: to_hex(&detector.sha256),
        out: options.out.clone(),
        out_sha256: to_hex(&quantized.sha256),
        cache: options.cache.clone(),
        imgsz: detector.input.into(),
        images: observed_images,
        compared_images,
        failures,
        placement,
        calibration,
        candidates,
        divergence,
        layers,
        float_share: float_adds as f64 / multiply_adds.iter().sum::<u64>().max(1) as f64,
        model_bytes,
        out_bytes: bytes.len() as u64,
        accuracy,
        speed,
        notes,
    })
}

/// `out` under construction; its folder must exist.
fn new_file(out: &Path) -> Result<TempFile> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    Ok(TempFile::create(folder, &name)?)
}

/// The model, and how its file is read: at the cache's size where it takes any.
fn load(options: &QuantizeOptions, reader: &CacheReader) -> Result<(DetectorOptions, Detector)> {
    let own = DetectorOptions {
        imgsz: options.imgsz,
        store: Store::Cls,
        names: options.names.clone(),
        reading: options.reading.clone(),
        unnamed: false,
    };
    let detector = Detector::load(&options.model, &own);
    // A model of a size of its own refuses another.
    if options.imgsz.is_some() || detector.as_ref().is_ok_and(Detector::is_of_fixed_size) {
        return Ok((own, detector?));
    }
    let of_cache = DetectorOptions { imgsz: Some(reader.manifest().teacher.input().into()), ..own };
    let detector = Detector::load(&options.model, &of_cache)?;
    Ok((of_cache, detector))
}

fn refuse_what_does_not_fit(detector: &Detector, reader: &CacheReader) -> Result<()> {
    let known: HashSet<&String> = detector.class_names.iter().collect();
    let cached = &reader.manifest().teacher.class_names;
    if !cached.iter().any(|name| known.contains(name)) {
        return Err(Error::Mismatch {
            found: format!(
                "{} is a cache of another kind of model: none of its classes ({}, ...) is one of {} ({}, ...)",
                reader.folder().display(),
                cached.first().map_or("none", String::as_str),
                detector.path.display(),
                detector.class_names.first().map_or("none", String::as_str)
            ),
            remedy: "Give a cache of images that the model is for.".into(),
        });
    }
    match detector.batch {
        BatchSize::Fixed(images) if images > 1 => Err(Error::Mismatch {
            found: format!("{} takes {images} images at once", detector.path.display()),
            remedy: "Export it with a batch of 1 or dynamic=True.".into(),
        }),
        _ => Ok(()),
    }
}

fn placement_for(provider: Provider) -> Placement {
    match provider {
        Provider::Cpu => Placement::Operators,
        Provider::Openvino | Provider::Cuda | Provider::Tensorrt => Placement::LayerInputs,
    }
}

/// What the steps share.
struct Work<'a> {
    options: &'a QuantizeOptions,
    settings: &'a DetectorOptions,
    quantizable: &'a Quantizable,
    placement: Placement,
    observed: &'a HashMap<String, Observed>,
    input_means: &'a HashMap<String, Vec<f64>>,
}

/// Of each tensor.
type Ranges = HashMap<String, ActivationRange>;

impl Work<'_> {
    fn ranges(&self, calibration: Calibration) -> Ranges {
        let before_silu = self.quantizable.before_silu();
        let range = |(name, seen): (&String, &Observed)| {
            (name.clone(), range(&seen.histogram, calibration, before_silu.contains(name)))
        };
        self.observed.par_iter().map(range).collect()
    }

    /// Of each layer, for one image.
    fn multiply_adds(&self) -> Vec<u64> {
        let of = |layer: &detector::Layer| {
            self.observed.get(&layer.input).map_or(0, |input| layer.multiply_adds(&input.shape))
        };
        self.quantizable.layers().iter().map(of).collect()
    }

    fn write(&self, ranges: &Ranges, float: &HashSet<String>) -> Result<Vec<u8>> {
        let Self { placement, input_means, .. } = *self;
        let plan = QuantizePlan { placement, ranges, input_means, float_layers: float };
        self.quantizable.write(&plan).map_err(|found| Error::Model {
            path: self.options.model.clone(),
            found,
            remedy: "Export the model again, or quantize another one.".into(),
        })
    }

    /// The detector of bytes that [`Work::write`] gave.
    fn read(&self, bytes: Vec<u8>) -> Result<Detector> {
        Detector::from_bytes(Path::new(&self.options.out), bytes, self.settings)
    }

    /// The calibration that was asked for, or the one with the least divergence, its ranges, and what was compared.
    fn choose_calibration(
        &self,
        comparison: &Comparison<'_>,
        run: &Run<'_>,
    ) -> Result<(Calibration, Ranges, Vec<Candidate>)> {
        let wanted = self.options.calibration;
        if wanted != Calibration::Divergence {
            return Ok((wanted, self.ranges(wanted), Vec::new()));
        }
        let mut ranges = Calibration::SINGLE.map(|calibration| self.ranges(calibration)).to_vec();
        let make = |i: usize| self.read(self.write(&ranges[i], &HashSet::new())?);
        let divergences = compare(comparison, ranges.len(), make, run)?;
        let pair = Calibration::SINGLE.into_iter().zip(divergences);
        let candidates: Vec<Candidate> =
            pair.map(|(calibration, divergence)| Candidate { calibration, divergence }).collect();
        let best = candidates.iter().enumerate().min_by(|(_, a), (_, b)| a.divergence.total_cmp(&b.divergence));
        let best = best.map_or(0, |(at, _)| at);
        Ok((Calibration::SINGLE[best], ranges.swap_remove(best), candidates))
    }

    /// The divergence of each layer alone; none for the last ones.
    fn divergence_of_layers(
        &self,
        comparison: &Comparison<'_>,
        ranges: &Ranges,
        run: &Run<'_>,
    ) -> Result<Vec<Option<f64>>> {
        let layers = self.quantizable.layers();
        let measured: Vec<usize> = (0..layers.len()).filter(|&i| !layers[i].is_last).collect();
        let make = |i: usize| {
            let all_others = layers.iter().enumerate().filter(|(other, _)| *other != measured[i]);
            self.read(self.write(ranges, &all_others.map(|(_, layer)| layer.output.clone()).collect())?)
        };
        let divergences = compare(&comparison.first(COMPARED_BY_LAYER), measured.len(), make, run)?;
        let mut found = vec![None; layers.len()];
        measured.into_iter().zip(divergences).for_each(|(layer, divergence)| found[layer] = Some(divergence));
        Ok(found)
    }
}

fn compare(
    comparison: &Comparison<'_>,
    models: usize,
    make: impl Fn(usize) -> Result<Detector> + Sync,
    run: &Run<'_>,
) -> Result<Vec<f64>> {
    (run.total)(models as u64 * comparison.images());
    comparison.divergences(models, make, &mut || {
        (0..comparison.images()).for_each(|_| (run.done)(false));
        run.go_on()
    })
}

fn layers(
    quantizable: &Quantizable,
    multiply_adds: &[u64],
    divergences: Vec<Option<f64>>,
    float: &HashSet<String>,
) -> Vec<LayerChoice> {
    let layer = |((layer, &multiply_adds), divergence): ((&detector::Layer, &u64), Option<f64>)| {
        let float_because = match (layer.is_last, float.contains(&layer.output)) {
            (true, _) => Some("its outputs are the head's"),
            (_, true) => Some("it is among the most sensitive"),
            _ => None,
        };
        LayerChoice {
            name: layer.name.clone(),
            multiply_adds,
            divergence,
            float_because: float_because.map(str::to_owned),
        }
    };
    let all = quantizable.layers().iter().zip(multiply_adds).zip(divergences).map(layer);
    let cannot = quantizable.left_float().iter().map(|(name, reason)| LayerChoice {
        name: name.clone(),
        multiply_adds: 0,
        divergence: None,
        float_because: Some((*reason).to_owned()),
    });
    all.chain(cannot).collect()
}
