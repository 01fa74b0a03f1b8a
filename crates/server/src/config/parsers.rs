//! What holds of every text that configures something.

use std::fmt::Write as _;

use properties::proptest::{self, prelude::*};
use properties::{check, check_texts, texts};

use super::*;

/// The configuration where one variable is set.
fn with(variable: &str, value: &str) -> Result<Config, Fault> {
    let environment = |name: &str| (name == variable).then(|| OsString::from(value));
    Config::load(&Options::default(), &environment, "./data")
}

#[test]
fn listening_addresses() {
    const PIECES: &[&str] = &["127.0.0.1", ":", "3010", "[::1]", "[", "]", "localhost", "0", "+", "%1"];
    let corpus = include_str!("../../tests/corpus/configured.txt");
    check_texts("listening addresses", corpus, texts(PIECES), |text| {
        let Ok(found) = address(text) else { return };
        assert_eq!(address(&found.to_string()), Ok(found));
        assert!(text.is_ascii() && !text.contains(char::is_whitespace));
    });
    check("listening addresses from their parts", any::<std::net::SocketAddr>(), |socket| {
        // A flow label has no form in text.
        let socket = SocketAddr::new(socket.ip(), socket.port());
        assert_eq!(address(&socket.to_string()), Ok(socket));
    });
}

#[test]
fn numbers_and_durations() {
    const PIECES: &[&str] = &["1", "0", "86400", "86401", "-", "+", ".", "s", "e", "1000000"];
    let corpus = include_str!("../../tests/corpus/configured.txt");
    check_texts("numbers and durations", corpus, texts(PIECES), |text| {
        // An empty variable, and one that holds NUL, cannot be set.
        if text.is_empty() {
            return;
        }
        let given = text.parse::<u64>().ok().filter(|seconds| (1..=DAY).contains(seconds));
        match with("GUILDHALL_BODY_TIMEOUT_SECONDS", text) {
            Ok(config) => assert_eq!(Some(config.connections.body_idle.as_secs()), given),
            Err(fault) => {
                assert_eq!(given, None, "{fault}");
                assert!(fault.to_string().starts_with("body_timeout_seconds: "), "{fault}");
                assert!(!fault.to_string().contains(['\n', '\r']), "one line");
            }
        }
    });
}

#[test]
fn public_urls() {
    const PIECES: &[&str] = &[
        "https://",
        "http://",
        "hall.example.org",
        "/",
        ":8443",
        "?",
        "#",
        "@",
        "user:pw@",
        "\\",
        "<",
        ">",
        "\"",
        "..",
        "%41",
        "%",
        "münchen.de",
        "[::1]",
        "127.1",
        "HTTPS://Hall.Example.ORG:443/a/",
    ];
    let corpus = include_str!("../../tests/corpus/urls.txt");
    check_texts("public URLs", corpus, texts(PIECES), |text| {
        let Ok(base) = web_address(text) else { return };
        assert_eq!(web_address(&base), Ok(base.clone()), "it is its own");
        assert!(!base.ends_with('/'));
        // What is made of it stands in a header between < and >, and in mail.
        assert!(base.chars().all(|c| c.is_ascii_graphic() && !"<>\"\\".contains(c)), "{base}");
        let (given, made) = (Url::parse(text).unwrap(), Url::parse(&format!("{base}/v1/x?y=z")).unwrap());
        assert_eq!(made.origin(), given.origin());
        assert_eq!(made.path(), format!("{}/v1/x", given.path().trim_end_matches('/')));
        assert!(made.as_str().starts_with(&base) && made.username().is_empty() && made.password().is_none());
    });
}

#[test]
fn origins() {
    const PIECES: &[&str] =
        &["https://", "http://", "app.example.org", ":8443", ":443", "/", "*", "null", ",", "É"];
    check_texts("origins", include_str!("../../tests/corpus/urls.txt"), texts(PIECES), |text| {
        let Ok(found) = origin(text) else { return };
        assert_eq!(found, text, "as a browser sends it, letter by letter");
        let url = Url::parse(&found).unwrap();
        assert!(matches!(url.scheme(), "http" | "https") && found.is_ascii() && !found.ends_with('/'));
        assert_eq!(url.origin().ascii_serialization(), found);
    });
}

#[test]
fn lists() {
    let ranges = proptest::collection::vec((any::<std::net::IpAddr>(), "[ \t]{0,2}"), 1..6);
    check("lists", ranges, |ranges| {
        let text: Vec<String> = ranges.iter().map(|(ip, space)| format!("{space}{ip}{space}")).collect();
        let config = with("GUILDHALL_TRUSTED_PROXIES", &text.join(",")).unwrap();
        assert!(ranges.iter().all(|(ip, _)| config.trusted_proxies.has(*ip)));
        assert!(with("GUILDHALL_TRUSTED_PROXIES", &format!("{},", text.join(","))).is_err());
    });
}

#[test]
fn databases() {
    const PIECES: &[&str] =
        &["sqlite:", "sqlite://", "/", "hall.db", "postgres://", "ana@h/d", "mysql://", ":", "?"];
    let corpus = include_str!("../../tests/corpus/configured.txt");
    check_texts("databases", corpus, texts(PIECES), |text| match database(text) {
        Ok(Database::Sqlite(file)) => {
            let path = file.to_str().unwrap();
            assert!(!path.is_empty() && text.ends_with(path));
            assert_eq!(database(&format!("sqlite://{path}")), Ok(Database::Sqlite(file)));
        }
        Ok(Database::Postgres(_)) => assert!(text.starts_with("postgres")),
        Err(why) => assert!(!why.is_empty()),
    });
}

#[test]
fn secrets() {
    const PIECES: &[&str] = &["0", "f", "F", "00", "hunter2", " ", "g", "+"];
    let corpus = include_str!("../../tests/corpus/configured.txt");
    check_texts("secrets", corpus, texts(PIECES), |text| {
        let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match secret(text) {
            Ok(secret) => assert!(is_hex && secret.text() == text.to_ascii_lowercase()),
            Err(why) => assert!(!is_hex && !why.contains("hunter2"), "{why}"),
        }
    });
    check("secrets from their bytes", any::<[u8; 32]>(), |bytes| {
        let text = guildhall_domain::clock::hex(&bytes);
        assert_eq!(secret(&text.to_uppercase()).unwrap().text(), text);
    });
}

/// No variable's value that may hold a password is told of when it is wrong.
#[test]
fn faults() {
    const PIECES: &[&str] = &["postgres://", "sqlite", ":", "@", "/", "?", "=", "&", "%", "\n"];
    check("faults of secrets", (texts(PIECES), texts(PIECES)), |(before, behind)| {
        let text = format!("{before}hunter2{behind}").replace('\0', "");
        for variable in ["GUILDHALL_SECRET", "GUILDHALL_PUBLIC_URL"] {
            let Err(fault) = with(variable, &text) else { continue };
            assert!(!fault.to_string().contains("hunter2"), "{fault}");
        }
        let Err(fault) = with("GUILDHALL_DATABASE", &format!("postgres://ana:{text}@h/d")) else { return };
        assert!(!fault.to_string().contains("hunter2") && !fault.to_string().contains('\n'), "{fault}");
    });
}

#[test]
fn files() {
    const PIECES: &[&str] = &[
        "listen",
        "public_url",
        "public-url",
        " = ",
        "\"",
        "'",
        "\n",
        "#",
        "[issuers]",
        "[[issuers]]",
        "{",
        "}",
        "[",
        "]",
        "\\u",
        "é",
        "token_issuer = \"x\"\n",
        "1",
        "=",
    ];
    let corpus = include_str!("../../tests/corpus/configuration_files.txt");
    check_texts("configuration files", corpus, texts(PIECES), |text| match read_file(text) {
        Ok(file) => assert_eq!(file.len(), text.parse::<Table>().unwrap().len()),
        Err(why) => assert!(!why.is_empty()),
    });
    let keys = proptest::sample::subsequence(FURTHER.to_vec(), 0..FURTHER.len());
    check("configuration files from their parts", (keys, texts(&["\"", "\\", "#", "="])), |(keys, value)| {
        let mut text = String::new();
        for (place, key) in keys.iter().enumerate() {
            let key = if place % 2 == 0 { key.replace('_', "-") } else { (*key).to_owned() };
            // JSON writes a text as TOML does, but for one character that TOML wants escaped.
            let written = serde_json::json!(value).to_string().replace('\u{7f}', "\\u007f");
            writeln!(text, "{key} = {written}").unwrap();
        }
        let file = read_file(&text).unwrap();
        assert_eq!(file.len(), keys.len());
        assert!(keys.iter().all(|key| file[key].as_str() == Some(&value)));
        if let Some(key) = keys.first() {
            let again = format!("{text}{key} = 1\n");
            assert!(read_file(&again).is_err(), "a key stands there once, however it is spelled");
        }
    });
}

/// A shell reads the word that was meant.
#[test]
fn words_of_a_shell() {
    let words = texts(&["'", "\"", "$HOME", "`id`", "\\", " ", "*", "!", "~", "-n", ";"]);
    check("words of a shell", words, |word| {
        let word = word.replace('\0', "");
        let line = format!("printf %s {}", quoted(&word));
        let shell = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), word);
    });
}
