//! Pictures: what is accepted, where it is kept, how it is served.
//!
//! A picture is decoded and encoded anew, so nothing but pixels is left of what somebody sent: no metadata, no
//! second file behind the first. It is stored under the SHA-256 of its bytes, so its URL never changes its
//! meaning, and the same picture sent twice is one file. The database keeps the name alone.
//!
//! Nothing counts references: a file that no row names is removed by a collector that asks [`Media::list`] what
//! was last written over an hour ago and, after looking again whether a row names it, calls [`Media::remove`].
//! [`Media::accept`] writes the file even where it is there already, which makes it young again, and a removal
//! in the same process never runs beside a write and looks at the age itself. So between an upload and the
//! commit of the row that names it, at most an hour may pass. Two servers on one bucket have no common lock;
//! there a picture that is collected in the very milliseconds in which it is sent again can be lost.

mod container;
mod picture;
mod store;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use guildhall_domain::clock::{Timestamp, hex};
use guildhall_domain::organizations;
use object_store::aws::AmazonS3Builder;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, RwLock, Semaphore};

use crate::app::App;
use crate::http::Params;
use store::Store;
pub use store::StoreError;

/// The most bytes a picture may be sent in: 5 MiB.
pub const MAX_BYTES: usize = 5 * 1024 * 1024;

/// The most pixels a picture may be wide or high.
pub const MAX_SIDE: u32 = 4096;

/// The name of the picture of those that have none: part of the program, so it is always there.
pub const DEFAULT_NAME: &str = "6d58382f5c89f073fc8573fb15d258ac95df837a7c4cbecfbaa7cbe9f04534c4.png";

const DEFAULT_PICTURE: &[u8] = include_bytes!("../assets/default-picture.png");

/// How many pictures are decoded at once; the largest hold up to 250 MiB each.
const DECODERS: usize = 2;

/// How many may be in hand, those being decoded included; each holds what was sent.
const PLACES: usize = 16;

/// How long a picture waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store of pictures and the way into it. Cloning it is cheap; all clones share its limits.
#[derive(Clone)]
pub struct Media(Arc<Shared>);

struct Shared {
    store: Store,
    places: Semaphore,
    decoders: Arc<Semaphore>,
    patience: Duration,
    /// Writers share it, a removal has it alone: a file is not removed while it is being written anew.
    writing: RwLock<()>,
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Media")
    }
}

/// A picture that is stored, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What the database keeps and [`Media::url`] takes: 64 hex digits and `.png`, `.jpg` or `.webp`.
    pub name: String,
}

/// Why a picture was not accepted. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureError {
    /// Not a PNG, JPEG, GIF or WebP, or one that is cut off or broken.
    NotAPicture,
    /// Over [`MAX_BYTES`].
    TooLarge,
    /// Wider or higher than [`MAX_SIDE`].
    Dimensions,
    /// Too many others wait to be decoded; worth another try in a few seconds.
    Busy,
    /// The store failed; it is logged why.
    Store,
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAPicture => "not a complete PNG, JPEG, GIF or WebP picture",
            Self::TooLarge => "the picture is larger than 5 MiB",
            Self::Dimensions => "the picture is wider or higher than 4096 pixels",
            Self::Busy => "too many pictures at once",
            Self::Store => "the picture could not be stored",
        })
    }
}

impl std::error::Error for PictureError {}

/// Where pictures are kept, as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// `dir:PATH`.
    Folder(&'a Path),
    /// `s3://bucket/prefix`; the prefix may be missing.
    Bucket(&'a str, &'a str),
}

impl<'a> Place<'a> {
    /// Reads what is configured.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(url: &'a str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("dir:").filter(|path| !path.is_empty()) {
            return Ok(Self::Folder(Path::new(path)));
        }
        let bucket = url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        match bucket {
            Some((bucket, prefix)) if !bucket.is_empty() => Ok(Self::Bucket(bucket, prefix)),
            _ => Err("expected dir:PATH or s3://bucket/prefix".into()),
        }
    }
}

impl Media {
    /// Opens `dir:PATH`, a folder that is made where it is missing, readable by its owner alone, or
    /// `s3://bucket/prefix`, for which the environment has the usual AWS variables (`AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`, …). A bucket is not asked yet,
    /// so that the server starts while it is away.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn open(url: &str) -> Result<Self, String> {
        match Place::parse(url)? {
            Place::Folder(path) => Ok(Self::new(Store::folder(path)?)),
            Place::Bucket(bucket, prefix) => {
                Self::s3(AmazonS3Builder::from_env().with_bucket_name(bucket), prefix)
            }
        }
    }

    /// Opens the bucket that `builder` describes; files lie under `prefix`, which may be empty.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn s3(builder: AmazonS3Builder, prefix: &str) -> Result<Self, String> {
        Ok(Self::new(Store::s3(builder, prefix)?))
    }

    fn new(store: Store) -> Self {
        Self(Arc::new(Shared {
            store,
            places: Semaphore::new(PLACES),
            decoders: Arc::new(Semaphore::new(DECODERS)),
            patience: PATIENCE,
            writing: RwLock::new(()),
        }))
    }

    /// Takes in what somebody sent: checks it, encodes it anew and stores it, durable once this answers.
    ///
    /// PNG and GIF (its first frame) are stored as PNG, JPEG as JPEG, WebP (its first frame) as lossless WebP,
    /// turned upright, with 8 bits a channel and without metadata, colour profiles among them. Two pictures
    /// are decoded at once, fourteen more may wait, for at most five seconds.
    ///
    /// # Errors
    /// See [`PictureError`].
    pub async fn accept(&self, bytes: Bytes) -> Result<Picture, PictureError> {
        let shared = &*self.0;
        if bytes.len() > MAX_BYTES {
            return Err(PictureError::TooLarge);
        }
        let _place = shared.places.try_acquire().map_err(|_| PictureError::Busy)?;
        let turn = tokio::time::timeout(shared.patience, Arc::clone(&shared.decoders).acquire_owned())
            .await
            .map_err(|_| PictureError::Busy)?
            .map_err(|_| PictureError::Busy)?;
        let (name, encoded) = on_a_thread(turn, move || {
            let encoded = picture::encode(&bytes)?;
            Ok((format!("{}.{}", hex(&Sha256::digest(&encoded.bytes)), encoded.extension), encoded.bytes))
        })
        .await?;
        let _writing = shared.writing.read().await;
        shared.store.put(&name, encoded.into()).await.map_err(|error| {
            tracing::error!(%error, "a picture could not be stored");
            PictureError::Store
        })?;
        Ok(Picture { name })
    }

    /// The URL of the picture `name`, of the default picture where there is none.
    #[must_use]
    pub fn url(&self, public_url: &str, name: Option<&str>) -> String {
        format!("{}/media/{}", public_url.trim_end_matches('/'), name.unwrap_or(DEFAULT_NAME))
    }

    /// Whether the picture `name` is there and still what it was when it was stored.
    ///
    /// # Errors
    /// Where the store cannot tell.
    pub async fn check(&self, name: &str) -> Result<bool, StoreError> {
        if name == DEFAULT_NAME {
            return Ok(true);
        }
        if media_type(name).is_none() {
            return Ok(false);
        }
        let Some(found) = self.0.store.get(name, false).await? else { return Ok(false) };
        let mut hash = Sha256::new();
        let mut content = found.into_stream();
        while let Some(part) = content.next().await {
            hash.update(part?);
        }
        Ok(name.starts_with(&hex(&hash.finalize())))
    }

    /// The names of the pictures that were last written before `before`, in no order, read on as they are
    /// taken. Files that are none of ours are left out.
    #[must_use]
    pub fn list(&self, before: Timestamp) -> BoxStream<'static, Result<String, StoreError>> {
        let ours =
            |name: &Result<String, StoreError>| name.as_ref().map_or(true, |name| media_type(name).is_some());
        self.0.store.list(before).filter(move |name| std::future::ready(ours(name))).boxed()
    }

    /// Removes the picture `name` if it was last written before `before`, and tells whether it did.
    ///
    /// # Errors
    /// Where the store fails; the picture may or may not be gone.
    pub async fn remove(&self, name: &str, before: Timestamp) -> Result<bool, StoreError> {
        if media_type(name).is_none() {
            return Ok(false);
        }
        let _alone = self.0.writing.write().await;
        self.0.store.remove(name, before).await
    }

    /// Removes what was left half written before `before` by a process that was killed, and tells how many
    /// files that were. They have no names as pictures have, are never served, and only take up room.
    ///
    /// # Errors
    /// Where the folder cannot be read or changed.
    pub async fn remove_leftovers(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.0.store.remove_leftovers(before).await
    }
}

/// Runs `work` where it may block. The turn is over when the work is, even where nobody waits for it any more;
/// a panic in it, in a decoder that met its master, is a refusal.
async fn on_a_thread<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T, PictureError> + Send + 'static,
) -> Result<T, PictureError> {
    let task = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    task.await.unwrap_or(Err(PictureError::NotAPicture))
}

/// What the picture `name` is served as; nothing where that is not the name of a picture.
fn media_type(name: &str) -> Option<&'static str> {
    let (hash, extension) = name.split_once('.')?;
    let hex = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match extension {
        "png" if hex => Some("image/png"),
        "jpg" if hex => Some("image/jpeg"),
        "webp" if hex => Some("image/webp"),
        _ => None,
    }
}

/// `GET` and `HEAD` of `/media/{name}`, for anybody.
///
/// What is served has a type that does not depend on what was sent, cannot run as a page, may be shown by any
/// site and cached for ever. All else is JSON, `{"error": …}`: 404, 405, and 503 while the store is away.
pub fn routes(media: Media) -> Router {
    let methods: MethodRouter<Media> =
        get(show).fallback(|| async { refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed") });
    Router::new().route("/media/{name}", methods).with_state(media)
}

/// Shows pictures that an organization has, and no others: one whose organization is gone, or has another by now, is gone with
/// that, though its file stays a while for whoever is about to give it to an organization.
pub async fn only_shown(State(app): State<App>, params: Params, request: Request, next: Next) -> Response {
    // Decoded, as what is asked for is: else a letter written in another way would pass.
    let name = params.get(0).to_owned();
    if name == DEFAULT_NAME || media_type(&name).is_none() {
        return next.run(request).await;
    }
    match app.read(move |db| organizations::uses_picture(db, &name)).await {
        Ok(true) => next.run(request).await,
        Ok(false) => refuse(StatusCode::NOT_FOUND, "Not found"),
        Err(error) => {
            tracing::error!(%error, "it could not be asked whose a picture is");
            unavailable()
        }
    }
}

async fn show(
    State(media): State<Media>,
    method: Method,
    name: Result<UrlPath<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let not_found = || refuse(StatusCode::NOT_FOUND, "Not found");
    let Ok(UrlPath(name)) = name else { return not_found() };
    let Some(media_type) = media_type(&name) else { return not_found() };
    let etag = format!("\"{}\"", &name[..64]);
    let known = knows(&headers, &etag);
    let bodiless = known || method == Method::HEAD;
    let (length, body) = if name == DEFAULT_NAME {
        (DEFAULT_PICTURE.len() as u64, Body::from(DEFAULT_PICTURE))
    } else {
        match media.0.store.get(&name, bodiless).await {
            Ok(Some(found)) => (found.meta.size, Body::from_stream(found.into_stream())),
            Ok(None) => return not_found(),
            Err(error) => {
                tracing::error!(%error, name, "a picture could not be read");
                return unavailable();
            }
        }
    };
    // A 304 has the length that the 200 would have: were it left out, 0 would be put in its place.
    let status = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let described = [(CONTENT_TYPE, HeaderValue::from_static(media_type)), (CONTENT_LENGTH, length.into())];
    let body = if bodiless { Body::empty() } else { body };
    let mut response = (status, described, body).into_response();
    let headers = response.headers_mut();
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A name of hex digits in quotes is a header value.
    headers.extend(HeaderValue::try_from(etag).ok().map(|etag| (ETAG, etag)));
    response
}

/// What every picture is served with: it is what its type says, it is no page, every site may show it, and
/// it never changes.
const FIXED: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    (CACHE_CONTROL, "public, max-age=31536000, immutable"),
];

/// Whether the client says that it has the picture already.
fn knows(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| {
        // Weak comparison, as RFC 9110 asks for here.
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

fn unavailable() -> Response {
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

fn refuse(status: StatusCode, error: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, serde_json::json!({ "error": error }).to_string()).into_response()
}

#[cfg(test)]
mod parsers;

#[cfg(test)]
mod tests {
    use super::*;

    /// A store in a folder that nothing is written to.
    fn media(patience: Duration) -> Media {
        let store = Store::folder(&std::env::temp_dir()).unwrap();
        Media(Arc::new(Shared { patience, ..Arc::into_inner(Media::new(store).0).unwrap() }))
    }

    #[tokio::test]
    async fn the_third_waits_for_a_decoder_and_not_for_ever() {
        let media = media(Duration::from_millis(5));
        let turns = Arc::clone(&media.0.decoders).acquire_many_owned(2).await.unwrap();
        assert_eq!(media.0.decoders.available_permits(), 0, "two at a time");
        assert_eq!(media.accept(Bytes::from_static(b"GIF89a")).await, Err(PictureError::Busy));
        drop(turns);
        assert_eq!(media.accept(Bytes::from_static(b"GIF89a")).await, Err(PictureError::NotAPicture));
        assert_eq!(media.0.places.available_permits(), PLACES, "nothing is kept");
    }

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused_at_once() {
        let media = media(Duration::from_secs(3600));
        let _waiting = media.0.places.acquire_many(u32::try_from(PLACES).unwrap()).await.unwrap();
        assert_eq!(media.accept(Bytes::from_static(b"GIF89a")).await, Err(PictureError::Busy));
    }

    #[tokio::test]
    async fn a_decoder_that_panics_refuses_the_picture_and_frees_its_turn() {
        let decoders = Arc::new(Semaphore::new(1));
        let turn = Arc::clone(&decoders).acquire_owned().await.unwrap();
        let outcome: Result<(), _> = on_a_thread(turn, || panic!("met its master")).await;
        assert_eq!(outcome, Err(PictureError::NotAPicture));
        assert_eq!(decoders.available_permits(), 1);
    }

    #[test]
    fn the_default_picture_has_the_name_of_its_content() {
        assert_eq!(DEFAULT_NAME, format!("{}.png", hex(&Sha256::digest(DEFAULT_PICTURE))));
        let image = image::load_from_memory(DEFAULT_PICTURE).unwrap();
        assert_eq!((image.width(), image.height()), (256, 256));
    }

    #[test]
    fn a_client_knows_a_picture_by_its_tag() {
        let etag = "\"ab\"";
        for (value, expected) in [
            ("\"ab\"", true),
            ("W/\"ab\"", true),
            ("\"x\", \"ab\"", true),
            ("*", true),
            ("\"abc\"", false),
            ("ab", false),
        ] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]);
            assert_eq!(knows(&headers, etag), expected, "{value}");
        }
        assert!(!knows(&HeaderMap::new(), etag));
    }
}
