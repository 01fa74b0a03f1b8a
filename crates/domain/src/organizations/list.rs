//! Lists of organizations.
//!
//! A list in the order of the names or of the descriptions, or backwards, is read piece by piece, by key, so that neither its
//! first piece nor its memory grows with it. One that is sought, sorted by both or begun in the middle is first reduced to its
//! ids, eight bytes each; only the caller's own are looked at where it can hold no others. A piece ends where it has become
//! large, too.

use std::cell::Cell;
use std::cmp::Ordering;
use std::sync::Arc;

use super::{Organization, Row, Seen, counts, organization_columns, read_seen};
use crate::authz::{Actor, Permission, Role, allows};
use crate::clock::Timestamp;
use crate::db::{Db, Tx, Value};
use crate::error::Result;
use crate::id::{OrganizationId, UserId};
use crate::memberships::{Found, Sight, Visibility, found_columns};
use crate::page::{Part, Window};
use crate::text::{NAME_MAX, fold};

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

/// Which of the organizations that the caller may see a list holds, and in what order.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Archived ones alone, or all but those; both where it is nothing.
    pub archived: Option<bool>,
    /// Words that each stand in the name or the description, without regard to case.
    pub words: Vec<String>,
    /// What the caller may do in each.
    pub holding: Vec<Permission>,
    /// The order, the first key first. The name, without regard to case, where it is empty; ends in the id, which runs as the
    /// first key does.
    pub order: Vec<Order>,
    /// To whom an organization exists here.
    pub sight: Sight,
}

impl Listing {
    /// The key by which an index has the list, where nothing but that decides what it holds, and in what order.
    fn natural(&self) -> Option<Order> {
        let order = match self.order[..] {
            [] => Order::Name(false),
            [order] => order,
            _ => return None,
        };
        // Archived ones alone are among the caller's own, which are few.
        let is_all = self.words.is_empty() && self.holding.is_empty() && self.archived != Some(true);
        is_all.then_some(order)
    }

    /// Whether the first piece of it, or of a part of it (so many from a place), takes a look at few rows: `piece`, and the
    /// caller's own. How long a list is, is told of each part, and the caller's own are counted one by one.
    #[must_use]
    pub fn is_quick(&self, actor: &Actor, window: Option<(usize, usize)>, piece: usize) -> bool {
        let is_beginning = |(skip, most)| skip == 0 && most <= piece && actor.user_id().is_none();
        self.natural().is_some() && window.is_none_or(is_beginning)
    }

    /// Whether it holds nothing but organizations that the caller belongs to: but for the system nobody else holds a right or
    /// sees archived ones.
    fn is_of_own(&self, actor: &Actor) -> bool {
        !actor.is_system() && (!self.holding.is_empty() || self.archived == Some(true))
    }
}

/// Which way a list runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forwards,
    Backwards,
}

impl Direction {
    fn of(self, ordering: Ordering) -> Ordering {
        if self == Self::Backwards { ordering.reverse() } else { ordering }
    }
}

/// A key to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By name, without regard to case; backwards where it is true.
    Name(bool),
    /// By the first 200 characters of the description, those without one first; backwards where it is true.
    Description(bool),
}

impl Order {
    fn direction(self) -> Direction {
        match self {
            Self::Name(true) | Self::Description(true) => Direction::Backwards,
            Self::Name(false) | Self::Description(false) => Direction::Forwards,
        }
    }

    /// Before the first organization.
    fn start(self) -> Place {
        let (key, id) = match self.direction() {
            Direction::Forwards => (String::new(), 0),
            // The greatest character, and more of it than a key has: a name's, or the 200 characters of a description.
            Direction::Backwards => ("\u{10ffff}".repeat(NAME_MAX + 1), i64::MAX),
        };
        Place { order: self, key, id: OrganizationId(id) }
    }
}

/// A piece of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The organizations of this piece.
    pub seen: Vec<Seen>,
    rest: Rest,
}

/// What comes after a piece.
#[derive(Clone, Debug)]
enum Rest {
    /// So many of what comes after this place.
    After(Place, usize),
    /// Exactly these, from that place on.
    Ids(Arc<[OrganizationId]>, usize),
    Nothing,
}

/// A place in a list that an index has: behind this key and id, in that order.
#[derive(Clone, Debug)]
struct Place {
    order: Order,
    key: String,
    id: OrganizationId,
}

/// The first piece of a list, `piece` organizations at the most, and how many it will hold in all where `counted`.
///
/// With `window` (how many to pass over, how many to show at the most) the list is that part of the whole.
pub fn list(
    db: &Db,
    actor: &Actor,
    listing: &Listing,
    window: Option<(usize, usize)>,
    piece: usize,
) -> Result<(Page, Option<usize>)> {
    if let Some(order) = listing.natural() {
        let first = |most| {
            let start = Page { seen: Vec::new(), rest: Rest::After(order.start(), most) };
            start.next(db, actor, listing, piece)
        };
        match window {
            None => return Ok((first(usize::MAX)?, None)),
            Some((0, most)) => {
                let count = db.read(|tx| count(tx, actor, listing))?;
                return Ok((first(most)?, Some(count)));
            }
            Some(_) => {}
        }
    }
    let ids = db.read(|tx| matching(tx, actor, listing))?;
    let count = ids.len();
    let (skip, most) = window.unwrap_or((0, usize::MAX));
    let ids = ids.into_iter().skip(skip).take(most).collect();
    let start = Page { seen: Vec::new(), rest: Rest::Ids(ids, 0) };
    Ok((start.next(db, actor, listing, piece)?, Some(count)))
}

/// A piece ends with the organization that brings what they say of themselves to so many bytes: it waits in memory for a reader
/// who may be slow.
const PIECE_BYTES: usize = 256 * 1024;

impl Page {
    /// Whether nothing comes after this piece.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match &self.rest {
            Rest::Ids(ids, start) => *start >= ids.len(),
            Rest::Nothing => true,
            Rest::After(..) => false,
        }
    }

    /// The piece after this one. What the caller may no longer see is passed over.
    ///
    /// # Errors
    /// Where the database cannot be used.
    pub fn next(&self, db: &Db, actor: &Actor, listing: &Listing, piece: usize) -> Result<Self> {
        match &self.rest {
            Rest::Nothing => Ok(Self { seen: Vec::new(), rest: Rest::Nothing }),
            Rest::Ids(ids, start) => {
                let end = start.saturating_add(piece).min(ids.len());
                let (seen, read) = db.read(|tx| by_ids(tx, actor, listing, &ids[*start..end]))?;
                Ok(Self { seen, rest: Rest::Ids(Arc::clone(ids), start + read) })
            }
            Rest::After(place, most) => {
                let limit = i64::try_from(piece).unwrap_or(i64::MAX);
                let (rows, is_all) = db.read(|tx| after(tx, actor, place, limit))?;
                let last = rows.last().map(|(key, (_, last))| (key.clone(), last.id));
                // What is read and not shown, an archived one that is not wanted, leaves its room to another.
                let mut seen: Vec<Seen> =
                    rows.into_iter().filter_map(|(_, row)| visible(row, actor, listing)).collect();
                seen.truncate(*most);
                let left = most - seen.len();
                let rest = match last {
                    Some((key, id)) if left > 0 && !is_all => {
                        Rest::After(Place { order: place.order, key, id }, left)
                    }
                    _ => Rest::Nothing,
                };
                Ok(Self { seen, rest })
            }
        }
    }
}

fn visible((found, organization): (Found, Organization), actor: &Actor, listing: &Listing) -> Option<Seen> {
    let wanted = listing.archived.is_none_or(|archived| archived == organization.archived_at.is_some());
    (wanted && found.is_visible(actor, listing.sight)).then(|| {
        let role = found.standing.filter(|(_, state)| state.counts()).map(|(role, _)| role);
        Seen { organization, role }
    })
}

/// Organizations of visibility `$5` on the side `$side` of the place that is key `$2` and id `$3`, in that order.
macro_rules! of_visibility {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", ",
            organization_columns!(),
            " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $1
             WHERE o.visibility = $5 AND o.archived_at IS NULL AND (",
            $key,
            ", o.id) ",
            $side,
            " ($2, $3) ORDER BY ",
            $key,
            $direction,
            ", o.id",
            $direction,
            " LIMIT $4"
        )
    };
}

/// The same of those that are shown to nobody but their members.
macro_rules! of_others {
    ($key:literal, $side:literal, $direction:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", ",
            organization_columns!(),
            " FROM memberships m JOIN organizations o ON o.id = m.organization_id
             WHERE m.user_id = $1 AND m.state IN ('active', 'inactive')
               AND (o.visibility = 'private' OR o.archived_at IS NOT NULL) AND (",
            $key,
            ", o.id) ",
            $side,
            " ($2, $3) ORDER BY ",
            $key,
            $direction,
            ", o.id",
            $direction,
            " LIMIT $4"
        )
    };
}

impl Order {
    /// The statements that find the organizations of a visibility, and the others, behind a place.
    fn statements(self) -> (&'static str, &'static str) {
        match self {
            Self::Name(false) => (of_visibility!("o.name_key", ">", ""), of_others!("o.name_key", ">", "")),
            Self::Name(true) => {
                (of_visibility!("o.name_key", "<", " DESC"), of_others!("o.name_key", "<", " DESC"))
            }
            Self::Description(false) => {
                (of_visibility!("o.description_key", ">", ""), of_others!("o.description_key", ">", ""))
            }
            Self::Description(true) => (
                of_visibility!("o.description_key", "<", " DESC"),
                of_others!("o.description_key", "<", " DESC"),
            ),
        }
    }
}

/// An organization with the key that it stands under.
type Keyed = (String, (Found, Organization));

/// Organizations in the order of their keys, as many as a piece holds, `most` at the most; and whether nothing comes behind
/// them. The public ones, for somebody signed in the internal ones, and of the rest those that the caller belongs to: three
/// lists that are each in order, made one.
fn after(tx: &Tx<'_>, actor: &Actor, place: &Place, most: i64) -> Result<(Vec<Keyed>, bool)> {
    let (by_visibility, others) = place.order.statements();
    let user = actor.user_id().unwrap_or(UserId(0));
    let values: [Value<'_>; 4] = [user.into(), (&place.key).into(), place.id.into(), most.into()];
    let of = |visibility: &'static str| {
        let values = [values[0], values[1], values[2], values[3], visibility.into()];
        of_a_size(tx, by_visibility, &values)
    };
    let mut lists = vec![of("public")?];
    if actor.user_id().is_some() {
        lists.push(of("internal")?);
        lists.push(of_a_size(tx, others, &values)?);
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let in_order = |(a, (_, one)): &Keyed, (b, (_, other)): &Keyed| {
        place.order.direction().of(a.cmp(b).then(one.id.cmp(&other.id)))
    };
    // Behind the end of a list that goes on, its next ones may come before those of the others.
    let ends = lists.iter().filter(|(rows, is_whole)| !is_whole || rows.len() >= most);
    let end = ends.filter_map(|(rows, _)| rows.last()).min_by(|a, b| in_order(a, b)).cloned();
    let mut rows: Vec<Keyed> = lists.into_iter().flat_map(|(rows, _)| rows).collect();
    rows.sort_by(in_order);
    let found = rows.len();
    rows.truncate(most);
    if let Some(end) = &end {
        rows.retain(|row| in_order(row, end) != Ordering::Greater);
    }
    let are_all = end.is_none() && rows.len() == found;
    Ok((rows, are_all))
}

/// The first of what `sql` finds, as many as a piece holds by their size; and whether they are all.
fn of_a_size(tx: &Tx<'_>, sql: &'static str, values: &[Value<'_>]) -> Result<(Vec<Keyed>, bool)> {
    let left = Cell::new(PIECE_BYTES);
    let rows = tx.rows(sql, values, |row| {
        if left.get() == 0 {
            return Ok(None);
        }
        let keyed = (row.text()?, read_seen(row)?);
        left.set(left.get().saturating_sub(size(&keyed.1.1)));
        Ok(Some(keyed))
    })?;
    let found = rows.len();
    let rows: Vec<Keyed> = rows.into_iter().flatten().collect();
    let are_all = rows.len() == found;
    Ok((rows, are_all))
}

/// How many bytes an organization takes, roughly: what can be long.
fn size(organization: &Organization) -> usize {
    let Organization { name, description, urls, contacts, .. } = organization;
    name.len() + description.as_ref().map_or(0, String::len) + urls.len() + contacts.len()
}

/// How many organizations a list in its natural order holds, archived ones among the caller's own aside where they are
/// not wanted: those that others see too are counted already, the rest of the caller's own one by one.
fn count(tx: &Tx<'_>, actor: &Actor, listing: &Listing) -> Result<usize> {
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
    let wanted = |found: &&Found| listing.archived.is_none() || found.archived_at.is_none();
    let others = others.iter().filter(wanted).filter(|found| found.is_visible(actor, listing.sight)).count();
    Ok(usize::try_from(count).unwrap_or(0) + others)
}

/// Those of `ids` that are still visible, as many as a piece holds by their size; and how many ids were looked at.
fn by_ids(
    tx: &Tx<'_>,
    actor: &Actor,
    listing: &Listing,
    ids: &[OrganizationId],
) -> Result<(Vec<Seen>, usize)> {
    let sql = concat!(
        "SELECT ",
        organization_columns!(),
        " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $1 WHERE o.id = $2"
    );
    let user = actor.user_id().unwrap_or(UserId(0));
    let (mut seen, mut bytes) = (Vec::with_capacity(ids.len()), 0);
    for (place, id) in ids.iter().enumerate() {
        if bytes >= PIECE_BYTES {
            return Ok((seen, place));
        }
        let row = tx.row(sql, &[user.into(), (*id).into()], read_seen)?;
        bytes += row.as_ref().map_or(0, |(_, organization)| size(organization));
        seen.extend(row.and_then(|row| visible(row, actor, listing)));
    }
    Ok((seen, ids.len()))
}

/// What a list that is sought or sorted needs of an organization.
struct Candidate {
    id: OrganizationId,
    name_key: String,
    description_key: String,
}

/// All that the caller may see.
macro_rules! of_all {
    ($order:literal) => {
        concat!(
            "SELECT ",
            found_columns!(),
            ", o.name_key, o.description, o.description_key
             FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $1
             WHERE o.visibility = 'public' OR ($1 <> 0 AND (o.visibility = 'internal' OR m.role IS NOT NULL))",
            $order
        )
    };
}

/// The ids of all that the list holds, in its order.
fn matching(tx: &Tx<'_>, actor: &Actor, listing: &Listing) -> Result<Vec<OrganizationId>> {
    const OWN: &str = concat!(
        "SELECT ",
        found_columns!(),
        ", o.name_key, o.description, o.description_key
         FROM memberships m JOIN organizations o ON o.id = m.organization_id
         WHERE m.user_id = $1 AND m.state IN ('active', 'inactive')"
    );
    // The whole list in the order of the names comes in that order, so that it need not be kept to be sorted. Else most rows are
    // passed over or sorted anyway, and the order in which they lie there is the quickest.
    let is_sorted = listing.order.is_empty() && listing.words.is_empty() && !listing.is_of_own(actor);
    let sql = match (listing.is_of_own(actor), is_sorted) {
        (true, _) => OWN,
        (false, true) => of_all!(" ORDER BY o.name_key, o.id"),
        (false, false) => of_all!(""),
    };
    let user = actor.user_id().unwrap_or(UserId(0));
    // Of a description its key is kept, where it decides the order.
    let sorts_by_description = listing.order.iter().any(|order| matches!(order, Order::Description(_)));
    let candidates = tx.rows(sql, &[user.into()], |row| {
        let found = Found::read(row)?;
        let (name_key, description) = (row.text()?, row.opt_text()?.unwrap_or_default());
        let description_key = row.text()?;
        let archived = found.archived_at.is_some();
        let role = found.power(actor);
        let is_held = listing.holding.iter().all(|permission| {
            role.is_some_and(|role| {
                allows(role, *permission) && (!archived || permission.survives_archiving())
            })
        });
        let is_wanted = listing.archived.is_none_or(|wanted| wanted == archived);
        let holds_word = |text: &str, word: &String| text.contains(word.as_str());
        let is_sought = listing.words.is_empty() || {
            let about = fold(&description);
            listing.words.iter().all(|word| holds_word(&name_key, word) || holds_word(&about, word))
        };
        let is_in = is_wanted && is_held && is_sought && found.is_visible(actor, listing.sight);
        let description_key = if sorts_by_description { description_key } else { String::new() };
        let name_key = if is_sorted { String::new() } else { name_key };
        Ok(is_in.then_some(Candidate { id: found.id, name_key, description_key }))
    })?;
    let mut candidates: Vec<Candidate> = candidates.into_iter().flatten().collect();
    let order = if listing.order.is_empty() { &[Order::Name(false)] } else { &listing.order[..] };
    if !is_sorted {
        candidates.sort_by(|a, b| compare(order, a, b));
    }
    Ok(candidates.into_iter().map(|candidate| candidate.id).collect())
}

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
