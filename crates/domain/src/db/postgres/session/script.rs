//! Statements of several looks in one message to the server, and their answers in one message back.

use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;

use super::{Phase, Session, in_use};
use crate::db::postgres::fault::{Fault, Refusal};
use crate::db::values::Value;
use crate::error::{Error, Result};

/// What one look has been answered so far, and what it came to when it ran with that.
#[derive(Default)]
pub(in crate::db::postgres) struct Script {
    answers: Vec<Answer>,
    /// How many answers this run has come by.
    used: usize,
    pub(in crate::db::postgres) came_to: CameTo,
}

struct Answer {
    sql: &'static str,
    rows: Vec<DataRowBody>,
    is_whole: bool,
}

/// Where a run of a look ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::db::postgres) enum CameTo {
    /// At its end: what it answers counts.
    #[default]
    End,
    /// At a statement that has no answer yet. What it answers does not count.
    Question,
    /// At something that needs the connection for itself, such as a transaction. What it answers does not count.
    Alone,
}

impl Session {
    /// Lets what runs next be answered by `script`, from its beginning.
    pub(in crate::db::postgres) fn lend(&self, mut script: Script) {
        (script.used, script.came_to) = (0, CameTo::End);
        self.script.replace(Some(script));
    }

    /// The script back, with what the run came to.
    pub(in crate::db::postgres) fn take_back(&self) -> Script {
        self.script.take().unwrap_or_default()
    }

    /// Answers a statement of a look by its script, or else writes it down to be asked.
    pub(super) fn replay(
        &self,
        script: &mut Script,
        (sql, rows, most): (&'static str, &[&[Value<'_>]], i32),
        found: &mut dyn FnMut(DataRowBody),
    ) -> Result<String> {
        if script.came_to == CameTo::End && self.phase.replace(Phase::Rest) != Phase::Alone {
            script.came_to = CameTo::Alone;
        }
        if script.came_to != CameTo::End {
            return Err(not_answered());
        }
        match script.answers.get(script.used) {
            Some(answer) if answer.sql == sql => {
                script.used += 1;
                answer.rows.iter().cloned().for_each(found);
                return Ok(String::new());
            }
            // It goes another way than before, for the time that has passed.
            Some(_) => script.came_to = CameTo::Alone,
            None => {
                self.ask(sql, rows, most)?;
                script.came_to = CameTo::Question;
                script.answers.push(Answer { sql, rows: Vec::new(), is_whole: false });
            }
        }
        Err(not_answered())
    }

    fn ask(&self, sql: &'static str, rows: &[&[Value<'_>]], most: i32) -> Result<()> {
        let mut wire = self.wire.try_borrow_mut().map_err(|_| in_use())?;
        if let Some((sql, number)) = self.write_statement(sql, rows, most, &mut wire.out)? {
            // The next one that asks the same finds it prepared: before that one the server has come by this.
            self.statements.borrow_mut().insert(sql, number);
            self.unconfirmed.borrow_mut().push_back(sql);
        }
        Ok(())
    }

    /// Sends what was written down, and gives each of `scripts`, in the order in which they asked, its answer. Those that
    /// have none then came to where they have to go on alone.
    ///
    /// # Errors
    /// Where the connection was lost: none has an answer.
    pub(in crate::db::postgres) fn exchange<'s>(
        &self,
        scripts: impl Iterator<Item = &'s mut Script>,
    ) -> Result<()> {
        if self.fault.get() == Some(Fault::Lost) {
            return Err(self.lost("a statement could not be written"));
        }
        {
            let mut wire = self.wire.try_borrow_mut().map_err(|_| in_use())?;
            frontend::sync(&mut wire.out);
            self.is_answering.set(true);
            wire.send().map_err(|error| self.lost(error))?;
        }
        self.settle_ends()?;
        let mut answers: Vec<&mut Answer> = Vec::new();
        let mut states: Vec<&mut CameTo> = Vec::new();
        for Script { answers: of_one, came_to, .. } in scripts {
            answers.extend(of_one.last_mut());
            states.push(came_to);
        }
        self.read_answers(&mut answers)?;
        for (answer, state) in answers.iter().zip(states) {
            if !answer.is_whole {
                *state = CameTo::Alone;
            }
        }
        Ok(())
    }

    fn read_answers(&self, answers: &mut [&mut Answer]) -> Result<()> {
        let mut wire = self.wire.try_borrow_mut().map_err(|_| in_use())?;
        let mut unconfirmed = self.unconfirmed.borrow_mut();
        let mut place = None;
        loop {
            let current = place.and_then(|place: usize| answers.get_mut(place));
            match wire.receive().map_err(|error| self.lost(error))? {
                Message::ParseComplete => drop(unconfirmed.pop_front()),
                Message::BindComplete => place = Some(place.map_or(0, |place| place + 1)),
                Message::DataRow(row) => current.into_iter().for_each(|answer| answer.rows.push(row.clone())),
                Message::CommandComplete(_) | Message::PortalSuspended => {
                    current.into_iter().for_each(|answer| answer.is_whole = true);
                }
                Message::ErrorResponse(body) => {
                    let refusal = Refusal::read(body.fields());
                    if refusal.fault == Fault::Lost {
                        return Err(self.refused(&refusal));
                    }
                }
                Message::ReadyForQuery(_) => break,
                _ => {}
            }
        }
        self.is_answering.set(false);
        // Behind a refusal nothing was prepared.
        for sql in unconfirmed.drain(..) {
            self.statements.borrow_mut().remove(sql);
        }
        Ok(())
    }
}

fn not_answered() -> Error {
    Error::Unavailable("the statement has no answer yet".into())
}
