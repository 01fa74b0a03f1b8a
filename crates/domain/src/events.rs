//! Events of an organization: who presents and who comes.

use crate::acting::write_as;
use crate::activity::{self, About};
use crate::authz::{Actor, Permission, State};
use crate::clock::Timestamp;
use crate::db::{Db, Row, Tx, WriteTx};
use crate::error::{Conflict, Denied, Error, Missing, Result};
use crate::id::{EventId, OrganizationId, UserId};
use crate::memberships::{self, At, Found, OrganizationKey, Sight, locate, require};
use crate::organizations::Patch;
use crate::text::{Email, Name};
use crate::users::{self, User, UserKey};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// What that is called.
    pub organization_name: String,
    /// What it is called.
    pub name: String,
    /// When it begins.
    pub starts_at: Timestamp,
    /// What it is about.
    pub summary: Option<String>,
    /// Where it is.
    pub location: Option<String>,
}

/// An event to make.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What it is called.
    pub name: Name,
    /// When it begins.
    pub starts_at: Timestamp,
    /// What it is about.
    pub summary: Option<String>,
    /// Where it is.
    pub location: Option<String>,
    /// The addresses of members who present.
    pub presenters: Vec<Email>,
}

/// Why an event cannot be kept as asked for.
#[derive(Debug)]
pub enum Refusal {
    /// As for any operation.
    Error(Error),
    /// A presenter is no active or inactive member.
    PresenterIsNoMember(Email),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Makes an event.
///
/// # Errors
/// [`Missing::Organization`], what [`memberships::may`] refuses, [`Refusal::PresenterIsNoMember`].
pub fn create(db: &Db, actor: &Actor, at: &At, new: NewEvent) -> Result<EventId, Refusal> {
    let at = at.clone();
    let made = write_as(db, actor, move |tx, actor| {
        let (found, _) = require(tx, actor, &at, Permission::ManageEvents)?;
        let presenters = match members(tx, found.id, &new.presenters)? {
            Ok(presenters) => presenters,
            Err(stranger) => return Ok(Err(stranger)),
        };
        let id = EventId(tx.next_number("events")?);
        tx.run(
            "INSERT INTO events (id, organization_id, name, starts_at, summary, location, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                id.into(),
                found.id.into(),
                new.name.as_str().into(),
                new.starts_at.into(),
                new.summary.as_deref().into(),
                new.location.as_deref().into(),
                tx.now.into(),
            ],
        )?;
        set_presenters(tx, (found.id, id), &presenters)?;
        activity::record(tx, actor, "event.create", &About::organization(found.id))?;
        Ok(Ok(id))
    });
    made?.map_err(Refusal::PresenterIsNoMember)
}

/// The members of those addresses, in that order and each once; or the first address that is no member's.
fn members(
    tx: &Tx<'_>,
    organization: OrganizationId,
    emails: &[Email],
) -> Result<Result<Vec<UserId>, Email>> {
    let mut members = Vec::with_capacity(emails.len());
    for email in emails {
        let user = users::find(tx, &UserKey::Email(email.key()))?;
        let standing = match &user {
            Some(user) => memberships::standing(tx, organization, user.id)?,
            None => None,
        };
        match (user, standing) {
            (Some(user), Some((_, state))) if state.counts() => {
                if !members.contains(&user.id) {
                    members.push(user.id);
                }
            }
            _ => return Ok(Err(email.clone())),
        }
    }
    Ok(Ok(members))
}

fn set_presenters(
    tx: &WriteTx<'_>,
    (organization, event): (OrganizationId, EventId),
    presenters: &[UserId],
) -> Result<()> {
    tx.run(
        "DELETE FROM event_people WHERE organization_id = $1 AND event_id = $2 AND part = 'presenter'",
        &[organization.into(), event.into()],
    )?;
    for (place, user) in presenters.iter().enumerate() {
        // The order in which they were named is kept in the time at which they were added.
        let added_at = Timestamp(tx.now.0 + i64::try_from(place).unwrap_or(0));
        add_person(tx, (organization, event), (*user, Part::Presenter), added_at)?;
    }
    Ok(())
}

fn add_person(
    tx: &WriteTx<'_>,
    (organization, event): (OrganizationId, EventId),
    (user, part): (UserId, Part),
    added_at: Timestamp,
) -> Result<usize> {
    tx.run(
        "INSERT INTO event_people (organization_id, event_id, user_id, part, added_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (event_id, part, user_id) DO NOTHING",
        &[organization.into(), event.into(), user.into(), part.as_str().into(), added_at.into()],
    )
}

/// The organization that the event belongs to, where the caller may see it: an event is reached through its organization.
fn place(tx: &Tx<'_>, actor: &Actor, event: EventId, sight: Sight) -> Result<(At, Found)> {
    let sql = "SELECT organization_id FROM events WHERE id = $1";
    let organization =
        tx.row(sql, &[event.into()], |row| row.int())?.map(OrganizationId).ok_or(Missing::Event)?;
    let at = At { key: OrganizationKey::Number(organization), sight };
    let found = locate(tx, actor, &at.key)?.filter(|found| found.is_visible(actor, sight));
    Ok((at, found.ok_or(Missing::Event)?))
}

/// Whether the caller may change the event: an owner or admin, or one who presents it.
fn require_change(tx: &Tx<'_>, actor: &Actor, event: EventId, sight: Sight) -> Result<Found> {
    let (at, found) = place(tx, actor, event, sight)?;
    let presents = match actor.user_id() {
        Some(user) => is_part(tx, (found.id, event), (user, Part::Presenter))?,
        None => false,
    };
    // A presenter has as a member what an admin has by role: the rest of the check is the same.
    let needed = if presents { Permission::AttendEvents } else { Permission::ManageEvents };
    found.require(actor, at.sight, needed)?;
    Ok(found)
}

fn is_part(
    tx: &Tx<'_>,
    (organization, event): (OrganizationId, EventId),
    (user, part): (UserId, Part),
) -> Result<bool> {
    tx.exists(
        "SELECT 1 FROM event_people WHERE organization_id = $1 AND event_id = $2 AND user_id = $3 AND part = $4",
        &[organization.into(), event.into(), user.into(), part.as_str().into()],
    )
}

/// One event, for whoever sees its organization.
///
/// # Errors
/// [`Missing::Event`].
pub fn get(db: &Db, actor: &Actor, event: EventId, sight: Sight) -> Result<Event> {
    db.read(|tx| {
        let (_, found) = place(tx, actor, event, sight)?;
        let sql =
            "SELECT name, starts_at, summary, location FROM events WHERE organization_id = $1 AND id = $2";
        let read = |row: &Row<'_>| Ok((row.text()?, row.time()?, row.opt_text()?, row.opt_text()?));
        let (name, starts_at, summary, location) =
            tx.row(sql, &[found.id.into(), event.into()], read)?.ok_or(Missing::Event)?;
        Ok(Event {
            id: event,
            organization: found.id,
            name,
            starts_at,
            summary,
            location,
            organization_name: found.name.clone(),
        })
    })
}

/// What somebody has to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// They present it; in the order in which they were named.
    Presenter,
    /// They said that they come; in that order.
    Attendee,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Presenter => "presenter",
            Self::Attendee => "attendee",
        }
    }
}

/// A place in a list of an event's people.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    added_at: Timestamp,
    user: UserId,
}

impl Place {
    /// Before the first.
    pub const START: Self = Self { added_at: Timestamp(i64::MIN), user: UserId(0) };
}

/// A piece of a list of an event's people.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Which people.
    pub part: Part,
    /// After which place.
    pub after: Place,
    /// How many at the most.
    pub most: i64,
}

/// A piece of the list of those who present an event or come to it, each with the place behind them; nothing of one who
/// is no active or inactive member any more. The right to read it is asked for each piece.
///
/// # Errors
/// [`Missing::Event`]; [`Denied::Role`] where the caller may not know who the organization's members are.
pub fn people(
    db: &Db,
    actor: &Actor,
    event: EventId,
    sight: Sight,
    piece: Piece,
) -> Result<Vec<(Option<User>, Place)>> {
    // The state is asked for one by one: a join would let PostgreSQL read all members of a large organization first.
    let sql = concat!(
        "SELECT ",
        users::user_columns!(),
        ", p.added_at, (SELECT m.state FROM memberships m WHERE m.organization_id = $1 AND m.user_id = p.user_id)
          FROM (SELECT user_id, added_at FROM event_people
                WHERE organization_id = $1 AND event_id = $2 AND part = $3 AND (added_at, user_id) > ($4, $5)
                ORDER BY added_at, user_id LIMIT $6) p
          JOIN users u ON u.id = p.user_id ORDER BY p.added_at, p.user_id"
    );
    let Piece { part, after, most } = piece;
    db.read(|tx| {
        let (_, found) = place(tx, actor, event, sight)?;
        if !memberships::shows_members(&found, actor) {
            return Err(Denied::Role.into());
        }
        let values = [
            found.id.into(),
            event.into(),
            part.as_str().into(),
            after.added_at.into(),
            after.user.into(),
            most.into(),
        ];
        tx.rows(sql, &values, |row| {
            let user = User::read(row)?;
            let place = Place { added_at: row.time()?, user: user.id };
            let state = row.opt_text()?.map(|state| memberships::read_as(state, State::parse)).transpose()?;
            Ok((state.is_some_and(State::counts).then_some(user), place))
        })
    })
}

/// What of an event is to change; what is not named stays.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// A new name.
    pub name: Option<Name>,
    /// Another time.
    pub starts_at: Option<Timestamp>,
    /// What it is about.
    pub summary: Patch<String>,
    /// Where it is.
    pub location: Patch<String>,
    /// Who presents it, all of them.
    pub presenters: Option<Vec<Email>>,
}

/// Changes an event.
///
/// # Errors
/// [`Missing::Event`]; [`Denied::Scope`], [`Denied::Role`], [`Denied::Archived`]; [`Refusal::PresenterIsNoMember`].
pub fn update(db: &Db, actor: &Actor, event: EventId, sight: Sight, changes: Changes) -> Result<(), Refusal> {
    let done = write_as(db, actor, move |tx, actor| {
        let found = require_change(tx, actor, event, sight)?;
        if let Some(presenters) = &changes.presenters {
            match members(tx, found.id, presenters)? {
                Ok(presenters) => set_presenters(tx, (found.id, event), &presenters)?,
                Err(stranger) => return Ok(Err(stranger)),
            }
        }
        apply(tx, (found.id, event), &changes)?;
        activity::record(tx, actor, "event.update", &About::organization(found.id))?;
        Ok(Ok(()))
    });
    done?.map_err(Refusal::PresenterIsNoMember)
}

fn apply(
    tx: &WriteTx<'_>,
    (organization, event): (OrganizationId, EventId),
    changes: &Changes,
) -> Result<()> {
    let set = |sql: &'static str, value: crate::db::Value<'_>| {
        tx.run(sql, &[organization.into(), event.into(), value])
    };
    if let Some(name) = &changes.name {
        set("UPDATE events SET name = $3 WHERE organization_id = $1 AND id = $2", name.as_str().into())?;
    }
    if let Some(starts_at) = changes.starts_at {
        set("UPDATE events SET starts_at = $3 WHERE organization_id = $1 AND id = $2", starts_at.into())?;
    }
    match &changes.summary {
        Patch::Keep => {}
        Patch::Clear => {
            set(
                "UPDATE events SET summary = $3 WHERE organization_id = $1 AND id = $2",
                crate::db::Value::Null,
            )?;
        }
        Patch::Set(text) => {
            set("UPDATE events SET summary = $3 WHERE organization_id = $1 AND id = $2", text.into())?;
        }
    }
    match &changes.location {
        Patch::Keep => {}
        Patch::Clear => {
            set(
                "UPDATE events SET location = $3 WHERE organization_id = $1 AND id = $2",
                crate::db::Value::Null,
            )?;
        }
        Patch::Set(text) => {
            set("UPDATE events SET location = $3 WHERE organization_id = $1 AND id = $2", text.into())?;
        }
    }
    Ok(())
}

/// Whether the caller may change the event, for a request that cannot be carried out anyway.
///
/// # Errors
/// As [`update`].
pub fn may_change(db: &Db, actor: &Actor, event: EventId, sight: Sight) -> Result<()> {
    db.read(|tx| require_change(tx, actor, event, sight)).map(drop)
}

/// Deletes an event.
///
/// # Errors
/// [`Missing::Event`]; [`Denied::Scope`], [`Denied::Role`], [`Denied::Archived`].
pub fn delete(db: &Db, actor: &Actor, event: EventId, sight: Sight) -> Result<()> {
    write_as(db, actor, move |tx, actor| {
        let found = require_change(tx, actor, event, sight)?;
        tx.run(
            "DELETE FROM events WHERE organization_id = $1 AND id = $2",
            &[found.id.into(), event.into()],
        )?;
        activity::record(tx, actor, "event.delete", &About::organization(found.id))
    })
}

/// The caller says that they come, or no longer; answers what they are called and what the event is.
///
/// # Errors
/// [`Missing::Event`]; [`Denied::Scope`], [`Denied::Role`] for one who is no member, [`Denied::Archived`];
/// [`Conflict::AlreadyAttending`], [`Conflict::NotAttending`].
pub fn attend(db: &Db, actor: &Actor, event: EventId, sight: Sight, comes: bool) -> Result<(String, String)> {
    let user = actor.require_user()?;
    write_as(db, actor, move |tx, actor| {
        let (_, found) = place(tx, actor, event, sight)?;
        found.require(actor, sight, Permission::AttendEvents)?;
        if comes {
            if add_person(tx, (found.id, event), (user, Part::Attendee), tx.now)? == 0 {
                return Err(Conflict::AlreadyAttending.into());
            }
        } else {
            let sql = "DELETE FROM event_people
                       WHERE organization_id = $1 AND event_id = $2 AND user_id = $3 AND part = 'attendee'";
            if tx.run(sql, &[found.id.into(), event.into(), user.into()])? == 0 {
                return Err(Conflict::NotAttending.into());
            }
        }
        let action = if comes { "event.attend" } else { "event.leave" };
        activity::record(tx, actor, action, &About::member(found.id, user))?;
        let sql = "SELECT name FROM events WHERE organization_id = $1 AND id = $2";
        let name = tx.row(sql, &[found.id.into(), event.into()], |row| row.text())?.ok_or(Missing::Event)?;
        Ok((users::get(tx, user)?.display_name(), name))
    })
}
