//! What holds of every value that is to be somebody's contacts, and of other values of a body.

use properties::proptest::{self, prelude::*};
use properties::{check, texts};

use super::*;

const PIECES: &[&str] =
    &["ana@example.org", "https://example.org", "0", "true", "True", "t", "\"", "\\", "\u{2028}"];

fn a_value() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        proptest::sample::select(&["name", "email", "tel", "url", "locality", "job-title", "x-other"][..])
            .prop_map(str::to_owned),
        texts(&["name", "\u{0}"]),
    ];
    let leaf = prop_oneof![
        2 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        6 => proptest::sample::select(PIECES).prop_map(Value::from),
        6 => texts(PIECES).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        let pairs = proptest::collection::vec((key.clone(), inner.clone()), 0..6);
        prop_oneof![
            1 => proptest::collection::vec(inner, 0..4).prop_map(Value::Array),
            3 => pairs.prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

#[test]
fn contacts() {
    let good = (texts(&["Ana"]), "[a-z]{1,8}@[a-z]{1,8}\\.org", a_value()).prop_map(
        |(name, email, other)| json!({"name": format!("a{name}"), "email": email, "x-other": other}),
    );
    let any_of_them = prop_oneof![a_value(), proptest::collection::vec(good, 0..3).prop_map(Value::Array)];
    check("contacts", any_of_them, |value| {
        let body = |value: Value| Body::from_iter([("contacts".to_owned(), value)]);
        let Ok(Some(kept)) = read(&body(value.clone())) else { return };
        let list: Value = serde_json::from_str(&kept).unwrap();
        // As they were sent, a single one as a list of one and none as an empty one.
        match &value {
            Value::Null => assert_eq!(list, json!([])),
            Value::Object(_) => assert_eq!(list, json!([value])),
            _ => assert_eq!(list, value),
        }
        assert_eq!(read(&body(list.clone())), Ok(Some(kept.clone())));
        assert!(!kept.contains('\0'), "a database stores it");
        for contact in list.as_array().unwrap() {
            let text = |key: &str| contact[key].as_str().filter(|text| !text.trim().is_empty());
            assert!(text("name").is_some() && (text("email").is_some() || text("tel").is_some()));
            assert!(text("email").is_none_or(|email| Email::parse(email).is_some()));
            assert!(text("url").is_none_or(fields::is_url));
        }
    });
}

#[test]
fn fields_of_a_body() {
    check("fields of a body", a_value(), |value| {
        let body = Body::from_iter([("field".to_owned(), value.clone())]);
        assert_eq!(fields::boolean(&body, "other"), Ok(None));
        if let Ok(flag) = fields::boolean(&body, "field") {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let yes = ["t", "T", "true", "True", "TRUE", "1"].contains(&shown.as_str());
            let no = ["f", "F", "false", "False", "FALSE", "0"].contains(&shown.as_str());
            assert!(yes != no && flag == Some(yes), "{shown}");
        }
        if let Ok(text) = fields::text(&body, "field") {
            assert_eq!(text, value.as_str());
        }
        if let Ok(email) = fields::email(&body, "field") {
            assert_eq!(email, Email::parse(value.as_str().unwrap()));
        }
        // What is told of a value is one line, whatever stands in it.
        assert!(!repr(&value).contains(['\n', '\r', '\0']));
    });
}
