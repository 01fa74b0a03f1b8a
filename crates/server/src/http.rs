//! What all faces share of HTTP: bodies in, JSON out, times, lists that are streamed.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::Ipv4Addr;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use guildhall_domain::clock::Timestamp;
use guildhall_domain::db::Db;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::client::{Client, Network};
use crate::dialects::Dialect;
use crate::load::{self, Place};

mod body;
mod keys;

pub use body::{BODIES_MAX, read_body};

/// The most bytes of a JSON or form body.
pub const BODY_MAX: usize = 1024 * 1024;

/// Why a body could not be read or understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has more bytes than are taken, or more values: 413.
    TooLarge,
    /// It did not come in time: 408.
    TooSlow,
    /// All bodies together have no room for it now: 503, worth another try in a second.
    NoRoom,
    /// The connection broke, or its framing is wrong: 400.
    Broken,
    /// Its content type is none that is taken here: 415. The one that was named, or nothing.
    MediaType(String),
    /// It is no JSON, or an object in it names a key twice: 400. What is wrong, in words.
    Syntax(String),
}

/// The body of a request, whole, and what it says that it is.
pub struct Payload<D> {
    content_type: String,
    /// The bytes.
    pub bytes: Bytes,
    dialect: PhantomData<D>,
}

impl<D: Dialect> FromRequest<App> for Payload<D> {
    type Rejection = D::Error;

    async fn from_request(request: Request, _: &App) -> Result<Self, D::Error> {
        let content_type = content_type(request.headers());
        let bytes = read_body(request, BODY_MAX).await?;
        Ok(Self { content_type, bytes, dialect: PhantomData })
    }
}

/// The media type of a body, lower case and without parameters; empty where none is named.
#[must_use]
pub fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl<D> Payload<D> {
    /// The media type that it was sent as; empty where none was named.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Whether it was sent as JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.content_type == "application/json" || self.content_type.ends_with("+json")
    }

    /// Whether it was sent as a form.
    #[must_use]
    pub fn is_form(&self) -> bool {
        self.content_type == "application/x-www-form-urlencoded"
    }

    /// The JSON in it.
    ///
    /// # Errors
    /// [`Fault::MediaType`] where it was not sent as JSON, [`Fault::Syntax`] where it is none of that shape, or
    /// names a key twice, [`Fault::TooLarge`] where it has too many values.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        if !self.is_json() {
            return Err(Fault::MediaType(self.content_type.clone()));
        }
        keys::check(&self.bytes).map_err(|bad| match bad {
            keys::Bad::Malformed(error) => Fault::Syntax(error.to_string()),
            keys::Bad::TooMany => Fault::TooLarge,
        })?;
        serde_json::from_slice(&self.bytes).map_err(|error| Fault::Syntax(error.to_string()))
    }

    /// The pairs of a form, in their order.
    ///
    /// # Errors
    /// [`Fault::MediaType`] where it was not sent as a form, [`Fault::TooLarge`] where it has too many pairs.
    pub fn form(&self) -> Result<Vec<(String, String)>, Fault> {
        if !self.is_form() {
            return Err(Fault::MediaType(self.content_type.clone()));
        }
        if self.bytes.iter().filter(|byte| **byte == b'&').count() >= keys::VALUES_MAX {
            return Err(Fault::TooLarge);
        }
        serde_urlencoded::from_bytes(&self.bytes).map_err(|error| Fault::Syntax(error.to_string()))
    }
}

/// The parts of the path that its route names, in their order, decoded. One that is no UTF-8 names nothing that exists.
#[derive(Clone, Debug)]
pub struct Params(Vec<String>);

impl Params {
    /// The part at `place`; empty where the route names fewer.
    #[must_use]
    pub fn get(&self, place: usize) -> &str {
        self.0.get(place).map_or("", String::as_str)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(match RawPathParams::from_request_parts(parts, state).await {
            Ok(params) => Self(params.iter().map(|(_, value)| value.to_owned()).collect()),
            Err(_) => Self(lossy_params(parts)),
        })
    }
}

/// The parts that the route names where one of them is no UTF-8: that one with a sign that no name has.
fn lossy_params(parts: &Parts) -> Vec<String> {
    let Some(route) = parts.extensions.get::<MatchedPath>() else { return Vec::new() };
    let segments = route.as_str().split('/').zip(parts.uri.path().split('/'));
    let named = segments.filter(|(pattern, _)| pattern.starts_with('{'));
    named.map(|(_, part)| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect()
}

/// The http or https address that `text` is, written as people write one: a browser also forgives white space, missing or
/// repeated slashes, and hosts that nobody can have.
pub(crate) fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let has_authority = text
        .get(url.scheme().len()..)
        .and_then(|rest| rest.strip_prefix("://"))
        .is_some_and(|rest| !rest.starts_with(['/', '\\']));
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let has_host = match url.domain() {
        Some(domain) => domain.strip_suffix('.').unwrap_or(domain).split('.').all(is_label),
        None => url.has_host(),
    };
    let is_good = matches!(url.scheme(), "http" | "https")
        && has_authority
        && has_host
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    is_good.then_some(url)
}

/// The pairs of the query, in their order, decoded.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The query of an address, without its `?`. What is no UTF-8 becomes U+FFFD; nothing in it is wrong.
    pub(crate) fn read(query: &str) -> Self {
        Self(serde_urlencoded::from_str(query).unwrap_or_default())
    }

    /// The value of the last pair of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every pair but those of these names, encoded again: what a link to another page keeps.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> String {
        let kept: Vec<&(String, String)> =
            self.0.iter().filter(|(key, _)| !names.contains(&key.as_str())).collect();
        serde_urlencoded::to_string(kept).unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(parts.uri.query().unwrap_or_default()))
    }
}

/// Where the request comes from, as what has a limit is counted by: see [`Network`]. Empty inside the program.
pub struct Address(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let client = parts.extensions.get::<Client>();
        Ok(Self(client.map(|Client(ip)| Network::of(*ip).to_string()).unwrap_or_default()))
    }
}

/// Tells a browser what holds for every answer: it guesses no types, and, unless the answer says otherwise, nothing here is
/// a page to run or to frame, or to be kept.
pub fn guard(headers: &mut HeaderMap) {
    const UNLESS_SAID: [(HeaderName, HeaderValue); 3] = [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, value) in UNLESS_SAID {
        headers.entry(name).or_insert(value);
    }
}

/// `value` as a JSON answer.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(status, Body::from(body)),
        Err(error) => {
            internal(json_bytes(StatusCode::INTERNAL_SERVER_ERROR, Body::empty()), &error.to_string())
        }
    }
}

/// A body that is JSON already.
pub(crate) fn json_bytes(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer with no body.
#[must_use]
pub fn empty(status: StatusCode) -> Response {
    status.into_response()
}

/// What a client is told of a change that may have happened or not, whatever the dialect: the documents do not know of it.
pub const IN_DOUBT: &str = "It is not known whether this was done. Look before you try again.";

/// What the log is told, once, of an answer whose cause is ours. Travels with it, never in it.
#[derive(Clone, Debug)]
pub struct Cause(pub String);

/// `response` with its cause for the log.
#[must_use]
pub fn internal(mut response: Response, cause: &str) -> Response {
    response.extensions_mut().insert(Cause(cause.to_owned()));
    response
}

/// `response` to what the domain refused, with what belongs to it whatever the dialect: when to come back, and the cause
/// for the log where it is ours.
#[must_use]
pub fn refused(response: Response, error: Option<&guildhall_domain::Error>) -> Response {
    use guildhall_domain::Error as E;
    match error {
        Some(E::Limited(after)) => retry_after(response, *after),
        // The log tells of all that were turned away in one line.
        Some(E::Unavailable(why)) if why == load::TOO_MUCH => {
            retry_after(response, std::time::Duration::from_secs(1))
        }
        Some(error @ (E::Unavailable(_) | E::InDoubt(_))) => {
            internal(retry_after(response, std::time::Duration::from_secs(1)), &error.to_string())
        }
        Some(error @ E::Internal(_)) => internal(response, &error.to_string()),
        _ => response,
    }
}

/// `response` with `Retry-After`, in whole seconds and at least one.
#[must_use]
pub fn retry_after(mut response: Response, after: std::time::Duration) -> Response {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}

/// What one is answered who is turned away.
pub fn too_much<D: Dialect>() -> Response {
    D::Error::from(guildhall_domain::Error::Unavailable(load::TOO_MUCH.into())).into_response()
}

/// What one is answered who sends too much.
pub fn too_large<D: Dialect>() -> Response {
    D::Error::from(Fault::TooLarge).into_response()
}

/// That there is a turn for a list as long as the server is large, and for whom. Asked first, so that turning one away costs
/// nothing else.
pub struct Turn<D> {
    /// Who asks for it.
    pub client: Network,
    dialect: PhantomData<D>,
}

impl<S: Send + Sync, D: Dialect> FromRequestParts<S> for Turn<D> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let Client(ip) = parts.extensions.get().copied().unwrap_or(Client(Ipv4Addr::UNSPECIFIED.into()));
        let client = Network::of(ip);
        if load::LISTS.is_full_for(client) {
            return Err(too_much::<D>());
        }
        Ok(Self { client, dialect: PhantomData })
    }
}

/// How many elements of a list are read at a time: a piece takes less than a millisecond, and so long a list begins hardly
/// later than a short one.
pub const PIECE: usize = 100;

/// A JSON text that is written piece by piece: what stands before a list, the list, what stands behind it. A short list
/// is one piece, and has a length; of a long one no more than a piece is in memory. Where a later piece cannot be read
/// the connection breaks, so that nobody takes a part for the whole.
pub struct Pieces<F, E = &'static str> {
    /// The first piece, which is read before anything is answered: what it refuses can still be told.
    pub first: Vec<u8>,
    /// Reads the next piece from the database and appends it to what it is given; false where none is left.
    pub next: F,
    /// What stands behind the last piece.
    pub end: E,
    /// Whether the first piece is all.
    pub is_whole: bool,
}

impl<F, E> Pieces<F, E>
where
    F: FnMut(&Db, &mut Vec<u8>) -> guildhall_domain::Result<bool> + Clone + Send + 'static,
    E: AsRef<str> + Send + 'static,
{
    /// The answer; what is not read yet is read from the database of `app`.
    #[must_use]
    pub fn respond(self, app: &App) -> Response {
        self.answer(app, || None)
    }

    /// The same of a list that has a queue.
    #[must_use]
    pub fn respond_in<D>(self, app: &App, turn: &Turn<D>) -> Response {
        let client = turn.client;
        self.answer(app, move || Some(load::LISTS.join(client)))
    }

    fn answer(mut self, app: &App, place: impl Fn() -> Option<Place> + Copy + Send + 'static) -> Response {
        if self.is_whole {
            self.first.extend_from_slice(self.end.as_ref().as_bytes());
            return json_bytes(StatusCode::OK, Body::from(self.first));
        }
        let Self { first, next, end, .. } = self;
        // Pieces are about as long as the first.
        let length = first.len() + first.len() / 8;
        let rest = futures_util::stream::unfold(Some((app.clone(), next, end)), move |rest| async move {
            let (app, mut next, end) = rest?;
            let read = move |db: &Db| {
                let mut piece = Vec::with_capacity(length);
                next(db, &mut piece).map(|is_more| (piece, is_more, next))
            };
            // What was read so far goes out, and others have their turn, before more is read.
            let here = app.clone();
            match load::in_turn(place(), async move { here.read(read).await }).await {
                Some(Ok((piece, true, next))) => Some((Ok(Bytes::from(piece)), Some((app, next, end)))),
                Some(Ok((mut piece, false, _))) => {
                    piece.extend_from_slice(end.as_ref().as_bytes());
                    Some((Ok(Bytes::from(piece)), None))
                }
                why => {
                    let error = why.and_then(Result::err).map(|error| error.to_string());
                    tracing::error!(error, "a list broke off");
                    Some((Err(std::io::Error::other("the list broke off")), None))
                }
            }
        });
        let first = futures_util::stream::once(std::future::ready(Ok(Bytes::from(first))));
        json_bytes(StatusCode::OK, Body::from_stream(futures_util::StreamExt::chain(first, rest)))
    }
}

/// Answers a JSON text that `next` writes piece by piece, as in [`Pieces`]: between what stands before its first piece and
/// what stands behind the last.
///
/// # Errors
/// What the first piece refuses.
pub async fn stream<F, E>(
    app: &App,
    (head, end): (impl Into<Vec<u8>>, E),
    mut next: F,
) -> guildhall_domain::Result<Response>
where
    F: FnMut(&Db, &mut Vec<u8>) -> guildhall_domain::Result<bool> + Clone + Send + 'static,
    E: AsRef<str> + Send + 'static,
{
    let mut first = head.into();
    let read = move |db: &Db| next(db, &mut first).map(|is_more| (first, is_more, next));
    let (first, is_more, next) = app.read(read).await?;
    Ok(Pieces { first, next, end, is_whole: !is_more }.respond(app))
}

/// Answers a list in such a text. `after` reads so many elements behind the given one, from the beginning behind none;
/// `wire` writes an element, and leaves out one that it gives nothing.
///
/// # Errors
/// What the first piece refuses.
pub async fn list<T, W, A>(
    app: &App,
    frame: (impl Into<Vec<u8>>, impl AsRef<str> + Send + 'static),
    wire: impl Fn(&T) -> Option<W> + Clone + Send + 'static,
    after: A,
) -> guildhall_domain::Result<Response>
where
    T: Clone + Send + 'static,
    W: Serialize,
    A: Fn(&Db, Option<&T>, i64) -> guildhall_domain::Result<Vec<T>> + Clone + Send + 'static,
{
    let most = i64::try_from(PIECE).unwrap_or(i64::MAX);
    let (mut last, mut is_first) = (None, true);
    let next = move |db: &Db, out: &mut Vec<u8>| {
        let mut elements = after(db, last.as_ref(), most)?;
        append(out, elements.iter().filter_map(&wire), &mut is_first);
        let is_more = elements.len() >= PIECE;
        last = elements.pop();
        Ok(is_more)
    };
    stream(app, frame, next).await
}

/// Appends `elements` to a JSON list in `out`, with a comma before each but the very first of the list.
pub fn append<T: Serialize>(out: &mut Vec<u8>, elements: impl IntoIterator<Item = T>, is_first: &mut bool) {
    for element in elements {
        if !std::mem::take(is_first) {
            out.push(b',');
        }
        // Writing to memory fails only for a map whose keys are no strings; wire types have none.
        if serde_json::to_writer(&mut *out, &element).is_err() {
            tracing::error!("an element of a list could not be written");
        }
    }
}

/// How many digits stand behind the seconds of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// None.
    Seconds,
    /// `.000`, whatever the instant: seconds in the form of milliseconds.
    SecondsAsMillis,
    /// Three.
    Millis,
    /// Six.
    Micros,
}

/// The instant in UTC as RFC 3339 writes it, with `Z`.
#[must_use]
pub fn rfc3339(at: Timestamp, precision: Precision) -> String {
    let instant = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    match precision {
        Precision::Seconds => instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Precision::SecondsAsMillis => instant.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string(),
        Precision::Millis => instant.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Precision::Micros => instant.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
    }
}

#[cfg(test)]
mod parsers;
