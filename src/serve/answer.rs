//! Answers: JSON, and errors as JSON with their status.
//!
//! A handler gives a [`Fault`] in the words of the library; the guard around every request gives it the words of the
//! program's users ([`super::ServeOptions::wording`]) and makes it JSON.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

/// What a client is told of a request that failed, or (202, with `Retry-After`) that is not answered yet.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Fault {
    #[serde(skip)]
    status: u16,
    /// Seconds after which to try again.
    #[serde(skip)]
    retry_after_s: Option<u32>,
    /// The kind, for programs.
    pub(super) code: &'static str,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) remedy: Option<String>,
}

/// A failed request as JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ErrorBody {
    error: Fault,
}

impl Fault {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status: status.as_u16(), retry_after_s: None, code, message: message.into(), remedy: None }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Of an error of the library: what the server itself cannot do.
    pub(super) fn of(error: &crate::Error) -> Self {
        let text = error.to_string();
        let (message, remedy) = text.split_once('\n').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
        let fault = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message);
        Self { remedy: remedy.map(|remedy| remedy.trim().to_owned()), ..fault }
    }

    fn worded(self, wording: fn(&str) -> String) -> Self {
        Self { message: wording(&self.message), remedy: self.remedy.as_deref().map(wording), ..self }
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl Fault {
    /// The response that a client gets.
    pub(super) fn answered(self, wording: fn(&str) -> String) -> Response {
        let (status, retry) = (self.status(), self.retry_after_s);
        let mut response = (status, Json(ErrorBody { error: self.worded(wording) })).into_response();
        if let Some(seconds) = retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Fault {
    /// Its status and itself, for the guard.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_library_get_the_words_of_the_users() {
        let error = crate::Error::Cache {
            path: "cache".into(),
            found: "it says `store=cls`".into(),
            remedy: "Run `verify()`.".into(),
        };
        let fault =
            Fault::of(&error).worded(|text| text.replace("`verify()`", "`logitcache verify`").replace('=', " "));
        assert_eq!(fault.message, "cache: it says `store cls`");
        assert_eq!(fault.remedy.as_deref(), Some("Run `logitcache verify`."));
    }
}
