//! Bars for each class, a group of one bar for each model.

use super::{letters, short, small_letters, svg, theme, words};
use crate::Result;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

/// Height of one bar and the room between groups, in pixels of the drawing.
const BAR: u32 = 26;
const GAP: u32 = 16;
/// Height of a group in units of the axis.
const GROUP: i32 = 10_000;
/// Letters of a class's name that are shown.
const MAX_NAME: usize = 22;
/// Width of a letter, about.
const LETTER_WIDTH: u32 = 15;

/// Groups of bars.
#[derive(Debug, Clone)]
pub struct Bars<'a> {
    /// What is shown.
    pub title: &'a str,
    /// Name of the lower axis.
    pub x_label: &'a str,
    /// Colours of a group's bars, see [`theme::series_colour`].
    pub series: Vec<usize>,
    /// Names and values, 0..=1; `None` draws no bar.
    pub groups: Vec<(String, Vec<Option<f64>>)>,
}

/// Draws the bars, the first group at the top.
///
/// # Errors
/// As [`svg`].
pub fn bars(bars: &Bars<'_>) -> Result<String> {
    let names: Vec<String> = bars.groups.iter().map(|(name, _)| shortened(name)).collect();
    let (groups, per_group) = (names.len().max(1), bars.series.len().max(1));
    let plot_height = groups as u32 * (per_group as u32 * BAR + GAP);
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default() as u32;
    let top = GROUP * groups as i32;
    let middles: Vec<i32> = (0..groups as i32).map(|i| i * GROUP + GROUP / 2).collect();
    // Low bars fill the width as well; the axis says how long they are.
    let highest = bars.groups.iter().flat_map(|(_, values)| values).flatten().fold(0.0f64, |a, b| a.max(*b));
    let most = ((highest * 10.0).ceil() / 10.0).clamp(0.1, 1.0);
    svg((1000, plot_height + 90), bars.title, |area| {
        let mut context = ChartBuilder::on(area)
            .margin(8)
            // The numbers beside the longest bars need room.
            .margin_right(110)
            .x_label_area_size(70)
            .y_label_area_size(longest * LETTER_WIDTH + 30)
            .build_cartesian_2d(0.0..most, (0..top).with_key_points(middles))
            .map_err(words)?;
        let name_at = |y: &i32| names.get(((top - y) / GROUP) as usize).cloned().unwrap_or_default();
        context
            .configure_mesh()
            .disable_y_mesh()
            .x_desc(bars.x_label)
            .x_labels(6)
            .y_labels(groups)
            .y_label_formatter(&name_at)
            .x_label_formatter(&|v| short(*v))
            .label_style(letters())
            .axis_desc_style(letters())
            .axis_style(theme::MUTED)
            .bold_line_style(theme::GRID)
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(words)?;
        let bar_height = GROUP * BAR as i32 / (per_group as u32 * BAR + GAP) as i32;
        for (group, (_, values)) in bars.groups.iter().enumerate() {
            let first = top - group as i32 * GROUP - GROUP / 2 + per_group as i32 * bar_height / 2;
            for ((bar, value), series) in values.iter().enumerate().zip(&bars.series) {
                let Some(value) = value else { continue };
                let upper = first - bar as i32 * bar_height;
                let (lower, value) = (upper - bar_height * 9 / 10, value.clamp(0.0, 1.0));
                let colour = theme::series_colour(*series);
                let rectangle = Rectangle::new([(0.0, lower), (value, upper)], colour.filled());
                context.draw_series([rectangle]).map_err(words)?;
                let style = small_letters().pos(Pos::new(HPos::Left, VPos::Center));
                let number = Text::new(format!("{value:.3}"), (value + 0.008 * most, (upper + lower) / 2), style);
                context.draw_series([number]).map_err(words)?;
            }
        }
        Ok(())
    })
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= MAX_NAME {
        return name.to_owned();
    }
    name.chars().take(MAX_NAME - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_named_and_has_its_bars() {
        let group = |name: &str, values: [Option<f64>; 2]| (name.to_owned(), values.to_vec());
        let drawn = bars(&Bars {
            title: "AP",
            x_label: "AP@0.5",
            series: vec![0, 1],
            groups: vec![
                group("person", [Some(0.5), Some(0.25)]),
                group("<b>", [None, Some(0.75)]),
                group("a name that is far too long for its place", [Some(1.0), None]),
            ],
        })
        .unwrap();
        let document = roxmltree::Document::parse(&drawn).unwrap();
        let rects = document.descendants().filter(|n| n.has_tag_name("rect")).count();
        assert_eq!(rects, 4, "{drawn}");
        let texts: Vec<String> = document
            .descendants()
            .filter(|n| n.has_tag_name("text"))
            .filter_map(|n| Some(n.text()?.trim().to_owned()))
            .collect();
        for name in ["person", "<b>", "a name that is far to…", "0.250"] {
            assert!(texts.iter().any(|text| text == name), "{name}: {texts:?}");
        }
    }
}
