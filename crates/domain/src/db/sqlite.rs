//! SQLite: reads run where they are called, writes on one thread that commits many at once.
//!
//! Measured: a commit with `synchronous=FULL` costs a disk flush whatever it holds, so works that wait together share
//! one. Each runs in a savepoint of its own; all are answered after the commit, none before.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::migrations;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Works that may wait for the writer; one more is told that the database cannot be used now.
const QUEUE: usize = 10_000;
/// Works that share a commit at the most, so that the first of them does not wait for ever.
const BATCH: usize = 256;
/// How long a statement waits for another process (the command line beside a server).
const BUSY: Duration = Duration::from_secs(5);
/// Statements that a connection keeps prepared; there are fewer in all.
const STATEMENTS: usize = 400;

pub(super) struct Sqlite {
    file: PathBuf,
    readers: Mutex<Vec<Connection>>,
    queue: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

/// A work that waits. Called with nothing it runs, with an error it does not; either way it answers what to do once the
/// commit is known.
type Job = Box<dyn FnOnce(Option<Error>) -> Finish + Send>;
type Finish = Box<dyn FnOnce(Result<()>)>;

thread_local! {
    /// On a writer's thread, while it works: its connection.
    static WRITING: RefCell<Option<Rc<Connection>>> = const { RefCell::new(None) };
}

impl Sqlite {
    pub(super) fn open(file: &Path, now: Timestamp) -> Result<Self> {
        // Up to 3.51.2 two connections that write and checkpoint at once can corrupt a WAL database.
        if rusqlite::version_number() < 3_051_003 {
            return Err(Error::Unavailable(format!("SQLite {} is too old", rusqlite::version())));
        }
        let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        migrations::run(&connection, now)?;
        let (queue, jobs) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("guildhall-writer".into())
            .spawn(move || write_loop(connection, &jobs))
            .map_err(|error| Error::Unavailable(format!("cannot start the writer's thread: {error}")))?;
        Ok(Self {
            file: file.to_owned(),
            readers: Mutex::default(),
            queue: Some(queue),
            writer: Some(writer),
        })
    }

    /// A connection is taken from those at rest, or made; there are as many as ever read at the same moment.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let resting = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match resting {
            Some(connection) => connection,
            None => connect(&self.file, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        // A deferred transaction makes several statements see one state; it takes no lock that a writer waits for.
        connection.prepare_cached("BEGIN")?.raw_execute()?;
        let answer = work(&connection);
        connection.prepare_cached("COMMIT")?.raw_execute()?;
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        answer
    }

    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let writing = WRITING.with(|writing| writing.borrow().clone());
        if let Some(connection) = writing {
            return in_savepoint(&connection, work);
        }
        let (answer, answered) = sync_channel(1);
        let work = || match WRITING.with(|writing| writing.borrow().clone()) {
            Some(connection) => in_savepoint(&connection, work),
            None => Err(Error::Internal("a write ran outside the writer's thread".into())),
        };
        self.submit(work, move |result| drop(answer.send(result)));
        answered.recv().unwrap_or_else(|_| Err(Error::Unavailable("the writer is gone".into())))
    }

    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job: Job = Box::new(move |refused| {
            let answer = match refused {
                Some(error) => Err(error),
                None => catch_unwind(AssertUnwindSafe(work))
                    .unwrap_or_else(|_| Err(Error::Internal("an operation panicked".into()))),
            };
            Box::new(move |commit| done(commit.and(answer)))
        });
        let refuse = |job: Job, why: &str| job(Some(Error::Unavailable(why.into())))(Ok(()));
        match &self.queue {
            Some(queue) => match queue.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => refuse(job, "too many writes wait"),
                Err(TrySendError::Disconnected(job)) => refuse(job, "the writer is gone"),
            },
            None => refuse(job, "the writer is gone"),
        }
    }

    pub(super) fn backup(&self, file: &Path) -> Result<()> {
        if file.exists() {
            return Err(Error::Unavailable(format!("{} exists already", file.display())));
        }
        private_file(file)?;
        let copied = self.copy(file);
        if copied.is_err() {
            // Half a copy must not be taken for one; where it cannot be removed either, the error tells why.
            drop(std::fs::remove_file(file));
        }
        copied
    }

    fn copy(&self, file: &Path) -> Result<()> {
        self.read(|connection| {
            let mut copy = Connection::open(file)?;
            let backup = rusqlite::backup::Backup::new(connection, &mut copy)?;
            // One step over all pages: a reading transaction is open, so the copy is of one moment.
            backup.run_to_completion(i32::MAX, Duration::ZERO, None)?;
            drop(backup);
            copy.pragma_update(None, "journal_mode", "DELETE")?;
            Ok(())
        })?;
        std::fs::File::open(file)
            .and_then(|copy| copy.sync_all())
            .map_err(|error| Error::Unavailable(format!("cannot write {}: {error}", file.display())))
    }

    pub(super) fn integrity(&self) -> Result<Vec<String>> {
        self.read(|connection| {
            let mut findings: Vec<String> = connection
                .prepare("PRAGMA integrity_check")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            findings.retain(|line| line != "ok");
            let dangling: Vec<String> = connection
                .prepare("PRAGMA foreign_key_check")?
                .query_map([], |row| {
                    let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
                    Ok(format!("a row of {table} points to a row of {parent} that is not there"))
                })?
                .collect::<rusqlite::Result<_>>()?;
            findings.extend(dangling);
            Ok(findings)
        })
    }
}

impl Drop for Sqlite {
    /// Lets the writer finish what waits, then closes. The writer's connection is the last, because one that only reads
    /// could not put the log back into the file.
    fn drop(&mut self) {
        self.readers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // The last handle may be dropped by a work on the writer itself, which cannot wait for its own end.
            if writer.thread().id() != std::thread::current().id() {
                drop(writer.join());
            }
        }
    }
}

/// Makes the file, empty and for its owner alone, where it is missing.
fn private_file(file: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(file);
    opened.map(drop).map_err(|error| Error::Unavailable(format!("cannot open {}: {error}", file.display())))
}

fn connect(file: &Path, flags: OpenFlags) -> Result<Connection> {
    if flags.contains(OpenFlags::SQLITE_OPEN_CREATE) {
        private_file(file)?;
    }
    let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Without this the statistics in the build make every new binding compile the statement again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -16_000)?;
    Ok(connection)
}

fn write_loop(connection: Connection, jobs: &Receiver<Job>) {
    let connection = Rc::new(connection);
    WRITING.with(|writing| *writing.borrow_mut() = Some(Rc::clone(&connection)));
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter().take(BATCH - 1));
        write_batch(&connection, batch);
    }
}

fn write_batch(connection: &Connection, batch: Vec<Job>) {
    if let Err(error) = execute(connection, "BEGIN IMMEDIATE") {
        let why = error.to_string();
        for job in batch {
            job(Some(Error::Unavailable(why.clone())))(Ok(()));
        }
        return;
    }
    let run = |job: Job| {
        // A full disk or a failed write ends the transaction: what follows must not run, each alone, outside one.
        job(connection.is_autocommit().then(|| Error::Unavailable("the transaction was rolled back".into())))
    };
    let finishes: Vec<Finish> = batch.into_iter().map(run).collect();
    let why = match execute(connection, "COMMIT") {
        Ok(()) => None,
        Err(error) => {
            // SQLite may have rolled back by itself, and then has nothing to roll back.
            drop(execute(connection, "ROLLBACK"));
            Some(error.to_string())
        }
    };
    for finish in finishes {
        finish(why.as_ref().map_or(Ok(()), |why| Err(Error::Unavailable(why.clone()))));
    }
}

/// Runs `work` so that nothing of it stays where it fails.
fn in_savepoint<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    execute(connection, "SAVEPOINT work")?;
    let answer = catch_unwind(AssertUnwindSafe(|| work(connection)));
    if !matches!(answer, Ok(Ok(_))) {
        execute(connection, "ROLLBACK TO work")?;
    }
    execute(connection, "RELEASE work")?;
    answer.unwrap_or_else(|panic| resume_unwind(panic))
}

fn execute(connection: &Connection, sql: &'static str) -> Result<()> {
    connection.prepare_cached(sql)?.raw_execute()?;
    Ok(())
}
