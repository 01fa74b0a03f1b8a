//! What holds of every text that is to be the address of a PostgreSQL database.

use std::fmt::Write as _;

use properties::proptest::{self, prelude::*};
use properties::{check, check_texts, texts};

use super::*;

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte))
        } else {
            write!(out, "%{byte:02X}").unwrap()
        }
        out
    })
}

/// The target as a URL, everything said in the query.
fn printed(target: &Target) -> String {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for host in &target.hosts {
        let (host, port) = match host {
            Host::Tcp(name, port) => (name.clone(), port.to_string()),
            Host::Unix(file) => {
                let file = file.to_str().unwrap();
                let (folder, port) = file.rsplit_once("/.s.PGSQL.").unwrap();
                (if folder.is_empty() { "/".into() } else { folder.into() }, port.into())
            }
        };
        hosts.push(encoded(&host));
        ports.push(port);
    }
    let mode = match target.ssl_mode {
        SslMode::Disable => "disable",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    };
    let mut url = format!(
        "postgres://?host={}&port={}&user={}&dbname={}&sslmode={mode}",
        hosts.join(","),
        ports.join(","),
        encoded(&target.user),
        encoded(&target.database),
    );
    if let Some(password) = &target.password {
        write!(url, "&password={}", encoded(password)).unwrap();
    }
    if let Some(file) = &target.ssl_root_cert {
        write!(url, "&sslrootcert={}", encoded(file.to_str().unwrap())).unwrap();
    }
    url
}

#[test]
fn addresses_of_postgresql() {
    const PIECES: &[&str] = &[
        "postgres://",
        "postgresql://",
        "postgres://ana@h/d",
        "postgres://ana:p@[::1]:6000,b/d?sslmode=require",
        "@",
        ":",
        "/",
        "?",
        "&",
        "=",
        ",",
        "[",
        "]",
        "%",
        "%2F",
        "%00",
        "%+4",
        "host=/run",
        "port=",
        "sslmode=verify-full",
        "sslrootcert=/ca",
        "user=ana",
    ];
    let corpus = include_str!("../../../../tests/corpus/postgresql.txt");
    check_texts("addresses of PostgreSQL", corpus, texts(PIECES), |text| {
        let Ok(target) = Target::parse(text) else { return };
        assert_eq!(Target::parse(&printed(&target)), Ok(target.clone()));
        assert!(!target.user.is_empty() && !target.hosts.is_empty());
        for host in &target.hosts {
            let Host::Tcp(name, port) = host else { continue };
            assert!(!name.is_empty() && *port > 0, "{host:?}");
            assert!(!name.contains(['[', ']']), "a port was taken for a part of the name: {name}");
        }
    });
}

#[test]
fn addresses_of_postgresql_from_their_parts() {
    let name = "[a-z][a-z0-9.-]{0,10}";
    let host = prop_oneof![
        name.prop_map(|name| (name.clone(), name)),
        any::<std::net::Ipv6Addr>().prop_map(|v6| (format!("[{v6}]"), v6.to_string()))
    ];
    let hosts = proptest::collection::vec((host, proptest::option::of(1..=u16::MAX)), 1..4);
    let text = texts(&["p@ss:word", "/", "?", "#", "%", "+", " "])
        .prop_filter("PostgreSQL has no NUL", |t| !t.is_empty() && !t.contains('\0'));
    let parts = (hosts, text, proptest::option::of(texts(&["p@ss", "%"])), "[a-z%@ é]{1,9}");
    check("addresses of PostgreSQL from their parts", parts, |(hosts, user, password, database)| {
        let password = password.map(|password| password.replace('\0', ""));
        let written: Vec<String> = hosts
            .iter()
            .map(|((written, _), port)| match port {
                Some(port) => format!("{written}:{port}"),
                None => written.clone(),
            })
            .collect();
        let login = match &password {
            Some(password) => format!("{}:{}", encoded(&user), encoded(password)),
            None => encoded(&user),
        };
        let url = format!("postgresql://{login}@{}/{}", written.join(","), encoded(&database));
        let target = Target::parse(&url).unwrap();
        let want: Vec<Host> =
            hosts.iter().map(|((_, name), port)| Host::Tcp(name.clone(), port.unwrap_or(5432))).collect();
        assert_eq!((&target.hosts, &target.user, &target.database), (&want, &user, &database));
        assert_eq!(target.password, password);
        assert_eq!(Target::parse(&printed(&target)), Ok(target));
    });
}

#[test]
fn addresses_of_postgresql_keep_the_password() {
    const PIECES: &[&str] = &["?", "&", "=", "/", ":", "@", "%", "#", ",", "%4", "h", "1"];
    check("passwords in addresses of PostgreSQL", (texts(PIECES), texts(PIECES)), |(before, behind)| {
        let password = format!("{before}hunter2{behind}");
        // Whoever forgets to encode it reads what is wrong in a log, and the password there not.
        for url in [
            format!("postgres://ana:{password}@h:5432/d"),
            format!("postgres://ana:{password}@h:x/d?sslmode=require"),
            format!("postgres://h/d?user=ana&password={password}"),
        ] {
            match Target::parse(&url) {
                Ok(target) => assert!(!format!("{target:?} {target}").contains("hunter2"), "{target}"),
                Err(why) => assert!(!why.contains("hunter2"), "{why}"),
            }
        }
    });
}
