//! cadasta (document 001), read beside it: one call, the whole answer.

use guildhall::app::Entry;
use guildhall_domain::authz::{Role, Scope, State};
use guildhall_domain::credentials::Wanted;
use guildhall_domain::memberships::{Joining, Visibility};
use guildhall_domain::onboarding::SignedIn;
use serde_json::{Value, json};

use crate::harness::{Call, House, NOW_MICROS, PASSWORD, call, get, patch, post};

mod accounts;
mod forms;
mod listing;
mod members;
mod names;
mod organizations;

const ALL: &str = "/api/v1/organizations/";
const ONE: &str = "/api/v1/organizations/acme/";
const USERS: &str = "/api/v1/organizations/acme/users/";
const MEMBER: &str = "/api/v1/organizations/acme/users/member/";
const ACCOUNT: &str = "/api/v1/account/";

fn detail(text: &str) -> Value {
    json!({"detail": text})
}

fn denied() -> Value {
    detail("You do not have permission to perform this action.")
}

fn no_organization() -> Value {
    detail("Organization not found.")
}

fn no_user() -> Value {
    detail("User not found.")
}

/// A person who never signed in by password.
fn person(name: &str) -> Value {
    json!({
        "username": name,
        "full_name": name,
        "email": format!("{name}@example.com"),
        "email_verified": true,
        "last_login": null
    })
}

fn member(name: &str, admin: bool) -> Value {
    let mut member = person(name);
    member["admin"] = admin.into();
    member
}

/// A house with `acme`, public, and somebody of every kind; each is called what they are.
fn acme() -> House {
    let house = House::new();
    for name in ["owner", "admin", "member", "inactive", "pending", "suspended", "stranger"] {
        house.user(name);
    }
    house.organization_as("Acme", "owner", Visibility::Public, Joining::Invite);
    house.member("acme", "admin", Role::Admin, State::Active);
    house.member("acme", "member", Role::Member, State::Active);
    house.member("acme", "inactive", Role::Member, State::Inactive);
    house.member("acme", "pending", Role::Owner, State::Pending);
    house.member("acme", "suspended", Role::Owner, State::Suspended);
    house
}

/// The call as `name` makes it; as nobody does, where there is no name.
fn by(house: &House, name: &str, call: Call) -> Call {
    if name.is_empty() { call } else { call.token(&house.token(name)) }
}

/// A token that may only read.
async fn read_token(house: &House, name: &str) -> String {
    let entry = Entry {
        login: name.into(),
        password: PASSWORD.into(),
        address: "192.0.2.1".into(),
        wanted: Wanted::Token { scope: Scope::Read, for_first_organization: false },
        invitation: None,
    };
    match house.app.sign_in(entry).await.unwrap() {
        SignedIn::Done(session) => house.app.token(&session).await.unwrap().0,
        other => panic!("{other:?}"),
    }
}

/// Every route but those by which one comes in: method, path, a body that it takes, whether one has to be signed in.
const EVERY: [(&str, &str, &str, bool); 13] = [
    ("POST", "/api/v1/account/logout/", "", true),
    ("GET", ACCOUNT, "", true),
    ("PATCH", ACCOUNT, "{}", true),
    ("GET", ALL, "", false),
    ("POST", ALL, r#"{"name": "Other"}"#, true),
    ("GET", ONE, "", false),
    ("PATCH", ONE, r#"{"name": "Acme"}"#, false),
    ("PUT", ONE, r#"{"name": "Acme"}"#, false),
    ("GET", USERS, "", false),
    ("POST", USERS, r#"{"username": "stranger"}"#, false),
    ("GET", MEMBER, "", false),
    ("PATCH", MEMBER, r#"{"admin": true}"#, false),
    ("DELETE", MEMBER, "", false),
];

fn made(method: &str, path: &str, body: &str) -> Call {
    call(method, path).body("application/json", body.as_bytes())
}

#[tokio::test]
async fn a_credential_that_does_not_count_is_refused_by_every_call() {
    let house = acme();
    for (method, path, body, needs_one) in EVERY {
        let call = made(method, path, body);
        let several = call.clone().token("a").bearer("b");
        house.send(several).await.is(400, detail("More than one credential in the request."));
        for (header, text) in [
            ("Token nothing", "Invalid token."),
            ("Token 0123456789abcdef0123456789abcdef01234567", "Invalid token."),
            ("Basic b3duZXI6cGFzcw==", "Invalid token."),
            ("Token", "Invalid token header. No credentials provided."),
            ("token a b", "Invalid token header. Token string should not contain spaces."),
        ] {
            let answer = house.send(call.clone().header("authorization", header)).await;
            assert_eq!(answer.is(401, detail(text)).header("www-authenticate"), "Token");
        }
        if needs_one {
            let answer = house.send(call).await;
            answer.is(401, detail("Authentication credentials were not provided."));
            assert_eq!(answer.header("www-authenticate"), "Token");
        }
    }
}

#[tokio::test]
async fn a_disabled_account_is_one_that_never_was() {
    let house = acme();
    let token = house.token("member");
    house.disable("member");
    house.send(get(ALL).token(&token)).await.is(401, detail("Invalid token."));
}

#[tokio::test]
async fn a_cookie_needs_its_header_where_something_may_change() {
    let house = acme();
    let cookie = format!("access_token_cookie={}", house.token("owner"));
    house.send(get(ACCOUNT).header("cookie", &cookie)).await.is(200, person("owner"));
    let change = || patch(ONE).json(json!({})).header("cookie", &cookie);
    let refusal = detail("CSRF Failed: CSRF token missing or incorrect.");
    house.send(change()).await.is(403, refusal.clone());
    house.send(change().header("x-csrf-token", "nonsense")).await.is(403, refusal);
}

#[tokio::test]
async fn a_credential_that_only_reads_changes_nothing_but_logs_itself_out() {
    let house = acme();
    let token = read_token(&house, "owner").await;
    for (method, path, body, _) in EVERY.into_iter().skip(1) {
        let answer = house.send(made(method, path, body).bearer(&token)).await;
        if method == "GET" {
            assert_eq!(answer.status, 200, "{path}");
        } else {
            answer.is(403, denied());
        }
    }
    house.send(post("/api/v1/account/logout/").bearer(&token)).await.is_empty(200);
    house.send(get(ACCOUNT).bearer(&token)).await.is(401, detail("Invalid token."));
}

#[tokio::test]
async fn a_path_is_the_same_without_its_last_slash() {
    let house = acme();
    for (method, path, body, _) in EVERY {
        let call = made(method, path.trim_end_matches('/'), body);
        let answer = house.send(call.token(&house.token("owner"))).await;
        assert!(answer.status.is_success(), "{method} {path} {answer:?}");
    }
    for path in ["/api/v1/account/register", "/api/v1/account/login"] {
        assert_eq!(house.send(post(path)).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_and_unknown_paths_are_told_in_its_shape() {
    let house = acme();
    let login = "/api/v1/account/login/";
    for (method, path, allowed) in [
        ("DELETE", ONE, "GET,HEAD,PATCH,PUT"),
        ("POST", ONE, "GET,HEAD,PATCH,PUT"),
        ("PUT", ALL, "GET,HEAD,POST"),
        ("DELETE", ALL, "GET,HEAD,POST"),
        ("PATCH", USERS, "GET,HEAD,POST"),
        ("POST", "/api/v1/organizations/acme/users/member", "DELETE,GET,HEAD,PATCH"),
        ("GET", login, "POST"),
        ("OPTIONS", login, "POST"),
        ("PUT", ACCOUNT, "GET,HEAD,PATCH"),
    ] {
        let answer = house.send(by(&house, "owner", call(method, path))).await;
        answer.is(405, detail(&format!("Method \"{method}\" not allowed.")));
        let mut allow: Vec<&str> = answer.header("allow").split(',').collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{method} {path}");
    }
    for path in ["/api/v1", "/api/v1/", "/api/v1/users/", "/api/v1/organizations/a/b/", "/api/v1/account/x"] {
        house.send(get(path)).await.is(404, detail("Not found."));
    }
}

#[tokio::test]
async fn the_document_as_it_stands() {
    let house = House::new();
    house.user("kate");
    let login = json!({"username": "kate", "password": PASSWORD});
    let key = house.send(post("/api/v1/account/login/").json(login)).await.value();
    let key = key["auth_token"].as_str().unwrap().to_owned();
    let sent = json!({
        "name": "David Org",
        "description": "David Org (testing)",
        "archived": false,
        "urls": [],
        "contacts": [
            {"tel": null, "name": "David", "email": "david@example.com"},
            {"tel": "+49 30 1", "name": "Frank", "email": null}
        ]
    });
    let made = house.send(post(ALL).token(&key).json(sent.clone())).await;
    let id = made.value()["id"].as_str().unwrap().to_owned();
    assert!(id.len() == 24 && id.bytes().all(|b| b"abcdefghijkmnpqrstuvwxyz23456789".contains(&b)), "{id}");
    let mut organization = json!({"id": id, "slug": "david-org"});
    for (field, value) in sent.as_object().unwrap() {
        organization[field] = value.clone();
    }
    let mut detailed = organization.clone();
    let mut kate = person("kate");
    kate["last_login"] = NOW_MICROS.into();
    detailed["users"] = json!([kate]);
    made.is(201, detailed.clone());
    let one = "/api/v1/organizations/david-org/";
    house.send(get(ALL)).await.is(200, json!([organization]));
    house.send(get(one)).await.is(200, organization.clone());
    house.send(get(one).header("authorization", &format!("tOKEN {key}"))).await.is(200, detailed.clone());
    let change = json!({"description": "Another"});
    detailed["description"] = "Another".into();
    house.send(patch(one).token(&key).json(change)).await.is(200, detailed.clone());
    house.send(get(one).bearer(&key)).await.is(200, detailed);
}
