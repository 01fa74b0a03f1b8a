//! What holds of every client's name and password, and of every scope that is asked for.

use properties::{check, check_texts, texts};

use super::*;

#[test]
fn clients() {
    let parts = (texts(&["id", "%41", "+"]), texts(&[":", "%", "é", "+", " "]));
    check("clients", parts, |(id, secret)| {
        let id = id.replace(':', "");
        let sent = |scheme: &str, text: &str| {
            basic(&HeaderValue::from_str(&format!("{scheme} {}", BASE64_STANDARD.encode(text))).unwrap())
        };
        let both = format!("{id}:{secret}");
        for scheme in ["Basic", "basic", "BASIC"] {
            assert_eq!(sent(scheme, &both), Some((id.clone(), secret.clone())));
        }
        assert_eq!(sent("Bearer", &both), None);
        assert_eq!(sent("Basic", &id), None);
        // As a form encodes them.
        let encoded = serde_urlencoded::to_string([(&id, &secret)]).unwrap();
        let (one, other) = encoded.split_once('=').unwrap();
        assert_eq!((form_decoded(one), form_decoded(other)), (id, secret));
    });
    const PIECES: &[&str] = &["Basic", " ", "aWQ6c2VjcmV0", "=", "Og==", "\t", "basic aWQ6"];
    check_texts(
        "client headers",
        include_str!("../../../../tests/corpus/clients.txt"),
        texts(PIECES),
        |text| {
            let Ok(value) = HeaderValue::from_str(text) else { return };
            let Some((id, secret)) = basic(&value) else { return };
            assert!(text[..6].eq_ignore_ascii_case("basic ") && !id.contains(':'));
            assert_eq!(BASE64_STANDARD.encode(format!("{id}:{secret}")), text[6..].trim());
        },
    );
}

#[test]
fn scopes() {
    const PIECES: &[&str] = &["read", "write", " ", "\t", "Read", "admin", "read write", ","];
    check_texts("scopes", include_str!("../../../../tests/corpus/clients.txt"), texts(PIECES), |text| {
        let words: Vec<&str> =
            text.split([' ', '\t', '\n', '\r', '\u{c}']).filter(|word| !word.is_empty()).collect();
        let is_good = !words.is_empty() && words.iter().all(|word| ["read", "write"].contains(word));
        match read_scope(Some(text)) {
            Ok((scope, told)) => {
                assert!(is_good);
                assert_eq!(scope == Scope::Write, words.contains(&"write"));
                // Told again, it is the same.
                assert!(read_scope(Some(told)).is_ok_and(|again| again == (scope, told)));
                assert!(told.split(' ').all(|word| words.contains(&word)));
            }
            Err(_) => assert!(!is_good, "{text:?}"),
        }
    });
}
