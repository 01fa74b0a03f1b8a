//! Members: who is listed, who adds whom, who takes whom out.

use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::memberships::{self, At, Joining, OrganizationKey, Sight, Visibility};
use guildhall_domain::users::UserKey;
use serde_json::{Value, json};

use super::{Stormz, member, message};
use crate::harness::{delete, get, post};

impl Stormz {
    /// What that person is, as the operator sees it; nothing where they are neither active nor inactive.
    fn role(&self, name: &str) -> Option<(Role, State)> {
        let at = At { key: OrganizationKey::Slug("stormz".into()), sight: Sight::ByVisibility };
        let user = UserKey::Login(name.into());
        memberships::get(self.house.db(), &Actor::system(), &at, &user)
            .ok()
            .map(|member| (member.role, member.state))
    }
}

fn new(name: &str, role: &str) -> Value {
    json!({"email": format!("{name}@example.com"), "role": role})
}

#[tokio::test]
async fn members_see_members_without_those_who_wait_or_are_shut_out() {
    let stormz = Stormz::new();
    let listed = ["owner", "admin", "member", "inactive", "inactive-admin"];
    let expected: Value = listed.iter().map(|name| member(&stormz.user(name))).collect();
    for name in listed {
        let call = get(&stormz.members()).bearer(&stormz.house.token(name));
        stormz.house.send(call).await.is(200, expected.clone());
    }
    let reader = stormz.read_token("member").await;
    stormz.house.send(get(&stormz.members()).bearer(&reader)).await.is(200, expected.clone());
    let refused = [
        ("nobody", 401, "Requires authentication"),
        ("stranger", 404, "Not Found"),
        ("pending", 404, "Not Found"),
        ("suspended", 404, "Not Found"),
    ];
    stormz.refuses(&refused, || get(&stormz.members())).await;
    stormz.house.archive("stormz", true);
    let call = get(&format!("{}/", stormz.members())).bearer(&stormz.house.token("member"));
    stormz.house.send(call).await.is(200, expected);
    let open = stormz.house.organization_as("Open", "owner", Visibility::Public, Joining::Open);
    let of_open = format!("{}/members", super::path(&open));
    stormz.refuses(&[("stranger", 404, "Not Found")], || get(&of_open)).await;
}

#[tokio::test]
async fn those_in_charge_add_people() {
    for (giver, role, becomes) in [
        ("owner", "facilitator", Role::Member),
        ("owner", "admin", Role::Owner),
        ("admin", "facilitator", Role::Member),
        ("admin", "admin", Role::Admin),
        ("inactive-admin", "admin", Role::Admin),
    ] {
        for added in ["stranger", "pending"] {
            let stormz = Stormz::new();
            let call = post(&stormz.members()).bearer(&stormz.house.token(giver)).json(new(added, role));
            stormz.house.send(call).await.is(201, member(&stormz.user(added)));
            assert_eq!(stormz.role(added), Some((becomes, State::Active)), "{giver} {role} {added}");
        }
    }
}

#[tokio::test]
async fn who_may_not_add_is_told_before_what_is_wrong() {
    let stormz = Stormz::new();
    let refused = [
        ("nobody", 401, "Requires authentication"),
        ("stranger", 404, "Not Found"),
        ("pending", 404, "Not Found"),
        ("suspended", 404, "Not Found"),
        ("member", 403, "Forbidden"),
        ("inactive", 403, "Forbidden"),
        ("reader", 403, "Forbidden"),
    ];
    for body in [new("stranger", "admin"), new("nobody", "admin"), json!({}), json!([])] {
        stormz.refuses(&refused, || post(&stormz.members()).json(body.clone())).await;
    }
    stormz.refuses(&refused, || post(&stormz.members()).body("text/plain", b"x")).await;
    stormz.house.archive("stormz", true);
    let archived = [("owner", 403, "Organization is archived"), ("member", 403, "Forbidden")];
    stormz.refuses(&archived, || post(&stormz.members()).json(new("stranger", "admin"))).await;
    assert_eq!(stormz.role("stranger"), None);
}

#[tokio::test]
async fn adding_says_what_is_wrong_with_it() {
    let stormz = Stormz::new();
    let token = stormz.house.token("admin");
    let add = || post(&stormz.members()).bearer(&token);
    let role = "role must be facilitator or admin";
    for (body, status, text) in [
        (json!({}), 422, "email is required"),
        (json!({"email": "stranger@example.com"}), 422, "role is required"),
        (json!({"role": "admin"}), 422, "email is required"),
        (json!({"email": " ", "role": "admin"}), 422, "email must not be blank"),
        (json!({"email": null, "role": "admin"}), 422, "email must be a string"),
        (json!({"email": ["stranger@example.com"], "role": "admin"}), 422, "email must be a string"),
        (json!({"email": "stranger@example.com", "role": ""}), 422, "role must not be blank"),
        (json!({"email": "stranger@example.com", "role": 1}), 422, "role must be a string"),
        (new("stranger", "owner"), 422, role),
        (new("stranger", "Admin"), 422, role),
        (new("unknown", "admin"), 404, "User not found"),
        (json!({"email": "no address", "role": "admin"}), 404, "User not found"),
        (json!({"email": "stranger", "role": "admin"}), 404, "User not found"),
        (new("member", "facilitator"), 409, "Already a member"),
        (new("member", "admin"), 409, "Already a member"),
        (new("inactive", "admin"), 409, "Already a member"),
        (new("suspended", "facilitator"), 409, "Already a member"),
        (new("owner", "facilitator"), 409, "Already a member"),
        (new("admin", "admin"), 409, "Already a member"),
    ] {
        let answer = stormz.house.send(add().json(body.clone())).await;
        assert_eq!((answer.status.as_u16(), answer.value()), (status, message(text)), "{body}");
    }
    for body in ["", "{", "[]", "1"] {
        let answer = stormz.house.send(add().body("application/json", body.as_bytes())).await;
        answer.is(400, message("Problems parsing JSON"));
    }
    let form = stormz.house.send(add().form(&[("email", "stranger@example.com"), ("role", "admin")])).await;
    form.is(415, message("Unsupported content type"));
    let large = stormz.house.send(add().body("application/json", &vec![b' '; 1024 * 1024 + 1])).await;
    large.is(413, message("Request body too large"));
    assert_eq!(stormz.role("member"), Some((Role::Member, State::Active)), "nothing was changed");
    let shouted = json!({"email": "STRANGER@EXAMPLE.COM", "role": "facilitator", "more": 1});
    stormz.house.send(add().json(shouted)).await.is(201, member(&stormz.user("stranger")));
}

#[tokio::test]
async fn who_takes_whom_out() {
    let gone = (204, "");
    let (forbidden, missing) = ((403, "Forbidden"), (404, "Not Found"));
    for (by, whom, (status, text)) in [
        ("owner", "member", gone),
        ("owner", "admin", gone),
        ("owner", "inactive", gone),
        ("owner", "owner", gone),
        ("owner", "pending", missing),
        ("owner", "suspended", missing),
        ("owner", "stranger", missing),
        ("admin", "member", gone),
        ("admin", "inactive-admin", gone),
        ("admin", "admin", gone),
        ("admin", "owner", forbidden),
        ("admin", "stranger", missing),
        ("member", "member", gone),
        ("member", "inactive", forbidden),
        ("member", "owner", forbidden),
        ("member", "stranger", forbidden),
        ("inactive", "inactive", gone),
        // Who waits may withdraw, and sees nothing else.
        ("pending", "pending", gone),
        ("pending", "member", missing),
        ("suspended", "suspended", missing),
        ("suspended", "member", missing),
        ("stranger", "stranger", missing),
        ("stranger", "member", missing),
    ] {
        let stormz = Stormz::new();
        let answer = stormz.house.send(delete(&stormz.member(whom)).bearer(&stormz.house.token(by))).await;
        if status == 204 {
            answer.is_empty(204);
            assert_eq!(stormz.role(whom), None, "{by} {whom}");
        } else {
            assert_eq!((answer.status.as_u16(), answer.value()), (status, message(text)), "{by} {whom}");
        }
    }
}

#[tokio::test]
async fn an_id_that_never_was_is_told_after_the_right() {
    let stormz = Stormz::new();
    for id in ["x", "5007d396eb7abf319a000047", "%00", &stormz.user("member").id.0.to_string()] {
        let path = format!("{}/{id}", stormz.members());
        let table = [
            ("nobody", 401, "Requires authentication"),
            ("stranger", 404, "Not Found"),
            ("member", 403, "Forbidden"),
            ("reader", 403, "Forbidden"),
            ("owner", 404, "Not Found"),
        ];
        stormz.refuses(&table, || delete(&path)).await;
    }
    let table = [("nobody", 401, "Requires authentication"), ("reader", 403, "Forbidden")];
    stormz.refuses(&table, || delete(&stormz.member("owner"))).await;
}

#[tokio::test]
async fn somebody_stays_in_charge() {
    let stormz = Stormz::new();
    let owner = stormz.house.token("owner");
    for name in ["admin", "inactive-admin"] {
        stormz.house.send(delete(&stormz.member(name)).bearer(&owner)).await.is_empty(204);
    }
    let last = stormz.house.send(delete(&stormz.member("owner")).bearer(&owner)).await;
    last.is(409, message("At least one admin must remain"));
    let add = post(&stormz.members()).bearer(&owner).json(new("admin", "facilitator"));
    stormz.house.send(add).await.is(201, member(&stormz.user("admin")));
    let last = stormz.house.send(delete(&stormz.member("owner")).bearer(&owner)).await;
    last.is(409, message("At least one admin must remain"));
}

#[tokio::test]
async fn an_archived_one_lets_go_of_who_leaves_and_of_nobody_else() {
    let stormz = Stormz::new();
    stormz.house.archive("stormz", true);
    stormz.refuses(&[("owner", 403, "Organization is archived")], || delete(&stormz.member("member"))).await;
    for name in ["member", "owner"] {
        let leave = delete(&stormz.member(name)).bearer(&stormz.house.token(name));
        stormz.house.send(leave).await.is_empty(204);
    }
    assert_eq!(
        stormz.role("admin"),
        Some((Role::Owner, State::Active)),
        "the longest-serving admin succeeds"
    );
}

#[tokio::test]
async fn a_removed_member_is_out_at_once() {
    let stormz = Stormz::new();
    let (owner, member) = (stormz.house.token("owner"), stormz.house.token("member"));
    assert_eq!(stormz.house.send(get(&stormz.path()).bearer(&member)).await.status, 200);
    stormz.house.send(delete(&stormz.member("member")).bearer(&owner)).await.is_empty(204);
    stormz.house.send(get(&stormz.path()).bearer(&member)).await.is(404, message("Not Found"));
    let again = stormz.house.send(delete(&stormz.member("member")).bearer(&owner)).await;
    again.is(404, message("Not Found"));
}
