//! A list whose order an index has: read by key, from a place on.

use std::cell::Cell;
use std::cmp::Ordering;

use super::{Direction, Listing, Order, PIECE_BYTES, is_shown, size};
use crate::authz::Actor;
use crate::db::{Tx, Value};
use crate::error::Result;
use crate::id::{OrganizationId, UserId};
use crate::memberships::{Found, Visibility, found_columns};
use crate::organizations::{Organization, counts, organization_columns, read_seen};
use crate::text::{DESCRIPTION_KEY_MAX, NAME_MAX};

/// A place in a list that an index has: behind this key and id, in that order.
#[derive(Clone, Debug)]
pub(super) struct Place {
    order: Order,
    key: String,
    id: OrganizationId,
}

/// What is read of an organization, with the key and the id that it stands under.
#[derive(Clone)]
struct Keyed<T> {
    key: String,
    id: OrganizationId,
    row: T,
}

/// An organization as it is read, whether it is shown or not.
pub(super) type Whole = (Found, Organization);

impl<T> Keyed<T> {
    fn place(&self, order: Order) -> Place {
        Place { order, key: self.key.clone(), id: self.id }
    }
}

/// Those of visibility `$4` that others than its members see too. An index holds no private ones: it is used where that is said.
macro_rules! is_listed {
    () => {
        "o.visibility = $4 AND o.visibility <> 'private' AND o.archived_at IS NULL AND "
    };
}

/// Those that are shown to nobody but their members, of the user `$user`.
macro_rules! others {
    ($user:literal) => {
        concat!(
            "FROM memberships m JOIN organizations o ON o.id = m.organization_id
             WHERE m.state IN ('active', 'inactive') AND (o.visibility = 'private' OR o.archived_at IS NOT NULL)
               AND m.user_id = ",
            $user
        )
    };
}

macro_rules! by_key {
    ($key:literal, $direction:literal) => {
        concat!(" ORDER BY ", $key, $direction, ", o.id", $direction)
    };
}

/// On the side `$side` of the place that is key `$1` and id `$2`, in that order.
macro_rules! behind {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!("(", $key, ", o.id) ", $side, " ($1, $2)", by_key!($key, $direction), " LIMIT $3")
    };
}

/// The key, and all that is read of an organization.
macro_rules! rows {
    ($key:literal) => {
        concat!("SELECT ", $key, ", ", organization_columns!())
    };
}

/// Listed ones, as the user `$5` stands in them.
macro_rules! listed_rows {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!(
            rows!($key),
            " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $5 WHERE ",
            is_listed!(),
            behind!($key, $side, $direction)
        )
    };
}

/// The others. All of somebody's are sorted by keys alone, for the rest of a row may be large; then those of a piece are read.
macro_rules! other_rows {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!(
            rows!($key),
            " FROM (SELECT o.id AS id ",
            others!("$4"),
            " AND ",
            behind!($key, $side, $direction),
            ") own JOIN organizations o ON o.id = own.id JOIN memberships m ON m.organization_id = o.id AND m.user_id = $4",
            by_key!($key, $direction)
        )
    };
}

/// Where listed ones stand: nothing but the index is read.
macro_rules! listed_keys {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", o.id FROM organizations o WHERE ",
            is_listed!(),
            behind!($key, $side, $direction)
        )
    };
}

impl Order {
    /// The statements that find listed organizations and others behind a place.
    fn rows(self) -> (&'static str, &'static str) {
        match self {
            Self::Name(false) => (listed_rows!("o.name_key", ">", ""), other_rows!("o.name_key", ">", "")),
            Self::Name(true) => {
                (listed_rows!("o.name_key", "<", " DESC"), other_rows!("o.name_key", "<", " DESC"))
            }
            Self::Description(false) => {
                (listed_rows!("o.description_key", ">", ""), other_rows!("o.description_key", ">", ""))
            }
            Self::Description(true) => (
                listed_rows!("o.description_key", "<", " DESC"),
                other_rows!("o.description_key", "<", " DESC"),
            ),
        }
    }

    /// The statement that finds where listed ones stand.
    fn keys(self) -> &'static str {
        match self {
            Self::Name(false) => listed_keys!("o.name_key", ">", ""),
            Self::Name(true) => listed_keys!("o.name_key", "<", " DESC"),
            Self::Description(false) => listed_keys!("o.description_key", ">", ""),
            Self::Description(true) => listed_keys!("o.description_key", "<", " DESC"),
        }
    }
}

impl Place {
    /// Before the first organization.
    pub(super) fn start(order: Order) -> Self {
        let (key, id) = match order.direction() {
            Direction::Forwards => (String::new(), 0),
            // More of the greatest character than a key has at its beginning.
            Direction::Backwards => ("\u{10ffff}".repeat(NAME_MAX.max(DESCRIPTION_KEY_MAX) + 1), i64::MAX),
        };
        Self { order, key, id: OrganizationId(id) }
    }

    /// Behind so many of the listed organizations and the caller's `others`, of which there are more in all.
    fn behind(
        tx: &Tx<'_>,
        actor: &Actor,
        order: Order,
        others: &[Keyed<()>],
        passed: Passed,
    ) -> Result<Self> {
        let (mut place, mut left) = (Self::start(order), passed.skip);
        while left > 0 {
            let most = left.min(passed.at_once);
            let (keys, are_all) = place.keys(tx, actor, others, most)?;
            let Some(last) = keys.last() else { break };
            place = last.place(order);
            left -= keys.len();
            if are_all {
                break;
            }
        }
        Ok(place)
    }

    /// The organizations behind it, as many as a piece holds, `most` at the most; and the place behind those, where more come.
    pub(super) fn piece(&self, tx: &Tx<'_>, actor: &Actor, most: i64) -> Result<(Vec<Whole>, Option<Self>)> {
        let (listed, others) = self.order.rows();
        let user = actor.user_id().unwrap_or(UserId(0)).into();
        let [key, id] = self.values();
        let (rows, are_all) = self.merged(actor, most, |visibility| match visibility {
            Some(visibility) => {
                of_a_size(tx, listed, &[key, id, most.into(), visibility.as_str().into(), user])
            }
            None => of_a_size(tx, others, &[key, id, most.into(), user]),
        })?;
        let next = rows.last().filter(|_| !are_all).map(|last| last.place(self.order));
        Ok((rows.into_iter().map(|keyed| keyed.row).collect(), next))
    }

    /// What stands behind it, `most` at the most; and whether that is all.
    fn keys(
        &self,
        tx: &Tx<'_>,
        actor: &Actor,
        others: &[Keyed<()>],
        most: usize,
    ) -> Result<(Vec<Keyed<()>>, bool)> {
        let [key, id] = self.values();
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        self.merged(actor, limit, |visibility| {
            let keys = match visibility {
                Some(visibility) => {
                    let values = [key, id, limit.into(), visibility.as_str().into()];
                    tx.rows(self.order.keys(), &values, |row| {
                        Ok(Keyed { key: row.text()?, id: OrganizationId(row.int()?), row: () })
                    })?
                }
                None => {
                    let passed = others.partition_point(|other| {
                        self.in_order((&other.key, other.id), (&self.key, self.id)) != Ordering::Greater
                    });
                    others[passed..].iter().take(most).cloned().collect()
                }
            };
            Ok((keys, true))
        })
    }

    fn in_order(&self, a: (&String, OrganizationId), b: (&String, OrganizationId)) -> Ordering {
        self.order.direction().of(a.cmp(&b))
    }

    fn values(&self) -> [Value<'_>; 2] {
        [(&self.key).into(), self.id.into()]
    }

    /// What `read` finds behind the place, `most` at the most; and whether nothing comes behind that. The public organizations,
    /// for somebody signed in the internal ones, and of the rest those that the caller belongs to (of no visibility here): three
    /// lists that are each in order, made one. `read` tells whether it left out none that it was to read.
    fn merged<T>(
        &self,
        actor: &Actor,
        most: i64,
        read: impl Fn(Option<Visibility>) -> Result<(Vec<Keyed<T>>, bool)>,
    ) -> Result<(Vec<Keyed<T>>, bool)> {
        let mut lists = vec![read(Some(Visibility::Public))?];
        if actor.user_id().is_some() {
            lists.push(read(Some(Visibility::Internal))?);
            lists.push(read(None)?);
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // Behind the end of a list that goes on, its next ones may come before those of the others.
        let ends = lists.iter().filter(|(rows, is_whole)| !is_whole || rows.len() >= most);
        let ends = ends.filter_map(|(rows, _)| rows.last()).map(|last| (last.key.clone(), last.id));
        let end = ends.min_by(|a, b| self.in_order((&a.0, a.1), (&b.0, b.1)));
        let mut rows: Vec<Keyed<T>> = lists.into_iter().flat_map(|(rows, _)| rows).collect();
        rows.sort_by(|a, b| self.in_order((&a.key, a.id), (&b.key, b.id)));
        let found = rows.len();
        rows.truncate(most);
        if let Some((key, id)) = &end {
            rows.retain(|row| self.in_order((&row.key, row.id), (key, *id)) != Ordering::Greater);
        }
        let are_all = end.is_none() && rows.len() == found;
        Ok((rows, are_all))
    }
}

/// The first of what `sql` finds, as many as a piece holds by their size; and whether they are all.
fn of_a_size(tx: &Tx<'_>, sql: &'static str, values: &[Value<'_>]) -> Result<(Vec<Keyed<Whole>>, bool)> {
    let left = Cell::new(PIECE_BYTES);
    let rows = tx.rows(sql, values, |row| {
        if left.get() == 0 {
            return Ok(None);
        }
        let (key, (found, organization)) = (row.text()?, read_seen(row)?);
        left.set(left.get().saturating_sub(size(&organization)));
        Ok(Some(Keyed { key, id: organization.id, row: (found, organization) }))
    })?;
    let found = rows.len();
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    let are_all = rows.len() == found;
    Ok((rows, are_all))
}

/// How many organizations are passed over, and how many are read for that at a time.
#[derive(Clone, Copy)]
pub(super) struct Passed {
    pub(super) skip: usize,
    pub(super) at_once: usize,
}

/// The place where a part of such a list begins, nothing where it holds no more, and how many the whole holds. Those that others
/// see too are counted already; the rest of the caller's own are looked at once, archived ones aside where they are not wanted.
pub(super) fn part(
    tx: &Tx<'_>,
    actor: &Actor,
    listing: &Listing,
    order: Order,
    passed: Passed,
) -> Result<(Option<Place>, usize)> {
    const OTHERS: &str =
        concat!("SELECT ", found_columns!(), ", o.name_key, o.description_key ", others!("$1"));
    let mut count = counts::listed(tx, Visibility::Public)?;
    let mut others = Vec::new();
    if let Some(user) = actor.user_id() {
        count += counts::listed(tx, Visibility::Internal)?;
        let rows = tx.rows(OTHERS, &[user.into()], |row| {
            let found = Found::read(row)?;
            let (name, description) = (row.text()?, row.text()?);
            let key = if matches!(order, Order::Name(_)) { name } else { description };
            Ok(is_shown(&found, actor, listing).then_some(Keyed { key, id: found.id, row: () }))
        })?;
        others.extend(rows.into_iter().flatten());
    }
    let count = usize::try_from(count).unwrap_or(0) + others.len();
    if passed.skip >= count {
        return Ok((None, count));
    }
    others.sort_by(|a, b| order.direction().of((&a.key, a.id).cmp(&(&b.key, b.id))));
    Ok((Some(Place::behind(tx, actor, order, &others, passed)?), count))
}
