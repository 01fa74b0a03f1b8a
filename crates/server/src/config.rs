//! How the program is set up: an option beats the environment, that beats the configuration file, that beats the default.
//!
//! Every key but the lists and tables of the file can be given in all three places: the option `--public-url`, the
//! variable `GUILDHALL_PUBLIC_URL` and the file's `public-url` are one key. In the file `-` and `_` are the same. This is
//! the one module that reads the environment.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use guildhall_domain::db::Target;
use reqwest::Url;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::client::Proxies;
use crate::http::web_url;
use crate::issuers::IssuerConfig;
use crate::listen::Limits;
use crate::mail::{self, check_from, one_line};
use crate::media;
use crate::sealing::Secret;
use crate::tokens::Names;

const DAY: u64 = 24 * 3600;

/// The options that every command takes; each is a key of the configuration. Read by [`Config::load`], not by the parser
/// of the command line, so that all sources are checked alike.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Configuration (option, then environment, then file)")]
pub struct Options {
    /// TOML file with these keys and further ones [env: GUILDHALL_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<String>,
    /// Folder of database, secret, pictures and mail [env: GUILDHALL_DATA] [default: ./guildhall-data]
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<String>,
    /// sqlite:PATH or postgres://USER@HOST/NAME [env: GUILDHALL_DATABASE] [default: guildhall.db in the data folder]
    #[arg(long, value_name = "URL", global = true)]
    pub database: Option<String>,
    /// Address to serve on; port 0 for any [env: GUILDHALL_LISTEN] [default: 127.0.0.1:3010]
    #[arg(long, value_name = "ADDR", global = true)]
    pub listen: Option<String>,
    /// Under which people reach the server [env: GUILDHALL_PUBLIC_URL] [default: http:// and the address]
    #[arg(long, value_name = "URL", global = true)]
    pub public_url: Option<String>,
    /// dir:PATH, smtp://, smtps:// or smtp+plain:// [env: GUILDHALL_MAIL] [default: mail in the data folder]
    #[arg(long, value_name = "URL", global = true)]
    pub mail: Option<String>,
    /// dir:PATH or s3://bucket/prefix [env: GUILDHALL_MEDIA] [default: media in the data folder]
    #[arg(long, value_name = "URL", global = true)]
    pub media: Option<String>,
    /// Address for Prometheus, at /metrics [env: GUILDHALL_METRICS_LISTEN] [default: off]
    #[arg(long, value_name = "ADDR", global = true)]
    pub metrics_listen: Option<String>,
    /// What is logged, such as info or warn,guildhall=debug [env: GUILDHALL_LOG] [default: info]
    #[arg(long, value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// on or off: the limits on how often [env: GUILDHALL_LIMITS] [default: on]
    #[arg(long, value_name = "on|off", global = true)]
    pub limits: Option<String>,
}

impl Options {
    fn get(&self, key: &str) -> Option<&String> {
        match key {
            "config" => self.config.as_ref(),
            "data" => self.data.as_ref(),
            "database" => self.database.as_ref(),
            "listen" => self.listen.as_ref(),
            "public-url" => self.public_url.as_ref(),
            "mail" => self.mail.as_ref(),
            "media" => self.media.as_ref(),
            "metrics-listen" => self.metrics_listen.as_ref(),
            "log" => self.log.as_ref(),
            "limits" => self.limits.as_ref(),
            _ => None,
        }
    }

    /// The options that say where the data is, as a shell takes them, a space before each: what another command needs to
    /// work on the same. In the place of a URL that may hold a password stands its beginning.
    #[must_use]
    pub fn whereabouts(&self) -> String {
        let shown = |key, value: &String| match value.split_once("://") {
            Some((scheme, _)) if key == "database" && scheme.starts_with("postgres") => {
                format!(" --database {scheme}://…")
            }
            _ => format!(" --{key} {}", quoted(value)),
        };
        let given = ["config", "data", "database"].into_iter();
        given.filter_map(|key| self.get(key).map(|value| shown(key, value))).collect()
    }
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The keys that have an option.
const OPTIONS: [&str; 9] =
    ["data", "database", "listen", "public-url", "mail", "media", "metrics-listen", "log", "limits"];

/// The keys that have none: `GUILDHALL_` and the key in the environment, and the file.
const FURTHER: [&str; 17] = [
    "secret",
    "database_connections",
    "writes_per_commit",
    "mail_from",
    "return_to",
    "cors_origins",
    "token_issuer",
    "token_audience",
    "inactive_after_days",
    "invitations_per_day",
    "trusted_proxies",
    "connections",
    "connections_per_address",
    "header_timeout_seconds",
    "body_timeout_seconds",
    "keep_alive_timeout_seconds",
    "write_timeout_seconds",
];

/// The keys that only the file has, because they are lists of tables or hold secrets.
const OF_THE_FILE: [&str; 2] = ["issuers", "oauth_clients"];

/// All of the configuration, checked as far as it can be without doing anything.
pub struct Config {
    /// Where to serve; port 0 for any.
    pub listen: SocketAddr,
    /// The folder for all that is kept.
    pub data: PathBuf,
    /// Where the database is.
    pub database: Database,
    /// What the keys in the database are sealed with; nothing for the file in the data folder.
    pub secret: Option<Secret>,
    /// How many connections to PostgreSQL there may be.
    pub database_connections: usize,
    /// How many writes share one commit, at the most, on SQLite.
    pub writes_per_commit: usize,
    /// Under which the server is reached, without a slash at the end; nothing for the address it got.
    pub public_url: Option<String>,
    /// Where mail goes, for [`crate::mail::Transport::open`].
    pub mail: String,
    /// The sender of mail; nothing for [`crate::mail::default_from`].
    pub mail_from: Option<String>,
    /// Where pictures are kept, for [`crate::media::Media::open`].
    pub media: String,
    /// Where to serve metrics, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// What is logged, for [`crate::observe::init`].
    pub log: String,
    /// What a connection may hold.
    pub connections: Limits,
    /// A member who was not seen for so long is inactive.
    pub inactive_after: Duration,
    /// Whether the limits on how often hold.
    pub limits: bool,
    /// How many invitations an organization may send a day, where they do.
    pub invitations_per_day: i64,
    /// Who is believed about whom they speak for.
    pub trusted_proxies: Proxies,
    /// Where a person goes on after a page has done its work.
    pub return_to: Option<String>,
    /// Origins whose pages may call this server from a browser.
    pub cors_origins: Vec<String>,
    /// Whose tokens sign somebody in besides this server's own.
    pub issuers: Vec<IssuerConfig>,
    /// OAuth clients and their secrets.
    pub oauth_clients: HashMap<String, String>,
    /// What this server's own tokens say of issuer and audience.
    pub names: Names,
}

/// Which database engine, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// This file.
    Sqlite(PathBuf),
    /// There, with who signs in; shown without the password.
    Postgres(Target),
}

/// What is wrong with the configuration: one line that names the key. It never shows a value that may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    /// `why` the value of `key` cannot be used, found out when it was to be used.
    #[must_use]
    pub fn new(key: &str, why: impl fmt::Display) -> Self {
        Self(one_line(&format!("{key}: {why}")))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// The variable of that name in the environment of this process.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the module that may")]
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The variables of this process that begin with `GUILDHALL_` and are none of the keys', nor for tests: most likely misspelled.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the module that may")]
pub fn unknown_variables() -> Vec<String> {
    let known: Vec<String> = OPTIONS.into_iter().chain(FURTHER).chain(["config"]).map(variable).collect();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_meant_for_us =
        |name: &String| name.starts_with("GUILDHALL_") && !name.starts_with("GUILDHALL_TEST_");
    names.filter(|name| is_meant_for_us(name) && !known.contains(name)).collect()
}

/// The variable of that key.
fn variable(key: &str) -> String {
    format!("GUILDHALL_{}", key.to_ascii_uppercase().replace('-', "_"))
}

impl Config {
    /// Puts the sources together and checks every value; `data` is the data folder where none is configured.
    ///
    /// # Errors
    /// The first [`Fault`], in no particular order.
    pub fn load(
        options: &Options,
        environment: &dyn Fn(&str) -> Option<OsString>,
        data: &str,
    ) -> Result<Self, Fault> {
        let layers = Layers::read(options, environment)?;
        let listen = layers.parsed("listen", address)?.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 3010)));
        let data = layers.parsed("data", filled)?.map_or_else(|| PathBuf::from(data), PathBuf::from);
        let database = layers.parsed("database", database)?;
        let in_data = |name: &str| format!("dir:{}", data.join(name).display());
        let invitations = layers.number("invitations_per_day", 0..=1_000_000_000)?.unwrap_or(500);
        let names = layers.names()?;
        let database_connections = layers.number("database_connections", 1..=1000)?;
        let writes_per_commit = layers.number("writes_per_commit", 1..=10_000)?.unwrap_or(256);
        Ok(Self {
            listen,
            database: database.unwrap_or_else(|| Database::Sqlite(data.join("guildhall.db"))),
            secret: layers.parsed("secret", secret)?,
            database_connections: database_connections
                .map_or_else(usual_connections, |most| usize::try_from(most).unwrap_or(usize::MAX)),
            writes_per_commit: usize::try_from(writes_per_commit).unwrap_or(usize::MAX),
            public_url: layers.parsed("public-url", web_address)?,
            mail: layers.parsed("mail", mail_place)?.unwrap_or_else(|| in_data("mail")),
            mail_from: layers.parsed("mail_from", sender)?,
            media: layers.parsed("media", media_place)?.unwrap_or_else(|| in_data("media")),
            metrics_listen: layers.parsed("metrics-listen", address)?,
            log: layers.parsed("log", filled)?.unwrap_or_else(|| "info".into()),
            connections: layers.connections()?,
            inactive_after: Duration::from_secs(
                DAY * layers.number("inactive_after_days", 1..=36_500)?.unwrap_or(90),
            ),
            limits: layers.parsed("limits", on_or_off)?.unwrap_or(true),
            invitations_per_day: i64::try_from(invitations).unwrap_or(i64::MAX),
            trusted_proxies: layers.trusted_proxies()?,
            return_to: layers.parsed("return_to", web_address_as_given)?,
            cors_origins: layers.list("cors_origins", origin)?,
            issuers: layers.issuers(&names)?,
            oauth_clients: layers.oauth_clients()?,
            names,
            data,
        })
    }

    /// The public URL of a server that listens on `address`: the configured one, or else that address.
    ///
    /// # Errors
    /// Where others than this machine can reach the address and none is configured.
    pub fn public_url_at(&self, address: SocketAddr) -> Result<String, Fault> {
        match &self.public_url {
            Some(url) => Ok(url.clone()),
            None if address.ip().is_loopback() => Ok(format!("http://{address}")),
            None => Err(Fault::new(
                "public-url",
                format_args!(
                    "must be given where listen ({address}) is not a loopback address, \
                     for example --public-url https://hall.example.org"
                ),
            )),
        }
    }
}

/// The sources of the configuration.
struct Layers<'a> {
    options: &'a Options,
    environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// By key, spelled as in the lists above.
    file: HashMap<&'static str, Value>,
    file_name: String,
}

/// The value of a key, and where it stood.
struct Given {
    key: &'static str,
    text: String,
    source: String,
}

impl Given {
    fn refuse(&self, why: impl fmt::Display) -> Fault {
        Fault::new(self.key, format_args!("{why} (from {})", self.source))
    }
}

impl<'a> Layers<'a> {
    fn read(options: &'a Options, environment: &'a dyn Fn(&str) -> Option<OsString>) -> Result<Self, Fault> {
        let mut layers = Self { options, environment, file: HashMap::new(), file_name: String::new() };
        if let Some(given) = layers.given("config")? {
            filled(&given.text).map_err(|why| given.refuse(why))?;
            let text = std::fs::read_to_string(&given.text)
                .map_err(|error| given.refuse(format_args!("{}: {error}", given.text)))?;
            layers.file =
                read_file(&text).map_err(|why| Fault(one_line(&format!("{why} (from {})", given.text))))?;
            layers.file_name = given.text;
        }
        Ok(layers)
    }

    fn given(&self, key: &'static str) -> Result<Option<Given>, Fault> {
        if let Some(text) = self.options.get(key) {
            return Ok(Some(Given { key, text: text.clone(), source: format!("--{key}") }));
        }
        let variable = variable(key);
        // An empty variable is one that a deployment leaves open.
        if let Some(text) = (self.environment)(&variable).filter(|text| !text.is_empty()) {
            let text = text
                .into_string()
                .map_err(|_| Fault::new(key, format_args!("not UTF-8 (from {variable})")))?;
            return Ok(Some(Given { key, text, source: variable }));
        }
        let text = match self.file.get(key) {
            None => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Integer(number)) => number.to_string(),
            Some(_) => {
                return Err(Fault::new(key, format_args!("not a text or number (from {})", self.file_name)));
            }
        };
        Ok(Some(Given { key, text, source: self.file_name.clone() }))
    }

    fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Fault> {
        let Some(given) = self.given(key)? else { return Ok(None) };
        parse(&given.text).map(Some).map_err(|why| given.refuse(why))
    }

    fn number(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, Fault> {
        self.parsed(key, |text| {
            text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
                format!("{text:?} is not a whole number from {} to {}", range.start(), range.end())
            })
        })
    }

    fn connections(&self) -> Result<Limits, Fault> {
        let usual = Limits::default();
        let seconds = |key, usual| -> Result<Duration, Fault> {
            Ok(self.number(key, 1..=DAY)?.map_or(usual, Duration::from_secs))
        };
        let most = |key, usual| -> Result<usize, Fault> {
            let most = self.number(key, 1..=1_000_000)?;
            Ok(most.map_or(usual, |most| usize::try_from(most).unwrap_or(usize::MAX)))
        };
        Ok(Limits {
            connections: most("connections", usual.connections)?,
            connections_per_address: most("connections_per_address", usual.connections_per_address)?,
            header: seconds("header_timeout_seconds", usual.header)?,
            body_idle: seconds("body_timeout_seconds", usual.body_idle)?,
            keep_alive_idle: seconds("keep_alive_timeout_seconds", usual.keep_alive_idle)?,
            write_idle: seconds("write_timeout_seconds", usual.write_idle)?,
            drain: usual.drain,
        })
    }

    fn names(&self) -> Result<Names, Fault> {
        let usual = Names::default();
        Ok(Names {
            issuer: self.parsed("token_issuer", filled)?.unwrap_or(usual.issuer),
            audience: self.parsed("token_audience", filled)?.unwrap_or(usual.audience),
        })
    }

    /// A list in the file, text with commas in the environment; empty where it is nowhere.
    fn list<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Fault> {
        let variable = variable(key);
        let is_overridden = (self.environment)(&variable).is_some_and(|text| !text.is_empty());
        let (elements, source) = match (self.file.get(key), is_overridden) {
            (Some(Value::Array(_)), false) => (self.table::<Vec<String>>(key)?, self.file_name.clone()),
            _ => match self.given(key)? {
                Some(Given { text, source, .. }) => {
                    (text.split(',').map(|element| element.trim().to_owned()).collect(), source)
                }
                None => return Ok(Vec::new()),
            },
        };
        let refuse = |why| Fault::new(key, format_args!("{why} (from {source})"));
        elements.iter().map(|element| parse(element).map_err(refuse)).collect()
    }

    fn trusted_proxies(&self) -> Result<Proxies, Fault> {
        self.list("trusted_proxies", str::parse).map(Proxies::new)
    }

    fn issuers(&self, names: &Names) -> Result<Vec<IssuerConfig>, Fault> {
        let issuers: Vec<IssuerConfig> = self.table("issuers")?;
        // A token that says so is this server's own and never asked of an issuer.
        match issuers.iter().position(|issuer| issuer.issuer == names.issuer) {
            Some(index) => Err(Fault::new(
                &format!("issuers[{index}].issuer"),
                format_args!(
                    "{:?} is this server's own name, see token_issuer (from {})",
                    names.issuer, self.file_name
                ),
            )),
            None => Ok(issuers),
        }
    }

    fn oauth_clients(&self) -> Result<HashMap<String, String>, Fault> {
        let clients: HashMap<String, String> = self.table("oauth_clients")?;
        match clients.iter().find(|(_, secret)| secret.is_empty()) {
            Some((client, _)) => Err(Fault::new(
                &format!("oauth_clients.{client}"),
                format_args!("must not be empty (from {})", self.file_name),
            )),
            None => Ok(clients),
        }
    }

    /// What the file alone can hold; empty where it does not.
    fn table<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, Fault> {
        let Some(value) = self.file.get(key) else { return Ok(T::default()) };
        let value = value.clone();
        value.try_into().map_err(|error: toml::de::Error| {
            Fault::new(key, format_args!("{} (from {})", error.message(), self.file_name))
        })
    }
}

/// The keys of a configuration file, each one that there is.
fn read_file(text: &str) -> Result<HashMap<&'static str, Value>, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count()) + 1;
        format!("config: line {line}: {}", error.message())
    })?;
    let mut file = HashMap::new();
    for (name, value) in table {
        let same = |known: &&str| known.replace('-', "_") == name.replace('-', "_");
        let key = OPTIONS.into_iter().chain(FURTHER).chain(OF_THE_FILE).find(same);
        let key = key.ok_or_else(|| format!("{name}: there is no such key"))?;
        if file.insert(key, value).is_some() {
            return Err(format!("{key}: given twice"));
        }
    }
    Ok(file)
}

fn filled(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.into()) }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address and port such as 127.0.0.1:3010"))
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

/// Connections that keep a PostgreSQL on as many cores busy, and not so many that several servers use its up.
fn usual_connections() -> usize {
    std::thread::available_parallelism().map_or(8, |cores| (4 * cores.get()).min(32))
}

/// Reads `sqlite:PATH` or `postgres://…`.
///
/// # Errors
/// What is wrong, in words that do not show the text: there may be a password in it.
pub fn database(text: &str) -> Result<Database, String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Target::parse(text).map(Database::Postgres);
    }
    let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or_default();
    if path.is_empty() {
        return Err("expected sqlite:PATH or postgres://USER@HOST/NAME".into());
    }
    Ok(Database::Sqlite(PathBuf::from(path)))
}

/// Does not show the text.
fn secret(text: &str) -> Result<Secret, String> {
    Secret::parse(text).ok_or_else(|| "not 64 hex digits (make one with: openssl rand -hex 32)".into())
}

/// An address that paths are put behind, in the one way in which a URL is written: no slash at its end, and nothing in it
/// that would end a header's value or a link.
fn web_address(text: &str) -> Result<String, String> {
    let url = web_url_without_login(text)?;
    let is_plain = url.query().is_none() && url.fragment().is_none();
    if is_plain {
        Ok(url.as_str().trim_end_matches('/').into())
    } else {
        Err("nothing may follow the path".into())
    }
}

fn web_address_as_given(text: &str) -> Result<String, String> {
    web_url_without_login(text).map(|_| text.into())
}

fn web_url_without_login(text: &str) -> Result<Url, String> {
    let without_login = |url: &Url| url.username().is_empty() && url.password().is_none();
    web_url(text).filter(without_login).ok_or_else(|| "not an http:// or https:// URL".into())
}

fn origin(text: &str) -> Result<String, String> {
    let is_origin = web_address_as_given(text).is_ok()
        && Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text);
    if is_origin {
        Ok(text.into())
    } else {
        Err(format!("{text:?} is not an origin such as https://app.example.org"))
    }
}

/// As far as it can be told before anything is made.
fn mail_place(text: &str) -> Result<String, String> {
    mail::check_place(text).map(|()| text.into())
}

/// As [`mail_place`].
fn media_place(text: &str) -> Result<String, String> {
    media::Place::parse(text).map(|_| text.into())
}

fn sender(text: &str) -> Result<String, String> {
    check_from(text).map(|()| text.into())
}

#[cfg(test)]
mod parsers;
