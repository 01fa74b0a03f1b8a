//! Who belongs: inviting owners, removing, joining, leaving.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use guildhall_domain::authz::{Permission, Role};
use guildhall_domain::invitations::{self, NewInvitations, Refusal};
use guildhall_domain::memberships::{self, Among, Own, Removal};
use guildhall_domain::text::Email;
use guildhall_domain::users::{self, UserKey};
use serde::Deserialize;

use super::{ADDRESSES_MAX, Bit, Error, at, checked, form, message};
use crate::app::App;
use crate::auth::SignedIn;
use crate::http::{Params, Payload};

/// How long an invitation is good.
const INVITATION_LASTS: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invitation {
    people: Vec<String>,
}

pub(super) async fn invite_owners(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
    payload: Payload<Bit>,
) -> Result<Response, Error> {
    let at = at(&params);
    let (caller, place) = (actor.clone(), at.clone());
    let right = move |db: &_| memberships::may(db, &caller, &place, Permission::InviteOwners);
    let emails = checked(&app, read_people(&payload), right).await??;
    let new = NewInvitations {
        emails,
        role: Role::Owner,
        lasts: INVITATION_LASTS,
        send: true,
        refuse_members: false,
    };
    let secrets = app.secrets.clone();
    app.write(move |db| match invitations::create(db, &actor, &at, new, &secrets) {
        Ok(_) => Ok(()),
        Err(Refusal::Error(error)) => Err(error),
        Err(Refusal::Member(..)) => Err(guildhall_domain::error::Conflict::AlreadyMember.into()),
    })
    .await?;
    Ok(message(StatusCode::OK, "Invites have been sent"))
}

/// The addresses to invite, each once.
fn read_people(payload: &Payload<Bit>) -> Result<Vec<Email>, Error> {
    const WHAT: &str = "invite owners";
    let Invitation { people } = form(payload, WHAT)?;
    if people.is_empty() || people.len() > ADDRESSES_MAX {
        return Err(Error::incorrect(WHAT));
    }
    let mut emails: Vec<Email> = people
        .iter()
        .map(|text| Email::parse(text))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::incorrect(WHAT))?;
    let mut seen = HashSet::new();
    emails.retain(|email| seen.insert(email.key()));
    Ok(emails)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    username: String,
}

pub(super) async fn remove(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
    payload: Payload<Bit>,
) -> Result<Response, Error> {
    let at = at(&params);
    let (caller, place) = (actor.clone(), at.clone());
    let right = move |db: &_| memberships::may(db, &caller, &place, Permission::RemoveAsOwner);
    let Member { username } = checked(&app, form(&payload, "remove a member"), right).await??;
    let removal = Removal {
        user: UserKey::Login(username),
        among: Among::All,
        permission: Permission::RemoveAsOwner,
        own: Own::Allowed,
    };
    let (user, organization) = app.write(move |db| memberships::remove(db, &actor, &at, &removal)).await?;
    let text = format!("Removed {} from {organization}", user.display_name());
    Ok(message(StatusCode::OK, &text))
}

pub(super) async fn join(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
) -> Result<Response, Error> {
    let at = at(&params);
    let caller = actor.clone();
    let organization = app.write(move |db| memberships::join(db, &caller, &at)).await?;
    let user = app.read(move |db| users::me(db, &actor)).await?;
    Ok(message(StatusCode::OK, &format!("{} has joined {organization}", user.display_name())))
}

pub(super) async fn leave(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
) -> Result<Response, Error> {
    let at = at(&params);
    let organization = app.write(move |db| memberships::leave(db, &actor, &at)).await?;
    Ok(message(StatusCode::OK, &format!("You successfully left {organization}")))
}
