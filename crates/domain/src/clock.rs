//! Time and randomness, injected: the only module that reads either from the machine.
//!
//! With a [`Clock::fixed`] and a [`Random::seeded`] whole answers can be compared, byte for byte.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// An instant in microseconds since 1970-01-01T00:00:00Z; what the database stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This instant moved into the future by `duration`, or the last instant there is.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This instant moved into the past by `duration`, or the first instant there is.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; nothing where it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole seconds since 1970, as tokens carry them.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

/// Where the time comes from.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `at` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn fixed(at: Timestamp) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(at.0))))
    }

    /// The time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the module that may")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
            Source::Fixed(at) => Timestamp(at.load(Ordering::SeqCst)),
        }
    }

    /// Moves a fixed clock; the machine's stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Source::Fixed(at) = &self.0 {
            at.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

/// Where secrets and ids come from.
#[derive(Clone)]
pub struct Random(Entropy);

#[derive(Clone)]
enum Entropy {
    System(Arc<Mutex<Buffer>>),
    Seeded(Arc<(u64, AtomicU64)>),
}

/// Bytes asked for ahead, so that one system call serves many ids.
struct Buffer {
    bytes: [u8; 4096],
    used: usize,
}

impl Random {
    /// The operating system's generator.
    #[must_use]
    pub fn system() -> Self {
        Self(Entropy::System(Arc::new(Mutex::new(Buffer { bytes: [0; 4096], used: 4096 }))))
    }

    /// A sequence that `seed` determines: for tests alone.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Entropy::Seeded(Arc::new((seed, AtomicU64::new(0)))))
    }

    /// Goes on at that step of a seeded sequence, whatever was taken from it before: what is tried again takes more, and a
    /// test that compares must not see how often that was. The system's generator has no steps, and stays as it is.
    pub fn seek(&self, step: u64) {
        if let Entropy::Seeded(state) = &self.0 {
            state.1.store(step, Ordering::SeqCst);
        }
    }

    /// `N` bytes that nobody can guess.
    ///
    /// # Panics
    /// Where the operating system has no randomness to give: nothing may go on without.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the module that may")]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        match &self.0 {
            Entropy::System(buffer) => {
                let mut buffer = buffer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if buffer.used + N > buffer.bytes.len() {
                    getrandom::fill(&mut buffer.bytes).expect("the operating system gives randomness");
                    buffer.used = 0;
                }
                let used = buffer.used;
                out.copy_from_slice(&buffer.bytes[used..used + N]);
                // What was given is forgotten here.
                buffer.bytes[used..used + N].fill(0);
                buffer.used += N;
            }
            Entropy::Seeded(state) => {
                for chunk in out.chunks_mut(32) {
                    let step = state.1.fetch_add(1, Ordering::SeqCst);
                    let mut hash = Sha256::new();
                    hash.update(state.0.to_le_bytes());
                    hash.update(step.to_le_bytes());
                    chunk.copy_from_slice(&hash.finalize()[..chunk.len()]);
                }
            }
        }
        out
    }

    /// `2 × N` lower-case hex digits.
    #[must_use]
    pub fn hex<const N: usize>(&self) -> String {
        hex(&self.bytes::<N>())
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

/// Lower-case hex digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// SHA-256 of `text` in hex: how every key and mailed token is stored.
#[must_use]
pub fn sha256_hex(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}
