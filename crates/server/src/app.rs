//! What the server is made of, and the slow things that several faces do alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use guildhall_domain::authz::Actor;
use guildhall_domain::clock::Random;
use guildhall_domain::credentials::password::Password;
use guildhall_domain::credentials::sign_in::{self, Compared};
use guildhall_domain::credentials::{Session, Wanted};
use guildhall_domain::db::Db;
use guildhall_domain::limits::{self, Limit};
use guildhall_domain::onboarding::{self, SignedIn};
use guildhall_domain::outbox::Secrets;
use guildhall_domain::{Error, Result};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::client::Network;
use crate::issuers::Issuers;
use crate::load::{self, Place};
use crate::media::Media;
use crate::tokens::{Claims, Keys, TokenError};

/// Passwords hashed at the same time: each takes 19 MiB and a core for tens of milliseconds.
const HASHING_AT_ONCE: usize = 2;

/// Everything that a request can need. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of an [`App`].
pub struct Parts {
    /// The one truth.
    pub db: Db,
    /// Signs and checks this server's own tokens.
    pub keys: Keys,
    /// Checks tokens of trusted issuers.
    pub issuers: Issuers,
    /// Keeps pictures.
    pub media: Media,
    /// Makes the tokens in mailed links.
    pub secrets: Secrets,
    /// Under which the server is reached, without a slash at the end: the beginning of every link.
    pub public_url: String,
    /// Where a person goes on after a page has done its work; an http or https URL.
    pub return_to: Option<String>,
    /// Origins whose pages may call this server from a browser.
    pub cors_origins: Vec<String>,
    /// OAuth clients of stormz and their secrets; none are asked for where there are none.
    pub oauth_clients: HashMap<String, String>,
}

/// Searches that run at the same time.
static SEARCHES: Semaphore = Semaphore::const_new(2);

/// The lane that all hashing takes, whoever asks: it is the one thing here that costs real time.
static HASHING: Semaphore = Semaphore::const_new(HASHING_AT_ONCE);

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Whether the server is reached by https: cookies are then for that alone.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// The randomness of this server.
    #[must_use]
    pub fn random(&self) -> &Random {
        self.db.random()
    }

    /// Runs an operation that only looks: here, where it takes microseconds; on a thread of the database's own, where it
    /// waits for a network, and perhaps more than once then, each time as a copy of what was given.
    ///
    /// # Errors
    /// What the operation refuses.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Db) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        if !self.db.is_remote() {
            return work(&self.db);
        }
        let (answer, answered) = oneshot::channel();
        self.db.look(work, move |result| drop(answer.send(result)));
        told(answered).await
    }

    /// Runs an operation that looks at more than a few rows, where it holds nobody up: on a thread of its own, few at a time.
    ///
    /// # Errors
    /// What the operation refuses; [`Error::Unavailable`] where too many wait.
    pub async fn search<T: Send + 'static>(
        &self,
        client: Network,
        work: impl FnOnce(&Db) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        if load::SEARCHES.is_full_for(client) {
            return Err(Error::Unavailable(load::TOO_MUCH.into()));
        }
        let place = load::SEARCHES.join(client);
        let turn = SEARCHES.acquire().await.map_err(|_| Error::Internal("no turn for a search".into()))?;
        // Held until the work is done, also where nobody waits for it any more.
        let turn = Arc::new((place, turn));
        let work = move |db: &Db| {
            let done = work(db);
            drop(turn);
            done
        };
        if self.db.is_remote() {
            let (answer, answered) = oneshot::channel();
            self.db.search(work, move |result| drop(answer.send(result)));
            return told(answered).await;
        }
        let db = self.db.clone();
        let done = tokio::task::spawn_blocking(move || work(&db));
        done.await.map_err(|error| Error::Internal(error.to_string()))?
    }

    /// Runs an operation that changes something; what it answers is durable. It may be tried more than once, each time as a
    /// copy of what was given.
    ///
    /// # Errors
    /// What the operation refuses; [`Error::Unavailable`] where it could not be made durable, [`Error::InDoubt`] where that is
    /// not known.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Db) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.db.submit(work, move |result| drop(answer.send(result)));
        told(answered).await
    }

    /// Counts one for `key` before something that costs, or that may fail and is to count then too.
    ///
    /// # Errors
    /// [`Error::Limited`] where it is one too many.
    pub async fn admit(&self, limit: Limit, key: String) -> Result<()> {
        if !self.db.has_limits() {
            return Ok(());
        }
        self.write(move |db| limits::admit(db, limit, &key)).await
    }

    /// Counts a picture that `actor` sends in.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]; [`Error::Limited`] where it is one too many.
    pub async fn admit_picture(&self, actor: &Actor) -> Result<()> {
        self.admit(limits::PICTURES, actor.require_user()?.0.to_string()).await
    }

    /// Counts a change of address that `actor` asks for.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]; [`Error::Limited`] where it is one too many.
    pub async fn admit_address_change(&self, actor: &Actor) -> Result<()> {
        self.admit(limits::ADDRESS_CHANGES, actor.require_user()?.0.to_string()).await
    }

    /// The hash of a new password, made where it holds nobody up.
    ///
    /// # Errors
    /// [`Error::Limited`] where too many wait for theirs.
    pub async fn hash(&self, password: Password) -> Result<String> {
        let random = self.random().clone();
        let lane = enter_lane(None).await?;
        in_lane(lane, move || password.hash(&random)).await?
    }

    /// Signs somebody in by password: waits where failures of late say so, compares, and makes the session.
    ///
    /// # Errors
    /// [`Error::Limited`]; with an invitation what [`guildhall_domain::invitations::accept`] refuses.
    pub async fn sign_in(&self, entry: Entry) -> Result<SignedIn> {
        let Entry { login, password, address, wanted, invitation } = entry;
        let compared = self.compare(login, password, address).await?;
        self.write(move |db| onboarding::sign_in(db, compared, wanted, invitation)).await
    }

    /// Whether `password` is that of `login`, a username or address, as tried from `address`: waits where failures of late say
    /// so. What came of it is for an operation of [`onboarding`] to write down.
    ///
    /// # Errors
    /// [`Error::Limited`].
    pub async fn compare(&self, login: String, password: String, address: String) -> Result<Compared> {
        let mut attempt = self.admit_sign_in(&login, &address).await?;
        let lane = loop {
            let lane = enter_lane(Some(&address)).await?;
            // Tries side by side may have failed while one that nothing slowed down waited for its turn. One that has its
            // moment is not asked again: that would keep another for it, ever later.
            if attempt.wait.is_some() || self.look(&login, &address).await?.is_some() {
                break lane;
            }
            // The lane is for hashing: pauses are waited for outside.
            drop(lane);
            attempt = self.admit_sign_in(&login, &address).await?;
        };
        in_lane(lane, move || attempt.compare(&password)).await
    }

    async fn look(&self, login: &str, address: &str) -> Result<Option<sign_in::Attempt>> {
        let (login, address) = (login.to_owned(), address.to_owned());
        self.read(move |db| sign_in::look(db, &login, &address)).await
    }

    /// Lets the pause pass that failures of late ask for.
    async fn admit_sign_in(&self, login: &str, address: &str) -> Result<sign_in::Attempt> {
        if let Some(attempt) = self.look(login, address).await? {
            return Ok(attempt);
        }
        let (login, address) = (login.to_owned(), address.to_owned());
        let attempt = self.write(move |db| sign_in::admit(db, &login, &address)).await?;
        if let Some(wait) = attempt.wait.filter(|wait| !wait.is_zero()) {
            tokio::time::sleep(wait).await;
        }
        Ok(attempt)
    }

    /// The token that carries `session`, and the value that a browser sends back in `X-CSRF-TOKEN` with it. Signed with the
    /// newest key of all nodes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the signing key cannot be used.
    pub async fn token(&self, session: &Session) -> Result<(String, String)> {
        self.refresh_keys().await?;
        token(&self.keys, self.random(), session)
    }

    /// What a token of this server's own says; an error inside where it is none.
    ///
    /// # Errors
    /// Where it is of a key that is not known here, and the database cannot be asked.
    pub async fn verify(&self, token: &str) -> Result<Result<Arc<Claims>, TokenError>> {
        let verified = self.keys.verify(token);
        if verified != Err(TokenError::UnknownKey) {
            return Ok(verified);
        }
        self.refresh_keys().await?;
        Ok(self.keys.verify(token))
    }

    /// Looks for keys that another node has made.
    ///
    /// # Errors
    /// Where the database cannot be asked, or a key in it not be opened.
    pub async fn refresh_keys(&self) -> Result<()> {
        let keys = self.keys.clone();
        self.read(move |db| Ok(keys.refresh(db)?)).await
    }
}

/// The token that carries `session`, and its CSRF value.
///
/// # Errors
/// [`Error::Unavailable`] where the signing key cannot be used.
pub fn token(keys: &Keys, random: &Random, session: &Session) -> Result<(String, String)> {
    let csrf = random.hex::<16>();
    let claims = Claims {
        iss: keys.names().issuer.clone(),
        aud: keys.names().audience.clone(),
        sub: session.user.uid.uuid(),
        sid: session.id.clone(),
        iat: session.created_at.seconds(),
        exp: session.expires_at.seconds(),
        user_id: session.user.uid.uuid(),
        csrf: csrf.clone(),
        org_id: session.organization.map(|id| id.0),
    };
    let token = keys.sign(&claims)?;
    Ok((token, csrf))
}

/// A sign-in by password.
pub struct Entry {
    /// The username or address.
    pub login: String,
    /// As typed.
    pub password: String,
    /// From where: failures count per account and address.
    pub address: String,
    /// What kind of session it is for.
    pub wanted: Wanted,
    /// The token of an invitation to accept with it.
    pub invitation: Option<String>,
}

/// What the database tells of a work that it was given.
async fn told<T>(answered: oneshot::Receiver<Result<T>>) -> Result<T> {
    answered.await.unwrap_or_else(|_| Err(Error::Unavailable("the database is gone".into())))
}

/// A place in the lane and a turn in it.
type Lane = (Place, SemaphorePermit<'static>);

/// A place in the lane, which is held until it is dropped. One address alone, where that is named, leaves room for others.
///
/// # Errors
/// [`Error::Limited`] where too many wait for one.
async fn enter_lane(address: Option<&str>) -> Result<Lane> {
    let queue = &*load::PASSWORDS;
    if address.map_or_else(|| queue.is_full(), |address| queue.is_full_for(address)) {
        return Err(Error::Limited(Duration::from_secs(1)));
    }
    let place = queue.join(address.unwrap_or_default());
    let turn = HASHING.acquire().await.map_err(|_| Error::Internal("no lane for hashing".into()))?;
    Ok((place, turn))
}

/// Runs `work` on a thread of its own, which holds the lane until it is done: a client that hangs up ends the waiting for
/// it, not the work.
async fn in_lane<T: Send + 'static>(lane: Lane, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(lane);
        done
    });
    done.await.map_err(|error| Error::Internal(error.to_string()))
}
