//! PostgreSQL: works run on threads, each with a connection for the time, and are tried again where others were in their way.
//!
//! This is a client of its own over `postgres-protocol`, with blocking sockets: a work is one thread's from its first
//! statement to its commit, and nothing of it is asynchronous. It knows what a wrapper of an asynchronous client does not:
//! a moment by which every answer must be there, so that a server that hangs holds nobody; and how to begin a transaction
//! in one message with its first statement.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Random, Timestamp};
use crate::error::{Error, Result};

mod changes;
mod connect;
mod fault;
mod looks;
mod pool;
mod schema;
mod session;
mod target;
#[cfg(test)]
mod tests;
mod threads;
mod tls;
mod wire;

use changes::{Change, Patience, WRITE, attempt, transact};
use fault::Fault;
use looks::Look;
use pool::Pool;
pub(super) use schema::{Empty, LAST_NUMBER, NEXT_NUMBER, RESTART_NUMBERS};
pub(super) use session::Session;
pub use target::Target;
use threads::{Job, Threads};

/// How a look at more than one thing begins: all of it sees one state.
const READ: &[&str] = &["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"];
/// The same where nobody waits for an answer over a network: a command may look at everything.
const LONG_READ: &[&str] =
    &["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL statement_timeout = '60s'"];

/// How a look at every row begins: for as long as the database is large, also where the rows are waited for elsewhere.
const READ_WHOLE: &[&str] = &[
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
];
/// How filling a whole database begins: nobody else writes meanwhile to what every server writes to first.
const WRITE_WHOLE: &[&str] = &[
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    "LOCK TABLE counters, keys, users IN EXCLUSIVE MODE",
];

/// How long a request's work may take, from when it is asked for: a client hears within five seconds.
const PROMPT: Duration = Duration::from_millis(4500);
/// How long a command's work may take.
const PATIENT: Duration = Duration::from_secs(60);
/// How long moving a whole database may take.
const WHOLE: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) struct Postgres {
    pool: Arc<Pool>,
    threads: Threads,
    random: Random,
}

/// What the thread that runs works on.
#[derive(Clone)]
struct Seat {
    /// Whose connection it is: a thread may work on two databases at once.
    pool: Arc<Pool>,
    session: Rc<Session>,
    deadline: Instant,
    /// Whether a change is under way, of which everything here is a part.
    is_writing: bool,
}

thread_local! {
    static SEATS: RefCell<Vec<Seat>> = const { RefCell::new(Vec::new()) };
}

impl Postgres {
    pub(super) fn open(
        target: &Target,
        connections: usize,
        (now, random): (Timestamp, Random),
        empty: Empty,
    ) -> Result<Self> {
        schema::prepare(target, now, empty)?;
        let connections = connections.max(1);
        let pool = Arc::new(Pool::new(target.clone(), connections)?);
        let threads = Threads::start(&pool, connections)?;
        Ok(Self { pool, threads, random })
    }

    /// Runs `look` on a thread of this engine, more than once where it shares a connection with others, then `done` with its
    /// answer.
    pub(super) fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.threads.run(Job::Look(Look::new(PROMPT, look, done)));
    }

    /// As [`Postgres::look`], on a connection of its own.
    pub(super) fn search<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.threads.run(Job::Look(Look::new(PROMPT, look, done).apart()));
    }

    /// Runs `work`, which is whole or not at all, on a thread of this engine, then `done` with its answer.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let given = (Instant::now() + PROMPT, self.random.clone());
        self.threads.run(Job::Change(Change::new(given, work, done)));
    }

    /// Runs `work` on one state of the database: within the change that is under way on this thread, or else by itself.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Session) -> Result<T> + Clone) -> Result<T> {
        let how = if seat(&self.pool).is_some() { READ } else { LONG_READ };
        self.look_at(work, |session, work| {
            session.begin(how);
            let answer = work(session);
            session.end_read();
            answer
        })
    }

    /// As [`Postgres::read`] for a work of one statement, which needs no transaction: one message and its answer.
    pub(super) fn read_one<T>(&self, work: impl FnOnce(&Session) -> Result<T> + Clone) -> Result<T> {
        self.look_at(work, |session, work| {
            session.begin_alone();
            let answer = work(session);
            session.end_read();
            answer
        })
    }

    /// Runs `work`, which only looks, as `run` has it; on a new connection once more where the one it had was lost.
    fn look_at<T, W: FnOnce(&Session) -> Result<T> + Clone>(
        &self,
        work: W,
        run: impl Fn(&Session, W) -> Result<T>,
    ) -> Result<T> {
        if let Some(seat) = seat(&self.pool).filter(|seat| seat.is_writing) {
            return work(&seat.session);
        }
        self.at_seat(|| {
            let session = required_seat(&self.pool)?.session;
            let answer = run(&session, work.clone());
            if answer.is_err() && session.fault() == Some(Fault::Lost) {
                drop(session);
                let session = renew(&self.pool)?;
                return run(&session, work);
            }
            answer
        })
    }

    /// Runs `work`, whole or not at all; what it answers is durable then. As a part of the change that is under way on this
    /// thread where there is one, else by itself.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Session) -> Result<T> + Clone) -> Result<T> {
        if let Some(seat) = seat(&self.pool).filter(|seat| seat.is_writing) {
            return seat.session.part(WRITE, || work(&seat.session));
        }
        self.at_seat(|| transact(&self.pool, &Patience::Long(&self.random), work).told())
    }

    /// As [`Postgres::read`] by itself, once, for a work that looks at every row.
    pub(super) fn read_whole<T>(&self, work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        seated(&self.pool, Instant::now() + PATIENT, Instant::now() + WHOLE, || {
            let session = required_seat(&self.pool)?.session;
            session.begin(READ_WHOLE);
            let answer = work(&session);
            session.end_read();
            answer
        })
    }

    /// As [`Postgres::write`] by itself, once, for a work that fills the database.
    pub(super) fn write_whole<T>(&self, work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        seated(&self.pool, Instant::now() + PATIENT, Instant::now() + WHOLE, || {
            let session = required_seat(&self.pool)?.session;
            attempt(&self.pool, &session, WRITE_WHOLE, work).told()
        })
    }

    /// Runs `work` with a connection for this thread: the one it has, or one for the time.
    fn at_seat<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if seat(&self.pool).is_some() {
            return work();
        }
        let deadline = Instant::now() + PATIENT;
        seated(&self.pool, deadline, deadline, work)
    }
}

fn seat(pool: &Arc<Pool>) -> Option<Seat> {
    SEATS.with_borrow(|seats| seats.iter().rev().find(|seat| Arc::ptr_eq(&seat.pool, pool)).cloned())
}

fn required_seat(pool: &Arc<Pool>) -> Result<Seat> {
    seat(pool).ok_or_else(|| Error::Internal("a work has no connection".into()))
}

fn change_seat(pool: &Arc<Pool>, change: impl FnOnce(&mut Seat)) {
    SEATS.with_borrow_mut(|seats| {
        seats.iter_mut().rev().find(|seat| Arc::ptr_eq(&seat.pool, pool)).map(change);
    });
}

/// Runs `work` with a connection for this thread, as [`Pool::take`] gives it.
fn seated<T>(
    pool: &Arc<Pool>,
    until: Instant,
    deadline: Instant,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    /// Gives the connection back, also where the work panicked.
    struct Rise;
    impl Drop for Rise {
        fn drop(&mut self) {
            if let Some(Seat { pool, session, .. }) = SEATS.with_borrow_mut(Vec::pop) {
                pool.give(Rc::into_inner(session));
            }
        }
    }
    let session = Rc::new(pool.take(until, deadline)?);
    let seat = Seat { pool: Arc::clone(pool), session, deadline, is_writing: false };
    SEATS.with_borrow_mut(|seats| seats.push(seat));
    let _rise = Rise;
    work()
}

/// Puts a new connection in the place of this thread's, which was lost.
fn renew(pool: &Arc<Pool>) -> Result<Rc<Session>> {
    let deadline = required_seat(pool)?.deadline;
    let session = Rc::new(pool.replace(deadline)?);
    change_seat(pool, |seat| seat.session = Rc::clone(&session));
    Ok(session)
}
