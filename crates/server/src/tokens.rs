//! This server's own session tokens: JSON Web Tokens (RFC 7519) signed with ES256, and the keys that sign them.
//!
//! The keys stand in the database, each known by the first 16 hex digits of the SHA-256 of its public key (`kid`). The
//! newest signs; an older one is good for verification until [`OVERLAP`] after the next newer one was made. Every node has
//! the same: it looks again before each signature, and when it meets a token of a key that it does not know.

use std::sync::{Arc, PoisonError, RwLock};
use std::{error, fmt};

use aws_lc_rs::agreement::{self, ECDH_P256};
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use guildhall_domain::authz::Actor;
use guildhall_domain::clock::{Clock, Random, Timestamp, hex};
use guildhall_domain::db::Db;
pub use guildhall_domain::keys::OVERLAP;
use guildhall_domain::keys::{self, NewKey, Purpose};
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::keyring::KeysError;
use crate::sealing::Seal;
use crate::verified::{Fingerprint, Verified};

/// The longest token of this server that is looked at, in bytes; a real one has about 500.
const LONGEST: usize = 4 * 1024;

/// The longest token of anybody that is looked at, in bytes.
const LONGEST_OF_ANY: usize = 16 * 1024;

/// What a session token says. Its `iss` and `aud` are those of the [`Names`] the keys were opened with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made the token.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The account.
    pub sub: String,
    /// The session: what a logout ends.
    pub sid: String,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// The first second, since 1970, at which it is good no more.
    pub exp: i64,
    /// The account once more, under the name that clients of buildog read.
    pub user_id: String,
    /// What a request that authenticates by cookie repeats in `X-CSRF-TOKEN`.
    pub csrf: String,
    /// The organization the session was opened for, if for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_id: Option<i64>,
}

impl fmt::Debug for Claims {
    /// Without `sid` and `csrf`, which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("sub", &self.sub).field("exp", &self.exp).finish_non_exhaustive()
    }
}

/// The `iss` and `aud` of this server's tokens. Not its address: that may change, and sessions outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// What `iss` is.
    pub issuer: String,
    /// What `aud` is.
    pub audience: String,
}

impl Default for Names {
    /// `guildhall` for both.
    fn default() -> Self {
        Self { issuer: "guildhall".to_owned(), audience: "guildhall".to_owned() }
    }
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is not a token of this server, or not as this server signed it.
    Invalid,
    /// It says that it is one, of a key that is not known here: perhaps not yet.
    UnknownKey,
    /// It is one, and its time is over.
    Expired,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid | Self::UnknownKey => "the token is not valid",
            Self::Expired => "the token has expired",
        })
    }
}

impl error::Error for TokenError {}

/// The signing keys, to sign and to verify with. A clone shares them.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    seal: Seal,
    names: Names,
    clock: Clock,
    validation: Validation,
    set: RwLock<Arc<KeySet>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("names", &self.0.names).finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys in the database, which [`crate::keyring::prepare`] has made sure of.
    ///
    /// # Errors
    /// Where they cannot be read or opened.
    pub fn open(db: &Db, seal: Seal, names: Names) -> Result<Self, KeysError> {
        install_crypto();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&names.issuer]);
        validation.set_audience(&[&names.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // The library would ask the machine's clock, and give a minute more: `verify` looks at the time itself.
        validation.validate_exp = false;
        let set = RwLock::new(Arc::new(KeySet::of(stored(db)?, &seal)?));
        Ok(Self(Arc::new(Shared { seal, names, clock: db.clock().clone(), validation, set })))
    }

    /// What [`Claims::iss`] and [`Claims::aud`] have to be.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// Looks into the database for keys that another node has made or removed; what was held stays where that fails.
    ///
    /// # Errors
    /// Where they cannot be read or opened.
    pub fn refresh(&self, db: &Db) -> Result<(), KeysError> {
        let stored = stored(db)?;
        if stored != self.current().stored {
            let set = Arc::new(KeySet::of(stored, &self.0.seal)?);
            *self.0.set.write().unwrap_or_else(PoisonError::into_inner) = set;
        }
        Ok(())
    }

    /// A token that says `claims`, signed with the newest key that is known here: [`Keys::refresh`] comes before.
    ///
    /// # Errors
    /// Where there is no key, or it does not sign.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeysError> {
        let set = self.current();
        let newest = set.keys.last().ok_or(KeysError::Missing)?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(newest.kid.clone());
        jsonwebtoken::encode(&header, claims, &newest.signing).map_err(|_| KeysError::Crypto)
    }

    /// What `token` says, if one of the keys signed it, it is from and for this server, and its time is not over.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`] where it may become good by [`Keys::refresh`]; [`TokenError::Expired`] for a token that
    /// is good in all but its time.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::Invalid);
        }
        let fingerprint = Fingerprint::of(token);
        let set = self.current();
        let good = match set.verified.get(&fingerprint) {
            Some(good) => good,
            None => self.check(&set, token, &fingerprint)?,
        };
        let now = self.0.clock.now();
        if now >= good.retires {
            return Err(TokenError::Invalid);
        }
        if now.seconds() >= good.claims.exp {
            return Err(TokenError::Expired);
        }
        Ok(good.claims)
    }

    /// The public keys that verify at this moment, as a JSON Web Key Set (RFC 7517): [`Keys::refresh`] comes before.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let now = self.0.clock.now();
        let set = self.current();
        let keys: Vec<Value> = set.keys.iter().filter(|key| now < key.retires).map(Key::jwk).collect();
        json!({ "keys": keys })
    }

    /// The signature of a token that is not remembered; a good one is remembered from now on.
    fn check(&self, set: &KeySet, token: &str, fingerprint: &Fingerprint) -> Result<Good, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let Some(key) = set.keys.iter().find(|key| key.kid == kid) else {
            // A trusted issuer's token is of no key of ours, however often we look.
            let is_ours = issuer_of(token).is_some_and(|issuer| issuer == self.0.names.issuer);
            return Err(if is_ours { TokenError::UnknownKey } else { TokenError::Invalid });
        };
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verifying, &self.0.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let good = Good { claims: Arc::new(claims), retires: key.retires };
        set.verified.insert(fingerprint, good.clone());
        Ok(good)
    }

    fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.0.set.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Stores a new key, which signs from now on, and removes those whose time is over. Returns the new key's `kid`.
///
/// Works beside running servers: it is in force at their next signature and their next verification.
///
/// # Errors
/// Where it cannot be stored.
pub fn rotate(db: &Db, seal: &Seal) -> Result<String, KeysError> {
    let NewKey { id, value, .. } = generate(db, seal)?;
    keys::rotate(db, &Actor::system(), id.clone(), value)?;
    Ok(id)
}

/// A new key, to be stored.
///
/// # Errors
/// Where none can be made.
pub(crate) fn generate(db: &Db, seal: &Seal) -> Result<NewKey, KeysError> {
    let pair = new_pair(db.random()).ok_or(KeysError::Crypto)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeysError::Crypto)?;
    let id = kid_of(&pair);
    let value = seal.close(&id, pkcs8.as_ref(), db.random())?;
    Ok(NewKey { id, created_at: db.clock().now(), value })
}

/// The `iss` of a token that nobody has verified yet: good for choosing who shall verify it, and for nothing else.
/// Nothing for what is no JSON Web Token of three parts, or is longer than 16 KiB.
#[must_use]
pub fn issuer_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Peek {
        iss: String,
    }
    if token.len() > LONGEST_OF_ANY {
        return None;
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Peek>(&json).ok().map(|peek| peek.iss)
}

/// Says which cryptography the token library uses. Otherwise it would choose by the features it was built with, and
/// panic if another dependency added the other one.
pub(crate) fn install_crypto() {
    // An error tells that it is installed already.
    let _ = aws_lc::DEFAULT_PROVIDER.install_default();
}

/// A token whose signature is good.
#[derive(Clone)]
struct Good {
    claims: Arc<Claims>,
    retires: Timestamp,
}

fn stored(db: &Db) -> guildhall_domain::Result<Vec<keys::Key>> {
    keys::all(db, &Actor::system(), Purpose::Signing)
}

/// What one reading of the database gave.
struct KeySet {
    /// Oldest first.
    stored: Vec<keys::Key>,
    /// In the order of `stored`.
    keys: Vec<Key>,
    verified: Verified<Good>,
}

impl KeySet {
    fn of(stored: Vec<keys::Key>, seal: &Seal) -> Result<Self, KeysError> {
        let keys = stored.iter().map(|stored| Key::open(stored, seal)).collect::<Result<_, _>>()?;
        Ok(Self { stored, keys, verified: Verified::new() })
    }
}

struct Key {
    kid: String,
    /// The public key as an uncompressed point: a byte 4, then x and y of 32 bytes each.
    point: Vec<u8>,
    signing: EncodingKey,
    verifying: DecodingKey,
    /// When it verifies no more.
    retires: Timestamp,
}

impl Key {
    fn open(stored: &keys::Key, seal: &Seal) -> Result<Self, KeysError> {
        let pkcs8 = seal.open(&stored.id, &stored.value)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok();
        let pair = pair.filter(|pair| kid_of(pair) == stored.id);
        let pair = pair.ok_or_else(|| KeysError::Unusable(stored.id.clone()))?;
        let point = pair.public_key().as_ref().to_vec();
        Ok(Self {
            kid: stored.id.clone(),
            signing: EncodingKey::from_ec_der(&pkcs8),
            verifying: DecodingKey::from_ec_der(&point),
            point,
            retires: stored.retires_at,
        })
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.point[1..].split_at(32);
        json!({
            "kty": "EC",
            "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
            "kid": self.kid,
            "use": "sig",
            "alg": "ES256",
        })
    }
}

/// A new P-256 key. One number of four milliards is no key; that this happens eight times means broken randomness.
fn new_pair(random: &Random) -> Option<EcdsaKeyPair> {
    (0..8).find_map(|_| {
        let secret = random.bytes::<32>();
        let public =
            agreement::PrivateKey::from_private_key(&ECDH_P256, &secret).ok()?.compute_public_key().ok()?;
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, &secret, public.as_ref()).ok()
    })
}

/// The first 16 hex digits of the SHA-256 of the public key.
fn kid_of(pair: &EcdsaKeyPair) -> String {
    hex(&digest::digest(&digest::SHA256, pair.public_key().as_ref()).as_ref()[..8])
}

#[cfg(test)]
mod parsers;
