//! How many organizations everybody sees, or everybody who is signed in, known without counting them: sums as of members.

use crate::db::{Tx, WriteTx};
use crate::error::Result;
use crate::id::OrganizationId;
use crate::memberships::{STRIPES, Visibility};

/// Counts an organization whose state changed: whether others than its members saw it in lists before, and do now. One is
/// listed that is neither private nor archived.
pub(super) fn move_between(
    tx: &WriteTx<'_>,
    (organization, visibility): (OrganizationId, Visibility),
    before: bool,
    now: bool,
) -> Result<()> {
    if before == now || visibility == Visibility::Private {
        return Ok(());
    }
    let by: i64 = if now { 1 } else { -1 };
    tx.run(
        "INSERT INTO listed_counts (visibility, stripe, organizations) VALUES ($1, $2, $3)
         ON CONFLICT (visibility, stripe) DO UPDATE SET organizations = listed_counts.organizations + $3",
        &[visibility.as_str().into(), (organization.0 % STRIPES).into(), by.into()],
    )?;
    Ok(())
}

/// How many of that visibility are listed.
pub(super) fn listed(tx: &Tx<'_>, visibility: Visibility) -> Result<i64> {
    let sql =
        "SELECT COALESCE(CAST(SUM(organizations) AS BIGINT), 0) FROM listed_counts WHERE visibility = $1";
    Ok(tx.row(sql, &[visibility.as_str().into()], |row| row.int())?.unwrap_or_default())
}
