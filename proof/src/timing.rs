//! Whether an account exists, or is disabled, shows neither in an answer nor in the time that it takes.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;
use crate::client::{Answer, Call, Client};
use crate::item::{Control, Outcome};
use crate::place::{Place, below};
use crate::process::{self, Server};

/// By how much the medians may differ, in microseconds.
const APART: i64 = 1_000;

/// Who is asked about.
///
/// The first is there twice: it has to be as far from itself as from the others.
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
    let (mut wrong, mut widest, mut count) = (Vec::new(), Apart::default(), 0);
    for ask in [Ask::SignIn, Ask::ForgottenPassword, Ask::Invite] {
        let measured = asker.measure(ask, samples, |end| below(&random, end))?;
        if measured.answers[1..].iter().any(|answer| *answer != measured.answers[0]) {
            wrong.push(format!("{ask:?}: the answers differ: {:?}", measured.answers));
        }
        let [known, others @ ..] = &measured.times;
        for (kind, times) in KINDS[1..].iter().zip(others) {
            let apart = Apart::of(known, times);
            if apart.is_seen() {
                wrong.push(format!("{ask:?}: {kind} is {} from known", apart.told()));
            }
            if apart.median.abs() > widest.median.abs() {
                widest = apart;
            }
        }
        count += samples * KINDS.len();
    }
    let told = asker.control(samples / 4)?;
    Ok(Outcome::Tried {
        how: "sign-in with a wrong password, forgotten password and invitation for known, unknown and disabled accounts by turns; \
              answers compared, and the median of the differences of each pair, which has to be within 1 ms but for chance (99 of 100)"
            .into(),
        count: format!("{count} samples, {} at most", widest.told()),
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
        let apart = Apart::of(&times[0], &times[1]);
        Ok(Control {
            failed: apart.is_seen(),
            told: format!("a sign-in that compares no password is seen: {}", apart.told()),
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

/// How far two kinds are apart, in microseconds: the median of the differences of what was asked one after the other, and
/// between what chance puts it, 99 times of 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Apart {
    median: i64,
    least: i64,
    most: i64,
}

impl Apart {
    fn of(one: &[Duration], other: &[Duration]) -> Self {
        let micros = |time: &Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let mut differences: Vec<i64> =
            one.iter().zip(other).map(|(one, other)| micros(other) - micros(one)).collect();
        differences.sort_unstable();
        let count = differences.len();
        // Ranks are spread as the tosses of a coin are.
        let reach = (2.58 * (count as f64).sqrt() / 2.0).ceil() as usize;
        let at =
            |rank: usize| differences.get(rank.min(count.saturating_sub(1))).copied().unwrap_or_default();
        Self {
            median: at(count / 2),
            least: at((count / 2).saturating_sub(reach)),
            most: at(count / 2 + reach),
        }
    }

    /// Whether they are further apart than they may be, whatever chance did.
    fn is_seen(self) -> bool {
        self.least > APART || self.most < -APART
    }

    fn told(self) -> String {
        format!("{} µs apart ({} to {} by chance)", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use guildhall_domain::clock::Random;

    use super::*;

    #[test]
    fn what_is_apart_is_seen_through_what_chance_does() {
        let times = |base: u64, seed: u64| -> Vec<Duration> {
            let random = Random::seeded(seed);
            let noise = || below(&random, 5_000) as u64;
            (0..200).map(|_| Duration::from_micros(base + noise())).collect()
        };
        assert!(!Apart::of(&times(20_000, 1), &times(20_000, 2)).is_seen());
        assert!(Apart::of(&times(20_000, 1), &times(23_000, 2)).is_seen());
        assert!(Apart::of(&times(23_000, 1), &times(20_000, 2)).is_seen());
        assert_eq!(Apart::of(&[], &[]), Apart::default());
    }
}
