//! Diagrams as SVG, by `plotters`. They are drawn at twice the size that they are shown at, because `plotters` rounds to whole pixels,
//! and in colours that the page's style sheet replaces (see [`theme`]).

mod bars;
mod lines;
mod reliability;
mod scatter;
pub mod theme;

pub use bars::{Bars, bars};
pub use lines::{Line, LineChart, line_chart};
pub use reliability::reliability;
pub use scatter::{Mark, scatter};

use crate::{Error, Result};
use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
};
use std::fmt::Display;
use theme::{GRID, INK, MUTED};

/// A diagram under construction.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A diagram with two axes of numbers.
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Height of letters in pixels of the drawing.
const LETTERS: f64 = 30.0;

/// Draws a diagram of `width` x `height` pixels; `label` is what it shows, for those who cannot see it.
///
/// # Errors
/// [`Error::Io`] where `plotters` refuses, which a text in memory gives no reason for.
fn svg((width, height): (u32, u32), label: &str, draw: impl FnOnce(&Area<'_>) -> Result<(), String>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        let drawn = draw(&area).and_then(|()| area.present().map_err(words));
        drawn.map_err(|found| Error::io(label, "draw", std::io::Error::other(found)))?;
    }
    // `width` and `height` would keep it from filling its place on the page.
    let label = maud::html! { (label) }.into_string();
    let opening = format!("<svg width=\"{width}\" height=\"{height}\" ");
    Ok(text.replacen(&opening, &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1))
}

/// Draws two axes of numbers with the grid behind the data. Of each axis: its name (empty for none), and how many numbers stand
/// at it, about.
fn axes(context: &mut Chart<'_, '_>, x: (&str, usize), y: (&str, usize)) -> Result<(), String> {
    let mut mesh = context.configure_mesh();
    if !x.0.is_empty() {
        mesh.x_desc(x.0);
    }
    if !y.0.is_empty() {
        mesh.y_desc(y.0);
    }
    mesh.x_labels(x.1)
        .y_labels(y.1)
        .x_label_formatter(&|v| short(*v))
        .y_label_formatter(&|v| short(*v))
        .label_style(small_letters())
        .axis_desc_style(letters())
        .axis_style(MUTED)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(words)
}

fn words(error: impl Display) -> String {
    error.to_string()
}

/// The style of ordinary letters.
fn letters() -> TextStyle<'static> {
    ("sans-serif", LETTERS).into_font().color(&INK)
}

/// The style of letters that say less.
fn small_letters() -> TextStyle<'static> {
    ("sans-serif", LETTERS * 0.87).into_font().color(&MUTED)
}

/// A number with as few digits as tell it apart on an axis.
fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if size < 0.001 {
        format!("{value:.0e}")
    } else if size >= 10_000.0 {
        format!("{:.0}k", value / 1000.0)
    } else {
        // Three that count; 0.0015 and 0.001 are then not the same.
        let digits = (2 - size.log10().floor() as i32).max(0) as usize;
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_numbers_are_short() {
        let shown = [0.0, 0.5, 0.25, 1.0, 12.5, 150.0, 1e-4, 0.0015, 20_000.0, -0.125].map(short);
        assert_eq!(shown, ["0", "0.5", "0.25", "1", "12.5", "150", "1e-4", "0.0015", "20k", "-0.125"]);
    }

    #[test]
    fn a_label_cannot_break_out() {
        let text = svg((10, 10), "a \"<script>", |_| Ok(())).unwrap();
        assert!(text.starts_with("<svg role=\"img\" aria-label=\"a &quot;&lt;script&gt;\" viewBox"), "{text}");
        assert!(roxmltree::Document::parse(&text).is_ok(), "{text}");
    }
}
