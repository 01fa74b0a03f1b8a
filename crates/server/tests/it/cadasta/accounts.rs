//! Making an account, entering and leaving, looking at it and changing it.

use std::time::Duration;

use guildhall_domain::authz::Actor;
use guildhall_domain::credentials::{self, sign_in};
use guildhall_domain::outbox::Kind;
use guildhall_domain::text::{Email, PersonName};
use guildhall_domain::users::{self, NewUser, Profile};
use serde_json::{Value, json};

use super::{ACCOUNT, denied, detail, person, read_token};
use crate::harness::{House, NOW_MICROS, PASSWORD, get, patch, post};

const REGISTER: &str = "/api/v1/account/register/";
const LOGIN: &str = "/api/v1/account/login/";
const LOGOUT: &str = "/api/v1/account/logout/";

async fn key(house: &House, login: &str, password: &str) -> String {
    let body = json!({"username": login, "password": password});
    let answer = house.send(post(LOGIN).json(body)).await;
    let key = answer.value()["auth_token"].as_str().unwrap_or_default().to_owned();
    answer.is(200, json!({"auth_token": key}));
    assert!(key.len() == 40 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
    key
}

#[tokio::test]
async fn from_the_first_day_to_the_last() {
    let house = House::new();
    let new = json!({
        "username": "jane",
        "email": "Jane@example.org",
        "password": "wonder wall 7",
        "full_name": "Jane Doe"
    });
    let account = json!({
        "username": "jane",
        "full_name": "Jane Doe",
        "email": "Jane@example.org",
        "email_verified": false
    });
    house.send(post(REGISTER).json(new)).await.is(201, account);
    let token = house.mailed_token(Kind::Verify, "Jane@example.org");
    let login = json!({"username": "jane", "password": "wonder wall 7"});
    let answer = house.send(post(LOGIN).json(login)).await;
    answer.is(400, detail("The email has not been verified."));
    let again = house.mailed_token(Kind::Verify, "Jane@example.org");
    assert_ne!(token, again, "a new mail");
    credentials::confirm_address(house.db(), &again).unwrap();
    let first = key(&house, "jane", "wonder wall 7").await;
    let second = key(&house, "jane@EXAMPLE.org", "wonder wall 7").await;
    assert_ne!(first, second);
    let jane = json!({
        "username": "jane",
        "full_name": "Jane Doe",
        "email": "Jane@example.org",
        "email_verified": true,
        "last_login": NOW_MICROS
    });
    for key in [&first, &second] {
        house.send(get(ACCOUNT).token(key)).await.is(200, jane.clone());
    }
    house.send(post(LOGOUT).token(&first)).await.is_empty(200);
    house.send(get(ACCOUNT).token(&first)).await.is(401, detail("Invalid token."));
    house.send(get(ACCOUNT).token(&second)).await.is(200, jane);
}

/// Registers with these keys and others that are right, and compares what is wrong with it.
async fn refused<const N: usize>(cases: [(Value, Value); N]) {
    let house = House::new();
    house.user("jane");
    for (changes, wrong) in cases {
        let mut body = json!({"username": "june", "email": "june@example.org", "password": "wonder wall 7"});
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        house.send(post(REGISTER).json(body)).await.is(400, wrong);
    }
    assert!(house.letters().is_empty());
}

#[tokio::test]
async fn a_registration_without_what_it_needs_is_told_all_of_it() {
    let required = json!(["This field is required."]);
    let (blank, no_null) = (json!(["This field may not be blank."]), json!(["This field may not be null."]));
    let none = json!({"username": required, "email": required, "password": required});
    let house = House::new();
    house.send(post(REGISTER)).await.is(400, none.clone());
    house.send(post(REGISTER).json(json!({}))).await.is(400, none);
    refused([
        (
            json!({"username": "", "email": " ", "password": "", "full_name": 5}),
            json!({
                "username": blank,
                "full_name": ["Not a valid string."],
                "email": blank,
                "password": blank
            }),
        ),
        (
            json!({"username": null, "email": null, "password": null}),
            json!({"username": no_null, "email": no_null, "password": no_null}),
        ),
        (
            json!({"email": ["x"], "password": 5}),
            json!({"email": ["Not a valid string."], "password": ["Not a valid string."]}),
        ),
    ])
    .await;
}

#[tokio::test]
async fn everything_wrong_with_a_registration_is_told_at_once() {
    let username =
        "Enter a valid username. This value may contain only letters, numbers and @/./+/-/_ characters.";
    let taken = "Another user is already registered with this email address";
    let username_taken = "A user with that username already exists.";
    refused([
        (
            json!({"username": "jane", "email": "JANE@example.com", "password": "password"}),
            json!({
                "username": [username_taken],
                "email": [taken],
                "password": ["This password is too common."]
            }),
        ),
        (
            json!({"username": "a b", "email": "nobody", "password": "short"}),
            json!({
                "username": [username],
                "email": ["Enter a valid email address."],
                "password": ["This password is too short. It must contain at least 8 characters."]
            }),
        ),
        (
            json!({"username": "New", "password": "long ".repeat(300)}),
            json!({
                "username": ["Username cannot be “add” or “new”."],
                "password": ["Ensure this field has no more than 1024 bytes."]
            }),
        ),
        (
            json!({"username": "u".repeat(31), "full_name": "n".repeat(201)}),
            json!({
                "username": ["Ensure this field has no more than 30 characters."],
                "full_name": ["Ensure this field has no more than 200 characters."]
            }),
        ),
        (json!({"full_name": "a\u{202e}b"}), json!({"full_name": ["Control characters are not allowed."]})),
        (json!({"email": "jane@example.com"}), json!({"email": [taken]})),
        (json!({"username": "jane@example.com"}), json!({"username": [username_taken]})),
    ])
    .await;
}

#[tokio::test]
async fn a_name_is_optional_and_a_form_will_do() {
    let house = House::new();
    for (name, full_name) in [("a", json!(null)), ("b", json!("  ")), ("c", json!(" Cä "))] {
        let email = format!("{name}@example.org");
        let body = json!({"username": name, "email": email, "password": PASSWORD, "full_name": full_name});
        let shown = full_name.as_str().unwrap_or_default().trim();
        let account = json!({"username": name, "full_name": shown, "email": email, "email_verified": false});
        house.send(post(REGISTER).json(body)).await.is(201, account);
    }
    let form = [("username", "d"), ("email", "d@example.org"), ("password", PASSWORD)];
    let account =
        json!({"username": "d", "full_name": "", "email": "d@example.org", "email_verified": false});
    house.send(post(REGISTER).form(&form)).await.is(201, account);
}

#[tokio::test]
async fn a_sign_in_that_fails_says_no_more_than_that() {
    let house = House::new();
    house.user("jane");
    house.unverified_user("june");
    house.user("gone");
    house.disable("gone");
    let wrong = json!({"non_field_errors": ["Unable to login with provided credentials."]});
    for (login, password) in
        [("jane", "wrong"), ("nobody", PASSWORD), ("gone", PASSWORD), ("june", "wrong"), ("jane\0", PASSWORD)]
    {
        house
            .send(post(LOGIN).form(&[("username", login), ("password", password)]))
            .await
            .is(400, wrong.clone());
    }
    assert!(house.letters().is_empty());
    let required = json!(["This field is required."]);
    for (body, wrong) in [
        (json!({}), json!({"username": required, "password": required})),
        (
            json!({"username": "", "password": null}),
            json!({"username": ["This field may not be blank."], "password": ["This field may not be null."]}),
        ),
        (json!({"username": 1, "password": "x"}), json!({"username": ["Not a valid string."]})),
    ] {
        house.send(post(LOGIN).json(body)).await.is(400, wrong);
    }
    // An old key in the way does not keep anybody out.
    let form = [("username", "jane"), ("password", PASSWORD)];
    assert_eq!(house.send(post(LOGIN).form(&form).token("stale")).await.status, 200);
}

#[tokio::test]
async fn too_many_failures_are_told_to_wait() {
    let house = House::new();
    house.user("jane");
    let body = json!({"username": "jane", "password": "wrong"});
    for _ in 0..5 {
        assert_eq!(house.send(post(LOGIN).json(body.clone())).await.status, 400);
    }
    // The clock stands still, so each further try takes the next free moment, until that is too far away.
    while sign_in::admit(house.db(), "jane", "").is_ok() {}
    let answer = house.send(post(LOGIN).json(body.clone())).await;
    let seconds = answer.header("retry-after").to_owned();
    let text = format!("Request was throttled. Expected available in {seconds} seconds.");
    answer.is(429, detail(&text));
    house.pass(Duration::from_secs(24 * 3600 + 60));
    assert_eq!(house.send(post(LOGIN).json(body)).await.status, 400);
}

#[tokio::test]
async fn an_account_is_changed_key_by_key() {
    let house = House::new();
    house.user("jane");
    house.user("june");
    let token = house.token("jane");
    let change = |body: Value| patch(ACCOUNT).token(&token).json(body);
    let mut jane = person("jane");
    house.send(patch(ACCOUNT).token(&token)).await.is(200, jane.clone());
    jane["full_name"] = "Jane D.".into();
    house
        .send(change(json!({"full_name": " Jane D. ", "email_verified": false})))
        .await
        .is(200, jane.clone());
    jane["username"] = "jd".into();
    house.send(change(json!({"username": "jd"}))).await.is(200, jane.clone());
    jane["full_name"] = "".into();
    house.send(change(json!({"full_name": null}))).await.is(200, jane.clone());
    house.send(change(jane.clone())).await.is(200, jane.clone());
    assert!(house.letters().is_empty());
    house.send(change(json!({"email": "new@example.org"}))).await.is(200, jane.clone());
    let token = house.mailed_token(Kind::ChangeAddress, "new@example.org");
    house.send(get(ACCOUNT).token(&house.token("jd"))).await.is(200, jane.clone());
    credentials::confirm_address(house.db(), &token).unwrap();
    jane["email"] = "new@example.org".into();
    house.send(get(ACCOUNT).token(&house.token("jd"))).await.is(200, jane);
    for (body, wrong) in [
        (
            json!({"username": "june", "full_name": "\n.\n.", "email": "June@example.com"}),
            json!({
                "username": ["A user with that username already exists."],
                "full_name": ["Control characters are not allowed."],
                "email": ["Another user is already registered with this email address"]
            }),
        ),
        (
            json!({"username": null, "email": ""}),
            json!({"username": ["This field may not be null."], "email": ["This field may not be blank."]}),
        ),
        (json!([]), json!({"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]})),
    ] {
        house.send(change(body)).await.is(400, wrong);
    }
}

#[tokio::test]
async fn an_account_without_a_username_can_be_sent_back_as_it_came() {
    let house = House::new();
    let email = "somebody.with.a.long.name@example.com";
    let new = NewUser {
        username: None,
        email: Email::parse(email).unwrap(),
        name: PersonName::Unknown,
        password_hash: None,
        profile: Profile::default(),
    };
    users::create(house.db(), &Actor::system(), new, false, true).unwrap();
    let token = house.token(email);
    let me = house.send(get(ACCOUNT).token(&token)).await.value();
    house.send(patch(ACCOUNT).token(&token).json(me.clone())).await.is(200, me);
}

#[tokio::test]
async fn a_credential_that_only_reads_is_told_so_before_what_is_wrong_with_the_form() {
    let house = House::new();
    house.user("jane");
    let reader = read_token(&house, "jane").await;
    house.send(patch(ACCOUNT).bearer(&reader).json(json!({"username": ""}))).await.is(403, denied());
}
