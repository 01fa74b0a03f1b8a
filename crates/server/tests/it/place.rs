//! The database of a test: a file, or where [`is_postgres`] a database of a private PostgreSQL, copied from one that was
//! brought to the program's schema once.

use std::path::{Path, PathBuf};

use guildhall_domain::db::{Db, Settings, Target};
use guildhall_domain::{Error, Result};

/// In the environment of this binary: the engine that its tests use, if not SQLite.
pub(crate) const ENGINE: &str = "GUILDHALL_TEST_ENGINE";

/// The connections of one node: fewer than the tests that run at once ask for.
const CONNECTIONS: usize = 8;

/// Whether this run of the tests is on PostgreSQL.
#[expect(clippy::disallowed_methods, reason = "the variable is the tests' own")]
pub(crate) fn is_postgres() -> bool {
    std::env::var_os(ENGINE).is_some_and(|engine| engine == "postgres")
}

/// How often something is tried that chance decides: `long` in the long tier, else `quick`.
pub(crate) fn times(quick: usize, long: usize) -> usize {
    if testpg::is_long() { long } else { quick }
}

/// Tells whoever proves things by these tests how much was tried.
pub(crate) fn counted(number: usize, what: &str) {
    println!("COUNTED: {number} {what}");
}

/// Tells them what a check has found where what it guards was taken away.
pub(crate) fn controlled(found: &str) {
    println!("CONTROL: {found}");
}

/// How many threads make what a test begins with: on SQLite they share commits; on PostgreSQL they would be in each
/// other's way, and what is done again draws its numbers again.
pub(crate) fn hands() -> usize {
    if is_postgres() { 1 } else { 32 }
}

/// Asks until it is answered, as a client does who is told to come back: of many that meet, an engine may send some away.
pub(crate) fn insist<T>(work: impl Fn() -> Result<T>) -> Result<T> {
    loop {
        match work() {
            Err(Error::Unavailable(_)) => std::thread::yield_now(),
            told => return told,
        }
    }
}

/// Where a test's database is.
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(testpg::Database),
}

impl Place {
    /// A new one: of the engine of this run, the file in that folder.
    pub(crate) fn new(folder: &Path) -> Self {
        if !is_postgres() {
            return Self::sqlite(folder);
        }
        Self::postgres().expect("who asks for PostgreSQL has looked for it")
    }

    /// A new file in that folder.
    pub(crate) fn sqlite(folder: &Path) -> Self {
        Self::Sqlite(folder.join("guildhall.db"))
    }

    /// A new database of the private PostgreSQL; nothing where it is not installed.
    pub(crate) fn postgres() -> Option<Self> {
        let migrate = |url: &str| drop(postgres(url, Settings::default()));
        testpg::shared().map(|cluster| Self::Postgres(cluster.database_from("guildhall", migrate)))
    }

    /// Opens it; once for each node.
    pub(crate) fn open(&self, settings: Settings) -> Db {
        match self {
            Self::Sqlite(file) => Db::sqlite(file, settings).unwrap(),
            Self::Postgres(database) => postgres(database.url(), settings),
        }
    }

    /// The tables themselves.
    pub(crate) fn stored(&self) -> Stored {
        match self {
            Self::Sqlite(file) => Stored::Sqlite(rusqlite::Connection::open(file).unwrap()),
            Self::Postgres(database) => Stored::Postgres(Box::new(database.session())),
        }
    }
}

fn postgres(url: &str, settings: Settings) -> Db {
    Db::postgres(&Target::parse(url).unwrap(), CONNECTIONS, settings).unwrap()
}

/// A connection of the test's own, past the program.
pub(crate) enum Stored {
    Sqlite(rusqlite::Connection),
    Postgres(Box<testpg::Session>),
}

impl Stored {
    /// What a query finds, a row a line with `|` between the columns, nothing for what is not there.
    pub(crate) fn rows(&mut self, query: &str) -> Vec<String> {
        let connection = match self {
            Self::Postgres(session) => return session.rows(query),
            Self::Sqlite(connection) => connection,
        };
        let mut statement = connection.prepare_cached(query).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let text = |column| match row.get_ref_unwrap(column) {
                rusqlite::types::ValueRef::Null => String::new(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => other.as_str().unwrap().to_owned(),
            };
            Ok((0..columns).map(text).collect::<Vec<_>>().join("|"))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Every row of every table.
    pub(crate) fn everything(&mut self) -> Vec<String> {
        let mut everything = Vec::new();
        for table in self.tables() {
            let mut rows = self.rows(&format!("SELECT '{table}', t.* FROM \"{table}\" t"));
            rows.sort_unstable();
            everything.extend(rows);
        }
        everything
    }

    fn tables(&mut self) -> Vec<String> {
        self.rows(match self {
            Self::Sqlite(_) => "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
            Self::Postgres(_) => {
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
            }
        })
    }
}
