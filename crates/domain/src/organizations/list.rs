//! Lists of organizations.
//!
//! A list in the order of the names or of the descriptions, or backwards, is [`indexed`]: it is read piece by piece, by key, so
//! that neither its first piece nor its memory grows with it, and where it begins in its middle so many are passed over in the
//! index. One that is sought, chosen by what the caller may do, of archived ones alone, or sorted by two keys, is [`sought`]: all
//! that it may hold is looked at first, of which their keys are kept until they are sorted, then their ids; only the caller's own
//! are looked at where it can hold no others. A piece ends where it has become large, too. Between two pieces the database goes
//! on: an organization that is changed meanwhile so that it stands elsewhere may be shown twice, or not at all.

use std::cmp::Ordering;
use std::sync::Arc;

use self::indexed::{Passed, Place, Whole};
use super::{Organization, Seen, organization_columns, read_seen};
use crate::authz::{Actor, Permission};
use crate::db::{Db, Tx};
use crate::error::Result;
use crate::id::{OrganizationId, UserId};
use crate::memberships::{Found, Sight, found_columns};

mod indexed;
mod mine;
mod sought;

pub(crate) use self::mine::first_id;
pub use self::mine::{Mine, all, first_of, mine, part_of_mine};

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
    fn indexed(&self) -> Option<Order> {
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
        self.indexed().is_some() && window.is_none_or(is_beginning)
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

/// The first piece of a list, `piece` organizations at the most, and how many the whole holds, where that was counted.
///
/// With `window` (how many to pass over, how many to show at the most) the list is that part of the whole, and all are counted.
///
/// # Errors
/// Where the database cannot be used.
pub fn list(
    db: &Db,
    actor: &Actor,
    listing: &Listing,
    window: Option<(usize, usize)>,
    piece: usize,
) -> Result<(Page, Option<usize>)> {
    let (skip, most) = window.unwrap_or((0, usize::MAX));
    let (rest, count) = match (listing.indexed(), window) {
        (Some(order), None) => (Rest::After(Place::start(order), most), None),
        (Some(order), Some(_)) => {
            let passed = Passed { skip, at_once: piece.saturating_mul(PASSED_PIECES) };
            let (place, count) = db.read(|tx| indexed::part(tx, actor, listing, order, passed))?;
            (place.map_or(Rest::Nothing, |place| Rest::After(place, most)), Some(count))
        }
        (None, _) => {
            let ids = db.read(|tx| sought::matching(tx, actor, listing))?;
            let count = ids.len();
            let ids = ids.into_iter().skip(skip).take(most).collect();
            (Rest::Ids(ids, 0), Some(count))
        }
    };
    let start = Page { seen: Vec::new(), rest };
    Ok((start.next(db, actor, listing, piece)?, count))
}

/// So many pieces are passed over at a time: of these nothing is read but where they stand.
const PASSED_PIECES: usize = 100;
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
                let limit = i64::try_from(piece.min(*most)).unwrap_or(i64::MAX);
                let (rows, next) = db.read(|tx| place.piece(tx, actor, limit))?;
                // What is read and not shown, an archived one that is not wanted, leaves its room to another.
                let mut seen: Vec<Seen> =
                    rows.into_iter().filter_map(|row| visible(row, actor, listing)).collect();
                seen.truncate(*most);
                let left = most - seen.len();
                let rest = next.filter(|_| left > 0).map_or(Rest::Nothing, |next| Rest::After(next, left));
                Ok(Self { seen, rest })
            }
        }
    }
}

/// Whether the caller sees it, and the list wants it.
fn is_shown(found: &Found, actor: &Actor, listing: &Listing) -> bool {
    let is_wanted = listing.archived.is_none_or(|archived| archived == found.archived_at.is_some());
    is_wanted && found.is_visible(actor, listing.sight)
}

fn visible((found, organization): Whole, actor: &Actor, listing: &Listing) -> Option<Seen> {
    is_shown(&found, actor, listing).then(|| {
        let role = found.standing.filter(|(_, state)| state.counts()).map(|(role, _)| role);
        Seen { organization, role }
    })
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

/// How many bytes an organization takes, roughly: what can be long.
fn size(organization: &Organization) -> usize {
    let Organization { name, description, urls, contacts, .. } = organization;
    name.len() + description.as_ref().map_or(0, String::len) + urls.len() + contacts.len()
}
