//! What organizations look like on the wire, and answers around a list, which are written piece by piece.

use axum::response::Response;
use guildhall_domain::authz::{Actor, Role};
use guildhall_domain::db::Db;
use guildhall_domain::organizations::{self, Mine, Organization};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::http::{self, PIECE, Pieces, Precision, rfc3339};

/// What the original's table of roles says of the three roles themselves. They are the same for every organization and
/// never change, so the document's own instant stands here.
const ROLES_SINCE: &str = "2019-04-08T02:30:37.000Z";

/// The id and name of a role: owners and admins are one here.
pub(super) fn role(role: Role) -> (i64, &'static str) {
    if role.is_in_charge() { (1, "Admin") } else { (2, "Member") }
}

/// An organization with its dates.
#[derive(Serialize)]
pub(super) struct Dated {
    id: i64,
    name: String,
    #[serde(rename = "createdAt")]
    created_at: String,
    #[serde(rename = "updatedAt")]
    updated_at: String,
    roles: [DatedRole; 1],
}

#[derive(Serialize)]
struct DatedRole {
    id: i64,
    role: &'static str,
    #[serde(rename = "createdAt")]
    created_at: &'static str,
    #[serde(rename = "updatedAt")]
    updated_at: &'static str,
}

impl Dated {
    /// As one who is `held` there sees it.
    pub(super) fn of(organization: &Organization, held: Role) -> Self {
        let (id, role) = role(held);
        Self {
            id: organization.id.0,
            name: organization.name.clone(),
            created_at: rfc3339(organization.created_at, Precision::SecondsAsMillis),
            updated_at: rfc3339(organization.updated_at, Precision::SecondsAsMillis),
            roles: [DatedRole { id, role, created_at: ROLES_SINCE, updated_at: ROLES_SINCE }],
        }
    }
}

/// An organization and what somebody is there.
#[derive(Serialize)]
pub(super) struct Plain {
    id: i64,
    name: String,
    roles: [PlainRole; 1],
}

#[derive(Serialize)]
struct PlainRole {
    id: i64,
    role: &'static str,
}

impl Plain {
    /// As one who is `held` there sees it.
    pub(super) fn of(organization: &Organization, held: Role) -> Self {
        let (id, role) = role(held);
        Self { id: organization.id.0, name: organization.name.clone(), roles: [PlainRole { id, role }] }
    }
}

/// An organization's name.
#[derive(Serialize)]
pub(super) struct Named {
    id: i64,
    name: String,
}

impl Named {
    pub(super) fn of(organization: &Organization) -> Self {
        Self { id: organization.id.0, name: organization.name.clone() }
    }
}

/// An answer around a list: its text before the first element, and behind the last.
pub(super) struct Frame {
    head: String,
    end: String,
}

impl Frame {
    /// Of an answer that holds one empty list under the key `list`.
    pub(super) fn around(list: &str, answer: &Value) -> Self {
        let text = answer.to_string();
        // In a JSON text the quotation marks of a string's content are escaped: this stands nowhere but at the key.
        let (before, after) = text.split_once(&format!("\"{list}\":[]")).unwrap_or((&text, ""));
        Self { head: format!("{before}\"{list}\":["), end: format!("]{after}") }
    }

    /// Of the answer that holds the list and nothing else.
    pub(super) fn only(list: &str) -> Self {
        Self::around(list, &json!({"success": true, list: []}))
    }
}

/// Some elements of a list, and whether none come after them.
pub(super) struct Piece<T> {
    pub(super) elements: Vec<T>,
    pub(super) is_last: bool,
}

/// Answers a list; `next` reads the piece after the one that it read before.
///
/// # Errors
/// What `next` refuses at first.
pub(super) async fn stream<T, F>(app: &App, frame: Frame, mut next: F) -> guildhall_domain::Result<Response>
where
    T: Serialize + Send + 'static,
    F: FnMut(&Db) -> guildhall_domain::Result<Piece<T>> + Clone + Send + 'static,
{
    let (piece, mut next) = app.read(move |db| next(db).map(|piece| (piece, next))).await?;
    let (mut first, mut is_first) = (frame.head.into_bytes(), true);
    let is_whole = piece.is_last;
    http::append(&mut first, piece.elements, &mut is_first);
    let next = move |db: &Db, out: &mut Vec<u8>| {
        let piece = next(db)?;
        http::append(out, piece.elements, &mut is_first);
        Ok(!piece.is_last)
    };
    Ok(Pieces { first, next, end: frame.end, is_whole }.respond(app))
}

/// Answers the caller's organizations, by joining, in the shape that `shape` gives; one that it gives none is left out.
///
/// # Errors
/// Where the database cannot be used.
pub(super) async fn stream_mine<T: Serialize + Send + 'static>(
    app: &App,
    actor: Actor,
    frame: Frame,
    shape: impl Fn(&Mine) -> Option<T> + Clone + Send + 'static,
) -> guildhall_domain::Result<Response> {
    let most = i64::try_from(PIECE).unwrap_or(i64::MAX);
    let mut last = None;
    let next = move |db: &Db| {
        let mut mine = organizations::mine(db, &actor, last.as_ref(), most)?;
        let piece = Piece { elements: mine.iter().filter_map(&shape).collect(), is_last: mine.len() < PIECE };
        last = mine.pop();
        Ok(piece)
    };
    stream(app, frame, next).await
}
