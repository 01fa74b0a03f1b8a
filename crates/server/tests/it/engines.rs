//! Both engines tell the same: one random history of requests, with the same seed, clock and randomness, to a house on
//! SQLite and to one on PostgreSQL. Every answer, every letter and in the end every row are compared byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use guildhall_domain::clock::Random;
use regex::Regex;
use serde_json::{Value, json};

use crate::authz::scene::{Person, Place as Named, Scene};
use crate::authz::{calls, routes};
use crate::harness::{Answer, Call, Folder, House, PASSWORD, Plan};
use crate::place::{Place, controlled, counted, times};

const PEOPLE: usize = 6;
/// Those that calls are about: more would only thin what happens in each.
const ORGANIZATIONS: usize = 6;

/// What texts are told apart by, or not: case, marks, script, length, what a pattern could mean.
const NAMES: [&str; 12] =
    ["Alpha", "alpha", "ÄLPHA", "Ålpha", "beta", "Beta 2", "beta-10", "Ωmega", "100%", "a_b", "Zoë", "日本"];

/// What may stand behind the path of a call that looks; where a dialect does not know it, it passes it over.
const QUERIES: [&str; 16] = [
    "",
    "",
    "",
    "?ordering=name",
    "?ordering=-name",
    "?ordering=description",
    "?ordering=-description",
    "?ordering=-slug",
    "?ordering=username",
    "?search=a",
    "?search=%C3%A4l",
    "?search=%25",
    "?archived=true",
    "?permissions=org.update",
    "?limit=2&offset=1",
    "?page=2&per_page=2",
];

/// The end of a token is a signature, which is another one each time.
static SIGNATURE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(eyJ[\w-]+\.[\w-]+)\.[\w-]+").expect("a pattern"));

/// The same house twice.
struct Pair {
    houses: [House; 2],
    dice: Random,
    /// Of each person: a session's token, one that only reads, an API key.
    credentials: Vec<[String; 3]>,
    /// What mailed links carried, the newest last.
    links: Vec<String>,
}

fn shown(answer: &Answer) -> String {
    let mut text = answer.status.to_string();
    for (name, value) in &answer.headers {
        text.push_str(&format!("\n{name}: {}", value.to_str().unwrap()));
    }
    text.push_str(&format!("\n\n{}", String::from_utf8_lossy(&answer.body)));
    SIGNATURE.replace_all(&text, "$1").into_owned()
}

impl Pair {
    /// Nothing where there is no PostgreSQL.
    async fn new(seed: u64) -> Option<Self> {
        let plan = || Plan { in_memory: true, limits: true, ..Plan::default() };
        let folders = [Folder::in_memory(), Folder::in_memory()];
        let places = [Place::sqlite(&folders[0].0), Place::postgres()?];
        let mut built =
            places.into_iter().zip(folders).map(|(place, folder)| House::at(place, folder, plan()));
        let houses = [built.next()?, built.next()?];
        let mut pair =
            Self { houses, dice: Random::seeded(seed), credentials: Vec::new(), links: Vec::new() };
        for number in 0..PEOPLE {
            let name = format!("person{number}");
            let mut credentials = Vec::new();
            for house in &pair.houses {
                house.user(&name);
                credentials.push([house.token(&name), house.read_token(&name).await, house.api_key(&name)]);
            }
            // The keys are the same too: what one has signed the other takes.
            pair.credentials.extend(credentials.pop());
        }
        Some(pair)
    }

    fn below(&self, end: usize) -> usize {
        usize::try_from(u32::from_le_bytes(self.dice.bytes())).unwrap() % end
    }

    fn one_of<T: Clone>(&self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    fn rows(&self, query: &str) -> Vec<Vec<String>> {
        let rows = self.houses[0].place.stored().rows(query);
        rows.iter().map(|row| row.split('|').map(str::to_owned).collect()).collect()
    }

    fn person(&self) -> Person {
        let sql = "SELECT id, uid, COALESCE(username, email), email FROM users WHERE email IS NOT NULL ORDER BY id DESC LIMIT 20";
        let row = self.one_of(&self.rows(sql));
        Person {
            number: row[0].clone(),
            short: short(&row[1]),
            username: row[2].clone(),
            email: row[3].clone(),
        }
    }

    /// An organization that is there, mostly.
    fn place(&self) -> Named {
        let sql = "SELECT id, uid, slug FROM organizations ORDER BY id DESC LIMIT";
        let rows = self.rows(&format!("{sql} {ORGANIZATIONS}"));
        let row = if rows.is_empty() || self.below(30) == 0 {
            vec!["99".into(), "0".repeat(24), "no-such".into()]
        } else {
            self.one_of(&rows)
        };
        let events = self.rows("SELECT id FROM events ORDER BY id DESC LIMIT 4");
        let event = if events.is_empty() { "99".into() } else { self.one_of(&events).remove(0) };
        let (number, uid, slug) = (row[0].clone(), &row[1], row[2].clone());
        Named { number, short: short(uid), slug, event, member: self.person() }
    }

    /// A call of any dialect about anybody and anything, and whose it is.
    fn call(&self) -> (Call, Option<usize>) {
        let (dialect, of_dialect) = self.one_of(&routes());
        let route = self.one_of(&of_dialect);
        let scene = Scene {
            house: &self.houses[0],
            serial: self.below(40) as u64,
            place: self.place(),
            founder: self.person(),
            guest: self.person(),
            own: None,
            credential: None,
            link: if self.links.is_empty() { "none".into() } else { self.one_of(&self.links) },
        };
        let route = (route.0.as_str(), route.1);
        let variant = self.one_of(calls::variants(route.0, route.1));
        let mut call = calls::of(dialect, route, &scene, variant).expect("every call is written down");
        self.rename(&mut call);
        if route.0 == "GET" && !call.path.contains('?') {
            call.path.push_str(self.one_of(&QUERIES));
        }
        if self.below(12) == 0 {
            return (call, None);
        }
        let who = self.below(PEOPLE);
        let [session, reading, key] = &self.credentials[who];
        match self.below(20) {
            0 => (call.bearer(reading), None),
            1 => (call.bearer(key), None),
            _ => (call.bearer(session), Some(who)),
        }
    }

    /// Puts another name in the place of the call's, where it has one.
    fn rename(&self, call: &mut Call) {
        let Ok(Value::Object(mut body)) = serde_json::from_slice(&call.body) else { return };
        for key in ["name", "organization_name", "organization", "full_name", "description"] {
            if let Some(name) = body.get_mut(key) {
                *name = json!(self.one_of(&NAMES));
            }
        }
        call.body = Value::from(body).to_string().into_bytes();
    }

    /// Sends it to both; answers what both told.
    ///
    /// # Errors
    /// With what each told, where that is not the same.
    async fn send(&self, call: &Call) -> Result<Answer, String> {
        let [one, two] = &self.houses;
        let (told, same) = (one.send(call.clone()).await, two.send(call.clone()).await);
        let (on_sqlite, on_postgres) = (shown(&told), shown(&same));
        if on_sqlite == on_postgres {
            return Ok(told);
        }
        let body = String::from_utf8_lossy(&call.body);
        Err(format!("{} {} {body}: {on_sqlite}\nis on PostgreSQL\n{on_postgres}", call.method, call.path))
    }

    /// What an engine tried again in the step before has taken randomness that the other has not: both begin anew.
    fn begin(&self, step: usize) {
        let step = u64::try_from(step).unwrap();
        self.houses.iter().for_each(|house| house.app.random().seek((step + 1) << 20));
    }

    /// Lets time pass for both: mostly little, seldom half a day.
    fn pass(&self) {
        let seconds = match self.below(200) {
            0..2 => 12 * 3600,
            2..80 => self.below(60) as u64,
            _ => 0,
        };
        self.houses.iter().for_each(|house| house.pass(Duration::from_secs(seconds)));
    }

    /// Takes the letters that wait, and keeps what their links carry.
    ///
    /// # Errors
    /// Where those of both are not the same.
    fn letters(&mut self) -> Result<(), String> {
        let [one, two] = self.houses.each_ref().map(House::letters);
        if format!("{one:?}") != format!("{two:?}") {
            return Err(format!("letters {one:?}\nare on PostgreSQL\n{two:?}"));
        }
        let nonces = one.iter().filter_map(|letter| letter.nonce.as_deref());
        self.links.extend(nonces.map(|nonce| self.houses[0].app.secrets.token(nonce)));
        let old = self.links.len().saturating_sub(8);
        self.links.drain(..old);
        Ok(())
    }

    /// Gives somebody whose session has ended another, and a key.
    fn renew(&mut self, who: usize) {
        let name = format!("person{who}");
        for house in &self.houses {
            let [session, _, key] = &mut self.credentials[who];
            (*session, *key) = (house.token(&name), house.api_key(&name));
        }
    }

    /// Every row of both, but for what is of one engine alone.
    fn expect_equal_rows(&self) {
        // The numbers' counters stand still on PostgreSQL, which has sequences; a migration's time is the machine's.
        let is_told =
            |row: &String| !["counters|", "schema_migrations|"].iter().any(|own| row.starts_with(own));
        let [one, two] = self.houses.each_ref().map(|house| {
            house.place.stored().everything().into_iter().filter(is_told).collect::<BTreeSet<String>>()
        });
        let alone = [&one - &two, &two - &one];
        assert_eq!(alone, [BTreeSet::new(), BTreeSet::new()]);
    }
}

/// The first 24 hex digits of a UUID.
fn short(uid: &str) -> String {
    uid.chars().filter(|c| *c != '-').take(24).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test may be told its seed")]
fn seed() -> u64 {
    std::env::var("GUILDHALL_SEED").map_or(1, |seed| seed.parse().expect("GUILDHALL_SEED is a number"))
}

/// One random history on both; answers how often which status came.
///
/// # Errors
/// At the first answer or letters that are not the same.
async fn history(pair: &mut Pair, requests: u64) -> Result<BTreeMap<u16, u64>, String> {
    let mut seen: BTreeMap<u16, u64> = BTreeMap::new();
    let mut sent = 0;
    for step in 0.. {
        if sent == requests {
            break;
        }
        let about = |what: String| format!("step {step}: {what}");
        pair.begin(step);
        pair.pass();
        let (call, who) = pair.call();
        // Hashing is slow, and the same on both.
        if call.body.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()) && pair.below(20) > 0 {
            continue;
        }
        let answer = pair.send(&call).await.map_err(about)?;
        *seen.entry(answer.status.as_u16()).or_default() += 1;
        sent += 1;
        if sent % 10_000 == 0 {
            println!("{sent} requests");
        }
        if let Some(who) = who
            && answer.status == 401
        {
            pair.renew(who);
        }
        if step % 20 == 0 {
            pair.letters().map_err(about)?;
        }
    }
    Ok(seen)
}

#[tokio::test]
async fn both_engines_answer_byte_for_byte_the_same() {
    let seed = seed();
    let Some(mut pair) = Pair::new(seed).await else { return };
    let requests = times(1_500, 100_000) as u64;
    let seen = history(&mut pair, requests).await;
    let seen = seen.unwrap_or_else(|different| panic!("GUILDHALL_SEED={seed}: {different}"));
    println!("{requests} requests of GUILDHALL_SEED={seed}: {seen:?}");
    for status in [200, 201, 204, 400, 401, 403, 404, 409] {
        assert!(seen.contains_key(&status), "{status} never came in {seen:?}");
    }
    pair.expect_equal_rows();
    counted(seen.values().sum::<u64>().try_into().unwrap(), "answers of both, byte for byte the same");
}

/// One letter that is another in one of the databases is found.
#[tokio::test]
async fn engines_that_differ_in_one_name_do_not_answer_the_same() {
    let Some(mut pair) = Pair::new(1).await else { return };
    pair.houses[1].place.stored().rows("UPDATE users SET name = 'Person0' WHERE username = 'person0'");
    let different = history(&mut pair, 1_500).await.unwrap_err();
    let (step, _) = different.split_once(':').unwrap();
    controlled(&format!("with one letter of one name changed on PostgreSQL, the answers differ at {step}"));
}
