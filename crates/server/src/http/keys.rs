//! Objects that name a key twice: one reader takes the first for true and another the last, so they are refused.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// # Errors
/// Where an object in `json` names a key more than once, and where it is no JSON.
pub(super) fn refuse_repeated(json: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice(json).map(|Distinct| ())
}

/// Any JSON in which no object names a key twice. Nothing of it is kept.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Distinct;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_str<E>(self, _: &str) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Distinct, A::Error> {
        while let Some(Distinct) = elements.next_element()? {}
        Ok(Distinct)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Distinct, A::Error> {
        let mut keys = Vec::new();
        while let Some((Key(key), Distinct)) = pairs.next_entry()? {
            keys.push(key);
        }
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom("an object names a key twice"));
        }
        Ok(Distinct)
    }
}

/// A key, copied only where it is written with escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_once_in_its_object() {
        for good in [
            "{}",
            "[]",
            r#"{"a": 1, "b": {"a": 2}, "c": [{"a": 3}, {"a": 4}]}"#,
            r#"{"a": null, "A": true, "a ": 1.5, "": -1}"#,
            r#"["a", "a", 18446744073709551615, 1e300]"#,
            "\"text\"",
        ] {
            assert!(refuse_repeated(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "b": 2, "a": 3}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"x": [1, {"y": {"": 1, "": 2}}]}"#,
            r#"[[[{"a": 1, "a": 2}]]]"#,
        ] {
            let error = refuse_repeated(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("an object names a key twice at line 1"), "{error}");
        }
    }

    #[test]
    fn what_is_too_deep_or_cut_off_is_refused_and_not_followed() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(refuse_repeated(deep(127).as_bytes()).is_ok());
        assert!(refuse_repeated(deep(128).as_bytes()).is_err());
        assert!(refuse_repeated("[".repeat(1_000_000).as_bytes()).is_err());
        assert!(refuse_repeated(b"{\"a\":").is_err());
    }
}
