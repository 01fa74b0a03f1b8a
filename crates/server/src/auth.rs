//! From a request's credential to an [`Actor`]: the only place that makes one from a request.
//!
//! `Authorization: Bearer …` or `Token …` with a session's token, a session key (40 hex digits) or an API key (64 hex
//! digits), `Bearer` with a trusted issuer's token, or the cookie `access_token_cookie`, which needs `X-CSRF-TOKEN` where
//! something may change. Nothing else counts, and never two at once.

use std::marker::PhantomData;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use guildhall_domain::authz::Actor;
use guildhall_domain::credentials::{self, Authenticated, Refused};
use guildhall_domain::text::{Email, Name, PersonName};
use guildhall_domain::users::{self, Identity};
use guildhall_domain::{Error, Result};

use crate::app::App;
use crate::dialects::Dialect;
use crate::issuers::IssuerError;
use crate::tokens::{Claims, TokenError, issuer_of};

/// The cookie that carries a session's token.
pub const COOKIE: &str = "access_token_cookie";
/// The cookie from which a page's script reads the CSRF value.
pub const CSRF_COOKIE: &str = "csrf_access_token";
/// The header that proves that a page of ours sent the request.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// Why nobody acts.
#[derive(Debug)]
pub enum Failure {
    /// No credential, where one is needed.
    Missing,
    /// More than one.
    Several,
    /// One that does not count.
    Invalid(Why),
    /// The cookie without the header.
    CsrfMissing,
    /// The cookie with another header than its own.
    CsrfWrong,
    /// A trusted issuer's token that verifies and does not say whose it is.
    NoUserId,
    /// The keys of the token's issuer cannot be had now.
    IssuerUnavailable,
    /// As for any operation.
    Error(Error),
}

/// Why a credential does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is none of ours, or its account is disabled.
    Unknown,
    /// A scheme without a value.
    NoValue,
    /// A value with white space in it.
    Spaces,
    /// Its time is over.
    Expired,
    /// A token of ours whose session was ended.
    Revoked,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Who calls, who has to be signed in.
pub struct SignedIn<D> {
    /// They.
    pub actor: Actor,
    dialect: PhantomData<D>,
}

/// Who calls, signed in or not; a credential that does not count is refused all the same.
pub struct Caller<D> {
    /// They, or nobody.
    pub actor: Actor,
    dialect: PhantomData<D>,
}

impl<D: Dialect> FromRequestParts<App> for SignedIn<D> {
    type Rejection = D::Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, D::Error> {
        match identify(app, &parts.method, &parts.headers).await? {
            Some(actor) => Ok(Self { actor, dialect: PhantomData }),
            None => Err(Failure::Missing.into()),
        }
    }
}

impl<D: Dialect> FromRequestParts<App> for Caller<D> {
    type Rejection = D::Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, D::Error> {
        let actor = identify(app, &parts.method, &parts.headers).await?;
        Ok(Self { actor: actor.unwrap_or_else(Actor::nobody), dialect: PhantomData })
    }
}

/// Who calls; nothing where no credential was sent.
///
/// # Errors
/// Where one was sent that does not count.
pub async fn identify(app: &App, method: &Method, headers: &HeaderMap) -> Result<Option<Actor>, Failure> {
    let Some(presented) = presented(headers)? else { return Ok(None) };
    let authenticated = match presented {
        Presented::Cookie(token) => by_cookie(app, token, method, headers).await?,
        Presented::Authorization(value) => by_authorization(app, value).await?,
    };
    let Authenticated { actor, is_to_be_seen } = authenticated;
    if is_to_be_seen {
        let seen = actor.clone();
        // Being seen is bookkeeping: where it cannot be written down, the request goes on.
        if let Err(error) = app.write(move |db| users::seen(db, &seen)).await {
            tracing::warn!(%error, "could not write down that a user was seen");
        }
    }
    Ok(Some(actor))
}

enum Presented<'h> {
    Cookie(&'h str),
    Authorization(&'h str),
}

/// The one credential among the headers.
fn presented(headers: &HeaderMap) -> Result<Option<Presented<'_>>, Failure> {
    let mut found = None;
    for value in headers.get_all(header::AUTHORIZATION) {
        let value = value.to_str().map_err(|_| Failure::Invalid(Why::Unknown))?;
        if found.replace(Presented::Authorization(value)).is_some() {
            return Err(Failure::Several);
        }
    }
    for cookies in headers.get_all(header::COOKIE) {
        // Another application's cookie on the same host may hold anything: it is not ours to judge.
        let Ok(cookies) = cookies.to_str() else { continue };
        for cookie in cookies.split(';') {
            if let Some((COOKIE, value)) = cookie.trim().split_once('=')
                && found.replace(Presented::Cookie(value)).is_some()
            {
                return Err(Failure::Several);
            }
        }
    }
    Ok(found)
}

async fn by_cookie(
    app: &App,
    token: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Authenticated, Failure> {
    let claims = app.verify(token).await?.map_err(token_failure)?;
    if !method.is_safe() {
        let sent = headers.get(CSRF_HEADER).ok_or(Failure::CsrfMissing)?;
        if verify_slices_are_equal(sent.as_bytes(), claims.csrf.as_bytes()).is_err() {
            return Err(Failure::CsrfWrong);
        }
    }
    by_claims(app, &claims).await
}

/// Who the session speaks for that a token of ours names.
async fn by_claims(app: &App, claims: &Claims) -> Result<Authenticated, Failure> {
    let sid = claims.sid.clone();
    let refused = match app.read(move |db| credentials::by_session(db, &sid)).await? {
        Ok(authenticated) => return Ok(authenticated),
        Err(refused) => refused,
    };
    let subject = claims.sub.clone();
    // A disabled account's credential is answered like one that never was, not like one that was ended.
    let is_disabled = app.read(move |db| users::is_disabled(db, &Actor::system(), &subject)).await?;
    Err(Failure::Invalid(match refused {
        _ if is_disabled => Why::Unknown,
        Refused::Ended => Why::Revoked,
        Refused::Expired => Why::Expired,
    }))
}

/// One whose browser is signed in, before a page of this server's own.
pub(crate) struct Visitor {
    /// They.
    pub(crate) actor: Actor,
    /// What a form shown to them carries.
    pub(crate) csrf: String,
}

impl Visitor {
    /// Whether the form that they sent was shown to them.
    pub(crate) fn was_shown(&self, csrf: &str) -> bool {
        verify_slices_are_equal(csrf.as_bytes(), self.csrf.as_bytes()).is_ok()
    }
}

/// Who the browser is signed in as, for the pages behind mail links and for nothing else: a dialect asks for
/// [`SignedIn`] or [`Caller`].
///
/// A form cannot send `X-CSRF-TOKEN`, so here the cookie identifies without it, and before anything is done in the visitor's
/// name the page asks [`Visitor::was_shown`]. A cookie that does not count, or may only read, or comes with another
/// credential, is nobody's. Nobody is written down as seen: opening a link changes nothing.
///
/// # Errors
/// Where the database cannot be used.
pub(crate) async fn visitor(app: &App, headers: &HeaderMap) -> Result<Option<Visitor>> {
    let Ok(Some(Presented::Cookie(token))) = presented(headers) else { return Ok(None) };
    let Ok(claims) = app.verify(token).await? else { return Ok(None) };
    let sid = claims.sid.clone();
    let Ok(found) = app.read(move |db| credentials::by_session(db, &sid)).await? else { return Ok(None) };
    let may_write = found.actor.require_write_scope().is_ok();
    Ok(may_write.then(|| Visitor { actor: found.actor, csrf: claims.csrf.clone() }))
}

async fn by_authorization(app: &App, value: &str) -> Result<Authenticated, Failure> {
    const SPACES: [char; 2] = [' ', '\t'];
    let value = value.trim_matches(SPACES);
    let (scheme, token) = value.split_once(SPACES).unwrap_or((value, ""));
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    if !is_bearer && !scheme.eq_ignore_ascii_case("token") {
        return Err(Failure::Invalid(Why::Unknown));
    }
    let token = token.trim_start_matches(SPACES);
    if token.is_empty() {
        return Err(Failure::Invalid(Why::NoValue));
    }
    if SPACES.iter().any(|space| token.contains(*space)) {
        return Err(Failure::Invalid(Why::Spaces));
    }
    let is_hex = token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match token.len() {
        40 if is_hex => {
            let key = token.to_owned();
            app.read(move |db| credentials::by_key(db, &key)).await?.map_err(refused)
        }
        64 if is_hex => {
            let key = token.to_owned();
            app.read(move |db| credentials::by_api_key(db, &key)).await?.map_err(refused)
        }
        _ => match app.verify(token).await? {
            Ok(claims) => by_claims(app, &claims).await,
            Err(TokenError::Invalid) if is_bearer => by_issuer(app, token).await,
            Err(error) => Err(token_failure(error)),
        },
    }
}

async fn by_issuer(app: &App, token: &str) -> Result<Authenticated, Failure> {
    if !issuer_of(token).is_some_and(|issuer| app.issuers.knows(&issuer)) {
        return Err(Failure::Invalid(Why::Unknown));
    }
    let identity = app.issuers.verify(token).await.map_err(|error| match error {
        IssuerError::Invalid => Failure::Invalid(Why::Unknown),
        IssuerError::Unavailable => Failure::IssuerUnavailable,
    })?;
    let subject = identity.subject.ok_or(Failure::NoUserId)?;
    let expires_at = identity.expires_at;
    let who = Identity {
        issuer: identity.issuer,
        subject,
        email: identity.email.as_deref().and_then(Email::parse),
        name: match identity.name.as_deref().map(Name::parse) {
            Some(Ok(name)) => PersonName::Whole(name),
            _ => PersonName::Unknown,
        },
    };
    let known = who.clone();
    let user = match app.read(move |db| users::known_identity(db, &Actor::system(), &known)).await? {
        Some(user) => user,
        None => app.write(move |db| users::of_identity(db, &Actor::system(), who)).await?.id,
    };
    let token = token.to_owned();
    let found = app.read(move |db| credentials::by_issued_token(db, user, &token, expires_at)).await?;
    found.map_err(refused)
}

fn token_failure(error: TokenError) -> Failure {
    Failure::Invalid(match error {
        TokenError::Invalid | TokenError::UnknownKey => Why::Unknown,
        TokenError::Expired => Why::Expired,
    })
}

fn refused(why: Refused) -> Failure {
    Failure::Invalid(match why {
        Refused::Ended => Why::Unknown,
        Refused::Expired => Why::Expired,
    })
}

#[cfg(test)]
mod parsers;
