//! What clients tried, and what they were told was done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something that the server keeps for a client, and where it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// An account, by its username: `there`.
    Account(String),
    /// A letter to that address: `sent`.
    Letter(String),
    /// What a writer is called.
    Name(usize),
    /// An organization by its slug, and its owner: its description and whether it is archived, or `gone`.
    Organization(String, usize),
    /// An organization, its owner, and a person in it: `admin`, `member` or `none`.
    Member(String, usize, String),
    /// The picture of an organization by stormz's id, and its owner: `own` or `default`.
    Picture(String, usize),
    /// An event by its number, and who made it: its name and who comes, or `gone`.
    Event(String, usize),
    /// A session's token: `good` or `ended`.
    Session(String),
    /// Whose API key it is, and the key: `good` or `ended`.
    ApiKey(usize, String),
    /// An invitation's token: `good` or `ended`.
    Invitation(String),
}

/// What has to be found, and what may be found instead since it was tried later.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) must: String,
    pub(crate) may: Vec<String>,
}

impl Expected {
    pub(crate) fn allows(&self, found: &str) -> bool {
        self.must == found || self.may.iter().any(|value| value == found)
    }
}

enum Entry {
    /// A request is about to be sent that makes the thing this.
    Tried(Thing, String),
    /// The request of that entry was answered with success.
    Acknowledged(usize),
}

/// The clients' log, in one order. A thing is changed by one client, which waits for each answer.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Vec<Entry>>);

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is about to be asked; answers what to acknowledge.
    pub(crate) fn tries(&self, thing: Thing, value: impl Into<String>) -> usize {
        let mut entries = self.entries();
        entries.push(Entry::Tried(thing, value.into()));
        entries.len() - 1
    }

    pub(crate) fn acknowledged(&self, tried: usize) {
        self.entries().push(Entry::Acknowledged(tried));
    }

    /// For what has its name only from the answer.
    pub(crate) fn made(&self, thing: Thing, value: impl Into<String>) {
        let tried = self.tries(thing, value);
        self.acknowledged(tried);
    }

    /// The API keys that the writer of that number was ever told.
    pub(crate) fn api_keys(&self, writer: usize) -> BTreeSet<String> {
        let entries = self.entries();
        let keys = entries.iter().filter_map(|entry| match entry {
            Entry::Tried(Thing::ApiKey(owner, key), _) if *owner == writer => Some(key.clone()),
            _ => None,
        });
        keys.collect()
    }

    /// How much was noted until now.
    pub(crate) fn mark(&self) -> usize {
        self.entries().len()
    }

    /// How many successes were noted until `mark`.
    pub(crate) fn successes(&self, mark: usize) -> usize {
        let entries = self.entries();
        entries.iter().take(mark).filter(|entry| matches!(entry, Entry::Acknowledged(_))).count()
    }

    /// What has to be there if everything ended when the log reached `mark`: what was tried later may have happened.
    pub(crate) fn expected(&self, mark: usize) -> BTreeMap<Thing, Expected> {
        let entries = self.entries();
        let mut tried: BTreeMap<&Thing, Vec<(usize, &str)>> = BTreeMap::new();
        let mut last: BTreeMap<&Thing, usize> = BTreeMap::new();
        for (place, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Tried(thing, value) => tried.entry(thing).or_default().push((place, value)),
                Entry::Acknowledged(at) if place < mark => {
                    if let Entry::Tried(thing, _) = &entries[*at] {
                        last.insert(thing, *at);
                    }
                }
                Entry::Acknowledged(_) => {}
            }
        }
        let expected = last.into_iter().map(|(thing, last)| {
            let since =
                tried[thing].iter().filter(|(place, _)| *place >= last).map(|(_, value)| (*value).to_owned());
            let mut since = since;
            let must = since.next().unwrap_or_default();
            (thing.clone(), Expected { must, may: since.collect() })
        });
        expected.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_must_be_there_and_what_was_tried_since_may_be() {
        let ledger = Ledger::default();
        let thing = || Thing::Name(1);
        let first = ledger.tries(thing(), "a");
        assert!(ledger.expected(ledger.mark()).is_empty(), "nothing was acknowledged");
        ledger.acknowledged(first);
        let mark = ledger.mark();
        let second = ledger.tries(thing(), "b");
        let expected = ledger.expected(mark);
        assert_eq!(expected[&thing()], Expected { must: "a".into(), may: vec!["b".into()] });
        ledger.acknowledged(second);
        assert_eq!(ledger.expected(mark), expected, "what came after the mark is not asked for");
        let now = ledger.expected(ledger.mark());
        assert_eq!(now[&thing()], Expected { must: "b".into(), may: vec![] });
        assert!(now[&thing()].allows("b") && !now[&thing()].allows("a"));
    }
}
