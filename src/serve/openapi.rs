//! `/openapi.json`: what the API takes and gives, from the types themselves.

use super::{answer::ErrorBody, caches, detect, issues, runs};
use axum::Json;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// `GET /openapi.json`
pub(super) async fn document() -> Json<Value> {
    Json(openapi())
}

struct Writer {
    schemas: SchemaGenerator,
    paths: Map<String, Value>,
}

impl Writer {
    /// A path that answers with JSON. Names in braces are its own parameters, the query's follow.
    fn get<Answer: JsonSchema>(&mut self, path: &str, summary: &str, query: Vec<Value>) {
        let answer = self.schemas.subschema_for::<Answer>();
        self.add(path, "get", summary, query, json!({ "application/json": { "schema": answer } }), None);
    }

    fn add(&mut self, path: &str, method: &str, summary: &str, query: Vec<Value>, answer: Value, body: Option<Value>) {
        let fault = self.schemas.subschema_for::<ErrorBody>();
        let own =
            path.split('{').skip(1).filter_map(|part| part.split_once('}')).map(
                |(name, _)| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
            );
        let mut operation = json!({
            "summary": summary,
            "parameters": own.chain(query).collect::<Vec<_>>(),
            "responses": {
                "200": { "description": "Done.", "content": answer },
                "default": {
                    "description": "What is wrong, and what to do.",
                    "content": { "application/json": { "schema": fault } },
                },
            },
        });
        if let Some(body) = body {
            operation["requestBody"] = json!({ "required": true, "content": body });
        }
        let entry = self.paths.entry(path).or_insert_with(|| json!({}));
        entry[method] = operation;
    }

    /// The fields of a query as parameters.
    fn query<Query: JsonSchema>(&mut self) -> Vec<Value> {
        let schema = Query::json_schema(&mut self.schemas).to_value();
        let fields = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        fields.into_iter().map(|(name, schema)| json!({ "name": name, "in": "query", "schema": schema })).collect()
    }
}

fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut api = Writer { schemas: SchemaGenerator::new(settings), paths: Map::new() };
    api.get::<detect::ModelsAnswer>("/v1/models", "The models.", Vec::new());
    let query = api.query::<detect::DetectQuery>();
    let answer = api.schemas.subschema_for::<detect::DetectAnswer>();
    let picture = json!({ "type": "string", "format": "binary" });
    let form = json!({ "type": "object", "properties": { "image": { "type": "array", "items": picture } } });
    let body = json!({ "multipart/form-data": { "schema": form }, "image/*": { "schema": picture } });
    let answer = json!({ "application/json": { "schema": answer } });
    api.add("/v1/detect", "post", "Detect objects on pictures, as `predict` does.", query, answer, Some(body));
    api.get::<caches::CachesAnswer>("/v1/caches", "The caches.", Vec::new());
    let query = api.query::<caches::ImagesQuery>();
    api.get::<caches::ImagesAnswer>("/v1/caches/{cache}/images", "Images of a cache, by filters.", query);
    let path = "/v1/caches/{cache}/images/{index}";
    api.get::<caches::ImageDetail>(path, "One image with its labels and cached predictions.", Vec::new());
    let binary = json!({ "image/*": { "schema": { "type": "string", "format": "binary" } } });
    api.add(&format!("{path}/picture"), "get", "The picture.", Vec::new(), binary.clone(), None);
    let query = api.query::<caches::ThumbnailQuery>();
    api.add(&format!("{path}/thumbnail"), "get", "The picture, small.", query, binary, None);
    let query = api.query::<issues::IssuesQuery>();
    api.get::<issues::IssuesAnswer>("/v1/caches/{cache}/issues", "Suspected label errors, the worst first.", query);
    let answer = json!({ "application/json": { "schema": api.schemas.subschema_for::<issues::ShownIssue>() } });
    let body = json!({ "application/json": { "schema": api.schemas.subschema_for::<issues::VerdictBody>() } });
    let path = "/v1/caches/{cache}/issues/{issue}";
    api.add(path, "post", "Keep a verdict on a suspected error.", Vec::new(), answer, Some(body));
    api.get::<runs::RunsAnswer>("/v1/runs", "The training runs.", Vec::new());
    api.get::<runs::RunState>("/v1/runs/{run}", "Settings and numbers of a run.", Vec::new());
    let events = json!({ "text/event-stream": { "schema": { "type": "string" } } });
    api.add("/v1/runs/{run}/events", "get", "A row for each epoch, as it ends.", Vec::new(), events, None);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "logitcache",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Models, caches and training runs that `logitcache serve` shows.",
        },
        "paths": api.paths,
        "components": { "schemas": api.schemas.take_definitions(true) },
    })
}
