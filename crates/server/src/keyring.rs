//! The keys that every node has from the database: found there, or made where there are none.

use std::{error, fmt};

use guildhall_domain::authz::Actor;
use guildhall_domain::db::Db;
use guildhall_domain::keys::{self, NewKey, Purpose};
use guildhall_domain::outbox::Secrets;

use crate::sealing::{Seal, SealError};
use crate::tokens;

/// The one key from which mailed tokens are made: its id in the database.
const MAIL: &str = "mail";

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
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => write!(f, "{error}"),
            Self::Seal(error) => write!(f, "{error}"),
            Self::Unusable(id) => write!(f, "the key {id} in the database is none"),
            Self::Missing => f.write_str("no signing key is left in the database"),
            Self::Crypto => f.write_str("a key could not be made or did not sign"),
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

/// Makes sure that there are keys of both purposes, which this `seal` opens and, where it can, has sealed.
///
/// # Errors
/// Where the keys cannot be opened or stored.
pub fn prepare(db: &Db, seal: &Seal) -> Result<(), KeysError> {
    let system = Actor::system();
    if keys::all(db, &system, Purpose::Signing)?.is_empty() {
        keys::begin(db, &system, Purpose::Signing, vec![tokens::generate(db, seal)?])?;
    }
    if keys::all(db, &system, Purpose::Mail)?.is_empty() {
        let value = seal.close(MAIL, &db.random().bytes::<32>(), db.random())?;
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
    Ok(())
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
