//! pm415 (document 002): organizations and their people for a single-page application; sign-up, sign-in, the API key.
//!
//! Errors are `{"statusCode","error","message","success":false}`. Calls that anybody may make look at no credential: a
//! stale one in a browser must not keep its owner from signing in again.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use guildhall_domain::authz::Actor;
use guildhall_domain::credentials;
use guildhall_domain::error::{Conflict, Denied, Missing};
use guildhall_domain::id::{OrganizationId, number};
use guildhall_domain::memberships::{At, OrganizationKey, Sight};
use serde_json::json;

use super::{Dialect, Routes, Slash};
use crate::app::App;
use crate::auth::{Failure, SignedIn};
use crate::http::{self, Fault};

mod account;
mod describe;
mod form;
mod lists;
mod members;
mod organization;

/// The routes of the document and of the original's account calls. `PUT /api/user` is not served.
#[must_use]
pub fn routes() -> Routes {
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    Routes::new::<Pm415>(describe::ABOUT, Slash::OptionalOrDoubled)
        .add(post.clone(), "/api/account/register", account::register, describe::register())
        .add(get.clone(), "/api/account/verify", account::show_verification, describe::show_verification())
        .add(post.clone(), "/api/account/verify", account::verify, describe::verify())
        .add(post.clone(), "/api/account/login", account::login, describe::login())
        .add(
            post.clone(),
            "/api/account/forgotpassword",
            account::forgot_password,
            describe::forgot_password(),
        )
        .add(
            post.clone(),
            "/api/account/changepassword",
            account::change_password,
            describe::change_password(),
        )
        .add(get.clone(), "/api/user", account::show, describe::show_user())
        .add(get.clone(), "/api/user/orgs", account::organizations, describe::list_user_organizations())
        .add(get.clone(), "/api/user/apikey", account::show_api_key, describe::show_api_key())
        .add(post.clone(), "/api/user/apikey", account::replace_api_key, describe::replace_api_key())
        .add(post.clone(), "/api/org", organization::create, describe::create_organization())
        .add(get.clone(), "/api/org", organization::list, describe::list_organizations())
        .add(get.clone(), "/api/org/invite", members::show_invitation, describe::show_invitation())
        .add(post.clone(), "/api/org/switch/{orgid}", organization::switch, describe::switch())
        .add(put.clone(), "/api/org/{orgid}", organization::update, describe::update_organization())
        .add(Method::DELETE, "/api/org/{orgid}", organization::delete, describe::delete_organization())
        .add(get, "/api/org/{orgid}/users", members::list, describe::list_users())
        .add(post.clone(), "/api/org/{orgid}/invitelink", members::invite, describe::invite())
        .add(post, "/api/org/{orgid}/users/remove", members::remove, describe::remove_users())
        .add(put.clone(), "/api/org/{orgid}/admin/grant", members::grant, describe::grant())
        .add(put.clone(), "/api/org/{orgid}/admin/revoke", members::revoke, describe::revoke())
        .add(
            put,
            "/api/org/{orgid}/admin/resetpassword",
            members::reset_passwords,
            describe::reset_passwords(),
        )
}

/// The organization that a path names: it exists for its members alone.
fn at(orgid: &str) -> At {
    let key = match number(orgid) {
        Some(id) => OrganizationKey::Number(OrganizationId(id)),
        None => OrganizationKey::Malformed,
    };
    At { key, sight: Sight::MembersOnly }
}

/// Who calls: signed in, with a confirmed address. Both are asked for before anything about the request itself.
struct Confirmed(Actor);

impl FromRequestParts<App> for Confirmed {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let SignedIn { actor, .. } = SignedIn::<Pm415>::from_request_parts(parts, app).await?;
        credentials::require_confirmed(&actor)?;
        Ok(Self(actor))
    }
}

/// The dialect.
pub struct Pm415;

impl Dialect for Pm415 {
    type Error = Error;

    fn unknown_path() -> Response {
        Error::new(StatusCode::NOT_FOUND, "Not Found").into_response()
    }

    fn wrong_method(_: &Method) -> Response {
        Error::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed").into_response()
    }
}

/// An error in pm415's shape.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    message: Cow<'static, str>,
    cause: Option<guildhall_domain::Error>,
}

/// What a token is answered that is no invitation which can be accepted.
const BAD_INVITATION: Error =
    Error::new(StatusCode::UNPROCESSABLE_ENTITY, "Invitation token invalid or expired");

impl Error {
    const fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message: Cow::Borrowed(message), cause: None }
    }

    /// With a message that repeats something of the request.
    fn told(status: StatusCode, message: String) -> Self {
        Self { status, message: Cow::Owned(message), cause: None }
    }

    /// Of an organization that was to be called `name`.
    fn naming(error: guildhall_domain::Error, name: &str) -> Self {
        match error {
            guildhall_domain::Error::Conflict(Conflict::NameTaken | Conflict::OwnNameTaken) => {
                Self::told(StatusCode::CONFLICT, format!("Organization with name {name} already exists"))
            }
            error => error.into(),
        }
    }

    /// The HTTP reason phrase that the original shows, which is an older one for a body too large.
    fn reason(&self) -> &'static str {
        match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
            status => status.canonical_reason().unwrap_or("Unknown"),
        }
    }

    /// There is no room for a request's body now; worth another try in a second.
    fn busy() -> Self {
        Self {
            cause: Some(guildhall_domain::Error::Limited(std::time::Duration::from_secs(1))),
            ..guildhall_domain::Error::Unavailable(String::new()).into()
        }
    }
}

impl From<guildhall_domain::Error> for Error {
    fn from(error: guildhall_domain::Error) -> Self {
        use guildhall_domain::Error as E;
        let (status, message) = match &error {
            E::Unauthenticated => (StatusCode::UNAUTHORIZED, "Authentication required"),
            // Of members this dialect names only those who are invited to become more, and are none.
            E::Missing(Missing::Token | Missing::Member) => return BAD_INVITATION,
            // To one who is no member an organization does not exist, and both are told as a right that is missing.
            E::Missing(_) => (StatusCode::FORBIDDEN, "Organization admin privileges required"),
            E::Denied(Denied::Scope) => (StatusCode::FORBIDDEN, "Insufficient scope"),
            E::Denied(Denied::Unverified) => (StatusCode::FORBIDDEN, "User not confirmed or inactive"),
            E::Denied(Denied::OwnerOnly) => (StatusCode::FORBIDDEN, "Organization owner privileges required"),
            E::Denied(Denied::Archived) => (StatusCode::FORBIDDEN, "Organization is archived"),
            E::Denied(_) => (StatusCode::FORBIDDEN, "Organization admin privileges required"),
            E::Conflict(Conflict::LastInCharge) => {
                (StatusCode::CONFLICT, "At least one admin must remains in")
            }
            E::Conflict(conflict) => {
                return Self::told(StatusCode::CONFLICT, E::Conflict(conflict.clone()).to_string());
            }
            E::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"),
            E::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
            E::InDoubt(_) => (StatusCode::SERVICE_UNAVAILABLE, http::IN_DOUBT),
            E::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        };
        let ours = matches!(error, E::Limited(_) | E::Unavailable(_) | E::InDoubt(_) | E::Internal(_));
        Self { cause: ours.then_some(error), ..Self::new(status, message) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing | Failure::Invalid(_) | Failure::NoUserId => {
                Self::new(StatusCode::UNAUTHORIZED, "Authentication required")
            }
            Failure::Several => Self::new(StatusCode::BAD_REQUEST, "More than one credential in the request"),
            Failure::CsrfMissing | Failure::CsrfWrong => {
                Self::new(StatusCode::FORBIDDEN, "CSRF token missing or wrong")
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
            Fault::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"),
            Fault::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, "Request body came too slowly"),
            Fault::NoRoom => Self::busy(),
            Fault::Broken => Self::new(StatusCode::BAD_REQUEST, "Request body cannot be read"),
            Fault::MediaType(_) => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Type must be application/json or application/x-www-form-urlencoded",
            ),
            Fault::Syntax(_) => Self::new(StatusCode::BAD_REQUEST, "Request body is malformed"),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = json!({
            "statusCode": self.status.as_u16(),
            "error": self.reason(),
            "message": self.message,
            "success": false,
        });
        http::refused(http::json(self.status, &body), self.cause.as_ref())
    }
}
