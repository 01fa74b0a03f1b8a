//! What organizations look like on the wire, and answers around a list, which are written piece by piece.

use axum::response::Response;
use guildhall_domain::authz::{Actor, Role};
use guildhall_domain::db::Db;
use guildhall_domain::organizations::{self, Mine, Organization};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::http::{self, Precision, rfc3339};

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

/// The text of an answer around a list: before the first element, and behind the last.
pub(super) type Frame = (String, String);

/// The text around the empty list under the key `list` of `answer`, which holds no other under that key.
pub(super) fn around(list: &str, answer: &Value) -> Frame {
    let text = answer.to_string();
    // In a JSON text the quotation marks of a string's content are escaped: this stands nowhere but at the key.
    let (before, after) = text.split_once(&format!("\"{list}\":[]")).unwrap_or((&text, ""));
    (format!("{before}\"{list}\":["), format!("]{after}"))
}

/// The text of the answer that holds the list and nothing else.
pub(super) fn only(list: &str) -> Frame {
    around(list, &json!({"success": true, list: []}))
}

/// Answers the caller's organizations, by joining, in the shape that `shape` gives; one that it gives none is left out.
///
/// # Errors
/// Where the database cannot be used.
pub(super) async fn stream_mine<T: Serialize>(
    app: &App,
    actor: Actor,
    frame: Frame,
    shape: impl Fn(&Mine) -> Option<T> + Clone + Send + 'static,
) -> guildhall_domain::Result<Response> {
    let after = move |db: &Db, last: Option<&Mine>, most| organizations::mine(db, &actor, last, most);
    http::list(app, frame, shape, after).await
}
