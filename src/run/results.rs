//! `results.csv`: a row per epoch.

use crate::{Error, Result, fsio, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// Column of the epoch's number, from 1.
pub const EPOCH: &str = "epoch";
/// Column of the seconds since the run began.
pub const TIME: &str = "time";
/// Columns of the label losses.
pub const LABEL_LOSSES: [&str; 3] = ["train/box_loss", "train/cls_loss", "train/dfl_loss"];
/// Columns of the distillation losses.
pub const DISTILL_LOSSES: [&str; 3] = ["distill/box_loss", "distill/cls_loss", "distill/dfl_loss"];
/// Column of the precision at the confidence of maximum F1.
pub const PRECISION: &str = "metrics/precision(B)";
/// Column of the recall there.
pub const RECALL: &str = "metrics/recall(B)";
/// Column of mAP at IoU 0.5 on the validation split.
pub const MAP50: &str = "metrics/mAP50(B)";
/// Column of mAP at IoU 0.5:0.95: what decides which epoch is the best.
pub const MAP: &str = "metrics/mAP50-95(B)";
/// Column of the recall of objects under 32 x 32 pixels at IoU 0.5.
pub const SMALL_RECALL: &str = "metrics/small_recall50";
/// Column of the learning rate.
pub const LEARNING_RATE: &str = "lr/pg0";
/// Column of the share of time that steps waited for data.
pub const DATA_WAIT: &str = "data_wait";
/// Column of the images per second.
pub const IMAGES_PER_S: &str = "images_per_s";

/// One epoch. Losses are means over its steps; metrics are of the averaged (EMA) weights on the validation split, null
/// where this epoch was not validated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EpochRow {
    /// From 1.
    pub epoch: usize,
    /// Seconds since the run began, interruptions not counted.
    pub time_s: f64,
    /// Labels: CIoU loss times its gain.
    pub box_loss: f64,
    /// Labels: class loss times its gain.
    pub cls_loss: f64,
    /// Labels: distribution focal loss times its gain.
    pub dfl_loss: f64,
    /// Teacher: IoU loss to its boxes times the gain; 0 where not distilled.
    pub distill_box_loss: f64,
    /// Teacher: class loss times its gain; 0 where not distilled.
    pub distill_cls_loss: f64,
    /// Teacher: KL over DFL bins times its gain; 0 where not distilled.
    pub distill_dfl_loss: f64,
    /// Precision at the confidence of maximum F1.
    pub precision: Option<f64>,
    /// Recall there.
    pub recall: Option<f64>,
    /// mAP at IoU 0.5.
    pub map50: Option<f64>,
    /// mAP at IoU 0.5:0.95.
    pub map50_95: Option<f64>,
    /// Recall of objects under 32 x 32 pixels at IoU 0.5.
    pub small_recall: Option<f64>,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Share of the epoch's training time that steps waited for data.
    pub data_wait: f64,
    /// Images per second of the epoch's training part.
    pub images_per_s: f64,
}

impl EpochRow {
    /// Every column and its text in this row, in the file's order; names are Ultralytics' own where they mean the same.
    fn fields(&self) -> [(&'static str, String); 16] {
        let number = |v: f64| format!("{v:.6}");
        let metric = |v: Option<f64>| v.map(number).unwrap_or_default();
        let [label_box, label_cls, label_dfl] = LABEL_LOSSES;
        let [distill_box, distill_cls, distill_dfl] = DISTILL_LOSSES;
        [
            (EPOCH, self.epoch.to_string()),
            (TIME, format!("{:.3}", self.time_s)),
            (label_box, number(self.box_loss)),
            (label_cls, number(self.cls_loss)),
            (label_dfl, number(self.dfl_loss)),
            (distill_box, number(self.distill_box_loss)),
            (distill_cls, number(self.distill_cls_loss)),
            (distill_dfl, number(self.distill_dfl_loss)),
            (PRECISION, metric(self.precision)),
            (RECALL, metric(self.recall)),
            (MAP50, metric(self.map50)),
            (MAP, metric(self.map50_95)),
            (SMALL_RECALL, metric(self.small_recall)),
            (LEARNING_RATE, format!("{:.8}", self.lr)),
            (DATA_WAIT, format!("{:.4}", self.data_wait)),
            (IMAGES_PER_S, format!("{:.2}", self.images_per_s)),
        ]
    }
}

/// Writes the rows as `results.csv`.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn write(path: &Path, rows: &[EpochRow]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let words = |e: csv::Error| Error::io(path, "write to", io::Error::other(e));
    writer.write_record(EpochRow::default().fields().map(|(column, _)| column)).map_err(words)?;
    for row in rows {
        writer.write_record(row.fields().map(|(_, text)| text)).map_err(words)?;
    }
    let bytes = writer.into_inner().map_err(|e| Error::io(path, "write to", io::Error::other(e.to_string())))?;
    Ok(fsio::write_atomic(path, &bytes)?)
}

/// The numbers of a run's epochs. Also reads Ultralytics' file of the same name, whose columns are padded with blanks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results {
    columns: Vec<String>,
    /// `[epochs][columns]`; `None` for an empty field.
    rows: Vec<Vec<Option<f64>>>,
}

impl Results {
    /// Reads the file; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Run`] naming the line that is no row of numbers, [`Error::Io`].
    pub fn load(path: &Path) -> Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => {
                text::decode(&bytes).and_then(|text| Self::parse(&text)).map(Some).map_err(|found| Error::Run {
                    path: path.to_owned(),
                    found,
                    remedy: "Restore the file from a copy, or leave this run out.".into(),
                })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(path, "read", e)),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
        let columns: Vec<String> = reader.headers().map_err(|e| e.to_string())?.iter().map(str::to_owned).collect();
        if !columns.iter().any(|column| column == EPOCH) {
            return Err(format!("its first line has no column {EPOCH:?}"));
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|e| e.to_string())?;
            let line = record.position().map_or(0, csv::Position::line);
            if record.len() != columns.len() {
                return Err(format!("line {line} has {} fields, expected {}", record.len(), columns.len()));
            }
            let value = |field: &str| match field {
                "" => Ok(None),
                text => text.parse().map(Some).map_err(|_| format!("line {line}: {text:?} is not a number")),
            };
            rows.push(record.iter().map(value).collect::<Result<Vec<Option<f64>>, String>>()?);
        }
        Ok(Self { columns, rows })
    }

    /// Names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// `[epochs][columns]`; `None` for an empty field.
    pub fn rows(&self) -> &[Vec<Option<f64>>] {
        &self.rows
    }

    /// Epochs that are finished.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no epoch is finished.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The value of a column in one row; `None` where the file lacks it or it is no finite number.
    pub fn value(&self, row: usize, column: &str) -> Option<f64> {
        let at = self.columns.iter().position(|c| c == column)?;
        self.rows.get(row)?.get(at).copied().flatten().filter(|value| value.is_finite())
    }

    /// (epoch, value) wherever the column has a finite number.
    pub fn curve(&self, column: &str) -> Vec<(f64, f64)> {
        (0..self.rows.len()).filter_map(|row| Some((self.value(row, EPOCH)?, self.value(row, column)?))).collect()
    }

    /// The row of the highest mAP@0.5:0.95, the last of equals as in training; `None` where nothing was validated.
    pub fn best_row(&self) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for row in 0..self.rows.len() {
            if let Some(map) = self.value(row, MAP)
                && best.is_none_or(|(_, highest)| map >= highest)
            {
                best = Some((row, map));
            }
        }
        best.map(|(row, _)| row)
    }

    /// Seconds an epoch took, validation included: the mean over all.
    pub fn seconds_per_epoch(&self) -> Option<f64> {
        let last = self.rows.len().checked_sub(1)?;
        Some(self.value(last, TIME)? / self.rows.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_best_epoch_and_empty_fields() {
        let text =
            "epoch,time, metrics/mAP50-95(B),metrics/mAP50(B)\n1,10,,\n2,20,0.5,0.6\n3,30,0.5,0.7\n4,44, nan,0.1\n";
        let results = Results::parse(text).unwrap();
        assert_eq!((results.len(), results.best_row(), results.seconds_per_epoch()), (4, Some(2), Some(11.0)));
        assert_eq!(results.curve(MAP), [(2.0, 0.5), (3.0, 0.5)]);
        assert_eq!(results.value(0, MAP50), None);
        assert_eq!(results.value(0, "no such column"), None);
        let unvalidated = Results::parse("epoch,time\n1,10\n").unwrap();
        assert_eq!((unvalidated.best_row(), unvalidated.is_empty()), (None, false));
    }

    #[test]
    fn what_is_no_table_of_numbers_is_named_by_its_line() {
        for (text, words) in [
            ("", "has no column"),
            ("a,b\n1,2\n", "has no column"),
            ("epoch,time\n1,2\n3\n", "line 3 has 1 fields, expected 2"),
            ("epoch,time\n1,soon\n", "line 2: \"soon\" is not a number"),
        ] {
            let found = Results::parse(text).unwrap_err();
            assert!(found.contains(words), "{found}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let row = |epoch, map50| EpochRow { epoch, box_loss: 0.5, map50, map50_95: map50, ..EpochRow::default() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        write(&path, &[row(1, Some(0.25)), row(2, None), row(3, Some(0.25))]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert!(lines.iter().all(|line| line.len() == 16), "{text}");
        let at = lines[0].iter().position(|column| *column == "metrics/mAP50(B)").unwrap();
        let column: Vec<&str> = lines.iter().map(|line| line[at]).collect();
        assert_eq!(column, ["metrics/mAP50(B)", "0.250000", "", "0.250000"]);
        let results = Results::load(&path).unwrap().unwrap();
        assert_eq!(results.curve(MAP50), [(1.0, 0.25), (3.0, 0.25)]);
        assert_eq!(
            (results.best_row(), results.value(1, LABEL_LOSSES[0]), results.value(1, MAP)),
            (Some(2), Some(0.5), None)
        );
    }
}
