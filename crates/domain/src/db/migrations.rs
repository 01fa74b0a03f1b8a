//! Brings a database to this program's schema, once and in order.

use crate::clock::{Timestamp, sha256_hex};
use crate::error::{Error, Result};

/// Every migration that was ever released, oldest first. A released one is never edited.
const ALL: &[(&str, &str)] = &[("001_initial", include_str!("../../../../migrations/001_initial.sql"))];

/// Where it stands which of them were applied.
pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    name TEXT NOT NULL PRIMARY KEY,
    checksum TEXT NOT NULL,
    applied_at BIGINT NOT NULL
)";

/// Applies to an SQLite database what is missing, all or nothing.
///
/// # Errors
/// [`Error::Unavailable`] where the database was made by a newer program or one of its migrations is not ours.
pub(super) fn run(connection: &rusqlite::Connection, now: Timestamp) -> Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    match apply(connection, now) {
        Ok(()) => Ok(connection.execute_batch("COMMIT")?),
        Err(error) => {
            connection.execute_batch("ROLLBACK")?;
            Err(error)
        }
    }
}

fn apply(connection: &rusqlite::Connection, now: Timestamp) -> Result<()> {
    connection.execute_batch(TABLE)?;
    let applied: Vec<(String, String)> = connection
        .prepare("SELECT name, checksum FROM schema_migrations ORDER BY name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (name, sql) in missing(&applied)? {
        connection.execute_batch(sql)?;
        connection.execute(
            "INSERT INTO schema_migrations (name, checksum, applied_at) VALUES ($1, $2, $3)",
            (name, sha256_hex(sql), now.0),
        )?;
    }
    Ok(())
}

/// The migrations that a database lacks to which these were applied: name and checksum, by name.
///
/// # Errors
/// As [`run`].
pub(super) fn missing(applied: &[(String, String)]) -> Result<&'static [(&'static str, &'static str)]> {
    for (position, (name, checksum)) in applied.iter().enumerate() {
        match ALL.get(position) {
            Some((ours, sql)) if ours == name && sha256_hex(sql) == *checksum => {}
            Some((ours, _)) if ours == name => {
                return Err(Error::Unavailable(format!(
                    "migration {name} is not the one this program knows"
                )));
            }
            _ => {
                return Err(Error::Unavailable(format!(
                    "the database was made by a newer guildhall (migration {name}); use that one"
                )));
            }
        }
    }
    Ok(&ALL[applied.len()..])
}
