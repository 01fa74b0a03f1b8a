//! A whole database from one place to another, of whichever engine: what `guildhall copy` does.
//!
//! The source is read on one state. The target is filled in one transaction, in which every table is read back and compared
//! too: a copy that was interrupted, or is not what it was made from, leaves a target that holds nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use self::tables::{TABLES, Table};
use crate::authz::Actor;
use crate::clock::hex;
use crate::db::{Db, Tx, Value, WriteTx};
use crate::error::{Error, Result};

mod tables;

/// How many rows are in memory at once.
const PIECE: i64 = 500;

/// What came of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The table's name.
    pub table: &'static str,
    /// How many rows it has, there and here.
    pub rows: u64,
    /// The checksum of the rows as they were read from the source: see [`everything`].
    pub source: String,
    /// The same of the rows as they were read back from the target.
    pub target: String,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The table that is copied.
    pub table: &'static str,
    /// How many of its rows are in the target.
    pub done: u64,
    /// How many it has.
    pub of: u64,
}

/// Told again and again how far it is.
pub type Watch = Arc<dyn Fn(Progress) + Send + Sync>;

/// Why nothing was copied, and which of the two databases told it.
#[derive(Debug)]
pub enum Failed {
    /// The one that was to be copied.
    Source(Error),
    /// The one that was to be filled; also where it does not hold what was read.
    Target(Error),
}

impl From<Error> for Failed {
    /// What is not said to be the source's is the target's.
    fn from(error: Error) -> Self {
        Self::Target(error)
    }
}

/// Copies all that `from` holds into `to`, which must hold nothing: every row as it is, and the numbers that were given, so
/// that none is given twice. Answers the tables in the order in which they were filled.
///
/// `from` may be in use: what is copied is its state at one moment. A checksum is the SHA-256, in hex, of the rows in the order
/// of their keys (texts bytewise). Each column of a row, in the order of `copy/tables.rs`, is its length in bytes, `:`, the
/// text or the decimal number, and `,`; one that holds nothing is `-,`. A row ends in a line feed.
///
/// # Errors
/// For all but the system. [`Error::Unavailable`] with a line for the operator, where `to` holds something, either cannot be
/// used, or what was read back differs; then `to` holds nothing more than before.
pub fn everything(from: &Db, to: &Db, actor: &Actor, watch: Watch) -> Result<Vec<Copied>, Failed> {
    actor.require_system()?;
    let from = from.clone();
    // An error that undoes a transaction does not tell where it came from.
    let is_of_source = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_of_source);
    let copied = to.write_whole(move |target| {
        let copied = fill(target, &from, &watch);
        told.store(matches!(copied, Err(Failed::Source(_))), Ordering::Relaxed);
        copied.map_err(|(Failed::Source(error) | Failed::Target(error))| error)
    });
    let failed = if is_of_source.load(Ordering::Relaxed) { Failed::Source } else { Failed::Target };
    copied.map_err(failed)
}

fn fill(target: &WriteTx<'_>, from: &Db, watch: &Watch) -> Result<Vec<Copied>, Failed> {
    require_empty(target)?;
    // What the target refuses is none of the source's errors, and passes its transaction by.
    let copied = from.read_whole(|source| {
        let tables = TABLES.iter().map(|table| copy_table(table, source, target, watch));
        Ok(tables.chain(std::iter::once_with(|| copy_numbers(source, target))).collect())
    });
    copied.map_err(Failed::Source)?
}

fn require_empty(target: &Tx<'_>) -> Result<()> {
    let holds = |what: &str| {
        Err(Error::Unavailable(format!("the database holds data already ({what}); name one that holds none")))
    };
    for table in TABLES {
        if pieces(table, target, 1).next().transpose()?.is_some() {
            return holds(table.name);
        }
    }
    match numbers(target)?.iter().find(|(_, last)| *last != 0) {
        Some((kind, _)) => holds(&format!("numbers of {kind} were given")),
        None => Ok(()),
    }
}

/// A row: a column each.
type Columns = Vec<Option<String>>;

fn value(column: &Option<String>) -> Value<'_> {
    column.as_ref().into()
}

/// The rows of the table, in their keys' order and `most` at a time.
fn pieces(table: &Table, tx: &Tx<'_>, most: i64) -> impl Iterator<Item = Result<Vec<Columns>>> {
    let width = table.width();
    let mut last = Columns::new();
    std::iter::from_fn(move || {
        let mut values = match last.get(..table.before.len()) {
            Some(key) => key.iter().map(value).collect(),
            None => table.before.to_vec(),
        };
        values.push(most.into());
        let piece = tx.rows(table.read, &values, |row| (0..width).map(|_| row.any()).collect());
        if let Ok(rows) = &piece {
            last.clone_from(rows.last()?);
        }
        Some(piece)
    })
}

fn copy_table(table: &Table, source: &Tx<'_>, target: &WriteTx<'_>, watch: &Watch) -> Result<Copied, Failed> {
    let of = count(table, source).map_err(Failed::Source)?;
    let mut read = Sum::default();
    watch(Progress { table: table.name, done: 0, of });
    for rows in pieces(table, source, PIECE) {
        let rows = rows.map_err(Failed::Source)?;
        let values: Vec<Vec<Value<'_>>> = rows.iter().map(|row| row.iter().map(value).collect()).collect();
        let values: Vec<&[Value<'_>]> = values.iter().map(Vec::as_slice).collect();
        target.run_each(table.insert, &values)?;
        read.add(&rows);
        watch(Progress { table: table.name, done: read.rows, of });
    }
    let mut back = Sum::default();
    for rows in pieces(table, target, PIECE) {
        back.add(&rows?);
    }
    let counted = count(table, target)?;
    if (of, of) != (read.rows, counted) {
        let why =
            format!("{} has {of} rows, of which {} were read and {counted} stored", table.name, read.rows);
        return Err(Error::Unavailable(why).into());
    }
    Ok(read.compared(table.name, back)?)
}

fn count(table: &Table, tx: &Tx<'_>) -> Result<u64> {
    let found = tx.row(table.count, &[], |row| row.int())?.unwrap_or_default();
    Ok(u64::try_from(found).unwrap_or_default())
}

/// The last number that was given of each kind, by kind.
fn numbers(tx: &Tx<'_>) -> Result<Vec<(String, i64)>> {
    let kinds = tx.rows("SELECT name FROM counters ORDER BY name", &[], |row| row.text())?;
    let numbered = |kind: String| tx.last_number(&kind).map(|last| (kind, last.unwrap_or_default()));
    kinds.into_iter().map(numbered).collect()
}

/// The source goes on giving numbers meanwhile; those read here are behind every row that was copied.
fn copy_numbers(source: &Tx<'_>, target: &WriteTx<'_>) -> Result<Copied, Failed> {
    let last = numbers(source).map_err(Failed::Source)?;
    target.restart_numbers(&last)?;
    let sum = |numbers: &[(String, i64)]| {
        let mut sum = Sum::default();
        for (kind, last) in numbers {
            sum.add(&[vec![Some(kind.clone()), Some(last.to_string())]]);
        }
        sum
    };
    Ok(sum(&last).compared("counters", sum(&numbers(target)?))?)
}

/// The checksum of the rows that were added, and how many they were.
#[derive(Default)]
struct Sum {
    hash: Sha256,
    rows: u64,
}

impl Sum {
    fn add(&mut self, rows: &[Columns]) {
        for row in rows {
            for column in row {
                match column {
                    Some(text) => {
                        self.hash.update(format!("{}:", text.len()));
                        self.hash.update(text);
                        self.hash.update(",");
                    }
                    None => self.hash.update("-,"),
                }
            }
            self.hash.update("\n");
            self.rows += 1;
        }
    }

    /// What was read, where it is what was read back.
    fn compared(self, table: &'static str, back: Self) -> Result<Copied> {
        let rows = self.rows;
        let [source, target] = [self, back].map(|sum| hex(&sum.hash.finalize()));
        if source == target {
            return Ok(Copied { table, rows, source, target });
        }
        Err(Error::Unavailable(format!(
            "{table} was not read back as it was written: checksum {target}, and {source} of the source"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use sha2::Digest;

    use super::tables::TABLES;
    use super::{Columns, Failed, Sum, everything};
    use crate::authz::Actor;
    use crate::clock::hex;
    use crate::db::{Db, Settings};
    use crate::error::Error;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("guildhall-copy-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn db(&self, name: &str) -> Db {
            Db::sqlite(&self.0.join(name), Settings::default()).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    /// The words between two others of a statement, without what separates them.
    fn between(sql: &str, from: &str, to: &str) -> Vec<String> {
        let rest = sql.split_once(from).unwrap().1;
        let part = rest.split_once(to).unwrap().0;
        part.split(',').map(|word| word.trim().to_owned()).collect()
    }

    #[test]
    fn every_column_of_every_table_is_copied() {
        let folder = Folder::new("columns");
        drop(folder.db("a.db"));
        let connection = rusqlite::Connection::open(folder.0.join("a.db")).unwrap();
        let strings = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let mut there =
            strings("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
        there.retain(|name| !["counters", "schema_migrations"].contains(&name.as_str()));
        let mut ours: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        ours.sort_unstable();
        there.sort_unstable();
        assert_eq!(ours, there);
        for table in TABLES {
            let of = |order: &str| {
                strings(&format!("SELECT name FROM pragma_table_info('{}') {order}", table.name))
            };
            let read = between(table.read, "SELECT ", " FROM");
            assert_eq!(between(table.insert, " (", ")"), read, "{}", table.name);
            let mut sorted = read.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, of("ORDER BY name"), "{}", table.name);
            let key = of("WHERE pk > 0 ORDER BY pk");
            assert_eq!((&read[..key.len()], table.before.len()), (&key[..], key.len()), "{}", table.name);
            assert_eq!(between(table.read, "ORDER BY ", " LIMIT"), key, "{}", table.name);
            let places: Vec<String> = (1..=read.len()).map(|place| format!("${place}")).collect();
            assert_eq!(between(table.insert, "VALUES (", ")"), places, "{}", table.name);
            assert_eq!(table.width(), read.len());
            let parents =
                strings(&format!("SELECT \"table\" FROM pragma_foreign_key_list('{}')", table.name));
            for parent in parents {
                let place = |name: &str| TABLES.iter().position(|table| table.name == name);
                assert!(place(&parent) < place(table.name), "{parent} before {}", table.name);
            }
        }
    }

    fn sum(rows: &[Columns]) -> String {
        let mut sum = Sum::default();
        sum.add(rows);
        hex(&sum.hash.finalize())
    }

    #[test]
    fn a_checksum_is_that_of_the_documented_form() {
        let text = |text: &str| Some(text.to_owned());
        // printf '1:7,2:\xc3\xa9,-,0:,\n' | sha256sum
        assert_eq!(
            sum(&[vec![text("7"), text("é"), None, text("")]]),
            "6402214d1417cecde10b39ae8253973620fae11537882ce0ec5fc6dc2c3f5b7c"
        );
        let row = |one: &str, two: &str| sum(&[vec![text(one), text(two)]]);
        assert_ne!(row("ab", "c"), row("a", "bc"));
        assert_ne!(row("-", ""), sum(&[vec![None, text("")]]));
    }

    #[test]
    fn only_the_system_copies_and_only_into_what_is_empty() {
        let folder = Folder::new("empty");
        let [from, to] = ["from.db", "to.db"].map(|name| folder.db(name));
        let watch: super::Watch = Arc::new(|_| {});
        assert!(
            everything(&from, &to, &Actor::system(), Arc::clone(&watch)).is_ok(),
            "nothing is copied to nothing"
        );
        // A number that was given counts, also where nothing came of it.
        to.write(|tx| tx.next_number("events")).unwrap();
        let told = everything(&from, &to, &Actor::system(), Arc::clone(&watch));
        let Err(Failed::Target(Error::Unavailable(why))) = told else { panic!("{told:?}") };
        assert!(why.contains("numbers of events"), "{why}");
        to.write(|tx| tx.run("INSERT INTO ended_tokens (hash, expires_at) VALUES ('a', 0)", &[])).unwrap();
        let told = everything(&from, &to, &Actor::system(), watch);
        let Err(Failed::Target(Error::Unavailable(why))) = told else { panic!("{told:?}") };
        assert!(why.contains("ended_tokens"), "{why}");
    }

    #[test]
    fn it_is_told_whose_failure_it_was() {
        let folder = Folder::new("whose");
        let [from, to] = ["from.db", "to.db"].map(|name| folder.db(name));
        let told = || everything(&from, &to, &Actor::system(), Arc::new(|_| {}));
        let spoil = |name: &str| {
            let database = rusqlite::Connection::open(folder.0.join(name)).unwrap();
            database.execute_batch("DROP TABLE ended_tokens").unwrap();
        };
        spoil("from.db");
        assert!(matches!(told(), Err(Failed::Source(_))), "{:?}", told());
        spoil("to.db");
        assert!(matches!(told(), Err(Failed::Target(_))), "{:?}", told());
    }
}
