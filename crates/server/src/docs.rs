//! `/docs`: what is served, for people; `/docs/<dialect>/openapi.json`: the same for programs. Made from the list of routes
//! and nothing else, whole in itself, without any script.

use std::sync::{LazyLock, OnceLock};

use askama::Template;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use serde_json::Value;

use crate::app::App;
use crate::describe::document::document;
use crate::describe::{About, Content, Credential, Operation, example};
use crate::http::{self, Params};
use crate::pages::{self, Page, render};
use crate::router::dialects;

/// What is told of one API.
struct Api {
    about: About,
    routes: Vec<(Method, &'static str, Operation)>,
    /// The description as JSON: one copy, however many read it slowly.
    document: Bytes,
    /// The page for people, with the public URL that it was made for.
    page: OnceLock<(String, Bytes)>,
}

/// Every API, in the order in which the router lists them.
static APIS: LazyLock<Vec<Api>> = LazyLock::new(|| {
    let told = |routes: crate::dialects::Routes| {
        let (about, routes) = (*routes.about(), routes.listed().to_vec());
        let listed = routes.iter().map(|(method, path, operation)| (method, *path, operation));
        let document = document(&about, listed).to_string().into();
        Api { about, document, routes, page: OnceLock::new() }
    };
    dialects().into_iter().map(|(_, routes)| told(routes)).collect()
});

/// The routes of the pages and the descriptions.
pub fn routes() -> Router<App> {
    let (all, one, description) = (page(get(show_all)), page(get(show_one)), page(get(describe)));
    Router::new()
        .route("/docs", all.clone())
        .route("/docs/", all)
        .route("/docs/{dialect}", one.clone())
        .route("/docs/{dialect}/", one)
        .route("/docs/{dialect}/openapi.json", description)
}

fn page(methods: MethodRouter<App>) -> MethodRouter<App> {
    methods.fallback(|| async {
        told(
            StatusCode::METHOD_NOT_ALLOWED,
            "This is a page",
            "It can be opened, and nothing else be done with it.",
        )
    })
}

fn told(status: StatusCode, title: &str, text: &str) -> Response {
    render(&Page::Message { status, title, text }, None)
}

fn find(name: &str) -> Option<&'static Api> {
    APIS.iter().find(|api| api.about.name == name)
}

fn missing() -> Response {
    told(
        StatusCode::NOT_FOUND,
        "There is no such page",
        "The page /docs lists the interfaces that are described here.",
    )
}

async fn describe(params: Params) -> Response {
    find(params.get(0))
        .map_or_else(missing, |api| http::json_bytes(StatusCode::OK, Body::from(api.document.clone())))
}

async fn show_all(State(app): State<App>) -> Response {
    let apis: Vec<About> = APIS.iter().map(|api| api.about).collect();
    pages::respond(StatusCode::OK, &AllPage { apis, public_url: &app.public_url })
}

async fn show_one(State(app): State<App>, params: Params) -> Response {
    find(params.get(0))
        .map_or_else(missing, |api| pages::html(StatusCode::OK, Body::from(page_of(api, &app.public_url))))
}

fn page_of(api: &Api, public_url: &str) -> Bytes {
    let write = || pages::written(&ApiPage::of(api, public_url)).into();
    let (made_for, page) = api.page.get_or_init(|| (public_url.to_owned(), write()));
    // A process has one public URL; tests have many.
    if made_for == public_url { page.clone() } else { write() }
}

#[derive(Template)]
#[template(path = "docs/all.html")]
struct AllPage<'a> {
    apis: Vec<About>,
    public_url: &'a str,
}

#[derive(Template)]
#[template(path = "docs/api.html")]
struct ApiPage {
    about: About,
    calls: Vec<Call>,
}

/// A call as its page shows it.
struct Call {
    id: &'static str,
    method: Method,
    path: &'static str,
    summary: &'static str,
    text: &'static str,
    caller: &'static str,
    curl: String,
    parameters: Vec<Field>,
    /// As what the body is sent; empty where there is none.
    kinds: String,
    body: Vec<Field>,
    answers: Vec<Told>,
}

/// A key or a parameter.
struct Field {
    name: String,
    kind: String,
    needed: &'static str,
    text: String,
}

/// A status and when it is answered.
struct Told {
    status: u16,
    text: String,
    headers: Vec<(&'static str, &'static str)>,
    /// An example of the body; nothing where it is empty or a refusal.
    body: Option<String>,
}

impl ApiPage {
    fn of(api: &Api, public_url: &str) -> Self {
        let shown = |(method, path, operation): &(Method, &'static str, Operation)| Call {
            id: operation.id,
            method: method.clone(),
            path,
            summary: operation.summary,
            text: operation.text,
            caller: match operation.credential {
                Credential::Ignored => "No credential is asked for.",
                // To one without, what cannot be seen is missing; what can is not theirs to change.
                Credential::Optional if method.is_safe() => "With or without a credential.",
                Credential::Optional | Credential::Needed => "Needs a credential.",
            },
            curl: example::curl(&api.about, public_url, (method, path), operation),
            parameters: parameters(operation),
            kinds: operation
                .bodies
                .iter()
                .map(|(kind, _)| format!("`{kind}`"))
                .collect::<Vec<_>>()
                .join(" or "),
            body: operation.bodies.first().map(|(_, schema)| fields("", schema)).unwrap_or_default(),
            answers: answers(&api.about, method, operation),
        };
        let mut calls: Vec<Call> = api.routes.iter().map(shown).collect();
        // Who types one line after the other needs what they take away until then.
        calls.sort_by_key(|call| call.method == Method::DELETE);
        Self { about: api.about, calls }
    }
}

fn parameters(operation: &Operation) -> Vec<Field> {
    let shown = operation.parameters.iter().map(|parameter| Field {
        name: parameter.name.to_owned(),
        kind: kind(&parameter.schema),
        needed: if parameter.is_required { "needed" } else { "optional" },
        text: format!("{} {}", parameter.text, text(&parameter.schema)).trim().to_owned(),
    });
    shown.collect()
}

fn answers(about: &About, method: &Method, operation: &Operation) -> Vec<Told> {
    let shown = operation.answers(about, method).into_iter().map(|answer| Told {
        status: answer.status,
        text: answer.text,
        headers: answer.headers,
        body: match answer.body {
            Content::Json(schema) => serde_json::to_string_pretty(&example::value(&schema)).ok(),
            Content::Empty | Content::Refusal => None,
        },
    });
    shown.collect()
}

/// The keys of an object, those of objects within it behind a dot.
fn fields(before: &str, schema: &Value) -> Vec<Field> {
    let is_needed =
        |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|k| k == key));
    let mut found = Vec::new();
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{before}{key}");
        let below = fields(&format!("{name}."), inner);
        let elements = inner.get("items").or_else(|| inner.pointer("/anyOf/0/items"));
        let below_list = elements.map(|items| fields(&format!("{name}[]."), items)).unwrap_or_default();
        let needed = if is_needed(key) { "needed" } else { "optional" };
        found.push(Field { name, kind: kind(inner), needed, text: text(inner) });
        found.extend(below.into_iter().chain(below_list));
    }
    found
}

fn text(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// What a value of that schema is, in words.
fn kind(schema: &Value) -> String {
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        if values.iter().any(Value::is_boolean) {
            return "true or false".into();
        }
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
    }
    let of_several = schema.get("anyOf").and_then(Value::as_array);
    if let Some(schemas) = of_several.filter(|_| schema.get("type").is_none()) {
        let mut kinds: Vec<String> = schemas.iter().map(kind).collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    let word = match (example::kind(schema), schema["format"].as_str()) {
        ("string", Some("email")) => "e-mail address",
        ("string", Some("binary")) => "file",
        ("string", Some("date-time")) => "time",
        ("string", Some("uri")) => "URL",
        ("string", Some("uuid")) => "UUID",
        ("string", _) => "text",
        ("integer", _) => "whole number",
        ("boolean", _) => "true or false",
        ("array", _) => "list",
        ("null", _) => "null",
        (other, _) => other,
    };
    let limits = [("maxLength", "characters"), ("maxItems", "elements"), ("maximum", "")];
    let limit = limits.iter().find_map(|(key, unit)| Some(format!(", at most {} {unit}", schema.get(*key)?)));
    let or_null =
        if schema["type"].as_array().is_some_and(|kinds| kinds.len() > 1) { " or null" } else { "" };
    format!("{word}{}{or_null}", limit.unwrap_or_default().trim_end())
}
