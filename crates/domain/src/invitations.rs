//! Invitations: by address, single use, for a time, one live one per address and organization.
//!
//! The token stands in the mailed link and, once, in the answer to the inviter: [`Invited::token`]. What state an
//! invitation is in is told after whether its reader is a member already.

use std::collections::HashSet;
use std::time::Duration;

use crate::acting::write_as;
use crate::activity::{self, About};
use crate::authz::{Actor, Permission, Role, State, allows};
use crate::clock::sha256_hex;
use crate::db::{Db, Row, Tx, WriteTx};
use crate::error::{Conflict, Denied, Error, Missing, Result};
use crate::id::{OrganizationId, UserId};
use crate::limits::{self, Limit};
use crate::memberships::{At, insert_or_activate, read_as, require, set_role, standing};
use crate::outbox::{self, Kind, NewLetter, Secrets};
use crate::text::Email;
use crate::users::{self, User, UserKey};

/// Whom to invite, to become what.
#[derive(Clone, Debug)]
pub struct NewInvitations {
    /// The addresses.
    pub emails: Vec<Email>,
    /// [`Role::Member`] or [`Role::Owner`].
    pub role: Role,
    /// How long each is good.
    pub lasts: Duration,
    /// Whether a mail goes out.
    pub send: bool,
    /// Whether one who is a member already is refused: then nobody is invited.
    pub refuse_members: bool,
}

impl NewInvitations {
    /// Whether their links stand in letters alone. A dialect that invites members shows its caller the link as well, so that
    /// one has to work; none shows the link of an owner-to-be.
    fn are_mailed_alone(&self) -> bool {
        self.send && self.role != Role::Member
    }
}

/// An invitation that was made.
#[derive(Clone, Debug)]
pub struct Invited {
    /// For whom.
    pub email: Email,
    /// The link's token. It stands nowhere else. Of an owner-to-be whose earlier invitation stays, see [`create`], it is good
    /// for nothing.
    pub token: String,
    /// The organization's name.
    pub organization: String,
}

/// Why inviting did not happen, with the organization's name where the dialect tells it.
#[derive(Debug)]
pub enum Refusal {
    /// As for any operation.
    Error(Error),
    /// That address is a member's already; of the organization of that name.
    Member(Email, String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn permission_to_invite(role: Role) -> Permission {
    if role == Role::Member { Permission::AddMembers } else { Permission::InviteOwners }
}

/// Invites people; all or nobody, an address that is named twice once. An earlier invitation of the same address to the
/// same organization ends; but that of an owner-to-be stays while it is live, where there is no room for another letter.
///
/// # Errors
/// [`Missing::Organization`], what [`crate::memberships::may`] refuses, [`Error::Limited`] where the organization or the
/// caller invited too many within a day; [`Refusal::Member`].
pub fn create(
    db: &Db,
    actor: &Actor,
    at: &At,
    mut new: NewInvitations,
    secrets: &Secrets,
) -> Result<Vec<Invited>, Refusal> {
    let permission = permission_to_invite(new.role);
    let (at, secrets) = (at.clone(), secrets.clone());
    let of_organization = Limit { most: db.invitations_per_day(), ..limits::INVITATIONS_OF_ORGANIZATION };
    let mut named = HashSet::new();
    new.emails.retain(|email| named.insert(email.key()));
    let made = write_as(db, actor, move |tx, actor| {
        let (found, _) = require(tx, actor, &at, permission)?;
        if new.refuse_members {
            for email in &new.emails {
                if is_member(tx, found.id, email)? {
                    // Nothing was written: this answer undoes nothing.
                    return Ok(Err((email.clone(), found.name)));
                }
            }
        }
        let number = i64::try_from(new.emails.len()).unwrap_or(i64::MAX);
        limits::take_many(tx, &of_organization, &found.id.0.to_string(), number)?;
        if let Some(user) = actor.user_id() {
            limits::take_many(tx, &limits::INVITATIONS_BY_USER, &user.0.to_string(), number)?;
        }
        let inviter = match actor.user_id() {
            Some(user) => Some(users::get(tx, user)?),
            None => None,
        };
        let place = Place { organization: found.id, name: &found.name, inviter: inviter.as_ref() };
        let mut invited = Vec::with_capacity(new.emails.len());
        for email in &new.emails {
            invited.push(invite(tx, &place, email, &new, &secrets)?);
            activity::record(tx, actor, "invitation.create", &About::organization(found.id))?;
        }
        Ok(Ok(invited))
    });
    match made {
        Ok(Ok(invited)) => Ok(invited),
        Ok(Err((email, organization))) => Err(Refusal::Member(email, organization)),
        Err(error) => Err(Refusal::Error(error)),
    }
}

fn is_member(tx: &Tx<'_>, organization: OrganizationId, email: &Email) -> Result<bool> {
    match users::find(tx, &UserKey::Email(email.key()))? {
        Some(user) => Ok(standing(tx, organization, user.id)?.is_some()),
        None => Ok(false),
    }
}

struct Place<'a> {
    organization: OrganizationId,
    name: &'a str,
    inviter: Option<&'a User>,
}

fn invite(
    tx: &WriteTx<'_>,
    place: &Place<'_>,
    email: &Email,
    new: &NewInvitations,
    secrets: &Secrets,
) -> Result<Invited> {
    let minted = secrets.mint(tx);
    let invited = Invited { email: email.clone(), token: minted.token, organization: place.name.to_owned() };
    let is_mailed = new.send && limits::has_room(tx, &limits::INVITATIONS_MAILED, &email.key())?;
    // No other link would reach them, whoever used the letters up: the one that they have stays good.
    if new.are_mailed_alone() && !is_mailed && has_live(tx, place.organization, email, new.role)? {
        return Ok(invited);
    }
    let expires_at = tx.now.after(new.lasts);
    tx.run(
        "INSERT INTO invitations (id, organization_id, email, email_key, role, token_hash, invited_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (organization_id, email_key) DO UPDATE SET id = $1, email = $3, role = $5, token_hash = $6,
             invited_by = $7, created_at = $8, expires_at = $9, accepted_at = NULL",
        &[
            tx.next_number("invitations")?.into(),
            place.organization.into(),
            email.as_str().into(),
            (&email.key()).into(),
            new.role.as_str().into(),
            (&minted.hash).into(),
            place.inviter.map(|user| user.id).into(),
            tx.now.into(),
            expires_at.into(),
        ],
    )?;
    if is_mailed {
        let kind = if new.role == Role::Member { Kind::InviteMember } else { Kind::InviteOwner };
        outbox::queue(
            tx,
            &NewLetter {
                kind,
                recipient: email.as_str(),
                nonce: Some(&minted.nonce),
                person: place.inviter.map(User::display_name).as_deref(),
                organization: Some(place.name),
                expires_at: Some(expires_at),
            },
        )?;
    }
    Ok(invited)
}

/// Whether an invitation of that address to become that can still be accepted, as far as itself goes.
fn has_live(tx: &Tx<'_>, organization: OrganizationId, email: &Email, role: Role) -> Result<bool> {
    tx.exists(
        "SELECT 1 FROM invitations WHERE organization_id = $1 AND email_key = $2 AND role = $3
           AND accepted_at IS NULL AND expires_at > $4",
        &[organization.into(), (&email.key()).into(), role.as_str().into(), tx.now.into()],
    )
}

/// Withdraws the live invitation of an address; nothing happens where there is none.
///
/// # Errors
/// [`Missing::Organization`], what [`crate::memberships::may`] refuses.
pub fn revoke(db: &Db, actor: &Actor, at: &At, email: &Email) -> Result<()> {
    let (at, email) = (at.clone(), email.clone());
    write_as(db, actor, move |tx, actor| {
        let (found, _) = require(tx, actor, &at, Permission::AddMembers)?;
        tx.run(
            "DELETE FROM invitations WHERE organization_id = $1 AND email_key = $2 AND accepted_at IS NULL",
            &[found.id.into(), (&email.key()).into()],
        )?;
        activity::record(tx, actor, "invitation.revoke", &About::organization(found.id))
    })
}

/// An invitation, as one who has its token sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// To which organization.
    pub organization: OrganizationId,
    /// What that is called.
    pub organization_name: String,
    /// For whom.
    pub email: String,
    /// To become what.
    pub role: Role,
    /// Who invited, where they are still there.
    pub inviter: Option<String>,
    /// How it stands.
    pub state: InvitationState,
    /// Whether an account with the address exists, and whether it is a member already.
    pub invitee: Invitee,
}

/// How an invitation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvitationState {
    /// It can be accepted.
    Open,
    /// It was accepted.
    Accepted,
    /// Its time is over.
    Expired,
    /// Whoever sent it could not send it any more, or the organization is archived.
    Withdrawn,
}

/// Who has the invited address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invitee {
    /// Nobody yet.
    Nobody,
    /// An account that has no part in the organization.
    Stranger,
    /// One who belongs to the organization, in whatever state and role.
    Member(Role, State),
}

impl Invitation {
    /// Whether the account that has the invited address may accept now: the last of what [`accept`] checks.
    ///
    /// # Errors
    /// In this order [`Conflict::AlreadyMember`], [`Missing::Token`] for an invitation that is over, [`Missing::Member`] where
    /// an owner-to-be has not joined yet.
    pub fn require_acceptable(&self) -> Result<()> {
        match (self.role, self.invitee) {
            (Role::Member, Invitee::Member(..)) | (_, Invitee::Member(Role::Owner, _)) => {
                Err(Conflict::AlreadyMember.into())
            }
            _ if self.state != InvitationState::Open => Err(Missing::Token.into()),
            (Role::Member, _) => Ok(()),
            (_, Invitee::Member(_, state)) if state.counts() => Ok(()),
            _ => Err(Missing::Member.into()),
        }
    }
}

struct Stored {
    invitation: Invitation,
    hash: String,
}

fn find(tx: &Tx<'_>, token: &str) -> Result<Stored> {
    let sql = "SELECT i.organization_id, o.name, i.email, i.role, i.expires_at, i.accepted_at, o.archived_at, i.invited_by
               FROM invitations i JOIN organizations o ON o.id = i.organization_id WHERE i.token_hash = $1";
    let hash = sha256_hex(token);
    let read = |row: &Row<'_>| {
        let organization = OrganizationId(row.int()?);
        let (organization_name, email) = (row.text()?, row.text()?);
        let role = read_as(row.text()?, Role::parse)?;
        let (expires_at, accepted_at) = (row.time()?, row.opt_time()?);
        let archived = row.opt_time()?.is_some();
        let inviter = row.opt_int()?.map(UserId);
        Ok((organization, organization_name, email, role, expires_at, accepted_at, archived, inviter))
    };
    let found = tx.row(sql, &[(&hash).into()], read)?.ok_or(Missing::Token)?;
    let (organization, organization_name, email, role, expires_at, accepted_at, archived, inviter) = found;
    let withdrawn = archived || !may_still_invite(tx, organization, inviter, role)?;
    let state = match accepted_at {
        Some(_) => InvitationState::Accepted,
        None if expires_at <= tx.now => InvitationState::Expired,
        None if withdrawn => InvitationState::Withdrawn,
        None => InvitationState::Open,
    };
    let inviter = match inviter {
        Some(inviter) => Some(users::get(tx, inviter)?.display_name()),
        None => None,
    };
    let invitee = match users::find(tx, &UserKey::Email(email.clone()))? {
        None => Invitee::Nobody,
        Some(user) => match standing(tx, organization, user.id)? {
            Some((role, state)) => Invitee::Member(role, state),
            None => Invitee::Stranger,
        },
    };
    let invitation = Invitation { organization, organization_name, email, role, inviter, state, invitee };
    Ok(Stored { invitation, hash })
}

/// An invitation holds no longer than the right of the one who sent it. Where that right ended since, it names nobody.
fn may_still_invite(
    tx: &Tx<'_>,
    organization: OrganizationId,
    inviter: Option<UserId>,
    role: Role,
) -> Result<bool> {
    let Some(inviter) = inviter else { return Ok(false) };
    let permission = permission_to_invite(role);
    let is_enabled = users::get(tx, inviter)?.disabled_at.is_none();
    let standing = standing(tx, organization, inviter)?;
    Ok(is_enabled && standing.is_some_and(|(role, state)| state.counts() && allows(role, permission)))
}

/// How the invitation stands.
pub(crate) fn find_state(tx: &Tx<'_>, token: &str) -> Result<InvitationState> {
    find(tx, token).map(|stored| stored.invitation.state)
}

/// What the invitation is, without using it.
///
/// # Errors
/// [`Missing::Token`] for one that never was or that another took the place of.
pub fn look_at(db: &Db, token: &str) -> Result<Invitation> {
    db.read(|tx| find(tx, token)).map(|stored| stored.invitation)
}

/// The caller accepts: they become a member, or an owner where that is what they were invited to be and they are a member.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Denied::Scope`]; in this order [`Missing::Token`] for one that never was,
/// [`Denied::OtherAddress`], [`Denied::Unverified`], [`Conflict::AlreadyMember`], [`Missing::Token`] for one that is over,
/// [`Missing::Member`] where an owner-to-be has not joined yet.
pub fn accept(db: &Db, actor: &Actor, token: &str) -> Result<Invitation> {
    let user = actor.require_writer()?;
    let token = token.to_owned();
    write_as(db, actor, move |tx, actor| {
        let user = users::get(tx, user)?;
        accept_in(tx, actor, &user, &token)
    })
}

pub(crate) fn accept_in(tx: &WriteTx<'_>, actor: &Actor, user: &User, token: &str) -> Result<Invitation> {
    let invitation = find(tx, token)?.invitation;
    require_own(user.email.as_deref(), &invitation)?;
    if !user.is_email_verified() {
        return Err(Denied::Unverified.into());
    }
    take_up(tx, actor, user, token)
}

/// # Errors
/// [`Denied::OtherAddress`].
fn require_own(email: Option<&str>, invitation: &Invitation) -> Result<()> {
    let own = email.is_some_and(|email| email.eq_ignore_ascii_case(&invitation.email));
    if own { Ok(()) } else { Err(Denied::OtherAddress.into()) }
}

/// Refuses what [`take_up`] refuses to whoever has that address.
pub(crate) fn require_acceptable_by(tx: &Tx<'_>, email: &str, token: &str) -> Result<()> {
    let invitation = find(tx, token)?.invitation;
    require_own(Some(email), &invitation)?;
    invitation.require_acceptable()
}

/// Uses the invitation up for `user`, whose address it is, confirmed or (for one who cannot sign in before it is) not yet.
pub(crate) fn take_up(tx: &WriteTx<'_>, actor: &Actor, user: &User, token: &str) -> Result<Invitation> {
    let Stored { invitation, hash } = find(tx, token)?;
    require_own(user.email.as_deref(), &invitation)?;
    invitation.require_acceptable()?;
    match invitation.role {
        Role::Member => insert_or_activate(tx, invitation.organization, user.id, Role::Member)?,
        role => set_role(tx, invitation.organization, user.id, role)?,
    }
    let used = tx.run(
        "UPDATE invitations SET accepted_at = $2 WHERE token_hash = $1 AND accepted_at IS NULL AND expires_at > $2",
        &[(&hash).into(), tx.now.into()],
    )?;
    if used == 0 {
        return Err(Missing::Token.into());
    }
    activity::record(tx, actor, "invitation.accept", &About::member(invitation.organization, user.id))?;
    Ok(invitation)
}
