//! Boxes from the raw tensors, slow and plain on purpose: they judge whether a graph was understood, so they share nothing
//! with the code that builds and trains.

use crate::types::ImageSize;

/// Boxes `[4, A]` (centre x, centre y, width, height in input pixels) from DFL logits `[4 * reg_max, A]`.
///
/// Ultralytics' `DFL` and `dist2bbox`: the distance to each side is the expectation of the bins, in cells, from the
/// cell's centre. Slow and plain on purpose: it judges the graph.
pub fn decode(dfl_logits: &[f32], reg_max: usize, strides: &[u32], input: ImageSize) -> Vec<f32> {
    let anchors = cells(strides, input).count();
    let mut boxes = vec![0.0; 4 * anchors];
    for (anchor, (cell_x, cell_y, stride)) in cells(strides, input).enumerate() {
        let distance = |side: usize| {
            let bins = (0..reg_max)
                .map(|bin| dfl_logits.get((side * reg_max + bin) * anchors + anchor).copied().unwrap_or(f32::NAN));
            let highest = bins.clone().fold(f32::NEG_INFINITY, f32::max);
            let (sum, weighted) = bins.enumerate().fold((0.0, 0.0), |(sum, weighted), (bin, logit)| {
                let weight = (logit - highest).exp();
                (sum + weight, weighted + weight * bin as f32)
            });
            weighted / sum
        };
        let [left, top, right, bottom] = [0, 1, 2, 3].map(distance);
        let values = [cell_x + (right - left) / 2.0, cell_y + (bottom - top) / 2.0, left + right, top + bottom];
        for (row, value) in values.into_iter().enumerate() {
            if let Some(slot) = boxes.get_mut(row * anchors + anchor) {
                *slot = value * stride;
            }
        }
    }
    boxes
}

/// Centre (in cells) and stride of every anchor, in order.
fn cells(strides: &[u32], input: ImageSize) -> impl Iterator<Item = (f32, f32, f32)> {
    strides.iter().flat_map(move |&stride| {
        let (rows, columns) = (input.height / stride, input.width / stride);
        (0..rows)
            .flat_map(move |row| (0..columns).map(move |column| (column as f32 + 0.5, row as f32 + 0.5, stride as f32)))
    })
}

/// Without DFL there is no second way to the boxes; what can be told is whether they are centres and sizes in input
/// pixels near their anchors, and not corners or fractions of the picture.
pub fn plausible_boxes(boxes: &[f32], strides: &[u32], input: ImageSize) -> Result<(), String> {
    let anchors = cells(strides, input).count();
    let row = |row: usize| boxes.get(row * anchors..(row + 1) * anchors).unwrap_or(&[]);
    let (xs, ys, widths, heights) = (row(0), row(1), row(2), row(3));
    let near = cells(strides, input).zip(xs.iter().zip(ys)).filter(|((cell_x, cell_y, stride), (x, y))| {
        (cell_x * stride - *x).abs() <= 8.0 * stride && (cell_y * stride - *y).abs() <= 8.0 * stride
    });
    if near.count() * 10 < anchors * 9 {
        return Err("its boxes do not lie near their anchors, in input pixels".to_owned());
    }
    let corners = xs.iter().zip(widths).all(|(x, w)| w >= x) && ys.iter().zip(heights).all(|(y, h)| h >= y);
    if corners {
        return Err("its boxes look like corners (x1, y1, x2, y2); supported are centre and size".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDES: [u32; 3] = [8, 16, 32];

    #[test]
    fn one_hot_bins_decode_to_their_distances() {
        let mut logits = vec![-100.0; 64 * 84];
        // Anchor 64 is the first of stride 16, its centre at (8, 8) px: left 1, top 2, right 3, bottom 6 cells.
        for (side, bin) in [1, 2, 3, 6].into_iter().enumerate() {
            logits[(side * 16 + bin) * 84 + 64] = 100.0;
        }
        let boxes = decode(&logits, 16, &STRIDES, ImageSize { width: 64, height: 64 });
        let at = [0, 1, 2, 3].map(|row| boxes[row * 84 + 64]);
        // x: 8 - 16 .. 8 + 48, y: 8 - 32 .. 8 + 96.
        assert_eq!(at, [24.0, 40.0, 64.0, 128.0]);
    }

    #[test]
    fn corners_and_fractions_are_told_from_centres() {
        let input = ImageSize { width: 640, height: 640 };
        let cells: Vec<(f32, f32, f32)> = cells(&STRIDES, input).collect();
        assert_eq!(cells.len(), 8400);
        let rows = |of: fn(f32, f32, f32) -> [f32; 4]| {
            let boxes: Vec<[f32; 4]> = cells.iter().map(|(x, y, s)| of(x * s, y * s, *s)).collect();
            (0..4).flat_map(|row| boxes.iter().map(move |b| b[row]).collect::<Vec<_>>()).collect::<Vec<f32>>()
        };
        let judge = |of| plausible_boxes(&rows(of), &STRIDES, input);
        assert!(judge(|x, y, s| [x, y, 2.0 * s, 2.0 * s]).is_ok());
        assert!(judge(|x, y, s| [x - s, y - s, x + s, y + s]).unwrap_err().contains("corners"));
        assert!(judge(|x, y, _| [x / 640.0, y / 640.0, 0.1, 0.1]).unwrap_err().contains("near their anchors"));
        assert!(judge(|_, _, _| [f32::NAN; 4]).is_err());
    }
}
