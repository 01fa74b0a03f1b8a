//! Names, slugs and e-mail addresses: what is accepted, and in what form it is kept.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::id::ShortId;

/// The most characters of a name.
pub const NAME_MAX: usize = 200;
/// The most characters of a description that a list is sorted by: with the number behind them they have to fit into an entry of
/// PostgreSQL's index, and a character takes four bytes at the most. The schema says the same.
pub const DESCRIPTION_KEY_MAX: usize = 200;
/// The most characters of a slug.
pub const SLUG_MAX: usize = 50;
/// The most characters of a description.
pub const DESCRIPTION_MAX: usize = 10_000;

/// The name of an organization, a person or an event: NFC, trimmed, 1 to 200 characters, no character that could break
/// a line or turn the writing direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing, or white space alone.
    Blank,
    /// More than 200 characters.
    TooLong,
    /// A control character, a line or paragraph separator, or a bidirectional control.
    Character,
}

impl Name {
    /// The text as a name. Length is counted after normalization.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // A text this long stays too long whatever normalization does: composing shrinks a character to no less than
        // a quarter of its parts.
        if text.len() > NAME_MAX * 64 {
            return Err(NameError::TooLong);
        }
        let name: String = text.nfc().collect();
        let name = name.trim();
        if name.is_empty() {
            Err(NameError::Blank)
        } else if name.chars().any(is_forbidden) {
            Err(NameError::Character)
        } else if name.chars().count() > NAME_MAX {
            Err(NameError::TooLong)
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    /// As kept and shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In the form that is compared: without regard to case.
    #[must_use]
    pub fn key(&self) -> String {
        fold(&self.0)
    }
}

/// `text` in the form in which names are compared and sought, NFC: two texts that differ by case alone have the same.
#[must_use]
pub fn fold(text: &str) -> String {
    // A search folds every description that it looks at, and most are such.
    if text.is_ascii() { text.to_ascii_lowercase() } else { fold_any(text) }
}

fn fold_any(text: &str) -> String {
    // Lower case alone tells ς from σ and ß from SS. From great to small once more, for what has no small form of one
    // character; and each character by itself, since what Σ becomes depends on where it stands.
    let small = text.nfd().flat_map(char::to_lowercase);
    small.flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A free text of at most `max` characters in which no NUL stands; line breaks are welcome.
#[must_use]
pub fn is_free_text(text: &str, max: usize) -> bool {
    !text.contains('\0') && text.chars().count() <= max
}

/// What a person is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PersonName {
    /// Nothing is known.
    #[default]
    Unknown,
    /// One name.
    Whole(Name),
    /// A first and a last name; either may be missing, not both.
    Parts(Option<Name>, Option<Name>),
}

impl PersonName {
    /// A first and a last name; [`PersonName::Unknown`] where both are missing.
    #[must_use]
    pub fn parts(first: Option<Name>, last: Option<Name>) -> Self {
        if first.is_none() && last.is_none() { Self::Unknown } else { Self::Parts(first, last) }
    }

    /// The whole name, first before last; empty where nothing is known.
    #[must_use]
    pub fn whole(&self) -> String {
        match self {
            Self::Unknown => String::new(),
            Self::Whole(name) => name.0.clone(),
            Self::Parts(first, last) => {
                let parts: Vec<&str> = [first, last].into_iter().flatten().map(Name::as_str).collect();
                parts.join(" ")
            }
        }
    }

    /// First and last name. Of one known by one name, the last word is the last name and what stands before it the
    /// first; a single word is a first name.
    #[must_use]
    pub fn first_and_last(&self) -> (String, String) {
        match self {
            Self::Unknown => (String::new(), String::new()),
            Self::Whole(name) => match name.0.rsplit_once(' ') {
                Some((first, last)) => (first.trim_end().to_owned(), last.to_owned()),
                None => (name.0.clone(), String::new()),
            },
            Self::Parts(first, last) => {
                let text = |name: &Option<Name>| name.as_ref().map(|n| n.0.clone()).unwrap_or_default();
                (text(first), text(last))
            }
        }
    }
}

/// The short name of an organization in addresses: unique, and unchanged by a rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slug(String);

const RESERVED: [&str; 8] = ["add", "new", "create", "invite", "switch", "me", "users", "organizations"];

impl Slug {
    /// The slug that `name` gives where it is free. Never empty.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut slug = String::with_capacity(name.len());
        for c in name.nfkc().collect::<String>().to_lowercase().chars() {
            if c.is_whitespace() || c == '-' {
                if !slug.ends_with('-') {
                    slug.push('-');
                }
            } else if is_slug_character(c) {
                slug.push(c);
            }
        }
        // What was dropped may have kept a mark from its letter: together they are one character.
        let slug: String = slug.nfkc().collect();
        let slug = cut(slug.trim_matches(['-', '_']), SLUG_MAX);
        Self(if slug.is_empty() { "organization".to_owned() } else { slug.to_owned() })
    }

    /// A slug that an operator chose: one that [`Slug::of`] would leave as it is and that is not reserved.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let slug = Self::of(text);
        (slug.0 == text && !slug.is_reserved()).then_some(slug)
    }

    /// This slug with `-number` behind it, shortened so that all fits.
    #[must_use]
    pub fn numbered(&self, number: u64) -> Self {
        let suffix = format!("-{number}");
        let base = cut(&self.0, SLUG_MAX - suffix.len());
        Self(format!("{base}{suffix}"))
    }

    /// Whether it is a word that paths of the dialects use.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.0.as_str())
    }

    /// As kept and shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_slug_character(c: char) -> bool {
    c == '_'
        || matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark)
        || c.general_category() == GeneralCategory::DecimalNumber
}

/// At most `max` characters of `text`, with no separator at the end.
fn cut(text: &str, max: usize) -> &str {
    match text.char_indices().nth(max) {
        Some((end, _)) => text[..end].trim_end_matches(['-', '_']),
        None => text,
    }
}

/// An e-mail address as typed, and the form in which it is compared: ASCII case aside, every character counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// The text as an address: one `@`, a local part of at most 64 bytes in the unquoted form, and a domain of at least
    /// two labels (or `localhost`), at most 254 bytes in all. Nothing else is an address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@')?;
        let dotted = |part: &str| !part.starts_with('.') && !part.ends_with('.') && !part.contains("..");
        let local_is_good = !local.is_empty()
            && local.len() <= 64
            && dotted(local)
            && local.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c));
        let label_is_good = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || is_mark(c) || c == '-')
        };
        let domain_is_good = (domain.contains('.') || domain.eq_ignore_ascii_case("localhost"))
            && domain.split('.').all(label_is_good);
        (text.len() <= 254 && local_is_good && domain_is_good).then(|| Self(text.to_owned()))
    }

    /// As typed: what is shown and what mail goes to.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In the form that is compared.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}

/// A name to sign in by: 1 to 30 letters, digits and `@ . + - _`; never `add` or `new`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username(String);

/// Why a text is no username.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsernameError {
    /// Nothing, or white space alone.
    Blank,
    /// More than 30 characters.
    TooLong,
    /// A character that is none of letters, digits and `@ . + - _`.
    Character,
    /// `add` or `new`, or in the form in which one who has neither username nor address is shown.
    Reserved,
}

impl Username {
    /// The text as a username.
    pub fn parse(text: &str) -> Result<Self, UsernameError> {
        let name: String = text.trim().nfc().take(64).collect();
        if name.is_empty() {
            Err(UsernameError::Blank)
        } else if name.chars().count() > 30 {
            Err(UsernameError::TooLong)
        } else if !name.chars().all(|c| c.is_alphanumeric() || "@.+-_".contains(c)) {
            Err(UsernameError::Character)
        } else if ["add", "new"].contains(&name.to_ascii_lowercase().as_str()) || made_of_id(&name).is_some()
        {
            Err(UsernameError::Reserved)
        } else {
            Ok(Self(name))
        }
    }

    /// As typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In the form that is compared, which is that of addresses: a username is never another account's address.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// What somebody typed, in that form, whether it is a username or not.
    pub(crate) fn key_of(text: &str) -> String {
        text.trim().nfc().collect::<String>().to_ascii_lowercase()
    }
}

/// The id in a name that was made of one, for a person who has neither username nor address: `user-` and 24 hex digits.
pub(crate) fn made_of_id(name: &str) -> Option<ShortId> {
    let (prefix, id) = name.split_at_checked(5)?;
    if prefix.eq_ignore_ascii_case("user-") { ShortId::parse(id) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_follow_the_rule() {
        for (name, slug) in [
            ("David Org", "david-org"),
            ("東京プロジェクト", "東京プロジェクト"),
            ("  --Ünïcode_  & Co.--  ", "ünïcode_-co"),
            ("ﬁne ½ ²", "fine-12-2"),
            ("!!!", "organization"),
            ("हिन्दी संगठन", "हिन्दी-संगठन"),
            ("a - _ - b", "a-_-b"),
            ("Ⅷ", "viii"),
            (&"x".repeat(60), &"x".repeat(50)),
            (&format!("{} tail", "y".repeat(49)), &"y".repeat(49)),
        ] {
            assert_eq!(Slug::of(name).as_str(), slug, "{name}");
        }
        assert_eq!(Slug::of(&"z".repeat(50)).numbered(12).as_str(), format!("{}-12", "z".repeat(47)));
        assert!(Slug::of("New").is_reserved());
        assert_eq!(Slug::parse("Not A Slug"), None);
    }

    #[test]
    fn names_are_kept_as_typed() {
        assert_eq!(Name::parse("  e\u{301}quipe ").unwrap().as_str(), "équipe");
        assert_eq!(Name::parse(" \u{3000}"), Err(NameError::Blank));
        assert_eq!(Name::parse("a\u{202e}b"), Err(NameError::Character));
        assert_eq!(Name::parse("a\nb"), Err(NameError::Character));
        assert_eq!(Name::parse(&"é".repeat(201)), Err(NameError::TooLong));
        assert!(Name::parse(&"e\u{301}".repeat(200)).is_ok());
        assert!(Name::parse("<b>=1+1 😀 \u{200d}</b>").is_ok());
    }

    #[test]
    fn people_have_one_name_or_two() {
        let whole = |s: &str| PersonName::Whole(Name::parse(s).unwrap());
        assert_eq!(whole("Ana María López").first_and_last(), ("Ana María".into(), "López".into()));
        assert_eq!(whole("Madonna").first_and_last(), ("Madonna".into(), String::new()));
        assert_eq!(PersonName::parts(Name::parse("A").ok(), Name::parse("B C").ok()).whole(), "A B C");
    }

    /// Texts made of what normalization, case and separators trip over.
    fn awkward_texts() -> impl Iterator<Item = String> {
        const PIECES: [&str; 40] = [
            "a", "B", "z", "9", "-", "_", " ", "\u{301}", "\u{327}", "é", "İ", "ß", "ẞ", "Σ", "ς", "ﬁ", "½",
            "²", "Ⅷ", "K", "\u{3000}", "\u{200d}", "\u{200b}", "\u{202e}", "\n", "\r", "\0", ",", "@", ".",
            "!", "\"", "<", "東", "ह", "ि", "\u{fdfa}", "가", "\u{1100}", "😀",
        ];
        (0..4_000u64).map(|seed| {
            let bytes: [u8; 64] = crate::clock::Random::seeded(seed).bytes();
            let length = usize::from(bytes[0]) % 63 + 1;
            bytes[1..=length].iter().map(|byte| PIECES[usize::from(*byte) % PIECES.len()]).collect()
        })
    }

    #[test]
    fn a_slug_is_its_own_slug() {
        for name in awkward_texts().chain(["e!\u{301}".into(), "x".repeat(49) + "-y", "a!-".repeat(40)]) {
            let slug = Slug::of(&name);
            assert!((1..=SLUG_MAX).contains(&slug.0.chars().count()), "{name:?} gave {slug:?}");
            assert_eq!(Slug::of(&slug.0), slug, "of {name:?}");
            for number in [1, 10, 1_000_000] {
                let numbered = slug.numbered(number);
                assert!(numbered.0.chars().count() <= SLUG_MAX, "{numbered:?}");
                assert_eq!(Slug::parse(&numbered.0), Some(numbered.clone()), "of {name:?}");
            }
        }
    }

    #[test]
    fn what_was_accepted_stays_what_it_is() {
        let (mut names, mut usernames) = (0, 0);
        for text in awkward_texts() {
            if let Ok(name) = Name::parse(&text) {
                names += 1;
                assert_eq!(Name::parse(&name.0), Ok(name.clone()));
                assert_eq!(fold(&name.key()), name.key());
            }
            if let Ok(username) = Username::parse(&text) {
                usernames += 1;
                assert_eq!(Username::key_of(&username.0), username.key());
                assert_eq!(Username::key_of(&username.0.nfd().collect::<String>()), username.key());
            }
            for address in [format!("{text}@x.org"), format!("a@{text}.org"), format!("a@x.org{text}")] {
                if let Some(email) = Email::parse(&address) {
                    assert!(
                        !email
                            .0
                            .contains(|c: char| c.is_whitespace() || c.is_control() || ",\"<>".contains(c))
                    );
                    assert_eq!(email.0.matches('@').count(), 1);
                    assert_eq!(Email::parse(&email.0), Some(email));
                }
            }
        }
        assert!(
            names > 100 && usernames > 5,
            "{names} names and {usernames} usernames are too few to show anything"
        );
    }

    #[test]
    fn addresses_are_checked_for_form() {
        for good in [
            "a@x.org",
            "Student@example.com",
            "jürgen@müller.de",
            "o'neil+tag@sub.example.co",
            "root@localhost",
        ] {
            assert!(Email::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@",
            "@x.org",
            "a b@x.org",
            "a@x",
            "a@-x.org",
            "a..b@x.org",
            "a@x..org",
            "a\n@x.org",
            "a@x.org,b@x.org",
            "\"a\"@x.org",
            "a@b@x.org",
        ] {
            assert!(Email::parse(bad).is_none(), "{bad}");
        }
    }
}

#[cfg(test)]
mod parsers;
