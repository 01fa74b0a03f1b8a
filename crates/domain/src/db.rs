//! The database: a read sees one state, a write happens whole or not at all and is durable when it is answered.
//!
//! Everything that takes a `Tx` or a `WriteTx` is private to this crate: nobody outside can open a transaction, only
//! call an operation that checks its own permission inside one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::authz::Actor;
use crate::clock::{Clock, Random, Timestamp};
use crate::error::{Error, Result};

mod migrations;
mod postgres;
mod sqlite;
mod values;

pub use postgres::Target;
pub(crate) use values::{Row, Value};

/// A database that was opened and brought to this program's schema. Cheap to clone.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    engine: Engine,
    settings: Settings,
}

/// What every operation on a database goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The clock that it reads.
    pub clock: Clock,
    /// The randomness that it draws from.
    pub random: Random,
    /// A member who was not seen for so long is inactive.
    pub inactive_after: Duration,
    /// Whether the limits on how often hold: see [`crate::limits`].
    pub limits: bool,
    /// How many invitations an organization may send in 24 hours, where limits hold.
    pub invitations_per_day: i64,
    /// How many writes that wait together share one commit, at the most, so that the first of them does not wait for ever.
    /// SQLite's alone: on PostgreSQL each has its own.
    pub writes_per_commit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            random: Random::system(),
            inactive_after: Duration::from_secs(90 * 24 * 3600),
            limits: true,
            invitations_per_day: crate::limits::INVITATIONS_OF_ORGANIZATION.most,
            writes_per_commit: 256,
        }
    }
}

/// One database engine per arm.
enum Engine {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl Db {
    /// Opens (or makes) the SQLite database in `file` and brings it to this program's schema.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with a line for the operator: the file cannot be used, or was made by a newer program.
    /// [`Error::Internal`] where the file is damaged.
    pub fn sqlite(file: &Path, settings: Settings) -> Result<Self> {
        let engine =
            Engine::Sqlite(sqlite::Sqlite::open(file, settings.clock.now(), settings.writes_per_commit)?);
        Ok(Self(Arc::new(Inner { engine, settings })))
    }

    /// As [`Db::sqlite`], for a database that is there already: what holds nothing of this program stays as it is.
    ///
    /// # Errors
    /// As [`Db::sqlite`]; [`Error::Unavailable`] where the file is missing, empty or another program's.
    pub fn existing(file: &Path, settings: Settings) -> Result<Self> {
        sqlite::require_schema(file)?;
        Self::sqlite(file, settings)
    }

    /// Connects to the PostgreSQL database at `target`, by `connections` at the most, and brings it to this program's
    /// schema; others may do the same at the same time.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with a line for the operator: it cannot be reached or used, or was made by a newer program.
    pub fn postgres(target: &Target, connections: usize, settings: Settings) -> Result<Self> {
        Self::connect(target, connections, settings, postgres::Empty::Fill)
    }

    /// As [`Db::postgres`], for a database that is there already: one that holds nothing of this program stays as it is.
    ///
    /// # Errors
    /// As [`Db::postgres`]; [`Error::Unavailable`] where the database holds nothing.
    pub fn existing_postgres(target: &Target, connections: usize, settings: Settings) -> Result<Self> {
        Self::connect(target, connections, settings, postgres::Empty::Refuse)
    }

    fn connect(
        target: &Target,
        connections: usize,
        settings: Settings,
        empty: postgres::Empty,
    ) -> Result<Self> {
        let given = (settings.clock.now(), settings.random.clone());
        let engine = Engine::Postgres(postgres::Postgres::open(target, connections, given, empty)?);
        Ok(Self(Arc::new(Inner { engine, settings })))
    }

    /// The clock that every operation on this database reads.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.settings.clock
    }

    /// The randomness that every operation on this database draws from.
    #[must_use]
    pub fn random(&self) -> &Random {
        &self.0.settings.random
    }

    /// Runs `work`, which calls operations of this crate, where it may wait for the disk, then `done` with what it
    /// answered once that is durable. For callers that must not block: neither this nor `done` waits.
    ///
    /// `work` does nothing slow: others wait for it. What it reads holds what it wrote; where it answers an error, nothing of
    /// it stays. On SQLite many that arrive together share one commit; on PostgreSQL it runs again, as a copy of what was
    /// given, where another was in its way.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let db = self.clone();
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.submit(move || work(&db), done),
            Engine::Postgres(postgres) => postgres.submit(move || work(&db), done),
        }
    }

    /// Whether a read waits for a network: such a one is asked for by [`Db::look`] where waiting would hold others up.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.0.engine, Engine::Postgres(_))
    }

    /// Runs `work`, which calls operations of this crate that only look, then `done` with what it answered. For callers
    /// that must not block where reads wait for a network; elsewhere both run where they are. On PostgreSQL it may run more
    /// than once, each time as a copy of what was given.
    pub fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let db = self.clone();
        match &self.0.engine {
            Engine::Sqlite(_) => done(work(&db)),
            Engine::Postgres(postgres) => postgres.look(move || work(&db), done),
        }
    }

    /// As [`Db::look`] for a `work` that looks at so much that no other is to wait for it.
    pub fn search<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let db = self.clone();
        match &self.0.engine {
            Engine::Sqlite(_) => done(work(&db)),
            Engine::Postgres(postgres) => postgres.search(move || work(&db), done),
        }
    }

    /// Answers whether the database can be used now, by a read that touches it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it cannot be read, or written to.
    pub fn ready(&self) -> Result<()> {
        if let Engine::Sqlite(sqlite) = &self.0.engine {
            sqlite.ready()?;
        }
        let sql = "SELECT value FROM counters WHERE name = $1";
        self.read_one(|tx| tx.exists(sql, &["users".into()])).map(drop)
    }

    /// Writes a consistent copy of the whole database to `file`, which must not exist, while others go on.
    ///
    /// # Errors
    /// For all but the system; [`Error::Unavailable`] where it cannot be written, or the engine has tools of its own for it.
    pub fn backup(&self, actor: &Actor, file: &Path) -> Result<()> {
        actor.require_system()?;
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.backup(file),
            Engine::Postgres(_) => Err(Error::Unavailable("PostgreSQL is backed up by pg_dump".into())),
        }
    }

    /// What the engine itself finds wrong with its file, a line each. PostgreSQL looks after its own.
    pub(crate) fn integrity(&self) -> Result<Vec<String>> {
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.integrity(),
            Engine::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// Runs `work` on one state of the database. It may run again where a connection was lost.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T> + Clone) -> Result<T> {
        match &self.0.engine {
            Engine::Sqlite(sqlite) => {
                sqlite.read(|connection| work(&self.tx(Connection::Sqlite(connection))))
            }
            Engine::Postgres(postgres) => {
                postgres.read(|session| work(&self.tx(Connection::Postgres(session))))
            }
        }
    }

    /// As [`Db::read`] for a work of one statement at the most, which is one state by itself: on PostgreSQL one message to the
    /// server and its answer. A second statement is an [`Error::Internal`] there.
    pub(crate) fn read_one<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T> + Clone) -> Result<T> {
        match &self.0.engine {
            Engine::Sqlite(_) => self.read(work),
            Engine::Postgres(postgres) => {
                postgres.read_one(|session| work(&self.tx(Connection::Postgres(session))))
            }
        }
    }

    /// Runs `work`, whole or not at all; what it answers is durable when this returns. It runs again where another was in
    /// its way.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTx<'_>) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let db = self.clone();
        match &self.0.engine {
            Engine::Sqlite(sqlite) => {
                sqlite.write(move |connection| work(&WriteTx(db.tx(Connection::Sqlite(connection)))))
            }
            Engine::Postgres(postgres) => {
                postgres.write(move |session| work(&WriteTx(db.tx(Connection::Postgres(session)))))
            }
        }
    }

    /// As [`Db::read`], once, for a work that looks at every row and takes as long as that takes.
    pub(crate) fn read_whole<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        match &self.0.engine {
            Engine::Sqlite(sqlite) => {
                sqlite.read(|connection| work(&self.tx(Connection::Sqlite(connection))))
            }
            Engine::Postgres(postgres) => {
                postgres.read_whole(|session| work(&self.tx(Connection::Postgres(session))))
            }
        }
    }

    /// As [`Db::write`], for a work that fills the database and takes as long as that takes. No other server comes to write
    /// meanwhile.
    pub(crate) fn write_whole<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTx<'_>) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        match &self.0.engine {
            Engine::Sqlite(_) => self.write(work),
            Engine::Postgres(postgres) => {
                postgres.write_whole(|session| work(&WriteTx(self.tx(Connection::Postgres(session)))))
            }
        }
    }

    fn tx<'c>(&'c self, connection: Connection<'c>) -> Tx<'c> {
        let Settings { clock, random, limits, .. } = &self.0.settings;
        Tx { connection, now: clock.now(), random, limits: *limits }
    }

    /// The moment since when one must have been seen not to be inactive.
    pub(crate) fn unseen_since(&self) -> Timestamp {
        self.0.settings.clock.now().before(self.0.settings.inactive_after)
    }

    /// Whether the limits on how often hold.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        self.0.settings.limits
    }

    pub(crate) fn invitations_per_day(&self) -> i64 {
        self.0.settings.invitations_per_day
    }
}

/// What a transaction runs on.
enum Connection<'c> {
    Sqlite(&'c rusqlite::Connection),
    Postgres(&'c postgres::Session),
}

/// A transaction that reads.
pub(crate) struct Tx<'c> {
    connection: Connection<'c>,
    /// The time at which all of this transaction happens.
    pub(crate) now: Timestamp,
    pub(crate) random: &'c Random,
    /// Whether the limits on how often hold.
    pub(crate) limits: bool,
}

/// A transaction that may write; it can do all that a reading one can.
pub(crate) struct WriteTx<'c>(Tx<'c>);

impl<'c> std::ops::Deref for WriteTx<'c> {
    type Target = Tx<'c>;
    fn deref(&self) -> &Tx<'c> {
        &self.0
    }
}

impl Tx<'_> {
    /// The one row that `sql` finds, if it finds one. Statements are literals, so no value can become part of one.
    pub(crate) fn row<T>(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        if values::is_nowhere(values) {
            return Ok(None);
        }
        let connection = match &self.connection {
            Connection::Sqlite(connection) => connection,
            Connection::Postgres(session) => return session.row(sql, values, read),
        };
        let mut statement = connection.prepare_cached(sql)?;
        values::bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        match rows.next()? {
            Some(row) => read(&Row::sqlite(row)).map(Some),
            None => Ok(None),
        }
    }

    /// Every row that `sql` finds, in its order.
    pub(crate) fn rows<T>(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
        read: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        if values::is_nowhere(values) {
            return Ok(Vec::new());
        }
        let connection = match &self.connection {
            Connection::Sqlite(connection) => connection,
            Connection::Postgres(session) => return session.rows(sql, values, read),
        };
        let mut statement = connection.prepare_cached(sql)?;
        values::bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(read(&Row::sqlite(row))?);
        }
        Ok(out)
    }

    /// Whether `sql` finds anything.
    pub(crate) fn exists(&self, sql: &'static str, values: &[Value<'_>]) -> Result<bool> {
        Ok(self.row(sql, values, |_| Ok(()))?.is_some())
    }

    /// The last number that was given of a kind of thing.
    pub(crate) fn last_number(&self, kind: &str) -> Result<Option<i64>> {
        let sql = match self.connection {
            Connection::Sqlite(_) => "SELECT value FROM counters WHERE name = $1",
            Connection::Postgres(_) => postgres::LAST_NUMBER,
        };
        self.row(sql, &[kind.into()], |row| row.int())
    }
}

impl WriteTx<'_> {
    /// Runs a statement that changes rows; answers how many.
    pub(crate) fn run(&self, sql: &'static str, values: &[Value<'_>]) -> Result<usize> {
        if values::is_nowhere(values) {
            return Err(Error::Internal("a text with NUL was to be stored".into()));
        }
        let connection = match &self.0.connection {
            Connection::Sqlite(connection) => connection,
            Connection::Postgres(session) => return session.run(sql, values),
        };
        let mut statement = connection.prepare_cached(sql)?;
        values::bind(&mut statement, values)?;
        Ok(statement.raw_execute()?)
    }

    /// Runs a statement that changes rows once for each of `rows`; on PostgreSQL in one message to the server and its answer.
    pub(crate) fn run_each(&self, sql: &'static str, rows: &[&[Value<'_>]]) -> Result<()> {
        if rows.iter().any(|values| values::is_nowhere(values)) {
            return Err(Error::Internal("a text with NUL was to be stored".into()));
        }
        let connection = match &self.0.connection {
            Connection::Sqlite(connection) => connection,
            Connection::Postgres(session) => return session.run_each(sql, rows),
        };
        let mut statement = connection.prepare_cached(sql)?;
        for values in rows {
            values::bind(&mut statement, values)?;
            statement.raw_execute()?;
        }
        Ok(())
    }

    /// Lets the numbers of every kind go on behind `last`, and never before it.
    pub(crate) fn restart_numbers(&self, last: &[(String, i64)]) -> Result<()> {
        for (kind, number) in last {
            let sql = "UPDATE counters SET value = $2 WHERE name = $1";
            if self.run(sql, &[kind.into(), (*number).into()])? != 1 {
                return Err(Error::Internal(format!("no counter {kind}")));
            }
        }
        match &self.0.connection {
            Connection::Sqlite(_) => Ok(()),
            Connection::Postgres(session) => session.run(postgres::RESTART_NUMBERS, &[]).map(drop),
        }
    }

    /// The next number of a kind of thing: counts up, and is never given twice. On PostgreSQL one that was drawn is gone
    /// also where nothing comes of it, so it is drawn when nothing can be refused any more.
    pub(crate) fn next_number(&self, kind: &'static str) -> Result<i64> {
        let number = match self.connection {
            // Two statements: for RETURNING SQLite makes a table each time.
            Connection::Sqlite(_) => {
                self.run("UPDATE counters SET value = value + 1 WHERE name = $1", &[kind.into()])?;
                self.last_number(kind)?
            }
            Connection::Postgres(_) => self.row(postgres::NEXT_NUMBER, &[kind.into()], |row| row.int())?,
        };
        number.ok_or_else(|| Error::Internal(format!("no counter {kind}")))
    }

    /// An id that sorts by time: 16 hex digits of the microsecond, then 16 random ones.
    pub(crate) fn time_ordered_id(&self) -> String {
        format!("{:016x}{}", self.now.0, self.random.hex::<8>())
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(
                Code::DatabaseBusy
                | Code::DatabaseLocked
                | Code::DiskFull
                | Code::SystemIoFailure
                | Code::CannotOpen
                | Code::ReadOnly
                | Code::OutOfMemory,
            ) => Self::Unavailable(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod parsers;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::error::Missing;

    pub(crate) fn settings() -> Settings {
        Settings {
            clock: Clock::fixed(Timestamp(1_767_323_045_678_901)),
            random: Random::seeded(7),
            ..Settings::default()
        }
    }

    /// Runs `test` on a new database of each engine whose clock stands until the test moves it.
    pub(crate) fn on_new_database(test: impl Fn(&Db)) {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // Where writing costs nothing, if the machine has such a place.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("guildhall-domain-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("there is room for a test");
        let db = Db::sqlite(&folder.join("test.db"), settings()).expect("a new database opens");
        test(&db);
        drop(db);
        std::fs::remove_dir_all(folder).expect("the test's folder can go");
        on_new_postgres(|_, db| test(db));
    }

    /// The same on PostgreSQL alone, where it is installed; where the database is, for tests that go there besides.
    pub(crate) fn on_new_postgres(test: impl FnOnce(&Target, &Db)) {
        let Some(cluster) = testpg::shared() else { return };
        let database = cluster.database();
        let target = Target::parse(database.url()).expect("the address has the form of one");
        let db = Db::postgres(&target, 4, settings()).expect("a new database opens");
        test(&target, &db);
    }

    #[test]
    fn a_work_of_several_operations_sees_itself_and_stays_or_falls_whole() {
        on_new_database(|db| {
            let count =
                |db: &Db| db.read(|tx| tx.row("SELECT COUNT(*) FROM ended_tokens", &[], |row| row.int()));
            let put = "INSERT INTO ended_tokens (hash, expires_at) VALUES ($1, $2)";
            let (answer, answers) = channel();
            for (hash, fails) in [("a", false), ("b", true)] {
                let answer = answer.clone();
                let work = move |db: &Db| {
                    let before = count(db)?;
                    db.write(move |tx| tx.run(put, &[hash.into(), tx.now.into()]))?;
                    let seen = count(db)?;
                    if fails { Err(Missing::User.into()) } else { Ok((before, seen)) }
                };
                db.submit(work, move |result| drop(answer.send(result)));
                match answers.recv().unwrap() {
                    Ok(seen) => assert_eq!((seen, fails), ((Some(0), Some(1)), false)),
                    Err(error) => assert!(fails && matches!(error, Error::Missing(Missing::User)), "{error}"),
                }
            }
            assert_eq!(count(db).unwrap(), Some(1), "the second left nothing");
        });
    }

    #[test]
    fn of_a_work_only_the_part_that_failed_is_undone() {
        on_new_database(|db| {
            let put = |db: &Db, hash: &'static str, fails: bool| {
                db.write(move |tx| {
                    let sql = "INSERT INTO ended_tokens (hash, expires_at) VALUES ($1, $2)";
                    tx.run(sql, &[hash.into(), tx.now.into()])?;
                    if fails { Err(Missing::User.into()) } else { Ok(()) }
                })
            };
            let (answer, answers) = channel();
            let work = move |db: &Db| {
                for (hash, fails) in [("a", true), ("b", false), ("c", true), ("d", false), ("e", true)] {
                    assert_eq!(put(db, hash, fails).is_err(), fails);
                }
                Ok(())
            };
            db.submit(work, move |result| drop(answer.send(result)));
            answers.recv().unwrap().unwrap();
            let sql = "SELECT hash FROM ended_tokens ORDER BY hash";
            assert_eq!(db.read(|tx| tx.rows(sql, &[], |row| row.text())).unwrap(), ["b", "d"]);
        });
    }

    #[test]
    fn a_text_with_nul_is_nowhere() {
        on_new_database(|db| {
            let sql = "SELECT id FROM users WHERE username_key = $1";
            assert_eq!(db.read(|tx| tx.row(sql, &["a\0".into()], |row| row.int())).unwrap(), None);
            let sql = "DELETE FROM ended_tokens WHERE hash = $1";
            assert!(matches!(db.write(move |tx| tx.run(sql, &["\0".into()])), Err(Error::Internal(_))));
        });
    }
}
