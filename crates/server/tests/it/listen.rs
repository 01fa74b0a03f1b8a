//! The accept loop and what is seen of it: each limit, from the side of a peer that strains it.
//!
//! Limits are short here, and waits for the server long: nothing fails because the machine is slow, save where a
//! connection must outlive a moment.

#![allow(clippy::unwrap_used, reason = "the lint spares tests, but not what they share")]

use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{get, post};
use guildhall::client::{Client as Caller, Proxies};
use guildhall::listen::{self, Limits, Listener, is_body_timeout};
use guildhall::observe::{self, Metrics, RequestId};
use guildhall_domain::clock::Random;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// Longer than anything here may take on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

const BIG: usize = 64 * 1024 * 1024;

struct Server {
    address: SocketAddr,
    metrics: Metrics,
    /// The handler of `/slow` has begun.
    begun: Arc<Semaphore>,
    /// Lets the handler of `/slow` end.
    finish: Arc<Semaphore>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        Self::behind(Proxies::default(), limits).await
    }

    async fn behind(proxies: Proxies, limits: Limits) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (metrics, begun, finish) =
            (Metrics::new(), Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let router =
            observe::layer(router(begun.clone(), finish.clone()), metrics.clone(), Random::seeded(7));
        let listener = Listener::counted(socket, metrics.open_connections()).behind(proxies);
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(listen::serve(listener, router, limits, async {
            let _ = stopped.await;
        }));
        Self { address, metrics, begun, finish, stop: Some(stop), served }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    /// Waits until the server holds no connection.
    async fn empty(&self) {
        let none = async {
            while self.metrics.open_connections().get() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, none).await.expect("the server lets go of the connection");
    }

    fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).unwrap();
    }

    async fn served(self) {
        tokio::time::timeout(PATIENCE, self.served).await.expect("the server stops").unwrap().unwrap();
    }
}

fn router(begun: Arc<Semaphore>, finish: Arc<Semaphore>) -> Router {
    let slow = async move || {
        begun.add_permits(1);
        finish.acquire().await.unwrap().forget();
        "finished"
    };
    let parts = || async {
        let parts = futures_util::stream::iter((0..BIG / 65536).map(|_| Bytes::from(vec![0; 65536])));
        Body::from_stream(futures_util::StreamExt::map(parts, Ok::<_, std::io::Error>))
    };
    Router::new()
        .route("/quick/{name}", get(|| async { "ok" }))
        .route("/slow", get(slow))
        .route("/big", get(|| async { vec![0; BIG] }))
        .route("/parts", get(parts))
        .route("/read", post(read))
        .route("/client", get(client))
        .route("/boom", get(boom))
}

async fn read(body: Body) -> (StatusCode, String) {
    match to_bytes(body, 1 << 20).await {
        Ok(bytes) => (StatusCode::OK, bytes.len().to_string()),
        Err(error) if is_body_timeout(&error) => (StatusCode::REQUEST_TIMEOUT, "late".into()),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn client(request: Request) -> String {
    let extensions = request.extensions();
    let (Caller(address), id) = (extensions.get().unwrap(), extensions.get::<RequestId>().unwrap());
    format!("{address} {id}")
}

async fn boom() -> &'static str {
    panic!("meant by the test")
}

/// A peer that says exactly what it is told to.
struct Client(TcpStream);

impl Client {
    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    fn get(&mut self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        self.answer()
    }

    /// One answer with a `content-length`: its header, an empty line and its body.
    fn answer(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            assert_eq!(self.0.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&bytes));
            bytes.push(byte[0]);
        }
        let header = String::from_utf8(bytes).unwrap();
        let length = header_of(&header, "content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        header + &String::from_utf8(body).unwrap()
    }

    /// Waits for the end of the connection, in whichever way it comes.
    fn assert_closed(&mut self) {
        match self.0.read(&mut [0; 16]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("still open: {other:?}"),
        }
    }
}

fn header_of<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn http2() -> reqwest::Client {
    reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_trickles_ends_the_connection() {
    let server = Server::start(Limits { header: Duration::from_millis(200), ..Limits::default() }).await;
    let mut client = server.connect();
    client.send("GET /quick/a HTTP/1.1\r\nx-slow: ");
    let trickle = std::thread::spawn({
        let mut stream = client.0.try_clone().unwrap();
        move || {
            while stream.write_all(b"a").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    client.assert_closed();
    client.0.shutdown(std::net::Shutdown::Both).ok();
    trickle.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_half_an_http2_preface_and_half_a_second_header_end_the_connection() {
    let server = Server::start(Limits { header: Duration::from_millis(200), ..Limits::default() }).await;
    server.connect().assert_closed();
    let mut client = server.connect();
    client.send("PRI * HTTP/2.0\r\n");
    client.assert_closed();
    let mut client = server.connect();
    client.get("/quick/a");
    client.send("GET /quick");
    client.assert_closed();
}

#[tokio::test(flavor = "multi_thread")]
async fn between_requests_a_connection_outlives_the_header_limit_and_ends_at_its_own() {
    let limits = Limits {
        header: Duration::from_millis(100),
        keep_alive_idle: Duration::from_secs(3),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let mut client = server.connect();
    assert!(client.get("/quick/a").ends_with("ok"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(client.get("/quick/b").ends_with("ok"));
    client.assert_closed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_ends_in_a_timeout_that_the_handler_sees() {
    let server = Server::start(Limits { body_idle: Duration::from_millis(200), ..Limits::default() }).await;
    let mut client = server.connect();
    client.send("POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc");
    let answer = client.answer();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("late"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_keeps_coming_may_take_longer_than_the_limit() {
    let server = Server::start(Limits { body_idle: Duration::from_secs(1), ..Limits::default() }).await;
    let mut client = server.connect();
    client.send("POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 15\r\n\r\n");
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send("a");
    }
    let answer = client.answer();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("15"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_ends_the_connection() {
    let server = Server::start(Limits { write_idle: Duration::from_millis(300), ..Limits::default() }).await;
    for path in ["/big", "/parts"] {
        let mut client = server.connect();
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        client.0.read_exact(&mut [0; 16]).unwrap();
        server.empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_on_gets_all_of_a_long_answer() {
    let server = Server::start(Limits { write_idle: Duration::from_secs(2), ..Limits::default() }).await;
    let mut client = server.connect();
    client.send("GET /parts HTTP/1.0\r\nhost: test\r\n\r\n");
    let mut bytes = Vec::new();
    client.0.read_to_end(&mut bytes).unwrap();
    assert!(bytes.len() > BIG);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_cap_a_connection_waits_for_a_place() {
    let server = Server::start(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = server.connect();
    first.get("/quick/a");
    let mut second = server.connect();
    second.send("GET /quick/b HTTP/1.1\r\nhost: test\r\n\r\n");
    second.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let early = second.0.read(&mut [0]).unwrap_err();
    assert!(matches!(early.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{early}");
    drop(first);
    second.0.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(second.answer().ends_with("ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_stop_idle_connections_end_at_once_and_requests_in_flight_finish() {
    let mut server = Server::start(Limits { drain: PATIENCE, ..Limits::default() }).await;
    let mut idle = server.connect();
    idle.get("/quick/a");
    let mut busy = server.connect();
    busy.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n");
    let over_http2 = http2().get(format!("http://{}/slow", server.address)).send();
    let over_http2 = tokio::spawn(over_http2);
    server.begun.acquire_many(2).await.unwrap().forget();
    server.stop();
    idle.assert_closed();
    let address = server.address;
    assert!(!server.served.is_finished());
    assert!(TcpStream::connect(address).is_err());
    server.finish.add_permits(2);
    assert!(busy.answer().ends_with("finished"));
    busy.assert_closed();
    assert_eq!(over_http2.await.unwrap().unwrap().text().await.unwrap(), "finished");
    server.served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_no_longer_than_the_drain() {
    let mut server = Server::start(Limits { drain: Duration::from_millis(200), ..Limits::default() }).await;
    let mut client = server.connect();
    client.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n");
    server.begun.acquire().await.unwrap().forget();
    server.stop();
    client.assert_closed();
    server.served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_carries_requests_at_once_and_is_told_to_go_when_idle() {
    let limits = Limits { keep_alive_idle: Duration::from_secs(1), ..Limits::default() };
    let server = Server::start(limits).await;
    let client = http2();
    let requests = (0..50).map(|number| {
        let request = client.get(format!("http://{}/quick/{number}", server.address)).send();
        async {
            let answer = request.await.unwrap();
            assert_eq!(answer.version(), reqwest::Version::HTTP_2);
            answer.text().await.unwrap()
        }
    });
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer == "ok"));
    server.empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_reader_that_opens_no_window_ends_the_connection() {
    let server = Server::start(Limits { write_idle: Duration::from_millis(300), ..Limits::default() }).await;
    let client = http2();
    let answer = client.get(format!("http://{}/parts", server.address)).send().await.unwrap();
    server.empty().await;
    assert!(answer.bytes().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_too_large_is_refused() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.connect();
    let start = "GET / HTTP/1.1\r\nx: ";
    client.send(&format!("{start}{}", "a".repeat(64 * 1024 - start.len())));
    assert!(client.answer().starts_with("HTTP/1.1 431 "));
    let mut client = server.connect();
    client.send(&format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(101)));
    assert!(client.answer().starts_with("HTTP/1.1 431 "));
    assert!(server.connect().get("/quick/a").ends_with("ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_500_with_an_id_and_the_connection_goes_on() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.connect();
    let answer = client.get("/boom");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.ends_with(r#"{"error":"internal error"}"#), "{answer}");
    assert_eq!(header_of(&answer, "x-request-id").unwrap().len(), 16);
    assert!(client.get("/quick/a").ends_with("ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_the_id_of_its_answer_and_knows_its_client() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.connect();
    client.send(
        "GET /client HTTP/1.1\r\nhost: test\r\nx-request-id: mine\r\nx-forwarded-for: 192.0.2.1\r\n\r\n",
    );
    let answer = client.answer();
    let id = header_of(&answer, "x-request-id").unwrap();
    assert!(answer.ends_with(&format!("\r\n\r\n127.0.0.1 {id}")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_believed_whom_it_speaks_for_at_each_request() {
    let proxies = Proxies::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let server = Server::behind(proxies, Limits::default()).await;
    let mut client = server.connect();
    for (headers, expected) in [
        ("x-forwarded-for: 192.0.2.1\r\n", "192.0.2.1"),
        ("x-forwarded-for: 198.51.100.1, 2001:db8::7\r\n", "2001:db8::7"),
        ("x-forwarded-for: 203.0.113.1\r\nx-forwarded-for: 192.0.2.2, 127.0.0.9\r\n", "192.0.2.2"),
        ("x-forwarded-for: nonsense\r\n", "127.0.0.1"),
        ("forwarded: for=192.0.2.1\r\nx-real-ip: 192.0.2.1\r\n", "127.0.0.1"),
    ] {
        client.send(&format!("GET /client HTTP/1.1\r\nhost: test\r\n{headers}\r\n"));
        let answer = client.answer();
        assert!(answer.contains(&format!("\r\n\r\n{expected} ")), "{headers}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_connections_and_a_proxy_any() {
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let server = Server::start(limits).await;
    let (mut first, mut second) = (server.connect(), server.connect());
    first.get("/quick/a");
    second.get("/quick/b");
    server.connect().assert_closed();
    assert!(first.get("/quick/c").ends_with("ok"), "the others stay");
    drop(second);
    // Its place is free as soon as the server has seen it go.
    let again = async {
        loop {
            let mut third = server.connect();
            let sent = third.0.write_all(b"GET /quick/d HTTP/1.1\r\nhost: test\r\n\r\n");
            if sent.is_ok() && matches!(third.0.peek(&mut [0]), Ok(1)) {
                break third.answer();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, again).await.unwrap().ends_with("ok"));

    let proxies = Proxies::new(vec!["127.0.0.1".parse().unwrap()]);
    let server = Server::behind(proxies, limits).await;
    let mut all: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut all {
        assert!(client.get("/quick/a").ends_with("ok"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_requests_by_route_on_a_port_of_their_own() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.connect();
    client.get("/quick/a");
    client.get("/quick/b");
    client.get("/boom");
    client.get("/secret-path");
    client.send("BREW /tea HTTP/1.1\r\nhost: test\r\n\r\n");
    client.answer();

    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let serving = tokio::spawn(observe::serve_metrics(socket, server.metrics.clone(), pending()));
    let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    serving.abort();
    for line in [
        r#"guildhall_requests_total{method="GET",route="/quick/{name}",status="2xx"} 2"#,
        r#"guildhall_requests_total{method="GET",route="/boom",status="5xx"} 1"#,
        r#"guildhall_requests_total{method="GET",route="-",status="4xx"} 1"#,
        r#"guildhall_requests_total{method="OTHER",route="-",status="4xx"} 1"#,
        r#"guildhall_request_duration_seconds_count{route="/quick/{name}"} 2"#,
        "guildhall_open_connections 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is missing from\n{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}
