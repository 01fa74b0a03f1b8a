//! Whether more is asked than can be done, told by how late a task comes to its turn.
//!
//! A queue of requests cannot be seen from inside: what waits is in sockets and in the runtime, and what is being answered
//! slowly costs nothing. What can be seen is that a task that asked to be woken was not. While turns come late, new requests
//! to the dialects are turned away before anything is done for them, so that those begun are finished in good time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use tokio::task::yield_now;
use tokio::time::sleep;

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

static TOO_MUCH: AtomicBool = AtomicBool::new(false);
static CAME: AtomicUsize = AtomicUsize::new(0);

/// Notes that a request came; answers whether it is to be turned away.
pub fn turns_away() -> bool {
    CAME.fetch_add(1, Ordering::Relaxed);
    TOO_MUCH.load(Ordering::Relaxed)
}

/// Looks again and again; `open` tells how many connections are.
pub async fn watch(open: Gauge) {
    let mut logged: Option<Instant> = None;
    loop {
        CAME.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        sleep(LOOK).await;
        let is_crowd = || open.get() >= CROWD && CAME.load(Ordering::Relaxed) >= BUSY;
        if begun.elapsed() < LOOK + LATE || !is_crowd() {
            continue;
        }
        if logged.is_none_or(|at| at.elapsed() >= LOGGED_EVERY) {
            tracing::warn!("more is asked than can be done; some requests are turned away");
            logged = Some(Instant::now());
        }
        TOO_MUCH.store(true, Ordering::Relaxed);
        // Each round goes once through all that waits for a turn: the first that is quick finds the backlog gone.
        loop {
            let begun = Instant::now();
            yield_now().await;
            if begun.elapsed() < LATE / 2 {
                break;
            }
        }
        TOO_MUCH.store(false, Ordering::Relaxed);
    }
}
