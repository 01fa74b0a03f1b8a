//! One organization: who sees it, who changes it, what a change does.

use guildhall_domain::memberships::{Joining, Visibility};
use serde_json::{Value, json};

use super::{ALL, ONE, USERS, acme, by, denied, detail, no_organization, person};
use crate::harness::{House, get, patch, post, put};

const EVERYBODY: [&str; 8] = ["", "stranger", "pending", "suspended", "member", "inactive", "admin", "owner"];

fn shown(answer: &Value) -> (bool, &Value) {
    (answer["archived"].as_bool().unwrap(), &answer["users"])
}

#[tokio::test]
async fn a_public_one_is_seen_by_all_and_its_members_by_members() {
    let house = acme();
    let members = json!([person("owner"), person("admin"), person("member"), person("inactive")]);
    for name in EVERYBODY {
        let answer = house.send(by(&house, name, get(ONE))).await;
        assert_eq!(answer.status, 200);
        let value = answer.value();
        let is_member = ["member", "inactive", "admin", "owner"].contains(&name);
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        let all = ["id", "slug", "name", "description", "archived", "urls", "contacts", "users"];
        assert_eq!(keys, if is_member { &all[..] } else { &all[..7] }, "{name}");
        assert_eq!(value["users"], if is_member { members.clone() } else { Value::Null }, "{name}");
    }
}

#[tokio::test]
async fn one_that_may_not_be_seen_does_not_exist() {
    let house = acme();
    house.organization_as("Inner", "owner", Visibility::Internal, Joining::Open);
    house.organization_as("Hidden", "owner", Visibility::Private, Joining::Invite);
    let path = |slug: &str| format!("{ALL}{slug}/");
    for (slug, name, status) in [
        ("inner", "", 404),
        ("inner", "stranger", 200),
        ("hidden", "", 404),
        ("hidden", "stranger", 404),
        ("hidden", "owner", 200),
        ("never-was", "owner", 404),
        ("Acme", "owner", 404),
        ("%ff", "owner", 404),
        ("%00", "owner", 404),
        ("a%2Fb", "owner", 404),
    ] {
        let answer = house.send(by(&house, name, get(&path(slug)))).await;
        assert_eq!(answer.status, status, "{slug} {name}");
        if status == 404 {
            answer.is(404, no_organization());
        }
    }
    // Malformed or not: what is not there cannot be changed, and says no more.
    let (hidden, users) = (path("hidden"), format!("{}users/", path("hidden")));
    let (json, text) = ("application/json", "text/plain");
    for (body, kind) in [("{", json), ("x", text), ("{\"name\": null}", json)] {
        for call in [patch(&hidden), put(&hidden), post(&users)] {
            let call = call.body(kind, body.as_bytes());
            house.send(by(&house, "stranger", call)).await.is(404, no_organization());
        }
    }
}

#[tokio::test]
async fn only_those_in_charge_change_it_and_they_are_told_of_mistakes() {
    let house = acme();
    let other = |text: &str| patch(ONE).body("text/plain", text.as_bytes());
    for name in EVERYBODY {
        let may = ["admin", "owner"].contains(&name);
        for method in [patch, put] {
            let answer = house.send(by(&house, name, method(ONE).json(json!({"name": "Acme"})))).await;
            assert_eq!(answer.status, if may { 200 } else { 403 }, "{name}");
            let answer = house.send(by(&house, name, method(ONE).json(json!({"name": ""})))).await;
            if may {
                answer.is(400, json!({"name": ["This field may not be blank."]}));
            } else {
                answer.is(403, denied());
            }
        }
        let answer = house.send(by(&house, name, other("x"))).await;
        let unsupported = detail("Unsupported media type \"text/plain\" in request.");
        if may {
            answer.is(415, unsupported)
        } else {
            answer.is(403, denied())
        };
    }
}

#[tokio::test]
async fn an_archived_one_is_there_for_those_in_charge_and_frozen() {
    let house = acme();
    house.archive("acme", true);
    for name in EVERYBODY {
        let in_charge = ["admin", "owner"].contains(&name);
        let answer = house.send(by(&house, name, get(ONE))).await;
        if in_charge {
            assert!(shown(&answer.value()).0);
            assert_eq!(shown(&answer.value()).1.as_array().unwrap().len(), 4);
            assert_eq!(house.send(by(&house, name, get(USERS))).await.status, 200);
        } else {
            answer.is(404, no_organization());
        }
        for body in [json!({}), json!({"archived": true}), json!({"name": "X"}), json!({"name": ""})] {
            let answer = house.send(by(&house, name, patch(ONE).json(body))).await;
            if in_charge {
                answer.is(403, denied())
            } else {
                answer.is(404, no_organization())
            };
        }
    }
    let wrong = json!({"archived": "F", "description": 5});
    let answer = house.send(by(&house, "admin", patch(ONE).json(wrong))).await;
    answer.is(400, json!({"description": ["Not a valid string."]}));
    let flip = json!({"archived": false, "description": "back"});
    let answer = house.send(by(&house, "admin", patch(ONE).json(flip))).await.value();
    assert_eq!((shown(&answer).0, &answer["description"]), (false, &json!("back")));
    let answer = house.send(by(&house, "admin", patch(ONE).json(json!({"archived": true})))).await.value();
    assert_eq!((shown(&answer).0, shown(&answer).1.as_array().unwrap().len()), (true, 4));
}

#[tokio::test]
async fn what_is_absent_stays_and_null_takes_away() {
    let house = acme();
    let contact = json!({"zzz": {"b": 1, "a": 2}, "tel": "", "name": "Ann", "email": "ann@example.org"});
    let all = json!({
        "name": " Acme 2 ",
        "description": "about\nus",
        "archived": "f",
        "urls": ["http://example.com/a?b=c"],
        "contacts": [contact],
        "slug": "other",
        "id": "x",
        "users": []
    });
    let send = async |call: crate::harness::Call| {
        let answer = house.send(by(&house, "owner", call)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let value = answer.value();
        let own = house.send(by(&house, "owner", get(ONE))).await.value();
        assert_eq!(own, value, "what is answered is what is kept");
        assert_eq!(value["slug"], "acme");
        (
            value["name"].clone(),
            value["description"].clone(),
            value["urls"].to_string(),
            value["contacts"].to_string(),
        )
    };
    let urls = r#"["http://example.com/a?b=c"]"#.to_owned();
    let contacts = json!([contact]).to_string();
    let full = (json!("Acme 2"), json!("about\nus"), urls.clone(), contacts.clone());
    assert_eq!(send(patch(ONE).json(all.clone())).await, full);
    assert_eq!(send(patch(ONE)).await, full);
    assert_eq!(send(patch(ONE).json(json!({}))).await, full);
    assert_eq!(send(put(ONE).json(json!({"name": "Acme 3"}))).await.1, full.1);
    let single = json!({"contacts": contact, "description": ""});
    assert_eq!(send(patch(ONE).json(single)).await, (json!("Acme 3"), json!(""), urls, contacts));
    let nothing = json!({"description": null, "urls": null, "contacts": null});
    let empty = (json!("Acme 3"), json!(null), "[]".to_owned(), "[]".to_owned());
    assert_eq!(send(patch(ONE).json(nothing)).await, empty);
    assert_eq!(send(patch(ONE).form(&[("name", "Acmé"), ("archived", "0")])).await.0, "Acmé");
}

#[tokio::test]
async fn one_begins_as_it_is_sent_with_its_maker_in_charge() {
    let house = House::new();
    house.user("ana");
    for (body, slug, archived) in [
        (json!({"name": "New one", "description": null, "archived": true, "urls": null}), "new-one", true),
        (json!({"name": "東京プロジェクト", "contacts": null}), "東京プロジェクト", false),
        (json!({"name": "!!!"}), "organization", false),
        (json!({"name": "Create"}), "create-1", false),
    ] {
        let answer = house.send(by(&house, "ana", post(ALL).json(body.clone()))).await;
        let id = answer.value()["id"].clone();
        answer.is(
            201,
            json!({
                "id": id,
                "slug": slug,
                "name": body["name"],
                "description": null,
                "archived": archived,
                "urls": [],
                "contacts": [],
                "users": [person("ana")]
            }),
        );
        let users = format!(
            "{ALL}{}/users/ana/",
            percent_encoding::utf8_percent_encode(slug, percent_encoding::NON_ALPHANUMERIC)
        );
        assert_eq!(house.send(by(&house, "ana", get(&users))).await.value()["admin"], true);
    }
    assert_eq!(house.send(by(&house, "ana", post(ALL).form(&[("name", "By form")]))).await.status, 201);
}

#[tokio::test]
async fn a_name_is_taken_without_regard_to_case() {
    let house = acme();
    house.organization_as("Élan", "owner", Visibility::Public, Joining::Invite);
    house.archive("élan", true);
    house.organization_as("Secret", "owner", Visibility::Private, Joining::Invite);
    let taken = json!({"name": ["Organization with this name already exists."]});
    for name in ["Acme", "aCME", " acme ", "ÉLAN", "e\u{301}lan"] {
        house
            .send(by(&house, "stranger", post(ALL).json(json!({"name": name}))))
            .await
            .is(400, taken.clone());
    }
    for method in [patch, put] {
        let call = method(ONE).json(json!({"name": "élan"}));
        house.send(by(&house, "admin", call)).await.is(400, taken.clone());
        assert_eq!(
            house.send(by(&house, "admin", method(ONE).json(json!({"name": "ACME"})))).await.status,
            200
        );
    }
    let wrong =
        json!({"name": ["Organization with this name already exists."], "urls": ["Enter a valid URL."]});
    for (call, name) in [(post(ALL), "acme"), (patch(ONE), "élan")] {
        let call = call.json(json!({"urls": ["x"], "name": name}));
        house.send(by(&house, "owner", call)).await.is(400, wrong.clone());
    }
    let answer = house.send(by(&house, "stranger", post(ALL).json(json!({"name": "secret"})))).await.value();
    assert_eq!(answer["slug"], "secret-1", "names of private ones may repeat");
}
