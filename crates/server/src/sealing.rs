//! Keys as they stand in the database: sealed with a secret that stands elsewhere, so that who reads the database, or a
//! copy of it, can sign and open nothing.

use std::{error, fmt};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guildhall_domain::clock::{Random, hex};

/// 32 random bytes that every node knows and the database does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new one.
    #[must_use]
    pub fn new(random: &Random) -> Self {
        Self(random.bytes())
    }

    /// From 64 hex digits; nothing where the text is not that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The 64 hex digits that [`Secret::parse`] reads.
    #[must_use]
    pub fn text(&self) -> String {
        hex(&self.0)
    }

    /// What it is known by, and is no help in finding it.
    fn id(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        hex(&hmac::sign(&key, b"guildhall secret id 1").as_ref()[..8])
    }

    fn key(&self) -> Result<LessSafeKey, SealError> {
        UnboundKey::new(&AES_256_GCM, &self.0).map(LessSafeKey::new).map_err(|_| SealError::Damaged)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What an operator can do whose secret does not open the keys.
pub const WAY_OUT: &str = "put it back, or give it as GUILDHALL_SECRET; where it is lost, `guildhall signing-key renew` makes \
                           new keys, and every session token ends";

/// Why a stored key cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// It is sealed, and there is no secret to open it with.
    NoSecret,
    /// It is sealed with another secret.
    OtherSecret,
    /// It is not what was stored, or not under this name.
    Damaged,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSecret => {
                write!(f, "none is given, and the keys in the database are sealed with one: {WAY_OUT}")
            }
            Self::OtherSecret => {
                write!(f, "not the one that the keys in the database are sealed with: {WAY_OUT}")
            }
            Self::Damaged => f.write_str("a key in the database is damaged"),
        }
    }
}

impl error::Error for SealError {}

/// What keys are sealed with before they are stored, if with anything.
#[derive(Clone, Debug)]
pub struct Seal(Option<Secret>);

/// How a stored key begins that is sealed, before the id of its secret; otherwise it begins with [`PLAIN`].
const SEALED: &str = "sealed:";
const PLAIN: &str = "plain:";

impl Seal {
    /// With that secret; without one, keys are stored as they are.
    #[must_use]
    pub fn new(secret: Option<Secret>) -> Self {
        Self(secret)
    }

    /// Whether there is a secret.
    #[must_use]
    pub fn seals(&self) -> bool {
        self.0.is_some()
    }

    /// The text to store for the key of that id: `sealed:<secret's id>:<nonce and sealed key>` or `plain:<key>`, the latter
    /// parts in base64. The id is sealed with it: under another id it does not open.
    ///
    /// # Errors
    /// Where the cryptography fails.
    pub fn close(&self, id: &str, key: &[u8], random: &Random) -> Result<String, SealError> {
        let Some(secret) = &self.0 else { return Ok(format!("{PLAIN}{}", STANDARD.encode(key))) };
        let nonce = random.bytes::<NONCE_LEN>();
        let mut sealed = key.to_vec();
        secret
            .key()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id), &mut sealed)
            .map_err(|_| SealError::Damaged)?;
        let text = STANDARD.encode([&nonce[..], &sealed].concat());
        Ok(format!("{SEALED}{}:{text}", secret.id()))
    }

    /// The key of that id, from the text that [`Seal::close`] made of it, sealed or not.
    ///
    /// # Errors
    /// Where the secret is missing or another, or the text is not that.
    pub fn open(&self, id: &str, stored: &str) -> Result<Vec<u8>, SealError> {
        if let Some(plain) = stored.strip_prefix(PLAIN) {
            return STANDARD.decode(plain).map_err(|_| SealError::Damaged);
        }
        let (secret_id, text) =
            stored.strip_prefix(SEALED).and_then(|rest| rest.split_once(':')).ok_or(SealError::Damaged)?;
        let secret = self.0.as_ref().ok_or(SealError::NoSecret)?;
        if secret.id() != secret_id {
            return Err(SealError::OtherSecret);
        }
        let bytes = STANDARD.decode(text).map_err(|_| SealError::Damaged)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut sealed = sealed.to_vec();
        let key = secret.key()?.open_in_place(nonce, Aad::from(id), &mut sealed);
        key.map(|key| key.to_vec()).map_err(|_| SealError::Damaged)
    }

    /// Whether the text is sealed.
    #[must_use]
    pub fn is_sealed(stored: &str) -> bool {
        stored.starts_with(SEALED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_secret_and_under_its_name_alone() {
        let random = Random::seeded(1);
        let (one, other) = (Secret::new(&random), Secret::new(&random));
        let seal = Seal::new(Some(one.clone()));
        let stored = seal.close("id", b"key", &random).unwrap();
        assert!(Seal::is_sealed(&stored) && !stored.contains(&STANDARD.encode(b"key")));
        assert_eq!(seal.open("id", &stored).unwrap(), b"key");
        let same = Seal::new(Secret::parse(&one.text()));
        assert_eq!(same.open("id", &stored).unwrap(), b"key");
        assert_eq!(seal.open("other id", &stored), Err(SealError::Damaged));
        assert_eq!(Seal::new(Some(other)).open("id", &stored), Err(SealError::OtherSecret));
        assert_eq!(Seal::new(None).open("id", &stored), Err(SealError::NoSecret));
        assert_ne!(seal.close("id", b"key", &random).unwrap(), stored, "no nonce is used twice");

        let (head, text) = stored.rsplit_once(':').unwrap();
        for index in 0..STANDARD.decode(text).unwrap().len() {
            let mut bytes = STANDARD.decode(text).unwrap();
            bytes[index] ^= 1;
            let changed = format!("{head}:{}", STANDARD.encode(bytes));
            assert_eq!(seal.open("id", &changed), Err(SealError::Damaged), "byte {index}");
        }
        for damaged in ["", "sealed:", "plain:-", "other:a", &format!("{head}:"), &format!("{head}:AAAA")] {
            assert_eq!(seal.open("id", damaged), Err(SealError::Damaged), "{damaged}");
        }
    }

    #[test]
    fn without_a_secret_keys_stand_as_they_are_and_one_that_comes_later_opens_them() {
        let random = Random::seeded(1);
        let stored = Seal::new(None).close("id", b"key", &random).unwrap();
        assert!(!Seal::is_sealed(&stored));
        for seal in [Seal::new(None), Seal::new(Some(Secret::new(&random)))] {
            assert_eq!(seal.open("id", &stored).unwrap(), b"key");
        }
    }

    #[test]
    fn a_secret_is_64_hex_digits_and_never_shown() {
        let text = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
        assert_eq!(Secret::parse(&text).unwrap().text(), text.to_lowercase());
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace('0', "g"), &text.replace("01", "é")]
        {
            assert!(Secret::parse(wrong).is_none(), "{wrong}");
        }
        let shown = format!("{:?}", Seal::new(Secret::parse(&text)));
        assert!(!shown.contains("0123"), "{shown}");
    }
}
