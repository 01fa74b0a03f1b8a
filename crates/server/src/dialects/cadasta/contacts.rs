//! The contacts of an organization: kept as they were sent, extra keys and the order of keys included.

use guildhall_domain::text::Email;
use serde_json::{Map, Value, json};

use super::fields::{self, Body, REQUIRED, Read, told};
use super::python::{repr, type_name};

/// The most contacts, and the most urls.
pub(super) const ELEMENTS_MAX: usize = 100;
/// The most bytes of all contacts as they are kept: whatever keys a contact has, it is read with each list that shows it.
const BYTES_MAX: usize = 64 * 1024;

/// Of a contact that says neither.
const EITHER: &str = "Please provide either email or tel";
/// The keys of a contact that are texts of whatever form.
pub(super) const TEXTS: [&str; 5] =
    ["street-address", "locality", "postal-code", "country-name", "job-title"];

/// The contacts as they are kept; nothing where the field is absent. As in the original a single one needs no list.
pub(super) fn read(body: &Body) -> Read<Option<String>> {
    let single;
    let contacts = match body.get("contacts") {
        None => return Ok(None),
        Some(Value::Null) => return Ok(Some("[]".into())),
        Some(Value::Array(contacts)) => contacts,
        Some(contact @ Value::Object(_)) => {
            single = vec![contact.clone()];
            &single
        }
        Some(other) => return Err(told(no_list(other))),
    };
    if contacts.len() > ELEMENTS_MAX {
        return Err(told(too_many()));
    }
    let failing: Vec<Value> =
        contacts.iter().map(complaints).filter(|wrong| !wrong.is_empty()).map(Value::Object).collect();
    if !failing.is_empty() {
        return Err(Value::Array(failing));
    }
    let kept = json!(contacts).to_string();
    if kept.len() > BYTES_MAX { Err(told(too_large())) } else { Ok(Some(kept)) }
}

/// What is to be told of a list that is none.
pub(super) fn no_list(value: &Value) -> String {
    format!("Expected a list of items but got type \"{}\".", type_name(value))
}

/// What is to be told of a list that is too long.
pub(super) fn too_many() -> String {
    format!("Ensure this field has no more than {ELEMENTS_MAX} elements.")
}

fn too_large() -> String {
    format!("Ensure this field has no more than {BYTES_MAX} bytes.")
}

/// What is wrong with a contact: each key that fails, and why.
fn complaints(contact: &Value) -> Map<String, Value> {
    let mut wrong = Map::new();
    let Value::Object(contact) = contact else {
        wrong.insert("non_field_errors".into(), no_type(contact, "'object'").into());
        return wrong;
    };
    let mut note = |key: &str, text: String| drop(wrong.insert(key.to_owned(), text.into()));
    match contact.get("name") {
        None => note("name", REQUIRED.into()),
        Some(Value::String(name)) if name.trim().is_empty() => note("name", REQUIRED.into()),
        Some(Value::String(_)) => {}
        Some(other) => note("name", no_type(other, "'string'")),
    }
    let given = |key: &str| contact.get(key).filter(|value| !value.is_null() && !is_blank(value));
    match (given("email"), given("tel")) {
        (None, None) => {
            note("email", EITHER.into());
            note("tel", EITHER.into());
        }
        (email, tel) => {
            match email {
                Some(Value::String(text)) if Email::parse(text).is_some() => {}
                Some(text @ Value::String(_)) => note("email", format!("{} is not a 'email'", repr(text))),
                Some(other) => note("email", no_type(other, "'string', 'null'")),
                None => {}
            }
            if let Some(other) = tel.filter(|tel| !tel.is_string()) {
                note("tel", no_type(other, "'string', 'null'"));
            }
        }
    }
    match contact.get("url").filter(|url| !is_blank(url)) {
        Some(Value::String(text)) if fields::is_url(text) => {}
        Some(text @ Value::String(_)) => note("url", format!("{} is not a 'uri'", repr(text))),
        Some(other) => note("url", no_type(other, "'string'")),
        None => {}
    }
    for key in TEXTS {
        if let Some(other) = contact.get(key).filter(|value| !value.is_string()) {
            note(key, no_type(other, "'string'"));
        }
    }
    wrong
}

fn is_blank(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.trim().is_empty())
}

fn no_type(value: &Value, types: &str) -> String {
    format!("{} is not of type {types}", repr(value))
}

#[cfg(test)]
mod parsers;
