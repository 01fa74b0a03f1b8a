//! The table: every call, by every caller, on a state of its own, beside the file in which it is written down.

use std::fmt::Write;

use serde_json::Value;

use super::calls::{self, AN_OWNER, ONESELF};
use super::scene::{CALLERS, Caller, Scene, house, terms_of};
use super::{Route, routes};
use crate::harness::{Answer, House};

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
";

/// The width of a cell.
const CELL: usize = 12;

#[test]
fn every_caller_is_answered_what_the_table_says() {
    let mut table = INTRODUCTION.to_owned();
    // A dialect each: they share nothing.
    std::thread::scope(|scope| {
        let sections = routes().into_iter().map(|(dialect, routes)| {
            let words = WORDS.iter().find(|(name, _)| *name == dialect).map_or(&[][..], |(_, words)| words);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(section(dialect, &routes, words))
            })
        });
        for section in sections.collect::<Vec<_>>() {
            table += &section.join().unwrap();
        }
    });
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/authz/table.txt");
    let written = std::fs::read_to_string(path).unwrap();
    if written == table {
        return;
    }
    if accepts() {
        std::fs::write(path, &table).unwrap();
        return;
    }
    let differences = compare(&written, &table);
    panic!(
        "The server and tests/it/authz/table.txt differ (- is written, + is answered):\n\n{differences}\n\
         If the answers are as documented, GUILDHALL_ACCEPT=1 writes them down."
    );
}

/// Whether what is answered is to be written down.
#[expect(clippy::disallowed_methods, reason = "the variable is the tests' own")]
fn accepts() -> bool {
    std::env::var_os("GUILDHALL_ACCEPT").is_some()
}

/// What a dialect's calls answer.
async fn section(dialect: &str, routes: &[Route], words: &[(&str, &str)]) -> String {
    let house = house();
    let mut rows = Vec::new();
    for (method, path) in routes {
        for variant in calls::variants(method, path) {
            let mut cells = Vec::new();
            for caller in &CALLERS {
                cells.push(cell(&house, (dialect, words), (method, path, variant), caller).await);
            }
            let variant = if variant.is_empty() { String::new() } else { format!(" ({variant})") };
            rows.push((format!("{method:<6} {path}{variant}"), cells));
        }
    }
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
    text
}

/// What one caller is answered.
async fn cell(
    house: &House,
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
    let call = match &scene.credential {
        Some(credential) => call.bearer(credential),
        None => call,
    };
    let answer = house.send(call).await;
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
