//! The loss against what the cache holds of the teacher.

use super::{Cells, Loss, LossInput, boxes, task::sides_loss};
use logitcache::run::ClsLoss;
use tch::{Kind, Tensor, no_grad};

/// The teacher's cached outputs for a batch: `N` kept anchors, no anchor of an image twice. Tensors on the student's device.
#[derive(Debug)]
pub struct TeacherTargets {
    /// `[N]` int64, position in the batch.
    pub batch_index: Tensor,
    /// `[N]` int64, 0..A.
    pub anchor: Tensor,
    /// `[N]` float32, the teacher's highest class probability: the anchor's weight.
    pub score: Tensor,
    /// `[N, C]` float32, before the sigmoid.
    pub class_logits: Tensor,
    /// `[N, 4 * reg_max]` float32, before the softmax; `None` where the cache has none or of
    /// another number than the student.
    pub dfl_logits: Option<Tensor>,
    /// `[N, 4]` float32: x1, y1, x2, y2 in input pixels.
    pub boxes_xyxy_input_px: Tensor,
    /// `[B, A]` float32, the mean class probability over the anchors that were dropped from the image under the anchor; NaN where
    /// no image lies there. Values at kept anchors are not used.
    pub floor_prob: Tensor,
    /// Sum of the highest class probabilities of all dropped anchors of the batch.
    pub dropped_score_sum: f64,
    /// `[B]` float32, the weight of each image in [`Loss::total`]; it does not show in the parts.
    pub image_weight: Tensor,
}

impl TeacherTargets {
    /// A wrong shape would broadcast into a number that looks like a loss.
    fn check(&self, input: &LossInput) {
        let (kept, classes) = (self.score.numel() as i64, input.class_logits.size()[1]);
        assert_eq!(
            (self.batch_index.size(), self.anchor.size()),
            (vec![kept], vec![kept]),
            "where the kept anchors lie"
        );
        assert_eq!(self.class_logits.size(), [kept, classes], "class logits of the kept anchors");
        assert_eq!(self.boxes_xyxy_input_px.size(), [kept, 4], "boxes of the kept anchors");
        assert_eq!(self.floor_prob.size(), [input.batch(), input.anchors.len()], "floors");
        assert_eq!(self.image_weight.size(), [input.batch()], "weights of the images");
        if let Some(logits) = &self.dfl_logits {
            assert_eq!(logits.size(), [kept, 4 * input.reg_max()], "DFL logits of the kept anchors");
        }
    }
}

/// What of the head is distilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistillParts {
    /// Classes, sides and boxes.
    All,
    /// Classes alone: the quick mode.
    Cls,
}

/// How the student is compared with the teacher.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DistillOptions {
    /// The loss over the classes.
    pub cls_loss: ClsLoss,
    /// `T` of `softmax-kl` and of the bins, above 0; 3 to 6 is sensible.
    pub temperature: f64,
    /// What is distilled.
    pub parts: DistillParts,
}

/// The distillation loss, in three parts with the task's gains (7.5, 0.5, 1.5). `w` is the teacher's score of a kept anchor.
///
/// - classes by `SoftmaxKl`: `sum(w * loss) / sum(w)` over the kept anchors, see [`ClsLoss`]
/// - classes by `Bckd` and `Bce`: the sum of the losses of **all** anchors, divided by `max(sum(w), 1)` with the `w` of **all** anchors, as
///   the task loss divides its sum by that of its target scores. An anchor that was not kept has the floor of its image as `p_t` of every
///   class; where the floor is NaN it does not count. Weighing these losses by the teacher's score as well would leave a student that
///   sees things where the teacher sees none nearly unpunished: a dropped anchor's score is some thousandths.
/// - sides, where both have the same bins: `T^2 * KL(softmax(t / T) || softmax(s / T))` over the 16
///   bins of a side, mean of the four sides (LD, Zheng et al. 2022,
///   <https://arxiv.org/abs/2102.12252>; the authors' code also divides by the number of bins, a
///   constant), weighted as `SoftmaxKl`
/// - sides, where the student has distances: the absolute difference from those of the teacher's
///   box ([`sides_loss`]), which are the expectations of its bins, weighted likewise
/// - sides, where the student has other bins than the teacher: 0, the boxes say it all
/// - boxes: `1 - CIoU` of the student's decoded box and the teacher's box, in cells, as in the task loss, weighted likewise
///
/// Every sum is a sum over images; in the total, each image's part of it counts with the image's weight.
///
/// # Panics
/// If the shapes are not those of [`TeacherTargets`] for this batch.
pub fn distill_loss(input: &LossInput, teacher: &TeacherTargets, options: &DistillOptions) -> Loss {
    teacher.check(input);
    let at = Cells { image: teacher.batch_index.shallow_clone(), anchor: teacher.anchor.shallow_clone() };
    let kept = Kept {
        weight: &teacher.score,
        weight_sum: teacher.score.sum(None),
        image_weight: teacher.image_weight.index_select(0, &at.image),
    };
    let rows = input.class_rows(&at);
    let cls = match options.cls_loss {
        ClsLoss::SoftmaxKl => kept.mean(&kl(&rows, &teacher.class_logits, options.temperature)),
        ClsLoss::Bce | ClsLoss::Bckd => {
            let of_kept = binary(&rows, &teacher.class_logits.sigmoid(), options.cls_loss);
            let of_kept = of_kept.sum_dim_intlist([1i64].as_slice(), false, None);
            let of_dropped = Dropped::new(teacher, &at).by_image(input, options.cls_loss);
            let divisor = (&kept.weight_sum + teacher.dropped_score_sum).clamp_min(1.0);
            let of_kept = Part::of(&of_kept, &kept.image_weight);
            of_kept.plus(&Part::of(&of_dropped, &teacher.image_weight)).over(&divisor)
        }
    };
    let (boxes, dfl) = match options.parts {
        DistillParts::Cls => (cls.zero(), cls.zero()),
        DistillParts::All => {
            let box_rows = input.box_rows(&at);
            let truth = &teacher.boxes_xyxy_input_px / input.anchors.strides.index_select(0, &at.anchor);
            let dfl = match &teacher.dfl_logits {
                _ if !boxes::has_bins(&box_rows) => kept.mean(&sides_loss(input, &at, &box_rows, &truth)),
                Some(logits) => {
                    let per_side = kl(&boxes::sides(&box_rows), &boxes::sides(logits), options.temperature);
                    kept.mean(&per_side.mean_dim([1i64].as_slice(), false, None))
                }
                None => cls.zero(),
            };
            let decoded = boxes::decode(&box_rows, &input.anchors.centres.index_select(0, &at.anchor));
            (kept.mean(&(-boxes::ciou(&decoded, &truth) + 1.0)), dfl)
        }
    };
    Part::loss(input.batch(), [boxes, cls, dfl])
}

/// One part of the loss: the sum over the images, and the same with each image's weight.
pub(super) struct Part {
    plain: Tensor,
    weighted: Tensor,
}

impl Part {
    /// Of `[n]` losses and the weights of their images.
    pub fn of(loss: &Tensor, image_weight: &Tensor) -> Self {
        Self { plain: loss.detach().sum(None), weighted: (loss * image_weight).sum(None) }
    }

    pub fn plus(self, other: &Self) -> Self {
        Self { plain: self.plain + &other.plain, weighted: self.weighted + &other.weighted }
    }

    pub fn over(self, divisor: &Tensor) -> Self {
        Self { plain: self.plain / divisor, weighted: self.weighted / divisor }
    }

    /// The loss of box, class and DFL part, before their gains.
    pub fn loss(batch: i64, parts: [Self; 3]) -> Loss {
        Loss::of_weighted_parts(batch, parts.each_ref().map(|p| p.plain.shallow_clone()), parts.map(|p| p.weighted))
    }

    pub fn zero(&self) -> Self {
        Self { plain: self.plain.zeros_like(), weighted: self.weighted.zeros_like() }
    }
}

/// The weights of the kept anchors.
struct Kept<'a> {
    /// `[N]`.
    weight: &'a Tensor,
    weight_sum: Tensor,
    /// `[N]` of the anchor's image.
    image_weight: Tensor,
}

impl Kept<'_> {
    /// Weighted mean of `[N]` losses.
    fn mean(&self, loss: &Tensor) -> Part {
        Part::of(&(loss * self.weight), &self.image_weight).over(&positive(&self.weight_sum))
    }
}

/// A divisor: no weights at all give a loss and gradients of 0, not NaN.
fn positive(weight_sum: &Tensor) -> Tensor {
    weight_sum.clamp_min(1e-9)
}

/// `T^2 * KL(softmax(t / T) || softmax(s / T))` over the last dimension.
pub(super) fn kl(student: &Tensor, teacher: &Tensor, temperature: f64) -> Tensor {
    let (student, teacher) =
        ((student / temperature).log_softmax(-1, None), (teacher / temperature).log_softmax(-1, None));
    (teacher.exp() * (teacher - student)).sum_dim_intlist([-1i64].as_slice(), false, None) * (temperature * temperature)
}

/// Element by element: the loss of student logits against target probabilities.
pub(super) fn binary(student: &Tensor, target: &Tensor, loss: ClsLoss) -> Tensor {
    let bce = student.softplus() - student * target;
    if loss == ClsLoss::Bckd { bce * (target - student.sigmoid()).abs() } else { bce }
}

/// The dropped anchors.
struct Dropped {
    /// `[B, A]` 1 where an anchor was dropped, 0 where it was kept or no image lies.
    counts: Tensor,
    /// `[B, A]` target of every class where it counts, 0 elsewhere.
    floor: Tensor,
}

impl Dropped {
    fn new(teacher: &TeacherTargets, kept: &Cells) -> Self {
        let mut counts = teacher.floor_prob.isnan().logical_not().to_kind(Kind::Float);
        let zeros = Tensor::zeros([1], (Kind::Float, counts.device()));
        let _ = no_grad(|| counts.index_put_(&[Some(&kept.image), Some(&kept.anchor)], &zeros, false));
        let floor = teacher.floor_prob.nan_to_num(0.0, None, None) * &counts;
        Self { counts, floor }
    }

    /// `[B]` sum of the loss over those of each image.
    fn by_image(&self, input: &LossInput, loss: ClsLoss) -> Tensor {
        let over_second = |of: &Tensor| of.sum_dim_intlist([1i64].as_slice(), false, None);
        if loss == ClsLoss::Bce {
            // Sum over the classes of softplus(x) - x f, f the same for all of them.
            over_second(&(input.softplus_by_anchor() * &self.counts - over_second(&input.class_logits) * &self.floor))
        } else {
            over_second(&(over_second(&binary(&input.class_logits, &self.floor.unsqueeze(1), loss)) * &self.counts))
        }
    }
}
