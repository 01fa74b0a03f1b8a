//! What is looked for in JSON before any of it is kept: objects that name a key twice, which one reader takes at its first word
//! and another at its last, and more values than anybody has a use for, each of which takes many times its letters.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The most values in one body, those inside others included: together less than 2 MiB. What is taken in any list is a hundred.
pub(super) const VALUES_MAX: usize = 10_000;

/// Why JSON is not taken.
#[derive(Debug)]
pub(super) enum Bad {
    /// It is none, or an object in it names a key more than once.
    Malformed(serde_json::Error),
    /// It has more than [`VALUES_MAX`] values.
    TooMany,
}

/// # Errors
/// What is wrong with `json`, wherever that is.
pub(super) fn check(json: &[u8]) -> Result<(), Bad> {
    let left = Cell::new(VALUES_MAX + 1);
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Distinct(&left).deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|error| if left.get() == 0 { Bad::TooMany } else { Bad::Malformed(error) })
}

/// Any JSON in which no object names a key twice, with fewer values than this. Nothing of it is kept.
#[derive(Clone, Copy)]
struct Distinct<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Distinct<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.set(self.0.get().saturating_sub(1));
        let is_one_too_many = self.0.get() == 0;
        if is_one_too_many {
            Err(D::Error::custom("too many values"))
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Distinct<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        let mut keys = Vec::new();
        while let Some(Key(key)) = pairs.next_key()? {
            keys.push(key);
            pairs.next_value_seed(self)?;
        }
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom("an object names a key twice"));
        }
        Ok(())
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
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "b": 2, "a": 3}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"x": [1, {"y": {"": 1, "": 2}}]}"#,
            r#"[[[{"a": 1, "a": 2}]]]"#,
        ] {
            let Err(Bad::Malformed(error)) = check(bad.as_bytes()) else { panic!("{bad} was taken") };
            assert!(error.to_string().starts_with("an object names a key twice at line 1"), "{error}");
        }
    }

    #[test]
    fn what_is_too_deep_or_cut_off_is_refused_and_not_followed() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(check(deep(127).as_bytes()).is_ok());
        assert!(check(deep(128).as_bytes()).is_err());
        assert!(check("[".repeat(1_000_000).as_bytes()).is_err());
        assert!(check(b"{\"a\":").is_err());
    }

    #[test]
    fn of_too_many_values_none_is_kept() {
        // The list itself is one.
        let list = |values: usize| format!("[{}]", vec!["[]"; values].join(","));
        assert!(check(list(VALUES_MAX - 1).as_bytes()).is_ok());
        assert!(matches!(check(list(VALUES_MAX).as_bytes()), Err(Bad::TooMany)));
        let object: Vec<String> = (0..VALUES_MAX).map(|number| format!("\"{number}\": 0")).collect();
        assert!(matches!(check(format!("{{{}}}", object.join(",")).as_bytes()), Err(Bad::TooMany)));
        assert!(matches!(check(format!("{} {{", list(2)).as_bytes()), Err(Bad::Malformed(_))));
    }
}
