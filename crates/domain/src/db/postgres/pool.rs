//! The connections, and the threads that work on them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
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
/// Works that may wait for a thread, for each thread there is.
const QUEUE: usize = 1000;
/// How often it is looked whether one has waited too long.
const LOOK: Duration = Duration::from_millis(50);

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
                self.state().failed = Some((Instant::now(), why.clone()));
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
        let mut state = self.state();
        let resting = std::mem::take(&mut state.resting);
        state.open -= resting.len();
        drop(state);
        drop(resting);
        self.connect(deadline)
    }
}

/// A work that waits: called with nothing it runs, with an error it is told that.
pub(super) type Job = Box<dyn FnOnce(Option<Error>) + Send>;

/// Works that wait for a thread.
#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    added: Condvar,
    closed: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<(Instant, Job)>,
    is_closed: bool,
}

impl Queue {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next work; nothing when there is none and none will come.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        loop {
            if let Some((_, job)) = jobs.waiting.pop_front() {
                return Some(job);
            }
            if jobs.is_closed {
                return None;
            }
            jobs = self.added.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells the works that have waited too long, until the queue is closed.
    fn tell_late(&self) {
        let mut jobs = self.jobs();
        while !jobs.is_closed {
            while let Some((since, _)) = jobs.waiting.front()
                && since.elapsed() >= ACQUIRE
            {
                let Some((_, job)) = jobs.waiting.pop_front() else { break };
                drop(jobs);
                job(Some(Error::Unavailable("no thread became free in time".into())));
                jobs = self.jobs();
            }
            jobs = self.closed.wait_timeout(jobs, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The threads: as many as there are connections, so that each finds one.
pub(super) struct Threads {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    most: usize,
}

impl Threads {
    pub(super) fn start(count: usize) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let mut threads = Self { queue: Arc::clone(&queue), threads: Vec::new(), most: count * QUEUE };
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            threads.spawn("guildhall-database", move || {
                while let Some(job) = queue.next() {
                    job(None);
                }
            })?;
        }
        threads.spawn("guildhall-queue", move || queue.tell_late())?;
        Ok(threads)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(work);
        let failed = |error| Error::Unavailable(format!("cannot start a thread: {error}"));
        self.threads.push(thread.map_err(failed)?);
        Ok(())
    }

    /// Lets a thread run `job`.
    pub(super) fn run(&self, job: Job) {
        let mut jobs = self.queue.jobs();
        if jobs.waiting.len() >= self.most {
            drop(jobs);
            job(Some(Error::Unavailable("too much waits for the database".into())));
            return;
        }
        jobs.waiting.push_back((Instant::now(), job));
        drop(jobs);
        self.queue.added.notify_one();
    }
}

impl Drop for Threads {
    /// Lets what waits be done, then ends.
    fn drop(&mut self) {
        self.queue.jobs().is_closed = true;
        self.queue.added.notify_all();
        self.queue.closed.notify_all();
        for thread in self.threads.drain(..) {
            // The last handle may be dropped by a work on one of them, which cannot wait for its own end.
            if thread.thread().id() != std::thread::current().id() {
                drop(thread.join());
            }
        }
    }
}
