//! Schemas of what is sent and answered, in the JSON Schema that OpenAPI 3.1 speaks.

use guildhall_domain::credentials::password::{MAX_BYTES, MIN_CHARACTERS};
use guildhall_domain::text::NAME_MAX;
use serde_json::{Map, Value, json};

/// White space, as names are trimmed of it: the inside of a class of characters.
const WHITE: &str = r"\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
/// What no name holds: controls, separators of lines and paragraphs, bidirectional controls.
const BROKEN: &str = r"\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069";

/// Any text.
#[must_use]
pub fn text() -> Value {
    json!({"type": "string"})
}

/// Any text but the empty one.
#[must_use]
pub fn some_text() -> Value {
    json!({"type": "string", "minLength": 1})
}

/// A text with more in it than white space.
#[must_use]
pub fn visible_text() -> Value {
    json!({"type": "string", "pattern": format!("[^{WHITE}]")})
}

/// A text of at most `most` characters in which no NUL stands.
#[must_use]
pub fn free_text(most: usize) -> Value {
    json!({"type": "string", "maxLength": most, "pattern": "^[^\\u0000]*$"})
}

/// The same with more in it than white space.
#[must_use]
pub fn visible_free_text(most: usize) -> Value {
    let shape = format!("^[^\\u0000]*[^\\u0000{WHITE}][^\\u0000]*$");
    json!({"type": "string", "maxLength": most, "pattern": shape})
}

/// A text of that form.
#[must_use]
pub fn pattern(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// The text that is only this.
#[must_use]
pub fn constant(value: impl Into<Value>) -> Value {
    json!({"const": value.into()})
}

/// One of these.
#[must_use]
pub fn one_of<const N: usize>(values: [&str; N]) -> Value {
    json!({"type": "string", "enum": values.as_slice()})
}

/// A name of `least` to 200 characters, white space around it aside. Characters are counted when composed (NFC), which a
/// pattern cannot say.
#[must_use]
pub fn name(least: usize) -> Value {
    let inner = match least {
        0 | 1 => format!("(?:[^{BROKEN}]{{0,{}}}[^{BROKEN}{WHITE}])?", NAME_MAX - 2),
        least => format!("[^{BROKEN}]{{{},{}}}[^{BROKEN}{WHITE}]", least - 2, NAME_MAX - 2),
    };
    let shape = format!("^[{WHITE}]*[^{BROKEN}{WHITE}]{inner}[{WHITE}]*$");
    let told = format!("{} to {NAME_MAX} characters, no control characters.", least.max(1));
    let mut schema = said(pattern(&shape), &told);
    schema["minLength"] = least.max(1).into();
    schema
}

/// A name, or a blank text in its place.
#[must_use]
pub fn name_or_blank() -> Value {
    let inner = format!("[^{BROKEN}{WHITE}](?:[^{BROKEN}]{{0,{}}}[^{BROKEN}{WHITE}])?", NAME_MAX - 2);
    said(
        pattern(&format!("^[{WHITE}]*(?:{inner}[{WHITE}]*)?$")),
        "Up to 200 characters, no control characters.",
    )
}

/// A blank text.
#[must_use]
pub fn blank() -> Value {
    pattern(&format!("^[{WHITE}]*$"))
}

/// An e-mail address.
#[must_use]
pub fn email() -> Value {
    like(json!({"type": "string", "format": "email"}), "ada@example.org")
}

/// A password to set. Which are too common to be taken a schema cannot say.
#[must_use]
pub fn new_password() -> Value {
    let told =
        format!("At least {MIN_CHARACTERS} characters, at most {MAX_BYTES} bytes, none of the commonest.");
    let schema =
        json!({"type": "string", "format": "password", "minLength": MIN_CHARACTERS, "maxLength": MAX_BYTES});
    like(said(schema, &told), "correct horse battery")
}

/// A password to sign in with.
#[must_use]
pub fn password() -> Value {
    like(json!({"type": "string", "format": "password", "minLength": 1}), "correct horse battery")
}

/// A moment in UTC, as RFC 3339 writes it.
#[must_use]
pub fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// An absolute URL.
#[must_use]
pub fn url() -> Value {
    json!({"type": "string", "format": "uri"})
}

/// The number of a thing, in an answer.
#[must_use]
pub fn number() -> Value {
    json!({"type": "integer", "minimum": 1})
}

/// The number of a thing, in a path.
#[must_use]
pub fn path_number() -> Value {
    like(pattern("^(0|[1-9][0-9]{0,17})$"), "1")
}

/// A whole number of at least `least`.
#[must_use]
pub fn at_least(least: u64) -> Value {
    json!({"type": "integer", "minimum": least})
}

/// True or false.
#[must_use]
pub fn boolean() -> Value {
    json!({"type": "boolean"})
}

/// A picture in a form.
#[must_use]
pub fn picture() -> Value {
    json!({
        "type": "string",
        "format": "binary",
        "description": "A PNG, JPEG, GIF or WebP picture, at most 5 MiB and 4,096 by 4,096 pixels.",
    })
}

/// Any number of these, also none.
#[must_use]
pub fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

/// `least` to `most` of these.
#[must_use]
pub fn list_of(items: Value, (least, most): (usize, usize)) -> Value {
    json!({"type": "array", "items": items, "minItems": least, "maxItems": most})
}

/// Any of these.
#[must_use]
pub fn any<const N: usize>(schemas: [Value; N]) -> Value {
    json!({"anyOf": schemas.as_slice()})
}

/// This, or null.
#[must_use]
pub fn nullable(mut schema: Value) -> Value {
    match schema.get("type").cloned() {
        Some(kind @ Value::String(_)) => {
            schema["type"] = json!([kind, "null"]);
            schema
        }
        _ => any([schema, json!({"type": "null"})]),
    }
}

/// `schema` with what it means.
#[must_use]
pub fn said(mut schema: Value, text: &str) -> Value {
    schema["description"] = text.into();
    schema
}

/// `schema` with an example.
#[must_use]
pub fn like(mut schema: Value, example: impl Into<Value>) -> Value {
    schema["examples"] = json!([example.into()]);
    schema
}

/// `schema` under a name, by which descriptions point at it.
#[must_use]
pub fn named(name: &str, mut schema: Value) -> Value {
    schema["title"] = name.into();
    schema
}

/// The object of an answer: these keys and no others.
#[must_use]
pub fn answer<const N: usize>(keys: [(&str, Value); N]) -> Value {
    closed(form(keys, []))
}

/// The object of an answer of which some keys may be absent.
#[must_use]
pub fn answer_with<const N: usize, const M: usize>(
    keys: [(&str, Value); N],
    optional: [(&str, Value); M],
) -> Value {
    closed(form(keys, optional))
}

/// The object of a request: keys that have to be there and keys that may; others are ignored.
#[must_use]
pub fn form<const N: usize, const M: usize>(
    required: [(&str, Value); N],
    optional: [(&str, Value); M],
) -> Value {
    let names: Vec<&str> = required.iter().map(|(key, _)| *key).collect();
    let keys = required.into_iter().chain(optional);
    let properties: Map<String, Value> = keys.map(|(key, schema)| (key.to_owned(), schema)).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !names.is_empty() {
        schema["required"] = json!(names);
    }
    schema
}

/// An object whose other keys are named without control characters and hold texts, as forms can say them.
#[must_use]
pub fn open_form(mut object: Value) -> Value {
    object["propertyNames"] = json!({"pattern": "^[^\\u0000-\\u001f\\u007f]*$"});
    object["additionalProperties"] = text();
    object
}

/// An object that has no other keys.
#[must_use]
pub fn closed(mut object: Value) -> Value {
    object["additionalProperties"] = false.into();
    object
}
