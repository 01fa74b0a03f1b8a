//! Letters to send: a queue that survives a restart and tries again with growing pauses.
//!
//! A letter's link carries a token that is good for something. Only its hash is stored, with what it is good for; here
//! stands a nonce, from which [`Secrets`] makes the token again when the letter is written. So neither table holds
//! anything that opens a door.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::authz::Actor;
use crate::clock::{Timestamp, hex, sha256_hex};
use crate::db::{Db, Row, WriteTx};
use crate::error::Result;

/// How long one who took a letter has to say what became of it, before another may take it: several times what sending may
/// take, and by how much the clocks of nodes may differ.
const LEASE: Duration = Duration::from_secs(120);
/// The pause after the first failure; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// After so many failures a letter is given up: more than two days.
const ATTEMPTS: i64 = 20;

/// The key from which mailed tokens are made. In the database it stands sealed, see [`crate::keys`].
#[derive(Clone)]
pub struct Secrets([u8; 32]);

impl Secrets {
    /// From 32 bytes that nobody else knows.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The token that belongs to `nonce`: 64 hex digits.
    #[must_use]
    pub fn token(&self, nonce: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(b"guildhall mailed token 1\0");
        mac.update(nonce.as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// A new nonce with its token and the hash under which that is stored.
    pub(crate) fn mint(&self, tx: &WriteTx<'_>) -> Minted {
        let nonce = tx.random.hex::<16>();
        let token = self.token(&nonce);
        Minted { hash: sha256_hex(&token), token, nonce }
    }
}

/// Whether `text` has the form of a token: what has not was never one, and needs no look-up.
#[must_use]
pub fn is_token(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

pub(crate) struct Minted {
    pub(crate) nonce: String,
    pub(crate) token: String,
    pub(crate) hash: String,
}

/// What a letter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new account's address is to be confirmed.
    Verify,
    /// An account's new address is to be confirmed.
    ChangeAddress,
    /// A new password may be chosen.
    ResetPassword,
    /// Somebody is invited to become a member.
    InviteMember,
    /// Somebody is invited to become an owner.
    InviteOwner,
    /// The password was changed; for information.
    PasswordChanged,
    /// The address was changed; for information, to the old one.
    AddressChanged,
}

impl Kind {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Verify, "verify"),
        (Self::ChangeAddress, "change-address"),
        (Self::ResetPassword, "reset-password"),
        (Self::InviteMember, "invite-member"),
        (Self::InviteOwner, "invite-owner"),
        (Self::PasswordChanged, "password-changed"),
        (Self::AddressChanged, "address-changed"),
    ];

    /// As the queue and the log write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(kind, _)| kind)
    }
}

/// A letter that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Unique, and sorts by the time at which the letter was queued.
    pub id: String,
    /// What it is for; nothing where a newer program wrote it.
    pub kind: Option<Kind>,
    /// The address as stored with the account or the invitation.
    pub recipient: String,
    /// What [`Secrets::token`] makes the link's token from.
    pub nonce: Option<String>,
    /// The person that it speaks of: the inviter, or the account's owner; of a changed address, the new one.
    pub person: Option<String>,
    /// The organization that it speaks of.
    pub organization: Option<String>,
    /// When its link ends.
    pub expires_at: Option<Timestamp>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// Until when it is its taker's.
    pub taken_until: Timestamp,
}

pub(crate) struct NewLetter<'a> {
    pub(crate) kind: Kind,
    pub(crate) recipient: &'a str,
    pub(crate) nonce: Option<&'a str>,
    pub(crate) person: Option<&'a str>,
    pub(crate) organization: Option<&'a str>,
    pub(crate) expires_at: Option<Timestamp>,
}

impl<'a> NewLetter<'a> {
    /// A letter without a link or an organization.
    pub(crate) fn notice(kind: Kind, recipient: &'a str) -> Self {
        Self { kind, recipient, nonce: None, person: None, organization: None, expires_at: None }
    }
}

pub(crate) fn queue(tx: &WriteTx<'_>, letter: &NewLetter<'_>) -> Result<()> {
    tx.run(
        "INSERT INTO outbox (id, letter, recipient, nonce, person, organization, expires_at, created_at, attempts, next_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $8)",
        &[
            (&tx.time_ordered_id()).into(),
            letter.kind.as_str().into(),
            letter.recipient.into(),
            letter.nonce.into(),
            letter.person.into(),
            letter.organization.into(),
            letter.expires_at.into(),
            tx.now.into(),
        ],
    )?;
    Ok(())
}

/// Takes up to `most` letters that are due, oldest first, for two minutes: until then no other worker gets them, of this
/// node or another.
///
/// # Errors
/// For all but the system.
pub fn take(db: &Db, actor: &Actor, most: i64) -> Result<Vec<Letter>> {
    actor.require_system()?;
    // A look first, so that a queue without work costs no write.
    let due = db.read(|tx| tx.exists("SELECT 1 FROM outbox WHERE next_at <= $1", &[tx.now.into()]))?;
    if !due {
        return Ok(Vec::new());
    }
    db.write(move |tx| {
        // A link whose time is over while its letter waited opens nothing: it is not sent.
        tx.run("DELETE FROM outbox WHERE next_at <= $1 AND expires_at <= $1", &[tx.now.into()])?;
        // That it is due is asked of the row itself too: one that another node has just taken is waited for and passed over.
        let mut letters = tx.rows(
            "UPDATE outbox SET attempts = attempts + 1, next_at = $2
             WHERE next_at <= $1 AND id IN (SELECT id FROM outbox WHERE next_at <= $1 ORDER BY next_at, id LIMIT $3)
             RETURNING id, letter, recipient, nonce, person, organization, expires_at, created_at, next_at",
            &[tx.now.into(), tx.now.after(LEASE).into(), most.into()],
            read_letter,
        )?;
        letters.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(letters)
    })
}

fn read_letter(row: &Row<'_>) -> Result<Letter> {
    Ok(Letter {
        id: row.text()?,
        kind: Kind::parse(&row.text()?),
        recipient: row.text()?,
        nonce: row.opt_text()?,
        person: row.opt_text()?,
        organization: row.opt_text()?,
        expires_at: row.opt_time()?,
        created_at: row.time()?,
        taken_until: row.time()?,
    })
}

/// The letter was sent, or never can be: it leaves the queue.
///
/// # Errors
/// For all but the system.
pub fn done(db: &Db, actor: &Actor, id: &str) -> Result<()> {
    actor.require_system()?;
    let id = id.to_owned();
    db.write(move |tx| tx.run("DELETE FROM outbox WHERE id = $1", &[(&id).into()]).map(drop))
}

/// What became of a letter that could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is tried again then.
    At(Timestamp),
    /// It failed too often and left the queue.
    GivenUp,
    /// Its time was over, and another has taken it or done with it.
    NotOurs,
}

/// The letter could not be sent now: it is tried again after 10 s, 20 s, 40 s and so on up to six hours, twenty times.
///
/// # Errors
/// For all but the system.
pub fn failed(db: &Db, actor: &Actor, letter: &Letter, why: &str) -> Result<Retry> {
    actor.require_system()?;
    let (id, taken_until) = (letter.id.clone(), letter.taken_until);
    let why = why.chars().take(300).collect::<String>();
    db.write(move |tx| {
        let sql = "UPDATE outbox SET last_error = $3 WHERE id = $1 AND next_at = $2 RETURNING attempts";
        let ours = [(&id).into(), taken_until.into(), (&why).into()];
        let Some(attempts) = tx.row(sql, &ours, |row| row.int())? else { return Ok(Retry::NotOurs) };
        if attempts >= ATTEMPTS {
            tx.run("DELETE FROM outbox WHERE id = $1", &[(&id).into()])?;
            return Ok(Retry::GivenUp);
        }
        let doubled = 1 << u32::try_from(attempts - 1).unwrap_or(0).min(20);
        let at = tx.now.after((FIRST_PAUSE * doubled).min(LONGEST_PAUSE));
        tx.run("UPDATE outbox SET next_at = $2 WHERE id = $1", &[(&id).into(), at.into()])?;
        Ok(Retry::At(at))
    })
}

/// How many letters wait, for the metrics and for tests.
pub fn waiting(db: &Db, actor: &Actor) -> Result<i64> {
    actor.require_system()?;
    db.read(|tx| Ok(tx.row("SELECT COUNT(*) FROM outbox", &[], |row| row.int())?.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::on_new_database;

    fn ids(letters: &[Letter]) -> Vec<&str> {
        letters.iter().map(|letter| letter.recipient.as_str()).collect()
    }

    #[test]
    fn a_letter_is_one_workers_until_its_time_is_over() {
        on_new_database(|db| {
            let system = Actor::system();
            for to in ["a@x.org", "b@x.org", "c@x.org"] {
                db.write(move |tx| queue(tx, &NewLetter::notice(Kind::PasswordChanged, to))).unwrap();
                db.clock().advance(Duration::from_micros(1));
            }
            let first = take(db, &system, 2).unwrap();
            assert_eq!(ids(&first), ["a@x.org", "b@x.org"]);
            assert_eq!(ids(&take(db, &system, 2).unwrap()), ["c@x.org"]);
            assert_eq!(take(db, &system, 2).unwrap(), []);
            done(db, &system, &first[0].id).unwrap();
            db.clock().advance(LEASE);
            assert_eq!(
                ids(&take(db, &system, 9).unwrap()),
                ["b@x.org", "c@x.org"],
                "who took them said nothing"
            );
            assert_eq!(waiting(db, &system).unwrap(), 2);
            // Who was too slow changes nothing about the turn of another.
            assert_eq!(failed(db, &system, &first[1], "no answer").unwrap(), Retry::NotOurs);
            db.clock().advance(LEASE - Duration::from_micros(1));
            assert_eq!(take(db, &system, 9).unwrap(), []);
            // But what it has sent is sent.
            done(db, &system, &first[1].id).unwrap();
            assert_eq!(waiting(db, &system).unwrap(), 1);
        });
    }

    #[test]
    fn pauses_grow_to_six_hours_and_end() {
        on_new_database(|db| {
            let system = Actor::system();
            db.write(|tx| queue(tx, &NewLetter::notice(Kind::PasswordChanged, "a@x.org"))).unwrap();
            let mut pauses = Vec::new();
            loop {
                let letter = take(db, &system, 1).unwrap().pop().expect("the letter is due");
                match failed(db, &system, &letter, "no answer").unwrap() {
                    Retry::At(at) => {
                        let pause = at.since(db.clock().now());
                        pauses.push(pause.as_secs());
                        db.clock().advance(pause - Duration::from_micros(1));
                        assert_eq!(take(db, &system, 1).unwrap(), [], "before its time it is not due");
                        db.clock().advance(Duration::from_micros(1));
                    }
                    Retry::GivenUp => break,
                    Retry::NotOurs => panic!("nobody else took it"),
                }
            }
            let mut want: Vec<u64> = (0..12).map(|doublings| 10 << doublings).collect();
            want.extend([6 * 3600; 7]);
            assert_eq!(pauses, want);
            assert_eq!(waiting(db, &system).unwrap(), 0);
        });
    }
}
