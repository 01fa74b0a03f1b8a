//! Tokens whose signature was found good, remembered within bounds.
//!
//! Checking a signature takes a hundred times as long as finding its token here, and a client sends the same token with
//! each of its requests. Only what a signature settles once and for all is remembered: whoever asks looks at the times
//! again, each time, and makes a new memory when its keys change.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;

/// Parts with a lock each, so that threads seldom wait for one another.
const SHARDS: usize = 16;

/// Tokens a generation of one part holds: 16 parts of two generations remember 16,384 at most.
const GENERATION: usize = 512;

/// What a token is known by: its SHA-256, so that long tokens take no more room than short ones.
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of the whole `token`: another spelling of it is another token.
    pub(crate) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// What good tokens say, by their fingerprints. Of two generations the older is dropped when the younger is full, so that
/// the tokens in use stay without any list being kept in order.
pub(crate) struct Verified<T> {
    shards: [Mutex<Shard<T>>; SHARDS],
}

struct Shard<T> {
    young: HashMap<[u8; 32], T>,
    old: HashMap<[u8; 32], T>,
}

impl<T: Clone> Verified<T> {
    /// An empty memory.
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(Shard { young: HashMap::new(), old: HashMap::new() })),
        }
    }

    /// What the token of this fingerprint says, if it is remembered.
    pub(crate) fn get(&self, fingerprint: &Fingerprint) -> Option<T> {
        let mut shard = self.shard(fingerprint);
        if let Some(value) = shard.young.get(&fingerprint.0) {
            return Some(value.clone());
        }
        let value = shard.old.remove(&fingerprint.0)?;
        shard.keep(fingerprint, value.clone());
        Some(value)
    }

    /// Remembers a token whose signature was found good. Never call it with any other.
    pub(crate) fn insert(&self, fingerprint: &Fingerprint, value: T) {
        self.shard(fingerprint).keep(fingerprint, value);
    }

    fn shard(&self, fingerprint: &Fingerprint) -> MutexGuard<'_, Shard<T>> {
        self.shards[usize::from(fingerprint.0[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Shard<T> {
    fn keep(&mut self, fingerprint: &Fingerprint, value: T) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint.0, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_the_number_is_bounded() {
        let verified = Verified::new();
        let used = Fingerprint::of("in use");
        verified.insert(&used, 0);
        for n in 1..=100_000 {
            verified.insert(&Fingerprint::of(&n.to_string()), n);
            assert_eq!(verified.get(&used), Some(0), "after {n}");
        }
        assert_eq!(verified.get(&Fingerprint::of("1")), None);
        assert_eq!(verified.get(&Fingerprint::of("100000")), Some(100_000));
        for shard in &verified.shards {
            let shard = shard.lock().unwrap();
            assert!(shard.young.len() <= GENERATION && shard.old.len() <= GENERATION);
        }
    }
}
