//! Lists of people within one answer, written piece by piece however long they are.

use guildhall_domain::db::Db;
use guildhall_domain::{Error, Result};
use serde::Serialize;

use crate::http::{self, PIECE, Pieces};

#[derive(Serialize)]
struct Person {
    username: String,
}

/// A piece of a list, of [`PIECE`] people at the most, and maybe of nobody.
pub(super) struct Piece<C> {
    pub(super) usernames: Vec<String>,
    /// Behind which place the list goes on; nothing where it ends.
    pub(super) goes_on: Option<C>,
}

impl<C> Piece<C> {
    /// Those of `people` that `username` gives a name, each with the place behind them; all who were found of [`PIECE`].
    pub(super) fn of<T>(
        people: &[T],
        place: impl Fn(&T) -> C,
        username: impl Fn(&T) -> Option<String>,
    ) -> Self {
        let goes_on = people.last().filter(|_| people.len() >= PIECE).map(place);
        Self { usernames: people.iter().filter_map(username).collect(), goes_on }
    }

    /// Of an empty list.
    pub(super) fn none() -> Self {
        Self { usernames: Vec::new(), goes_on: None }
    }
}

/// The lists that end an answer, one behind the other.
#[derive(Clone)]
pub(super) struct Lists<L: 'static, R> {
    /// Under which key stands which list.
    pub(super) keys: &'static [(&'static str, L)],
    /// Reads a piece of a list behind the given place, nothing at the list's beginning.
    pub(super) read: R,
}

impl<L: Copy, R> Lists<L, R> {
    /// The object `head` with the lists behind its own keys.
    ///
    /// # Errors
    /// What `read` refuses, for the beginning of the answer.
    pub(super) fn answer<C, H>(self, db: &Db, head: &H) -> Result<Pieces<impl Next + use<L, R, C, H>>>
    where
        H: Serialize,
        L: Send + Sync,
        C: Copy + Send + 'static,
        R: FnMut(&Db, L, Option<C>) -> Result<Piece<C>> + Clone + Send + 'static,
    {
        let mut first = serde_json::to_vec(head).map_err(|error| Error::Internal(error.to_string()))?;
        // The object goes on behind its last value.
        first.pop();
        let mut writer = Writer { lists: self, place: 0, after: None, is_first: true };
        writer.open(&mut first);
        let mut is_whole = false;
        for _ in writer.lists.keys {
            is_whole = !writer.write(db, &mut first)?;
        }
        let next = move |db: &Db, out: &mut Vec<u8>| writer.write(db, out);
        Ok(Pieces { first, next, end: "}", is_whole })
    }
}

/// Appends the next piece of an answer; false where none is left.
pub(super) trait Next: FnMut(&Db, &mut Vec<u8>) -> Result<bool> + Clone + Send + 'static {}

impl<F: FnMut(&Db, &mut Vec<u8>) -> Result<bool> + Clone + Send + 'static> Next for F {}

#[derive(Clone)]
struct Writer<L: 'static, R, C> {
    lists: Lists<L, R>,
    /// Which list is being written; one behind the last when all are.
    place: usize,
    after: Option<C>,
    is_first: bool,
}

impl<L: Copy, R, C: Copy> Writer<L, R, C>
where
    R: FnMut(&Db, L, Option<C>) -> Result<Piece<C>>,
{
    fn open(&self, out: &mut Vec<u8>) {
        if let Some((key, _)) = self.lists.keys.get(self.place) {
            out.extend_from_slice(format!(",\"{key}\":[").as_bytes());
        }
    }

    /// Writes the next piece; whether more may follow.
    fn write(&mut self, db: &Db, out: &mut Vec<u8>) -> Result<bool> {
        let Some((_, list)) = self.lists.keys.get(self.place) else { return Ok(false) };
        let piece = (self.lists.read)(db, *list, self.after)?;
        self.after = piece.goes_on;
        let people = piece.usernames.into_iter().map(|username| Person { username });
        http::append(out, people, &mut self.is_first);
        if self.after.is_none() {
            out.push(b']');
            (self.place, self.is_first) = (self.place + 1, true);
            self.open(out);
        }
        Ok(self.place < self.lists.keys.len())
    }
}
