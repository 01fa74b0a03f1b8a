//! Examples that work: a value for a schema, and a call as it can be typed.

use std::fmt::Write;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::{About, Credential, FORM, JSON, MULTIPART, Operation};

/// A value of that schema: the example in it, else one put together from its parts. Of an object every key that has to be
/// there, or every key where none has.
#[must_use]
pub fn value(schema: &Value) -> Value {
    let given = ["/examples/0", "/const", "/enum/0"].into_iter().find_map(|place| schema.pointer(place));
    if let Some(given) = given {
        return given.clone();
    }
    if let Some(first) = schema.pointer("/anyOf/0").or_else(|| schema.pointer("/oneOf/0"))
        && schema.get("properties").is_none()
    {
        return value(first);
    }
    match kind(schema) {
        "object" => object(schema),
        "array" => schema.get("items").map_or(json!([]), |items| json!([value(items)])),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        _ => match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => json!("2026-01-02T03:04:05Z"),
            Some("uri") => json!("https://example.org/"),
            Some("uuid") => json!("6f0c1d2e-3b4a-4c5d-8e9f-0a1b2c3d4e5f"),
            Some("binary") => json!("@picture.png"),
            _ => json!("text"),
        },
    }
}

/// The name of the schema's type, the first where it has several.
#[must_use]
pub fn kind(schema: &Value) -> &str {
    let kind = schema.pointer("/type/0").or_else(|| schema.get("type"));
    kind.and_then(Value::as_str).unwrap_or("any")
}

fn object(schema: &Value) -> Value {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return json!({}) };
    let required = schema.get("required").and_then(Value::as_array);
    // Where one of several sets of keys has to be there, the first.
    let further = schema.pointer("/oneOf/0/required").and_then(Value::as_array);
    let is_named = |key: &str| {
        let names = |list: Option<&Vec<Value>>| list.is_some_and(|list| list.iter().any(|name| name == key));
        names(required) || names(further) || required.is_none()
    };
    let shown = properties.iter().filter(|(key, _)| is_named(key));
    Value::Object(shown.map(|(key, schema)| (key.clone(), value(schema))).collect::<Map<_, _>>())
}

/// The path with an example in the place of each parameter, and a query where one is needed or an example of it is given.
#[must_use]
pub fn path(operation: &Operation, path: &str) -> String {
    let mut path = path.to_owned();
    let mut separator = '?';
    for parameter in &operation.parameters {
        let shown = match value(&parameter.schema) {
            Value::String(text) => text,
            other => other.to_string(),
        };
        if parameter.place == "path" {
            path = path.replace(&format!("{{{}}}", parameter.name), &shown);
        } else if parameter.is_required || parameter.schema.get("examples").is_some() {
            let _ = write!(path, "{separator}{}={shown}", parameter.name);
            separator = '&';
        }
    }
    path
}

/// The call as it can be typed, to the server at `public_url`, with `$TOKEN` for the caller's credential.
#[must_use]
pub fn curl(
    about: &About,
    public_url: &str,
    (method, route): (&Method, &str),
    operation: &Operation,
) -> String {
    let mut line = String::from("curl");
    if method != Method::GET {
        let _ = write!(line, " -X {method}");
    }
    if operation.credential != Credential::Ignored {
        let _ = write!(line, " -H \"Authorization: {} $TOKEN\"", about.scheme);
    }
    if let Some((media_type, schema)) = operation.bodies.first() {
        let body = value(schema);
        match *media_type {
            JSON => {
                let _ = write!(line, " -H 'Content-Type: {JSON}' -d {}", quoted(&body.to_string()));
            }
            MULTIPART | FORM => {
                let option = if *media_type == FORM { "--data-urlencode" } else { "-F" };
                for (key, value) in body.as_object().into_iter().flatten() {
                    let value = value.as_str().unwrap_or_default();
                    let _ = write!(line, " {option} {}", quoted(&format!("{key}={value}")));
                }
            }
            _ => {}
        }
    }
    let _ = write!(line, " {}", quoted(&format!("{public_url}{}", path(operation, route))));
    line
}

/// In single quotes, as a shell takes it literally.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
