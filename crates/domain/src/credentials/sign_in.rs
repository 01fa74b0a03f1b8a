//! Signing in by password: the same cost whether the account exists or not, slower after five failures in a row.
//!
//! Beyond that slowing, which is of one account from one address, failures are limited for an account from everywhere and
//! for an address with every account. So that nobody is locked out by what others try elsewhere, an account stays open to
//! the addresses that it signed in from of late, and a password chosen by mail opens it to all.
//!
//! In three steps, because the middle one is slow: [`look`] and [`admit`] say when the password may be compared, [`Attempt::compare`]
//! does so outside any transaction, and [`crate::onboarding::sign_in`] writes down what came of it.

use std::time::Duration;

use crate::activity::{self, About};
use crate::authz::Actor;
use crate::clock::{Timestamp, sha256_hex};
use crate::credentials::password::{NOBODYS, Password};
use crate::db::{Db, Tx, WriteTx};
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::limits;
use crate::users::{self, UserKey};

/// Failures in a row, for one account from one address, that cost nothing.
const FREE_FAILURES: i64 = 5;
/// The pause after the fifth; doubled by each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// A pause up to this is waited for; a longer one is told with [`Error::Limited`].
const WAITED_FOR: Duration = Duration::from_secs(4);
/// Failures are forgotten when so much time went by without one.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// For so long an address is remembered that the account signed in from.
const REMEMBERED_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// What failures are counted by.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    /// The account from the address, hashed.
    pair: String,
    /// The account, or the name that none has.
    account: String,
    address: String,
}

/// A sign-in that may go on.
#[derive(Debug)]
pub struct Attempt {
    /// How long the caller lets pass before [`Attempt::compare`]: until the moment that is kept for it. Nothing where failures
    /// of late slow nobody down, and no moment is kept.
    pub wait: Option<Duration>,
    tried: Tried,
    user: Option<UserId>,
    hash: Option<String>,
}

/// What came of comparing.
#[derive(Clone, Debug)]
pub struct Compared {
    pub(crate) tried: Tried,
    /// The account that was tried, where there is one.
    pub(crate) user: Option<UserId>,
    /// The account whose password it is, and the hash that it matched.
    pub(crate) right: Option<(UserId, String)>,
}

impl Attempt {
    /// Whether the account exists and the password is its own. Slow, and takes 19 MiB: for a thread of its own.
    #[must_use]
    pub fn compare(self, password: &str) -> Compared {
        let hash = self.hash.as_deref().unwrap_or(NOBODYS);
        // One too long to be anybody's costs the same.
        let typed = Password::typed(password);
        let fits = typed.is_some();
        let matches = typed.or_else(|| Password::typed("")).is_some_and(|password| password.matches(hash));
        let right = match (self.user, self.hash) {
            (Some(user), Some(hash)) if matches && fits => Some((user, hash)),
            _ => None,
        };
        Compared { tried: self.tried, user: self.user, right }
    }
}

/// `login`, an address or username, tried from `address`, where that costs nothing; nothing where too many tries failed
/// of late, and [`admit`] is to be asked.
///
/// # Errors
/// [`Error::Limited`] where too many tries failed for the account from everywhere, or from the address with any.
pub fn look(db: &Db, login: &str, address: &str) -> Result<Option<Attempt>> {
    db.read(|tx| {
        let attempt = attempt(tx, login, address)?;
        let failures = failures(tx, &attempt.tried.pair)?;
        Ok(failures.is_none_or(|(count, _)| count < FREE_FAILURES).then_some(attempt))
    })
}

/// Whether `login`, an address or username, may be tried from `address` now, or when.
///
/// # Errors
/// [`Error::Limited`] where too many tries failed of late.
pub fn admit(db: &Db, login: &str, address: &str) -> Result<Attempt> {
    let (login, address) = (login.to_owned(), address.to_owned());
    db.write(move |tx| {
        let attempt = attempt(tx, &login, &address)?;
        let wait = reserve(tx, &attempt.tried.pair)?;
        Ok(Attempt { wait, ..attempt })
    })
}

fn attempt(tx: &Tx<'_>, login: &str, address: &str) -> Result<Attempt> {
    let found = users::find(tx, &UserKey::Login(login.to_owned()))?.filter(|user| user.disabled_at.is_none());
    let hash = match &found {
        Some(user) => password_hash(tx, user.id)?,
        None => None,
    };
    let account = match &found {
        Some(user) => account_key(user.id),
        None => format!("login {}", login.trim().to_ascii_lowercase()),
    };
    let pair = sha256_hex(&format!("{account}\0{address}"));
    let tried = Tried { pair, account, address: address.to_owned() };
    refuse_flood(tx, &tried)?;
    Ok(Attempt { wait: None, tried, user: found.map(|user| user.id), hash })
}

fn account_key(user: UserId) -> String {
    format!("user {}", user.0)
}

/// # Errors
/// [`Error::Limited`] where too many tries failed from the address; for the account too, unless it is at home there.
fn refuse_flood(tx: &Tx<'_>, tried: &Tried) -> Result<()> {
    limits::refuse_full(tx, &limits::FAILURES_FROM_ADDRESS, &tried.address)?;
    let Err(refused) = limits::refuse_full(tx, &limits::FAILURES_OF_ACCOUNT, &tried.account) else {
        return Ok(());
    };
    let sql = "SELECT 1 FROM sign_in_places WHERE key = $1 AND expires_at > $2";
    if tx.exists(sql, &[(&tried.pair).into(), tx.now.into()])? { Ok(()) } else { Err(refused) }
}

/// Takes the next moment at which this account may be tried from this address, so that tries side by side do not share one.
fn reserve(tx: &WriteTx<'_>, pair: &str) -> Result<Option<Duration>> {
    // Changes nothing, and keeps the row: a try on another node waits here for what this one reserves.
    let sql =
        "UPDATE sign_in_failures SET failures = failures WHERE key = $1 AND next_at > $2 AND failures >= $3
               RETURNING failures, next_at";
    let values = [pair.into(), tx.now.before(FORGOTTEN_AFTER).into(), FREE_FAILURES.into()];
    let Some((count, next_at)) = tx.row(sql, &values, |row| Ok((row.int()?, row.time()?)))? else {
        return Ok(None);
    };
    let at = next_at.max(tx.now);
    let wait = at.since(tx.now);
    if wait > WAITED_FOR {
        return Err(Error::Limited(wait));
    }
    let next = at.after(pause(count));
    tx.run("UPDATE sign_in_failures SET next_at = $2 WHERE key = $1", &[pair.into(), next.into()])?;
    Ok(Some(wait))
}

fn failures(tx: &Tx<'_>, pair: &str) -> Result<Option<(i64, Timestamp)>> {
    let sql = "SELECT failures, next_at FROM sign_in_failures WHERE key = $1 AND next_at > $2";
    let remembered = tx.now.before(FORGOTTEN_AFTER);
    tx.row(sql, &[pair.into(), remembered.into()], |row| Ok((row.int()?, row.time()?)))
}

fn pause(failures: i64) -> Duration {
    let doublings = u32::try_from(failures - FREE_FAILURES).unwrap_or(0).min(16);
    (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
}

pub(crate) fn password_hash(tx: &Tx<'_>, user: UserId) -> Result<Option<String>> {
    let sql = "SELECT password_hash FROM users WHERE id = $1";
    Ok(tx.row(sql, &[user.into()], |row| row.opt_text())?.flatten())
}

/// Writes down a failure.
pub(crate) fn fail(tx: &WriteTx<'_>, compared: &Compared) -> Result<()> {
    let tried = &compared.tried;
    // Counted by the database: failures on several nodes at once are all of them failures.
    let counted = tx.row(
        "INSERT INTO sign_in_failures (key, failures, next_at) VALUES ($1, 1, $2)
         ON CONFLICT (key) DO UPDATE SET
             failures = CASE WHEN sign_in_failures.next_at > $3 THEN sign_in_failures.failures + 1 ELSE 1 END
         RETURNING failures, next_at",
        &[(&tried.pair).into(), tx.now.into(), tx.now.before(FORGOTTEN_AFTER).into()],
        |row| Ok((row.int()?, row.time()?)),
    )?;
    let (count, next_at) = counted.unwrap_or((1, tx.now));
    let next_at = if count >= FREE_FAILURES { next_at.max(tx.now.after(pause(count))) } else { tx.now };
    let sql = "UPDATE sign_in_failures SET next_at = $2 WHERE key = $1";
    tx.run(sql, &[(&tried.pair).into(), next_at.into()])?;
    // Whether there is room for the next is asked before it, not told to this one.
    limits::has_room(tx, &limits::FAILURES_FROM_ADDRESS, &tried.address)?;
    limits::has_room(tx, &limits::FAILURES_OF_ACCOUNT, &tried.account)?;
    match compared.user {
        Some(user) => activity::record(tx, &Actor::nobody(), "session.refuse", &About::user(user)),
        None => Ok(()),
    }
}

/// Writes down a success: the account's failures before it count no more, and it is at home at the address.
pub(crate) fn succeed(tx: &WriteTx<'_>, tried: &Tried, user: UserId) -> Result<()> {
    tx.run("DELETE FROM sign_in_failures WHERE key = $1", &[(&tried.pair).into()])?;
    if tx.limits {
        limits::forget(tx, &limits::FAILURES_OF_ACCOUNT, &tried.account)?;
        tx.run(
            "INSERT INTO sign_in_places (key, expires_at) VALUES ($1, $2)
             ON CONFLICT (key) DO UPDATE SET expires_at = $2",
            &[(&tried.pair).into(), tx.now.after(REMEMBERED_FOR).into()],
        )?;
    }
    tx.run("UPDATE users SET last_login_at = $2, seen_at = $2 WHERE id = $1", &[user.into(), tx.now.into()])?;
    users::reactivate(tx, user)
}

/// Forgets the account's failures from everywhere, for one who showed in another way that it is theirs.
pub(crate) fn forgive(tx: &WriteTx<'_>, user: UserId) -> Result<()> {
    limits::forget(tx, &limits::FAILURES_OF_ACCOUNT, &account_key(user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Wanted;
    use crate::db::tests::on_new_database;
    use crate::onboarding::{self, SignedIn};

    const FROM: &str = "192.0.2.1";

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What `admit` says: how long to wait, or, as the error, when to come back.
    fn asked(db: &Db, login: &str, from: &str) -> Result<Duration, Duration> {
        match admit(db, login, from) {
            Ok(attempt) => Ok(attempt.wait.unwrap_or_default()),
            Err(Error::Limited(after)) => Err(after),
            Err(other) => panic!("{other}"),
        }
    }

    /// Tries a wrong password, once the wait is over.
    fn fail_once(db: &Db, login: &str, from: &str) -> Duration {
        let attempt = admit(db, login, from).unwrap();
        let wait = attempt.wait.unwrap_or_default();
        db.clock().advance(wait);
        let wrong = Compared { tried: attempt.tried, user: None, right: None };
        let answer = onboarding::sign_in(db, wrong, Wanted::Key, None).unwrap();
        assert!(matches!(answer, SignedIn::Wrong));
        wait
    }

    #[test]
    fn five_failures_cost_nothing_and_each_further_one_twice_as_much() {
        on_new_database(|db| {
            let waits: Vec<u64> = (0..8).map(|_| fail_once(db, "ana", FROM).as_secs()).collect();
            assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4]);
            assert!(look(db, "ana", FROM).unwrap().is_none());
            assert_eq!(asked(db, "ana", FROM), Err(seconds(8)), "what is too long to wait for is told");
            assert_eq!(asked(db, "ana", FROM), Err(seconds(8)), "and asking costs nothing");
            assert_eq!(asked(db, " ANA ", FROM), Err(seconds(8)), "however the name is written");
            // Others, and the same person from elsewhere, are not held up.
            assert_eq!(asked(db, "ana", "192.0.2.2"), Ok(Duration::ZERO));
            assert_eq!(asked(db, "ben", FROM), Ok(Duration::ZERO));
            db.clock().advance(seconds(8));
            assert_eq!(fail_once(db, "ana", FROM), Duration::ZERO);
            assert_eq!(asked(db, "ana", FROM), Err(seconds(16)));
        });
    }

    #[test]
    fn the_pause_has_an_end_and_a_day_forgets() {
        on_new_database(|db| {
            for _ in 0..30 {
                db.clock().advance(LONGEST_PAUSE);
                assert_eq!(fail_once(db, "ana", FROM), Duration::ZERO);
            }
            assert_eq!(asked(db, "ana", FROM), Err(LONGEST_PAUSE));
            db.clock().advance(LONGEST_PAUSE + FORGOTTEN_AFTER);
            assert!(look(db, "ana", FROM).unwrap().is_some());
            assert_eq!(fail_once(db, "ana", FROM), Duration::ZERO);
            assert!(look(db, "ana", FROM).unwrap().is_some(), "the count began anew");
        });
    }

    #[test]
    fn tries_side_by_side_take_their_turns() {
        on_new_database(|db| {
            for _ in 0..5 {
                fail_once(db, "ana", FROM);
            }
            let turns: Vec<_> = (0..5).map(|_| asked(db, "ana", FROM)).collect();
            let told = [1, 2, 3, 4].map(|wait| Ok(seconds(wait))).into_iter().chain([Err(seconds(5))]);
            assert_eq!(turns, told.collect::<Vec<_>>());
        });
    }

    #[test]
    fn success_starts_the_count_anew() {
        on_new_database(|db| {
            let ana = ana(db);
            for _ in 0..4 {
                fail_once(db, "ana@example.com", FROM);
            }
            let attempt = look(db, "ANA@example.com", FROM).unwrap().unwrap();
            let right =
                Compared { tried: attempt.tried, user: Some(ana.id), right: Some((ana.id, "a hash".into())) };
            let answer = onboarding::sign_in(db, right, Wanted::Key, None).unwrap();
            assert!(matches!(answer, SignedIn::Done(_)));
            let waits: Vec<u64> = (0..6).map(|_| fail_once(db, "ana@example.com", FROM).as_secs()).collect();
            assert_eq!(waits, [0, 0, 0, 0, 0, 1]);
            // A password that was changed between comparing and now is wrong.
            let attempt = admit(db, "ana@example.com", "192.0.2.9").unwrap();
            let stale = Compared {
                tried: attempt.tried,
                user: Some(ana.id),
                right: Some((ana.id, "an old hash".into())),
            };
            let answer = onboarding::sign_in(db, stale, Wanted::Key, None).unwrap();
            assert!(matches!(answer, SignedIn::Wrong));
        });
    }

    /// An account that signs in by `a hash`.
    fn ana(db: &Db) -> crate::users::User {
        let new = crate::users::NewUser {
            username: None,
            email: crate::text::Email::parse("ana@example.com").unwrap(),
            name: crate::text::PersonName::Unknown,
            password_hash: Some("a hash".into()),
            profile: Default::default(),
        };
        users::create(db, &Actor::system(), new, false, true).unwrap()
    }

    fn succeed_once(db: &Db, user: UserId, from: &str) {
        let attempt = look(db, "ana@example.com", from).unwrap().unwrap();
        let right = Compared { tried: attempt.tried, user: Some(user), right: Some((user, "a hash".into())) };
        let answer = onboarding::sign_in(db, right, Wanted::Key, None).unwrap();
        assert!(matches!(answer, SignedIn::Done(_)));
    }

    /// Fails for that account from as many addresses as it takes.
    fn flood(db: &Db, login: &str) {
        for number in 0..limits::FAILURES_OF_ACCOUNT.most {
            assert_eq!(fail_once(db, login, &format!("203.0.113.{number}")), Duration::ZERO);
        }
    }

    #[test]
    fn failures_from_everywhere_close_an_account_but_where_it_is_at_home() {
        on_new_database(|db| {
            let user = ana(db).id;
            succeed_once(db, user, FROM);
            for login in ["ana@example.com", "nobody@example.com"] {
                flood(db, login);
                assert_eq!(asked(db, login, "192.0.2.9"), Err(seconds(3600)), "{login}");
                assert!(look(db, login, "192.0.2.9").is_err());
            }
            assert_eq!(asked(db, "ben", "203.0.113.1"), Ok(Duration::ZERO), "others are not held up");
            assert_eq!(asked(db, "nobody@example.com", FROM), Err(seconds(3600)));
            // At home the slowing alone holds, and who comes in opens it to all.
            assert_eq!(fail_once(db, "ana@example.com", FROM), Duration::ZERO);
            assert!(asked(db, "ana@example.com", "192.0.2.9").is_err());
            succeed_once(db, user, FROM);
            assert_eq!(asked(db, "ana@example.com", "192.0.2.9"), Ok(Duration::ZERO));
            // Home is forgotten in time.
            db.clock().advance(REMEMBERED_FOR);
            flood(db, "ana@example.com");
            assert_eq!(asked(db, "ana@example.com", FROM), Err(seconds(3600)));
            db.clock().advance(seconds(3600));
            assert_eq!(asked(db, "ana@example.com", FROM), Ok(Duration::ZERO));
        });
    }

    #[test]
    fn a_password_chosen_by_mail_opens_the_account() {
        on_new_database(|db| {
            ana(db);
            flood(db, "ana@example.com");
            let secrets = crate::outbox::Secrets::new([7; 32]);
            crate::credentials::ask_for_reset(db, "ana@example.com", &secrets).unwrap();
            let letters = crate::outbox::take(db, &Actor::system(), 1).unwrap();
            let token = secrets.token(letters[0].nonce.as_deref().unwrap());
            assert!(asked(db, "ana@example.com", FROM).is_err());
            crate::credentials::reset_password(db, &token, "another hash".into()).unwrap();
            assert_eq!(asked(db, "ana@example.com", FROM), Ok(Duration::ZERO));
        });
    }

    #[test]
    fn failures_for_any_account_close_an_address() {
        on_new_database(|db| {
            for number in 0..limits::FAILURES_FROM_ADDRESS.most {
                assert_eq!(fail_once(db, &format!("user{number}"), FROM), Duration::ZERO);
            }
            assert_eq!(asked(db, "ana", FROM), Err(seconds(3600)));
            assert_eq!(asked(db, "ana", "192.0.2.2"), Ok(Duration::ZERO));
            db.clock().advance(seconds(3600));
            assert_eq!(asked(db, "ana", FROM), Ok(Duration::ZERO));
        });
    }
}
