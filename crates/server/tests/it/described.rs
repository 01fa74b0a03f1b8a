//! Holds what is answered against the description: the status is told of, the body is what the description says, and
//! what was accepted is what it says can be sent.

use std::sync::LazyLock;

use axum::http::Method;
use guildhall::describe::document::document;
use guildhall::dialects::Slash;
use guildhall::router::dialects;
use regex::Regex;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use crate::harness::{Answer, Call};

/// An API as the tests look at it.
pub(crate) struct Described {
    pub(crate) dialect: &'static str,
    pub(crate) document: Value,
    /// Each path as described, and every way to write it.
    paths: Vec<(&'static str, Vec<String>)>,
}

pub(crate) static ALL: LazyLock<Vec<Described>> = LazyLock::new(|| {
    let described = |(dialect, routes): (_, guildhall::dialects::Routes)| {
        let slash: Slash = routes.slash();
        let listed = routes.listed();
        let ways = |path: &'static str| {
            let mut ways = slash.others(path);
            ways.push(path.into());
            ways
        };
        let paths = listed.iter().map(|(_, path, _)| (*path, ways(path))).collect();
        let told = listed.iter().map(|(method, path, operation)| (method, *path, operation));
        Described { dialect, document: document(routes.about(), told), paths }
    };
    dialects().into_iter().map(described).collect()
});

/// Fails where the answer is not one of those that the description tells of for this call. A call that no dialect knows
/// is none of its matter.
#[track_caller]
pub(crate) fn check(call: &Call, answer: &Answer) {
    let Some((api, path)) = find(&call.path) else { return };
    let method = if call.method == Method::HEAD { Method::GET } else { call.method.clone() };
    let operation = &api.document["paths"][path][method.as_str().to_ascii_lowercase()];
    let place = format!("{} {method} {path}", api.dialect);
    let status = answer.status.as_str();
    if operation.is_null() {
        return;
    }
    let told = &operation["responses"][status];
    assert!(!told.is_null(), "{place}: {status} is not described: {}", answer.text());
    assert!(answer.headers.contains_key("x-request-id"), "{place}: no X-Request-Id");
    for name in ["Link", "Location", "Retry-After", "Set-Cookie", "WWW-Authenticate"] {
        let is_told = !told["headers"][name].is_null();
        assert!(is_told || !answer.headers.contains_key(name), "{place}: {status} has {name}");
    }
    if call.method == Method::HEAD {
        return;
    }
    match told.pointer("/content/application~1json/schema") {
        None => assert_eq!(answer.text(), "", "{place}: {status} has a body"),
        Some(schema) => {
            assert_eq!(answer.header("content-type"), "application/json", "{place}: {status}");
            if let Err(why) = valid(&api.document, schema, &answer.value()) {
                panic!("{place}: {status}: {why}: {}", answer.text());
            }
        }
    }
    if answer.status.is_success() && !LAXER.contains(&place.as_str()) {
        check_sent(api, operation, call, &place);
    }
}

/// Calls that accept more than they say. An account without a username shows its address in that place, and takes it back.
const LAXER: [&str; 1] = ["cadasta PATCH /api/v1/account/"];

/// What was accepted is what the description says can be sent.
fn check_sent(api: &Described, operation: &Value, call: &Call, place: &str) {
    let kind = call.sent("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let schema = &operation["requestBody"]["content"][kind]["schema"];
    if kind != "application/json" || schema.is_null() || call.body.is_empty() {
        return;
    }
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    // Characters are counted when composed, which no pattern can say.
    let composed: String = body.to_string().nfc().collect();
    let body: Value = serde_json::from_str(&composed).unwrap();
    if let Err(why) = valid(&api.document, schema, &body) {
        panic!("{place} accepts what the description does not: {why}: {body}");
    }
}

/// The described path that this one is: of several the one with the most literal parts.
fn find(path: &str) -> Option<(&'static Described, &'static str)> {
    let path = path.split('?').next().unwrap_or_default();
    let fitting = ALL.iter().flat_map(|api| {
        let fits = |(_, ways): &&(&'static str, Vec<String>)| ways.iter().any(|way| fits(way, path));
        api.paths.iter().filter(fits).map(move |(route, _)| (api, *route))
    });
    fitting.max_by_key(|(_, route)| route.split('/').filter(|part| !part.starts_with('{')).count())
}

fn fits(route: &str, path: &str) -> bool {
    let (route, path): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
    route.len() == path.len()
        && route.iter().zip(&path).all(
            |(known, part)| {
                if known.starts_with('{') { !part.is_empty() } else { known == part }
            },
        )
}

/// Whether the value is one of that schema; else why not. Knows the keywords that the descriptions use, and fails at any
/// other, so that none is passed over.
pub(crate) fn valid(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let keywords = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Bool(false) => return Err(format!("{value} may not be there")),
        schema => schema.as_object().expect("a schema is an object"),
    };
    for (keyword, wanted) in keywords {
        let holds = match keyword.as_str() {
            "title" | "description" | "examples" => true,
            "$ref" => {
                let named = wanted.as_str().unwrap().trim_start_matches('#');
                valid(document, document.pointer(named).expect("what is named is there"), value)?;
                true
            }
            "anyOf" => list(wanted).iter().any(|schema| valid(document, schema, value).is_ok()),
            "oneOf" => {
                list(wanted).iter().filter(|schema| valid(document, schema, value).is_ok()).count() == 1
            }
            "not" => valid(document, wanted, value).is_err(),
            "const" => wanted == value,
            "enum" => list(wanted).contains(value),
            "type" => of_type(wanted, value),
            "propertyNames" => {
                for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                    valid(document, wanted, &Value::from(key.as_str()))?;
                }
                true
            }
            "properties" | "required" | "additionalProperties" | "minProperties" => {
                object(document, keywords, keyword, value)?;
                true
            }
            "items" => {
                for element in value.as_array().into_iter().flatten() {
                    valid(document, wanted, element)?;
                }
                true
            }
            _ => within(keyword, wanted, value),
        };
        if !holds {
            return Err(format!("{value} breaks {keyword} {wanted}"));
        }
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn of_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other}"),
    };
    wanted.as_array().map_or_else(|| is(wanted), |names| names.iter().any(is))
}

fn object(
    document: &Value,
    schema: &serde_json::Map<String, Value>,
    keyword: &str,
    value: &Value,
) -> Result<(), String> {
    let Some(keys) = value.as_object() else { return Ok(()) };
    let known = |key: &str| schema.get("properties").and_then(|properties| properties.get(key));
    match keyword {
        "required" => {
            let missing = list(&schema[keyword]).iter().find(|key| !keys.contains_key(key.as_str().unwrap()));
            missing.map_or(Ok(()), |key| Err(format!("{key} is missing")))
        }
        "minProperties" if (keys.len() as u64) < schema[keyword].as_u64().unwrap() => {
            Err("too few keys".into())
        }
        "properties" => keys.iter().try_for_each(|(key, value)| {
            known(key).map_or(Ok(()), |schema| {
                valid(document, schema, value).map_err(|why| format!("{key}: {why}"))
            })
        }),
        "additionalProperties" => {
            keys.iter().filter(|(key, _)| known(key).is_none()).try_for_each(|(key, value)| {
                valid(document, &schema[keyword], value).map_err(|why| format!("{key}: {why}"))
            })
        }
        _ => Ok(()),
    }
}

/// Limits on texts, numbers and lists; of another kind of value they say nothing.
fn within(keyword: &str, wanted: &Value, value: &Value) -> bool {
    let limit = || wanted.as_i64().expect("a limit is a number");
    let length = |count: usize| i64::try_from(count).unwrap();
    match (keyword, value) {
        ("minLength", Value::String(text)) => length(text.chars().count()) >= limit(),
        ("maxLength", Value::String(text)) => length(text.chars().count()) <= limit(),
        ("pattern", Value::String(text)) => Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text),
        ("format", Value::String(text)) => of_format(wanted.as_str().unwrap(), text),
        ("minimum", Value::Number(number)) => number.as_i64().is_some_and(|number| number >= limit()),
        ("maximum", Value::Number(number)) => number.as_i64().is_some_and(|number| number <= limit()),
        ("minItems", Value::Array(values)) => length(values.len()) >= limit(),
        ("maxItems", Value::Array(values)) => length(values.len()) <= limit(),
        (
            "minLength" | "maxLength" | "pattern" | "format" | "minimum" | "maximum" | "minItems"
            | "maxItems",
            _,
        ) => true,
        (other, _) => panic!("the keyword {other}"),
    }
}

fn of_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(),
        "uri" => reqwest::Url::parse(text).is_ok(),
        "uuid" => {
            let lengths: Vec<usize> = text.split('-').map(str::len).collect();
            lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
        }
        "email" => guildhall_domain::text::Email::parse(text).is_some(),
        "password" | "binary" => true,
        other => panic!("the format {other}"),
    }
}
