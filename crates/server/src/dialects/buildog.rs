//! buildog (document 004): the caller's organizations, and making one. Errors are `{"error": "…"}`.

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use guildhall_domain::db::Db;
use guildhall_domain::organizations::{self, Mine, NewOrganization, Terms};
use guildhall_domain::text::{DESCRIPTION_MAX, Name, PersonName, is_free_text};
use guildhall_domain::users::{self, Changes, User};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Dialect, Routes, Slash};
use crate::app::App;
use crate::auth::{Failure, SignedIn};
use crate::http::{self, Fault, Payload, Precision, rfc3339};

mod describe;

/// The routes of the document, with and without `/api`, and the one by which an account is given its names.
#[must_use]
pub fn routes() -> Routes {
    Routes::new::<Buildog>(describe::ABOUT, Slash::AsListed)
        .add(Method::GET, "/api/organizations", list, describe::list_organizations("list_organizations"))
        .add(Method::POST, "/api/organizations", create, describe::create_organization("create_organization"))
        .add(Method::GET, "/organizations", list, describe::list_organizations("list_organizations_short"))
        .add(
            Method::POST,
            "/organizations",
            create,
            describe::create_organization("create_organization_short"),
        )
        .add(Method::POST, "/api/users", name_oneself, describe::name_oneself())
}

/// An owner or admin of any organization makes another; so does one who is a member of none.
const TERMS: Terms = Terms { own_names_differ: false, creator_leads_or_is_free: true };

#[derive(Serialize)]
struct Organization {
    id: String,
    name: String,
    description: String,
    created_by: String,
    created_at: String,
}

impl From<&Mine> for Organization {
    fn from(mine: &Mine) -> Self {
        let organization = &mine.organization;
        let creator =
            mine.creator.as_ref().map(|(uid, subject)| subject.clone().unwrap_or_else(|| uid.uuid()));
        Self {
            id: organization.uid.uuid(),
            name: organization.name.clone(),
            description: organization.description.clone().unwrap_or_default(),
            created_by: creator.unwrap_or_default(),
            created_at: rfc3339(organization.created_at, Precision::Seconds),
        }
    }
}

/// A user's id: the issuer's subject where one vouches for them, else a UUID.
fn user_id(user: &User) -> String {
    user.subject.clone().unwrap_or_else(|| user.uid.uuid())
}

async fn list(State(app): State<App>, SignedIn { actor, .. }: SignedIn<Buildog>) -> Result<Response, Error> {
    let wire = |mine: &Mine| Some(Organization::from(mine));
    let after = move |db: &Db, last: Option<&Mine>, most| organizations::mine(db, &actor, last, most);
    http::list(&app, ("[", "]"), wire, after).await.map_err(Error::retrieving)
}

async fn create(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Buildog>,
    payload: Payload<Buildog>,
) -> Result<Response, Error> {
    let new = match read_new(&payload) {
        Ok(new) => new,
        Err(error) => {
            app.read(move |db| organizations::may_create(db, &actor, TERMS)).await?;
            return Err(error);
        }
    };
    let caller = actor.clone();
    let organization =
        app.write(move |db| organizations::create(db, &caller, new, TERMS)).await.map_err(Error::creating)?;
    let user = app.read(move |db| users::me(db, &actor)).await?;
    let body = json!({
        "organization_id": organization.uid.uuid(),
        "user_id": user_id(&user),
        "role": "owner",
    });
    Ok(http::json(StatusCode::CREATED, &body))
}

fn read_new(payload: &Payload<Buildog>) -> Result<NewOrganization, Error> {
    let body: Map<String, Value> = payload.json()?;
    let name = body.get("organization_name").and_then(Value::as_str).ok_or(Error::BAD_BODY)?;
    let name = Name::parse(name).map_err(|_| Error::BAD_BODY)?;
    let description = match body.get("organization_description") {
        None => None,
        Some(Value::String(text)) if is_free_text(text, DESCRIPTION_MAX) => Some(text.clone()),
        Some(_) => return Err(Error::BAD_BODY),
    };
    Ok(NewOrganization { description, ..NewOrganization::named(name) })
}

async fn name_oneself(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Buildog>,
    payload: Payload<Buildog>,
) -> Result<Response, Error> {
    actor.require_writer()?;
    let body: Map<String, Value> = payload.json()?;
    let (first, last) = (read_name(&body, "first_name")?, read_name(&body, "last_name")?);
    let caller = actor.clone();
    let before = app.read(move |db| users::me(db, &caller)).await?.name.first_and_last();
    let name = PersonName::parts(first.or_kept(&before.0), last.or_kept(&before.1));
    let secrets = app.secrets.clone();
    let changes = Changes { name: Some(name), ..Changes::default() };
    app.write(move |db| users::update(db, &actor, changes, &secrets)).await?;
    Ok(http::json(StatusCode::OK, &json!({"success": true, "message": "User created successfully"})))
}

/// What a body says of a name.
enum Told {
    /// Nothing: it stays.
    Nothing,
    /// That there is none.
    None,
    /// This.
    Name(Name),
}

impl Told {
    fn or_kept(self, before: &str) -> Option<Name> {
        match self {
            Self::Nothing => Name::parse(before).ok(),
            Self::None => None,
            Self::Name(name) => Some(name),
        }
    }
}

fn read_name(body: &Map<String, Value>, key: &str) -> Result<Told, Error> {
    match body.get(key) {
        None => Ok(Told::Nothing),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Told::None),
        Some(Value::String(text)) => Name::parse(text).map(Told::Name).map_err(|_| Error::BAD_BODY),
        Some(_) => Err(Error::BAD_BODY),
    }
}

/// The dialect.
pub struct Buildog;

impl Dialect for Buildog {
    type Error = Error;

    fn unknown_path() -> Response {
        Error::new(StatusCode::NOT_FOUND, "Not found").into_response()
    }

    fn wrong_method(_: &Method) -> Response {
        Error::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").into_response()
    }
}

/// An error in buildog's shape.
pub struct Error {
    status: StatusCode,
    message: &'static str,
    cause: Option<guildhall_domain::Error>,
}

impl Error {
    const BAD_BODY: Self = Self::new(StatusCode::BAD_REQUEST, "Invalid request body");

    const fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message, cause: None }
    }

    /// Of a list that could not be read.
    fn retrieving(error: guildhall_domain::Error) -> Self {
        Self::from(error).told_as("Failed to retrieve organizations")
    }

    /// Of an organization that could not be made: where the cause is ours, in the document's words.
    fn creating(error: guildhall_domain::Error) -> Self {
        Self::from(error).told_as("Failed to create organization")
    }

    /// In the document's words, where the cause is ours.
    fn told_as(self, message: &'static str) -> Self {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR { Self { message, ..self } } else { self }
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
            E::Unauthenticated => (StatusCode::UNAUTHORIZED, "Token claims missing"),
            E::Missing(_) => (StatusCode::NOT_FOUND, "Not found"),
            E::Denied(_) => (StatusCode::FORBIDDEN, "Permission denied"),
            E::Conflict(_) => (StatusCode::CONFLICT, "Organization with this name already exists"),
            E::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            E::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "Service unavailable"),
            E::InDoubt(_) => (StatusCode::SERVICE_UNAVAILABLE, http::IN_DOUBT),
            E::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        };
        let ours = matches!(error, E::Limited(_) | E::Unavailable(_) | E::InDoubt(_) | E::Internal(_));
        Self { status, message, cause: ours.then_some(error) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing | Failure::Invalid(_) => {
                Self::new(StatusCode::UNAUTHORIZED, "Token claims missing")
            }
            Failure::Several => Self::new(StatusCode::BAD_REQUEST, "More than one credential in the request"),
            Failure::CsrfMissing | Failure::CsrfWrong => {
                Self::new(StatusCode::FORBIDDEN, "CSRF token missing or wrong")
            }
            Failure::NoUserId => Self::new(StatusCode::BAD_REQUEST, "Invalid user ID"),
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
            Fault::MediaType(_) | Fault::Broken | Fault::Syntax(_) => Self::BAD_BODY,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let response = http::json(self.status, &json!({"error": self.message}));
        http::refused(response, self.cause.as_ref())
    }
}
