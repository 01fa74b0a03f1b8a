//! Limits on how often: what is counted, for whom, and how many in which time.
//!
//! A count begins with its first, and starts anew when its time is over. It is a row, so that all servers on one database
//! share it, and is kept under a hash: who is counted stands nowhere. What is counted in the transaction that acts is
//! counted only where that happens; [`admit`] counts what is bounded whether or not anything comes of it.

use std::time::Duration;

use crate::clock::{Timestamp, sha256_hex};
use crate::db::{Db, Tx, WriteTx};
use crate::error::{Error, Result};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// So many in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted, for people; counts of different limits are told apart by it.
    pub what: &'static str,
    /// For whom each count is kept.
    pub per: &'static str,
    /// How many are let through.
    pub most: i64,
    /// In how long a time, from the first one on.
    pub within: Duration,
    /// What becomes of one more.
    pub beyond: Beyond,
}

/// What becomes of one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It is refused with [`Error::Limited`], which says when the count starts anew.
    Refused,
    /// It is answered as ever, and its letter is not sent: the answer must not tell who else wrote to that address.
    NotSent,
}

/// Making an account, whatever comes of it: it tells which addresses are taken.
pub const REGISTRATIONS: Limit =
    Limit { what: "Registrations", per: "client address", most: 100, within: HOUR, beyond: Beyond::Refused };

/// Wrong passwords for one account, from all addresses together. From where the account signed in of late it stays open.
pub const FAILURES_OF_ACCOUNT: Limit = Limit {
    what: "Wrong passwords for an account",
    per: "account; addresses that it signed in from within 90 days are let through",
    most: 50,
    within: HOUR,
    beyond: Beyond::Refused,
};

/// Wrong passwords for any account, from one address.
pub const FAILURES_FROM_ADDRESS: Limit = Limit {
    what: "Wrong passwords from an address",
    per: "client address",
    most: 300,
    within: HOUR,
    beyond: Beyond::Refused,
};

/// Asking for a new password, whether or not there is such an account.
pub const RESETS_ASKED: Limit = Limit {
    what: "Forgotten passwords",
    per: "client address",
    most: 60,
    within: HOUR,
    beyond: Beyond::Refused,
};

/// Asking for another address, whatever comes of it: it tells which are taken.
pub const ADDRESS_CHANGES: Limit = Limit {
    what: "Changes of address asked for",
    per: "account",
    most: 10,
    within: HOUR,
    beyond: Beyond::Refused,
};

/// Letters that carry a link for one's own account. The time is no longer than the shortest of these links is good, so
/// whoever gets no further letter has one that still works.
pub const LINKS_MAILED: Limit = Limit {
    what: "Letters with a link to confirm, to change the address, or to choose a password",
    per: "mail address and kind of letter",
    most: 5,
    within: HOUR,
    beyond: Beyond::NotSent,
};

/// Invitations of an organization; how many can be configured, see [`crate::db::Settings::invitations_per_day`].
pub const INVITATIONS_OF_ORGANIZATION: Limit = Limit {
    what: "Invitations of an organization",
    per: "organization",
    most: 500,
    within: DAY,
    beyond: Beyond::Refused,
};

/// Invitations that one person sends, from all organizations.
pub const INVITATIONS_BY_USER: Limit = Limit {
    what: "Invitations by a person",
    per: "account",
    most: 1_000,
    within: DAY,
    beyond: Beyond::Refused,
};

/// Letters that invite one address, from all organizations. Beyond them the invitation itself is made, but for one of an owner-to-be
/// who has one: see `invitations::create`.
pub const INVITATIONS_MAILED: Limit = Limit {
    what: "Letters with an invitation",
    per: "mail address",
    most: 10,
    within: DAY,
    beyond: Beyond::NotSent,
};

/// Organizations that one person makes.
pub const ORGANIZATIONS: Limit =
    Limit { what: "Organizations made", per: "account", most: 500, within: DAY, beyond: Beyond::Refused };

/// Pictures sent in, whatever comes of them.
pub const PICTURES: Limit =
    Limit { what: "Pictures sent in", per: "account", most: 200, within: HOUR, beyond: Beyond::Refused };

/// Every limit on how often.
pub const ALL: [Limit; 11] = [
    REGISTRATIONS,
    FAILURES_OF_ACCOUNT,
    FAILURES_FROM_ADDRESS,
    RESETS_ASKED,
    ADDRESS_CHANGES,
    LINKS_MAILED,
    INVITATIONS_OF_ORGANIZATION,
    INVITATIONS_BY_USER,
    INVITATIONS_MAILED,
    ORGANIZATIONS,
    PICTURES,
];

/// Counts one for `key` in a transaction of its own: before something that costs, or that may fail and is to count then too.
///
/// # Errors
/// [`Error::Limited`] where it is one too many.
pub fn admit(db: &Db, limit: Limit, key: &str) -> Result<()> {
    let key = key.to_owned();
    db.write(move |tx| take(tx, &limit, &key))
}

/// Counts one for `key`.
///
/// # Errors
/// [`Error::Limited`] where it is one too many.
pub(crate) fn take(tx: &WriteTx<'_>, limit: &Limit, key: &str) -> Result<()> {
    take_many(tx, limit, key, 1)
}

/// Counts `more` for `key`.
///
/// # Errors
/// [`Error::Limited`] where not all of them have room.
pub(crate) fn take_many(tx: &WriteTx<'_>, limit: &Limit, key: &str, more: i64) -> Result<()> {
    match count(tx, limit, key, more)? {
        Some((taken, ends_at)) if taken > limit.most => Err(Error::Limited(ends_at.since(tx.now))),
        _ => Ok(()),
    }
}

/// Counts one for `key`; whether it has room.
pub(crate) fn has_room(tx: &WriteTx<'_>, limit: &Limit, key: &str) -> Result<bool> {
    Ok(count(tx, limit, key, 1)?.is_none_or(|(taken, _)| taken <= limit.most))
}

/// Counts `more` for `key`: how many that makes, and until when. Nothing where limits are off.
fn count(tx: &WriteTx<'_>, limit: &Limit, key: &str, more: i64) -> Result<Option<(i64, Timestamp)>> {
    if !tx.limits {
        return Ok(None);
    }
    let sql = "INSERT INTO limit_counts (key, taken, ends_at) VALUES ($1, $2, $3)
               ON CONFLICT (key) DO UPDATE SET
                   taken = CASE WHEN limit_counts.ends_at > $4 THEN limit_counts.taken + $2 ELSE $2 END,
                   ends_at = CASE WHEN limit_counts.ends_at > $4 THEN limit_counts.ends_at ELSE $3 END
               RETURNING taken, ends_at";
    let (key, ends_at) = (hashed(limit, key), tx.now.after(limit.within));
    tx.row(sql, &[(&key).into(), more.into(), ends_at.into(), tx.now.into()], |row| {
        Ok((row.int()?, row.time()?))
    })
}

/// Whether one more would have room, without counting it.
///
/// # Errors
/// [`Error::Limited`] where it would not.
pub(crate) fn refuse_full(tx: &Tx<'_>, limit: &Limit, key: &str) -> Result<()> {
    if !tx.limits {
        return Ok(());
    }
    let sql = "SELECT ends_at FROM limit_counts WHERE key = $1 AND taken >= $2 AND ends_at > $3";
    let key = hashed(limit, key);
    match tx.row(sql, &[(&key).into(), limit.most.into(), tx.now.into()], |row| row.time())? {
        Some(ends_at) => Err(Error::Limited(ends_at.since(tx.now))),
        None => Ok(()),
    }
}

/// Forgets what was counted for `key`.
pub(crate) fn forget(tx: &WriteTx<'_>, limit: &Limit, key: &str) -> Result<()> {
    tx.run("DELETE FROM limit_counts WHERE key = $1", &[(&hashed(limit, key)).into()]).map(drop)
}

fn hashed(limit: &Limit, key: &str) -> String {
    sha256_hex(&format!("{}\0{key}", limit.what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::Actor;
    use crate::credentials;
    use crate::db::tests::on_new_database;

    const LIMIT: Limit = Limit { most: 3, ..REGISTRATIONS };

    fn rows(db: &Db) -> i64 {
        let sql = "SELECT COUNT(*) FROM limit_counts";
        db.read(|tx| tx.row(sql, &[], |row| row.int())).unwrap().unwrap()
    }

    #[track_caller]
    fn refused(db: &Db, key: &str, seconds: u64) {
        match admit(db, LIMIT, key) {
            Err(Error::Limited(after)) => assert_eq!(after, Duration::from_secs(seconds)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn so_many_in_such_a_time_for_each_and_then_anew() {
        on_new_database(|db| {
            for _ in 0..3 {
                admit(db, LIMIT, "a").unwrap();
                db.clock().advance(Duration::from_secs(60));
            }
            refused(db, "a", 3600 - 180);
            admit(db, LIMIT, "b").unwrap();
            admit(db, Limit { most: 3, ..PICTURES }, "a").unwrap();
            db.clock().advance(Duration::from_secs(3600 - 181));
            refused(db, "a", 1);
            db.clock().advance(Duration::from_secs(1));
            for _ in 0..3 {
                admit(db, LIMIT, "a").unwrap();
            }
            refused(db, "a", 3600);
        });
    }

    #[test]
    fn what_is_over_is_swept_away() {
        on_new_database(|db| {
            admit(db, LIMIT, "a").unwrap();
            db.clock().advance(Duration::from_secs(3599));
            credentials::sweep(db, &Actor::system()).unwrap();
            assert_eq!(rows(db), 1);
            db.clock().advance(Duration::from_secs(1));
            credentials::sweep(db, &Actor::system()).unwrap();
            assert_eq!(rows(db), 0);
        });
    }

    #[test]
    fn each_limit_has_a_name_of_its_own() {
        let mut names: Vec<_> = ALL.iter().map(|limit| limit.what).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
