//! Organizations: making, listing, switching, renaming, deleting.

use std::time::Duration;

use guildhall_domain::authz::{Role, State};
use guildhall_domain::memberships::{Joining, Visibility};
use serde_json::{Value, json};

use super::{done, error, make_many, read_token};
use crate::harness::{Call, House, delete, get, post, put};

const NOW: &str = "2026-01-02T03:04:05.000Z";
const ROLES_SINCE: &str = "2019-04-08T02:30:37.000Z";

fn dated(id: i64, name: &str, role: (i64, &str)) -> Value {
    let (role_id, role) = role;
    json!({
        "id": id,
        "name": name,
        "createdAt": NOW,
        "updatedAt": NOW,
        "roles": [{"id": role_id, "role": role, "createdAt": ROLES_SINCE, "updatedAt": ROLES_SINCE}],
    })
}

fn admin_of(id: i64, name: &str) -> Value {
    dated(id, name, (1, "Admin"))
}

fn create(name: &str) -> Call {
    post("/api/org").json(json!({"name": name}))
}

#[tokio::test]
async fn the_document_as_it_stands() {
    let house = House::new();
    house.user("ana");
    house.organization("foo", "ana");
    let token = house.token_in("ana", Some("foo"));
    house.send(create("myOrg").bearer(&token)).await.is(
        200,
        json!({
            "success": true,
            "organization": {
                "name": "myOrg",
                "updated_at": "2026-01-02T03:04:05.678Z",
                "created_at": "2026-01-02T03:04:05.678Z",
                "id": 2,
            },
            "user": {
                "id": 1,
                "email": "ana@example.com",
                "password": "[redacted]",
                "firstName": "ana",
                "lastName": "",
                "isActive": 1,
                "confirmedAt": NOW,
                "createdAt": NOW,
                "updatedAt": NOW,
                "apiKey": "[redacted]",
                "organizations": [admin_of(1, "foo")],
            },
        }),
    );
    let (foo, mine) = (admin_of(1, "foo"), admin_of(2, "myOrg"));
    house
        .send(get("/api/org").bearer(&token))
        .await
        .is(200, json!({"success": true, "organizations": [foo, mine], "current": foo}));

    let switched = house.send(post("/api/org/switch/2").bearer(&token)).await;
    let other = switched.value()["token"].as_str().unwrap().to_owned();
    switched.is(200, json!({"success": true, "organization": 2, "token": other}));
    for (token, current) in [(&other, &mine), (&token, &foo)] {
        house
            .send(get("/api/org").bearer(token))
            .await
            .is(200, json!({"success": true, "organizations": [foo, mine], "current": current}));
    }
    let renamed = put("/api/org/1").bearer(&token).json(json!({"name": "updatedOrgName"}));
    house.send(renamed).await.is(200, json!({"success": true, "organization": 1}));
    house.send(delete("/api/org/1").bearer(&token)).await.is(200, done());
    // The token is still good; the organization that it was made for is gone.
    house
        .send(get("/api/org").bearer(&token))
        .await
        .is(200, json!({"success": true, "organizations": [mine]}));
}

#[tokio::test]
async fn what_may_not_be_an_organizations_name() {
    let house = House::new();
    house.user("ana");
    house.organization("Acme", "ana");
    let token = house.token("ana");
    let long = "x".repeat(201);
    for (body, message) in [
        (json!({}), "\"Name\" is required"),
        (json!({"foo": 1}), "\"Name\" is required"),
        (json!({"name": "Acme", "foo": 1}), "\"foo\" is not allowed"),
        (json!({"name": null}), "\"Name\" must be a string"),
        (json!({"name": 5}), "\"Name\" must be a string"),
        (json!({"name": ""}), "\"Name\" is not allowed to be empty"),
        (json!({"name": " \t "}), "\"Name\" is not allowed to be empty"),
        (json!({"name": " x "}), "\"Name\" length must be at least 2 characters long"),
        (json!({"name": long}), "\"Name\" length must be less than or equal to 200 characters long"),
        (json!({"name": "a\nb"}), "\"Name\" contains characters that are not allowed"),
        (json!([]), "\"value\" must be an object"),
    ] {
        for call in [post("/api/org"), put("/api/org/1")] {
            house.send(call.bearer(&token).json(body.clone())).await.is(400, error(400, message));
        }
    }
}

#[tokio::test]
async fn no_two_of_ones_own_organizations_have_one_name() {
    let house = House::new();
    house.user("ana");
    house.user("bo");
    let (ana, bo) = (house.token("ana"), house.token("bo"));
    house.organization("Acme", "ana");
    house.organization("Other", "ana");
    house.organization_as("Public", "bo", Visibility::Public, Joining::Open);
    let taken = |name: &str| error(409, &format!("Organization with name {name} already exists"));
    house.send(create("  ACME").bearer(&ana)).await.is(409, taken("ACME"));
    assert_eq!(house.send(create("Acme").bearer(&bo)).await.status, 200);
    let rename = |id: i64, name: &str| put(&format!("/api/org/{id}")).json(json!({"name": name}));
    house.send(rename(2, "acme").bearer(&ana)).await.is(409, taken("acme"));
    house.send(rename(1, "ACME").bearer(&ana)).await.is(200, json!({"success": true, "organization": 1}));
    // A public name is taken for public organizations.
    house.organization_as("Public too", "ana", Visibility::Public, Joining::Open);
    house.send(rename(5, "public").bearer(&ana)).await.is(409, taken("public"));
    assert_eq!(house.send(create("public").bearer(&ana)).await.status, 200);
}

#[tokio::test]
async fn current_is_the_organization_of_the_credential() {
    let house = House::new();
    house.user("ana");
    house.user("bo");
    house.organization("foo", "ana");
    house.organization("bar", "ana");
    house.pass(Duration::from_millis(1));
    // A session from before the first organization has none.
    let none = house.token("bo");
    house.member("bar", "bo", Role::Member, State::Active);
    house.member("foo", "bo", Role::Admin, State::Active);
    let (in_foo, key) = (house.token_in("bo", Some("foo")), house.api_key("bo"));
    let (foo, bar) = (dated(1, "foo", (1, "Admin")), dated(2, "bar", (2, "Member")));
    let organizations = json!([foo, bar]);
    let with = |current: &Value| json!({"success": true, "organizations": organizations, "current": current});
    house.send(get("/api/org").bearer(&in_foo)).await.is(200, with(&foo));
    house.send(get("/api/org").bearer(&key)).await.is(200, with(&foo));
    house.send(get("/api/org").bearer(&house.token("bo"))).await.is(200, with(&foo));
    house
        .send(get("/api/org").bearer(&none))
        .await
        .is(200, json!({"success": true, "organizations": organizations}));
    house.member("foo", "bo", Role::Member, State::Suspended);
    house
        .send(get("/api/org").bearer(&in_foo))
        .await
        .is(200, json!({"success": true, "organizations": [bar]}));
    house
        .send(get("/api/org").bearer(&key))
        .await
        .is(200, json!({"success": true, "organizations": [bar], "current": bar}));
}

#[tokio::test]
async fn only_members_switch() {
    let house = House::new();
    house.user("ana");
    house.organization_as("foo", "ana", Visibility::Public, Joining::Open);
    for (name, state) in
        [("member", State::Inactive), ("pending", State::Pending), ("suspended", State::Suspended)]
    {
        house.user(name);
        house.member("foo", name, Role::Member, state);
    }
    house.user("stranger");
    let switch = |id: &str| post(&format!("/api/org/switch/{id}"));
    assert_eq!(house.send(switch("1").bearer(&house.token("member"))).await.status, 200);
    for name in ["pending", "suspended", "stranger"] {
        let missing = error(404, "Organization with ID 1 not found.");
        house.send(switch("1").bearer(&house.token(name))).await.is(404, missing);
    }
    let token = house.token("ana");
    for (sent, shown) in [
        ("99", "99"),
        ("01", "01"),
        ("x%20y", "x y"),
        ("-1", "-1"),
        ("99999999999999999999", "99999999999999999999"),
    ] {
        let missing = error(404, &format!("Organization with ID {shown} not found."));
        house.send(switch(sent).bearer(&token)).await.is(404, missing);
    }
    house.archive("foo", true);
    assert_eq!(house.send(switch("1").bearer(&token)).await.status, 200);
}

#[tokio::test]
async fn a_switch_makes_no_credential_wider() {
    let house = House::new();
    house.user("ana");
    house.organization("foo", "ana");
    let switch = |token: &str| post("/api/org/switch/1").bearer(token);
    let read = read_token(&house, "ana").await;
    let derived = house.send(switch(&read)).await.value()["token"].as_str().unwrap().to_owned();
    house.send(create("Another").bearer(&derived)).await.is(403, error(403, "Insufficient scope"));
    let key = house.api_key("ana");
    let derived = house.send(switch(&key)).await.value()["token"].as_str().unwrap().to_owned();
    assert_eq!(house.send(get("/api/user").bearer(&derived)).await.status, 200);
    house.api_key("ana");
    house.send(get("/api/user").bearer(&derived)).await.is(401, error(401, "Authentication required"));
}

#[tokio::test]
async fn a_long_list_comes_whole_and_what_follows_it_too() {
    let house = House::new();
    house.user("ana");
    make_many(1_000, |number| drop(house.organization(&format!("Number {number}"), "ana")));
    let token = house.token_in("ana", Some("number-7"));
    for _ in 0..2 {
        let answer = house.send(get("/api/org").bearer(&token)).await.value();
        let ids: Vec<i64> = answer["organizations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_i64().unwrap())
            .collect();
        assert_eq!(ids, (1..=i64::try_from(ids.len()).unwrap()).collect::<Vec<_>>());
        assert_eq!(answer["current"]["name"], "Number 7");
        // The second time round the list ends in the middle of a piece, and the new one is left out of its own answer.
        let made = house.send(create(&format!("Another {}", ids.len())).bearer(&token)).await.value();
        assert_eq!(made["user"]["organizations"].as_array().unwrap().len(), ids.len());
        assert!(ids.len() >= 1_000);
    }
}
