//! What nobody sends in good faith: every call of every dialect with broken paths, queries, credentials and bodies. Nothing
//! fails, and each answer is one that the description tells of, which the harness sees to.

use guildhall::describe::{JSON, MULTIPART, Operation, example};
use guildhall::router::dialects;
use guildhall_domain::authz::{Role, State};
use guildhall_domain::clock::Random;
use serde_json::{Value, json};

use crate::harness::{Call, House, Plan, call};

/// How often each call is made.
const TIMES: usize = 25;

/// What parsers trip over: nothing, signs that mean something somewhere, the ends of ranges, other scripts, no text at all.
const AWKWARD: [&str; 40] = [
    "",
    "0",
    "1",
    "-1",
    "+1",
    "01",
    "1.0",
    "1e3",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "null",
    "true",
    "NaN",
    " ",
    "\t",
    "\n",
    "\0",
    "\u{7f}",
    "a",
    "A@b.cd",
    "a@b@c.d",
    "@",
    "..",
    "/",
    "%",
    "%2",
    "%00",
    "'",
    "\"",
    "\\",
    "<x>",
    "é",
    "e\u{301}",
    "ﬁ",
    "\u{202e}",
    "東京",
    "😀",
    "00000000-0000-4000-8000-000000000000",
    "ffffffffffffffffffffffff",
];

/// Chance that a seed determines.
struct Dice(Random);

impl Dice {
    fn below(&self, count: usize) -> usize {
        let number = u64::from_le_bytes(self.0.bytes());
        usize::try_from(number % u64::try_from(count).unwrap()).unwrap()
    }

    fn one_in(&self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'t, T: ?Sized>(&self, of: &[&'t T]) -> &'t T {
        of[self.below(of.len())]
    }

    /// One to three awkward pieces.
    fn text(&self) -> String {
        (0..=self.below(3)).map(|_| self.pick(&AWKWARD)).collect()
    }

    /// `bytes` with some turned, cut off, or there twice.
    fn broken(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(4) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at),
                2 => bytes.extend_from_within(at..),
                _ => drop(bytes.splice(at..at, self.text().into_bytes())),
            }
        }
        bytes
    }

    fn value(&self) -> Value {
        match self.below(8) {
            0 => json!(null),
            1 => json!(true),
            2 => json!(self.below(3)),
            3 => json!(-1.5e300),
            4 => json!([self.text(), self.below(2)]),
            5 => json!({self.text(): self.text()}),
            6 => json!(self.text().repeat(3_000)),
            _ => json!(self.text()),
        }
    }

    /// The object with some of its values others, keys gone, and new ones.
    fn bent(&self, mut value: Value) -> Value {
        let Some(keys) = value.as_object_mut() else { return self.value() };
        let names: Vec<String> = keys.keys().cloned().collect();
        for name in names {
            match self.below(4) {
                0 => drop(keys.insert(name, self.value())),
                1 => drop(keys.shift_remove(&name)),
                _ => {}
            }
        }
        if self.one_in(3) {
            keys.insert(self.text(), self.value());
        }
        if self.one_in(10) { self.value() } else { value }
    }

    fn path(&self, operation: &Operation, route: &str) -> String {
        let mut path = example::path(operation, route).split('?').next().unwrap_or_default().to_owned();
        if self.one_in(2) {
            for parameter in operation.parameters.iter().filter(|parameter| parameter.place == "path") {
                let usual = example::value(&parameter.schema);
                let text = if self.one_in(8) { "%ff%fe".into() } else { encoded(&self.text()) };
                path = path.replace(&format!("/{}", usual.as_str().unwrap()), &format!("/{text}"));
            }
        }
        let pairs = (0..self.below(4)).map(|_| {
            const KEYS: [&str; 10] = [
                "page",
                "per_page",
                "limit",
                "offset",
                "search",
                "ordering",
                "archived",
                "permissions",
                "token",
                "",
            ];
            format!("{}={}", self.pick(&KEYS), encoded(&self.text()))
        });
        format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
    }

    /// A credential that counts, or something like one.
    fn credential(&self, call: Call, token: &str) -> Call {
        let scheme = self.pick(&["Bearer", "Token", "bearer", "Basic", ""]);
        let spoiled = String::from_utf8_lossy(&self.broken(token.into())).into_owned();
        let spoiled: String = spoiled.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        match self.below(8) {
            0 => call,
            1 => call.header("authorization", &format!("{scheme} {spoiled}")),
            2 => call.header("cookie", &format!("a=b; access_token_cookie={spoiled};;=;{spoiled}")),
            3 => call
                .header("cookie", &format!("access_token_cookie={token}"))
                .header("x-csrf-token", &spoiled),
            4 => call.bearer(token).header("cookie", &format!("access_token_cookie={token}")),
            _ => call.bearer(token),
        }
    }

    fn body(&self, call: Call, operation: &Operation) -> Call {
        let Some((kind, schema)) = operation.bodies.first() else { return call };
        let usual = example::value(schema);
        match self.below(10) {
            0 => call,
            1 => call.body(&format!("{kind}; charset=x"), &self.broken(usual.to_string().into())),
            2 => call.body(self.pick(&["text/plain", "application/", "multipart/form-data", ""]), b"{}"),
            3 => call.form(&[("usersId[0]", "1"), ("usersId[]", &self.text()), ("name", &self.text())]),
            _ if *kind == JSON => call.json(self.bent(usual)),
            _ => self.multipart(call, kind, usual),
        }
    }

    fn multipart(&self, call: Call, kind: &str, usual: Value) -> Call {
        let mut body = Vec::new();
        for (name, value) in self.bent(usual).as_object().into_iter().flatten() {
            let head =
                format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(head.as_bytes());
        }
        body.extend_from_slice(b"--edge--\r\n");
        let body = if self.one_in(2) { self.broken(body) } else { body };
        let kind = if kind == MULTIPART {
            self.pick(&["multipart/form-data; boundary=edge", "multipart/form-data; boundary="])
        } else {
            kind
        };
        call.body(kind, &body)
    }
}

/// Every byte in percent signs, so that all of it arrives.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn nothing_that_is_sent_breaks_anything() {
    let dice = Dice(Random::seeded(1));
    let house = House::with(Plan { in_memory: true, ..Plan::default() });
    for name in ["owner", "ada"] {
        house.user(name);
    }
    let mut understood = 0;
    for (dialect, routes) in dialects() {
        for (method, route, operation) in routes.listed() {
            let hashes = |(_, schema): &(_, Value)| schema.pointer("/properties/password").is_some();
            // Hashing is slow, and slower still after some failures.
            if operation.bodies.iter().any(hashes) {
                continue;
            }
            house.organization("Makers", "owner");
            house.member("makers", "ada", Role::Member, State::Active);
            for _ in 0..TIMES {
                let sent = call(method.as_str(), &dice.path(operation, route));
                let sent = dice.credential(sent, &house.token("owner"));
                let answer = house.send(dice.body(sent, operation)).await;
                let status = answer.status.as_u16();
                assert!(status < 500, "{dialect} {method} {route}: {status} {}", answer.text());
                understood += u32::from(status < 300);
            }
        }
    }
    assert!(understood > 100, "{understood} calls that were understood are too few to show anything");
}
