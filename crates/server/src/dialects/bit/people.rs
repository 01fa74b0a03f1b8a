//! Lists of people within one answer, written piece by piece however long they are.

use axum::response::Response;
use guildhall_domain::db::Db;
use guildhall_domain::{Error, Result};
use serde::Serialize;

use crate::app::App;
use crate::http::{self, PIECE};

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

/// Answers the object `head` with lists behind its own keys, each under the key that stands beside it in `lists`; `read`
/// reads a piece of one behind the given place, nothing at the list's beginning.
///
/// # Errors
/// What `read` refuses, for the beginning of the answer.
pub(super) async fn answer<L, C, R>(
    app: &App,
    head: &impl Serialize,
    lists: &'static [(&'static str, L)],
    mut read: R,
) -> Result<Response>
where
    L: Copy + Sync,
    C: Copy + Send + 'static,
    R: FnMut(&Db, L, Option<C>) -> Result<Piece<C>> + Clone + Send + 'static,
{
    let mut head = serde_json::to_vec(head).map_err(|error| Error::Internal(error.to_string()))?;
    // The object goes on behind its last value.
    head.pop();
    let (mut place, mut after, mut is_first) = (0, None, true);
    let next = move |db: &Db, out: &mut Vec<u8>| {
        while let Some((key, list)) = lists.get(place) {
            if after.is_none() {
                out.extend_from_slice(format!(",\"{key}\":[").as_bytes());
                is_first = true;
            }
            let piece = read(db, *list, after)?;
            let people = piece.usernames.into_iter().map(|username| Person { username });
            http::append(out, people, &mut is_first);
            after = piece.goes_on;
            if after.is_some() {
                return Ok(true);
            }
            out.push(b']');
            place += 1;
        }
        Ok(false)
    };
    http::stream(app, (head, "}"), next).await
}
