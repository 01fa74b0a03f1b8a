//! cadasta (document 001): accounts, organizations that anyone may see, their members. Errors are `{"detail": "…"}`, or
//! `{"<field>": ["…"]}` with every field that is wrong.

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use guildhall_domain::error::{Conflict, Missing};
use guildhall_domain::memberships::{At, OrganizationKey, Sight};
use serde_json::{Value, json};

use super::{Dialect, Routes, Slash};
use crate::auth::{Failure, Why};
use crate::http::{self, Fault};

mod accounts;
mod contacts;
mod describe;
mod fields;
mod listing;
mod members;
mod organizations;
mod python;

/// The routes of the document, and those by which an account is made, entered and left.
#[must_use]
pub fn routes() -> Routes {
    Routes::new::<Cadasta>(describe::ABOUT, Slash::Optional)
        .add(Method::POST, "/api/v1/account/register/", accounts::register, describe::register())
        .add(Method::POST, "/api/v1/account/login/", accounts::login, describe::login())
        .add(Method::POST, "/api/v1/account/logout/", accounts::logout, describe::logout())
        .add(Method::GET, "/api/v1/account/", accounts::show, describe::show_account())
        .add(Method::PATCH, "/api/v1/account/", accounts::update, describe::update_account())
        .add(Method::GET, "/api/v1/organizations/", listing::list, describe::list_organizations())
        .add(Method::POST, "/api/v1/organizations/", organizations::create, describe::create_organization())
        .add(Method::GET, "/api/v1/organizations/{slug}/", organizations::show, describe::show_organization())
        .add(
            Method::PATCH,
            "/api/v1/organizations/{slug}/",
            organizations::update,
            describe::update_organization(),
        )
        .add(
            Method::PUT,
            "/api/v1/organizations/{slug}/",
            organizations::replace,
            describe::replace_organization(),
        )
        .add(Method::GET, "/api/v1/organizations/{slug}/users/", members::list, describe::list_members())
        .add(Method::POST, "/api/v1/organizations/{slug}/users/", members::add, describe::add_member())
        .add(
            Method::GET,
            "/api/v1/organizations/{slug}/users/{username}/",
            members::show,
            describe::show_member(),
        )
        .add(
            Method::PATCH,
            "/api/v1/organizations/{slug}/users/{username}/",
            members::update,
            describe::update_member(),
        )
        .add(
            Method::DELETE,
            "/api/v1/organizations/{slug}/users/{username}/",
            members::remove,
            describe::remove_member(),
        )
}

/// To whom an organization exists here: an archived one to its owners and admins alone.
const SIGHT: Sight = Sight::ByVisibilityArchivedInCharge;

/// The organization that a path names.
fn at(slug: &str) -> At {
    At { key: OrganizationKey::Slug(slug.to_owned()), sight: SIGHT }
}

/// The dialect.
pub struct Cadasta;

impl Dialect for Cadasta {
    type Error = Error;

    fn unknown_path() -> Response {
        Error::detail(StatusCode::NOT_FOUND, "Not found.").into_response()
    }

    fn wrong_method(method: &Method) -> Response {
        let text = format!("Method \"{method}\" not allowed.");
        Error::detail(StatusCode::METHOD_NOT_ALLOWED, text).into_response()
    }
}

/// An error in cadasta's shape.
pub struct Error {
    status: StatusCode,
    body: Value,
    cause: Option<guildhall_domain::Error>,
}

impl Error {
    /// One text about the whole request.
    fn detail(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, body: json!({"detail": text.into()}), cause: None }
    }

    /// One text about one field.
    fn field(field: &str, text: impl Into<String>) -> Self {
        Self::fields(json!({field: [text.into()]}))
    }

    /// What is wrong with each field.
    fn fields(body: Value) -> Self {
        Self { status: StatusCode::BAD_REQUEST, body, cause: None }
    }

    fn permission() -> Self {
        Self::detail(StatusCode::FORBIDDEN, "You do not have permission to perform this action.")
    }

    fn unauthenticated(text: &str) -> Self {
        Self::detail(StatusCode::UNAUTHORIZED, text)
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
        let told = match &error {
            E::Unauthenticated => Self::unauthenticated("Authentication credentials were not provided."),
            E::Missing(Missing::Organization) => {
                Self::detail(StatusCode::NOT_FOUND, "Organization not found.")
            }
            E::Missing(Missing::User | Missing::Member) => {
                Self::detail(StatusCode::NOT_FOUND, "User not found.")
            }
            E::Missing(_) => Self::detail(StatusCode::NOT_FOUND, "Not found."),
            E::Denied(_) => Self::permission(),
            E::Conflict(conflict) => conflict_told(conflict),
            E::Limited(after) => Self::detail(StatusCode::TOO_MANY_REQUESTS, throttled(*after)),
            E::Unavailable(_) => Self::detail(
                StatusCode::SERVICE_UNAVAILABLE,
                "Service temporarily unavailable, try again later.",
            ),
            E::InDoubt(_) => Self::detail(StatusCode::SERVICE_UNAVAILABLE, http::IN_DOUBT),
            E::Internal(_) => Self::detail(StatusCode::INTERNAL_SERVER_ERROR, "A server error occurred."),
        };
        let ours = matches!(error, E::Limited(_) | E::Unavailable(_) | E::InDoubt(_) | E::Internal(_));
        Self { cause: ours.then_some(error), ..told }
    }
}

fn conflict_told(conflict: &Conflict) -> Error {
    match conflict {
        Conflict::NameTaken | Conflict::OwnNameTaken | Conflict::SlugTaken => {
            Error::field("name", fields::NAME_TAKEN)
        }
        Conflict::AlreadyMember => Error::field("username", fields::ALREADY_MEMBER),
        Conflict::UsernameTaken => Error::field("username", fields::USERNAME_TAKEN),
        Conflict::EmailTaken => Error::field("email", fields::EMAIL_TAKEN),
        // The one in charge who asks for it stays, or asks it of themself, which is refused so.
        Conflict::LastInCharge | Conflict::AlreadyAttending | Conflict::NotAttending => Error::permission(),
    }
}

fn throttled(after: std::time::Duration) -> String {
    let seconds = (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1);
    let plural = if seconds == 1 { "" } else { "s" };
    format!("Request was throttled. Expected available in {seconds} second{plural}.")
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing => guildhall_domain::Error::Unauthenticated.into(),
            Failure::Several => {
                Self::detail(StatusCode::BAD_REQUEST, "More than one credential in the request.")
            }
            Failure::Invalid(Why::NoValue) => {
                Self::unauthenticated("Invalid token header. No credentials provided.")
            }
            Failure::Invalid(Why::Spaces) => {
                Self::unauthenticated("Invalid token header. Token string should not contain spaces.")
            }
            Failure::Invalid(Why::Unknown | Why::Expired | Why::Revoked) | Failure::NoUserId => {
                Self::unauthenticated("Invalid token.")
            }
            Failure::CsrfMissing | Failure::CsrfWrong => {
                Self::detail(StatusCode::FORBIDDEN, "CSRF Failed: CSRF token missing or incorrect.")
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
            Fault::TooLarge => Self::detail(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large."),
            Fault::TooSlow => Self::detail(StatusCode::REQUEST_TIMEOUT, "Request body came too slowly."),
            Fault::NoRoom => Self::busy(),
            Fault::Broken => Self::detail(StatusCode::BAD_REQUEST, "Malformed request."),
            Fault::MediaType(named) => Self::detail(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("Unsupported media type \"{named}\" in request."),
            ),
            Fault::Syntax(why) => Self::detail(StatusCode::BAD_REQUEST, format!("JSON parse error - {why}")),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = http::json(self.status, &self.body);
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Token"));
        }
        http::refused(response, self.cause.as_ref())
    }
}
