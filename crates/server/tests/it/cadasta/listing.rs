//! The list of organizations: which, in what order, in which parts.

use guildhall::client::Network;
use guildhall::load;
use guildhall_domain::authz::{Role, State};
use guildhall_domain::memberships::{Joining, Visibility};
use serde_json::{Value, json};

use super::{ALL, acme, by};
use crate::harness::{House, get, patch};

/// The slugs that the list with this query shows to `name`.
async fn slugs(house: &House, name: &str, query: &str) -> Vec<String> {
    let answer = house.send(by(house, name, get(&format!("{ALL}{query}")))).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    let value = answer.value();
    value.as_array().unwrap().iter().map(|one| one["slug"].as_str().unwrap().to_owned()).collect()
}

/// Public ones of many names, and one of each other kind.
async fn many() -> House {
    let house = acme();
    for (name, description) in
        [("zeta", "the last, Öl"), ("Beta", "second 50%"), ("éclair", ""), ("alpha beta", "first")]
    {
        let made = house.organization_as(name, "owner", Visibility::Public, Joining::Invite);
        let call = patch(&format!("{ALL}{}/", made.slug.replace('é', "%C3%A9")))
            .json(json!({"description": description}));
        assert_eq!(house.send(by(&house, "owner", call)).await.status, 200);
    }
    house.organization_as("Inner", "owner", Visibility::Internal, Joining::Open);
    house.organization_as("Private", "owner", Visibility::Private, Joining::Invite);
    house.organization_as("Old", "owner", Visibility::Public, Joining::Invite);
    for (role, name) in [(Role::Member, "member"), (Role::Admin, "admin")] {
        house.member("private", name, role, State::Active);
        house.member("old", name, role, State::Active);
    }
    house.archive("old", true);
    house
}

#[tokio::test]
async fn everybody_sees_what_they_may_by_name() {
    let house = many().await;
    for (name, shown) in [
        ("", "acme alpha-beta beta zeta éclair"),
        ("stranger", "acme alpha-beta beta inner zeta éclair"),
        ("member", "acme alpha-beta beta inner private zeta éclair"),
        ("admin", "acme alpha-beta beta inner old private zeta éclair"),
        ("owner", "acme alpha-beta beta inner old private zeta éclair"),
    ] {
        assert_eq!(slugs(&house, name, "").await.join(" "), shown, "{name}");
        assert_eq!(slugs(&house, name, "?limit=1000").await.join(" "), shown, "{name}");
    }
    let first = house.send(get(ALL)).await.value()[0].clone();
    let keys: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "slug", "name", "description", "archived", "urls", "contacts"]);
    House::new().send(get(ALL)).await.is(200, json!([]));
}

#[tokio::test]
async fn the_query_chooses_and_sorts() {
    let house = many().await;
    let all = "acme alpha-beta beta inner old private zeta éclair";
    for (query, shown) in [
        ("?archived=true", "old"),
        ("?archived=True", "old"),
        ("?archived=false", "acme alpha-beta beta inner private zeta éclair"),
        ("?archived=maybe", all),
        ("?search=BETA", "alpha-beta beta"),
        ("?search=beta,first", "alpha-beta"),
        ("?search=beta+%C3%96L", ""),
        ("?search=%C3%B6l", "zeta"),
        ("?search=e%CC%81CLAIR", "éclair"),
        ("?search=50%25", "beta"),
        ("?search=%25", "beta"),
        ("?search=+,+", all),
        ("?search=%ff%00", ""),
        ("?ordering=-name", "éclair zeta private old inner beta alpha-beta acme"),
        ("?ordering=name", all),
        ("?ordering=nonsense", all),
        ("?ordering=nonsense,-name", "éclair zeta private old inner beta alpha-beta acme"),
        ("?ordering=description", "acme éclair inner private old alpha-beta beta zeta"),
        ("?ordering=-description", "zeta beta alpha-beta old private inner éclair acme"),
        ("?ordering=description&archived=false", "acme éclair inner private alpha-beta beta zeta"),
        ("?ordering=-description&limit=3", "zeta beta alpha-beta"),
        ("?ordering=-description&limit=3&offset=2", "alpha-beta old private"),
        ("?ordering=description,-name", "éclair private old inner acme alpha-beta beta zeta"),
        ("?search=beta&ordering=-description", "beta alpha-beta"),
        ("?search=beta&ordering=description,name", "alpha-beta beta"),
        ("?ordering=-name&archived=true&search=o", "old"),
        ("?unknown=x&search", all),
    ] {
        assert_eq!(slugs(&house, "owner", query).await.join(" "), shown, "{query}");
    }
}

#[tokio::test]
async fn permissions_choose_what_the_caller_may_do_there() {
    let house = many().await;
    let led = "acme private";
    for (name, permissions, shown) in [
        ("", "org.view", "acme alpha-beta beta zeta éclair"),
        ("", "org.update", ""),
        ("", "org.users.list", ""),
        ("stranger", "org.update,project.create", ""),
        ("member", "org.users.list", led),
        ("member", "org.update", ""),
        ("admin", "org.update,project.create", led),
        ("admin", "org.update, org.view,project.list", led),
        ("admin", "org.users.add,org.users.edit,org.users.remove", led),
        ("admin", "org.view_archived", "acme old private"),
        ("admin", "org.archive,org.unarchive", "acme old private"),
        ("admin", "org.users.list", "acme old private"),
        ("admin", "org.update,org.fly", ""),
        ("owner", "", "acme alpha-beta beta inner old private zeta éclair"),
    ] {
        let query = format!("?permissions={}", permissions.replace(' ', "+"));
        assert_eq!(slugs(&house, name, &query).await.join(" "), shown, "{name} {permissions}");
    }
}

#[tokio::test]
async fn a_part_has_links_to_the_others() {
    let house = many().await;
    for (query, shown, kept, places) in [
        ("?limit=2", "acme alpha-beta", "limit=2", "first 0 next 2 last 4"),
        ("?limit=2&offset=2", "beta zeta", "limit=2", "first 0 prev 0 next 4 last 4"),
        ("?limit=2&offset=4", "éclair", "limit=2", "first 0 prev 2 last 4"),
        ("?limit=2&offset=3", "zeta éclair", "limit=2", "first 0 prev 1 last 4"),
        ("?offset=3", "zeta éclair", "limit=100", "first 0 prev 0 last 0"),
        ("?limit=2&offset=99999999999999999999999", "", "limit=2", "first 0 prev 4 last 4"),
        ("?limit=5", "acme alpha-beta beta zeta éclair", "limit=5", "first 0 last 0"),
        ("?search=a+b&limit=1&x=%26", "alpha-beta", "search=a+b&x=%26&limit=1", "first 0 next 1 last 1"),
        ("?permissions=none&limit=3", "", "permissions=none&limit=3", "first 0 last 0"),
    ] {
        assert_eq!(slugs(&house, "", query).await.join(" "), shown, "{query}");
        let answer = house.send(get(&format!("{ALL}{query}"))).await;
        let words: Vec<&str> = places.split(' ').collect();
        let link =
            |of: &[&str]| format!("<http://guildhall.test{ALL}?{kept}&offset={}>; rel=\"{}\"", of[1], of[0]);
        let links: Vec<String> = words.chunks(2).map(link).collect();
        assert_eq!(answer.header("link"), links.join(", "), "{query}");
    }
    assert_eq!(house.send(get(ALL)).await.header("link"), "");
}

#[tokio::test]
async fn a_part_that_cannot_be_is_told() {
    let house = House::new();
    let number = json!(["A valid integer is required."]);
    for limit in ["0", "1001", "-1", "", "abc", "1.5", "%C2%B2", "99999999999999999999"] {
        house.send(get(&format!("{ALL}?limit={limit}"))).await.is(400, json!({"limit": number}));
    }
    for offset in ["-1", "", "x"] {
        house.send(get(&format!("{ALL}?offset={offset}&limit=1"))).await.is(400, json!({"offset": number}));
    }
    house
        .send(get(&format!("{ALL}?offset=a&limit=b")))
        .await
        .is(400, json!({"limit": number, "offset": number}));
}

#[tokio::test]
async fn parts_side_by_side_are_the_whole() {
    let house = many().await;
    let whole = house.send(by(&house, "owner", get(ALL))).await.value();
    let mut parts: Vec<Value> = Vec::new();
    for offset in (0..8).step_by(3) {
        let part = house.send(by(&house, "owner", get(&format!("{ALL}?limit=3&offset={offset}")))).await;
        parts.extend(part.value().as_array().unwrap().clone());
    }
    assert_eq!(Value::Array(parts), whole);
}

#[tokio::test]
async fn what_is_not_shown_does_not_shorten_a_part() {
    let house = House::new();
    house.user("ana");
    house.user("bob");
    for name in ["a", "b", "c", "d"] {
        house.organization_as(name, "ana", Visibility::Public, Joining::Invite);
        house.member(name, "bob", Role::Member, State::Active);
    }
    house.archive("a", true);
    house.archive("b", true);
    // Not wanted by the one, and not there for the other, who is in charge of neither.
    assert_eq!(slugs(&house, "ana", "?archived=false&limit=2").await, ["c", "d"]);
    assert_eq!(slugs(&house, "bob", "?limit=1").await, ["c"]);
}

#[tokio::test]
async fn who_waits_for_many_lists_is_turned_away_and_nobody_else() {
    let house = House::new();
    house.user("ana");
    let (greedy, other) = ("192.0.2.201", "192.0.2.202");
    let client = Network::of(greedy.parse().unwrap());
    let mut places = Vec::new();
    for (queue, list) in [(&*load::LISTS, ALL.to_owned()), (&*load::SEARCHES, format!("{ALL}?search=a"))] {
        while !queue.is_full_for(client) {
            places.push(queue.join(client));
        }
        let refused = house.send(get(&list).from(greedy)).await;
        refused.is(503, json!({"detail": "Service temporarily unavailable, try again later."}));
        assert_eq!(refused.header("retry-after"), "1");
        house.send(get(&list).from(other)).await.is(200, json!([]));
    }
    let account = house.send(by(&house, "ana", get("/api/v1/account/")).from(greedy)).await;
    assert_eq!(account.status, 200);
    drop(places);
    house.send(get(ALL).from(greedy)).await.is(200, json!([]));
}

#[tokio::test]
async fn a_page_behind_many_that_are_not_wanted_is_full() {
    let house = House::new();
    house.user("ana");
    for number in 0..230 {
        let slug = house.organization(&format!("A {number:03}"), "ana").slug;
        house.archive(&slug, true);
    }
    house.organization("Zebra", "ana");
    assert_eq!(slugs(&house, "ana", "?archived=false&limit=1").await, ["zebra"]);
    assert_eq!(slugs(&house, "ana", "?archived=false").await, ["zebra"]);
}

#[tokio::test]
async fn a_list_of_large_ones_is_whole_and_no_piece_of_it_large() {
    let house = House::new();
    house.user("ana");
    let much = "x".repeat(60_000);
    let mut names = Vec::new();
    for number in 0..20 {
        // Not all of one kind, so that what is read of each has to be put together.
        let visibility = [Visibility::Public, Visibility::Internal, Visibility::Private][number % 3];
        let name = format!("Large {number:02}");
        let slug = house.organization_as(&name, "ana", visibility, Joining::Invite).slug;
        let change = json!({"contacts": [{"name": "A", "tel": "1", "much": much}]});
        let changed = house.send(by(&house, "ana", patch(&format!("{ALL}{slug}/")).json(change))).await;
        assert_eq!(changed.status, 200);
        names.push(slug);
    }
    let backwards: Vec<String> = names.iter().rev().cloned().collect();
    assert_eq!(slugs(&house, "ana", "").await, names);
    assert_eq!(slugs(&house, "ana", "?ordering=-name").await, backwards);
    assert_eq!(slugs(&house, "ana", "?limit=18").await, names[..18]);
    assert_eq!(slugs(&house, "ana", "?limit=18&offset=1").await, names[1..19]);
    assert_eq!(slugs(&house, "ana", "?search=large").await, names);
    for query in ["", "?limit=18", "?limit=18&offset=1", "?search=large", "?ordering=description"] {
        let pieces = house.pieces(by(&house, "ana", get(&format!("{ALL}{query}")))).await;
        assert!(pieces.iter().all(|piece| *piece < 1_000_000), "{query}: {pieces:?}");
    }
}

/// So many organizations, asked for in parts, and one that holds none.
async fn in_parts(house: &House, name: &str, ordering: &str, count: usize) -> Vec<String> {
    let mut parts = Vec::new();
    for offset in (0..count).step_by(70) {
        let query = format!("?ordering={ordering}&limit=70&offset={offset}");
        parts.extend(slugs(house, name, &query).await);
    }
    for offset in [count, usize::MAX] {
        let query = format!("?ordering={ordering}&limit=70&offset={offset}");
        assert_eq!(slugs(house, name, &query).await, [""; 0], "{query}");
    }
    parts
}

#[tokio::test]
async fn a_list_by_description_is_the_same_in_one_and_in_parts() {
    let house = House::new();
    house.user("ana");
    house.user("ben");
    // More than a piece; many without one, many alike, some that differ behind the 200th character only.
    for number in 0..240 {
        let visibility = [Visibility::Public, Visibility::Internal, Visibility::Private][number % 3];
        let name = format!("Number {number:03}");
        let slug = house.organization_as(&name, "ana", visibility, Joining::Invite).slug;
        let description = match number % 5 {
            0 => continue,
            1 => format!("Those of {}", number % 7),
            2 => "Alike".to_owned(),
            3 => format!("{}{}", "é".repeat(200), 240 - number),
            _ => format!("{}{}", "é".repeat(199), 240 - number),
        };
        let call = patch(&format!("{ALL}{slug}/")).json(json!({"description": description}));
        assert_eq!(house.send(by(&house, "ana", call)).await.status, 200);
        if number % 11 == 4 {
            house.archive(&slug, true);
        }
    }
    // The archived ones are shown to those who belong to them.
    for (name, count) in [("ana", 240), ("ben", 160 - 11), ("", 80 - 5)] {
        let whole = slugs(&house, name, "?ordering=description").await;
        assert_eq!(whole.len(), count, "{name}");
        assert_eq!(in_parts(&house, name, "description", count).await, whole, "{name}");
        let mut backwards = slugs(&house, name, "?ordering=-description").await;
        assert_eq!(in_parts(&house, name, "-description", count).await, backwards, "{name}");
        backwards.reverse();
        assert_eq!(backwards, whole, "{name}");
        let shown = house.send(by(&house, name, get(&format!("{ALL}?ordering=description")))).await.value();
        let key = |shown: &serde_json::Value| -> String {
            shown["description"].as_str().unwrap_or_default().chars().take(200).collect()
        };
        assert!(shown.as_array().unwrap().is_sorted_by_key(key), "{name}");
    }
}
