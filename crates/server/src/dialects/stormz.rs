//! stormz (document 003): the caller, their organizations, members, avatars, and tokens by OAuth 2. Errors are
//! `{"message": "…"}`, but those of the token endpoint are RFC 6749's.

use std::borrow::Cow;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use guildhall_domain::authz::{Actor, Permission};
use guildhall_domain::db::Db;
use guildhall_domain::id::ShortId;
use guildhall_domain::memberships::{self, At, OrganizationKey, Sight};
use guildhall_domain::organizations::{self, Changes, Mine, Terms};
use guildhall_domain::text::{Name, NameError};
use guildhall_domain::users;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Dialect, Routes, Slash};
use crate::app::App;
use crate::auth::{Failure, SignedIn};
use crate::http::{self, Fault, Params, Payload, Precision, Query, rfc3339};

mod avatar;
mod describe;
mod lists;
mod members;
mod token;

use lists::Paging;

/// The routes of the document.
#[must_use]
pub fn routes() -> Routes {
    Routes::new::<Stormz>(describe::ABOUT, Slash::Optional)
        .add(Method::POST, "/oauth/token", token::create, describe::token())
        .add(Method::GET, "/v1/user/me", me, describe::me())
        .add(Method::GET, "/v1/user/me/organizations", mine, describe::my_organizations())
        .add(Method::GET, "/v1/organizations/{id}", get, describe::get())
        .add(Method::PUT, "/v1/organizations/{id}", update, describe::update())
        .add(Method::PUT, "/v1/organizations/{id}/avatar", avatar::put, describe::put_avatar())
        .add(Method::GET, "/v1/organizations/{id}/members", members::list, describe::list_members())
        .add(Method::POST, "/v1/organizations/{id}/members", members::add, describe::add_member())
        .add(
            Method::DELETE,
            "/v1/organizations/{id}/members/{user}",
            members::remove,
            describe::remove_member(),
        )
}

#[derive(Serialize)]
struct User {
    id: String,
    email: Option<String>,
    name: String,
    avatar_url: String,
    plan: Plan,
    admin: bool,
    created_at: String,
    confirmed_at: Option<String>,
    updated_at: String,
}

#[derive(Serialize)]
struct Organization {
    id: String,
    name: String,
    avatar_url: String,
    plan: Plan,
}

#[derive(Serialize)]
struct Plan {
    name: String,
    workshops_max_attendees: i64,
}

impl Organization {
    fn of(app: &App, organization: &organizations::Organization) -> Self {
        Self {
            id: organization.uid.short().to_owned(),
            name: organization.name.clone(),
            avatar_url: app.media.url(&app.public_url, organization.image.as_deref()),
            plan: Plan {
                name: organization.plan.name.clone(),
                workshops_max_attendees: organization.plan.attendees,
            },
        }
    }
}

/// The organization that the path names. stormz shows one to its members alone.
fn at(params: &Params) -> At {
    let key = ShortId::parse(params.get(0)).map_or(OrganizationKey::Malformed, OrganizationKey::Short);
    At { key, sight: Sight::MembersOnly }
}

async fn me(State(app): State<App>, SignedIn { actor, .. }: SignedIn<Stormz>) -> Result<Response, Error> {
    let user = app.read(move |db| users::me(db, &actor)).await?;
    let body = User {
        id: user.uid.short().to_owned(),
        name: user.display_name(),
        avatar_url: app.media.url(&app.public_url, None),
        plan: Plan { name: "free".into(), workshops_max_attendees: 3 },
        admin: user.is_operator,
        created_at: rfc3339(user.created_at, Precision::Seconds),
        confirmed_at: user.confirmed_at.map(|at| rfc3339(at, Precision::Seconds)),
        updated_at: rfc3339(user.updated_at, Precision::Seconds),
        email: user.email,
    };
    Ok(http::json(StatusCode::OK, &body))
}

async fn mine(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Stormz>,
    uri: Uri,
    query: Query,
) -> Result<Response, Error> {
    let paging = Paging::read(&query)?;
    let wire = {
        let app = app.clone();
        move |mine: &Mine| Organization::of(&app, &mine.organization)
    };
    let Some(paging) = paging else {
        let after = move |db: &Db, last: Option<&Mine>, most| organizations::mine(db, &actor, last, most);
        return Ok(http::list(&app, ("[", "]"), move |mine| Some(wire(mine)), after).await?);
    };
    let part = app.read(move |db| organizations::part_of_mine(db, &actor, paging.window())).await?;
    Ok(paging.respond(&part, wire, &lists::address(&app, &uri, &query)))
}

async fn get(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Stormz>,
    params: Params,
) -> Result<Response, Error> {
    let seen = app.read(move |db| organizations::get(db, &actor, &at(&params))).await?;
    Ok(http::json(StatusCode::OK, &Organization::of(&app, &seen.organization)))
}

async fn update(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Stormz>,
    params: Params,
    payload: Payload<Stormz>,
) -> Result<Response, Error> {
    let at = at(&params);
    match read_name(&payload) {
        Ok(Some(name)) => {
            let changes = Changes { name: Some(name), ..Changes::default() };
            app.write(move |db| organizations::update(db, &actor, &at, changes, Terms::default())).await?;
        }
        Ok(None) => require(&app, actor, at, Permission::Update).await?,
        Err(error) => {
            require(&app, actor, at, Permission::Update).await?;
            return Err(error);
        }
    }
    Ok(http::empty(StatusCode::NO_CONTENT))
}

fn read_name(payload: &Payload<Stormz>) -> Result<Option<Name>, Error> {
    let body: Map<String, Value> = payload.json()?;
    let Some(name) = body.get("name") else { return Ok(None) };
    let name = name.as_str().ok_or(Error::invalid("name must be a string"))?;
    Name::parse(name).map(Some).map_err(|error| {
        Error::invalid(match error {
            NameError::Blank => "name must not be blank",
            NameError::TooLong => "name must have at most 200 characters",
            NameError::Character => "name must not contain control characters",
        })
    })
}

/// Whether the caller may do that at all, asked where the request itself is no good or changes nothing: that they may not
/// is told first.
async fn require(app: &App, actor: Actor, at: At, permission: Permission) -> Result<(), Error> {
    Ok(app.read(move |db| memberships::may(db, &actor, &at, permission)).await?)
}

/// The dialect.
pub struct Stormz;

impl Dialect for Stormz {
    type Error = Error;

    fn unknown_path() -> Response {
        Error::NOT_FOUND.into_response()
    }

    fn wrong_method(_: &Method) -> Response {
        Error::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed").into_response()
    }
}

/// An error in stormz's shape.
pub struct Error {
    status: StatusCode,
    message: Cow<'static, str>,
    cause: Option<guildhall_domain::Error>,
}

impl Error {
    const NOT_FOUND: Self = Self::new(StatusCode::NOT_FOUND, "Not Found");

    const fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message: Cow::Borrowed(message), cause: None }
    }

    /// Of a key or a part that was understood and is not what is asked for: the message names it.
    fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, message: message.into(), cause: None }
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
        use guildhall_domain::error::{Conflict, Denied, Missing};
        let (status, message) = match &error {
            E::Unauthenticated => (StatusCode::UNAUTHORIZED, "Requires authentication"),
            E::Missing(Missing::User) => (StatusCode::NOT_FOUND, "User not found"),
            E::Missing(_) => (StatusCode::NOT_FOUND, "Not Found"),
            E::Denied(Denied::Archived) => (StatusCode::FORBIDDEN, "Organization is archived"),
            E::Denied(_) => (StatusCode::FORBIDDEN, "Forbidden"),
            E::Conflict(Conflict::AlreadyMember) => (StatusCode::CONFLICT, "Already a member"),
            E::Conflict(Conflict::LastInCharge) => (StatusCode::CONFLICT, "At least one admin must remain"),
            E::Conflict(Conflict::NameTaken) => (StatusCode::CONFLICT, "Name already taken"),
            E::Conflict(_) => (StatusCode::CONFLICT, "Conflict"),
            E::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            E::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "Service unavailable"),
            E::InDoubt(_) => (StatusCode::SERVICE_UNAVAILABLE, http::IN_DOUBT),
            E::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        };
        let ours = matches!(error, E::Limited(_) | E::Unavailable(_) | E::InDoubt(_) | E::Internal(_));
        Self { cause: ours.then_some(error), ..Self::new(status, message) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing | Failure::Invalid(_) | Failure::NoUserId => {
                guildhall_domain::Error::Unauthenticated.into()
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
            Fault::MediaType(_) => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content type"),
            Fault::Broken => Self::new(StatusCode::BAD_REQUEST, "Problems reading the request body"),
            Fault::Syntax(_) => Self::new(StatusCode::BAD_REQUEST, "Problems parsing JSON"),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = http::json(self.status, &json!({"message": self.message}));
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750: how to come back.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        http::refused(response, self.cause.as_ref())
    }
}
