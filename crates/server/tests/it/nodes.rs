//! Several nodes on one database: each is as good as another, and none knows anything that the others do not.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use guildhall::keyring;
use guildhall::sealing::Seal;
use guildhall::tokens;
use guildhall_domain::authz::Actor;
use guildhall_domain::outbox::{self, Retry};
use guildhall_domain::{credentials, keys};
use serde_json::json;

use crate::harness::{Folder, House, Plan, delete, get, put};
use crate::process::{self, Server};

mod attack;
mod revocation;

const MINE: &str = "/v1/user/me/organizations";

/// Three nodes on one new database.
fn three(plan: Plan) -> [House; 3] {
    let one = House::with(plan);
    [one.another_node(), one.another_node(), one]
}

#[tokio::test]
async fn a_session_begun_at_one_node_counts_and_ends_at_all() {
    let one = House::new();
    let two = one.another_node();
    one.user("ana");
    for _ in 0..20 {
        let token = one.token("ana");
        assert_eq!(two.send(get(MINE).bearer(&token)).await.status, StatusCode::OK);
        assert_eq!(one.send(delete("/user/logout").bearer(&token)).await.status, StatusCode::OK);
        assert_eq!(two.send(get(MINE).bearer(&token)).await.status, StatusCode::UNAUTHORIZED);
    }
    let token = two.token("ana");
    one.disable("ana");
    assert_eq!(two.send(get(MINE).bearer(&token)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_made_at_one_node_signs_and_verifies_at_all() {
    let one = House::new();
    let two = one.another_node();
    one.user("ana");
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let before = one.token("ana");
    let new = tokens::rotate(one.db(), &Seal::new(None)).unwrap();
    for token in [&before, &signed(&one).await, &signed(&two).await] {
        for node in [&one, &two] {
            assert_eq!(node.send(get(MINE).bearer(token)).await.status, StatusCode::OK, "{}", kid(token));
        }
    }
    assert_eq!([kid(&signed(&one).await), kid(&signed(&two).await)], [new.clone(), new.clone()]);
    let published = two.send(get("/.well-known/jwks.json")).await.value();
    assert_eq!(published["keys"].as_array().unwrap().len(), 2);
    assert_eq!(published["keys"][1]["kid"], new.as_str());
    // The key of mailed links is one as well.
    let link = |node: &House| keyring::mail_secrets(node.db(), &Seal::new(None)).unwrap().token("nonce");
    assert_eq!(link(&one), link(&two));
    assert_eq!(keys::all(two.db(), &Actor::system(), keys::Purpose::Mail).unwrap().len(), 1);
}

/// A token that the node signs now.
async fn signed(node: &House) -> String {
    node.read_token("ana").await
}

#[test]
fn failures_to_sign_in_count_together() {
    let one = House::new();
    let two = one.another_node();
    one.user("ana");
    let wrong = |node: &House| {
        let attempt = credentials::sign_in::admit(node.db(), "ana", "192.0.2.1").unwrap();
        let wanted = credentials::Wanted::Key;
        let compared = attempt.compare("not her password");
        guildhall_domain::onboarding::sign_in(node.db(), compared, wanted, None).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (0..3).for_each(|_| wrong(&one)));
        scope.spawn(|| (0..3).for_each(|_| wrong(&two)));
    });
    for node in [&one, &two] {
        let looked = credentials::sign_in::look(node.db(), "ana", "192.0.2.1").unwrap();
        assert!(looked.is_none(), "the sixth of all slows down everywhere");
    }
    // And no two share a moment: of those that are admitted together each waits for another's.
    let admitted = |node: &House| {
        let attempt = credentials::sign_in::admit(node.db(), "ana", "192.0.2.1");
        attempt.ok().and_then(|attempt| attempt.wait)
    };
    let waits = std::thread::scope(|scope| {
        let threads = [scope.spawn(|| admitted(&one)), scope.spawn(|| admitted(&two))];
        threads.map(|thread| thread.join().unwrap())
    });
    assert_ne!(waits[0], waits[1]);
}

#[tokio::test]
async fn a_days_invitations_count_together() {
    let one = House::with(Plan { limits: true, ..Plan::default() });
    let two = one.another_node();
    one.user("ana");
    one.organization("Tea", "ana");
    let token = one.token("ana");
    let mut told = BTreeMap::new();
    for index in 0..6 {
        let node = if index % 2 == 0 { &one } else { &two };
        let call = put("/organizations/1/invite").bearer(&token);
        let people: Vec<String> = (0..100).map(|guest| format!("guest{index}.{guest}@example.com")).collect();
        let invite = call.json(json!({"people": people}));
        *told.entry(node.send(invite).await.status.as_u16()).or_insert(0) += 1;
    }
    assert_eq!(told.get(&429), Some(&1), "500 a day: {told:?}");
}

#[test]
fn a_letter_is_one_nodes_at_a_time() {
    const LETTERS: usize = 60;
    let one = House::new();
    let nodes = [one.another_node(), one.another_node(), one];
    nodes[0].user("ana");
    for _ in 0..LETTERS {
        credentials::ask_for_reset(nodes[0].db(), "ana@example.com", &nodes[0].app.secrets).unwrap();
    }
    let system = Actor::system();
    let take_all = |node: &House| {
        let mut taken = Vec::new();
        loop {
            match outbox::take(node.db(), &Actor::system(), 4) {
                Ok(letters) if letters.is_empty() => return taken,
                Ok(letters) => taken.extend(letters),
                // Another was in the way too often: a worker looks again.
                Err(guildhall_domain::Error::Unavailable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let taken: Vec<Vec<outbox::Letter>> = std::thread::scope(|scope| {
        let threads: Vec<_> = nodes.iter().map(|node| scope.spawn(|| take_all(node))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut ids: Vec<&str> = taken.iter().flatten().map(|letter| letter.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), taken.iter().flatten().count()), (LETTERS, LETTERS), "each once");

    // A node that dies with letters in its hands loses none: when their time is over, they are another's.
    nodes[0].pass(Duration::from_secs(120));
    let again = take_all(&nodes[1]);
    assert_eq!(again.len(), LETTERS);
    // Had it only been slow, it would not take them from the other's hands.
    let late = taken.iter().flatten().next().unwrap();
    assert_eq!(outbox::failed(nodes[0].db(), &system, late, "too late").unwrap(), Retry::NotOurs);
    assert_eq!(take_all(&nodes[2]), []);
    for letter in &again {
        outbox::done(nodes[1].db(), &system, &letter.id).unwrap();
    }
    assert_eq!(outbox::waiting(nodes[2].db(), &system).unwrap(), 0);
}

/// The program itself, twice, each with a data folder of its own.
#[test]
fn two_servers_share_one_postgresql_and_one_may_be_killed() {
    let Some(cluster) = testpg::shared() else { return };
    let database = cluster.database();
    let folders = [Folder::new(), Folder::new()];
    let options = ["--database", database.url()];
    // Both at once: one of them brings the database to its schema.
    let [one, two] = std::thread::scope(|scope| {
        let threads = folders.each_ref().map(|folder| scope.spawn(|| Server::start(&folder.0, &options)));
        threads.map(|thread| thread.join().unwrap())
    });
    let command = |arguments: &[&str]| process::json(&folders[0].0, &[arguments, &options].concat());
    command(&[
        "user",
        "create",
        "--email",
        "ana@example.com",
        "--username",
        "ana",
        "--name",
        "ana",
        "--verified",
    ]);
    let token = || command(&["token", "create", "--user", "ana"])["token"].as_str().unwrap().to_owned();
    let first = token();
    command(&["signing-key", "rotate"]);
    let second = token();
    for token in [&first, &second] {
        assert_eq!((one.call("GET", MINE, token, "").0, two.call("GET", MINE, token, "").0), (200, 200));
    }
    assert_eq!(one.call("DELETE", "/user/logout", &first, "").0, 200);
    assert_eq!(two.call("GET", MINE, &first, "").0, 401);
    for line in ["secret: none is configured", "media: a folder"] {
        assert!(one.log().contains(line), "{}", one.log());
    }
    one.signal("KILL");
    one.end();
    assert_eq!(two.call("GET", MINE, &second, "").0, 200);
    assert_eq!(process::json(&folders[1].0, &["check", options[0], options[1]])["findings"], json!([]));
    two.stop();
}
