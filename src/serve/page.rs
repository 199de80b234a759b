//! The page: files of `src/serve/page`, in the program.

use super::answer::Fault;
use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "src/serve/page"]
struct Files;

/// `/`
pub(super) async fn index() -> Response {
    file("index.html")
}

/// `/page/...`
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    file(&name)
}

fn file(name: &str) -> Response {
    let Some(file) = Files::get(name) else {
        return Fault::not_found(format!("the page has no file {name:?}")).into_response();
    };
    let kind = match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    // A new version of the program has other files under the same names.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], file.data.into_owned()).into_response()
}
