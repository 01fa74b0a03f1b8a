//! Looks that wait together share messages to the server.
//!
//! A look is code that asks one thing after another and changes nothing. Together with others it runs until it comes to a
//! statement that has no answer yet, and is given up there; the statements of all go out in one message, and each runs
//! again from its beginning with the answers so far. That costs microseconds of this machine, where a message of its own
//! for each costs both machines a change of threads. What needs more than single statements runs by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pool::{ACQUIRE, Pool};
use super::session::{CameTo, Script, Session};
use super::{change_seat, required_seat, seated};
use crate::error::{Error, Result};

/// How many share a message at the most: each waits for the slowest of them.
pub(super) const TOGETHER: usize = 16;

/// One that waits for its turn.
pub(super) struct Look {
    /// When its client has to have heard.
    pub(super) deadline: Instant,
    /// Whether it may wait for others, and others for it.
    pub(super) shares: bool,
    turn: Box<dyn FnMut(Turn) + Send>,
}

/// What a look is told to do. It tells its answer once.
enum Turn {
    /// Run, and keep the answer.
    Run,
    /// Tell the answer of the last run.
    Tell,
    /// Tell that it cannot be had.
    Refuse(Error),
}

impl Look {
    pub(super) fn new<T: Send + 'static>(
        prompt: Duration,
        work: impl FnOnce() -> Result<T> + Clone + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Self {
        let (mut answer, mut done) = (None, Some(done));
        let turn = move |turn| {
            let told = match turn {
                Turn::Run => {
                    let panicked = |_| Err(Error::Internal("an operation panicked".into()));
                    answer = Some(catch_unwind(AssertUnwindSafe(work.clone())).unwrap_or_else(panicked));
                    return;
                }
                Turn::Tell => answer.take(),
                Turn::Refuse(error) => Some(Err(error)),
            };
            if let (Some(done), Some(told)) = (done.take(), told) {
                done(told);
            }
        };
        Self { deadline: Instant::now() + prompt, shares: true, turn: Box::new(turn) }
    }

    /// The same, which looks at so much that nobody is to wait for it.
    pub(super) fn apart(self) -> Self {
        Self { shares: false, ..self }
    }

    pub(super) fn refuse(mut self, why: &str) {
        (self.turn)(Turn::Refuse(Error::Unavailable(why.into())));
    }
}

/// Runs them on one connection, and tells each its answer.
pub(super) fn run(pool: &Arc<Pool>, looks: Vec<Look>) {
    let Some(deadline) = looks.iter().map(|look| look.deadline).min() else { return };
    let mut waiting: Vec<(Look, Script)> = looks.into_iter().map(|look| (look, Script::default())).collect();
    let ran = seated(pool, Instant::now() + ACQUIRE, deadline, || {
        let session = required_seat(pool)?.session;
        let mut alone = Vec::new();
        if waiting.len() == 1 {
            alone.extend(waiting.pop());
        }
        while !waiting.is_empty() {
            waiting = step(&session, std::mem::take(&mut waiting), &mut alone);
        }
        drop(session);
        for (mut look, _) in alone {
            let session = required_seat(pool)?.session;
            session.set_deadline(look.deadline);
            drop(session);
            change_seat(pool, |seat| seat.deadline = look.deadline);
            (look.turn)(Turn::Run);
            (look.turn)(Turn::Tell);
        }
        Ok(())
    });
    if let Err(error) = ran {
        waiting.into_iter().for_each(|(look, _)| look.refuse(&error.to_string()));
    }
}

/// Runs each once and asks what they ask: those that go on with an answer. Those that have to go on alone are put to `alone`.
fn step(
    session: &Session,
    looks: Vec<(Look, Script)>,
    alone: &mut Vec<(Look, Script)>,
) -> Vec<(Look, Script)> {
    let mut asking = Vec::new();
    for (mut look, script) in looks {
        session.lend(script);
        (look.turn)(Turn::Run);
        let script = session.take_back();
        match script.came_to {
            CameTo::End => (look.turn)(Turn::Tell),
            CameTo::Question => asking.push((look, script)),
            CameTo::Alone => alone.push((look, script)),
        }
    }
    if asking.is_empty() {
        return asking;
    }
    if session.exchange(asking.iter_mut().map(|(_, script)| script)).is_err() {
        alone.append(&mut asking);
    }
    let (stopped, going): (Vec<_>, Vec<_>) =
        asking.into_iter().partition(|(_, script)| script.came_to == CameTo::Alone);
    alone.extend(stopped);
    going
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::super::tests::{HANG, PASS, behind_relay};
    use super::super::{PROMPT, Postgres};
    use super::*;
    use crate::db::tests::on_new_postgres;
    use crate::db::{Db, Engine};

    type Asked = fn(&Db) -> Result<Option<i64>>;

    const VALUE: &str = "SELECT value FROM counters WHERE name = $1";

    fn one(db: &Db) -> Result<Option<i64>> {
        db.read_one(|tx| tx.row("SELECT 7 + $1", &[1.into()], |row| row.int()))
    }

    fn three(db: &Db) -> Result<Option<i64>> {
        let first = one(db)?;
        let second = db.read_one(|tx| tx.row(VALUE, &["users".into()], |row| row.int()))?;
        Ok(first.zip(second).zip(one(db)?).map(|((first, second), third)| first + second + third))
    }

    fn value(db: &Db) -> Result<Option<i64>> {
        db.read_one(|tx| tx.row(VALUE, &["users".into()], |row| row.int()))
    }

    fn transaction(db: &Db) -> Result<Option<i64>> {
        db.read(|tx| {
            tx.row(VALUE, &["users".into()], |row| row.int())?;
            tx.row(VALUE, &["users".into()], |row| row.int())
        })
    }

    fn refused(db: &Db) -> Result<Option<i64>> {
        db.read_one(|tx| tx.row("SELECT 1 / CAST($1 AS INTEGER)", &[0.into()], |row| row.int()))
    }

    fn panics_in_a_transaction(db: &Db) -> Result<Option<i64>> {
        db.read(|tx| {
            tx.row(VALUE, &["users".into()], |row| row.int())?;
            panic!("as this test wants it");
        })
    }

    fn two_in_one(db: &Db) -> Result<Option<i64>> {
        db.read_one(|tx| {
            tx.row(VALUE, &["users".into()], |row| row.int())?;
            tx.row(VALUE, &["users".into()], |row| row.int())
        })
    }

    fn panics(_: &Db) -> Result<Option<i64>> {
        panic!("as this test wants it");
    }

    /// Looks behind a change that another connection made just now.
    fn changed(db: &Db) -> Result<Option<i64>> {
        let again = db.clone();
        let sql = "UPDATE counters SET value = value + 1 WHERE name = 'users'";
        std::thread::spawn(move || again.write(move |tx| tx.run(sql, &[]))).join().expect("it runs")?;
        db.read(|tx| tx.row(VALUE, &["users".into()], |row| row.int()))
    }

    fn ends_the_connection(db: &Db) -> Result<Option<i64>> {
        let sql = "SELECT CAST(pg_terminate_backend(pg_backend_pid()) AS INTEGER)";
        db.read_one(|tx| tx.row(sql, &[], |row| row.int()))
    }

    fn engine(db: &Db) -> &Postgres {
        match &db.0.engine {
            Engine::Postgres(postgres) => postgres,
            Engine::Sqlite(_) => panic!("the test is about PostgreSQL"),
        }
    }

    /// Runs them together on one connection: what each is told.
    fn together(db: &Db, asked: &[Asked]) -> Vec<String> {
        let look = |asked: &Asked| {
            let (answer, answers) = channel();
            let (db, asked) = (db.clone(), *asked);
            let done = move |told| drop(answer.send(told));
            (Look::new(PROMPT, move || asked(&db), done), answers)
        };
        let (looks, answers): (Vec<_>, Vec<Receiver<_>>) = asked.iter().map(look).unzip();
        run(&engine(db).pool, looks);
        let told = answers.into_iter().map(|answers| answers.recv().expect("each is told something"));
        told.map(|told| format!("{told:?}")).collect()
    }

    #[test]
    fn each_of_those_together_is_told_its_own() {
        on_new_postgres(|_, db| {
            let told = together(db, &[one, three, transaction, one, two_in_one, panics, three]);
            let right = ["Ok(Some(8))", "Ok(Some(16))", "Ok(Some(0))", "Ok(Some(8))"];
            assert_eq!(told[..4], right);
            assert!(told[4].contains("outside of a transaction"), "{}", told[4]);
            assert!(told[5].contains("panicked"), "{}", told[5]);
            assert_eq!(told[6], "Ok(Some(16))");
            // The statements are prepared now.
            assert_eq!(
                together(db, &[three, one, transaction]),
                ["Ok(Some(16))", "Ok(Some(8))", "Ok(Some(0))"]
            );
        });
    }

    #[test]
    fn what_one_is_refused_the_others_are_not() {
        on_new_postgres(|_, db| {
            for _ in 0..2 {
                let told = together(db, &[one, refused, three, one]);
                assert_eq!(told[0], "Ok(Some(8))");
                assert!(told[1].contains("division by zero"), "{}", told[1]);
                assert_eq!(told[2..], ["Ok(Some(16))", "Ok(Some(8))"]);
            }
        });
    }

    #[test]
    fn what_ends_the_connection_is_told_and_the_others_have_their_answers() {
        on_new_postgres(|_, db| {
            let told = together(db, &[one, three, ends_the_connection, one]);
            assert_eq!((&told[0], &told[1], &told[3]), (&right(8), &right(16), &right(8)));
            assert!(told[2].starts_with("Err(Unavailable"), "{}", told[2]);
            assert_eq!(together(db, &[one, three]), [right(8), right(16)]);
        });
    }

    #[test]
    fn an_answer_that_comes_too_late_is_nobody_elses() {
        on_new_postgres(|target, _| {
            let (relay, db) = behind_relay(target);
            together(&db, &[one, one]);
            relay.set(HANG);
            let (answer, answers) = channel();
            let mut looks = Vec::new();
            for (prompt, asked) in [(200, one as Asked), (30_000, value)] {
                let (db, answer) = (db.clone(), answer.clone());
                let done = move |told| drop(answer.send((prompt, told)));
                looks.push(Look::new(Duration::from_millis(prompt), move || asked(&db), done));
            }
            std::thread::scope(|scope| {
                scope.spawn(|| run(&engine(&db).pool, looks));
                let (prompt, told) = answers.recv().expect("the first is told when its time is over");
                assert_eq!(prompt, 200);
                assert!(matches!(told, Err(Error::Unavailable(_))), "{told:?}");
                relay.set(PASS);
            });
            // Its own answer, or none where no connection could be had yet.
            let (_, told) = answers.recv().expect("the second is told");
            assert!(matches!(told, Ok(Some(0)) | Err(Error::Unavailable(_))), "{told:?}");
        });
    }

    fn panics_in_the_middle(db: &Db) -> Result<Option<i64>> {
        db.read(|tx| {
            tx.rows(VALUE, &["users".into()], |_| -> Result<i64> { panic!("as this test wants it") })?;
            Ok(None)
        })
    }

    #[test]
    fn a_connection_that_somebody_left_in_the_middle_is_nobody_elses() {
        on_new_postgres(|_, db| {
            let put =
                || db.write(|tx| tx.run("UPDATE counters SET value = value + 1 WHERE name = 'users'", &[]));
            for asked in [panics_in_a_transaction as Asked, panics_in_the_middle, panics] {
                for _ in 0..5 {
                    put().unwrap();
                    let now = value(db).unwrap().unwrap();
                    // `changed` runs twice, the second time alone behind the panic.
                    let told = together(db, &[asked, one, three, changed]);
                    assert!(told[0].contains("panicked"), "{}", told[0]);
                    assert_eq!(told[1..], [right(8), right(17 + now), right(now + 2)]);
                    assert_eq!(together(db, &[one]), [right(8)]);
                }
            }
        });
    }

    /// Whatever becomes of the end of a transaction that only read, which nobody waits for, the next answers are right.
    #[test]
    fn an_end_that_was_refused_is_not_taken_for_an_answer() {
        on_new_postgres(|_, db| {
            for _ in 0..3 {
                engine(db)
                    .at_seat(|| {
                        let session = required_seat(&engine(db).pool)?.session;
                        session.post(&["SELECT 1 / 0"]);
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(together(db, &[one, three, value]), [right(8), right(16), right(0)]);
            }
        });
    }

    fn right(value: i64) -> String {
        format!("Ok(Some({value}))")
    }
}
