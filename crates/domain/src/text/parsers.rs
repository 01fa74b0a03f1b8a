//! What holds of every text that is to be a name, a slug, an address or a username.

use properties::{check_texts, texts};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::*;

fn nfd(text: &str) -> String {
    text.nfd().collect()
}

/// As the rule has it: Cc, separators of lines and paragraphs, what turns the direction.
fn breaks_a_name(c: char) -> bool {
    c.general_category() == GeneralCategory::Control
        || c.general_category() == GeneralCategory::LineSeparator
        || c.general_category() == GeneralCategory::ParagraphSeparator
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

const NAMES: &[&str] =
    &["Ana", "David Org", " ", "-", "_", "Add", "new", "\u{301}", "e", "東京", "'", "\u{202e}"];

#[test]
fn names() {
    check_texts("names", include_str!("../../tests/corpus/names.txt"), texts(NAMES), |text| {
        let normal: String = text.nfc().collect();
        let normal = normal.trim();
        match Name::parse(text) {
            Ok(name) => {
                assert_eq!(name.as_str(), normal);
                assert!(!normal.is_empty() && normal.chars().count() <= NAME_MAX && is_nfc(normal));
                assert!(!normal.chars().any(breaks_a_name));
                assert_eq!(Name::parse(name.as_str()), Ok(name));
            }
            Err(NameError::Blank) => assert!(normal.is_empty()),
            Err(NameError::Character) => assert!(normal.chars().any(breaks_a_name)),
            Err(NameError::TooLong) => assert!(normal.chars().count() > NAME_MAX),
        }
        assert_eq!(Name::parse(&nfd(text)), Name::parse(text), "written in another way it is the same");
    });
}

#[test]
fn names_without_regard_to_case() {
    check_texts("case", include_str!("../../tests/corpus/names.txt"), texts(NAMES), |text| {
        let key = fold(text);
        assert!(is_nfc(&key));
        // Great and small of its decomposed form, where marks stand in their order: a capital of a composed letter may be
        // two, and the mark that follows is then the second one's, which makes it another text (ᾴ with one more accent).
        let (normal, apart): (String, _) = (text.nfc().collect(), nfd(text));
        for same in [key.clone(), apart.to_uppercase(), apart.to_lowercase(), apart, normal] {
            assert_eq!(fold(&same), key, "{same:?}");
        }
        assert_eq!(key, fold_any(text));
    });
}

/// Every character of the planes that have letters, one by one: random texts meet few.
#[test]
fn names_and_slugs_of_every_character() {
    let mut characters = 0;
    for c in ('\0'..'\u{20000}').chain('\u{e0000}'..'\u{e0200}') {
        let text = c.to_string();
        let key = fold(&text);
        for same in [key.clone(), text.to_uppercase(), text.to_lowercase(), nfd(&text)] {
            assert_eq!(fold(&same), key, "{c:?} and {same:?}");
        }
        let slug = Slug::of(&text);
        assert_eq!(Slug::of(slug.as_str()), slug, "{c:?}");
        characters += 1;
    }
    eprintln!("COUNTED: parsers: every character: {characters} cases");
}

#[test]
fn slugs() {
    const PIECES: &[&str] =
        &["David Org", "-", "_", " ", "--", "__", "Add", "users", "1", "é", "e\u{301}", "\u{301}"];
    let corpus = include_str!("../../tests/corpus/names.txt");
    check_texts("slugs", corpus, texts(PIECES), |text| {
        let slug = Slug::of(text);
        let shown = slug.as_str();
        assert!((1..=SLUG_MAX).contains(&shown.chars().count()), "{shown:?}");
        assert!(!shown.starts_with(['-', '_']) && !shown.ends_with(['-', '_']) && !shown.contains("--"));
        assert!(shown.chars().all(|c| c == '-' || c == '_' || !c.is_ascii() || c.is_ascii_alphanumeric()));
        assert!(!shown.chars().any(|c| c.is_whitespace() || c.is_control() || c.is_ascii_uppercase()));
        assert_eq!(Slug::of(shown), slug, "it is its own");
        assert_eq!(Slug::of(&nfd(text)), slug);
        assert_eq!(Slug::of(&text.nfkc().collect::<String>()), slug);
        assert_eq!(Slug::parse(shown).is_none(), slug.is_reserved());
        assert_eq!(Slug::parse(text).is_some(), text == shown && !slug.is_reserved());
        for number in [1, 999, u64::MAX] {
            let numbered = slug.numbered(number);
            assert!(numbered.as_str().ends_with(&format!("-{number}")));
            assert_eq!(Slug::parse(numbered.as_str()), Some(numbered));
        }
    });
}

const ADDRESSES: &[&str] =
    &["@", ".", "ana", "example.org", "@example.org", "ana@", "-", "+", "localhost", "\"", "xn--", "é"];

#[test]
fn addresses() {
    check_texts("addresses", include_str!("../../tests/corpus/addresses.txt"), texts(ADDRESSES), |text| {
        let Some(email) = Email::parse(text) else { return };
        let shown = email.as_str();
        assert_eq!(shown, text.trim(), "kept as typed");
        assert_eq!(Email::parse(shown), Some(email.clone()));
        let (local, domain) = shown.split_once('@').unwrap();
        assert!(shown.len() <= 254 && (1..=64).contains(&local.len()) && !domain.contains('@'));
        let is_good = |c: char| c.is_alphanumeric() || is_mark(c) || c.is_ascii_graphic();
        assert!(
            shown.chars().all(is_good) && !shown.contains([',', ';', ':', '<', '>', '(', ')', '"', '\\'])
        );
        for part in local.split('.').chain(domain.split('.')) {
            assert!(!part.is_empty(), "{shown:?}");
        }
        assert!(domain.contains('.') || domain.eq_ignore_ascii_case("localhost"));
        for same in [shown.to_ascii_uppercase(), email.key()] {
            assert_eq!(Email::parse(&same).map(|same| same.key()), Some(email.key()));
        }
    });
}

#[test]
fn addresses_of_their_form() {
    let labels = "[a-z0-9üé]([a-z0-9é-]{0,20}[a-z0-9東])?";
    let form = (
        "[A-Za-z0-9!#$%&'*+/=?^_`{|}~é-]{1,20}(\\.[a-z0-9é]{1,10}){0,2}",
        properties::proptest::collection::vec(labels, 2..5),
    );
    properties::check("addresses of their form", form, |(local, labels)| {
        let text = format!("{local}@{}", labels.join("."));
        assert_eq!(Email::parse(&format!(" {text}\t")).unwrap().as_str(), text);
        for wrong in [
            format!("{local}@"),
            format!("@{text}"),
            format!(".{text}"),
            format!("{text}."),
            format!("{text}-"),
            format!("{local} {text}"),
            format!("{text}\0"),
            format!("{text},{text}"),
            format!("{text}\u{202e}"),
            format!("{}{text}", "x".repeat(65)),
            format!("{text}.{}", "x".repeat(64)),
            format!("{text}{}", ".label".repeat(42)),
        ] {
            assert_eq!(Email::parse(&wrong), None, "{wrong:?}");
        }
    });
}

#[test]
fn addresses_that_look_alike_are_others() {
    let pairs = (texts(ADDRESSES), texts(ADDRESSES));
    properties::check("addresses that look alike", pairs, |(one, other)| {
        let variants =
            |text: &str| [text.to_lowercase(), text.to_uppercase(), nfd(text), text.nfkc().collect()];
        let locals: Vec<String> = [one, other].iter().flat_map(|text| variants(text)).collect();
        let known: Vec<Email> =
            locals.iter().filter_map(|local| Email::parse(&format!("{local}@example.org"))).collect();
        for (one, other) in known.iter().flat_map(|one| known.iter().map(move |other| (one, other))) {
            let is_same = one.as_str().eq_ignore_ascii_case(other.as_str());
            assert_eq!(one.key() == other.key(), is_same, "{one:?} {other:?}");
        }
    });
}

#[test]
fn usernames() {
    const PIECES: &[&str] =
        &["ana", "add", "new", "@", ".", "+", "-", "_", "user-", "5007d396eb7abf319a000047", "é"];
    let corpus = include_str!("../../tests/corpus/usernames.txt");
    check_texts("usernames", corpus, texts(PIECES), |text| {
        let parsed = Username::parse(text);
        assert_eq!(Username::parse(&nfd(text)), parsed, "written in another way it is the same");
        assert_eq!(Username::parse(&format!("\u{3000}{text} ")), parsed);
        let Ok(username) = parsed else { return };
        let shown = username.as_str();
        assert!((1..=30).contains(&shown.chars().count()) && is_nfc(shown));
        assert!(shown.chars().all(|c| c.is_alphanumeric() || "@.+-_".contains(c)));
        assert!(!["add", "new"].contains(&username.key().as_str()));
        assert!(made_of_id(shown).is_none());
        assert_eq!(Username::parse(shown), Ok(username.clone()));
        for same in [shown.to_owned(), nfd(shown), shown.to_ascii_uppercase(), format!(" {shown} ")] {
            assert_eq!(Username::key_of(&same), username.key(), "{same:?}");
        }
    });
}
