//! Lists: whole and page by page.

use std::time::Duration;

use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::db::Db;
use guildhall_domain::memberships::{self, OrganizationKey};
use guildhall_domain::text::{Email, PersonName};
use guildhall_domain::users::{self, NewUser, Profile, User, UserKey};
use serde_json::json;

use super::{Stormz, member, message, path, shown};
use crate::harness::{House, get};

/// `http://guildhall.test` plus the path, for each relation.
fn links(path: &str, per_page: u64, pages: &[(&str, u64)]) -> String {
    let link = |(relation, page): &(&str, u64)| {
        format!("<http://guildhall.test{path}page={page}&per_page={per_page}>; rel=\"{relation}\"")
    };
    pages.iter().map(link).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn members_page_by_page() {
    let house = House::new();
    let mut people: Vec<User> = Vec::new();
    for number in 0..7 {
        let user = house.user(&format!("user-{number}"));
        house.pass(Duration::from_secs(1));
        if number == 0 {
            drop(house.organization("Stormz", "user-0"))
        } else {
            house.member("stormz", &format!("user-{number}"), Role::Member, State::Active);
        }
        people.push(user);
    }
    house.user("waiting");
    house.member("stormz", "waiting", Role::Member, State::Pending);
    let token = house.token("user-0");
    let mine = house.send(get("/v1/user/me/organizations").bearer(&token)).await.value();
    let members = format!("/v1/organizations/{}/members", mine[0]["id"].as_str().unwrap());
    let all = ["first", "previous", "next", "last"];
    let of = |pages: [u64; 4]| all.into_iter().zip(pages).filter(|(_, page)| *page > 0).collect::<Vec<_>>();
    // The query, whom the page holds, elements of a page, and the pages of the links: 0 where there is none.
    for (query, range, per_page, pages) in [
        ("", 0..7, 0, [0, 0, 0, 0]),
        ("other=1", 0..7, 0, [0, 0, 0, 0]),
        ("page=1", 0..7, 30, [0, 0, 0, 0]),
        ("per_page=7", 0..7, 7, [0, 0, 0, 0]),
        ("per_page=3", 0..3, 3, [0, 0, 2, 3]),
        ("per_page=3&page=1", 0..3, 3, [0, 0, 2, 3]),
        ("per_page=3&page=2", 3..6, 3, [1, 1, 3, 3]),
        ("per_page=3&page=3", 6..7, 3, [1, 2, 0, 0]),
        ("per_page=3&page=4", 0..0, 3, [1, 3, 0, 0]),
        ("per_page=1&page=7", 6..7, 1, [1, 6, 0, 0]),
        ("page=2", 0..0, 30, [1, 1, 0, 0]),
        ("per_page=101", 0..7, 100, [0, 0, 0, 0]),
        ("per_page=101&page=2", 0..0, 100, [1, 1, 0, 0]),
        ("per_page=99999999999999999999", 0..7, 100, [0, 0, 0, 0]),
        ("page=99999999999999999999&per_page=3", 0..0, 3, [1, 3, 0, 0]),
        ("page=9&per_page=3&page=2", 3..6, 3, [1, 1, 3, 3]),
    ] {
        let answer = house.send(get(&format!("{members}?{query}")).bearer(&token)).await;
        answer.is(200, people[range].iter().map(member).collect());
        let expected = links(&format!("{members}?"), per_page, &of(pages));
        assert_eq!(answer.header("link"), expected, "{query}");
    }
    let kept = house.send(get(&format!("{members}/?a=%20b&page=2&per_page=5&%3E=%0d")).bearer(&token)).await;
    let expected = links(&format!("{members}/?a=+b&%3E=%0D&"), 5, &[("first", 1), ("previous", 1)]);
    assert_eq!(kept.header("link"), expected);
}

#[tokio::test]
async fn a_page_is_a_positive_number() {
    let stormz = Stormz::new();
    let token = stormz.house.token("member");
    for list in [stormz.members(), "/v1/user/me/organizations".into()] {
        for key in ["page", "per_page"] {
            for value in ["0", "00", "-1", "+1", "%2B1", "1.5", "x", "", "%D9%A1", "1%00"] {
                let call = get(&format!("{list}?{key}={value}")).bearer(&token);
                let expected = message(&format!("{key} must be a positive number"));
                stormz.house.send(call).await.is(422, expected);
            }
        }
    }
    let refused = [("nobody", 401, "Requires authentication"), ("stranger", 404, "Not Found")];
    stormz.refuses(&refused, || get(&format!("{}?page=0", stormz.members()))).await;
    stormz.refuses(&refused[..1], || get("/v1/user/me/organizations?page=0")).await;
}

#[tokio::test]
async fn own_organizations_page_by_page() {
    let house = House::new();
    house.user("ana");
    house.user("bob");
    let token = house.token("ana");
    let list = |query: &str| get(&format!("/v1/user/me/organizations{query}")).bearer(&token);
    house.send(list("?page=3")).await.is(200, json!([]));
    assert_eq!(house.send(list("?page=3")).await.header("link"), "", "there is nothing to lead to");
    let mut expected = Vec::new();
    for name in ["C", "A", "B"] {
        house.pass(Duration::from_secs(1));
        let organization = house.organization(name, "ana");
        expected.push(shown(&organization, name));
    }
    house.organization("Not hers", "bob");
    house.organization("Not yet", "bob");
    house.member("not-yet", "ana", Role::Member, State::Pending);
    house.archive("a", true);
    for (query, range) in [("", 0..3), ("?per_page=2", 0..2), ("?per_page=2&page=2", 2..3), ("?page=5", 0..0)]
    {
        house.send(list(query)).await.is(200, expected[range].iter().cloned().collect());
    }
    let answer = house.send(list("?per_page=2")).await;
    let next = links("/v1/user/me/organizations?", 2, &[("next", 2), ("last", 2)]);
    assert_eq!(answer.header("link"), next);
}

#[tokio::test]
async fn a_long_list_is_whole() {
    let house = House::new();
    house.user("ana");
    let organization = house.organization("Stormz", "ana");
    // Many in one commit: one each would take its time, and all in one more than a request may.
    for first in (0..520).step_by(40) {
        let many = move |db: &Db| {
            for number in first..first + 40 {
                let new = NewUser {
                    username: None,
                    email: Email::parse(&format!("user-{number}@example.com")).unwrap(),
                    name: PersonName::Unknown,
                    password_hash: None,
                    profile: Profile::default(),
                };
                let user = UserKey::Number(users::create(db, &Actor::system(), new, false, true)?.id);
                let stormz = OrganizationKey::Slug("stormz".into());
                memberships::put(db, &Actor::system(), &stormz, &user, (Role::Member, State::Active))?;
            }
            Ok(())
        };
        house.app.write(many).await.unwrap();
    }
    let members = format!("{}/members", path(&organization));
    let answer = house.send(get(&members).bearer(&house.token("ana"))).await;
    let listed = answer.value();
    let listed: std::collections::BTreeSet<&str> =
        listed.as_array().unwrap().iter().map(|member| member["email"].as_str().unwrap()).collect();
    assert_eq!(listed.len(), 521);
    let last = house.send(get(&format!("{members}?per_page=100&page=6")).bearer(&house.token("ana"))).await;
    assert_eq!(last.value().as_array().unwrap().len(), 21);
}
