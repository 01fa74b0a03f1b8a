//! What happens without a request: letters are sent, and what lost its meaning is removed.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use guildhall_domain::authz::Actor;
use guildhall_domain::clock::Timestamp;
use guildhall_domain::outbox::{self, Kind, Retry, Secrets};
use guildhall_domain::{Error, credentials, organizations};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::app::App;
use crate::mail::letters::{Change, InvitedAs, Letter, Rendered, render};
use crate::mail::{Message, Transport};
use crate::media::StoreError;

/// How often the queue of letters is looked at. A look costs microseconds, and somebody waits for the letter.
const LOOK: Duration = Duration::from_millis(200);
/// Letters that are sent side by side, so that one slow server does not hold all of them up.
const AT_ONCE: i64 = 4;
/// What is waited between tries to write down that a letter was sent, in seconds: together with sending, far less than a
/// letter is one node's.
const PAUSES: [u64; 5] = [1, 1, 2, 4, 8];
/// How often is swept, and how old a picture must be that nothing uses: its organization may be in the making.
const HOUR: Duration = Duration::from_secs(3600);
/// When is swept first: not while the server starts.
const FIRST_SWEEP: Duration = Duration::from_secs(60);

/// How often a failure that goes on is told.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// A failure of what is tried again and again: told when it begins, once a minute while it goes on, and when it is over.
#[derive(Default)]
struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// It failed at that moment: whether that is to be told.
    fn is_to_be_told(&self, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|at| now.duration_since(at) < TOLD_AGAIN) {
            return false;
        }
        *told = Some(now);
        true
    }

    /// It did not fail: whether that is new.
    fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

/// How letters leave.
pub struct Post {
    /// Where to.
    pub transport: Transport,
    /// From whom: `Name <address>`.
    pub from: String,
}

impl Post {
    /// Where letters go, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.transport {
            Transport::Folder(folder) => format!("written to {}", folder.display()),
            Transport::Smtp(_) => "sent by the configured server".into(),
        }
    }
}

/// Starts all of it; each worker ends when `stopped` is true, once what it is at is done.
#[must_use]
pub fn start(app: &App, post: Post, stopped: &watch::Receiver<bool>) -> JoinSet<()> {
    let (letters, sweeps, pictures) = (app.clone(), app.clone(), app.clone());
    let (post, outage) = (Arc::new(post), Arc::new(Outage::default()));
    let mut workers = JoinSet::new();
    workers.spawn(every((LOOK, LOOK), stopped.clone(), move || {
        send_due(letters.clone(), post.clone(), outage.clone())
    }));
    workers.spawn(every((FIRST_SWEEP, HOUR), stopped.clone(), move || sweep(sweeps.clone())));
    workers.spawn(every((FIRST_SWEEP, HOUR), stopped.clone(), move || collect_pictures(pictures.clone())));
    workers
}

/// Does `work` after `first` and then again and again, with `period` between, until `stopped` is true.
async fn every<F: Future<Output = ()>>(
    (first, period): (Duration, Duration),
    stopped: watch::Receiver<bool>,
    mut work: impl FnMut() -> F,
) {
    let mut stop = pin!(told(stopped));
    let mut ticks = interval_at(Instant::now() + first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            _ = ticks.tick() => work().await,
        }
    }
}

/// Ready when `stopped` is true, or nobody is left who could make it so.
pub(crate) async fn told(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn sweep(app: App) {
    if let Err(error) = app.write(|db| credentials::sweep(db, &Actor::system())).await {
        tracing::error!(%error, "what lost its meaning was not removed");
    }
    // A node that signs nothing for long learns all the same which keys have retired.
    if let Err(error) = app.refresh_keys().await {
        tracing::error!(%error, "signing keys not read again");
    }
}

/// Removes the pictures that no organization shows and that are older than an hour, and what a process that was killed left
/// half written. A failure is logged, and ends it until the next time.
pub async fn collect_pictures(app: App) {
    let before = app.db.clock().now().before(HOUR);
    let mut names = app.media.list(before);
    let mut removed = 0;
    while let Some(name) = names.next().await {
        match remove_unused(&app, name, before).await {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error, "pictures were not collected");
                return;
            }
        }
    }
    match app.media.remove_leftovers(before).await {
        Ok(leftovers) if removed + leftovers > 0 => tracing::info!(removed, leftovers, "pictures collected"),
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "half written pictures were not removed"),
    }
}

async fn remove_unused(
    app: &App,
    name: Result<String, StoreError>,
    before: Timestamp,
) -> Result<bool, String> {
    let name = name.map_err(|error| error.to_string())?;
    let sought = name.clone();
    let is_used = app.read(move |db| organizations::uses_picture(db, &sought)).await;
    if is_used.map_err(|error| error.to_string())? {
        return Ok(false);
    }
    // One that was stored again meanwhile is younger, and stays.
    app.media.remove(&name, before).await.map_err(|error| error.to_string())
}

/// Sends the letters that are due.
async fn send_due(app: App, post: Arc<Post>, outage: Arc<Outage>) {
    loop {
        let taken = take(&app).await;
        if taken.is_ok() && outage.is_over() {
            tracing::info!("the queue of letters can be read again");
        }
        let letters = match taken {
            Ok(letters) if letters.is_empty() => return,
            Ok(letters) => letters,
            Err(error) => {
                if outage.is_to_be_told(Instant::now()) {
                    tracing::error!(%error, "the queue of letters cannot be read");
                }
                return;
            }
        };
        let mut sending = JoinSet::new();
        for letter in letters {
            let (app, post) = (app.clone(), post.clone());
            sending.spawn(async move { send(&app, &post, &letter).await });
        }
        while sending.join_next().await.is_some() {}
    }
}

/// Where waiting for the disk holds no request up.
async fn take(app: &App) -> Result<Vec<outbox::Letter>, Error> {
    let db = app.db.clone();
    tokio::task::spawn_blocking(move || outbox::take(&db, &Actor::system(), AT_ONCE))
        .await
        .map_err(|error| Error::Internal(error.to_string()))?
}

/// Sends a letter that was taken, and tells the queue what became of it.
pub(crate) async fn send(app: &App, post: &Post, letter: &outbox::Letter) {
    let id = letter.id.clone();
    let Some(message) = message(letter, &app.secrets, &app.public_url, &post.from) else {
        // It stays in the queue: the newer program that wrote it can send it.
        tracing::warn!(id, "a letter that this program cannot write");
        return;
    };
    let told = match post.transport.send(&message).await {
        Ok(()) => {
            tracing::info!(id, kind = letter.kind.map(Kind::as_str), "letter sent");
            done(app, id).await
        }
        Err(error) if error.permanent => {
            tracing::warn!(id, kind = letter.kind.map(Kind::as_str), %error, "letter dropped");
            done(app, id).await
        }
        Err(error) => {
            tracing::warn!(id, kind = letter.kind.map(Kind::as_str), %error, "letter not sent");
            let letter = letter.clone();
            let retry = app.write(move |db| outbox::failed(db, &Actor::system(), &letter, &error.text)).await;
            retry.map(|retry| {
                if retry == Retry::GivenUp {
                    tracing::warn!(id, "letter given up");
                }
            })
        }
    };
    if let Err(error) = told {
        // When its time is over it is sent again, with the same Message-ID.
        tracing::error!(%error, "what became of a letter was not written down");
    }
}

/// Takes a letter out of the queue, also where the database cannot be used for some seconds: it would be sent once more.
async fn done(app: &App, id: String) -> Result<(), Error> {
    let done = || {
        let id = id.clone();
        app.write(move |db| outbox::done(db, &Actor::system(), &id))
    };
    for pause in PAUSES {
        match done().await {
            Err(Error::Unavailable(_) | Error::InDoubt(_)) => {
                tokio::time::sleep(Duration::from_secs(pause)).await
            }
            told => return told,
        }
    }
    done().await
}

/// The message that a letter of the queue is; nothing where this program does not know how to write it.
#[must_use]
pub fn message(letter: &outbox::Letter, secrets: &Secrets, public_url: &str, from: &str) -> Option<Message> {
    let link = link(letter, secrets, public_url);
    let email = letter.recipient.as_str();
    let words = match letter.kind? {
        Kind::Verify => Letter::Verify { email, link: link.as_deref()?, expires: letter.expires_at? },
        Kind::ChangeAddress => {
            Letter::ChangeAddress { email, link: link.as_deref()?, expires: letter.expires_at? }
        }
        Kind::ResetPassword => Letter::ResetPassword {
            email,
            asked_by: letter.organization.as_deref(),
            link: link.as_deref()?,
            expires: letter.expires_at?,
        },
        kind @ (Kind::InviteMember | Kind::InviteOwner) => Letter::Invitation {
            organization: letter.organization.as_deref()?,
            inviter: letter.person.as_deref().unwrap_or("Somebody"),
            role: if kind == Kind::InviteOwner { InvitedAs::Owner } else { InvitedAs::Member },
            link: link.as_deref()?,
            expires: letter.expires_at?,
        },
        Kind::PasswordChanged => {
            Letter::SecurityNotice { change: Change::Password, email, at: letter.created_at }
        }
        Kind::AddressChanged => Letter::SecurityNotice {
            change: Change::Address { to: letter.person.as_deref()? },
            email,
            at: letter.created_at,
        },
    };
    let Rendered { subject, text, html } = render(&words, public_url);
    Some(Message {
        id: letter.id.clone(),
        at: letter.created_at,
        from: from.to_owned(),
        to: letter.recipient.clone(),
        subject,
        text,
        html,
    })
}

/// The page that a letter's link opens; nothing for a letter without one.
#[must_use]
pub fn link(letter: &outbox::Letter, secrets: &Secrets, public_url: &str) -> Option<String> {
    let page = match letter.kind? {
        Kind::Verify | Kind::ChangeAddress => "verify",
        Kind::ResetPassword => "reset-password",
        Kind::InviteMember | Kind::InviteOwner => "invite",
        Kind::PasswordChanged | Kind::AddressChanged => return None,
    };
    let token = secrets.token(letter.nonce.as_deref()?);
    Some(format!("{public_url}/account/{page}/?token={token}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_when_it_begins_once_a_minute_and_when_it_is_over() {
        let (outage, start) = (Outage::default(), Instant::now());
        let fails_after = |seconds| outage.is_to_be_told(start + Duration::from_secs(seconds));
        assert!(!outage.is_over(), "nothing failed");
        let told: Vec<u64> = (0..=125).filter(|second| fails_after(*second)).collect();
        assert_eq!(told, [0, 60, 120]);
        assert!(outage.is_over() && !outage.is_over());
        assert!(fails_after(126), "it is another one");
    }
}
