//! A credential that does not count opens nothing, whatever is called with it, and the dialect says so in its own shape.

use std::time::Duration;

use guildhall_domain::credentials::TOKEN_LASTS;
use serde_json::{Value, json};

use super::scene::{OWNER, Scene, house, terms_of};
use super::{calls, routes};
use crate::harness::{Call, House};
use crate::place::counted;

/// What is sent for a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Nothing,
    Garbage,
    Two,
    Expired,
    OfDisabled,
    /// A good one as a cookie, without the header that shows whose page sent it.
    CookieAlone,
}

const SENT: [Sent; 6] =
    [Sent::Nothing, Sent::Garbage, Sent::Two, Sent::Expired, Sent::OfDisabled, Sent::CookieAlone];

/// The calls by which one comes by an account or a credential: what credential they are sent with is not looked at.
const OPEN: [(&str, &str); 12] = [
    ("POST", "/users/{type}/create"),
    ("POST", "/user/login"),
    ("POST", "/api/v1/account/register/"),
    ("POST", "/api/v1/account/login/"),
    ("POST", "/api/account/register"),
    ("GET", "/api/account/verify"),
    ("POST", "/api/account/verify"),
    ("POST", "/api/account/login"),
    ("POST", "/api/account/forgotpassword"),
    ("POST", "/api/account/changepassword"),
    ("GET", "/api/org/invite"),
    ("POST", "/oauth/token"),
];

/// What cadasta shows to anyone who sends no credential; the rest of an organization it refuses by right.
const SHOWN: [&str; 2] = ["/api/v1/organizations/", "/api/v1/organizations/{slug}/"];

#[tokio::test]
async fn a_credential_that_does_not_count_opens_nothing() {
    let house = house();
    let mut tried = 0;
    for (dialect, routes) in routes() {
        for (method, path) in &routes {
            for sent in SENT {
                tried += 1;
                let answer = house.send(made(&house, (dialect, method, path), sent).await).await;
                let what = format!("{method} {path} with {sent:?}: {}", answer.text());
                let (status, content_type) = (answer.status.as_u16(), answer.header("content-type"));
                let only_looks = method == "GET" && sent == Sent::CookieAlone;
                if OPEN.contains(&(method, path)) || only_looks {
                    assert!(answer.status.is_success(), "{what}");
                } else if dialect == "cadasta" && sent == Sent::Nothing && is_for_anyone(method, path) {
                    let shows = method == "GET" && SHOWN.contains(path);
                    assert_eq!(status, if shows { 200 } else { 403 }, "{what}");
                } else {
                    let (expected, body, challenge) = documented(dialect, sent);
                    assert_eq!((status, content_type), (expected, "application/json"), "{what}");
                    assert_eq!(answer.text(), body.to_string(), "{what}");
                    assert_eq!(answer.header("www-authenticate"), challenge, "{what}");
                }
            }
        }
    }
    counted(tried, "calls with a credential that does not count, none let in");
}

/// Whether cadasta asks for no sign-in there.
fn is_for_anyone(method: &str, path: &str) -> bool {
    path.starts_with("/api/v1/organizations/") && (method, path) != ("POST", "/api/v1/organizations/")
}

/// An owner's call with that instead of a good credential.
async fn made(house: &House, (dialect, method, path): (&str, &str, &str), sent: Sent) -> Call {
    let mut scene = Scene::new(house, &OWNER, terms_of(dialect)).await;
    let credential = scene.credential.clone().unwrap();
    match sent {
        Sent::Expired => house.pass(TOKEN_LASTS + Duration::from_secs(1)),
        Sent::OfDisabled => house.disable(&scene.own.as_ref().unwrap().username),
        Sent::Nothing | Sent::Garbage | Sent::Two | Sent::CookieAlone => {}
    }
    scene.prepare(&OWNER, (method, path), "").await;
    let call = calls::of(dialect, (method, path), &scene, "").unwrap();
    let cookie = format!("access_token_cookie={credential}");
    match sent {
        Sent::Nothing => call,
        Sent::Garbage => call.bearer("garbage"),
        Sent::Two => call.bearer(&credential).header("cookie", &cookie),
        Sent::CookieAlone => call.header("cookie", &cookie),
        Sent::Expired | Sent::OfDisabled => call.bearer(&credential),
    }
}

/// Status, body and challenge of the dialect's refusal.
fn documented(dialect: &str, sent: Sent) -> (u16, Value, &'static str) {
    if sent == Sent::Two {
        let text = "More than one credential in the request";
        return match dialect {
            "bit" => (400, json!({"msg": text}), ""),
            "buildog" => (400, json!({"error": text}), ""),
            "cadasta" => (400, json!({"detail": format!("{text}.")}), ""),
            "pm415" => (400, pm415(400, "Bad Request", text), ""),
            _ => (400, json!({"message": text}), ""),
        };
    }
    if sent == Sent::CookieAlone {
        let text = "CSRF token missing or wrong";
        return match dialect {
            "bit" => (401, json!({"msg": "Missing CSRF token"}), ""),
            "buildog" => (403, json!({"error": text}), ""),
            "cadasta" => (403, json!({"detail": "CSRF Failed: CSRF token missing or incorrect."}), ""),
            "pm415" => (403, pm415(403, "Forbidden", text), ""),
            _ => (403, json!({"message": text}), ""),
        };
    }
    match dialect {
        "bit" => {
            let text = match sent {
                Sent::Nothing => "Missing cookie \"access_token_cookie\"",
                Sent::Expired => "Token has expired",
                Sent::OfDisabled | Sent::Garbage | Sent::Two | Sent::CookieAlone => "Invalid token",
            };
            (401, json!({"msg": text}), "")
        }
        "buildog" => (401, json!({"error": "Token claims missing"}), ""),
        "cadasta" if sent == Sent::Nothing => {
            (401, json!({"detail": "Authentication credentials were not provided."}), "Token")
        }
        "cadasta" => (401, json!({"detail": "Invalid token."}), "Token"),
        "pm415" => (401, pm415(401, "Unauthorized", "Authentication required"), ""),
        _ => (401, json!({"message": "Requires authentication"}), "Bearer"),
    }
}

fn pm415(status: u16, error: &str, message: &str) -> Value {
    json!({"statusCode": status, "error": error, "message": message, "success": false})
}
