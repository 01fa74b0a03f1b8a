//! The table: every call, by every caller, on a state of its own, beside the file in which it is written down.

use std::fmt::Write;

use serde_json::Value;

use super::calls::{self, AN_OWNER, ONESELF};
use super::scene::{CALLERS, Caller, Scene, house, terms_of};
use super::{Route, routes};
use crate::harness::{Answer, Call, House};
use crate::place::{controlled, counted, times};

/// The file.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/authz/table.txt");

/// The messages that refuse somebody for who they are, each with the word that stands for it in the table.
const WORDS: [(&str, &[(&str, &str)]); 5] = [
    (
        "bit",
        &[
            ("anon", "Missing cookie \"access_token_cookie\""),
            ("unseen", "Organization does not exist"),
            ("right", "You do not own this organization"),
            ("event", "Event does not exist"),
            ("unowned", "You do not own this event"),
            ("guest", "You are not a member of this organization"),
            ("not in", "User does not belong in the organization"),
            ("joined", "You already joined the organization"),
            ("barred", "Your membership is suspended"),
            ("frozen", "The organization is archived"),
            ("scope", "Insufficient scope"),
        ],
    ),
    ("buildog", &[("anon", "Token claims missing"), ("right", "Permission denied")]),
    (
        "cadasta",
        &[
            ("anon", "Authentication credentials were not provided."),
            ("unseen", "Organization not found."),
            ("right", "You do not have permission to perform this action."),
            (
                "self",
                "Organization administrators cannot change their own permissions within the organization",
            ),
        ],
    ),
    (
        "pm415",
        &[
            ("anon", "Authentication required"),
            ("unseen", "Organization with ID {id} not found."),
            ("member", "Organization membership required"),
            ("admin", "Organization admin privileges required"),
            ("owner", "Organization owner privileges required"),
            ("frozen", "Organization is archived"),
            ("scope", "Insufficient scope"),
            ("link", "Invitation token invalid or expired"),
        ],
    ),
    (
        "stormz",
        &[
            ("anon", "Requires authentication"),
            ("unseen", "Not Found"),
            ("right", "Forbidden"),
            ("frozen", "Organization is archived"),
        ],
    ),
];

const INTRODUCTION: &str = "\
Who is answered what: a row for every call of every dialect, a column for every caller, each on a state of its own.

A cell is the status and, where the call is refused, a word for the message; the words stand above each dialect's rows.
The organization is as one made through the dialect is: bit's internal and open, cadasta's public and by invitation, the
others' private and by invitation. A call that names a member names a plain one unless its row says otherwise. Where a call
names no organization, the caller stands in one all the same.

nobody      sends no credential
stranger    owns another organization
pending     waits for approval; so suspended, inactive, member, admin, owner
operator    has the operator's flag and belongs to no organization
r:          with a token of scope read
a:          where the organization is archived

All are answered alike by whatever form of credential: a session's token as Bearer, as Token or as a cookie, a session's key,
an API key.
";

/// The width of a cell.
const CELL: usize = 12;

/// How a credential is sent: the table is the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A session's token, as `Bearer`.
    Bearer,
    /// The same as `Token`.
    Token,
    /// The same as a cookie, with the header that belongs to it.
    Cookie,
    /// A session's key of 40 hex digits.
    SessionKey,
    /// An API key.
    ApiKey,
}

const FORMS: [Form; 5] = [Form::Bearer, Form::Token, Form::Cookie, Form::SessionKey, Form::ApiKey];

impl Form {
    /// The call with the caller's credential.
    async fn send(self, call: Call, scene: &Scene<'_>, caller: &Caller) -> Call {
        let (Some(token), Some(own)) = (&scene.credential, &scene.own) else { return call };
        let house = scene.house;
        match self {
            Self::Bearer => call.bearer(token),
            Self::Cookie => {
                let csrf = &house.app.keys.verify(token).unwrap().csrf;
                call.header("cookie", &format!("access_token_cookie={token}")).header("x-csrf-token", csrf)
            }
            Self::SessionKey if !caller.only_reads => call.token(&house.session_key(&own.username).await),
            Self::ApiKey if !caller.only_reads => call.bearer(&house.api_key(&own.username)),
            // No key only reads.
            Self::Token | Self::SessionKey | Self::ApiKey => call.token(token),
        }
    }
}

#[test]
fn every_caller_is_answered_what_the_table_says() {
    let mut cells = 0;
    // Once, the forms go round by turns; as often as there are forms, each cell is tried with each.
    for turn in 0..times(1, FORMS.len()) {
        let mut table = INTRODUCTION.to_owned();
        // A dialect each: they share nothing.
        std::thread::scope(|scope| {
            let sections = routes()
                .into_iter()
                .map(|(dialect, routes)| scope.spawn(move || section(dialect, &routes, turn)));
            for section in sections.collect::<Vec<_>>() {
                let (text, tried) = section.join().unwrap();
                table += &text;
                cells += tried;
            }
        });
        let written = std::fs::read_to_string(TABLE).unwrap();
        if written != table && accepts() {
            std::fs::write(TABLE, &table).unwrap();
            return;
        }
        let differences = compare(&written, &table);
        assert!(
            written == table,
            "The server and tests/it/authz/table.txt differ (- is written, + is answered):\n\n{differences}\n\
             If the answers are as documented, GUILDHALL_ACCEPT=1 writes them down."
        );
    }
    counted(cells, "cells of the table, all equal");
}

/// A right that the table gives and the server does not is told, and nothing else.
#[test]
fn a_cell_that_is_written_wrong_is_told() {
    let (dialect, routes) = routes().into_iter().find(|(dialect, _)| *dialect == "buildog").unwrap();
    let (answered, _) = section(dialect, &routes, 0);
    let written = std::fs::read_to_string(TABLE).unwrap();
    let right = answered.trim();
    assert!(written.contains(right), "what is written is what is answered");
    let wrong = written.replace(right, &right.replacen("403 right", "201      ", 1));
    let differences = compare(&written, &wrong);
    let told: Vec<&str> = differences.lines().filter(|line| line.starts_with(['-', '+'])).collect();
    assert_eq!(told.len(), 2, "{differences}");
    assert!(told[0].contains("403 right") && told[0].len() == told[1].len(), "{differences}");
    controlled("with one right of the table changed, that cell is told and no other");
}

/// Whether what is answered is to be written down.
#[expect(clippy::disallowed_methods, reason = "the variable is the tests' own")]
fn accepts() -> bool {
    std::env::var_os("GUILDHALL_ACCEPT").is_some()
}

/// What a dialect's calls answer, as the table says it, and how many cells that are. With each turn another form of
/// credential falls to a cell.
fn section(dialect: &str, routes: &[Route], turn: usize) -> (String, usize) {
    let words = WORDS.iter().find(|(name, _)| *name == dialect).map_or(&[][..], |(_, words)| words);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(rows((dialect, words), routes, turn));
    let tried = rows.iter().map(|(_, cells)| cells.len()).sum();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap();
    let mut text = format!("\n{dialect}\n");
    for (word, message) in words {
        writeln!(text, "  {word:<8}{message}").unwrap();
    }
    text.push('\n');
    let names = CALLERS.iter().map(|caller| caller.name.to_owned()).collect();
    for (name, cells) in std::iter::once((String::new(), names)).chain(rows) {
        let cells: String = cells.iter().map(|cell: &String| format!(" {cell:<CELL$}")).collect();
        writeln!(text, "{}", format!("{name:<width$} {cells}").trim_end()).unwrap();
    }
    (text, tried)
}

/// A dialect's calls, and what each caller is answered.
async fn rows(about: (&str, &[(&str, &str)]), routes: &[Route], turn: usize) -> Vec<(String, Vec<String>)> {
    let house = house();
    let mut rows = Vec::new();
    for (method, path) in routes {
        for variant in calls::variants(method, path) {
            let mut cells = Vec::new();
            for (column, caller) in CALLERS.iter().enumerate() {
                let form = FORMS[(turn + rows.len() + column) % FORMS.len()];
                cells.push(cell((&house, form), about, (method, path, variant), caller).await);
            }
            let variant = if variant.is_empty() { String::new() } else { format!(" ({variant})") };
            rows.push((format!("{method:<6} {path}{variant}"), cells));
        }
    }
    rows
}

/// What one caller is answered.
async fn cell(
    (house, form): (&House, Form),
    (dialect, words): (&str, &[(&str, &str)]),
    (method, path, variant): (&str, &str, &str),
    caller: &Caller,
) -> String {
    let mut scene = Scene::new(house, caller, terms_of(dialect)).await;
    scene.prepare(caller, (method, path), variant).await;
    match (variant, scene.own.clone()) {
        (AN_OWNER, _) => scene.place.member = scene.founder.clone(),
        (ONESELF, Some(own)) => scene.place.member = own,
        _ => {}
    }
    let call = calls::of(dialect, (method, path), &scene, variant);
    let Some(call) = call else { panic!("authz/calls.rs does not say how {method} {path} is called") };
    let answer = house.send(form.send(call, &scene, caller).await).await;
    let status = answer.status.as_u16();
    if answer.status.is_success() {
        return status.to_string();
    }
    let message = message(&answer).replace(&format!(" ID {} ", scene.place.number), " ID {id} ");
    match words.iter().find(|(_, text)| *text == message) {
        Some((word, _)) => format!("{status} {word}"),
        None => format!("{status} {message}"),
    }
}

/// What a refusal says to a person.
fn message(answer: &Answer) -> String {
    let body = answer.value();
    let told = ["message", "msg", "detail", "error"].iter().find_map(|key| body.get(key)?.as_str());
    // Or what is wrong with one field.
    let field = || body.as_object().and_then(|body| body.values().next()?.get(0).and_then(Value::as_str));
    told.or_else(field).map_or_else(|| answer.text().to_owned(), str::to_owned)
}

/// The lines in which the two differ, with a mark under each cell that does; empty where none does.
fn compare(written: &str, answered: &str) -> String {
    let (written, answered): (Vec<_>, Vec<_>) = (written.lines().collect(), answered.lines().collect());
    let mut out = String::new();
    if written.len() == answered.len() {
        let mut callers = "";
        for (written, answered) in written.iter().zip(&answered) {
            if written.trim_start().starts_with(CALLERS[0].name) {
                callers = written;
            } else if written != answered {
                writeln!(out, " {callers}\n-{written}\n+{answered}\n {}\n", marks(written, answered))
                    .unwrap();
            }
        }
    }
    if out.is_empty() {
        let only = |sign, lines: &[&str], others: &[&str]| -> String {
            lines.iter().filter(|line| !others.contains(line)).map(|line| format!("{sign}{line}\n")).collect()
        };
        out = only('-', &written, &answered) + &only('+', &answered, &written);
    }
    out
}

fn marks(one: &str, other: &str) -> String {
    let (mut one, mut other) = (one.chars(), other.chars());
    let mut marks = String::new();
    loop {
        match (one.next(), other.next()) {
            (None, None) => return marks,
            (one, other) => marks.push(if one == other { ' ' } else { '^' }),
        }
    }
}
