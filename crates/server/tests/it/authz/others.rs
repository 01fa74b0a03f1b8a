//! What is another organization's is told apart from what never was by nothing at all, and nothing happens to it.

use axum::http::{HeaderMap, StatusCode};

use super::calls;
use super::routes;
use super::scene::{OWNER, Person, Place, Scene, house};
use crate::harness::{Answer, get};
use guildhall_domain::memberships::{Joining, Visibility};

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
            }
        }
    }
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
