//! Accounts: sign-up, sign-in, passwords, one's own.

use std::time::Duration;

use guildhall_domain::authz::{Role, State};
use guildhall_domain::outbox::Kind;
use serde_json::{Value, json};

use super::{done, error};
use crate::harness::{Answer, Call, House, PASSWORD, get, post};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn registration() -> Value {
    json!({
        "email": "zoe@example.com",
        "password": PASSWORD,
        "confirmation": PASSWORD,
        "firstName": "Zoë Ann",
        "lastName": "Lund",
        "tosAccepted": "Y",
        "organization": "Acme",
    })
}

/// The registration with other values, and without the keys whose value is null.
fn registration_but(changes: Value) -> Value {
    let mut body = registration();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            body.as_object_mut().unwrap().shift_remove(key);
        } else {
            body[key] = value.clone();
        }
    }
    body
}

fn register(body: Value) -> Call {
    post("/api/account/register").json(body)
}

fn login(email: &str, password: &str) -> Call {
    post("/api/account/login").json(json!({"email": email, "password": password}))
}

fn token_in(answer: &Answer) -> String {
    answer.value()["token"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

/// The token in a new invitation of `email` to the organization 1, by its owner.
async fn invitation(house: &House, owner: &str, email: &str) -> String {
    let call = post("/api/org/1/invitelink").bearer(owner).json(json!({"email": email}));
    let answer = house.send(call).await.value();
    let url = answer["confirmUrl"].as_str().unwrap();
    url.strip_prefix("http://guildhall.test/account/invite/?token=").unwrap().to_owned()
}

#[tokio::test]
async fn a_founder_registers_confirms_and_signs_in() {
    let house = House::new();
    house.send(register(registration())).await.is(200, json!({"userId": 1, "success": true}));
    house
        .send(login("zoe@example.com", PASSWORD))
        .await
        .is(403, error(403, "User not confirmed or inactive"));
    house.send(login("zoe@example.com", "another one")).await.is(401, error(401, "Unable to login user"));

    let token = house.mailed_token(Kind::Verify, "zoe@example.com");
    let verify = format!("/api/account/verify?token={token}");
    let bad = json!({"success": false, "message": "Token is invalid or expired."});
    for _ in 0..2 {
        house.send(get(&verify)).await.is(200, json!({"success": true, "userId": 1}));
    }
    let verified = json!({"userId": 1, "success": true, "message": "Account verified"});
    house.send(post(&verify)).await.is(200, verified);
    house.send(post(&verify)).await.is(200, bad.clone());
    house.send(get(&verify)).await.is(200, bad.clone());
    for path in ["/api/account/verify", "/api/account/verify/?token=", "/api/account/verify?token=%ff"] {
        house.send(get(path)).await.is(200, bad.clone());
        house.send(post(path)).await.is(200, bad.clone());
    }

    let answer = house.send(login("ZOE@example.com", PASSWORD)).await;
    let token = token_in(&answer);
    answer.is(
        200,
        json!({
            "token": token,
            "success": true,
            "user": {
                "id": 1,
                "email": "zoe@example.com",
                "firstName": "Zoë Ann",
                "lastName": "Lund",
                "organizations": [{"id": 1, "name": "Acme"}],
            },
        }),
    );
    let current = house.send(get("/api/org").bearer(&token)).await.value();
    assert_eq!(
        (&current["current"]["id"], &current["current"]["roles"][0]["role"]),
        (&json!(1), &json!("Admin"))
    );
}

#[tokio::test]
async fn a_link_to_confirm_is_good_for_a_day() {
    let house = House::new();
    house.send(register(registration())).await;
    let verify = format!("/api/account/verify?token={}", house.mailed_token(Kind::Verify, "zoe@example.com"));
    house.pass(DAY);
    let bad = json!({"success": false, "message": "Token is invalid or expired."});
    house.send(get(&verify)).await.is(200, bad.clone());
    house.send(post(&verify)).await.is(200, bad);
}

#[tokio::test]
async fn one_who_is_invited_registers_for_exactly_that_address() {
    let house = House::new();
    house.user("ana");
    house.organization("Acme", "ana");
    let owner = house.token("ana");
    let token = invitation(&house, &owner, "zoe@example.com").await;
    let with = |email: &str, token: &str| {
        register(registration_but(json!({"email": email, "organization": null, "token": token})))
    };
    house.send(with("bo@example.com", &token)).await.is(422, error(422, "Email is incorrect"));
    house
        .send(with("ana@example.com", &token))
        .await
        .is(409, error(409, "User with email ana@example.com already exists"));
    let invalid = error(422, "Invitation token invalid or expired");
    house.send(with("zoe@example.com", "x")).await.is(422, invalid.clone());
    house.send(with("Zoe@Example.com", &token)).await.is(200, json!({"userId": 2, "success": true}));
    house.send(with("zoe2@example.com", &token)).await.is(422, invalid.clone());
    // In, and without power before the address is confirmed.
    house
        .send(login("zoe@example.com", PASSWORD))
        .await
        .is(403, error(403, "User not confirmed or inactive"));
    let users = house.send(get("/api/org/1/users").bearer(&owner)).await.value();
    assert_eq!(
        users["users"][1],
        json!({"userId": 2, "email": "Zoe@Example.com", "firstName": "Zoë Ann", "lastName": "Lund", "isActive": 0, "role": "Member"})
    );
    let verify = house.mailed_token(Kind::Verify, "Zoe@Example.com");
    house.send(post(&format!("/api/account/verify?token={verify}"))).await;
    let answer = house.send(login("zoe@example.com", PASSWORD)).await.value();
    assert_eq!(answer["user"]["organizations"], json!([{"id": 1, "name": "Acme"}]));

    let late = invitation(&house, &owner, "late@example.com").await;
    house.pass(DAY);
    house.send(with("late@example.com", &late)).await.is(422, invalid);
}

#[tokio::test]
async fn the_first_key_of_a_registration_that_does_not_do_is_told() {
    let house = House::new();
    house.user("ana");
    let long = "x".repeat(201);
    for (changes, message) in [
        (json!({"email": null, "password": null}), "\"Email\" is required"),
        (json!({"email": 5}), "\"Email\" must be a string"),
        (json!({"email": "", "foo": 1}), "\"Email\" is not allowed to be empty"),
        (json!({"email": "zoe"}), "\"Email\" must be a valid email"),
        (json!({"password": null}), "\"Password\" is required"),
        (json!({"password": "sevench"}), "\"Password\" length must be at least 8 characters long"),
        (
            json!({"password": "é".repeat(600)}),
            "\"Password\" length must be less than or equal to 1024 characters long",
        ),
        (json!({"password": "password"}), "\"Password\" is too common"),
        (json!({"confirmation": null}), "\"Confirmation\" is required"),
        (json!({"confirmation": "other"}), "\"Confirmation\" must match password"),
        (json!({"firstName": null, "lastName": null}), "\"First Name\" is required"),
        (json!({"firstName": "  "}), "\"First Name\" is not allowed to be empty"),
        (
            json!({"firstName": long}),
            "\"First Name\" length must be less than or equal to 200 characters long",
        ),
        (json!({"lastName": "a\u{202e}b"}), "\"Last Name\" contains characters that are not allowed"),
        (json!({"tosAccepted": null}), "\"Terms of Service\" is required"),
        (json!({"tosAccepted": "N"}), "\"Terms of Service\" must be accepted"),
        (json!({"tosAccepted": true}), "\"Terms of Service\" must be accepted"),
        (json!({"organization": "A"}), "\"Organization\" length must be at least 2 characters long"),
        (json!({"organization": ["Acme"]}), "\"Organization\" must be a string"),
        (json!({"token": 5, "foo": 1}), "\"Token\" must be a string"),
        (json!({"foo": 1, "bar": 2, "organization": null}), "\"foo\" is not allowed"),
        (json!({"organization": null}), "\"value\" must contain at least one of [Organization, Token]"),
        (
            json!({"token": "x"}),
            "\"value\" contains a conflict between exclusive peers [Organization, Token]",
        ),
    ] {
        house.send(register(registration_but(changes))).await.is(400, error(400, message));
    }
    house
        .send(register(registration_but(json!({"email": "Ana@example.com"}))))
        .await
        .is(409, error(409, "User with email Ana@example.com already exists"));
}

#[tokio::test]
async fn a_sign_in_that_fails_says_the_same_of_everybody() {
    let house = House::new();
    house.user("ana");
    house.unverified_user("una");
    house.user("dan");
    house.disable("dan");
    let unable = error(401, "Unable to login user");
    for (email, password) in [
        ("ana@example.com", "not hers at all"),
        ("nobody@example.com", PASSWORD),
        ("no address", PASSWORD),
        ("una@example.com", "not hers at all"),
        ("dan@example.com", PASSWORD),
    ] {
        house.send(login(email, password)).await.is(401, unable.clone());
    }
    house
        .send(login("una@example.com", PASSWORD))
        .await
        .is(403, error(403, "User not confirmed or inactive"));
    for (body, message) in [
        (json!({"password": PASSWORD}), "\"Email\" is required"),
        (json!({"email": "ana@example.com", "password": ""}), "\"Password\" is not allowed to be empty"),
        (
            json!({"email": "ana@example.com", "password": PASSWORD, "token": ""}),
            "\"Token\" is not allowed to be empty",
        ),
        (
            json!({"email": "ana@example.com", "password": PASSWORD, "access_token": "x"}),
            "\"access_token\" is not allowed",
        ),
    ] {
        house.send(post("/api/account/login").json(body)).await.is(400, error(400, message));
    }
    // By username as well, whatever stale credential the browser sends besides.
    let answer = house.send(login("ana", PASSWORD).bearer("stale")).await;
    assert_eq!(answer.value()["user"]["email"], "ana@example.com", "{}", answer.text());
}

#[tokio::test]
async fn failures_in_a_row_slow_a_sign_in_down() {
    let house = House::new();
    let attempt = || login("nobody@example.com", "wrong");
    for pause in [0, 0, 0, 0, 0, 1, 2, 4] {
        house.pass(Duration::from_secs(pause));
        house.send(attempt()).await.is(401, error(401, "Unable to login user"));
    }
    let answer = house.send(attempt()).await;
    answer.is(429, error(429, "Too Many Requests"));
    assert_eq!(answer.header("retry-after"), "8");
}

#[tokio::test]
async fn a_sign_in_accepts_an_invitation_or_does_not_happen() {
    let house = House::new();
    for name in ["ana", "bo", "cy", "sue"] {
        house.user(name);
    }
    house.organization("Acme", "ana");
    let owner = house.token("ana");
    let bos = invitation(&house, &owner, "bo@example.com").await;
    let cys = invitation(&house, &owner, "cy@example.com").await;
    let sues = invitation(&house, &owner, "sue@example.com").await;
    house.member("acme", "cy", Role::Member, State::Pending);
    house.member("acme", "sue", Role::Member, State::Suspended);
    let with = |email: &str, token: &str| {
        let body = json!({"email": email, "password": PASSWORD, "token": token});
        post("/api/account/login").json(body)
    };
    let invalid = error(422, "Invitation token invalid or expired");
    house.send(with("bo@example.com", "x")).await.is(422, invalid.clone());
    house.send(with("bo@example.com", &cys)).await.is(422, error(422, "Invitation email mismatch"));
    for (email, token) in [("cy@example.com", &cys), ("sue@example.com", &sues)] {
        house.send(with(email, token)).await.is(409, error(409, "Invitation already accepted"));
    }
    let wrong = json!({"email": "bo@example.com", "password": "not his at all", "token": bos});
    house.send(post("/api/account/login").json(wrong)).await.is(401, error(401, "Unable to login user"));

    let answer = house.send(with("bo@example.com", &bos)).await;
    assert_eq!(answer.value()["user"]["organizations"], json!([{"id": 1, "name": "Acme"}]));
    let current = house.send(get("/api/org").bearer(&token_in(&answer))).await.value();
    assert_eq!(current["current"]["roles"][0]["role"], "Member");
    house.send(with("bo@example.com", &bos)).await.is(409, error(409, "Invitation already accepted"));
    // Taken out again, the link of then lets nobody in again.
    let out = post("/api/org/1/users/remove").bearer(&owner).json(json!({"usersId": [2]}));
    house.send(out).await.is(200, done());
    house.send(with("bo@example.com", &bos)).await.is(422, invalid);
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_and_ends_everything_older() {
    let house = House::new();
    house.unverified_user("ana");
    let (token, key) = (house.token("ana"), house.api_key("ana"));
    let forgot = |email: &str| post("/api/account/forgotpassword").json(json!({"email": email}));
    let sent =
        |email: &str| json!({"message": format!("A message was sent to the {email}"), "success": true});
    house.send(forgot("nobody@example.com")).await.is(200, sent("nobody@example.com"));
    assert_eq!(house.letters().len(), 0);
    house.send(forgot("Ana@example.com")).await.is(200, sent("Ana@example.com"));
    let earlier = house.mailed_token(Kind::ResetPassword, "ana@example.com");
    house.send(forgot("ana@example.com")).await;
    let reset = house.mailed_token(Kind::ResetPassword, "ana@example.com");
    house.send(forgot("ana")).await.is(400, error(400, "\"Email\" must be a valid email"));
    house
        .send(post("/api/account/forgotpassword").json(json!({"email": "a@b.co", "foo": 1})))
        .await
        .is(400, error(400, "\"foo\" is not allowed"));

    // Its one purpose.
    let bad = json!({"success": false, "message": "Token is invalid or expired."});
    house.send(post(&format!("/api/account/verify?token={reset}"))).await.is(200, bad.clone());
    house.send(get(&format!("/api/account/verify?token={reset}"))).await.is(200, bad);
    house.send(get("/api/user").bearer(&reset)).await.is(401, error(401, "Authentication required"));

    let change = |token: &str, password: &str, again: &str| {
        let body = json!({"token": token, "password": password, "confirmation": again});
        post("/api/account/changepassword").json(body)
    };
    let (fresh, invalid) = ("a fresh one 17", error(422, "Token invalid"));
    house.send(change("x", fresh, fresh)).await.is(422, invalid.clone());
    house
        .send(change(&reset, "short", "short"))
        .await
        .is(400, error(400, "\"Password\" length must be at least 8 characters long"));
    house
        .send(change(&reset, fresh, "other"))
        .await
        .is(400, error(400, "\"Confirmation\" must match password"));
    house
        .send(post("/api/account/changepassword").json(json!({"password": fresh})))
        .await
        .is(400, error(400, "\"Token\" is required"));
    let saved = json!({"userId": 1, "success": true, "message": "New password saved"});
    house.send(change(&reset, fresh, fresh)).await.is(200, saved);
    for token in [&reset, &earlier] {
        house.send(change(token, fresh, fresh)).await.is(422, invalid.clone());
    }
    for credential in [&token, &key] {
        house.send(get("/api/user").bearer(credential)).await.is(401, error(401, "Authentication required"));
    }
    house.send(login("ana@example.com", PASSWORD)).await.is(401, error(401, "Unable to login user"));
    // The link proved the address.
    assert_eq!(house.send(login("ana@example.com", fresh)).await.status, 200);
}

#[tokio::test]
async fn a_link_to_a_new_password_ends_by_itself_and_confirming_is_none() {
    let house = House::new();
    house.send(register(registration())).await;
    let verify = house.mailed_token(Kind::Verify, "zoe@example.com");
    house.send(post("/api/account/forgotpassword").json(json!({"email": "zoe@example.com"}))).await;
    let reset = house.mailed_token(Kind::ResetPassword, "zoe@example.com");
    house.pass(DAY - Duration::from_secs(1));
    for token in [&reset, &verify] {
        let body = json!({"token": token, "password": "a fresh one 17", "confirmation": "a fresh one 17"});
        house.send(post("/api/account/changepassword").json(body)).await.is(422, error(422, "Token invalid"));
    }
    // Trying it at the wrong door left it good.
    let verified = json!({"userId": 1, "success": true, "message": "Account verified"});
    house.send(post(&format!("/api/account/verify?token={verify}"))).await.is(200, verified);
}

#[tokio::test]
async fn ones_own_account_and_organizations() {
    let house = House::new();
    house.user("ana");
    house.user("bo");
    let nothing = house.token("bo");
    house.send(get("/api/user").bearer(&nothing)).await.is(
        200,
        json!({"success": true, "user": {"id": 2, "email": "bo@example.com", "firstName": "bo", "lastName": "", "organizations": []}}),
    );
    house
        .send(get("/api/user/orgs").bearer(&nothing))
        .await
        .is(200, json!({"success": true, "organizations": []}));
    house.organization("Acme", "ana");
    house.organization("Bar", "ana");
    house.pass(Duration::from_secs(1));
    house.member("acme", "bo", Role::Member, State::Inactive);
    house.pass(Duration::from_secs(1));
    house.member("bar", "bo", Role::Admin, State::Active);
    let acme = json!({"id": 1, "name": "Acme", "roles": [{"id": 2, "role": "Member"}]});
    let bar = json!({"id": 2, "name": "Bar", "roles": [{"id": 1, "role": "Admin"}]});
    house.send(get("/api/user").bearer(&house.token_in("bo", Some("bar")))).await.is(
        200,
        json!({
            "success": true,
            "user": {"id": 2, "email": "bo@example.com", "firstName": "bo", "lastName": "", "organizations": [acme, bar]},
            "organization": bar,
        }),
    );
    house.send(get("/api/user/orgs").bearer(&nothing)).await.is(
        200,
        json!({"success": true, "organizations": [
            {"orgId": 1, "name": "Acme", "role": "Member"},
            {"orgId": 2, "name": "Bar", "role": "Admin"},
        ]}),
    );
}

#[tokio::test]
async fn an_api_key_is_shown_once_and_replaces_the_one_before() {
    let house = House::new();
    house.user("ana");
    let token = house.token("ana");
    let path = "/api/user/apikey";
    house.send(get(path).bearer(&token)).await.is(200, json!({"success": true, "apikey": null}));
    let mut keys = Vec::new();
    for _ in 0..2 {
        let answer = house.send(post(path).bearer(&token)).await;
        let key = answer.value()["apiKey"].as_str().unwrap().to_owned();
        answer.is(200, json!({"success": true, "apiKey": key}));
        assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
        keys.push(key);
    }
    let shown = format!("…{}", &keys[1][60..]);
    house.send(get(path).bearer(&keys[1])).await.is(200, json!({"success": true, "apikey": shown}));
    house.send(get(path).bearer(&keys[0])).await.is(401, error(401, "Authentication required"));
    house.send(get(path).bearer(&token)).await.is(200, json!({"success": true, "apikey": shown}));
}
