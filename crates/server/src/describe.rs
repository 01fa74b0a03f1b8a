//! What the APIs are: each route's parameters, bodies and answers, told beside its handler in one list
//! ([`crate::dialects::Routes::add`]), so that no route is without a description.
//!
//! [`document`] makes an OpenAPI 3.1 description of them, [`crate::docs`] the pages for people. The tests hold every answer
//! of every test against the description.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::Value;

pub mod document;
pub mod example;
pub mod schema;

/// What holds for a whole API.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name in paths: `bit`.
    pub name: &'static str,
    /// What it is, in a line.
    pub title: &'static str,
    /// What a newcomer has to know before the first call, in Markdown that reads as plain text too: paragraphs alone.
    pub text: &'static str,
    /// The scheme that its clients write in `Authorization`: `Bearer` or `Token`.
    pub scheme: &'static str,
    /// What `WWW-Authenticate` names where a credential is missing; nothing where the API does not say so.
    pub challenge: Option<&'static str>,
    /// The schema of what a call with that status is refused with.
    pub refusal: fn(u16) -> Value,
}

/// How a call takes a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// It is not looked at.
    Ignored,
    /// It may be there, and then has to count.
    Optional,
    /// It has to be there.
    Needed,
}

/// A call, described.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What generated clients call it; unique in its API.
    pub id: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What else is to know of it; empty where nothing is.
    pub text: &'static str,
    /// Whether it wants to know who calls.
    pub credential: Credential,
    /// Parameters of path and query.
    pub parameters: Vec<Parameter>,
    /// The forms of its body, by media type; none where it takes no body.
    pub bodies: Vec<(&'static str, Value)>,
    /// Whether a request without a body is refused.
    pub needs_body: bool,
    answers: Vec<Answer>,
}

/// A part of a path or a query.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// `path` or `query`.
    pub place: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub text: &'static str,
    /// What it may be; with an example where nobody could guess one.
    pub schema: Value,
    /// Whether it has to be there.
    pub is_required: bool,
}

/// A status and what comes with it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// When, or what it means.
    pub text: String,
    /// What stands in the body.
    pub body: Content,
    /// Further headers, and what they say.
    pub headers: Vec<(&'static str, &'static str)>,
}

/// What stands in the body of an answer.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing.
    Empty,
    /// JSON of that schema.
    Json(Value),
    /// JSON as the API refuses with that status.
    Refusal,
}

impl Operation {
    /// A call by one who is signed in.
    #[must_use]
    pub fn signed_in(id: &'static str, summary: &'static str) -> Self {
        Self::new(Credential::Needed, id, summary)
    }

    /// A call by one who may be signed in.
    #[must_use]
    pub fn either(id: &'static str, summary: &'static str) -> Self {
        Self::new(Credential::Optional, id, summary)
    }

    /// A call that looks at no credential.
    #[must_use]
    pub fn anyone(id: &'static str, summary: &'static str) -> Self {
        Self::new(Credential::Ignored, id, summary)
    }

    fn new(credential: Credential, id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            text: "",
            credential,
            parameters: Vec::new(),
            bodies: Vec::new(),
            needs_body: false,
            answers: Vec::new(),
        }
    }

    /// What else is to know.
    #[must_use]
    pub fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    /// A part of the path.
    #[must_use]
    pub fn path(mut self, name: &'static str, schema: Value, text: &'static str) -> Self {
        self.parameters.push(Parameter { place: "path", name, text, schema, is_required: true });
        self
    }

    /// A pair of the query, which may be missing.
    #[must_use]
    pub fn query(mut self, name: &'static str, schema: Value, text: &'static str) -> Self {
        self.parameters.push(Parameter { place: "query", name, text, schema, is_required: false });
        self
    }

    /// A pair of the query, which has to be there.
    #[must_use]
    pub fn needed_query(mut self, name: &'static str, schema: Value, text: &'static str) -> Self {
        self.parameters.push(Parameter { place: "query", name, text, schema, is_required: true });
        self
    }

    /// A body of that media type; several where it is called several times.
    #[must_use]
    pub fn body(mut self, media_type: &'static str, schema: Value) -> Self {
        self.needs_body = true;
        self.bodies.push((media_type, schema));
        self
    }

    /// A request without a body is one whose body has no keys.
    #[must_use]
    pub fn body_optional(self) -> Self {
        Self { needs_body: false, ..self }
    }

    /// A body in JSON.
    #[must_use]
    pub fn json(self, schema: Value) -> Self {
        self.body(JSON, schema)
    }

    /// A body in JSON or, with the same keys, as an HTML form sends it.
    #[must_use]
    pub fn json_or_form(self, schema: &Value) -> Self {
        self.body(JSON, schema.clone()).body(FORM, schema.clone())
    }

    /// An answer with a body of that schema.
    #[must_use]
    pub fn answer(self, status: u16, text: &'static str, schema: Value) -> Self {
        self.with(Answer { status, text: text.into(), body: Content::Json(schema), headers: Vec::new() })
    }

    /// An answer without a body.
    #[must_use]
    pub fn empty(self, status: u16, text: &'static str) -> Self {
        self.with(Answer { status, text: text.into(), body: Content::Empty, headers: Vec::new() })
    }

    /// A refusal in the API's shape.
    #[must_use]
    pub fn refuse(self, status: u16, text: &'static str) -> Self {
        self.with(Answer { status, text: text.into(), body: Content::Refusal, headers: Vec::new() })
    }

    fn with(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// A header of the answer that was told last.
    #[must_use]
    pub fn header(mut self, name: &'static str, text: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, text));
        }
        self
    }

    /// Every answer there is, by status: its own, and those that any call may get. Of several with one status the texts
    /// stand behind each other.
    #[must_use]
    pub fn answers(&self, about: &About, method: &Method) -> Vec<Answer> {
        let mut by_status: BTreeMap<u16, Answer> = BTreeMap::new();
        for answer in self.answers.iter().cloned().chain(self.usual(about, method)) {
            match by_status.get_mut(&answer.status) {
                Some(known) => {
                    known.text = format!("{} {}", known.text, answer.text);
                    known.headers.extend(answer.headers);
                }
                None => drop(by_status.insert(answer.status, answer)),
            }
        }
        by_status.into_values().collect()
    }

    /// What a call of its kind may be refused with whatever it does.
    fn usual(&self, about: &About, method: &Method) -> Vec<Answer> {
        let mut usual = vec![
            (413, "The body is too large."),
            (429, "Too often: worth another try after `Retry-After`."),
            (500, "The server failed; its log tells of the request with this `X-Request-Id`."),
            (503, "The server is too busy or its database cannot be used now."),
        ];
        if self.credential != Credential::Ignored {
            usual.push((400, "More than one credential."));
            usual.push((401, "No credential that counts."));
            if !method.is_safe() {
                usual.push((403, "The credential may only read, or the cookie came without its CSRF token."));
            }
        }
        if !self.bodies.is_empty() {
            usual.push((400, "The body cannot be read."));
            usual.push((408, "The body came too slowly."));
        }
        let refusal = |(status, text): (u16, &str)| Answer {
            status,
            text: text.to_owned(),
            body: Content::Refusal,
            headers: match status {
                401 => about.challenge.map(|scheme| ("WWW-Authenticate", scheme)).into_iter().collect(),
                429 | 503 => vec![("Retry-After", "Seconds to wait.")],
                _ => Vec::new(),
            },
        };
        usual.into_iter().map(refusal).collect()
    }
}

/// The media type of most bodies.
pub const JSON: &str = "application/json";
/// The media type of HTML forms without files.
pub const FORM: &str = "application/x-www-form-urlencoded";
/// The media type of HTML forms with files.
pub const MULTIPART: &str = "multipart/form-data";
