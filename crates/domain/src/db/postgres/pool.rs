//! The connections.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connect::connect;
use super::session::Session;
use super::target::Target;
use super::tls::Tls;
use crate::error::{Error, Result};

/// How long is waited for a free connection, and for a free thread.
pub(super) const ACQUIRE: Duration = Duration::from_secs(1);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);
/// How long nobody tries after a try that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections to one database.
pub(super) struct Pool {
    target: Target,
    tls: Tls,
    /// How many there may be.
    size: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    resting: Vec<Session>,
    /// All that are there, at rest, in use or in the making.
    open: usize,
    failed: Option<(Instant, String)>,
}

impl Pool {
    pub(super) fn new(target: Target, size: usize) -> Result<Self> {
        let tls = Tls::new(&target).map_err(Error::Unavailable)?;
        Ok(Self { target, tls, size, state: Mutex::default(), freed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for this thread alone, to be given back: the one that rested last, so that few are kept warm. It is
    /// waited for until `until`; what runs on it ends by `deadline`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where none becomes free in time, or none can be had.
    pub(super) fn take(&self, until: Instant, deadline: Instant) -> Result<Session> {
        let mut state = self.state();
        loop {
            if let Some(session) = state.resting.pop() {
                drop(state);
                session.set_deadline(deadline);
                return Ok(session);
            }
            if state.open < self.size {
                state.open += 1;
                drop(state);
                return self.connect(deadline).inspect_err(|_| self.give(None));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Unavailable("no connection became free in time".into()));
            }
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn connect(&self, deadline: Instant) -> Result<Session> {
        if let Some((at, why)) = &self.state().failed
            && at.elapsed() < PAUSE
        {
            return Err(Error::Unavailable(why.clone()));
        }
        match connect(&self.target, &self.tls, deadline.min(Instant::now() + CONNECT)) {
            Ok(session) => {
                session.set_deadline(deadline);
                Ok(session)
            }
            Err(why) => {
                // Where it was this work's time that ended, others may still come about in theirs.
                if Instant::now() < deadline {
                    self.state().failed = Some((Instant::now(), why.clone()));
                }
                Err(Error::Unavailable(why))
            }
        }
    }

    /// Takes a connection back; one that is of no use is closed, and another may be made in its place.
    pub(super) fn give(&self, session: Option<Session>) {
        let mut state = self.state();
        match session.filter(Session::is_at_rest) {
            Some(session) => state.resting.push(session),
            None => state.open -= 1,
        }
        self.freed.notify_one();
    }

    /// A new connection in the place of one that was lost and is still to be given back where this fails. What ended that
    /// one has most likely ended those at rest too: they are closed.
    pub(super) fn replace(&self, deadline: Instant) -> Result<Session> {
        // One that came too late has not been shown that the server is away.
        if Instant::now() >= deadline {
            return Err(Error::Unavailable("no answer in time".into()));
        }
        let mut state = self.state();
        let resting = std::mem::take(&mut state.resting);
        state.open -= resting.len();
        drop(state);
        drop(resting);
        self.connect(deadline)
    }
}
