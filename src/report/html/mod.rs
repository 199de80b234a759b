//! The page. It is static: no script, no request (its own policy forbids both), system fonts, print rules; `maud` escapes every text.

mod caches;
mod config;
mod curves;
mod frontier;
mod overview;
mod pictures;
mod scores;

use super::{
    Scored, cache_folder::CacheFolder, comparison::Comparison, eval_folder::EvalFolder, pictures::Pictures,
    plot::theme, run_folder::RunFolder,
};
use crate::{Result, outputs};
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(crate) const STYLE: &str = include_str!("style.css");

/// Bytes of the page around the drawings of one image, about: names, boxes and distributions.
const BYTES_AROUND_DRAWINGS: usize = 10_000;

/// Everything that is shown.
pub struct Content<'a> {
    /// The runs, the first the reference.
    pub runs: &'a [RunFolder],
    /// The caches.
    pub caches: &'a [CacheFolder],
    /// Folders of `eval`.
    pub evals: &'a [EvalFolder],
    /// The runs side by side.
    pub comparison: &'a Comparison,
    /// The models on the same images; `None` where none was run.
    pub scored: Option<&'a Scored>,
    /// Images with everybody's boxes.
    pub pictures: &'a Pictures,
    /// What is missing or worth knowing.
    pub notes: &'a [String],
}

impl Content<'_> {
    /// The colour of a cache, after those of the runs and of the student before.
    fn cache_series(&self, cache: usize) -> usize {
        self.runs.len() + 1 + cache
    }
}

/// Bytes that an image takes on the page, whose drawings' files have so many: in base64 three of them become four.
pub fn bytes_of_picture(jpeg_bytes: usize) -> usize {
    jpeg_bytes / 3 * 4 + BYTES_AROUND_DRAWINGS
}

/// The whole file.
///
/// # Errors
/// Where a diagram cannot be drawn.
pub fn page(content: &Content<'_>) -> Result<String> {
    let mut sections = vec![
        ("comparison", "Comparison", overview::comparison(content)),
        ("curves", "Loss and metrics over the epochs", curves::curves(content)?),
        ("scores", "Scores on the same images", scores::scores(content)?),
        ("teacher", "Caches and their teachers", caches::caches(content)?),
        ("pictures", "Where they disagree", pictures::pictures(content)),
        ("configuration", "Configuration", config::configuration(content)),
    ];
    if !content.evals.is_empty() {
        sections.insert(1, ("frontier", "Accuracy and cost", frontier::frontier(content)?));
    }
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // The page cannot fetch or run anything, whatever a name in it says.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                meta name="generator" content={ (outputs::PAGE_GENERATOR) " " (env!("CARGO_PKG_VERSION")) };
                meta name="color-scheme" content="light dark";
                title { "logitcache report" }
                // An empty icon, so that no browser asks for one.
                link rel="icon" href="data:,";
                style { (PreEscaped(theme::style_sheet())) (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "logitcache report" }
                    p.muted { (overview::subtitle(content)) }
                    nav {
                        @for (id, title, _) in &sections { a href=(format!("#{id}")) { (title) } }
                    }
                    (overview::legend(content))
                    (overview::notes(content))
                }
                main {
                    @for (id, title, markup) in &sections {
                        section id=(id) { h2 { (title) } (markup) }
                    }
                }
                footer { p.muted { "Made by logitcache " (env!("CARGO_PKG_VERSION")) "." } }
            }
        }
    };
    Ok(markup.into_string())
}

/// A section without content says why.
fn nothing(why: &str) -> Markup {
    html! { p.nothing { (why) } }
}

/// The mark of a colour.
fn swatch(series: usize) -> Markup {
    html! { span.swatch style=(format!("background:var({})", theme::series_variable(series))) {} }
}

/// A number with so many digits and its exact value for programs; a dash where there is none.
fn number(value: Option<f64>, digits: usize) -> Markup {
    html! {
        @match value {
            Some(value) => data value=(value) { (format!("{value:.digits$}")) },
            None => span.muted { "–" },
        }
    }
}

/// A drawing with a line below it.
fn figure(svg: &str, caption: Markup) -> Markup {
    html! { figure { (PreEscaped(svg)) figcaption { (caption) } } }
}

/// Long digests cut short: twelve digits tell them apart.
fn shortened(text: &str) -> String {
    let short = |word: &str| match word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => format!("{}…", &word[..12]),
        false => word.to_owned(),
    };
    text.split(' ').map(short).collect::<Vec<_>>().join(" ")
}
