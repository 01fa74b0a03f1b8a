//! Trusted outside issuers, against one that serves its keys over HTTP and signs as Firebase does.

#![allow(clippy::unwrap_used, reason = "a test that fails here has failed")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use guildhall::issuers::{Identity, IssuerConfig, IssuerError, Issuers};
use guildhall_domain::clock::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::tokens::Folder;

/// 2026-01-01T00:00:00Z in seconds.
const START: i64 = 1_767_225_600;
const ISSUER: &str = "https://securetoken.google.com/buildog-test";
const AUDIENCE: &str = "buildog-test";
const MINUTE: Duration = Duration::from_secs(60);

static FIRST: LazyLock<rsa::KeyPair> = LazyLock::new(|| rsa::KeyPair::generate(KeySize::Rsa2048).unwrap());
static SECOND: LazyLock<rsa::KeyPair> = LazyLock::new(|| rsa::KeyPair::generate(KeySize::Rsa2048).unwrap());

/// What the issuer's server answers with.
#[derive(Clone)]
pub(crate) enum Answer {
    Keys(Value),
    /// Status line, further header lines, body.
    Raw(String, String, String),
    /// It hangs up.
    Nothing,
}

/// An HTTP server on loopback that serves one key set and counts how often it is asked.
pub(crate) struct Server {
    pub(crate) url: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(answer));
        let asked = Arc::new(AtomicUsize::new(0));
        let (shared, count) = (Arc::clone(&answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let answer = shared.lock().unwrap().clone();
                serve(stream, &answer);
            }
        });
        Self { url, answer, asked }
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, answer: &Answer) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
    let (status, headers, body) = match answer {
        Answer::Keys(keys) => ("200 OK".to_owned(), String::new(), keys.to_string()),
        Answer::Raw(status, headers, body) => (status.clone(), headers.clone(), body.clone()),
        Answer::Nothing => return,
    };
    let length = body.len();
    // Whoever asks may hang up before the end.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa_jwk(kid: &str, key: &rsa::KeyPair) -> Value {
    let public = key.public_key();
    json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
        "n": base64(public.modulus().big_endian_without_leading_zero()),
        "e": base64(public.exponent().big_endian_without_leading_zero()),
    })
}

pub(crate) fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

fn keys(jwks: &[Value]) -> Answer {
    Answer::Keys(json!({ "keys": jwks }))
}

pub(crate) fn first() -> Answer {
    keys(&[rsa_jwk("first", &FIRST)])
}

fn compact(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", base64(signature))
}

fn rsa_sign(key: &rsa::KeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// A token as Firebase makes one.
pub(crate) fn token(claims: &Value) -> String {
    signed("first", &FIRST, claims)
}

fn signed(kid: &str, key: &rsa::KeyPair, claims: &Value) -> String {
    let header = json!({ "alg": "RS256", "kid": kid, "typ": "JWT" });
    compact(&header, claims, |message| rsa_sign(key, &RSA_PKCS1_SHA256, message))
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "auth_time": START, "iat": START, "exp": START + 3600,
        "user_id": "XkT0nVq2bYd1", "sub": "XkT0nVq2bYd1", "name": "Ada Lovelace",
        "email": "ada@example.com", "email_verified": true,
        "firebase": { "identities": { "email": ["ada@example.com"] }, "sign_in_provider": "password" },
    })
}

pub(crate) fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

pub(crate) fn config(jwks: &str) -> IssuerConfig {
    IssuerConfig {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        jwks: jwks.to_owned(),
        user_id_claim: "user_id".to_owned(),
        algorithms: vec!["RS256".to_owned()],
    }
}

fn clock() -> Clock {
    Clock::fixed(Timestamp(START * 1_000_000))
}

fn issuers(jwks: &str, clock: &Clock) -> Issuers {
    Issuers::new(vec![config(jwks)], clock.clone()).unwrap()
}

fn issuers_with(jwks: &str, algorithms: &[&str]) -> Issuers {
    let algorithms = algorithms.iter().map(|name| (*name).to_owned()).collect();
    Issuers::new(vec![IssuerConfig { algorithms, ..config(jwks) }], clock()).unwrap()
}

#[tokio::test]
async fn a_token_of_the_issuer_tells_who_it_is() {
    let server = Server::start(first());
    let issuers = issuers(&server.url, &clock());
    assert!(issuers.knows(ISSUER) && !issuers.knows("guildhall"));
    let ada = Identity {
        issuer: ISSUER.to_owned(),
        subject: Some("XkT0nVq2bYd1".to_owned()),
        email: Some("ada@example.com".to_owned()),
        name: Some("Ada Lovelace".to_owned()),
        expires_at: Timestamp((START + 3600) * 1_000_000),
    };
    for _ in 0..2 {
        assert_eq!(issuers.verify(&token(&claims())).await, Ok(ada.clone()));
    }
    let among_others = with("aud", json!(["another", AUDIENCE]));
    assert_eq!(issuers.verify(&token(&among_others)).await, Ok(ada));
    assert_eq!(server.asked(), 1, "the key set is remembered");
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused() {
    let server = Server::start(first());
    let issuers = issuers(&server.url, &clock());
    let wrong = [
        ("iss", json!("https://securetoken.google.com/another")),
        ("iss", json!([ISSUER])),
        ("aud", json!("another")),
        ("aud", json!([])),
        ("aud", json!(["another"])),
        ("aud", json!(1)),
        ("exp", json!((START + 3600).to_string())),
        ("exp", json!(true)),
        ("exp", json!(-1)),
        ("nbf", json!("now")),
        ("nbf", Value::Null),
    ];
    for (name, value) in wrong {
        let token = token(&with(name, value.clone()));
        assert_eq!(issuers.verify(&token).await, Err(IssuerError::Invalid), "{name}: {value}");
    }
    for name in ["iss", "aud", "exp"] {
        let token = token(&without(claims(), name));
        assert_eq!(issuers.verify(&token).await, Err(IssuerError::Invalid), "without {name}");
    }
    for wrong in ["", "a.b.c", "e30.e30.", &"a".repeat(20_000)] {
        assert_eq!(issuers.verify(wrong).await, Err(IssuerError::Invalid), "{wrong}");
    }
    let long = token(&with("picture", json!("a".repeat(16 * 1024))));
    assert_eq!(issuers.verify(&long).await, Err(IssuerError::Invalid));
}

#[tokio::test]
async fn times_have_five_seconds_of_leeway_and_are_looked_at_each_time() {
    let server = Server::start(first());
    let at = |name: &str, seconds: f64| token(&with(name, json!(START as f64 + seconds)));
    let issuers_ = issuers(&server.url, &clock());
    for (token, good) in [
        (at("exp", -4.0), true),
        (at("exp", -4.5), true),
        (at("exp", -5.0), false),
        (at("exp", -6.0), false),
        (at("nbf", -1.0), true),
        (at("nbf", 4.0), true),
        (at("nbf", 5.0), true),
        (at("nbf", 6.0), false),
        (at("exp", 1e12), true),
        (at("exp", 1e300), false),
        (at("nbf", 1e300), false),
    ] {
        assert_eq!(issuers_.verify(&token).await.is_ok(), good, "{token}");
    }

    let clock = clock();
    let issuers = issuers(&server.url, &clock);
    let short = at("exp", 10.0);
    issuers.verify(&short).await.unwrap();
    clock.advance(Duration::from_secs(15) - Duration::from_micros(1));
    issuers.verify(&short).await.unwrap();
    clock.advance(Duration::from_micros(1));
    assert_eq!(issuers.verify(&short).await, Err(IssuerError::Invalid));
    let early = at("nbf", 21.0);
    assert_eq!(issuers.verify(&early).await, Err(IssuerError::Invalid));
    clock.advance(Duration::from_secs(1));
    issuers.verify(&early).await.unwrap();
}

#[tokio::test]
async fn a_token_without_a_usable_user_id_has_no_subject() {
    let server = Server::start(first());
    let issuers = issuers(&server.url, &clock());
    let wrong = [
        json!(""),
        json!(17),
        Value::Null,
        json!(["a"]),
        json!("a\nb"),
        json!("a\u{0}"),
        json!("a".repeat(256)),
    ];
    for value in wrong {
        let identity = issuers.verify(&token(&with("user_id", value.clone()))).await.unwrap();
        assert_eq!(identity.subject, None, "{value}");
    }
    let identity = issuers.verify(&token(&without(claims(), "user_id"))).await.unwrap();
    assert_eq!(identity.subject, None, "`sub` is not asked instead");
    let longest = "a".repeat(255);
    let identity = issuers.verify(&token(&with("user_id", json!(longest)))).await.unwrap();
    assert_eq!(identity.subject, Some(longest));
}

#[tokio::test]
async fn an_address_counts_only_where_it_is_verified() {
    let server = Server::start(first());
    let issuers = issuers(&server.url, &clock());
    for value in [json!(false), json!("true"), json!(1), Value::Null] {
        let identity = issuers.verify(&token(&with("email_verified", value.clone()))).await.unwrap();
        assert_eq!(identity.email, None, "{value}");
    }
    let identity = issuers.verify(&token(&without(claims(), "email_verified"))).await.unwrap();
    assert_eq!(identity.email, None);
    let identity = issuers.verify(&token(&with("email", json!(["ada@example.com"])))).await.unwrap();
    assert_eq!(identity.email, None);
}

#[tokio::test]
async fn algorithms_are_those_allowed_and_fit_the_key() {
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = ec.public_key().as_ref();
    let ec_jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "ec", "x": base64(&point[1..33]), "y": base64(&point[33..]),
    });
    let ed = Ed25519KeyPair::generate().unwrap();
    let ed_jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": base64(ed.public_key()) });
    let any = without(rsa_jwk("any", &SECOND), "alg");
    let rsa = |encoding| move |message: &[u8]| rsa_sign(&SECOND, encoding, message);
    let ecdsa = |message: &[u8]| ec.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
    let edd = |message: &[u8]| ed.sign(message).as_ref().to_vec();
    let server = Server::start(keys(&[rsa_jwk("first", &FIRST), any, ec_jwk, ed_jwk]));
    let all = issuers_with(&server.url, &["RS256", "RS512", "PS256", "ES256", "EdDSA"]);
    let one = issuers_with(&server.url, &["RS256"]);
    let head = |alg: &str, kid: &str| json!({ "alg": alg, "kid": kid });
    let critical = json!({ "alg": "RS256", "kid": "any", "crit": ["b64"] });

    // (token, taken where all are allowed, taken where RS256 alone is)
    let cases = [
        (compact(&head("RS256", "any"), &claims(), rsa(&RSA_PKCS1_SHA256)), true, true),
        (compact(&head("RS512", "any"), &claims(), rsa(&RSA_PKCS1_SHA512)), true, false),
        (compact(&head("PS256", "any"), &claims(), rsa(&RSA_PSS_SHA256)), true, false),
        (compact(&head("ES256", "ec"), &claims(), ecdsa), true, false),
        (compact(&head("EdDSA", "ed"), &claims(), edd), true, false),
        // The key says it is for RS256.
        (
            compact(&head("RS512", "first"), &claims(), |m| rsa_sign(&FIRST, &RSA_PKCS1_SHA512, m)),
            false,
            false,
        ),
        // One algorithm's key under another's name.
        (compact(&head("RS256", "ec"), &claims(), ecdsa), false, false),
        (compact(&head("ES256", "any"), &claims(), rsa(&RSA_PKCS1_SHA256)), false, false),
        (compact(&head("RS256", "any"), &claims(), rsa(&RSA_PSS_SHA256)), false, false),
        (compact(&head("EdDSA", "ec"), &claims(), ecdsa), false, false),
        // What must be understood is not.
        (compact(&critical, &claims(), rsa(&RSA_PKCS1_SHA256)), false, false),
        // Another key of the set.
        (signed("first", &SECOND, &claims()), false, false),
    ];
    for (index, (token, by_all, by_one)) in cases.iter().enumerate() {
        assert_eq!(all.verify(token).await.is_ok(), *by_all, "case {index}");
        assert_eq!(one.verify(token).await.is_ok(), *by_one, "case {index}");
    }
}

#[tokio::test]
async fn no_signature_and_no_secret_made_of_a_public_key_will_do() {
    let server = Server::start(first());
    let issuers = issuers_with(&server.url, &["RS256", "ES256", "EdDSA"]);
    let public = FIRST.public_key();
    let der: PublicKeyX509Der<'_> = public.as_der().unwrap();
    let secrets = [der.as_ref().to_vec(), public.as_ref().to_vec(), Vec::new()];
    for algorithm in ["none", "None", "HS256", "HS512", "RS256", "rs256", ""] {
        let header = json!({ "alg": algorithm, "kid": "first", "typ": "JWT" });
        let unsigned = compact(&header, &claims(), |_| Vec::new());
        assert_eq!(issuers.verify(&unsigned).await, Err(IssuerError::Invalid), "{algorithm}");
        for secret in &secrets {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let token = compact(&header, &claims(), |message| hmac::sign(&key, message).as_ref().to_vec());
            assert_eq!(issuers.verify(&token).await, Err(IssuerError::Invalid), "{algorithm}");
        }
    }
    // The key comes from the issuer, not from the token.
    let mut header = json!({ "alg": "RS256", "kid": "first", "jwk": rsa_jwk("first", &SECOND) });
    header["jku"] = json!(server.url);
    let token = compact(&header, &claims(), |message| rsa_sign(&SECOND, &RSA_PKCS1_SHA256, message));
    assert_eq!(issuers.verify(&token).await, Err(IssuerError::Invalid));
    // Nothing of a good token can be changed, remembered or not.
    let good = self::token(&claims());
    issuers.verify(&good).await.unwrap();
    let mut parts: Vec<String> = good.split('.').map(str::to_owned).collect();
    parts[1] = base64(with("user_id", json!("somebody else")).to_string());
    assert_eq!(issuers.verify(&parts.join(".")).await, Err(IssuerError::Invalid));
}

#[tokio::test]
async fn without_a_kid_the_one_key_that_fits_is_used() {
    let header = json!({ "alg": "RS256" });
    let token = compact(&header, &claims(), |message| rsa_sign(&FIRST, &RSA_PKCS1_SHA256, message));
    let one = Server::start(first());
    issuers(&one.url, &clock()).verify(&token).await.unwrap();
    let two = Server::start(keys(&[rsa_jwk("first", &FIRST), rsa_jwk("second", &SECOND)]));
    assert_eq!(issuers(&two.url, &clock()).verify(&token).await, Err(IssuerError::Invalid));
}

#[tokio::test]
async fn a_new_key_is_fetched_at_once_and_unknown_ones_once_a_minute() {
    let server = Server::start(first());
    let clock = clock();
    let issuers = issuers(&server.url, &clock);
    let (old, new) = (token(&claims()), signed("second", &SECOND, &claims()));
    issuers.verify(&old).await.unwrap();
    server.answers(keys(&[rsa_jwk("second", &SECOND)]));
    issuers.verify(&new).await.unwrap();
    assert_eq!(server.asked(), 2);
    assert_eq!(issuers.verify(&old).await, Err(IssuerError::Invalid), "its key was withdrawn");

    for kid in 0..20 {
        let unknown = signed(&format!("unknown-{kid}"), &SECOND, &claims());
        assert_eq!(issuers.verify(&unknown).await, Err(IssuerError::Invalid));
    }
    assert_eq!(server.asked(), 2, "no more than once a minute");
    clock.advance(MINUTE);
    let unknown = signed("unknown", &SECOND, &claims());
    for _ in 0..2 {
        assert_eq!(issuers.verify(&unknown).await, Err(IssuerError::Invalid));
    }
    assert_eq!(server.asked(), 3);
    issuers.verify(&new).await.unwrap();
}

#[tokio::test]
async fn a_withdrawn_key_is_noticed_within_ten_minutes() {
    let server = Server::start(first());
    let clock = clock();
    let issuers = issuers(&server.url, &clock);
    let token = token(&claims());
    issuers.verify(&token).await.unwrap();
    server.answers(keys(&[]));
    clock.advance(10 * MINUTE - Duration::from_micros(1));
    issuers.verify(&token).await.unwrap();
    clock.advance(Duration::from_micros(1));
    assert_eq!(issuers.verify(&token).await, Err(IssuerError::Invalid));
    assert_eq!(server.asked(), 3, "at the start, when it was ten minutes old, and for the unknown key");
}

#[tokio::test]
async fn an_outage_is_bridged_for_a_day() {
    let server = Server::start(first());
    let clock = clock();
    let issuers = issuers(&server.url, &clock);
    let token = token(&with("exp", json!(START + 90 * 24 * 3600)));
    issuers.verify(&token).await.unwrap();
    server.answers(Answer::Nothing);
    clock.advance(10 * MINUTE);
    for _ in 0..5 {
        issuers.verify(&token).await.unwrap();
    }
    let asked = server.asked();
    clock.advance(MINUTE);
    issuers.verify(&token).await.unwrap();
    assert!(server.asked() > asked, "tried again after a minute");
    clock.advance(Duration::from_secs(24 * 3600) - 11 * MINUTE - Duration::from_micros(1));
    issuers.verify(&token).await.unwrap();
    clock.advance(Duration::from_micros(1));
    assert_eq!(issuers.verify(&token).await, Err(IssuerError::Unavailable));
    server.answers(first());
    clock.advance(MINUTE);
    issuers.verify(&token).await.unwrap();
}

#[tokio::test]
async fn without_keys_a_token_cannot_be_told_good_from_bad() {
    let raw =
        |status: &str, headers: &str, body: String| Answer::Raw(status.to_owned(), headers.to_owned(), body);
    let good = Server::start(first());
    let set = json!({ "keys": [rsa_jwk("first", &FIRST)] });
    let mut large = set.clone();
    large["padding"] = json!("a".repeat(64 * 1024));
    let answers = [
        Answer::Nothing,
        raw("500 Internal Server Error", "", set.to_string()),
        raw("404 Not Found", "", set.to_string()),
        raw("302 Found", &format!("location: {}\r\n", good.url), String::new()),
        raw("200 OK", "", large.to_string()),
        raw("200 OK", "", "<html>".to_owned()),
        raw("200 OK", "", "[]".to_owned()),
        raw("200 OK", "", r#"{"keys":{}}"#.to_owned()),
    ];
    for (index, answer) in answers.into_iter().enumerate() {
        let server = Server::start(answer);
        let clock = clock();
        let issuers = issuers(&server.url, &clock);
        for _ in 0..3 {
            let result = issuers.verify(&token(&claims())).await;
            assert_eq!(result, Err(IssuerError::Unavailable), "case {index}");
        }
        assert_eq!(server.asked(), 1, "case {index}: not asked again at once");
        // What is wrong without any key is told so.
        assert_eq!(issuers.verify("e30.e30.").await, Err(IssuerError::Invalid));
        server.answers(first());
        clock.advance(Duration::from_secs(5));
        issuers.verify(&token(&claims())).await.unwrap();
    }
    assert_eq!(good.asked(), 0, "no redirect is followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_ask_once() {
    let server = Server::start(first());
    let issuers = issuers(&server.url, &clock());
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let issuers = issuers.clone();
            tokio::spawn(async move { issuers.verify(&token(&claims())).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_end_the_fetch() {
    let server = Server::start(first());
    let issuers = issuers(&server.url, &clock());
    let token = token(&claims());
    // Begun, and given up at its first wait.
    let begun = tokio::time::timeout(Duration::ZERO, issuers.verify(&token)).await;
    assert!(begun.is_err());
    issuers.verify(&token).await.unwrap();
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_key_set_file_is_read_again_when_it_changes() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.join("keys.json");
    let set = |jwk: Value| json!({ "keys": [jwk] }).to_string();
    fs::write(&path, set(rsa_jwk("first", &FIRST))).unwrap();
    let issuers = issuers(path.to_str().unwrap(), &clock());
    let (old, new) = (token(&claims()), signed("second", &SECOND, &claims()));
    issuers.verify(&old).await.unwrap();
    assert_eq!(issuers.verify(&new).await, Err(IssuerError::Invalid));

    let other = folder.0.join("new.json");
    fs::write(&other, set(rsa_jwk("second", &SECOND))).unwrap();
    fs::rename(&other, &path).unwrap();
    issuers.verify(&new).await.unwrap();
    assert_eq!(issuers.verify(&old).await, Err(IssuerError::Invalid));

    // What cannot be read changes nothing.
    fs::write(&path, "half of").unwrap();
    issuers.verify(&new).await.unwrap();
    fs::remove_file(&path).unwrap();
    issuers.verify(&new).await.unwrap();
    fs::write(&path, set(rsa_jwk("first", &FIRST))).unwrap();
    issuers.verify(&old).await.unwrap();
}

#[test]
fn a_configuration_that_cannot_work_names_its_key() {
    let good = config("https://keys.example/jwks");
    let base = || good.clone();
    let algorithms = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cases = [
        ("issuer", IssuerConfig { issuer: String::new(), ..base() }),
        ("audience", IssuerConfig { audience: String::new(), ..base() }),
        ("jwks", IssuerConfig { jwks: String::new(), ..base() }),
        ("jwks", IssuerConfig { jwks: "ftp://keys.example/jwks".to_owned(), ..base() }),
        ("jwks", IssuerConfig { jwks: "https://".to_owned(), ..base() }),
        ("jwks", IssuerConfig { jwks: "/nowhere/keys.json".to_owned(), ..base() }),
        (
            "jwks",
            IssuerConfig { jwks: concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").to_owned(), ..base() },
        ),
        ("user_id_claim", IssuerConfig { user_id_claim: String::new(), ..base() }),
        ("algorithms", IssuerConfig { algorithms: algorithms(&[]), ..base() }),
        ("algorithms", IssuerConfig { algorithms: algorithms(&["none"]), ..base() }),
        ("algorithms", IssuerConfig { algorithms: algorithms(&["RS256", "HS256"]), ..base() }),
        ("algorithms", IssuerConfig { algorithms: algorithms(&["PS512"]), ..base() }),
    ];
    for (key, config) in cases {
        let other = IssuerConfig { issuer: "https://other.example".to_owned(), ..base() };
        let text = Issuers::new(vec![other, config], clock()).unwrap_err();
        assert!(text.starts_with(&format!("issuers[1].{key}: ")) && !text.contains('\n'), "{text}");
    }
    let text = Issuers::new(vec![base(), base()], clock()).unwrap_err();
    assert!(text.starts_with("issuers[1].issuer: "), "{text}");
    Issuers::new(vec![base()], clock()).unwrap();
    Issuers::new(Vec::new(), clock()).unwrap();
}

#[test]
fn what_the_configuration_leaves_out_has_its_usual_value() {
    let config: IssuerConfig =
        serde_json::from_value(json!({ "issuer": "i", "audience": "a", "jwks": "k" })).unwrap();
    assert_eq!((config.user_id_claim.as_str(), config.algorithms), ("sub", vec!["RS256".to_owned()]));
    let unknown = json!({ "issuer": "i", "audience": "a", "jwks": "k", "leeway": 5 });
    serde_json::from_value::<IssuerConfig>(unknown).unwrap_err();
}
