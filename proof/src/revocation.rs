//! What ends a right ends it at once, on every connection that uses it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::Result;
use crate::client::{Answer, Call, Client};
use crate::item::{Control, Outcome};
use crate::place::Place;
use crate::process::{self, Server};

/// Connections that use the right while it ends.
const CONNECTIONS: usize = 16;

/// What ends, and by what.
#[derive(Clone, Copy, Debug)]
enum End {
    Session,
    Key,
    Removed,
    Demoted,
    Suspended,
    Disabled,
    Archived,
}

impl End {
    const ALL: [Self; 7] = [
        Self::Session,
        Self::Key,
        Self::Removed,
        Self::Demoted,
        Self::Suspended,
        Self::Disabled,
        Self::Archived,
    ];
}

/// A server, and somebody whose right ends.
struct Case<'a> {
    place: &'a Place,
    data: &'a Path,
    server: &'a Server,
    owner: &'a str,
    name: String,
    slug: String,
    credential: String,
}

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    let data = place.path("data");
    let owner = process::user(&place.program, &data, "owner")?;
    let server = Server::start(&mut process::serving(&place.program, &data), place.path("server.log"))?;
    let each = place.number(10_000, 100_000).div_ceil(End::ALL.len());
    let (mut after, mut before, mut wrong) = (0, 0, Vec::new());
    for (number, end) in End::ALL.into_iter().enumerate() {
        let case = Case::new(place, (&data, &server, &owner), number)?;
        let counted = case.end(end, each)?;
        after += counted.after;
        before += counted.before;
        if counted.before == 0 {
            wrong.push(format!("{end:?}: nothing was accepted before it"));
        }
        if counted.accepted > 0 {
            wrong.push(format!("{end:?}: {} of {} accepted after it", counted.accepted, counted.after));
        }
    }
    // What does not end goes on: the same requests, with a right that nobody took away.
    let case = Case::new(place, (&data, &server, &owner), End::ALL.len())?;
    let kept = case.call(End::Removed, &mut Client::new(&server.address))?.is_success();
    Ok(Outcome::Tried {
        how: format!(
            "a session ended, a key replaced, a member removed, demoted and suspended, a user disabled, an organization archived, \
             each while {CONNECTIONS} connections use the right; counted are requests that begin after the answer"
        ),
        count: format!("{after} requests after the end, {before} accepted before it"),
        violations: wrong,
        control: Control {
            failed: kept && before > 0,
            told: format!(
                "before the end, and with rights that stay, the same requests are accepted ({before} were)"
            ),
        },
    })
}

/// What was seen.
#[derive(Default)]
struct Counted {
    before: u64,
    after: u64,
    accepted: u64,
}

impl<'a> Case<'a> {
    fn new(
        place: &'a Place,
        (data, server, owner): (&'a Path, &'a Server, &'a str),
        number: usize,
    ) -> Result<Self> {
        let name = format!("member-{number}");
        let credential = process::user(&place.program, data, &name)?;
        let body = json!({"name": format!("Right {number}")});
        let made = ask(server, owner, "POST", "/api/v1/organizations/", &body)?;
        let slug = made.json()["slug"].as_str().unwrap_or_default().to_owned();
        let body = json!({"username": name, "admin": true});
        ask(server, owner, "POST", &format!("/api/v1/organizations/{slug}/users/"), &body)?;
        Ok(Self { place, data, server, owner, name, slug, credential })
    }

    /// The request that needs the right.
    fn call(&self, end: End, client: &mut Client) -> Result<Answer> {
        let organization = format!("/api/v1/organizations/{}/", self.slug);
        let call = match end {
            End::Session | End::Key | End::Disabled => Call::get("/v1/user/me"),
            End::Removed | End::Suspended => Call::get(format!("{organization}users/")),
            End::Demoted | End::Archived => {
                Call::new("PATCH", organization).json(&json!({"description": "changed"}))
            }
        };
        Ok(client.call(&call.by(&self.credential))?)
    }

    /// Ends the right; returns when that was answered.
    fn revoke(&self, end: End) -> Result<()> {
        let member = format!("/api/v1/organizations/{}/users/{}/", self.slug, self.name);
        let organization = format!("/api/v1/organizations/{}/", self.slug);
        let cli = |arguments: &[&str]| process::json(&self.place.program, self.data, arguments).map(drop);
        let by_owner = |method, path: &str, body| ask(self.server, self.owner, method, path, &body).map(drop);
        match end {
            End::Session => {
                ask(self.server, &self.credential, "DELETE", "/user/logout", &Value::Null).map(drop)
            }
            End::Key => {
                ask(self.server, &self.credential, "POST", "/api/user/apikey", &Value::Null).map(drop)
            }
            End::Removed => by_owner("DELETE", &member, Value::Null),
            End::Demoted => by_owner("PATCH", &member, json!({"admin": false})),
            End::Suspended => {
                cli(&["member", "add", &self.slug, &self.name, "--role", "member", "--state", "suspended"])
            }
            End::Disabled => cli(&["user", "disable", &self.name, "--force"]),
            End::Archived => by_owner("PATCH", &organization, json!({"archived": true})),
        }
    }

    /// Lets the connections use the right, ends it meanwhile, and goes on until `each` requests began after that.
    fn end(mut self, end: End, each: usize) -> Result<Counted> {
        if matches!(end, End::Key) {
            let made = ask(self.server, &self.credential, "POST", "/api/user/apikey", &Value::Null)?;
            self.credential = made.json()["apiKey"].as_str().unwrap_or_default().to_owned();
        }
        let epoch = Instant::now();
        // Nanoseconds since `epoch` at which the end was answered.
        let ended = AtomicU64::new(u64::MAX);
        let nanos = || u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let (case, ended) = (&self, &ended);
        let used = Arc::new(AtomicU64::new(0));
        std::thread::scope(|scope| {
            let connections: Vec<_> = (0..CONNECTIONS)
                .map(|_| {
                    let used = used.clone();
                    scope.spawn(move || -> std::result::Result<Counted, String> {
                        let mut client = Client::new(&case.server.address);
                        let mut counted = Counted::default();
                        while counted.after < each.div_ceil(CONNECTIONS) as u64 {
                            let is_after = ended.load(Ordering::SeqCst) < nanos();
                            let answer = case.call(end, &mut client).map_err(|error| error.to_string())?;
                            let accepted = u64::from(answer.is_success());
                            used.fetch_add(accepted, Ordering::Relaxed);
                            counted.after += u64::from(is_after);
                            counted.accepted += if is_after { accepted } else { 0 };
                            counted.before += if is_after { 0 } else { accepted };
                        }
                        Ok(counted)
                    })
                })
                .collect();
            let begun = Instant::now();
            while used.load(Ordering::Relaxed) < 200 && begun.elapsed().as_secs() < 20 {
                std::thread::yield_now();
            }
            let revoked = case.revoke(end);
            ended.store(nanos(), Ordering::SeqCst);
            let mut all = Counted::default();
            for connection in connections {
                let counted = connection.join().map_err(|_| "a connection panicked")??;
                all.before += counted.before;
                all.after += counted.after;
                all.accepted += counted.accepted;
            }
            revoked.map(|()| all)
        })
    }
}

/// One call that has to succeed.
fn ask(server: &Server, token: &str, method: &'static str, path: &str, body: &Value) -> Result<Answer> {
    let call = Call::new(method, path).by(token);
    let call = if body.is_null() { call } else { call.json(body) };
    let answer = Client::new(&server.address).call(&call)?;
    if answer.is_success() {
        Ok(answer)
    } else {
        Err(format!("{method} {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)).into())
    }
}
