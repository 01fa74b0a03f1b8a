//! What the property tests of the parsers share: hostile texts, a runner that counts, and the corpus.
//!
//! A property is a function that panics where what it is given shows it wrong. It runs on 256 random values, or as many as
//! the environment's `PROPTEST_CASES` says, and a value that breaks it is made as small as it can be before it is told. The
//! values are those of the seed in `GUILDHALL_SEED`, or of 1: who has changed nothing finds what was found before. New ones
//! are looked for with other seeds and more cases, by `proof long parsers`.
//! Texts that broke one once, and edge cases that people thought of, stand in a corpus: a file of lines in
//! `tests/corpus/` of the crate, each tried in every run before anything random is.

use std::fmt::Debug;

pub use proptest;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

/// Runs `property` on random values and says on standard error how many there were.
///
/// # Panics
/// Where the property does, with the smallest value that shows it.
pub fn check<S: Strategy>(name: &str, strategy: S, property: impl Fn(S::Value))
where
    S::Value: Debug,
{
    let cases = run(name, strategy, property);
    eprintln!("COUNTED: parsers: {name}: {cases} cases");
}

#[expect(clippy::disallowed_methods, reason = "a test may be told its seed")]
fn seed() -> u64 {
    std::env::var("GUILDHALL_SEED").map_or(1, |seed| seed.parse().expect("GUILDHALL_SEED is a number"))
}

/// How many values it ran on.
fn run<S: Strategy>(name: &str, strategy: S, property: impl Fn(S::Value)) -> u32
where
    S::Value: Debug,
{
    // What was found goes into the corpus by hand: a seed would mean something else once the strategy changes.
    let config = Config { failure_persistence: None, rng_seed: RngSeed::Fixed(seed()), ..Config::default() };
    let cases = config.cases;
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        property(value);
        Ok(())
    });
    match outcome {
        Ok(()) => cases,
        Err(TestError::Fail(why, value)) => {
            panic!("{name}: {why}\nfor {value:#?}\nwith GUILDHALL_SEED={}", seed())
        }
        Err(TestError::Abort(why)) => panic!("{name}: no more values: {why}"),
    }
}

/// Runs `property` on the empty text, on each of the corpus, and on random ones.
///
/// # Panics
/// Where the property does; of a random text the smallest is told as a line for the corpus.
pub fn check_texts(
    name: &str,
    corpus: &str,
    strategy: impl Strategy<Value = String>,
    property: impl Fn(&str),
) {
    property("");
    let kept = lines(corpus);
    kept.iter().for_each(|text| property(text));
    let cases = run(name, strategy.prop_map(Text), |text| property(&text.0));
    eprintln!("COUNTED: parsers: {name}: {cases} cases and {} of the corpus", kept.len() + 1);
}

/// The texts of a corpus: one a line, as [`char::escape_default`] writes it. An empty line and one that begins with `# ` is
/// none.
///
/// # Panics
/// Where a line is not written so.
#[must_use]
pub fn lines(corpus: &str) -> Vec<String> {
    let is_text = |line: &&str| !line.is_empty() && !line.starts_with("# ");
    let read = |line: &str| unescaped(line).unwrap_or_else(|| panic!("no line of a corpus: {line}"));
    corpus.lines().filter(is_text).map(read).collect()
}

/// A text that is shown as the corpus writes it.
struct Text(String);

impl Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the text\n{}", self.0.escape_default())
    }
}

fn unescaped(line: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let mut escape = rest[at + 1..].chars();
        let c = match escape.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            c @ ('\\' | '\'' | '"') => c,
            'u' => {
                let (digits, behind) = escape.as_str().strip_prefix('{')?.split_once('}')?;
                escape = behind.chars();
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        };
        text.push(c);
        rest = escape.as_str();
    }
    text.push_str(rest);
    Some(text)
}

/// What normalization, case, direction, separators and escapes trip over.
const AWKWARD: [&str; 62] = [
    "\0",
    "\u{1}",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\u{1b}",
    "\u{7f}",
    "\u{85}",
    " ",
    "\u{a0}",
    "\u{ad}",
    "\u{200b}",
    "\u{200d}",
    "\u{200e}",
    "\u{2028}",
    "\u{2029}",
    "\u{202e}",
    "\u{2066}",
    "\u{3000}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{10ffff}",
    "\u{e0001}",
    "\u{301}",
    "\u{327}",
    "\u{345}",
    "\u{94d}",
    "e\u{301}",
    "é",
    "İ",
    "ı",
    "ß",
    "ẞ",
    "Σ",
    "σ",
    "ς",
    "ﬁ",
    "ŉ",
    "ſ",
    "½",
    "²",
    "Ⅷ",
    "\u{212a}",
    "ǅ",
    "ᾳ",
    "\u{fdfa}",
    "가",
    "\u{1100}\u{1161}",
    "東",
    "ह",
    "ि",
    "😀",
    "Ａ",
    "＠",
    "．",
    "。",
    "١",
    "𝟙",
    "\u{1f1e9}\u{1f1ea}",
    "\u{d7ff}",
];

/// Texts of these pieces in any order, with letters, digits and what is awkward between them; sometimes with one
/// of the pieces very often, so that they pass any limit.
pub fn texts(pieces: &'static [&'static str]) -> BoxedStrategy<String> {
    let own = move || proptest::sample::select(pieces).prop_map(str::to_owned);
    let piece = prop_oneof![
        8 => own(),
        3 => "[ -~]",
        3 => "[a-z0-9]{1,12}",
        2 => proptest::sample::select(&AWKWARD[..]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    let often = prop_oneof![
        6 => Just(String::new()),
        1 => (own(), 1..400_usize).prop_map(|(piece, times)| piece.repeat(times)),
        1 => (proptest::sample::select(&AWKWARD[..]), 1..400_usize).prop_map(|(piece, times)| piece.repeat(times)),
    ];
    (proptest::collection::vec(piece, 0..24), often, any::<proptest::sample::Index>())
        .prop_map(|(mut pieces, often, place)| {
            pieces.insert(place.index(pieces.len() + 1), often);
            pieces.concat()
        })
        .boxed()
}

/// What becomes of `text` by one small change: a byte's worth put in, left out, doubled, or replaced.
pub fn spoiled(text: String) -> impl Strategy<Value = String> {
    let characters: Vec<char> = text.chars().collect();
    let other =
        prop_oneof![3 => "[ -~]", 1 => proptest::sample::select(&AWKWARD[..]).prop_map(str::to_owned)];
    (any::<proptest::sample::Index>(), 0..4_u8, other).prop_map(move |(place, change, other)| {
        let mut spoiled: Vec<String> = characters.iter().map(ToString::to_string).collect();
        let at = place.index(spoiled.len().max(1));
        match change {
            0 => spoiled.insert(at.min(spoiled.len()), other),
            _ if spoiled.is_empty() => {}
            1 => drop(spoiled.remove(at)),
            2 => spoiled[at] = spoiled[at].repeat(2),
            _ => spoiled[at] = other,
        }
        spoiled.concat()
    })
}

#[cfg(test)]
mod parsers {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_corpus_is_read_as_it_is_written() {
        check("lines of a corpus", texts(&["\\", "# ", "{", "}", "\\u"]), |text| {
            let line = text.escape_default().to_string();
            let is_none = line.is_empty() || line.starts_with("# ");
            assert_eq!(lines(&line), if is_none { vec![] } else { vec![text] });
        });
        assert_eq!(lines("# a comment\n\na\\u{41}\\\\\n"), ["aA\\"]);
        assert!(["\\", "\\x", "\\u41", "\\u{d800}"].iter().all(|line| unescaped(line).is_none()));
    }

    #[test]
    fn a_property_that_does_not_hold_is_told() {
        let told = std::panic::catch_unwind(|| {
            check_texts("short", "", texts(&["a"]), |text| assert!(text.chars().count() < 3, "too long"));
        });
        let told = told.unwrap_err().downcast::<String>().unwrap();
        assert!(told.contains("too long") && told.contains("the text"), "{told}");
    }

    /// What every parser of ours keeps, tried on one that does not: it makes one sign of two in one pass.
    #[test]
    fn a_parser_that_reads_its_own_words_otherwise_is_found() {
        let tried = AtomicU32::new(0);
        let told = std::panic::catch_unwind(|| {
            run("careless", texts(&["-", "--", "a"]), |text| {
                tried.fetch_add(1, Ordering::Relaxed);
                let read = text.replace("--", "-");
                assert_eq!(read.replace("--", "-"), read);
            })
        });
        let told = told.unwrap_err().downcast::<String>().unwrap();
        assert!(told.starts_with("careless: "), "{told}");
        let tried = tried.load(Ordering::Relaxed);
        eprintln!(
            "CONTROL: a parser that reads what it has written otherwise is found, and made small, with {tried} texts"
        );
    }
}
