//! What holds of every query, media type, address of a page and JSON text.

use std::collections::HashSet;
use std::fmt::Write as _;

use properties::proptest::{self, prelude::*};
use properties::{check, check_texts, texts};

use super::*;

#[test]
fn queries() {
    const PIECES: &[&str] = &[
        "page", "limit", "=", "&", "&&", "%", "%4", "%00", "%ff", "+", "%2B", ";", "?", "#", "[0]", "é",
        "page=2&",
    ];
    check_texts("queries", include_str!("../../tests/corpus/queries.txt"), texts(PIECES), |text| {
        let query = Query::read(text);
        let kept = query.without(&[]);
        assert_eq!(Query::read(&kept).0, query.0, "written anew it says the same");
        // It stands in a header between < and >.
        assert!(kept.chars().all(|c| c.is_ascii_graphic() && !"<>\"".contains(c)), "{kept}");
        let others = Query::read(&query.without(&["page"]));
        assert_eq!(others.get("page"), None);
        assert!(others.0.iter().eq(query.0.iter().filter(|(key, _)| key != "page")));
        for (key, _) in &query.0 {
            let last = query.0.iter().rfind(|(other, _)| other == key).map(|(_, value)| value.as_str());
            assert_eq!(query.get(key), last);
        }
    });
    let pairs = proptest::collection::vec((texts(&["&", "=", "%41"]), texts(&["+", " ", "#"])), 0..6);
    check("queries from their pairs", pairs, |pairs| {
        let written = serde_urlencoded::to_string(&pairs).unwrap();
        assert_eq!(Query::read(&written).0, pairs);
    });
}

#[test]
fn media_types() {
    let name = "[A-Za-z0-9!#$&^_.+-]{1,12}";
    let parts = (name, name, "[ \t]{0,2}", texts(&[";", "charset=utf-8", "\"", ","]));
    check("media types", parts, |(kind, subtype, space, parameters)| {
        let value = format!("{space}{kind}/{subtype}{space};{parameters}");
        let Ok(value) = HeaderValue::from_str(&value) else { return };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value.clone());
        let read = content_type(&headers);
        if value.to_str().is_ok() {
            assert_eq!(read, format!("{kind}/{subtype}").to_ascii_lowercase());
        } else {
            assert_eq!(read, "", "what is no ASCII names no type");
        }
    });
}

#[test]
fn web_addresses() {
    const PIECES: &[&str] =
        &["https://", "http:", "/", "example.org", ".", ":80", "@", "[::1]", "\\", "é", "%", "?", "#"];
    check_texts("web addresses", include_str!("../../tests/corpus/urls.txt"), texts(PIECES), |text| {
        let Some(url) = web_url(text) else { return };
        assert_eq!(web_url(url.as_str()), Some(url.clone()), "as a browser writes it, it is the same");
        let begins = text.get(..url.scheme().len() + 3).unwrap().to_ascii_lowercase();
        assert!(["http://", "https://"].contains(&begins.as_str()) && url.has_host());
        assert!(!text.contains(|c: char| c.is_whitespace() || c.is_control()));
    });
}

/// JSON as somebody may write it: an object may name a key several times.
#[derive(Clone, Debug)]
enum Json {
    Plain(&'static str),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn repeats(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Text(_) => false,
            Self::List(values) => values.iter().any(Self::repeats),
            Self::Object(pairs) => {
                let mut keys = HashSet::new();
                pairs.iter().any(|(key, value)| !keys.insert(key) || value.repeats())
            }
        }
    }

    /// With every second character of a text escaped, from the first or from the second.
    fn write(&self, out: &mut String, from: usize) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Text(text) => escape(text, out, from),
            Self::List(values) => {
                out.push('[');
                for (place, value) in values.iter().enumerate() {
                    out.push_str(if place > 0 { " , " } else { "" });
                    value.write(out, from + place);
                }
                out.push(']');
            }
            Self::Object(pairs) => {
                out.push('{');
                for (place, (key, value)) in pairs.iter().enumerate() {
                    out.push_str(if place > 0 { "," } else { "\n" });
                    escape(key, out, from + place);
                    out.push_str(" :");
                    value.write(out, from + place);
                }
                out.push('}');
            }
        }
    }
}

fn escape(text: &str, out: &mut String, from: usize) {
    out.push('"');
    for (place, c) in text.chars().enumerate() {
        if (place + from).is_multiple_of(2) || c.is_control() || c == '"' || c == '\\' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").unwrap();
            }
        } else {
            out.push(c);
        }
    }
    out.push('"');
}

fn some_json() -> impl Strategy<Value = Json> {
    let keys = || prop_oneof![proptest::sample::select(&["a", "A", "", "é", "e\u{301}", "😀", "\0"][..])];
    let leaf = prop_oneof![
        proptest::sample::select(&["null", "true", "0", "-1.5e3", "18446744073709551615"][..])
            .prop_map(Json::Plain),
        texts(&["\"", "\\", "/"]).prop_map(Json::Text),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let pairs = (keys().prop_map(str::to_owned), inner.clone());
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Json::List),
            proptest::collection::vec(pairs, 0..4).prop_map(Json::Object),
        ]
    })
}

#[test]
fn repeated_keys() {
    check("repeated keys", (some_json(), 0..2_usize), |(json, from)| {
        let mut text = String::new();
        json.write(&mut text, from);
        let told = keys::check(text.as_bytes());
        assert_eq!(told.is_err(), json.repeats(), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        if let Err(bad) = told {
            assert!(
                matches!(&bad, keys::Bad::Malformed(error) if error.to_string().starts_with("an object names a key twice")),
                "{bad:?}"
            );
        }
    });
}

#[test]
fn json_texts() {
    const PIECES: &[&str] = &[
        "{", "}", "[", "]", "\"", ":", ",", "\"a\"", "\\ud800", "\\udc00", "\\u0000", "1e999", "-0", "null",
        "NaN", "//",
    ];
    check_texts("JSON", include_str!("../../tests/corpus/json.txt"), texts(PIECES), |text| {
        let value = serde_json::from_str::<serde_json::Value>(text);
        let is_distinct = keys::check(text.as_bytes()).is_ok();
        assert!(value.is_ok() || !is_distinct, "what is no JSON is refused");
        let Ok(value) = value else { return };
        // What is kept of it is a text that every reader takes for the same.
        let kept = value.to_string();
        assert!(!kept.contains(char::is_control) && keys::check(kept.as_bytes()).is_ok());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&kept).unwrap(), value);
    });
}

#[test]
fn times() {
    check("times", -62_135_596_800_000_000_i64..253_402_300_799_999_999, |micros| {
        let read = |precision| -> i64 {
            let text = rfc3339(Timestamp(micros), precision);
            text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
        };
        let down_to = |unit: i64| micros.div_euclid(unit) * unit;
        assert_eq!(read(Precision::Micros), micros);
        assert_eq!(read(Precision::Millis), down_to(1_000));
        assert_eq!(read(Precision::Seconds), down_to(1_000_000));
        assert_eq!(read(Precision::SecondsAsMillis), down_to(1_000_000));
    });
}
