//! Where a run keeps what it makes, and what all items need.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use guildhall_domain::clock::Random;

use crate::Result;

/// The program that is tried, a folder of the run's own, and how much is tried.
pub(crate) struct Place {
    /// The release build.
    pub(crate) program: PathBuf,
    /// Whether as much is tried as a release is judged by.
    pub(crate) long: bool,
    /// What chance decides follows from it.
    pub(crate) seed: u64,
    folder: PathBuf,
    count: AtomicU32,
    starts: Mutex<Vec<Duration>>,
}

/// How long a start may take.
const START_WITHIN: Duration = Duration::from_secs(2);

impl Place {
    /// On the disk that holds the build; gone when this is dropped.
    pub(crate) fn new(program: PathBuf, long: bool, seed: u64) -> Result<Self> {
        let folder = std::env::current_exe()?.with_file_name(format!("proof-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self { program, long, seed, folder, count: AtomicU32::new(0), starts: Mutex::default() })
    }

    /// The number for this tier.
    pub(crate) fn number(&self, quick: usize, long: usize) -> usize {
        if self.long { long } else { quick }
    }

    /// A path that nothing has had before.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{name}-{number}"))
    }

    /// Notes how long a start took.
    pub(crate) fn started(&self, took: Duration) {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }

    /// What is wrong with the starts that were noted since this was last asked. Their median counts: one alone may have waited
    /// for whatever else the machine does.
    pub(crate) fn slow_starts(&self) -> Option<String> {
        let mut starts = std::mem::take(&mut *self.starts.lock().unwrap_or_else(PoisonError::into_inner));
        starts.sort();
        let median = starts.get(starts.len() / 2).copied()?;
        (median > START_WITHIN).then(|| format!("the median of {} starts is {median:?}", starts.len()))
    }

    /// A generator of this run: the same for the same seed and `what`.
    pub(crate) fn random(&self, what: &str) -> Random {
        let salt = what.bytes().fold(self.seed, |salt, byte| salt.wrapping_mul(31).wrapping_add(byte.into()));
        Random::seeded(salt)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} is left behind: {error}", self.folder.display());
        }
    }
}

/// A number below `end`, which is at least 1.
pub(crate) fn below(random: &Random, end: usize) -> usize {
    u32::from_le_bytes(random.bytes()) as usize % end
}

/// One of them.
pub(crate) fn one_of<'a, T>(random: &Random, all: &'a [T]) -> Option<&'a T> {
    if all.is_empty() { None } else { all.get(below(random, all.len())) }
}
