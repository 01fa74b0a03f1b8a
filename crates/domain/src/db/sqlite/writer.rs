//! The one thread that writes. A commit with `synchronous=FULL` costs a disk flush whatever it holds, so works that wait
//! together share one; all are answered after it, none before.
//!
//! They run one after the other without savepoints, which cost a tenth of the whole. Most of what is refused is refused
//! before it has written anything, so there is seldom something to undo. Where there is, the transaction is rolled back and
//! all of them run again, now each in a savepoint of its own.

use std::cell::{Cell, RefCell};
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};

use super::execute;
use super::readers::Readers;
use crate::error::{Error, Result};

/// Works that may wait for the writer; one more is told that the database cannot be used now.
const QUEUE: usize = 10_000;
/// Pages in the log that are not in the file yet, after which they are put there: 16 MiB. A page that is written often is
/// put there once for all.
pub(super) const LOG_PAGES: i64 = 4_000;
/// What is told of every write after the disk has failed to keep one.
const LOST: &str = "the disk did not keep what was written to it; nothing is written until a new start";
const GONE: &str = "the writer is gone";

pub(super) struct Writer {
    queue: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    lost: Lost,
}

/// Whether the disk has failed to keep what was written.
///
/// After a failed sync nobody knows what of it is there: the system may forget the failure, and say of the next one that all
/// went well. So no sync is tried again. What was written before is whole, is read as ever, and is what a new start finds.
type Lost = Arc<AtomicBool>;

/// A work that waits, whatever it answers.
trait Job: Send {
    /// Runs it; whether it succeeded. May be called again once all that it did is undone.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Answers what came of it, where it was committed.
    fn tell(self: Box<Self>, committed: Result<()>);
}

struct Waiting<W, D, T> {
    work: W,
    done: D,
    answer: Result<T>,
}

impl<W, D, T> Job for Waiting<W, D, T>
where
    W: FnOnce(&Connection) -> Result<T> + Clone + Send,
    D: FnOnce(Result<T>) + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let work = self.work.clone();
        self.answer = catch_unwind(AssertUnwindSafe(|| work(connection)))
            .unwrap_or_else(|_| Err(Error::Internal("an operation panicked".into())));
        self.answer.is_ok()
    }

    fn tell(self: Box<Self>, committed: Result<()>) {
        let Self { work, done, answer } = *self;
        // It may hold the database: who is answered and drops the last other handle waits for its end only without this one.
        drop(work);
        done(committed.and(answer));
    }
}

/// How the works of a batch run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Without savepoints, while nothing has to be undone.
    Freely,
    /// The same, and a part of a work has to be undone.
    Spoiled,
    /// Each in a savepoint, and each operation of one in a further one.
    Apart,
}

thread_local! {
    /// On a writer's thread: its connection.
    static WRITING: RefCell<Option<Rc<Connection>>> = const { RefCell::new(None) };
    static MODE: Cell<Mode> = const { Cell::new(Mode::Freely) };
}

impl Writer {
    pub(super) fn start(connection: Connection, readers: Arc<Readers>, per_commit: usize) -> Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let lost = Lost::default();
        let told = Arc::clone(&lost);
        let thread = std::thread::Builder::new()
            .name("guildhall-writer".into())
            .spawn(move || {
                let next = || {
                    Some(iter::once(jobs.recv().ok()?).chain(jobs.try_iter().take(per_commit - 1)).collect())
                };
                write_loop(connection, next, &readers, &told);
            })
            .map_err(|error| Error::Unavailable(format!("cannot start the writer's thread: {error}")))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), lost })
    }

    /// Whether it still writes.
    pub(super) fn ready(&self) -> Result<()> {
        if self.lost.load(Ordering::Relaxed) { Err(Error::Unavailable(LOST.into())) } else { Ok(()) }
    }

    /// The writer's connection, for what runs on its thread.
    pub(super) fn connection(&self) -> Option<Rc<Connection>> {
        let own = self.thread.as_ref().map(|thread| thread.thread().id());
        if own != Some(std::thread::current().id()) {
            return None;
        }
        WRITING.with(|writing| writing.borrow().clone())
    }

    /// Runs `work` as a part of the work that runs on this thread, or as one of its own and waits for it.
    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        if let Some(connection) = self.connection() {
            return part(&connection, work);
        }
        let (answer, answered) = sync_channel(1);
        self.enqueue(work, move |result| drop(answer.send(result)));
        answered.recv().unwrap_or_else(|_| Err(Error::Unavailable(GONE.into())))
    }

    /// Lets `work` run when its turn comes, and `done` once it is known whether that was committed. Whole or not at all, so
    /// that one of several operations stays or falls with the others.
    pub(super) fn enqueue<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job = Box::new(Waiting { work, done, answer: Err(Error::Internal("a work did not run".into())) });
        let Some(queue) = &self.queue else { return refuse([job as Box<dyn Job>], GONE) };
        match queue.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => refuse([job], "too many writes wait"),
            Err(TrySendError::Disconnected(job)) => refuse([job], GONE),
        }
    }

    /// Lets it finish what waits.
    pub(super) fn stop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // The last handle may be dropped by a work on the writer itself, which cannot wait for its own end.
            if thread.thread().id() != std::thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

fn refuse(batch: impl IntoIterator<Item = Box<dyn Job>>, why: &str) {
    for job in batch {
        job.tell(Err(Error::Unavailable(why.into())));
    }
}

fn write_loop(
    connection: Connection,
    next: impl Fn() -> Option<Vec<Box<dyn Job>>>,
    readers: &Readers,
    lost: &Lost,
) {
    let connection = Rc::new(connection);
    WRITING.with(|writing| *writing.borrow_mut() = Some(Rc::clone(&connection)));
    while let Some(mut batch) = next() {
        if lost.load(Ordering::Relaxed) {
            refuse(batch, LOST);
            continue;
        }
        readers.let_go();
        let committed = commit(&connection, &mut batch);
        let failed = |error: &rusqlite::Error| {
            let why = error.to_string();
            if is_failed_sync(error) { Error::InDoubt(why) } else { Error::Unavailable(why) }
        };
        for job in batch {
            job.tell(committed.as_ref().copied().map_err(failed));
        }
        if committed.and_then(|()| tidy_log(&connection)).is_err_and(|error| is_failed_sync(&error)) {
            lost.store(true, Ordering::Relaxed);
            // Closing would write the log into the file, and sync that. Where this cannot be set, the close may.
            drop(connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true));
        }
    }
}

/// Runs the batch in one transaction; an error where that was not committed.
fn commit(connection: &Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let done = run(connection, batch);
    if !connection.is_autocommit() {
        // What failed is told; that it cannot be undone either adds nothing, and the next batch finds out.
        drop(execute(connection, "ROLLBACK"));
    }
    done
}

fn run(connection: &Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    execute(connection, "BEGIN IMMEDIATE")?;
    if run_freely(connection, batch) {
        return execute(connection, "COMMIT");
    }
    execute(connection, "ROLLBACK")?;
    // What failed alone is undone with that.
    if batch.len() > 1 || MODE.get() == Mode::Spoiled {
        execute(connection, "BEGIN IMMEDIATE")?;
        run_apart(connection, batch)?;
        execute(connection, "COMMIT")?;
    }
    Ok(())
}

/// Whether nothing has to be undone.
fn run_freely(connection: &Connection, batch: &mut [Box<dyn Job>]) -> bool {
    MODE.set(Mode::Freely);
    batch.iter_mut().all(|job| {
        let before = connection.total_changes();
        let is_clean = job.run(connection) || connection.total_changes() == before;
        // A full disk or a failed write ends the transaction: what follows must not run, each alone, outside one.
        is_clean && MODE.get() == Mode::Freely && !connection.is_autocommit()
    })
}

fn run_apart(connection: &Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    MODE.set(Mode::Apart);
    for job in batch {
        execute(connection, "SAVEPOINT work")?;
        if !job.run(connection) {
            execute(connection, "ROLLBACK TO work")?;
        }
        execute(connection, "RELEASE work")?;
    }
    Ok(())
}

/// Runs one operation of a work, so that nothing of it stays where it fails, also where the work goes on.
fn part<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    if MODE.get() != Mode::Apart {
        let before = connection.total_changes();
        let answer = work(connection);
        if answer.is_err() && connection.total_changes() != before {
            MODE.set(Mode::Spoiled);
        }
        return answer;
    }
    execute(connection, "SAVEPOINT part")?;
    let answer = catch_unwind(AssertUnwindSafe(|| work(connection)));
    if !matches!(answer, Ok(Ok(_))) {
        execute(connection, "ROLLBACK TO part")?;
    }
    execute(connection, "RELEASE part")?;
    answer.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Whether `error` says that the disk did not keep what it was told to.
fn is_failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Puts the log into the file where it has grown. Anything that fails but the sync is made good by the next time, which writes
/// the same pages again.
fn tidy_log(connection: &Connection) -> rusqlite::Result<()> {
    if checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)")? < LOG_PAGES {
        return Ok(());
    }
    checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)").map(drop)
}

/// Runs that checkpoint; answers how many pages of the log are not in the file.
pub(super) fn checkpoint(connection: &Connection, sql: &'static str) -> rusqlite::Result<i64> {
    connection.prepare_cached(sql)?.query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}
