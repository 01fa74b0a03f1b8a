//! Inviting owners, removing, joining, leaving.

use std::time::Duration;

use guildhall_domain::authz::{Role, State};
use guildhall_domain::invitations;
use guildhall_domain::limits::{self, INVITATIONS_OF_ORGANIZATION};
use guildhall_domain::memberships::{Joining, Visibility};
use guildhall_domain::outbox::Kind;
use guildhall_domain::{Error, error::Missing};
use serde_json::{Value, json};

use super::{
    ARCHIVED, EVERYBODY, NO_ORGANIZATION, NOT_OWNER, incorrect, open_house, private_house, read_token, says,
    told,
};
use crate::harness::{Call, House, Plan, delete, get, put};

const NEEDS_OWNER: &str = "The organization needs at least one owner";
const NO_MEMBER: &str = "User does not belong in the organization";

fn invite(people: Value) -> Call {
    put("/organizations/1/invite").json(json!({"people": people}))
}

fn remove(login: &str) -> Call {
    delete("/organizations/1/remove").json(json!({"username": login}))
}

#[tokio::test]
async fn the_document_as_it_stands() {
    let house = House::new();
    house.user("gang");
    house.user("random");
    house.organization_as("HotPot Gang", "gang", Visibility::Internal, Joining::Open);
    let (owner, random) = (house.token("gang"), house.token("random"));
    let membership = "/organizations/1/membership";
    house.send(put(membership).bearer(&random)).await.is(200, says("random has joined HotPot Gang"));
    house.send(delete(membership).bearer(&random)).await.is(200, says("You successfully left HotPot Gang"));
    house.send(put(membership).bearer(&random)).await.is(200, says("random has joined HotPot Gang"));
    let invited = invite(json!(["random@example.com"])).bearer(&owner);
    house.send(invited).await.is(200, says("Invites have been sent"));
    let removed = remove("Random@example.com").bearer(&owner);
    house.send(removed).await.is(200, says("Removed random from HotPot Gang"));
}

#[tokio::test]
async fn an_invited_member_becomes_owner_within_the_hour_and_once() {
    let house = open_house();
    let owner = house.token("owner");
    let same = json!(["member@example.com", "MEMBER@example.com", "nobody@example.com"]);
    house.send(invite(same).bearer(&owner)).await.is(200, says("Invites have been sent"));
    let mut letters = house.letters();
    letters.sort_by(|a, b| a.recipient.cmp(&b.recipient));
    let recipients: Vec<&str> = letters.iter().map(|letter| letter.recipient.as_str()).collect();
    assert_eq!(recipients, ["member@example.com", "nobody@example.com"]);
    let token = house.app.secrets.token(letters[0].nonce.as_deref().unwrap());
    let member = house.actor("member").await;
    invitations::accept(house.db(), &member, &token).unwrap();
    let shown = house.send(get("/organizations/1").bearer(&owner)).await.value();
    let owners = json!([{"username": "owner@example.com"}, {"username": "member@example.com"}]);
    assert_eq!(shown["owners"], owners);
    assert!(invitations::accept(house.db(), &member, &token).is_err());

    house.send(invite(json!(["inactive@example.com"])).bearer(&owner)).await;
    let token = house.mailed_token(Kind::InviteOwner, "inactive@example.com");
    house.pass(Duration::from_secs(3600));
    let late = invitations::accept(house.db(), &house.actor("inactive").await, &token);
    assert!(matches!(late, Err(Error::Missing(Missing::Token))), "{late:?}");
}

#[tokio::test]
async fn who_may_invite_and_whom() {
    let house = open_house();
    let people = json!(["a@x.org"]);
    let rows: Vec<_> = EVERYBODY[..6].iter().map(|who| (*who, 403, says(NOT_OWNER))).collect();
    told(&house, &invite(people.clone()), &rows).await;
    told(&house, &invite(json!([])), &rows).await;
    told(&house, &put("/organizations/1/invite").body("application/json", b"{"), &rows).await;
    let read = read_token(&house, "owner").await;
    house.send(invite(people.clone()).bearer(&read)).await.is(403, says("Insufficient scope"));
    let private = private_house();
    told(&private, &invite(people.clone()), &[("stranger", 404, says(NO_ORGANIZATION))]).await;

    let many = |number: usize| (0..number).map(|n| format!("a{n}@x.org")).collect::<Value>();
    for unfit in
        [json!([]), many(101), json!(["a@x.org", "b"]), json!(["a@x.org", 5]), json!("a@x.org"), Value::Null]
    {
        told(&house, &invite(unfit), &[("owner", 422, incorrect("invite owners"))]).await;
    }
    assert!(house.letters().is_empty());
    told(&house, &invite(many(100)), &[("owner", 200, says("Invites have been sent"))]).await;
    assert_eq!(house.letters().len(), 100);
    house.archive("hot-pot", true);
    told(&house, &invite(people), &[("owner", 403, says(ARCHIVED))]).await;
}

#[tokio::test]
async fn too_many_invitations_in_a_day() {
    let house = House::with(Plan { limits: true, ..Plan::default() });
    house.user("owner");
    let organization = house.organization("Hot Pot", "owner").id.0.to_string();
    for _ in 0..INVITATIONS_OF_ORGANIZATION.most - 2 {
        limits::admit(house.db(), INVITATIONS_OF_ORGANIZATION, &organization).unwrap();
    }
    let answer =
        house.send(invite(json!(["a@x.org", "b@x.org", "c@x.org"])).bearer(&house.token("owner"))).await;
    answer.is(429, says("Too many requests. Try again later."));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    assert!(house.letters().is_empty());
    let answer = house.send(invite(json!(["a@x.org", "b@x.org"])).bearer(&house.token("owner"))).await;
    answer.is(200, says("Invites have been sent"));
}

#[tokio::test]
async fn who_may_remove_and_whom() {
    let house = open_house();
    let rows: Vec<_> = EVERYBODY[..6].iter().map(|who| (*who, 403, says(NOT_OWNER))).collect();
    told(&house, &remove("member@example.com"), &rows).await;
    told(&house, &remove("admin@example.com"), &[("admin", 403, says(NOT_OWNER))]).await;
    told(&house, &delete("/organizations/1/remove"), &rows).await;
    let read = read_token(&house, "owner").await;
    house.send(remove("member@example.com").bearer(&read)).await.is(403, says("Insufficient scope"));
    let owner = |call: Call| {
        let house = &house;
        async move { house.send(call.bearer(&house.token("owner"))).await }
    };
    for login in ["stranger@example.com", "nobody@example.com", "", "x\0"] {
        owner(remove(login)).await.is(404, says(NO_MEMBER));
    }
    for unfit in [json!({}), json!({"username": 5}), json!({"username": ["a@x.org"]})] {
        let call = delete("/organizations/1/remove").json(unfit);
        owner(call).await.is(422, incorrect("remove a member"));
    }
    for who in ["pending", "suspended", "inactive", "member"] {
        let gone = format!("Removed {who} from Hot Pot");
        owner(remove(&format!("{who}@example.com"))).await.is(200, says(&gone));
        owner(remove(&format!("{who}@example.com"))).await.is(404, says(NO_MEMBER));
    }
    house.archive("hot-pot", true);
    owner(remove("admin@example.com")).await.is(403, says(ARCHIVED));
    house.archive("hot-pot", false);
    owner(remove("admin@example.com")).await.is(200, says("Removed admin from Hot Pot"));
    owner(remove("owner@example.com")).await.is(409, says(NEEDS_OWNER));
    house.member("hot-pot", "stranger", Role::Admin, State::Active);
    owner(remove("owner@example.com")).await.is(200, says("Removed owner from Hot Pot"));
    let shown = house.send(get("/organizations/1").bearer(&house.token("stranger"))).await.value();
    assert_eq!(shown["owners"], json!([{"username": "stranger@example.com"}]));
}

#[tokio::test]
async fn who_may_join() {
    let join = put("/organizations/1/membership");
    let already = || says("You already joined the organization");
    let open = open_house();
    let read = read_token(&open, "stranger").await;
    open.send(join.clone().bearer(&read)).await.is(403, says("Insufficient scope"));
    told(&open, &join, &[("stranger", 200, says("stranger has joined Hot Pot"))]).await;
    told(&open, &join, &EVERYBODY.map(|who| (who, 409, already()))).await;
    let by_invitation = super::house_with(Visibility::Internal, Joining::Invite);
    let needed = "You need an invitation to join this organization";
    told(&by_invitation, &join, &[("stranger", 403, says(needed)), ("pending", 409, already())]).await;
    let private = private_house();
    told(&private, &join, &[("stranger", 404, says(NO_ORGANIZATION)), ("member", 409, already())]).await;
    open.archive("hot-pot", true);
    open.user("latecomer");
    told(&open, &join, &[("latecomer", 404, says(NO_ORGANIZATION)), ("member", 403, says(ARCHIVED))]).await;
}

#[tokio::test]
async fn who_may_leave() {
    let leave = delete("/organizations/1/membership");
    let left = || says("You successfully left Hot Pot");
    for house in [open_house(), private_house()] {
        let read = read_token(&house, "member").await;
        house.send(leave.clone().bearer(&read)).await.is(403, says("Insufficient scope"));
        let rows = ["pending", "inactive", "member", "admin"].map(|who| (who, 200, left()));
        told(&house, &leave, &rows).await;
        told(&house, &leave, &[("owner", 409, says(NEEDS_OWNER))]).await;
    }
    let open = open_house();
    let suspended = says("Your membership is suspended");
    told(&open, &leave, &[("stranger", 404, says(NO_MEMBER)), ("suspended", 403, suspended)]).await;
    let rows = ["stranger", "suspended"].map(|who| (who, 404, says(NO_ORGANIZATION)));
    told(&private_house(), &leave, &rows).await;
    open.archive("hot-pot", true);
    told(&open, &leave, &[("member", 200, left())]).await;
}
