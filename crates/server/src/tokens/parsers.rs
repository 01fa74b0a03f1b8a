//! What holds of every text that may be a token, before anybody has verified it.

use properties::proptest::prelude::any;
use properties::{check, check_texts, texts};

use super::*;
use crate::sealing::Secret;

#[test]
fn issuers_of_tokens() {
    const PIECES: &[&str] = &["eyJpc3MiOiJ4In0", ".", "e30", "=", "_", "-", "+", "/", "eyJhbGciOiJub25lIn0"];
    check_texts("tokens", include_str!("../../tests/corpus/tokens.txt"), texts(PIECES), |text| {
        let Some(issuer) = issuer_of(text) else { return };
        let parts: Vec<&str> = text.split('.').collect();
        assert!(parts.len() == 3 && text.len() <= LONGEST_OF_ANY);
        let payload = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap()["iss"], json!(issuer));
    });
    check("tokens from their parts", (texts(&["https://", "\"", "."]), texts(&["."])), |(issuer, other)| {
        let payload = URL_SAFE_NO_PAD.encode(json!({"iss": issuer, "x": other}).to_string());
        assert_eq!(issuer_of(&format!("a.{payload}.b")), Some(issuer));
        for wrong in
            [payload.clone(), format!("a.{payload}"), format!("a.{payload}.b.c"), format!("a.{payload}=.b")]
        {
            assert_eq!(issuer_of(&wrong), None, "{wrong}");
        }
        assert_eq!(issuer_of(&format!("a.{payload}.{}", "b".repeat(LONGEST_OF_ANY))), None);
    });
}

#[test]
fn sealed_keys() {
    let parts = (any::<[u8; 32]>(), any::<Vec<u8>>(), "[a-f0-9]{16}", any::<u64>());
    check("sealed keys", parts, |(secret, key, id, seed)| {
        let secret = Secret::parse(&hex(&secret)).unwrap();
        for seal in [Seal::new(None), Seal::new(Some(secret.clone()))] {
            let stored = seal.close(&id, &key, &Random::seeded(seed)).unwrap();
            assert_eq!(seal.open(&id, &stored), Ok(key.clone()));
            assert!(!seal.seals() || seal.open("0", &stored).is_err(), "under another name it does not open");
        }
    });
    const PIECES: &[&str] = &["sealed:", "plain:", ":", "AAAA", "=", "0123456789abcdef"];
    check_texts("stored keys", include_str!("../../tests/corpus/tokens.txt"), texts(PIECES), |text| {
        let seal = Seal::new(Some(Secret::parse(&"00".repeat(32)).unwrap()));
        // Nobody but the server writes one, so what opens was not sealed.
        assert!(seal.open("id", text).is_err() || text.starts_with("plain:"));
    });
}
