//! One training step: batch in, weights changed.

use super::{
    data::{Batch, ObjectBatch, TeacherBatch},
    ema::Ema,
    flat::{FlatParams, FlatTensors, ParamGroup},
    loss::{
        Anchors, DistillOptions, Loss, LossInput, ObjectTargets, TaskTargets, TeacherTargets, distill_loss,
        object_loss, task_loss,
    },
    optim::{Algorithm, Optimizer},
    schedule::Rates,
    upload::upload,
};
use crate::{
    student::{BranchSpec, HeadOutput, Network, Role, native::Autocast},
    types::ImageSize,
};
use logitcache::run::{OptimizerKind, Precision, Settings};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor, no_grad};

/// Gradients are scaled to this norm at most, as Ultralytics does.
const MAX_GRAD_NORM: f64 = 10.0;
/// Ultralytics' weight decay, for an effective batch of 64.
const WEIGHT_DECAY: f64 = 5e-4;
const NOMINAL_BATCH: f64 = 64.0;

/// Parts of the losses in the order of [`StepLosses`].
pub const NUM_PARTS: usize = 6;

/// The losses of a step: box, class, DFL against the labels, then box, class, DFL against the
/// teacher; with gains. Of a head with several branches those of the first, which is validated and
/// exported. Without bins, L1 of the sides stands for DFL.
pub type StepLosses = [f64; NUM_PARTS];

/// Why a step is of no use.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum StepError {
    /// The loss is NaN or infinite.
    #[error("the loss is {0}")]
    Loss(f64),
    /// The loss is a number, its gradient is not.
    #[error("the norm of the gradient is {0}")]
    Gradient(f64),
}

/// What a step measured. On a CUDA device it may still be under way: only [`Measured::read`] waits for it.
#[derive(Debug)]
#[must_use = "whether the losses are numbers is only known when they are read"]
pub struct Measured(Tensor);

impl Measured {
    /// `total` and `norm` are scalars, of the parts `None` stands for 0.
    fn new(total: &Tensor, norm: &Tensor, task: &Loss, distill: Option<&Loss>) -> Self {
        let zero = Tensor::zeros([], (Kind::Double, total.device()));
        let parts = |loss: Option<&Loss>| match loss {
            Some(loss) => {
                [&loss.box_part, &loss.cls_part, &loss.dfl_part].map(|part| part.detach().to_kind(Kind::Double))
            }
            None => [(); 3].map(|()| zero.shallow_clone()),
        };
        let [a, b, c] = parts(Some(task));
        let [d, e, f] = parts(distill);
        let both = [total, norm].map(|value| value.detach().to_kind(Kind::Double));
        Self(Tensor::stack(&[&both[0], &both[1], &a, &b, &c, &d, &e, &f], 0))
    }

    /// The losses, once they are computed.
    ///
    /// # Errors
    /// Where the loss or its gradient is no number; the weights are then of no use.
    pub fn read(&self) -> Result<StepLosses, StepError> {
        let mut values = [0.0f64; 2 + NUM_PARTS];
        self.0.to_device(Device::Cpu).copy_data(&mut values, 2 + NUM_PARTS);
        let [total, norm, parts @ ..] = values;
        match (total.is_finite(), norm.is_finite()) {
            (false, _) => Err(StepError::Loss(total)),
            (true, false) => Err(StepError::Gradient(norm)),
            (true, true) => Ok(parts),
        }
    }
}

/// What a branch of the head has to learn.
struct BranchLoss {
    total: Tensor,
    task: Loss,
    distill: Option<Loss>,
}

/// The student with everything that changes while it is trained.
pub struct Trainer {
    student: Network,
    params: FlatParams,
    /// Running means and variances of the normalisations.
    statistics: FlatTensors,
    optimizer: Optimizer,
    ema: Ema,
    /// A network whose tensors are those of `ema`.
    average: Network,
    anchors: Anchors,
    precision: Precision,
    /// Of the whole run: the shares of the head's branches change over them.
    epochs: usize,
    /// Weight of the labels' loss and how the teacher's is computed; `None`: labels alone.
    distill: Option<(f64, DistillOptions)>,
    /// Ids of the student's classes that the teacher knows; `None`: all, and the teacher no others.
    taught_classes: Option<Tensor>,
}

impl Trainer {
    /// Readies a student for training. `distill`: the labels' weight alpha and how the teacher is distilled.
    pub fn new(student: Network, input: ImageSize, settings: &Settings, distill: Option<DistillOptions>) -> Self {
        let trained = student.params().iter().filter(|p| p.spec.role.is_trained());
        let params = FlatParams::new(trained.map(|p| {
            let group = match p.spec.role {
                Role::NormWeight => ParamGroup::Norm,
                Role::Bias => ParamGroup::Bias,
                _ => ParamGroup::Weight,
            };
            (p.spec.name.clone(), p.tensor.shallow_clone(), group)
        }));
        let statistics =
            FlatTensors::new(&named(&student, |role| matches!(role, Role::RunningMean | Role::RunningVar)));
        let algorithm = match settings.optimizer {
            OptimizerKind::Adamw => Algorithm::ADAMW,
            OptimizerKind::Sgd => Algorithm::Sgd,
        };
        // Ultralytics accumulates small batches up to 64 and scales the decay for what is more than that; here every batch is a
        // step, so the decay per image is what stays the same.
        let decay = WEIGHT_DECAY * (settings.batch as f64 / NOMINAL_BATCH).max(1.0);
        let optimizer = Optimizer::new(algorithm, decay, &params);
        let ema = Ema::new(params.params(), &statistics);
        let average = student.copy();
        for flat in [ema.params(), ema.buffers()] {
            let tensor_of = |name: &str| average.params().iter().find(|p| p.spec.name == name);
            let tensors: Vec<(String, Tensor)> = flat
                .views()
                .filter_map(|(name, _)| tensor_of(name).map(|p| (name.to_owned(), p.tensor.shallow_clone())))
                .collect();
            flat.lend(&tensors);
        }
        let anchors = Anchors::new(student.net().grid(input), student.device());
        let distill = distill.map(|options| (settings.alpha, options));
        Self {
            student,
            params,
            statistics,
            optimizer,
            ema,
            average,
            anchors,
            precision: settings.precision,
            epochs: settings.epochs,
            distill,
            taught_classes: None,
        }
    }

    /// The same trainer, whose teacher knows only these of the student's classes, in this order.
    pub fn with_taught_classes(mut self, classes: Option<Vec<i64>>) -> Self {
        self.taught_classes = classes.map(|classes| upload(&classes, self.device()));
        self
    }

    /// The network with averaged (EMA) weights: what is validated and shipped.
    pub fn average(&self) -> &Network {
        &self.average
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.student.device()
    }

    /// Forward, losses, backward, clipping, optimizer, average. Nothing of it is waited for on a CUDA device.
    pub fn step(&mut self, batch: &Batch, rates: &Rates) -> Measured {
        let device = self.device();
        let images = images_of(batch, device);
        let heads = self.forward(&images);
        let branches = &self.student.net().head.branches;
        let losses: Vec<BranchLoss> =
            heads.iter().zip(branches).map(|(head, branch)| self.branch_loss(head, branch, batch)).collect();
        let shares = branches.iter().map(|branch| branch.share(batch.epoch, self.epochs));
        let total = losses.iter().zip(shares).map(|(loss, share)| &loss.total * share).reduce(|sum, loss| sum + loss);
        let (Some(first), Some(total)) = (losses.first(), total) else { unreachable!("a head has a branch") };
        self.params.zero_grad();
        total.backward();
        let norm = self.params.clip_grad_norm(MAX_GRAD_NORM);
        self.optimizer.step(&self.params, rates);
        self.ema.update(self.params.params(), &self.statistics);
        Measured::new(&total, &norm, &first.task, first.distill.as_ref())
    }

    fn forward(&self, images: &Tensor) -> Vec<HeadOutput> {
        let _autocast = (self.precision == Precision::Bf16).then(|| Autocast::new(self.device()));
        self.student.forward_all(images)
    }

    /// The loss of a branch of the head, before its share. The teacher's anchors teach a branch
    /// that gives an object to many anchors, its objects one that gives it to one: of the anchors
    /// it would learn to find an object several times.
    fn branch_loss(&self, head: &HeadOutput, branch: &BranchSpec, batch: &Batch) -> BranchLoss {
        let input = LossInput::new(head, &self.anchors).matched(branch.matching);
        let task = task_loss(
            &input,
            &TaskTargets {
                labelled: &batch.labelled,
                batch_index: &batch.labels.batch_index,
                class_id: &batch.labels.class_id,
                boxes_xyxy_input_px: &batch.labels.boxes_xyxy_input_px,
            },
        );
        let distill = self.distill.as_ref().and_then(|(alpha, options)| {
            let weights = image_weights(&batch.labelled, *alpha, self.device());
            let of_taught = self.taught_classes.as_ref().map(|classes| input.of_classes(classes));
            let input = of_taught.as_ref().unwrap_or(&input);
            let anchors = batch.teacher.as_ref().filter(|_| !branch.matching.one_to_one);
            let loss = match (anchors, &batch.objects) {
                (Some(teacher), _) => {
                    distill_loss(input, &targets_of(teacher, weights, self.student.net().head.reg_max()), options)
                }
                (None, Some(objects)) => object_loss(input, &objects_of(objects, weights), options),
                (None, None) => return None,
            };
            Some((*alpha, loss))
        });
        match distill {
            Some((alpha, distill)) => {
                BranchLoss { total: &task.total * alpha + &distill.total, task, distill: Some(distill) }
            }
            None => BranchLoss { total: task.total.shallow_clone(), task, distill: None },
        }
    }

    /// Everything that a later process needs to go on exactly: `model.`, `ema.` and `optimizer.` tensors.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let own = self.student.params().iter().map(|p| (format!("model.{}", p.spec.name), p.tensor.detach()));
        let ema = self.ema.state().into_iter().map(|(name, t)| (format!("ema.{name}"), t));
        let optimizer =
            self.optimizer.state(&self.params).into_iter().map(|(name, t)| (format!("optimizer.{name}"), t));
        own.chain(ema).chain(optimizer).collect()
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// In words, where a tensor is missing or of another shape; the trainer is then not to be used.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> Result<(), String> {
        let under = |prefix: &str| -> Vec<(String, Tensor)> {
            let strip =
                |(name, t): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), t.shallow_clone()));
            state.iter().filter_map(strip).collect()
        };
        for param in self.student.params() {
            let name = format!("model.{}", param.spec.name);
            let tensor = state.get(&name).ok_or_else(|| format!("{name} is missing"))?;
            if tensor.size() != param.tensor.size() {
                return Err(format!("{name} has the shape {:?}, expected {:?}", tensor.size(), param.tensor.size()));
            }
            no_grad(|| param.tensor.shallow_clone().copy_(tensor));
        }
        self.ema.load_state(&under("ema."))?;
        self.optimizer.load_state(&self.params, &under("optimizer."))
    }
}

fn named(network: &Network, wanted: impl Fn(Role) -> bool) -> Vec<(String, Tensor)> {
    let chosen = network.params().iter().filter(|p| wanted(p.spec.role));
    chosen.map(|p| (p.spec.name.clone(), p.tensor.shallow_clone())).collect()
}

/// `[B, 3, H, W]` float32, 0..1, channels last in memory, as the bytes already lie.
pub fn images_of(batch: &Batch, device: Device) -> Tensor {
    let (height, width) = (i64::from(batch.input.height), i64::from(batch.input.width));
    let levels = upload(&batch.pixels, device).view([batch.len() as i64, height, width, 3]);
    levels.permute([0, 3, 1, 2]).to_kind(Kind::Float) / 255.0
}

/// `[B]`: the teacher's part of the loss has the weight 1 - alpha, or 1 for an image without labels, which has no other part.
fn image_weights(labelled: &[bool], alpha: f64, device: Device) -> Tensor {
    let weights: Vec<f32> = labelled.iter().map(|&l| if l { (1.0 - alpha) as f32 } else { 1.0 }).collect();
    upload(&weights, device)
}

/// Bins of another number than the student's are left out: they say other distances.
fn targets_of(teacher: &TeacherBatch, image_weight: Tensor, reg_max: usize) -> TeacherTargets {
    let (device, batch) = (image_weight.device(), image_weight.size1().unwrap_or_default());
    let rows = teacher.len() as i64;
    let floats = |values: &[f32], columns: i64| upload(values, device).view([rows, columns]);
    let integers = |values: &[i64]| upload(values, device);
    let bins = teacher.dfl_logits.as_ref().filter(|_| teacher.dfl_len == 4 * reg_max);
    let floor = upload(&teacher.floor_prob, device).view([batch, teacher.num_anchors as i64]);
    TeacherTargets {
        batch_index: integers(&teacher.batch_index),
        anchor: integers(&teacher.anchor),
        score: upload(&teacher.score, device),
        class_logits: floats(&teacher.class_logits, teacher.num_classes as i64),
        dfl_logits: bins.map(|logits| floats(logits, teacher.dfl_len as i64)),
        boxes_xyxy_input_px: floats(&teacher.boxes_xyxy_input_px, 4),
        floor_prob: floor,
        dropped_score_sum: teacher.dropped_score_sum.iter().map(|&sum| f64::from(sum)).sum(),
        image_weight,
    }
}

fn objects_of(objects: &ObjectBatch, image_weight: Tensor) -> ObjectTargets<'_> {
    let device = image_weight.device();
    let shape = [objects.len() as i64, objects.num_classes as i64];
    ObjectTargets {
        batch_index: &objects.batch_index,
        class_id: &objects.class_id,
        boxes_xyxy_input_px: &objects.boxes_xyxy_input_px,
        score: upload(&objects.score, device),
        class_logits: upload(&objects.class_logits, device).view(shape),
        image_weight,
    }
}
