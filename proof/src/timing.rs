//! Whether an account exists, or is disabled, shows neither in an answer nor in the time that it takes.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;
use crate::client::{Answer, Call, Client};
use crate::item::{Control, Outcome};
use crate::place::{Place, below};
use crate::process::{self, Server};

/// By how much the medians may differ.
const APART: Duration = Duration::from_millis(1);

/// Who is asked about.
///
/// The first is there twice: how far it is from itself is what the machine adds by chance.
const KINDS: [&str; 4] = ["known", "unknown", "disabled", "known-too"];

/// What is asked.
#[derive(Clone, Copy, Debug)]
enum Ask {
    SignIn,
    ForgottenPassword,
    Invite,
}

/// What was measured of a question: the times and the answer for each kind.
struct Measured {
    times: [Vec<Duration>; 4],
    answers: [Option<String>; 4],
}

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    let data = place.path("data");
    let samples = place.number(200, 2_000);
    let owner = process::user(&place.program, &data, "owner")?;
    let made = process::json(
        &place.program,
        &data,
        &["org", "create", "--name", "Timing", "--owner", "owner@example.com"],
    )?;
    let number = made["number"].as_i64().ok_or("no number")?;
    people(&data, samples)?;
    let server = Server::start(&mut process::serving(&place.program, &data), place.path("server.log"))?;
    let mut asker = Asker { client: Client::new(&server.address), owner, number };
    let random = place.random("timing");
    let (mut wrong, mut widest, mut count) = (Vec::new(), (Duration::ZERO, Duration::ZERO), 0);
    for ask in [Ask::SignIn, Ask::ForgottenPassword, Ask::Invite] {
        let measured = asker.measure(ask, samples, |end| below(&random, end))?;
        if measured.answers[1..].iter().any(|answer| *answer != measured.answers[0]) {
            wrong.push(format!("{ask:?}: the answers differ: {:?}", measured.answers));
        }
        let medians = measured.times.map(median);
        let [known, .., again] = medians;
        let chance = known.abs_diff(again);
        let apart = spread(medians);
        if apart > APART + chance {
            wrong.push(format!("{ask:?}: the medians {medians:?} are {apart:?} apart, {chance:?} by chance"));
        }
        widest = widest.max((apart, chance));
        count += samples * KINDS.len();
    }
    let told = asker.control(samples / 4)?;
    Ok(Outcome::Tried {
        how: "sign-in with a wrong password, forgotten password and invitation for known, unknown and disabled accounts by turns; \
              answers compared, medians within 1 ms but for chance"
            .into(),
        count: format!("{count} samples, medians {} µs apart at most, where chance makes {} µs", widest.0.as_micros(), widest.1.as_micros()),
        violations: wrong,
        control: told,
    })
}

/// An account of each kind for every sample: failures in a row slow an account down, which would be measured.
fn people(data: &Path, samples: usize) -> Result<()> {
    use guildhall_domain::authz::Actor;
    use guildhall_domain::credentials::password::Password;
    use guildhall_domain::db::{Db, Settings};
    use guildhall_domain::memberships;
    use guildhall_domain::text::{Email, Name, PersonName};
    use guildhall_domain::users::{self, NewUser, Profile, UserKey};
    let db = Db::existing(&data.join("guildhall.db"), Settings::default())?;
    let hash =
        Password::chosen(crate::workload::PASSWORD).map_err(|_| "a weak password")?.hash(db.random())?;
    for kind in ["known", "disabled", "known-too"] {
        for sample in 0..samples {
            let email = address(kind, sample);
            let new = NewUser {
                username: None,
                email: Email::parse(&email).ok_or("no address")?,
                name: PersonName::Whole(Name::parse(kind).map_err(|_| "no name")?),
                password_hash: Some(hash.clone()),
                profile: Profile::default(),
            };
            users::create(&db, &Actor::system(), new, false, true)?;
            if kind == "disabled" {
                memberships::disable_user(&db, &Actor::system(), &UserKey::Login(email), true)?;
            }
        }
    }
    Ok(())
}

/// Every kind's addresses are equally long.
fn address(kind: &str, sample: usize) -> String {
    format!("{kind:-<9}{sample:05}@example.com")
}

struct Asker {
    client: Client,
    owner: String,
    number: i64,
}

impl Asker {
    fn call(&self, ask: Ask, email: &str) -> Call {
        match ask {
            Ask::SignIn => Call::new("POST", "/api/account/login")
                .json(&json!({"email": email, "password": "a wrong password"})),
            Ask::ForgottenPassword => {
                Call::new("POST", "/api/account/forgotpassword").json(&json!({"email": email}))
            }
            Ask::Invite => Call::new("POST", format!("/api/org/{}/invitelink", self.number))
                .by(&self.owner)
                .json(&json!({"email": email})),
        }
    }

    fn timed(&mut self, call: &Call) -> Result<(Duration, Answer)> {
        let begun = Instant::now();
        let answer = self.client.call(call)?;
        Ok((begun.elapsed(), answer))
    }

    fn measure(&mut self, ask: Ask, samples: usize, below: impl Fn(usize) -> usize) -> Result<Measured> {
        let mut measured = Measured { times: Default::default(), answers: Default::default() };
        for sample in 0..samples {
            // The kinds in another order each time.
            let first = below(KINDS.len());
            for turn in 0..KINDS.len() {
                let kind = (first + turn) % KINDS.len();
                let email = address(KINDS[kind], sample);
                let call = self.call(ask, &email);
                let (took, answer) = self.timed(&call)?;
                measured.times[kind].push(took);
                let said = said(&answer, &email);
                match &measured.answers[kind] {
                    Some(before) if *before != said => {
                        return Err(format!("{ask:?}: {before}, then {said}").into());
                    }
                    _ => measured.answers[kind] = Some(said),
                }
            }
        }
        Ok(measured)
    }

    /// Addresses that have not the form of one are refused before a password is hashed: that has to be seen.
    fn control(&mut self, samples: usize) -> Result<Control> {
        let mut times: [Vec<Duration>; 2] = Default::default();
        for sample in 0..samples.max(10) {
            let unknown = self.call(Ask::SignIn, &address("another", sample));
            times[0].push(self.timed(&unknown)?.0);
            let unhashed = self.call(Ask::SignIn, "no address");
            times[1].push(self.timed(&unhashed)?.0);
        }
        let [hashed, unhashed] = times.map(median);
        let apart = hashed.abs_diff(unhashed);
        Ok(Control {
            failed: apart > APART,
            told: format!("a sign-in that compares no password is seen: {} µs apart", apart.as_micros()),
        })
    }
}

/// What an answer tells: all but what is the request's own.
fn said(answer: &Answer, email: &str) -> String {
    let mut body = answer.json();
    if let Some(link) = body.get_mut("confirmUrl") {
        *link = Value::Null;
    }
    format!("{} {}", answer.status, body).replace(email, "<the address>")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn spread(medians: [Duration; 4]) -> Duration {
    let least = medians.iter().min().copied().unwrap_or_default();
    medians.iter().max().copied().unwrap_or_default().saturating_sub(least)
}
