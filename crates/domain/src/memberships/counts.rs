//! How many members an organization has, known without counting them.
//!
//! An organization begins with one member, its owner. Who came and went since then is kept in [`STRIPES`] sums by the person's
//! number, changed with the membership, so that two who come at the same moment seldom change the same row.

use crate::db::{Tx, WriteTx};
use crate::error::Result;
use crate::id::{OrganizationId, UserId};

/// How many sums are kept of one thing at the most. What is counted costs at most so many rows to read.
pub(crate) const STRIPES: i64 = 256;

/// Counts `user` as one who came (`true`) or went.
pub(super) fn change(tx: &WriteTx<'_>, organization: OrganizationId, user: UserId, came: bool) -> Result<()> {
    let by: i64 = if came { 1 } else { -1 };
    tx.run(
        "INSERT INTO member_counts (organization_id, stripe, members) VALUES ($1, $2, $3)
         ON CONFLICT (organization_id, stripe) DO UPDATE SET members = member_counts.members + $3",
        &[organization.into(), (user.0 % STRIPES).into(), by.into()],
    )?;
    Ok(())
}

/// Counts what became of `user`'s membership: whether they were an active or inactive member before, and are now.
pub(super) fn move_between(
    tx: &WriteTx<'_>,
    (organization, user): (OrganizationId, UserId),
    before: bool,
    now: bool,
) -> Result<()> {
    if before == now { Ok(()) } else { change(tx, organization, user, now) }
}

/// How many active and inactive members there are.
pub(super) fn members(tx: &Tx<'_>, organization: OrganizationId) -> Result<i64> {
    let sql =
        "SELECT COALESCE(CAST(SUM(members) AS BIGINT), 0) FROM member_counts WHERE organization_id = $1";
    Ok(1 + tx.row(sql, &[organization.into()], |row| row.int())?.unwrap_or_default())
}
