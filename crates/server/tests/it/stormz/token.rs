//! Tokens by password.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Stormz, message};
use crate::harness::{Answer, Call, House, PASSWORD, Plan, get, post, put};

/// A request for a token of `foo@example.com`, with these parameters besides.
fn ask(more: &[(&str, &str)]) -> Call {
    let usual = [("grant_type", "password"), ("username", "foo@example.com"), ("password", PASSWORD)];
    let is_given = |name: &str| more.iter().any(|(given, _)| *given == name);
    let mut form: Vec<(&str, &str)> = usual.into_iter().filter(|(name, _)| !is_given(name)).collect();
    form.extend(more);
    post("/oauth/token").form(&form)
}

fn error(word: &str) -> Value {
    json!({"error": word})
}

fn token(answer: &Answer) -> String {
    answer.value()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_for_a_password() {
    let house = House::new();
    house.user("foo");
    let json = post("/oauth/token/").json(json!({
        "grant_type": "password", "username": "FOO@example.com", "password": PASSWORD, "more": [1]
    }));
    for call in [ask(&[]), ask(&[("username", "foo")]), json] {
        let answer = house.send(call).await;
        let token = token(&answer);
        answer.is(
            200,
            json!({"access_token": token, "token_type": "bearer", "expires_in": 604_800, "scope": "read write"}),
        );
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        let me = house.send(get("/v1/user/me").bearer(&token)).await;
        assert_eq!(me.value()["email"], "foo@example.com");
    }
}

#[tokio::test]
async fn a_scope_narrows_it() {
    let stormz = Stormz::new();
    let name = ("username", "owner@example.com");
    for (asked, granted, writes) in [
        ("", "read write", true),
        ("read", "read", false),
        ("write", "write", true),
        ("write read", "read write", true),
        ("read  read", "read", false),
    ] {
        let answer = stormz.house.send(ask(&[name, ("scope", asked)])).await;
        assert_eq!((answer.status.as_u16(), &answer.value()["scope"]), (200, &json!(granted)), "{asked}");
        let token = token(&answer);
        assert_eq!(stormz.house.send(get(&stormz.path()).bearer(&token)).await.status, 200, "{asked}");
        let change = put(&stormz.path()).bearer(&token).json(json!({"name": "Stormz"}));
        let status = stormz.house.send(change).await.status.as_u16();
        assert_eq!(status, if writes { 204 } else { 403 }, "{asked}");
    }
    for unknown in ["admin", "read admin", "READ", " "] {
        stormz.house.send(ask(&[name, ("scope", unknown)])).await.is(400, error("invalid_scope"));
    }
}

#[tokio::test]
async fn the_errors_are_those_of_rfc_6749() {
    let house = House::new();
    house.user("foo");
    house.unverified_user("late");
    let refused = |call, word| {
        let house = &house;
        async move {
            let answer = house.send(call).await;
            answer.is(400, error(word));
            assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        }
    };
    for missing in ["grant_type", "username", "password"] {
        refused(ask(&[(missing, "")]), "invalid_request").await;
    }
    refused(post("/oauth/token"), "invalid_request").await;
    refused(post("/oauth/token").body("text/plain", b"grant_type=password"), "invalid_request").await;
    for body in ["", "{", "[]", "[\"password\",\"foo\",\"x\"]", "{\"grant_type\": 1}"] {
        refused(post("/oauth/token").body("application/json", body.as_bytes()), "invalid_request").await;
    }
    refused(ask(&[("scope", "read"), ("scope", "read")]), "invalid_request").await;
    for grant in ["authorization_code", "refresh_token", "Password"] {
        refused(ask(&[("grant_type", grant)]), "unsupported_grant_type").await;
    }
    refused(ask(&[("password", "wrong")]), "invalid_grant").await;
    refused(ask(&[("username", "bar@example.com")]), "invalid_grant").await;
    refused(ask(&[("password", &"x".repeat(2_000))]), "invalid_grant").await;
    refused(ask(&[("username", "late@example.com"), ("password", "wrong")]), "invalid_grant").await;
    house.send(ask(&[("username", "late@example.com")])).await.is(
        400,
        json!({"error": "invalid_grant", "error_description": "The e-mail address is not verified."}),
    );
    house.disable("foo");
    refused(ask(&[]), "invalid_grant").await;
    let large = post("/oauth/token").body("application/json", &vec![b' '; 1024 * 1024 + 1]);
    house.send(large).await.is(413, message("Request body too large"));
}

#[tokio::test]
async fn who_fails_too_often_is_told_when_to_come_back() {
    let house = House::new();
    house.user("foo");
    for _ in 0..8 {
        // Late enough not to be made to wait, which would take real time.
        house.pass(Duration::from_secs(60));
        house.send(ask(&[("password", "wrong")])).await.is(400, error("invalid_grant"));
    }
    let answer = house.send(ask(&[])).await;
    answer.is(429, message("Too many requests"));
    assert_eq!(answer.header("retry-after"), "8");
}

#[tokio::test]
async fn clients_are_asked_for_where_some_are_configured() {
    let basic = |pair: &str| {
        use base64::prelude::{BASE64_STANDARD, Engine as _};
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    };
    let none = House::new();
    none.user("foo");
    for header in [basic("app:anything"), "Bearer x".into(), "nonsense".into()] {
        assert_eq!(none.send(ask(&[]).header("authorization", &header)).await.status, 200, "{header}");
    }
    let house = House::with(Plan {
        oauth_clients: vec![("app".into(), "s%c+t".into()), ("öffentlich".into(), String::new())],
        ..Plan::default()
    });
    house.user("foo");
    let by = |header: &str| ask(&[]).header("authorization", header);
    for good in [
        by(&basic("app:s%c+t")),
        by(&basic("app:s%25c%2Bt")),
        by(&basic("%C3%B6ffentlich:")).clone(),
        ask(&[("client_id", "app"), ("client_secret", "s%c+t")]),
        ask(&[("client_id", "öffentlich")]),
    ] {
        assert_eq!(house.send(good).await.status, 200);
    }
    for bad in [
        ask(&[]),
        ask(&[("grant_type", "nonsense")]),
        ask(&[("client_id", "app")]),
        ask(&[("client_id", "app"), ("client_secret", "wrong")]),
        ask(&[("client_id", "other"), ("client_secret", "")]),
        by(&basic("app:wrong")),
        by(&basic("app")),
        by("Basic !"),
        by("Basic"),
        by("Bearer app"),
        ask(&[("client_id", "app"), ("client_secret", "s%c+t")]).header("authorization", &basic("app:wrong")),
    ] {
        let answer = house.send(bad).await;
        answer.is(401, error("invalid_client"));
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"oauth\"");
    }
}
