//! What is another organization's is told apart from what never was by nothing at all, and nothing happens to it.

use axum::http::{HeaderMap, StatusCode};
use guildhall_domain::memberships::{Joining, Visibility};
use serde_json::{Map, Value};

use super::calls;
use super::routes;
use super::scene::{OWNER, Person, Place, Scene, house};
use crate::harness::{Answer, Call, House, get};
use crate::place::counted;

/// What paths call an organization or an event.
const NAMES: [&str; 5] = ["{organization_id}", "{orgid}", "{id}", "{slug}", "{event_id}"];

const PRIVATE: (Visibility, Joining) = (Visibility::Private, Joining::Invite);

#[tokio::test]
async fn anothers_organization_is_as_one_that_never_was() {
    let house = house();
    let mut own = Scene::new(&house, &OWNER, PRIVATE).await;
    let foreign = Scene::new(&house, &OWNER, PRIVATE).await.place;
    let named = |number: &str, short: &str, slug: &str| Place {
        number: number.into(),
        short: short.into(),
        slug: slug.into(),
        event: number.into(),
        member: foreign.member.clone(),
    };
    let never = named("999999", &"f".repeat(24), "never-was");
    let malformed = named("x1", "x1", "x%201");
    let before = settled(&own).await;
    let mut tried = 0;
    for (dialect, routes) in routes() {
        for (method, path) in routes {
            if !NAMES.iter().any(|name| path.contains(name)) {
                continue;
            }
            for variant in calls::variants(&method, path) {
                let mut answers = Vec::new();
                for place in [&foreign, &never, &malformed] {
                    own.place = place.clone();
                    answers.push(told(&own, (dialect, &method, path), variant).await);
                }
                assert!(!answers[0].0.is_success(), "{method} {path}: {answers:?}");
                assert!(answers.iter().all(|answer| *answer == answers[0]), "{method} {path}: {answers:#?}");
                assert_eq!(house.place.stored().everything(), before, "{method} {path} changed something");
                tried += answers.len();
            }
        }
    }
    counted(tried, "calls about another's organization, none let in");
}

#[tokio::test]
async fn anothers_member_is_as_one_who_never_was() {
    let house = house();
    let mut own = Scene::new(&house, &OWNER, PRIVATE).await;
    let foreign = Scene::new(&house, &OWNER, PRIVATE).await.place.member;
    let named = |number: &str, short: &str, name: &str| Person {
        number: number.into(),
        short: short.into(),
        username: name.into(),
        email: format!("{name}@example.com"),
    };
    let never = named("999999", &"f".repeat(24), "never");
    let malformed = Person { email: "x1".into(), ..named("99999999999999999999999", "x1", "x%201") };
    let before = settled(&own).await;
    let mut tried = Vec::new();
    for (dialect, routes) in routes() {
        for (method, path) in routes {
            let mut calls = Vec::new();
            for member in [&foreign, &never, &malformed] {
                own.place.member = member.clone();
                calls.push(calls::of(dialect, (&method, path), &own, "").unwrap());
            }
            if calls[0] == calls[1] {
                continue;
            }
            tried.push(format!("{method} {path}"));
            let mut answers = Vec::new();
            for call in calls {
                answers.push(parts(house.send(call.bearer(own.credential.as_ref().unwrap())).await));
            }
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{method} {path}: {answers:#?}");
            assert_eq!(house.place.stored().everything(), before, "{method} {path} changed something");
        }
    }
    let expected = [
        "DELETE /organizations/{organization_id}/remove",
        "POST /organizations/{organization_id}/events/create",
        "PUT /events/{event_id}",
        "GET /api/v1/organizations/{slug}/users/{username}/",
        "PATCH /api/v1/organizations/{slug}/users/{username}/",
        "DELETE /api/v1/organizations/{slug}/users/{username}/",
        "POST /api/org/{orgid}/users/remove",
        "PUT /api/org/{orgid}/admin/grant",
        "PUT /api/org/{orgid}/admin/revoke",
        "PUT /api/org/{orgid}/admin/resetpassword",
        "DELETE /v1/organizations/{id}/members/{user}",
    ];
    assert_eq!(tried, expected, "every call that names a member was tried");
    counted(3 * tried.len(), "calls about another's member, none let in");
}

/// Where a caller could hope that an organization is named, whatever the documents say.
const WORDS: [&str; 7] = ["id", "org", "orgid", "organization", "organization_id", "organizationId", "slug"];
const HEADERS: [&str; 4] = ["x-organization", "x-organization-id", "x-org-id", "x-tenant-id"];

/// An owner's own calls with another organization's ids in every query, header and body position: nobody is shown anything
/// of it, and nothing happens to it.
#[tokio::test]
async fn anothers_ids_lead_nowhere_from_any_other_position() {
    let house = house();
    let foreign = Scene::new(&house, &OWNER, PRIVATE).await;
    let (name, mail) = (format!("\"Hall {}\"", foreign.serial), foreign.founder.email.clone());
    let ids = [&foreign.place.number, &foreign.place.short, &foreign.place.slug];
    let before = kept(&foreign);
    let mut tried = 0;
    for (dialect, routes) in routes() {
        for (method, path) in routes {
            let mut scene = None;
            for position in 0.. {
                let own = match scene.take() {
                    Some(own) => own,
                    None => ready(&house, (&method, path)).await,
                };
                let call = calls::of(dialect, (&method, path), &own, "").unwrap();
                let id = ids[position % ids.len()];
                let Some(call) = misled(call, position / ids.len(), id) else { break };
                let answer = house.send(call.bearer(own.credential.as_ref().unwrap())).await;
                let what = format!("{method} {path}, {position}: {} {}", answer.status, answer.text());
                assert!(!answer.status.is_server_error(), "{what}");
                assert!(!answer.text().contains(&name) && !answer.text().contains(&mail), "{what}");
                tried += 1;
                // What nothing came of can be asked again.
                scene = (method == "GET" || !answer.status.is_success()).then_some(own);
            }
            assert_eq!(kept(&foreign), before, "{method} {path} changed something");
        }
    }
    counted(tried, "calls with another's ids in query, header or body, nothing shown or changed");
}

/// An owner, and all that the call needs.
async fn ready<'h>(house: &'h House, route: (&str, &str)) -> Scene<'h> {
    let mut scene = Scene::new(house, &OWNER, PRIVATE).await;
    scene.prepare(&OWNER, route, "").await;
    scene
}

/// The call with the id in that position: those of the query, the headers together, each field of a JSON body, and one that
/// no body has; nothing where there is no such position.
fn misled(mut call: Call, position: usize, id: &str) -> Option<Call> {
    if position == 0 {
        let mark = if call.path.contains('?') { '&' } else { '?' };
        let query: Vec<String> = WORDS.iter().map(|word| format!("{word}={id}")).collect();
        call.path.push_str(&format!("{mark}{}", query.join("&")));
        return Some(call);
    }
    if position == 1 {
        return Some(HEADERS.iter().fold(call, |call, name| call.header(name, id)));
    }
    let mut body: Map<String, Value> = serde_json::from_slice(&call.body).ok()?;
    let fields: Vec<String> = body.keys().cloned().collect();
    match fields.get(position - 2) {
        Some(field) => drop(body.insert(field.clone(), id.into())),
        None if position - 2 == fields.len() => {
            for word in WORDS {
                body.entry(word).or_insert_with(|| id.parse::<u64>().map_or(id.into(), Value::from));
            }
        }
        None => return None,
    }
    call.body = Value::from(body).to_string().into_bytes();
    Some(call)
}

/// All that is stored of the scene's organization and of who was in it from the first.
fn kept(scene: &Scene<'_>) -> Vec<String> {
    let mut stored = scene.house.place.stored();
    let number = &scene.place.number;
    let mut rows = stored.rows(&format!("SELECT * FROM organizations WHERE id = {number}"));
    for table in ["memberships", "invitations", "events", "event_people", "activity"] {
        let mut more = stored.rows(&format!("SELECT * FROM {table} WHERE organization_id = {number}"));
        more.sort_unstable();
        rows.extend(more);
    }
    rows
}

/// Everything that is stored, once the caller was seen.
async fn settled(scene: &Scene<'_>) -> Vec<String> {
    let credential = scene.credential.as_ref().unwrap();
    assert_eq!(scene.house.send(get("/v1/user/me").bearer(credential)).await.status, StatusCode::OK);
    scene.house.place.stored().everything()
}

type Parts = (StatusCode, HeaderMap, String);

/// What the caller is told, with the organization's id blotted out where a dialect repeats it.
async fn told(scene: &Scene<'_>, (dialect, method, path): (&str, &str, &str), variant: &str) -> Parts {
    let call = calls::of(dialect, (method, path), scene, variant).unwrap();
    let answer = scene.house.send(call.bearer(scene.credential.as_ref().unwrap())).await;
    let (status, headers, body) = parts(answer);
    let (id, blot) = (format!(" ID {} not found", scene.place.number), " ID {id} not found");
    if !body.contains(&id) {
        return (status, headers, body);
    }
    // The length is that of the id as well.
    let mut headers = headers;
    headers.remove("content-length");
    (status, headers, body.replace(&id, blot))
}

/// The answer without what no two answers share.
fn parts(answer: Answer) -> Parts {
    let body = answer.text().to_owned();
    let mut headers = answer.headers;
    for name in ["x-request-id", "date"] {
        headers.remove(name);
    }
    (answer.status, headers, body)
}
