//! Texts in both engines: compared and put in order byte by byte, on each as on the other, whatever they are made of.

use std::collections::BTreeSet;

use properties::proptest::collection::vec;
use properties::{check, texts};

use super::tests::on_new_database;
use super::*;
use crate::memberships::OrganizationKey;
use crate::text::{Email, Name, PersonName, Slug, Username, fold};
use crate::users::{self, NewUser, Profile, UserKey};

#[test]
fn texts_have_one_order() {
    on_new_database(|db| {
        let put = "INSERT INTO ended_tokens (hash, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let pieces = &["a", "A", "b", "Z", "_", "-", " ", "é", "e\u{301}", "ß", "i", "İ"];
        check("order of texts in a database", vec(texts(pieces), 1..12), |all| {
            let keys =
                all.iter().flat_map(|text| [text.clone(), fold(text), Slug::of(text).as_str().to_owned()]);
            let all: BTreeSet<String> = keys.filter(|text| !text.contains('\0')).collect();
            let kept = all.clone();
            let stored = db.write(move |tx| {
                tx.run("DELETE FROM ended_tokens", &[])?;
                for text in &kept {
                    assert_eq!(tx.run(put, &[text.into(), tx.now.into()])?, 1, "{text:?} is another");
                    assert_eq!(tx.run(put, &[text.into(), tx.now.into()])?, 0, "{text:?} is itself");
                }
                tx.rows("SELECT hash FROM ended_tokens ORDER BY hash", &[], |row| row.text())
            });
            assert_eq!(stored.unwrap(), Vec::from_iter(all.clone()));
            let middle = all.iter().nth(all.len() / 2).unwrap();
            let sql = "SELECT COUNT(*) FROM ended_tokens WHERE hash < $1";
            let below = db.read(|tx| tx.row(sql, &[middle.into()], |row| row.int())).unwrap().unwrap();
            assert_eq!(usize::try_from(below).unwrap(), all.range::<String, _>(..middle).count());
        });
    });
}

#[test]
fn texts_name_whom_they_name() {
    on_new_database(|db| {
        let system = Actor::system();
        let new = NewUser {
            username: Some(Username::parse("Éva").unwrap()),
            email: Email::parse("Eva@Example.org").unwrap(),
            name: PersonName::Whole(Name::parse("Éva").unwrap()),
            password_hash: None,
            profile: Profile::default(),
        };
        let eva = users::create(db, &system, new, false, true).unwrap();
        let pieces = &[
            "Éva",
            "éva",
            "E\u{301}va",
            "eva",
            "@",
            "EXAMPLE",
            "Eva@Example.org",
            ".org",
            "\0",
            "user-",
            " ",
        ];
        check("whom a text names", texts(pieces), |text| {
            let is_address = text.trim().eq_ignore_ascii_case("eva@example.org");
            let is_name = Username::key_of(&text) == Username::key_of("Éva");
            for (key, is_eva) in [
                (UserKey::Email(text.clone()), is_address),
                (UserKey::Login(text.clone()), is_address || is_name),
            ] {
                let found = db.read(|tx| users::find(tx, &key)).unwrap();
                assert_eq!(found.map(|user| user.id), is_eva.then_some(eva.id), "{key:?}");
            }
            let key = OrganizationKey::Slug(text);
            assert!(db.read(|tx| crate::memberships::locate(tx, &system, &key)).unwrap().is_none());
        });
    });
}
