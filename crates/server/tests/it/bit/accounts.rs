//! Making an account, signing in and out.

use guildhall_domain::authz::Actor;
use guildhall_domain::outbox::Kind;
use guildhall_domain::users::{self, UserKey};
use serde_json::{Value, json};

use super::{incorrect, read_token, says};
use crate::harness::{Answer, House, PASSWORD, Plan, delete, get, post};

fn registration() -> Value {
    json!({
        "name": "Ana López", "username": "Ana@example.com", "password": "opensesame 42",
        "location": "Leeds", "image": "https://example.com/ana.png"
    })
}

/// The registration with one key changed, or taken away by null.
fn with(key: &str, value: Value) -> Value {
    let mut body = registration();
    match value {
        Value::Null => drop(body.as_object_mut().unwrap().remove(key)),
        value => body[key] = value,
    }
    body
}

fn cookies(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn somebody_registers_confirms_signs_in_and_out() {
    let house = House::new();
    let login = post("/user/login").json(json!({"username": "ana@EXAMPLE.com", "password": PASSWORD}));
    house
        .send(post("/users/Teacher/create").json(registration()))
        .await
        .is(202, says("Teacher successfully created"));
    let not_yet = "Your account has not been activated. Go to your email to validate your email.";
    house.send(login.clone()).await.is(403, says(not_yet));
    let token = house.mailed_token(Kind::Verify, "Ana@example.com");
    guildhall_domain::credentials::confirm_address(house.db(), &token).unwrap();

    let answer = house.send(login).await;
    let csrf = answer.value()["csrf_token"].as_str().unwrap().to_owned();
    answer.is(200, json!({"username": "Ana@example.com", "user_type": "Teacher", "csrf_token": csrf}));
    let [access, readable] = cookies(&answer)[..] else { panic!("{answer:?}") };
    let token = access
        .strip_prefix("access_token_cookie=")
        .and_then(|rest| rest.strip_suffix("; HttpOnly; Path=/; SameSite=Lax"))
        .unwrap();
    assert_eq!(readable, format!("csrf_access_token={csrf}; Path=/; SameSite=Lax"));

    let cookie = format!("csrf_access_token={csrf}; access_token_cookie={token}");
    let unknown = get("/organizations/1").header("cookie", &cookie);
    house.send(unknown.clone()).await.is(404, says("Organization does not exist"));
    let out = delete("/user/logout").header("cookie", &cookie);
    house.send(out.clone()).await.is(401, json!({"msg": "Missing CSRF token"}));
    let wrong = out.clone().header("x-csrf-token", "x");
    house.send(wrong).await.is(401, json!({"msg": "CSRF double submit tokens do not match"}));
    let answer = house.send(out.header("x-csrf-token", &csrf)).await;
    answer.is(200, json!({"logout": true}));
    assert_eq!(
        cookies(&answer),
        [
            "access_token_cookie=; HttpOnly; Max-Age=0; Path=/; SameSite=Lax",
            "csrf_access_token=; Max-Age=0; Path=/; SameSite=Lax"
        ]
    );
    house.send(unknown).await.is(401, json!({"msg": "Token has been revoked"}));
}

#[tokio::test]
async fn cookies_are_for_https_alone_where_the_server_is_reached_so() {
    let house = House::with(Plan { public_url: Some("https://guildhall.test".into()), ..Plan::default() });
    house.user("ana");
    // A cookie that is over comes along, as a browser sends it: it is not in the way.
    let login = post("/user/login")
        .header("cookie", "access_token_cookie=over")
        .json(json!({"username": "ana", "password": PASSWORD}));
    let answer = house.send(login).await;
    assert_eq!(answer.value()["user_type"], "Student");
    assert_eq!(cookies(&answer).len(), 2);
    assert!(cookies(&answer).iter().all(|cookie| cookie.ends_with("; Path=/; SameSite=Lax; Secure")));
    let answer = house.send(delete("/user/logout").bearer(&house.token("ana"))).await;
    assert!(cookies(&answer).iter().all(|cookie| cookie.ends_with("; Path=/; SameSite=Lax; Secure")));
}

#[tokio::test]
async fn whoever_signs_out_ends_the_credential_that_called() {
    let house = House::new();
    house.user("ana");
    let (read, other) = (read_token(&house, "ana").await, house.token("ana"));
    house.send(delete("/user/logout").bearer(&read)).await.is(200, json!({"logout": true}));
    house.send(get("/events/1").bearer(&read)).await.is(401, json!({"msg": "Token has been revoked"}));
    house.send(get("/events/1").bearer(&other)).await.is(404, says("Event does not exist"));
    let key = house.api_key("ana");
    house.send(delete("/user/logout").token(&key)).await.is(200, json!({"logout": true}));
    house.send(get("/events/1").token(&key)).await.is(401, json!({"msg": "Invalid token"}));
    house
        .send(delete("/user/logout"))
        .await
        .is(401, json!({"msg": "Missing cookie \"access_token_cookie\""}));
}

#[tokio::test]
async fn every_type_is_a_label_that_is_kept_and_gives_nothing() {
    let house = House::new();
    for (place, label) in ["Student", "Teacher", "Admin"].into_iter().enumerate() {
        let mut body = with("username", json!(format!("a{place}@example.com")));
        body["roles"] = json!("Lead");
        body["track_id"] = json!(3);
        body["class_code"] = Value::Null;
        let made = house.send(post(&format!("/users/{label}/create")).json(body)).await;
        made.is(202, says(&format!("{label} successfully created")));
        let key = UserKey::Email(format!("a{place}@example.com"));
        let user = users::lookup(house.db(), &Actor::system(), &key).unwrap();
        assert_eq!((user.label.as_deref(), user.is_operator), (Some(label), false));
    }
    for path in ["/users/student/create", "/users/Owner/create"] {
        house.send(post(path).json(registration())).await.is(404, says("User type does not exist"));
    }
}

#[tokio::test]
async fn a_registration_that_does_not_do_is_refused() {
    let house = House::new();
    house.user("bo");
    for (key, value) in [
        ("name", Value::Null),
        ("name", json!("  ")),
        ("name", json!(5)),
        ("username", Value::Null),
        ("username", json!("ana")),
        ("password", Value::Null),
        ("password", json!("short")),
        ("password", json!("password")),
        ("location", Value::Null),
        ("location", json!("")),
        ("image", Value::Null),
        ("image", json!(" ")),
        ("image", json!("x\0")),
        ("roles", json!("x".repeat(10_001))),
        ("admin", json!(true)),
    ] {
        let answer = house.send(post("/users/Student/create").json(with(key, value.clone()))).await;
        println!("{key}: {value}");
        answer.is(422, incorrect("create a student"));
    }
    for (label, what) in [("Teacher", "create a teacher"), ("Admin", "create a admin")] {
        let path = format!("/users/{label}/create");
        house.send(post(&path).json(json!([]))).await.is(422, incorrect(what));
    }
    let taken = says("Email already exists. Please choose another one.");
    for login in ["BO@example.com", "bo@example.com"] {
        let body = with("username", json!(login));
        house.send(post("/users/Student/create").json(body)).await.is(409, taken.clone());
    }
    assert!(house.letters().is_empty());
}

#[tokio::test]
async fn a_sign_in_that_fails_says_as_little_as_it_can() {
    let house = House::new();
    house.user("ana");
    house.user("gone");
    house.disable("gone");
    house.unverified_user("unready");
    let wrong = says("Wrong username or password");
    for (login, password) in
        [("ana", "other words"), ("nobody", PASSWORD), ("gone", PASSWORD), ("unready", "no")]
    {
        let body = json!({"username": login, "password": password});
        house.send(post("/user/login").json(body)).await.is(401, wrong.clone());
    }
    for body in [
        json!({}),
        json!({"username": "ana"}),
        json!({"username": "ana", "password": 5}),
        json!({"username": "ana", "password": PASSWORD, "extra": 1}),
        json!("ana"),
    ] {
        house.send(post("/user/login").json(body)).await.is(422, incorrect("log in"));
    }
}

#[tokio::test]
async fn too_many_failures_are_told_when_to_come_back() {
    let house = House::new();
    // The clock stands still, so every pause still lies ahead: failures are made where they cost nothing.
    for _ in 0..8 {
        if let Ok(attempt) = guildhall_domain::credentials::sign_in::admit(house.db(), "x", "") {
            let compared = attempt.compare("wrong");
            let wanted = guildhall_domain::credentials::Wanted::Key;
            guildhall_domain::onboarding::sign_in(house.db(), compared, wanted, None).unwrap();
        }
    }
    let answer = house.send(post("/user/login").json(json!({"username": "x", "password": "y"}))).await;
    answer.is(429, says("Too many requests. Try again later."));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
}
