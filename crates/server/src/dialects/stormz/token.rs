//! `POST /oauth/token`: the resource owner's password for a token, RFC 6749 section 4.3.
//!
//! An `Authorization` header is the client's own here, not a user's. What RFC 6749 has a word for is answered in its shape;
//! the rest (too large, too often, unavailable) in the dialect's.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use guildhall_domain::authz::Scope;
use guildhall_domain::credentials::{Session, Wanted};
use guildhall_domain::onboarding::SignedIn;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Error, Stormz};
use crate::app::{App, Entry};
use crate::http::{self, Address, Payload};

#[derive(Serialize)]
struct Token {
    access_token: String,
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
    scope: &'static str,
}

pub(super) async fn create(
    State(app): State<App>,
    Address(address): Address,
    headers: HeaderMap,
    payload: Payload<Stormz>,
) -> Result<Response, Refusal> {
    let form = read_form(&payload)?;
    require_client(&app, &headers, &form)?;
    match text(&form, "grant_type")?.ok_or(INVALID_REQUEST)? {
        "password" => {}
        _ => return Err(Refusal::of("unsupported_grant_type")),
    }
    let login = text(&form, "username")?.ok_or(INVALID_REQUEST)?.to_owned();
    let password = text(&form, "password")?.ok_or(INVALID_REQUEST)?.to_owned();
    let (scope, granted) = read_scope(text(&form, "scope")?)?;
    let wanted = Wanted::Token { scope, for_first_organization: false };
    let entry = Entry { login, password, address, wanted, invitation: None };
    // Passwords wait for one another, and what is kept of a body takes many times its bytes.
    drop((form, payload));
    match app.sign_in(entry).await? {
        SignedIn::Done(session) => respond(&app, &session, granted).await,
        SignedIn::Wrong => Err(Refusal::of("invalid_grant")),
        SignedIn::Unverified(_) => {
            let description = Some("The e-mail address is not verified.");
            Err(Refusal::OAuth { error: "invalid_grant", description })
        }
    }
}

async fn respond(app: &App, session: &Session, scope: &'static str) -> Result<Response, Refusal> {
    let (access_token, _) = app.token(session).await?;
    let expires_in = session.expires_at.since(session.created_at).as_secs();
    let token = Token { access_token, token_type: "bearer", expires_in, scope };
    Ok(uncached(http::json(StatusCode::OK, &token)))
}

/// `response` with the headers by which RFC 6749 keeps it out of every cache, old ones too.
fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// The parameters, from a form or JSON. None may be there twice.
fn read_form(payload: &Payload<Stormz>) -> Result<Map<String, Value>, Refusal> {
    if payload.is_json() {
        return payload.json().map_err(|_| INVALID_REQUEST);
    }
    let mut form = Map::new();
    for (key, value) in payload.form().map_err(|_| INVALID_REQUEST)? {
        if form.insert(key, Value::String(value)).is_some() {
            return Err(INVALID_REQUEST);
        }
    }
    Ok(form)
}

/// A parameter. One without a value counts as left out, as RFC 6749 has it.
fn text<'f>(form: &'f Map<String, Value>, key: &str) -> Result<Option<&'f str>, Refusal> {
    match form.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(INVALID_REQUEST),
    }
}

/// What the token may do, and that in the words of the request, so that a client which compares finds what it asked for:
/// `write` alone may read as well.
fn read_scope(asked: Option<&str>) -> Result<(Scope, &'static str), Refusal> {
    let (mut read, mut write) = (false, false);
    for word in asked.unwrap_or("read write").split_ascii_whitespace() {
        match word {
            "read" => read = true,
            "write" => write = true,
            _ => return Err(Refusal::of("invalid_scope")),
        }
    }
    match (read, write) {
        (true, true) => Ok((Scope::Write, "read write")),
        (false, true) => Ok((Scope::Write, "write")),
        (true, false) => Ok((Scope::Read, "read")),
        (false, false) => Err(Refusal::of("invalid_scope")),
    }
}

/// Where clients are configured, the request has to come from one of them: by HTTP Basic, else by the body.
fn require_client(app: &App, headers: &HeaderMap, form: &Map<String, Value>) -> Result<(), Refusal> {
    if app.oauth_clients.is_empty() {
        return Ok(());
    }
    let is_known = |id: &str, secret: &str| {
        let known = app.oauth_clients.get(id);
        known.is_some_and(|known| verify_slices_are_equal(known.as_bytes(), secret.as_bytes()).is_ok())
    };
    let is_client = match headers.get(header::AUTHORIZATION) {
        Some(value) => basic(value).is_some_and(|(id, secret)| {
            // RFC 6749 has both encoded as in a form; most clients send them as they are.
            is_known(&id, &secret) || is_known(&form_decoded(&id), &form_decoded(&secret))
        }),
        None => {
            let secret = text(form, "client_secret")?.unwrap_or_default();
            text(form, "client_id")?.is_some_and(|id| is_known(id, secret))
        }
    };
    if is_client { Ok(()) } else { Err(Refusal::UnknownClient) }
}

fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

const INVALID_REQUEST: Refusal = Refusal::of("invalid_request");

/// Why there is no token.
pub(super) enum Refusal {
    /// RFC 6749 has a word for it: 400.
    OAuth { error: &'static str, description: Option<&'static str> },
    /// No client that is configured: 401.
    UnknownClient,
    /// In the dialect's own shape.
    Other(Error),
}

impl Refusal {
    const fn of(error: &'static str) -> Self {
        Self::OAuth { error, description: None }
    }
}

impl From<guildhall_domain::Error> for Refusal {
    fn from(error: guildhall_domain::Error) -> Self {
        Self::Other(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            error_description: Option<&'static str>,
        }
        let answer = |status, error, error_description| {
            uncached(http::json(status, &Body { error, error_description }))
        };
        match self {
            Self::OAuth { error, description } => answer(StatusCode::BAD_REQUEST, error, description),
            Self::UnknownClient => {
                let mut response = answer(StatusCode::UNAUTHORIZED, "invalid_client", None);
                let challenge = HeaderValue::from_static("Basic realm=\"oauth\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                response
            }
            Self::Other(error) => error.into_response(),
        }
    }
}

#[cfg(test)]
mod parsers;
