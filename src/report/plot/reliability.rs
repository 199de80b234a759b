//! A reliability diagram: the share of right detections over their score, and how many detections there are of each score.

use super::{LETTERS, axes, svg, theme, words};
use crate::{Result, eval::Calibration};
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

const SIZE: (u32, u32) = (840, 1080);
/// Height of the diagram proper; the counts are below it.
const UPPER: u32 = 720;
/// Part of a bin's width that its bar leaves free at each side.
const MARGIN: f64 = 0.006;

/// Draws the diagram in a cache's colour.
///
/// # Errors
/// As [`svg`].
pub fn reliability(calibration: &Calibration, series: usize) -> Result<String> {
    let colour = theme::series_colour(series);
    svg(SIZE, "Reliability of the teacher's scores", |area| {
        let (upper, lower) = area.split_vertically(UPPER);
        let mut context = ChartBuilder::on(&upper)
            .margin(12)
            .margin_top(26)
            .margin_right(28)
            .x_label_area_size(44)
            .y_label_area_size(120)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)
            .map_err(words)?;
        axes(&mut context, ("", 6), ("fraction correct", 6))?;
        let bars = calibration.bins.iter().filter_map(|bin| {
            let corners = [(bin.from + MARGIN, 0.0), (bin.to - MARGIN, bin.precision()?)];
            Some(Rectangle::new(corners, colour.mix(0.45).filled()))
        });
        context.draw_series(bars).map_err(words)?;
        let ideal = DashedLineSeries::new([(0.0, 0.0), (1.0, 1.0)], 14, 10, theme::MUTED.stroke_width(3));
        context.draw_series(ideal).map_err(words)?;
        let points = calibration.bins.iter().filter_map(|bin| Some((bin.mean_score()?, bin.precision()?)));
        context.draw_series(points.map(|point| Circle::new(point, 9, colour.filled()))).map_err(words)?;

        let most = calibration.bins.iter().map(|bin| bin.detections).max().unwrap_or_default().max(1) as f64;
        let mut context = ChartBuilder::on(&lower)
            .margin(12)
            .margin_right(28)
            .margin_top(34)
            .x_label_area_size(76)
            .y_label_area_size(120)
            .build_cartesian_2d(0.0..1.0, 0.0..most * 1.15)
            .map_err(words)?;
        axes(&mut context, ("score", 6), ("detections", 4))?;
        for bin in &calibration.bins {
            let height = bin.detections as f64;
            let bar = Rectangle::new([(bin.from + MARGIN, 0.0), (bin.to - MARGIN, height)], colour.mix(0.45).filled());
            context.draw_series([bar]).map_err(words)?;
            let style = ("sans-serif", LETTERS * 0.8).into_font().color(&theme::INK);
            let style = style.pos(Pos::new(HPos::Center, VPos::Bottom));
            let count = Text::new(bin.detections.to_string(), ((bin.from + bin.to) / 2.0, height), style);
            context.draw_series([count]).map_err(words)?;
        }
        Ok(())
    })
}
