//! What every request passes: the name that it calls this server by, the page that it comes from, the token, time; and the
//! headers of every answer.

use super::{
    answer::Fault,
    server::{App, MOST_BYTES},
};
use axum::{
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::time::timeout;

/// So long a request may take, its body included.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Name of the cookie with the token.
const COOKIE: &str = "logitcache_token";

/// Of every answer. The page may load its own files and ask this server, nothing else.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Around every request.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let refused = refusal(&app, request.method(), request.uri(), request.headers());
    let mut response = match refused {
        Some(fault) => fault.into_response(),
        None => match timeout(TIME_LIMIT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                let said = format!("the request took longer than {} s", TIME_LIMIT.as_secs());
                Fault::new(StatusCode::REQUEST_TIMEOUT, "timeout", said).into_response()
            }
        },
    };
    if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        response = fault.answered(app.wording);
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    app.metrics.answered(response.status().as_u16());
    response
}

fn refusal(app: &App, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Fault> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).or_else(|| uri.authority().map(|authority| authority.as_str()));
    let Some(host) = host else { return Some(Fault::bad_request("the request has no header Host")) };
    // A page elsewhere can make its own name lead here (DNS rebinding); it does not know the token.
    if app.token.is_none() && !is_this_machine(host) {
        let fault = Fault::new(StatusCode::MISDIRECTED_REQUEST, "host", format!("this server is not {host:?}"));
        return Some(fault.remedy("Open it as http://127.0.0.1 or http://localhost, or start it with `token=`."));
    }
    // A page of another origin may send forms here, but its browser says where it is from.
    let changes = method != Method::GET && method != Method::HEAD;
    let foreign =
        text(header::ORIGIN).is_some_and(|origin| origin.split_once("://").is_none_or(|(_, own)| own != host));
    if changes && foreign {
        return Some(Fault::new(StatusCode::FORBIDDEN, "origin", "the request comes from the page of another server"));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > MOST_BYTES as u64) {
        let said = format!("a request has at most {MOST_BYTES} bytes");
        return Some(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", said));
    }
    let is_open = uri.path() == "/" || uri.path() == "/healthz" || uri.path().starts_with("/page/");
    match &app.token {
        Some(token) if !is_open && !knows(headers, token) => {
            let fault = Fault::new(StatusCode::UNAUTHORIZED, "token", "the token is missing or wrong");
            Some(fault.remedy("Open /?token=TOKEN once, or send the header Authorization: Bearer TOKEN."))
        }
        _ => None,
    }
}

/// Whether a header `Host` names this machine by a loopback address or as `localhost`.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn knows(headers: &HeaderMap, token: &str) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let cookie = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
    bearer.into_iter().chain(cookie).any(|given| same(given, token))
}

/// Compares digests, so that the time tells nothing of the token.
fn same(given: &str, token: &str) -> bool {
    Sha256::digest(given.as_bytes()) == Sha256::digest(token.as_bytes())
}

#[derive(Deserialize)]
pub(super) struct TokenQuery {
    token: Option<String>,
}

/// `/`: the page, or with `?token=` the cookie of the token.
pub(super) async fn root(State(app): State<Arc<App>>, Query(query): Query<TokenQuery>) -> Response {
    let (Some(given), Some(token)) = (query.token, &app.token) else { return super::page::index().await };
    if !same(&given, token) {
        return Fault::new(StatusCode::UNAUTHORIZED, "token", "the token is wrong").into_response();
    }
    let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/");
    let answer = Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, "/");
    match answer.header(header::SET_COOKIE, cookie).body(Body::empty()) {
        Ok(response) => response,
        Err(_) => Fault::bad_request("the token cannot stand in a cookie").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for own in ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000", "[::1]", "127.9.9.9:8"] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in
            ["", "evil.example", "127.0.0.1.evil.example:80", "[::2]:8000", "192.168.0.1", "[::1", "localhost.evil"]
        {
            assert!(!is_this_machine(other), "{other}");
        }
    }

    #[test]
    fn a_token_comes_in_a_header_or_a_cookie() {
        let headers = |name: HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            headers
        };
        assert!(knows(&headers(header::AUTHORIZATION, "Bearer abc"), "abc"));
        assert!(knows(&headers(header::COOKIE, "x=1; logitcache_token=abc"), "abc"));
        assert!(!knows(&headers(header::AUTHORIZATION, "abc"), "abc"));
        assert!(!knows(&headers(header::AUTHORIZATION, "Bearer abcd"), "abc"));
        assert!(!knows(&headers(header::COOKIE, "logitcache_tokens=abc"), "abc"));
        assert!(!knows(&HeaderMap::new(), "abc"));
    }
}
