//! Changing something as somebody, whose credential may end at any moment.

use crate::authz::{Actor, Credential};
use crate::db::{Db, Tx, WriteTx};
use crate::error::{Error, Result};

/// Runs `work` as `actor`, in one transaction that first asks whether the credential they came with still counts: between
/// the request's beginning and now it may have been ended, and what ends a credential ends what it was about to do.
///
/// # Errors
/// [`Error::Unauthenticated`] where it does not; what `work` refuses.
pub(crate) fn write_as<T: Send + 'static>(
    db: &Db,
    actor: &Actor,
    work: impl FnOnce(&WriteTx<'_>, &Actor) -> Result<T> + Clone + Send + 'static,
) -> Result<T> {
    let actor = actor.clone();
    db.write(move |tx| if still_counts(tx, &actor)? { work(tx, &actor) } else { Err(Error::Unauthenticated) })
}

fn still_counts(tx: &Tx<'_>, actor: &Actor) -> Result<bool> {
    let Some(user) = actor.user_id() else { return Ok(true) };
    match actor.credential() {
        // Made inside the program, in the transaction that acts.
        Credential::None => Ok(true),
        Credential::Session { id, .. } => tx.exists(
            "SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.id = $1 AND s.expires_at > $2 AND u.disabled_at IS NULL",
            &[id.into(), tx.now.into()],
        ),
        Credential::ApiKey { hash } => tx.exists(
            "SELECT 1 FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.hash = $1 AND u.disabled_at IS NULL",
            &[hash.into()],
        ),
        Credential::Issued { hash, .. } => tx.exists(
            "SELECT 1 FROM users u WHERE u.id = $1 AND u.disabled_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM ended_tokens e WHERE e.hash = $2)",
            &[user.into(), hash.into()],
        ),
    }
}
