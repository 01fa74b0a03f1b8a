//! Configuration: which source counts, and how a fault is told.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use guildhall::client::Proxies;
use guildhall::config::{Config, Database, Fault, Options};

use crate::harness::Folder;
use crate::process::{guildhall, run};

fn load(options: &Options, variables: &[(&str, &str)]) -> Result<Config, Fault> {
    let variables: HashMap<String, OsString> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    Config::load(options, &|name| variables.get(name).cloned(), "./guildhall-data")
}

fn file(folder: &Folder, text: &str) -> String {
    let path = folder.0.join("guildhall.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// How a value reads once it is loaded.
type Read = fn(&Config) -> String;

/// How an option is set.
type Set = fn(&mut Options, String);

/// Each key with an option: three values for its three sources, how the option is set and how the value reads.
const LAYERED: [(&str, [&str; 3], Set, Read); 9] = [
    (
        "listen",
        ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"],
        |o, v| o.listen = Some(v),
        |c| c.listen.to_string(),
    ),
    ("data", ["/a", "/b", "/c"], |o, v| o.data = Some(v), |c| c.data.display().to_string()),
    (
        "database",
        ["sqlite:/a.db", "sqlite:/b.db", "sqlite:/c.db"],
        |o, v| o.database = Some(v),
        |c| {
            let Database::Sqlite(path) = &c.database else { return String::new() };
            format!("sqlite:{}", path.display())
        },
    ),
    (
        "public-url",
        ["https://a.example/x", "http://b.example", "https://c.example"],
        |o, v| o.public_url = Some(v),
        |c| c.public_url.clone().unwrap(),
    ),
    ("mail", ["dir:/a", "smtp://b", "smtps://c"], |o, v| o.mail = Some(v), |c| c.mail.clone()),
    ("media", ["dir:/a", "s3://b", "s3://c/d"], |o, v| o.media = Some(v), |c| c.media.clone()),
    (
        "metrics-listen",
        ["[::1]:1", "127.0.0.1:2", "127.0.0.1:3"],
        |o, v| o.metrics_listen = Some(v),
        |c| c.metrics_listen.unwrap().to_string(),
    ),
    ("log", ["warn", "debug", "error"], |o, v| o.log = Some(v), |c| c.log.clone()),
    (
        "limits",
        ["off", "on", "off"],
        |o, v| o.limits = Some(v),
        |c| if c.limits { "on".into() } else { "off".into() },
    ),
];

#[test]
fn option_beats_environment_beats_file() {
    let folder = Folder::new();
    for (key, [in_option, in_environment, in_file], set, read) in LAYERED {
        let variable = format!("GUILDHALL_{}", key.to_uppercase().replace('-', "_"));
        for spelling in [key.to_owned(), key.replace('-', "_")] {
            let path = file(&folder, &format!("{spelling} = \"{in_file}\""));
            let options = Options { config: Some(path.clone()), ..Options::default() };
            assert_eq!(read(&load(&options, &[]).unwrap()), in_file, "{spelling}");
            let variables = [(variable.as_str(), in_environment)];
            assert_eq!(read(&load(&options, &variables).unwrap()), in_environment, "{key}");
            let mut options = options;
            set(&mut options, in_option.to_owned());
            assert_eq!(read(&load(&options, &variables).unwrap()), in_option, "{key}");
            // The file itself can be named in the environment; an empty variable is none.
            let variables = [("GUILDHALL_CONFIG", path.as_str()), (variable.as_str(), "")];
            assert_eq!(read(&load(&Options::default(), &variables).unwrap()), in_file, "{key}");
        }
    }
}

#[test]
fn defaults_are_those_of_the_manual() {
    let config = load(&Options::default(), &[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:3010");
    assert_eq!(config.data, PathBuf::from("./guildhall-data"));
    assert_eq!(config.database, Database::Sqlite("./guildhall-data/guildhall.db".into()));
    assert_eq!(
        (config.mail.as_str(), config.media.as_str()),
        ("dir:./guildhall-data/mail", "dir:./guildhall-data/media")
    );
    assert_eq!((config.log.as_str(), config.limits, config.invitations_per_day), ("info", true, 500));
    assert!(config.trusted_proxies == Proxies::default());
    assert_eq!((config.connections.connections, config.connections.connections_per_address), (10_000, 1_000));
    assert_eq!(config.inactive_after, Duration::from_secs(90 * 24 * 3600));
    assert!(config.public_url.is_none() && config.metrics_listen.is_none() && config.mail_from.is_none());
    assert!(config.issuers.is_empty() && config.cors_origins.is_empty() && config.oauth_clients.is_empty());
    assert_eq!(config.public_url_at(config.listen).unwrap(), "http://127.0.0.1:3010");
}

fn proxies(ranges: &[&str]) -> Proxies {
    Proxies::new(ranges.iter().map(|range| range.parse().unwrap()).collect())
}

#[test]
fn further_keys_stand_in_the_file_and_mostly_in_the_environment() {
    let folder = Folder::new();
    let text = r#"
        mail_from = "Hall <hall@example.org>"
        return_to = "https://app.example.org/welcome?x=1"
        cors_origins = ["https://app.example.org", "http://localhost:5173"]
        token_issuer = "hall"
        token_audience = "apps"
        inactive_after_days = 30
        invitations_per_day = 7
        trusted_proxies = ["10.0.0.0/8", "::1"]
        connections = 100
        connections_per_address = 10
        header_timeout_seconds = 1
        body_timeout_seconds = 2
        keep_alive_timeout_seconds = 3
        write_timeout_seconds = 4
        [oauth_clients]
        app = "secret"
        [[issuers]]
        issuer = "https://issuer.example"
        audience = "hall"
        jwks = "/keys.json"
    "#;
    let options = Options { config: Some(file(&folder, text)), ..Options::default() };
    let config = load(&options, &[]).unwrap();
    assert_eq!(config.mail_from.as_deref(), Some("Hall <hall@example.org>"));
    assert_eq!(config.return_to.as_deref(), Some("https://app.example.org/welcome?x=1"));
    assert_eq!(config.cors_origins, ["https://app.example.org", "http://localhost:5173"]);
    assert_eq!((config.names.issuer.as_str(), config.names.audience.as_str()), ("hall", "apps"));
    assert_eq!(config.inactive_after, Duration::from_secs(30 * 24 * 3600));
    assert_eq!(config.invitations_per_day, 7);
    assert!(config.trusted_proxies == proxies(&["10.0.0.0/8", "::1"]));
    let limits = config.connections;
    let times = [limits.header, limits.body_idle, limits.keep_alive_idle, limits.write_idle, limits.drain];
    assert_eq!(limits.connections_per_address, 10);
    assert_eq!((limits.connections, times.map(|time| time.as_secs())), (100, [1, 2, 3, 4, 10]));
    assert_eq!(config.oauth_clients["app"], "secret");
    assert_eq!(config.issuers[0].user_id_claim, "sub");

    let variables = [
        ("GUILDHALL_INACTIVE_AFTER_DAYS", "31"),
        ("GUILDHALL_CORS_ORIGINS", "https://a.example, https://b.example"),
        ("GUILDHALL_LIMITS", "off"),
        ("GUILDHALL_TRUSTED_PROXIES", "192.0.2.1, 2001:db8::/32"),
    ];
    let config = load(&options, &variables).unwrap();
    assert_eq!(config.inactive_after, Duration::from_secs(31 * 24 * 3600));
    assert_eq!(config.cors_origins, ["https://a.example", "https://b.example"]);
    assert!(!config.limits);
    assert!(config.trusted_proxies == proxies(&["192.0.2.1", "2001:db8::/32"]));
}

#[test]
fn a_slash_at_the_end_of_the_public_url_is_dropped() {
    for (given, kept) in [
        ("https://hall.example/", "https://hall.example"),
        ("http://x:1/guild/hall//", "http://x:1/guild/hall"),
    ] {
        let options = Options { public_url: Some(given.into()), ..Options::default() };
        assert_eq!(load(&options, &[]).unwrap().public_url.as_deref(), Some(kept));
    }
}

/// A line of a file, and what is told about it.
const FAULTS: [(&str, &str); 39] = [
    ("listen = \"3010\"", "listen: \"3010\" is not an address and port such as 127.0.0.1:3010"),
    ("listen = true", "listen: not a text or number"),
    ("data = \"\"", "data: must not be empty"),
    ("secret = \"hunter2\"", "secret: not 64 hex digits (make one with: openssl rand -hex 32)"),
    ("database = \"mysql://u:p@h\"", "database: expected sqlite:PATH or postgres://USER@HOST/NAME"),
    ("database = \"mysql:\"", "database: expected sqlite:PATH or postgres://USER@HOST/NAME"),
    ("database = \"postgres://:hush@h/d\"", "database: names no user: expected postgres://USER@HOST/NAME"),
    ("database = \"postgres://u:hush@h/d?ssl=1\"", "database: one of the parameters is not known"),
    ("database_connections = 0", "database_connections: \"0\" is not a whole number from 1 to 1000"),
    ("oauth_clients = { app = \"\" }", "oauth_clients.app: must not be empty"),
    ("database = \"sqlite:\"", "database: expected sqlite:PATH or postgres://USER@HOST/NAME"),
    ("public-url = \"hall.example\"", "public-url: not an http:// or https:// URL"),
    ("public_url = \"ftp://hall.example\"", "public-url: not an http:// or https:// URL"),
    ("public_url = \"https://u:p@hall.example\"", "public-url: not an http:// or https:// URL"),
    ("public_url = \"https://hall.example/?x=1\"", "public-url: nothing may follow the path"),
    ("metrics-listen = \"on\"", "metrics-listen: \"on\" is not an address and port such as 127.0.0.1:3010"),
    ("limits = \"maybe\"", "limits: \"maybe\" is neither on nor off"),
    ("limits = false", "limits: not a text or number"),
    ("log = \"\"", "log: must not be empty"),
    ("mail_from = \"nobody\"", "mail_from: not a sender such as Guildhall <hall@example.org>"),
    ("return_to = \"javascript:alert(1)\"", "return_to: not an http:// or https:// URL"),
    ("token_issuer = \"\"", "token_issuer: must not be empty"),
    (
        "cors_origins = [\"https://app.example/\"]",
        "cors_origins: \"https://app.example/\" is not an origin such as https://app.example.org",
    ),
    ("cors_origins = [\"*\"]", "cors_origins: \"*\" is not an origin such as https://app.example.org"),
    ("cors_origins = [1]", "cors_origins: invalid type: integer `1`, expected a string"),
    (
        "trusted_proxies = [\"10.0.0.1\", \"10.0.0.1/8\"]",
        "trusted_proxies: \"10.0.0.1/8\" is not an address or range such as 10.0.0.0/8",
    ),
    ("connections_per_address = 0", "connections_per_address: \"0\" is not a whole number from 1 to 1000000"),
    ("writes_per_commit = 0", "writes_per_commit: \"0\" is not a whole number from 1 to 10000"),
    ("inactive_after_days = 0", "inactive_after_days: \"0\" is not a whole number from 1 to 36500"),
    ("inactive_after_days = 1.5", "inactive_after_days: not a text or number"),
    ("invitations_per_day = -1", "invitations_per_day: \"-1\" is not a whole number from 0 to 1000000000"),
    ("connections = 0", "connections: \"0\" is not a whole number from 1 to 1000000"),
    ("header_timeout_seconds = \"x\"", "header_timeout_seconds: \"x\" is not a whole number from 1 to 86400"),
    ("oauth_clients = \"app\"", "oauth_clients: invalid type: string \"app\", expected a map"),
    ("[[issuers]]\nissuer = \"i\"", "issuers: missing field `audience`"),
    (
        "[[issuers]]\nissuer = \"guildhall\"\naudience = \"a\"\njwks = \"f\"",
        "issuers[0].issuer: \"guildhall\" is this server's own name, see token_issuer",
    ),
    ("secure = 1", "secure: there is no such key"),
    ("public-url = \"http://a\"\npublic_url = \"http://a\"", "public-url: given twice"),
    ("listen = 'x", "config: line 1: invalid literal string, expected `'`"),
];

#[test]
fn a_fault_is_one_line_that_names_the_key_and_the_file() {
    let folder = Folder::new();
    for (text, why) in FAULTS {
        let path = file(&folder, text);
        let options = Options { config: Some(path.clone()), ..Options::default() };
        let fault = load(&options, &[]).err().unwrap_or_else(|| panic!("{text} is taken"));
        assert_eq!(fault.to_string(), format!("{why} (from {path})"));
    }
}

#[test]
fn the_program_tells_a_fault_in_one_line_and_exits_with_2() {
    let folder = Folder::new();
    let data = folder.0.join("data");
    let data = data.to_str().unwrap();
    let serve = |options: &[&str]| run(&[&["--data", data], options].concat());
    serve(&["--listen", "x"])
        .failed(2, "listen: \"x\" is not an address and port such as 127.0.0.1:3010 (from --listen)");
    serve(&["serve", "--limits", "2"]).failed(2, "limits: \"2\" is neither on nor off (from --limits)");
    serve(&["--config", "/nowhere.toml"])
        .failed(2, "config: /nowhere.toml: No such file or directory (os error 2) (from --config)");
    serve(&["--config", ""]).failed(2, "config: must not be empty (from --config)");
    serve(&["--listen", "0.0.0.0:0"]).failed(
        2,
        "public-url: must be given where listen (0.0.0.0:0) is not a loopback address, \
         for example --public-url https://hall.example.org",
    );
    serve(&["--log", "loud=7"]).failed(
        2,
        "log: \"loud=7\" is no log filter: error parsing level filter: expected one of \"off\", \"error\", \
         \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
    );
    serve(&["--log", "debgu"]).failed(
        2,
        "log: \"debgu\" is no level (off, error, warn, info, debug, trace); for a module write guildhall=debug",
    );
    assert!(!folder.0.join("data").exists(), "nothing is made where the configuration is at fault");

    let listen = ["--listen", "127.0.0.1:0"];
    let told =
        |options: &[&str], code, line: &str| serve(&[&listen[..], options].concat()).failed(code, line);
    for url in ["pop3://x", "foo", "bad:"] {
        told(
            &["--log", "off", "--mail", url],
            2,
            "mail: expected dir:PATH, smtp://…, smtps://… or smtp+plain://… (from --mail)",
        );
    }
    let expected = "media: expected dir:PATH or s3://bucket/prefix (from --media)";
    told(&["--log", "off", "--media", "ftp://x"], 2, expected);
    let no_folder = "database: the folder /nowhere/at does not exist";
    told(&["--log", "off", "--database", "sqlite:/nowhere/at/x.db"], 2, no_folder);
    told(&["--bogus"], 2, "unexpected argument '--bogus' found (see guildhall --help)");
    let issuers = file(&folder, "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\njwks = \"/nowhere.json\"");
    let done = serve(&[&listen[..], &["--log", "off", "--config", &issuers]].concat());
    assert_eq!((done.code, done.err.lines().count()), (2, 1), "{done:?}");
    assert!(done.err.starts_with("guildhall: issuers[0].jwks: "), "{done:?}");

    let mut command = guildhall(&["--data", data]);
    let done: crate::process::Done = command.env("GUILDHALL_LISTEN", "x").output().unwrap().into();
    done.failed(2, "listen: \"x\" is not an address and port such as 127.0.0.1:3010 (from GUILDHALL_LISTEN)");
}

#[test]
fn the_options_that_say_where_the_data_is_can_be_typed_again() {
    let given = |value: &str| Some(value.to_owned());
    let options = Options {
        data: given("/srv/it's here"),
        database: given("sqlite:/srv/a.db"),
        listen: given("127.0.0.1:1"),
        ..Options::default()
    };
    assert_eq!(options.whereabouts(), r" --data '/srv/it'\''s here' --database sqlite:/srv/a.db");
    assert_eq!(Options::default().whereabouts(), "");
    assert_eq!(Options { config: given(""), ..Options::default() }.whereabouts(), " --config ''");
}

#[test]
fn help_tells_every_option_its_variable_and_its_default() {
    let done = run(&["--help"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    for (key, ..) in LAYERED {
        assert!(done.out.contains(&format!("--{key} ")), "{key}");
        let variable = format!("[env: GUILDHALL_{}] [default: ", key.to_uppercase().replace('-', "_"));
        assert!(done.out.contains(&variable), "{key}");
    }
}
