use std::path::PathBuf;
use std::sync::Arc;

use sha2::Digest;

use super::tables::TABLES;
use super::{Columns, Sum, everything};
use crate::authz::Actor;
use crate::clock::hex;
use crate::db::{Db, Settings};
use crate::error::Error;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guildhall-copy-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn db(&self, name: &str) -> Db {
        Db::sqlite(&self.0.join(name), Settings::default()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The words between two others of a statement, without what separates them.
fn between(sql: &str, from: &str, to: &str) -> Vec<String> {
    let rest = sql.split_once(from).unwrap().1;
    let part = rest.split_once(to).unwrap().0;
    part.split(',').map(|word| word.trim().to_owned()).collect()
}

#[test]
fn every_column_of_every_table_is_copied() {
    let folder = Folder::new("columns");
    drop(folder.db("a.db"));
    let connection = rusqlite::Connection::open(folder.0.join("a.db")).unwrap();
    let strings = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut there =
        strings("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    there.retain(|name| !["counters", "schema_migrations"].contains(&name.as_str()));
    let mut ours: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    ours.sort_unstable();
    there.sort_unstable();
    assert_eq!(ours, there);
    for table in TABLES {
        let of =
            |order: &str| strings(&format!("SELECT name FROM pragma_table_info('{}') {order}", table.name));
        let read = between(table.read, "SELECT ", " FROM");
        assert_eq!(between(table.insert, " (", ")"), read, "{}", table.name);
        let mut sorted = read.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, of("ORDER BY name"), "{}", table.name);
        let key = of("WHERE pk > 0 ORDER BY pk");
        assert_eq!((&read[..key.len()], table.before.len()), (&key[..], key.len()), "{}", table.name);
        assert_eq!(between(table.read, "ORDER BY ", " LIMIT"), key, "{}", table.name);
        let places: Vec<String> = (1..=read.len()).map(|place| format!("${place}")).collect();
        assert_eq!(between(table.insert, "VALUES (", ")"), places, "{}", table.name);
        assert_eq!(table.width(), read.len());
        let parents = strings(&format!("SELECT \"table\" FROM pragma_foreign_key_list('{}')", table.name));
        for parent in parents {
            let place = |name: &str| TABLES.iter().position(|table| table.name == name);
            assert!(place(&parent) < place(table.name), "{parent} before {}", table.name);
        }
    }
}

fn sum(rows: &[Columns]) -> String {
    let mut sum = Sum::default();
    sum.add(rows);
    hex(&sum.hash.finalize())
}

#[test]
fn a_checksum_is_that_of_the_documented_form() {
    let text = |text: &str| Some(text.to_owned());
    // printf '1:7,2:\xc3\xa9,-,0:,\n' | sha256sum
    assert_eq!(
        sum(&[vec![text("7"), text("é"), None, text("")]]),
        "6402214d1417cecde10b39ae8253973620fae11537882ce0ec5fc6dc2c3f5b7c"
    );
    let row = |one: &str, two: &str| sum(&[vec![text(one), text(two)]]);
    assert_ne!(row("ab", "c"), row("a", "bc"));
    assert_ne!(row("-", ""), sum(&[vec![None, text("")]]));
}

#[test]
fn only_the_system_copies_and_only_into_what_is_empty() {
    let folder = Folder::new("empty");
    let [from, to] = ["from.db", "to.db"].map(|name| folder.db(name));
    let watch: super::Watch = Arc::new(|_| {});
    assert!(
        everything(&from, &to, &Actor::system(), Arc::clone(&watch)).is_ok(),
        "nothing is copied to nothing"
    );
    // A number that was given counts, also where nothing came of it.
    to.write(|tx| tx.next_number("events")).unwrap();
    let told = everything(&from, &to, &Actor::system(), Arc::clone(&watch));
    let Err(Error::Unavailable(why)) = told else { panic!("{told:?}") };
    assert!(why.contains("numbers of events"), "{why}");
    to.write(|tx| tx.run("INSERT INTO ended_tokens (hash, expires_at) VALUES ('a', 0)", &[])).unwrap();
    let told = everything(&from, &to, &Actor::system(), watch);
    let Err(Error::Unavailable(why)) = told else { panic!("{told:?}") };
    assert!(why.contains("ended_tokens"), "{why}");
}
