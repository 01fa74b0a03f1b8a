//! A secret is told once, to whom it is for, and is found nowhere else.

use std::path::Path;
use std::time::{Duration, Instant};

use guildhall_domain::clock::{Random, hex};
use serde_json::{Value, json};

use crate::Result;
use crate::client::{Answer, Call, Client};
use crate::item::{Control, Outcome};
use crate::place::Place;
use crate::process::{self, Server};

/// Every route but those that would end the session or the organization that the rest needs.
const ROUTES: [(&str, &str); 53] = [
    ("POST", "/users/Student/create"),
    ("POST", "/user/login"),
    ("POST", "/organizations/create"),
    ("GET", "/organizations/1"),
    ("PUT", "/organizations/1"),
    ("PUT", "/organizations/1/invite"),
    ("DELETE", "/organizations/1/remove"),
    ("PUT", "/organizations/1/membership"),
    ("DELETE", "/organizations/1/membership"),
    ("POST", "/organizations/1/events/create"),
    ("GET", "/events/1"),
    ("PUT", "/events/1"),
    ("PUT", "/events/1/rsvp"),
    ("DELETE", "/events/1/rsvp"),
    ("DELETE", "/events/1"),
    ("GET", "/api/organizations"),
    ("POST", "/api/organizations"),
    ("POST", "/api/users"),
    ("POST", "/api/v1/account/register/"),
    ("POST", "/api/v1/account/login/"),
    ("GET", "/api/v1/account/"),
    ("PATCH", "/api/v1/account/"),
    ("GET", "/api/v1/organizations/"),
    ("POST", "/api/v1/organizations/"),
    ("GET", "/api/v1/organizations/kept/"),
    ("PATCH", "/api/v1/organizations/kept/"),
    ("PUT", "/api/v1/organizations/kept/"),
    ("GET", "/api/v1/organizations/kept/users/"),
    ("POST", "/api/v1/organizations/kept/users/"),
    ("GET", "/api/v1/organizations/kept/users/owner/"),
    ("PATCH", "/api/v1/organizations/kept/users/owner/"),
    ("POST", "/api/account/register"),
    ("GET", "/api/account/verify"),
    ("POST", "/api/account/verify"),
    ("POST", "/api/account/login"),
    ("POST", "/api/account/forgotpassword"),
    ("POST", "/api/account/changepassword"),
    ("GET", "/api/user"),
    ("GET", "/api/user/orgs"),
    ("GET", "/api/user/apikey"),
    ("POST", "/api/org"),
    ("GET", "/api/org"),
    ("GET", "/api/org/invite"),
    ("PUT", "/api/org/1"),
    ("GET", "/api/org/1/users"),
    ("POST", "/api/org/1/invitelink"),
    ("POST", "/api/org/1/users/remove"),
    ("PUT", "/api/org/1/admin/grant"),
    ("PUT", "/api/org/1/admin/resetpassword"),
    ("POST", "/oauth/token"),
    ("GET", "/v1/user/me"),
    ("GET", "/v1/user/me/organizations"),
    ("PUT", "/account/verify"),
];

/// How every secret begins that is brought, so that where this is not, none of them is.
const MARK: &str = "Mark";

/// Keys under which a body can hold a secret.
const KEYS: [&str; 6] =
    ["password", "confirmation", "new_password", "token", "client_secret", "access_token"];

/// A server that is told secrets, and all that it says.
struct Listener {
    client: Client,
    random: Random,
    /// Secrets that clients made up.
    brought: Vec<String>,
    /// Secrets that the server gave, and the answer that gave each.
    given: Vec<(String, usize)>,
    answers: Vec<Answer>,
}

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    let data = place.path("data");
    let token = process::user(&place.program, &data, "owner")?;
    process::json(
        &place.program,
        &data,
        &["org", "create", "--name", "Kept", "--owner", "owner@example.com"],
    )?;
    let mut serving = process::serving(&place.program, &data);
    serving.env("GUILDHALL_LOG", "trace");
    let server = Server::start(&mut serving, place.path("server.log"))?;
    let mut listener = Listener {
        client: Client::new(&server.address),
        random: place.random("secrets"),
        brought: Vec::new(),
        given: vec![(token.clone(), usize::MAX)],
        answers: Vec::new(),
    };
    for _ in 0..place.number(2, 20) {
        for (method, path) in ROUTES {
            listener.tell(method, path, &token)?;
        }
    }
    let open = listener.live(&token)?;
    let letters = letters(&data)?;
    let backup = place.path("backup");
    process::json(&place.program, &data, &["backup", backup.to_str().ok_or("no text")?])?;
    // The log is written in the background.
    std::thread::sleep(Duration::from_millis(500));
    let places = [
        ("the log", server.logged()?.into_bytes()),
        ("the database", std::fs::read(data.join("guildhall.db"))?),
        ("its log", std::fs::read(data.join("guildhall.db-wal"))?),
        ("the backup", std::fs::read(&backup)?),
        ("letters", letters.clone().into_bytes()),
    ];
    let (mailed, own) = (mailed_tokens(&letters), own_secrets(&data)?);
    let mut wrong = listener.repeated();
    wrong.extend(listener.kept(&places, &mailed));
    wrong.extend(listener.owns(&places, &own));
    let found: Vec<&str> =
        places.iter().filter(|(_, bytes)| contains(bytes, &open)).map(|(name, _)| *name).collect();
    let id =
        listener.answers.last().and_then(|answer| answer.header("x-request-id")).unwrap_or("none").to_owned();
    let is_logged = contains(&places[0].1, &id);
    let number = listener.brought.len() + listener.given.len() + mailed.len() + own.len();
    Ok(Outcome::Tried {
        how: format!(
            "marked passwords, tokens and client secrets in the body, query, header and cookie of {} routes, and all that the server \
             gives; then every answer, the log at trace, every database page, the backup and the letters searched, also in hex",
            ROUTES.len()
        ),
        count: format!("{number} secrets in {} answers and {} places", listener.answers.len(), places.len()),
        violations: wrong,
        control: Control {
            failed: found.len() >= 3 && is_logged,
            told: format!(
                "what is no secret is found by the same search: a marked address in {}, a request's id in the log",
                found.join(", ")
            ),
        },
    })
}

/// A place that is searched, and what is in it.
type Searched<'a> = (&'a str, Vec<u8>);

impl Listener {
    /// Where a secret is that should not be kept there.
    fn kept(&self, places: &[Searched<'_>], mailed: &[String]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, bytes) in places {
            let brought = if contains(bytes, MARK) { self.brought.as_slice() } else { &[] };
            let given = self.given.iter().map(|(secret, _)| secret);
            for secret in brought.iter().chain(given).chain(mailed) {
                // An invitation's token is both answered and mailed.
                let may_be = *name == "letters" && mailed.contains(secret);
                if !may_be && contains(bytes, secret) {
                    wrong.push(format!("{name}: {}…", &secret[..12]));
                }
            }
        }
        wrong
    }

    /// Where a key of the server's own is.
    fn owns(&self, places: &[Searched<'_>], own: &[String]) -> Vec<String> {
        let said = self.answers.iter().map(|answer| ("an answer", answer.body.as_slice()));
        let places = places.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        let all = said.chain(places).filter(|(_, bytes)| own.iter().any(|secret| contains(bytes, secret)));
        all.map(|(name, _)| format!("{name}: a key of the server's own")).collect()
    }

    fn mark(&mut self) -> String {
        let mark = format!("{MARK}{}", self.random.hex::<14>());
        self.brought.push(mark.clone());
        mark
    }

    fn ask(&mut self, call: &Call) -> Result<Answer> {
        let answer = self.client.call(call)?;
        self.answers.push(answer.clone());
        Ok(answer)
    }

    /// Brings marked secrets to a route in every way there is.
    fn tell(&mut self, method: &'static str, path: &str, token: &str) -> Result<()> {
        let mut body: serde_json::Map<String, Value> =
            KEYS.iter().map(|key| ((*key).to_owned(), Value::from(self.mark()))).collect();
        let email = format!("{}@example.com", self.random.hex::<4>());
        for (key, value) in [("email", &email), ("username", &email)] {
            body.insert(key.into(), value.as_str().into());
        }
        let body = Value::from(body);
        self.ask(&Call::new(method, path).by(token).json(&body))?;
        self.ask(&Call::new(method, path).json(&body))?;
        let mark = self.mark();
        self.ask(&Call::new(method, path).by(&mark))?;
        let (query, cookie) = (self.mark(), self.mark());
        let mut call = Call::new(method, format!("{path}?token={query}&access_token={query}"));
        call.headers.push_str(&format!("Cookie: access_token_cookie={cookie}\r\nX-CSRF-TOKEN: {cookie}\r\n"));
        self.ask(&call)?;
        Ok(())
    }

    /// Goes through what gives secrets; answers an address that is none.
    fn live(&mut self, token: &str) -> Result<String> {
        let name = format!("open{}", self.random.hex::<8>());
        let email = format!("{name}@example.com");
        let password = self.mark();
        let body = json!({"username": name, "email": email, "password": password});
        self.ask(&Call::new("POST", "/api/v1/account/register/").json(&body))?;
        self.ask(
            &Call::new("POST", "/api/account/forgotpassword").json(&json!({"email": "owner@example.com"})),
        )?;
        let invite = Call::new("POST", "/api/org/1/invitelink").by(token).json(&json!({"email": email}));
        let link = self.ask(&invite)?.json()["confirmUrl"].as_str().unwrap_or_default().to_owned();
        self.given.push((link.rsplit('=').next().unwrap_or_default().to_owned(), self.answers.len() - 1));
        for (path, key) in [("/api/user/apikey", "apiKey"), ("/api/org/switch/1", "token")] {
            let answer = self.ask(&Call::new("POST", path).by(token))?.json();
            let secret = answer[key].as_str().ok_or_else(|| format!("no {key}"))?.to_owned();
            self.given.push((secret, self.answers.len() - 1));
        }
        for path in ["/v1/user/me", "/api/user", "/api/user/apikey", "/api/org", "/api/org/1/users"] {
            self.ask(&Call::get(path).by(token))?;
        }
        Ok(email)
    }

    /// Answers that hold a secret other than the one that they give. An invitation's is mailed as well as answered.
    fn repeated(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (place, answer) in self.answers.iter().enumerate() {
            let text = [answer.head.as_bytes(), &answer.body].concat();
            let given = self.given.iter().filter(|(_, by)| *by != place).map(|(secret, _)| secret);
            let brought = if contains(&text, MARK) { self.brought.as_slice() } else { &[] };
            for secret in brought.iter().chain(given) {
                if contains(&text, secret) {
                    wrong.push(format!("an answer with {}: {}…", answer.status, &secret[..12]));
                }
            }
        }
        wrong
    }
}

/// Whether `secret` is in `bytes`, as it is or in hex.
fn contains(bytes: &[u8], secret: &str) -> bool {
    let has = |sought: &[u8]| bytes.windows(sought.len()).any(|part| part == sought);
    has(secret.as_bytes()) || has(hex(secret.as_bytes()).as_bytes())
}

/// All letters, when no more come.
fn letters(data: &Path) -> Result<String> {
    let begun = Instant::now();
    let (mut text, mut count) = (String::new(), 0);
    loop {
        let files: Vec<_> = std::fs::read_dir(data.join("mail"))?.collect::<std::io::Result<_>>()?;
        if files.len() == count && count > 0 || begun.elapsed() > Duration::from_secs(20) {
            return Ok(text);
        }
        count = files.len();
        text.clear();
        for file in files {
            text.push_str(&std::fs::read_to_string(file.path())?);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The tokens of the links in letters.
fn mailed_tokens(letters: &str) -> Vec<String> {
    let links = letters.split("token=").skip(1);
    let mut tokens: Vec<String> =
        links.map(|rest| rest.chars().take_while(char::is_ascii_hexdigit).collect()).collect();
    tokens.retain(|token: &String| token.len() > 12);
    tokens.sort();
    tokens.dedup();
    tokens
}

/// What opens the server's own keys, and how one that is not sealed begins.
fn own_secrets(data: &Path) -> Result<Vec<String>> {
    let seal = std::fs::read_to_string(data.join("secret"))?;
    Ok(vec![seal.trim().to_owned(), "BEGIN PRIVATE KEY".to_owned()])
}
