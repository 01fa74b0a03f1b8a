//! bit (document 000), read beside it: one call, the whole answer.

mod accounts;
mod credentials;
mod events;
mod memberships;
mod organizations;

use std::io::Cursor;
use std::time::Duration;

use guildhall::app::Entry;
use guildhall_domain::authz::{Role, Scope, State};
use guildhall_domain::credentials::Wanted;
use guildhall_domain::memberships::{Joining, Visibility};
use guildhall_domain::onboarding::SignedIn;
use image::{DynamicImage, ImageFormat};
use serde_json::{Value, json};

use crate::harness::{Call, House, PASSWORD};
use crate::place::hands;

/// What a handler says.
fn says(text: &str) -> Value {
    json!({"message": text})
}

/// What a form is refused with by a call that does `what`.
fn incorrect(what: &str) -> Value {
    json!({"message": format!(
        "Missing or sending incorrect data to {what}. Double check the JSON data that it has everything needed to {what}."
    )})
}

const NO_ORGANIZATION: &str = "Organization does not exist";
const NOT_OWNER: &str = "You do not own this organization";
const ARCHIVED: &str = "The organization is archived";

fn picture() -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(2, 2).write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

/// Everybody there is to an organization, by the name of what they are to it.
const EVERYBODY: [&str; 7] = ["stranger", "pending", "suspended", "inactive", "member", "admin", "owner"];

/// A house where everybody stands as they are called in the organization "Hot Pot", which is the first.
fn house_with(visibility: Visibility, joining: Joining) -> House {
    let house = House::new();
    for name in EVERYBODY {
        house.user(name);
    }
    house.organization_as("Hot Pot", "owner", visibility, joining);
    for (name, role, state) in [
        ("pending", Role::Member, State::Pending),
        ("suspended", Role::Member, State::Suspended),
        ("inactive", Role::Member, State::Inactive),
        ("member", Role::Member, State::Active),
        ("admin", Role::Admin, State::Active),
    ] {
        house.pass(Duration::from_secs(1));
        house.member("hot-pot", name, role, state);
    }
    house
}

fn open_house() -> House {
    house_with(Visibility::Internal, Joining::Open)
}

fn private_house() -> House {
    house_with(Visibility::Private, Joining::Invite)
}

/// That many more members of "Hot Pot", made side by side because each waits for the disk: their names and API
/// keys, in the order of their numbers, which is that of their joining, since the clock stands still.
fn crowd(house: &House, number: usize, state: State) -> Vec<(String, String)> {
    let names: Vec<String> = (0..number).map(|number| format!("u{number}")).collect();
    let make = |name: &String| {
        let id = house.user(name).id;
        house.member("hot-pot", name, Role::Member, state);
        (id, (name.clone(), house.api_key(name)))
    };
    let mut made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = names
            .chunks(number.div_ceil(hands()))
            .map(|names| scope.spawn(move || names.iter().map(make).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    made.sort();
    made.into_iter().map(|(_, member)| member).collect()
}

/// Sends the call as each of them and compares what they are told.
async fn told(house: &House, call: &Call, rows: &[(&str, u16, Value)]) {
    for (who, status, body) in rows {
        println!("as {who}");
        let answer = house.send(call.clone().bearer(&house.token(who))).await;
        answer.is(*status, body.clone());
    }
}

/// A token that may only read.
async fn read_token(house: &House, login: &str) -> String {
    let entry = Entry {
        login: login.into(),
        password: PASSWORD.into(),
        address: String::new(),
        wanted: Wanted::Token { scope: Scope::Read, for_first_organization: false },
        invitation: None,
    };
    match house.app.sign_in(entry).await.unwrap() {
        SignedIn::Done(session) => house.app.token(&session).await.unwrap().0,
        other => panic!("{other:?}"),
    }
}
