//! This server's own session tokens: JSON Web Tokens (RFC 7519) signed with ES256, and the keys that sign them.
//!
//! The keys are files in one folder, `<created>-<kid>.pem`: a P-256 key as PKCS#8 PEM, the instant it was made in
//! microseconds since 1970, and the first 16 hex digits of the SHA-256 of its public key. The newest signs; an older one
//! is good for verification until [`OVERLAP`] after the next newer one was made. The folder is the one truth: every
//! process that uses it, the command line too, finds a key that another one has added at its next signature, or when it
//! meets a token of that key. So two that start at once on an empty folder may make a key each, and still agree.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use std::{error, fmt};

use aws_lc_rs::agreement::{self, ECDH_P256};
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use guildhall_domain::clock::{Clock, Random, Timestamp, hex};
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::verified::{Fingerprint, Verified};

/// How long a key still verifies after a newer one was made: a day longer than any token lives.
pub const OVERLAP: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// The longest token of this server that is looked at, in bytes; a real one has about 500.
const LONGEST: usize = 4 * 1024;

/// The longest token of anybody that is looked at, in bytes.
const LONGEST_OF_ANY: usize = 16 * 1024;

/// More than any PEM file of a P-256 key has, in bytes.
const LONGEST_FILE: u64 = 4 * 1024;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const PEM_END: &str = "-----END PRIVATE KEY-----\n";

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
    /// It is one, and its time is over.
    Expired,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "the token is not valid",
            Self::Expired => "the token has expired",
        })
    }
}

impl error::Error for TokenError {}

/// Why the signing keys cannot be used. Told in one line that names the file.
#[derive(Debug)]
pub enum KeysError {
    /// The file or folder cannot be read or written.
    Io(PathBuf, io::Error),
    /// Others than its owner have rights on the file.
    Exposed(PathBuf),
    /// The file does not hold the P-256 key, as PKCS#8 PEM, that its name tells.
    Unusable(PathBuf),
    /// The folder holds no key any more.
    Missing(PathBuf),
    /// A key could not be made, or did not sign.
    Crypto,
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Exposed(path) => {
                write!(f, "{}: a signing key must be its owner's alone (chmod 600)", path.display())
            }
            Self::Unusable(path) => {
                write!(f, "{}: not the P-256 key in PKCS#8 PEM that its name tells", path.display())
            }
            Self::Missing(path) => write!(f, "{}: no signing key is left", path.display()),
            Self::Crypto => f.write_str("a signing key could not be made or did not sign"),
        }
    }
}

impl error::Error for KeysError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

/// The keys of one folder, to sign and to verify with. A clone shares them.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    names: Names,
    clock: Clock,
    validation: Validation,
    set: RwLock<Arc<KeySet>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

impl Keys {
    /// Opens the keys in `folder`; makes the folder (mode 0700) and a first key (0600) where there is none.
    ///
    /// # Errors
    /// A file that cannot be read or written, that others than its owner can reach, or that is no key.
    pub fn open(folder: &Path, names: Names, clock: Clock, random: &Random) -> Result<Self, KeysError> {
        install_crypto();
        make_folder(folder)?;
        if list(folder)?.is_empty() {
            create(folder, clock.now().0, random)?;
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&names.issuer]);
        validation.set_audience(&[&names.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // The library would ask the machine's clock, and give a minute more: `verify` looks at the time itself.
        validation.validate_exp = false;
        let set = RwLock::new(Arc::new(KeySet::load(folder)?));
        Ok(Self(Arc::new(Shared { folder: folder.to_owned(), names, clock, validation, set })))
    }

    /// What [`Claims::iss`] and [`Claims::aud`] have to be.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// A token that says `claims`, signed with the newest key in the folder at this moment.
    ///
    /// # Errors
    /// The folder or a new key in it cannot be used.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeysError> {
        let set = self.reread()?;
        let newest = set.keys.last().ok_or_else(|| KeysError::Missing(self.0.folder.clone()))?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(newest.kid.clone());
        jsonwebtoken::encode(&header, claims, &newest.signing).map_err(|_| KeysError::Crypto)
    }

    /// What `token` says, if one of the keys signed it, it is from and for this server, and its time is not over.
    ///
    /// # Errors
    /// [`TokenError::Expired`] for a token that is good in all but its time.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::Invalid);
        }
        let fingerprint = Fingerprint::of(token);
        let good = match self.current().verified.get(&fingerprint) {
            Some(good) => good,
            None => self.check(token, &fingerprint)?,
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

    /// The public keys that verify at this moment, as a JSON Web Key Set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let set = self.reread().unwrap_or_else(|error| {
            tracing::error!(%error, "signing keys not read again");
            self.current()
        });
        let now = self.0.clock.now();
        let keys: Vec<Value> = set.keys.iter().filter(|key| now < key.retires).map(Key::jwk).collect();
        json!({ "keys": keys })
    }

    /// The signature of a token that is not remembered; a good one is remembered from now on.
    fn check(&self, token: &str, fingerprint: &Fingerprint) -> Result<Good, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let mut set = self.current();
        if set.find(&kid).is_none() {
            set = self.reread().map_err(|error| {
                tracing::error!(%error, "signing keys not read again");
                TokenError::Invalid
            })?;
        }
        let key = set.find(&kid).ok_or(TokenError::Invalid)?;
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

    /// The keys that are in the folder now. Listing it takes microseconds, a tenth of what a signature does, and unlike
    /// the folder's time of change it misses nothing; the files are read only when their names have changed.
    fn reread(&self) -> Result<Arc<KeySet>, KeysError> {
        let held = self.current();
        if list(&self.0.folder)? == held.files {
            return Ok(held);
        }
        let mut set = self.0.set.write().unwrap_or_else(PoisonError::into_inner);
        *set = Arc::new(KeySet::load(&self.0.folder)?);
        Ok(Arc::clone(&set))
    }
}

/// Makes a new key, which signs from now on, and deletes those whose time is over. Returns the new key's `kid`.
///
/// Works beside running servers: it is in force at their next signature and their next verification.
///
/// # Errors
/// The folder cannot be read or written.
pub fn rotate(folder: &Path, clock: &Clock, random: &Random) -> Result<String, KeysError> {
    make_folder(folder)?;
    let now = clock.now();
    let mut files = list(folder)?;
    // Newer than every other, even if one was made while the clock was ahead.
    let created = files.last().map_or(now.0, |newest| now.0.max(newest.created.saturating_add(1)));
    let new = create(folder, created, random)?;
    let kid = new.kid.clone();
    files.push(new);
    for (index, file) in files.iter().enumerate() {
        if now >= retires(&files, index) {
            delete(folder.join(file.name()))?;
        }
    }
    Ok(kid)
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

/// What one reading of the folder gave.
struct KeySet {
    /// Oldest first.
    files: Vec<KeyFile>,
    /// In the order of `files`.
    keys: Vec<Key>,
    verified: Verified<Good>,
}

impl KeySet {
    fn load(folder: &Path) -> Result<Self, KeysError> {
        let files = list(folder)?;
        let mut keys = Vec::with_capacity(files.len());
        for (index, file) in files.iter().enumerate() {
            match Key::load(&folder.join(file.name()), &file.kid, retires(&files, index)) {
                Ok(key) => keys.push(key),
                // A rotation has deleted it since the folder was listed.
                Err(KeysError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { files, keys, verified: Verified::new() })
    }

    fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid)
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
    fn load(path: &Path, kid: &str, retires: Timestamp) -> Result<Self, KeysError> {
        let failed = |error| KeysError::Io(path.to_owned(), error);
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(KeysError::Exposed(path.to_owned()));
        }
        let mut pem = Vec::new();
        file.take(LONGEST_FILE).read_to_end(&mut pem).map_err(failed)?;
        Self::from_pem(&pem, retires)
            .filter(|key| key.kid == kid)
            .ok_or_else(|| KeysError::Unusable(path.to_owned()))
    }

    fn from_pem(pem: &[u8], retires: Timestamp) -> Option<Self> {
        let pkcs8 = decode_pem(pem)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok()?;
        let point = pair.public_key().as_ref().to_vec();
        Some(Self {
            kid: kid_of(&pair),
            signing: EncodingKey::from_ec_der(&pkcs8),
            verifying: DecodingKey::from_ec_der(&point),
            point,
            retires,
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

/// What a key file's name tells. The order is that of making; of two made in one microsecond `kid` decides, everywhere
/// alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct KeyFile {
    created: i64,
    kid: String,
}

impl KeyFile {
    fn parse(name: &str) -> Option<Self> {
        let (created, kid) = name.strip_suffix(".pem")?.split_once('-')?;
        let file = Self { created: created.parse().ok()?, kid: kid.to_owned() };
        // Only the one spelling: what is read back must be found under the name that is made of it.
        (file.name() == name && file.created >= 0).then_some(file)
    }

    fn name(&self) -> String {
        format!("{}-{}.pem", self.created, self.kid)
    }
}

/// The keys in the folder, oldest first; anything else in it is left alone.
fn list(folder: &Path) -> Result<Vec<KeyFile>, KeysError> {
    let failed = |error| KeysError::Io(folder.to_owned(), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        files.extend(entry.map_err(failed)?.file_name().to_str().and_then(KeyFile::parse));
    }
    files.sort_unstable();
    Ok(files)
}

/// When the key of `files[index]` verifies no more; the newest has no such time.
fn retires(files: &[KeyFile], index: usize) -> Timestamp {
    files.get(index + 1).map_or(Timestamp(i64::MAX), |next| Timestamp(next.created).after(OVERLAP))
}

fn make_folder(folder: &Path) -> Result<(), KeysError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| KeysError::Io(folder.to_owned(), error))
}

fn delete(path: PathBuf) -> Result<(), KeysError> {
    match std::fs::remove_file(&path) {
        // Two rotations at once: the other one was quicker.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KeysError::Io(path, error)),
        _ => Ok(()),
    }
}

/// Makes a key and its file. Either the whole file is there, also after a power cut, or none.
fn create(folder: &Path, created: i64, random: &Random) -> Result<KeyFile, KeysError> {
    let pair = generate(random).ok_or(KeysError::Crypto)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeysError::Crypto)?;
    let file = KeyFile { created, kid: kid_of(&pair) };
    let path = folder.join(file.name());
    let unfinished = folder.join(format!(".{}", file.name()));
    let write = || {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        new.write_all(encode_pem(pkcs8.as_ref()).as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| KeysError::Io(path.clone(), error))?;
    Ok(file)
}

/// A new P-256 key. One number of four milliards is no key; that this happens eight times means broken randomness.
fn generate(random: &Random) -> Option<EcdsaKeyPair> {
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

fn encode_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = PEM_BEGIN.to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str(PEM_END);
    pem
}

fn decode_pem(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let lines = text.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    STANDARD.decode(lines.replace('\n', "")).ok()
}
