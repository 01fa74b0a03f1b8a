//! Who belongs to an organization, as what, and the rules that every change of it keeps.
//!
//! Every operation on an organization passes `require`, inside the transaction that acts on what it answers.

use crate::activity::{self, About};
use crate::authz::{Actor, Permission, Role, State, allows, may_touch};
use crate::clock::Timestamp;
use crate::db::{Db, Row, Tx, Value, WriteTx};
use crate::error::{Conflict, Denied, Error, Missing, Result};
use crate::id::{OrganizationId, ShortId, UserId};
use crate::users::{self, User, UserKey};

mod change;
mod counts;
mod list;

pub use change::{
    Among, Grant, Own, Removal, add, change_role, change_roles, disable_user, enable_user, join, leave,
    led_alone, may_add, put, remove, remove_all, reset_passwords,
};
pub(crate) use change::{begin, insert_or_activate};
pub(crate) use counts::STRIPES;
pub(crate) use list::shows_members;
pub use list::{Cursor, Listed, Member, Piece, get, list, part};

/// Who sees an organization's profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Anyone.
    Public,
    /// Anyone who is signed in.
    Internal,
    /// Its members.
    Private,
}

impl Visibility {
    /// As the database and the command line write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Private => "private",
        }
    }

    /// The visibility of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Public, Self::Internal, Self::Private].into_iter().find(|v| v.as_str() == text)
    }
}

/// How one becomes a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    /// By oneself.
    Open,
    /// By an invitation, or added by somebody in charge.
    Invite,
}

impl Joining {
    /// As the database and the command line write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Invite => "invite",
        }
    }

    /// The way of joining of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Invite].into_iter().find(|j| j.as_str() == text)
    }
}

/// By what an organization is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrganizationKey {
    /// The number.
    Number(OrganizationId),
    /// The 24 hex digits.
    Short(ShortId),
    /// The slug.
    Slug(String),
    /// An id that has not the form of one: it names nothing.
    Malformed,
}

/// To whom an organization exists, beyond its active and inactive members. Each dialect documents one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// To those whom its visibility names.
    ByVisibility,
    /// The same; but an archived one to its owners and admins alone.
    ByVisibilityArchivedInCharge,
    /// To nobody else.
    MembersOnly,
}

/// An organization as a dialect names and sees it.
#[derive(Clone, Debug)]
pub struct At {
    /// Which.
    pub key: OrganizationKey,
    /// Who sees it there.
    pub sight: Sight,
}

/// What decides about access: of the organization, and of the caller in it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: OrganizationId,
    pub(crate) name: String,
    pub(crate) visibility: Visibility,
    pub(crate) joining: Joining,
    pub(crate) archived_at: Option<Timestamp>,
    pub(crate) standing: Option<(Role, State)>,
}

/// The columns of a [`Found`], of tables that the statement calls `o` and `m`.
macro_rules! found_columns {
    () => {
        "o.id, o.name, o.visibility, o.joining, o.archived_at, m.role, m.state"
    };
}
pub(crate) use found_columns;

impl Found {
    pub(crate) fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            id: OrganizationId(row.int()?),
            name: row.text()?,
            visibility: read_as(row.text()?, Visibility::parse)?,
            joining: read_as(row.text()?, Joining::parse)?,
            archived_at: row.opt_time()?,
            standing: match (row.opt_text()?, row.opt_text()?) {
                (Some(role), Some(state)) => {
                    Some((read_as(role, Role::parse)?, read_as(state, State::parse)?))
                }
                _ => None,
            },
        })
    }

    /// The caller's role, where their state gives it power. The system has an owner's.
    pub(crate) fn power(&self, actor: &Actor) -> Option<Role> {
        if actor.is_system() {
            return Some(Role::Owner);
        }
        self.standing.filter(|(_, state)| state.counts()).map(|(role, _)| role)
    }

    pub(crate) fn is_visible(&self, actor: &Actor, sight: Sight) -> bool {
        match (self.power(actor), self.archived_at.is_some()) {
            (Some(role), true) => sight != Sight::ByVisibilityArchivedInCharge || role.is_in_charge(),
            (Some(_), false) => true,
            (None, true) => false,
            (None, false) => match (sight, self.visibility) {
                (Sight::MembersOnly, _) | (_, Visibility::Private) => false,
                (_, Visibility::Public) => true,
                (_, Visibility::Internal) => actor.user_id().is_some(),
            },
        }
    }

    /// Whether the caller may do it here; to one who may not see the organization it does not exist.
    pub(crate) fn require(&self, actor: &Actor, sight: Sight, permission: Permission) -> Result<Role> {
        if !self.is_visible(actor, sight) {
            return Err(Missing::Organization.into());
        }
        if !permission.only_reads() {
            actor.require_write_scope()?;
        }
        let role = self.power(actor).ok_or(Denied::Role)?;
        if !allows(role, permission) {
            let why = if role == Role::Admin { Denied::OwnerOnly } else { Denied::Role };
            return Err(why.into());
        }
        if self.archived_at.is_some() && !permission.survives_archiving() && !actor.is_system() {
            return Err(Denied::Archived.into());
        }
        Ok(role)
    }
}

pub(crate) fn read_as<T>(text: String, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    parse(&text).ok_or_else(|| Error::Internal(format!("a stored word means nothing: {text}")))
}

/// The organization and how the caller stands in it, whether they may see it or not.
pub(crate) fn locate(tx: &Tx<'_>, actor: &Actor, key: &OrganizationKey) -> Result<Option<Found>> {
    // No account has the number 0: nobody stands nowhere.
    let user: Value<'_> = actor.user_id().unwrap_or(UserId(0)).into();
    match key {
        OrganizationKey::Number(id) => {
            let sql = concat!(
                "SELECT ",
                found_columns!(),
                " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $1
                  WHERE o.id = $2"
            );
            tx.row(sql, &[user, (*id).into()], Found::read)
        }
        OrganizationKey::Short(short) => {
            let sql = concat!(
                "SELECT ",
                found_columns!(),
                " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $1
                  WHERE o.uid >= $2 AND o.uid <= $3"
            );
            let (least, greatest) = short.bounds();
            tx.row(sql, &[user, (&least).into(), (&greatest).into()], Found::read)
        }
        OrganizationKey::Slug(slug) => {
            let sql = concat!(
                "SELECT ",
                found_columns!(),
                " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $1
                  WHERE o.slug = $2"
            );
            tx.row(sql, &[user, slug.into()], Found::read)
        }
        OrganizationKey::Malformed => Ok(None),
    }
}

/// The organization, where the caller may do that in it; with the caller's role.
pub(crate) fn require(tx: &Tx<'_>, actor: &Actor, at: &At, permission: Permission) -> Result<(Found, Role)> {
    let found = locate(tx, actor, &at.key)?.ok_or(Missing::Organization)?;
    let role = found.require(actor, at.sight, permission)?;
    Ok((found, role))
}

/// Whether the caller may do that, asked where a request cannot be carried out anyway, so that it is refused in the
/// documented order. An operation asks again by itself.
///
/// # Errors
/// [`Missing::Organization`]; [`Denied::Scope`], [`Denied::Role`], [`Denied::OwnerOnly`], [`Denied::Archived`].
pub fn may(db: &Db, actor: &Actor, at: &At, permission: Permission) -> Result<()> {
    db.read_one(|tx| require(tx, actor, at, permission)).map(drop)
}

pub(crate) fn standing(
    tx: &Tx<'_>,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<(Role, State)>> {
    tx.row(
        "SELECT role, state FROM memberships WHERE organization_id = $1 AND user_id = $2",
        &[organization.into(), user.into()],
        |row| Ok((read_as(row.text()?, Role::parse)?, read_as(row.text()?, State::parse)?)),
    )
}

/// Keeps somebody in charge: called after a change that took an owner or admin away.
///
/// # Errors
/// [`Conflict::LastInCharge`], which undoes the change.
pub(crate) fn keep_in_charge(tx: &WriteTx<'_>, actor: &Actor, organization: OrganizationId) -> Result<()> {
    if succeed(tx, actor, organization)? { Ok(()) } else { Err(Conflict::LastInCharge.into()) }
}

/// Where a change left admins but no owner, the longest-serving admin becomes owner. Answers whether anybody is in charge.
pub(crate) fn succeed(tx: &WriteTx<'_>, actor: &Actor, organization: OrganizationId) -> Result<bool> {
    let sql = concat!(
        "SELECT m.user_id, m.role FROM memberships m JOIN users u ON u.id = m.user_id
         WHERE m.organization_id = $1 AND u.disabled_at IS NULL AND ",
        in_charge!("m"),
        " ORDER BY CASE m.role WHEN 'owner' THEN 0 ELSE 1 END, m.joined_at, m.user_id LIMIT 1"
    );
    let first = tx.row(sql, &[organization.into()], |row| Ok((UserId(row.int()?), row.text()?)))?;
    let Some((user, role)) = first else { return Ok(false) };
    if role != Role::Owner.as_str() {
        set_role(tx, organization, user, Role::Owner)?;
        activity::record(tx, actor, "membership.succeed", &About::member(organization, user))?;
    }
    Ok(true)
}

/// Whether one who stands so keeps the organization in charge, as far as their membership goes.
pub(crate) fn is_in_charge((role, state): (Role, State)) -> bool {
    role.is_in_charge() && state.counts()
}

/// The same in a statement that calls the membership `$m`, in the words of the index on those in charge.
macro_rules! in_charge {
    ($m:literal) => {
        concat!($m, ".role <> 'member' AND ", $m, ".state IN ('active', 'inactive')")
    };
}
pub(crate) use in_charge;

pub(crate) fn set_role(
    tx: &WriteTx<'_>,
    organization: OrganizationId,
    user: UserId,
    role: Role,
) -> Result<()> {
    tx.run(
        "UPDATE memberships SET role = $3 WHERE organization_id = $1 AND user_id = $2",
        &[organization.into(), user.into(), role.as_str().into()],
    )?;
    Ok(())
}

/// # Errors
/// [`Denied::OwnerOnly`] where an admin would touch an owner.
pub(crate) fn require_may_touch(role: Role, target: Role) -> Result<()> {
    if may_touch(role, target) { Ok(()) } else { Err(Denied::OwnerOnly.into()) }
}
