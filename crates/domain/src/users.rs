//! Accounts: who somebody is, whatever organizations they belong to.

use std::time::Duration;

use crate::acting::write_as;
use crate::activity::{self, About};
use crate::authz::Actor;
use crate::clock::Timestamp;
use crate::db::{Db, Row, Tx, WriteTx};
use crate::error::{Conflict, Error, Missing, Result};
use crate::id::{ShortId, Uid, UserId};
use crate::limits;
use crate::outbox::{self, Kind, NewLetter, Secrets};
use crate::text::{Email, Name, PersonName, Username, made_of_id};

/// How long a link that confirms an address is good.
pub const VERIFY_FOR: Duration = Duration::from_secs(24 * 3600);
/// Being seen again within this time is not written down again.
const SEEN_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub id: UserId,
    /// Its long id.
    pub uid: Uid,
    username: Option<String>,
    /// The address, as typed; nothing where a trusted issuer vouched for none.
    pub email: Option<String>,
    /// What the person is called.
    pub name: PersonName,
    /// When the address was confirmed, or a trusted issuer vouched for the account.
    pub confirmed_at: Option<Timestamp>,
    /// Since when the account is disabled.
    pub disabled_at: Option<Timestamp>,
    /// Whether the person runs this server.
    pub is_operator: bool,
    /// The subject under which a trusted issuer knows them, of an account that one brought.
    pub subject: Option<String>,
    /// bit's label: `Student`, `Teacher` or `Admin`. It gives no power.
    pub label: Option<String>,
    /// The last sign-in by password.
    pub last_login_at: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When the account was last changed.
    pub updated_at: Timestamp,
}

/// The columns of a [`User`], of a table that the statement calls `u`.
macro_rules! user_columns {
    () => {
        "u.id, u.uid, u.username, u.email, u.name, u.first_name, u.last_name, u.confirmed_at, u.disabled_at, u.operator, \
         u.subject, u.label, u.last_login_at, u.created_at, u.updated_at"
    };
}
pub(crate) use user_columns;

impl User {
    pub(crate) fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            id: UserId(row.int()?),
            uid: Uid::stored(row.text()?),
            username: row.opt_text()?,
            email: row.opt_text()?,
            name: read_name(row.opt_text()?, row.opt_text()?, row.opt_text()?),
            confirmed_at: row.opt_time()?,
            disabled_at: row.opt_time()?,
            is_operator: row.flag()?,
            subject: row.opt_text()?,
            label: row.opt_text()?,
            last_login_at: row.opt_time()?,
            created_at: row.time()?,
            updated_at: row.time()?,
        })
    }

    /// The name to sign in by and to be found by: the username, else the address, else one made of the id.
    #[must_use]
    pub fn username(&self) -> String {
        let named = self.username.clone().or_else(|| self.email.clone());
        named.unwrap_or_else(|| format!("user-{}", self.uid.short()))
    }

    /// Whether the address is confirmed.
    #[must_use]
    pub fn is_email_verified(&self) -> bool {
        self.email.is_some() && self.confirmed_at.is_some()
    }

    /// Whether the account is in use: enabled and confirmed.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.disabled_at.is_none() && self.confirmed_at.is_some()
    }

    /// What to call the person: the name, or else the username.
    #[must_use]
    pub fn display_name(&self) -> String {
        let whole = self.name.whole();
        if whole.is_empty() { self.username() } else { whole }
    }
}

fn read_name(whole: Option<String>, first: Option<String>, last: Option<String>) -> PersonName {
    let name = |text: Option<String>| text.and_then(|text| Name::parse(&text).ok());
    match name(whole) {
        Some(whole) => PersonName::Whole(whole),
        None => PersonName::parts(name(first), name(last)),
    }
}

/// The columns `name`, `first_name` and `last_name`.
fn name_columns(name: &PersonName) -> [Option<&str>; 3] {
    match name {
        PersonName::Unknown => [None; 3],
        PersonName::Whole(whole) => [Some(whole.as_str()), None, None],
        PersonName::Parts(first, last) => {
            [None, first.as_ref().map(Name::as_str), last.as_ref().map(Name::as_str)]
        }
    }
}

/// By what a user is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserKey {
    /// The number.
    Number(UserId),
    /// The 24 hex digits.
    Short(ShortId),
    /// The address, or else the username, ASCII case aside.
    Login(String),
    /// The address alone, ASCII case aside.
    Email(String),
}

pub(crate) fn find(tx: &Tx<'_>, key: &UserKey) -> Result<Option<User>> {
    match key {
        UserKey::Number(id) => {
            let sql = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = $1");
            tx.row(sql, &[(*id).into()], User::read)
        }
        UserKey::Short(short) => {
            let (least, greatest) = short.bounds();
            let sql = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.uid >= $1 AND u.uid <= $2");
            tx.row(sql, &[(&least).into(), (&greatest).into()], User::read)
        }
        UserKey::Login(login) => {
            // No username is another account's address. An address is compared as it is, a username in its normal form.
            if let Some(user) = find(tx, &UserKey::Email(login.clone()))? {
                return Ok(Some(user));
            }
            let sql = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.username_key = $1");
            if let Some(user) = tx.row(sql, &[(&Username::key_of(login)).into()], User::read)? {
                return Ok(Some(user));
            }
            // One who has neither is named by what they are shown as: see `User::username`.
            let Some(short) = made_of_id(login) else { return Ok(None) };
            Ok(find(tx, &UserKey::Short(short))?
                .filter(|user| user.username.is_none() && user.email.is_none()))
        }
        UserKey::Email(email) => {
            let sql = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.email_key = $1");
            tx.row(sql, &[(&email.trim().to_ascii_lowercase()).into()], User::read)
        }
    }
}

/// The account `id`, which is there because something in this transaction points to it.
pub(crate) fn get(tx: &Tx<'_>, id: UserId) -> Result<User> {
    find(tx, &UserKey::Number(id))?.ok_or_else(|| Error::Internal(format!("no user {}", id.0)))
}

/// The caller's own account.
///
/// # Errors
/// [`Error::Unauthenticated`].
pub fn me(db: &Db, actor: &Actor) -> Result<User> {
    let id = actor.require_user()?;
    db.read_one(|tx| get(tx, id))
}

/// An account to make.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// A name to sign in by; without one it is the address.
    pub username: Option<Username>,
    /// The address.
    pub email: Email,
    /// What the person is called.
    pub name: PersonName,
    /// The password's hash; without one nobody signs in by password until a reset.
    pub password_hash: Option<String>,
    /// What bit asks for.
    pub profile: Profile,
}

/// What bit asks for when an account is made: kept as told, of no meaning here.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// `Student`, `Teacher` or `Admin`.
    pub label: Option<String>,
    /// Where the person is.
    pub location: Option<String>,
    /// A picture's address.
    pub image: Option<String>,
    /// The optional keys, in a form that is the dialect's own.
    pub details: Option<String>,
}

/// Makes an account whose address counts at once where `verified`, as an operator does.
///
/// # Errors
/// For all but the system; [`Conflict::EmailTaken`], [`Conflict::UsernameTaken`].
pub fn create(db: &Db, actor: &Actor, new: NewUser, as_operator: bool, verified: bool) -> Result<User> {
    actor.require_system()?;
    let actor = actor.clone();
    db.write(move |tx| {
        let user = insert(tx, &actor, &new)?;
        tx.run(
            "UPDATE users SET operator = $2, confirmed_at = $3 WHERE id = $1",
            &[user.id.into(), as_operator.into(), verified.then_some(tx.now).into()],
        )?;
        get(tx, user.id)
    })
}

/// Refuses an account whose address or username is another's.
pub(crate) fn require_free(tx: &Tx<'_>, new: &NewUser) -> Result<()> {
    refuse_taken_email(tx, &new.email, None)?;
    match &new.username {
        Some(username) => refuse_taken_username(tx, username, None, Some(new.email.as_str())),
        None => Ok(()),
    }
}

/// Inserts the account, unconfirmed.
pub(crate) fn insert(tx: &WriteTx<'_>, actor: &Actor, new: &NewUser) -> Result<User> {
    require_free(tx, new)?;
    // Where it is their own address there is nothing to keep besides.
    let username = new.username.as_ref().filter(|username| username.key() != new.email.key());
    let id = UserId(tx.next_number("users")?);
    let [name, first, last] = name_columns(&new.name);
    let username_key = username.map(Username::key);
    tx.run(
        "INSERT INTO users (id, uid, username, username_key, email, email_key, name, first_name, last_name, password_hash,
                            operator, label, location, image, details, created_at, updated_at, seen_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, $13, $14, $15, $15, $15)",
        &[
            id.into(),
            Uid::new(tx.random).as_str().into(),
            username.map(Username::as_str).into(),
            username_key.as_deref().into(),
            new.email.as_str().into(),
            (&new.email.key()).into(),
            name.into(),
            first.into(),
            last.into(),
            new.password_hash.as_deref().into(),
            new.profile.label.as_deref().into(),
            new.profile.location.as_deref().into(),
            new.profile.image.as_deref().into(),
            new.profile.details.as_deref().into(),
            tx.now.into(),
        ],
    )?;
    activity::record(tx, actor, "user.create", &About::user(id))?;
    get(tx, id)
}

fn refuse_taken_email(tx: &Tx<'_>, email: &Email, own: Option<UserId>) -> Result<()> {
    match find(tx, &UserKey::Login(email.key()))? {
        Some(other) if Some(other.id) != own => Err(Conflict::EmailTaken.into()),
        _ => Ok(()),
    }
}

/// A username in the form of an address is for the one whose address it is, also before they have an account: else
/// anybody could keep them from ever making one. `email` is the account's own, of `own` or of one to be made.
fn refuse_taken_username(
    tx: &Tx<'_>,
    username: &Username,
    own: Option<UserId>,
    email: Option<&str>,
) -> Result<()> {
    let is_anothers_address = Email::parse(username.as_str())
        .is_some_and(|address| !email.is_some_and(|own| own.eq_ignore_ascii_case(address.as_str())));
    match find(tx, &UserKey::Login(username.key()))? {
        _ if is_anothers_address => Err(Conflict::UsernameTaken.into()),
        Some(other) if Some(other.id) != own => Err(Conflict::UsernameTaken.into()),
        _ => Ok(()),
    }
}

/// What stands in the way of the caller, or of somebody who comes anew, having that username and that address: asked
/// before a request is carried out that may be refused for more than one reason, so that all are told at once. The
/// operation asks again by itself.
///
/// # Errors
/// Where the database cannot be used.
pub fn conflicts(
    db: &Db,
    actor: &Actor,
    username: Option<&Username>,
    email: Option<&Email>,
) -> Result<Vec<Conflict>> {
    let own = actor.user_id();
    db.read(|tx| {
        let known = match own {
            Some(own) => get(tx, own)?.email,
            None => email.map(|email| email.as_str().to_owned()),
        };
        let username =
            username.map_or(Ok(()), |username| refuse_taken_username(tx, username, own, known.as_deref()));
        let email = email.map_or(Ok(()), |email| refuse_taken_email(tx, email, own));
        let mut conflicts = Vec::new();
        for asked in [username, email] {
            match asked {
                Err(Error::Conflict(conflict)) => conflicts.push(conflict),
                other => other?,
            }
        }
        Ok(conflicts)
    })
}

/// Queues the letter by which `user` confirms their address; links of earlier ones stay good until their time is over.
pub(crate) fn queue_verification(tx: &WriteTx<'_>, user: &User, secrets: &Secrets) -> Result<()> {
    let Some(email) = &user.email else { return Ok(()) };
    let link = Link { kind: Kind::Verify, purpose: "verify", email, lasts: VERIFY_FOR, organization: None };
    queue_link(tx, user, &link, secrets)
}

/// A link to be mailed.
pub(crate) struct Link<'a> {
    pub(crate) kind: Kind,
    /// As in `mailed_tokens`.
    pub(crate) purpose: &'static str,
    /// Where it goes.
    pub(crate) email: &'a str,
    pub(crate) lasts: Duration,
    /// The organization on whose behalf it goes out.
    pub(crate) organization: Option<&'a str>,
}

/// Makes a token that is good once for the link's purpose and queues the letter that carries it; nothing where that
/// address was sent too many of late.
pub(crate) fn queue_link(tx: &WriteTx<'_>, user: &User, link: &Link<'_>, secrets: &Secrets) -> Result<()> {
    if !has_room_for_link(tx, link.purpose, link.email)? {
        return Ok(());
    }
    let minted = secrets.mint(tx);
    let expires_at = tx.now.after(link.lasts);
    tx.run(
        "INSERT INTO mailed_tokens (hash, purpose, user_id, email, expires_at) VALUES ($1, $2, $3, $4, $5)",
        &[(&minted.hash).into(), link.purpose.into(), user.id.into(), link.email.into(), expires_at.into()],
    )?;
    outbox::queue(
        tx,
        &NewLetter {
            kind: link.kind,
            recipient: link.email,
            nonce: Some(&minted.nonce),
            person: Some(&user.display_name()),
            organization: link.organization,
            expires_at: Some(expires_at),
        },
    )
}

/// Counts a letter with a link; whether it is to be sent. Asked too where no account has the address, so that this costs
/// the same.
pub(crate) fn has_room_for_link(tx: &WriteTx<'_>, purpose: &str, email: &str) -> Result<bool> {
    let to = format!("{purpose}\0{}", email.to_ascii_lowercase());
    limits::has_room(tx, &limits::LINKS_MAILED, &to)
}

/// What of one's own account is to change; what is not named stays.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// A new username.
    pub username: Option<Username>,
    /// A new name.
    pub name: Option<PersonName>,
    /// A new address: it counts when the link that is mailed to it is confirmed; until then the old one stays.
    pub email: Option<Email>,
}

/// Changes the caller's own account.
///
/// # Errors
/// [`Error::Unauthenticated`], [`crate::error::Denied::Scope`], [`Conflict::EmailTaken`], [`Conflict::UsernameTaken`].
pub fn update(db: &Db, actor: &Actor, changes: Changes, secrets: &Secrets) -> Result<User> {
    let id = actor.require_writer()?;
    let secrets = secrets.clone();
    write_as(db, actor, move |tx, actor| {
        let user = get(tx, id)?;
        if let Some(username) = &changes.username {
            refuse_taken_username(tx, username, Some(id), user.email.as_deref())?;
            tx.run(
                "UPDATE users SET username = $2, username_key = $3 WHERE id = $1",
                &[id.into(), username.as_str().into(), (&username.key()).into()],
            )?;
        }
        if let Some(name) = &changes.name {
            let [name, first, last] = name_columns(name);
            tx.run(
                "UPDATE users SET name = $2, first_name = $3, last_name = $4 WHERE id = $1",
                &[id.into(), name.into(), first.into(), last.into()],
            )?;
        }
        if let Some(email) = &changes.email {
            ask_for_new_address(tx, &user, email, &secrets)?;
        }
        tx.run("UPDATE users SET updated_at = $2 WHERE id = $1", &[id.into(), tx.now.into()])?;
        activity::record(tx, actor, "user.update", &About::user(id))?;
        get(tx, id)
    })
}

fn ask_for_new_address(tx: &WriteTx<'_>, user: &User, email: &Email, secrets: &Secrets) -> Result<()> {
    // The last address asked for is the one that can be confirmed, and to ask for one's own takes the others back; a link
    // that went to it before stays good, as there may be no room for another letter.
    tx.run(
        "DELETE FROM mailed_tokens WHERE user_id = $1 AND purpose = 'change-address' AND email <> $2",
        &[user.id.into(), email.as_str().into()],
    )?;
    if user.email.as_deref() == Some(email.as_str()) {
        return Ok(());
    }
    refuse_taken_email(tx, email, Some(user.id))?;
    let link = Link {
        kind: Kind::ChangeAddress,
        purpose: "change-address",
        email: email.as_str(),
        lasts: VERIFY_FOR,
        organization: None,
    };
    queue_link(tx, user, &link, secrets)
}

/// Gives the account its confirmed new address; the old one is told.
pub(crate) fn change_address(tx: &WriteTx<'_>, user: UserId, email: &str) -> Result<()> {
    let email =
        Email::parse(email).ok_or_else(|| Error::Internal("a stored address has lost its form".into()))?;
    refuse_taken_email(tx, &email, Some(user))?;
    let before = get(tx, user)?;
    // A username that is the old address is given up with it: it would keep everybody else from that address.
    tx.run(
        "UPDATE users SET email = $2, email_key = $3, confirmed_at = $4, updated_at = $4,
             username = CASE WHEN username_key = email_key THEN NULL ELSE username END,
             username_key = CASE WHEN username_key = email_key THEN NULL ELSE username_key END WHERE id = $1",
        &[user.into(), email.as_str().into(), (&email.key()).into(), tx.now.into()],
    )?;
    if let Some(old) = &before.email {
        let notice = NewLetter::notice(Kind::AddressChanged, old);
        outbox::queue(tx, &NewLetter { person: Some(email.as_str()), ..notice })?;
    }
    Ok(())
}

/// Who somebody is to a trusted issuer, from a token of it that was checked.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who vouches.
    pub issuer: String,
    /// Under what id it knows them.
    pub subject: String,
    /// The address, where the issuer says that it is confirmed.
    pub email: Option<Email>,
    /// What the person is called.
    pub name: PersonName,
}

/// The account of a trusted issuer's user, where it was made already.
///
/// # Errors
/// For all but the system.
pub fn known_identity(db: &Db, actor: &Actor, identity: &Identity) -> Result<Option<UserId>> {
    actor.require_system()?;
    db.read_one(|tx| known(tx, identity))
}

fn known(tx: &Tx<'_>, identity: &Identity) -> Result<Option<UserId>> {
    let sql = "SELECT id FROM users WHERE issuer = $1 AND subject = $2";
    tx.row(sql, &[(&identity.issuer).into(), (&identity.subject).into()], |row| row.int().map(UserId))
}

/// The account of a trusted issuer's user; made on first use. Never one that exists already under the same address:
/// then the new account has none.
///
/// # Errors
/// For all but the system.
pub fn of_identity(db: &Db, actor: &Actor, identity: Identity) -> Result<User> {
    actor.require_system()?;
    let sql = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.issuer = $1 AND u.subject = $2");
    let known =
        |tx: &Tx<'_>, who: &Identity| tx.row(sql, &[(&who.issuer).into(), (&who.subject).into()], User::read);
    if let Some(user) = db.read(|tx| known(tx, &identity))? {
        return Ok(user);
    }
    let actor = actor.clone();
    db.write(move |tx| {
        if let Some(user) = known(tx, &identity)? {
            return Ok(user);
        }
        let email = match &identity.email {
            Some(email) => match refuse_taken_email(tx, email, None) {
                Ok(()) => Some(email),
                Err(Error::Conflict(_)) => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let email_key = email.map(Email::key);
        let id = UserId(tx.next_number("users")?);
        let [name, first, last] = name_columns(&identity.name);
        tx.run(
            "INSERT INTO users (id, uid, email, email_key, name, first_name, last_name, confirmed_at, operator, issuer,
                                subject, created_at, updated_at, seen_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $8, $8, $8)",
            &[
                id.into(),
                Uid::new(tx.random).as_str().into(),
                email.map(Email::as_str).into(),
                email_key.as_deref().into(),
                name.into(),
                first.into(),
                last.into(),
                tx.now.into(),
                (&identity.issuer).into(),
                (&identity.subject).into(),
            ],
        )?;
        activity::record(tx, &actor, "user.create", &About { detail: Some(&identity.issuer), ..About::user(id) })?;
        get(tx, id)
    })
}

/// Accounts after `after`, in the order of their numbers, `most` at the most.
///
/// # Errors
/// For all but the system.
pub fn list(db: &Db, actor: &Actor, after: UserId, most: i64) -> Result<Vec<User>> {
    actor.require_system()?;
    let sql = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id > $1 ORDER BY u.id LIMIT $2");
    db.read_one(|tx| tx.rows(sql, &[after.into(), most.into()], User::read))
}

/// The account of that name or address, for the operator.
///
/// # Errors
/// For all but the system; [`Missing::User`].
pub fn lookup(db: &Db, actor: &Actor, key: &UserKey) -> Result<User> {
    actor.require_system()?;
    db.read(|tx| find(tx, key))?.ok_or_else(|| Missing::User.into())
}

/// Whether the account of that id, in the form of a UUID, is there and disabled.
///
/// # Errors
/// For all but the system.
pub fn is_disabled(db: &Db, actor: &Actor, uuid: &str) -> Result<bool> {
    actor.require_system()?;
    let sql = "SELECT 1 FROM users WHERE uid = $1 AND disabled_at IS NOT NULL";
    db.read_one(|tx| tx.exists(sql, &[(&uuid.replace('-', "")).into()]))
}

/// Whether somebody last seen then is to be written down as seen.
pub(crate) fn is_to_be_seen(last: Option<Timestamp>, now: Timestamp) -> bool {
    last.is_none_or(|last| now.since(last) >= SEEN_AGAIN)
}

/// Makes the next thing that `user` does count as being seen again. What else follows from when they were last seen stays.
pub(crate) fn forget_seen(tx: &WriteTx<'_>, user: UserId) -> Result<()> {
    let sql = "UPDATE users SET seen_at = $2 WHERE id = $1 AND seen_at > $2";
    tx.run(sql, &[user.into(), tx.now.before(SEEN_AGAIN).into()]).map(drop)
}

/// Writes down that the caller was seen, which makes their inactive memberships active again.
///
/// # Errors
/// [`Error::Unauthenticated`].
pub fn seen(db: &Db, actor: &Actor) -> Result<()> {
    let id = actor.require_user()?;
    db.write(move |tx| {
        tx.run("UPDATE users SET seen_at = $2 WHERE id = $1", &[id.into(), tx.now.into()])?;
        reactivate(tx, id)
    })
}

/// Makes the inactive memberships of one who was seen active again.
pub(crate) fn reactivate(tx: &WriteTx<'_>, user: UserId) -> Result<()> {
    let sql = "UPDATE memberships SET state = 'active' WHERE user_id = $1 AND state = 'inactive'";
    tx.run(sql, &[user.into()]).map(drop)
}
