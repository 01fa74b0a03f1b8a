//! The limits on how often: each at its edge, in the shape of the dialect that meets it, and over again when its time is over.

use std::time::Duration;

use axum::response::IntoResponse;
use guildhall::dialects::Dialect;
use guildhall::dialects::bit::Bit;
use guildhall::dialects::buildog::Buildog;
use guildhall::dialects::cadasta::Cadasta;
use guildhall::dialects::pm415::Pm415;
use guildhall::dialects::stormz::Stormz;
use guildhall::http::Fault;
use guildhall::load;
use guildhall_domain::authz::{Role, State};
use guildhall_domain::limits::{self, Beyond, Limit};
use guildhall_domain::outbox::Kind;
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};

use crate::harness::{Answer, Call, House, PASSWORD, Plan, get, patch, post, put};
use crate::sources::root;

/// Where calls come from here, unless a test says otherwise.
const FROM: &str = "192.0.2.1";

fn house() -> House {
    House::with(Plan { limits: true, in_memory: true, ..Plan::default() })
}

/// Leaves room for one.
fn fill(house: &House, limit: Limit, key: &str) {
    for _ in 1..limit.most {
        limits::admit(house.db(), limit, key).unwrap();
    }
}

/// The last call that has room passes, the next is told when to come back, and may then.
async fn edge(
    house: &House,
    (limit, key): (Limit, &str),
    call: impl Fn(usize) -> Call,
    refused: Value,
) -> Answer {
    fill(house, limit, key);
    let passes = async |number| {
        let answer = house.send(call(number)).await;
        assert_ne!(answer.status, 429, "{}", answer.text());
    };
    passes(0).await;
    let answer = house.send(call(1)).await;
    answer.is(429, refused);
    assert_eq!(answer.header("retry-after"), limit.within.as_secs().to_string());
    house.pass(limit.within);
    passes(2).await;
    answer
}

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::new(1, 1).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn bit(limit: Limit) -> Value {
    assert_eq!(limit.beyond, Beyond::Refused);
    json!({"message": "Too many requests. Try again later."})
}

fn cadasta(limit: Limit) -> Value {
    let seconds = limit.within.as_secs();
    json!({"detail": format!("Request was throttled. Expected available in {seconds} seconds.")})
}

fn pm415() -> Value {
    json!({"statusCode": 429, "error": "Too Many Requests", "message": "Too Many Requests", "success": false})
}

fn plain(key: &str) -> Value {
    json!({key: "Too many requests"})
}

#[tokio::test]
async fn registrations_of_an_address() {
    let limit = limits::REGISTRATIONS;
    let by_bit = |number| {
        let name = format!("b{number}@example.com");
        post("/users/Student/create").from(FROM).json(json!({
            "name": "B", "username": name, "password": PASSWORD, "location": "Leeds", "image": "https://x.org/i.png"
        }))
    };
    let by_cadasta = |number| {
        let (name, email) = (format!("c{number}"), format!("c{number}@example.com"));
        post("/api/v1/account/register/")
            .from(FROM)
            .json(json!({"username": name, "email": email, "password": PASSWORD, "full_name": "C"}))
    };
    let by_pm415 = |number| {
        post("/api/account/register").from(FROM).json(json!({
            "email": format!("p{number}@example.com"), "password": PASSWORD, "confirmation": PASSWORD,
            "firstName": "P", "lastName": "P", "tosAccepted": "Y", "organization": "Acme"
        }))
    };
    edge(&house(), (limit, FROM), by_bit, bit(limit)).await;
    edge(&house(), (limit, FROM), by_cadasta, cadasta(limit)).await;
    edge(&house(), (limit, FROM), by_pm415, pm415()).await;
    // One that is refused counts as well, for it tells whose addresses are taken; other addresses have their own count.
    let house = house();
    fill(&house, limit, FROM);
    house.send(by_cadasta(0)).await;
    assert_eq!(house.send(by_cadasta(0).from("192.0.2.2")).await.status, 400);
    assert_eq!(house.send(by_cadasta(1)).await.status, 429);
    fill(&house, limit, "192.0.2.2");
    assert_eq!(house.send(by_cadasta(1).from("192.0.2.2")).await.status, 429);
}

#[tokio::test]
async fn an_account_made_for_an_invitation_counts_and_is_refused_on_a_page() {
    let house = house();
    house.user("ana");
    house.organization("Acme", "ana");
    let ana = house.token("ana");
    let invite = post("/api/org/1/invitelink").bearer(&ana).json(json!({"email": "new@example.com"}));
    let url = house.send(invite).await.value()["confirmUrl"].as_str().unwrap().to_owned();
    let token = url.split_once("token=").unwrap().1.to_owned();
    for _ in 0..limits::REGISTRATIONS.most {
        limits::admit(house.db(), limits::REGISTRATIONS, FROM).unwrap();
    }
    let form = [
        ("token", token.as_str()),
        ("way", "new-account"),
        ("first_name", "N"),
        ("last_name", "N"),
        ("password", PASSWORD),
        ("confirmation", PASSWORD),
    ];
    let answer = house.send(post("/account/invite/").from(FROM).form(&form)).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), "3600");
    assert!(answer.text().contains("Please wait 60 minutes"), "{}", answer.text());
}

#[tokio::test]
async fn wrong_passwords_from_an_address_whosever_they_are() {
    let limit = limits::FAILURES_FROM_ADDRESS;
    let form = |number: usize| {
        [
            ("grant_type", "password".into()),
            ("username", format!("u{number}")),
            ("password", "wrong".to_owned()),
        ]
    };
    let by_stormz = |number| {
        let form = form(number);
        let pairs: Vec<(&str, &str)> = form.iter().map(|(key, value)| (*key, value.as_str())).collect();
        post("/oauth/token").form(&pairs)
    };
    edge(&house(), (limit, FROM), |number| by_stormz(number).from(FROM), plain("message")).await;
    // Addresses of one network are one; its neighbour is another.
    let house = house();
    fill(&house, limit, "2001:db8:0:1::/64");
    let status = async |number, from| house.send(by_stormz(number).from(from)).await.status.as_u16();
    assert_ne!(status(0, "2001:db8:0:1::1").await, 429);
    assert_eq!(status(1, "2001:db8:0:1:ffff::2").await, 429);
    assert_ne!(status(1, "2001:db8:0:2::1").await, 429);
}

#[tokio::test]
async fn forgotten_passwords_asked_for_from_an_address_known_or_not() {
    for email in ["ana@example.com", "nobody@example.com"] {
        let house = house();
        house.user("ana");
        let ask = |_| post("/api/account/forgotpassword").from(FROM).json(json!({"email": email}));
        edge(&house, (limits::RESETS_ASKED, FROM), ask, pm415()).await;
    }
}

#[tokio::test]
async fn changes_of_address() {
    let house = house();
    house.user("ana");
    let limit = limits::ADDRESS_CHANGES;
    let change = |number| {
        let email = format!("new{number}@example.com");
        patch("/api/v1/account/").token(&house.token("ana")).json(json!({"email": email}))
    };
    edge(&house, (limit, "1"), change, cadasta(limit)).await;
    // To be told that an address is taken counts too; to send one's own back does not.
    house.pass(limit.within);
    fill(&house, limit, "1");
    house.user("ben");
    let send = async |email: &str| {
        let body = json!({"email": email});
        house.send(patch("/api/v1/account/").token(&house.token("ana")).json(body)).await.status.as_u16()
    };
    assert_eq!(send("ana@example.com").await, 200);
    assert_eq!(send("ben@example.com").await, 400);
    assert_eq!(send("ben@example.com").await, 429);
    assert_eq!(send("ana@example.com").await, 200);
}

#[tokio::test]
async fn organizations_of_a_person() {
    let limit = limits::ORGANIZATIONS;
    for (path, key, refused) in [
        ("/api/organizations", "organization_name", plain("error")),
        ("/api/v1/organizations/", "name", cadasta(limit)),
        ("/api/org", "name", pm415()),
    ] {
        let house = house();
        house.user("ana");
        let make = |number| {
            let body = json!({key: format!("Acme {number}")});
            post(path).bearer(&house.token("ana")).json(body)
        };
        edge(&house, (limit, "1"), make, refused).await;
        // What the operator makes is not counted.
        fill(&house, limit, "1");
        house.organization("One", "ana");
        house.organization("Two", "ana");
    }
}

#[tokio::test]
async fn pictures_of_a_person() {
    let limit = limits::PICTURES;
    let picture = picture();
    let one = house();
    one.user("ana");
    let path = format!("/v1/organizations/{}/avatar", one.organization("Acme", "ana").uid.short());
    let set = |_| put(&path).bearer(&one.token("ana")).multipart(&[("avatar", Some("a.png"), &picture)]);
    edge(&one, (limit, "1"), set, plain("message")).await;
    let other = house();
    other.user("ana");
    other.organization("Acme", "ana");
    let set =
        |_| put("/organizations/1").bearer(&other.token("ana")).multipart(&[("image", Some("a"), &picture)]);
    edge(&other, (limit, "1"), set, bit(limit)).await;
}

#[tokio::test]
async fn invitations_of_a_person_from_all_their_organizations() {
    let house = house();
    house.user("ana");
    house.organization("Acme", "ana");
    house.organization("Apex", "ana");
    let invite = |number| {
        let path = format!("/organizations/{}/invite", number % 2 + 1);
        let body = json!({"people": [format!("i{number}@example.com")]});
        put(&path).bearer(&house.token("ana")).json(body)
    };
    edge(&house, (limits::INVITATIONS_BY_USER, "1"), invite, bit(limits::INVITATIONS_BY_USER)).await;
}

/// How many letters of the kind wait; all are taken.
fn letters(house: &House, kind: Kind) -> i64 {
    let letters = house.letters();
    i64::try_from(letters.iter().filter(|letter| letter.kind == Some(kind)).count()).unwrap()
}

#[tokio::test]
async fn beyond_the_limit_a_letter_is_not_sent_and_nobody_can_tell() {
    let house = house();
    house.user("ana");
    house.unverified_user("una");
    let limit = limits::LINKS_MAILED;
    assert_eq!(limit.beyond, Beyond::NotSent);
    let ask = |email: &str| post("/api/account/forgotpassword").from(FROM).json(json!({"email": email}));
    let answer =
        |email: &str| json!({"message": format!("A message was sent to the {email}"), "success": true});
    for _ in 0..limit.most + 3 {
        for email in ["ana@example.com", "nobody@example.com"] {
            house.send(ask(email)).await.is(200, answer(email));
        }
    }
    assert_eq!(letters(&house, Kind::ResetPassword), limit.most);
    let login = post("/api/v1/account/login/").json(json!({"username": "una", "password": PASSWORD}));
    for _ in 0..limit.most + 1 {
        house.send(login.clone()).await.is(400, json!({"detail": "The email has not been verified."}));
    }
    assert_eq!(letters(&house, Kind::Verify), limit.most, "each kind has its own count");
    house.pass(limit.within);
    house.send(ask("ANA@example.com")).await;
    assert_eq!(letters(&house, Kind::ResetPassword), 1);
}

#[tokio::test]
async fn a_link_to_a_new_address_stays_good_where_no_other_is_sent() {
    let house = house();
    house.user("ana");
    let change =
        |email: &str| patch("/api/v1/account/").token(&house.token("ana")).json(json!({"email": email}));
    for _ in 0..limits::LINKS_MAILED.most {
        assert_eq!(house.send(change("new@example.com")).await.status, 200);
    }
    let token = house.mailed_token(Kind::ChangeAddress, "new@example.com");
    assert_eq!(house.send(change("new@example.com")).await.status, 200);
    assert_eq!(letters(&house, Kind::ChangeAddress), 0);
    let page = house.send(get(&format!("/account/verify/?token={token}"))).await;
    assert_eq!(page.status, 200, "{}", page.text());
    // To ask for another one ends it.
    assert_eq!(house.send(change("other@example.com")).await.status, 200);
    let page = house.send(post("/account/verify/").form(&[("token", &token)])).await;
    assert!(!page.text().contains("new@example.com"), "{}", page.text());
}

#[tokio::test]
async fn beyond_the_limit_an_invitation_is_made_and_not_mailed() {
    let house = house();
    house.user("ana");
    house.organization("Acme", "ana");
    let invite = || {
        let body = json!({"email": "Grace@example.com"});
        post("/api/org/1/invitelink").bearer(&house.token("ana")).json(body)
    };
    let limit = limits::INVITATIONS_MAILED;
    let mut url = String::new();
    for _ in 0..limit.most + 2 {
        let answer = house.send(invite()).await;
        url = answer.value()["confirmUrl"].as_str().unwrap().to_owned();
    }
    assert_eq!(letters(&house, Kind::InviteMember), limit.most);
    let page = house.send(get(url.strip_prefix("http://guildhall.test").unwrap())).await;
    assert!(page.text().contains("invites you to be a member of"), "{}", page.text());
    house.pass(limit.within);
    house.send(invite()).await;
    assert_eq!(letters(&house, Kind::InviteMember), 1);
}

#[tokio::test]
async fn an_owner_to_be_keeps_the_link_that_others_used_the_letters_up_after() {
    let house = house();
    for name in ["ana", "eve", "grace"] {
        house.user(name);
    }
    house.organization("Acme", "ana");
    house.organization("Evil", "eve");
    house.member("acme", "grace", Role::Member, State::Active);
    let invite = async |organization: u8, owner: &str| {
        let path = format!("/organizations/{organization}/invite");
        let call = put(&path).bearer(&house.token(owner)).json(json!({"people": ["Grace@example.com"]}));
        house.send(call).await.is(200, json!({"message": "Invites have been sent"}));
    };
    let page = async |token: &str| house.send(get(&format!("/account/invite/?token={token}"))).await;
    invite(1, "ana").await;
    let token = house.mailed_token(Kind::InviteOwner, "Grace@example.com");
    for _ in 0..limits::INVITATIONS_MAILED.most {
        invite(2, "eve").await;
    }
    assert_eq!(letters(&house, Kind::InviteOwner), limits::INVITATIONS_MAILED.most - 1);
    invite(1, "ana").await;
    assert_eq!(letters(&house, Kind::InviteOwner), 0);
    assert!(page(&token).await.text().contains("Become an owner of Acme"), "{}", page(&token).await.text());
    // Its time is not made longer.
    house.pass(Duration::from_secs(3600));
    assert_eq!(page(&token).await.status, 410);
    house.pass(limits::INVITATIONS_MAILED.within);
    invite(1, "ana").await;
    assert_eq!(letters(&house, Kind::InviteOwner), 1);
}

#[tokio::test]
async fn where_limits_are_off_none_holds() {
    let house = House::with(Plan { in_memory: true, ..Plan::default() });
    house.user("ana");
    for limit in limits::ALL {
        for _ in 0..limit.most + 1 {
            limits::admit(house.db(), limit, FROM).unwrap();
        }
    }
    for _ in 0..limits::LINKS_MAILED.most + 1 {
        house.send(post("/api/account/forgotpassword").json(json!({"email": "ana@example.com"}))).await;
    }
    assert_eq!(letters(&house, Kind::ResetPassword), limits::LINKS_MAILED.most + 1);
    let counted = house.place.stored().rows("SELECT key FROM limit_counts");
    assert!(counted.is_empty(), "nothing is even counted");
}

#[tokio::test]
async fn where_bodies_find_no_room_each_dialect_says_so_in_its_shape() {
    async fn told<D: Dialect>() -> (u16, String, Value) {
        let answer = D::Error::from(Fault::NoRoom).into_response();
        let again = answer.headers()["retry-after"].to_str().unwrap().to_owned();
        let (status, body) = (answer.status().as_u16(), answer.into_body());
        let body = axum::body::to_bytes(body, 1000).await.unwrap();
        (status, again, serde_json::from_slice(&body).unwrap())
    }
    let is = |body: Value| (503, "1".to_owned(), body);
    assert_eq!(told::<Bit>().await, is(json!({"message": "The server is busy. Try again later."})));
    assert_eq!(told::<Buildog>().await, is(json!({"error": "Service unavailable"})));
    let detail = "Service temporarily unavailable, try again later.";
    assert_eq!(told::<Cadasta>().await, is(json!({"detail": detail})));
    let words = "Service Unavailable";
    let body = json!({"statusCode": 503, "error": words, "message": words, "success": false});
    assert_eq!(told::<Pm415>().await, is(body));
    assert_eq!(told::<Stormz>().await, is(json!({"message": "Service unavailable"})));
}

/// A line of the table in docs/limits.md.
fn row(limit: &Limit) -> String {
    let within = if limit.within == Duration::from_secs(3600) { "an hour" } else { "a day" };
    let beyond = match limit.beyond {
        Beyond::Refused => "`429`",
        Beyond::NotSent => "answered as ever; the letter is not sent",
    };
    format!("| {} | {} | {within} | {} | {beyond} |\n", limit.what, limit.most, limit.per)
}

#[test]
fn the_documented_table_is_that_of_the_code() {
    let table: String = limits::ALL.iter().map(row).collect();
    let page = std::fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let head = "|---|---|---|---|---|\n";
    let documented = page.split_once(head).unwrap().1.split("\n\n").next().unwrap();
    assert_eq!(format!("{documented}\n").trim_end(), table.trim_end(), "docs/limits.md should say\n{table}");
    for number in
        [guildhall::http::BODIES_MAX >> 20, guildhall::listen::Limits::default().connections_per_address]
    {
        assert!(
            page.replace(',', "").contains(&format!(" {number} ")),
            "docs/limits.md does not tell {number}"
        );
    }
}

#[tokio::test]
async fn who_has_many_passwords_compared_leaves_room_for_others() {
    let house = House::new();
    house.user("ana");
    let (greedy, other) = ("192.0.2.211", "192.0.2.212");
    let mut places = Vec::new();
    while !load::PASSWORDS.is_full_for(greedy) {
        places.push(load::PASSWORDS.join(greedy));
    }
    let sign_in = || {
        let right = json!({"username": "ana", "password": PASSWORD});
        post("/api/v1/account/login/").json(right)
    };
    let refused = house.send(sign_in().from(greedy)).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "1"));
    assert_eq!(house.send(sign_in().from(other)).await.status, 200);
    drop(places);
    assert_eq!(house.send(sign_in().from(greedy)).await.status, 200);
}
