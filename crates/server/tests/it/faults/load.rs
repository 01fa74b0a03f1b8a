//! Clients at work while something fails: what they were told, and whether it was right.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{head, wait_for};

/// No request takes longer, whatever has failed.
const LONGEST: Duration = Duration::from_secs(5);

/// What a client is to the server: an account, and its organization.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) token: String,
    /// The organization as bit calls it, and its slug.
    pub(super) number: String,
    pub(super) slug: String,
}

/// What a client has been told is done, and what it has tried.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Slugs of organizations that were made.
    pub(super) made: Vec<String>,
    /// Descriptions of its organization: the last one that was taken, and those tried since.
    pub(super) described: Vec<String>,
    /// Addresses that were invited: whether that was answered with success.
    pub(super) invited: BTreeMap<String, bool>,
    /// What should not have been, a line each.
    pub(super) wrong: Vec<String>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    has_retry_after: bool,
    body: String,
}

/// Makes one call on a connection of its own.
///
/// # Errors
/// Where it is not answered whole.
pub(super) fn ask(
    address: &str,
    (method, path): (&str, &str),
    token: &str,
    body: &Value,
) -> io::Result<Answer> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(address)?;
    // A server that hangs is told by the time it took.
    stream.set_read_timeout(Some(LONGEST * 6))?;
    stream.write_all(format!("{}{body}", head(method, path, token, &body)).as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let cut_off = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(cut_off)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut_off)?;
    let has_retry_after = head.to_ascii_lowercase().contains("\r\nretry-after: ");
    Ok(Answer { status, has_retry_after, body: body.to_owned() })
}

/// How far the clients are.
#[derive(Default)]
pub(super) struct Progress {
    stop: AtomicBool,
    /// How much was answered with success, and with 503.
    done: AtomicU64,
    sent_away: AtomicU64,
    /// The longest that an answer took, in milliseconds.
    longest: AtomicU64,
}

/// Clients, each on a thread of its own, each asking one node after another.
pub(super) struct Load {
    progress: Arc<Progress>,
    threads: Vec<JoinHandle<(Account, Told)>>,
}

impl Load {
    /// Lets them work at those nodes. Of a node that `may_die` no answer is an answer.
    pub(super) fn start(accounts: Vec<Account>, nodes: &[String], may_die: Option<usize>) -> Self {
        let progress = Arc::new(Progress::default());
        let start = |(number, account): (usize, Account)| {
            let (nodes, progress) = (nodes.to_vec(), Arc::clone(&progress));
            let mut client = Client { number, account, nodes, may_die, progress, told: Told::default() };
            std::thread::spawn(move || {
                let mut step = 0;
                while !client.progress.stop.load(Ordering::SeqCst) {
                    client.step(step);
                    step += 1;
                }
                (client.account, client.told)
            })
        };
        let threads = accounts.into_iter().enumerate().map(start).collect();
        Self { progress, threads }
    }

    /// Waits until so much more was answered with success.
    pub(super) fn work(&self, more: u64) {
        let aim = self.progress.done.load(Ordering::SeqCst) + more;
        wait_for("clients at work", || (self.progress.done.load(Ordering::SeqCst) >= aim).then_some(()));
    }

    /// Waits until somebody was told 503.
    pub(super) fn be_sent_away(&self) {
        let before = self.progress.sent_away.load(Ordering::SeqCst);
        wait_for("a 503", || (self.progress.sent_away.load(Ordering::SeqCst) > before).then_some(()));
    }

    /// Lets each finish what it is at.
    pub(super) fn stop(self) -> Vec<(Account, Told)> {
        self.progress.stop.store(true, Ordering::SeqCst);
        let told = self.threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let Progress { done, sent_away, longest, .. } = &*self.progress;
        println!(
            "{} done, {} sent away, the longest took {} ms",
            count(done),
            count(sent_away),
            count(longest)
        );
        told
    }
}

struct Client {
    number: usize,
    account: Account,
    nodes: Vec<String>,
    may_die: Option<usize>,
    progress: Arc<Progress>,
    told: Told,
}

impl Client {
    /// Asks for one thing, of the next node.
    fn step(&mut self, step: usize) {
        match step % 4 {
            0 => self.make(step),
            1 => self.describe(step),
            2 => self.invite(step),
            _ => self.look(step),
        }
    }

    fn make(&mut self, step: usize) {
        let name = format!("Made {} {step}", self.number);
        let body = json!({"name": name});
        if self.ask(step, ("POST", "/api/v1/organizations/"), &body).is_some() {
            self.told.made.push(format!("made-{}-{step}", self.number));
        }
    }

    fn describe(&mut self, step: usize) {
        let description = format!("description {step}");
        self.told.described.push(description.clone());
        let path = format!("/api/v1/organizations/{}/", self.account.slug);
        if self.ask(step, ("PATCH", &path), &json!({"description": description})).is_some() {
            self.told.described = vec![description];
        }
    }

    fn invite(&mut self, step: usize) {
        let email = format!("guest-{}-{step}@example.net", self.number);
        let path = format!("/organizations/{}/invite", self.account.number);
        let is_done = self.ask(step, ("PUT", &path), &json!({"people": [email]})).is_some();
        self.told.invited.insert(email, is_done);
    }

    /// What was told to be done is seen at every node from then on.
    fn look(&mut self, step: usize) {
        let path = format!("/api/v1/organizations/{}/", self.account.slug);
        if let Some(body) = self.ask(step, ("GET", &path), &Value::Null) {
            let found: Value = serde_json::from_str(&body).unwrap();
            let is_one = |told: &String| found["description"] == told.as_str();
            if !self.told.described.is_empty() && !self.told.described.iter().any(is_one) {
                self.told
                    .wrong
                    .push(format!("{} in place of {:?}", found["description"], self.told.described));
            }
        }
    }

    /// The body where it succeeded. What is neither success nor 503 with `Retry-After` is wrong, and so is what takes long.
    fn ask(&mut self, step: usize, call: (&str, &str), body: &Value) -> Option<String> {
        let node = (self.number + step) % self.nodes.len();
        let begun = Instant::now();
        let answer = ask(&self.nodes[node], call, &self.account.token, body);
        let took = begun.elapsed();
        self.progress.longest.fetch_max(u64::try_from(took.as_millis()).unwrap(), Ordering::SeqCst);
        if took > LONGEST {
            self.told.wrong.push(format!("{call:?} took {took:?}: {answer:?}"));
        }
        match answer {
            Ok(Answer { status: 200..300, body, .. }) => {
                self.progress.done.fetch_add(1, Ordering::SeqCst);
                return Some(body);
            }
            Ok(Answer { status: 503, has_retry_after: true, .. }) => {
                self.progress.sent_away.fetch_add(1, Ordering::SeqCst);
                // Who is told to come back does not come at once.
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(_) if self.may_die == Some(node) => {}
            other => self.told.wrong.push(format!("{call:?}: {other:?}")),
        }
        None
    }
}
