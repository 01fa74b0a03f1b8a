//! The people of an organization, and invitations to it.

use std::time::Duration;

use guildhall_domain::authz::{Role, State};
use guildhall_domain::limits::{self, INVITATIONS_OF_ORGANIZATION};
use guildhall_domain::outbox::Kind;
use serde_json::{Value, json};

use super::{done, error, make_many, read_token};
use crate::harness::{Answer, Call, House, PASSWORD, Plan, delete, get, post, put};

const ADMIN_REQUIRED: &str = "Organization admin privileges required";
const OWNER_REQUIRED: &str = "Organization owner privileges required";

/// `Acme`, the organization 1: ana its owner (user 1), adam an admin (2), mia a member (3), ian an inactive one (4), pia
/// pending (5), sue suspended (6); sam is a stranger (7).
fn acme() -> House {
    furnish(House::new())
}

fn furnish(house: House) -> House {
    house.user("ana");
    house.organization("Acme", "ana");
    for (name, role, state) in [
        ("adam", Role::Admin, State::Active),
        ("mia", Role::Member, State::Active),
        ("ian", Role::Member, State::Inactive),
        ("pia", Role::Member, State::Pending),
        ("sue", Role::Member, State::Suspended),
    ] {
        house.pass(Duration::from_secs(1));
        house.user(name);
        house.member("acme", name, role, state);
    }
    house.user("sam");
    house
}

/// Who is what in Acme, as its owner or else its admin sees it.
async fn roles(house: &House, reader: &str) -> Vec<(i64, String)> {
    let answer = house.send(get("/api/org/1/users").bearer(&house.token(reader))).await.value();
    let one = |user: &Value| (user["userId"].as_i64().unwrap(), user["role"].as_str().unwrap().to_owned());
    answer["users"].as_array().unwrap().iter().map(one).collect()
}

fn people(call: Call, users: Value) -> Call {
    call.json(json!({"usersId": users}))
}

fn remove(users: Value) -> Call {
    people(post("/api/org/1/users/remove"), users)
}

fn grant(users: Value) -> Call {
    people(put("/api/org/1/admin/grant"), users)
}

fn revoke(users: Value) -> Call {
    people(put("/api/org/1/admin/revoke"), users)
}

fn reset(users: Value) -> Call {
    people(put("/api/org/1/admin/resetpassword"), users)
}

fn invite(email: &str) -> Call {
    post("/api/org/1/invitelink").json(json!({"email": email}))
}

fn token_of(answer: &Answer) -> String {
    let answer = answer.value();
    let url = answer["confirmUrl"].as_str().unwrap();
    url.strip_prefix("http://guildhall.test/account/invite/?token=").unwrap().to_owned()
}

#[tokio::test]
async fn members_see_who_belongs_in_the_order_of_joining() {
    let house = acme();
    house.pass(Duration::from_secs(1));
    house.unverified_user("una");
    house.member("acme", "una", Role::Owner, State::Active);
    house.disable("mia");
    let person = |id: i64, name: &str, active: u8, role: &str| {
        let email = format!("{name}@example.com");
        json!({"userId": id, "email": email, "firstName": name, "lastName": "", "isActive": active, "role": role})
    };
    let list = json!({"success": true, "users": [
        person(1, "ana", 1, "Admin"),
        person(2, "adam", 1, "Admin"),
        person(3, "mia", 0, "Member"),
        person(4, "ian", 1, "Member"),
        person(5, "pia", 1, "Pending"),
        person(8, "una", 0, "Admin"),
    ]});
    for name in ["ana", "adam", "ian"] {
        house.send(get("/api/org/1/users").bearer(&house.token(name))).await.is(200, list.clone());
    }
    house.send(get("/api/org/1/users").bearer(&read_token(&house, "ana").await)).await.is(200, list.clone());
    let required = error(403, "Organization membership required");
    for name in ["pia", "sue", "sam"] {
        house.send(get("/api/org/1/users").bearer(&house.token(name))).await.is(403, required.clone());
    }
    for path in ["/api/org/2/users", "/api/org/x/users", "/api/org/01/users"] {
        house.send(get(path).bearer(&house.token("ana"))).await.is(403, required.clone());
    }
    house.archive("acme", true);
    house.send(get("/api/org/1/users").bearer(&house.token("ian"))).await.is(200, list);
    house.send(get("/api/org/1/users").bearer(&house.token("sam"))).await.is(403, required);
}

#[tokio::test]
async fn a_long_list_of_members_comes_whole() {
    let house = House::new();
    house.user("ana");
    house.organization("Acme", "ana");
    make_many(600, |number| {
        let name = format!("user{number}");
        house.user(&name);
        house.member("acme", &name, Role::Member, State::Active);
    });
    let ids: Vec<i64> = roles(&house, "ana").await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, (1..=601).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_may_change_an_organization() {
    let house = acme();
    let calls = || {
        [
            put("/api/org/1").json(json!({"name": "Acme"})),
            invite("new@example.com"),
            remove(json!([99])),
            grant(json!([99])),
            revoke(json!([99])),
            reset(json!([99])),
            delete("/api/org/1"),
        ]
    };
    for call in calls() {
        house.send(call).await.is(401, error(401, "Authentication required"));
    }
    for name in ["sam", "sue", "pia", "mia", "ian"] {
        for call in calls() {
            house.send(call.bearer(&house.token(name))).await.is(403, error(403, ADMIN_REQUIRED));
        }
    }
    let read = read_token(&house, "ana").await;
    for call in calls() {
        house.send(call.bearer(&read)).await.is(403, error(403, "Insufficient scope"));
    }
    house.archive("acme", true);
    for call in calls() {
        house.send(call.clone().bearer(&house.token("sam"))).await.is(403, error(403, ADMIN_REQUIRED));
        house.send(call.clone().bearer(&house.token("mia"))).await.is(403, error(403, ADMIN_REQUIRED));
    }
    for call in &calls()[..6] {
        for name in ["adam", "ana"] {
            let call = call.clone().bearer(&house.token(name));
            house.send(call).await.is(403, error(403, "Organization is archived"));
        }
    }
    house.archive("acme", false);
    for name in ["adam", "ana"] {
        for call in &calls()[..6] {
            let answer = house.send(call.clone().bearer(&house.token(name))).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        }
    }
    house.send(delete("/api/org/1").bearer(&house.token("adam"))).await.is(403, error(403, OWNER_REQUIRED));
    house.archive("acme", true);
    house.send(delete("/api/org/1").bearer(&house.token("ana"))).await.is(200, done());
    // Gone for all alike.
    for name in ["ana", "sam"] {
        for call in calls() {
            house.send(call.bearer(&house.token(name))).await.is(403, error(403, ADMIN_REQUIRED));
        }
    }
}

#[tokio::test]
async fn an_admin_touches_no_owner() {
    let house = acme();
    let adam = house.token("adam");
    for call in [remove(json!([3, 1])), grant(json!([3, 1])), revoke(json!([3, 1])), reset(json!([3, 1]))] {
        house.send(call.bearer(&adam)).await.is(403, error(403, OWNER_REQUIRED));
    }
    // All or nothing.
    assert_eq!(house.letters().len(), 0);
    assert_eq!(
        roles(&house, "ana").await,
        [
            (1, "Admin".into()),
            (2, "Admin".into()),
            (3, "Member".into()),
            (4, "Member".into()),
            (5, "Pending".into())
        ]
    );
}

#[tokio::test]
async fn granting_and_revoking() {
    let house = acme();
    let ana = house.token("ana");
    // Strings are numbers, a pending person becomes an active one, a suspended one and strangers are passed over.
    house.send(grant(json!(["3", "5", 5, "6", 7, "99", -1, 1.5])).bearer(&ana)).await.is(200, done());
    assert_eq!(
        roles(&house, "ana").await,
        [
            (1, "Admin".into()),
            (2, "Admin".into()),
            (3, "Admin".into()),
            (4, "Member".into()),
            (5, "Admin".into())
        ]
    );
    // An owner made them owners: an admin no longer touches them.
    house.send(revoke(json!([3])).bearer(&house.token("adam"))).await.is(403, error(403, OWNER_REQUIRED));
    house.send(revoke(json!(["3", "5"])).bearer(&ana)).await.is(200, done());
    house.member("acme", "pia", Role::Member, State::Pending);
    house.send(revoke(json!([5])).bearer(&ana)).await.is(200, done());
    assert_eq!(roles(&house, "ana").await.last(), Some(&(5, "Member".into())));
    let last = error(409, "At least one admin must remains in");
    house.send(revoke(json!([1, 2])).bearer(&ana)).await.is(409, last);
    assert_eq!(roles(&house, "ana").await[..2], [(1, "Admin".into()), (2, "Admin".into())]);
    house.send(revoke(json!([1])).bearer(&ana)).await.is(200, done());
    house.send(revoke(json!([2])).bearer(&ana)).await.is(403, error(403, ADMIN_REQUIRED));
    // The longest-serving admin became the owner, and may delete.
    house.send(delete("/api/org/1").bearer(&house.token("adam"))).await.is(200, done());
}

#[tokio::test]
async fn removing_others_and_oneself() {
    let house = acme();
    let (ana, mia) = (house.token("ana"), house.token("mia"));
    house.send(remove(json!([3, 4])).bearer(&mia)).await.is(403, error(403, ADMIN_REQUIRED));
    house.send(remove(json!([3, 1.5])).bearer(&mia)).await.is(403, error(403, ADMIN_REQUIRED));
    house
        .send(remove(json!([1, 2])).bearer(&ana))
        .await
        .is(409, error(409, "At least one admin must remains in"));
    assert_eq!(roles(&house, "ana").await.len(), 5);
    // Oneself alone, also one who waits, also from an archived organization; a suspended one cannot.
    house.archive("acme", true);
    house.send(remove(json!(["3", 3])).bearer(&mia)).await.is(200, done());
    house.send(remove(json!(["3"])).bearer(&mia)).await.is(403, error(403, ADMIN_REQUIRED));
    house.send(remove(json!([5])).bearer(&house.token("pia"))).await.is(200, done());
    house.send(remove(json!([6])).bearer(&house.token("sue"))).await.is(403, error(403, ADMIN_REQUIRED));
    house.archive("acme", false);
    house.send(remove(json!(["4", "6", "7"])).bearer(&ana)).await.is(200, done());
    assert_eq!(roles(&house, "ana").await, [(1, "Admin".into()), (2, "Admin".into())]);
    house.send(grant(json!([6])).bearer(&ana)).await.is(200, done());
    assert_eq!(roles(&house, "ana").await.len(), 2, "a suspended one was neither removed nor let in");
    // The right is gone with the membership, whatever the token says.
    house.send(remove(json!([1])).bearer(&ana)).await.is(200, done());
    house.send(remove(json!([2])).bearer(&ana)).await.is(403, error(403, ADMIN_REQUIRED));
    house
        .send(remove(json!([2])).bearer(&house.token("adam")))
        .await
        .is(409, error(409, "At least one admin must remains in"));
}

#[tokio::test]
async fn resetting_passwords_mails_links_to_members_alone() {
    let house = acme();
    house.disable("ian");
    let ana = house.token("ana");
    house.send(reset(json!(["3", 3, "4", "6", "7", "99"])).bearer(&ana)).await.is(200, done());
    let letters = house.letters();
    let to: Vec<_> = letters.iter().map(|letter| (letter.kind, letter.recipient.as_str())).collect();
    assert_eq!(to, [(Some(Kind::ResetPassword), "mia@example.com")]);
    let login = |password: &str| {
        post("/api/account/login").json(json!({"email": "mia@example.com", "password": password}))
    };
    assert_eq!(house.send(login(PASSWORD)).await.status, 200);
    let token = house.app.secrets.token(letters[0].nonce.as_ref().unwrap());
    let body = json!({"token": token, "password": "a fresh one 17", "confirmation": "a fresh one 17"});
    let saved = json!({"userId": 3, "success": true, "message": "New password saved"});
    house.send(post("/api/account/changepassword").json(body)).await.is(200, saved);
    assert_eq!(house.send(login(PASSWORD)).await.status, 401);
}

#[tokio::test]
async fn what_may_not_be_a_list_of_people() {
    let house = acme();
    let ana = house.token("ana");
    let all = [
        post("/api/org/1/users/remove"),
        put("/api/org/1/admin/grant"),
        put("/api/org/1/admin/revoke"),
        put("/api/org/1/admin/resetpassword"),
    ];
    for call in all {
        house
            .send(call.clone().bearer(&ana).json(json!({})))
            .await
            .is(400, error(400, "\"usersId\" is required"));
        for bad in [
            json!(null),
            json!("4"),
            json!(4),
            json!({}),
            json!([]),
            json!(["x"]),
            json!(["1.5"]),
            json!([""]),
            json!([null]),
            json!([[4]]),
            json!(vec![99; 101]),
        ] {
            house
                .send(people(call.clone(), bad).bearer(&ana))
                .await
                .is(400, error(400, "\"usersId\" must be an array"));
        }
        let more = call.clone().json(json!({"foo": 1, "usersId": [99]}));
        house.send(more.bearer(&ana)).await.is(400, error(400, "\"foo\" is not allowed"));
        house.send(people(call.clone(), json!(vec![99; 100])).bearer(&ana)).await.is(200, done());
        for pairs in [
            &[("usersId", "98"), ("usersId", "99")][..],
            &[("usersId[]", "99")],
            &[("usersId[0]", "98"), ("usersId[1]", "99")],
        ] {
            house.send(call.clone().form(pairs).bearer(&ana)).await.is(200, done());
        }
        let one = call.clone().form(&[("usersId", "99")]);
        house.send(one.bearer(&ana)).await.is(400, error(400, "\"usersId\" must be an array"));
        let nested = call.form(&[("usersId[a]", "99")]);
        house.send(nested.bearer(&ana)).await.is(400, error(400, "\"usersId\" is required"));
    }
}

#[tokio::test]
async fn an_invitation_is_shown_to_whoever_has_its_token() {
    let house = acme();
    let ana = house.token("ana");
    let first = token_of(&house.send(invite("New@example.com").bearer(&ana)).await);
    let letters = house.letters();
    assert_eq!((letters.len(), letters[0].kind), (1, Some(Kind::InviteMember)));
    assert_eq!(house.app.secrets.token(letters[0].nonce.as_ref().unwrap()), first);
    let show = |token: &str| get(&format!("/api/org/invite/?token={token}"));
    let shown = json!({"success": true, "email": "New@example.com", "organization": "Acme"});
    for _ in 0..2 {
        house.send(show(&first)).await.is(200, shown.clone());
    }
    let invalid = error(422, "Invitation token invalid or expired");
    // Asked again: another link, and the first ends.
    let silent = post("/api/org/1/invitelink").json(json!({"email": "new@example.com", "send": false}));
    let second = token_of(&house.send(silent.bearer(&ana)).await);
    assert_eq!(house.letters().len(), 0);
    house.send(show(&first)).await.is(422, invalid.clone());
    assert_eq!(house.send(show(&second)).await.status, 200);
    for bad in
        ["", "x", &second[1..], &format!("{second}0"), &second.replace(|c: char| c.is_ascii_digit(), "g")]
    {
        house.send(show(bad)).await.is(422, error(422, "Bad data"));
    }
    house.send(get("/api/org/invite")).await.is(422, error(422, "Bad data"));
    house.send(show(&"0".repeat(64))).await.is(422, invalid.clone());
    // It is no credential, and no link of another purpose.
    house.send(get("/api/user").bearer(&second)).await.is(401, error(401, "Authentication required"));
    let body = json!({"token": second, "password": "a fresh one 17", "confirmation": "a fresh one 17"});
    house.send(post("/api/account/changepassword").json(body)).await.is(422, error(422, "Token invalid"));
    // It holds no longer than the organization is open, its sender's right, and a day.
    house.archive("acme", true);
    house.send(show(&second)).await.is(422, invalid.clone());
    house.archive("acme", false);
    let adams = token_of(&house.send(invite("other@example.com").bearer(&house.token("adam"))).await);
    assert_eq!(house.send(show(&adams)).await.status, 200);
    house.send(revoke(json!([2])).bearer(&ana)).await.is(200, done());
    house.send(show(&adams)).await.is(422, invalid.clone());
    house.pass(Duration::from_secs(24 * 3600));
    house.send(show(&second)).await.is(422, invalid);
}

#[tokio::test]
async fn who_belongs_is_not_invited() {
    let house = acme();
    let ana = house.token("ana");
    for name in ["ana", "mia", "pia", "sue"] {
        let email = format!("{}@example.com", name.to_uppercase());
        let message = format!("User {email} already have access to organization Acme");
        house.send(invite(&email).bearer(&ana)).await.is(409, error(409, &message));
    }
    for (body, message) in [
        (json!({}), "\"Email\" is required"),
        (json!({"email": "x", "send": 5}), "\"Email\" must be a valid email"),
        (json!({"email": "x@example.com", "send": 5}), "\"send\" must be a boolean"),
        (json!({"email": "x@example.com", "send": null}), "\"send\" must be a boolean"),
        (json!({"email": "x@example.com", "role": "Admin"}), "\"role\" is not allowed"),
    ] {
        house.send(post("/api/org/1/invitelink").bearer(&ana).json(body)).await.is(400, error(400, message));
    }
    assert_eq!(house.letters().len(), 0);
    let form = post("/api/org/1/invitelink").form(&[("email", "x@example.com"), ("send", "FALSE")]);
    assert_eq!(house.send(form.bearer(&ana)).await.status, 200);
    assert_eq!(house.letters().len(), 0);
}

#[tokio::test]
async fn invitations_are_counted_by_the_day() {
    let house = furnish(House::with(Plan { limits: true, ..Plan::default() }));
    let ana = house.token("ana");
    for _ in 0..INVITATIONS_OF_ORGANIZATION.most - 1 {
        limits::admit(house.db(), INVITATIONS_OF_ORGANIZATION, "1").unwrap();
    }
    assert_eq!(house.send(invite("one@example.com").bearer(&ana)).await.status, 200);
    let answer = house.send(invite("two@example.com").bearer(&ana)).await;
    answer.is(429, error(429, "Too Many Requests"));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 3600);
}
