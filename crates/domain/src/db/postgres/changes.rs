//! Changes: transactions that run until they are done, tried again where others were in their way.
//!
//! PostgreSQL keeps them apart: each is as if it were alone, and one that another is in the way of is refused and tried
//! again. That asks for no lock that somebody could forget. bench/README.md has what it costs where many change one
//! organization, beside what a lock on its row would.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::pool::{ACQUIRE, Pool};
use super::session::Session;
use super::{Seat, change_seat, renew, required_seat, seated};
use crate::clock::Random;
use crate::error::{Error, Result};

/// How a change begins.
pub(super) const WRITE: &[&str] = &["BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE"];
/// How often a change that others were in the way of is tried again besides those of others; then it waits for the lane.
const FEW: u32 = 3;
/// The longest pause before that, in microseconds.
const LONGEST_PAUSE: u32 = 32_000;

/// A change that waits for its turn.
pub(super) struct Change {
    /// When its client has to have heard.
    pub(super) deadline: Instant,
    turn: Box<dyn FnOnce(Turn<'_>) -> Option<Change> + Send>,
}

enum Turn<'p> {
    /// Try it a few times; it is given back where others were in its way.
    Try(&'p Arc<Pool>),
    /// Try it until it is done or its time is over.
    Finish(&'p Arc<Pool>),
    /// Tell that it cannot be done.
    Refuse(Error),
}

impl Change {
    pub(super) fn new<T: Send + 'static>(
        (deadline, random): (Instant, Random),
        work: impl FnOnce() -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Self {
        let turn = move |turn: Turn<'_>| {
            let (pool, patience, is_last) = match turn {
                Turn::Try(pool) => (pool, Patience::Short(&random), false),
                Turn::Finish(pool) => (pool, Patience::Long(&random), true),
                Turn::Refuse(error) => {
                    done(Err(error));
                    return None;
                }
            };
            let copy = work.clone();
            let run = || {
                seated(pool, Instant::now() + ACQUIRE, deadline, || Ok(transact(pool, &patience, |_| copy())))
            };
            let panicked = |_| Err(Error::Internal("an operation panicked".into()));
            match catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(panicked) {
                Ok(Outcome::Overtaken(_)) if !is_last => {
                    return Some(Self::new((deadline, random), work, done));
                }
                Ok(outcome) => done(outcome.told()),
                Err(error) => done(Err(error)),
            }
            None
        };
        Self { deadline, turn: Box::new(turn) }
    }

    /// Runs it, and tells what came of it; gives it back where others were in its way too often.
    pub(super) fn run(self, pool: &Arc<Pool>) -> Option<Self> {
        (self.turn)(Turn::Try(pool))
    }

    /// Runs it until it is done or its time is over.
    pub(super) fn run_to_its_end(self, pool: &Arc<Pool>) {
        (self.turn)(Turn::Finish(pool));
    }

    pub(super) fn refuse(self, why: &str) {
        (self.turn)(Turn::Refuse(Error::Unavailable(why.into())));
    }
}

/// What one try of a change came to.
pub(super) enum Outcome<T> {
    /// Done, refused, or not known: to be told.
    Told(Result<T>),
    /// Nothing of it stayed because another change was in its way.
    Overtaken(Error),
    /// The connection was lost before its commit began: nothing of it stayed.
    Lost(Error),
}

impl<T> Outcome<T> {
    /// What is told where nothing is tried any more.
    pub(super) fn told(self) -> Result<T> {
        match self {
            Self::Told(answer) => answer,
            Self::Overtaken(error) | Self::Lost(error) => Err(error),
        }
    }
}

/// How long a change may be tried while others are in its way.
pub(super) enum Patience<'r> {
    /// A few times.
    Short(&'r Random),
    /// Until its deadline.
    Long(&'r Random),
}

/// Runs `work` in a transaction until it is done, refused, or was overtaken too often; a commit of which nobody knows is never
/// tried again.
pub(super) fn transact<T>(
    pool: &Arc<Pool>,
    patience: &Patience<'_>,
    work: impl FnOnce(&Session) -> Result<T> + Clone,
) -> Outcome<T> {
    let (random, most) = match patience {
        Patience::Short(random) => (random, FEW),
        Patience::Long(random) => (random, u32::MAX),
    };
    let (mut tries, mut is_renewed) = (0, false);
    loop {
        let Seat { session, deadline, .. } = match required_seat(pool) {
            Ok(seat) => seat,
            Err(error) => return Outcome::Told(Err(error)),
        };
        match attempt(pool, &session, WRITE, work.clone()) {
            Outcome::Overtaken(_) if tries < most && Instant::now() < deadline => {
                pause(random, tries);
                tries += 1;
            }
            Outcome::Lost(_) if !is_renewed => {
                drop(session);
                if let Err(error) = renew(pool) {
                    return Outcome::Told(Err(error));
                }
                is_renewed = true;
            }
            outcome => return outcome,
        }
    }
}

pub(super) fn attempt<T>(
    pool: &Arc<Pool>,
    session: &Session,
    how: &[&'static str],
    work: impl FnOnce(&Session) -> Result<T>,
) -> Outcome<T> {
    session.begin(how);
    change_seat(pool, |seat| seat.is_writing = true);
    let answer = work(session);
    change_seat(pool, |seat| seat.is_writing = false);
    let error = match (answer, session.fault()) {
        (Ok(answer), None) => match (session.commit(), session.fault()) {
            (Ok(()), _) => return Outcome::Told(Ok(answer)),
            (Err(error), Some(Fault::Overtaken)) => return Outcome::Overtaken(error),
            (Err(error), _) => return Outcome::Told(Err(error)),
        },
        (Ok(_), Some(_)) => Error::Internal("an operation went on where a statement had failed".into()),
        (Err(error), _) => error,
    };
    session.roll_back();
    match session.fault() {
        Some(Fault::Overtaken) => Outcome::Overtaken(error),
        Some(Fault::Lost) => Outcome::Lost(error),
        Some(Fault::Refused) | None => Outcome::Told(Err(error)),
    }
}

/// Lets others go first, for a time that differs, so that those who met do not meet again.
fn pause(random: &Random, tries: u32) {
    let longest = (1000 << tries.min(10)).min(LONGEST_PAUSE);
    std::thread::sleep(Duration::from_micros(u64::from(u32::from_le_bytes(random.bytes()) % longest)));
}
