//! The published schemas and the column tables of docs/format.md are those of the code.
#![allow(clippy::unwrap_used)]

mod common;

use logitcache::{
    audit::AuditReport,
    build::BuildReport,
    cache::{Manifest, VerifyReport, columns::Table},
    convert::ConvertReport,
    dataset::synth::SynthSummary,
    eval::EvalReport,
    inspect::{CacheSummary, ImageSummary},
    predict::PredictReport,
    types::Store,
};
use schemars::schema_for;
use serde_json::{Value, json};
use std::{fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn table(table: Table) -> Value {
    let columns = table.columns(Store::All).iter();
    let columns: Vec<Value> = columns
        .map(|c| json!({"name": c.name, "type": c.kind.type_name(), "unit": c.unit, "meaning": c.meaning}))
        .collect();
    json!({
        "title": format!("{}/*.parquet", table.folder()),
        "parquet_schema": table.message_type(Store::All).lines().collect::<Vec<_>>(),
        "columns": columns,
    })
}

#[test]
fn published_schemas_are_those_of_the_code() {
    let schemas = [
        ("manifest.schema.json", serde_json::to_value(schema_for!(Manifest)).unwrap()),
        ("audit.schema.json", serde_json::to_value(schema_for!(AuditReport)).unwrap()),
        ("build.schema.json", serde_json::to_value(schema_for!(BuildReport)).unwrap()),
        ("convert.schema.json", serde_json::to_value(schema_for!(ConvertReport)).unwrap()),
        ("eval.schema.json", serde_json::to_value(schema_for!(EvalReport)).unwrap()),
        ("inspect.schema.json", serde_json::to_value(schema_for!(CacheSummary)).unwrap()),
        ("inspect-image.schema.json", serde_json::to_value(schema_for!(ImageSummary)).unwrap()),
        ("predict.schema.json", serde_json::to_value(schema_for!(PredictReport)).unwrap()),
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
        let rows: String = table
            .columns(Store::All)
            .iter()
            .map(|c| format!("| `{}` | {} | {} | {} |\n", c.name, c.kind.type_name(), c.unit, c.meaning))
            .collect();
        assert!(text.contains(&rows), "docs/format.md lacks this table:\n{rows}");
    }
}
