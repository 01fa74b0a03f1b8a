//! Brings a PostgreSQL database to this program's schema, while others may be about to do the same.

use std::time::{Duration, Instant};

use super::super::migrations;
use super::connect::connect;
use super::session::Session;
use super::target::Target;
use super::tls::Tls;
use crate::clock::{Timestamp, sha256_hex};
use crate::error::{Error, Result};

/// How long bringing a database up to date may take, with the waiting for another that does it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Numbers are given by a sequence for each counter, which starts behind what the counter holds: who makes something would
/// otherwise wait for all others who make something of its kind.
const SEQUENCES: &str = "DO $$ DECLARE counter RECORD; BEGIN
    FOR counter IN SELECT name, value FROM counters LOOP
        EXECUTE format('CREATE SEQUENCE IF NOT EXISTS %I START %s', 'numbers_of_' || counter.name, counter.value + 1);
    END LOOP; END $$";

/// Draws the next number of a kind of thing.
pub(in crate::db) const NEXT_NUMBER: &str = "SELECT nextval(to_regclass('numbers_of_' || CAST($1 AS TEXT)))";
/// The last number that was drawn of a kind; what the counter holds where none was.
pub(in crate::db) const LAST_NUMBER: &str =
    "SELECT COALESCE((SELECT last_value FROM pg_sequences WHERE schemaname = current_schema()
                        AND sequencename = 'numbers_of_' || name), value)
     FROM counters WHERE name = $1";

/// Lets the numbers go on behind what the counters hold. Within the transaction, as all of it: `setval` would stay where the
/// transaction does not.
pub(in crate::db) const RESTART_NUMBERS: &str = "DO $$ DECLARE counter RECORD; BEGIN
    FOR counter IN SELECT name, value FROM counters LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART WITH %s', 'numbers_of_' || counter.name, counter.value + 1);
    END LOOP; END $$";

/// What is done about a database that holds nothing of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::db) enum Empty {
    /// The schema is made.
    Fill,
    /// It is told, and left as it is.
    Refuse,
}

/// Applies the migrations that are missing, all or nothing, one program at a time.
///
/// # Errors
/// [`Error::Unavailable`] where the database cannot be used, was made by a newer program, or holds nothing and shall stay so.
pub(super) fn prepare(target: &Target, now: Timestamp, empty: Empty) -> Result<()> {
    let tls = Tls::new(target).map_err(Error::Unavailable)?;
    let session = connect(target, &tls, Instant::now() + PATIENCE).map_err(Error::Unavailable)?;
    // A table may take long to change, and another program too.
    session.batch("SET statement_timeout = 0; SET lock_timeout = 0")?;
    session.begin_alone();
    let encoding = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()";
    if session.row(encoding, &[], |row| row.text())?.as_deref() != Some("UTF8") {
        return Err(Error::Unavailable("the database must be made with ENCODING 'UTF8'".into()));
    }
    session.begin(&["BEGIN"]);
    match apply(&session, now, empty).map_err(|error| unowned(target, error)) {
        Ok(()) => session.commit(),
        Err(error) => {
            session.roll_back();
            Err(error)
        }
    }
}

/// Says what to do where the user may not make tables: from PostgreSQL 15 on a database's owner alone may, if nobody is let.
fn unowned(target: &Target, error: Error) -> Error {
    let (user, database) = (&target.user, &target.database);
    match error {
        Error::Internal(why) if why == "permission denied for schema public (42501)" => {
            Error::Unavailable(format!(
                "{user} may not make tables in {database}; make it the owner (ALTER DATABASE {database} OWNER TO {user})"
            ))
        }
        other => other,
    }
}

fn apply(session: &Session, now: Timestamp, empty: Empty) -> Result<()> {
    // Held until the transaction ends. The number is this program's name in ASCII.
    session.row("SELECT 1 FROM (SELECT pg_advisory_xact_lock(7455806984204807276)) held", &[], |_| Ok(()))?;
    let is_there = "SELECT to_regclass('schema_migrations') IS NOT NULL";
    if session.row(is_there, &[], |row| row.flag())? != Some(true) {
        if empty == Empty::Refuse {
            return Err(Error::Unavailable("the database holds nothing of guildhall".into()));
        }
        session.batch(&adapted(migrations::TABLE))?;
    }
    let applied = session.rows("SELECT name, checksum FROM schema_migrations ORDER BY name", &[], |row| {
        Ok((row.text()?, row.text()?))
    })?;
    let missing = migrations::missing(&applied)?;
    for (name, sql) in missing {
        session.batch(&adapted(sql))?;
        session.run(
            "INSERT INTO schema_migrations (name, checksum, applied_at) VALUES ($1, $2, $3)",
            &[(*name).into(), (&sha256_hex(sql)).into(), now.into()],
        )?;
    }
    if missing.is_empty() { Ok(()) } else { session.batch(SEQUENCES) }
}

/// The text as PostgreSQL is told it: every column's order bytewise, whatever the database's own, and nothing of how SQLite lays
/// out a table.
fn adapted(sql: &str) -> String {
    sql.replace(" TEXT", " TEXT COLLATE \"C\"").replace(" WITHOUT ROWID", "")
}
