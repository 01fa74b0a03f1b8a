//! The people of an organization, and invitations to it.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use guildhall_domain::authz::{Actor, Role, State as Standing};
use guildhall_domain::db::Db;
use guildhall_domain::error::{Denied, Missing};
use guildhall_domain::id::UserId;
use guildhall_domain::invitations::{self, InvitationState, NewInvitations, Refusal};
use guildhall_domain::memberships::{self, At, Cursor, Grant, Listed, Member, Piece};
use serde::Serialize;
use serde_json::json;

use super::form::{self, Form};
use super::lists;
use super::{BAD_INVITATION, Confirmed, Error, Pm415, at};
use crate::app::App;
use crate::http::{self, Params, Payload, Query};

/// How long an invitation is good.
const INVITATION_LASTS: Duration = Duration::from_secs(24 * 3600);

#[derive(Serialize)]
struct Person {
    #[serde(rename = "userId")]
    user_id: i64,
    email: Option<String>,
    #[serde(rename = "firstName")]
    first_name: String,
    #[serde(rename = "lastName")]
    last_name: String,
    #[serde(rename = "isActive")]
    is_active: u8,
    role: &'static str,
}

impl From<&Member> for Person {
    fn from(member: &Member) -> Self {
        let user = &member.user;
        let (first_name, last_name) = user.name.first_and_last();
        let role = if member.state == Standing::Pending { "Pending" } else { lists::role(member.role).1 };
        Self {
            user_id: user.id.0,
            email: user.email.clone(),
            first_name,
            last_name,
            is_active: u8::from(user.is_active()),
            role,
        }
    }
}

pub(super) async fn list(
    State(app): State<App>,
    Confirmed(actor): Confirmed,
    path: Params,
) -> Result<Response, Error> {
    let at = at(path.get(0));
    let wire = |member: &Member| Some(Person::from(member));
    let after = move |db: &Db, last: Option<&Member>, most| {
        let after = last.map_or(Cursor::START, Member::cursor);
        memberships::list(db, &actor, &at, Piece { listed: Listed::WithPending, after, most })
    };
    http::list(&app, lists::only("users"), wire, after).await.map_err(|error| match error {
        guildhall_domain::Error::Missing(Missing::Organization)
        | guildhall_domain::Error::Denied(Denied::Role) => {
            Error::new(StatusCode::FORBIDDEN, "Organization membership required")
        }
        error => error.into(),
    })
}

/// What an invitation's page asks before its reader has an account: the token alone is the right to know.
pub(super) async fn show_invitation(State(app): State<App>, query: Query) -> Result<Response, Error> {
    let token = query.get("token").unwrap_or_default().to_owned();
    if !guildhall_domain::outbox::is_token(&token) {
        return Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, "Bad data"));
    }
    let invitation = app.read(move |db| invitations::look_at(db, &token)).await?;
    if invitation.state != InvitationState::Open {
        return Err(BAD_INVITATION);
    }
    let body = json!({
        "success": true,
        "email": invitation.email,
        "organization": invitation.organization_name,
    });
    Ok(http::json(StatusCode::OK, &body))
}

pub(super) async fn invite(
    State(app): State<App>,
    Confirmed(actor): Confirmed,
    path: Params,
    payload: Payload<Pm415>,
) -> Result<Response, Error> {
    let mut form = Form::read(&payload)?;
    let email = form.need(form::EMAIL, form::email)?;
    let send = form.take(form::SEND, form::flag)?.unwrap_or(true);
    form.end()?;
    let new = NewInvitations {
        emails: vec![email],
        role: Role::Member,
        lasts: INVITATION_LASTS,
        send,
        refuse_members: true,
    };
    let (at, secrets) = (at(path.get(0)), app.secrets.clone());
    // Who is a member already is an answer of its own, beside those of every operation.
    let made = app.write(move |db| match invitations::create(db, &actor, &at, new, &secrets) {
        Ok(invited) => Ok(Ok(invited)),
        Err(Refusal::Member(email, organization)) => Ok(Err((email, organization))),
        Err(Refusal::Error(error)) => Err(error),
    });
    let invited = made.await?.map_err(|(email, organization)| {
        let message = format!("User {} already have access to organization {organization}", email.as_str());
        Error::told(StatusCode::CONFLICT, message)
    })?;
    let nobody = || guildhall_domain::Error::Internal("nobody was invited".into());
    let token = &invited.first().ok_or_else(nobody)?.token;
    let url = format!("{}/account/invite/?token={token}", app.public_url);
    Ok(http::json(StatusCode::OK, &json!({"success": true, "confirmUrl": url})))
}

/// With what a change of some of an organization's people is asked.
type Asked = (State<App>, Confirmed, Params, Payload<Pm415>);

/// Changes some of an organization's people: all of them or none.
async fn change(
    (State(app), Confirmed(actor), path, payload): Asked,
    change: impl FnOnce(&Db, &Actor, &At, &[UserId]) -> guildhall_domain::Result<()> + Clone + Send + 'static,
) -> Result<Response, Error> {
    let mut form = Form::read(&payload)?;
    let users = form.need(form::USERS, form::users)?;
    form.end()?;
    let at = at(path.get(0));
    app.write(move |db| change(db, &actor, &at, &users)).await?;
    Ok(http::json(StatusCode::OK, &json!({"success": true})))
}

pub(super) async fn remove(asked: Asked) -> Result<Response, Error> {
    change(asked, memberships::remove_all).await
}

pub(super) async fn grant(asked: Asked) -> Result<Response, Error> {
    change(asked, |db, actor, at, users| memberships::change_roles(db, actor, at, users, Grant::InCharge))
        .await
}

pub(super) async fn revoke(asked: Asked) -> Result<Response, Error> {
    change(asked, |db, actor, at, users| memberships::change_roles(db, actor, at, users, Grant::Member)).await
}

pub(super) async fn reset_passwords(asked: Asked) -> Result<Response, Error> {
    let secrets = asked.0.secrets.clone();
    change(asked, move |db, actor, at, users| memberships::reset_passwords(db, actor, at, users, &secrets))
        .await
}
