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
use crate::id::{EventId, OrganizationId, UserId};

mod migrations;
mod sqlite;

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
    /// How many invitations an organization may send on one day (UTC); nothing for as many as it likes.
    pub invitations_per_day: Option<i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            random: Random::system(),
            inactive_after: Duration::from_secs(90 * 24 * 3600),
            invitations_per_day: Some(500),
        }
    }
}

/// One database engine per arm; a PostgreSQL arm stands beside this one, not behind a trait.
enum Engine {
    Sqlite(sqlite::Sqlite),
}

impl Db {
    /// Opens (or makes) the SQLite database in `file` and brings it to this program's schema.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with a line for the operator: the file cannot be used, or was made by a newer program.
    /// [`Error::Internal`] where the file is damaged.
    pub fn sqlite(file: &Path, settings: Settings) -> Result<Self> {
        let engine = Engine::Sqlite(sqlite::Sqlite::open(file, settings.clock.now())?);
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
    /// Many works that arrive together share one commit. `work` does nothing slow: other writes wait for it. What it
    /// reads holds what it wrote; where it answers an error, nothing of it stays.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let db = self.clone();
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.submit(move || work(&db), done),
        }
    }

    /// Answers whether the database can be used now, by a read that touches it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it cannot be read, or written to.
    pub fn ready(&self) -> Result<()> {
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.ready()?,
        }
        self.read(|tx| {
            tx.row("SELECT value FROM counters WHERE name = $1", &["users".into()], |row| row.int())
        })
        .map(drop)
    }

    /// Writes a consistent copy of the whole database to `file`, which must not exist, while others go on.
    ///
    /// # Errors
    /// For all but the system; [`Error::Unavailable`] where it cannot be written.
    pub fn backup(&self, actor: &Actor, file: &Path) -> Result<()> {
        actor.require_system()?;
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.backup(file),
        }
    }

    /// What the engine itself finds wrong with its file, a line each.
    pub(crate) fn integrity(&self) -> Result<Vec<String>> {
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.integrity(),
        }
    }

    /// Runs `work` on one state of the database.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.read(|connection| work(&self.tx(connection))),
        }
    }

    /// Runs `work`, whole or not at all; what it answers is durable when this returns.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let db = self.clone();
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.write(move |connection| work(&WriteTx(db.tx(connection)))),
        }
    }

    fn tx<'c>(&'c self, connection: &'c rusqlite::Connection) -> Tx<'c> {
        Tx { connection, now: self.0.settings.clock.now(), random: &self.0.settings.random }
    }

    /// The moment since when one must have been seen not to be inactive.
    pub(crate) fn unseen_since(&self) -> Timestamp {
        self.0.settings.clock.now().before(self.0.settings.inactive_after)
    }

    pub(crate) fn invitations_per_day(&self) -> Option<i64> {
        self.0.settings.invitations_per_day
    }
}

/// A transaction that reads.
pub(crate) struct Tx<'c> {
    connection: &'c rusqlite::Connection,
    /// The time at which all of this transaction happens.
    pub(crate) now: Timestamp,
    pub(crate) random: &'c Random,
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
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        match rows.next()? {
            Some(row) => read(&Row::new(row)).map(Some),
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
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(read(&Row::new(row))?);
        }
        Ok(out)
    }

    /// Whether `sql` finds anything.
    pub(crate) fn exists(&self, sql: &'static str, values: &[Value<'_>]) -> Result<bool> {
        Ok(self.row(sql, values, |_| Ok(()))?.is_some())
    }
}

impl WriteTx<'_> {
    /// Runs a statement that changes rows; answers how many.
    pub(crate) fn run(&self, sql: &'static str, values: &[Value<'_>]) -> Result<usize> {
        let mut statement = self.0.connection.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        Ok(statement.raw_execute()?)
    }

    /// The next number of a kind of thing: counts up, and is never given twice.
    pub(crate) fn next_number(&self, kind: &'static str) -> Result<i64> {
        let sql = "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value";
        self.row(sql, &[kind.into()], |row| row.int())?
            .ok_or_else(|| Error::Internal(format!("no counter {kind}")))
    }

    /// An id that sorts by time: 16 hex digits of the microsecond, then 16 random ones.
    pub(crate) fn time_ordered_id(&self) -> String {
        format!("{:016x}{}", self.now.0, self.random.hex::<8>())
    }
}

/// Binds the first value to `$1`, the second to `$2` and so on. SQLite takes `$1` for a name and counts by first
/// appearance, hence the look-up.
fn bind(statement: &mut rusqlite::CachedStatement<'_>, values: &[Value<'_>]) -> Result<()> {
    const NAMES: [&str; 20] = [
        "$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15",
        "$16", "$17", "$18", "$19", "$20",
    ];
    if statement.parameter_count() != values.len() {
        return Err(Error::Internal(format!(
            "{} values for {} places",
            values.len(),
            statement.parameter_count()
        )));
    }
    for (name, value) in NAMES.iter().zip(values) {
        let unknown = || Error::Internal(format!("a statement has no {name}"));
        let index = statement.parameter_index(name)?.ok_or_else(unknown)?;
        match value {
            Value::Null => statement.raw_bind_parameter(index, rusqlite::types::Null)?,
            Value::Int(int) => statement.raw_bind_parameter(index, int)?,
            Value::Text(text) => statement.raw_bind_parameter(index, text)?,
        }
    }
    Ok(())
}

/// What can be bound to `$1`, `$2`, …: the three kinds that both engines keep alike.
#[derive(Clone, Copy)]
pub(crate) enum Value<'v> {
    Null,
    Int(i64),
    Text(&'v str),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(value: Timestamp) -> Self {
        Self::Int(value.0)
    }
}

impl From<UserId> for Value<'_> {
    fn from(value: UserId) -> Self {
        Self::Int(value.0)
    }
}

impl From<OrganizationId> for Value<'_> {
    fn from(value: OrganizationId) -> Self {
        Self::Int(value.0)
    }
}

impl From<EventId> for Value<'_> {
    fn from(value: EventId) -> Self {
        Self::Int(value.0)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(value: &'v str) -> Self {
        Self::Text(value)
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(value: &'v String) -> Self {
        Self::Text(value)
    }
}

impl<'v, T: Into<Value<'v>>> From<Option<T>> for Value<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row, read from its first column to its last.
pub(crate) struct Row<'r> {
    row: &'r rusqlite::Row<'r>,
    next: std::cell::Cell<usize>,
}

impl<'r> Row<'r> {
    fn new(row: &'r rusqlite::Row<'r>) -> Self {
        Self { row, next: std::cell::Cell::new(0) }
    }

    fn get<T: rusqlite::types::FromSql>(&self) -> Result<T> {
        let index = self.next.replace(self.next.get() + 1);
        Ok(self.row.get(index)?)
    }

    pub(crate) fn int(&self) -> Result<i64> {
        self.get()
    }

    pub(crate) fn opt_int(&self) -> Result<Option<i64>> {
        self.get()
    }

    pub(crate) fn text(&self) -> Result<String> {
        self.get()
    }

    pub(crate) fn opt_text(&self) -> Result<Option<String>> {
        self.get()
    }

    pub(crate) fn flag(&self) -> Result<bool> {
        Ok(self.int()? != 0)
    }

    pub(crate) fn time(&self) -> Result<Timestamp> {
        self.int().map(Timestamp)
    }

    pub(crate) fn opt_time(&self) -> Result<Option<Timestamp>> {
        Ok(self.opt_int()?.map(Timestamp))
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
pub(crate) mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::error::Missing;

    /// Runs `test` on a new database whose clock stands until the test moves it.
    pub(crate) fn on_new_database(test: impl FnOnce(&Db)) {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("guildhall-domain-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("there is room for a test");
        let settings = Settings {
            clock: Clock::fixed(Timestamp(1_767_323_045_678_901)),
            random: Random::seeded(7),
            ..Settings::default()
        };
        let db = Db::sqlite(&folder.join("test.db"), settings).expect("a new database opens");
        test(&db);
        drop(db);
        std::fs::remove_dir_all(folder).expect("the test's folder can go");
    }

    #[test]
    fn a_work_of_several_operations_sees_itself_and_stays_or_falls_whole() {
        on_new_database(|db| {
            let count = |db: &Db| {
                let sql = "SELECT value FROM counters WHERE name = $1";
                db.read(|tx| tx.row(sql, &["users".into()], |row| row.int()))
            };
            let (answer, answers) = channel();
            for fails in [false, true] {
                let answer = answer.clone();
                let work = move |db: &Db| {
                    let before = count(db)?;
                    db.write(|tx| tx.next_number("users"))?;
                    let seen = count(db)?;
                    if fails { Err(Missing::User.into()) } else { Ok((before, seen)) }
                };
                db.submit(work, move |result| drop(answer.send(result)));
            }
            assert_eq!(answers.recv().unwrap().unwrap(), (Some(0), Some(1)));
            assert!(answers.recv().unwrap().is_err());
            assert_eq!(count(db).unwrap(), Some(1), "the second left nothing");
        });
    }
}
