//! What has to hold whoever comes at the same moment, at whichever node.

use std::time::Duration;

use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::invitations::{self, NewInvitations, Refusal};
use guildhall_domain::memberships::{self, Cursor, Grant, Joining, Listed, Own, Piece, Visibility};
use guildhall_domain::onboarding::{self, With};
use guildhall_domain::organizations::{self, NewOrganization, Terms};
use guildhall_domain::outbox::Kind;
use guildhall_domain::text::{Email, Name};
use guildhall_domain::{Error, Result, credentials};

use super::three;
use crate::harness::{House, Plan};
use crate::place::{counted, times};
use crate::races::{at, expect_one, expect_sound, login, newcomer, together};

/// Two at each node.
const CROWD: usize = 6;

fn nodes() -> [House; 3] {
    three(Plan { in_memory: true, ..Plan::default() })
}

/// Six do it together, two at each node.
fn all_at_once<T: Send>(
    nodes: &[House; 3],
    work: impl Fn(&House, usize) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    together(CROWD, |number| work(&nodes[number % nodes.len()], number))
}

#[test]
fn of_all_who_are_in_charge_one_stays() {
    let nodes = nodes();
    let people: Vec<String> = (0..CROWD).map(|number| format!("person{number}")).collect();
    people.iter().for_each(|name| drop(nodes[0].user(name)));
    let actors: Vec<Actor> = people.iter().map(|name| nodes[0].acting(name)).collect();
    nodes[0].organization("Guild", &people[0]);
    for round in 0..times(200, 10_000) {
        people.iter().for_each(|name| nodes[0].member("guild", name, Role::Owner, State::Active));
        let answers = all_at_once(&nodes, |node, number| {
            let (db, actor) = (node.db(), &actors[number]);
            if (number + round) % 2 == 0 {
                return memberships::leave(db, actor, &at("guild")).map(drop);
            }
            let own = login(&people[number]);
            memberships::change_role(db, actor, &at("guild"), (&own, Own::Allowed), Grant::Member).map(drop)
        });
        let refused: Vec<String> = answers
            .iter()
            .filter_map(|answer| answer.as_ref().err())
            .map(|error| format!("{error:?}"))
            .collect();
        assert_eq!(refused, ["Conflict(LastInCharge)"], "round {round}");
        let owners = Piece { listed: Listed::Owners, after: Cursor::START, most: 9 };
        let owners = memberships::list(nodes[1].db(), &Actor::system(), &at("guild"), owners).unwrap();
        assert_eq!(owners.len(), 1, "round {round}");
    }
    expect_sound(&nodes[0]);
    counted(times(200, 10_000), "rounds of six in charge at three nodes who leave or step down");
}

#[test]
fn a_token_is_used_once() {
    let nodes = nodes();
    let secrets = &nodes[0].app.secrets;
    ["ana", "ben"].iter().for_each(|name| drop(nodes[0].user(name)));
    let (ana, ben) = (nodes[0].acting("ana"), nodes[0].acting("ben"));
    nodes[0].organization("Guild", "ana");
    for round in 0..times(200, 10_000) {
        let name = format!("new{round}");
        let to = format!("{name}@example.com");
        onboarding::register(nodes[0].db(), newcomer(&name), With::Nothing, secrets).unwrap();
        let token = nodes[1].mailed_token(Kind::Verify, &to);
        let answers = all_at_once(&nodes, |node, _| credentials::confirm_address(node.db(), &token));
        expect_one(&answers, "Missing(Token)");
        credentials::ask_for_reset(nodes[1].db(), &to, secrets).unwrap();
        let token = nodes[2].mailed_token(Kind::ResetPassword, &to);
        let reset =
            |node: &House, number: usize| credentials::reset_password(node.db(), &token, format!("{number}"));
        expect_one(&all_at_once(&nodes, reset), "Missing(Token)");
        let made =
            invitations::create(nodes[0].db(), &ana, &at("guild"), invitation("ben@example.com"), secrets);
        let token = made.unwrap().remove(0).token;
        let answers = all_at_once(&nodes, |node, _| invitations::accept(node.db(), &ben, &token));
        expect_one(&answers, "Conflict(AlreadyMember)");
        memberships::leave(nodes[2].db(), &ben, &at("guild")).unwrap();
    }
    expect_sound(&nodes[0]);
    counted(3 * times(200, 10_000), "tokens and invitations shown six times together at three nodes");
}

fn invitation(email: &str) -> NewInvitations {
    NewInvitations {
        emails: vec![Email::parse(email).unwrap()],
        role: Role::Member,
        lasts: Duration::from_secs(60),
        send: false,
        refuse_members: true,
    }
}

#[test]
fn what_is_unique_is_given_once() {
    let nodes = nodes();
    ["ana", "ben"].iter().for_each(|name| drop(nodes[0].user(name)));
    let (ana, ben) = (nodes[0].acting("ana"), nodes[0].acting("ben"));
    let create = |node: &House, name: &str, visibility| {
        let named = NewOrganization::named(Name::parse(name).unwrap());
        let new = NewOrganization { visibility, joining: Joining::Open, ..named };
        organizations::create(node.db(), &ana, new, Terms::default())
    };
    let rounds = times(200, 10_000);
    for round in 0..rounds {
        let name = format!("Public {round}");
        let answers = all_at_once(&nodes, |node, _| create(node, &name, Visibility::Public));
        expect_one(&answers, "Conflict(NameTaken)");
        let slug = format!("public-{round}");
        let answers = all_at_once(&nodes, |node, _| memberships::join(node.db(), &ben, &at(&slug)));
        expect_one(&answers, "Conflict(AlreadyMember)");
        let name = format!("new{round}");
        let answers = all_at_once(&nodes, |node, _| {
            onboarding::register(node.db(), newcomer(&name), With::Nothing, &node.app.secrets)
        });
        expect_one(&answers, "Conflict(EmailTaken)");
        all_at_once(&nodes, |node, _| create(node, "Many", Visibility::Private))
            .into_iter()
            .for_each(|made| drop(made.unwrap()));
    }
    // That none is there twice is what the table holds; that each has one of its own is told here.
    let slugs = nodes[0].place.stored().rows("SELECT DISTINCT slug FROM organizations WHERE name = 'Many'");
    assert_eq!(slugs.len(), rounds * CROWD);
    expect_sound(&nodes[0]);
    counted(4 * rounds, "names, slugs, addresses and memberships given to six together at three nodes");
}

#[test]
fn a_days_invitations_are_never_more() {
    const MOST: i64 = 4;
    let nodes =
        three(Plan { in_memory: true, limits: true, invitations_per_day: Some(MOST), ..Plan::default() });
    for round in 0..times(200, 10_000) {
        // Somebody may only invite so many a day, to whatever organization.
        let name = format!("ana{round}");
        nodes[0].user(&name);
        let ana = nodes[0].acting(&name);
        let slug = nodes[0].organization(&format!("Guild {round}"), &name).slug;
        let answers = all_at_once(&nodes, |node, number| {
            let new = NewInvitations { send: true, ..invitation(&format!("guest{number}@example.com")) };
            match invitations::create(node.db(), &ana, &at(&slug), new, &node.app.secrets) {
                Ok(_) => Ok(true),
                Err(Refusal::Error(Error::Limited(_))) => Ok(false),
                Err(Refusal::Error(error)) => Err(error),
                Err(refusal) => panic!("{refusal:?}"),
            }
        });
        let sent = answers.into_iter().map(Result::unwrap).filter(|sent| *sent).count();
        assert_eq!(i64::try_from(sent).unwrap(), MOST, "round {round}");
    }
    expect_sound(&nodes[0]);
    counted(times(200, 10_000), "rounds of six invitations where four are allowed");
}
