//! Session tokens and their keys.

#![allow(clippy::unwrap_used, reason = "a test that fails here has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use guildhall::keyring::{self, KeysError};
use guildhall::sealing::{Seal, Secret};
use guildhall::tokens::{Claims, Keys, Names, OVERLAP, TokenError, issuer_of, rotate};
use guildhall_domain::authz::Actor;
use guildhall_domain::clock::{Clock, Random, Timestamp};
use guildhall_domain::db::{Db, Settings};
use guildhall_domain::keys::{self, Purpose};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z in seconds.
const START: i64 = 1_767_225_600;
const WEEK: i64 = 7 * 24 * 60 * 60;

/// A folder of one test, gone at its end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// The name of a folder that is not there yet.
    pub(crate) fn new() -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("it-{}", Random::system().hex::<8>())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn clock() -> Clock {
    Clock::fixed(Timestamp(START * 1_000_000))
}

/// One process on a database, which does with its keys what `App` does with them.
struct Node {
    db: Db,
    keys: Keys,
}

impl Node {
    fn sign(&self, claims: &Claims) -> Result<String, KeysError> {
        self.keys.refresh(&self.db)?;
        self.keys.sign(claims)
    }

    fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        match self.keys.verify(token) {
            Err(TokenError::UnknownKey) => {}
            verified => return verified,
        }
        self.keys.refresh(&self.db).unwrap();
        self.keys.verify(token)
    }

    fn jwks(&self) -> Value {
        self.keys.refresh(&self.db).unwrap();
        self.keys.jwks()
    }

    fn rotate(&self) -> String {
        rotate(&self.db, &seal()).unwrap()
    }

    fn stored(&self) -> Vec<keys::Key> {
        keys::all(&self.db, &Actor::system(), Purpose::Signing).unwrap()
    }

    /// A token of any header and claims, signed with the newest key.
    fn forge(&self, change: impl FnOnce(&mut Header, &mut Value)) -> String {
        let stored = self.stored().pop().unwrap();
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(stored.id.clone());
        let mut body = serde_json::to_value(claims()).unwrap();
        change(&mut header, &mut body);
        let key = EncodingKey::from_ec_der(&seal().open(&stored.id, &stored.value).unwrap());
        jsonwebtoken::encode(&header, &body, &key).unwrap()
    }
}

fn seal() -> Seal {
    Seal::new(Secret::parse(&"5e".repeat(32)))
}

fn open(folder: &Folder, clock: &Clock) -> Node {
    open_as(folder, clock, Names::default())
}

fn open_as(folder: &Folder, clock: &Clock, names: Names) -> Node {
    fs::create_dir_all(&folder.0).unwrap();
    let settings = Settings { clock: clock.clone(), ..Settings::default() };
    let db = Db::sqlite(&folder.0.join("guildhall.db"), settings).unwrap();
    keyring::prepare(&db, &seal()).unwrap();
    let keys = Keys::open(&db, seal(), names).unwrap();
    Node { db, keys }
}

fn claims() -> Claims {
    Claims {
        iss: "guildhall".to_owned(),
        aud: "guildhall".to_owned(),
        sub: "0b7c6a52-6a3f-4a54-9f0e-1f2d3c4b5a69".to_owned(),
        sid: "a-session".to_owned(),
        iat: START,
        exp: START + WEEK,
        user_id: "0b7c6a52-6a3f-4a54-9f0e-1f2d3c4b5a69".to_owned(),
        csrf: "a-secret".to_owned(),
        org_id: None,
    }
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn refused(keys: &Node, token: &str) {
    let verified = keys.verify(token);
    assert!(matches!(verified, Err(TokenError::Invalid | TokenError::UnknownKey)), "{token}: {verified:?}");
}

#[test]
fn a_token_says_what_was_signed_and_no_more() {
    let (folder, clock) = (Folder::new(), clock());
    let keys = open(&folder, &clock);
    let token = keys.sign(&claims()).unwrap();
    assert_eq!(*keys.verify(&token).unwrap(), claims());
    // Once more, as it is remembered now.
    assert_eq!(*keys.verify(&token).unwrap(), claims());
    let header = part(&token, 0);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("JWT"), &json!("ES256")));
    assert_eq!(header["kid"], keys.jwks()["keys"][0]["kid"]);
    assert_eq!(part(&token, 1).get("org_id"), None);

    let of_organization = Claims { org_id: Some(7), ..claims() };
    let token = keys.sign(&of_organization).unwrap();
    assert_eq!(part(&token, 1)["org_id"], 7);
    assert_eq!(keys.verify(&token).unwrap().org_id, Some(7));
    let shown = format!("{of_organization:?} {:?}", keys.keys);
    assert!(!shown.contains("a-secret") && !shown.contains("a-session"), "{shown}");
}

#[test]
fn a_token_with_any_bit_flipped_is_refused() {
    let (folder, clock) = (Folder::new(), clock());
    let keys = open(&folder, &clock);
    let token = keys.sign(&claims()).unwrap();
    keys.verify(&token).unwrap();
    for index in 0..token.len() {
        // The highest bit makes it no text, which the type refuses.
        for bit in 0..7 {
            let mut bytes = token.clone().into_bytes();
            bytes[index] ^= 1 << bit;
            refused(&keys, &String::from_utf8(bytes).unwrap());
        }
    }
    // The last character carries four bits that count for nothing: no other spelling of the same bytes is taken.
    let (rest, last) = token.split_at(token.len() - 1);
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        if last != other.to_string() {
            refused(&keys, &format!("{rest}{other}"));
        }
    }
    for spelling in [format!("{token}="), format!(" {token}"), format!("{token}\n"), format!("{token}.")] {
        refused(&keys, &spelling);
    }
    keys.verify(&token).unwrap();
}

#[test]
fn a_token_expires_to_the_microsecond() {
    let (folder, clock) = (Folder::new(), clock());
    let keys = open(&folder, &clock);
    let token = keys.sign(&claims()).unwrap();
    keys.verify(&token).unwrap();
    clock.advance(Duration::from_secs(WEEK as u64) - Duration::from_micros(1));
    keys.verify(&token).unwrap();
    open(&folder, &clock).verify(&token).unwrap();
    clock.advance(Duration::from_micros(1));
    assert_eq!(keys.verify(&token), Err(TokenError::Expired), "as remembered");
    assert_eq!(open(&folder, &clock).verify(&token), Err(TokenError::Expired), "as new");
}

#[test]
fn only_this_servers_own_claims_and_algorithm_are_taken() {
    let (folder, clock) = (Folder::new(), clock());
    let keys = open(&folder, &clock);
    keys.verify(&keys.forge(|_, _| {})).unwrap();
    for name in ["iss", "aud", "exp", "sub", "sid", "user_id", "csrf"] {
        refused(&keys, &keys.forge(|_, body| drop(body.as_object_mut().unwrap().remove(name))));
        refused(&keys, &keys.forge(|_, body| body[name] = Value::Null));
    }
    refused(&keys, &keys.forge(|_, body| body["iss"] = json!("another")));
    refused(&keys, &keys.forge(|_, body| body["aud"] = json!("another")));
    refused(&keys, &keys.forge(|_, body| body["exp"] = json!("2099")));
    refused(&keys, &keys.forge(|header, _| header.kid = None));
    refused(&keys, &keys.forge(|header, _| header.kid = Some("0123456789abcdef".to_owned())));
    refused(&keys, &keys.forge(|header, _| header.kid = Some("../../etc/passwd".to_owned())));
    refused(&keys, &keys.forge(|_, body| body["csrf"] = json!("a".repeat(4096))));

    // Unsigned, and with the public key as the secret of an HMAC.
    let jwk = &keys.jwks()["keys"][0];
    let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims()).unwrap());
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    for (algorithm, secret) in [("none", None), ("HS256", Some(&point)), ("ES384", Some(&point))] {
        let header = json!({ "typ": "JWT", "alg": algorithm, "kid": jwk["kid"] });
        let message = format!("{}.{body}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signature = secret.map_or(String::new(), |secret| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()))
        });
        refused(&keys, &format!("{message}.{signature}"));
    }
}

#[test]
fn a_key_that_the_token_brings_along_is_not_used() {
    let (ours, theirs, clock) = (Folder::new(), Folder::new(), clock());
    let (keys, stranger) = (open(&ours, &clock), open(&theirs, &clock));
    let set: JwkSet = serde_json::from_value(stranger.jwks()).unwrap();
    let kid = keys.jwks()["keys"][0]["kid"].as_str().unwrap().to_owned();
    let forged = stranger.forge(|header, _| {
        header.kid = Some(kid);
        header.jwk = Some(set.keys[0].clone());
        header.jku = Some("http://127.0.0.1:1/jwks".to_owned());
    });
    refused(&keys, &forged);
    refused(&keys, &stranger.sign(&claims()).unwrap());
}

#[test]
fn a_rotation_is_in_force_at_once_in_every_process() {
    let (folder, clock) = (Folder::new(), clock());
    let (one, two) = (open(&folder, &clock), open(&folder, &clock));
    let before = one.sign(&claims()).unwrap();
    two.verify(&before).unwrap();

    let kid = two.rotate();
    let after = one.sign(&claims()).unwrap();
    assert_eq!(part(&after, 0)["kid"], kid.as_str(), "the next signature is the new key's");
    assert_eq!(*two.verify(&after).unwrap(), claims(), "the next verification knows it");
    assert_eq!(part(&two.sign(&claims()).unwrap(), 0)["kid"], kid.as_str());
    two.verify(&before).unwrap();
    for keys in [&one, &two, &open(&folder, &clock)] {
        assert_eq!(keys.jwks()["keys"].as_array().unwrap().len(), 2);
    }
    // Again and again in one instant: each is newer than the last.
    for _ in 0..5 {
        let kid = two.rotate();
        assert_eq!(part(&one.sign(&claims()).unwrap(), 0)["kid"], kid.as_str());
    }
}

#[test]
fn an_old_key_verifies_for_eight_days_and_is_deleted_then() {
    let (folder, clock) = (Folder::new(), clock());
    let keys = open(&folder, &clock);
    let token = keys.sign(&Claims { exp: START + 10 * WEEK, ..claims() }).unwrap();
    let first = keys.stored();
    keys.rotate();
    keys.sign(&claims()).unwrap();
    keys.verify(&token).unwrap();

    clock.advance(OVERLAP - Duration::from_micros(1));
    keys.verify(&token).unwrap();
    assert_eq!(keys.jwks()["keys"].as_array().unwrap().len(), 2);
    clock.advance(Duration::from_micros(2));
    refused(&keys, &token);
    refused(&open(&folder, &clock), &token);
    assert_eq!(keys.jwks()["keys"].as_array().unwrap().len(), 1);

    keys.rotate();
    let left = keys.stored();
    assert_eq!(left.len(), 2);
    assert!(!left.iter().any(|key| key.id == first[0].id));
    keys.verify(&keys.sign(&Claims { exp: START + 10 * WEEK, ..claims() }).unwrap()).unwrap();
}

#[test]
fn processes_that_start_at_once_agree() {
    let (folder, clock) = (Folder::new(), clock());
    let together = Barrier::new(8);
    let all: Vec<Node> = thread::scope(|scope| {
        let start = || {
            together.wait();
            open(&folder, &clock)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let tokens: Vec<String> = all.iter().map(|keys| keys.sign(&claims()).unwrap()).collect();
    for keys in &all {
        for token in &tokens {
            assert_eq!(part(token, 0)["kid"], part(&tokens[0], 0)["kid"]);
            keys.verify(token).unwrap();
        }
        assert_eq!(keys.jwks(), all[0].jwks());
    }
}

#[test]
fn sessions_outlive_the_process() {
    let (folder, clock) = (Folder::new(), clock());
    let token = open(&folder, &clock).sign(&claims()).unwrap();
    let again = open(&folder, &clock);
    again.verify(&token).unwrap();
    assert_eq!(again.stored().len(), 1, "no second key");
    let names = Names { issuer: "another".to_owned(), ..Names::default() };
    refused(&open_as(&folder, &clock, names), &token);
}

#[test]
fn a_database_without_keys_or_with_damaged_ones_signs_nothing() {
    let (folder, clock) = (Folder::new(), clock());
    let keys = open(&folder, &clock);
    let token = keys.sign(&claims()).unwrap();
    let stored = keys.stored().remove(0);
    let other = seal().close(&stored.id, b"no key", &Random::system()).unwrap();
    keys::rewrite(&keys.db, &Actor::system(), &stored, other).unwrap();
    let error = keys.sign(&claims()).unwrap_err();
    assert!(error.to_string().contains(&stored.id), "{error}");
    keys::forget(&keys.db, &Actor::system()).unwrap();
    keys.verify(&token).expect("what is held stays until it is looked again");
    assert!(matches!(keys.sign(&claims()), Err(KeysError::Missing)));
    refused(&keys, &token);
}

#[test]
fn the_published_key_set_verifies_by_itself() {
    let (folder, clock) = (Folder::new(), clock());
    let keys = open(&folder, &clock);
    keys.rotate();
    let token = keys.sign(&claims()).unwrap();
    let published = keys.jwks();
    for key in published["keys"].as_array().unwrap() {
        let names: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["kty", "crv", "x", "y", "kid", "use", "alg"], "nothing private");
        assert_eq!(
            (&key["kty"], &key["crv"], &key["use"], &key["alg"]),
            (&json!("EC"), &json!("P-256"), &json!("sig"), &json!("ES256"))
        );
    }
    let set: JwkSet = serde_json::from_value(published).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["guildhall"]);
    validation.validate_exp = false;
    let data = jsonwebtoken::decode::<Claims>(&token, &key, &validation).unwrap();
    assert_eq!(data.claims, claims());
}

#[test]
fn the_issuer_of_an_unverified_token_is_found_or_nothing_is() {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let token = |payload: &str| format!("e30.{}.c2ln", part(payload));
    assert_eq!(issuer_of(&token(r#"{"iss":"https://a.example"}"#)).as_deref(), Some("https://a.example"));
    for wrong in
        [r"{}", r#"{"iss":null}"#, r#"{"iss":["a"]}"#, r#"{"iss":1}"#, r#"{"iss":"a","iss":"b"}"#, "x"]
    {
        assert_eq!(issuer_of(&token(wrong)), None, "{wrong}");
    }
    let payload = part(r#"{"iss":"a"}"#);
    for wrong in ["", ".", "..", "a.b.c", &payload, &format!("e30.{payload}"), &format!("e30.{payload}.a.b")]
    {
        assert_eq!(issuer_of(wrong), None, "{wrong}");
    }
    assert_eq!(issuer_of(&format!("e30.{payload}.{}", "a".repeat(16 * 1024))), None);
}
