//! Requests that could mean two things, and what every answer tells a browser.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use guildhall::listen::{self, Limits};
use guildhall::observe;
use guildhall_domain::clock::Random;
use serde_json::json;

use crate::harness::{Answer, House, PASSWORD, Plan, call, delete, get, patch, post, put};

/// Serves the house on a port of its own for as long as the test's runtime lives.
async fn serve(house: &House) -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let router = house.router();
    tokio::spawn(
        async move { listen::serve(socket, router, Limits::default(), std::future::pending()).await },
    );
    address
}

/// All that comes back until the server ends the connection, which it has to do by itself.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request).unwrap();
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => all.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the connection stays open: {error}: {}", String::from_utf8_lossy(&all)),
        }
    }
    String::from_utf8(all).unwrap()
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

const HIDDEN: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_has_two_meanings_is_refused_and_ends_the_connection() {
    let house = House::new();
    let address = serve(&house).await;
    let login = "POST /user/login HTTP/1.1\r\n";
    let host = "Host: x\r\nContent-Type: application/json\r\n";
    for (what, request) in [
        ("no host", "GET /health/live HTTP/1.1\r\n\r\n".to_owned()),
        ("two hosts", "GET /health/live HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".to_owned()),
        ("two lengths", format!("{login}{host}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}")),
        ("a list of lengths", format!("{login}{host}Content-Length: 2, 3\r\n\r\n{{}}")),
        ("a length with a sign", format!("{login}{host}Content-Length: +2\r\n\r\n{{}}")),
        ("chunks not last", format!("{login}{host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n")),
        ("an unknown coding", format!("{login}{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        (
            "chunks in 1.0",
            format!("POST /user/login HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("a bad chunk", format!("{login}{host}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n")),
        (
            "a chunk too large",
            format!("{login}{host}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{{}}"),
        ),
        (
            "a chunk without its end",
            format!("{login}{host}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}0\r\n\r\n"),
        ),
        ("a folded line", "GET /health/live HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n".to_owned()),
        ("a space before the colon", format!("{login}{host}Content-Length : 2\r\n\r\n{{}}")),
        ("a bare CR", "GET /health/live HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n".to_owned()),
        ("a NUL", "GET /health/live HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n".to_owned()),
        ("no HTTP", "HELO x\r\n\r\n".to_owned()),
    ] {
        let answers = exchange(address, format!("{request}{HIDDEN}").as_bytes());
        assert_eq!(statuses(&answers), ["400"], "{what}: {answers}");
    }
    let answer = exchange(address, b"GET /health/live HTTP/1.1\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\n{\"error\":\"Bad request\"}"), "{answer}");
    for header in ["content-type: application/json", "x-content-type-options: nosniff", "connection: close"] {
        assert!(answer.contains(&format!("\r\n{header}\r\n")), "{header}: {answer}");
    }
    // HTTP/1.0 knows no Host, and an address may stand in the first line besides it.
    for good in [
        "GET /health/live HTTP/1.0\r\n\r\n",
        "GET http://y/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let answer = exchange(address, good.as_bytes());
        assert!(answer.contains(" 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_chunks_is_no_request() {
    let house = House::new();
    let address = serve(&house).await;
    let head = "POST /user/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let (chunked, chunks) = ("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n");
    let length = format!("Content-Length: {}\r\n", chunks.len() + HIDDEN.len());
    for headers in [chunked.to_owned(), format!("{length}{chunked}"), format!("{chunked}{length}")] {
        let answers = exchange(address, format!("{head}{headers}\r\n{chunks}{HIDDEN}").as_bytes());
        assert_eq!(statuses(&answers), ["422"], "{headers}: {answers}");
        assert!(answers.contains("\r\nconnection: close\r\n"), "{answers}");
    }
    // Where nothing is unclear two requests have two answers.
    let last = HIDDEN.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let answers = exchange(address, format!("{head}Content-Length: 2\r\n\r\n{{}}{last}").as_bytes());
    assert_eq!(statuses(&answers), ["422", "200"], "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_not_for_servers_like_this_are_refused() {
    let house = House::new();
    let address = serve(&house).await;
    let media = format!("/media/{}", guildhall::media::DEFAULT_NAME);
    for path in ["/health/live", "/organizations/1", "/v1/organizations/x", &media, "/nowhere", "*"] {
        let request =
            format!("TRACE {path} HTTP/1.1\r\nHost: x\r\nSecret: s3cret\r\nConnection: close\r\n\r\n");
        let answer = exchange(address, request.as_bytes());
        assert_eq!(statuses(&answer), ["405"], "{path}: {answer}");
        assert!(!answer.contains("s3cret"), "{answer}");
    }
    let request = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n";
    let answer = exchange(address, request.as_bytes());
    assert_eq!(statuses(&answer), ["405"], "{answer}");
}

#[track_caller]
fn is_guarded(answer: &Answer, what: &str) {
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
    assert!(["no-referrer", "same-origin"].contains(&answer.header("referrer-policy")), "{what}");
    let policy = answer.header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{what}: {policy}"
    );
    assert!(!answer.header("cache-control").is_empty(), "{what}");
}

#[tokio::test]
async fn every_answer_tells_a_browser_to_be_careful() {
    for (public_url, hsts) in [("https://hall.example", "max-age=31536000"), ("http://hall.example", "")] {
        let house = House::with(Plan { public_url: Some(public_url.into()), ..Plan::default() });
        house.user("ana");
        let big = vec![b' '; guildhall::http::BODY_MAX + 1];
        let many = format!("[{}]", vec!["[]"; 10_000].join(","));
        for (call, status) in [
            (get("/health/live"), 200),
            (get("/.well-known/jwks.json"), 200),
            (get("/v1/user/me").bearer(&house.token("ana")), 200),
            (get(&format!("/media/{}", guildhall::media::DEFAULT_NAME)), 200),
            (get("/account/verify/?token=x"), 200),
            (post("/users/Student/create").json(json!({})), 422),
            (post("/user/login").body("application/json", b"{"), 400),
            (post("/user/login").body("application/json", &big), 413),
            (post("/user/login").body("application/json", many.as_bytes()), 413),
            (
                post("/api/account/login")
                    .body("application/x-www-form-urlencoded", "a=&".repeat(10_001).as_bytes()),
                413,
            ),
            (delete("/organizations/1").header("content-length", "1048577"), 413),
            (post("/api/nowhere").header("content-length", "1048577"), 413),
            (get("/v1/user/me"), 401),
            (get("/media/nothing.png"), 404),
            (get("/nowhere"), 404),
            (delete("/health/live"), 405),
            (call("TRACE", "/nowhere"), 405),
        ] {
            let answer = house.send(call).await;
            let what = format!("{status} {}", String::from_utf8_lossy(&answer.body));
            is_guarded(&answer, &what);
            assert_eq!(answer.header("strict-transport-security"), hsts, "{what}");
            if status != 200 {
                assert_eq!(answer.status, status, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn the_answer_to_a_panic_is_guarded_too() {
    use tower::ServiceExt;
    let boom = || async { if true { panic!("meant by the test") } else { "" } };
    let router = axum::Router::new().route("/", axum::routing::get(boom));
    let router = observe::layer(router, observe::Metrics::new(), Random::seeded(1));
    let answer =
        router.oneshot(axum::http::Request::get("/").body(axum::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 500);
    let answer = Answer { status: answer.status(), headers: answer.headers().clone(), body: Vec::new() };
    is_guarded(&answer, "a panic");
}

#[tokio::test]
async fn an_object_that_names_a_key_twice_is_malformed_in_each_dialects_words() {
    let house = House::new();
    house.user("ana");
    house.organization("Acme", "ana");
    let (ana, before) = (house.token("ana"), house.token("ana"));
    let stormz = {
        let mine = house.send(get("/v1/user/me/organizations").bearer(&before)).await.value();
        format!("/v1/organizations/{}", mine[0]["id"].as_str().unwrap())
    };
    let name = br#"{"name": "One", "name": "Two"}"#;
    let deep = br#"{"name": "One", "urls": [{"a": 1, "\u0061": 2}]}"#;
    let kind = "application/json";
    let pm415 = json!({
        "statusCode": 400, "error": "Bad Request", "message": "Request body is malformed", "success": false
    });
    let twice = |column: usize| json!({"detail": format!("JSON parse error - an object names a key twice at line 1 column {column}")});
    for (call, refused) in [
        (put("/organizations/1/events/create").body(kind, name), None),
        (
            post("/organizations/1/events/create").body(kind, name),
            Some(json!({"message": "Failed to decode JSON object"})),
        ),
        (patch("/api/v1/organizations/acme/").body(kind, name), Some(twice(name.len()))),
        (patch("/api/v1/organizations/acme/").body(kind, deep), Some(twice(deep.len() - 2))),
        (put("/api/org/1").body(kind, name), Some(pm415)),
        (put(&stormz).body(kind, name), Some(json!({"message": "Problems parsing JSON"}))),
        (
            post("/api/organizations").body(kind, br#"{"organization_name": "A", "organization_name": "B"}"#),
            Some(json!({"error": "Invalid request body"})),
        ),
    ] {
        let answer = house.send(call.bearer(&ana)).await;
        match refused {
            Some(refused) => drop(answer.is(400, refused)),
            None => assert_eq!(answer.status, 405),
        }
    }
    let sign_in = format!(r#"{{"username": "ana", "password": "x", "password": "{PASSWORD}"}}"#);
    let answer = house.send(post("/user/login").body(kind, sign_in.as_bytes())).await;
    answer.is(400, json!({"message": "Failed to decode JSON object"}));
    let shown = house.send(get("/api/v1/organizations/acme/").bearer(&ana)).await;
    assert_eq!(shown.value()["name"], "Acme");
}
