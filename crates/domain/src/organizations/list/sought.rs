//! A list whose order no index has: what it holds is looked for, and sorted.

use std::cmp::Ordering;

use super::{Direction, Listing, Order, is_shown};
use crate::authz::{Actor, allows};
use crate::db::Tx;
use crate::error::Result;
use crate::id::{OrganizationId, UserId};
use crate::memberships::{Found, found_columns};
use crate::text::fold;

/// An organization that the list holds, and the keys that it is sorted by: others are empty.
struct Candidate {
    id: OrganizationId,
    name_key: String,
    description_key: String,
}

/// All that the caller may see, and of each these `$columns`.
macro_rules! of_all {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            found_columns!(),
            ", o.name_key, ",
            $columns,
            " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $1
             WHERE o.visibility = 'public' OR ($1 <> 0 AND (o.visibility = 'internal' OR m.role IS NOT NULL))"
        )
    };
}

/// The ids of all that the list holds, in its order.
pub(super) fn matching(tx: &Tx<'_>, actor: &Actor, listing: &Listing) -> Result<Vec<OrganizationId>> {
    const OWN: &str = concat!(
        "SELECT ",
        found_columns!(),
        ", o.name_key, o.description, o.description_key
         FROM memberships m JOIN organizations o ON o.id = m.organization_id
         WHERE m.user_id = $1 AND m.state IN ('active', 'inactive')"
    );
    let order = if listing.order.is_empty() { &[Order::Name(false)] } else { &listing.order[..] };
    let sorts_by_name = order.iter().any(|order| matches!(order, Order::Name(_)));
    let sorts_by_description = order.iter().any(|order| matches!(order, Order::Description(_)));
    // Of all that there are, no more is read than is needed.
    let sql = match (listing.is_of_own(actor), listing.words.is_empty(), sorts_by_description) {
        (true, _, _) => OWN,
        (false, false, false) => of_all!("o.description, ''"),
        (false, true, _) => of_all!("NULL, o.description_key"),
        (false, false, true) => of_all!("o.description, o.description_key"),
    };
    let user = actor.user_id().unwrap_or(UserId(0));
    let candidates = tx.rows(sql, &[user.into()], |row| {
        let found = Found::read(row)?;
        let (name_key, description) = (row.text()?, row.opt_text()?);
        let description_key = row.text()?;
        let role = found.power(actor);
        let is_held = listing.holding.iter().all(|permission| {
            role.is_some_and(|role| {
                allows(role, *permission) && (found.archived_at.is_none() || permission.survives_archiving())
            })
        });
        let is_sought = listing.words.is_empty() || {
            let about = fold(&description.unwrap_or_default());
            let holds = |word: &String| name_key.contains(word.as_str()) || about.contains(word.as_str());
            listing.words.iter().all(holds)
        };
        let is_in = is_held && is_sought && is_shown(&found, actor, listing);
        Ok(is_in.then(|| Candidate {
            id: found.id,
            name_key: if sorts_by_name { name_key } else { String::new() },
            description_key: if sorts_by_description { description_key } else { String::new() },
        }))
    })?;
    let mut candidates: Vec<Candidate> = candidates.into_iter().flatten().collect();
    candidates.sort_by(|a, b| compare(order, a, b));
    Ok(candidates.into_iter().map(|candidate| candidate.id).collect())
}

/// The id runs as the first key does.
fn compare(order: &[Order], a: &Candidate, b: &Candidate) -> Ordering {
    let mut result = Ordering::Equal;
    for key in order {
        let ordering = match key {
            Order::Name(_) => a.name_key.cmp(&b.name_key),
            Order::Description(_) => a.description_key.cmp(&b.description_key),
        };
        result = result.then(key.direction().of(ordering));
    }
    result.then(order.first().map_or(Direction::Forwards, |key| key.direction()).of(a.id.cmp(&b.id)))
}
