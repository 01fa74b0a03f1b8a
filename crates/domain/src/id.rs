//! Ids. One thing has one identity, which each dialect shows in its documented form.
//!
//! A thing is a row with a `number` (an integer that counts up and is never reused) and, where a dialect shows something
//! that cannot be guessed, a [`Uid`]. The three long forms are one value written in three ways, so none can disagree.

use crate::clock::{Random, hex};

/// The number of an account; what bit and pm415 show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub i64);

/// The number of an organization; what bit and pm415 show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganizationId(pub i64);

/// The number of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

/// 128 random bits in the shape of a version 4 UUID, kept as 32 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Uid(String);

impl Uid {
    /// A new one.
    #[must_use]
    pub fn new(random: &Random) -> Self {
        let mut bytes: [u8; 16] = random.bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(hex(&bytes))
    }

    /// As the database keeps it.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// The 32 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `8-4-4-4-12`: what buildog shows.
    #[must_use]
    pub fn uuid(&self) -> String {
        let s = &self.0;
        format!("{}-{}-{}-{}-{}", &s[..8], &s[8..12], &s[12..16], &s[16..20], &s[20..])
    }

    /// The first 24 hex digits: what stormz shows, and enough (90 random bits) to find one thing by.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..24]
    }

    /// 24 characters of `a-z0-9` without `l 1 o 0`: what cadasta shows.
    #[must_use]
    pub fn letters(&self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let bits = u128::from_str_radix(&self.0, 16).unwrap_or_default();
        (0..24)
            .map(|place| char::from(ALPHABET[usize::try_from(bits >> (123 - 5 * place) & 31).unwrap_or(0)]))
            .collect()
    }
}

/// A [`Uid::short`] that a client sent, checked for its form: 24 hex digits, in either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortId(String);

impl ShortId {
    /// Nothing where it has not the form: such an id is one that never was.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| Self(text.to_ascii_lowercase()))
    }

    /// The least and the greatest [`Uid`] that begin so: the bounds of one index look-up.
    pub(crate) fn bounds(&self) -> (String, String) {
        (format!("{}00000000", self.0), format!("{}ffffffff", self.0))
    }
}

/// A number that a client sent as text: decimal digits, no sign, no leading zero, within an `i64`.
#[must_use]
pub fn number(text: &str) -> Option<i64> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_has_three_forms() {
        let uid = Uid::new(&Random::seeded(1));
        assert_eq!(uid.uuid().replace('-', ""), uid.as_str());
        assert_eq!(&uid.uuid()[14..15], "4");
        assert!(uid.as_str().starts_with(uid.short()) && uid.short().len() == 24);
        assert_eq!(uid.letters().len(), 24);
        assert!(
            uid.letters()
                .bytes()
                .all(|b| (b.is_ascii_lowercase() || b.is_ascii_digit()) && !b"l1o0".contains(&b))
        );
        let (least, greatest) = ShortId::parse(&uid.short().to_uppercase()).unwrap().bounds();
        assert!(least.as_str() <= uid.as_str() && uid.as_str() <= greatest.as_str());
    }

    #[test]
    fn every_id_is_found_by_each_of_its_forms() {
        for seed in 0..2_000 {
            let random = Random::seeded(seed);
            let uid = Uid::new(&random);
            let short = ShortId::parse(uid.short()).unwrap();
            assert_eq!(short.0, uid.short());
            assert!(uid.letters().bytes().all(|b| b.is_ascii_alphanumeric()) && uid.uuid().len() == 36);
            let id = i64::from_le_bytes(random.bytes()).saturating_abs() >> (seed % 63);
            assert_eq!(number(&id.to_string()), Some(id));
            for spoiled in
                [format!("0{id}"), format!("-{id}"), format!("{id} "), format!("{id}0000000000000000000")]
            {
                assert!(number(&spoiled).is_none() || id == 0 && spoiled == "0 ", "{spoiled}");
            }
        }
    }

    #[test]
    fn a_malformed_id_is_none() {
        for text in ["", "5007d396eb7abf319a00004", "5007d396eb7abf319a0000471", "5007d396eb7abf319a00004g"] {
            assert_eq!(ShortId::parse(text), None, "{text}");
        }
        for text in ["", "-1", "+1", "01", "1.0", " 1", "9223372036854775808", "١"] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(number("9223372036854775807"), Some(i64::MAX));
    }
}

#[cfg(test)]
mod parsers;
