//! `results.csv` of a run: a row per epoch.

use crate::{Error, Result, text};
use std::{fs, io, path::Path};

/// Column of the epoch's number, from 1.
pub const EPOCH: &str = "epoch";
/// Column of the seconds since the run began.
pub const TIME: &str = "time";
/// Column of mAP at IoU 0.5 on the validation split.
pub const MAP50: &str = "metrics/mAP50(B)";
/// Column of mAP at IoU 0.5:0.95: what decides which epoch is the best.
pub const MAP: &str = "metrics/mAP50-95(B)";
/// Column of the recall of objects under 32 x 32 pixels at IoU 0.5.
pub const SMALL_RECALL: &str = "metrics/small_recall50";

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
        let fields = |line: &str| line.split(',').map(|field| field.trim().to_owned()).collect::<Vec<_>>();
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let columns = lines.next().map(|(_, line)| fields(line)).unwrap_or_default();
        if !columns.iter().any(|column| column == EPOCH) {
            return Err(format!("its first line names no column {EPOCH:?}"));
        }
        let mut rows = Vec::new();
        for (number, line) in lines {
            let fields = fields(line);
            if fields.len() != columns.len() {
                return Err(format!("line {} has {} fields, expected {}", number + 1, fields.len(), columns.len()));
            }
            let value = |field: &String| match field.as_str() {
                "" => Ok(None),
                text => text.parse().map(Some).map_err(|_| format!("line {}: {text:?} is not a number", number + 1)),
            };
            rows.push(fields.iter().map(value).collect::<Result<Vec<Option<f64>>, String>>()?);
        }
        Ok(Self { columns, rows })
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

    /// The row of the highest mAP@0.5:0.95, the first of equals; `None` where nothing was validated.
    pub fn best_row(&self) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for row in 0..self.rows.len() {
            if let Some(map) = self.value(row, MAP)
                && best.is_none_or(|(_, highest)| map > highest)
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
    fn the_first_best_epoch_and_empty_fields() {
        let text =
            "epoch,time, metrics/mAP50-95(B),metrics/mAP50(B)\n1,10,,\n2,20,0.5,0.6\n3,30,0.5,0.7\n4,44, nan,0.1\n";
        let results = Results::parse(text).unwrap();
        assert_eq!((results.len(), results.best_row(), results.seconds_per_epoch()), (4, Some(1), Some(11.0)));
        assert_eq!(results.curve(MAP), [(2.0, 0.5), (3.0, 0.5)]);
        assert_eq!(results.value(0, MAP50), None);
        assert_eq!(results.value(0, "no such column"), None);
        let unvalidated = Results::parse("epoch,time\n1,10\n").unwrap();
        assert_eq!((unvalidated.best_row(), unvalidated.is_empty()), (None, false));
    }

    #[test]
    fn what_is_no_table_of_numbers_is_named_by_its_line() {
        for (text, words) in [
            ("", "names no column"),
            ("a,b\n1,2\n", "names no column"),
            ("epoch,time\n1,2\n3\n", "line 3 has 1 fields, expected 2"),
            ("epoch,time\n1,soon\n", "line 2: \"soon\" is not a number"),
        ] {
            let found = Results::parse(text).unwrap_err();
            assert!(found.contains(words), "{found}");
        }
    }
}
