//! `guildhall user`, `guildhall token` and `guildhall key`: accounts and what they sign in with.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use guildhall_domain::authz::Actor;
use guildhall_domain::clock::Random;
use guildhall_domain::credentials::password::{MAX_BYTES, Password, Weakness};
use guildhall_domain::error::{self, Conflict};
use guildhall_domain::id::UserId;
use guildhall_domain::memberships::{self, OrganizationKey};
use guildhall_domain::text::{Email, Name, NameError, PersonName, Username, UsernameError};
use guildhall_domain::users::{self, NewUser, Profile, User, UserKey};
use guildhall_domain::{Error, credentials, organizations};
use serde_json::{Value, json};

use super::Failure;
use super::folder::{self, Missing};
use super::output::{Output, PIECE};
use crate::app;
use crate::config::Config;

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Make an account
    Create(NewAccount),
    /// List all accounts
    List,
    /// Disable an account: its sessions and its API key end
    Disable {
        /// The address or username
        #[arg(value_name = "E")]
        user: String,
        /// Also where an organization is left without anybody in charge
        #[arg(long)]
        force: bool,
    },
    /// Enable an account again
    Enable {
        /// The address or username
        #[arg(value_name = "E")]
        user: String,
    },
}

#[derive(Args)]
pub(super) struct NewAccount {
    /// The address
    #[arg(long, value_name = "E", value_parser = email)]
    email: Email,
    /// A name to sign in by besides the address
    #[arg(long, value_name = "U", value_parser = username)]
    username: Option<Username>,
    /// What the person is called
    #[arg(long, value_name = "N", value_parser = name)]
    name: Option<Name>,
    /// Read the password from standard input; without one a reset by mail sets it
    #[arg(long)]
    password_stdin: bool,
    /// The address counts as confirmed
    #[arg(long)]
    verified: bool,
    /// The person runs this server
    #[arg(long)]
    operator: bool,
}

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make the token that a sign-in gives
    Create {
        /// The address or username
        #[arg(long, value_name = "E")]
        user: String,
        /// For this organization of theirs
        #[arg(long, value_name = "SLUG")]
        org: Option<String>,
    },
}

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Make the account's API key, which ends an earlier one
    Create {
        /// The address or username
        #[arg(long, value_name = "E")]
        user: String,
    },
}

pub(super) fn email(text: &str) -> Result<Email, String> {
    Email::parse(text).ok_or_else(|| "not an e-mail address".into())
}

fn username(text: &str) -> Result<Username, &'static str> {
    Username::parse(text).map_err(|error| match error {
        UsernameError::Blank => "must not be blank",
        UsernameError::TooLong => "longer than 30 characters",
        UsernameError::Character => "only letters, digits and @ . + - _ may stand in it",
        UsernameError::Reserved => "reserved",
    })
}

pub(super) fn name(text: &str) -> Result<Name, &'static str> {
    Name::parse(text).map_err(|error| match error {
        NameError::Blank => "must not be blank",
        NameError::TooLong => "longer than 200 characters",
        NameError::Character => "control and direction characters may not stand in it",
    })
}

pub(super) fn user(config: &Config, out: Output, command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Create(new) => create(config, out, new),
        UserCommand::List => {
            let db = folder::open_database(config, Missing::Refuse)?;
            let next = |last: Option<&User>| {
                let after = last.map_or(UserId(0), |user| user.id);
                users::list(&db, &Actor::system(), after, PIECE).map_err(Failure::from)
            };
            out.list(("users", HEADER), next, (shown, told))
        }
        UserCommand::Disable { user, force } => {
            let db = folder::open_database(config, Missing::Refuse)?;
            let key = UserKey::Login(user);
            let user = match memberships::disable_user(&db, &Actor::system(), &key, force) {
                Err(Error::Conflict(Conflict::LastInCharge)) => {
                    let alone = memberships::led_alone(&db, &Actor::system(), &key)?.join(", ");
                    return Err(Failure::new(format_args!(
                        "nobody would be left in charge of {alone} (--force disables it all the same)"
                    )));
                }
                other => other?,
            };
            out.show(&shown(&user), &told(&user))
        }
        UserCommand::Enable { user } => {
            let db = folder::open_database(config, Missing::Refuse)?;
            let user = memberships::enable_user(&db, &Actor::system(), &UserKey::Login(user))?;
            out.show(&shown(&user), &told(&user))
        }
    }
}

fn create(config: &Config, out: Output, new: NewAccount) -> Result<(), Failure> {
    let password_hash = if new.password_stdin {
        let password = read_password(&mut io::stdin().lock())?;
        Some(password.hash(&Random::system())?)
    } else {
        None
    };
    let account = NewUser {
        username: new.username,
        email: new.email,
        name: new.name.map_or(PersonName::Unknown, PersonName::Whole),
        password_hash,
        profile: Profile::default(),
    };
    let db = folder::open_database(config, Missing::Make)?;
    let user = users::create(&db, &Actor::system(), account, new.operator, new.verified)?;
    out.show(&shown(&user), &told(&user))
}

/// All that comes, without the line's end behind it.
fn read_password(input: &mut impl Read) -> Result<Password, Failure> {
    let mut text = String::new();
    // Enough that a longer password is seen to be one.
    let most = u64::try_from(MAX_BYTES * 4).unwrap_or(u64::MAX);
    input
        .take(most)
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(format_args!("the password cannot be read: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.contains(['\n', '\r']) {
        return Err(Failure::new("the password must be one line"));
    }
    Password::chosen(text).map_err(|weakness| {
        Failure::new(match weakness {
            Weakness::TooShort => "the password has fewer than 8 characters",
            Weakness::TooLong => "the password is longer than 1,024 bytes",
            Weakness::Common => "the password is one of the first that anybody tries",
        })
    })
}

pub(super) fn token(config: &Config, out: Output, command: TokenCommand) -> Result<(), Failure> {
    let TokenCommand::Create { user, org } = command;
    let db = folder::open_database(config, Missing::Refuse)?;
    let key = UserKey::Login(user.clone());
    refuse_disabled(&users::lookup(&db, &Actor::system(), &key)?)?;
    let keys = folder::open_keys(config, &db)?.keys;
    let organization = org.clone().map(OrganizationKey::Slug);
    let session = match organizations::create_session(&db, &Actor::system(), &key, organization.as_ref()) {
        Err(Error::Missing(error::Missing::Member)) => {
            let slug = org.unwrap_or_default();
            return Err(Failure::new(format_args!("{user} is not a member of {slug}")));
        }
        other => other?,
    };
    let (token, _) = app::token(&keys, db.random(), &session)?;
    out.show(&json!({"token": token}), &token)
}

pub(super) fn key(config: &Config, out: Output, command: KeyCommand) -> Result<(), Failure> {
    let KeyCommand::Create { user } = command;
    let db = folder::open_database(config, Missing::Refuse)?;
    let user = UserKey::Login(user);
    refuse_disabled(&users::lookup(&db, &Actor::system(), &user)?)?;
    let key = credentials::create_api_key(&db, &Actor::system(), &user)?;
    out.show(&json!({"key": key}), &key)
}

/// A credential that does not count would look like one that does.
pub(super) fn refuse_disabled(user: &User) -> Result<(), Failure> {
    match user.disabled_at {
        Some(_) => Err(Failure::new("the account is disabled (see guildhall user enable)")),
        None => Ok(()),
    }
}

fn shown(user: &User) -> Value {
    json!({
        "id": user.uid.uuid(),
        "number": user.id.0,
        "username": user.username(),
        "email": user.email,
        "name": user.name.whole(),
        "verified": user.is_email_verified(),
        "operator": user.is_operator,
        "disabled": user.disabled_at.is_some(),
    })
}

/// What stands in the columns of [`told`].
const HEADER: &str = "NUMBER\tUSERNAME\tEMAIL\tNAME\tMARKS";

fn told(user: &User) -> String {
    let marks = [
        (user.is_email_verified(), "verified"),
        (user.is_operator, "operator"),
        (user.disabled_at.is_some(), "disabled"),
    ];
    let marks: Vec<&str> = marks.into_iter().filter(|(holds, _)| *holds).map(|(_, mark)| mark).collect();
    let marks = if marks.is_empty() { "-".into() } else { marks.join(",") };
    [user.id.0.to_string(), user.username(), user.email.clone().unwrap_or_default(), user.name.whole(), marks]
        .join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_ends_before_the_end_of_its_line() {
        for text in ["opensesame 42", "opensesame 42\n", "opensesame 42\r\n"] {
            assert!(
                read_password(&mut text.as_bytes())
                    .unwrap()
                    .matches(&Password::chosen("opensesame 42").unwrap().hash(&Random::seeded(1)).unwrap())
            );
        }
        for (text, why) in [
            ("", "the password has fewer than 8 characters"),
            ("opensesame\n42\n", "the password must be one line"),
            ("opensesame\r42", "the password must be one line"),
            ("password1\n", "the password is one of the first that anybody tries"),
            (&"x1y2z3".repeat(1_000), "the password is longer than 1,024 bytes"),
        ] {
            assert_eq!(read_password(&mut text.as_bytes()).unwrap_err().to_string(), why);
        }
    }
}
