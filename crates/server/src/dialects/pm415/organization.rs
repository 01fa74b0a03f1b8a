//! Organizations: the caller's, and each as a whole.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use guildhall_domain::authz::{Actor, Credential, Role};
use guildhall_domain::error::Missing;
use guildhall_domain::memberships::{At, OrganizationKey, Sight};
use guildhall_domain::organizations::{self, Changes, NewOrganization, Organization, Terms};
use guildhall_domain::text::Name;
use guildhall_domain::users;
use serde_json::json;

use super::form::{self, Form};
use super::lists::{self, Dated};
use super::{Confirmed, Error, Pm415, at};
use crate::app::App;
use crate::http::{self, Params, Payload, Precision, rfc3339};

/// One does not belong to two organizations of one name.
const TERMS: Terms = Terms { own_names_differ: true, creator_leads_or_is_free: false };
/// What stands where the original showed the password's hash and the API key.
const REDACTED: &str = "[redacted]";

fn read_name(payload: &Payload<Pm415>) -> Result<Name, Error> {
    let mut form = Form::read(payload)?;
    let name = form.need(form::NAME, form::organization_name)?;
    form.end()?;
    Ok(name)
}

pub(super) async fn create(
    State(app): State<App>,
    Confirmed(actor): Confirmed,
    payload: Payload<Pm415>,
) -> Result<Response, Error> {
    let name = read_name(&payload)?;
    let (creator, new) = (actor.clone(), NewOrganization::named(name.clone()));
    let made = app.write(move |db| organizations::create(db, &creator, new, TERMS)).await;
    let organization = made.map_err(|error| Error::naming(error, name.as_str()))?;
    let caller = actor.clone();
    let user = app.read(move |db| users::me(db, &caller)).await?;
    let (first, last) = user.name.first_and_last();
    let instant = |at| rfc3339(at, Precision::SecondsAsMillis);
    let answer = json!({
        "success": true,
        "organization": {
            "name": organization.name,
            "updated_at": rfc3339(organization.updated_at, Precision::Millis),
            "created_at": rfc3339(organization.created_at, Precision::Millis),
            "id": organization.id.0,
        },
        "user": {
            "id": user.id.0,
            "email": user.email,
            "password": REDACTED,
            "firstName": first,
            "lastName": last,
            "isActive": i32::from(user.is_active()),
            "confirmedAt": user.confirmed_at.map(instant),
            "createdAt": instant(user.created_at),
            "updatedAt": instant(user.updated_at),
            "apiKey": REDACTED,
            "organizations": [],
        },
    });
    // The document shows the user as they were before, without the new organization.
    let frame = lists::around("organizations", &answer);
    let answer = lists::stream_mine(&app, actor, frame, move |mine| {
        (mine.organization.id != organization.id).then(|| Dated::of(&mine.organization, mine.role))
    });
    Ok(answer.await?)
}

pub(super) async fn list(State(app): State<App>, Confirmed(actor): Confirmed) -> Result<Response, Error> {
    let mut answer = json!({"success": true, "organizations": []});
    if let Some((organization, role)) = current(&app, &actor).await? {
        answer["current"] = json!(Dated::of(&organization, role));
    }
    let frame = lists::around("organizations", &answer);
    let answer =
        lists::stream_mine(&app, actor, frame, |mine| Some(Dated::of(&mine.organization, mine.role)));
    Ok(answer.await?)
}

/// The organization that the caller works in: the session's, while they belong to it; with an API key their first.
///
/// # Errors
/// Where the database cannot be used.
pub(super) async fn current(
    app: &App,
    actor: &Actor,
) -> guildhall_domain::Result<Option<(Organization, Role)>> {
    let caller = actor.clone();
    app.read(move |db| match caller.credential() {
        Credential::ApiKey { .. } => {
            let first = organizations::first_of(db, &caller)?;
            Ok(first.map(|mine| (mine.organization, mine.role)))
        }
        Credential::Session { organization: Some(id), .. } => {
            let at = At { key: OrganizationKey::Number(*id), sight: Sight::MembersOnly };
            match organizations::get(db, &caller, &at) {
                Ok(seen) => Ok(seen.role.map(|role| (seen.organization, role))),
                Err(guildhall_domain::Error::Missing(_)) => Ok(None),
                Err(error) => Err(error),
            }
        }
        Credential::Session { .. } | Credential::Issued { .. } | Credential::None => Ok(None),
    })
    .await
}

pub(super) async fn switch(
    State(app): State<App>,
    Confirmed(actor): Confirmed,
    path: Params,
) -> Result<Response, Error> {
    let at = at(path.get(0));
    let session = app.write(move |db| organizations::switch(db, &actor, &at)).await.map_err(|error| {
        if let guildhall_domain::Error::Missing(Missing::Organization) = error {
            let message = format!("Organization with ID {} not found.", path.get(0));
            return Error::told(StatusCode::NOT_FOUND, message);
        }
        error.into()
    })?;
    let (token, _) = app.token(&session).await?;
    let organization = session.organization.map(|id| id.0);
    Ok(http::json(StatusCode::OK, &json!({"success": true, "organization": organization, "token": token})))
}

pub(super) async fn update(
    State(app): State<App>,
    Confirmed(actor): Confirmed,
    path: Params,
    payload: Payload<Pm415>,
) -> Result<Response, Error> {
    let name = read_name(&payload)?;
    let at = at(path.get(0));
    let changes = Changes { name: Some(name.clone()), ..Changes::default() };
    let changed = app.write(move |db| organizations::update(db, &actor, &at, changes, TERMS)).await;
    let seen = changed.map_err(|error| Error::naming(error, name.as_str()))?;
    Ok(http::json(StatusCode::OK, &json!({"success": true, "organization": seen.organization.id.0})))
}

pub(super) async fn delete(
    State(app): State<App>,
    Confirmed(actor): Confirmed,
    path: Params,
) -> Result<Response, Error> {
    let at = at(path.get(0));
    app.write(move |db| organizations::delete(db, &actor, &at)).await?;
    Ok(http::json(StatusCode::OK, &json!({"success": true})))
}
