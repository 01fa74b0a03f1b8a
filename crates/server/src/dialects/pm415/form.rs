//! What a body says, key by key in the documented order. The first key that does not do is told, and a key that nobody
//! asked for last, as the original's validator did.

use std::borrow::Cow;
use std::collections::BTreeSet;

use axum::http::StatusCode;
use guildhall_domain::credentials::password::{MAX_BYTES, MIN_CHARACTERS, Password, Weakness};
use guildhall_domain::id::{UserId, number};
use guildhall_domain::text::{Email, NAME_MAX, Name, NameError};
use serde_json::{Map, Value};

use super::{Error, Pm415};
use crate::http::Payload;

/// The fewest characters of an organization's name here.
pub(super) const ORGANIZATION_NAME_MIN: usize = 2;
/// The most people that one call names.
pub(super) const USERS_MAX: usize = 100;

/// A key, and what messages call it.
#[derive(Clone, Copy)]
pub(super) struct Key(&'static str, &'static str);

pub(super) const EMAIL: Key = Key("email", "Email");
pub(super) const PASSWORD: Key = Key("password", "Password");
const CONFIRMATION: Key = Key("confirmation", "Confirmation");
pub(super) const FIRST_NAME: Key = Key("firstName", "First Name");
pub(super) const LAST_NAME: Key = Key("lastName", "Last Name");
pub(super) const TERMS_OF_SERVICE: Key = Key("tosAccepted", "Terms of Service");
pub(super) const ORGANIZATION: Key = Key("organization", "Organization");
pub(super) const TOKEN: Key = Key("token", "Token");
pub(super) const NAME: Key = Key("name", "Name");
pub(super) const SEND: Key = Key("send", "send");
pub(super) const USERS: Key = Key("usersId", "usersId");

/// What is wrong with a value, to stand behind its label.
pub(super) type Complaint = Cow<'static, str>;

/// What is wrong with the body.
pub(super) fn complaint(label: &str, what: &str) -> Error {
    Error::told(StatusCode::BAD_REQUEST, format!("\"{label}\" {what}"))
}

/// The keys of a body that nobody asked for yet.
pub(super) struct Form(Map<String, Value>);

impl Form {
    /// The body's keys, from JSON or a form; no body at all is one without keys.
    pub(super) fn read(payload: &Payload<Pm415>) -> Result<Self, Error> {
        let names_its_type = !payload.content_type().is_empty();
        if payload.is_form() {
            return Ok(Self(nest(payload.form()?)));
        }
        if payload.bytes.is_empty() && (payload.is_json() || !names_its_type) {
            return Ok(Self(Map::new()));
        }
        match payload.json()? {
            Value::Object(keys) => Ok(Self(keys)),
            _ => Err(complaint("value", "must be an object")),
        }
    }

    /// The value of a key that has to be there.
    pub(super) fn need<T>(
        &mut self,
        key: Key,
        rule: impl FnOnce(&Value) -> Result<T, Complaint>,
    ) -> Result<T, Error> {
        self.take(key, rule)?.ok_or_else(|| complaint(key.1, "is required"))
    }

    /// The value of a key that may be missing.
    pub(super) fn take<T>(
        &mut self,
        Key(name, label): Key,
        rule: impl FnOnce(&Value) -> Result<T, Complaint>,
    ) -> Result<Option<T>, Error> {
        match self.0.shift_remove(name) {
            Some(value) => rule(&value).map(Some).map_err(|what| complaint(label, &what)),
            None => Ok(None),
        }
    }

    /// A password to set, which is there twice.
    pub(super) fn need_new_password(&mut self) -> Result<Password, Error> {
        let typed = self.0.get(PASSWORD.0).cloned();
        let password = self.need(PASSWORD, password)?;
        self.need(CONFIRMATION, |value| {
            if Some(value) == typed.as_ref() { Ok(()) } else { Err("must match password".into()) }
        })?;
        Ok(password)
    }

    /// Nothing else may be there.
    pub(super) fn end(self) -> Result<(), Error> {
        match self.0.keys().next() {
            Some(name) => Err(complaint(name, "is not allowed")),
            None => Ok(()),
        }
    }
}

/// The pairs of a form as JSON would say them: a key that comes several times, or with brackets behind it, is a list.
fn nest(pairs: Vec<(String, String)>) -> Map<String, Value> {
    let mut keys = Map::new();
    for (key, value) in pairs {
        let value = Value::String(value);
        let (name, is_list) = match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
            Some((name, place)) if place.bytes().all(|b| b.is_ascii_digit()) => (name.to_owned(), true),
            _ => (key, false),
        };
        match keys.get_mut(&name) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
            None => {
                keys.insert(name, if is_list { Value::Array(vec![value]) } else { value });
            }
        }
    }
    keys
}

/// Any text but none.
pub(super) fn text(value: &Value) -> Result<String, Complaint> {
    match value {
        Value::String(text) if text.is_empty() => Err("is not allowed to be empty".into()),
        Value::String(text) => Ok(text.clone()),
        _ => Err("must be a string".into()),
    }
}

/// An e-mail address.
pub(super) fn email(value: &Value) -> Result<Email, Complaint> {
    Email::parse(&text(value)?).ok_or_else(|| "must be a valid email".into())
}

/// A person's name.
pub(super) fn name(value: &Value) -> Result<Name, Complaint> {
    Name::parse(&text(value)?).map_err(|why| match why {
        NameError::Blank => "is not allowed to be empty".into(),
        NameError::TooLong => {
            format!("length must be less than or equal to {NAME_MAX} characters long").into()
        }
        NameError::Character => "contains characters that are not allowed".into(),
    })
}

/// An organization's name.
pub(super) fn organization_name(value: &Value) -> Result<Name, Complaint> {
    let name = name(value)?;
    if name.as_str().chars().count() < ORGANIZATION_NAME_MIN {
        return Err(format!("length must be at least {ORGANIZATION_NAME_MIN} characters long").into());
    }
    Ok(name)
}

fn password(value: &Value) -> Result<Password, Complaint> {
    Password::chosen(&text(value)?).map_err(|why| match why {
        Weakness::TooShort => format!("length must be at least {MIN_CHARACTERS} characters long").into(),
        Weakness::TooLong => {
            format!("length must be less than or equal to {MAX_BYTES} characters long").into()
        }
        Weakness::Common => "is too common".into(),
    })
}

/// The terms of service, accepted.
pub(super) fn accepted(value: &Value) -> Result<(), Complaint> {
    if value == "Y" { Ok(()) } else { Err("must be accepted".into()) }
}

/// Yes or no, which a form says in words.
pub(super) fn flag(value: &Value) -> Result<bool, Complaint> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("must be a boolean".into()),
    }
}

/// People by their numbers, each once. A number that cannot be anybody's is kept as one that is nobody's, so that naming
/// it besides oneself is not naming oneself alone.
pub(super) fn users(value: &Value) -> Result<Vec<UserId>, Complaint> {
    const NOBODY: UserId = UserId(0);
    let one = |value: &Value| match value {
        Value::Number(number) => Some(number.as_i64().map_or(NOBODY, UserId)),
        Value::String(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let is_numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            is_numeric.then(|| number(text).map_or(NOBODY, UserId))
        }
        _ => None,
    };
    let users = match value {
        Value::Array(values) if (1..=USERS_MAX).contains(&values.len()) => {
            values.iter().map(one).collect::<Option<BTreeSet<_>>>()
        }
        _ => None,
    };
    users.map(|users| users.into_iter().collect()).ok_or_else(|| "must be an array".into())
}

#[cfg(test)]
mod parsers;
