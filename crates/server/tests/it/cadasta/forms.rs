//! What is wrong with a body, in the words of the original's table: everything at once.

use serde_json::{Value, json};

use super::{ALL, acme, by, detail};
use crate::harness::{House, post};

async fn refused(cases: Vec<(Value, Value)>) {
    let house = acme();
    let token = house.token("owner");
    for (body, wrong) in cases {
        house.send(post(ALL).token(&token).json(body)).await.is(400, wrong);
    }
}

#[tokio::test]
async fn fields_are_told_all_at_once() {
    let text = |text: &str| json!([text]);
    refused(vec![
        (json!({}), json!({"name": text("This field is required.")})),
        (json!({"name": "  "}), json!({"name": text("This field may not be blank.")})),
        (json!({"name": ""}), json!({"name": text("This field may not be blank.")})),
        (json!({"name": null}), json!({"name": text("This field may not be null.")})),
        (json!({"name": {}}), json!({"name": text("Not a valid string.")})),
        (
            json!({"name": "é".repeat(201)}),
            json!({"name": text("Ensure this field has no more than 200 characters.")}),
        ),
        (json!({"name": "a\u{0}b"}), json!({"name": text("Control characters are not allowed.")})),
        (json!({"name": "Add"}), json!({"name": text("Organization name cannot be “Add” or “New”.")})),
        (json!({"name": "- ＮＥＷ !"}), json!({"name": text("Organization name cannot be “Add” or “New”.")})),
        (
            json!({"contacts": 1, "urls": "http://x", "archived": "maybe", "description": [], "name": 1}),
            json!({
                "name": text("Not a valid string."),
                "description": text("Not a valid string."),
                "archived": text("\"maybe\" is not a valid boolean."),
                "urls": text("Expected a list of items but got type \"str\"."),
                "contacts": text("Expected a list of items but got type \"int\".")
            }),
        ),
        (
            json!({"name": "x", "archived": null, "description": "d".repeat(10_001)}),
            json!({
                "description": text("Ensure this field has no more than 10000 characters."),
                "archived": text("This field may not be null.")
            }),
        ),
        (
            json!({"name": "x", "archived": 1.5, "description": "\u{0}"}),
            json!({
                "description": text("Control characters are not allowed."),
                "archived": text("\"1.5\" is not a valid boolean.")
            }),
        ),
        (
            json!({"name": "x", "urls": vec!["http://example.com"; 101], "contacts": vec![json!({}); 101]}),
            json!({
                "urls": text("Ensure this field has no more than 100 elements."),
                "contacts": text("Ensure this field has no more than 100 elements.")
            }),
        ),
        (
            json!({"name": "x", "urls": ["http://ok.org", "nope"]}),
            json!({"urls": text("Enter a valid URL.")}),
        ),
        (json!({"name": "x", "urls": [null]}), json!({"urls": text("Enter a valid URL.")})),
        (json!({"name": "x", "urls": ["javascript:alert(1)"]}), json!({"urls": text("Enter a valid URL.")})),
        (
            json!({"name": "x", "urls": [format!("http://example.com/{}", "x".repeat(2_000))]}),
            json!({"urls": text("Ensure this field has no more than 2000 characters.")}),
        ),
    ])
    .await;
}

#[tokio::test]
async fn every_failing_contact_is_told_with_every_key_that_fails() {
    let either = "Please provide either email or tel";
    let of = |contacts: Value, wrong: Value| {
        (json!({"name": "x", "contacts": contacts}), json!({"contacts": wrong}))
    };
    refused(vec![
        of(json!([{"tel": "1"}]), json!([{"name": "This field is required."}])),
        of(json!([{"name": " ", "tel": "1"}]), json!([{"name": "This field is required."}])),
        of(json!([{"name": "A"}]), json!([{"email": either, "tel": either}])),
        of(json!([{"name": "A", "email": null, "tel": " "}]), json!([{"email": either, "tel": either}])),
        of(json!([{"name": "A", "email": "noemail"}]), json!([{"email": "'noemail' is not a 'email'"}])),
        of(json!([{"name": 5, "tel": 6}]), json!([{"name": "5 is not of type 'string'", "tel": "6 is not of type 'string', 'null'"}])),
        of(json!([{"name": null, "email": true}]), json!([{"name": "None is not of type 'string'", "email": "True is not of type 'string', 'null'"}])),
        of(json!([5, []]), json!([{"non_field_errors": "5 is not of type 'object'"}, {"non_field_errors": "[] is not of type 'object'"}])),
        of(
            json!([{"name": "fine", "tel": "1"}, {}, {"name": "fine", "email": "a@example.org"}, {
                "url": "nowhere", "locality": 1, "job-title": null, "tel": "1"
            }]),
            json!([{"name": "This field is required.", "email": either, "tel": either}, {
                "name": "This field is required.",
                "url": "'nowhere' is not a 'uri'",
                "locality": "1 is not of type 'string'",
                "job-title": "None is not of type 'string'"
            }]),
        ),
        of(json!({"name": "A", "url": 1}), json!([{"email": either, "tel": either, "url": "1 is not of type 'string'"}])),
    ])
    .await;
}

#[tokio::test]
async fn the_limits_themselves_are_within() {
    let house = acme();
    let url = format!("http://example.com/{}", "x".repeat(1_981));
    assert_eq!(url.len(), 2_000);
    let body = json!({
        "name": "é".repeat(200),
        "description": "d".repeat(10_000),
        "urls": vec![url; 100],
        "contacts": vec![json!({"name": "A", "tel": "1", "url": ""}); 100]
    });
    let answer = house.send(by(&house, "stranger", post(ALL).json(body.clone()))).await;
    assert_eq!(answer.status, 201);
    for key in ["name", "description", "urls", "contacts"] {
        assert_eq!(answer.value()[key], body[key]);
    }
}

#[tokio::test]
async fn bodies_that_are_none_are_told_so() {
    let house = House::new();
    house.user("ana");
    let token = house.token("ana");
    let new = || post(ALL).token(&token);
    for body in ["{", "", " ", "{\"name\": \"\\ud800\"}", "{\"name\": 1e999}", "nonsense", "{}{}"] {
        let answer = house.send(new().body("application/json", body.as_bytes())).await;
        if body.is_empty() {
            answer.is(400, json!({"name": ["This field is required."]}));
        } else {
            let text = answer.value()["detail"].as_str().unwrap().to_owned();
            assert!(text.starts_with("JSON parse error - "), "{text}");
            answer.is(400, detail(&text));
        }
    }
    assert_eq!(house.send(new().body("application/json", b"{\"name\": \"\xff\"}")).await.status, 400);
    let deep = "[".repeat(100_000);
    assert_eq!(house.send(new().body("application/json", deep.as_bytes())).await.status, 400);
    for (body, kind) in
        [("[]", "list"), ("null", "NoneType"), ("1", "int"), ("1.5", "float"), ("true", "bool")]
    {
        let text = format!("Invalid data. Expected a dictionary, but got {kind}.");
        let answer = house.send(new().body("application/json", body.as_bytes())).await;
        answer.is(400, json!({"non_field_errors": [text]}));
    }
    for (named, shown) in [
        ("text/plain; charset=utf-8", "text/plain"),
        ("", ""),
        ("multipart/form-data", "multipart/form-data"),
    ] {
        let text = format!("Unsupported media type \"{shown}\" in request.");
        house.send(new().body(named, b"x")).await.is(415, detail(&text));
    }
    house.send(new()).await.is(400, json!({"name": ["This field is required."]}));
    let big = vec![b' '; 1024 * 1024 + 1];
    house.send(new().body("application/json", &big)).await.is(413, detail("Request body too large."));
    assert_eq!(house.send(new().body("application/vnd.api+json", br#"{"name": "Fine"}"#)).await.status, 201);
}
