//! A bucket: reads, lists, writes, and writes that hold only where nobody else wrote.

use super::{ObjectUrl, credentials};
use crate::error::PASSING_KIND;
use futures_util::{StreamExt, TryStreamExt};
use logitcache_format::{Error, Result};
use object_store::{
    BackoffConfig, ClientOptions, Error as StoreError, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, RetryConfig, UpdateVersion, WriteMultipart, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, path::Path as Key,
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    future::Future,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::runtime::Runtime;

/// A larger file goes in pieces of so many bytes.
const PIECE_BYTES: usize = 16 << 20;
/// Pieces of a file on the way at once.
const PIECES_AT_ONCE: usize = 4;
/// How long a conditional write is tried whose answer does not come.
const PUT_DEADLINE: Duration = Duration::from_secs(150);
/// How often a list is asked for again from where its answer was cut off.
const LIST_TRIES: u32 = 5;
/// Between the tries of either.
const PAUSE: Duration = Duration::from_secs(1);
/// What S3 and Azure say of a bucket that is not there.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// A bucket of an object store.
#[derive(Debug)]
pub(super) struct Bucket(Arc<dyn ObjectStore>);

/// What became of a conditional write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It holds; the object's version.
    Done(UpdateVersion),
    /// Somebody else wrote before.
    Refused,
}

/// The threads on which requests wait.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().thread_name("store").build();
    let made = made.map_err(|e| Error::io("<network>", "start threads for", e))?;
    Ok(RUNTIME.get_or_init(|| made))
}

/// Waits for a request.
pub(super) fn wait<T>(request: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(request)
}

/// Begins a request that somebody waits for later.
pub(super) fn begin<T: Send + 'static>(
    request: impl Future<Output = T> + Send + 'static,
) -> Result<tokio::task::JoinHandle<T>> {
    Ok(runtime()?.spawn(request))
}

impl Bucket {
    /// The bucket of a URL; credentials and settings come from the environment.
    pub(super) fn of(url: &ObjectUrl) -> Result<Arc<Self>> {
        /// By scheme and name.
        type Open = HashMap<(&'static str, String), Arc<Bucket>>;
        static OPEN: LazyLock<Mutex<Open>> = LazyLock::new(Mutex::default);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (url.scheme, url.bucket.clone());
        if let Some(bucket) = open.get(&name) {
            return Ok(bucket.clone());
        }
        if !credentials::may_be_there(url.scheme) {
            return Err(Error::Cache {
                path: url.to_string().into(),
                found: "there are no credentials for this object store".into(),
                remedy: credentials::remedy(url.scheme),
            });
        }
        refuse_if_unreachable(url)?;
        let store = connect(url, &PATIENT).map_err(|e| fault(url, "open", &e))?;
        Ok(open.entry(name).or_insert(Arc::new(Self(store))).clone())
    }

    /// An object as a whole; `None` where there is none.
    pub(super) async fn get(&self, url: &ObjectUrl) -> Result<Option<(Vec<u8>, UpdateVersion)>> {
        let found = match self.0.get(&key(url)?).await {
            Err(error @ StoreError::NotFound { .. }) if !is_without_bucket(&all_words(&error)) => return Ok(None),
            found => found.map_err(|e| fault(url, "read", &e))?,
        };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let bytes = found.bytes().await.map_err(|e| fault(url, "read", &e))?;
        Ok(Some((bytes.to_vec(), version)))
    }

    /// An object that is still of this version; every version where it is empty.
    pub(super) async fn get_version(&self, url: &ObjectUrl, etag: &str) -> io::Result<Vec<u8>> {
        let if_match = (!etag.is_empty()).then(|| etag.to_owned());
        let found = match self.0.get_opts(&key_io(url)?, GetOptions { if_match, ..GetOptions::default() }).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match found {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(StoreError::NotFound { .. }) => Err(io::Error::other(format!("{url} is gone"))),
            Err(StoreError::Precondition { .. }) => {
                Err(io::Error::other(format!("{url} was changed since the data set was listed")))
            }
            Err(error) => Err(in_words(url, &error)),
        }
    }

    /// Writes an object into `file`; gives its length and SHA-256.
    pub(super) async fn download(&self, url: &ObjectUrl, file: &mut impl Write) -> Result<(u64, [u8; 32])> {
        let found = self.0.get(&key(url)?).await.map_err(|e| fault(url, "read", &e))?;
        let (mut hash, mut length) = (Sha256::new(), 0);
        let mut pieces = found.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| fault(url, "read", &e))?;
            hash.update(&piece);
            length += piece.len() as u64;
            file.write_all(&piece).map_err(|e| Error::io(PathBuf::from(url.to_string()), "keep a copy of", e))?;
        }
        Ok((length, hash.finalize().into()))
    }

    /// Whether there is such an object.
    pub(super) async fn has(&self, url: &ObjectUrl) -> Result<bool> {
        match self.0.head(&key(url)?).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(fault(url, "look for", &error)),
        }
    }

    /// Hands every object below a folder to `each`.
    pub(super) async fn list(&self, url: &ObjectUrl, mut each: impl FnMut(ObjectMeta) -> Result<()>) -> Result<()> {
        let prefix = key(url)?;
        let prefix = (!url.key.is_empty()).then_some(&prefix);
        let (mut last, mut tries): (Option<Key>, u32) = (None, 0);
        loop {
            let mut found = match &last {
                None => self.0.list(prefix),
                Some(last) => self.0.list_with_offset(prefix, last),
            };
            // The client repeats requests, but not an answer that was cut off.
            loop {
                match found.next().await {
                    None => return Ok(()),
                    Some(Ok(object)) => {
                        (last, tries) = (Some(object.location.clone()), 0);
                        each(object)?;
                    }
                    Some(Err(error)) if tries == LIST_TRIES || permanent_words(url, &error).is_some() => {
                        return Err(fault(url, "list", &error));
                    }
                    Some(Err(_)) => break,
                }
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes an object, whatever was there.
    pub(super) async fn put(&self, url: &ObjectUrl, bytes: Vec<u8>) -> Result<()> {
        let at = key(url)?;
        let result = if bytes.len() <= PIECE_BYTES {
            self.0.put(&at, bytes.into()).await.map(drop)
        } else {
            self.put_in_pieces(&at, bytes.into()).await
        };
        result.map_err(|e| fault(url, "write", &e))
    }

    async fn put_in_pieces(&self, at: &Key, bytes: bytes::Bytes) -> object_store::Result<()> {
        let mut upload = WriteMultipart::new_with_chunk_size(self.0.put_multipart(at).await?, PIECE_BYTES);
        for start in (0..bytes.len()).step_by(PIECE_BYTES) {
            upload.wait_for_capacity(PIECES_AT_ONCE).await?;
            upload.put(bytes.slice(start..bytes.len().min(start + PIECE_BYTES)));
        }
        upload.finish().await.map(drop)
    }

    /// Writes a small object only where the one that is there is of the version `expected`, or there is none.
    ///
    /// An answer that did not come says nothing about the write. So the object itself is asked: if it has these bytes, they
    /// are ours, or another's who did the very same.
    pub(super) async fn put_if(&self, url: &ObjectUrl, bytes: &[u8], expected: Option<&UpdateVersion>) -> Result<Put> {
        match tokio::time::timeout(PUT_DEADLINE, self.put_if_answered(url, bytes, expected)).await {
            Ok(put) => put,
            Err(_) => Err(Error::io(
                PathBuf::from(url.to_string()),
                "write",
                io::Error::new(PASSING_KIND, format!("no answer within {} s", PUT_DEADLINE.as_secs())),
            )),
        }
    }

    async fn put_if_answered(&self, url: &ObjectUrl, bytes: &[u8], expected: Option<&UpdateVersion>) -> Result<Put> {
        let at = key(url)?;
        let mode = || expected.map_or(PutMode::Create, |version| PutMode::Update(version.clone()));
        loop {
            let options = PutOptions { mode: mode(), ..PutOptions::default() };
            match self.0.put_opts(&at, bytes.to_vec().into(), options).await {
                Ok(done) => return Ok(Put::Done(done.into())),
                Err(error @ (StoreError::NotImplemented { .. } | StoreError::NotSupported { .. })) => {
                    return Err(no_conditions(url, &error.to_string()));
                }
                Err(error) if permanent_words(url, &error).is_some() => return Err(fault(url, "write", &error)),
                Err(_) => {}
            }
            let found = self.get(url).await?;
            match found {
                Some((there, version)) if there == bytes => return Ok(Put::Done(version)),
                found if found.as_ref().map(|(_, version)| &version.e_tag) != expected.map(|v| &v.e_tag) => {
                    return Ok(Put::Refused);
                }
                _ => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Gives an object another name; one that is gone already is no error.
    pub(super) async fn rename(&self, from: &ObjectUrl, to: &ObjectUrl) -> Result<()> {
        match self.0.rename(&key(from)?, &key(to)?).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(fault(from, "set aside", &error)),
        }
    }

    /// Removes objects; those that are gone already are no error.
    pub(super) async fn remove(&self, urls: Vec<ObjectUrl>) -> Result<()> {
        for url in urls {
            match self.0.delete(&key(&url)?).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(fault(&url, "remove", &error)),
            }
        }
        Ok(())
    }

    /// Refuses a store that takes no notice of the conditions of a write: two jobs could both take a cache for theirs.
    pub(super) async fn refuse_without_conditions(&self, folder: &ObjectUrl) -> Result<()> {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let probe = folder.join(&format!(".probe-{}-{since}", std::process::id()));
        let first = self.put_if(&probe, b"1", None).await?;
        let second = self.put_if(&probe, b"2", None).await?;
        let stale = UpdateVersion { e_tag: Some("\"0\"".into()), version: Some("0".into()) };
        let third = match second {
            Put::Refused => self.put_if(&probe, b"3", Some(&stale)).await?,
            held => held,
        };
        self.remove(vec![probe]).await?;
        match (first, third) {
            (Put::Done(_), Put::Refused) => Ok(()),
            _ => Err(no_conditions(folder, "it wrote an object that was to be written only where there is none")),
        }
    }

    /// Runs requests for many items, some at once; the first error ends it.
    pub(super) async fn each<T, F>(items: Vec<T>, at_once: usize, request: impl Fn(T) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        futures_util::stream::iter(items)
            .map(|item| Ok(request(item)))
            .try_buffer_unordered(at_once)
            .try_collect()
            .await
    }
}

/// How long requests are repeated that fail for a passing reason, and how long one may take.
struct Patience {
    retries_s: u64,
    request_s: u64,
}

const PATIENT: Patience = Patience { retries_s: 120, request_s: 60 };
/// For the first request: a wrong address is not to be tried for minutes.
const IMPATIENT: Patience = Patience { retries_s: 10, request_s: 10 };

/// Refuses a store that does not answer at all; whatever it answers is looked at later.
fn refuse_if_unreachable(url: &ObjectUrl) -> Result<()> {
    let store = connect(url, &IMPATIENT).map_err(|e| fault(url, "open", &e))?;
    match wait(async { Ok(store.head(&Key::from("logitcache")).await) })? {
        Err(error @ StoreError::Generic { .. }) if permanent_words(url, &error).is_some() => {
            Err(fault(url, "open", &error))
        }
        Err(error @ StoreError::Generic { .. }) => Err(Error::Cache {
            path: url.to_string().into(),
            found: format!("the object store does not answer: {}", answer(&all_words(&error))),
            remedy: "Check the network, and the address of the store if it is given in the environment \
                     (AWS_ENDPOINT_URL)."
                .into(),
        }),
        _ => Ok(()),
    }
}

fn connect(url: &ObjectUrl, patience: &Patience) -> object_store::Result<Arc<dyn ObjectStore>> {
    // Which of the libraries for TLS is used; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            base: 3.0,
        },
        // The time ends it.
        max_retries: 1000,
        retry_timeout: Duration::from_secs(patience.retries_s),
    };
    let allow_http = ["AWS_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP", "AZURE_ALLOW_HTTP"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case("true")));
    let client = ClientOptions::new()
        .with_allow_http(allow_http)
        .with_connect_timeout(Duration::from_secs(10))
        .with_timeout(Duration::from_secs(patience.request_s));
    let place = format!("{}://{}", url.scheme, url.bucket);
    Ok(match url.scheme {
        "s3" => {
            Arc::new(AmazonS3Builder::from_env().with_url(place).with_retry(retry).with_client_options(client).build()?)
        }
        "gs" => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_url(place)
                .with_retry(retry)
                .with_client_options(client)
                .build()?,
        ),
        _ => Arc::new(
            MicrosoftAzureBuilder::from_env().with_url(place).with_retry(retry).with_client_options(client).build()?,
        ),
    })
}

fn key(url: &ObjectUrl) -> Result<Key> {
    Key::parse(&url.key).map_err(|e| fault(url, "use the name of", &e.into()))
}

fn key_io(url: &ObjectUrl) -> io::Result<Key> {
    Key::parse(&url.key).map_err(io::Error::other)
}

fn no_conditions(url: &ObjectUrl, found: &str) -> Error {
    Error::Cache {
        path: url.to_string().into(),
        found: format!("this object store has no conditional writes: {found}"),
        remedy: "They keep two jobs from writing one cache. Write to a local `out=` and copy the folder, or use a store that has \
                 them (Amazon S3, Google Cloud Storage, Azure, Cloudflare R2, MinIO since 2024)."
            .into(),
    }
}

/// What a store answered, with what to do about it.
fn fault(url: &ObjectUrl, action: &'static str, error: &StoreError) -> Error {
    let path = PathBuf::from(url.to_string());
    match permanent_words(url, error) {
        Some((found, remedy)) => Error::Cache { path, found: format!("cannot {action} it: {found}"), remedy },
        None => Error::io(path, action, in_words(url, error)),
    }
}

/// What no other try changes, and what to do about it; `None` where it may be gone at the next try.
fn permanent_words(url: &ObjectUrl, error: &StoreError) -> Option<(String, String)> {
    let text = all_words(error);
    let because = |found: String, remedy: &str| Some((found, remedy.to_owned()));
    if text.contains("RequestTimeTooSkewed") {
        return because("the clock of this machine is not the store's".into(), "Set the clock of this machine.");
    }
    if is_without_bucket(&text) {
        return because(format!("there is no bucket {:?}", url.bucket), "Check the name, and the region or endpoint.");
    }
    if text.contains("URL scheme is not allowed") {
        return because(
            "its address begins with http://, without TLS".into(),
            "If that is meant, set AWS_ALLOW_HTTP=true (GOOGLE_ALLOW_HTTP, AZURE_ALLOW_HTTP).",
        );
    }
    if text.contains("Account must be specified") {
        return because("the storage account is not named".into(), "Set AZURE_STORAGE_ACCOUNT_NAME.");
    }
    match error {
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => because(
            format!("the store refuses it ({})", answer(&text)),
            &format!("These credentials may not do that. {}", credentials::remedy(url.scheme)),
        ),
        StoreError::NotFound { .. } => because("there is no such object".into(), "Check the name."),
        StoreError::InvalidPath { .. } => because(
            format!("there is an object whose name cannot be a path: {}", answer(&text)),
            "Names with empty parts (a//b), `.` or `..` cannot be used. Rename or remove it, or give a folder \
             without it.",
        ),
        _ => None,
    }
}

fn is_without_bucket(text: &str) -> bool {
    NO_BUCKET.iter().any(|code| text.contains(code))
}

/// The same as an error of the system: of the kind of those that may be gone at the next try, unless it stays.
fn in_words(url: &ObjectUrl, error: &StoreError) -> io::Error {
    match permanent_words(url, error) {
        Some((found, _)) => io::Error::other(format!("{url}: {found}")),
        None => io::Error::new(PASSING_KIND, format!("{url}: {}", answer(&all_words(error)))),
    }
}

/// An error with its causes.
fn all_words(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text += &format!(": {words}");
        }
        cause = inner.source();
    }
    text
}

/// The part of an error that is of use to a reader: code and message of the XML that stores answer with, else its first line.
fn answer(text: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim())
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) if !message.is_empty() => format!("{code}: {message}"),
        (Some(code), _) => code.to_owned(),
        _ => text.lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_in_xml_the_reason_is_shown() {
        let text = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code>\
                    <Message> Access Denied </Message><RequestId>1</RequestId></Error>";
        assert_eq!(answer(text), "AccessDenied: Access Denied");
        assert_eq!(answer("<Error><Code>SlowDown</Code></Error>"), "SlowDown");
        assert_eq!(answer("connection refused\nmore"), "connection refused");
        assert_eq!(answer("<Code>unfinished"), "<Code>unfinished");
    }
}
