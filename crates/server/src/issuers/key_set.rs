//! A JSON Web Key Set (RFC 7517), and which of its keys a token may be verified with.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::Statement;
use crate::verified::Verified;

/// The bits an RSA key may have: shorter ones can be broken, longer ones the library does not take.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of an issuer at one moment, and the tokens they were found to have signed: new keys start with none.
pub(super) struct KeySet {
    keys: Vec<Key>,
    pub(super) verified: Verified<Arc<Statement>>,
}

struct Key {
    kid: Option<String>,
    /// What it may be used with: what fits its type, and of that its own `alg` alone if it has one.
    algorithms: Vec<Algorithm>,
    verifying: DecodingKey,
}

impl KeySet {
    /// The keys of a set that can verify signatures. The others, whatever they are for, are not an error (RFC 7517, 5).
    /// Nothing where `json` is no key set.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(json).ok()?;
        let keys = document.keys.into_iter().filter_map(Key::parse).collect();
        Some(Self { keys, verified: Verified::new() })
    }

    /// Whether a key of the set is named `kid`.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The key that a token with this `kid` and algorithm is verified with. For a token without `kid` it is the one key
    /// that fits, if it is one.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let fits =
            |key: &&Key| key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid);
        let mut fitting = self.keys.iter().filter(fits);
        let key = fitting.next()?;
        if kid.is_none() && fitting.next().is_some() {
            return None;
        }
        Some(&key.verifying)
    }
}

impl Key {
    fn parse(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        if jwk.common.key_operations.as_ref().is_some_and(|uses| !uses.contains(&KeyOperations::Verify)) {
            return None;
        }
        let mut algorithms = fitting(&jwk.algorithm).to_vec();
        if let Some(own) = jwk.common.key_algorithm {
            algorithms.retain(|algorithm| Algorithm::try_from(own).is_ok_and(|own| own == *algorithm));
        }
        if algorithms.is_empty() {
            return None;
        }
        Some(Self { verifying: DecodingKey::from_jwk(&jwk).ok()?, kid: jwk.common.key_id, algorithms })
    }
}

/// What a key of this type can be used with.
fn fitting(parameters: &AlgorithmParameters) -> &'static [Algorithm] {
    match parameters {
        AlgorithmParameters::RSA(rsa) if bits(&rsa.n).is_some_and(|bits| RSA_BITS.contains(&bits)) => {
            &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256]
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => &[Algorithm::ES256],
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => &[Algorithm::ES384],
        AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        _ => &[],
    }
}

/// How many bits a number in base64url has.
fn bits(number: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(number).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some((bytes.len() - first) * 8 - bytes[first].leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rsa(modulus: &[u8]) -> Value {
        json!({ "kty": "RSA", "kid": "k", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB" })
    }

    fn with(mut jwk: Value, name: &str, value: Value) -> Value {
        jwk[name] = value;
        jwk
    }

    fn fits(jwk: &Value, algorithm: Algorithm) -> bool {
        let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        set.find(Some("k"), algorithm).is_some()
    }

    #[test]
    fn a_key_is_used_only_for_what_it_is_for() {
        let good = rsa(&[0xff; 256]);
        assert!(
            fits(&good, Algorithm::RS256) && fits(&good, Algorithm::PS256) && !fits(&good, Algorithm::ES256)
        );
        assert!(fits(&with(good.clone(), "use", json!("sig")), Algorithm::RS256));
        assert!(!fits(&with(good.clone(), "use", json!("enc")), Algorithm::RS256));
        assert!(!fits(&with(good.clone(), "use", json!("")), Algorithm::RS256));
        assert!(fits(&with(good.clone(), "key_ops", json!(["verify"])), Algorithm::RS256));
        assert!(!fits(&with(good.clone(), "key_ops", json!(["encrypt"])), Algorithm::RS256));
        let only = with(good.clone(), "alg", json!("RS384"));
        assert!(fits(&only, Algorithm::RS384) && !fits(&only, Algorithm::RS256));
        for other in ["RSA-OAEP", "ES256", "HS256", "none"] {
            assert!(!fits(&with(good.clone(), "alg", json!(other)), Algorithm::RS256), "{other}");
        }
        let secret = json!({ "kty": "oct", "kid": "k", "k": "c2VjcmV0" });
        for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256] {
            assert!(!fits(&secret, algorithm));
        }
        let curve = json!({ "kty": "EC", "kid": "k", "crv": "P-384", "x": "AA", "y": "AA" });
        assert!(fits(&curve, Algorithm::ES384) && !fits(&curve, Algorithm::ES256));
    }

    #[test]
    fn short_rsa_keys_are_refused_however_they_are_written() {
        assert!(fits(&rsa(&[0x80; 256]), Algorithm::RS256), "2048 bits");
        assert!(!fits(&rsa(&[0x7f; 256]), Algorithm::RS256), "2047 bits");
        assert!(!fits(&rsa(&[0xff; 128]), Algorithm::RS256));
        assert!(
            !fits(&rsa(&[vec![0; 128], vec![0xff; 128]].concat()), Algorithm::RS256),
            "zeros count for nothing"
        );
        assert!(fits(&rsa(&[vec![0; 1], vec![0xff; 256]].concat()), Algorithm::RS256));
        assert!(!fits(&rsa(&[0xff; 2048]), Algorithm::RS256));
        assert!(!fits(&rsa(&[]), Algorithm::RS256));
    }

    #[test]
    fn what_is_no_key_set_is_told_from_one_without_keys() {
        for wrong in ["", "[]", "{}", r#"{"keys":1}"#, "null"] {
            assert!(KeySet::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert!(KeySet::parse(br#"{"keys":[]}"#).is_some());
        assert!(KeySet::parse(br#"{"keys":[1,{},{"kty":"AKP"}]}"#).is_some_and(|set| set.keys.is_empty()));
    }
}
