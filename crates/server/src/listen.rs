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
//! A cap per address is left to the proxy in front, behind which all peers have one address.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tower::Service;

use self::deadlines::{Activity, Deadlines, Verdict};

mod deadlines;

/// Bytes of a request's header, the first line included; an HTTP/1.1 header has at most 100 fields besides (hyper's
/// own limit). A larger one is answered with 431.
const HEADER_BYTES: usize = 64 * 1024;

/// Requests that one HTTP/2 connection may have open at once; further ones are refused by the protocol.
const STREAMS: u32 = 100;

/// How long an HTTP/2 peer may leave a ping unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long accepting rests when the process or the machine has no file descriptor or memory to spare.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a full house is logged, at most.
const FULL_EVERY: Duration = Duration::from_secs(60);

/// What a peer may hold, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections at once, at least 1.
    pub connections: usize,
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
            header: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            keep_alive_idle: Duration::from_secs(75),
            write_idle: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// The other end of the connection a request came by: in the extensions of every request.
///
/// Behind a proxy this is the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

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

/// A listening socket, and the gauge that shows how many of its connections are open.
///
/// A plain [`TcpListener`] becomes one whose gauge nobody sees.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    open: Gauge,
}

impl Listener {
    /// `socket`, whose open connections `open` counts.
    #[must_use]
    pub fn counted(socket: TcpListener, open: Gauge) -> Self {
        Self { socket, open }
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
    let Listener { socket, open } = listener.into();
    tracing::debug!(address = %socket.local_addr()?, "accepting connections");
    let (stopping, stopped) = watch::channel(false);
    let places = u32::try_from(limits.connections).unwrap_or(u32::MAX).max(1);
    let mut house =
        House { places: Arc::new(Semaphore::new(places as usize)), full_logged: None, accept_failing: false };
    let protocols = Arc::new(protocols(&limits));
    // With its state in place a router is ready once for all, not again at every request.
    let router = router.with_state(());

    let mut stop = pin!(stop);
    loop {
        let (stream, peer, place) = tokio::select! {
            biased;
            () = &mut stop => break,
            next = house.next(&socket) => next,
        };
        let connection = Connection {
            activity: Arc::default(),
            peer: Peer(peer),
            limits,
            _place: place,
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
        .max_header_list_size(HEADER_BYTES as u32)
        .keep_alive_interval(limits.keep_alive_idle)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// The places there are, and what was last logged about taking them.
struct House {
    places: Arc<Semaphore>,
    full_logged: Option<Instant>,
    accept_failing: bool,
}

impl House {
    /// The next connection, as soon as there is a place for it.
    async fn next(&mut self, socket: &TcpListener) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let place = self.place().await;
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => {
                    self.accept_failing = false;
                    // Where this fails the connection is gone, as its first read will tell.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer, place);
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
        let now = Instant::now();
        if self.full_logged.is_none_or(|last| now.duration_since(last) >= FULL_EVERY) {
            tracing::warn!("all connections are taken; new ones wait");
            self.full_logged = Some(now);
        }
        self.places.clone().acquire_owned().await.expect("nobody closes this semaphore")
    }
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
    peer: Peer,
    limits: Limits,
    _place: OwnedSemaphorePermit,
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
        let (activity, peer, body_idle) = (&self.activity, self.peer, self.limits.body_idle);
        let service = service_fn(move |request: Request<Incoming>| {
            let in_flight = InFlight::begin(activity, request.version());
            let mut request = request.map(|body| request_body(body, body_idle));
            request.extensions_mut().insert(peer);
            let answer = router.clone().call(request);
            async move { Ok::<_, Infallible>(answer.await?.map(|body| Answer { body, in_flight, handed: false })) }
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

/// A request that has begun and whose answer has not ended.
struct InFlight(Arc<Activity>);

impl InFlight {
    fn begin(activity: &Arc<Activity>, version: Version) -> Self {
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        activity.events.fetch_add(1, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            activity.multiplexed.store(true, Ordering::Relaxed);
        }
        Self(activity.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.events.fetch_add(1, Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}

/// An answer's body, which keeps its request in flight until it has ended or was given up.
struct Answer {
    body: Body,
    in_flight: InFlight,
    /// Counted in [`Activity::handed`].
    handed: bool,
}

impl Answer {
    fn set_handed(&mut self, handed: bool) {
        if self.handed == handed {
            return;
        }
        self.handed = handed;
        let count = &self.in_flight.0.handed;
        if handed {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let result = Pin::new(&mut self.body).poll_frame(cx);
        let more = matches!(result, Poll::Ready(Some(Ok(_)))) && !self.body.is_end_stream();
        self.set_handed(more);
        if more {
            self.in_flight.0.events.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.set_handed(false);
    }
}

/// `body` as handlers get it. One that is empty from the start, as most are, costs no allocation.
fn request_body(body: Incoming, idle: Duration) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(RequestBody { body, idle, end: None, timer: None })
}

/// A request's body, which ends in [`BodyTimeout`] when nothing more of it comes.
struct RequestBody {
    body: Incoming,
    idle: Duration,
    /// When the wait that goes on is over.
    end: Option<Instant>,
    /// Made at the first wait; armed for the end of one that may be over already, and looked at when it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Box<dyn Error + Send + Sync>>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.end = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let end = *this.end.get_or_insert_with(|| Instant::now() + this.idle);
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= end {
                return Poll::Ready(Some(Err(BodyTimeout.into())));
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
