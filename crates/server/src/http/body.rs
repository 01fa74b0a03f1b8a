//! Bodies in: whole, within their own size, and all together within what this server gives them of its memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body_util::BodyExt;

use super::Fault;
use crate::client::{Client, Network};
use crate::listen::is_body_timeout;

/// The most bytes of bodies in memory at once, those being answered included; while they grow they may take twice that.
pub const BODIES_MAX: usize = 256 * 1024 * 1024;

/// A body up to this is small: the last quarter of the room is for small ones alone, so that large ones that come slowly
/// hold up no ordinary request.
const SMALL: usize = 64 * 1024;

/// How long a whole body may take to come: 11 MiB at 1 Mbit/s take 90 seconds.
const WITHIN: Duration = Duration::from_secs(120);

/// The room that all bodies share.
static ROOM: LazyLock<Room> = LazyLock::new(|| Room::of(BODIES_MAX));

/// The whole body of `request`, where it has at most `most` bytes. Its part of the common room is held until the last of it is
/// dropped.
///
/// # Errors
/// [`Fault::TooLarge`], [`Fault::TooSlow`], [`Fault::Broken`], [`Fault::NoRoom`].
pub async fn read_body(request: Request, most: usize) -> Result<Bytes, Fault> {
    let network = request.extensions().get().map(|Client(address)| Network::of(*address));
    let share = Share { room: &ROOM, network, bytes: 0, large: 0 };
    // However steadily it drips, a body does not hold its place for ever.
    tokio::time::timeout(WITHIN, collect(request.into_body(), most, share))
        .await
        .map_err(|_| Fault::TooSlow)?
}

async fn collect(mut body: Body, most: usize, mut share: Share) -> Result<Bytes, Fault> {
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
    /// What large bodies of each client take: a quarter of the room at the most.
    by_network: Mutex<HashMap<Network, usize>>,
}

impl Room {
    fn of(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0), by_network: Mutex::default() }
    }
}

/// What one body has of the room; given back when this is dropped.
struct Share {
    room: &'static Room,
    /// Whose it is, where that is known.
    network: Option<Network>,
    bytes: usize,
    /// What of it is counted as its client's.
    large: usize,
}

impl Share {
    /// # Errors
    /// [`Fault::NoRoom`].
    fn grow(&mut self, by: usize) -> Result<(), Fault> {
        let most = if self.bytes + by <= SMALL { self.room.most } else { self.room.most / 4 * 3 };
        let taken = self.room.taken.fetch_add(by, Ordering::Relaxed) + by;
        self.bytes += by;
        if taken > most || self.bytes > SMALL && self.grow_network() > self.room.most / 4 {
            return Err(Fault::NoRoom);
        }
        Ok(())
    }

    /// Counts what this body has as its client's, and answers what the client has in all.
    fn grow_network(&mut self) -> usize {
        let Some(network) = self.network else { return 0 };
        let mut by_network = self.room.by_network.lock().unwrap_or_else(PoisonError::into_inner);
        let all = by_network.entry(network).or_default();
        *all += self.bytes - self.large;
        self.large = self.bytes;
        *all
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        let Some(network) = self.network.filter(|_| self.large > 0) else { return };
        let mut by_network = self.room.by_network.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = by_network.get_mut(&network) {
            *all -= self.large;
            if *all == 0 {
                by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(room: &'static Room) -> Share {
        Share { room, network: None, bytes: 0, large: 0 }
    }

    fn parts(parts: &[usize]) -> Body {
        let parts: Vec<_> =
            parts.iter().map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size]))).collect();
        Body::from_stream(futures_util::stream::iter(parts))
    }

    #[tokio::test]
    async fn a_body_is_whole_and_not_longer_than_it_may_be() {
        static ROOM: LazyLock<Room> = LazyLock::new(|| Room::of(1000));
        for sizes in [&[][..], &[10], &[4, 6], &[0, 10, 0], &[1, 2, 3, 4]] {
            let whole: usize = sizes.iter().sum();
            assert_eq!(collect(parts(sizes), 10, share(&ROOM)).await.unwrap().len(), whole, "{sizes:?}");
        }
        assert_eq!(collect(Body::from("0123456789"), 10, share(&ROOM)).await.unwrap(), "0123456789");
        for body in [parts(&[11]), parts(&[10, 1]), Body::from("0123456789x")] {
            assert_eq!(collect(body, 10, share(&ROOM)).await, Err(Fault::TooLarge));
        }
        assert_eq!(ROOM.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn all_bodies_share_one_room_and_hold_it_until_they_are_dropped() {
        static ROOM: LazyLock<Room> = LazyLock::new(|| Room::of(1000));
        let first = collect(Body::from(vec![0; 600]), 1000, share(&ROOM)).await.unwrap();
        let part = first.slice(..1);
        let second = collect(parts(&[200, 200]), 1000, share(&ROOM)).await.unwrap();
        assert_eq!(collect(parts(&[1]), 1000, share(&ROOM)).await, Err(Fault::NoRoom));
        drop(first);
        assert_eq!(
            collect(parts(&[1]), 1000, share(&ROOM)).await,
            Err(Fault::NoRoom),
            "a part is left of the first"
        );
        drop(part);
        let third = collect(parts(&[300, 300]), 1000, share(&ROOM)).await.unwrap();
        assert_eq!(ROOM.taken.load(Ordering::Relaxed), 1000);
        drop((second, third));
        assert_eq!(ROOM.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn large_bodies_leave_a_quarter_to_small_ones() {
        static ROOM: LazyLock<Room> = LazyLock::new(|| Room::of(8 * SMALL));
        let large = collect(parts(&[6 * SMALL]), 8 * SMALL, share(&ROOM)).await.unwrap();
        assert_eq!(collect(parts(&[SMALL, 1]), 8 * SMALL, share(&ROOM)).await, Err(Fault::NoRoom));
        let small = collect(parts(&[SMALL]), 8 * SMALL, share(&ROOM)).await.unwrap();
        drop(small);
        drop(large);
        assert_eq!(collect(parts(&[SMALL, 1]), 8 * SMALL, share(&ROOM)).await.unwrap().len(), SMALL + 1);
    }

    #[tokio::test]
    async fn one_client_takes_a_quarter_of_the_room_for_large_bodies() {
        static ROOM: LazyLock<Room> = LazyLock::new(|| Room::of(16 * SMALL));
        let of = |host: u8| Some(Network::of([192, 0, 2, host].into()));
        let take = |host, bytes: usize| {
            let share = Share { network: of(host), ..share(&ROOM) };
            collect(Body::from(vec![0; bytes]), bytes, share)
        };
        let large = SMALL * 3 / 2;
        let first = take(1, large).await.unwrap();
        let second = take(1, large).await.unwrap();
        assert_eq!(take(1, large).await, Err(Fault::NoRoom));
        let small = take(1, SMALL).await.unwrap();
        let others = take(2, large).await.unwrap();
        drop(first);
        let third = take(1, large).await.unwrap();
        drop((second, small, others, third));
        assert_eq!(ROOM.taken.load(Ordering::Relaxed), 0);
        assert!(ROOM.by_network.lock().unwrap().is_empty());
    }
}
