//! Every call: its credential, its path, its method, the form of its body.

use std::time::Duration;

use serde_json::json;

use super::{incorrect, says};
use crate::harness::{Call, House, call, get, post, put};

/// Every call that needs somebody who is signed in.
const SIGNED_IN: [(&str, &str); 15] = [
    ("DELETE", "/user/logout"),
    ("POST", "/organizations/create"),
    ("GET", "/organizations/1"),
    ("PUT", "/organizations/1"),
    ("DELETE", "/organizations/1"),
    ("PUT", "/organizations/1/invite"),
    ("DELETE", "/organizations/1/remove"),
    ("PUT", "/organizations/1/membership"),
    ("DELETE", "/organizations/1/membership"),
    ("POST", "/organizations/1/events/create"),
    ("GET", "/events/1"),
    ("PUT", "/events/1"),
    ("DELETE", "/events/1"),
    ("PUT", "/events/1/rsvp"),
    ("DELETE", "/events/1/rsvp"),
];

/// The calls that read JSON, and what they do.
const WITH_JSON: [(&str, &str, &str); 6] = [
    ("POST", "/users/Student/create", "create a student"),
    ("POST", "/user/login", "log in"),
    ("PUT", "/organizations/1/invite", "invite owners"),
    ("DELETE", "/organizations/1/remove", "remove a member"),
    ("POST", "/organizations/1/events/create", "create a event"),
    ("PUT", "/events/1", "update a event"),
];

async fn refused(house: &House, call: impl Fn(Call) -> Call, status: u16, msg: &str) {
    for (method, path) in SIGNED_IN {
        println!("{method} {path}");
        house.send(call(self::call(method, path))).await.is(status, json!({"msg": msg}));
    }
}

#[tokio::test]
async fn a_credential_that_does_not_count_is_refused_everywhere() {
    let house = House::new();
    house.user("ana");
    let (token, key) = (house.token("ana"), house.api_key("ana"));
    let cookie = format!("access_token_cookie={token}");
    refused(&house, |call| call, 401, "Missing cookie \"access_token_cookie\"").await;
    refused(&house, |call| call.header("cookie", "access_token_cookie=x"), 401, "Invalid token").await;
    for value in ["Bearer x", "Bearer", "Basic YTpi", "Token a b"] {
        refused(&house, |call| call.header("authorization", value), 401, "Invalid token").await;
    }
    let several = "More than one credential in the request";
    refused(&house, |call| call.bearer(&token).header("cookie", &cookie), 400, several).await;
    refused(&house, |call| call.bearer(&token).token(&key), 400, several).await;
    house.pass(Duration::from_secs(8 * 24 * 3600));
    refused(&house, |call| call.bearer(&token), 401, "Token has expired").await;
    refused(&house, |call| call.header("cookie", &cookie), 401, "Token has expired").await;
    house.disable("ana");
    refused(&house, |call| call.token(&key), 401, "Invalid token").await;
}

#[tokio::test]
async fn every_form_of_credential_is_taken() {
    let house = House::new();
    house.user("ana");
    let (token, key) = (house.token("ana"), house.api_key("ana"));
    let missing = says("Organization does not exist");
    for value in [format!("Bearer {token}"), format!("tOKEN {token}"), format!("Bearer {key}")] {
        house.send(get("/organizations/1").header("authorization", &value)).await.is(404, missing.clone());
    }
    let answer = house.send(get("/organizations/1").bearer(&token)).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_told_in_bits_words() {
    let house = House::new();
    for path in [
        "/organizations/1/",
        "/organizations/",
        "/organizations/1/members",
        "/organizations/create/",
        "/user/login/",
        "/user",
        "/users/Student",
        "/events",
        "/events/1/",
        "/events/1/rsvp/",
    ] {
        let unknown = says("The requested URL was not found on the server.");
        house.send(get(path)).await.is(404, unknown);
    }
    for (method, path, allowed) in [
        ("GET", "/organizations/create", "POST"),
        ("PUT", "/organizations/create", "POST"),
        ("DELETE", "/organizations/create", "POST"),
        ("POST", "/organizations/1", "GET,HEAD,PUT,DELETE"),
        ("PATCH", "/organizations/1", "GET,HEAD,PUT,DELETE"),
        ("GET", "/organizations/1/membership", "PUT,DELETE"),
        ("POST", "/organizations/1/invite", "PUT"),
        ("PUT", "/organizations/1/remove", "DELETE"),
        ("GET", "/organizations/1/events/create", "POST"),
        ("GET", "/user/login", "POST"),
        ("POST", "/user/logout", "DELETE"),
        ("GET", "/users/Student/create", "POST"),
        ("POST", "/events/1", "GET,HEAD,PUT,DELETE"),
        ("GET", "/events/1/rsvp", "PUT,DELETE"),
    ] {
        let answer = house.send(call(method, path)).await;
        println!("{method} {path}");
        answer.is(405, says("The method is not allowed for the requested URL."));
        let mut allow: Vec<_> = answer.header("allow").split(',').collect();
        let mut allowed: Vec<_> = allowed.split(',').collect();
        allow.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(allow, allowed);
    }
}

#[tokio::test]
async fn json_that_is_none_or_not_sent_as_such_or_too_much() {
    let house = House::new();
    house.user("ana");
    house.organization("Hot Pot", "ana");
    let token = house.token("ana");
    let event = json!({"name": "Meeting", "date": "2020-02-10T22:27:00+0000"});
    let made = house.send(post("/organizations/1/events/create").bearer(&token).json(event)).await;
    made.is(202, says("Event successfully created"));
    for (method, path, what) in WITH_JSON {
        println!("{method} {path}");
        let call = || call(method, path).bearer(&token);
        for body in [&b"{"[..], b"", b"{} x", b"\xff", b"{\"name\": \"\\ud800\"}"] {
            let answer = house.send(call().body("application/json", body)).await;
            answer.is(400, says("Failed to decode JSON object"));
        }
        for body in [json!(null), json!([]), json!("x"), json!({}), json!({"x": 1})] {
            house.send(call().json(body)).await.is(422, incorrect(what));
        }
        for content_type in ["text/plain", "multipart/form-data; boundary=x"] {
            house.send(call().body(content_type, b"{}")).await.is(422, incorrect(what));
        }
        house.send(call()).await.is(422, incorrect(what));
        let large = vec![b' '; 1024 * 1024 + 1];
        let answer = house.send(call().body("application/json", &large)).await;
        answer.is(413, says("The request body is too large."));
    }
}

#[tokio::test]
async fn an_id_of_another_form_is_one_that_never_was() {
    let house = House::new();
    house.user("ana");
    house.organization("Hot Pot", "ana");
    let token = house.token("ana");
    for id in ["0", "2", "01", "+1", "-1", "1.0", "x", "99999999999999999999", "%FF", "%00", "1%2F"] {
        let path = format!("/organizations/{id}");
        house.send(get(&path).bearer(&token)).await.is(404, says("Organization does not exist"));
        let path = format!("/events/{id}/rsvp");
        house.send(put(&path).bearer(&token)).await.is(404, says("Event does not exist"));
    }
}
