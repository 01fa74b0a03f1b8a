//! What commands answer: a short text for people, or one JSON object.

use std::io::{self, BufWriter, ErrorKind, Write};

use serde_json::Value;

use super::Failure;

/// How many things of a list are read at a time.
pub(super) const PIECE: i64 = 1_000;

/// Where answers go, and in which form.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// Answers one thing.
    ///
    /// # Errors
    /// Where the answer cannot be written.
    pub(super) fn show(self, json: &Value, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = if self.json { writeln!(out, "{json}") } else { writeln!(out, "{text}") };
        wanted(written.and_then(|()| out.flush())).map(drop)
    }

    /// Answers a list as `{"<key>": […]}`, or as `header` and a line for each; `next` reads the piece after the last thing
    /// shown, an empty one at the end. Nothing grows with the list.
    ///
    /// # Errors
    /// Those of `next`; where the answer cannot be written.
    pub(super) fn list<T>(
        self,
        (key, header): (&str, &str),
        mut next: impl FnMut(Option<&T>) -> Result<Vec<T>, Failure>,
        (json, text): (impl Fn(&T) -> Value, impl Fn(&T) -> String),
    ) -> Result<(), Failure> {
        let mut piece = next(None)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut write = |text: &str| wanted(out.write_all(text.as_bytes()));
        let mut separator = "";
        let begin = if self.json { format!("{{\"{key}\":[") } else { format!("{header}\n") };
        if !write(&begin)? {
            return Ok(());
        }
        while let Some(last) = piece.last() {
            for thing in &piece {
                let line = if self.json {
                    format!("{separator}{}", json(thing))
                } else {
                    format!("{}\n", text(thing))
                };
                if !write(&line)? {
                    return Ok(());
                }
                separator = ",";
            }
            piece = next(Some(last))?;
        }
        if self.json {
            write("]}\n")?;
        }
        wanted(out.flush()).map(drop)
    }
}

/// Whether the rest of an answer is wanted: whoever closes the pipe early does not want it.
fn wanted(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(format_args!("cannot write the answer: {error}"))),
    }
}
