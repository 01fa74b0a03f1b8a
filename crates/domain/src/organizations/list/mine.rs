//! The organizations that somebody belongs to, by joining; and, for the operator, all.

use crate::authz::{Actor, Role};
use crate::clock::Timestamp;
use crate::db::{Db, Row, Tx};
use crate::error::Result;
use crate::id::{OrganizationId, UserId};
use crate::memberships::found_columns;
use crate::organizations::{Organization, organization_columns, read_seen};
use crate::page::{Part, Window};

/// One of the caller's own organizations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mine {
    /// Which.
    pub organization: Organization,
    /// As what.
    pub role: Role,
    /// Since when.
    pub joined_at: Timestamp,
    /// Who made it: the user's long id and, of one whom a trusted issuer brought, the subject. Nothing where they are gone.
    pub creator: Option<(crate::id::Uid, Option<String>)>,
}

/// The caller's organizations after the place `after`, by joining, `most` at the most. Begin with nothing.
///
/// # Errors
/// [`crate::Error::Unauthenticated`].
pub fn mine(db: &Db, actor: &Actor, after: Option<&Mine>, most: i64) -> Result<Vec<Mine>> {
    let user = actor.require_user()?;
    let (joined_at, id) = match after {
        Some(mine) => (mine.joined_at, mine.organization.id),
        None => (Timestamp(i64::MIN), OrganizationId(0)),
    };
    let sql = concat!(
        "SELECT ",
        organization_columns!(),
        ", m.joined_at, c.uid, c.subject
         FROM memberships m JOIN organizations o ON o.id = m.organization_id LEFT JOIN users c ON c.id = o.created_by
         WHERE m.user_id = $1 AND m.state IN ('active', 'inactive') AND (m.joined_at, m.organization_id) > ($2, $3)
         ORDER BY m.joined_at, m.organization_id LIMIT $4"
    );
    db.read_one(|tx| tx.rows(sql, &[user.into(), joined_at.into(), id.into(), most.into()], read_mine))
}

/// A part of the caller's organizations, by joining. What stands before it is passed over in an index, at a cost that grows
/// with it: whoever wants the whole list reads it with [`mine`].
///
/// # Errors
/// [`crate::Error::Unauthenticated`].
pub fn part_of_mine(db: &Db, actor: &Actor, window: Window) -> Result<Part<Mine>> {
    let user = actor.require_user()?;
    let sql = concat!(
        "SELECT ",
        organization_columns!(),
        ", m.joined_at, c.uid, c.subject
         FROM (SELECT organization_id, role, state, joined_at FROM memberships
               WHERE user_id = $1 AND state IN ('active', 'inactive')
               ORDER BY joined_at, organization_id LIMIT $2 OFFSET $3) m
         JOIN organizations o ON o.id = m.organization_id LEFT JOIN users c ON c.id = o.created_by
         ORDER BY m.joined_at, m.organization_id"
    );
    db.read(|tx| {
        let total = tx.row(
            "SELECT COUNT(*) FROM memberships WHERE user_id = $1 AND state IN ('active', 'inactive')",
            &[user.into()],
            |row| row.int(),
        )?;
        let total = total.unwrap_or_default();
        if window.skip >= total {
            return Ok(Part { elements: Vec::new(), total });
        }
        let values = [user.into(), window.most.into(), window.skip.into()];
        Ok(Part { elements: tx.rows(sql, &values, read_mine)?, total })
    })
}

fn read_mine(row: &Row<'_>) -> Result<Mine> {
    let (found, organization) = read_seen(row)?;
    let role = found.standing.map_or(Role::Member, |(role, _)| role);
    let joined_at = row.time()?;
    let creator = match (row.opt_text()?, row.opt_text()?) {
        (Some(uid), subject) => Some((crate::id::Uid::stored(uid), subject)),
        (None, _) => None,
    };
    Ok(Mine { organization, role, joined_at, creator })
}

/// The caller's first organization by joining.
///
/// # Errors
/// [`crate::Error::Unauthenticated`].
pub fn first_of(db: &Db, actor: &Actor) -> Result<Option<Mine>> {
    Ok(mine(db, actor, None, 1)?.pop())
}

/// The id of the first organization by joining of `user`.
pub(crate) fn first_id(tx: &Tx<'_>, user: UserId) -> Result<Option<OrganizationId>> {
    tx.row(
        "SELECT organization_id FROM memberships WHERE user_id = $1 AND state IN ('active', 'inactive')
         ORDER BY joined_at, organization_id LIMIT 1",
        &[user.into()],
        |row| row.int().map(OrganizationId),
    )
}

/// Organizations after `after`, in the order of their numbers, `most` at the most, whoever may see them.
///
/// # Errors
/// For all but the system.
pub fn all(db: &Db, actor: &Actor, after: OrganizationId, most: i64) -> Result<Vec<Organization>> {
    actor.require_system()?;
    // No account has the number 0: nobody's standing is asked for.
    let sql = concat!(
        "SELECT ",
        organization_columns!(),
        " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = 0
         WHERE o.id > $1 ORDER BY o.id LIMIT $2"
    );
    db.read_one(|tx| tx.rows(sql, &[after.into(), most.into()], |row| Ok(read_seen(row)?.1)))
}
