//! The connections, and the threads that work on them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connect::connect;
use super::looks::{self, Look, TOGETHER};
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

/// What waits for a thread.
pub(super) enum Job {
    /// Called with nothing it runs, with an error it is told that.
    Work(Box<dyn FnOnce(Option<Error>) + Send>),
    /// What may share a connection with others.
    Look(Look),
}

impl Job {
    fn refuse(self, why: &str) {
        match self {
            Self::Work(work) => work(Some(Error::Unavailable(why.into()))),
            Self::Look(look) => look.refuse(why),
        }
    }
}

/// What a thread takes at a time.
enum Portion {
    Work(Box<dyn FnOnce(Option<Error>) + Send>),
    Looks(Vec<Look>),
}

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
    /// Threads that rest.
    resting: usize,
    /// Whether one of them was called and has not come yet. Until then no other is: what is added meanwhile it may take along.
    is_called: bool,
    is_closed: bool,
}

impl Jobs {
    /// That look, and those that wait right behind it.
    fn looks(&mut self, first: Look) -> Vec<Look> {
        let mut looks = vec![first];
        while looks.len() < TOGETHER
            && let Some((_, Job::Look(_))) = self.waiting.front()
            && let Some((_, Job::Look(look))) = self.waiting.pop_front()
        {
            looks.push(look);
        }
        looks
    }
}

impl Queue {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes next; nothing when there is none and none will come.
    fn next(&self) -> Option<Portion> {
        let mut jobs = self.jobs();
        loop {
            let portion = match jobs.waiting.pop_front() {
                Some((_, Job::Work(work))) => Portion::Work(work),
                Some((_, Job::Look(look))) => Portion::Looks(jobs.looks(look)),
                None if jobs.is_closed => return None,
                None => {
                    jobs.resting += 1;
                    jobs = self.added.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                    jobs.resting -= 1;
                    jobs.is_called = false;
                    continue;
                }
            };
            self.call(jobs);
            return Some(portion);
        }
    }

    /// Calls a thread that rests, where something waits and none is on its way.
    fn call(&self, mut jobs: MutexGuard<'_, Jobs>) {
        if jobs.resting > 0 && !jobs.is_called && !jobs.waiting.is_empty() {
            jobs.is_called = true;
            drop(jobs);
            self.added.notify_one();
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
                job.refuse("no thread became free in time");
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
    pub(super) fn start(pool: &Arc<Pool>, count: usize) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let mut threads = Self { queue: Arc::clone(&queue), threads: Vec::new(), most: count * QUEUE };
        for _ in 0..count {
            let (queue, pool) = (Arc::clone(&queue), Arc::clone(pool));
            threads.spawn("guildhall-database", move || {
                while let Some(portion) = queue.next() {
                    match portion {
                        Portion::Work(work) => work(None),
                        Portion::Looks(looks) => looks::run(&pool, looks),
                    }
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
            job.refuse("too much waits for the database");
            return;
        }
        jobs.waiting.push_back((Instant::now(), job));
        self.queue.call(jobs);
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
