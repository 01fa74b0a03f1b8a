//! The list of organizations: whole, or a part of it with links to the other parts.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use guildhall_domain::authz::Permission;
use guildhall_domain::db::Db;
use guildhall_domain::organizations::{self, Listing, Order};
use guildhall_domain::text::fold;
use serde_json::json;

use super::fields::{Complaints, Read, told};
use super::organizations::Organization;
use super::{Cadasta, Error, SIGHT};
use crate::app::App;
use crate::auth::Caller;
use crate::http::{self, PIECE, Pieces, Query, Turn};

/// The most organizations of one part.
pub(super) const LIMIT_MAX: usize = 1_000;
/// How many a part holds where only its beginning is told, as in the original.
const LIMIT_DEFAULT: usize = 100;
/// The most characters that are sought: each word costs a look at every organization.
pub(super) const SEARCH_MAX: usize = 200;
const SEARCH_TOO_LONG: &str = "Ensure this field has no more than 200 characters.";
/// The path of the list.
const PATH: &str = "/api/v1/organizations/";

pub(super) async fn list(
    turn: Turn<Cadasta>,
    State(app): State<App>,
    Caller { actor, .. }: Caller<Cadasta>,
    query: Query,
) -> Result<Response, Error> {
    let window = Window::read(&query)?;
    let (mut answer, count) = match read_listing(&query) {
        None => (http::json(StatusCode::OK, &json!([])), 0),
        Some(listing) => {
            let (caller, wanted) = (actor.clone(), listing.clone());
            let part = window.map(|window| (window.offset, window.limit));
            let is_quick = listing.is_quick(&actor, part, PIECE) && !app.db.is_remote();
            let look = move |db: &Db| organizations::list(db, &caller, &wanted, part, PIECE);
            let (mut page, count) =
                if is_quick { app.read(look).await? } else { app.search(turn.client, look).await? };
            let (mut first, mut is_first) = (b"[".to_vec(), true);
            append(&mut first, &page, &mut is_first);
            let is_whole = page.is_last();
            let next = move |db: &Db, out: &mut Vec<u8>| {
                page = page.next(db, &actor, &listing, PIECE)?;
                append(out, &page, &mut is_first);
                Ok(!page.is_last())
            };
            (Pieces { first, next, end: "]", is_whole }.respond_in(&app, &turn), count.unwrap_or(0))
        }
    };
    // What stands in a query is encoded, so only a public URL that is none could not be a header's value.
    if let Some(window) = window
        && let Ok(links) = HeaderValue::try_from(window.links(&app.public_url, &query, count))
    {
        answer.headers_mut().insert(header::LINK, links);
    }
    Ok(answer)
}

fn append(out: &mut Vec<u8>, page: &organizations::Page, is_first: &mut bool) {
    http::append(out, page.seen.iter().map(|seen| Organization::from(&seen.organization)), is_first);
}

/// What the query asks for; nothing where it asks for what nobody holds. What it does not understand it passes over.
fn read_listing(query: &Query) -> Option<Listing> {
    let parts = |name: &str| query.get(name).unwrap_or_default().split(',').map(str::trim);
    let mut holding = Vec::new();
    for name in parts("permissions").filter(|name| !name.is_empty()) {
        holding.extend_from_slice(permissions(name)?);
    }
    let search = fold(query.get("search").unwrap_or_default());
    let words = search.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort_unstable();
    words.dedup();
    // A key that stands behind the same one, or its reverse, decides nothing.
    let mut keys: Vec<Order> = Vec::new();
    for key in parts("ordering").filter_map(order) {
        if !keys.iter().any(|known| std::mem::discriminant(known) == std::mem::discriminant(&key)) {
            keys.push(key);
        }
    }
    Some(Listing {
        archived: match query.get("archived") {
            Some("true" | "True" | "1") => Some(true),
            Some("false" | "False" | "0") => Some(false),
            _ => None,
        },
        words,
        holding,
        order: keys,
        sight: SIGHT,
    })
}

fn order(key: &str) -> Option<Order> {
    match key {
        "name" => Some(Order::Name(false)),
        "-name" => Some(Order::Name(true)),
        "description" => Some(Order::Description(false)),
        "-description" => Some(Order::Description(true)),
        _ => None,
    }
}

/// What a permission of the original is here: nothing to hold for what everybody does who sees the organization. Projects
/// are not kept here; who may make one is whoever may change the organization.
fn permissions(name: &str) -> Option<&'static [Permission]> {
    Some(match name {
        "org.list" | "org.view" | "project.list" => &[],
        "org.view_archived" | "org.archive" | "org.unarchive" => &[Permission::Archive],
        "org.update" | "project.create" => &[Permission::Update],
        "org.users.list" => &[Permission::ReadMembers],
        "org.users.add" => &[Permission::AddMembers],
        "org.users.edit" => &[Permission::ChangeRoles],
        "org.users.remove" => &[Permission::RemoveMembers],
        _ => return None,
    })
}

/// A part of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    offset: usize,
    limit: usize,
}

impl Window {
    /// The part that the query asks for, if it asks for one.
    fn read(query: &Query) -> Result<Option<Self>, Error> {
        let mut wrong = Complaints::default();
        let limit = wrong.note("limit", whole_number(query.get("limit"), 1, LIMIT_MAX)).flatten();
        let offset = wrong.note("offset", whole_number(query.get("offset"), 0, usize::MAX)).flatten();
        if query.get("search").is_some_and(|search| search.chars().count() > SEARCH_MAX) {
            wrong.note_first("search", SEARCH_TOO_LONG);
        }
        if !wrong.is_empty() {
            return Err(wrong.into());
        }
        let is_part = limit.is_some() || offset.is_some();
        Ok(is_part.then(|| Self { offset: offset.unwrap_or(0), limit: limit.unwrap_or(LIMIT_DEFAULT) }))
    }

    /// The `Link` header of this part of a list of `count`.
    fn links(self, public_url: &str, query: &Query, count: usize) -> String {
        let Self { offset, limit } = self;
        let kept = query.without(&["limit", "offset"]);
        let and = if kept.is_empty() { "" } else { "&" };
        let last = count.saturating_sub(1) / limit * limit;
        let mut places = vec![("first", 0)];
        if offset > 0 {
            // From behind the end, the way back leads to the last part.
            places.push(("prev", offset.saturating_sub(limit).min(last)));
        }
        let next = offset.saturating_add(limit);
        if next < count {
            places.push(("next", next));
        }
        places.push(("last", last));
        let link = |(rel, offset): (&str, usize)| {
            format!("<{public_url}{PATH}?{kept}{and}limit={limit}&offset={offset}>; rel=\"{rel}\"")
        };
        places.into_iter().map(link).collect::<Vec<_>>().join(", ")
    }
}

/// A number in decimal digits from `least` to `most`. One that is too great to be counted is as good as the greatest.
fn whole_number(text: Option<&str>, least: usize, most: usize) -> Read<Option<usize>> {
    let Some(text) = text else { return Ok(None) };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().unwrap_or(usize::MAX);
    if is_number && (least..=most).contains(&number) {
        Ok(Some(number))
    } else {
        Err(told("A valid integer is required."))
    }
}

#[cfg(test)]
mod parsers;
