//! The bytes of values in mapped files and the encodings of archives, held against files that were just written.

use super::{
    digests::{of_image, of_predictions},
    formula::value,
    table,
};
use crate::cache_support::{compact_manifest, half_compact_manifest, manifest, records, small_cache, write_cache};
use logitcache::{
    convert::{Conversion, ConvertOptions, Target},
    types::{LabelBox, LogitType, Store},
};
use logitcache_format::ImageRecord;
use parquet::{
    basic::{Compression, Encoding, Type},
    file::{
        metadata::ColumnChunkMetaData,
        reader::{FileReader as _, SerializedFileReader},
    },
};
use std::{fs, path::Path, sync::atomic::AtomicBool};

/// The column chunks of a part's file, which has one row group, and the file's bytes.
fn chunks(folder: &Path, table: &str, part: &str) -> (Vec<ColumnChunkMetaData>, Vec<u8>) {
    let path = folder.join(table).join(format!("{part}.parquet"));
    let reader = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 1);
    (reader.metadata().row_group(0).columns().to_vec(), fs::read(path).unwrap())
}

/// The name in the document's table of byte counts.
fn row_name(path: &str, physical: Type) -> String {
    match (path.split('.').next().unwrap(), physical) {
        ("labels", _) => "a leaf of `labels`".to_owned(),
        (list @ ("class_logits" | "dfl_logits"), _) => format!("`{list}`"),
        (name, Type::BYTE_ARRAY) if name.ends_with("sha256") => "STRING of 64 digits".to_owned(),
        (_, Type::BYTE_ARRAY) => "STRING".to_owned(),
        (_, other) => other.to_string(),
    }
}

/// The bytes of a chunk's values, by the document's formula.
fn stated_bytes(chunk: &ColumnChunkMetaData, rows: usize, list_length: usize) -> usize {
    let path = chunk.column_path().string();
    let name = row_name(&path, chunk.column_type());
    let rows_of_table = table("| type | bytes for `rows` rows |");
    let row = rows_of_table.iter().find(|row| row[0].split(", ").any(|known| known == name));
    let formula = &row.unwrap_or_else(|| panic!("the document does not say how many bytes {name} has"))[1];
    let formula = formula.split([',', ';']).next().unwrap().replace(" x ", " * ");
    let formula = formula
        .replace("the chunk's `unencoded_byte_array_data_bytes`", "text")
        .replace("the chunk's definition level histogram at level 1", "present")
        .replace("list length", "length");
    let named = |name: &str| match name {
        "rows" => rows as f64,
        "length" => list_length as f64,
        "text" => chunk.unencoded_byte_array_data_bytes().unwrap() as f64,
        "present" => chunk.definition_level_histogram().unwrap().get(1).unwrap() as f64,
        other => panic!("{formula:?} has the name {other:?}"),
    };
    value(&formula, &named) as usize
}

/// The values of a column as the file should have them; `None` of those that are places in other files or digests.
fn expected(records: &[ImageRecord], class_len: usize, table: &str, path: &str) -> Option<Vec<u8>> {
    let of_labels = |field: fn(&LabelBox) -> [u8; 4]| {
        let labels = records.iter().flat_map(|r| r.labels.iter().flatten());
        Some(labels.flat_map(field).collect())
    };
    let all = |of: &dyn Fn(&ImageRecord) -> Vec<u8>| Some(records.iter().flat_map(of).collect::<Vec<u8>>());
    let rows = |r: &ImageRecord, value: &[u8]| value.repeat(r.predictions.len());
    match (table, path) {
        ("images", "record_sha256" | "labels_sha256" | "first_row" | "first_class_row") => None,
        ("images", "label_count") => {
            all(&|r| (r.labels.as_deref().unwrap_or_default().len() as u32).to_le_bytes().to_vec())
        }
        ("images", "labelled" | "view_flip") => {
            let bits: Vec<bool> =
                records.iter().map(|r| if path == "labelled" { r.labels.is_some() } else { r.change.flip }).collect();
            let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
            Some(bits.chunks(8).map(byte).collect())
        }
        ("images", "file_sha256") => {
            all(&|r| [&64u32.to_le_bytes(), logitcache_format::to_hex(&r.file_sha256).as_bytes()].concat())
        }
        ("images", "labels.list.element.class_id") => of_labels(|l| l.class_id.to_le_bytes()),
        ("images", "labels.list.element.x1") => of_labels(|l| l.box_xyxy_px.x1.to_le_bytes()),
        ("images", "labels.list.element.y1") => of_labels(|l| l.box_xyxy_px.y1.to_le_bytes()),
        ("images", "labels.list.element.x2") => of_labels(|l| l.box_xyxy_px.x2.to_le_bytes()),
        ("images", "labels.list.element.y2") => of_labels(|l| l.box_xyxy_px.y2.to_le_bytes()),
        ("images", name) => all(&|r| of_image(r, class_len, name)),
        (_, "image_id") => all(&|r| rows(r, &r.image_id.to_le_bytes())),
        (_, "view") => all(&|r| rows(r, &r.view.to_le_bytes())),
        (_, path) => all(&|r| of_predictions(r, path.split('.').next().unwrap())),
    }
}

#[test]
fn values_are_the_last_bytes_of_their_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let (m, records) = small_cache(folder.path());
    let parts = [&records[..5], &records[5..]];
    let mut compared = 0;
    for (part, records) in m.parts.iter().zip(parts) {
        for table in ["images", "predictions"] {
            let (chunks, bytes) = chunks(folder.path(), table, &part.name);
            let mut start = 4;
            for chunk in &chunks {
                let path = chunk.column_path().string();
                let rows = if table == "images" { part.images } else { part.rows } as usize;
                let stated = stated_bytes(chunk, rows, m.dfl_len());
                // There is no gap between chunks: the first begins at byte 4.
                let (from, length) = chunk.byte_range();
                assert_eq!(from, start, "{path}");
                start = from + length;
                let end = start as usize;
                if let Some(expected) = expected(records, m.class_len(), table, &path) {
                    assert_eq!(expected.len(), stated, "{path} of {table}");
                    assert!(bytes[end - stated..end] == expected, "{path} of {table} has other values");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 2 * (29 + 12));
}

#[test]
fn archives_have_the_encodings_of_the_document() {
    let rows = table("| type | encoding |");
    let stated = |name: &str| {
        let row = rows.iter().find(|row| row[0].split(", ").any(|known| known == name));
        row.unwrap_or_else(|| panic!("the document has no encoding for {name}"))[1].clone()
    };
    let of_logits = |logits: LogitType, is_class: bool| match logits {
        LogitType::Float16 => "other FLOAT16",
        LogitType::Bits8Dfl if is_class => "other FLOAT16",
        LogitType::Bits8 | LogitType::Bits8Dfl => "FLOAT16 of 8 bits",
    };
    let of = |logits| match logits {
        LogitType::Float16 => manifest(3, 4, Store::All, 12),
        LogitType::Bits8 => compact_manifest(3, 4, Store::All, 12),
        LogitType::Bits8Dfl => half_compact_manifest(3, 4, Store::All, 12),
    };
    for m in [LogitType::Float16, LogitType::Bits8, LogitType::Bits8Dfl].map(of) {
        let dir = tempfile::tempdir().unwrap();
        let (cache, out) = (dir.path().join("cache"), dir.path().join("archive"));
        let m = write_cache(&cache, m.clone(), &[records(&m, 7)]);
        let options = ConvertOptions { cache, target: Target::Archive, out: out.clone(), overwrite: false };
        Conversion::prepare(options).unwrap().run(&AtomicBool::new(false), &|_| {}).unwrap();
        for table in ["images", "predictions"] {
            for chunk in chunks(&out, table, &m.parts[0].name).0 {
                let path = chunk.column_path().string();
                let name = match chunk.column_type() {
                    Type::BYTE_ARRAY => "STRING".to_owned(),
                    Type::FIXED_LEN_BYTE_ARRAY => {
                        of_logits(m.settings.logits, path.starts_with("class_logits")).to_owned()
                    }
                    other => other.to_string(),
                };
                // RLE is that of levels; a dictionary itself is PLAIN.
                let mut found: Vec<Encoding> =
                    chunk.encodings().filter(|encoding| *encoding != Encoding::RLE).collect();
                if found.contains(&Encoding::RLE_DICTIONARY) {
                    found.retain(|encoding| *encoding != Encoding::PLAIN);
                }
                let found: Vec<String> = found.iter().map(Encoding::to_string).collect();
                assert_eq!(found, [stated(&name)], "{path} of {table} with {:?}", m.settings.logits);
                assert!(matches!(chunk.compression(), Compression::ZSTD(_)), "{path}");
            }
        }
    }
}
