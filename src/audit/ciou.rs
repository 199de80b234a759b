//! Complete IoU and its slope, by carrying four derivatives through the formula (forward-mode differentiation).

use std::ops::{Add, Div, Mul, Sub};

/// Half the width, in cells, of the stretch over which the slope goes from one side of a crease to the other.
const CREASE: f64 = 1.0 / 64.0;

/// A number and its derivatives with respect to the four edges of the first box.
#[derive(Debug, Clone, Copy)]
struct Dual {
    value: f64,
    slope: [f64; 4],
}

impl Dual {
    fn constant(value: f64) -> Self {
        Self { value, slope: [0.0; 4] }
    }

    fn edge(values: [f64; 4], at: usize) -> Self {
        let mut slope = [0.0; 4];
        slope[at] = 1.0;
        Self { value: values[at], slope }
    }

    fn map(self, value: f64, derivative: f64) -> Self {
        Self { value, slope: self.slope.map(|s| s * derivative) }
    }

    fn min(self, other: Self) -> Self {
        let by_self = (0.5 - (self.value - other.value) / (2.0 * CREASE)).clamp(0.0, 1.0);
        combined(self, other, self.value.min(other.value), by_self, 1.0 - by_self)
    }

    fn max(self, other: Self) -> Self {
        let by_self = (0.5 + (self.value - other.value) / (2.0 * CREASE)).clamp(0.0, 1.0);
        combined(self, other, self.value.max(other.value), by_self, 1.0 - by_self)
    }

    fn square(self) -> Self {
        self * self
    }

    fn atan(self) -> Self {
        self.map(self.value.atan(), 1.0 / (1.0 + self.value * self.value))
    }
}

fn combined(a: Dual, b: Dual, value: f64, by_a: f64, by_b: f64) -> Dual {
    Dual { value, slope: std::array::from_fn(|i| a.slope[i] * by_a + b.slope[i] * by_b) }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        combined(self, other, self.value + other.value, 1.0, 1.0)
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        combined(self, other, self.value - other.value, 1.0, -1.0)
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        combined(self, other, self.value * other.value, other.value, self.value)
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let quotient = self.value / other.value;
        combined(self, other, quotient, 1.0 / other.value, -quotient / other.value)
    }
}

/// CIoU of two boxes x1, y1, x2, y2 (Zheng et al. 2020, <https://arxiv.org/abs/1911.08287>) and its slope by the edges of the first, as the
/// trainer has it: epsilons where Ultralytics' `bbox_iou` has them, the weight of the proportions without a slope.
///
/// CIoU has a crease where an edge of one box and an edge of the other coincide: there the slope jumps, and which side of it a
/// difference of rounding falls on has no meaning for what a student learns. At the crease the slope is the mean of both sides,
/// as PyTorch has it for equal numbers, and it goes over from one side to the other within a 64th of a cell.
pub(super) fn ciou_with_gradient(a: [f64; 4], b: [f64; 4]) -> (f64, [f64; 4]) {
    let eps = Dual::constant(1e-7);
    let zero = Dual::constant(0.0);
    let [ax1, ay1, ax2, ay2] = [0, 1, 2, 3].map(|i| Dual::edge(a, i));
    let [bx1, by1, bx2, by2] = b.map(Dual::constant);
    let (aw, ah) = (ax2 - ax1, ay2 - ay1 + eps);
    let (bw, bh) = (bx2 - bx1, by2 - by1 + eps);
    let overlap = (ax2.min(bx2) - ax1.max(bx1)).max(zero) * (ay2.min(by2) - ay1.max(by1)).max(zero);
    let union = aw * ah + bw * bh - overlap + eps;
    let iou = overlap / union;
    let enclosing_width = ax2.max(bx2) - ax1.min(bx1);
    let enclosing_height = ay2.max(by2) - ay1.min(by1);
    let diagonal = enclosing_width.square() + enclosing_height.square() + eps;
    let distance = ((bx1 + bx2 - ax1 - ax2).square() + (by1 + by2 - ay1 - ay2).square()) * Dual::constant(0.25);
    let four_over_pi2 = Dual::constant(4.0 / (std::f64::consts::PI * std::f64::consts::PI));
    let proportions = ((bw / bh).atan() - (aw / ah).atan()).square() * four_over_pi2;
    let weight = Dual::constant(proportions.value / (1.0 - iou.value + proportions.value + eps.value));
    let ciou = iou - (distance / diagonal + proportions * weight);
    (ciou.value, ciou.slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_boxes_have_one_and_far_ones_less_than_none() {
        let b = [1.0, 2.0, 5.0, 4.0];
        assert!((ciou_with_gradient(b, b).0 - 1.0).abs() < 1e-6);
        // Two unit squares, corner to corner over a gap of one: IoU 0, centres 2 * sqrt(2) apart in a diagonal of 3 * sqrt(2).
        let far = ciou_with_gradient([0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]).0;
        assert!((far + 4.0 / 9.0).abs() < 1e-6, "{far}");
    }

    #[test]
    fn an_edge_that_coincides_has_the_mean_slope_of_both_sides() {
        let (a, b) = ([0.0, 0.0, 4.0, 4.0], [1.0, 0.5, 4.0, 4.5]);
        let slope = |right: f64| ciou_with_gradient(a, [b[0], b[1], right, b[3]]).1[2];
        let (inside, outside, at) = (slope(4.02), slope(3.98), slope(4.0));
        assert!((inside - outside).abs() > 0.1, "{inside} {outside}");
        assert!((at - 0.5 * (inside + outside)).abs() < 5e-3, "{inside} {at} {outside}");
        // What rounding to float16 moves an edge by at most hardly shows.
        assert!((slope(4.0003) - slope(3.9997)).abs() < 0.05 * (inside - outside).abs());
    }

    #[test]
    fn slopes_are_differences_where_the_proportions_agree() {
        // Same proportions: their term and its slope are zero, so nothing is left out.
        let (a, b) = ([0.2, 0.1, 4.2, 2.1], [1.0, 0.5, 5.0, 2.5]);
        let (_, slope) = ciou_with_gradient(a, b);
        for edge in 0..4 {
            let moved = |by: f64| {
                let mut a = a;
                a[edge] += by;
                ciou_with_gradient(a, b).0
            };
            let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((difference - slope[edge]).abs() < 1e-5, "{edge}: {difference} {}", slope[edge]);
        }
    }
}
