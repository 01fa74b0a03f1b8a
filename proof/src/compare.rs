//! Whether a data folder holds what clients were told.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::Result;
use crate::client::{Answer, Call, Client};
use crate::ledger::{Expected, Ledger, Thing};
use crate::place::Place;
use crate::process::{self, Server};
use crate::workload::{self, Crew};

/// Who looks, and at what.
pub(crate) struct Comparer<'a> {
    pub(crate) place: &'a Place,
    pub(crate) crew: &'a Crew,
    pub(crate) ledger: &'a Ledger,
}

impl Comparer<'_> {
    /// Starts the server on `data`, looks for everything that was acknowledged before `mark`, stops the server, and asks
    /// `guildhall check`. A line for each thing that is wrong.
    ///
    /// # Errors
    /// Where that cannot be done; a server that does not start is a finding.
    pub(crate) fn restart(&self, data: &Path, mark: usize) -> Result<Vec<String>> {
        let begun = Instant::now();
        let mut serving = process::serving(&self.place.program, data);
        let server = match Server::start(&mut serving, self.place.path("compare.log")) {
            Ok(server) => server,
            Err(error) => return Ok(vec![error.to_string()]),
        };
        self.place.started(begun.elapsed());
        let mut wrong = self.look(&server, data, mark)?;
        server.stop()?;
        wrong.extend(check(&self.place.program, data)?);
        Ok(wrong)
    }

    /// As [`Comparer::restart`], on a running server, without `guildhall check`.
    pub(crate) fn look(&self, server: &Server, data: &Path, mark: usize) -> Result<Vec<String>> {
        let mut eye = Eye { crew: self.crew, client: Client::new(&server.address), default: None };
        let accounts = usernames(&process::json(&self.place.program, data, &["user", "list"])?);
        let mut wrong = Vec::new();
        let mut letters = BTreeSet::new();
        for (thing, expected) in self.ledger.expected(mark) {
            let found = match &thing {
                Thing::Account(name) => if accounts.contains(name) { "there" } else { "gone" }.to_owned(),
                Thing::Letter(email) => {
                    letters.insert(email.clone());
                    continue;
                }
                _ => eye.look(&thing)?,
            };
            if !expected.allows(&found) {
                wrong.push(told(&thing, &expected, &found));
            }
        }
        wrong.extend(unsent(data, letters)?);
        Ok(wrong)
    }
}

fn told(thing: &Thing, expected: &Expected, found: &str) -> String {
    let mut thing = format!("{thing:?}");
    thing.truncate(80);
    format!("{thing}: acknowledged {:?}, found {found:?}", expected.must)
}

fn usernames(listed: &Value) -> BTreeSet<String> {
    let users = listed["users"].as_array().into_iter().flatten();
    users.filter_map(|user| user["username"].as_str().map(str::to_owned)).collect()
}

/// What `guildhall check` finds, a line each.
pub(crate) fn check(program: &Path, data: &Path) -> Result<Vec<String>> {
    let done = process::finish(&mut process::command(program, data, &["check"]), "")?;
    let findings = done.json().ok().and_then(|said| said["findings"].as_array().cloned());
    match findings {
        Some(findings) if findings.is_empty() && done.status.success() => Ok(Vec::new()),
        Some(findings) => Ok(findings.iter().map(|finding| format!("check: {finding}")).collect()),
        None => Ok(vec![format!("check: {done:?}")]),
    }
}

/// The addresses to which a letter was neither sent nor is still to be sent. One that was being sent when the server died is
/// sent again when its sender has surely given up, which takes minutes: so the queue is looked at, before the letters.
fn unsent(data: &Path, addresses: BTreeSet<String>) -> Result<Vec<String>> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let database = Connection::open_with_flags(data.join("guildhall.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut kept: BTreeSet<String> = database
        .prepare("SELECT recipient FROM outbox")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for entry in std::fs::read_dir(data.join("mail"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "eml") {
            let letter = std::fs::read_to_string(&path)?;
            kept.extend(letter.lines().find_map(|line| Some(line.strip_prefix("To: ")?.trim().to_owned())));
        }
    }
    Ok(addresses.difference(&kept).map(|address| format!("no letter to {address}")).collect())
}

/// Looks at things through the server.
struct Eye<'a> {
    crew: &'a Crew,
    client: Client,
    /// The URL of the picture of an organization that has none.
    default: Option<String>,
}

impl Eye<'_> {
    fn get(&mut self, path: &str, token: &str) -> Result<Answer> {
        Ok(self.client.call(&Call::get(path).by(token))?)
    }

    fn look(&mut self, thing: &Thing) -> Result<String> {
        let crew = self.crew;
        match thing {
            Thing::Name(writer) => {
                let answer = self.get("/api/v1/account/", crew.token(*writer))?.json();
                Ok(answer["full_name"].as_str().unwrap_or_default().to_owned())
            }
            Thing::Organization(slug, writer) => {
                let path = format!("/api/v1/organizations/{slug}/");
                let answer = self.get(&path, crew.token(*writer))?;
                let body = answer.json();
                let description = body["description"].as_str().unwrap_or_default();
                Ok(match answer.status {
                    200 => workload::organization(description, body["archived"] == true),
                    404 => "gone".into(),
                    status => format!("{status}"),
                })
            }
            Thing::Member(slug, writer, name) => {
                let path = format!("/api/v1/organizations/{slug}/users/{name}/");
                let answer = self.get(&path, crew.token(*writer))?;
                Ok(match (answer.status, answer.json()["admin"] == true) {
                    (200, true) => "admin".into(),
                    (200, false) => "member".into(),
                    (404, _) => "none".into(),
                    (status, _) => format!("{status}"),
                })
            }
            Thing::Picture(id, writer) => self.picture(id, crew.token(*writer)),
            Thing::Event(number, writer) => self.event(number, crew.token(*writer)),
            Thing::Session(token) | Thing::ApiKey(_, token) => {
                Ok(standing(self.get("/v1/user/me", token)?.status, 401))
            }
            Thing::Invitation(token) => {
                let path = format!("/api/org/invite?token={token}");
                Ok(standing(self.client.call(&Call::get(path))?.status, 422))
            }
            Thing::Account(_) | Thing::Letter(_) => Err("is looked at elsewhere".into()),
        }
    }

    fn event(&mut self, number: &str, token: &str) -> Result<String> {
        let answer = self.get(&format!("/events/{number}"), token)?;
        let body = answer.json();
        let comes = body["rsvp_list"].as_array().is_some_and(|list| !list.is_empty());
        Ok(match answer.status {
            200 => workload::event(body["name"].as_str().unwrap_or_default(), comes),
            404 => "gone".into(),
            status => format!("{status}"),
        })
    }

    /// An own picture counts where it is served.
    fn picture(&mut self, id: &str, token: &str) -> Result<String> {
        let default = match &self.default {
            Some(default) => default.clone(),
            None => {
                let me = self.get("/v1/user/me", token)?.json();
                self.default.insert(file(&me["avatar_url"])).clone()
            }
        };
        let answer = self.get(&format!("/v1/organizations/{id}"), token)?;
        let shown = file(&answer.json()["avatar_url"]);
        if shown == default {
            return Ok("default".into());
        }
        let served = self.client.call(&Call::get(format!("/media/{shown}")))?;
        Ok(if served.status == 200 { "own".into() } else { format!("{shown}: {}", served.status) })
    }
}

/// The last part of a URL.
fn file(url: &Value) -> String {
    url.as_str().and_then(|url| url.rsplit('/').next()).unwrap_or_default().to_owned()
}

fn standing(status: u16, ended: u16) -> String {
    match status {
        200 => "good".into(),
        status if status == ended => "ended".into(),
        status => format!("{status}"),
    }
}
