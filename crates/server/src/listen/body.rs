//! The bodies of requests and answers, which tell the connection's deadlines what moves.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::Version;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::BodyTimeout;
use super::deadlines::Activity;

/// A request that has begun and whose answer has not ended.
pub(super) struct InFlight(Arc<Activity>);

impl InFlight {
    pub(super) fn begin(activity: &Arc<Activity>, version: Version) -> Self {
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
pub(super) struct Answer {
    body: Body,
    in_flight: InFlight,
    /// Counted in [`Activity::handed`].
    handed: bool,
}

impl Answer {
    pub(super) fn new(body: Body, in_flight: InFlight) -> Self {
        Self { body, in_flight, handed: false }
    }

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
pub(super) fn request_body(body: Incoming, idle: Duration) -> Body {
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
