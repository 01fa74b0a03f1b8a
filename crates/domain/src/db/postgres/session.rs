//! One connection: what runs on it, and in which transaction.
//!
//! A transaction begins with its first statement, in one message with it, so that beginning costs no round trip of its own;
//! one that only read ends without waiting. Values and columns travel as text: what type a place has the server knows,
//! and takes a number for any of them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;

use super::super::values::{Row, Value};
use super::fault::{Fault, Refusal};
use super::wire::Wire;
use crate::error::{Error, Result};

mod script;

pub(super) use script::{CameTo, Script};

/// A connection, signed in. For one thread at a time.
pub(in crate::db) struct Session {
    wire: RefCell<Wire>,
    /// What is prepared, by its text: the number in its name.
    statements: RefCell<HashMap<&'static str, usize>>,
    prepared: Cell<usize>,
    /// What was written as prepared and is not known to be.
    unconfirmed: RefCell<VecDeque<&'static str>>,
    /// What answers the statements of a look that shares this connection.
    script: RefCell<Option<Script>>,
    /// Goes out before the next statement, in one message with it.
    ahead: RefCell<Vec<&'static str>>,
    /// Answers to what was sent and not waited for.
    owed: Cell<usize>,
    /// Whether the answer to what was sent last is still to be read to its end.
    is_answering: Cell<bool>,
    phase: Cell<Phase>,
    /// What went wrong first since the transaction began. Nothing more runs in it then.
    fault: Cell<Option<Fault>>,
    /// What the server remarked last while it was waited for without a statement.
    warning: RefCell<Option<String>>,
    /// Whether something of this transaction is to stay where a later part of it fails.
    is_touched: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no transaction.
    Rest,
    /// One begins with the next statement.
    Due,
    /// The next statement is alone: it needs none.
    Alone,
    /// One is open.
    Open,
}

impl Session {
    /// On a connection that is ready for statements.
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire: RefCell::new(wire),
            statements: RefCell::default(),
            prepared: Cell::default(),
            unconfirmed: RefCell::default(),
            script: RefCell::default(),
            ahead: RefCell::default(),
            owed: Cell::default(),
            is_answering: Cell::default(),
            phase: Cell::new(Phase::Rest),
            fault: Cell::default(),
            warning: RefCell::default(),
            is_touched: Cell::default(),
        }
    }

    /// Nothing that runs on it is waited for beyond `deadline`.
    pub(super) fn set_deadline(&self, deadline: Instant) {
        self.wire.borrow_mut().set_deadline(deadline);
    }

    /// Whether the next one can have it.
    pub(super) fn is_at_rest(&self) -> bool {
        self.phase.get() == Phase::Rest && !self.is_answering.get() && self.fault.get() != Some(Fault::Lost)
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// Begins a transaction, with all of `how`, when the first statement comes.
    pub(super) fn begin(&self, how: &[&'static str]) {
        // Answers may still come to what was asked before, and nobody takes them for his; or somebody left in the middle of a
        // transaction, whose state is an old one. What was lost stays so.
        if self.is_answering.get() || self.phase.get() == Phase::Open {
            self.fault.set(Some(Fault::Lost));
        }
        if self.fault.get() != Some(Fault::Lost) {
            self.fault.set(None);
        }
        self.ahead.replace(how.to_vec());
        self.phase.set(Phase::Due);
        self.is_touched.set(false);
    }

    /// Lets one statement run by itself.
    pub(super) fn begin_alone(&self) {
        self.begin(&[]);
        self.phase.set(Phase::Alone);
    }

    /// Ends a transaction that only read, without waiting for that; or what needed none.
    pub(super) fn end_read(&self) {
        if self.phase.replace(Phase::Rest) == Phase::Open && self.fault.get() != Some(Fault::Lost) {
            self.post(&["COMMIT"]);
        }
    }

    /// Makes the transaction durable.
    ///
    /// # Errors
    /// Where it is not; where that cannot be known, with the fault [`Fault::Lost`].
    pub(super) fn commit(&self) -> Result<()> {
        if self.phase.get() != Phase::Open {
            // Nothing was done.
            self.phase.set(Phase::Rest);
            return Ok(());
        }
        let ahead = self.ahead.take();
        self.post(&ahead);
        self.post(&["COMMIT"]);
        self.warning.take();
        let last = self.settle();
        self.phase.set(Phase::Rest);
        // With a warning it is there, and may be gone where a standby takes over: nobody is told that it is durable.
        let warned = |warning| self.lost(format!("the server warns: {warning}"));
        match last.and_then(|tag| self.warning.take().map_or(Ok(tag), |warning| Err(warned(warning)))) {
            Ok(tag) if tag.as_deref() == Some("COMMIT") => Ok(()),
            Ok(_) => Err(self.fail(Fault::Refused, Error::Internal("the server did not commit".into()))),
            // The server says that it refuses: nothing of it stays.
            Err(error) if self.fault.get() != Some(Fault::Lost) => Err(error),
            Err(error) => Err(Error::InDoubt(error.to_string())),
        }
    }

    /// Leaves nothing of the transaction.
    pub(super) fn roll_back(&self) {
        if self.phase.replace(Phase::Rest) == Phase::Open && self.fault.get() != Some(Fault::Lost) {
            self.post(&["ROLLBACK"]);
        }
    }

    /// Runs a part of the open work so that nothing of it stays where it fails.
    pub(super) fn part<T>(&self, how: &[&'static str], part: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.is_touched.get() {
            let answer = part();
            match answer {
                Ok(_) => self.is_touched.set(true),
                // Before it there were reads alone: the transaction begins anew.
                Err(_) if self.fault.get().is_none() => {
                    self.roll_back();
                    self.begin(how);
                }
                Err(_) => {}
            }
            return answer;
        }
        let ahead = |sql| self.ahead.borrow_mut().push(sql);
        ahead("SAVEPOINT part");
        let answer = part();
        if answer.is_err() {
            ahead("ROLLBACK TO SAVEPOINT part");
        }
        ahead("RELEASE SAVEPOINT part");
        answer
    }

    /// The one row that `sql` finds, if it finds one.
    pub(in crate::db) fn row<T>(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut found = None;
        self.run_statement(sql, &[values], 1, &mut |row| {
            found.get_or_insert(row);
        })?;
        found.map(|row| read(&Row::postgres(row.buffer()))).transpose()
    }

    /// Every row that `sql` finds, in its order.
    pub(in crate::db) fn rows<T>(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
        read: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let (mut out, mut failed) = (Vec::new(), None);
        self.run_statement(sql, &[values], 0, &mut |row| {
            if failed.is_none() {
                match read(&Row::postgres(row.buffer())) {
                    Ok(row) => out.push(row),
                    Err(error) => failed = Some(error),
                }
            }
        })?;
        failed.map_or(Ok(out), Err)
    }

    /// Runs a statement that changes rows; answers how many.
    pub(in crate::db) fn run(&self, sql: &'static str, values: &[Value<'_>]) -> Result<usize> {
        let tag = self.run_statement(sql, &[values], 0, &mut |_| {})?;
        // "INSERT 0 1", "UPDATE 2"
        Ok(tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    /// Runs a statement that changes rows once for each of `rows`, in one round trip.
    pub(in crate::db) fn run_each(&self, sql: &'static str, rows: &[&[Value<'_>]]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.run_statement(sql, rows, 0, &mut |_| {}).map(drop)
    }

    /// Runs several statements that bring no rows, outside of any transaction of this session's making.
    ///
    /// # Errors
    /// What the server has against one; those after it do not run.
    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.post(&[sql]);
        self.settle().map(drop)
    }

    fn fail(&self, fault: Fault, error: Error) -> Error {
        if self.fault.get().is_none_or(|before| before < fault) {
            self.fault.set(Some(fault));
        }
        error
    }

    fn lost(&self, why: impl std::fmt::Display) -> Error {
        self.fail(Fault::Lost, Error::Unavailable(why.to_string()))
    }

    fn refused(&self, refusal: &Refusal) -> Error {
        self.fail(refusal.fault, refusal.to_error())
    }

    /// Sends `statements`, each of which brings no row, without waiting for what comes of them.
    pub(super) fn post(&self, statements: &[&str]) {
        let mut wire = self.wire.borrow_mut();
        for sql in statements {
            if let Err(error) = frontend::query(sql, &mut wire.out).and_then(|()| wire.send()) {
                self.lost(error);
                return;
            }
            self.owed.set(self.owed.get() + 1);
        }
    }

    /// Waits for all that is owed; the tag of the last of it.
    fn settle(&self) -> Result<Option<String>> {
        let mut wire = self.wire.try_borrow_mut().map_err(|_| in_use())?;
        let (mut tag, mut refusal) = (None, None);
        while self.owed.get() > 0 {
            match wire.receive().map_err(|error| self.lost(error))? {
                Message::ReadyForQuery(_) => self.owed.set(self.owed.get() - 1),
                Message::CommandComplete(body) => {
                    tag = body.tag().ok().map(str::to_owned);
                }
                Message::NoticeResponse(body) => {
                    self.warning.replace(Some(Refusal::read(body.fields()).to_string()));
                }
                Message::ErrorResponse(body) => {
                    let new = Refusal::read(body.fields());
                    if new.fault == Fault::Lost {
                        return Err(self.refused(&new));
                    }
                    refusal.get_or_insert(new);
                }
                _ => {}
            }
        }
        refusal.map_or(Ok(tag), |refusal| Err(self.refused(&refusal)))
    }

    /// Waits for all that is owed, which is the end of what left nothing behind: how it ended does not matter.
    fn settle_ends(&self) -> Result<()> {
        match self.settle() {
            Err(error) if self.fault.replace(None) == Some(Fault::Lost) => Err(self.fail(Fault::Lost, error)),
            _ => Ok(()),
        }
    }

    /// Runs `sql`, once for each of `rows`, behind what goes ahead of it, in one round trip; answers its last tag.
    fn run_statement(
        &self,
        sql: &'static str,
        rows: &[&[Value<'_>]],
        most: i32,
        found: &mut dyn FnMut(DataRowBody),
    ) -> Result<String> {
        if let Some(script) = self.script.borrow_mut().as_mut() {
            return self.replay(script, (sql, rows, most), found);
        }
        if self.fault.get().is_some() {
            return Err(Error::Unavailable("the transaction failed before".into()));
        }
        let phase = match self.phase.get() {
            Phase::Due | Phase::Open => Phase::Open,
            Phase::Alone => Phase::Rest,
            Phase::Rest => return Err(Error::Internal("a statement stands outside of a transaction".into())),
        };
        let ahead = self.ahead.take();
        let mut new = Vec::new();
        {
            let mut wire = self.wire.try_borrow_mut().map_err(|_| in_use())?;
            let out = &mut wire.out;
            for sql in &ahead {
                new.extend(self.write_statement(sql, &[&[]], 0, out)?);
            }
            new.extend(self.write_statement(sql, rows, most, out)?);
            frontend::sync(out);
            self.is_answering.set(true);
            wire.send().map_err(|error| self.lost(error))?;
        }
        self.phase.set(phase);
        self.settle_ends()?;
        self.read_answer(ahead.len(), new, found)
    }

    /// Writes what runs `sql` once for each of `rows`, preparing it where this is the first time; answers its text and
    /// number then.
    fn write_statement(
        &self,
        sql: &'static str,
        rows: &[&[Value<'_>]],
        most: i32,
        out: &mut BytesMut,
    ) -> Result<Option<(&'static str, usize)>> {
        let failed = |why: &dyn std::fmt::Display| {
            self.fail(Fault::Lost, Error::Internal(format!("a statement cannot be sent: {why}")))
        };
        let known = self.statements.borrow().get(sql).copied();
        let number = known.unwrap_or_else(|| {
            self.prepared.set(self.prepared.get() + 1);
            self.prepared.get()
        });
        let name = format!("s{number}");
        if known.is_none() {
            frontend::parse(&name, sql, [], out).map_err(|error| failed(&error))?;
        }
        for values in rows {
            frontend::bind("", &name, [], *values, write_value, [], out)
                .map_err(|_| failed(&"a value has no form"))?;
            frontend::execute("", most, out).map_err(|error| failed(&error))?;
        }
        Ok(known.is_none().then_some((sql, number)))
    }

    fn read_answer(
        &self,
        mut ahead: usize,
        new: Vec<(&'static str, usize)>,
        found: &mut dyn FnMut(DataRowBody),
    ) -> Result<String> {
        let mut wire = self.wire.try_borrow_mut().map_err(|_| in_use())?;
        let (mut new, mut tag, mut refusal) = (new.into_iter(), String::new(), None);
        loop {
            match wire.receive().map_err(|error| self.lost(error))? {
                Message::ParseComplete => self.statements.borrow_mut().extend(new.next()),
                Message::DataRow(row) => found(row),
                Message::CommandComplete(_) if ahead > 0 => ahead -= 1,
                Message::CommandComplete(body) => tag = body.tag().unwrap_or_default().to_owned(),
                Message::ErrorResponse(body) => {
                    let new = Refusal::read(body.fields());
                    if new.fault == Fault::Lost {
                        return Err(self.refused(&new));
                    }
                    refusal.get_or_insert(new);
                }
                Message::ReadyForQuery(_) => break,
                _ => {}
            }
        }
        self.is_answering.set(false);
        refusal.map_or(Ok(tag), |refusal| Err(self.refused(&refusal)))
    }
}

fn in_use() -> Error {
    Error::Internal("a statement ran while a row of another was read".into())
}

fn write_value(
    value: &Value<'_>,
    out: &mut BytesMut,
) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
    use std::fmt::Write;
    match value {
        Value::Null => return Ok(IsNull::Yes),
        Value::Int(int) => write!(out, "{int}")?,
        Value::Text(text) => out.put_slice(text.as_bytes()),
    }
    Ok(IsNull::No)
}
