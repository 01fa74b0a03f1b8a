//! The members of an organization.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use guildhall_domain::authz::Permission;
use guildhall_domain::db::Db;
use guildhall_domain::error::Missing;
use guildhall_domain::id::ShortId;
use guildhall_domain::memberships::{self, Among, Cursor, Grant, Listed, Own, Piece, Removal};
use guildhall_domain::users::UserKey;
use serde::Serialize;
use serde_json::{Map, Value};

use super::lists::{self, Paging};
use super::{Error, Stormz, at, require};
use crate::app::App;
use crate::auth::SignedIn;
use crate::http::{self, Params, Payload, Query};

#[derive(Serialize)]
struct Member {
    id: String,
    email: Option<String>,
    name: String,
    avatar_url: String,
}

impl Member {
    fn of(app: &App, member: &memberships::Member) -> Self {
        let user = &member.user;
        Self {
            id: user.uid.short().to_owned(),
            email: user.email.clone(),
            name: user.display_name(),
            avatar_url: app.media.url(&app.public_url, None),
        }
    }
}

pub(super) async fn list(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Stormz>,
    params: Params,
    uri: Uri,
    query: Query,
) -> Result<Response, Error> {
    let at = at(&params);
    let paging = match Paging::read(&query) {
        Ok(paging) => paging,
        Err(error) => {
            require(&app, actor, at, Permission::ReadMembers).await?;
            return Err(error);
        }
    };
    let wire = {
        let app = app.clone();
        move |member: &memberships::Member| Member::of(&app, member)
    };
    let Some(paging) = paging else {
        let after = move |db: &Db, last: Option<&memberships::Member>, most| {
            let after = last.map_or(Cursor::START, memberships::Member::cursor);
            memberships::list(db, &actor, &at, Piece { listed: Listed::Members, after, most })
        };
        return Ok(http::list(&app, ("[", "]"), move |member| Some(wire(member)), after).await?);
    };
    let part = app.read(move |db| memberships::part(db, &actor, &at, paging.window())).await?;
    Ok(paging.respond(&part, wire, &lists::address(&app, &uri, &query)))
}

pub(super) async fn add(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Stormz>,
    params: Params,
    payload: Payload<Stormz>,
) -> Result<Response, Error> {
    let at = at(&params);
    let (user, grant) = match read_new(&payload) {
        Ok(new) => new,
        Err(error) => {
            require(&app, actor, at, Permission::AddMembers).await?;
            return Err(error);
        }
    };
    let member = app.write(move |db| memberships::add(db, &actor, &at, &user, grant)).await?;
    Ok(http::json(StatusCode::CREATED, &Member::of(&app, &member)))
}

fn read_new(payload: &Payload<Stormz>) -> Result<(UserKey, Grant), Error> {
    let body: Map<String, Value> = payload.json()?;
    let email = read_text(&body, "email")?;
    let grant = match read_text(&body, "role")? {
        "facilitator" => Grant::Member,
        "admin" => Grant::InCharge,
        _ => return Err(Error::invalid("role must be facilitator or admin")),
    };
    Ok((UserKey::Email(email.to_owned()), grant))
}

fn read_text<'b>(body: &'b Map<String, Value>, key: &str) -> Result<&'b str, Error> {
    match body.get(key) {
        None => Err(Error::invalid(format!("{key} is required"))),
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(Error::invalid(format!("{key} must not be blank")))
        }
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Error::invalid(format!("{key} must be a string"))),
    }
}

pub(super) async fn remove(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Stormz>,
    params: Params,
) -> Result<Response, Error> {
    let at = at(&params);
    let Some(user) = ShortId::parse(params.get(1)).map(UserKey::Short) else {
        require(&app, actor, at, Permission::RemoveMembers).await?;
        return Err(guildhall_domain::Error::from(Missing::Member).into());
    };
    let removal =
        Removal { user, among: Among::Members, permission: Permission::RemoveMembers, own: Own::Allowed };
    app.write(move |db| memberships::remove(db, &actor, &at, &removal)).await?;
    Ok(http::empty(StatusCode::NO_CONTENT))
}
