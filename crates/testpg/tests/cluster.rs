//! The private cluster: databases of their own, copies of a template, a kill survived, nothing left behind.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testpg::{Cluster, Keeps};

#[test]
fn each_database_is_a_new_one_of_the_expected_kind() {
    let Some(cluster) = testpg::shared() else { return };
    let (one, two) = (cluster.database(), cluster.database());
    cluster.psql(one.name(), "CREATE TABLE things (name TEXT)");
    cluster.psql(two.name(), "CREATE TABLE things (name TEXT)");
    let kind = "SELECT datcollate, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()";
    assert_eq!(cluster.psql(one.name(), kind), "C|UTF8");
    assert_eq!(one.url(), format!("postgres://guildhall@127.0.0.1:{}/{}", cluster.port(), one.name()));
    let count = "SELECT count(*) FROM pg_database WHERE datname = ";
    let name = format!("'{}'", one.name());
    assert_eq!(cluster.psql("postgres", &format!("{count}{name}")), "1");
    drop(one);
    assert_eq!(cluster.psql("postgres", &format!("{count}{name}")), "0", "it goes with its owner");
}

#[test]
fn copies_of_a_template_are_each_their_own() {
    let Some(cluster) = testpg::shared() else { return };
    let mut made = 0;
    let mut copy = || {
        cluster.database_from("things", |url| {
            made += 1;
            let name = url.rsplit('/').next().unwrap();
            cluster.psql(name, "CREATE TABLE things (name TEXT); INSERT INTO things VALUES ('first')");
        })
    };
    let (one, two) = (copy(), copy());
    cluster.psql(one.name(), "INSERT INTO things VALUES ('second')");
    assert_eq!(cluster.psql(one.name(), "SELECT name FROM things ORDER BY name"), "first\nsecond");
    let mut session = two.session();
    for _ in 0..2 {
        assert_eq!(session.rows("SELECT name, 1 FROM things ORDER BY name"), ["first|1"]);
        assert_eq!(session.rows("SELECT name FROM things WHERE name = ''"), [""; 0]);
    }
    assert_eq!(made, 1);
}

#[test]
fn what_was_committed_outlives_a_kill_and_a_promotion() {
    let Some(primary) = Cluster::start(Keeps::Durably, "") else { return testpg::skip() };
    let database = primary.database();
    primary.psql(database.name(), "CREATE TABLE things (name TEXT)");
    for round in ["one", "two"] {
        primary.psql(database.name(), &format!("INSERT INTO things VALUES ('{round}')"));
        primary.kill();
        primary.restart();
    }
    let standby = primary.standby();
    primary.configure("synchronous_standby_names = 'standby'");
    // It reads its settings again when it comes to it.
    while primary.psql(database.name(), "SHOW synchronous_standby_names") != "standby" {}
    primary.psql(database.name(), "INSERT INTO things VALUES ('until')");
    primary.kill();
    standby.promote();
    standby.psql(database.name(), "INSERT INTO things VALUES ('with')");
    let all = standby.psql(database.name(), "SELECT string_agg(name, ' ' ORDER BY name) FROM things");
    assert_eq!(all, "one two until with");
    assert!(standby.log().contains("ready to accept connections"));
}

/// Not a test of its own: what the next one kills. Prints its cluster's folder and waits.
#[test]
#[ignore = "run by the test of what a killed process leaves"]
fn a_process_that_will_be_killed() {
    let cluster = Cluster::start(Keeps::Fast, "").unwrap();
    println!("\nfolder {}", cluster.put("here", "").parent().unwrap().display());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_process_leaves_nothing() {
    if testpg::programs().is_none() {
        return testpg::skip();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "a_process_that_will_be_killed"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let folder = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("folder ").map(PathBuf::from));
    let folder = folder.expect("the process has told its folder");
    let pid = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    let postgres = Path::new("/proc").join(pid.lines().next().unwrap());
    assert!(postgres.exists() || !Path::new("/proc/self").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while folder.exists() || postgres.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} is left", folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}
