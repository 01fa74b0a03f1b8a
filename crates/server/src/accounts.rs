//! The pages behind mail links: `/account/verify/`, `/account/reset-password/`, `/account/invite/`, with and without the last
//! slash.
//!
//! Opening one, by GET or HEAD, changes nothing: it shows what the link is good for, with a form whose button does it. The
//! form carries the link's secret, so these pages need no script and no cookie; only an invitation looks at the cookie,
//! to spare one who is signed in the password. None of them signs anybody in: a form that did could be sent from any
//! site, to sign a browser in as somebody else.

use std::borrow::Cow;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use guildhall_domain::credentials::password::{Password, Weakness};
use guildhall_domain::credentials::{self, MailedToken, Purpose};
use guildhall_domain::outbox::is_token;
use guildhall_domain::{Error, Result, error::Missing};
use serde::Deserialize;

use crate::app::App;
use crate::http::{self, BODY_MAX, Fault};
use crate::pages::{Page, render};

mod invite;
mod reset;
mod verify;

/// The routes of the pages.
pub fn routes() -> Router<App> {
    Router::new()
        .merge(page("/account/verify", get(verify::show).post(verify::confirm)))
        .merge(page("/account/reset-password", get(reset::show).post(reset::set)))
        .merge(page("/account/invite", get(invite::show).post(invite::accept)))
}

fn page(path: &str, methods: MethodRouter<App>) -> Router<App> {
    let methods = methods.fallback(wrong_method);
    Router::new().route(path, methods.clone()).route(&format!("{path}/"), methods)
}

async fn wrong_method() -> Response {
    told(
        StatusCode::METHOD_NOT_ALLOWED,
        "This is a page",
        "It can be opened, and its button pressed. Nothing else can be done with it.",
    )
}

fn told(status: StatusCode, title: &str, text: &str) -> Response {
    render(&Page::Message { status, title, text }, None)
}

/// What the forms send, each only some of it; named as in [`crate::pages::field`].
#[derive(Default, Deserialize)]
#[serde(default)]
struct Form {
    token: String,
    way: String,
    csrf: String,
    password: String,
    confirmation: String,
    first_name: String,
    last_name: String,
}

impl FromRequest<App> for Form {
    type Rejection = Failed;

    async fn from_request(request: Request, _: &App) -> Result<Self, Failed> {
        let content_type = http::content_type(request.headers());
        let body = http::read_body(request, BODY_MAX).await?;
        if content_type != "application/x-www-form-urlencoded" {
            return Err(Fault::MediaType(content_type).into());
        }
        Ok(serde_urlencoded::from_bytes(&body).map_err(|error| Fault::Syntax(error.to_string()))?)
    }
}

impl Form {
    /// The password to set; else what is wrong with it, in words.
    fn chosen_password(&self) -> Result<Password, &'static str> {
        if self.password != self.confirmation {
            return Err("The two passwords are not the same. Please type both again.");
        }
        Password::chosen(&self.password).map_err(|weakness| match weakness {
            Weakness::TooShort => "This password is too short: please take at least 8 characters.",
            Weakness::TooLong => "This password is too long: please take at most 1,024 bytes.",
            Weakness::Common => {
                "This password is one of the first that anybody would try. Please take another."
            }
        })
    }
}

/// What the token is good for, where that is one of `purposes`; else nothing.
async fn look(app: &App, token: &str, purposes: &'static [Purpose]) -> Result<Option<MailedToken>> {
    if !is_token(token) {
        return Ok(None);
    }
    let token = token.to_owned();
    let found = if_known(app.read(move |db| credentials::look_at_token(db, &token)).await)?;
    Ok(found.filter(|mailed| purposes.contains(&mailed.purpose)))
}

/// Nothing, where a token is not good.
fn if_known<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(Error::Missing(Missing::Token)) => Ok(None),
        found => found.map(Some),
    }
}

/// Why there is no page of the usual kind: said in words, on a page.
enum Failed {
    /// The form could not be read.
    Fault(Fault),
    /// As for any operation.
    Error(Error),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Self::Fault(fault) => unreadable(&fault),
            Self::Error(error) => http::refused(refused(&error), Some(&error)),
        }
    }
}

fn unreadable(fault: &Fault) -> Response {
    const AGAIN: &str = "Please open the link in the message once more and use the form on its page.";
    let (status, title) = match fault {
        Fault::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "That was too much to read"),
        Fault::TooSlow => (StatusCode::REQUEST_TIMEOUT, "That took too long to arrive"),
        Fault::MediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "That was not sent as a form"),
        Fault::Broken | Fault::Syntax(_) => (StatusCode::BAD_REQUEST, "That could not be read"),
        Fault::NoRoom => {
            let page = told(StatusCode::SERVICE_UNAVAILABLE, "Not now", AGAIN);
            return http::retry_after(page, Duration::from_secs(1));
        }
    };
    told(status, title, AGAIN)
}

fn refused(error: &Error) -> Response {
    let (status, title, text) = match error {
        Error::Limited(after) => (
            StatusCode::TOO_MANY_REQUESTS,
            "Too many tries",
            Cow::from(format!("Please wait {} and try again.", in_words(*after))),
        ),
        Error::Unavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Not now",
            Cow::from("The server cannot do this at the moment. Nothing was changed; please try again soon."),
        ),
        Error::InDoubt(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Perhaps",
            Cow::from("It is not known whether this was done. Please look before you try again."),
        ),
        // What can be refused to a reader is told on the link's own page: whatever comes here was not foreseen.
        _ => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong",
            Cow::from("It is not your fault, and it was written down. Please try again later."),
        ),
    };
    told(status, title, &text)
}

/// A time to wait, rounded up.
fn in_words(time: Duration) -> String {
    let (number, unit) = match time.as_secs() + u64::from(time.subsec_nanos() > 0) {
        seconds @ ..=90 => (seconds.max(1), "second"),
        seconds => (seconds.div_ceil(60), "minute"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_reads_well_and_is_never_too_short() {
        for (millis, words) in [
            (0, "1 second"),
            (1_000, "1 second"),
            (1_001, "2 seconds"),
            (90_000, "90 seconds"),
            (90_001, "2 minutes"),
            (900_000, "15 minutes"),
        ] {
            assert_eq!(in_words(Duration::from_millis(millis)), words);
        }
    }

    #[tokio::test]
    async fn every_failure_is_a_page_with_its_status() {
        let failures = [
            (Failed::from(Fault::TooLarge), 413),
            (Fault::TooSlow.into(), 408),
            (Fault::MediaType(String::new()).into(), 415),
            (Fault::NoRoom.into(), 503),
            (Fault::Broken.into(), 400),
            (Fault::Syntax(String::new()).into(), 400),
            (Error::Limited(Duration::from_secs(61)).into(), 429),
            (Error::Unavailable("the disk is full".into()).into(), 503),
            (Error::Internal("a defect".into()).into(), 500),
        ];
        for (failed, status) in failures {
            let response = failed.into_response();
            assert_eq!(response.status(), status);
            let wait = response.headers().get("retry-after").map(|value| value.as_bytes());
            let expected: Option<&[u8]> = match status {
                429 => Some(b"61"),
                503 => Some(b"1"),
                _ => None,
            };
            assert_eq!(wait, expected, "{status}");
            assert!(response.headers().contains_key("content-security-policy"), "{status}");
            let body = axum::body::to_bytes(response.into_body(), BODY_MAX).await.expect("it is in memory");
            let body = String::from_utf8(body.to_vec()).expect("a page is UTF-8");
            assert!(!body.contains("disk") && !body.contains("defect"), "{body}");
        }
    }
}
