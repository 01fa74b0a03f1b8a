//! SQLite: reads run where they are called, writes on one thread that commits many at once.
//!
//! Measured: a commit with `synchronous=FULL` costs a disk flush whatever it holds, so works that wait together share
//! one. Each runs in a savepoint of its own; all are answered after the commit, none before. To begin a reading
//! transaction costs more than most reads, so a reader keeps its own for as long as nothing is committed.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use self::readers::Readers;
use super::migrations;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

mod readers;

/// Works that may wait for the writer; one more is told that the database cannot be used now.
const QUEUE: usize = 10_000;
/// Works that share a commit at the most, so that the first of them does not wait for ever.
const BATCH: usize = 256;
/// How long a statement waits for another process (the command line beside a server).
const BUSY: Duration = Duration::from_secs(5);
/// Pages of the WAL after which it is written back: 16 MiB. A page that is written often is written back once for all.
const CHECKPOINT: i64 = 4_000;
/// Statements that a connection keeps prepared; there are fewer in all.
const STATEMENTS: usize = 400;

pub(super) struct Sqlite {
    readers: Arc<Readers>,
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
    /// There, whether the work that runs has written nothing yet: its first write needs no savepoint beside the work's own.
    static UNTOUCHED: Cell<bool> = const { Cell::new(false) };
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
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        migrations::run(&connection, now)?;
        let readers = Arc::new(Readers::new(file, &connection));
        let (queue, jobs) = sync_channel(QUEUE);
        let resting = Arc::clone(&readers);
        let writer = std::thread::Builder::new()
            .name("guildhall-writer".into())
            .spawn(move || write_loop(connection, &jobs, &resting))
            .map_err(|error| Error::Unavailable(format!("cannot start the writer's thread: {error}")))?;
        Ok(Self { readers, queue: Some(queue), writer: Some(writer) })
    }

    /// The writer's connection, for what runs on its thread: there a read sees what the work wrote before.
    fn writing(&self) -> Option<Rc<Connection>> {
        let own = self.writer.as_ref().map(|writer| writer.thread().id());
        if own != Some(std::thread::current().id()) {
            return None;
        }
        WRITING.with(|writing| writing.borrow().clone())
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match self.writing() {
            Some(connection) => work(&connection),
            None => self.readers.read(work),
        }
    }

    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if let Some(connection) = self.writing() {
            if UNTOUCHED.replace(false) {
                return first_in_savepoint(&connection, work);
            }
            return in_savepoint(&connection, work);
        }
        let (answer, answered) = sync_channel(1);
        self.enqueue(work, move |result| drop(answer.send(result)));
        answered.recv().unwrap_or_else(|_| Err(Error::Unavailable("the writer is gone".into())))
    }

    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.enqueue(|_| work(), done);
    }

    /// Lets the writer run `work` in a savepoint of its own, so that one of several operations stays or falls with the others.
    fn enqueue<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let run = || match WRITING.with(|writing| writing.borrow().clone()) {
            Some(connection) => {
                UNTOUCHED.set(true);
                in_savepoint(&connection, work)
            }
            None => Err(Error::Internal("a write ran outside the writer's thread".into())),
        };
        let job: Job = Box::new(move |refused| {
            let answer = match refused {
                Some(error) => Err(error),
                None => catch_unwind(AssertUnwindSafe(run))
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
        self.readers.close();
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // The last handle may be dropped by a work on the writer itself, which cannot wait for its own end.
            if writer.thread().id() != std::thread::current().id() {
                drop(writer.join());
            }
        }
    }
}

/// Refuses a file that holds nothing of this program, and leaves it as it is.
pub(super) fn require_schema(file: &Path) -> Result<()> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sql = "SELECT MAX(name = 'schema_migrations') FROM sqlite_schema";
    let why = match connection.query_row(sql, [], |row| row.get(0))? {
        Some(true) => return Ok(()),
        Some(false) => "is another program's",
        None => "is empty",
    };
    Err(Error::Unavailable(format!("{} {why}", file.display())))
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
    connect_to(file, flags).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            Error::Unavailable(format!("{} is not an SQLite database; restore a backup", file.display()))
        }
        _ => error.into(),
    })
}

/// The last of these settings reads the file for the first time.
fn connect_to(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Without this the statistics in the build make every new binding compile the statement again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // KiB. The writer's is larger: there is one of it, and as many readers as ever read at the same moment.
    let cache = if flags.contains(OpenFlags::SQLITE_OPEN_CREATE) { -16_000 } else { -4_000 };
    connection.pragma_update(None, "cache_size", cache)?;
    // Each work's savepoint keeps the pages as they were before it; by default that goes to a file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

fn write_loop(connection: Connection, jobs: &Receiver<Job>, readers: &Readers) {
    let connection = Rc::new(connection);
    WRITING.with(|writing| *writing.borrow_mut() = Some(Rc::clone(&connection)));
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter().take(BATCH - 1));
        readers.let_go();
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

/// The same for the first write of a work, in the savepoint that is open for the whole of it.
fn first_in_savepoint<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let answer = catch_unwind(AssertUnwindSafe(|| work(connection)));
    if !matches!(answer, Ok(Ok(_))) {
        execute(connection, "ROLLBACK TO work")?;
        UNTOUCHED.set(true);
    }
    answer.unwrap_or_else(|panic| resume_unwind(panic))
}

fn execute(connection: &Connection, sql: &'static str) -> Result<()> {
    connection.prepare_cached(sql)?.raw_execute()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::error::Missing;

    /// A database in a folder of its own, with a table to write to.
    fn with_numbers(name: &str, test: impl FnOnce(&Sqlite)) {
        let folder = std::env::temp_dir().join(format!("guildhall-sqlite-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let sqlite = Sqlite::open(&folder.join("test.db"), Timestamp(0)).unwrap();
        sqlite
            .write(|c| Ok(c.execute_batch("CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY)")?))
            .unwrap();
        test(&sqlite);
        drop(sqlite);
        std::fs::remove_dir_all(folder).unwrap();
    }

    impl Sqlite {
        fn file(&self) -> &Path {
            self.readers.file()
        }
    }

    fn put(connection: &Connection, number: i64) -> Result<()> {
        connection.execute("INSERT INTO numbers (n) VALUES ($1)", [number])?;
        Ok(())
    }

    fn numbers(connection: &Connection) -> Result<Vec<i64>> {
        let mut statement = connection.prepare("SELECT n FROM numbers ORDER BY n")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps the writer busy until told, so that what is queued meanwhile shares a batch.
    fn hold(sqlite: &Sqlite) -> Sender<()> {
        let ((release, released), (begin, begun)) = (channel(), channel());
        let wait = move |_: &Connection| {
            begin.send(()).unwrap();
            released.recv().unwrap();
            Ok(())
        };
        sqlite.enqueue(wait, |_| {});
        begun.recv().unwrap();
        release
    }

    #[test]
    fn of_a_batch_only_what_failed_is_undone() {
        with_numbers("batch", |sqlite| {
            let release = hold(sqlite);
            let (answer, answers) = channel();
            let submit = |name: &'static str, work: fn(&Connection) -> Result<()>| {
                let answer = answer.clone();
                sqlite.enqueue(work, move |result| answer.send((name, result.is_ok())).unwrap());
            };
            submit("kept", |c| put(c, 1));
            submit("refused", |c| put(c, 2).and(Err(Missing::User.into())));
            submit("panicked", |c| put(c, 3).map(|()| panic!("a test")));
            submit("broken", |c| put(c, 4).and_then(|()| put(c, 1)));
            submit("last", |c| put(c, 5));
            release.send(()).unwrap();
            let told: Vec<_> = (0..5).map(|_| answers.recv().unwrap()).collect();
            let want =
                [("kept", true), ("refused", false), ("panicked", false), ("broken", false), ("last", true)];
            assert_eq!(told, want);
            assert_eq!(sqlite.read(numbers).unwrap(), [1, 5]);
        });
    }

    #[test]
    fn a_lost_transaction_is_told_to_all_who_shared_it() {
        with_numbers("lost", |sqlite| {
            let release = hold(sqlite);
            let (answer, answers) = channel();
            let submit = |work: fn(&Connection) -> Result<()>| {
                let answer = answer.clone();
                sqlite.enqueue(work, move |result| drop(answer.send(result)));
            };
            submit(|c| put(c, 1));
            // As SQLite itself does where the disk is full.
            submit(|c| Ok(c.execute_batch("ROLLBACK")?));
            submit(|c| put(c, 2));
            release.send(()).unwrap();
            for _ in 0..3 {
                let answer = answers.recv().unwrap();
                assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
            }
            assert_eq!(sqlite.read(numbers).unwrap(), []);
            sqlite.write(|c| put(c, 3)).unwrap();
            assert_eq!(sqlite.read(numbers).unwrap(), [3]);
        });
    }

    #[test]
    fn a_read_sees_what_another_process_committed() {
        with_numbers("other", |sqlite| {
            let other = Connection::open(sqlite.file()).unwrap();
            for number in 1..=100 {
                put(&other, number).unwrap();
                assert_eq!(sqlite.read(numbers).unwrap().len(), usize::try_from(number).unwrap());
            }
        });
    }

    #[test]
    fn readers_at_rest_do_not_let_the_wal_grow() {
        with_numbers("wal", |sqlite| {
            sqlite.write(|c| Ok(c.execute_batch("CREATE TABLE texts (t TEXT NOT NULL)")?)).unwrap();
            for _ in 0..50 {
                // 250 pages each: in all three times what begins a checkpoint.
                sqlite
                    .write(|c| Ok(c.execute_batch("INSERT INTO texts VALUES (hex(zeroblob(500000)))")?))
                    .unwrap();
                assert_eq!(sqlite.read(numbers).unwrap(), []);
            }
            let wal = std::fs::metadata(format!("{}-wal", sqlite.file().display())).unwrap().len();
            assert!(wal < 2 * CHECKPOINT.unsigned_abs() * 4096, "{wal} bytes");
        });
    }

    #[test]
    fn a_reader_that_failed_or_panicked_harms_no_other() {
        with_numbers("readers", |sqlite| {
            assert!(sqlite.read(|_| Err::<(), _>(Missing::User.into())).is_err());
            assert!(sqlite.read(|c| Ok(c.execute_batch("SELECT no_such")?)).is_err());
            // Ends the transaction under the reader's feet: the work's own answer is told, the connection is not kept.
            let told = sqlite.read(|c| {
                c.execute_batch("ROLLBACK")?;
                Err::<(), _>(Missing::User.into())
            });
            assert!(matches!(told, Err(Error::Missing(Missing::User))), "{told:?}");
            assert!(catch_unwind(AssertUnwindSafe(|| sqlite.read::<()>(|_| panic!("a test")))).is_err());
            assert!(sqlite.read(|c| put(c, 1)).is_err(), "a reader cannot write");
            for number in 1..=3 {
                sqlite.write(move |c| put(c, number)).unwrap();
                assert_eq!(sqlite.read(numbers).unwrap(), (1..=number).collect::<Vec<_>>());
            }
        });
    }
}
