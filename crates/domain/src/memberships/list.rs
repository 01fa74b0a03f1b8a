//! Reading members, in the order in which they joined.

use super::{At, Found, counts, in_charge, locate, read_as, require};
use crate::authz::{Actor, Permission, Role, State};
use crate::clock::Timestamp;
use crate::db::{Db, Row, Tx, Value};
use crate::error::{Denied, Missing, Result};
use crate::id::{OrganizationId, UserId};
use crate::memberships::Joining;
use crate::page::{Part, Window};
use crate::users::{User, UserKey, find, user_columns};

/// A person in an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: User,
    /// As what.
    pub role: Role,
    /// In what state; inactive also where they were not seen for as long as the rules say.
    pub state: State,
    /// Since when.
    pub joined_at: Timestamp,
}

impl Member {
    /// Where a list goes on after this member.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { joined_at: self.joined_at, user: self.user.id }
    }
}

/// A place in a list of members.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    joined_at: Timestamp,
    user: UserId,
}

impl Cursor {
    /// Before the first.
    pub const START: Self = Self { joined_at: Timestamp(i64::MIN), user: UserId(0) };
}

/// Which members a list holds, and who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Active and inactive ones, for members.
    Members,
    /// Pending ones as well, for members.
    WithPending,
    /// Owners, for members, and where joining is open for whoever is signed in and sees the organization.
    Owners,
    /// Active and inactive ones, for the same. Whoever wants those of one state looks at each: however few they are, a piece
    /// costs no more than it holds.
    Shown,
}

/// A piece of a list of members.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Which members.
    pub listed: Listed,
    /// After which place.
    pub after: Cursor,
    /// How many at the most.
    pub most: i64,
}

/// A member's columns. `$3` is the moment before which one must have been seen last to be inactive.
macro_rules! member_columns {
    () => {
        concat!(
            user_columns!(),
            ", m.role, CASE WHEN m.state = 'active' AND u.seen_at < $3 THEN 'inactive' ELSE m.state END, m.joined_at"
        )
    };
}

/// Members of organization `$1` that `$where` names, after the place `$4`, `$5`, `$2` at the most.
macro_rules! members {
    ($where:expr) => {
        concat!(
            "SELECT ",
            member_columns!(),
            " FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.organization_id = $1 AND ",
            $where,
            " AND (m.joined_at, m.user_id) > ($4, $5) ORDER BY m.joined_at, m.user_id LIMIT $2"
        )
    };
}

fn read_member(row: &Row<'_>) -> Result<Member> {
    Ok(Member {
        user: User::read(row)?,
        role: read_as(row.text()?, Role::parse)?,
        state: read_as(row.text()?, State::parse)?,
        joined_at: row.time()?,
    })
}

/// A piece of the list of members, by joining. A long list is read piece by piece; the right to read it is
/// asked for each piece.
///
/// # Errors
/// [`Missing::Organization`]; [`Denied::Role`] where the caller may not know who the members are.
pub fn list(db: &Db, actor: &Actor, at: &At, piece: Piece) -> Result<Vec<Member>> {
    let Piece { listed, after, most } = piece;
    let unseen_since = db.unseen_since();
    db.read(|tx| {
        let found = match listed {
            Listed::Members | Listed::WithPending => require(tx, actor, at, Permission::ReadMembers)?.0,
            Listed::Owners | Listed::Shown => {
                let found = locate(tx, actor, &at.key)?.filter(|found| found.is_visible(actor, at.sight));
                let found = found.ok_or(Missing::Organization)?;
                if !shows_members(&found, actor) {
                    return Err(Denied::Role.into());
                }
                found
            }
        };
        let sql = match listed {
            Listed::Members | Listed::Shown => members!("m.state IN ('active', 'inactive')"),
            Listed::WithPending => members!("m.state IN ('active', 'inactive', 'pending')"),
            Listed::Owners => members!(concat!(in_charge!("m"), " AND m.role = 'owner'")),
        };
        let values: [Value<'_>; 5] =
            [found.id.into(), most.into(), unseen_since.into(), after.joined_at.into(), after.user.into()];
        tx.rows(sql, &values, read_member)
    })
}

/// A part of the list of active and inactive members, by joining, for members. What stands before it is passed over in an
/// index, at a cost that grows with it: whoever wants the whole list reads it with [`list`].
///
/// # Errors
/// [`Missing::Organization`], [`Denied::Role`].
pub fn part(db: &Db, actor: &Actor, at: &At, window: Window) -> Result<Part<Member>> {
    let sql = concat!(
        "SELECT ",
        member_columns!(),
        " FROM (SELECT user_id, role, state, joined_at FROM memberships
                WHERE organization_id = $1 AND state IN ('active', 'inactive')
                ORDER BY joined_at, user_id LIMIT $2 OFFSET $4) m
          JOIN users u ON u.id = m.user_id ORDER BY m.joined_at, m.user_id"
    );
    let unseen_since = db.unseen_since();
    db.read(|tx| {
        let (found, _) = require(tx, actor, at, Permission::ReadMembers)?;
        let total = counts::members(tx, found.id)?;
        if window.skip >= total {
            return Ok(Part { elements: Vec::new(), total });
        }
        let values: [Value<'_>; 4] =
            [found.id.into(), window.most.into(), unseen_since.into(), window.skip.into()];
        Ok(Part { elements: tx.rows(sql, &values, read_member)?, total })
    })
}

/// Whether bit shows the caller who the members are: to members, and where joining is open to whoever is signed in.
pub(crate) fn shows_members(found: &Found, actor: &Actor) -> bool {
    found.power(actor).is_some() || (found.joining == Joining::Open && actor.user_id().is_some())
}

/// One member, for members.
///
/// # Errors
/// [`Missing::Organization`], [`Denied::Role`], [`Missing::Member`].
pub fn get(db: &Db, actor: &Actor, at: &At, user: &UserKey) -> Result<Member> {
    let unseen_since = db.unseen_since();
    db.read(|tx| {
        let (found, _) = require(tx, actor, at, Permission::ReadMembers)?;
        let user = find(tx, user)?.ok_or(Missing::Member)?;
        let member = member(tx, found.id, user.id, unseen_since)?.filter(|member| member.state.counts());
        member.ok_or_else(|| Missing::Member.into())
    })
}

/// The membership of `user`, whatever its state.
pub(super) fn member(
    tx: &Tx<'_>,
    organization: OrganizationId,
    user: UserId,
    unseen_since: Timestamp,
) -> Result<Option<Member>> {
    let sql = concat!(
        "SELECT ",
        member_columns!(),
        " FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.organization_id = $1 AND m.user_id = $2"
    );
    tx.row(sql, &[organization.into(), user.into(), unseen_since.into()], read_member)
}
