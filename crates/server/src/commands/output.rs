//! What commands answer: a short text for people, or one JSON object.

use std::io::{self, BufWriter, Write};

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
    pub(super) fn show(self, json: &Value, text: &str) {
        let mut out = io::stdout().lock();
        // Whoever closes the pipe early does not want the rest.
        let _ = if self.json { writeln!(out, "{json}") } else { writeln!(out, "{text}") };
    }

    /// Answers a list as `{"<key>": […]}` or a line for each; `next` reads the piece after the last thing shown, an empty
    /// one at the end. Nothing grows with the list.
    pub(super) fn list<T>(
        self,
        key: &str,
        mut next: impl FnMut(Option<&T>) -> Result<Vec<T>, Failure>,
        (json, text): (impl Fn(&T) -> Value, impl Fn(&T) -> String),
    ) -> Result<(), Failure> {
        let mut piece = next(None)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut write = |text: &str| drop(out.write_all(text.as_bytes()));
        let mut separator = "";
        if self.json {
            write(&format!("{{\"{key}\":["));
        }
        while let Some(last) = piece.last() {
            for thing in &piece {
                if self.json {
                    write(&format!("{separator}{}", json(thing)));
                    separator = ",";
                } else {
                    write(&format!("{}\n", text(thing)));
                }
            }
            piece = next(Some(last))?;
        }
        if self.json {
            write("]}\n");
        }
        Ok(())
    }
}
