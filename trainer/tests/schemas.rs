//! The published schemas of training are those of the code.
#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used)]

#[path = "../../tests/common/mod.rs"]
mod common;

use logitcache_train::train::{RunConfig, TrainReport};
use schemars::schema_for;

#[test]
fn published_schemas_are_those_of_the_code() {
    common::published_schema_is("train.schema.json", &serde_json::to_value(schema_for!(TrainReport)).unwrap());
    common::published_schema_is("run-config.schema.json", &serde_json::to_value(schema_for!(RunConfig)).unwrap());
}
