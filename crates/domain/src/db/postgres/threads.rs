//! The threads that work on the connections, and what waits for them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::changes::Change;
use super::looks::{self, Look, TOGETHER};
use super::pool::{ACQUIRE, Pool};
use crate::error::{Error, Result};

/// What may wait for a thread, for each thread there is.
const QUEUE: usize = 1000;
/// How often it is looked whether one has waited too long.
const GLANCE: Duration = Duration::from_millis(50);

/// What waits for a thread.
pub(super) enum Job {
    /// What needs a connection for itself.
    Change(Change),
    /// What may share one with others.
    Look(Look),
}

impl Job {
    fn refuse(self, why: &str) {
        match self {
            Self::Change(change) => change.refuse(why),
            Self::Look(look) => look.refuse(why),
        }
    }
}

/// What a thread takes at a time.
enum Portion {
    Change(Change),
    /// It has the lane, and gives it back.
    Overtaken(Change),
    Looks(Vec<Look>),
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    added: Condvar,
    closed: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<(Instant, Job)>,
    /// Changes that others were in the way of again and again. They have a lane where one runs at a time, so that they are
    /// in each other's way no more, and where they wait they hold no connection.
    overtaken: VecDeque<Change>,
    is_lane_taken: bool,
    /// Threads that rest.
    resting: usize,
    /// Whether one of them was called and has not come yet. Until then no other is: what is added meanwhile it may take along.
    is_called: bool,
    is_closed: bool,
}

impl Jobs {
    fn next(&mut self) -> Option<Portion> {
        if !self.is_lane_taken
            && let Some(change) = self.overtaken.pop_front()
        {
            self.is_lane_taken = true;
            return Some(Portion::Overtaken(change));
        }
        Some(match self.waiting.pop_front()?.1 {
            Job::Change(change) => Portion::Change(change),
            Job::Look(look) => Portion::Looks(self.looks(look)),
        })
    }

    /// That look, and those that wait right behind it.
    fn looks(&mut self, first: Look) -> Vec<Look> {
        let shares = first.shares;
        let mut looks = vec![first];
        while shares
            && looks.len() < TOGETHER
            && let Some((_, Job::Look(Look { shares: true, .. }))) = self.waiting.front()
            && let Some((_, Job::Look(look))) = self.waiting.pop_front()
        {
            looks.push(look);
        }
        looks
    }

    fn has_next(&self) -> bool {
        !self.waiting.is_empty() || !self.is_lane_taken && !self.overtaken.is_empty()
    }

    /// One that has waited too long, and why that is.
    fn late(&mut self) -> Option<(Job, &'static str)> {
        if self.waiting.front().is_some_and(|(since, _)| since.elapsed() >= ACQUIRE) {
            return self.waiting.pop_front().map(|(_, job)| (job, "no thread became free in time"));
        }
        let is_late = |change: &Change| change.deadline <= Instant::now();
        let late =
            if self.overtaken.front().is_some_and(is_late) { self.overtaken.pop_front() } else { None };
        late.map(|change| (Job::Change(change), "others were in the way until it was too late"))
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
            if let Some(portion) = jobs.next() {
                self.call(jobs);
                return Some(portion);
            }
            if jobs.is_closed {
                return None;
            }
            jobs.resting += 1;
            jobs = self.added.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            jobs.resting -= 1;
            jobs.is_called = false;
        }
    }

    /// Calls a thread that rests, where something waits and none is on its way.
    fn call(&self, mut jobs: MutexGuard<'_, Jobs>) {
        if jobs.resting > 0 && !jobs.is_called && jobs.has_next() {
            jobs.is_called = true;
            drop(jobs);
            self.added.notify_one();
        }
    }

    /// Takes what comes until none will.
    fn work(&self, pool: &Arc<Pool>) {
        while let Some(portion) = self.next() {
            match portion {
                Portion::Looks(looks) => looks::run(pool, looks),
                Portion::Change(change) => {
                    if let Some(overtaken) = change.run(pool) {
                        self.jobs().overtaken.push_back(overtaken);
                    }
                }
                Portion::Overtaken(change) => {
                    change.run_to_its_end(pool);
                    self.jobs().is_lane_taken = false;
                }
            }
        }
    }

    /// Tells those that have waited too long, until the queue is closed.
    fn tell_late(&self) {
        let mut jobs = self.jobs();
        while !jobs.is_closed {
            while let Some((job, why)) = jobs.late() {
                drop(jobs);
                job.refuse(why);
                jobs = self.jobs();
            }
            jobs = self.closed.wait_timeout(jobs, GLANCE).unwrap_or_else(PoisonError::into_inner).0;
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
            threads.spawn("guildhall-database", move || queue.work(&pool))?;
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
        if jobs.waiting.len() + jobs.overtaken.len() >= self.most {
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
