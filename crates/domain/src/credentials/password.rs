//! Passwords: 8 characters to 1,024 bytes in NFC, hashed with argon2id (19 MiB, two passes, one lane).

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use unicode_normalization::UnicodeNormalization;

use crate::clock::Random;
use crate::error::{Error, Result};

/// The fewest characters.
pub const MIN_CHARACTERS: usize = 8;
/// The most bytes, after normalization.
pub const MAX_BYTES: usize = 1024;

/// What somebody typed as their password, normalized. Never shown.
#[derive(Clone)]
pub struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// Why a text cannot become a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// Fewer than 8 characters.
    TooShort,
    /// More than 1,024 bytes.
    TooLong,
    /// One of the commonest, or a plain pattern: the first that anybody tries.
    Common,
}

impl Password {
    /// A password to sign in with: whatever was typed. Nothing where it is longer than any that can have been set.
    #[must_use]
    pub fn typed(text: &str) -> Option<Self> {
        // Composing never makes a text longer than three times its bytes; a longer one cannot become one in bounds.
        if text.len() > MAX_BYTES * 3 {
            return None;
        }
        let normal: String = text.nfc().collect();
        (normal.len() <= MAX_BYTES).then_some(Self(normal))
    }

    /// A password to set.
    pub fn chosen(text: &str) -> Result<Self, Weakness> {
        let password = Self::typed(text).ok_or(Weakness::TooLong)?;
        if password.0.chars().count() < MIN_CHARACTERS {
            Err(Weakness::TooShort)
        } else if is_common(&password.0) {
            Err(Weakness::Common)
        } else {
            Ok(password)
        }
    }

    /// The hash to store. Slow, and takes 19 MiB: for a thread of its own, few at a time.
    pub fn hash(&self, random: &Random) -> Result<String> {
        let salt: [u8; 16] = random.bytes();
        let hash: PasswordHash = Argon2::default()
            .hash_password_with_salt(self.0.as_bytes(), &salt)
            .map_err(|error| Error::Internal(format!("cannot hash: {error}")))?;
        Ok(hash.to_string())
    }

    /// Whether it is the one that was hashed. As slow as hashing, whatever the answer.
    #[must_use]
    pub fn matches(&self, hash: &str) -> bool {
        PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(self.0.as_bytes(), &hash).is_ok())
    }
}

/// A hash that no password matches, of the cost of a real one: what a sign-in to an account that is not there compares with.
pub(crate) const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Z3VpbGRoYWxsbm9ib2R5cw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The commonest of at least eight characters, by what they are built of: a word people love, then digits or nothing.
fn is_common(password: &str) -> bool {
    let lower = password.to_lowercase();
    let word = lower.trim_end_matches(|c: char| c.is_ascii_digit() || "!.@#$*_-".contains(c));
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit() || "!.@#$*_-".contains(c));
    word.is_empty() && is_plain_digits(&lower)
        || WORDS.contains(&word)
        || WORDS.contains(&lower.as_str())
        || has_few_characters(&lower)
        || is_run(&lower)
        || is_repeated(&lower)
}

/// Digits and marks alone, short enough to be tried.
fn is_plain_digits(text: &str) -> bool {
    text.chars().count() <= 10
}

/// One or two different characters, whatever the length.
fn has_few_characters(text: &str) -> bool {
    let mut seen: Vec<char> = text.chars().collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len() <= 2
}

/// Neighbours on the keyboard, in the alphabet or among the digits, forwards or backwards.
fn is_run(text: &str) -> bool {
    const RUNS: [&str; 7] = [
        "abcdefghijklmnopqrstuvwxyz",
        "01234567890123456789",
        "qwertyuiopasdfghjklzxcvbnm",
        "qwertzuiopasdfghjklyxcvbnm",
        "azertyuiopqsdfghjklmwxcvbn",
        "1qaz2wsx3edc4rfv5tgb6yhn",
        "1q2w3e4r5t6y7u8i9o0p",
    ];
    let backwards: String = text.chars().rev().collect();
    RUNS.iter().any(|run| run.contains(text) || run.contains(&backwards))
}

/// A short piece over and over.
fn is_repeated(text: &str) -> bool {
    (1..=4).any(|piece| {
        text.len() >= piece * 2 && text.is_char_boundary(piece) && {
            let (first, rest) = text.split_at(piece);
            rest.len() % piece == 0 && rest.as_bytes().chunks(piece).all(|next| next == first.as_bytes())
        }
    })
}

/// What people choose, without the digits that they put around it.
const WORDS: &[&str] = &[
    "password",
    "passwort",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "pass",
    "passord",
    "motdepasse",
    "contraseña",
    "contrasena",
    "senha",
    "parola",
    "hasło",
    "haslo",
    "wachtwoord",
    "пароль",
    "qwerty",
    "qwertz",
    "azerty",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "asdf",
    "asdfgh",
    "qwer",
    "qazwsx",
    "1qaz2wsx",
    "1q2w3e4r",
    "q1w2e3r4",
    "abc",
    "abcd",
    "abcdef",
    "abcdefg",
    "letmein",
    "welcome",
    "welcom",
    "hello",
    "login",
    "admin",
    "administrator",
    "root",
    "toor",
    "user",
    "guest",
    "test",
    "tester",
    "testing",
    "default",
    "changeme",
    "change",
    "secret",
    "secure",
    "access",
    "master",
    "server",
    "computer",
    "internet",
    "google",
    "facebook",
    "samsung",
    "apple",
    "iloveyou",
    "loveyou",
    "lovely",
    "love",
    "loveme",
    "princess",
    "sunshine",
    "dragon",
    "monkey",
    "shadow",
    "superman",
    "batman",
    "spiderman",
    "starwars",
    "pokemon",
    "naruto",
    "football",
    "baseball",
    "basketball",
    "soccer",
    "hockey",
    "liverpool",
    "chelsea",
    "arsenal",
    "barcelona",
    "juventus",
    "mustang",
    "ferrari",
    "porsche",
    "corvette",
    "mercedes",
    "harley",
    "yamaha",
    "michael",
    "jessica",
    "jennifer",
    "ashley",
    "charlie",
    "jordan",
    "daniel",
    "thomas",
    "andrew",
    "joshua",
    "matthew",
    "michelle",
    "nicole",
    "anthony",
    "alexander",
    "alexandra",
    "samantha",
    "victoria",
    "elizabeth",
    "christian",
    "benjamin",
    "jonathan",
    "patrick",
    "freedom",
    "whatever",
    "trustno",
    "killer",
    "hunter",
    "buster",
    "summer",
    "winter",
    "spring",
    "autumn",
    "january",
    "february",
    "october",
    "november",
    "december",
    "september",
    "monday",
    "friday",
    "flower",
    "butterfly",
    "rainbow",
    "chocolate",
    "cookie",
    "banana",
    "orange",
    "purple",
    "yellow",
    "silver",
    "golden",
    "diamond",
    "crystal",
    "angel",
    "angels",
    "heaven",
    "jesus",
    "jesuschrist",
    "blessed",
    "faith",
    "family",
    "friends",
    "forever",
    "together",
    "babygirl",
    "sweetheart",
    "beautiful",
    "cheese",
    "pepper",
    "ginger",
    "tigger",
    "bailey",
    "maggie",
    "asshole",
    "fuckyou",
    "fuckoff",
    "bullshit",
    "pussy",
    "biteme",
    "nothing",
    "something",
    "nopassword",
    "mypassword",
    "yourpassword",
    "newpassword",
    "thepassword",
    "passpass",
    "passphrase",
    "qweasd",
    "qweasdzxc",
    "asdasd",
    "asdqwe",
    "zaq12wsx",
    "zaq1zaq1",
    "phoenix",
    "midnight",
    "warcraft",
    "minecraft",
    "fortnite",
    "counterstrike",
    "windows",
    "microsoft",
    "cisco",
    "oracle",
    "postgres",
    "mysql",
    "sqlserver",
    "company",
    "business",
    "office",
    "london",
    "paris",
    "berlin",
    "madrid",
    "newyork",
    "america",
    "canada",
    "germany",
    "australia",
    "guildhall",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_exact_and_forms_are_one() {
        assert_eq!(Password::chosen("k7#mVx2").unwrap_err(), Weakness::TooShort);
        assert!(Password::chosen("k7#mVx2q").is_ok());
        let long = "aB3$".repeat(255) + "xyz9";
        assert!(Password::chosen(&long).is_ok());
        assert_eq!(Password::chosen(&(long + "z")).unwrap_err(), Weakness::TooLong);
        let hash = Password::chosen("caf\u{e9} au lait 7").unwrap().hash(&Random::seeded(1)).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(Password::typed("cafe\u{301} au lait 7").unwrap().matches(&hash));
        assert!(!Password::typed("cafe au lait 7").unwrap().matches(&hash));
        assert!(!Password::typed("whatever it is").unwrap().matches(NOBODYS));
        PasswordHash::new(NOBODYS).expect("the hash that nobody has is one");
    }

    #[test]
    fn the_commonest_are_refused() {
        for common in [
            "password",
            "Password1",
            "PASSWORD123!",
            "12345678",
            "123456789",
            "1234567890",
            "qwertyuiop",
            "iloveyou1",
            "aaaaaaaaaa",
            "abababab",
            "abcabcabc",
            "87654321",
            "letmein1",
            "1q2w3e4r",
            "qwerty123",
            "admin123",
            "11111111",
            "sunshine7",
            "P@ssw0rd",
            "00000000",
            "zxcvbnm1",
            "2020-2020",
        ] {
            assert_eq!(Password::chosen(common).unwrap_err(), Weakness::Common, "{common}");
        }
        for fine in
            ["correct horse battery staple", "iamyourfather", "221B baker str", "opensesame", "Tr0ub4dor&3"]
        {
            assert!(Password::chosen(fine).is_ok(), "{fine}");
        }
    }
}
