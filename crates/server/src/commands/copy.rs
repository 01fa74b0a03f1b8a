//! `guildhall copy`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use guildhall_domain::Error;
use guildhall_domain::authz::Actor;
use guildhall_domain::check::findings;
use guildhall_domain::copy::{self, Copied, Failed, Progress, Watch};
use guildhall_domain::db::{Db, Settings};
use serde_json::json;

use super::Failure;
use super::output::Output;
use crate::config::{Database, Fault, database};
use crate::keyring;

/// The cells of the bar.
const CELLS: u64 = 30;

pub(super) fn copy(out: Output, from: &str, to: &str) -> Result<ExitCode, Failure> {
    let place = |key, url| database(url).map_err(|why| Fault::new(key, why));
    let (from, to) = (place("from", from)?, place("to", to)?);
    if is_same(&from, &to) {
        return Err(Fault::new("to", "is the database that is copied").into());
    }
    let source = open_source(&from).map_err(|error| failure("from", error))?;
    if is_served(&from) {
        let line = "a server is using the source: what it writes from now on is not in the copy";
        let _ = writeln!(io::stderr(), "guildhall: {line}");
    }
    let target = open_target(&to).map_err(|error| failure("to", error))?;
    let system = Actor::system();
    let is_terminal = io::stderr().is_terminal();
    let watch: Watch = if is_terminal { Arc::new(show) } else { Arc::new(|_| {}) };
    let copied = copy::everything(&source, &target, &system, watch);
    if is_terminal {
        // Wipes the bar.
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let copied = copied.map_err(|failed| match failed {
        Failed::Source(error) => failure("from", error),
        Failed::Target(error) => failure("to", error),
    })?;
    let findings = findings(&target, &system).map_err(|error| failure("to", error))?;
    let is_sealed = keyring::is_sealed(&target).map_err(Failure::new)?;
    let tables: Vec<_> = copied
        .iter()
        .map(|Copied { table, rows, source, target }| {
            json!({"table": table, "rows": rows, "source": source, "target": target})
        })
        .collect();
    let json = json!({"tables": tables, "sealed": is_sealed, "findings": findings});
    out.show(&json, &told(&copied, is_sealed, &findings))?;
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(copied: &[Copied], is_sealed: bool, findings: &[String]) -> String {
    let mut text = String::from("TABLE\tROWS\tSOURCE\tTARGET\n");
    for Copied { table, rows, source, target } in copied {
        // Nothing keeps a String from being written to.
        let _ = writeln!(text, "{table}\t{rows}\t{source}\t{target}");
    }
    if is_sealed {
        text.push_str("the keys are sealed: the new servers need the same secret as the old ones\n");
    }
    text.push_str(if findings.is_empty() { "nothing is wrong" } else { "what was copied is not right:\n" });
    text.push_str(&findings.join("\n"));
    text
}

/// A failure of the database that `key` names.
fn failure(key: &str, error: Error) -> Failure {
    match error {
        Error::Unavailable(why) => Failure::new(format_args!("{key}: {why}")),
        other => Failure::new(format_args!("{key}: {other}")),
    }
}

fn is_same(from: &Database, to: &Database) -> bool {
    let file = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
    match (from, to) {
        (Database::Sqlite(from), Database::Sqlite(to)) => {
            from == to || file(from).is_some_and(|from| file(to) == Some(from))
        }
        (Database::Postgres(from), Database::Postgres(to)) => from.to_string() == to.to_string(),
        _ => false,
    }
}

/// One connection is all that a copy uses of each.
fn open_source(place: &Database) -> Result<Db, Error> {
    match place {
        Database::Sqlite(file) if !file.exists() => {
            Err(Error::Unavailable(format!("there is no database {}", file.display())))
        }
        Database::Sqlite(file) => Db::existing(file, Settings::default()),
        Database::Postgres(target) => Db::existing_postgres(target, 1, Settings::default()),
    }
}

/// A file that holds another program's tables gets none of ours.
fn open_target(place: &Database) -> Result<Db, Error> {
    match place {
        Database::Sqlite(file) if file.metadata().is_ok_and(|file| file.len() > 0) => {
            Db::existing(file, Settings::default())
        }
        Database::Sqlite(file) => Db::sqlite(file, Settings::default()),
        Database::Postgres(target) => Db::postgres(target, 1, Settings::default()),
    }
}

/// Whether a server has taken the database for itself. Several may share a PostgreSQL, and take nothing.
fn is_served(place: &Database) -> bool {
    let Database::Sqlite(file) = place else { return false };
    let is_taken = |file: File| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock));
    File::open(file.with_extension("lock")).is_ok_and(is_taken)
}

fn show(Progress { table, done, of }: Progress) {
    let filled = (done * CELLS).checked_div(of).unwrap_or(CELLS).min(CELLS);
    let bar: String = (0..CELLS).map(|cell| if cell < filled { '#' } else { '.' }).collect();
    // That nobody can see it stops nothing.
    let _ = write!(io::stderr(), "\r\x1b[K[{bar}] {table} {done} of {of}");
}
