//! Where an issuer's key set comes from, and for how long it is believed.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use guildhall_domain::clock::{Clock, Timestamp};
use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};

use super::key_set::KeySet;

/// The largest key set, in bytes.
const LARGEST: usize = 64 * 1024;

/// For one fetch, from connecting to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A set is fetched again when it is this old.
const FRESH: Duration = Duration::from_secs(10 * 60);

/// A set that cannot be fetched again is used until it is this old.
const USABLE: Duration = Duration::from_secs(24 * 60 * 60);

/// Between two fetches for unknown keys, and between failed ones while an older set serves.
const PAUSE: Duration = Duration::from_secs(60);

/// Between failed fetches while there is no set to use.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// A URL or a file.
pub(super) enum Source {
    Remote(Arc<Remote>),
    Local(Local),
}

impl Source {
    /// # Errors
    /// Why `jwks` cannot be used, in one line.
    pub(super) fn new(jwks: &str, issuer: &str, clock: &Clock) -> Result<Self, String> {
        if jwks.starts_with("https://") || jwks.starts_with("http://") {
            return Ok(Self::Remote(Arc::new(Remote::new(jwks, issuer, clock)?)));
        }
        if jwks.contains("://") {
            return Err("neither an http or https URL nor a path".to_owned());
        }
        Ok(Self::Local(Local::new(Path::new(jwks))?))
    }

    /// The set as it is now, or as it was last, within bounds.
    pub(super) async fn keys(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::Remote(remote) => remote.keys().await,
            Self::Local(local) => Some(local.keys()),
        }
    }

    /// A newer set than `known`, which lacks a key, if there is one and it is not too soon to look.
    pub(super) async fn newer(&self, known: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        match self {
            Self::Remote(remote) => remote.newer(known).await,
            // A file was looked at when `known` was given out.
            Self::Local(_) => None,
        }
    }
}

/// A key set behind a URL, fetched by one request at a time however many wait for it.
pub(super) struct Remote {
    url: Url,
    client: Client,
    /// For the log.
    issuer: String,
    clock: Clock,
    state: Mutex<State>,
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// When a fetch was last begun.
    tried: Option<Timestamp>,
    /// When a fetch was last begun for an unknown key.
    sought: Option<Timestamp>,
}

struct Held {
    keys: Arc<KeySet>,
    fetched: Timestamp,
}

impl State {
    fn younger(&self, age: Duration, now: Timestamp) -> Option<Arc<KeySet>> {
        self.held
            .as_ref()
            .filter(|held| within(Some(held.fetched), age, now))
            .map(|held| Arc::clone(&held.keys))
    }

    /// Whether a fetch is to begin now; if so, it is noted as begun.
    fn begin(&mut self, known: Option<&Arc<KeySet>>, now: Timestamp) -> bool {
        let due = match known {
            Some(known) => {
                let current = self.held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.keys, known));
                current && !within(self.sought, PAUSE, now)
            }
            None => {
                let pause = if self.younger(USABLE, now).is_some() { PAUSE } else { SHORT_PAUSE };
                self.younger(FRESH, now).is_none() && !within(self.tried, pause, now)
            }
        };
        if due {
            self.tried = Some(now);
            if known.is_some() {
                self.sought = Some(now);
            }
        }
        due
    }
}

impl Remote {
    fn new(url: &str, issuer: &str, clock: &Clock) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        // What answers must be what was configured: nobody on the way, and nowhere else.
        let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).no_proxy().build();
        let client = client.map_err(|error| format!("no HTTP client: {error}"))?;
        let (state, flight) = Default::default();
        Ok(Self { url, client, issuer: issuer.to_owned(), clock: clock.clone(), state, flight })
    }

    async fn keys(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        let fresh = self.state().younger(FRESH, self.clock.now());
        if fresh.is_some() {
            return fresh;
        }
        self.refresh(None).await;
        self.state().younger(USABLE, self.clock.now())
    }

    async fn newer(self: &Arc<Self>, known: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        self.refresh(Some(Arc::clone(known))).await;
        self.state().younger(USABLE, self.clock.now()).filter(|keys| !Arc::ptr_eq(keys, known))
    }

    /// Fetches the set if it is due, after whoever does so already. As a task of its own: a client that hangs up must not
    /// end what others wait for.
    async fn refresh(self: &Arc<Self>, known: Option<Arc<KeySet>>) {
        let remote = Arc::clone(self);
        let task = tokio::spawn(async move {
            let _one_at_a_time = remote.flight.lock().await;
            if !remote.state().begin(known.as_ref(), remote.clock.now()) {
                return;
            }
            match remote.fetch().await {
                Ok(keys) => {
                    let fetched = remote.clock.now();
                    remote.state().held = Some(Held { keys: Arc::new(keys), fetched });
                }
                Err(why) => tracing::warn!(issuer = remote.issuer, why, "key set not fetched"),
            }
        });
        // It fails only if the program ends.
        let _ = task.await;
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        // The URL may hold a password.
        let plain = |error: reqwest::Error| error.without_url().to_string();
        let request = self.client.get(self.url.clone()).header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(plain)?;
        if response.status() != StatusCode::OK {
            return Err(format!("the answer was {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(plain)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err("it is larger than 64 KiB".to_owned());
            }
        }
        KeySet::parse(&body).ok_or_else(|| "it is no JSON Web Key Set".to_owned())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `then` is less than `span` ago. An instant in the future is not: the clock was set back since.
fn within(then: Option<Timestamp>, span: Duration, now: Timestamp) -> bool {
    then.is_some_and(|then| then <= now && now.since(then) < span)
}

/// A key set in a file, read again whenever the file has changed. While it cannot be read, what it said last holds.
pub(super) struct Local {
    path: PathBuf,
    state: Mutex<LocalState>,
}

struct LocalState {
    keys: Arc<KeySet>,
    seen: Option<Stamp>,
}

/// What changes when a file does, also when it is replaced within one tick of the clock.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let changed = (metadata.mtime(), metadata.mtime_nsec());
        Some(Self { inode: metadata.ino(), size: metadata.size(), changed })
    }
}

impl Local {
    fn new(path: &Path) -> Result<Self, String> {
        // The stamp first: a change after it is one more reading, never one less.
        let seen = Stamp::of(path);
        let keys = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), state: Mutex::new(LocalState { keys: Arc::new(keys), seen }) })
    }

    fn keys(&self) -> Arc<KeySet> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.path);
        if stamp != state.seen {
            state.seen = stamp;
            match read(&self.path) {
                Ok(keys) => state.keys = Arc::new(keys),
                Err(error) => tracing::warn!(path = %self.path.display(), %error, "key set not read again"),
            }
        }
        Arc::clone(&state.keys)
    }
}

fn read(path: &Path) -> io::Result<KeySet> {
    let mut json = Vec::new();
    File::open(path)?.take(LARGEST as u64 + 1).read_to_end(&mut json)?;
    if json.len() > LARGEST {
        return Err(io::Error::other("larger than 64 KiB"));
    }
    KeySet::parse(&json).ok_or_else(|| io::Error::other("no JSON Web Key Set"))
}
