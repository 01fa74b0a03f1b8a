//! Bodies in: whole, within their own size, and all together within what this server gives them of its memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;

use super::Fault;
use crate::listen::is_body_timeout;

/// The most bytes of bodies in memory at once, those being answered included; while they grow they may take twice that.
pub const BODIES_MAX: usize = 256 * 1024 * 1024;

/// A body up to this is small: the last quarter of the room is for small ones alone, so that large ones that come slowly
/// hold up no ordinary request.
const SMALL: usize = 64 * 1024;

/// How long a whole body may take to come: 11 MiB at 1 Mbit/s take 90 seconds.
const WITHIN: Duration = Duration::from_secs(120);

/// The room that all bodies share.
static ROOM: Room = Room::of(BODIES_MAX);

/// The whole body, where it has at most `most` bytes. Its part of the common room is held until the last of it is dropped.
///
/// # Errors
/// [`Fault::TooLarge`], [`Fault::TooSlow`], [`Fault::Broken`], [`Fault::NoRoom`].
pub async fn read_body(body: Body, most: usize) -> Result<Bytes, Fault> {
    // However steadily it drips, a body does not hold its place for ever.
    tokio::time::timeout(WITHIN, collect(body, most, &ROOM)).await.map_err(|_| Fault::TooSlow)?
}

async fn collect(mut body: Body, most: usize, room: &'static Room) -> Result<Bytes, Fault> {
    let mut share = Share { room, bytes: 0 };
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| if is_body_timeout(&error) { Fault::TooSlow } else { Fault::Broken })?;
        // What is no data stands behind the body, and means nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > most - share.bytes {
            return Err(Fault::TooLarge);
        }
        share.grow(data.len())?;
        if whole.is_empty() && hyper::body::Body::is_end_stream(&body) {
            return Ok(Bytes::from_owner(Held { bytes: data, _share: share }));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { Bytes::new() } else { Bytes::from_owner(Held { bytes: whole, _share: share }) })
}

/// A body and its part of the room.
struct Held<B> {
    bytes: B,
    _share: Share,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// So many bytes, and how many of them are taken.
struct Room {
    most: usize,
    taken: AtomicUsize,
}

impl Room {
    const fn of(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }
}

/// What one body has of the room; given back when this is dropped.
struct Share {
    room: &'static Room,
    bytes: usize,
}

impl Share {
    /// # Errors
    /// [`Fault::NoRoom`].
    fn grow(&mut self, by: usize) -> Result<(), Fault> {
        let most = if self.bytes + by <= SMALL { self.room.most } else { self.room.most / 4 * 3 };
        let taken = self.room.taken.fetch_add(by, Ordering::Relaxed) + by;
        self.bytes += by;
        if taken > most { Err(Fault::NoRoom) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[usize]) -> Body {
        let parts: Vec<_> =
            parts.iter().map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size]))).collect();
        Body::from_stream(futures_util::stream::iter(parts))
    }

    #[tokio::test]
    async fn a_body_is_whole_and_not_longer_than_it_may_be() {
        static ROOM: Room = Room::of(1000);
        for sizes in [&[][..], &[10], &[4, 6], &[0, 10, 0], &[1, 2, 3, 4]] {
            let whole: usize = sizes.iter().sum();
            assert_eq!(collect(parts(sizes), 10, &ROOM).await.unwrap().len(), whole, "{sizes:?}");
        }
        assert_eq!(collect(Body::from("0123456789"), 10, &ROOM).await.unwrap(), "0123456789");
        for body in [parts(&[11]), parts(&[10, 1]), Body::from("0123456789x")] {
            assert_eq!(collect(body, 10, &ROOM).await, Err(Fault::TooLarge));
        }
        assert_eq!(ROOM.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn all_bodies_share_one_room_and_hold_it_until_they_are_dropped() {
        static ROOM: Room = Room::of(1000);
        let first = collect(Body::from(vec![0; 600]), 1000, &ROOM).await.unwrap();
        let part = first.slice(..1);
        let second = collect(parts(&[200, 200]), 1000, &ROOM).await.unwrap();
        assert_eq!(collect(parts(&[1]), 1000, &ROOM).await, Err(Fault::NoRoom));
        drop(first);
        assert_eq!(
            collect(parts(&[1]), 1000, &ROOM).await,
            Err(Fault::NoRoom),
            "a part is left of the first"
        );
        drop(part);
        let third = collect(parts(&[300, 300]), 1000, &ROOM).await.unwrap();
        assert_eq!(ROOM.taken.load(Ordering::Relaxed), 1000);
        drop((second, third));
        assert_eq!(ROOM.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn large_bodies_leave_a_quarter_to_small_ones() {
        static ROOM: Room = Room::of(8 * SMALL);
        let large = collect(parts(&[6 * SMALL]), 8 * SMALL, &ROOM).await.unwrap();
        assert_eq!(collect(parts(&[SMALL, 1]), 8 * SMALL, &ROOM).await, Err(Fault::NoRoom));
        let small = collect(parts(&[SMALL]), 8 * SMALL, &ROOM).await.unwrap();
        drop(small);
        drop(large);
        assert_eq!(collect(parts(&[SMALL, 1]), 8 * SMALL, &ROOM).await.unwrap().len(), SMALL + 1);
    }
}
