//! The one list of all that is served.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{Route, get};
use serde_json::json;
use tower::layer::layer_fn;
use tower::{Service, service_fn};

use crate::accounts;
use crate::app::App;
use crate::dialects::{Dialect, Routes, bit, buildog, cadasta, pm415, stormz};
use crate::docs;
use crate::http;
use crate::listen::Malformed;
use crate::load;
use crate::media;

/// The routes of each dialect, under its name.
#[must_use]
pub fn dialects() -> Vec<(&'static str, Routes)> {
    vec![
        ("bit", bit::routes()),
        ("buildog", buildog::routes()),
        ("cadasta", cadasta::routes()),
        ("pm415", pm415::routes()),
        ("stormz", stormz::routes()),
    ]
}

/// Everything, ready to be served.
pub fn router(app: &App) -> Router {
    let faces = dialects()
        .into_iter()
        .fold(Router::new(), |all, (_, routes)| all.merge(routes.router()))
        .merge(accounts::routes())
        .merge(docs::routes())
        // What a browser is pointed at first.
        .route("/", get(Redirect::to("/docs")).fallback(unknown_path))
        .route("/health/live", get(live).fallback(wrong_method))
        .route("/health/ready", get(ready).fallback(wrong_method))
        .route("/.well-known/jwks.json", get(jwks).fallback(wrong_method))
        .fallback(unknown_path)
        .with_state(app.clone());
    let pictures = media::routes(app.media.clone()).layer(from_fn_with_state(app.clone(), media::only_shown));
    let all = faces.merge(pictures);
    let (origins, is_https): (std::sync::Arc<[String]>, _) =
        (app.cors_origins.clone().into(), app.is_https());
    all.layer(layer_fn(move |route: Route| finish(route, origins.clone(), is_https)))
}

/// What holds for every answer, whoever gives it: see [`http::guard`]; pages of the configured origins may read it; a
/// server that is reached by https is reached by that alone.
fn finish(
    route: Route,
    origins: std::sync::Arc<[String]>,
    is_https: bool,
) -> impl Service<Request, Response = Response, Error = std::convert::Infallible, Future: Send> + Clone + Send + Sync
{
    service_fn(move |request: Request| {
        let mut route = route.clone();
        let origin = allowed_origin(&request, &origins);
        let is_preflight = origin.is_some()
            && request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        async move {
            let mut answer = if request.extensions().get::<Malformed>().is_some() {
                malformed()
            } else if is_preflight {
                preflight()
            } else if let Some(words) = words(request.uri().path()).filter(|_| is_oversize(&request)) {
                (words.too_large)()
            } else if let Some(words) = words(request.uri().path()).filter(|_| load::turns_away()) {
                (words.too_much)()
            } else {
                route.call(request).await?
            };
            let headers = answer.headers_mut();
            http::guard(headers);
            if is_https {
                headers.insert(header::STRICT_TRANSPORT_SECURITY, A_YEAR);
            }
            if let Some(origin) = origin {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
                headers.append(header::VARY, HeaderValue::from_static("Origin"));
            }
            Ok(answer)
        }
    })
}

/// Whether a request says that it brings more than any but a form with files may, whether its body would be read or not.
fn is_oversize(request: &Request) -> bool {
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let brings_files = http::content_type(request.headers()).starts_with("multipart/");
    length.is_some_and(|length: u64| length > http::BODY_MAX as u64) && !brings_files
}

/// How long a browser remembers to come by https. Other names below this one are not ours to speak for.
const A_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The methods that any path knows.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");

/// What a page's script may read of an answer besides what any may.
const EXPOSED: HeaderValue = HeaderValue::from_static("Link, Location, Retry-After, X-Request-Id");

fn allowed_origin(request: &Request, origins: &[String]) -> Option<HeaderValue> {
    let origin = request.headers().get(header::ORIGIN)?;
    origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

fn preflight() -> Response {
    const ALLOWED: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("Authorization, Content-Type, X-CSRF-TOKEN"),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
    ];
    (StatusCode::NO_CONTENT, ALLOWED).into_response()
}

async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(app): State<App>) -> Response {
    match app.read(guildhall_domain::db::Db::ready).await {
        Ok(()) => "ok\n".into_response(),
        Err(error) => {
            let answer =
                (StatusCode::SERVICE_UNAVAILABLE, "the database cannot be used now\n").into_response();
            http::refused(answer, Some(&error))
        }
    }
}

async fn jwks(State(app): State<App>) -> Response {
    if let Err(error) = app.refresh_keys().await {
        // The keys that are known here are good all the same.
        tracing::error!(%error, "signing keys not read again");
    }
    let mut answer = http::json(StatusCode::OK, &app.keys.jwks());
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    answer
}

/// The answer to a request that no server may guess the meaning of.
fn malformed() -> Response {
    http::json(StatusCode::BAD_REQUEST, &json!({"error": "Bad request"}))
}

async fn wrong_method() -> Response {
    http::json(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "Method not allowed"}))
}

/// The answer to a path that nobody serves, in the words of the dialect below whose paths it lies.
async fn unknown_path(method: Method, uri: Uri) -> Response {
    // Of these no path knows any: one asks for what was sent to be repeated, the other for a way through.
    if [Method::TRACE, Method::CONNECT].contains(&method) {
        return ([(header::ALLOW, METHODS)], wrong_method().await).into_response();
    }
    match words(uri.path()) {
        Some(words) => (words.unknown_path)(),
        None => http::json(StatusCode::NOT_FOUND, &json!({"error": "Not found"})),
    }
}

/// What is answered before a route is asked.
struct Words {
    unknown_path: fn() -> Response,
    too_much: fn() -> Response,
    too_large: fn() -> Response,
}

impl Words {
    const fn of<D: Dialect>() -> Self {
        Self { unknown_path: D::unknown_path, too_much: http::too_much::<D>, too_large: http::too_large::<D> }
    }
}

/// The words of the dialect below whose paths `path` lies.
fn words(path: &str) -> Option<Words> {
    let path = path.trim_start_matches('/');
    let below =
        |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("api/organizations") || below("api/users") {
        Some(Words::of::<buildog::Buildog>())
    } else if below("api/v1") {
        Some(Words::of::<cadasta::Cadasta>())
    } else if below("api") {
        Some(Words::of::<pm415::Pm415>())
    } else if below("v1") || below("oauth") {
        Some(Words::of::<stormz::Stormz>())
    } else if ["organizations", "user", "users", "events"].into_iter().any(below) {
        Some(Words::of::<bit::Bit>())
    } else {
        None
    }
}
