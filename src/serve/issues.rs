//! `/v1/caches/{cache}/issues`: suspected label errors, and what a person says of each.

use super::{
    answer::Fault,
    caches::{ServedCache, cache_of},
    detect::corners,
    server::App,
};
use crate::{
    Error, Result,
    issues::{Issue, IssuesOptions, Method, issues},
    toolkit::Run,
};
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// Most issues of a cache.
const MOST: usize = 10_000;

/// What a person says of an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// The label is wrong.
    Accept,
    /// The label is right.
    Reject,
}

/// A line of the file of verdicts; the last one on an issue holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    /// Content digest of the cache.
    content_sha256: Option<String>,
    path: String,
    kind: String,
    /// Number of the label in the image; null where one is missing.
    label: Option<usize>,
    class: String,
    box_xyxy_px: [f32; 4],
    /// Null takes a verdict back.
    verdict: Option<Verdict>,
}

impl Line {
    fn of(cache: &ServedCache, issue: &Issue, verdict: Option<Verdict>) -> Self {
        let (class, box_xyxy_px) = match (&issue.label, &issue.teacher) {
            (Some(label), _) => (label.class.clone(), corners(label.box_xyxy_px)),
            (None, Some(teacher)) => (teacher.class.clone(), corners(teacher.box_xyxy_px)),
            (None, None) => (String::new(), [0.0; 4]),
        };
        Self {
            content_sha256: cache.reader.manifest().digests.as_ref().map(|digests| digests.content_sha256.clone()),
            path: issue.path.clone(),
            kind: issue.kind.as_str().to_owned(),
            label: issue.label.as_ref().map(|label| label.index),
            class,
            box_xyxy_px,
            verdict,
        }
    }

    /// What tells issues apart.
    fn key(&self) -> String {
        let place = self.label.map_or_else(|| format!("{:?}", self.box_xyxy_px), |index| index.to_string());
        format!("{:?} {} {} {} {place}", self.content_sha256, self.path, self.kind, self.class)
    }
}

/// The file of verdicts.
pub(super) struct Reviews {
    path: PathBuf,
    known: Mutex<(File, HashMap<String, Verdict>)>,
}

impl Reviews {
    /// Opens the file, which is made where there is none.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Mismatch`] of a file that is no file of verdicts.
    pub(super) fn open(path: &std::path::Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path);
        let file = file.map_err(|e| Error::io(path, "open the file of verdicts", e))?;
        let mut known = HashMap::new();
        let text = fs::read_to_string(path).map_err(|e| Error::io(path, "read the file of verdicts", e))?;
        for (number, line) in text.lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|e| Error::Mismatch {
                found: format!("line {} of {} is no verdict: {e}", number + 1, path.display()),
                remedy: "Name another file with `reviews=`.".into(),
            })?;
            match line.verdict {
                Some(verdict) => known.insert(line.key(), verdict),
                None => known.remove(&line.key()),
            };
        }
        Ok(Self { path: path.to_path_buf(), known: Mutex::new((file, known)) })
    }

    fn get(&self, key: &str) -> Option<Verdict> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).1.get(key).copied()
    }

    fn add(&self, line: &Line) -> std::io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_string(line)?;
        // In one call, so that a line is there whole or not at all.
        known.0.write_all(format!("{text}\n").as_bytes())?;
        match line.verdict {
            Some(verdict) => known.1.insert(line.key(), verdict),
            None => known.1.remove(&line.key()),
        };
        Ok(())
    }
}

/// The query of a list of issues.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct IssuesQuery {
    /// Issues that are passed over (0).
    #[serde(default)]
    offset: usize,
    /// Most issues of the answer, up to 1000 (100).
    limit: Option<usize>,
    /// `missing`, `location`, `class`, `spurious` or `duplicate`.
    kind: Option<String>,
}

/// A suspected label error.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownIssue {
    /// Its rank over all kinds, from 0; what a verdict names.
    id: usize,
    /// Position of the image in the cache.
    image: usize,
    /// Of the image, relative to the data set.
    path: String,
    kind: String,
    /// How suspicious, 0 to 1.
    score: f64,
    /// Left, top, right, bottom in pixels of the image: the label, or the box that has none.
    box_xyxy_px: [f32; 4],
    /// The label's class; null where one is missing.
    class: Option<String>,
    /// What the teacher sees.
    suggested_class: Option<String>,
    /// In a sentence.
    reason: String,
    /// What a person said.
    verdict: Option<Verdict>,
}

/// A part of a list of issues, the most suspicious first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct IssuesAnswer {
    total: usize,
    issues: Vec<ShownIssue>,
}

/// `GET /v1/caches/{cache}/issues`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    query: std::result::Result<Query<IssuesQuery>, QueryRejection>,
) -> std::result::Result<Json<IssuesAnswer>, Fault> {
    let (_, cache) = cache_of(&app, &id)?;
    let Query(query) = query.map_err(|e| Fault::bad_request(e.body_text()))?;
    let issues = found(&cache, &app)?;
    let of_kind = |(_, issue): &(usize, &Issue)| query.kind.as_deref().is_none_or(|kind| kind == issue.kind.as_str());
    let wanted: Vec<(usize, &Issue)> = issues.iter().enumerate().filter(of_kind).collect();
    let page = wanted.iter().skip(query.offset).take(query.limit.unwrap_or(100).min(1000));
    let shown = page.map(|(id, issue)| shown(&app, &cache, *id, issue)).collect();
    Ok(Json(IssuesAnswer { total: wanted.len(), issues: shown }))
}

/// The issues of a cache, which are looked for when somebody asks first.
fn found<'a>(cache: &'a Arc<ServedCache>, app: &App) -> std::result::Result<&'a [Issue], Fault> {
    match cache.issues.get() {
        Some(Ok(report)) => return Ok(&report.issues),
        Some(Err(fault)) => return Err(fault.clone()),
        None => {}
    }
    if cache.begin_issues() {
        let (own, stop) = (Arc::clone(cache), app.stop);
        thread::spawn(move || {
            let options = IssuesOptions {
                cache: own.reader.folder().to_path_buf(),
                data: None,
                images_dir: None,
                method: Method::Soft,
                kinds: Vec::new(),
                top: MOST,
                out: None,
                pictures: 0,
            };
            let report = issues(&options, &Run { stop, total: &|_| (), done: &|_| () });
            let _ = own.issues.set(report.map_err(|error| Fault::of(&error)));
        });
    }
    Err(Fault::new(StatusCode::ACCEPTED, "reading", "the labels are still being judged").retry_after(2))
}

fn shown(app: &App, cache: &ServedCache, id: usize, issue: &Issue) -> ShownIssue {
    let line = Line::of(cache, issue, None);
    ShownIssue {
        id,
        image: cache.ids.binary_search(&issue.image_id).unwrap_or_default(),
        path: issue.path.clone(),
        kind: line.kind.clone(),
        score: issue.score,
        box_xyxy_px: line.box_xyxy_px,
        class: issue.label.as_ref().map(|label| label.class.clone()),
        suggested_class: issue.teacher.as_ref().map(|teacher| teacher.class.clone()),
        reason: issue.why.clone(),
        verdict: app.reviews.as_ref().and_then(|reviews| reviews.get(&line.key())),
    }
}

/// What a person says of an issue.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct VerdictBody {
    /// Null takes it back.
    verdict: Option<Verdict>,
}

/// `POST /v1/caches/{cache}/issues/{issue}`
pub(super) async fn review(
    State(app): State<Arc<App>>,
    Path((id, at)): Path<(String, usize)>,
    body: std::result::Result<Json<VerdictBody>, axum::extract::rejection::JsonRejection>,
) -> std::result::Result<Json<ShownIssue>, Fault> {
    let (_, cache) = cache_of(&app, &id)?;
    let Json(body) = body.map_err(|e| Fault::new(e.status(), "bad_request", e.body_text()))?;
    let Some(reviews) = &app.reviews else {
        return Err(Fault::new(StatusCode::CONFLICT, "no_reviews", "this server keeps no verdicts")
            .remedy("Start it with `reviews=FILE`."));
    };
    let issue = found(&cache, &app)?.get(at).ok_or_else(|| Fault::not_found(format!("there is no issue {at}")))?;
    let written = reviews.add(&Line::of(&cache, issue, body.verdict));
    written.map_err(|e| {
        let said = format!("the verdict cannot be written to {}: {e}", reviews.path.display());
        Fault::new(StatusCode::INSUFFICIENT_STORAGE, "storage", said)
    })?;
    Ok(Json(shown(&app, &cache, at, issue)))
}
