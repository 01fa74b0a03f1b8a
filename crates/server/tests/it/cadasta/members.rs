//! Members: who is listed, who adds, changes and removes them.

use guildhall_domain::authz::{Role, State};
use serde_json::{Value, json};

use super::{ALL, ONE, USERS, acme, by, denied, member, no_organization, no_user};
use crate::harness::{Call, delete, get, patch, post};

fn user(name: &str) -> String {
    format!("{USERS}{name}/")
}

fn add(body: Value) -> Call {
    post(USERS).json(body)
}

#[tokio::test]
async fn members_see_who_belongs() {
    let house = acme();
    let all = json!([
        member("owner", true),
        member("admin", true),
        member("member", false),
        member("inactive", false)
    ]);
    for name in ["member", "admin", "owner", "inactive"] {
        house.send(by(&house, name, get(USERS))).await.is(200, all.clone());
        house.send(by(&house, name, get(&user("admin")))).await.is(200, member("admin", true));
    }
    for name in ["", "stranger", "pending", "suspended"] {
        house.send(by(&house, name, get(USERS))).await.is(403, denied());
        house.send(by(&house, name, get(&user("admin")))).await.is(403, denied());
        house.send(by(&house, name, get(&user("nobody")))).await.is(403, denied());
    }
    for named in ["ADMIN", "admin@example.com", "Admin%40example.com"] {
        house.send(by(&house, "member", get(&user(named)))).await.is(200, member("admin", true));
    }
    for named in ["nobody", "stranger", "pending", "suspended", "%00", "add"] {
        house.send(by(&house, "member", get(&user(named)))).await.is(404, no_user());
    }
}

#[tokio::test]
async fn those_in_charge_add_who_has_an_account() {
    let house = acme();
    for name in ["a", "b", "c", "d"] {
        house.user(name);
    }
    for name in ["", "stranger", "pending", "suspended", "member", "inactive"] {
        for body in [json!({"username": "a"}), json!({"username": "nobody"}), json!({})] {
            house.send(by(&house, name, add(body))).await.is(403, denied());
        }
    }
    for (giver, body, added) in [
        ("admin", json!({"username": "a"}), member("a", false)),
        ("admin", json!({"username": "B@Example.com", "admin": true}), member("b", true)),
        ("owner", json!({"username": "c", "admin": "True"}), member("c", true)),
        ("owner", json!({"username": "d", "admin": false}), member("d", false)),
        ("owner", json!({"username": "pending"}), member("pending", false)),
    ] {
        house.send(by(&house, giver, add(body))).await.is(201, added);
    }
    let form = post(USERS).form(&[("username", "stranger"), ("admin", "true")]);
    house.send(by(&house, "owner", form)).await.is(201, member("stranger", true));
    // Whom an admin made one is that; whom an owner made one is an owner, and out of an admin's reach.
    assert_eq!(house.send(by(&house, "admin", delete(&user("b")))).await.status, 204);
    house.send(by(&house, "admin", delete(&user("c")))).await.is(403, denied());
}

#[tokio::test]
async fn everything_wrong_with_an_addition_is_told_at_once() {
    let house = acme();
    let repeated = json!({"username": ["Not able to add member. The role already exists."]});
    for (body, wrong) in [
        (json!({"username": "member"}), repeated.clone()),
        (json!({"username": "suspended", "admin": true}), repeated),
        (json!({}), json!({"username": ["This field is required."]})),
        (json!({"username": " "}), json!({"username": ["This field may not be blank."]})),
        (json!({"username": 5}), json!({"username": ["Not a valid string."]})),
        (
            json!({"username": null, "admin": null}),
            json!({"username": ["This field may not be null."], "admin": ["This field may not be null."]}),
        ),
        (
            json!({"username": "some_username", "admin": "maybe"}),
            json!({
                "username": ["User with username or email some_username does not exist"],
                "admin": ["\"maybe\" is not a valid boolean."]
            }),
        ),
        (
            json!({"username": "some_username"}),
            json!({"username": ["User with username or email some_username does not exist"]}),
        ),
        (
            json!({"username": "admin", "admin": 2}),
            json!({
                "username": ["Not able to add member. The role already exists."],
                "admin": ["\"2\" is not a valid boolean."]
            }),
        ),
        (json!({"username": "stranger", "admin": []}), json!({"admin": ["\"[]\" is not a valid boolean."]})),
        (json!("x"), json!({"non_field_errors": ["Invalid data. Expected a dictionary, but got str."]})),
    ] {
        house.send(by(&house, "admin", add(body))).await.is(400, wrong);
    }
}

#[tokio::test]
async fn those_in_charge_make_others_admins_and_the_reverse() {
    let house = acme();
    let change = |name: &str, body: Value| patch(&user(name)).json(body);
    for name in ["", "stranger", "pending", "suspended", "member", "inactive"] {
        for (target, body) in
            [("member", json!({"admin": true})), ("nobody", json!({})), ("member", json!({"admin": 7}))]
        {
            house.send(by(&house, name, change(target, body))).await.is(403, denied());
        }
    }
    for target in ["nobody", "stranger", "pending", "suspended"] {
        for body in [json!({"admin": true}), json!({}), json!({"admin": "maybe"}), json!([])] {
            house.send(by(&house, "owner", change(target, body))).await.is(404, no_user());
        }
    }
    for (giver, body, is_admin) in [
        ("owner", json!({"admin": true}), true),
        ("owner", json!({}), true),
        ("owner", json!({"admin": true, "username": "ignored"}), true),
        ("owner", json!({"admin": false}), false),
        ("admin", json!({"admin": "true"}), true),
        ("admin", json!({"admin": "false"}), false),
    ] {
        house.send(by(&house, giver, change("member", body))).await.is(200, member("member", is_admin));
    }
    house.send(by(&house, "owner", patch(&user("member")))).await.is(200, member("member", false));
    house.send(by(&house, "admin", change("owner", json!({"admin": true})))).await.is(403, denied());
    house.send(by(&house, "admin", change("owner", json!({"admin": false})))).await.is(403, denied());
    for (body, text) in [
        (json!({"admin": null}), "This field may not be null."),
        (json!({"admin": "maybe"}), "\"maybe\" is not a valid boolean."),
    ] {
        house.send(by(&house, "owner", change("member", body))).await.is(400, json!({"admin": [text]}));
    }
}

#[tokio::test]
async fn nobody_in_charge_lowers_or_removes_themself() {
    let house = acme();
    let own = "Organization administrators cannot change their own permissions within the organization";
    for name in ["owner", "admin"] {
        for named in [name.to_owned(), format!("{name}@example.com")] {
            let path = user(&named);
            let change = |admin: bool| patch(&path).json(json!({"admin": admin}));
            house.send(by(&house, name, change(false))).await.is(400, json!({"admin": [own]}));
            house.send(by(&house, name, change(true))).await.is(200, member(name, true));
            house.send(by(&house, name, delete(&path))).await.is(403, denied());
        }
    }
    // Another may. Of two who lower each other, the second has lost the right by then.
    house.member("acme", "member", Role::Owner, State::Active);
    let lower = |name: &str| patch(&user(name)).json(json!({"admin": false}));
    house.send(by(&house, "member", lower("owner"))).await.is(200, member("owner", false));
    house.send(by(&house, "owner", lower("member"))).await.is(403, denied());
}

#[tokio::test]
async fn those_in_charge_remove_others() {
    let house = acme();
    for name in ["", "stranger", "pending", "suspended", "member", "inactive"] {
        for target in ["inactive", "nobody", "owner"] {
            house.send(by(&house, name, delete(&user(target)))).await.is(403, denied());
        }
    }
    for target in ["nobody", "stranger", "pending", "suspended"] {
        house.send(by(&house, "admin", delete(&user(target)))).await.is(404, no_user());
    }
    house.send(by(&house, "admin", delete(&user("owner")))).await.is(403, denied());
    let (removed, token) = (user("member%40example.com"), house.token("member"));
    house.send(get(USERS).token(&token)).await.is(200, house.send(get(USERS).token(&token)).await.value());
    house.send(by(&house, "admin", delete(&removed))).await.is_empty(204);
    house.send(by(&house, "admin", delete(&removed))).await.is(404, no_user());
    house.send(get(USERS).token(&token)).await.is(403, denied());
    assert_eq!(house.send(get(ONE).token(&token)).await.value()["users"], Value::Null);
    house.send(by(&house, "owner", delete(&user("admin")))).await.is_empty(204);
}

#[tokio::test]
async fn an_archived_organization_keeps_its_members() {
    let house = acme();
    house.archive("acme", true);
    for (name, status, told) in
        [("owner", 403, denied()), ("admin", 403, denied()), ("member", 404, no_organization())]
    {
        for call in [
            add(json!({"username": "stranger"})),
            add(json!({})),
            patch(&user("member")).json(json!({"admin": true})),
            patch(&user("member")),
            delete(&user("member")),
            delete(&user("nobody")),
        ] {
            house.send(by(&house, name, call)).await.is(status, told.clone());
        }
    }
    house.send(by(&house, "admin", get(&user("member")))).await.is(200, member("member", false));
    house.send(by(&house, "member", get(USERS))).await.is(404, no_organization());
}

#[tokio::test]
async fn a_long_list_comes_whole() {
    let house = acme();
    for number in 0..520 {
        let name = format!("u{number}");
        house.user(&name);
        house.member("acme", &name, Role::Member, State::Active);
    }
    let users = house.send(by(&house, "member", get(USERS))).await.value();
    let detailed = house.send(by(&house, "member", get(ONE))).await.value();
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["username"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&users), names(&detailed["users"]));
    assert_eq!(names(&users).len(), 524);
    assert_eq!(names(&users)[523], "u519");
    house.send(get(&format!("{ALL}nowhere/users/"))).await.is(404, no_organization());
}
