//! What PostgreSQL's arm does where the network or the server fails, others are in the way, or TLS is asked for.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use testpg::{Cluster, Keeps};

use super::connect::connect;
use super::target::Host;
use super::tls::Tls;
use super::{READ, Target};
use crate::db::tests::{on_new_postgres, settings};
use crate::db::{Db, WriteTx};
use crate::error::{Error, Result};

fn insert(tx: &WriteTx<'_>, hash: &str) -> Result<usize> {
    tx.run("INSERT INTO ended_tokens (hash, expires_at) VALUES ($1, $2)", &[hash.into(), tx.now.into()])
}

fn put(db: &Db, hash: &'static str) -> Result<usize> {
    db.write(move |tx| insert(tx, hash))
}

fn count(db: &Db) -> i64 {
    let sql = "SELECT COUNT(*) FROM ended_tokens";
    db.read(|tx| tx.row(sql, &[], |row| row.int())).unwrap().unwrap()
}

fn unavailable<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Err(Error::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn works_in_each_others_way_are_tried_again() {
    on_new_postgres(|_, db| {
        db.write(|tx| tx.run("INSERT INTO ended_tokens (hash, expires_at) VALUES ('a', 0)", &[])).unwrap();
        let add_one = |tx: &WriteTx<'_>| {
            let found =
                tx.row("SELECT expires_at FROM ended_tokens WHERE hash = 'a'", &[], |row| row.int())?;
            tx.run("UPDATE ended_tokens SET expires_at = $1", &[(found.unwrap_or(0) + 1).into()])
        };
        let add_ten = || (0..10).for_each(|_| assert_eq!(db.write(add_one).unwrap(), 1));
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(add_ten))));
        let (answer, answers) = channel();
        for _ in 0..200 {
            let answer = answer.clone();
            db.submit(move |db| db.write(add_one), move |told| drop(answer.send(told)));
        }
        (0..200).for_each(|_| assert_eq!(answers.recv().unwrap().unwrap(), 1));
        let sql = "SELECT expires_at FROM ended_tokens WHERE hash = 'a'";
        assert_eq!(db.read(|tx| tx.row(sql, &[], |row| row.int())).unwrap(), Some(240));
    });
}

#[test]
fn a_lost_connection_is_replaced_and_what_was_not_committed_is_tried_again() {
    on_new_postgres(|target, db| {
        put(db, "a").unwrap();
        let cluster = testpg::shared().expect("it runs");
        let end_all = || {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            cluster.psql(&target.database, sql);
        };
        end_all();
        assert_eq!(count(db), 1);
        end_all();
        put(db, "b").unwrap();
        end_all();
        db.ready().unwrap();
        assert_eq!(count(db), 2);
    });
}

/// Passes bytes between clients and a server, as long as it is told to.
pub(super) struct Relay {
    port: u16,
    mode: Arc<AtomicU8>,
}

pub(super) const PASS: u8 = 0;
/// What comes after a commit was asked for does not reach the client any more.
const CUT_AT_COMMIT: u8 = 1;
const CUT: u8 = 2;
pub(super) const HANG: u8 = 3;

impl Relay {
    fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(PASS));
        let told = Arc::clone(&mode);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(|client| client.ok()) {
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = (Arc::clone(&told), Arc::clone(&told));
                std::thread::spawn(move || relay(client, server, &up));
                std::thread::spawn(move || relay(server_too, client_too, &down));
            }
        });
        Self { port, mode }
    }

    pub(super) fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let asks_for_commit = bytes[..read].windows(6).any(|word| word == b"COMMIT");
        match mode.load(Ordering::SeqCst) {
            // From the server: the answer to the commit.
            CUT => break,
            CUT_AT_COMMIT if asks_for_commit => mode.store(CUT, Ordering::SeqCst),
            HANG => {
                while mode.load(Ordering::SeqCst) == HANG {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            _ => {}
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

/// The database of `target` behind a relay.
pub(super) fn behind_relay(target: &Target) -> (Relay, Db) {
    let Some(Host::Tcp(_, port)) = target.hosts.first() else { panic!("{target:?}") };
    let relay = Relay::to(*port);
    let mut target = target.clone();
    target.hosts = vec![Host::Tcp("127.0.0.1".into(), relay.port)];
    let db = Db::postgres(&target, 2, settings()).unwrap();
    (relay, db)
}

#[test]
fn a_commit_of_which_nobody_knows_is_told_as_such_and_not_tried_again() {
    on_new_postgres(|target, db| {
        let (relay, behind) = behind_relay(target);
        relay.set(CUT_AT_COMMIT);
        let told = put(&behind, "a");
        assert!(matches!(told, Err(Error::InDoubt(_))), "{told:?}");
        relay.set(PASS);
        assert_eq!(count(db), 1, "it had happened, once");
        put(&behind, "b").unwrap();
        assert_eq!(count(db), 2);
    });
}

#[test]
fn a_commit_that_the_standby_may_not_have_is_told_as_such() {
    let Some(cluster) = Cluster::start(Keeps::Durably, "") else { return };
    let database = cluster.database();
    let db = Db::postgres(&Target::parse(database.url()).unwrap(), 1, settings()).unwrap();
    put(&db, "a").unwrap();
    cluster.configure("synchronous_standby_names = 'none_of_this_name'");
    let (answer, answers) = channel();
    let work = db.clone();
    // PostgreSQL reads its settings again when it comes to it: some may commit before.
    std::thread::spawn(move || {
        for number in 1.. {
            let told = work.write(move |tx| insert(tx, &number.to_string()));
            if told.is_err() {
                return answer.send((told, number));
            }
        }
        Ok(())
    });
    let waiting = "SELECT COUNT(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let until = Instant::now() + Duration::from_secs(30);
    while cluster.psql(database.name(), waiting) == "0" {
        assert!(Instant::now() < until, "no commit waits for a standby");
    }
    let (told, made) = answers.recv().unwrap();
    let Err(Error::InDoubt(why)) = told else { panic!("{told:?}") };
    assert!(why.contains("synchronous replication"), "{why}");
    cluster.configure("synchronous_standby_names = ''");
    assert_eq!(count(&db), 1 + made);
}

#[test]
fn a_server_that_hangs_holds_nobody() {
    on_new_postgres(|target, db| {
        let (relay, behind) = behind_relay(target);
        put(&behind, "a").unwrap();
        relay.set(HANG);
        let (answer, answers) = channel();
        let begun = Instant::now();
        // Two hold the connections, the third finds none.
        for hash in ["b", "c", "d"] {
            let answer = answer.clone();
            behind.submit(move |db| put(db, hash), move |result| drop(answer.send(result)));
        }
        for _ in 0..3 {
            unavailable(answers.recv().unwrap());
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "an answer came late");
        relay.set(PASS);
        assert_eq!(count(db), 1, "nothing came of what was told not to have happened");
        // Nobody tries again for a moment after a try that failed.
        let until = Instant::now() + Duration::from_secs(30);
        while let Err(error) = put(&behind, "e") {
            assert!(Instant::now() < until, "{error}");
        }
    });
}

#[test]
fn many_programs_may_make_the_schema_at_once() {
    let Some(cluster) = testpg::shared() else { return };
    let database = cluster.database();
    let target = Target::parse(database.url()).unwrap();
    std::thread::scope(|scope| {
        let opening: Vec<_> =
            (0..6).map(|_| scope.spawn(|| Db::postgres(&target, 1, settings()).map(drop))).collect();
        for opened in opening {
            opened.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_database_that_is_not_ours_stays_as_it_is() {
    let Some(cluster) = testpg::shared() else { return };
    let database = cluster.database();
    let target = Target::parse(database.url()).unwrap();
    let why = unavailable(Db::existing_postgres(&target, 1, settings()).map(drop));
    assert!(why.contains("holds nothing"), "{why}");
    assert_eq!(
        cluster.psql(database.name(), "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0"
    );
    drop(Db::postgres(&target, 1, settings()).unwrap());
    let newer = "INSERT INTO schema_migrations VALUES ('999_newer', '', 0)";
    cluster.psql(database.name(), newer);
    let why = unavailable(Db::postgres(&target, 1, settings()).map(drop));
    assert!(why.contains("newer guildhall (migration 999_newer)"), "{why}");
}

/// What the server at `place` is asked for, and whether the connection is then protected; nothing where there is none.
fn is_protected(place: &str, parameters: &str) -> Option<bool> {
    let target = Target::parse(&format!("postgres://{place}?{parameters}")).unwrap();
    let tls = Tls::new(&target).ok()?;
    let session = connect(&target, &tls, Instant::now() + Duration::from_secs(30)).ok()?;
    session.begin(READ);
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    session.row(sql, &[], |row| row.flag()).unwrap()
}

#[test]
fn tls_is_as_libpq_has_it() {
    let Some(plain) = testpg::shared() else { return };
    let place = format!("guildhall@127.0.0.1:{}/postgres", plain.port());
    for (mode, want) in [("disable", Some(false)), ("prefer", Some(false)), ("require", None)] {
        assert_eq!(is_protected(&place, &format!("sslmode={mode}")), want, "{mode} where there is none");
    }

    let Some(cluster) = Cluster::start(Keeps::Fast, "") else { return };
    let certificate = cluster.put("server.pem", include_str!("testdata/server.pem"));
    let key = cluster.put("server.key", include_str!("testdata/server.key"));
    let files = format!("ssl_cert_file = '{}'\nssl_key_file = '{}'", certificate.display(), key.display());
    cluster.configure(&format!("ssl = on\n{files}\n"));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/db/postgres/testdata");
    let at = |host: &str| format!("guildhall@{host}:{}/postgres", cluster.port());
    let protected = Some(true);
    for (host, mode, ca, want) in [
        ("127.0.0.1", "disable", "", Some(false)),
        ("127.0.0.1", "prefer", "", protected),
        ("127.0.0.1", "require", "", protected),
        ("127.0.0.1", "require", "ours", protected),
        ("127.0.0.1", "require", "others", None),
        ("127.0.0.1", "verify-ca", "ours", protected),
        ("127.0.0.1", "verify-ca", "others", None),
        ("localhost", "verify-full", "ours", protected),
        ("localhost", "verify-full", "others", None),
        // The certificate is for another name.
        ("127.0.0.1", "verify-full", "ours", None),
        // No authority of the system's has signed it.
        ("localhost", "verify-full", "", None),
    ] {
        let root = if ca.is_empty() { String::new() } else { format!("&sslrootcert={folder}/{ca}-ca.pem") };
        // The server may not be done yet with reading its settings again.
        let until = Instant::now() + Duration::from_secs(10);
        let mut got = is_protected(&at(host), &format!("sslmode={mode}{root}"));
        while got != want && Instant::now() < until {
            got = is_protected(&at(host), &format!("sslmode={mode}{root}"));
        }
        assert_eq!(got, want, "{mode} with {ca:?} at {host}");
    }
}

#[test]
fn the_password_is_shown_as_the_server_asks_for_it() {
    let Some(cluster) = Cluster::start(Keeps::Fast, "") else { return };
    for (way, encryption) in [("scram-sha-256", "scram-sha-256"), ("md5", "md5"), ("password", "md5")] {
        let role = way.replace('-', "_");
        let sql =
            format!("SET password_encryption = '{encryption}'; CREATE ROLE {role} LOGIN PASSWORD 'p@ss'");
        cluster.psql("postgres", &sql);
        cluster
            .put("data/pg_hba.conf", &format!("host all guildhall all trust\nhost all {role} all {way}\n"));
        cluster.configure("");
        let until = Instant::now() + Duration::from_secs(10);
        let signs_in = |password: &str| {
            is_protected(
                &format!("{role}{password}@127.0.0.1:{}/postgres", cluster.port()),
                "sslmode=disable",
            )
        };
        while signs_in(":p%40ss").is_none() {
            assert!(Instant::now() < until, "{way}");
        }
        assert_eq!(signs_in(":wrong"), None, "{way}");
        assert_eq!(signs_in(""), None, "{way}");
    }
}

#[test]
fn a_standby_is_not_asked() {
    let Some(cluster) = Cluster::start(Keeps::Fast, "") else { return };
    let standby = cluster.standby();
    let place = format!("guildhall@127.0.0.1:{}/postgres", standby.port());
    assert_eq!(is_protected(&place, "sslmode=disable"), None);
    let both = format!("guildhall@127.0.0.1:{},127.0.0.1:{}/postgres", standby.port(), cluster.port());
    assert_eq!(is_protected(&both, "sslmode=disable"), Some(false), "the one that takes writes is found");
}
