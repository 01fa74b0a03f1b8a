//! What the server has against a statement, and what may be done about it.

use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

use crate::error::Error;

/// What became of a transaction, from what the next try can cure to what it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Another one was in its way: it may well succeed when it is tried again.
    Overtaken,
    /// It failed, and would again.
    Refused,
    /// The connection is of no use any more.
    Lost,
}

/// An error as the server tells it.
pub(super) struct Refusal {
    pub(super) fault: Fault,
    code: String,
    message: String,
}

impl Refusal {
    /// Without its details, which quote stored values.
    pub(super) fn read(mut fields: ErrorFields<'_>) -> Self {
        let (mut severity, mut code, mut message) = (String::new(), String::new(), String::new());
        while let Ok(Some(field)) = fields.next() {
            let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                // Not translated, unlike `S`.
                b'V' => severity = value(),
                b'C' => code = value(),
                b'M' => message = value(),
                _ => {}
            }
        }
        let fault = if severity == "FATAL" || severity == "PANIC" { Fault::Lost } else { fault_of(&code) };
        Self { fault, code, message }
    }

    pub(super) fn to_error(&self) -> Error {
        let is_passing = ["08", "40", "53", "57", "58"].contains(&self.code.get(..2).unwrap_or_default())
            || ["25006", "25P03", "55P03"].contains(&self.code.as_str())
            // In the middle of a statement it is the end of the server or of this connection.
            || self.fault == Fault::Lost && !self.is_of_plan();
        if is_passing { Error::Unavailable(self.to_string()) } else { Error::Internal(self.to_string()) }
    }

    fn is_of_plan(&self) -> bool {
        is_of_plan(&self.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// Whether what this connection has prepared is not what the server has: a newer program changed a table, or something
/// between mixed connections up.
fn is_of_plan(code: &str) -> bool {
    ["0A000", "26000", "42P05"].contains(&code)
}

fn fault_of(code: &str) -> Fault {
    match code {
        // Not serializable; a deadlock; a row that was put, or taken away, besides.
        "40001" | "40P01" | "23505" | "23503" => Fault::Overtaken,
        // The server became one that only reads.
        "25006" | "25P03" => Fault::Lost,
        _ if code.starts_with("08") || code.starts_with("57P") || is_of_plan(code) => Fault::Lost,
        _ => Fault::Refused,
    }
}
