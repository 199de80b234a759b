//! The published schemas and the column tables of docs/format.md are those of the code.
#![allow(clippy::unwrap_used)]

mod common;

use logitcache::{
    audit::AuditReport,
    cache::{
        Manifest, ShardJob, ShardRecord, VerifyReport,
        columns::{Shape, Table},
    },
    caches::{CacheDiff, CacheWritten},
    convert::ConvertReport,
    dataset::synth::SynthSummary,
    eval::EvalReport,
    inspect::{CacheSummary, ImageSummary, ModelSummary},
    issues::IssuesReport,
    label::LabelReport,
    predict::PredictReport,
    quantize::QuantizeReport,
    select::SelectReport,
    teach::{BuildReport, ShardsMerged},
    toolkit::{CheckReport, DedupReport, DiffReport, Manifest as DataManifest, Stats},
};
use logitcache_format::{
    DETECT, HeadKind, ROW_GROUP_BYTES, ROW_GROUP_IMAGES,
    columns::{MAX_LIST_LEN, MAX_STRIDES},
    types::Views,
};
use schemars::schema_for;
use serde_json::{Value, json};
use std::{fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn table(table: Table) -> Value {
    let shape = Shape::default();
    let columns = shape.columns(table).into_iter().map(|c| {
        json!({"name": c.name, "type": c.kind.type_name(), "unit": c.unit, "meaning": c.meaning, "in_record_sha256": c.hashed})
    });
    let columns: Vec<Value> = columns.collect();
    json!({
        "title": format!("{}/*.parquet", table.folder()),
        "parquet_schema": shape.message_type(table).lines().collect::<Vec<_>>(),
        "columns": columns,
    })
}

#[test]
fn published_schemas_are_those_of_the_code() {
    let schemas = [
        ("manifest.schema.json", serde_json::to_value(schema_for!(Manifest)).unwrap()),
        ("audit.schema.json", serde_json::to_value(schema_for!(AuditReport)).unwrap()),
        ("build.schema.json", serde_json::to_value(schema_for!(BuildReport)).unwrap()),
        ("cache-diff.schema.json", serde_json::to_value(schema_for!(CacheDiff)).unwrap()),
        ("cache-written.schema.json", serde_json::to_value(schema_for!(CacheWritten)).unwrap()),
        ("convert.schema.json", serde_json::to_value(schema_for!(ConvertReport)).unwrap()),
        ("data-check.schema.json", serde_json::to_value(schema_for!(CheckReport)).unwrap()),
        ("data-dedup.schema.json", serde_json::to_value(schema_for!(DedupReport)).unwrap()),
        ("data-diff.schema.json", serde_json::to_value(schema_for!(DiffReport)).unwrap()),
        ("data-manifest.schema.json", serde_json::to_value(schema_for!(DataManifest)).unwrap()),
        ("data-stats.schema.json", serde_json::to_value(schema_for!(Stats)).unwrap()),
        ("eval.schema.json", serde_json::to_value(schema_for!(EvalReport)).unwrap()),
        ("inspect.schema.json", serde_json::to_value(schema_for!(CacheSummary)).unwrap()),
        ("inspect-image.schema.json", serde_json::to_value(schema_for!(ImageSummary)).unwrap()),
        ("inspect-model.schema.json", serde_json::to_value(schema_for!(ModelSummary)).unwrap()),
        ("issues.schema.json", serde_json::to_value(schema_for!(IssuesReport)).unwrap()),
        ("label.schema.json", serde_json::to_value(schema_for!(LabelReport)).unwrap()),
        ("quantize.schema.json", serde_json::to_value(schema_for!(QuantizeReport)).unwrap()),
        ("select.schema.json", serde_json::to_value(schema_for!(SelectReport)).unwrap()),
        ("predict.schema.json", serde_json::to_value(schema_for!(PredictReport)).unwrap()),
        ("shard-job.schema.json", serde_json::to_value(schema_for!(ShardJob)).unwrap()),
        ("shard-record.schema.json", serde_json::to_value(schema_for!(ShardRecord)).unwrap()),
        ("shards-merged.schema.json", serde_json::to_value(schema_for!(ShardsMerged)).unwrap()),
        ("synth.schema.json", serde_json::to_value(schema_for!(SynthSummary)).unwrap()),
        ("verify.schema.json", serde_json::to_value(schema_for!(VerifyReport)).unwrap()),
        ("images.parquet.json", table(Table::Images)),
        ("predictions.parquet.json", table(Table::Predictions)),
    ];
    for (name, schema) in schemas {
        common::published_schema_is(name, &schema);
    }
}

/// The text between two others, in the format's document; lines joined.
fn between(from: &str, to: &str) -> String {
    let text = fs::read_to_string(root().join("docs/format.md")).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("docs/format.md lacks {from:?}"));
    rest.split_once(to).unwrap_or_else(|| panic!("docs/format.md lacks {to:?} after {from:?}")).0.to_owned()
}

#[test]
fn numbers_of_the_document_are_those_of_the_code() {
    assert_eq!(between("A row group ends after ", " images"), ROW_GROUP_IMAGES.to_string());
    let bytes = between("images or once its values reach ", " MiB, logits of any type counted as float16;");
    assert_eq!(bytes.parse::<usize>().unwrap() << 20, ROW_GROUP_BYTES);
    assert_eq!(between("**Row groups end at ", " MiB"), bytes);
    // The head's table.
    let heads = between("| head | predictions | score | box |", "On a grid");
    let named: Vec<&str> = heads.split("| `").skip(1).filter_map(|row| row.split('`').next()).collect();
    assert_eq!(named, HeadKind::ALL.map(HeadKind::as_str));
    assert!(between("| `task` | `", "`") == DETECT);
    // Columns that the digest of a record leaves out.
    let left_out = between("every column of `images` in its order, but ", ":").replace(" and ", ", ");
    let columns = Shape::default().columns(Table::Images);
    let not_hashed: Vec<&str> = columns.into_iter().filter(|c| !c.hashed).map(|c| c.name).collect();
    assert_eq!(left_out.split(", ").collect::<Vec<_>>(), not_hashed);
    // Anchors and digests: tests/python/check_cache.py computes them again, as the document says.
    let limits = between("## Limits ", "1 GiB of manifest");
    assert!(limits.starts_with(&format!("1,000 views per image, {} values per list", group(MAX_LIST_LEN))), "{limits}");
    assert!(limits.contains(&format!("{MAX_STRIDES} strides")) && Views::MOST == 1000, "{limits}");
}

/// "65,536"
fn group(number: usize) -> String {
    let digits = number.to_string();
    let (head, tail) = digits.split_at(digits.len() - 3);
    format!("{head},{tail}")
}

#[test]
fn the_documentation_shows_every_column_as_it_is() {
    let text = fs::read_to_string(root().join("docs/format.md")).unwrap();
    for table in [Table::Images, Table::Predictions] {
        let rows: String = Shape::default()
            .columns(table)
            .into_iter()
            .map(|c| format!("| `{}` | {} | {} | {} |\n", c.name, c.kind.type_name(), c.unit, c.meaning))
            .collect();
        assert!(text.contains(&rows), "docs/format.md lacks this table:\n{rows}");
    }
}
