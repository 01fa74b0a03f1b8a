//! What fails under load, and what clients see of it: a node, PostgreSQL, a primary whose standby takes over. Nothing that was
//! acknowledged is lost, a client hears success or 503 with `Retry-After` and hears it within five seconds, and two seconds
//! after PostgreSQL takes connections again every node serves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use testpg::{Cluster, Keeps};

use crate::harness::Folder;
use crate::place::{controlled, counted, times};
use crate::process::{self, Server, wait_for};
use load::{Account, Load, Told, ask};

mod load;

const CLIENTS: usize = 6;
/// Answers with success between one fault and the next.
const WORK: u64 = 60;
/// Within what a node serves again.
const BACK: Duration = Duration::from_secs(2);

/// Nodes on one database, and clients at work there.
struct Site {
    url: String,
    folders: Vec<Folder>,
    nodes: Vec<Server>,
    load: Load,
}

impl Site {
    /// Starts so many nodes and the clients. Of a node that `may_die` no answer is an answer.
    fn open(url: &str, nodes: usize, may_die: Option<usize>) -> Self {
        let folders: Vec<Folder> = (0..nodes).map(|_| Folder::new()).collect();
        let options = ["--database", url, "--limits", "off", "--log", "error"];
        let nodes: Vec<Server> = folders.iter().map(|folder| Server::start(&folder.0, &options)).collect();
        let accounts = std::thread::scope(|scope| {
            let data = &folders[0];
            let found = |number| scope.spawn(move || account((data, url), number));
            let threads: Vec<_> = (0..CLIENTS).map(found).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let addresses: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
        let load = Load::start(accounts, &addresses, may_die);
        Self { url: url.to_owned(), folders, nodes, load }
    }

    /// Every node serves again, now that PostgreSQL does.
    fn expect_back(&self) {
        let begun = Instant::now();
        for node in &self.nodes {
            let ready = || ask(&node.address, ("GET", "/health/ready"), "", &Value::Null).unwrap().status;
            wait_for("a node that is ready", || (ready() == 200).then_some(()));
        }
        let took = begun.elapsed();
        println!("back after {took:?}");
        assert!(took < BACK, "{took:?}");
    }

    /// Ends the load and compares what was told with what `query` finds in the database: how much was acknowledged, and
    /// what is wrong.
    fn close(self, query: impl Fn(&str) -> String) -> (usize, Vec<String>) {
        let told = self.load.stop();
        let mut wrong: Vec<String> = told.iter().flat_map(|(_, told)| told.wrong.clone()).collect();
        let rows = query("SELECT slug || '|' || COALESCE(description, '') FROM organizations");
        let kept: BTreeMap<&str, &str> = rows.lines().filter_map(|row| row.split_once('|')).collect();
        let made = told.iter().flat_map(|(_, told)| &told.made);
        wrong.extend(
            made.filter(|slug| !kept.contains_key(slug.as_str())).map(|slug| format!("lost: {slug}")),
        );
        for (account, Told { described, .. }) in &told {
            let found = kept.get(account.slug.as_str()).copied().unwrap_or_default();
            if !described.is_empty() && described.iter().all(|one| one != found) {
                wrong.push(format!("{found:?} in place of {described:?}"));
            }
        }
        // The letters of a node that died are another's when their time is over: it is now.
        let left = || query("SELECT COUNT(*) FROM outbox");
        let due = "SELECT COUNT(*) FROM outbox WHERE next_at <= EXTRACT(EPOCH FROM now()) * 1000000";
        wait_for("letters that are due", || (query(due) == "0").then_some(()));
        query("UPDATE outbox SET next_at = 0");
        wait_for("the last letter", || (left() == "0").then_some(()));
        wrong.extend(letters(&self.folders, &told));
        let found = process::json(&self.folders[0].0, &["check", "--database", &self.url]);
        wrong.extend(found["findings"].as_array().unwrap().iter().map(Value::to_string));
        let made: usize = told.iter().map(|(_, told)| told.made.len()).sum();
        let invited: usize =
            told.iter().map(|(_, told)| told.invited.values().filter(|sent| **sent).count()).sum();
        (made + invited, wrong)
    }
}

/// So much was acknowledged, and nothing may be wrong.
#[track_caller]
fn expect_well((acknowledged, wrong): (usize, Vec<String>)) {
    assert!(wrong.is_empty(), "{} wrong, at first {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    counted(acknowledged, "organizations and invitations acknowledged, none lost");
}

/// So much was acknowledged, and of that something has to be lost; answers how much.
#[track_caller]
fn expect_loss((acknowledged, wrong): (usize, Vec<String>)) -> String {
    let lost =
        wrong.iter().filter(|line| line.starts_with("lost:") || line.starts_with("no letter:")).count();
    assert!(lost > 0, "{wrong:?}");
    format!("{lost} of {acknowledged} acknowledged are lost")
}

/// Makes somebody with an organization.
fn account((data, url): (&Folder, &str), number: usize) -> Account {
    let command = |arguments: &[&str]| process::json(&data.0, &[arguments, &["--database", url]].concat());
    let name = format!("client{number}");
    let email = format!("{name}@example.com");
    command(&["user", "create", "--email", &email, "--username", &name, "--name", &name, "--verified"]);
    let made = command(&["org", "create", "--name", &format!("Hall {number}"), "--owner", &name]);
    let token = command(&["token", "create", "--user", &name])["token"].as_str().unwrap().to_owned();
    let slug = made["slug"].as_str().unwrap().to_owned();
    Account { token, number: made["number"].to_string(), slug }
}

/// What is wrong with the letters: every one that was promised is sent, none more than twice, and none that nobody asked for.
fn letters(folders: &[Folder], told: &[(Account, Told)]) -> Vec<String> {
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for folder in folders {
        for file in std::fs::read_dir(folder.0.join("mail")).into_iter().flatten() {
            let path = file.unwrap().path();
            // A draft that a killed node left is no letter.
            if path.extension().is_some_and(|kind| kind == "eml") {
                let text = std::fs::read_to_string(path).unwrap();
                let to = text
                    .lines()
                    .find_map(|line| line.strip_prefix("To: "))
                    .expect("a letter has a recipient");
                *sent.entry(to.trim_matches(['<', '>']).to_owned()).or_default() += 1;
            }
        }
    }
    let asked: BTreeMap<&String, bool> =
        told.iter().flat_map(|(_, told)| told.invited.iter().map(|(to, done)| (to, *done))).collect();
    let lost = asked.iter().filter(|(to, done)| **done && !sent.contains_key(**to));
    let often = sent.iter().filter(|(_, count)| **count > 2);
    let strange = sent.keys().filter(|to| !asked.contains_key(to));
    let lost = lost.map(|(to, _)| format!("no letter: {to}"));
    let often = often.map(|(to, count)| format!("{count} letters: {to}"));
    lost.chain(often).chain(strange.map(|to| format!("nobody asked for the letter: {to}"))).collect()
}

#[test]
fn a_node_killed_under_load_costs_nothing_acknowledged() {
    let Some(cluster) = testpg::shared() else { return };
    let times = times(1, 10);
    for _ in 0..times {
        let database = cluster.database();
        let site = Site::open(database.url(), 3, Some(0));
        site.load.work(WORK);
        site.nodes[0].signal("KILL");
        site.load.work(WORK);
        expect_well(site.close(|sql| cluster.psql(database.name(), sql)));
    }
    counted(times, "nodes killed");
}

/// PostgreSQL killed so often under the load of two nodes; where `lax`, commits are acknowledged before they are written. What
/// [`Site::close`] tells; nothing where it is not installed.
fn kill_postgresql(times: usize, lax: bool) -> Option<(usize, Vec<String>)> {
    // What is not waited for is written when this has passed.
    let cluster = Cluster::start(
        Keeps::Fast,
        if lax { "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB" } else { "" },
    )?;
    let database = cluster.database();
    let site = Site::open(database.url(), 2, None);
    if lax {
        cluster.configure("synchronous_commit = off");
    }
    for _ in 0..times {
        site.load.work(WORK);
        cluster.kill();
        site.load.be_sent_away();
        cluster.restart();
        site.expect_back();
    }
    site.load.work(WORK);
    Some(site.close(|sql| cluster.psql(database.name(), sql)))
}

#[test]
fn postgresql_killed_under_load_costs_nothing_acknowledged() {
    let times = times(3, 20);
    let Some(told) = kill_postgresql(times, false) else { return testpg::skip() };
    counted(times, "times killed and back within two seconds");
    expect_well(told);
}

/// The same where a commit is acknowledged before it is written.
#[test]
fn postgresql_that_does_not_wait_for_its_log_loses_what_it_acknowledged() {
    // Chance may have let everything be written before.
    for _ in 0..5 {
        let Some((acknowledged, wrong)) = kill_postgresql(1, true) else { return testpg::skip() };
        if !wrong.is_empty() {
            controlled(&format!(
                "with synchronous_commit off and one kill, {}",
                expect_loss((acknowledged, wrong))
            ));
            return;
        }
    }
    panic!("nothing was lost in five kills");
}

/// A primary killed under the load of two nodes and its standby promoted; where `cut_off`, the primary does not wait for the
/// standby, which hears nothing more some time before.
fn promote(cut_off: bool) -> Option<(usize, Vec<String>)> {
    let primary = Cluster::start(Keeps::Fast, "")?;
    let database = primary.database();
    let standby = primary.standby();
    if !cut_off {
        primary.configure("synchronous_commit = on\nsynchronous_standby_names = 'standby'");
    }
    let (name, ports) = (database.name(), [primary.port(), standby.port()]);
    let url = format!(
        "postgres://guildhall@127.0.0.1:{},127.0.0.1:{}/{name}?target_session_attrs=read-write",
        ports[0], ports[1]
    );
    let site = Site::open(&url, 2, None);
    site.load.work(WORK);
    if cut_off {
        // Where it was told of its primary no line of `postgresql.conf` counts.
        standby.psql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
        standby.configure("");
        site.load.work(WORK);
    }
    primary.kill();
    site.load.be_sent_away();
    // It has nobody to wait for.
    standby.configure("synchronous_standby_names = ''");
    standby.promote();
    site.expect_back();
    site.load.work(WORK);
    Some(site.close(|sql| standby.psql(name, sql)))
}

#[test]
fn a_standby_promoted_under_load_has_all_that_was_acknowledged() {
    let times = times(1, 5);
    for _ in 0..times {
        let Some(told) = promote(false) else { return testpg::skip() };
        expect_well(told);
    }
    counted(times, "standbys promoted and serving within two seconds");
}

#[test]
fn a_standby_that_nobody_waits_for_lacks_what_was_acknowledged() {
    let Some(told) = promote(true) else { return testpg::skip() };
    controlled(&format!("with a primary that does not wait for its standby, {}", expect_loss(told)));
}
