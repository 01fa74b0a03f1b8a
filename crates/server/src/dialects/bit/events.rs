//! Events of an organization, and who comes to them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use guildhall_domain::authz::{Actor, Permission};
use guildhall_domain::clock::Timestamp;
use guildhall_domain::db::Db;
use guildhall_domain::error::Denied;
use guildhall_domain::events::{self, Changes, NewEvent, Part, Place, Refusal};
use guildhall_domain::id::{EventId, number};
use guildhall_domain::memberships;
use guildhall_domain::organizations::Patch;
use guildhall_domain::text::{DESCRIPTION_MAX, Email, Name, is_free_text};
use serde::{Deserialize, Deserializer, Serialize};

use super::people::{self, Piece};
use super::{ADDRESSES_MAX, Bit, Error, SIGHT, at, checked, form, made, message, username};
use crate::app::App;
use crate::auth::SignedIn;
use crate::http::{PIECE, Params, Payload};

/// The most characters of a place.
pub(super) const LOCATION_MAX: usize = 50;

/// The event that the path names. No event has the number 0, which a malformed id stands for.
fn event(params: &Params) -> EventId {
    EventId(number(params.get(0)).unwrap_or(0))
}

#[derive(Clone, Serialize)]
struct Event {
    name: String,
    date: String,
    summary: Option<String>,
    location: Option<String>,
    organization: Organization,
}

#[derive(Clone, Serialize)]
struct Organization {
    id: i64,
    name: String,
}

/// The lists that an answer ends with.
const LISTS: &[(&str, Part)] = &[("presenters", Part::Presenter), ("rsvp_list", Part::Attendee)];

pub(super) async fn fetch(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
) -> Result<Response, Error> {
    let (id, caller) = (event(&params), actor.clone());
    let event = app.read(move |db| events::get(db, &caller, id, SIGHT)).await?;
    let head = Event {
        name: event.name,
        date: date(event.starts_at),
        summary: event.summary,
        location: event.location,
        organization: Organization { id: event.organization.0, name: event.organization_name },
    };
    let read = move |db: &Db, part, after: Option<Place>| {
        let most = i64::try_from(PIECE).unwrap_or(i64::MAX);
        let piece = events::Piece { part, after: after.unwrap_or(Place::START), most };
        match events::people(db, &actor, id, SIGHT, piece) {
            Ok(people) => {
                Ok(Piece::of(&people, |(_, place)| *place, |(user, _)| user.as_ref().map(username)))
            }
            Err(guildhall_domain::Error::Denied(Denied::Role)) => Ok(Piece::none()),
            Err(error) => Err(error),
        }
    };
    Ok(people::answer(&app, &head, LISTS, read).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewForm {
    name: String,
    date: String,
    summary: Option<String>,
    location: Option<String>,
    #[serde(default)]
    presenters: Vec<String>,
}

pub(super) async fn create(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
    payload: Payload<Bit>,
) -> Result<Response, Error> {
    const WHAT: &str = "create a event";
    let at = at(&params);
    let new = form(&payload, WHAT).and_then(|form| read_new(form).ok_or_else(|| Error::incorrect(WHAT)));
    let (caller, place) = (actor.clone(), at.clone());
    let right = move |db: &_| memberships::may(db, &caller, &place, Permission::ManageEvents);
    let new = checked(&app, new, right).await??;
    let done = app.write(move |db| or_stranger(events::create(db, &actor, &at, new))).await?;
    let EventId(id) = done.ok_or_else(|| Error::incorrect(WHAT))?;
    Ok(made("Event successfully created", &format!("/events/{id}")))
}

/// What came of it; nothing where a presenter is no member.
fn or_stranger<T>(done: Result<T, Refusal>) -> guildhall_domain::Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(Refusal::PresenterIsNoMember(_)) => Ok(None),
        Err(Refusal::Error(error)) => Err(error),
    }
}

fn read_new(form: NewForm) -> Option<NewEvent> {
    Some(NewEvent {
        name: Name::parse(&form.name).ok()?,
        starts_at: read_date(&form.date)?,
        summary: within(form.summary, DESCRIPTION_MAX)?,
        location: within(form.location, LOCATION_MAX)?,
        presenters: read_presenters(&form.presenters)?,
    })
}

/// A text that may be missing, of at most `max` characters.
fn within(text: Option<String>, max: usize) -> Option<Option<String>> {
    text.as_ref().is_none_or(|text| is_free_text(text, max)).then_some(text)
}

fn read_presenters(presenters: &[String]) -> Option<Vec<Email>> {
    if presenters.len() > ADDRESSES_MAX {
        return None;
    }
    presenters.iter().map(|text| Email::parse(text)).collect()
}

/// Each key that is sent counts, also one that says null.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ChangeForm {
    #[serde(deserialize_with = "sent")]
    name: Option<String>,
    #[serde(deserialize_with = "sent")]
    date: Option<String>,
    #[serde(deserialize_with = "sent")]
    summary: Option<Option<String>>,
    #[serde(deserialize_with = "sent")]
    location: Option<Option<String>>,
    #[serde(deserialize_with = "sent")]
    presenters: Option<Vec<String>>,
}

fn sent<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

pub(super) async fn update(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
    payload: Payload<Bit>,
) -> Result<Response, Error> {
    const WHAT: &str = "update a event";
    let event = event(&params);
    let changes =
        form(&payload, WHAT).and_then(|form| read_changes(form).ok_or_else(|| Error::incorrect(WHAT)));
    let changes = checked(&app, changes, may_change(&actor, event)).await.map_err(Error::of_event)??;
    let done = app.write(move |db| or_stranger(events::update(db, &actor, event, SIGHT, changes))).await;
    done.map_err(Error::of_event)?.ok_or_else(|| Error::incorrect(WHAT))?;
    Ok(message(StatusCode::ACCEPTED, "Event successfully updated"))
}

fn may_change(
    actor: &Actor,
    event: EventId,
) -> impl FnOnce(&guildhall_domain::db::Db) -> guildhall_domain::Result<()> + Clone + Send + 'static {
    let actor = actor.clone();
    move |db| events::may_change(db, &actor, event, SIGHT)
}

fn read_changes(form: ChangeForm) -> Option<Changes> {
    let nothing = form.name.is_none()
        && form.date.is_none()
        && form.summary.is_none()
        && form.location.is_none()
        && form.presenters.is_none();
    if nothing {
        return None;
    }
    Some(Changes {
        name: match form.name {
            Some(name) => Some(Name::parse(&name).ok()?),
            None => None,
        },
        starts_at: match form.date {
            Some(date) => Some(read_date(&date)?),
            None => None,
        },
        summary: patch(form.summary, DESCRIPTION_MAX)?,
        location: patch(form.location, LOCATION_MAX)?,
        presenters: match form.presenters {
            Some(presenters) => Some(read_presenters(&presenters)?),
            None => None,
        },
    })
}

/// A text that stays, is taken away by null, or becomes another of at most `max` characters.
fn patch(text: Option<Option<String>>, max: usize) -> Option<Patch<String>> {
    match text {
        None => Some(Patch::Keep),
        Some(None) => Some(Patch::Clear),
        Some(Some(text)) => is_free_text(&text, max).then_some(Patch::Set(text)),
    }
}

pub(super) async fn delete(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
) -> Result<Response, Error> {
    let event = event(&params);
    let done = app.write(move |db| events::delete(db, &actor, event, SIGHT)).await;
    done.map_err(Error::of_event)?;
    Ok(message(StatusCode::OK, "Event successfully deleted"))
}

pub(super) async fn rsvp(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
) -> Result<Response, Error> {
    let event = event(&params);
    let done = app.write(move |db| events::attend(db, &actor, event, SIGHT, true)).await;
    let (person, event) = done.map_err(Error::of_rsvp)?;
    Ok(message(StatusCode::CREATED, &format!("{person} has RSVP'd for {event}")))
}

pub(super) async fn cancel_rsvp(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
) -> Result<Response, Error> {
    let event = event(&params);
    let done = app.write(move |db| events::attend(db, &actor, event, SIGHT, false)).await;
    done.map_err(Error::of_rsvp)?;
    Ok(message(StatusCode::OK, "Successfully left the RSVP list"))
}

/// A moment as bit's clients write it: `2020-02-10T22:27:00+0000`, with any offset, which may also be written `+00:00`
/// or `Z`. Its year in UTC has four digits, so that it can be answered in the same form.
fn read_date(text: &str) -> Option<Timestamp> {
    let digits = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'+' => byte == b'+' || byte == b'-',
                shape => byte == shape,
            })
    };
    let (local, offset) = text.split_at_checked("2020-02-10T22:27:00".len())?;
    let is_offset = ["Z", "+0000", "+00:00"].into_iter().any(|shape| digits(offset, shape));
    // A leap second would be taken for the one before it, and answered as that.
    if !digits(local, "0000-00-00T00:00:00") || local.ends_with("60") || !is_offset {
        return None;
    }
    let instant: jiff::Timestamp = text.parse().ok()?;
    let year = instant.to_zoned(jiff::tz::TimeZone::UTC).year();
    (1..=9999).contains(&year).then(|| Timestamp(instant.as_microsecond()))
}

/// The moment in UTC, in the same form.
fn date(at: Timestamp) -> String {
    let instant = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.strftime("%Y-%m-%dT%H:%M:%S+0000").to_string()
}

#[cfg(test)]
mod parsers;

#[cfg(test)]
mod tests {
    use super::{date, read_date};

    #[test]
    fn a_date_is_read_with_any_offset_and_written_in_utc() {
        for (text, utc) in [
            ("2020-02-10T22:27:00+0000", "2020-02-10T22:27:00+0000"),
            ("2020-02-10T22:27:00Z", "2020-02-10T22:27:00+0000"),
            ("2020-02-10T22:27:00+0100", "2020-02-10T21:27:00+0000"),
            ("2020-02-10T22:27:00-08:30", "2020-02-11T06:57:00+0000"),
            ("1969-12-31T23:59:59-0000", "1969-12-31T23:59:59+0000"),
            ("0001-01-01T00:00:00+0000", "0001-01-01T00:00:00+0000"),
            ("2024-02-29T00:00:00+0000", "2024-02-29T00:00:00+0000"),
        ] {
            assert_eq!(read_date(text).map(date).as_deref(), Some(utc), "{text}");
        }
        for text in [
            "",
            "2020-02-10",
            "2020-02-10T22:27:00",
            "2020-02-10 22:27:00+0000",
            "2020-02-10T22:27+0000",
            "2020-02-10T22:27:00.5Z",
            "2020-02-10T22:27:00 +0000",
            "2020-02-10T22:27:00+00",
            "2020-02-10T22:27:00+0000[UTC]",
            "2020-02-10T22:27:00+9900",
            "2020-02-30T22:27:00+0000",
            "2020-13-10T22:27:00+0000",
            "2020-02-10T25:27:00+0000",
            "2016-12-31T23:59:60+0000",
            "0001-01-01T00:00:00+0100",
            "9999-12-31T23:59:59-1200",
            "+2020-02-10T22:27:00+0000",
            "2020-02-10T22:27:0é+0000",
        ] {
            assert_eq!(read_date(text), None, "{text}");
        }
    }
}
