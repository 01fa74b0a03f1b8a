//! The letters that Guildhall writes: their words, once, for both the plain and the HTML part.
//!
//! The words are ASCII, so that a letter without foreign names travels as it is and its link can be read in the file.
//! No letter to an unconfirmed address repeats a name its recipient has not asked to hear from, except an invitation,
//! whose point that is: else a sign-up form would be a way to mail strangers.

use askama::Template;
use guildhall_domain::clock::Timestamp;

use super::one_line;

/// How much of a name a subject shows, in characters.
const NAME_IN_SUBJECT: usize = 40;

/// What an invitation makes of the one who accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvitedAs {
    /// Can do everything in the organization.
    Owner,
    /// An ordinary member.
    Member,
}

impl InvitedAs {
    /// The role with its article, to stand in a sentence.
    #[must_use]
    pub fn with_article(self) -> &'static str {
        match self {
            Self::Owner => "an owner",
            Self::Member => "a member",
        }
    }
}

/// What a security notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The password was changed by its owner, or set anew through a mailed link.
    Password,
    /// The account's address is now `to`; the notice goes to the old one.
    Address {
        /// The new address.
        to: &'a str,
    },
}

/// A letter and what stands in it. Links are finished URLs, made by the caller from the public URL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Letter<'a> {
    /// To a new account's address: confirm it.
    Verify {
        /// The address to confirm.
        email: &'a str,
        /// The page whose button confirms.
        link: &'a str,
        /// When the link ends.
        expires: Timestamp,
    },
    /// To the address that an account is to have: confirm it.
    ChangeAddress {
        /// The new address.
        email: &'a str,
        /// The page whose button confirms.
        link: &'a str,
        /// When the link ends.
        expires: Timestamp,
    },
    /// Choose a new password.
    ResetPassword {
        /// The account's address.
        email: &'a str,
        /// The organization whose administrators asked for it; `None` where somebody did with the address alone.
        asked_by: Option<&'a str>,
        /// The page with the form.
        link: &'a str,
        /// When the link ends.
        expires: Timestamp,
    },
    /// Join an organization, or become its owner.
    Invitation {
        /// The organization's name, as typed.
        organization: &'a str,
        /// The name of who invites, as typed.
        inviter: &'a str,
        /// What accepting leads to.
        role: InvitedAs,
        /// The page whose button accepts.
        link: &'a str,
        /// When the link ends.
        expires: Timestamp,
    },
    /// Something that protects the account was changed.
    SecurityNotice {
        /// What.
        change: Change<'a>,
        /// The account's address, before the change where that is what changed.
        email: &'a str,
        /// When.
        at: Timestamp,
    },
}

/// A letter's three texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line, with names shortened.
    pub subject: String,
    /// The plain text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// A letter's words before they are laid out. Every string is one line, unescaped.
struct Words {
    subject: String,
    heading: &'static str,
    body: String,
    action: Option<Action>,
    /// Why one got it, and what to do if it was not expected.
    why: String,
}

struct Action {
    label: &'static str,
    link: String,
    /// Until when, in words.
    until: String,
}

#[derive(Template)]
#[template(path = "mail/letter.txt")]
struct Text<'a> {
    words: &'a Words,
    site: &'a str,
}

#[derive(Template)]
#[template(path = "mail/letter.html")]
struct Html<'a> {
    words: &'a Words,
    site: &'a str,
}

/// Writes `letter`; `site` is the public URL, shown at its foot.
#[must_use]
pub fn render(letter: &Letter<'_>, site: &str) -> Rendered {
    let words = &words(letter);
    let text = Text { words, site }.render().expect("writing to a string does not fail");
    let html = Html { words, site }.render().expect("writing to a string does not fail");
    Rendered { subject: words.subject.clone(), text, html }
}

fn words(letter: &Letter<'_>) -> Words {
    match *letter {
        Letter::Verify { email, link, expires } => Words {
            subject: "Confirm your e-mail address".to_owned(),
            heading: "Welcome! One step is left",
            body: format!("An account was made with the address {}. Please confirm that it is yours.", one_line(email)),
            action: Some(action("Confirm my address", link, expires)),
            why: "You get this because somebody entered your address when signing up. If that was not you, \
                  ignore this message: the account stays closed."
                .to_owned(),
        },
        Letter::ChangeAddress { email, link, expires } => Words {
            subject: "Confirm your new e-mail address".to_owned(),
            heading: "Confirm your new address",
            body: format!(
                "Your account is to have the address {}. It counts as soon as you confirm it; until then the old one stays.",
                one_line(email)
            ),
            action: Some(action("Confirm my new address", link, expires)),
            why: "You get this because somebody entered your address as the new one of their account. If that was \
                  not you, ignore this message: nothing changes."
                .to_owned(),
        },
        Letter::ResetPassword { email, asked_by, link, expires } => Words {
            subject: "Choose a new password".to_owned(),
            heading: "Choose a new password",
            body: match asked_by {
                Some(organization) => format!(
                    "The administrators of \"{}\" ask you to choose a new password for your account {}.",
                    one_line(organization),
                    one_line(email)
                ),
                None => format!("Here you can choose a new password for your account {}.", one_line(email)),
            },
            action: Some(action("Choose a new password", link, expires)),
            why: match asked_by {
                Some(_) => "You get this because you are a member there. Until you use the link, your old password \
                            works as before, so ignoring this message is safe.",
                None => "You get this because somebody asked for a new password with your address. If that was not \
                         you, ignore this message: your password stays as it is.",
            }
            .to_owned(),
        },
        Letter::Invitation { organization, inviter, role, link, expires } => {
            invitation(organization, inviter, role, action("See the invitation", link, expires))
        }
        Letter::SecurityNotice { change, email, at } => notice(change, email, at),
    }
}

fn invitation(organization: &str, inviter: &str, role: InvitedAs, action: Action) -> Words {
    Words {
        subject: format!(
            "{} invites you to \"{}\"",
            shorten(&one_line(inviter), NAME_IN_SUBJECT),
            shorten(&one_line(organization), NAME_IN_SUBJECT)
        ),
        heading: "You are invited",
        body: format!(
            "{} invites you to be {} of the organization \"{}\".",
            one_line(inviter),
            role.with_article(),
            one_line(organization)
        ),
        action: Some(action),
        why: "You get this because your address was entered there. If you do not know the sender or do not want to \
              join, ignore this message: nothing happens unless you accept."
            .to_owned(),
    }
}

fn notice(change: Change<'_>, email: &str, at: Timestamp) -> Words {
    let (subject, heading, what) = match change {
        Change::Password => {
            ("Your password was changed", "Your password was changed", "got a new password".to_owned())
        }
        Change::Address { to } => (
            "Your e-mail address was changed",
            "Your address was changed",
            format!("now has the address {}", one_line(to)),
        ),
    };
    Words {
        subject: subject.to_owned(),
        heading,
        body: format!("Your account {} {what} on {}.", one_line(email), in_words(at)),
        action: None,
        why: "You get this because it concerns the safety of your account. If it was you, there is nothing to do. If \
              it was not, choose a new password at once and tell the people who run this server."
            .to_owned(),
    }
}

fn action(label: &'static str, link: &str, expires: Timestamp) -> Action {
    Action { label, link: one_line(link), until: in_words(expires) }
}

/// An instant as people write it: `Saturday, 21 November 2026, 09:30 UTC`.
fn in_words(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%A, %-d %B %Y, %H:%M UTC").to_string()
}

/// `text` cut to at most `most` characters, the last an ellipsis where something was cut.
fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{}…", kept.trim_end())
}
