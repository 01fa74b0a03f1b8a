//! Connections that read. One rests with its transaction open, and the next read goes on in it where nothing was
//! committed since: that a read sees every commit that was answered before it is checked each time, by one look at the
//! head of the WAL's index, instead of by ending a transaction and beginning another.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};

use super::{connect, execute};
use crate::error::{Error, Result};

/// The head of the WAL's index (<https://sqlite.org/walformat.html>, "The WAL-Index Header"), which every commit of every
/// process changes, at the latest when it is done: the count of transactions, the last valid frame and its checksum.
type Head = [u8; 48];

/// As many connections as ever read at the same moment.
pub(super) struct Readers {
    file: PathBuf,
    /// The file that holds the WAL's index; nothing where it cannot be read, and then no transaction outlives its read.
    index: Option<File>,
    resting: Mutex<Vec<Reader>>,
}

struct Reader {
    connection: Connection,
    /// Where a transaction is open: what the head was, at the latest, when it began to read.
    since: Option<Head>,
}

impl Readers {
    /// Of the database in `file`, which `writer` holds open in WAL mode.
    pub(super) fn new(file: &Path, writer: &Connection) -> Self {
        // SQLite follows symbolic links, and keeps the index beside what they lead to.
        let index = writer.path().map(|path| {
            let mut path = OsString::from(path);
            path.push("-shm");
            File::open(path)
        });
        Self { file: file.to_owned(), index: index.and_then(std::io::Result::ok), resting: Mutex::default() }
    }

    /// Runs `work` on one state of the database, which holds all that was committed before this was called.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        // Looked at before a transaction begins, so that one may be newer than its head and never older.
        let head = self.head();
        let resting = self.resting().pop();
        let mut reader = match resting {
            Some(reader) => reader,
            None => {
                Reader { connection: connect(&self.file, OpenFlags::SQLITE_OPEN_READ_ONLY)?, since: None }
            }
        };
        reader.see(head)?;
        let answer = work(&reader.connection);
        // One that could not read, or whose transaction is gone, goes back to nobody: dropped, it is closed.
        let is_broken = matches!(answer, Err(Error::Internal(_) | Error::Unavailable(_)));
        if !is_broken && !reader.connection.is_autocommit() {
            self.resting().push(reader);
        }
        answer
    }

    /// Ends the transactions of those at rest, so that the WAL can begin again at its start.
    pub(super) fn let_go(&self) {
        self.resting().retain_mut(|reader| reader.end().is_ok());
    }

    /// Closes those at rest.
    pub(super) fn close(&self) {
        self.resting().clear();
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head(&self) -> Option<Head> {
        let mut head = [0; 48];
        self.index.as_ref()?.read_exact_at(&mut head, 0).ok()?;
        Some(head)
    }
}

impl Reader {
    /// Goes on in the transaction that is open where it is as new as `head`, else begins another.
    fn see(&mut self, head: Option<Head>) -> Result<()> {
        if self.since.is_some() && self.since == head {
            return Ok(());
        }
        self.end()?;
        // A deferred transaction makes several statements see one state; it takes no lock that a writer waits for.
        execute(&self.connection, "BEGIN")?;
        self.since = head;
        Ok(())
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        self.since = None;
        if !self.connection.is_autocommit() {
            execute(&self.connection, "COMMIT")?;
        }
        Ok(())
    }
}
