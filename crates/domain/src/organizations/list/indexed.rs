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

/// How many are passed over at a time, at the most.
const PASSED_AT_ONCE: i64 = 1_000;

/// A place in a list that an index has: behind this key and id, in that order.
#[derive(Clone, Debug)]
pub(super) struct Place {
    order: Order,
    key: String,
    id: OrganizationId,
}

/// What is read of an organization, with the key and the id that it stands under.
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

/// Those that are shown to nobody but their members, of the user `$4`.
macro_rules! others {
    () => {
        "FROM memberships m JOIN organizations o ON o.id = m.organization_id
         WHERE m.user_id = $4 AND m.state IN ('active', 'inactive')
           AND (o.visibility = 'private' OR o.archived_at IS NOT NULL)"
    };
}

/// On the side `$side` of the place that is key `$1` and id `$2`, in that order.
macro_rules! behind {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!(
            "(",
            $key,
            ", o.id) ",
            $side,
            " ($1, $2) ORDER BY ",
            $key,
            $direction,
            ", o.id",
            $direction,
            " LIMIT $3"
        )
    };
}

/// Listed ones, as the user `$5` stands in them.
macro_rules! listed_rows {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", ",
            organization_columns!(),
            " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $5 WHERE ",
            is_listed!(),
            behind!($key, $side, $direction)
        )
    };
}

/// The others. What is sorted are keys: the rest of a row may be large.
macro_rules! other_rows {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", ",
            organization_columns!(),
            " FROM (SELECT o.id AS id ",
            others!(),
            " AND ",
            behind!($key, $side, $direction),
            ") own JOIN organizations o ON o.id = own.id JOIN memberships m ON m.organization_id = o.id AND m.user_id = $4
             ORDER BY ",
            $key,
            $direction,
            ", o.id",
            $direction
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

/// Where the others stand, and what tells whether they are shown.
macro_rules! other_keys {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", ",
            found_columns!(),
            " ",
            others!(),
            " AND ",
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

    /// The statements that find where they stand.
    fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Name(false) => (listed_keys!("o.name_key", ">", ""), other_keys!("o.name_key", ">", "")),
            Self::Name(true) => {
                (listed_keys!("o.name_key", "<", " DESC"), other_keys!("o.name_key", "<", " DESC"))
            }
            Self::Description(false) => {
                (listed_keys!("o.description_key", ">", ""), other_keys!("o.description_key", ">", ""))
            }
            Self::Description(true) => (
                listed_keys!("o.description_key", "<", " DESC"),
                other_keys!("o.description_key", "<", " DESC"),
            ),
        }
    }
}

impl Place {
    /// Before the first organization.
    fn start(order: Order) -> Self {
        let (key, id) = match order.direction() {
            Direction::Forwards => (String::new(), 0),
            // The greatest character, and more of it than a key has.
            Direction::Backwards => ("\u{10ffff}".repeat(NAME_MAX.max(DESCRIPTION_KEY_MAX) + 1), i64::MAX),
        };
        Self { order, key, id: OrganizationId(id) }
    }

    /// Behind the first `skip` organizations of the list; nothing where it holds no more.
    pub(super) fn behind(
        tx: &Tx<'_>,
        actor: &Actor,
        listing: &Listing,
        order: Order,
        skip: usize,
    ) -> Result<Option<Self>> {
        let (mut place, mut left) = (Self::start(order), skip);
        while left > 0 {
            let most = i64::try_from(left).unwrap_or(i64::MAX).min(PASSED_AT_ONCE);
            let (keys, are_all) = place.keys(tx, actor, most)?;
            for key in &keys {
                let is_passed = |found| is_shown(found, actor, listing);
                left -= usize::from(key.row.as_ref().is_none_or(is_passed));
                if left == 0 {
                    return Ok(Some(key.place(order)));
                }
            }
            match keys.last() {
                Some(last) if !are_all => place = last.place(order),
                _ => return Ok(None),
            }
        }
        Ok(Some(place))
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

    /// What stands behind it, `most` at the most, with what tells whether it is shown where not all see it; and whether that is
    /// all.
    fn keys(&self, tx: &Tx<'_>, actor: &Actor, most: i64) -> Result<(Vec<Keyed<Option<Found>>>, bool)> {
        let (listed, others) = self.order.keys();
        let user = actor.user_id().unwrap_or(UserId(0)).into();
        let [key, id] = self.values();
        self.merged(actor, most, |visibility| {
            let keys = match visibility {
                Some(visibility) => {
                    let values = [key, id, most.into(), visibility.as_str().into()];
                    tx.rows(listed, &values, |row| {
                        Ok(Keyed { key: row.text()?, id: OrganizationId(row.int()?), row: None })
                    })
                }
                None => tx.rows(others, &[key, id, most.into(), user], |row| {
                    let (key, found) = (row.text()?, Found::read(row)?);
                    Ok(Keyed { key, id: found.id, row: Some(found) })
                }),
            };
            Ok((keys?, true))
        })
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
        let in_order =
            |a: (&String, OrganizationId), b: (&String, OrganizationId)| self.order.direction().of(a.cmp(&b));
        // Behind the end of a list that goes on, its next ones may come before those of the others.
        let ends = lists.iter().filter(|(rows, is_whole)| !is_whole || rows.len() >= most);
        let ends = ends.filter_map(|(rows, _)| rows.last()).map(|last| (last.key.clone(), last.id));
        let end = ends.min_by(|a, b| in_order((&a.0, a.1), (&b.0, b.1)));
        let mut rows: Vec<Keyed<T>> = lists.into_iter().flat_map(|(rows, _)| rows).collect();
        rows.sort_by(|a, b| in_order((&a.key, a.id), (&b.key, b.id)));
        let found = rows.len();
        rows.truncate(most);
        if let Some((key, id)) = &end {
            rows.retain(|row| in_order((&row.key, row.id), (key, *id)) != Ordering::Greater);
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

/// How many organizations such a list holds, archived ones among the caller's own aside where they are not wanted: those that
/// others see too are counted already, the rest of the caller's own one by one.
pub(super) fn count(tx: &Tx<'_>, actor: &Actor, listing: &Listing) -> Result<usize> {
    const OTHERS: &str = concat!(
        "SELECT ",
        found_columns!(),
        " FROM memberships m JOIN organizations o ON o.id = m.organization_id
         WHERE m.user_id = $1 AND m.state IN ('active', 'inactive')
           AND (o.visibility = 'private' OR o.archived_at IS NOT NULL)"
    );
    let mut count = counts::listed(tx, Visibility::Public)?;
    let mut others = Vec::new();
    if let Some(user) = actor.user_id() {
        count += counts::listed(tx, Visibility::Internal)?;
        others = tx.rows(OTHERS, &[user.into()], Found::read)?;
    }
    let others = others.iter().filter(|found| is_shown(found, actor, listing)).count();
    Ok(usize::try_from(count).unwrap_or(0) + others)
}
