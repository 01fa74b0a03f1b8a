//! bit (document 000): organizations with their owners and users, and events. What a handler refuses is
//! `{"message": "…"}`, what the check of the credential refuses `{"msg": "…"}`.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use guildhall_domain::db::Db;
use guildhall_domain::error::{Conflict, Denied, Missing};
use guildhall_domain::id::{OrganizationId, number};
use guildhall_domain::memberships::{At, OrganizationKey, Sight};
use guildhall_domain::users::User;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Dialect, Routes, Slash};
use crate::app::App;
use crate::auth::{Failure, Why};
use crate::http::{self, Fault, Params, Payload};

mod accounts;
mod describe;
mod events;
mod memberships;
mod organizations;
mod people;

/// The routes: accounts, organizations, who belongs to them, events.
#[must_use]
pub fn routes() -> Routes {
    Routes::new::<Bit>(describe::ABOUT, Slash::AsListed)
        .add(Method::POST, "/users/{type}/create", accounts::create, describe::create_account())
        .add(Method::POST, "/user/login", accounts::log_in, describe::log_in())
        .add(Method::DELETE, "/user/logout", accounts::log_out, describe::log_out())
        .add(Method::POST, "/organizations/create", organizations::create, describe::create_organization())
        .add(
            Method::GET,
            "/organizations/{organization_id}",
            organizations::fetch,
            describe::fetch_organization(),
        )
        .add(
            Method::PUT,
            "/organizations/{organization_id}",
            organizations::update,
            describe::update_organization(),
        )
        .add(
            Method::DELETE,
            "/organizations/{organization_id}",
            organizations::delete,
            describe::delete_organization(),
        )
        .add(
            Method::PUT,
            "/organizations/{organization_id}/invite",
            memberships::invite_owners,
            describe::invite_owners(),
        )
        .add(
            Method::DELETE,
            "/organizations/{organization_id}/remove",
            memberships::remove,
            describe::remove_member(),
        )
        .add(Method::PUT, "/organizations/{organization_id}/membership", memberships::join, describe::join())
        .add(
            Method::DELETE,
            "/organizations/{organization_id}/membership",
            memberships::leave,
            describe::leave(),
        )
        .add(
            Method::POST,
            "/organizations/{organization_id}/events/create",
            events::create,
            describe::create_event(),
        )
        .add(Method::GET, "/events/{event_id}", events::fetch, describe::fetch_event())
        .add(Method::PUT, "/events/{event_id}", events::update, describe::update_event())
        .add(Method::DELETE, "/events/{event_id}", events::delete, describe::delete_event())
        .add(Method::PUT, "/events/{event_id}/rsvp", events::rsvp, describe::rsvp())
        .add(Method::DELETE, "/events/{event_id}/rsvp", events::cancel_rsvp, describe::cancel_rsvp())
}

/// Whom bit shows an organization: those whom its visibility names.
const SIGHT: Sight = Sight::ByVisibility;

/// The most addresses that one call may name.
const ADDRESSES_MAX: usize = 100;

/// The organization that the path names.
fn at(params: &Params) -> At {
    let id = number(params.get(0)).map(OrganizationId);
    At { key: id.map_or(OrganizationKey::Malformed, OrganizationKey::Number), sight: SIGHT }
}

/// What bit calls somebody: their address; their username where a trusted issuer vouched for no address.
fn username(user: &User) -> String {
    user.email.clone().unwrap_or_else(|| user.username())
}

/// The JSON form of a call that does `what`.
fn form<T: DeserializeOwned>(payload: &Payload<Bit>, what: &str) -> Result<T, Error> {
    let value: Value = payload.json().map_err(|fault| match fault {
        Fault::MediaType(_) => Error::incorrect(what),
        fault => fault.into(),
    })?;
    serde_json::from_value(value).map_err(|_| Error::incorrect(what))
}

/// A form as it was read. Where it cannot be used, `right` is asked first: what is wrong with a form is told to those who
/// have the right to send one.
async fn checked<T>(
    app: &App,
    form: Result<T, Error>,
    right: impl FnOnce(&Db) -> guildhall_domain::Result<()> + Clone + Send + 'static,
) -> guildhall_domain::Result<Result<T, Error>> {
    if form.is_err() {
        app.read(right).await?;
    }
    Ok(form)
}

fn message(status: StatusCode, message: &str) -> Response {
    http::json(status, &json!({"message": message}))
}

/// The answer to a call that made what is found at `location`.
fn made(text: &str, location: &str) -> Response {
    let mut response = message(StatusCode::ACCEPTED, text);
    // A path that ends in a number is a header value.
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The dialect.
pub struct Bit;

impl Dialect for Bit {
    type Error = Error;

    fn unknown_path() -> Response {
        Error::new(StatusCode::NOT_FOUND, "The requested URL was not found on the server.").into_response()
    }

    fn wrong_method(_: &Method) -> Response {
        let message = "The method is not allowed for the requested URL.";
        Error::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response()
    }
}

/// An error in one of bit's two shapes.
pub struct Error {
    status: StatusCode,
    key: &'static str,
    message: Cow<'static, str>,
    cause: Option<guildhall_domain::Error>,
}

impl Error {
    /// What a handler refuses.
    fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, key: "message", message: message.into(), cause: None }
    }

    /// What the check of the credential refuses.
    fn credential(status: StatusCode, message: &'static str) -> Self {
        Self { key: "msg", ..Self::new(status, message) }
    }

    /// A form that does not do for a call that does `what`.
    fn incorrect(what: &str) -> Self {
        let message = format!(
            "Missing or sending incorrect data to {what}. \
             Double check the JSON data that it has everything needed to {what}."
        );
        Self { message: message.into(), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "") }
    }

    /// Something else is in the way than the request or the database; worth another try after that time.
    fn busy(after: Duration) -> Self {
        Self {
            cause: Some(guildhall_domain::Error::Limited(after)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "The server is busy. Try again later.")
        }
    }

    /// What a call on an event is refused.
    fn of_event(error: guildhall_domain::Error) -> Self {
        Self::without_right(error, "You do not own this event")
    }

    /// What somebody who would come to an event, or not, is refused.
    fn of_rsvp(error: guildhall_domain::Error) -> Self {
        Self::without_right(error, "You are not a member of this organization")
    }

    /// The error, with `message` where the right is missing.
    fn without_right(error: guildhall_domain::Error, message: &'static str) -> Self {
        match error {
            guildhall_domain::Error::Denied(Denied::Role | Denied::OwnerOnly) => {
                Self::new(StatusCode::FORBIDDEN, message)
            }
            error => error.into(),
        }
    }
}

impl From<guildhall_domain::Error> for Error {
    fn from(error: guildhall_domain::Error) -> Self {
        use guildhall_domain::Error as E;
        let (status, message) = match &error {
            E::Unauthenticated => return Failure::Missing.into(),
            E::Missing(what) => (StatusCode::NOT_FOUND, missing(*what)),
            E::Denied(why) => (StatusCode::FORBIDDEN, denied(*why)),
            E::Conflict(what) => (StatusCode::CONFLICT, conflict(what)),
            E::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, "Too many requests. Try again later."),
            E::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "The server is busy. Try again later."),
            E::InDoubt(_) => (StatusCode::SERVICE_UNAVAILABLE, http::IN_DOUBT),
            E::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        };
        Self { cause: Some(error), ..Self::new(status, message) }
    }
}

fn missing(what: Missing) -> &'static str {
    match what {
        Missing::Organization => "Organization does not exist",
        Missing::Event => "Event does not exist",
        Missing::User | Missing::Member | Missing::Token => "User does not belong in the organization",
    }
}

fn denied(why: Denied) -> &'static str {
    match why {
        Denied::Scope => "Insufficient scope",
        Denied::Archived => "The organization is archived",
        Denied::Suspended => "Your membership is suspended",
        Denied::InvitationNeeded => "You need an invitation to join this organization",
        Denied::Role | Denied::OwnerOnly | Denied::Own | Denied::OtherAddress | Denied::Unverified => {
            "You do not own this organization"
        }
    }
}

fn conflict(what: &Conflict) -> &'static str {
    match what {
        Conflict::AlreadyMember => "You already joined the organization",
        Conflict::LastInCharge => "The organization needs at least one owner",
        Conflict::NameTaken | Conflict::OwnNameTaken | Conflict::SlugTaken => {
            "Organization with this name already exists"
        }
        Conflict::EmailTaken | Conflict::UsernameTaken => "Email already exists. Please choose another one.",
        Conflict::AlreadyAttending => "You already RSVP'd for this event",
        Conflict::NotAttending => "You did not RSVP for this event",
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let refuse = |message| Self::credential(StatusCode::UNAUTHORIZED, message);
        match failure {
            Failure::Missing => refuse("Missing cookie \"access_token_cookie\""),
            Failure::CsrfMissing => refuse("Missing CSRF token"),
            Failure::CsrfWrong => refuse("CSRF double submit tokens do not match"),
            Failure::Invalid(Why::Expired) => refuse("Token has expired"),
            Failure::Invalid(Why::Revoked) => refuse("Token has been revoked"),
            Failure::Invalid(Why::Unknown | Why::NoValue | Why::Spaces) | Failure::NoUserId => {
                refuse("Invalid token")
            }
            Failure::Several => {
                Self::credential(StatusCode::BAD_REQUEST, "More than one credential in the request")
            }
            Failure::IssuerUnavailable => {
                guildhall_domain::Error::Unavailable("an issuer's keys cannot be had".into()).into()
            }
            Failure::Error(error) => error.into(),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large."),
            Fault::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, "The request body came too slowly."),
            Fault::NoRoom => Self::busy(Duration::from_secs(1)),
            Fault::Broken => Self::new(StatusCode::BAD_REQUEST, "The request body could not be read."),
            Fault::MediaType(_) | Fault::Syntax(_) => {
                Self::new(StatusCode::BAD_REQUEST, "Failed to decode JSON object")
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let response = http::json(self.status, &json!({self.key: self.message}));
        http::refused(response, self.cause.as_ref())
    }
}
