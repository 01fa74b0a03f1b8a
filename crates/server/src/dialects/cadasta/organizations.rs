//! Organizations, one at a time: make, show, change.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use guildhall_domain::Error as DomainError;
use guildhall_domain::authz::Actor;
use guildhall_domain::memberships::{self, At, Joining, OrganizationKey, Visibility};
use guildhall_domain::organizations::{self, Changes, NewOrganization, Patch, Seen, Terms};
use guildhall_domain::text::{DESCRIPTION_MAX, Name, Slug, is_free_text};
use serde::Serialize;
use serde_json::Value;

use super::contacts::{self, ELEMENTS_MAX};
use super::fields::{self, Body, CONTROL, Complaints, NAME_TAKEN, NOT_A_STRING, REQUIRED, Read, told};
use super::members::{self, User};
use super::{Cadasta, Error, SIGHT, at};
use crate::app::App;
use crate::auth::{Caller, SignedIn};
use crate::http::{self, Params, Payload};

/// The most characters of a url.
pub(super) const URL_MAX: usize = 2_000;
/// The slugs that stand for pages of the original: a name that would give one is refused.
const PAGES: [&str; 2] = ["add", "new"];

/// An organization without its members.
#[derive(Serialize)]
pub(super) struct Organization<'o> {
    id: String,
    slug: &'o str,
    name: &'o str,
    description: Option<&'o str>,
    archived: bool,
    urls: Value,
    contacts: Value,
}

impl<'o> From<&'o organizations::Organization> for Organization<'o> {
    fn from(organization: &'o organizations::Organization) -> Self {
        Self {
            id: organization.uid.letters(),
            slug: &organization.slug,
            name: &organization.name,
            description: organization.description.as_deref(),
            archived: organization.archived_at.is_some(),
            urls: stored(&organization.urls),
            contacts: stored(&organization.contacts),
        }
    }
}

/// A list that was kept as text; only this dialect writes it.
fn stored(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::Array(Vec::new()))
}

pub(super) async fn show(
    State(app): State<App>,
    Caller { actor, .. }: Caller<Cadasta>,
    params: Params,
) -> Result<Response, Error> {
    let (caller, at) = (actor.clone(), at(params.get(0)));
    let seen = app.read(move |db| organizations::get(db, &caller, &at)).await?;
    detail(&app, actor, &seen).await
}

/// The organization, with its members for one of them.
async fn detail(app: &App, actor: Actor, seen: &Seen) -> Result<Response, Error> {
    let organization = Organization::from(&seen.organization);
    if seen.role.is_none() {
        return Ok(http::json(StatusCode::OK, &organization));
    }
    let mut head =
        serde_json::to_vec(&organization).map_err(|error| DomainError::Internal(error.to_string()))?;
    // The object goes on behind its last value.
    head.pop();
    head.extend_from_slice(b",\"users\":[");
    let at = At { key: OrganizationKey::Number(seen.organization.id), sight: SIGHT };
    match members::stream(app, actor, at, (head, "]}"), |member| User::from(&member.user)).await {
        // Whoever was taken out meanwhile sees what others see; what they did before stays done.
        Err(DomainError::Missing(_) | DomainError::Denied(_)) => {
            Ok(http::json(StatusCode::OK, &organization))
        }
        answer => Ok(answer?),
    }
}

pub(super) async fn create(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Cadasta>,
    payload: Payload<Cadasta>,
) -> Result<Response, Error> {
    let changes = match read(&payload, true) {
        Ok(changes) => changes,
        Err(refused) => {
            let caller = actor.clone();
            app.read(move |db| organizations::may_create(db, &caller, Terms::default())).await?;
            return Err(refused.told(&app, actor, None).await?);
        }
    };
    let Some(name) = changes.name else { return Err(Error::field("name", REQUIRED)) };
    let new = NewOrganization {
        visibility: Visibility::Public,
        joining: Joining::Invite,
        description: match changes.description {
            Patch::Set(text) => Some(text),
            Patch::Keep | Patch::Clear => None,
        },
        urls: changes.urls.unwrap_or_else(|| "[]".into()),
        contacts: changes.contacts.unwrap_or_else(|| "[]".into()),
        archived: changes.archived.unwrap_or(false),
        ..NewOrganization::named(name)
    };
    let caller = actor.clone();
    let organization = app.write(move |db| organizations::create(db, &caller, new, Terms::default())).await?;
    let seen = Seen { organization, role: Some(guildhall_domain::authz::Role::Owner) };
    let mut answer = detail(&app, actor, &seen).await?;
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

pub(super) async fn update(
    State(app): State<App>,
    Caller { actor, .. }: Caller<Cadasta>,
    params: Params,
    payload: Payload<Cadasta>,
) -> Result<Response, Error> {
    change(&app, actor, params.get(0), read(&payload, false)).await
}

/// As [`update`], with the name required: what is absent stays all the same.
pub(super) async fn replace(
    State(app): State<App>,
    Caller { actor, .. }: Caller<Cadasta>,
    params: Params,
    payload: Payload<Cadasta>,
) -> Result<Response, Error> {
    change(&app, actor, params.get(0), read(&payload, true)).await
}

async fn change(
    app: &App,
    actor: Actor,
    slug: &str,
    form: Result<Changes, Refused>,
) -> Result<Response, Error> {
    let (caller, at) = (actor.clone(), at(slug));
    let changes = match form {
        Ok(changes) => changes,
        Err(refused) => {
            let needed = organizations::permission_to_change(refused.archived);
            let named = at.clone();
            app.read(move |db| memberships::may(db, &caller, &named, needed)).await?;
            return Err(refused.told(app, actor, Some(at)).await?);
        }
    };
    let seen =
        app.write(move |db| organizations::update(db, &caller, &at, changes, Terms::default())).await?;
    detail(app, actor, &seen).await
}

/// A body that cannot be carried out.
struct Refused {
    why: Why,
    /// The name in it, where that could be read.
    name: Option<Name>,
    /// Whether it asks to archive or unarchive.
    archived: Option<bool>,
}

enum Why {
    Body(Box<Error>),
    Fields(Complaints),
}

impl Refused {
    /// What is wrong with it: of a name that is taken besides, that too.
    async fn told(self, app: &App, actor: Actor, at: Option<At>) -> Result<Error, Error> {
        let mut complaints = match self.why {
            Why::Body(error) => return Ok(*error),
            Why::Fields(complaints) => complaints,
        };
        if let Some(name) = self.name
            && !app.read(move |db| organizations::is_name_free(db, &actor, at.as_ref(), &name)).await?
        {
            complaints.note_first("name", NAME_TAKEN);
        }
        Ok(complaints.into())
    }
}

/// Reads a body; where `needs_name` it has to name the organization.
fn read(payload: &Payload<Cadasta>, needs_name: bool) -> Result<Changes, Refused> {
    let body = fields::body(payload).map_err(|error| Refused {
        why: Why::Body(Box::new(error)),
        name: None,
        archived: None,
    })?;
    let mut wrong = Complaints::default();
    let name = match read_name(&body) {
        Ok(None) if needs_name => Err(told(REQUIRED)),
        read => read,
    };
    let name = wrong.note("name", name).flatten();
    let description = wrong.note("description", read_description(&body)).unwrap_or_default();
    let archived = wrong.note("archived", fields::boolean(&body, "archived")).flatten();
    let urls = wrong.note("urls", read_urls(&body)).flatten();
    let contacts = wrong.note("contacts", contacts::read(&body)).flatten();
    if !wrong.is_empty() {
        return Err(Refused { why: Why::Fields(wrong), name, archived });
    }
    Ok(Changes { name, description, urls, contacts, archived, ..Changes::default() })
}

fn read_name(body: &Body) -> Read<Option<Name>> {
    let Some(text) = fields::text(body, "name")? else { return Ok(None) };
    let name = fields::name(text)?;
    if PAGES.contains(&Slug::of(name.as_str()).as_str()) {
        return Err(told("Organization name cannot be “Add” or “New”."));
    }
    Ok(Some(name))
}

fn read_description(body: &Body) -> Read<Patch<String>> {
    match body.get("description") {
        None => Ok(Patch::Keep),
        Some(Value::Null) => Ok(Patch::Clear),
        Some(Value::String(text)) if is_free_text(text, DESCRIPTION_MAX) => Ok(Patch::Set(text.clone())),
        Some(Value::String(text)) if text.contains('\0') => Err(told(CONTROL)),
        Some(Value::String(_)) => Err(told(fields::too_long(DESCRIPTION_MAX))),
        Some(_) => Err(told(NOT_A_STRING)),
    }
}

fn read_urls(body: &Body) -> Read<Option<String>> {
    let urls = match body.get("urls") {
        None => return Ok(None),
        Some(Value::Null) => return Ok(Some("[]".into())),
        Some(Value::Array(urls)) => urls,
        Some(other) => return Err(told(contacts::no_list(other))),
    };
    if urls.len() > ELEMENTS_MAX {
        return Err(told(contacts::too_many()));
    }
    for url in urls {
        match url {
            Value::String(text) if text.chars().count() > URL_MAX => {
                return Err(told(fields::too_long(URL_MAX)));
            }
            Value::String(text) if fields::is_url(text) => {}
            _ => return Err(told("Enter a valid URL.")),
        }
    }
    Ok(Some(Value::Array(urls.clone()).to_string()))
}
