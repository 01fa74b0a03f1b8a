//! Credentials: passwords, sessions, API keys and mailed tokens. Of every secret only a hash is stored.

use std::time::Duration;

use crate::acting::write_as;
use crate::activity::{self, About};
use crate::authz::{Actor, Credential, Scope};
use crate::clock::{Timestamp, sha256_hex};
use crate::db::{Db, Row, Tx, WriteTx};
use crate::error::{Denied, Error, Missing, Result};
use crate::id::{OrganizationId, UserId};
use crate::outbox::{self, Kind, NewLetter, Secrets};
use crate::users::{self, Link, User, UserKey};

pub mod password;
pub mod sign_in;

/// How long a session lasts that is carried by a token.
pub const TOKEN_LASTS: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a session lasts that is carried by a key: cadasta's clients keep theirs and know no end.
pub const KEY_LASTS: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a link is good by which a new password is chosen.
pub const RESET_FOR: Duration = Duration::from_secs(3600);
/// As in `mailed_tokens`.
const RESET_PURPOSE: &str = "reset-password";

/// Who a credential speaks for, and whether they are to be written down as seen ([`users::seen`]).
#[derive(Debug)]
pub struct Authenticated {
    /// Who acts.
    pub actor: Actor,
    /// Whether [`users::seen`] is due.
    pub is_to_be_seen: bool,
}

/// Why a credential that has the right form does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was ended, or never was, or its account is disabled.
    Ended,
    /// Its time is over.
    Expired,
}

/// Who the session `id` speaks for.
///
/// # Errors
/// Where the database cannot be used. A session that does not count is the inner error.
pub fn by_session(db: &Db, id: &str) -> Result<Result<Authenticated, Refused>> {
    session(db, id, "token")
}

/// Who the session key speaks for: 40 hex digits.
///
/// # Errors
/// As [`by_session`].
pub fn by_key(db: &Db, key: &str) -> Result<Result<Authenticated, Refused>> {
    session(db, &sha256_hex(key), "key")
}

fn session(db: &Db, id: &str, kind: &str) -> Result<Result<Authenticated, Refused>> {
    let sql = "SELECT s.user_id, s.scope, s.organization_id, s.expires_at, s.from_api_key, u.confirmed_at, u.seen_at
               FROM sessions s JOIN users u ON u.id = s.user_id
               WHERE s.id = $1 AND s.kind = $2 AND u.disabled_at IS NULL";
    let now = db.clock().now();
    let found = db.read_one(|tx| {
        tx.row(sql, &[id.into(), kind.into()], |row| {
            let user = UserId(row.int()?);
            let scope = if row.text()? == "read" { Scope::Read } else { Scope::Write };
            let organization = row.opt_int()?.map(OrganizationId);
            let expires_at = row.time()?;
            let from_api_key = row.flag()?;
            let confirmed = row.opt_time()?.is_some();
            let is_to_be_seen = users::is_to_be_seen(row.opt_time()?, now);
            let credential =
                Credential::Session { id: id.to_owned(), organization, expires_at, from_api_key };
            let actor = Actor::user(user, scope, credential, confirmed);
            Ok((Authenticated { actor, is_to_be_seen }, expires_at))
        })
    })?;
    Ok(match found {
        None => Err(Refused::Ended),
        Some((_, expires_at)) if expires_at <= now => Err(Refused::Expired),
        Some((authenticated, _)) => Ok(authenticated),
    })
}

/// Who the API key speaks for: 64 hex digits.
///
/// # Errors
/// As [`by_session`].
pub fn by_api_key(db: &Db, key: &str) -> Result<Result<Authenticated, Refused>> {
    let sql = "SELECT u.id, u.confirmed_at, u.seen_at FROM api_keys k JOIN users u ON u.id = k.user_id
               WHERE k.hash = $1 AND u.disabled_at IS NULL";
    let hash = sha256_hex(key);
    let found = db.read_one(|tx| {
        tx.row(sql, &[(&hash).into()], |row| {
            let (user, confirmed) = (UserId(row.int()?), row.opt_time()?.is_some());
            let is_to_be_seen = users::is_to_be_seen(row.opt_time()?, tx.now);
            Ok(Authenticated {
                actor: Actor::user(user, Scope::Write, Credential::ApiKey { hash: hash.clone() }, confirmed),
                is_to_be_seen,
            })
        })
    })?;
    Ok(found.ok_or(Refused::Ended))
}

/// Who a trusted issuer's token speaks for, once it was checked and its user found ([`users::of_identity`]).
///
/// # Errors
/// As [`by_session`].
pub fn by_issued_token(
    db: &Db,
    user: UserId,
    token: &str,
    expires_at: Timestamp,
) -> Result<Result<Authenticated, Refused>> {
    // Without its signature, which for some algorithms can be written in more than one way.
    let hash = sha256_hex(token.rsplit_once('.').map_or(token, |(signed, _)| signed));
    let sql = "SELECT u.confirmed_at, u.seen_at FROM users u
               WHERE u.id = $1 AND u.disabled_at IS NULL AND NOT EXISTS (SELECT 1 FROM ended_tokens e WHERE e.hash = $2)";
    let found = db.read_one(|tx| {
        tx.row(sql, &[user.into(), (&hash).into()], |row| {
            let confirmed = row.opt_time()?.is_some();
            let is_to_be_seen = users::is_to_be_seen(row.opt_time()?, tx.now);
            Ok((confirmed, is_to_be_seen))
        })
    })?;
    Ok(found.ok_or(Refused::Ended).map(|(confirmed, is_to_be_seen)| {
        let credential = Credential::Issued { hash, expires_at };
        Authenticated { actor: Actor::user(user, Scope::Write, credential, confirmed), is_to_be_seen }
    }))
}

/// A session that was made; its secret stands nowhere else.
#[derive(Clone, Debug)]
pub struct Session {
    /// The `sid` of its token; for a session key, the hash of that.
    pub id: String,
    /// The session key: 40 hex digits. Nothing for a session that a token carries.
    pub key: Option<String>,
    /// Whose it is.
    pub user: User,
    /// What it may do.
    pub scope: Scope,
    /// The organization that it was made for.
    pub organization: Option<OrganizationId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// What kind of session is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One that a token carries.
    Token {
        /// What it may do.
        scope: Scope,
        /// Whether it is made for the person's first organization by joining.
        for_first_organization: bool,
    },
    /// One that a key of 40 hex digits carries.
    Key,
}

pub(crate) struct NewSession {
    pub(crate) scope: Scope,
    pub(crate) organization: Option<OrganizationId>,
    pub(crate) from_api_key: bool,
    pub(crate) expires_at: Timestamp,
    pub(crate) is_key: bool,
}

pub(crate) fn insert_session(tx: &WriteTx<'_>, user: User, new: &NewSession) -> Result<Session> {
    let key = new.is_key.then(|| tx.random.hex::<20>());
    let id = key.as_deref().map_or_else(|| tx.random.hex::<16>(), sha256_hex);
    tx.run(
        "INSERT INTO sessions (id, user_id, kind, scope, organization_id, from_api_key, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            (&id).into(),
            user.id.into(),
            if new.is_key { "key" } else { "token" }.into(),
            match new.scope {
                Scope::Read => "read",
                Scope::Write => "write",
            }
            .into(),
            new.organization.into(),
            new.from_api_key.into(),
            tx.now.into(),
            new.expires_at.into(),
        ],
    )?;
    let (scope, organization, expires_at) = (new.scope, new.organization, new.expires_at);
    Ok(Session { id, key, user, scope, organization, created_at: tx.now, expires_at })
}

/// Makes a session that is no wider than the caller's credential and ends no later, for `organization`.
pub(crate) fn derive_session(
    tx: &WriteTx<'_>,
    actor: &Actor,
    organization: OrganizationId,
) -> Result<Session> {
    let user = users::get(tx, actor.require_user()?)?;
    let longest = tx.now.after(TOKEN_LASTS);
    let (expires_at, from_api_key) = match actor.credential() {
        Credential::Session { expires_at, from_api_key, .. } => (longest.min(*expires_at), *from_api_key),
        Credential::Issued { expires_at, .. } => (longest.min(*expires_at), false),
        Credential::ApiKey { .. } => (longest, true),
        Credential::None => (longest, false),
    };
    let new = NewSession {
        scope: actor.scope,
        organization: Some(organization),
        from_api_key,
        expires_at,
        is_key: false,
    };
    activity::record(tx, actor, "session.derive", &About::user(user.id))?;
    insert_session(tx, user, &new)
}

/// How long an issuer's token is remembered as ended behind its own time: clocks differ, and it is taken for some seconds more.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// Ends the credential by which the caller acts: the session, the API key, or the issuer's token here.
///
/// # Errors
/// [`Error::Unauthenticated`].
pub fn log_out(db: &Db, actor: &Actor) -> Result<()> {
    let user = actor.require_user()?;
    write_as(db, actor, move |tx, actor| {
        match actor.credential() {
            Credential::Session { id, .. } => {
                tx.run("DELETE FROM sessions WHERE id = $1 AND user_id = $2", &[id.into(), user.into()])?;
            }
            Credential::ApiKey { .. } => end_api_key(tx, user)?,
            Credential::Issued { hash, expires_at } => {
                tx.run(
                    "INSERT INTO ended_tokens (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING",
                    &[hash.into(), expires_at.after(CLOCKS_DIFFER).into()],
                )?;
            }
            Credential::None => {}
        }
        activity::record(tx, actor, "session.end", &About::user(user))
    })
}

pub(crate) fn end_api_key(tx: &WriteTx<'_>, user: UserId) -> Result<()> {
    tx.run("DELETE FROM api_keys WHERE user_id = $1", &[user.into()])?;
    tx.run("DELETE FROM sessions WHERE user_id = $1 AND from_api_key = 1", &[user.into()])?;
    Ok(())
}

/// Ends every session, the API key and the links of `user`.
pub(crate) fn end_all(tx: &WriteTx<'_>, user: UserId) -> Result<()> {
    end_api_key(tx, user)?;
    tx.run("DELETE FROM sessions WHERE user_id = $1", &[user.into()])?;
    end_links(tx, user)
}

/// Ends the mailed links by which somebody could take the account over: a new password, a new address.
fn end_links(tx: &WriteTx<'_>, user: UserId) -> Result<()> {
    let sql =
        "DELETE FROM mailed_tokens WHERE user_id = $1 AND purpose IN ('reset-password', 'change-address')";
    tx.run(sql, &[user.into()])?;
    Ok(())
}

/// Makes the caller's API key, 64 hex digits shown this once; an earlier one and what was derived from it ends.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Denied::Scope`].
pub fn replace_api_key(db: &Db, actor: &Actor) -> Result<String> {
    let user = actor.require_writer()?;
    write_as(db, actor, move |tx, actor| insert_api_key(tx, actor, user))
}

/// Makes an account's API key, as an operator does.
///
/// # Errors
/// For all but the system; [`Missing::User`].
pub fn create_api_key(db: &Db, actor: &Actor, user: &UserKey) -> Result<String> {
    actor.require_system()?;
    let (actor, user) = (actor.clone(), user.clone());
    db.write(move |tx| {
        let user = users::find(tx, &user)?.ok_or(Missing::User)?;
        insert_api_key(tx, &actor, user.id)
    })
}

fn insert_api_key(tx: &WriteTx<'_>, actor: &Actor, user: UserId) -> Result<String> {
    end_api_key(tx, user)?;
    let key = tx.random.hex::<32>();
    tx.run(
        "INSERT INTO api_keys (user_id, hash, ending, created_at) VALUES ($1, $2, $3, $4)",
        &[user.into(), (&sha256_hex(&key)).into(), key[60..].into(), tx.now.into()],
    )?;
    activity::record(tx, actor, "api-key.replace", &About::user(user))?;
    Ok(key)
}

/// The last four characters of the caller's API key, where there is one.
///
/// # Errors
/// [`Error::Unauthenticated`].
pub fn api_key_ending(db: &Db, actor: &Actor) -> Result<Option<String>> {
    let user = actor.require_user()?;
    db.read_one(|tx| {
        tx.row("SELECT ending FROM api_keys WHERE user_id = $1", &[user.into()], |row| row.text())
    })
}

/// What a mailed token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Confirms a new account's address.
    Verify,
    /// Confirms an account's new address.
    ChangeAddress,
    /// Lets a new password be chosen.
    ResetPassword,
}

impl Purpose {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "verify" => Some(Self::Verify),
            "change-address" => Some(Self::ChangeAddress),
            "reset-password" => Some(Self::ResetPassword),
            _ => None,
        }
    }
}

/// A mailed token that is good now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailedToken {
    /// What for.
    pub purpose: Purpose,
    /// For whom.
    pub user: UserId,
    /// The address that it was mailed to.
    pub email: String,
}

fn read_mailed_token(row: &Row<'_>) -> Result<MailedToken> {
    let purpose = Purpose::parse(&row.text()?).ok_or_else(|| Error::Internal("unknown purpose".into()))?;
    Ok(MailedToken { purpose, user: UserId(row.int()?), email: row.text()? })
}

/// What the token is good for, without using it. One that was mailed to an address that the account no longer has is
/// good for nothing.
///
/// # Errors
/// [`Missing::Token`].
pub fn look_at_token(db: &Db, token: &str) -> Result<MailedToken> {
    let sql = "SELECT t.purpose, t.user_id, t.email FROM mailed_tokens t JOIN users u ON u.id = t.user_id
               WHERE t.hash = $1 AND t.expires_at > $2 AND u.disabled_at IS NULL
                 AND (t.purpose = 'change-address' OR t.email = u.email)";
    let hash = sha256_hex(token);
    db.read_one(|tx| tx.row(sql, &[(&hash).into(), tx.now.into()], read_mailed_token))?
        .ok_or_else(|| Missing::Token.into())
}

/// Uses the token up: one conditional statement, so of many at once one succeeds.
fn use_token(tx: &WriteTx<'_>, token: &str, good_for: &[Purpose]) -> Result<MailedToken> {
    let sql = "DELETE FROM mailed_tokens WHERE hash = $1 AND expires_at > $2
               AND EXISTS (SELECT 1 FROM users u WHERE u.id = mailed_tokens.user_id AND u.disabled_at IS NULL)
               RETURNING purpose, user_id, email";
    let used = tx.row(sql, &[(&sha256_hex(token)).into(), tx.now.into()], read_mailed_token)?;
    // An error undoes the deletion: a token tried at the wrong door stays good for its own.
    used.filter(|token| good_for.contains(&token.purpose)).ok_or_else(|| Missing::Token.into())
}

/// Confirms an account's first address, or gives it the new one that it asked for. Once.
///
/// # Errors
/// [`Missing::Token`]; [`crate::error::Conflict::EmailTaken`] where another account took the new address meanwhile.
pub fn confirm_address(db: &Db, token: &str) -> Result<MailedToken> {
    let token = token.to_owned();
    db.write(move |tx| {
        let used = use_token(tx, &token, &[Purpose::Verify, Purpose::ChangeAddress])?;
        if used.purpose == Purpose::ChangeAddress {
            users::change_address(tx, used.user, &used.email)?;
        } else {
            confirm(tx, used.user, &used.email)?;
        }
        let actor = Actor::user(used.user, Scope::Write, Credential::None, true);
        activity::record(tx, &actor, "user.confirm-address", &About::user(used.user))?;
        Ok(used)
    })
}

/// Confirms the account's address where it is still the one that the link was mailed to.
fn confirm(tx: &WriteTx<'_>, user: UserId, email: &str) -> Result<()> {
    let confirmed = tx.run(
        "UPDATE users SET confirmed_at = COALESCE(confirmed_at, $3), updated_at = $3 WHERE id = $1 AND email = $2",
        &[user.into(), email.into(), tx.now.into()],
    )?;
    if confirmed == 0 {
        return Err(Missing::Token.into());
    }
    tx.run("DELETE FROM mailed_tokens WHERE user_id = $1 AND purpose = 'verify'", &[user.into()])?;
    Ok(())
}

/// Mails a link by which a new password is chosen, where an enabled account has that address; else does nothing that
/// the caller could see.
pub fn ask_for_reset(db: &Db, email: &str, secrets: &Secrets) -> Result<()> {
    let (email, secrets) = (email.to_owned(), secrets.clone());
    db.write(move |tx| {
        let found =
            users::find(tx, &UserKey::Email(email.clone()))?.filter(|user| user.disabled_at.is_none());
        match &found {
            Some(user) => queue_reset(tx, user, None, &secrets)?,
            None => drop(users::has_room_for_link(tx, RESET_PURPOSE, &email)?),
        }
        let about = About { user: found.map(|user| user.id), ..About::default() };
        activity::record(tx, &Actor::nobody(), "user.ask-for-reset", &about)
    })
}

/// Queues the letter with the link, on behalf of an organization where somebody in charge of one asked; the old password works until the link is used.
pub(crate) fn queue_reset(
    tx: &WriteTx<'_>,
    user: &User,
    organization: Option<&str>,
    secrets: &Secrets,
) -> Result<()> {
    let Some(email) = &user.email else { return Ok(()) };
    let link =
        Link { kind: Kind::ResetPassword, purpose: RESET_PURPOSE, email, lasts: RESET_FOR, organization };
    users::queue_link(tx, user, &link, secrets)
}

/// Sets the password by a mailed token, once. The address is confirmed by it; every session, the API key and every other
/// such link end.
///
/// # Errors
/// [`Missing::Token`].
pub fn reset_password(db: &Db, token: &str, password_hash: String) -> Result<UserId> {
    let token = token.to_owned();
    db.write(move |tx| {
        let used = use_token(tx, &token, &[Purpose::ResetPassword])?;
        confirm(tx, used.user, &used.email)?;
        set_password(tx, used.user, &password_hash)?;
        end_all(tx, used.user)?;
        sign_in::forgive(tx, used.user)?;
        let actor = Actor::user(used.user, Scope::Write, Credential::None, true);
        activity::record(tx, &actor, "user.reset-password", &About::user(used.user))?;
        Ok(used.user)
    })
}

/// Changes the caller's password while signed in, which ends all their other sessions, and links to a new password or
/// address that were mailed before. The caller checked the old one.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Denied::Scope`].
pub fn change_password(db: &Db, actor: &Actor, password_hash: String) -> Result<()> {
    let user = actor.require_writer()?;
    write_as(db, actor, move |tx, actor| {
        set_password(tx, user, &password_hash)?;
        let own = match actor.credential() {
            Credential::Session { id, .. } => id.as_str(),
            _ => "",
        };
        tx.run("DELETE FROM sessions WHERE user_id = $1 AND id <> $2", &[user.into(), own.into()])?;
        activity::record(tx, actor, "user.change-password", &About::user(user))
    })
}

fn set_password(tx: &WriteTx<'_>, user: UserId, password_hash: &str) -> Result<()> {
    tx.run(
        "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1",
        &[user.into(), password_hash.into(), tx.now.into()],
    )?;
    end_links(tx, user)?;
    if let Some(email) = users::get(tx, user)?.email {
        outbox::queue(tx, &NewLetter::notice(Kind::PasswordChanged, &email))?;
    }
    Ok(())
}

/// Removes what has lost its meaning by time: sessions, tokens, counts. Nothing depends on it.
///
/// # Errors
/// For all but the system.
pub fn sweep(db: &Db, actor: &Actor) -> Result<()> {
    actor.require_system()?;
    let stale = |tx: &Tx<'_>| {
        let sql = "SELECT 1 FROM sessions WHERE expires_at <= $1 UNION ALL
                   SELECT 1 FROM mailed_tokens WHERE expires_at <= $1 UNION ALL
                   SELECT 1 FROM ended_tokens WHERE expires_at <= $1 UNION ALL
                   SELECT 1 FROM sign_in_places WHERE expires_at <= $1 UNION ALL
                   SELECT 1 FROM limit_counts WHERE ends_at <= $1 UNION ALL
                   SELECT 1 FROM sign_in_failures WHERE next_at <= $2 LIMIT 1";
        tx.exists(sql, &[tx.now.into(), tx.now.before(sign_in::FORGOTTEN_AFTER).into()])
    };
    if !db.read(stale)? {
        return Ok(());
    }
    db.write(|tx| {
        tx.run("DELETE FROM sessions WHERE expires_at <= $1", &[tx.now.into()])?;
        tx.run("DELETE FROM mailed_tokens WHERE expires_at <= $1", &[tx.now.into()])?;
        tx.run("DELETE FROM ended_tokens WHERE expires_at <= $1", &[tx.now.into()])?;
        tx.run("DELETE FROM sign_in_places WHERE expires_at <= $1", &[tx.now.into()])?;
        tx.run("DELETE FROM limit_counts WHERE ends_at <= $1", &[tx.now.into()])?;
        let forgotten = tx.now.before(sign_in::FORGOTTEN_AFTER);
        tx.run("DELETE FROM sign_in_failures WHERE next_at <= $1", &[forgotten.into()])?;
        Ok(())
    })
}

/// The caller's account where it may act as a person with a confirmed address.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Denied::Unverified`].
pub fn require_confirmed(actor: &Actor) -> Result<()> {
    actor.require_user()?;
    if actor.is_confirmed() { Ok(()) } else { Err(Denied::Unverified.into()) }
}
