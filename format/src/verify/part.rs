//! One part: bytes, layout, then every image read in two ways.

use super::{
    Problem, describe, files, pages,
    rules::{self, Rules},
};
use crate::{
    ContentHasher, ImageDigests, ImageKey, ImageRecord, PartEntry, checked, columns::Table, digest::to_hex,
    part::MappedPart, storage::Folder,
};
use std::path::Path;

/// After this many problems in one part the rest is counted, not listed.
const MAX_LISTED: usize = 20;

/// Everything that is wrong with a part.
pub fn check(folder: &Path, entry: &PartEntry, rules: &Rules<'_>, progress: &(dyn Fn(u64) + Sync)) -> Vec<Problem> {
    let mut problems = Problems { entry, list: Vec::new(), more: 0 };
    for (table, path, file, _) in entry.files(folder) {
        if let Err(problem) = files::check_bytes(&path, file, progress) {
            problems.push(table, problem);
        }
    }
    match (problems.list.is_empty(), rules.manifest.is_archive()) {
        (false, _) => {}
        (true, false) => check_content(folder, entry, rules, &mut problems),
        (true, true) => check_archive(folder, entry, rules, &mut problems),
    }
    problems.finish()
}

/// An archive has no layout of its own to check: footers, then the values.
fn check_archive(folder: &Path, entry: &PartEntry, rules: &Rules<'_>, problems: &mut Problems<'_>) {
    if let Err((table, problem)) = checked::check_archive_files(folder, entry, rules.manifest) {
        problems.push(table, problem);
    } else if let Err(problem) = check_images(folder, entry, None, rules, problems) {
        problems.push(Table::Images, format!("read with the arrow reader: {problem}"));
    }
}

fn check_content(folder: &Path, entry: &PartEntry, rules: &Rules<'_>, problems: &mut Problems<'_>) {
    let part = match MappedPart::open(&Folder::new(folder), entry, rules.manifest) {
        Ok(part) => part,
        Err(error) => {
            let predictions = entry.predictions_path(folder);
            let at_fault = matches!(&error, crate::Error::Cache { path, .. } | crate::Error::Io { path, .. } if *path == predictions);
            let table = if at_fault { Table::Predictions } else { Table::Images };
            return problems.push(table, describe(error));
        }
    };
    for table in [Table::Images, Table::Predictions] {
        for problem in pages::check(&part, table, rules.manifest) {
            problems.push(table, problem);
        }
    }
    if problems.list.is_empty()
        && let Err(problem) = check_images(folder, entry, Some(&part), rules, problems)
    {
        problems.push(Table::Images, format!("read with the arrow reader: {problem}"));
    }
}

/// Reads every image with the arrow reader, and with the mapped one where the part can be mapped.
fn check_images(
    folder: &Path,
    entry: &PartEntry,
    part: Option<&MappedPart>,
    rules: &Rules<'_>,
    problems: &mut Problems<'_>,
) -> Result<(), String> {
    let manifest = rules.manifest;
    let shape = manifest.shape();
    let mut content = ContentHasher::default();
    let mut last: Option<ImageRecord> = None;
    let mut row = 0usize;
    let (mut next_row, mut next_class_row) = (0i64, 0i64);
    checked::decode(folder, entry, manifest, |stored| {
        let record = &stored.record;
        let key = key_of(record);
        let mut problem = |text: String| problems.push_image(record, text);
        match part.map(|part| part.image(row)) {
            Some(Err(error)) => problem(describe(error)),
            Some(Ok(view)) if view.to_record() != *record || view.first_row as i64 != stored.first_row => {
                problem("the mapped reader and the arrow reader read different values".to_owned());
            }
            Some(Ok(_)) | None => {}
        }
        if let Some(last) = last.as_ref().map(key_of).filter(|last| *last >= key) {
            problem(format!("it does not come after {last:?}"));
        }
        if let Some(text) = rules::of_views(last.as_ref(), Some(record), manifest.settings.views) {
            problem(text);
        }
        let in_range = entry.first_image_id <= key.0 && key.0 <= entry.last_image_id;
        if !in_range || (row == 0 && key.0 != entry.first_image_id) {
            problem("its id is not in the range that the manifest gives for the part".to_owned());
        }
        if stored.first_row != next_row || stored.label_count as usize != record.labels.as_ref().map_or(0, Vec::len) {
            problem(format!("its first_row {} or label_count {} is wrong", stored.first_row, stored.label_count));
        }
        if stored.first_class_row != next_class_row {
            problem(format!("its first_class_row is {}, expected {next_class_row}", stored.first_class_row));
        }
        for text in rules.of_image(record) {
            problem(text);
        }
        let digests = ImageDigests::of(record, &shape);
        if digests.record != stored.record_sha256 {
            problem(format!(
                "its record_sha256 is {}, its values give {}",
                to_hex(&stored.record_sha256),
                to_hex(&digests.record)
            ));
        }
        if digests.labels != stored.labels_sha256 {
            problem(format!(
                "its labels_sha256 is {}, its labels give {}",
                to_hex(&stored.labels_sha256),
                to_hex(&digests.labels)
            ));
        }
        content.push(&digests);
        next_row = next_row.saturating_add(i64::from(stored.row_count));
        next_class_row = next_class_row.saturating_add(i64::from(stored.class_row_count));
        last = Some(stored.record);
        row += 1;
        Ok(())
    })?;
    let end = rules::of_views(last.as_ref(), None, manifest.settings.views);
    end.or_else(|| rules::of_part_end(entry, last.as_ref().map(key_of), content.finish().content_sha256))
        .map_or(Ok(()), Err)
}

fn key_of(record: &ImageRecord) -> ImageKey {
    (record.image_id, record.view)
}

struct Problems<'a> {
    entry: &'a PartEntry,
    list: Vec<Problem>,
    more: usize,
}

impl Problems<'_> {
    fn push(&mut self, table: Table, problem: String) {
        if self.list.len() < MAX_LISTED {
            let file = format!("{}/{}.parquet", table.folder(), self.entry.name);
            self.list.push(Problem { file, problem });
        } else {
            self.more += 1;
        }
    }

    fn push_image(&mut self, record: &ImageRecord, problem: String) {
        let image = format!("image {}, view {} ({})", record.image_id, record.view, record.path);
        self.push(Table::Images, format!("{image}: {problem}"));
    }

    fn finish(mut self) -> Vec<Problem> {
        if self.more > 0 {
            let file = format!("images/{}.parquet", self.entry.name);
            self.list.push(Problem { file, problem: format!("and {} more problems in this part", self.more) });
        }
        self.list
    }
}
