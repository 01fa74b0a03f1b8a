//! buildog (document 004), read beside it: one call, the whole answer.

use std::time::Duration;

use guildhall_domain::authz::{Role, State};
use serde_json::{Value, json};

use crate::harness::{Call, House, Plan, call, delete, get, post, put};
use crate::issuers::{Answer, Server, claims, config, first, token, with, without};

const BOTH: [&str; 2] = ["/api/organizations", "/organizations"];

fn error(message: &str) -> Value {
    json!({"error": message})
}

fn new(name: &str) -> Call {
    post("/api/organizations").json(json!({"organization_name": name}))
}

#[tokio::test]
async fn the_document_as_it_stands() {
    let house = House::new();
    let ana = house.user("ana");
    let token = house.token("ana");
    house.send(get("/api/organizations").bearer(&token)).await.is(200, json!([]));
    let made = house
        .send(post("/api/organizations").bearer(&token).json(json!({
            "organization_name": "New Organization",
            "organization_description": "This is a description of the new organization."
        })))
        .await;
    let id = made.value()["organization_id"].as_str().unwrap().to_owned();
    made.is(201, json!({"organization_id": id, "user_id": ana.uid.uuid(), "role": "owner"}));
    for path in BOTH {
        house.send(get(path).bearer(&token)).await.is(
            200,
            json!([{
                "id": id,
                "name": "New Organization",
                "description": "This is a description of the new organization.",
                "created_by": ana.uid.uuid(),
                "created_at": "2026-01-02T03:04:05Z"
            }]),
        );
    }
}

#[tokio::test]
async fn the_list_is_ones_own_by_joining() {
    let house = House::new();
    let bo = house.user("bo");
    house.user("ana");
    for (slug, state) in [
        ("first", State::Active),
        ("second", State::Inactive),
        ("third", State::Pending),
        ("fourth", State::Suspended),
        ("fifth", State::Active),
    ] {
        house.organization(slug, "bo");
        house.pass(Duration::from_secs(1));
        house.member(slug, "ana", Role::Member, state);
    }
    house.organization("not hers", "bo");
    house.archive("fifth", true);
    let answer = house.send(get("/api/organizations").bearer(&house.token("ana"))).await;
    let names: Vec<(String, String)> = answer
        .value()
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap().into(), one["created_by"].as_str().unwrap().into()))
        .collect();
    let bo = bo.uid.uuid();
    assert_eq!(names, [("first".into(), bo.clone()), ("second".into(), bo.clone()), ("fifth".into(), bo)]);
}

#[tokio::test]
async fn a_long_list_comes_whole_and_in_order() {
    let house = House::new();
    house.user("ana");
    let token = house.token("ana");
    for number in 0..1_201 {
        house.organization(&format!("Number {number}"), "ana");
    }
    let answer = house.send(get("/organizations").bearer(&token)).await;
    let names: Vec<String> =
        answer.value().as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().into()).collect();
    let wanted: Vec<String> = (0..1_201).map(|number| format!("Number {number}")).collect();
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn who_may_create() {
    for (role, state, may) in [
        (Role::Owner, State::Active, true),
        (Role::Admin, State::Inactive, true),
        (Role::Member, State::Active, false),
        (Role::Member, State::Inactive, false),
        (Role::Member, State::Pending, true),
        (Role::Member, State::Suspended, true),
    ] {
        let house = House::new();
        house.user("bo");
        house.user("ana");
        house.organization("acme", "bo");
        house.member("acme", "ana", role, state);
        let token = house.token("ana");
        let answer = house.send(new("Another").bearer(&token)).await;
        if may {
            assert_eq!(answer.status, 201, "{role:?} {state:?}: {}", answer.text());
        } else {
            answer.is(403, error("Permission denied"));
            // The right comes before the form.
            house
                .send(post("/organizations").bearer(&token).json(json!([])))
                .await
                .is(403, error("Permission denied"));
        }
    }
}

#[tokio::test]
async fn one_who_leads_somewhere_may_create_though_a_member_elsewhere() {
    let house = House::new();
    house.user("bo");
    house.user("ana");
    house.organization("acme", "bo");
    house.organization("hers", "ana");
    house.member("acme", "ana", Role::Member, State::Active);
    assert_eq!(house.send(new("Another").bearer(&house.token("ana"))).await.status, 201);
}

#[tokio::test]
async fn bodies_that_are_none_are_refused() {
    let house = House::new();
    house.user("ana");
    let token = house.token("ana");
    for body in [
        json!([]),
        json!("text"),
        json!({}),
        json!({"organization_name": null}),
        json!({"organization_name": 5}),
        json!({"organization_name": ""}),
        json!({"organization_name": "  "}),
        json!({"organization_name": "a\nb"}),
        json!({"organization_name": "a\u{202e}b"}),
        json!({"organization_name": "x".repeat(201)}),
        json!({"Organization_Name": "other case"}),
        json!({"organization_name": "x", "organization_description": null}),
        json!({"organization_name": "x", "organization_description": 5}),
        json!({"organization_name": "x", "organization_description": "y".repeat(10_001)}),
    ] {
        let answer = house.send(post("/api/organizations").bearer(&token).json(body)).await;
        answer.is(400, error("Invalid request body"));
    }
    for (content_type, body) in [
        ("application/json", &b"{"[..]),
        ("application/json", b""),
        ("application/json", b"\xff"),
        ("application/json", b"{\"organization_name\":\"\\ud800\"}"),
        ("text/plain", b"{\"organization_name\":\"x\"}"),
        ("application/x-www-form-urlencoded", b"organization_name=x"),
    ] {
        let answer = house.send(post("/api/organizations").bearer(&token).body(content_type, body)).await;
        answer.is(400, error("Invalid request body"));
    }
    house.send(get("/api/organizations").bearer(&token)).await.is(200, json!([]));
    let longest = json!({
        "organization_name": "é".repeat(200),
        "organization_description": "y".repeat(10_000),
        "whatever": {"is": "ignored"},
    });
    assert_eq!(house.send(post("/organizations").bearer(&token).json(longest)).await.status, 201);
    let huge = vec![b' '; 1024 * 1024 + 1];
    let answer = house.send(post("/organizations").bearer(&token).body("application/json", &huge)).await;
    answer.is(413, error("Request body too large"));
}

#[tokio::test]
async fn credentials_that_do_not_count() {
    let house = House::new();
    house.user("ana");
    house.user("gone");
    let (token, other) = (house.token("ana"), house.token("gone"));
    let key = house.api_key("gone");
    house.disable("gone");
    for (method, path) in
        [("GET", BOTH[0]), ("GET", BOTH[1]), ("POST", BOTH[0]), ("POST", BOTH[1]), ("POST", "/api/users")]
    {
        for header in [
            String::new(),
            "Bearer".into(),
            "Bearer x".into(),
            format!("Bearer {token} {token}"),
            format!("Basic {token}"),
            format!("Bearer {}", &token[..token.len() - 1]),
            format!("Bearer {other}"),
            format!("Bearer {key}"),
            format!("Token {}", "0".repeat(40)),
        ] {
            let sent = if header.is_empty() {
                call(method, path)
            } else {
                call(method, path).header("authorization", &header)
            };
            house.send(sent).await.is(401, error("Token claims missing"));
        }
        house
            .send(call(method, &format!("{path}?access_token={token}")))
            .await
            .is(401, error("Token claims missing"));
        let twice = call(method, path).bearer(&token).header("cookie", "access_token_cookie=x");
        house.send(twice).await.is(400, error("More than one credential in the request"));
    }
    house.pass(Duration::from_secs(7 * 24 * 3600));
    house.send(get(BOTH[0]).bearer(&token)).await.is(401, error("Token claims missing"));
}

#[tokio::test]
async fn every_form_of_credential_is_taken() {
    let house = House::new();
    house.user("ana");
    let (token, key) = (house.token("ana"), house.api_key("ana"));
    for header in [
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!("Token {token}"),
        format!("TOKEN {key}"),
        format!("Bearer {key}"),
    ] {
        house.send(get(BOTH[0]).header("authorization", &header)).await.is(200, json!([]));
    }
    let cookie = format!("theme=dark; access_token_cookie={token}");
    house.send(get(BOTH[0]).header("cookie", &cookie)).await.is(200, json!([]));
    let csrf = house.app.keys.verify(&token).unwrap().csrf.clone();
    house.send(new("One").header("cookie", &cookie)).await.is(403, error("CSRF token missing or wrong"));
    let wrong = new("One").header("cookie", &cookie).header("x-csrf-token", "wrong");
    house.send(wrong).await.is(403, error("CSRF token missing or wrong"));
    let right = new("One").header("cookie", &cookie).header("x-csrf-token", &csrf);
    assert_eq!(house.send(right).await.status, 201);
}

#[tokio::test]
async fn paths_and_methods_that_are_none() {
    let house = House::new();
    house.user("ana");
    let token = house.token("ana");
    for path in BOTH {
        for sent in [delete(path), put(path), call("PATCH", path), call("OPTIONS", path), call("BREW", path)]
        {
            let answer = house.send(sent.bearer(&token)).await;
            answer.is(405, error("Method not allowed"));
            assert_eq!(answer.header("allow"), "GET,HEAD,POST");
        }
    }
    house.send(get("/api/users").bearer(&token)).await.is(405, error("Method not allowed"));
    for path in ["/api/organizations/", "/api/organizations/x", "/api/users/", "/api/users/x"] {
        house.send(get(path).bearer(&token)).await.is(404, error("Not found"));
    }
}

#[tokio::test]
async fn names_are_set_and_the_address_is_not() {
    let house = House::new();
    house.user("ana");
    let token = house.token("ana");
    let done = json!({"success": true, "message": "User created successfully"});
    let sent = json!({"first_name": "Ana María", "last_name": "López", "email": "other@example.com"});
    for _ in 0..2 {
        house.send(post("/api/users").bearer(&token).json(sent.clone())).await.is(200, done.clone());
    }
    let me = || {
        guildhall_domain::users::lookup(
            house.db(),
            &House::system(),
            &guildhall_domain::users::UserKey::Login("ana".into()),
        )
    };
    let user = me().unwrap();
    assert_eq!(
        (user.display_name().as_str(), user.email.as_deref()),
        ("Ana María López", Some("ana@example.com"))
    );
    house.send(post("/api/users").bearer(&token).json(json!({"last_name": "Vega"}))).await.is(200, done);
    assert_eq!(me().unwrap().name.first_and_last(), ("Ana María".into(), "Vega".into()));
    for body in [json!([]), json!({"first_name": 5}), json!({"last_name": "a\u{2028}b"})] {
        house.send(post("/api/users").bearer(&token).json(body)).await.is(400, error("Invalid request body"));
    }
}

/// A house that trusts an issuer whose keys `server` has.
fn trusting(server: &Server) -> House {
    House::with(Plan { issuers: vec![config(&server.url)], ..Plan::default() })
}

/// Claims as Firebase makes them, good for the hour that begins when the house's clock does.
fn issued(house: &House) -> Value {
    let now = house.clock.now().seconds();
    let mut claims = with("iat", json!(now));
    claims["auth_time"] = json!(now);
    claims["exp"] = json!(now + 3_600);
    claims
}

#[tokio::test]
async fn a_trusted_issuers_user_is_made_on_first_use() {
    let server = Server::start(first());
    let house = trusting(&server);
    let bearer = token(&issued(&house));
    let uid = claims()["user_id"].as_str().unwrap().to_owned();
    let made = house.send(new("Theirs").bearer(&bearer)).await;
    let id = made.value()["organization_id"].as_str().unwrap().to_owned();
    made.is(201, json!({"organization_id": id, "user_id": uid, "role": "owner"}));
    let listed = json!([{
        "id": id, "name": "Theirs", "description": "", "created_by": uid, "created_at": "2026-01-02T03:04:05Z"
    }]);
    house.send(get("/organizations").bearer(&bearer)).await.is(200, listed);
    // Only as Bearer.
    house.send(get("/organizations").token(&bearer)).await.is(401, error("Token claims missing"));
}

#[tokio::test]
async fn an_issuers_user_is_never_joined_to_an_account_by_address() {
    let server = Server::start(first());
    let house = trusting(&server);
    let address = claims()["email"].as_str().unwrap().to_owned();
    let (name, _) = address.split_once('@').unwrap();
    house.user(name);
    let mut claims = issued(&house);
    claims["email"] = json!(format!("{name}@example.com"));
    claims["email_verified"] = json!(true);
    house.organization("private", &format!("{name}@example.com"));
    house.send(get("/organizations").bearer(&token(&claims))).await.is(200, json!([]));
}

#[tokio::test]
async fn an_issuers_token_is_checked_whole() {
    let server = Server::start(first());
    let house = trusting(&server);
    let now = house.clock.now().seconds();
    for (name, value) in [
        ("iss", json!("https://securetoken.google.com/other")),
        ("aud", json!("other")),
        ("exp", json!(now - 6)),
        ("nbf", json!(now + 6)),
    ] {
        let mut claims = issued(&house);
        claims[name] = value;
        house
            .send(get("/organizations").bearer(&token(&claims)))
            .await
            .is(401, error("Token claims missing"));
    }
    let nothing = token(&without(issued(&house), "exp"));
    house.send(get("/organizations").bearer(&nothing)).await.is(401, error("Token claims missing"));
    for value in [json!(""), json!(5), json!(null), json!(["x"])] {
        let mut claims = issued(&house);
        claims["user_id"] = value;
        house.send(get("/organizations").bearer(&token(&claims))).await.is(400, error("Invalid user ID"));
    }
    let nobody = token(&without(issued(&house), "user_id"));
    house.send(post("/organizations").bearer(&nobody)).await.is(400, error("Invalid user ID"));
    house.send(post("/api/users").bearer(&nobody)).await.is(400, error("Invalid user ID"));
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_told_and_names_nothing() {
    let server = Server::start(Answer::Nothing);
    let house = trusting(&server);
    let answer = house.send(get("/organizations").bearer(&token(&issued(&house)))).await;
    answer.is(503, error("Service unavailable"));
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn an_issuers_token_can_be_logged_out_here() {
    let server = Server::start(first());
    let house = trusting(&server);
    let bearer = token(&issued(&house));
    house.send(get("/organizations").bearer(&bearer)).await.is(200, json!([]));
    house.send(delete("/user/logout").bearer(&bearer)).await;
    house.send(get("/organizations").bearer(&bearer)).await.is(401, error("Token claims missing"));
}

#[tokio::test]
async fn pages_of_configured_origins_may_call() {
    let house = House::with(Plan { cors_origins: vec!["https://app.example.com".into()], ..Plan::default() });
    let ask = |origin: &str| {
        call("OPTIONS", "/api/organizations")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
    };
    let answer = house.send(ask("https://app.example.com")).await;
    answer.is_empty(204);
    assert_eq!(answer.header("access-control-allow-origin"), "https://app.example.com");
    assert_eq!(answer.header("access-control-allow-methods"), "GET, POST, PUT, PATCH, DELETE");
    let answer = house.send(ask("https://evil.example.com")).await;
    answer.is(405, error("Method not allowed"));
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn what_holds_for_every_answer() {
    let house = House::new();
    house.user("ana");
    for sent in
        [get("/api/organizations").bearer(&house.token("ana")), get("/api/organizations"), get("/nowhere")]
    {
        let answer = house.send(sent).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-request-id").len(), 16);
    }
}
