//! Lines over one axis: losses and metrics over epochs, precision over recall.

use super::{LETTERS, axes, svg, theme, words};
use crate::Result;
use plotters::prelude::*;
use std::ops::Range;

/// Points of a line that are drawn at most, and of all lines of a diagram.
const MAX_POINTS: usize = 400;
const MAX_POINTS_OF_ALL: usize = 3_200;
/// Points of a line up to which each is marked.
const MAX_MARKS: usize = 40;

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its colour, see [`theme::series_colour`].
    pub series: usize,
    /// Finite, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Lines that belong together.
#[derive(Debug, Clone)]
pub struct LineChart<'a> {
    /// What is shown.
    pub title: &'a str,
    /// Name of the lower axis.
    pub x_label: &'a str,
    /// Name of the left axis; empty for none.
    pub y_label: &'a str,
    /// Both axes from 0 to 1, and as wide as high; else as wide as the data.
    pub unit: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Draws the lines.
///
/// # Errors
/// As [`svg`].
pub fn line_chart(chart: &LineChart<'_>) -> Result<String> {
    let (x_range, y_range, size) =
        if chart.unit { (0.0..1.0, 0.0..1.0, (900, 800)) } else { (epochs(chart), values(chart), (720, 440)) };
    // No half epochs on a short axis.
    let x_labels = if chart.unit { 6 } else { ((x_range.end - x_range.start) as usize + 1).clamp(2, 6) };
    svg(size, chart.title, |area| {
        let mut context = ChartBuilder::on(area)
            .caption(chart.title, ("sans-serif", LETTERS * 1.1).into_font().color(&theme::INK))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(70)
            .y_label_area_size(if chart.y_label.is_empty() { 84 } else { 110 })
            .build_cartesian_2d(x_range, y_range)
            .map_err(words)?;
        axes(&mut context, (chart.x_label, x_labels), (chart.y_label, 6))?;
        let most = MAX_POINTS.min(MAX_POINTS_OF_ALL / chart.lines.len().max(1)).max(2);
        for line in &chart.lines {
            let colour = theme::series_colour(line.series);
            context.draw_series(LineSeries::new(thinned(&line.points, most), colour.stroke_width(4))).map_err(words)?;
            if line.points.len() <= MAX_MARKS {
                let marks = line.points.iter().map(|&point| Circle::new(point, 6, colour.filled()));
                context.draw_series(marks).map_err(words)?;
            }
        }
        Ok(())
    })
}

/// From the first epoch to the last.
fn epochs(chart: &LineChart<'_>) -> Range<f64> {
    let all = chart.lines.iter().flat_map(|line| &line.points).map(|point| point.0);
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low.is_finite() { low..high.max(low + 1.0) } else { 0.0..1.0 }
}

/// The values with a little room around; from 0 where that is near.
fn values(chart: &LineChart<'_>) -> Range<f64> {
    let all = chart.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)));
    if !low.is_finite() || (low == 0.0 && high == 0.0) {
        return 0.0..1.0;
    }
    let room = 0.06 * (high - low).max(0.1 * high.abs()).max(1e-9);
    let from = if low >= 0.0 && low < 0.5 * high || low == high { low.min(0.0) } else { low - room };
    from..(high + room).max(from + 1e-9)
}

/// The points, or every so many of them and the last.
fn thinned(points: &[(f64, f64)], most: usize) -> impl Iterator<Item = (f64, f64)> {
    let step = points.len().div_ceil(most).max(1);
    let last = points.len().saturating_sub(1);
    points.iter().enumerate().filter(move |(i, _)| i % step == 0 || *i == last).map(|(_, point)| *point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> LineChart<'static> {
        LineChart { title: "t", x_label: "epoch", y_label: "", unit: false, lines: vec![Line { series: 0, points }] }
    }

    #[test]
    fn anything_can_be_drawn() {
        let many = (0..100_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        for points in [vec![], vec![(1.0, 0.0)], vec![(1.0, 3.0), (2.0, 3.0)], vec![(1.0, -1.0), (2.0, 1e9)], many] {
            let text = line_chart(&chart(points)).unwrap();
            assert!(roxmltree::Document::parse(&text).is_ok());
            assert!(text.len() < 20_000, "{}", text.len());
        }
    }

    #[test]
    fn a_line_ends_where_its_data_end() {
        let points: Vec<_> = (0..1001).map(|i| (f64::from(i), 0.0)).collect();
        let drawn: Vec<_> = thinned(&points, MAX_POINTS).collect();
        assert!(drawn.len() <= MAX_POINTS + 1 && drawn.last() == points.last(), "{}", drawn.len());
        assert_eq!(thinned(&points[..3], MAX_POINTS).collect::<Vec<_>>(), points[..3]);
    }
}
