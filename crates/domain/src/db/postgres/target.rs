//! Where a PostgreSQL database is: the connection URL, as libpq reads it.

use std::fmt;
use std::path::PathBuf;

/// How a connection is protected: libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    /// Never by TLS.
    Disable,
    /// By TLS where the server offers it. Whoever sits between can take it away: good for a trusted network alone.
    Prefer,
    /// By TLS or not at all; whose certificate the server shows is checked only where `sslrootcert` is given.
    Require,
    /// As `Require`, with a certificate of a trusted authority.
    VerifyCa,
    /// As `VerifyCa`, with a certificate for the very host.
    VerifyFull,
}

/// One place where the server may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// By name or address, and port.
    Tcp(String, u16),
    /// A socket's file.
    Unix(PathBuf),
}

/// A PostgreSQL database and how to get in. Neither `Debug` nor any error shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Tried in their order; the first that takes writes is used.
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
    pub(super) ssl_mode: SslMode,
    /// PEM file of the authorities that are trusted; nothing for the system's.
    pub(super) ssl_root_cert: Option<PathBuf>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// Hosts and database, for people.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, host) in self.hosts.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match host {
                Host::Tcp(name, port) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(file) => write!(f, "{comma}{}", file.display())?,
            }
        }
        write!(f, "/{}", self.database)
    }
}

/// What a URL says, before what it leaves out is filled in.
#[derive(Default)]
struct Parts {
    hosts: Vec<String>,
    ports: Vec<String>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    ssl_mode: Option<String>,
    ssl_root_cert: Option<String>,
}

impl Target {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`; several hosts stand with commas between.
    ///
    /// Of libpq's parameters these are known: `host`, `port`, `user`, `password`, `dbname`, `sslmode`, `sslrootcert`, and
    /// `target_session_attrs` where it asks for what is asked for anyway, a server that takes writes. A host that begins
    /// with `/` is the folder of a socket. Nothing is read from the environment or from files of libpq.
    ///
    /// # Errors
    /// What is wrong, in words that do not show the URL.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let rest = rest.ok_or("expected postgres://user@host/database")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut parts = Parts::default();
        let hosts = match authority.rsplit_once('@') {
            Some((login, hosts)) => {
                let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
                parts.user = filled(user)?;
                parts.password = password.map(decoded).transpose()?;
                hosts
            }
            None => authority,
        };
        for host in hosts.split(',').filter(|host| !host.is_empty()) {
            let (name, port) = split_port(host)?;
            parts.hosts.push(decoded(name)?);
            parts.ports.push(port.into());
        }
        if path.contains('@') {
            // Otherwise half a password would be taken for the database, whose name is shown.
            return Err(
                "an @ behind the hosts: in user, password and database / is written %2F and @ %40".into()
            );
        }
        parts.database = filled(path)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or("a parameter has no value")?;
            parts.set(&decoded(key)?, decoded(value)?)?;
        }
        parts.finish()
    }
}

impl Parts {
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "host" => self.hosts = value.split(',').map(str::to_owned).collect(),
            "port" => self.ports = value.split(',').map(str::to_owned).collect(),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "sslmode" => self.ssl_mode = Some(value),
            "sslrootcert" => self.ssl_root_cert = Some(value),
            "target_session_attrs" if ["read-write", "primary"].contains(&value.as_str()) => {}
            "target_session_attrs" => {
                return Err("target_session_attrs: only a server that takes writes is used".into());
            }
            // Not shown: it may be what stands behind a ? in a password.
            _ => return Err("one of the parameters is not known".into()),
        }
        Ok(())
    }

    fn finish(self) -> Result<Target, String> {
        let ssl_mode = match self.ssl_mode.as_deref().unwrap_or("prefer") {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            // As libpq has it: who names an authority wants it asked.
            "require" if self.ssl_root_cert.is_some() => SslMode::VerifyCa,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return Err("sslmode: none of disable, prefer, require, verify-ca, verify-full".into()),
        };
        let ssl_root_cert = self.ssl_root_cert.filter(|file| file != "system").map(PathBuf::from);
        if ssl_mode == SslMode::VerifyCa && ssl_root_cert.is_none() {
            // Anybody can have a certificate of an authority that the system trusts.
            return Err("sslmode=verify-ca needs sslrootcert=FILE; verify-full does without".into());
        }
        let user = self.user.filter(|user| !user.is_empty());
        let user = user.ok_or("names no user: expected postgres://USER@HOST/NAME")?;
        let hosts = if self.hosts.is_empty() { vec!["localhost".into()] } else { self.hosts };
        if hosts.iter().any(|host| host.is_empty() || host.contains(['[', ']'])) {
            return Err("a host is neither a name nor an address".into());
        }
        if self.ports.len() > 1 && self.ports.len() != hosts.len() {
            return Err("there are not as many ports as hosts".into());
        }
        let port_of = |place: usize| {
            let port = if self.ports.len() == 1 { self.ports.first() } else { self.ports.get(place) };
            match port.map_or("", String::as_str) {
                "" => Ok(5432),
                signed if signed.starts_with('+') => Err("a port is not a number"),
                port => port.parse::<u16>().ok().filter(|port| *port > 0).ok_or("a port is not a number"),
            }
        };
        let hosts = hosts.into_iter().enumerate().map(|(place, host)| {
            let port = port_of(place)?;
            Ok(match host.starts_with('/') {
                true => Host::Unix(PathBuf::from(host).join(format!(".s.PGSQL.{port}"))),
                false => Host::Tcp(host, port),
            })
        });
        Ok(Target {
            hosts: hosts.collect::<Result<_, &str>>()?,
            database: self.database.filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone()),
            user,
            password: self.password,
            ssl_mode,
            ssl_root_cert,
        })
    }
}

/// Name and port of `host:port`, where an IPv6 address stands in brackets.
fn split_port(host: &str) -> Result<(&str, &str), &'static str> {
    if let Some((name, rest)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        let port = if rest.is_empty() { Some(rest) } else { rest.strip_prefix(':') };
        return port.map(|port| (name, port)).ok_or("what stands behind a ] is no port");
    }
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    // Of an address without brackets nobody can tell where it ends.
    if name.contains(':') { Err("an IPv6 address stands in brackets") } else { Ok((name, port)) }
}

fn filled(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() { Ok(None) } else { decoded(text).map(Some) }
}

/// `text` with each `%41` as the byte it stands for.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "a % is not followed by two hex digits of UTF-8 text".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(wrong)?;
        // A sign would be a number's, too.
        let digits = Some(digits).filter(|digits| !digits.starts_with('+')).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(wrong)
}

#[cfg(test)]
mod parsers;

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(name: &str, port: u16) -> Host {
        Host::Tcp(name.into(), port)
    }

    #[test]
    fn a_url_says_where_and_how() {
        let target =
            Target::parse("postgresql://ana:p%40ss%3a@[::1]:6000,b.example/hall?sslmode=require").unwrap();
        assert_eq!(target.hosts, [tcp("::1", 6000), tcp("b.example", 5432)]);
        assert_eq!((target.user.as_str(), target.password.as_deref()), ("ana", Some("p@ss:")));
        assert_eq!((target.database.as_str(), target.ssl_mode), ("hall", SslMode::Require));
        assert!(!format!("{target:?}").contains("p@ss"));
        let target = Target::parse("postgres:///?host=/run/pg&port=6001&user=ana").unwrap();
        assert_eq!(target.hosts, [Host::Unix("/run/pg/.s.PGSQL.6001".into())]);
        assert_eq!((target.database.as_str(), target.ssl_mode), ("ana", SslMode::Prefer));
        let target = Target::parse("postgres://a@h/d?sslmode=require&sslrootcert=/ca.pem").unwrap();
        assert_eq!(target.ssl_mode, SslMode::VerifyCa, "as libpq has it");
    }

    #[test]
    fn what_is_not_understood_is_refused_without_the_password() {
        for wrong in [
            "mysql://a@h/d",
            "postgres://h/d",
            "postgres://a:secret@h:x/d",
            "postgres://a:secret@h:0/d",
            "postgres://a:secret@h/d?sslmode=maybe",
            "postgres://a:secret@h/d?sslmode=verify-ca",
            "postgres://a:secret@h/d?sslmode=verify-ca&sslrootcert=system",
            "postgres://a:secret@h/d?target_session_attrs=any",
            "postgres://a:secret@h/d?fast=1",
            "postgres://a:secret%4@h/d",
            "postgres://a:secret%ff@h/d",
            "postgres://a:secret%00@h/d",
            "postgres://a:secret@h/d?sslmode",
            "postgres://a:secret@h:+5/d",
            "postgres://:secret@h/d?user=",
            "postgres://a:secret%+4@h/d",
            "postgres://a:?secret=@h/d",
            "postgres://a:@secret/@h/d",
            "postgres://a:secret@::1/d",
            "postgres://a:secret@[::1/d",
            "postgres://a:secret@[::1]6000/d",
            "postgres://a:secret@x,y,z/d?port=1,2",
            "postgres://a:secret@/d?host=",
        ] {
            let why = Target::parse(wrong).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
