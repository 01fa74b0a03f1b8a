//! The description of each API: whole, and true.

use std::collections::{BTreeMap, BTreeSet};

use guildhall::describe::{Credential, JSON, MULTIPART, example};
use guildhall::router::dialects;
use guildhall_domain::authz::{Role, State};
use serde_json::{Value, json};

use crate::described::{ALL, valid};
use crate::harness::{House, call, get};

#[tokio::test]
async fn each_api_serves_its_description() {
    let house = House::new();
    for api in &*ALL {
        let answer = house.send(get(&format!("/docs/{}/openapi.json", api.dialect))).await;
        answer.is(200, api.document.clone());
    }
    assert_eq!(house.send(get("/docs/none/openapi.json")).await.status, 404);
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    for ((dialect, routes), api) in dialects().into_iter().zip(&*ALL) {
        let served: BTreeSet<(String, String)> = routes
            .listed()
            .iter()
            .map(|(method, path, _)| ((*path).to_owned(), method.as_str().to_ascii_lowercase()))
            .collect();
        let paths = api.document["paths"].as_object().unwrap();
        let told: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |m| (path.clone(), m.clone()))
            })
            .collect();
        assert_eq!(served, told, "{dialect}");
        assert_eq!(routes.listed().len(), served.len(), "{dialect}: no route is there twice");
    }
}

#[test]
fn descriptions_are_whole() {
    for (dialect, routes) in dialects() {
        assert_eq!(dialect, routes.about().name);
        let mut ids = BTreeSet::new();
        for (method, path, operation) in routes.listed() {
            let place = format!("{dialect} {method} {path}");
            assert!(ids.insert(operation.id), "{place}: {} is there twice", operation.id);
            let in_path: Vec<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
            let told = operation.parameters.iter().filter(|parameter| parameter.place == "path");
            assert_eq!(told.map(|parameter| parameter.name).collect::<Vec<_>>(), in_path, "{place}");
            let answers = operation.answers(routes.about(), method);
            assert!(answers.iter().any(|answer| (200..300).contains(&answer.status)), "{place}");
            assert!(answers.iter().all(|answer| !answer.text.is_empty()), "{place}");
        }
    }
}

/// Every schema in it that has a name of its own.
fn named<'v>(value: &'v Value, found: &mut Vec<(&'v str, &'v Value)>) {
    match value {
        Value::Object(keys) => {
            if let Some(Value::String(name)) = keys.get("title") {
                found.push((name, value));
            }
            keys.values().for_each(|value| named(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| named(value, found)),
        _ => {}
    }
}

#[test]
fn one_name_is_one_schema() {
    for (dialect, routes) in dialects() {
        let mut known: BTreeMap<String, Value> = BTreeMap::new();
        for (method, _, operation) in routes.listed() {
            let bodies = operation.bodies.iter().map(|(_, schema)| schema.clone());
            let answers =
                operation.answers(routes.about(), method).into_iter().map(|answer| match answer.body {
                    guildhall::describe::Content::Json(schema) => schema,
                    guildhall::describe::Content::Empty => Value::Null,
                    guildhall::describe::Content::Refusal => (routes.about().refusal)(answer.status),
                });
            for schema in bodies.chain(answers) {
                let mut found = Vec::new();
                named(&schema, &mut found);
                for (name, mut schema) in found.into_iter().map(|(name, schema)| (name, schema.clone())) {
                    // What it means may differ from place to place.
                    schema.as_object_mut().unwrap().remove("description");
                    let before = known.entry(name.to_owned()).or_insert_with(|| schema.clone());
                    assert_eq!(before, &schema, "{dialect}: two schemas are called {name}");
                }
            }
        }
    }
}

#[test]
fn examples_are_of_their_schema() {
    for (dialect, routes) in dialects() {
        for (method, path, operation) in routes.listed() {
            for (_, schema) in &operation.bodies {
                let example = example::value(schema);
                let held = valid(&json!({}), schema, &example);
                assert_eq!(held, Ok(()), "{dialect} {method} {path}: {example}");
            }
        }
    }
}

/// Each call as its page shows it, made by one in charge of the organization that the examples name: it is understood.
#[tokio::test]
async fn the_calls_that_the_pages_show_work() {
    for (dialect, routes) in dialects() {
        for (method, path, operation) in routes.listed() {
            let house = House::new();
            house.user("owner");
            house.organization("Makers", "owner");
            if operation.credential != Credential::Ignored {
                house.user("ada");
            }
            if operation.credential != Credential::Ignored && operation.id != "add_member" {
                house.member("makers", "ada", Role::Member, State::Active);
            }
            let mut call = call(method.as_str(), &example::path(operation, path));
            if operation.credential != Credential::Ignored {
                call = call
                    .header("authorization", &format!("{} {}", routes.about().scheme, house.token("owner")));
            }
            if let Some((kind, schema)) = operation.bodies.first() {
                let body = example::value(schema);
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let pairs: Vec<(String, String)> =
                    body.as_object().unwrap().iter().map(|(key, value)| (key.clone(), text(value))).collect();
                call = match *kind {
                    JSON => call.json(body),
                    MULTIPART => {
                        let picture = picture();
                        let part = |(name, value): &(String, String)| {
                            let content =
                                if value == "@picture.png" { picture.clone() } else { value.clone().into() };
                            (name.clone(), content)
                        };
                        let parts: Vec<(String, Vec<u8>)> = pairs.iter().map(part).collect();
                        let parts: Vec<(&str, Option<&str>, &[u8])> = parts
                            .iter()
                            .map(|(name, content)| (name.as_str(), None, content.as_slice()))
                            .collect();
                        call.multipart(&parts)
                    }
                    _ => {
                        let pairs: Vec<(&str, &str)> =
                            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                        call.form(&pairs)
                    }
                };
            }
            let answer = house.send(call).await;
            let told = format!("{dialect} {method} {path}: {} {}", answer.status, answer.text());
            assert!(![405, 408, 413, 415, 429, 500, 503].contains(&answer.status.as_u16()), "{told}");
            // A token in an example is none of a letter.
            let needs_a_letter = ["change_password", "show_invitation"].contains(&operation.id);
            let is_wrong_password = ["login", "create_token"].contains(&operation.id);
            let is_misunderstood = [400, 422].contains(&answer.status.as_u16());
            assert!(!is_misunderstood || needs_a_letter || is_wrong_password, "{told}");
        }
    }
}

fn picture() -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_rgb8(1, 1).write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

#[tokio::test]
async fn the_pages_show_every_call() {
    let house = House::new();
    let all = house.send(get("/docs")).await;
    for (dialect, routes) in dialects() {
        assert!(all.text().contains(&format!("href=\"/docs/{dialect}\"")), "{dialect}");
        let page = house.send(get(&format!("/docs/{dialect}"))).await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!page.text().contains("<script") && !page.text().contains("//cdn"), "{dialect}");
        for (method, path, operation) in routes.listed() {
            assert!(page.text().contains(&format!("<code>{method} {path}</code>")), "{dialect} {path}");
            assert!(page.text().contains(&format!("<h2 id=\"{}\">", operation.id)), "{dialect} {path}");
        }
    }
    for none in ["/docs/none", "/docs/%ff", "/docs/%ff/openapi.json"] {
        assert_eq!(house.send(get(none)).await.status, 404, "{none}");
    }
    assert_eq!(house.send(call("POST", "/docs")).await.status, 405);
}

#[test]
fn what_breaks_a_schema_is_found() {
    let document = json!({"here": {"type": "integer", "minimum": 1}});
    for (schema, good, bad) in [
        (json!({"$ref": "#/here"}), json!(1), json!(0)),
        (json!({"type": ["string", "null"]}), json!(null), json!(1)),
        (json!({"enum": ["a"]}), json!("a"), json!("b")),
        (json!({"pattern": "^a$"}), json!("a"), json!("ab")),
        (json!({"required": ["a"]}), json!({"a": 1}), json!({})),
        (json!({"properties": {"a": {"const": 1}}}), json!({"a": 1}), json!({"a": 2})),
        (json!({"properties": {}, "additionalProperties": false}), json!({}), json!({"a": 2})),
        (json!({"items": {"type": "string"}}), json!(["a"]), json!(["a", 1])),
        (json!({"oneOf": [{"minLength": 1}, {"minLength": 2}]}), json!("a"), json!("ab")),
        (json!({"not": {"const": 1}}), json!(2), json!(1)),
        (json!({"format": "date-time"}), json!("2026-01-02T03:04:05Z"), json!("2026-01-02 03:04:05")),
    ] {
        assert_eq!(valid(&document, &schema, &good), Ok(()), "{schema}");
        assert!(valid(&document, &schema, &bad).is_err(), "{schema}: {bad}");
    }
}
