//! The accept loop: HTTP/1.1 and HTTP/2 (with prior knowledge) under limits that no peer can stretch.
//!
//! What a peer may hold is one of [`Limits::connections`] and a few buffers, and only while it keeps the exchange
//! moving. Each connection has one timer. It is armed for the earliest instant at which the connection could have to
//! end and is looked at again when it fires, so that a request that finds nothing wrong never touches it: hyper's own
//! header timer would be made anew for every request, and would end a connection that merely rests between two.
//!
//! Beyond the cap new connections wait in the kernel's queue and are served in their order: their peers see a slow
//! first answer, and a refusal or their own timeout once that queue is full too. Closing them at once would give each
//! free place to whoever tries again the fastest, which is the attacker; so everybody waits for what the limits end.
//! So that one client cannot be everybody, each may have [`Limits::connections_per_address`]; what it opens beyond that
//! is closed at once. Proxies that are configured are believed about whom they speak for, and have no such limit.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::Service;

use self::body::{Answer, InFlight, request_body};
use self::crowd::{Crowd, Member};
use self::deadlines::{Activity, Deadlines, Verdict};
use crate::client::{Client, Proxies};

mod body;
mod crowd;
mod deadlines;

/// Bytes of a request's header, the first line included; an HTTP/1.1 header has at most 100 fields besides (hyper's
/// own limit). A larger one is answered with 431.
const HEADER_BYTES: usize = 64 * 1024;

/// Requests that one HTTP/2 connection may have open at once; further ones are refused by the protocol.
const STREAMS: u32 = 32;

/// Bytes of a request's header on HTTP/2, where one connection holds many.
const STREAM_HEADER_BYTES: u32 = 16 * 1024;

/// How long an HTTP/2 peer may leave a ping unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long accepting rests when the process or the machine has no file descriptor or memory to spare.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a full house, or a client that fills its part of it, is logged, at most.
const FULL_EVERY: Duration = Duration::from_secs(60);

/// What a peer may hold, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections at once, at least 1.
    pub connections: usize,
    /// Of these, those of one client ([`crate::client::Network`]) that is no trusted proxy, at least 1.
    pub connections_per_address: usize,
    /// For a request's whole header, from its first byte; the first one of a connection counts from the accept.
    ///
    /// On HTTP/2 this bounds the preface and the first request. What comes later cannot be told from other frames, and
    /// is bounded by [`Limits::keep_alive_idle`].
    pub header: Duration,
    /// Without one byte of a request's body, while the handler waits for it: then the body ends in [`BodyTimeout`].
    pub body_idle: Duration,
    /// Between the end of an answer and the next request. An HTTP/2 connection is told to go away first, and may take
    /// as long again to fetch what was already answered.
    pub keep_alive_idle: Duration,
    /// Without the peer taking one byte of an answer. Where only HTTP/2's own window holds an answer back, the end
    /// may come as late as at twice this limit.
    pub write_idle: Duration,
    /// For requests in flight when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 1_000,
            header: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            keep_alive_idle: Duration::from_secs(75),
            write_idle: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// In the extensions of an HTTP/1.1 request that does not name its host, or names more than one: servers on its way may
/// have taken it for different requests, so it is to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// No byte of the request's body came for [`Limits::body_idle`].
///
/// The error that ends the body; [`is_body_timeout`] finds it under whatever wrapped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyTimeout;

impl std::fmt::Display for BodyTimeout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request's body did not arrive in time")
    }
}

impl Error for BodyTimeout {}

/// Whether `error`, or one it was made from, is a [`BodyTimeout`]: the case for a 408.
#[must_use]
pub fn is_body_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<BodyTimeout>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// A listening socket, the gauge that shows how many of its connections are open, and the proxies in front of it.
///
/// A plain [`TcpListener`] becomes one whose gauge nobody sees, with no proxies.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    open: Gauge,
    proxies: Proxies,
}

impl Listener {
    /// `socket`, whose open connections `open` counts.
    #[must_use]
    pub fn counted(socket: TcpListener, open: Gauge) -> Self {
        Self { socket, open, proxies: Proxies::default() }
    }

    /// The same, where `proxies` are believed about whom they speak for.
    #[must_use]
    pub fn behind(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::counted(socket, Gauge::default())
    }
}

/// Serves `router` until `stop` is ready; then closes idle connections at once, lets requests in flight finish for
/// [`Limits::drain`] at most, and returns.
///
/// No failure to accept ends the loop.
///
/// # Errors
/// Where `listener` is not bound to an address.
pub async fn serve(
    listener: impl Into<Listener>,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let Listener { socket, open, proxies } = listener.into();
    tracing::debug!(address = %socket.local_addr()?, "accepting connections");
    let (stopping, stopped) = watch::channel(false);
    let places = u32::try_from(limits.connections).unwrap_or(u32::MAX).max(1);
    let mut house = House {
        places: Arc::new(Semaphore::new(places as usize)),
        crowd: Crowd::default(),
        proxies,
        per_address: limits.connections_per_address,
        full_logged: None,
        crowded_logged: None,
        accept_failing: false,
    };
    let protocols = Arc::new(protocols(&limits));
    // With its state in place a router is ready once for all, not again at every request.
    let router = router.with_state(());

    let mut stop = pin!(stop);
    loop {
        let Guest { stream, peer, is_proxy, place, member } = tokio::select! {
            biased;
            () = &mut stop => break,
            next = house.next(&socket) => next,
        };
        let connection = Connection {
            activity: Arc::default(),
            peer,
            proxies: is_proxy.then(|| house.proxies.clone()),
            limits,
            _place: place,
            _member: member,
            _counted: Counted::one(&open),
        };
        tokio::spawn(connection.run(stream, router.clone(), protocols.clone(), stopped.clone()));
    }

    drop(socket);
    stopping.send_replace(true);
    // Each connection keeps its place until it has ended.
    let all = house.places.acquire_many(places);
    if timeout(limits.drain, all).await.is_err() {
        tracing::warn!("stopped with requests still in flight");
    }
    Ok(())
}

/// How both protocols are spoken.
fn protocols(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_buf_size(HEADER_BYTES);
    // The limits on streams that are reset in haste are hyper's own.
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(STREAM_HEADER_BYTES)
        .keep_alive_interval(limits.keep_alive_idle)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// The places there are, and what was last logged about taking them.
struct House {
    places: Arc<Semaphore>,
    crowd: Crowd,
    proxies: Proxies,
    per_address: usize,
    full_logged: Option<Instant>,
    crowded_logged: Option<Instant>,
    accept_failing: bool,
}

/// A connection that was let in.
struct Guest {
    stream: TcpStream,
    peer: IpAddr,
    is_proxy: bool,
    place: OwnedSemaphorePermit,
    member: Option<Member>,
}

impl House {
    /// The next connection, as soon as there is a place for it.
    async fn next(&mut self, socket: &TcpListener) -> Guest {
        let place = self.place().await;
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => {
                    self.accept_failing = false;
                    let peer = peer.ip().to_canonical();
                    let is_proxy = self.proxies.has(peer);
                    let member = if is_proxy { None } else { self.crowd.enter(peer, self.per_address) };
                    if member.is_none() && !is_proxy {
                        self.tell_crowded(peer);
                        continue;
                    }
                    // Where this fails the connection is gone, as its first read will tell.
                    let _ = stream.set_nodelay(true);
                    return Guest { stream, peer, is_proxy, place, member };
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !self.accept_failing {
                        tracing::error!(%error, "cannot accept connections");
                        self.accept_failing = true;
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn place(&mut self) -> OwnedSemaphorePermit {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        if is_due(&mut self.full_logged) {
            tracing::warn!("all connections are taken; new ones wait");
        }
        self.places.clone().acquire_owned().await.expect("nobody closes this semaphore")
    }

    fn tell_crowded(&mut self, client: IpAddr) {
        if is_due(&mut self.crowded_logged) {
            tracing::warn!(%client, "a client has all connections that one may have; further ones are closed");
        }
    }
}

/// Whether what was logged `last` is to be logged again, which is taken for done.
fn is_due(last: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let is_due = last.is_none_or(|last| now.duration_since(last) >= FULL_EVERY);
    if is_due {
        *last = Some(now);
    }
    is_due
}

/// Whether `error` of an accept says only that the connection was gone before it was taken.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// One in the gauge of open connections while it lives.
struct Counted(Gauge);

impl Counted {
    fn one(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One connection, with what it holds while it is open.
struct Connection {
    activity: Arc<Activity>,
    peer: IpAddr,
    /// Where the other end is one of them.
    proxies: Option<Proxies>,
    limits: Limits,
    _place: OwnedSemaphorePermit,
    _member: Option<Member>,
    _counted: Counted,
}

impl Connection {
    /// Speaks with the peer until it leaves, breaks a limit, or the server has stopped.
    async fn run(
        self,
        stream: TcpStream,
        router: Router,
        protocols: Arc<auto::Builder<TokioExecutor>>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let (activity, proxies, body_idle) = (&self.activity, &self.proxies, self.limits.body_idle);
        let peer = Client(self.peer);
        let service = service_fn(move |request: Request<Incoming>| {
            let in_flight = InFlight::begin(activity, request.version());
            let mut request = request.map(|body| request_body(body, body_idle));
            let client = proxies.as_ref().map_or(peer, |proxies| proxies.client(peer.0, request.headers()));
            request.extensions_mut().insert(client);
            let is_malformed = is_malformed(&request);
            if is_malformed {
                request.extensions_mut().insert(Malformed);
            }
            let is_last = is_malformed || is_in_chunks(&request);
            let answer = router.clone().call(request);
            async move {
                let mut answer = answer.await?.map(|body| Answer::new(body, in_flight));
                if is_last {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let io = Io { stream: TokioIo::new(stream), activity: self.activity.clone() };
        let mut connection = pin!(protocols.serve_connection(io, service));
        let mut stop = pin!(stopped.wait_for(|stopped| *stopped));
        let mut stopping = false;
        let opened = Instant::now();
        let mut deadlines = Deadlines::new(&self.activity, self.limits, opened);
        let mut timer = pin!(sleep_until(opened + self.limits.header));

        poll_fn(|cx| {
            if !stopping && stop.as_mut().poll(cx).is_ready() {
                stopping = true;
                deadlines.end_by(Instant::now() + self.limits.drain);
                connection.as_mut().graceful_shutdown();
            }
            loop {
                // What ends a connection early, from either side, is no event of ours.
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let now = Instant::now();
                match deadlines.look(now) {
                    Verdict::Cut => return Poll::Ready(()),
                    Verdict::SayGoodbye => connection.as_mut().graceful_shutdown(),
                    Verdict::LookAgain(at) => {
                        if at < timer.deadline() || timer.is_elapsed() {
                            timer.as_mut().reset(at);
                        }
                        if timer.as_mut().poll(cx).is_pending() {
                            return Poll::Pending;
                        }
                    }
                }
            }
        })
        .await;
    }
}

/// Whether nobody can say for sure which host an HTTP/1.1 request is for. HTTP/2 names it in another place.
fn is_malformed<B>(request: &Request<B>) -> bool {
    let hosts = || request.headers().get_all(header::HOST).iter().take(2).count();
    request.version() == Version::HTTP_11 && hosts() != 1
}

/// Whether the body of an HTTP/1.1 request comes in chunks. Such a request is the last of its connection: where it names a
/// length too, which hyper drops, a server on its way may have gone by that, and taken for its body what here would be the
/// next request.
fn is_in_chunks<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11 && request.headers().contains_key(header::TRANSFER_ENCODING)
}

/// The socket, which tells what moves on it.
struct Io {
    stream: TokioIo<TcpStream>,
    activity: Arc<Activity>,
}

impl Io {
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let blocked = result.is_pending();
        if self.activity.write_blocked.load(Ordering::Relaxed) != blocked {
            self.activity.write_blocked.store(blocked, Ordering::Relaxed);
            if !blocked {
                self.activity.write_moved.fetch_add(1, Ordering::Relaxed);
            }
        }
        result
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if result.is_ready() {
            self.activity.read.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
