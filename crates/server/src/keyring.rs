//! The keys that every node has from the database: found there, made where there are none, and taken once from the files
//! in which earlier versions kept them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{error, fmt};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guildhall_domain::authz::Actor;
use guildhall_domain::clock::Timestamp;
use guildhall_domain::db::Db;
use guildhall_domain::keys::{self, NewKey, Purpose};
use guildhall_domain::outbox::Secrets;

use crate::sealing::{Seal, SealError};
use crate::tokens;

/// The one key from which mailed tokens are made: its id in the database.
const MAIL: &str = "mail";

/// More than any file of a key has, in bytes.
const LONGEST_FILE: u64 = 4 * 1024;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const PEM_END: &str = "-----END PRIVATE KEY-----\n";

/// Why the keys cannot be used. Told in one line.
#[derive(Debug)]
pub enum KeysError {
    /// The database cannot be used, or refuses.
    Database(guildhall_domain::Error),
    /// They cannot be opened.
    Seal(SealError),
    /// The key of that id is none.
    Unusable(String),
    /// There is none any more.
    Missing,
    /// A key could not be made, or did not sign.
    Crypto,
    /// A file of an earlier version cannot be read.
    Io(PathBuf, io::Error),
    /// Others than its owner have rights on a file of an earlier version.
    Exposed(PathBuf),
    /// A file of an earlier version does not hold the key that its name tells.
    NoKey(PathBuf),
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => write!(f, "{error}"),
            Self::Seal(error) => write!(f, "{error}"),
            Self::Unusable(id) => write!(f, "the key {id} in the database is none"),
            Self::Missing => f.write_str("no signing key is left in the database"),
            Self::Crypto => f.write_str("a key could not be made or did not sign"),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Exposed(path) => {
                write!(f, "{}: a key must be its owner's alone (chmod 600)", path.display())
            }
            Self::NoKey(path) => write!(f, "{}: not the key that its name tells", path.display()),
        }
    }
}

impl error::Error for KeysError {}

impl From<guildhall_domain::Error> for KeysError {
    fn from(error: guildhall_domain::Error) -> Self {
        Self::Database(error)
    }
}

impl From<SealError> for KeysError {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl From<KeysError> for guildhall_domain::Error {
    /// A key that cannot be used now is no defect of the request.
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Database(error) => error,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Whether any key in the database is sealed: then a secret is somewhere, and must not be made anew.
///
/// # Errors
/// Where the database cannot be read.
pub fn is_sealed(db: &Db) -> Result<bool, KeysError> {
    let of = |purpose| keys::all(db, &Actor::system(), purpose);
    let stored = [of(Purpose::Signing)?, of(Purpose::Mail)?].concat();
    Ok(stored.iter().any(|key| Seal::is_sealed(&key.value)))
}

/// Opens every key in the database with this `seal`, and changes nothing.
///
/// # Errors
/// Where one cannot be opened, or the database cannot be read.
pub fn check(db: &Db, seal: &Seal) -> Result<(), KeysError> {
    for purpose in [Purpose::Signing, Purpose::Mail] {
        for key in keys::all(db, &Actor::system(), purpose)? {
            seal.open(&key.id, &key.value)?;
        }
    }
    Ok(())
}

/// Makes sure that there are keys of both purposes, which this `seal` opens and, where it can, has sealed. What the files
/// of an earlier version in `data` hold, if they are to count, is taken over where the database has no keys yet; answers
/// whether that was so.
///
/// # Errors
/// Where the keys cannot be opened or stored, or a file of a key cannot be used.
pub fn prepare(db: &Db, seal: &Seal, data: Option<&Path>) -> Result<bool, KeysError> {
    let system = Actor::system();
    let mut imported = false;
    if keys::all(db, &system, Purpose::Signing)?.is_empty() {
        let mut first = match data {
            Some(data) => signing_files(db, seal, &data.join("keys"))?,
            None => Vec::new(),
        };
        imported |= !first.is_empty();
        if first.is_empty() {
            first.push(tokens::generate(db, seal)?);
        }
        keys::begin(db, &system, Purpose::Signing, first)?;
    }
    if keys::all(db, &system, Purpose::Mail)?.is_empty() {
        let kept = match data {
            Some(data) => mail_file(&data.join("mail.key"))?,
            None => None,
        };
        imported |= kept.is_some();
        let value = seal.close(MAIL, &kept.unwrap_or_else(|| db.random().bytes()), db.random())?;
        let key = NewKey { id: MAIL.into(), created_at: db.clock().now(), value };
        keys::begin(db, &system, Purpose::Mail, vec![key])?;
    }
    for purpose in [Purpose::Signing, Purpose::Mail] {
        for key in keys::all(db, &system, purpose)? {
            let opened = seal.open(&key.id, &key.value)?;
            if seal.seals() && !Seal::is_sealed(&key.value) {
                keys::rewrite(db, &system, &key, seal.close(&key.id, &opened, db.random())?)?;
            }
        }
    }
    Ok(imported)
}

/// What makes the tokens of mailed links.
///
/// # Errors
/// Where there is no key for that, or it cannot be opened.
pub fn mail_secrets(db: &Db, seal: &Seal) -> Result<Secrets, KeysError> {
    let stored = keys::all(db, &Actor::system(), Purpose::Mail)?.pop().ok_or(KeysError::Missing)?;
    let key = seal.open(&stored.id, &stored.value)?;
    Ok(Secrets::new(key.try_into().map_err(|_| KeysError::Unusable(stored.id))?))
}

/// The signing keys of an earlier version: `<microseconds since 1970>-<kid>.pem`, PKCS#8. Anything else is left alone.
fn signing_files(db: &Db, seal: &Seal, folder: &Path) -> Result<Vec<NewKey>, KeysError> {
    let failed = |error| KeysError::Io(folder.to_owned(), error);
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".pem")?.split_once('-'));
        let Some((Ok(created_at), kid)) = name.map(|(created, kid)| (created.parse(), kid)) else { continue };
        let pkcs8 = decode_pem(&read(&path)?).filter(|pkcs8| tokens::kid(pkcs8).as_deref() == Some(kid));
        let pkcs8 = pkcs8.ok_or_else(|| KeysError::NoKey(path.clone()))?;
        let value = seal.close(kid, &pkcs8, db.random())?;
        found.push(NewKey { id: kid.to_owned(), created_at: Timestamp(created_at), value });
    }
    Ok(found)
}

/// The key of mailed tokens of an earlier version, if there is one: 32 bytes.
fn mail_file(path: &Path) -> Result<Option<[u8; 32]>, KeysError> {
    if !path.exists() {
        return Ok(None);
    }
    read(path)?.try_into().map(Some).map_err(|_| KeysError::NoKey(path.to_owned()))
}

fn read(path: &Path) -> Result<Vec<u8>, KeysError> {
    let failed = |error| KeysError::Io(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(KeysError::Exposed(path.to_owned()));
    }
    let mut content = Vec::new();
    file.take(LONGEST_FILE).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

fn decode_pem(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let lines = text.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    STANDARD.decode(lines.replace('\n', "")).ok()
}
