//! SQLite: reads run where they are called, writes on one thread that commits many at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use self::readers::Readers;
use self::writer::Writer;
use super::migrations;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

mod readers;
mod writer;

/// How long a statement waits for another process (the command line beside a server).
const BUSY: Duration = Duration::from_secs(5);
/// The pause before a statement is tried again for which SQLite does not wait.
const AGAIN: Duration = Duration::from_millis(5);
/// What a connection keeps of the database, in KiB, written as SQLite wants it: what else is read often is in the system's
/// memory. A larger one makes writing slower: where a page of an index was split, all that is kept is looked through at the commit.
const CACHE: i64 = -4_000;
/// Statements that a connection keeps prepared; there are fewer in all.
const STATEMENTS: usize = 400;

pub(super) struct Sqlite {
    readers: Arc<Readers>,
    writer: Writer,
}

impl Sqlite {
    pub(super) fn open(file: &Path, now: Timestamp, writes_per_commit: usize) -> Result<Self> {
        // Up to 3.51.2 two connections that write and checkpoint at once can corrupt a WAL database.
        if rusqlite::version_number() < 3_051_003 {
            return Err(Error::Unavailable(format!("SQLite {} is too old", rusqlite::version())));
        }
        let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        patiently(|| connection.pragma_update(None, "journal_mode", "WAL"))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // SQLite would do it inside a commit and keep silent about failures.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        // A write whose sync failed may be in the log as the system remembers it, and not on the disk: what is found there is
        // synced as part of the file before anything is built on it.
        writer::checkpoint(&connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
        empty_log(&connection)?;
        migrations::run(&connection, now)?;
        let readers = Arc::new(Readers::new(file, &connection));
        let writer = Writer::start(connection, Arc::clone(&readers), writes_per_commit)?;
        Ok(Self { readers, writer })
    }

    /// Whether it can be written to.
    pub(super) fn ready(&self) -> Result<()> {
        self.writer.ready()
    }

    /// On the writer's thread a read sees what the work wrote before.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match self.writer.connection() {
            Some(connection) => work(&connection),
            None => self.readers.read(work),
        }
    }

    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        self.writer.write(work)
    }

    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.writer.enqueue(|_| work(), done);
    }

    pub(super) fn backup(&self, file: &Path) -> Result<()> {
        if file.exists() {
            return Err(Error::Unavailable(format!("{} exists already", file.display())));
        }
        // Under another name first, so that half a copy is not taken for one, whatever ends this process.
        let mut draft = file.as_os_str().to_owned();
        draft.push(".part");
        let draft = PathBuf::from(draft);
        let remove = |draft: &Path| match std::fs::remove_file(draft) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let written =
            |error: std::io::Error| Error::Unavailable(format!("cannot write {}: {error}", file.display()));
        remove(&draft).map_err(written)?;
        private_file(&draft)?;
        let copied = self.copy(&draft).and_then(|()| put_in_place(&draft, file).map_err(written));
        if copied.is_err() {
            // Where it cannot be removed either, the error tells why.
            drop(remove(&draft));
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
        })
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
    /// The writer's connection is the last to be closed, because one that only reads could not put the log back into the file.
    fn drop(&mut self) {
        self.readers.close();
        self.writer.stop();
    }
}

/// Cuts off the log, all of which is in the file: else a start that follows, with nothing written between, would put it there
/// again. Where another process has the database open that is left to it.
fn empty_log(connection: &Connection) -> Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let emptied = writer::checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)");
    connection.busy_timeout(BUSY)?;
    match emptied {
        Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => Err(error.into()),
        _ => Ok(()),
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

/// Gives what is written in `draft` its name, for good.
fn put_in_place(draft: &Path, file: &Path) -> std::io::Result<()> {
    std::fs::File::open(draft)?.sync_all()?;
    std::fs::rename(draft, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
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
    connection.pragma_update(None, "cache_size", CACHE)?;
    // A savepoint keeps the pages as they were before it; by default that goes to a file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Tries again while another process has the file. Where SQLite wants to make a reader's lock a writer's, as for the change of
/// a new file's journal, it does not wait by itself, as two who did would wait for each other.
fn patiently<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let until = Instant::now() + BUSY;
    loop {
        match work() {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < until =>
            {
                std::thread::sleep(AGAIN);
            }
            result => return result,
        }
    }
}

fn execute(connection: &Connection, sql: &'static str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.raw_execute().map(drop)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::error::Missing;

    /// A database in a folder of its own, with a table to write to.
    fn with_numbers(name: &str, test: impl FnOnce(&Sqlite)) {
        let folder = std::env::temp_dir().join(format!("guildhall-sqlite-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let sqlite = Sqlite::open(&folder.join("test.db"), Timestamp(0), 256).unwrap();
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
        let released = Arc::new(Mutex::new(released));
        let wait = move |_: &Connection| {
            begin.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
            Ok(())
        };
        sqlite.writer.enqueue(wait, |_| {});
        begun.recv().unwrap();
        release
    }

    #[test]
    fn many_may_open_a_new_file_at_once() {
        for round in 0..20 {
            let folder =
                std::env::temp_dir().join(format!("guildhall-sqlite-{}-open-{round}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let together = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        together.wait();
                        drop(Sqlite::open(&folder.join("test.db"), Timestamp(0), 256).unwrap());
                    });
                }
            });
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn of_a_batch_only_what_failed_is_undone() {
        with_numbers("batch", |sqlite| {
            let release = hold(sqlite);
            let (answer, answers) = channel();
            let submit = |name: &'static str, work: fn(&Connection) -> Result<()>| {
                let answer = answer.clone();
                sqlite.writer.enqueue(work, move |result| answer.send((name, result.is_ok())).unwrap());
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
                sqlite.writer.enqueue(work, move |result| drop(answer.send(result)));
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
            assert!(wal < 2 * writer::LOG_PAGES.unsigned_abs() * 4096, "{wal} bytes");
        });
    }

    #[test]
    fn what_a_start_found_in_the_log_no_other_finds() {
        let folder = std::env::temp_dir().join(format!("guildhall-sqlite-{}-log", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("test.db");
        drop(Sqlite::open(&file, Timestamp(0), 256).unwrap());
        // As a process leaves it that is killed.
        let killed = Connection::open(&file).unwrap();
        killed.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        killed.execute_batch("CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY)").unwrap();
        put(&killed, 7).unwrap();
        drop(killed);
        let log = folder.join("test.db-wal");
        assert_ne!(std::fs::metadata(&log).unwrap().len(), 0);
        let sqlite = Sqlite::open(&file, Timestamp(0), 256).unwrap();
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        // A second process changes nothing of that, nor waits.
        let other = Sqlite::open(&file, Timestamp(0), 256).unwrap();
        assert_eq!((sqlite.read(numbers).unwrap(), other.read(numbers).unwrap()), (vec![7], vec![7]));
        drop((sqlite, other));
        std::fs::remove_dir_all(folder).unwrap();
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
