//! The OpenAPI 3.1 description of an API.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::{About, Answer, Content, Credential, JSON, MULTIPART, Operation, Parameter};
use crate::auth::{COOKIE, CSRF_HEADER};

/// The description of the API `about` with those routes.
#[must_use]
pub fn document<'r>(
    about: &About,
    routes: impl IntoIterator<Item = (&'r Method, &'r str, &'r Operation)>,
) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, operation) in routes {
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[method.as_str().to_ascii_lowercase()] = described(about, method, operation);
    }
    let mut schemas = Map::new();
    let mut paths = Value::Object(paths);
    hoist(&mut paths, &mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": format!("Guildhall: {}", about.title),
            "version": env!("CARGO_PKG_VERSION"),
            "description": about.text,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": about.name, "description": about.title}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": {"RequestId": {
                "description": "By what the server's log names the request.",
                "required": true,
                "schema": {"type": "string"},
            }},
            "securitySchemes": security_schemes(),
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "authorization": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Bearer` or `Token`, a space, and a session's token, a session key of 40 hex digits or an \
                            API key of 64; or `Bearer` and a token of a trusted issuer.",
        },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "A session's token, as a browser keeps it.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": CSRF_HEADER.to_ascii_uppercase(),
            "description": "With the cookie, where something may change: the value of the cookie `csrf_access_token`.",
        },
    })
}

fn described(about: &About, method: &Method, operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [about.name],
        "summary": operation.summary,
    });
    if !operation.text.is_empty() {
        described["description"] = operation.text.into();
    }
    described["security"] = security(method, operation.credential);
    let parameters: Vec<Value> = operation.parameters.iter().map(parameter).collect();
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if !operation.bodies.is_empty() {
        let content: Map<String, Value> =
            operation.bodies.iter().map(|(kind, schema)| ((*kind).to_owned(), body(kind, schema))).collect();
        described["requestBody"] = json!({"required": operation.needs_body, "content": content});
    }
    let answers = operation.answers(about, method);
    let answers = answers.iter().map(|told| (told.status.to_string(), answer(about, told)));
    described["responses"] = Value::Object(answers.collect());
    described
}

/// Which credentials do, each alone.
fn security(method: &Method, credential: Credential) -> Value {
    let cookie = if method.is_safe() { json!({"cookie": []}) } else { json!({"cookie": [], "csrf": []}) };
    match credential {
        Credential::Ignored => json!([]),
        Credential::Optional => json!([{}, {"authorization": []}, cookie]),
        Credential::Needed => json!([{"authorization": []}, cookie]),
    }
}

fn parameter(parameter: &Parameter) -> Value {
    let Parameter { place, name, text, schema, is_required } = parameter;
    json!({"name": name, "in": place, "required": is_required, "description": text, "schema": schema})
}

fn body(kind: &str, schema: &Value) -> Value {
    let mut content = json!({"schema": schema});
    if kind == MULTIPART {
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let files = properties.filter(|(_, schema)| schema["format"] == "binary");
        let kinds = |(name, _): (&String, _)| {
            (name.clone(), json!({"contentType": "image/png, image/jpeg, image/gif, image/webp"}))
        };
        content["encoding"] = Value::Object(files.map(kinds).collect());
    }
    content
}

fn answer(about: &About, told: &Answer) -> Value {
    let mut headers = Map::new();
    headers.insert("X-Request-Id".into(), json!({"$ref": "#/components/headers/RequestId"}));
    for (name, text) in &told.headers {
        let kind = if *name == "Retry-After" { "integer" } else { "string" };
        headers.insert((*name).into(), json!({"description": text, "schema": {"type": kind}}));
    }
    let mut answer = json!({"description": told.text, "headers": headers});
    let schema = match &told.body {
        Content::Empty => return answer,
        Content::Json(schema) => schema.clone(),
        Content::Refusal => (about.refusal)(told.status),
    };
    answer["content"] = json!({JSON: {"schema": schema}});
    answer
}

/// Moves each schema that has a name to where descriptions keep those, and leaves a pointer in its place.
fn hoist(value: &mut Value, schemas: &mut Map<String, Value>) {
    match value {
        Value::Object(keys) => {
            keys.values_mut().for_each(|value| hoist(value, schemas));
            if let Some(Value::String(name)) = keys.get("title").cloned()
                && keys.contains_key("type")
            {
                let pointer = json!({"$ref": format!("#/components/schemas/{name}")});
                schemas.insert(name, std::mem::replace(value, pointer));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hoist(value, schemas)),
        _ => {}
    }
}
