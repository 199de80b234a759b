//! The report as a table: measures as rows and models as columns for reading, models as rows for CSV.

use super::{
    bootstrap::{Comparison, Difference},
    report::{EvalReport, ModelReport},
};
use crate::words::counted;
use indicatif::{HumanBytes, HumanCount};
use std::fmt::Write as _;

/// A number of a model, where it has it.
type Value = Box<dyn Fn(&ModelReport) -> Option<f64>>;

/// One line of the table.
struct Measure {
    /// For reading.
    name: String,
    /// Column of the CSV.
    column: String,
    value: Value,
    kind: Kind,
    /// The change with its interval, where a bootstrap gives one.
    difference: Option<fn(&Comparison) -> Option<Difference>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// 0..=1; changes are differences.
    Share,
    /// Changes are in per cent.
    Count,
    /// Changes are in per cent.
    Bytes,
    /// Changes are in per cent.
    Milliseconds,
}

impl Measure {
    fn share(name: &str, column: &str, value: fn(&ModelReport) -> Option<f64>) -> Self {
        Self::new(name, column, Kind::Share, value)
    }

    fn new(name: &str, column: &str, kind: Kind, value: impl Fn(&ModelReport) -> Option<f64> + 'static) -> Self {
        Self { name: name.into(), column: column.into(), value: Box::new(value), kind, difference: None }
    }

    fn compared(self, difference: fn(&Comparison) -> Option<Difference>) -> Self {
        Self { difference: Some(difference), ..self }
    }

    fn show(&self, value: f64) -> String {
        match self.kind {
            Kind::Share => format!("{value:.3}"),
            Kind::Count => HumanCount(value as u64).to_string(),
            Kind::Bytes => HumanBytes(value as u64).to_string(),
            Kind::Milliseconds => format!("{value:.1} ms"),
        }
    }

    fn show_change(&self, first: &ModelReport, model: &ModelReport) -> Option<String> {
        let (before, now) = ((self.value)(first)?, (self.value)(model)?);
        let interval = model.against_first.as_ref().zip(self.difference).and_then(|(against, pick)| pick(against));
        Some(match (self.kind, interval) {
            (_, Some(Difference { value, low, high, more_than_chance })) => {
                format!("{value:+.3} [{low:+.3}, {high:+.3}]{}", if more_than_chance { " *" } else { "  " })
            }
            // Two blanks where others have a star, so that the columns align.
            (Kind::Share, None) => format!("{:+.3}  ", now - before),
            _ => format!("{:+.1} %  ", 100.0 * (now / before - 1.0)),
        })
    }
}

/// The measures of a report, those of latency for the threads that were timed.
fn measures(report: &EvalReport) -> Vec<Measure> {
    let mut measures = vec![
        Measure::share("mAP@0.5", "map_50", |m| m.scores.coco.ap_50).compared(|c| c.ap_50),
        Measure::share("mAP@0.5:0.95", "map_50_95", |m| m.scores.coco.ap).compared(|c| c.ap),
        Measure::share("small-object recall", "small_recall", |m| m.scores.small.recall).compared(|c| c.small_recall),
        Measure::share("precision", "precision", |m| m.scores.best_f1.map(|best| best.precision)),
        Measure::share("recall", "recall", |m| m.scores.best_f1.map(|best| best.recall)),
        Measure::share("F1", "f1", |m| m.scores.best_f1.map(|best| best.f1)),
        Measure::share("  at confidence", "confidence", |m| m.scores.best_f1.map(|best| best.confidence)),
        Measure::new("parameters", "parameters", Kind::Count, |m| Some(m.parameters as f64)),
        Measure::new("file size", "file_bytes", Kind::Bytes, |m| Some(m.file_bytes as f64)),
    ];
    let timed = report.models.first().map(|model| model.latency.as_slice()).unwrap_or_default();
    for (i, latency) in timed.iter().enumerate() {
        let threads = latency.threads;
        let name = |share| format!("latency {share}, {}", counted(threads, "thread"));
        let column = |share| format!("latency_{share}_ms_{threads}_threads");
        let p50 = move |m: &ModelReport| m.latency.get(i).map(|l| l.p50_ms);
        let p90 = move |m: &ModelReport| m.latency.get(i).map(|l| l.p90_ms);
        measures.push(Measure::new(&name("p50"), &column("p50"), Kind::Milliseconds, p50));
        measures.push(Measure::new(&name("p90"), &column("p90"), Kind::Milliseconds, p90));
    }
    if !timed.is_empty() {
        let memory = |m: &ModelReport| m.memory_bytes.map(|bytes| bytes as f64);
        measures.push(Measure::new("memory", "memory_bytes", Kind::Bytes, memory));
    }
    measures
}

impl EvalReport {
    /// Head and rows: measures, a column for each model, and one for each change against the first.
    pub fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let mut head = vec![String::new()];
        for (i, model) in self.models.iter().enumerate() {
            head.push(model.name.clone());
            if i > 0 {
                head.push("change  ".into());
            }
        }
        let row = |measure: &Measure| {
            let mut cells = vec![measure.name.clone()];
            for (i, model) in self.models.iter().enumerate() {
                cells.push((measure.value)(model).map_or_else(|| "-".into(), |value| measure.show(value)));
                if let (true, Some(first)) = (i > 0, self.models.first()) {
                    cells.push(measure.show_change(first, model).unwrap_or_else(|| "-  ".into()));
                }
            }
            cells
        };
        let mut rows: Vec<Vec<String>> = measures(self).iter().map(row).collect();
        if self.models.iter().any(|model| model.beaten_by.is_some()) {
            let mut cells = vec!["beaten by".to_owned()];
            for (i, model) in self.models.iter().enumerate() {
                cells.push(model.beaten_by.clone().unwrap_or_else(|| "-".into()));
                cells.extend((i > 0).then(String::new));
            }
            rows.push(cells);
        }
        (head, rows)
    }

    /// What the table's numbers are of, and how its changes are to be read.
    pub fn captions(&self) -> Vec<String> {
        let Some(scores) = self.models.first().map(|model| &model.scores) else { return Vec::new() };
        let mut about = format!(
            "{} ({}): {}, {} ({} small, at most 32 x 32 pixels)",
            self.data.display(),
            self.split,
            counted(self.images, "image"),
            counted(scores.objects, "object"),
            HumanCount(scores.small.objects)
        );
        if scores.crowd_regions > 0 {
            let _ = write!(about, ", {}", counted(scores.crowd_regions, "crowd region"));
        }
        if self.unlabelled_images > 0 {
            let _ = write!(about, "; {} left out", counted(self.unlabelled_images, "unlabelled image"));
        }
        let mut captions = vec![about];
        if self.models.len() > 1 {
            captions.push(format!(
                "change against {}, with the {:.0} % interval of a paired bootstrap over images ({} draws); * more than chance",
                self.models[0].name,
                100.0 * self.settings.bootstrap_coverage,
                HumanCount(self.settings.bootstrap_draws)
            ));
        }
        if self.models.iter().any(|model| model.beaten_by.is_some()) {
            captions.push(
                "beaten by: a model that is at least as accurate (mAP@0.5:0.95), fast (one thread), small and sparing of \
                 memory, and better in one of these"
                    .to_owned(),
            );
        }
        captions
    }

    /// The table in Markdown.
    pub fn to_markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<_> = cells.iter().map(|cell| cell.trim().replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let (head, rows) = self.table();
        let mut text = line(&head);
        let _ = writeln!(text, "|---|{}", "---:|".repeat(head.len() - 1));
        text.extend(rows.iter().map(|row| line(row)));
        for caption in self.captions() {
            let _ = write!(text, "\n{}\n", caption.replace('*', "\\*"));
        }
        text
    }

    /// One row a model, every number as exact as it is.
    pub fn to_csv(&self) -> String {
        let measures = measures(self);
        let compared: Vec<_> = measures.iter().filter_map(|m| Some((&m.column, m.difference?))).collect();
        let mut head: Vec<String> = vec!["model".into(), "path".into(), "images".into()];
        head.extend(measures.iter().map(|m| m.column.clone()));
        for (column, _) in &compared {
            head.extend(["change", "low", "high", "more_than_chance"].map(|what| format!("{column}_{what}")));
        }
        let mut records = vec![head];
        for model in &self.models {
            let mut cells = vec![model.name.clone(), model.path.display().to_string()];
            cells.push(self.images.to_string());
            let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            cells.extend(measures.iter().map(|m| number((m.value)(model))));
            for (_, pick) in &compared {
                match model.against_first.as_ref().and_then(pick) {
                    Some(Difference { value, low, high, more_than_chance }) => {
                        cells.extend([value, low, high].map(|v| v.to_string()));
                        cells.push(more_than_chance.to_string());
                    }
                    None => cells.extend([const { String::new() }; 4]),
                }
            }
            records.push(cells);
        }
        csv_text(&records)
    }
}

/// The records, quoted where they must be (RFC 4180). Writing to memory cannot fail, nor can records of one length.
fn csv_text(records: &[Vec<String>]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = records.iter().try_for_each(|record| writer.write_record(record));
    debug_assert!(written.is_ok(), "{written:?}");
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}
