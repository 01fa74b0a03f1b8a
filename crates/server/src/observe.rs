//! What can be seen of the running server: its log, its metrics, and the id that ties an answer to its log line.
//!
//! One line per request, one per failure, at the place where it is handled. What a line shows of a request is the
//! pattern of its route and the address it comes from, never its path, query or headers: those can carry tokens.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::{Route, get};
use guildhall_domain::clock::Random;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tower::layer::layer_fn;
use tower::{Service, service_fn};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::client::Client;
use crate::http::{self, Cause};
use crate::listen::{self, Limits};

mod json;

/// The header that carries a [`RequestId`].
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Upper bounds of the buckets that durations are counted in, in seconds.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The route of a request that matches none, in log and metrics.
const UNMATCHED: &str = "-";

// --- The log ---------------------------------------------------------------------------------------------------------

/// Log bytes that may wait for the sink; beyond that lines are dropped and counted.
const WAITING_MAX: usize = 1024 * 1024;

/// Log bytes that are written without waiting for more.
const BATCH: usize = 32 * 1024;

/// How long a line may wait for others to be written with.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// How long the end of the program waits for a sink that does not take the last lines.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// Keeps the log going; dropping it writes the lines that wait, and gives up on a blocked sink after a second.
#[must_use = "the log ends when this is dropped"]
pub struct Guard(Arc<Sink>);

/// Sends what `filter` lets through to standard error: text with colours to a `terminal`, else one JSON object a line.
///
/// `filter` is a level (`info`) or directives (`warn,guildhall=debug`). Times are the machine's, in UTC. Panics are
/// logged as well, in place of what the standard library prints. A sink that blocks costs lines, never requests: what
/// finds no room in memory is dropped, and how many those were is logged when there is room again.
///
/// # Errors
/// One line that says what is wrong with `filter`, or that the log was set up before.
pub fn init(filter: &str, terminal: bool) -> Result<Guard, String> {
    let filter = parse_filter(filter)?;
    let (sink, guard) = start(io::stderr(), |lines| tracing::warn!(lines, "log lines were dropped"))
        .map_err(|error| format!("the log's thread does not start: {error}"))?;
    tracing::subscriber::set_global_default(subscriber(filter, terminal, sink))
        .map_err(|_| String::from("the log is set up already"))?;
    log_panics();
    Ok(guard)
}

/// A word alone is a level: the library would take any other for the name of a module.
fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    let is_word = |part: &&str| !part.is_empty() && !part.contains(['=', '[', ':', '{']);
    for word in text.split(',').map(str::trim).filter(is_word) {
        if word.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{word:?} is no level (off, error, warn, info, debug, trace); for a module write guildhall=debug"
            ));
        }
    }
    EnvFilter::try_new(text).map_err(|error| format!("{text:?} is no log filter: {error}"))
}

fn subscriber(filter: EnvFilter, terminal: bool, sink: Arc<Sink>) -> Box<dyn Subscriber + Send + Sync> {
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(sink).with_ansi(terminal);
    if terminal { Box::new(lines.finish()) } else { Box::new(lines.event_format(json::Lines).finish()) }
}

/// Logs each panic once, with the request it happened in.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let id = CURRENT.get();
        let id = id.as_ref().map(RequestId::as_str);
        let text = panic.payload_as_str().unwrap_or("no text");
        let place = panic.location().map(tracing::field::display);
        tracing::error!(id, text, place, "panic");
    }));
}

/// Lines on their way to a thread that writes them.
struct Sink {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
    closing: bool,
    closed: bool,
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what waits into `batch`, as soon as it is worth a write; how many lines found no room, and whether this
    /// is the end.
    fn take(&self, batch: &mut Vec<u8>) -> (u64, bool) {
        let empty = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.closing;
        let gathering = |waiting: &mut Waiting| waiting.bytes.len() < BATCH && !waiting.closing;
        let state = self.changed.wait_while(self.lock(), empty).unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, FLUSH_EVERY, gathering)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.bytes, batch);
        (std::mem::take(&mut state.dropped), state.closing)
    }
}

/// Takes one line at a time: the formatter writes each as a whole.
impl Write for &Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        let before = state.bytes.len();
        let after = before + line.len();
        if state.closed || after > WAITING_MAX {
            state.dropped += 1;
            return Ok(line.len());
        }
        state.bytes.extend_from_slice(line);
        drop(state);
        if before == 0 || (before < BATCH && after >= BATCH) {
            self.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closing = true;
        self.0.changed.notify_all();
        // Whether it closed in time changes nothing: the program ends.
        let _ = self.0.changed.wait_timeout_while(state, LAST_FLUSH, |state| !state.closed);
    }
}

/// Starts the thread that writes to `out`, and tells `report` how many lines it had no room for.
fn start(out: impl Write + Send + 'static, report: fn(u64)) -> io::Result<(Arc<Sink>, Guard)> {
    let sink = Arc::new(Sink { state: Mutex::default(), changed: Condvar::new() });
    let (writing, guard) = (sink.clone(), Guard(sink.clone()));
    std::thread::Builder::new().name("log".into()).spawn(move || write_lines(&writing, out, report))?;
    Ok((sink, guard))
}

fn write_lines(sink: &Sink, mut out: impl Write, report: fn(u64)) {
    let mut batch = Vec::new();
    loop {
        let (dropped, closing) = sink.take(&mut batch);
        // A sink that is gone leaves nobody to tell.
        let _ = out.write_all(&batch).and_then(|()| out.flush());
        batch.clear();
        if dropped > 0 {
            report(dropped);
        }
        let mut state = sink.lock();
        if closing && state.bytes.is_empty() {
            state.closed = true;
            sink.changed.notify_all();
            return;
        }
    }
}

// --- The request's id ------------------------------------------------------------------------------------------------

/// The name of one request: 16 hex digits of our own making, whatever the client sent.
///
/// In the extensions of every request, in its line of the log, and in the header `X-Request-Id` of its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 16]);

impl RequestId {
    fn new(random: &Random) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut id = [0; 16];
        for (pair, byte) in id.chunks_exact_mut(2).zip(random.bytes::<8>()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(id)
    }

    /// The 16 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are text")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

thread_local! {
    /// The request this thread is working on, so that the log of a panic can name it.
    static CURRENT: Cell<Option<RequestId>> = const { Cell::new(None) };
}

// --- Around every request --------------------------------------------------------------------------------------------

/// `router` with every answer identified, logged and counted, and every panic of a handler turned into a 500.
///
/// Has to be the last layer, so that it is around all others. The duration is that from the request's header to the
/// answer's; a body that panics while it is sent ends its connection or stream.
pub fn layer(router: Router, metrics: Metrics, random: Random) -> Router {
    router.layer(layer_fn(move |mut route: Route| {
        // One for each route and method: this is run when the router is made.
        let observer =
            Arc::new(Observer { metrics: metrics.clone(), random: random.clone(), series: OnceLock::new() });
        service_fn(move |mut request: Request| {
            let seen = Seen::new(observer.clone(), &mut request);
            let answer = route.call(request);
            async move {
                let answer = catch_panic(seen.id, answer).await;
                Ok::<_, Infallible>(seen.done(answer))
            }
        })
    }))
}

struct Observer {
    metrics: Metrics,
    random: Random,
    /// The metrics of the first route seen here: nearly always the only one.
    series: OnceLock<Series>,
}

/// A request that is being answered.
struct Seen {
    observer: Arc<Observer>,
    id: RequestId,
    method: &'static str,
    route: Option<MatchedPath>,
    client: Option<Client>,
    begun: Instant,
}

impl Seen {
    fn new(observer: Arc<Observer>, request: &mut Request) -> Self {
        let id = RequestId::new(&observer.random);
        let method = method_name(request.method());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let client = request.extensions().get::<Client>().copied();
        request.extensions_mut().insert(id);
        Self { observer, id, method, route, client, begun: Instant::now() }
    }

    fn done(self, mut answer: Response) -> Response {
        let duration = self.begun.elapsed();
        let route = self.route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
        let status = answer.status();
        let id = HeaderValue::from_str(self.id.as_str()).expect("hex digits are a header's value");
        answer.headers_mut().insert(X_REQUEST_ID, id);
        // A failure whose cause is ours is logged once, here, with the id that its client was told.
        if let Some(Cause(cause)) = answer.extensions_mut().remove::<Cause>() {
            tracing::error!(id = self.id.as_str(), route, cause, "failed");
        }
        tracing::info!(
            id = self.id.as_str(),
            method = self.method,
            route,
            status = status.as_u16(),
            client = self.client.map(|Client(address)| tracing::field::display(address)),
            duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
        let Observer { metrics, series, .. } = &*self.observer;
        let series = series.get_or_init(|| metrics.series(route));
        if *series.route == *route {
            series.record(metrics, self.method, status, duration);
        } else {
            metrics.series(route).record(metrics, self.method, status, duration);
        }
        answer
    }
}

/// The answer of `handler`, or a 500 where it panics; the panic itself is logged by the hook that [`init`] sets.
async fn catch_panic(id: RequestId, handler: impl Future<Output = Result<Response, Infallible>>) -> Response {
    let mut handler = pin!(handler);
    poll_fn(|cx| {
        CURRENT.set(Some(id));
        // Not polled again after a panic, so that nothing sees what it left half done.
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)));
        CURRENT.set(None);
        match polled {
            Ok(polled) => polled.map(|Ok(answer)| answer),
            Err(_) => Poll::Ready(internal_error()),
        }
    })
    .await
}

fn internal_error() -> Response {
    let mut answer = Response::new(Body::from(r#"{"error":"internal error"}"#));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    http::guard(answer.headers_mut());
    answer
}

/// The name of `method`, or `OTHER`: the client chooses it, but not how many series and how long lines there are.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

// --- The metrics -----------------------------------------------------------------------------------------------------

/// What is counted: requests by method, route and class of status, their durations by route, and open connections.
///
/// A clone is another handle on the same.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    open: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

impl Metrics {
    /// All at nothing.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a second registry is rarely what is meant: make it seen")]
    pub fn new() -> Self {
        let requests = Family::default();
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let open = Gauge::default();
        let mut registry = Registry::with_prefix("guildhall");
        registry.register("requests", "Requests answered", requests.clone());
        registry.register(
            "request_duration_seconds",
            "Time from a request's header to its answer's",
            durations.clone(),
        );
        registry.register("open_connections", "Connections open now", open.clone());
        Self(Arc::new(Families { registry, requests, durations, open }))
    }

    /// The gauge of open connections, for [`listen::Listener::counted`].
    #[must_use]
    pub fn open_connections(&self) -> Gauge {
        self.0.open.clone()
    }

    /// All of it as OpenMetrics text, which Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0.registry).expect("a String takes every write");
        text
    }

    fn series(&self, route: &str) -> Series {
        let durations = self.0.durations.get_or_create_owned(&RouteLabels { route: route.into() });
        Series { route: route.into(), durations, requests: Default::default() }
    }
}

/// The metrics of one route, found once.
struct Series {
    route: Box<str>,
    durations: Histogram,
    /// By class of status, for the first method that had it.
    requests: [OnceLock<(&'static str, Counter)>; 5],
}

impl Series {
    fn record(&self, metrics: &Metrics, method: &'static str, status: StatusCode, duration: Duration) {
        const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        let find = || {
            let labels = RequestLabels { method, route: self.route.to_string(), status: CLASSES[class] };
            metrics.0.requests.get_or_create_owned(&labels)
        };
        let (known, counter) = self.requests[class].get_or_init(|| (method, find()));
        if *known == method {
            counter.inc();
        } else {
            find().inc();
        }
        self.durations.observe(duration.as_secs_f64());
    }
}

/// Answers `GET /metrics` on `listener`, which should be one that only the monitoring reaches, until `stop` is ready.
///
/// # Errors
/// As [`listen::serve`].
pub async fn serve_metrics(
    listener: TcpListener,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let answer = move || std::future::ready(([(CONTENT_TYPE, OPEN_METRICS)], metrics.render()));
    let router = Router::new().route("/metrics", get(answer));
    listen::serve(listener, router, Limits { connections: 64, ..Limits::default() }, stop).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tower::ServiceExt;

    use super::*;

    /// A place to write to that sends on what it gets, once `open` lets it.
    struct Out {
        sent: mpsc::Sender<String>,
        open: Option<mpsc::Receiver<()>>,
    }

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(open) = self.open.take() {
                open.recv().expect("the test opens");
            }
            let _ = self.sent.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_without_being_asked_for_and_the_last_ones_at_the_end() {
        let (sent, got) = mpsc::channel();
        let (sink, guard) = start(Out { sent, open: None }, |_| {}).unwrap();
        (&*sink).write_all(b"first\n").unwrap();
        assert_eq!(got.recv().unwrap(), "first\n");
        (&*sink).write_all(b"last\n").unwrap();
        drop(guard);
        assert_eq!(got.try_recv().unwrap(), "last\n");
    }

    #[test]
    fn a_blocked_sink_costs_lines_that_are_counted() {
        static REPORTED: Mutex<u64> = Mutex::new(0);
        let (sent, got) = mpsc::channel();
        let (release, open) = mpsc::channel();
        let report = |lines| *REPORTED.lock().unwrap() += lines;
        let (sink, guard) = start(Out { sent, open: Some(open) }, report).unwrap();
        let line = [b'x'; 1000];
        let lines = 3 * WAITING_MAX / line.len();
        for _ in 0..lines {
            (&*sink).write_all(&line).unwrap();
        }
        release.send(()).unwrap();
        drop(guard);
        let written: usize = got.try_iter().map(|bytes| bytes.len()).sum();
        let dropped = *REPORTED.lock().unwrap();
        assert!(dropped > 0);
        assert_eq!(written / line.len() + usize::try_from(dropped).unwrap(), lines);
    }

    #[test]
    fn a_bad_filter_is_told_in_one_line() {
        let Err(error) = init("guildhall=\nloud=7", false) else { panic!("no such level") };
        assert!(error.contains("guildhall"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[tokio::test]
    async fn a_request_is_logged_in_one_json_line_that_shows_no_path_query_or_header() {
        let (sent, got) = mpsc::channel();
        let (sink, guard) = start(Out { sent, open: None }, |_| {}).unwrap();
        let log = tracing::subscriber::set_default(subscriber(EnvFilter::new("info"), false, sink));
        let router = Router::new().route("/reset/{token}", get(|| async { StatusCode::NO_CONTENT }));
        let router = layer(router, Metrics::new(), Random::seeded(1));
        let request = Request::get("/reset/secret1?key=secret2")
            .header("authorization", "Bearer secret3")
            .header("x-request-id", "secret4")
            .body(Body::empty())
            .unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let id = answer.headers()[X_REQUEST_ID].to_str().unwrap().to_owned();
        drop((log, guard));

        let log: String = got.try_iter().collect();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(!log.contains("secret"), "{log}");
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(line["message"], "request");
        assert_eq!(line["id"], id);
        assert_eq!(line["method"], "GET");
        assert_eq!(line["route"], "/reset/{token}");
        assert_eq!(line["status"], 204);
        assert!(line["duration_us"].is_u64());
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
