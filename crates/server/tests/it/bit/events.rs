//! Events: making, fetching, changing, deleting, and coming to them.

use std::time::Duration;

use futures_util::future::join_all;
use guildhall_domain::authz::{Role, State};
use guildhall_domain::memberships::{Joining, Visibility};
use serde_json::{Value, json};

use super::{
    ARCHIVED, EVERYBODY, NO_ORGANIZATION, NOT_OWNER, crowd, house_with, incorrect, open_house, private_house,
    read_token, says, told,
};
use crate::harness::{Call, House, delete, get, post, put};

const NO_EVENT: &str = "Event does not exist";
const NOT_OWN_EVENT: &str = "You do not own this event";
const NO_MEMBER: &str = "You are not a member of this organization";

fn meeting() -> Value {
    json!({
        "name": "Meeting", "date": "2020-02-10T22:27:00+0100", "summary": "On soup.\n", "location": "Leeds",
        "presenters": ["member@example.com", "OWNER@example.com", "member@example.com"]
    })
}

fn create(body: Value) -> Call {
    post("/organizations/1/events/create").json(body)
}

/// Makes the meeting, the house's first event.
async fn with_meeting(house: House) -> House {
    let made = house.send(create(meeting()).bearer(&house.token("owner"))).await;
    made.is(202, says("Event successfully created"));
    assert_eq!(made.header("location"), "/events/1");
    house
}

/// What is told of the meeting, with these people.
fn shown(presenters: Value, rsvp_list: Value) -> Value {
    json!({
        "name": "Meeting", "date": "2020-02-10T21:27:00+0000", "summary": "On soup.\n", "location": "Leeds",
        "organization": {"id": 1, "name": "Hot Pot"}, "presenters": presenters, "rsvp_list": rsvp_list
    })
}

fn people(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"username": format!("{name}@example.com")})).collect()
}

#[tokio::test]
async fn an_event_from_its_beginning_to_its_end() {
    let house = with_meeting(open_house()).await;
    let presenters = people(&["member", "owner"]);
    let rsvp = |who: &str| put("/events/1/rsvp").bearer(&house.token(who));
    house.send(rsvp("owner")).await.is(201, says("owner has RSVP'd for Meeting"));
    house.pass(Duration::from_secs(1));
    house.send(rsvp("inactive")).await.is(201, says("inactive has RSVP'd for Meeting"));
    house.send(rsvp("owner")).await.is(409, says("You already RSVP'd for this event"));
    let fetch = || get("/events/1").bearer(&house.token("stranger"));
    let coming = people(&["owner", "inactive"]);
    house.send(fetch()).await.is(200, shown(presenters.clone(), coming.clone()));
    let cancel = || delete("/events/1/rsvp").bearer(&house.token("owner"));
    house.send(cancel()).await.is(200, says("Successfully left the RSVP list"));
    house.send(cancel()).await.is(409, says("You did not RSVP for this event"));
    house.send(fetch()).await.is(200, shown(presenters, people(&["inactive"])));

    let update = |body| put("/events/1").bearer(&house.token("member")).json(body);
    let all = json!({
        "name": "Feast", "date": "2021-01-01T00:00:00Z", "summary": null, "location": null, "presenters": []
    });
    house.send(update(all)).await.is(202, says("Event successfully updated"));
    house.send(fetch()).await.is(
        200,
        json!({
            "name": "Feast", "date": "2021-01-01T00:00:00+0000", "summary": null, "location": null,
            "organization": {"id": 1, "name": "Hot Pot"}, "presenters": [],
            "rsvp_list": people(&["inactive"])
        }),
    );
    // They present it no more.
    house.send(update(json!({"name": "Mine"}))).await.is(403, says(NOT_OWN_EVENT));
    let gone = house.send(delete("/events/1").bearer(&house.token("admin"))).await;
    gone.is(200, says("Event successfully deleted"));
    house.send(fetch()).await.is(404, says(NO_EVENT));
}

#[tokio::test]
async fn each_key_can_be_changed_alone() {
    let house = with_meeting(open_house()).await;
    for (key, value, told) in [
        ("name", json!(" Feast "), json!("Feast")),
        ("date", json!("2021-01-01T00:00:00-01:00"), json!("2021-01-01T01:00:00+0000")),
        ("summary", json!(""), json!("")),
        ("location", json!("é".repeat(50)), json!("é".repeat(50))),
        ("presenters", json!(["admin@example.com"]), people(&["admin"])),
    ] {
        let before = house.send(get("/events/1").bearer(&house.token("owner"))).await.value();
        let sent = put("/events/1").bearer(&house.token("owner")).json(json!({key: value}));
        house.send(sent).await.is(202, says("Event successfully updated"));
        let mut after = before;
        after[key] = told;
        house.send(get("/events/1").bearer(&house.token("owner"))).await.is(200, after);
    }
}

#[tokio::test]
async fn who_may_make_an_event() {
    let house = open_house();
    let no_right: Vec<_> = EVERYBODY[..5].iter().map(|who| (*who, 403, says(NOT_OWNER))).collect();
    told(&house, &create(meeting()), &no_right).await;
    told(&house, &create(json!({})), &no_right).await;
    let made = || says("Event successfully created");
    told(&house, &create(meeting()), &[("admin", 202, made()), ("owner", 202, made())]).await;
    let read = read_token(&house, "owner").await;
    house.send(create(meeting()).bearer(&read)).await.is(403, says("Insufficient scope"));
    house.archive("hot-pot", true);
    let rows = [("owner", 403, says(ARCHIVED)), ("stranger", 404, says(NO_ORGANIZATION))];
    told(&house, &create(meeting()), &rows).await;
    told(&private_house(), &create(meeting()), &[("stranger", 404, says(NO_ORGANIZATION))]).await;
}

#[tokio::test]
async fn an_event_that_does_not_do_is_refused() {
    let house = with_meeting(open_house()).await;
    let token = house.token("owner");
    for (key, value) in [
        ("name", Value::Null),
        ("name", json!(" ")),
        ("name", json!(5)),
        ("date", Value::Null),
        ("date", json!("2020-02-10")),
        ("date", json!("2020-02-30T22:27:00+0000")),
        ("date", json!(1_581_373_620)),
        ("summary", json!("x".repeat(10_001))),
        ("summary", json!("x\0")),
        ("summary", json!(5)),
        ("location", json!("é".repeat(51))),
        ("presenters", Value::Null),
        ("presenters", json!("member@example.com")),
        ("presenters", json!(["member"])),
        ("presenters", json!(["stranger@example.com"])),
        ("presenters", json!(["pending@example.com"])),
        ("presenters", json!(["suspended@example.com"])),
        ("presenters", json!(["nobody@example.com"])),
        ("presenters", Value::Array(vec![json!("member@example.com"); 101])),
        ("organizer", json!("x")),
    ] {
        println!("{key}: {value}");
        let mut body = meeting();
        body[key] = value.clone();
        house.send(create(body).bearer(&token)).await.is(422, incorrect("create a event"));
        let changed = put("/events/1").bearer(&token).json(json!({key: value}));
        house.send(changed).await.is(422, incorrect("update a event"));
    }
    for key in ["name", "date"] {
        let mut body = meeting();
        body.as_object_mut().unwrap().remove(key);
        house.send(create(body).bearer(&token)).await.is(422, incorrect("create a event"));
    }
    let least = json!({"name": "Meeting", "date": "2020-02-10T22:27:00Z", "summary": null});
    house.send(create(least).bearer(&token)).await.is(202, says("Event successfully created"));
}

#[tokio::test]
async fn who_sees_an_event_and_its_people() {
    let members = shown(people(&["member", "owner"]), json!([]));
    let nobody = shown(json!([]), json!([]));
    let fetch = get("/events/1");
    let rows = EVERYBODY.map(|who| (who, 200, members.clone()));
    told(&with_meeting(open_house()).await, &fetch, &rows).await;
    let by_invitation = with_meeting(house_with(Visibility::Internal, Joining::Invite)).await;
    let outside: Vec<_> = EVERYBODY[..3].iter().map(|who| (*who, 200, nobody.clone())).collect();
    told(&by_invitation, &fetch, &outside).await;
    told(&by_invitation, &fetch, &rows[3..]).await;
    let private = with_meeting(private_house()).await;
    let outside: Vec<_> = EVERYBODY[..3].iter().map(|who| (*who, 404, says(NO_EVENT))).collect();
    told(&private, &fetch, &outside).await;
    private.archive("hot-pot", true);
    told(&private, &fetch, &rows[3..]).await;
}

#[tokio::test]
async fn who_may_change_an_event() {
    let house = with_meeting(open_house()).await;
    let change = put("/events/1").json(json!({"name": "Meeting"}));
    let without = ["stranger", "pending", "suspended", "inactive"];
    let rows = without.map(|who| (who, 403, says(NOT_OWN_EVENT)));
    for call in [&change, &put("/events/1").json(json!({})), &delete("/events/1")] {
        told(&house, call, &rows).await;
    }
    for who in ["member", "admin", "owner"] {
        told(&house, &change, &[(who, 202, says("Event successfully updated"))]).await;
        let unfit = put("/events/1").json(json!({"x": 1}));
        told(&house, &unfit, &[(who, 422, incorrect("update a event"))]).await;
    }
    // A presenter without power in the organization has none over the event.
    house.member("hot-pot", "member", Role::Member, State::Suspended);
    told(&house, &change, &[("member", 403, says(NOT_OWN_EVENT))]).await;
    let read = read_token(&house, "owner").await;
    for call in [&change, &delete("/events/1"), &put("/events/1/rsvp"), &delete("/events/1/rsvp")] {
        house.send(call.clone().bearer(&read)).await.is(403, says("Insufficient scope"));
    }
    house.archive("hot-pot", true);
    for call in [&change, &delete("/events/1"), &put("/events/1/rsvp")] {
        let rows = [("owner", 403, says(ARCHIVED)), ("stranger", 404, says(NO_EVENT))];
        told(&house, call, &rows).await;
    }
    let private = with_meeting(private_house()).await;
    for call in [&change, &delete("/events/1"), &put("/events/1/rsvp")] {
        told(&private, call, &[("stranger", 404, says(NO_EVENT))]).await;
    }
}

#[tokio::test]
async fn who_may_come_to_an_event() {
    let house = with_meeting(open_house()).await;
    for call in [put("/events/1/rsvp"), delete("/events/1/rsvp")] {
        let rows = ["stranger", "pending", "suspended"].map(|who| (who, 403, says(NO_MEMBER)));
        told(&house, &call, &rows).await;
    }
    let rows = ["inactive", "member", "admin", "owner"]
        .map(|who| (who, 201, says(&format!("{who} has RSVP'd for Meeting"))));
    told(&house, &put("/events/1/rsvp"), &rows).await;
    // Who leaves the organization comes to its events no more.
    house.send(delete("/organizations/1/membership").bearer(&house.token("inactive"))).await;
    let fetched = house.send(get("/events/1").bearer(&house.token("owner"))).await;
    fetched.is(200, shown(people(&["member", "owner"]), people(&["member", "admin", "owner"])));
}

#[tokio::test]
async fn a_long_list_of_those_who_come_is_whole() {
    let house = with_meeting(open_house()).await;
    let members = crowd(&house, 501, State::Active);
    for few in members.chunks(10) {
        join_all(few.iter().map(|(_, key)| house.send(put("/events/1/rsvp").bearer(key)))).await;
    }
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let fetched = house.send(get("/events/1").bearer(&house.token("owner"))).await;
    fetched.is(200, shown(people(&["member", "owner"]), people(&names)));
}
