//! Coming in: making an account and signing in, each in one step with what is documented to go with it.

use crate::activity::{self, About};
use crate::authz::{Actor, Credential, Scope};
use crate::credentials::sign_in::{self, Compared};
use crate::credentials::{KEY_LASTS, NewSession, Session, TOKEN_LASTS, Wanted, insert_session};
use crate::db::{Db, Tx, WriteTx};
use crate::error::{Missing, Result};
use crate::id::UserId;
use crate::invitations::{self, Invitation, InvitationState};
use crate::organizations::{self, NewOrganization};
use crate::outbox::Secrets;
use crate::users::{self, NewUser, User};

/// What comes with a new account.
#[derive(Clone, Debug)]
pub enum With {
    /// Nothing.
    Nothing,
    /// A new organization, of which they are the owner.
    Organization(Box<NewOrganization>),
    /// An invitation for exactly their address, taken up at once. They have no power before their address is confirmed,
    /// because until then they cannot sign in.
    Invitation(String),
}

/// Makes an account for somebody who comes by themself. It cannot sign in by password before the link that is mailed to
/// its address is used.
///
/// # Errors
/// [`crate::error::Conflict::EmailTaken`], [`crate::error::Conflict::UsernameTaken`]; with an organization
/// [`crate::error::Conflict::NameTaken`]; with an invitation [`Missing::Token`],
/// [`crate::error::Denied::OtherAddress`].
pub fn register(db: &Db, new: NewUser, with: With, secrets: &Secrets) -> Result<User> {
    let secrets = secrets.clone();
    db.write(move |tx| {
        require_possible(tx, &new, &with)?;
        let user = users::insert(tx, &Actor::nobody(), &new)?;
        let actor = Actor::user(user.id, Scope::Write, Credential::None, false);
        match &with {
            With::Nothing => {}
            With::Organization(organization) => {
                organizations::insert(tx, &actor, user.id, organization)?;
            }
            With::Invitation(token) => {
                invitations::take_up(tx, &actor, &user, token)?;
            }
        }
        users::queue_verification(tx, &user, &secrets)?;
        Ok(user)
    })
}

/// Refuses all that [`register`] refuses, before anything is written: no number is drawn for what does not come about.
fn require_possible(tx: &Tx<'_>, new: &NewUser, with: &With) -> Result<()> {
    if let With::Invitation(token) = with
        && invitations::find_state(tx, token)? != InvitationState::Open
    {
        // Told before anything about the address.
        return Err(Missing::Token.into());
    }
    users::require_free(tx, new)?;
    match with {
        With::Nothing => Ok(()),
        With::Organization(organization) => organizations::require_free(tx, organization),
        With::Invitation(token) => invitations::require_acceptable_by(tx, new.email.as_str(), token),
    }
}

/// What came of showing a password: by default of a sign-in.
#[derive(Debug)]
pub enum SignedIn<T = Box<Session>> {
    /// It was right, and this came of it.
    Done(T),
    /// No such account, another password, or a disabled account: all alike.
    Wrong,
    /// The password is right and the address not confirmed.
    Unverified(Box<User>),
}

/// Ends a sign-in whose password was compared: makes the session that is wanted, and accepts an invitation with it.
///
/// # Errors
/// With an invitation what [`invitations::accept`] refuses; then there is no session.
pub fn sign_in(db: &Db, compared: Compared, wanted: Wanted, invitation: Option<String>) -> Result<SignedIn> {
    db.write(move |tx| {
        with_right_password(tx, &compared, |actor, user| {
            if let Some(token) = &invitation {
                invitations::accept_in(tx, actor, &user, token)?;
            }
            activity::record(tx, actor, "session.create", &About::user(user.id))?;
            make_session(tx, user, wanted).map(Box::new)
        })
    })
}

/// Accepts an invitation by the password of the invited account, without making a session.
///
/// # Errors
/// What [`invitations::accept`] refuses.
pub fn accept_by_password(db: &Db, compared: Compared, invitation: String) -> Result<SignedIn<Invitation>> {
    db.write(move |tx| {
        with_right_password(tx, &compared, |actor, user| {
            invitations::accept_in(tx, actor, &user, &invitation)
        })
    })
}

/// Writes down what came of comparing, and where the password was right does `then` as its account.
fn with_right_password<T>(
    tx: &WriteTx<'_>,
    compared: &Compared,
    then: impl FnOnce(&Actor, User) -> Result<T>,
) -> Result<SignedIn<T>> {
    let Some((user, hash)) = &compared.right else {
        sign_in::fail(tx, compared)?;
        return Ok(SignedIn::Wrong);
    };
    // Between the comparison and now the account may have been disabled, or the password changed.
    let before = users::get(tx, *user)?;
    if before.disabled_at.is_some() || sign_in::password_hash(tx, *user)?.as_ref() != Some(hash) {
        return Ok(SignedIn::Wrong);
    }
    if before.confirmed_at.is_none() {
        return Ok(SignedIn::Unverified(Box::new(before)));
    }
    sign_in::succeed(tx, &compared.tried, *user)?;
    let user = users::get(tx, *user)?;
    let actor = Actor::user(user.id, Scope::Write, Credential::None, true);
    then(&actor, user).map(SignedIn::Done)
}

fn make_session(tx: &WriteTx<'_>, user: User, wanted: Wanted) -> Result<Session> {
    let new = match wanted {
        Wanted::Key => NewSession {
            scope: Scope::Write,
            organization: None,
            from_api_key: false,
            expires_at: tx.now.after(KEY_LASTS),
            is_key: true,
        },
        Wanted::Token { scope, for_first_organization } => NewSession {
            scope,
            organization: if for_first_organization { organizations::first_id(tx, user.id)? } else { None },
            from_api_key: false,
            expires_at: tx.now.after(TOKEN_LASTS),
            is_key: false,
        },
    };
    insert_session(tx, user, &new)
}

/// Mails another link to confirm the address, to one who showed the right password.
///
/// # Errors
/// Where the database cannot be used.
pub fn verify_again(db: &Db, user: UserId, secrets: &Secrets) -> Result<()> {
    let secrets = secrets.clone();
    db.write(move |tx| {
        let user = users::get(tx, user)?;
        if user.confirmed_at.is_some() {
            return Ok(());
        }
        users::queue_verification(tx, &user, &secrets)?;
        activity::record(tx, &Actor::nobody(), "user.verify-again", &About::user(user.id))
    })
}
