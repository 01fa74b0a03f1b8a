//! What was acknowledged is there after the process was killed at any moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guildhall::config::environment;
use guildhall_domain::clock::Random;
use serde_json::{Value, json};

use crate::harness::Folder;
use crate::process::{Server, call, json, token, user};

const KILLS: usize = 50;
const WRITERS: usize = 4;
/// The longest time that a server lives, in milliseconds.
const LONGEST: u64 = 120;

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let seed = environment("GUILDHALL_SEED")
        .and_then(|seed| seed.to_str()?.parse().ok())
        .unwrap_or_else(|| u64::from_le_bytes(Random::system().bytes()));
    eprintln!("GUILDHALL_SEED={seed}");
    let random = Random::seeded(seed);

    let folder = Folder::new();
    let data = &folder.0;
    user(data, "ana");
    let token = token(data, "ana");
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let next = Arc::new(AtomicUsize::new(0));
    for _ in 0..KILLS {
        let server = Server::start(data, &["--log", "off"]);
        let killed = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (acknowledged, next, killed) = (acknowledged.clone(), next.clone(), killed.clone());
                let (address, token) = (server.address.clone(), token.clone());
                std::thread::spawn(move || {
                    while !killed.load(Ordering::SeqCst) {
                        let name = format!("Number {}", next.fetch_add(1, Ordering::SeqCst));
                        let body = json!({"organization_name": name}).to_string();
                        if let Ok((201, _)) = call(&address, "POST", "/api/organizations", &token, &body) {
                            acknowledged.lock().unwrap().push(name);
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(u64::from_le_bytes(random.bytes()) % LONGEST));
        server.signal("KILL");
        server.end();
        killed.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().unwrap();
        }
    }

    assert_eq!(json(data, &["check"]), json!({"findings": []}));
    let listed = json(data, &["org", "list"]);
    let listed: Vec<&str> =
        listed["organizations"].as_array().unwrap().iter().filter_map(|org| org["name"].as_str()).collect();
    let acknowledged = acknowledged.lock().unwrap();
    let missing: Vec<&String> = acknowledged.iter().filter(|name| !listed.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} of {} are missing", acknowledged.len());
    assert!(acknowledged.len() > KILLS, "too few writes for a test: {}", acknowledged.len());
    assert!(listed.len() <= next.load(Ordering::SeqCst), "{:?}", Value::from(listed.len()));
}
