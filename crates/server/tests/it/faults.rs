//! What fails under load, and what clients see of it: a node, PostgreSQL, a primary whose standby takes over. Nothing that was
//! acknowledged is lost, a client hears success or 503 with `Retry-After` and hears it within five seconds, and two seconds
//! after PostgreSQL takes connections again every node serves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testpg::{Cluster, Keeps};

use crate::harness::Folder;
use crate::place::times;
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

    /// Ends the load and compares what was told with what `query` finds in the database.
    fn close(self, query: impl Fn(&str) -> String) {
        let told = self.load.stop();
        let wrong: Vec<&String> = told.iter().flat_map(|(_, told)| &told.wrong).collect();
        assert!(wrong.is_empty(), "{} wrong, at first {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
        let rows = query("SELECT slug || '|' || COALESCE(description, '') FROM organizations");
        let kept: BTreeMap<&str, &str> = rows.lines().filter_map(|row| row.split_once('|')).collect();
        let lost: Vec<&String> = told
            .iter()
            .flat_map(|(_, told)| &told.made)
            .filter(|slug| !kept.contains_key(slug.as_str()))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        for (account, Told { described, .. }) in &told {
            let found = kept[account.slug.as_str()];
            let is_right = described.is_empty() || described.iter().any(|one| one == found);
            assert!(is_right, "{found:?} in place of {described:?}");
        }
        // The letters of a node that died are another's when their time is over: it is now.
        let left = || query("SELECT COUNT(*) FROM outbox");
        let due = "SELECT COUNT(*) FROM outbox WHERE next_at <= EXTRACT(EPOCH FROM now()) * 1000000";
        wait_for("letters that are due", || (query(due) == "0").then_some(()));
        query("UPDATE outbox SET next_at = 0");
        wait_for("the last letter", || (left() == "0").then_some(()));
        expect_letters(&self.folders, &told);
        let found = process::json(&self.folders[0].0, &["check", "--database", &self.url]);
        assert_eq!(found["findings"], json!([]));
        let made: usize = told.iter().map(|(_, told)| told.made.len()).sum();
        let invited: usize =
            told.iter().map(|(_, told)| told.invited.values().filter(|sent| **sent).count()).sum();
        println!("{made} organizations and {invited} invitations acknowledged, 0 lost");
    }
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

/// Every letter that was promised was sent, none more than twice, and none that nobody asked for.
fn expect_letters(folders: &[Folder], told: &[(Account, Told)]) {
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
    let lost: Vec<&&String> =
        asked.iter().filter(|(to, done)| **done && !sent.contains_key(**to)).map(|(to, _)| to).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let often: Vec<(&String, &usize)> = sent.iter().filter(|(_, count)| **count > 2).collect();
    assert!(often.is_empty(), "more than twice: {often:?}");
    let strange: BTreeSet<&String> = sent.keys().filter(|to| !asked.contains_key(to)).collect();
    assert!(strange.is_empty(), "nobody asked for {strange:?}");
}

#[test]
fn a_node_killed_under_load_costs_nothing_acknowledged() {
    let Some(cluster) = testpg::shared() else { return };
    for _ in 0..times(1, 10) {
        let database = cluster.database();
        let site = Site::open(database.url(), 3, Some(0));
        site.load.work(WORK);
        site.nodes[0].signal("KILL");
        site.load.work(WORK);
        site.close(|sql| cluster.psql(database.name(), sql));
    }
}

#[test]
fn postgresql_killed_under_load_costs_nothing_acknowledged() {
    let Some(cluster) = Cluster::start(Keeps::Fast, "") else { return testpg::skip() };
    let database = cluster.database();
    let site = Site::open(database.url(), 2, None);
    for _ in 0..times(3, 20) {
        site.load.work(WORK);
        cluster.kill();
        site.load.be_sent_away();
        cluster.restart();
        site.expect_back();
    }
    site.load.work(WORK);
    site.close(|sql| cluster.psql(database.name(), sql));
}

#[test]
fn a_standby_promoted_under_load_has_all_that_was_acknowledged() {
    for _ in 0..times(1, 5) {
        let Some(primary) = Cluster::start(Keeps::Fast, "") else { return testpg::skip() };
        let database = primary.database();
        let standby = primary.standby();
        primary.configure("synchronous_commit = on\nsynchronous_standby_names = 'standby'");
        let (name, ports) = (database.name(), [primary.port(), standby.port()]);
        let url = format!(
            "postgres://guildhall@127.0.0.1:{},127.0.0.1:{}/{name}?target_session_attrs=read-write",
            ports[0], ports[1]
        );
        let site = Site::open(&url, 2, None);
        site.load.work(WORK);
        primary.kill();
        site.load.be_sent_away();
        // It has nobody to wait for.
        standby.configure("synchronous_standby_names = ''");
        standby.promote();
        site.expect_back();
        site.load.work(WORK);
        site.close(|sql| standby.psql(name, sql));
    }
}
