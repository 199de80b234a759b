//! The published schemas and docs/format.md say what the code does.
#![allow(clippy::unwrap_used)]

mod cache_support;
mod common;
mod document;

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
