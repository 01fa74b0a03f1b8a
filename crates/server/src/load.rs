//! Whether more is asked than can be done. Then new requests are turned away before anything is done for them, so that those
//! begun are finished in good time. It is seen in two ways.
//!
//! What is long, as a list that is written piece by piece, takes turns: few pieces are made at the same time, so that whoever
//! comes is heard between two of them, and how many wait for theirs is known. Where many do, more lists are turned away; what
//! is short goes on.
//!
//! What is short waits in sockets and in the runtime, where its queue cannot be seen, and what is being answered slowly costs
//! nothing. What can be seen is that a task that asked to be woken was not: turns come late.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use guildhall_domain::Error;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::sleep;

/// Pieces that are made or next at the same time, for each processor: most take less than a millisecond, and who comes waits
/// for no more of them than these.
const AT_ONCE: usize = 4;
/// Pieces that are made or wait for their turn, for each processor; who asks for a list then is turned away. A list of some
/// hundred is whole in an eighth of a second even then.
const MANY: usize = 32;
/// With so many times as many everybody is: what is long and no list by its route, as an organization with many members.
const TOO_MANY: usize = 4;
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

static TURNS: LazyLock<Turns> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Turns { free: Semaphore::new(AT_ONCE * processors), asked: AtomicUsize::new(0), many: MANY * processors }
});
static TOO_MUCH: AtomicBool = AtomicBool::new(false);
static CAME: AtomicUsize = AtomicUsize::new(0);

/// Turns of what is long.
struct Turns {
    free: Semaphore,
    /// How many have asked for one and are not done.
    asked: AtomicUsize,
    many: usize,
}

/// One that has asked for a turn and is not done.
struct Asked;

impl Asked {
    fn new() -> Self {
        TURNS.asked.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        TURNS.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `piece`, a part of something long, when its turn comes, on a task of its own: whoever waits for it may stop doing so,
/// or not come back to it, and keeps no turn. Nothing where it panicked.
pub async fn in_turn<T: Send + 'static>(piece: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let asked = Asked::new();
    let made = tokio::spawn(async move {
        let turn = TURNS.free.acquire().await;
        // Whoever came meanwhile is heard before.
        yield_now().await;
        let made = piece.await;
        drop((turn, asked));
        made
    });
    made.await.ok()
}

/// What one is told who is turned away.
pub fn too_much() -> Error {
    Error::Unavailable("more is asked than can be done".into())
}

/// Notes that a request came; answers whether it is to be turned away.
pub fn turns_away() -> bool {
    CAME.fetch_add(1, Ordering::Relaxed);
    TOO_MUCH.load(Ordering::Relaxed) || TURNS.asked.load(Ordering::Relaxed) >= TOO_MANY * TURNS.many
}

/// Whether one who asks for a list is to be turned away.
pub fn turns_lists_away() -> bool {
    TURNS.asked.load(Ordering::Relaxed) >= TURNS.many
}

/// Looks again and again; `open` tells how many connections are.
pub async fn watch(open: Gauge) {
    let mut logged: Option<Instant> = None;
    loop {
        CAME.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        sleep(LOOK).await;
        let came = CAME.load(Ordering::Relaxed);
        let is_late = begun.elapsed() >= LOOK + LATE && open.get() >= CROWD && came >= BUSY;
        if (is_late || turns_lists_away() && came > 0) && logged.is_none_or(|at| at.elapsed() >= LOGGED_EVERY)
        {
            tracing::warn!("more is asked than can be done; some requests are turned away");
            logged = Some(Instant::now());
        }
        if is_late {
            TOO_MUCH.store(true, Ordering::Relaxed);
            all_turns().await;
            TOO_MUCH.store(false, Ordering::Relaxed);
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
    use super::*;

    fn asked() -> usize {
        TURNS.asked.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_piece_that_panics_or_is_waited_for_no_more_gives_its_turn_back() {
        let free = TURNS.free.available_permits();
        assert_eq!(in_turn(async { 1 }).await, Some(1));
        assert_eq!(in_turn(async { panic!("a test") }).await, None::<()>);
        let long = tokio::time::timeout(Duration::from_millis(5), in_turn(sleep(Duration::from_millis(20))));
        assert_eq!(long.await.ok(), None);
        assert_eq!(asked(), 1, "it goes on alone");
        while asked() > 0 {
            yield_now().await;
        }
        assert_eq!(TURNS.free.available_permits(), free);
    }

    #[tokio::test]
    async fn where_many_wait_more_are_turned_away() {
        let away = || (turns_lists_away(), turns_away());
        assert_eq!(away(), (false, false));
        let mut many: Vec<Asked> = (0..TURNS.many).map(|_| Asked::new()).collect();
        assert_eq!(away(), (true, false));
        many.extend((TURNS.many..TOO_MANY * TURNS.many).map(|_| Asked::new()));
        assert_eq!(away(), (true, true));
        drop(many);
        assert_eq!(away(), (false, false));
    }
}
