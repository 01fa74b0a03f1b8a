//! What is bound to a statement and what is read from its rows: integers and text, which both engines keep alike.

use std::cell::Cell;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{EventId, OrganizationId, UserId};

/// Binds the first value to `$1`, the second to `$2` and so on. SQLite takes `$1` for a name and counts by first
/// appearance, hence the look-up.
pub(super) fn bind(statement: &mut rusqlite::CachedStatement<'_>, values: &[Value<'_>]) -> Result<()> {
    const NAMES: [&str; 24] = [
        "$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15",
        "$16", "$17", "$18", "$19", "$20", "$21", "$22", "$23", "$24",
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

/// Whether one of `values` can stand in no column: PostgreSQL stores no text that holds NUL, and so neither does SQLite.
pub(super) fn is_nowhere(values: &[Value<'_>]) -> bool {
    values.iter().any(|value| matches!(value, Value::Text(text) if text.as_bytes().contains(&0)))
}

/// A row, read from its first column to its last.
pub(crate) struct Row<'r> {
    source: Source<'r>,
    /// SQLite: the next column. PostgreSQL: where it begins.
    next: Cell<usize>,
}

enum Source<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    /// The columns as PostgreSQL sends them: each its length in four bytes, less than zero for NULL, and its text.
    Postgres(&'r [u8]),
}

impl<'r> Row<'r> {
    pub(super) fn sqlite(row: &'r rusqlite::Row<'r>) -> Self {
        Self { source: Source::Sqlite(row), next: Cell::new(0) }
    }

    pub(super) fn postgres(columns: &'r [u8]) -> Self {
        Self { source: Source::Postgres(columns), next: Cell::new(0) }
    }

    pub(crate) fn opt_int(&self) -> Result<Option<i64>> {
        match self.source {
            Source::Sqlite(row) => Ok(row.get(self.step(1))?),
            Source::Postgres(columns) => self.column(columns)?.map(read_int).transpose(),
        }
    }

    pub(crate) fn opt_text(&self) -> Result<Option<String>> {
        match self.source {
            Source::Sqlite(row) => Ok(row.get(self.step(1))?),
            Source::Postgres(columns) => Ok(self.column(columns)?.map(str::to_owned)),
        }
    }

    /// Whatever the column holds, an integer in decimal.
    pub(crate) fn any(&self) -> Result<Option<String>> {
        use rusqlite::types::ValueRef;
        let Source::Sqlite(row) = self.source else { return self.opt_text() };
        match row.get_ref(self.step(1))? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number.to_string())),
            ValueRef::Text(text) => {
                let text = std::str::from_utf8(text).map_err(|error| Error::Internal(error.to_string()))?;
                Ok(Some(text.to_owned()))
            }
            ValueRef::Real(_) | ValueRef::Blob(_) => {
                Err(Error::Internal("a column holds neither integer nor text".into()))
            }
        }
    }

    fn step(&self, by: usize) -> usize {
        self.next.replace(self.next.get() + by)
    }

    fn column(&self, columns: &'r [u8]) -> Result<Option<&'r str>> {
        let short = || Error::Internal("a row has fewer columns than are read".into());
        let length = columns.get(self.step(4)..).and_then(<[u8]>::first_chunk).ok_or_else(short)?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else { return Ok(None) };
        let start = self.step(length);
        let text = columns.get(start..start + length).ok_or_else(short)?;
        let text = std::str::from_utf8(text).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Some(text))
    }

    pub(crate) fn int(&self) -> Result<i64> {
        self.opt_int()?.ok_or_else(is_null)
    }

    pub(crate) fn text(&self) -> Result<String> {
        self.opt_text()?.ok_or_else(is_null)
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

fn is_null() -> Error {
    Error::Internal("a column that always holds something holds nothing".into())
}

/// An integer of any width, or a flag.
fn read_int(text: &str) -> Result<i64> {
    match text {
        "t" => Ok(1),
        "f" => Ok(0),
        _ => text.parse().map_err(|_| Error::Internal("a column holds no integer".into())),
    }
}
