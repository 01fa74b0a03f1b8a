//! `guildhall copy`: from each engine to the other and back, with a row of every kind; and what it refuses.

use std::path::Path;

use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::clock::Timestamp;
use guildhall_domain::credentials;
use guildhall_domain::db::{Db, Settings, Target};
use guildhall_domain::users::{self, UserKey};
use serde_json::{Value, json};

use crate::harness::{Folder, House, PASSWORD, Plan, post, put};
use crate::place::Place;
use crate::process::{Done, Server, on, run, user};

fn sqlite(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

fn url(place: &Place) -> String {
    match place {
        Place::Sqlite(file) => sqlite(file),
        Place::Postgres(database) => database.url().to_owned(),
    }
}

fn copy(from: &str, to: &str) -> Done {
    run(&["copy", "--json", "--from", from, "--to", to])
}

/// The tables of a copy that went well: name, rows, checksum.
#[track_caller]
fn tables(told: &Value) -> Vec<(String, u64, String)> {
    assert_eq!(told["findings"], json!([]));
    let table = |table: &Value| {
        assert_eq!(table["source"], table["target"], "{table}");
        let text = |key: &str| table[key].as_str().unwrap().to_owned();
        (text("table"), table["rows"].as_u64().unwrap(), text("source"))
    };
    told["tables"].as_array().unwrap().iter().map(table).collect()
}

/// A row in every table, and more than are copied at once in one of them.
async fn fill(house: &House) {
    house.user("ana");
    house.user("ben");
    house.organization("Tea", "ana");
    house.member("tea", "ben", Role::Admin, State::Active);
    house.api_key("ana");
    let token = house.token("ana");
    let public = json!({"name": "Public tea", "description": "For everybody"});
    house.send(post("/api/v1/organizations/").bearer(&token).json(public)).await;
    let event = json!({"name": "Demo", "date": "2030-02-10T22:27:00+0000"});
    house.send(post("/organizations/1/events/create").bearer(&token).json(event)).await;
    house.send(put("/events/1/rsvp").bearer(&token)).await;
    house
        .send(put("/organizations/1/invite").bearer(&token).json(json!({"people": ["cem@example.com"]})))
        .await;
    credentials::ask_for_reset(house.db(), "ana@example.com", &house.app.secrets).unwrap();
    for password in [PASSWORD, "not the password"] {
        let body = json!({"username": "ana", "password": password});
        house.send(post("/api/v1/account/login/").from("192.0.2.1").json(body)).await;
    }
    let ben =
        users::list(house.db(), &Actor::system(), guildhall_domain::id::UserId(1), 1).unwrap().remove(0);
    let issued =
        credentials::by_issued_token(house.db(), ben.id, "a.b.c", Timestamp(i64::MAX)).unwrap().unwrap();
    credentials::log_out(house.db(), &issued.actor).unwrap();
    for number in 0..600 {
        let login = UserKey::Login(if number % 2 == 0 { "ana" } else { "ben" }.into());
        guildhall_domain::organizations::create_session(house.db(), &Actor::system(), &login, None).unwrap();
    }
}

#[tokio::test]
async fn all_that_there_is_goes_to_either_engine_and_back() {
    let house = House::with(Plan { limits: true, in_memory: true, ..Plan::default() });
    fill(&house).await;
    let from = url(&house.place);
    let folder = Folder::new();
    let one = sqlite(&folder.0.join("one.db"));
    let first = tables(&copy(&from, &one).json());
    let empty: Vec<_> = first.iter().filter(|(_, rows, _)| *rows == 0).collect();
    assert_eq!((first.len(), empty.len()), (19, 0), "{empty:?}");
    let two = sqlite(&folder.0.join("two.db"));
    let data = folder.0.join("data").display().to_string();
    if let Some(cluster) = testpg::shared() {
        let database = cluster.database();
        assert_eq!(tables(&copy(&one, database.url()).json()), first);
        let db = Db::postgres(&Target::parse(database.url()).unwrap(), 1, Settings::default()).unwrap();
        drop(db);
        assert_eq!(tables(&copy(database.url(), &two).json()), first);
        // Numbers go on where they were.
        assert_eq!(next_number(&data, database.url()), 3);
    } else {
        assert_eq!(tables(&copy(&one, &two).json()), first);
    }
    assert_eq!(next_number(&data, &two), 3);
}

/// The number of an account that is made there.
fn next_number(data: &str, database: &str) -> i64 {
    let made =
        ["user", "create", "--json", "--email", "c@example.com", "--database", database, "--data", data];
    run(&made).json()["number"].as_i64().unwrap()
}

#[test]
fn what_cannot_be_copied_is_told_in_a_line() {
    let folder = Folder::new();
    let data = &folder.0;
    user(data, "ana");
    let (from, other) = (sqlite(&data.join("guildhall.db")), sqlite(&data.join("other.db")));
    let copy = |from: &str, to: &str| run(&["copy", "--from", from, "--to", to]);
    copy(&from, &from).failed(2, "to: is the database that is copied");
    copy("mysql:x", &other).failed(2, "from: expected sqlite:PATH or postgres://USER@HOST/NAME");
    let none = data.join("none.db");
    copy(&sqlite(&none), &other).failed(1, &format!("from: there is no database {}", none.display()));
    assert!(!none.exists() && !data.join("other.db").exists());
    let done = copy(&from, &other);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
    assert!(done.out.starts_with("TABLE\tROWS\tSOURCE\tTARGET\nusers\t1\t"), "{done:?}");
    assert!(done.out.ends_with("nothing is wrong\n"), "{done:?}");
    copy(&from, &other).failed(1, "to: the database holds data already (users); name one that holds none");
    // A newer program's.
    let newer = rusqlite::Connection::open(data.join("other.db")).unwrap();
    newer.execute_batch("INSERT INTO schema_migrations VALUES ('999_later', 'x', 0)").unwrap();
    let line = "from: the database was made by a newer guildhall (migration 999_later); use that one";
    copy(&other, &sqlite(&none)).failed(1, line);
    // Another program's.
    let foreign = data.join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE zebra (x)").unwrap();
    copy(&from, &sqlite(&foreign)).failed(1, &format!("to: {} is another program's", foreign.display()));
    // A source that cannot be read to its end.
    let broken = data.join("broken.db");
    assert_eq!(copy(&from, &sqlite(&broken)).code, 0);
    rusqlite::Connection::open(&broken).unwrap().execute_batch("DROP TABLE ended_tokens").unwrap();
    let done = copy(&sqlite(&broken), &sqlite(&data.join("more.db")));
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.starts_with("guildhall: from: internal error: "), "{done:?}");
    assert_eq!(on(data, &["check"]).code, 0);
}

#[test]
fn beside_a_server_it_is_told_what_is_not_copied() {
    let folder = Folder::new();
    let server = Server::start(&folder.0, &[]);
    let to = folder.0.join("copy.db");
    let done = run(&["copy", "--from", &sqlite(&folder.0.join("guildhall.db")), "--to", &sqlite(&to)]);
    let line = "guildhall: a server is using the source: what it writes from now on is not in the copy\n";
    assert_eq!((done.code, done.err.as_str()), (0, line));
    assert!(done.out.contains("the keys are sealed"), "{done:?}");
    server.stop();
}
