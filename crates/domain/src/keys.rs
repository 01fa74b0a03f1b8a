//! The keys that every node of a server has alike: those that sign session tokens, and the one from which mailed tokens
//! are made. What a key is, and how it is sealed against who reads the database, is the server's to know: here it is a
//! text.

use std::time::Duration;

use crate::activity::{self, About};
use crate::authz::Actor;
use crate::clock::Timestamp;
use crate::db::{Db, Row, Tx, WriteTx};
use crate::error::Result;

/// How long a signing key still verifies after a newer one was made: a day longer than any session token lives.
pub const OVERLAP: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It signs session tokens. Of several the newest signs, and the others verify until [`Key::retires_at`].
    Signing,
    /// Mailed tokens are made from it. There is one.
    Mail,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Mail => "mail",
        }
    }
}

/// A key as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// What it is known by; no secret.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The key, in a form that the server knows.
    pub value: String,
    /// When it is good for nothing any more: [`OVERLAP`] after the next newer one was made; of the newest, never.
    pub retires_at: Timestamp,
}

impl std::fmt::Debug for Key {
    /// Without its value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// A key to be stored.
#[derive(Clone)]
pub struct NewKey {
    /// What it is to be known by.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The key.
    pub value: String,
}

/// The keys of that purpose, oldest first. Of two made in one microsecond the id decides, everywhere alike.
///
/// # Errors
/// For all but the system.
pub fn all(db: &Db, actor: &Actor, purpose: Purpose) -> Result<Vec<Key>> {
    actor.require_system()?;
    db.read(|tx| stored(tx, purpose))
}

fn stored(tx: &Tx<'_>, purpose: Purpose) -> Result<Vec<Key>> {
    let read = |row: &Row<'_>| {
        let (id, created_at, value) = (row.text()?, row.time()?, row.text()?);
        Ok(Key { id, created_at, value, retires_at: Timestamp(i64::MAX) })
    };
    let sql = "SELECT id, created_at, value FROM keys WHERE purpose = $1 ORDER BY created_at, id";
    let mut keys = tx.rows(sql, &[purpose.as_str().into()], read)?;
    for older in 1..keys.len() {
        keys[older - 1].retires_at = keys[older].created_at.after(OVERLAP);
    }
    Ok(keys)
}

/// Stores the first keys of that purpose; where there are some already, those stay and nothing is added. Nodes that start
/// at once may each add a signing key of their own, and still agree which of them signs.
///
/// # Errors
/// For all but the system.
pub fn begin(db: &Db, actor: &Actor, purpose: Purpose, keys: Vec<NewKey>) -> Result<()> {
    actor.require_system()?;
    db.write(move |tx| {
        let sql = "SELECT 1 FROM keys WHERE purpose = $1";
        if tx.exists(sql, &[purpose.as_str().into()])? {
            return Ok(());
        }
        keys.iter().try_for_each(|key| insert(tx, purpose, key))
    })
}

fn insert(tx: &WriteTx<'_>, purpose: Purpose, key: &NewKey) -> Result<()> {
    tx.run(
        "INSERT INTO keys (id, purpose, created_at, value) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
        &[(&key.id).into(), purpose.as_str().into(), key.created_at.into(), (&key.value).into()],
    )
    .map(drop)
}

/// Stores a key that signs from now on, newer than every other even if one was made while a clock was ahead, and removes
/// those whose time is over.
///
/// # Errors
/// For all but the system.
pub fn rotate(db: &Db, actor: &Actor, id: String, value: String) -> Result<()> {
    actor.require_system()?;
    let actor = actor.clone();
    db.write(move |tx| {
        let newest = stored(tx, Purpose::Signing)?.last().map(|newest| newest.created_at.0.saturating_add(1));
        let created_at = Timestamp(newest.map_or(tx.now.0, |after| tx.now.0.max(after)));
        let key = NewKey { id: id.clone(), created_at, value: value.clone() };
        insert(tx, Purpose::Signing, &key)?;
        for key in stored(tx, Purpose::Signing)?.iter().filter(|key| key.retires_at <= tx.now) {
            tx.run("DELETE FROM keys WHERE id = $1", &[(&key.id).into()])?;
        }
        activity::record(tx, &actor, "signing-key.rotate", &About { detail: Some(&id), ..About::default() })
    })
}

/// Writes the same key in another form, where it still has the form `old`.
///
/// # Errors
/// For all but the system.
pub fn rewrite(db: &Db, actor: &Actor, old: &Key, value: String) -> Result<()> {
    actor.require_system()?;
    let old = old.clone();
    db.write(move |tx| {
        let sql = "UPDATE keys SET value = $3 WHERE id = $1 AND value = $2";
        tx.run(sql, &[(&old.id).into(), (&old.value).into(), (&value).into()]).map(drop)
    })
}

/// Removes every key, of either purpose: what was signed or mailed with one is good for nothing from now on. Invitations whose
/// link was mailed are over, and a letter with a link that still waits is not sent: the link would be made with another key.
///
/// # Errors
/// For all but the system.
pub fn forget(db: &Db, actor: &Actor) -> Result<()> {
    actor.require_system()?;
    let actor = actor.clone();
    db.write(move |tx| {
        tx.run("DELETE FROM keys", &[])?;
        tx.run("DELETE FROM mailed_tokens WHERE expires_at > $1", &[tx.now.into()])?;
        let sql = "UPDATE invitations SET expires_at = $1 WHERE accepted_at IS NULL AND expires_at > $1";
        tx.run(sql, &[tx.now.into()])?;
        tx.run("DELETE FROM outbox WHERE nonce IS NOT NULL", &[])?;
        activity::record(tx, &actor, "signing-key.forget", &About::default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::on_new_database;

    fn ids(db: &Db, purpose: Purpose) -> Vec<String> {
        all(db, &Actor::system(), purpose).unwrap().into_iter().map(|key| key.id).collect()
    }

    fn new(id: &str, created_at: Timestamp) -> NewKey {
        NewKey { id: id.into(), created_at, value: format!("value of {id}") }
    }

    #[test]
    fn the_first_keys_are_stored_once_and_rotation_keeps_the_older_for_eight_days() {
        on_new_database(|db| {
            let (system, start) = (Actor::system(), db.clock().now());
            begin(db, &system, Purpose::Signing, vec![new("b", start), new("a", start)]).unwrap();
            begin(db, &system, Purpose::Signing, vec![new("c", start)]).unwrap();
            begin(db, &system, Purpose::Mail, vec![new("mail", start)]).unwrap();
            assert_eq!(ids(db, Purpose::Signing), ["a", "b"]);
            assert_eq!(ids(db, Purpose::Mail), ["mail"]);

            // In one instant, and yet each newer than the last.
            rotate(db, &system, "1".into(), "value".into()).unwrap();
            rotate(db, &system, "0".into(), "value".into()).unwrap();
            assert_eq!(ids(db, Purpose::Signing), ["a", "b", "1", "0"]);
            let keys = all(db, &system, Purpose::Signing).unwrap();
            assert_eq!(keys[1].retires_at, keys[2].created_at.after(OVERLAP));
            assert_eq!(keys[3].retires_at, Timestamp(i64::MAX));

            db.clock().advance(OVERLAP);
            rotate(db, &system, "2".into(), "value".into()).unwrap();
            assert_eq!(ids(db, Purpose::Signing), ["b", "1", "0", "2"], "only what has retired goes");
            db.clock().advance(Duration::from_micros(2));
            rotate(db, &system, "3".into(), "value".into()).unwrap();
            assert_eq!(ids(db, Purpose::Signing), ["0", "2", "3"]);
        });
    }

    #[test]
    fn a_key_is_rewritten_where_nobody_did_meanwhile() {
        on_new_database(|db| {
            let system = Actor::system();
            begin(db, &system, Purpose::Mail, vec![new("mail", db.clock().now())]).unwrap();
            let read = || all(db, &system, Purpose::Mail).unwrap().remove(0);
            let old = read();
            for value in ["first", "second"] {
                rewrite(db, &system, &old, value.into()).unwrap();
            }
            assert_eq!(read().value, "first");
            assert!(!format!("{old:?}").contains("value of"));
            forget(db, &system).unwrap();
            assert_eq!(ids(db, Purpose::Mail), [""; 0]);
            for refused in [all(db, &Actor::nobody(), Purpose::Mail).map(drop), forget(db, &Actor::nobody())]
            {
                assert!(refused.is_err());
            }
        });
    }
}
