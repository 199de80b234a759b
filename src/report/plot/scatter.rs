//! Models as points: accuracy over latency.

use super::{LETTERS, axes, small_letters, svg, theme, words};
use crate::Result;
use plotters::prelude::*;

const SIZE: (u32, u32) = (1300, 800);

/// One point.
#[derive(Debug, Clone)]
pub struct Mark<'a> {
    /// What stands beside it.
    pub name: &'a str,
    /// Its colour, see [`theme::series_colour`].
    pub series: usize,
    /// Finite.
    pub at: (f64, f64),
    /// Whether it is joined with the others on the frontier; the others are drawn hollow.
    pub on_frontier: bool,
}

/// Draws the points and the line that joins those on the frontier.
///
/// # Errors
/// As [`svg`].
pub fn scatter(title: &str, x_label: &str, y_label: &str, marks: &[Mark<'_>]) -> Result<String> {
    let (x, y) = (range(marks.iter().map(|mark| mark.at.0)), range(marks.iter().map(|mark| mark.at.1)));
    // Names stand beside their marks, at half the height of a letter.
    let (aside, up) = ((x.end - x.start) / 70.0, (y.end - y.start) / 60.0);
    svg(SIZE, title, |area| {
        let mut context = ChartBuilder::on(area)
            .caption(title, ("sans-serif", LETTERS * 1.1).into_font().color(&theme::INK))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(76)
            .y_label_area_size(120)
            .build_cartesian_2d(x, y)
            .map_err(words)?;
        axes(&mut context, (x_label, 8), (y_label, 6))?;
        let mut frontier: Vec<(f64, f64)> = marks.iter().filter(|mark| mark.on_frontier).map(|mark| mark.at).collect();
        frontier.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        context.draw_series(LineSeries::new(frontier, theme::MUTED.stroke_width(2))).map_err(words)?;
        for mark in marks {
            let colour = theme::series_colour(mark.series);
            let style = if mark.on_frontier { colour.filled() } else { colour.stroke_width(3) };
            context.draw_series([Circle::new(mark.at, 9, style)]).map_err(words)?;
            let beside = (mark.at.0 + aside, mark.at.1 + up);
            context.draw_series([Text::new(mark.name.to_owned(), beside, small_letters())]).map_err(words)?;
        }
        Ok(())
    })
}

/// The values with room around, more on the right for names.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if !low.is_finite() {
        return 0.0..1.0;
    }
    let room = (high - low).max(0.1 * high.abs()).max(1e-9);
    (low - 0.15 * room).max(if low >= 0.0 { 0.0 } else { f64::MIN })..high + 0.4 * room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_can_be_drawn() {
        let mark = |at, on_frontier| Mark { name: "a <model>", series: 3, at, on_frontier };
        let all = [vec![], vec![mark((5.0, 0.5), true)], vec![mark((0.0, 0.0), true), mark((1e6, 1.0), false)]];
        for marks in all {
            let text = scatter("accuracy", "ms", "mAP", &marks).unwrap();
            assert!(roxmltree::Document::parse(&text).is_ok(), "{text}");
        }
    }
}
