//! Reading the fields of a body, and telling everything that is wrong with them at once.

use guildhall_domain::text::{Email, NAME_MAX, Name, NameError};
use serde_json::{Map, Value, json};

use super::python::type_name;
use super::{Cadasta, Error};
use crate::http::{Payload, web_url};

/// Of a field that has to be there.
pub(super) const REQUIRED: &str = "This field is required.";
/// Of a field that cannot be taken away.
pub(super) const NULL: &str = "This field may not be null.";
/// Of a field that has to say something.
pub(super) const BLANK: &str = "This field may not be blank.";
/// Of a text that is none.
pub(super) const NOT_A_STRING: &str = "Not a valid string.";
/// Of a text with characters that would break it.
pub(super) const CONTROL: &str = "Control characters are not allowed.";
/// Of a name that another organization has.
pub(super) const NAME_TAKEN: &str = "Organization with this name already exists.";
/// Of a person who belongs already.
pub(super) const ALREADY_MEMBER: &str = "Not able to add member. The role already exists.";
/// Of a username that another account has.
pub(super) const USERNAME_TAKEN: &str = "A user with that username already exists.";
/// Of an address that another account has.
pub(super) const EMAIL_TAKEN: &str = "Another user is already registered with this email address";

/// The keys and values of a body.
pub(super) type Body = Map<String, Value>;
/// What was read of a field, or what is to be told about it.
pub(super) type Read<T> = Result<T, Value>;

/// What is to be told of a field with one thing wrong.
pub(super) fn told(text: impl Into<String>) -> Value {
    json!([text.into()])
}

/// What is to be told of a text of more than `most` characters.
pub(super) fn too_long(most: usize) -> String {
    format!("Ensure this field has no more than {most} characters.")
}

/// The body of a request: JSON, or a form, whose values are all texts. None at all has no fields.
pub(super) fn body(payload: &Payload<Cadasta>) -> Result<Body, Error> {
    if payload.bytes.is_empty() {
        return Ok(Body::new());
    }
    if payload.is_form() {
        return Ok(payload.form()?.into_iter().map(|(key, value)| (key, Value::String(value))).collect());
    }
    match payload.json()? {
        Value::Object(body) => Ok(body),
        other => {
            let text = format!("Invalid data. Expected a dictionary, but got {}.", type_name(&other));
            Err(Error::field("non_field_errors", text))
        }
    }
}

/// Everything that is wrong with a body, in the order in which its fields were read.
#[derive(Default)]
pub(super) struct Complaints(Map<String, Value>);

impl Complaints {
    /// What was read of the field; nothing where it is wrong, which is noted.
    pub(super) fn note<T>(&mut self, field: &str, read: Read<T>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.0.insert(field.to_owned(), wrong);
                None
            }
        }
    }

    /// Puts a field before all that were read.
    pub(super) fn note_first(&mut self, field: &str, text: impl Into<String>) {
        self.0.shift_insert(0, field.to_owned(), told(text));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Complaints> for Error {
    fn from(complaints: Complaints) -> Self {
        Self::fields(Value::Object(complaints.0))
    }
}

/// The value of a field that has to be there.
pub(super) fn required<T>(read: Read<Option<T>>) -> Read<T> {
    read?.ok_or_else(|| told(REQUIRED))
}

/// A text that is not blank; nothing where the field is absent.
pub(super) fn text<'b>(body: &'b Body, field: &str) -> Read<Option<&'b str>> {
    match body.get(field) {
        None => Ok(None),
        Some(Value::Null) => Err(told(NULL)),
        Some(Value::String(text)) if text.is_empty() => Err(told(BLANK)),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(told(NOT_A_STRING)),
    }
}

/// A boolean, in the forms in which forms write one too.
pub(super) fn boolean(body: &Body, field: &str) -> Read<Option<bool>> {
    let Some(value) = body.get(field) else { return Ok(None) };
    let shown = match value {
        Value::Null => return Err(told(NULL)),
        Value::Bool(value) => return Ok(Some(*value)),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match shown.as_str() {
        "t" | "T" | "true" | "True" | "TRUE" | "1" => Ok(Some(true)),
        "f" | "F" | "false" | "False" | "FALSE" | "0" => Ok(Some(false)),
        _ => Err(told(format!("\"{shown}\" is not a valid boolean."))),
    }
}

/// A name of an organization or a person.
pub(super) fn name(text: &str) -> Read<Name> {
    Name::parse(text).map_err(|error| match error {
        NameError::Blank => told(BLANK),
        NameError::TooLong => told(too_long(NAME_MAX)),
        NameError::Character => told(CONTROL),
    })
}

/// An address; nothing where the field is absent.
pub(super) fn email(body: &Body, field: &str) -> Read<Option<Email>> {
    let Some(text) = text(body, field)? else { return Ok(None) };
    if text.trim().is_empty() {
        return Err(told(BLANK));
    }
    Email::parse(text).map(Some).ok_or_else(|| told("Enter a valid email address."))
}

/// Whether a text is the http or https address of a page.
pub(super) fn is_url(text: &str) -> bool {
    web_url(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::is_url;

    #[test]
    fn urls_are_checked_for_form() {
        for good in [
            "http://example.com",
            "HTTPS://Example.com:8443/a?b=c#d",
            "https://münchen.de/straße",
            "http://user@localhost/",
            "http://[::1]/",
            "http://192.0.2.1",
            "https://example.com./",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "http:example.com",
            "http:///example.com",
            "http://",
            "http://..",
            "http://a..b",
            "ftp://example.com",
            "javascript:alert(1)",
            " http://example.com",
            "http://exa mple.com",
            "http://example.com/\n",
            "http://example.com:99999",
            "http://example.com*",
            "http://a(b).com",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
