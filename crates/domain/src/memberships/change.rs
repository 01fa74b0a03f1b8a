//! Changing who belongs, and as what.

use super::counts;
use super::list::{Member, member};
use super::{
    About, Actor, At, Conflict, Db, Denied, Error, Found, Joining, Missing, OrganizationKey, Permission,
    Result, Role, State, Timestamp, Tx, User, UserId, UserKey, WriteTx, activity, allows, in_charge,
    is_in_charge, keep_in_charge, locate, require, require_may_touch, set_role, standing, succeed, users,
};
use crate::acting::write_as;
use crate::credentials;
use crate::id::OrganizationId;
use crate::outbox::Secrets;

/// What somebody is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A member.
    Member,
    /// What dialects with two roles call an admin: an owner, or an admin where the giver is only that. Who is either
    /// already stays what they are.
    InCharge,
}

impl Grant {
    fn role(self, giver: Role) -> Role {
        match self {
            Self::Member => Role::Member,
            Self::InCharge => giver,
        }
    }
}

/// Whether somebody may do it to themself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// They may.
    Allowed,
    /// Only another may: [`Denied::Own`].
    Refused,
}

/// Which memberships an operation counts as being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Active and inactive ones.
    Members,
    /// Those and pending ones.
    WithPending,
    /// Suspended ones as well.
    All,
}

impl Among {
    fn holds(self, state: State) -> bool {
        match self {
            Self::Members => state.counts(),
            Self::WithPending => state != State::Suspended,
            Self::All => true,
        }
    }
}

/// Adds somebody who has an account. A pending one becomes active.
///
/// # Errors
/// [`Missing::Organization`], what [`super::may`] refuses, [`Missing::User`], [`Denied::OwnerOnly`] where an admin would
/// decide about one who waits to become an owner, [`Conflict::AlreadyMember`].
pub fn add(db: &Db, actor: &Actor, at: &At, user: &UserKey, grant: Grant) -> Result<Member> {
    let (at, user, unseen_since) = (at.clone(), user.clone(), db.unseen_since());
    write_as(db, actor, move |tx, actor| {
        let (found, role) = require(tx, actor, &at, Permission::AddMembers)?;
        let user = users::find(tx, &user)?.ok_or(Missing::User)?;
        // One who waits to become an owner is an owner's to decide about, as when roles are changed.
        if let Some((before, State::Pending)) = standing(tx, found.id, user.id)? {
            require_may_touch(role, before)?;
        }
        insert_or_activate(tx, found.id, user.id, grant.role(role))?;
        activity::record(tx, actor, "membership.add", &About::member(found.id, user.id))?;
        the_member(tx, found.id, user.id, unseen_since)
    })
}

/// Whether the caller may add people, and that person could be added: asked where a request cannot be carried out anyway,
/// so that all that is wrong with it is told at once.
///
/// # Errors
/// As [`add`].
pub fn may_add(db: &Db, actor: &Actor, at: &At, user: Option<&UserKey>) -> Result<()> {
    db.read(|tx| {
        let (found, _) = require(tx, actor, at, Permission::AddMembers)?;
        let Some(user) = user else { return Ok(()) };
        let user = users::find(tx, user)?.ok_or(Missing::User)?;
        match standing(tx, found.id, user.id)? {
            None | Some((_, State::Pending)) => Ok(()),
            Some(_) => Err(Conflict::AlreadyMember.into()),
        }
    })
}

/// Makes `user` an active member of that role.
///
/// # Errors
/// [`Conflict::AlreadyMember`] unless they were pending or none.
pub(crate) fn insert_or_activate(
    tx: &WriteTx<'_>,
    organization: OrganizationId,
    user: UserId,
    role: Role,
) -> Result<()> {
    begin(tx, organization, user, role)?;
    counts::change(tx, organization, user, true)
}

/// The same of the one with whom a new organization begins: they are counted already.
pub(crate) fn begin(tx: &WriteTx<'_>, organization: OrganizationId, user: UserId, role: Role) -> Result<()> {
    let changed = tx.run(
        "INSERT INTO memberships (organization_id, user_id, role, state, joined_at) VALUES ($1, $2, $3, 'active', $4)
         ON CONFLICT (organization_id, user_id) DO UPDATE SET role = $3, state = 'active', joined_at = $4
         WHERE memberships.state = 'pending'",
        &[organization.into(), user.into(), role.as_str().into(), tx.now.into()],
    )?;
    if changed == 0 { Err(Conflict::AlreadyMember.into()) } else { Ok(()) }
}

fn the_member(
    tx: &Tx<'_>,
    organization: OrganizationId,
    user: UserId,
    unseen_since: Timestamp,
) -> Result<Member> {
    member(tx, organization, user, unseen_since)?
        .ok_or_else(|| Error::Internal("the member is not there".into()))
}

/// Changes what a member is.
///
/// # Errors
/// [`Missing::Organization`], what [`super::may`] refuses, [`Missing::Member`]; [`Denied::Own`], where they would change
/// what they are themself and `own` refuses it; [`Denied::OwnerOnly`]; [`Conflict::LastInCharge`].
pub fn change_role(
    db: &Db,
    actor: &Actor,
    at: &At,
    (user, own): (&UserKey, Own),
    grant: Grant,
) -> Result<Member> {
    let (at, user, unseen_since) = (at.clone(), user.clone(), db.unseen_since());
    write_as(db, actor, move |tx, actor| {
        let (found, role) = require(tx, actor, &at, Permission::ChangeRoles)?;
        let user = users::find(tx, &user)?.ok_or(Missing::Member)?;
        let (before, state) = standing(tx, found.id, user.id)?.ok_or(Missing::Member)?;
        if !state.counts() {
            return Err(Missing::Member.into());
        }
        let stays = before.is_in_charge() == (grant == Grant::InCharge);
        if own == Own::Refused && actor.user_id() == Some(user.id) && !stays {
            return Err(Denied::Own.into());
        }
        require_may_touch(role, before)?;
        let is_changed = give(tx, actor, (found.id, user.id), (before, grant.role(role)))?;
        if is_changed && before.is_in_charge() {
            keep_in_charge(tx, actor, found.id)?;
        }
        the_member(tx, found.id, user.id, unseen_since)
    })
}

/// Changes what several members are, all or none. Pending ones become active by it; suspended ones, and who is no
/// member, are passed over.
///
/// # Errors
/// [`Missing::Organization`], what [`super::may`] refuses, [`Denied::OwnerOnly`], [`Conflict::LastInCharge`].
pub fn change_roles(db: &Db, actor: &Actor, at: &At, users: &[UserId], grant: Grant) -> Result<()> {
    let (at, users) = (at.clone(), users.to_vec());
    write_as(db, actor, move |tx, actor| {
        let (found, role) = require(tx, actor, &at, Permission::ChangeRoles)?;
        // Somebody who stays in charge is made so before another ceases to be: the order of the list does not matter.
        let mut took_charge_away = false;
        for user in users {
            let touched = touchable(tx, (found.id, role), user, Among::WithPending)?;
            let Some((before, state)) = touched else { continue };
            if state == State::Pending {
                tx.run(
                    "UPDATE memberships SET state = 'active', joined_at = $3
                     WHERE organization_id = $1 AND user_id = $2",
                    &[found.id.into(), user.into(), tx.now.into()],
                )?;
                counts::change(tx, found.id, user, true)?;
                activity::record(tx, actor, "membership.approve", &About::member(found.id, user))?;
            }
            let is_changed = give(tx, actor, (found.id, user), (before, grant.role(role)))?;
            took_charge_away |= is_changed && is_in_charge((before, state));
        }
        if took_charge_away { keep_in_charge(tx, actor, found.id) } else { Ok(()) }
    })
}

/// Makes one member, who was `before`, of that `role`; answers whether anything changed. One who is in charge, or is not,
/// and is to be so stays what they are.
fn give(
    tx: &WriteTx<'_>,
    actor: &Actor,
    (organization, user): (OrganizationId, UserId),
    (before, role): (Role, Role),
) -> Result<bool> {
    if before.is_in_charge() == role.is_in_charge() {
        return Ok(false);
    }
    set_role(tx, organization, user, role)?;
    if !role.is_in_charge() {
        end_invitations(tx, organization, user)?;
        withdraw_sent(tx, organization, user, Some(role))?;
    }
    activity::record(tx, actor, "membership.change-role", &About::member(organization, user))?;
    Ok(true)
}

/// How one stands whom a caller of that role may touch; nothing where they do not belong as `among` counts it.
///
/// # Errors
/// [`Denied::OwnerOnly`].
fn touchable(
    tx: &Tx<'_>,
    (organization, role): (OrganizationId, Role),
    user: UserId,
    among: Among,
) -> Result<Option<(Role, State)>> {
    let stands = standing(tx, organization, user)?.filter(|(_, state)| among.holds(*state));
    if let Some((before, _)) = stands {
        require_may_touch(role, before)?;
    }
    Ok(stands)
}

/// Whom to take out, and how.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Whom.
    pub user: UserKey,
    /// Which memberships count.
    pub among: Among,
    /// What the caller needs.
    pub permission: Permission,
    /// Whether one takes oneself out by it, which then needs no permission.
    pub own: Own,
}

/// Takes somebody out; answers who it was and the organization's name.
///
/// # Errors
/// [`Missing::Organization`], what [`super::may`] refuses, [`Missing::Member`], [`Denied::Own`], [`Denied::OwnerOnly`],
/// [`Conflict::LastInCharge`]; what [`leave`] refuses, where one takes oneself out.
pub fn remove(db: &Db, actor: &Actor, at: &At, removal: &Removal) -> Result<(User, String)> {
    let (at, removal) = (at.clone(), removal.clone());
    write_as(db, actor, move |tx, actor| {
        let user = users::find(tx, &removal.user)?;
        let is_own = user.as_ref().is_some_and(|user| actor.user_id() == Some(user.id));
        if is_own && removal.own == Own::Allowed && removal.permission != Permission::RemoveAsOwner {
            let found = leave_in(tx, actor, &at)?;
            let user = user.ok_or(Missing::Member)?;
            return Ok((user, found.name));
        }
        let (found, role) = require(tx, actor, &at, removal.permission)?;
        if is_own && removal.own == Own::Refused {
            return Err(Denied::Own.into());
        }
        let user = user.ok_or(Missing::Member)?;
        let touched = touchable(tx, (found.id, role), user.id, removal.among)?;
        let (before, state) = touched.ok_or(Missing::Member)?;
        delete(tx, actor, found.id, user.id, (before, state))?;
        if is_in_charge((before, state)) {
            keep_in_charge(tx, actor, found.id)?;
        }
        Ok((user, found.name))
    })
}

/// Takes several out, all or none; pending ones too. Suspended ones, and who is no member, are passed over. To name
/// oneself alone is to leave.
///
/// # Errors
/// [`Missing::Organization`], what [`super::may`] refuses, [`Denied::OwnerOnly`], [`Conflict::LastInCharge`]; what
/// [`leave`] refuses.
pub fn remove_all(db: &Db, actor: &Actor, at: &At, users: &[UserId]) -> Result<()> {
    let (at, users) = (at.clone(), users.to_vec());
    write_as(db, actor, move |tx, actor| {
        if !users.is_empty() && users.iter().all(|user| Some(*user) == actor.user_id()) {
            return leave_in(tx, actor, &at).map(drop);
        }
        let (found, role) = require(tx, actor, &at, Permission::RemoveMembers)?;
        let mut took_charge_away = false;
        for user in users {
            let touched = touchable(tx, (found.id, role), user, Among::WithPending)?;
            let Some((before, state)) = touched else { continue };
            delete(tx, actor, found.id, user, (before, state))?;
            took_charge_away |= is_in_charge((before, state));
        }
        if took_charge_away { keep_in_charge(tx, actor, found.id) } else { Ok(()) }
    })
}

/// Ends the membership of one who stands so.
fn delete(
    tx: &WriteTx<'_>,
    actor: &Actor,
    organization: OrganizationId,
    user: UserId,
    (role, state): (Role, State),
) -> Result<()> {
    tx.run(
        "DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2",
        &[organization.into(), user.into()],
    )?;
    counts::move_between(tx, (organization, user), state.counts(), false)?;
    end_invitations(tx, organization, user)?;
    if role.is_in_charge() {
        withdraw_sent(tx, organization, user, None)?;
    }
    activity::record(tx, actor, "membership.remove", &About::member(organization, user))
}

/// Ends what would let somebody undo that they were taken out or lowered: an open invitation to their own address.
fn end_invitations(tx: &WriteTx<'_>, organization: OrganizationId, user: UserId) -> Result<()> {
    tx.run(
        "DELETE FROM invitations WHERE organization_id = $1 AND accepted_at IS NULL
           AND email_key IN (SELECT email_key FROM users WHERE id = $2)",
        &[organization.into(), user.into()],
    )?;
    Ok(())
}

/// Withdraws for good the open invitations that `user` sent here and could not send with the power of that role, or of
/// none: they are refused without the right, but would be good again with it. One that names no sender reads as withdrawn.
fn withdraw_sent(
    tx: &WriteTx<'_>,
    organization: OrganizationId,
    user: UserId,
    power: Option<Role>,
) -> Result<()> {
    let needed = [(Role::Member, Permission::AddMembers), (Role::Owner, Permission::InviteOwners)];
    for (invited_as, permission) in needed {
        if power.is_some_and(|role| allows(role, permission)) {
            continue;
        }
        tx.run(
            "UPDATE invitations SET invited_by = NULL
             WHERE organization_id = $1 AND invited_by = $2 AND role = $3 AND accepted_at IS NULL",
            &[organization.into(), user.into(), invited_as.as_str().into()],
        )?;
    }
    Ok(())
}

/// The caller leaves, or withdraws where they wait for approval; also from an archived organization. Answers its name.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Missing::Organization`], [`Missing::Member`], [`Denied::Scope`], [`Denied::Suspended`],
/// [`Conflict::LastInCharge`].
pub fn leave(db: &Db, actor: &Actor, at: &At) -> Result<String> {
    let at = at.clone();
    write_as(db, actor, move |tx, actor| leave_in(tx, actor, &at).map(|found| found.name))
}

fn leave_in(tx: &WriteTx<'_>, actor: &Actor, at: &At) -> Result<Found> {
    let user = actor.require_user()?;
    let found = locate(tx, actor, &at.key)?.ok_or(Missing::Organization)?;
    let waits = matches!(found.standing, Some((_, State::Pending)));
    // One who asked to join knows that the organization is there, whatever its visibility.
    if !waits && !found.is_visible(actor, at.sight) {
        return Err(Missing::Organization.into());
    }
    actor.require_write_scope()?;
    let (role, state) = found.standing.ok_or(Missing::Member)?;
    if state == State::Suspended {
        return Err(Denied::Suspended.into());
    }
    delete(tx, actor, found.id, user, (role, state))?;
    if is_in_charge((role, state)) {
        keep_in_charge(tx, actor, found.id)?;
    }
    Ok(found)
}

/// The caller joins by themself; answers the organization's name.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Missing::Organization`], [`Denied::Scope`], [`Denied::Archived`],
/// [`Conflict::AlreadyMember`] whatever the state, [`Denied::InvitationNeeded`].
pub fn join(db: &Db, actor: &Actor, at: &At) -> Result<String> {
    let user = actor.require_user()?;
    let at = at.clone();
    write_as(db, actor, move |tx, actor| {
        let found = locate(tx, actor, &at.key)?.filter(|found| found.is_visible(actor, at.sight));
        let found = found.ok_or(Missing::Organization)?;
        actor.require_write_scope()?;
        if found.archived_at.is_some() {
            return Err(Denied::Archived.into());
        }
        if found.standing.is_some() {
            return Err(Conflict::AlreadyMember.into());
        }
        if found.joining != Joining::Open {
            return Err(Denied::InvitationNeeded.into());
        }
        insert_or_activate(tx, found.id, user, Role::Member)?;
        activity::record(tx, actor, "membership.join", &About::member(found.id, user))?;
        Ok(found.name)
    })
}

/// Makes somebody exactly that, whether they are a member or not, as an operator does.
///
/// # Errors
/// For all but the system; [`Missing::Organization`], [`Missing::User`], [`Conflict::LastInCharge`].
pub fn put(
    db: &Db,
    actor: &Actor,
    key: &OrganizationKey,
    user: &UserKey,
    (role, state): (Role, State),
) -> Result<Member> {
    actor.require_system()?;
    let (actor, key, user, unseen_since) = (actor.clone(), key.clone(), user.clone(), db.unseen_since());
    db.write(move |tx| {
        let found = locate(tx, &actor, &key)?.ok_or(Missing::Organization)?;
        let user = users::find(tx, &user)?.ok_or(Missing::User)?;
        let before = standing(tx, found.id, user.id)?;
        tx.run(
            "INSERT INTO memberships (organization_id, user_id, role, state, joined_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (organization_id, user_id) DO UPDATE SET role = $3, state = $4",
            &[found.id.into(), user.id.into(), role.as_str().into(), state.as_str().into(), tx.now.into()],
        )?;
        let counted = before.is_some_and(|(_, state)| state.counts());
        counts::move_between(tx, (found.id, user.id), counted, state.counts())?;
        if state == State::Inactive {
            users::forget_seen(tx, user.id)?;
        }
        activity::record(tx, &actor, "membership.put", &About::member(found.id, user.id))?;
        if before.is_some_and(is_in_charge) {
            keep_in_charge(tx, &actor, found.id)?;
        } else {
            succeed(tx, &actor, found.id)?;
        }
        let member = the_member(tx, found.id, user.id, unseen_since)?;
        if before.is_some_and(|(before, _)| member.role < before) {
            end_invitations(tx, found.id, user.id)?;
        }
        if before.is_some_and(|(before, _)| before.is_in_charge()) {
            let power = state.counts().then_some(member.role);
            withdraw_sent(tx, found.id, user.id, power)?;
        }
        Ok(member)
    })
}

/// Mails to each of those members a link by which they choose a new password, all or none. Who is no member of this
/// organization is passed over.
///
/// # Errors
/// [`Missing::Organization`], what [`super::may`] refuses, [`Denied::OwnerOnly`].
pub fn reset_passwords(db: &Db, actor: &Actor, at: &At, users: &[UserId], secrets: &Secrets) -> Result<()> {
    let (at, users, secrets) = (at.clone(), users.to_vec(), secrets.clone());
    write_as(db, actor, move |tx, actor| {
        let (found, role) = require(tx, actor, &at, Permission::ResetPasswords)?;
        for user in users {
            if touchable(tx, (found.id, role), user, Among::WithPending)?.is_none() {
                continue;
            }
            let user = users::get(tx, user)?;
            if user.disabled_at.is_none() {
                credentials::queue_reset(tx, &user, Some(&found.name), &secrets)?;
                activity::record(tx, actor, "membership.reset-password", &About::member(found.id, user.id))?;
            }
        }
        Ok(())
    })
}

/// Disables an account: its credentials end, and are answered like ones that never were.
///
/// # Errors
/// For all but the system; [`Missing::User`]; [`Conflict::LastInCharge`] where an organization would be left without
/// anybody in charge, unless forced.
pub fn disable_user(db: &Db, actor: &Actor, user: &UserKey, force: bool) -> Result<User> {
    actor.require_system()?;
    let (actor, user) = (actor.clone(), user.clone());
    db.write(move |tx| {
        let user = users::find(tx, &user)?.ok_or(Missing::User)?;
        tx.run(
            "UPDATE users SET disabled_at = COALESCE(disabled_at, $2), updated_at = $2 WHERE id = $1",
            &[user.id.into(), tx.now.into()],
        )?;
        credentials::end_all(tx, user.id)?;
        for organization in led(tx, user.id)? {
            if !succeed(tx, &actor, organization)? && !force {
                return Err(Conflict::LastInCharge.into());
            }
        }
        activity::record(tx, &actor, "user.disable", &About::user(user.id))?;
        users::get(tx, user.id)
    })
}

/// The slugs of the organizations of which nobody but `user` is in charge: what [`disable_user`] refuses because of.
///
/// # Errors
/// For all but the system; [`Missing::User`].
pub fn led_alone(db: &Db, actor: &Actor, user: &UserKey) -> Result<Vec<String>> {
    actor.require_system()?;
    let sql = concat!(
        "SELECT o.slug FROM memberships own JOIN organizations o ON o.id = own.organization_id
         WHERE own.user_id = $1 AND ",
        in_charge!("own"),
        " AND NOT EXISTS (
              SELECT 1 FROM memberships m JOIN users u ON u.id = m.user_id
              WHERE m.organization_id = o.id AND m.user_id <> $1 AND u.disabled_at IS NULL AND ",
        in_charge!("m"),
        ") ORDER BY own.joined_at, own.organization_id"
    );
    db.read(|tx| {
        let user = users::find(tx, user)?.ok_or(Missing::User)?;
        tx.rows(sql, &[user.id.into()], |row| row.text())
    })
}

/// The organizations of which `user` is an owner or admin, by joining.
fn led(tx: &Tx<'_>, user: UserId) -> Result<Vec<OrganizationId>> {
    let sql = concat!(
        "SELECT m.organization_id FROM memberships m WHERE m.user_id = $1 AND ",
        in_charge!("m"),
        " ORDER BY m.joined_at, m.organization_id"
    );
    tx.rows(sql, &[user.into()], |row| row.int().map(OrganizationId))
}

/// Enables an account again. Its credentials stay ended. An admin becomes owner where nobody else is in charge.
///
/// # Errors
/// For all but the system; [`Missing::User`].
pub fn enable_user(db: &Db, actor: &Actor, user: &UserKey) -> Result<User> {
    actor.require_system()?;
    let (actor, user) = (actor.clone(), user.clone());
    db.write(move |tx| {
        let user = users::find(tx, &user)?.ok_or(Missing::User)?;
        tx.run(
            "UPDATE users SET disabled_at = NULL, updated_at = $2 WHERE id = $1",
            &[user.id.into(), tx.now.into()],
        )?;
        for organization in led(tx, user.id)? {
            succeed(tx, &actor, organization)?;
        }
        activity::record(tx, &actor, "user.enable", &About::user(user.id))?;
        users::get(tx, user.id)
    })
}
