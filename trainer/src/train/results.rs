//! The curves over the epochs.

use crate::{Error, Result, fsio};
use logitcache::run::EpochRow;
use plotters::prelude::*;
use std::path::Path;

/// Draws losses and metrics over the epochs as one SVG.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn write_curves(path: &Path, rows: &[EpochRow]) -> Result<()> {
    let mut svg = String::new();
    draw(&mut svg, rows).map_err(|e| Error::io(path, "draw", std::io::Error::other(e)))?;
    Ok(fsio::write_atomic(path, svg.as_bytes())?)
}

/// A curve: its name and its value at an epoch.
type Curve = (&'static str, fn(&EpochRow) -> Option<f64>);

const PANELS: [(&str, &[Curve]); 3] = [
    ("loss, labels", &[("box", |r| Some(r.box_loss)), ("class", |r| Some(r.cls_loss)), ("DFL", |r| Some(r.dfl_loss))]),
    (
        "loss, teacher",
        &[
            ("box", |r| Some(r.distill_box_loss)),
            ("class", |r| Some(r.distill_cls_loss)),
            ("DFL", |r| Some(r.distill_dfl_loss)),
        ],
    ),
    ("validation", &[("mAP@0.5", |r| r.map50), ("mAP@0.5:0.95", |r| r.map50_95), ("small recall", |r| r.small_recall)]),
];

fn draw(svg: &mut String, rows: &[EpochRow]) -> Result<(), String> {
    let words = |e: DrawingAreaErrorKind<<SVGBackend as DrawingBackend>::ErrorType>| e.to_string();
    let area = SVGBackend::with_string(svg, (1200, 380)).into_drawing_area();
    area.fill(&WHITE).map_err(|e| e.to_string())?;
    let last = rows.last().map_or(1, |r| r.epoch).max(2) as f64;
    for (panel, (title, curves)) in area.split_evenly((1, PANELS.len())).iter().zip(PANELS) {
        let points = |value: fn(&EpochRow) -> Option<f64>| {
            rows.iter().filter_map(move |r| Some((r.epoch as f64, value(r)?))).filter(|(_, v)| v.is_finite())
        };
        let top = curves.iter().flat_map(|(_, value)| points(*value)).map(|(_, v)| v).fold(0.0, f64::max);
        let top = if top > 0.0 { top * 1.05 } else { 1.0 };
        let mut chart = ChartBuilder::on(panel)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(48)
            .build_cartesian_2d(1.0..last, 0.0..top)
            .map_err(words)?;
        chart.configure_mesh().x_desc("epoch").light_line_style(WHITE).draw().map_err(words)?;
        for (index, (name, value)) in curves.iter().enumerate() {
            let colour = Palette99::pick(index).to_rgba();
            let line = LineSeries::new(points(*value), colour.stroke_width(2));
            let drawn = chart.draw_series(line).map_err(words)?;
            drawn.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
            .map_err(words)?;
    }
    area.present().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<EpochRow> {
        (1..=3)
            .map(|epoch| EpochRow {
                epoch,
                box_loss: 1.0 / epoch as f64,
                map50: (epoch != 2).then_some(0.25),
                ..EpochRow::default()
            })
            .collect()
    }

    #[test]
    fn curves_are_drawn_even_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curves.svg");
        for rows in [rows(), Vec::new(), vec![EpochRow { epoch: 1, box_loss: f64::NAN, ..EpochRow::default() }]] {
            write_curves(&path, &rows).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("mAP@0.5:0.95") && roxmltree::Document::parse(&text).is_ok(), "{text}");
        }
    }
}
