//! Whether more is asked than can be done. Then new requests are turned away before anything is done for them, so that those
//! begun are finished in good time. It is seen in two ways.
//!
//! What is long, as a list that is written piece by piece, takes turns: few pieces are made at the same time, so that whoever
//! comes is heard between two of them. The list that is as long as the server is large, searches, and passwords to hash have a
//! [`Queue`] each: where many wait in it, more of their kind are turned away, and what is short goes on.
//!
//! What is short waits in sockets and in the runtime, where its queue cannot be seen, and what is being answered slowly costs
//! nothing. What can be seen is that a task that asked to be woken was not: turns come late.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::sleep;

/// Pieces that are made or next at the same time, for each processor: most take less than a millisecond, and who comes waits
/// for no more of them than these.
const AT_ONCE: usize = 4;
/// Places in the queue of long lists, for each processor. With so many before it a list of some hundred is whole in a quarter
/// of a second.
const LISTS_MANY: usize = 64;
/// Places in the queue of searches, those that run among them.
const SEARCHES_MANY: usize = 64;
/// Places in the queue of passwords to hash, those that are hashed among them.
const PASSWORDS_MANY: usize = 200;
/// What is said of one who was turned away.
pub const TOO_MUCH: &str = "more is asked than can be done";
/// How often is looked.
const LOOK: Duration = Duration::from_millis(10);
/// A turn that comes so late is late.
const LATE: Duration = Duration::from_millis(20);
/// So many open connections are a crowd, if as many requests as [`BUSY`] came between two looks as well. The queue of fewer
/// is as short as they are few: where their turns come late it is the machine that is busy with other things, and turning
/// them away would help nobody.
const CROWD: i64 = 256;
/// So many requests between two looks do not come from connections that rest.
const BUSY: usize = 16;
/// How often too much is logged, at most.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

static TURNS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE * processors()));
/// Long lists whose next piece is made, or waits to be.
pub static LISTS: LazyLock<Queue> = LazyLock::new(|| Queue::new(LISTS_MANY * processors()));
/// Searches.
pub static SEARCHES: LazyLock<Queue> = LazyLock::new(|| Queue::new(SEARCHES_MANY));
/// Passwords to hash.
pub static PASSWORDS: LazyLock<Queue> = LazyLock::new(|| Queue::new(PASSWORDS_MANY));

static TOO_MUCH_COMES: AtomicBool = AtomicBool::new(false);
static CAME: AtomicUsize = AtomicUsize::new(0);

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Who waits for something that only so many may wait for. Where half of the places are taken, whoever has an eighth of all
/// gets no more: one client alone leaves room for others.
pub struct Queue {
    places: usize,
    taken: AtomicUsize,
    /// By the client's hash: two that meet in one share it.
    taken_by: [AtomicUsize; 1024],
}

impl Queue {
    fn new(places: usize) -> Self {
        Self { places, taken: AtomicUsize::new(0), taken_by: std::array::from_fn(|_| AtomicUsize::new(0)) }
    }

    fn taken_by(&self, client: impl Hash) -> &AtomicUsize {
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        &self.taken_by[(hasher.finish() % 1024) as usize]
    }

    /// Whether there is no place for anybody now.
    pub fn is_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.places
    }

    /// Whether there is no place for this client now.
    pub fn is_full_for(&self, client: impl Hash) -> bool {
        let is_half = self.taken.load(Ordering::Relaxed) >= self.places / 2;
        self.is_full() || is_half && self.taken_by(client).load(Ordering::Relaxed) >= self.places / 8
    }

    /// A place, whether there is one or not.
    pub fn join(&'static self, client: impl Hash) -> Place {
        let of_client = self.taken_by(client);
        self.taken.fetch_add(1, Ordering::Relaxed);
        of_client.fetch_add(1, Ordering::Relaxed);
        Place { queue: self, of_client }
    }
}

/// A place in a queue, until it is dropped.
#[must_use]
pub struct Place {
    queue: &'static Queue,
    of_client: &'static AtomicUsize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.taken.fetch_sub(1, Ordering::Relaxed);
        self.of_client.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes `piece`, a part of something long, when its turn comes, and keeps `place` until then. On a task of its own: whoever
/// waits for it may not come back to it, and keeps no turn; it is not made where they have gone. Nothing where it panicked.
pub async fn in_turn<T: Send + 'static>(
    place: Option<Place>,
    piece: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (made, wanted) = oneshot::channel();
    tokio::spawn(async move {
        let turn = TURNS.acquire().await;
        // Whoever came meanwhile is heard before, and so is who else on this machine waits for the processor: the reader of the
        // last piece, perhaps.
        yield_now().await;
        std::thread::yield_now();
        if !made.is_closed() {
            drop(made.send(piece.await));
        }
        drop((turn, place));
    });
    wanted.await.ok()
}

/// Notes that a request came; answers whether it is to be turned away.
pub fn turns_away() -> bool {
    CAME.fetch_add(1, Ordering::Relaxed);
    TOO_MUCH_COMES.load(Ordering::Relaxed)
}

/// Looks again and again; `open` tells how many connections are.
pub async fn watch(open: Gauge) {
    let mut logged: Option<Instant> = None;
    loop {
        CAME.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        sleep(LOOK).await;
        let is_crowd = open.get() >= CROWD && CAME.load(Ordering::Relaxed) >= BUSY;
        let is_late = is_crowd && begun.elapsed() >= LOOK + LATE;
        let is_full = |queue: &Queue| queue.taken.load(Ordering::Relaxed) >= queue.places / 2;
        if (is_late || is_full(&LISTS) || is_full(&SEARCHES))
            && logged.is_none_or(|at| at.elapsed() >= LOGGED_EVERY)
        {
            tracing::warn!("more is asked than can be done; some requests are turned away");
            logged = Some(Instant::now());
        }
        if is_late {
            TOO_MUCH_COMES.store(true, Ordering::Relaxed);
            all_turns().await;
            TOO_MUCH_COMES.store(false, Ordering::Relaxed);
        }
    }
}

/// Waits until what waits for a turn is little. Each round goes once through all of it: the first that is quick finds the
/// backlog gone.
async fn all_turns() {
    loop {
        let begun = Instant::now();
        yield_now().await;
        if begun.elapsed() < LATE / 2 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::client::Network;

    fn client(number: u8) -> Network {
        Network::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
    }

    fn queue(places: usize) -> &'static Queue {
        Box::leak(Box::new(Queue::new(places)))
    }

    #[tokio::test]
    async fn a_piece_keeps_its_place_until_it_is_made_or_not_wanted() {
        let queue = queue(8);
        let taken = || queue.taken.load(Ordering::Relaxed);
        assert_eq!(in_turn(Some(queue.join(client(1))), async { 1 }).await, Some(1));
        assert_eq!(in_turn(Some(queue.join(client(1))), async { panic!("a test") }).await, None::<()>);
        let long = in_turn(Some(queue.join(client(1))), sleep(Duration::from_millis(20)));
        assert_eq!(tokio::time::timeout(Duration::from_millis(5), long).await.ok(), None);
        while taken() > 0 {
            yield_now().await;
        }
        assert_eq!(queue.taken_by(client(1)).load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_piece_that_nobody_waits_for_is_not_made() {
        let all = u32::try_from(AT_ONCE * processors()).unwrap();
        let turns = TURNS.acquire_many(all).await.unwrap();
        let (made, is_made) = oneshot::channel();
        let gone = in_turn(None, async move { made.send(()).unwrap() });
        assert_eq!(tokio::time::timeout(Duration::from_millis(5), gone).await.ok(), None);
        drop(turns);
        assert!(is_made.await.is_err());
    }

    #[test]
    fn one_client_leaves_room_for_others() {
        let queue = queue(16);
        let first: Vec<Place> = (0..8).map(|_| queue.join(client(1))).collect();
        assert_eq!((queue.is_full_for(client(1)), queue.is_full_for(client(2))), (true, false));
        let second: Vec<Place> = (0..8).map(|number| queue.join(client(2 + number / 2))).collect();
        assert!(queue.is_full_for(client(9)), "none is left");
        drop(second);
        assert!(!queue.is_full_for(client(9)));
        drop(first);
        assert!(!queue.is_full_for(client(1)));
    }
}
