//! The members of an organization.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use guildhall_domain::authz::{Actor, Permission};
use guildhall_domain::db::Db;
use guildhall_domain::error::{Conflict, Denied, Missing};
use guildhall_domain::memberships::{
    self, Among, At, Cursor, Grant, Listed, Member as Belonging, Own, Piece, Removal,
};
use guildhall_domain::users::{self, UserKey};
use guildhall_domain::{Error as DomainError, Result as DomainResult};
use serde::Serialize;

use super::fields::{self, ALREADY_MEMBER, Complaints, Read, told};
use super::{Cadasta, Error, at};
use crate::app::App;
use crate::auth::Caller;
use crate::http::{self, Params, Payload, Precision, rfc3339};

/// Of somebody in charge who would change what they are themself.
const OWN_FLAG: &str =
    "Organization administrators cannot change their own permissions within the organization";

/// A person.
#[derive(Serialize)]
pub(super) struct User {
    username: String,
    full_name: String,
    email: String,
    email_verified: bool,
    last_login: Option<String>,
}

impl From<&users::User> for User {
    fn from(user: &users::User) -> Self {
        Self {
            username: user.username(),
            full_name: user.name.whole(),
            email: user.email.clone().unwrap_or_default(),
            email_verified: user.is_email_verified(),
            last_login: user.last_login_at.map(|at| rfc3339(at, Precision::Micros)),
        }
    }
}

/// A person in an organization.
#[derive(Serialize)]
struct Member {
    #[serde(flatten)]
    user: User,
    admin: bool,
}

impl From<&Belonging> for Member {
    fn from(member: &Belonging) -> Self {
        Self { user: User::from(&member.user), admin: member.role.is_in_charge() }
    }
}

/// A JSON text with a list of the members in it, each as `show` has it: what stands before the list, and what behind it.
pub(super) async fn stream<T: Serialize + 'static>(
    app: &App,
    actor: Actor,
    at: At,
    frame: (Vec<u8>, &'static str),
    show: fn(&Belonging) -> T,
) -> DomainResult<Response> {
    let after = move |db: &Db, last: Option<&Belonging>, most| {
        let after = last.map_or(Cursor::START, Belonging::cursor);
        memberships::list(db, &actor, &at, Piece { listed: Listed::Members, after, most })
    };
    http::list(app, frame, move |member| Some(show(member)), after).await
}

pub(super) async fn list(
    State(app): State<App>,
    Caller { actor, .. }: Caller<Cadasta>,
    params: Params,
) -> Result<Response, Error> {
    let frame = (b"[".to_vec(), "]");
    Ok(stream(&app, actor, at(params.get(0)), frame, |member| Member::from(member)).await?)
}

pub(super) async fn show(
    State(app): State<App>,
    Caller { actor, .. }: Caller<Cadasta>,
    params: Params,
) -> Result<Response, Error> {
    let (at, user) = named(&params);
    let member = app.read(move |db| memberships::get(db, &actor, &at, &user)).await?;
    Ok(http::json(StatusCode::OK, &Member::from(&member)))
}

/// The organization and the person that a path names.
fn named(params: &Params) -> (At, UserKey) {
    (at(params.get(0)), UserKey::Login(params.get(1).to_owned()))
}

pub(super) async fn add(
    State(app): State<App>,
    Caller { actor, .. }: Caller<Cadasta>,
    params: Params,
    payload: Payload<Cadasta>,
) -> Result<Response, Error> {
    let at = at(params.get(0));
    let body = match fields::body(&payload) {
        Ok(body) => body,
        Err(error) => {
            app.read(move |db| memberships::may(db, &actor, &at, Permission::AddMembers)).await?;
            return Err(error);
        }
    };
    let mut wrong = Complaints::default();
    let login = wrong.note("username", fields::required(read_login(&body))).map(str::to_owned);
    let grant = wrong.note("admin", read_grant(&body));
    let (Some(login), Some(grant)) = (&login, grant) else {
        let user = login.clone().map(UserKey::Login);
        let found = app.read(move |db| memberships::may_add(db, &actor, &at, user.as_ref())).await;
        match found.map_err(|error| complaint(&error, login.as_deref()).ok_or(error)) {
            Ok(()) => {}
            Err(Ok(text)) => wrong.note_first("username", text),
            Err(Err(error)) => return Err(error.into()),
        }
        return Err(wrong.into());
    };
    let user = UserKey::Login(login.clone());
    let grant = grant.unwrap_or(Grant::Member);
    match app.write(move |db| memberships::add(db, &actor, &at, &user, grant)).await {
        Ok(member) => Ok(http::json(StatusCode::CREATED, &Member::from(&member))),
        Err(error) => Err(match complaint(&error, Some(login)) {
            Some(text) => Error::field("username", text),
            None => error.into(),
        }),
    }
}

/// What is to be told of the username where that is why somebody was not added.
fn complaint(error: &DomainError, login: Option<&str>) -> Option<String> {
    match error {
        DomainError::Missing(Missing::User) => {
            Some(format!("User with username or email {} does not exist", login.unwrap_or_default()))
        }
        DomainError::Conflict(Conflict::AlreadyMember) => Some(ALREADY_MEMBER.into()),
        _ => None,
    }
}

fn read_login(body: &fields::Body) -> Read<Option<&str>> {
    match fields::text(body, "username")? {
        Some(login) if login.trim().is_empty() => Err(told(fields::BLANK)),
        login => Ok(login),
    }
}

fn read_grant(body: &fields::Body) -> Read<Option<Grant>> {
    let admin = fields::boolean(body, "admin")?;
    Ok(admin.map(|admin| if admin { Grant::InCharge } else { Grant::Member }))
}

pub(super) async fn update(
    State(app): State<App>,
    Caller { actor, .. }: Caller<Cadasta>,
    params: Params,
    payload: Payload<Cadasta>,
) -> Result<Response, Error> {
    let (at, user) = named(&params);
    let form = fields::body(&payload).and_then(|body| {
        read_grant(&body).map_err(|wrong| Error::fields(serde_json::json!({ "admin": wrong })))
    });
    let member = match form {
        Ok(Some(grant)) => {
            let changed =
                app.write(move |db| memberships::change_role(db, &actor, &at, (&user, Own::Refused), grant));
            changed.await.map_err(|error| match error {
                DomainError::Denied(Denied::Own) => Error::field("admin", OWN_FLAG),
                error => error.into(),
            })?
        }
        // Nothing to change, or nothing that can be: the right and the member are asked for all the same.
        other => {
            let found = app.read(move |db| {
                memberships::may(db, &actor, &at, Permission::ChangeRoles)?;
                memberships::get(db, &actor, &at, &user)
            });
            let member = found.await?;
            other?;
            member
        }
    };
    Ok(http::json(StatusCode::OK, &Member::from(&member)))
}

pub(super) async fn remove(
    State(app): State<App>,
    Caller { actor, .. }: Caller<Cadasta>,
    params: Params,
) -> Result<Response, Error> {
    let (at, user) = named(&params);
    let removal =
        Removal { user, among: Among::Members, permission: Permission::RemoveMembers, own: Own::Refused };
    app.write(move |db| memberships::remove(db, &actor, &at, &removal)).await?;
    Ok(http::empty(StatusCode::NO_CONTENT))
}
