//! What holds of every credential, path, query and body that may come: tried through the whole server, each answer held
//! against the description.

use axum::http::{HeaderMap, HeaderValue, Method};
use guildhall_domain::authz::{Role, State};
use guildhall_domain::text::Name;
use properties::{check, check_texts, spoiled, texts};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::{Answer, Call, House, PASSWORD, Plan, call, get, post};

fn a_house() -> (Runtime, House) {
    let runtime = Runtime::new().unwrap();
    let house = {
        let _inside = runtime.enter();
        House::with(Plan { in_memory: true, ..Plan::default() })
    };
    house.user("ana");
    (runtime, house)
}

/// `text` as a part of an address: every byte that could mean something there is encoded, and so are those that say so.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    text.bytes().map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A credential with anything about it changed is none.
#[test]
fn credentials() {
    let (runtime, house) = a_house();
    let login = post("/api/v1/account/login/").json(json!({"username": "ana", "password": PASSWORD}));
    let key = runtime.block_on(house.send(login)).value()["auth_token"].as_str().unwrap().to_owned();
    let (token, api_key) = (house.token("ana"), house.api_key("ana"));
    let identify = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).ok()?);
        runtime.block_on(guildhall::auth::identify(&house.app, &Method::GET, &headers)).ok()?
    };
    for credential in [token.clone(), api_key, key] {
        for scheme in ["Bearer", "token", "bEaReR "] {
            assert!(identify("authorization", &format!("{scheme} {credential}")).is_some(), "{scheme}");
        }
        let changed = spoiled(credential.clone());
        check(
            "spoiled credentials",
            (changed, texts(&["Bearer", "Token", " ", "Basic"])),
            |(changed, scheme)| {
                if changed.trim() != credential {
                    assert!(identify("authorization", &format!("Bearer {changed}")).is_none(), "{changed:?}");
                    assert!(
                        identify("cookie", &format!("access_token_cookie={changed}")).is_none(),
                        "{changed:?}"
                    );
                }
                let is_scheme = ["bearer", "token"].contains(&scheme.trim().to_ascii_lowercase().as_str());
                assert!(
                    is_scheme || identify("authorization", &format!("{scheme} {credential}")).is_none(),
                    "{scheme:?}"
                );
            },
        );
    }
    check("spoiled tokens", spoiled(token.clone()), |changed| {
        assert!(changed == token || house.app.keys.verify(&changed).is_err(), "{changed:?}");
    });
}

/// What is told of an organization in answers by its own form of id is told by no other text.
#[test]
fn ids_in_paths() {
    const PIECES: &[&str] =
        &["1", "0", "guild", "Guild", "-", "/", "..", "%", "5007d396eb7abf319a000047", "'", " ", "?"];
    let (runtime, house) = a_house();
    let guild = house.organization("Guild", "ana");
    let token = house.token("ana");
    let own = [guild.id.0.to_string(), guild.slug.clone(), guild.uid.short().to_owned()];
    check_texts("ids in paths", include_str!("../corpus/paths.txt"), texts(PIECES), |text| {
        if text.is_empty() || own.contains(&text.to_lowercase()) {
            return;
        }
        let part = encoded(text);
        for path in [
            format!("/organizations/{part}"),
            format!("/organizations/{part}/events"),
            format!("/events/{part}"),
            format!("/api/v1/organizations/{part}/"),
            format!("/api/v1/organizations/guild/users/{part}/"),
            format!("/api/org/{part}/users"),
            format!("/v1/organizations/{part}"),
            format!("/v1/organizations/{part}/members"),
            format!("/media/{part}"),
            format!("/{part}"),
        ] {
            if path.contains("/users/") && text.trim().eq_ignore_ascii_case("ana") {
                continue;
            }
            let answer = runtime.block_on(house.send(get(&path).bearer(&token)));
            let status = answer.status.as_u16();
            // pm415 tells of no organization what it tells of another's.
            let is_none = matches!(status, 404 | 405) || status == 403 && path.starts_with("/api/org/");
            assert!(is_none, "{path}: {status} {}", answer.text());
        }
    });
}

/// What a query says may be misunderstood, and never breaks anything.
#[test]
fn queries() {
    const PIECES: &[&str] = &[
        "page=",
        "per_page=",
        "limit=",
        "offset=",
        "search=",
        "ordering=-name",
        "permissions=org.update",
        "archived=true",
        "&",
        "=",
        "1",
        "0",
        "100",
        "%00",
        "%ff",
        "%",
        "guild",
    ];
    let (runtime, house) = a_house();
    for name in ["Guild", "Guild two", "Zunft"] {
        house.organization(name, "ana");
    }
    house.user("bob");
    house.member("guild", "bob", Role::Member, State::Active);
    let token = house.token("ana");
    check_texts("queries of lists", include_str!("../corpus/queries.txt"), texts(PIECES), |text| {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte);
        let query: String = text
            .bytes()
            .map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect();
        for path in [
            "/v1/organizations",
            "/api/v1/organizations/",
            "/api/org",
            "/api/organizations",
            "/organizations/1",
        ] {
            let answer = runtime.block_on(house.send(get(&format!("{path}?{query}")).bearer(&token)));
            let status = answer.status.as_u16();
            assert!(matches!(status, 200 | 400 | 404 | 422), "{path}?{query}: {status}");
            for link in answer.headers.get_all("link") {
                assert!(
                    link.to_str()
                        .unwrap()
                        .split(", ")
                        .all(|link| link.starts_with("<http://guildhall.test/"))
                );
            }
        }
    });
}

/// The same name makes the same organization through each dialect, or none.
#[test]
fn names_in_bodies() {
    const PIECES: &[&str] = &["Guild", " ", "add", "e\u{301}", "\u{202e}", "<b>", "=1+1", "\0", "\"", "\\"];
    let (runtime, house) = a_house();
    let own = format!("/v1/organizations/{}", house.organization("Zunft", "ana").uid.short());
    let token = house.token("ana");
    let send = |call: Call| -> Answer { runtime.block_on(house.send(call.bearer(&token))) };
    let escaped = |value: &Value| {
        // Every character as the escapes that JSON has for it.
        let escape = |c: char| {
            c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
        };
        let (key, text) = value.as_object().unwrap().iter().next().unwrap();
        format!("{{\"{key}\":\"{}\"}}", text.as_str().unwrap().chars().map(escape).collect::<String>())
    };
    check_texts("names in bodies", include_str!("../corpus/bodies.txt"), texts(PIECES), |text| {
        let name = Name::parse(text).ok();
        for (path, key, taken) in [
            (own.as_str(), "name", &[][..]),
            ("/api/organizations", "organization_name", &[]),
            ("/api/org", "name", &[400, 409]),
            ("/api/v1/organizations/", "name", &[400]),
        ] {
            let body = json!({key: text});
            let method = if path == own { "PUT" } else { "POST" };
            let as_escapes = call(method, path).body("application/json", escaped(&body).as_bytes());
            for request in [call(method, path).json(body), as_escapes] {
                let answer = send(request);
                let status = answer.status.as_u16();
                match &name {
                    Some(name) if answer.status.is_success() => {
                        let shown = if status == 204 { send(get(&own)).value() } else { answer.value() };
                        let shown = shown.get("name").and_then(Value::as_str);
                        assert!(shown.is_none_or(|shown| shown == name.as_str()), "{path}: {shown:?}");
                    }
                    Some(_) => assert!(taken.contains(&status), "{path}: {status} {}", answer.text()),
                    None => assert!(matches!(status, 400 | 422), "{path}: {status} {}", answer.text()),
                }
            }
        }
    });
}
