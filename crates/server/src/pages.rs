//! The pages that links in mail lead to, without any script.
//!
//! Pure rendering: a [`Page`] in, a response out. Each page is whole in itself (its style stands in it, named to the
//! browser by its hash), so it looks right under any public URL. Its form posts to the page's own path, without the
//! query; what the fields are called stands in [`field`]. Because of `Referrer-Policy: no-referrer` browsers send these forms
//! with `Origin: null`: what proves the sender is the secret in the hidden field.

use std::sync::LazyLock;

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use guildhall_domain::clock::sha256_hex;

use crate::mail::letters::InvitedAs;

/// The names of the form fields. All are text; what a page has no use for is absent.
pub mod field {
    /// The mailed secret, as it stood in the link. On every form.
    pub const TOKEN: &str = "token";
    /// On the invitation alone, how it is accepted: one of [`WITH_SESSION`], [`WITH_PASSWORD`], [`WITH_NEW_ACCOUNT`].
    pub const WAY: &str = "way";
    /// Accepts as the one who is signed in, which [`CSRF`] proves.
    pub const WITH_SESSION: &str = "session";
    /// Accepts as the invited address, whose [`PASSWORD`] it is.
    pub const WITH_PASSWORD: &str = "password";
    /// Makes an account for the invited address from the names, [`PASSWORD`] and [`CONFIRMATION`], and accepts.
    pub const WITH_NEW_ACCOUNT: &str = "new-account";
    /// What proves that the form was shown to the one who is signed in. The one who invites may know the token: it alone
    /// must not let them press the button in somebody's name.
    pub const CSRF: &str = "csrf";
    /// The address, for password managers to know the account by; the token decides, not this.
    pub const EMAIL: &str = "email";
    /// The password, present or new.
    pub const PASSWORD: &str = "password";
    /// The new password once more.
    pub const CONFIRMATION: &str = "confirmation";
    /// First name.
    pub const FIRST_NAME: &str = "first_name";
    /// Last name.
    pub const LAST_NAME: &str = "last_name";
}

/// A page and what stands in it. Names and addresses are escaped where they are shown. None of these types is `Debug`:
/// they hold the links' secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Page<'a> {
    /// `/account/verify/`: confirm the address of a new account.
    Verify(Confirm<'a>),
    /// `/account/verify/` too: confirm the new address of an account.
    ChangeAddress(Confirm<'a>),
    /// `/account/reset-password/`: choose a new password.
    Reset(Reset<'a>),
    /// `/account/invite/`: accept an invitation.
    Invite(Invite<'a>),
    /// Anything else that must be told in words: not found, method not allowed, too many tries, unavailable.
    Message {
        /// The status of the answer.
        status: StatusCode,
        /// A few words.
        title: &'a str,
        /// What happened and what to do, in a sentence or two.
        text: &'a str,
    },
}

/// An address to confirm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Confirm<'a> {
    /// The link is good: the button confirms.
    Ready {
        /// The address.
        email: &'a str,
        /// The link's secret.
        token: &'a str,
    },
    /// It is confirmed now.
    Done {
        /// The address.
        email: &'a str,
    },
    /// Another account has the address by now.
    Taken {
        /// The address.
        email: &'a str,
    },
    /// The link has ended, was used, or never was: not told apart.
    Bad,
}

/// A password to choose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reset<'a> {
    /// The link is good: the form sets the password.
    Ready {
        /// The account's address.
        email: &'a str,
        /// The link's secret.
        token: &'a str,
        /// Why the password that was sent cannot be taken, in a sentence.
        problem: Option<&'a str>,
    },
    /// It is set now, and every session has ended.
    Done,
    /// The link has ended, was used, or never was: not told apart.
    Bad,
}

/// An invitation to accept.
#[derive(Clone, PartialEq, Eq)]
pub enum Invite<'a> {
    /// The invitation is open.
    Ready(Invitation<'a>),
    /// It is accepted now.
    Done {
        /// The organization's name.
        organization: &'a str,
        /// What the reader is there now.
        role: InvitedAs,
    },
    /// It is accepted by a new account, whose address is still to be confirmed.
    Registered {
        /// The organization's name.
        organization: &'a str,
        /// The address.
        email: &'a str,
    },
    /// It cannot be accepted.
    Bad(Why),
    /// Nothing to accept: the invited address belongs to it already, in this role or a higher one.
    AlreadyMember {
        /// The organization's name.
        organization: &'a str,
        /// The address.
        email: &'a str,
    },
    /// To become an owner, the invited address has to be a member first.
    JoinFirst {
        /// The organization's name.
        organization: &'a str,
        /// The address.
        email: &'a str,
    },
}

/// Why an invitation cannot be accepted. Told only to one who shows its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There never was one like this, or it is not to be said more.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was accepted before.
    Used,
    /// It was taken back, or replaced by a newer one.
    Withdrawn,
}

/// An open invitation and who looks at it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Invitation<'a> {
    /// The organization's name.
    pub organization: &'a str,
    /// The name of who invites.
    pub inviter: &'a str,
    /// The invited address.
    pub email: &'a str,
    /// What accepting leads to.
    pub role: InvitedAs,
    /// The link's secret.
    pub token: &'a str,
    /// The address of the session that the browser shows, if it shows one.
    pub signed_in_as: Option<&'a str>,
    /// That session's proof, for [`field::CSRF`]; empty without one.
    pub csrf: &'a str,
    /// Whether the invited address has an account.
    pub account_exists: bool,
    /// The names that were sent with a form that could not be taken; else empty. Passwords are never shown again.
    pub first_name: &'a str,
    /// As `first_name`.
    pub last_name: &'a str,
    /// Why what was sent cannot be taken, in a sentence.
    pub problem: Option<&'a str>,
}

impl Invitation<'_> {
    /// Whether the invited address is the one signed in; ASCII case does not matter.
    fn signed_in(&self) -> bool {
        self.signed_in_as.is_some_and(|email| email.eq_ignore_ascii_case(self.email))
    }

    fn signed_in_as_other(&self) -> Option<&str> {
        self.signed_in_as.filter(|_| !self.signed_in())
    }
}

/// The style of all pages, in each of them.
pub(crate) const STYLE: &str = include_str!("../templates/pages/style.css");

/// Nothing may be loaded, run, framed or sent elsewhere; the one style is known by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hex = sha256_hex(STYLE);
    let digest: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("a digest is written in hex digits"))
        .collect();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        STANDARD.encode(digest)
    );
    HeaderValue::from_str(&policy).expect("a policy is ASCII")
});

#[derive(Template)]
#[template(path = "pages/confirm.html")]
struct ConfirmForm<'a> {
    title: &'a str,
    /// What the button does, in a sentence around the address.
    lead: &'a str,
    email: &'a str,
    token: &'a str,
    button: &'a str,
}

#[derive(Template)]
#[template(path = "pages/reset.html")]
struct ResetForm<'a> {
    email: &'a str,
    token: &'a str,
    problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "pages/invite.html")]
struct InviteForm<'a> {
    invitation: &'a Invitation<'a>,
}

#[derive(Template)]
#[template(path = "pages/message.html")]
struct Told<'a> {
    title: &'a str,
    text: &'a str,
    next: Next<'a>,
}

/// What a page that ends a way says last.
enum Next<'a> {
    Nothing,
    /// Go on: to the configured place, or to where one came from.
    GoOn(Option<&'a str>),
}

/// The page as a response. `return_to` is where the configuration sends people who are done, an `http` or `https` URL.
///
/// The status is 200; 422 where a form is shown again with its problem; 410 for a link that is no longer good; 409 where
/// something stands in the way of a good one; and what a message says.
#[must_use]
pub fn render(page: &Page<'_>, return_to: Option<&str>) -> Response<Body> {
    match page {
        Page::Verify(state) => confirm(*state, &VERIFY, return_to),
        Page::ChangeAddress(state) => confirm(*state, &CHANGE_ADDRESS, return_to),
        Page::Reset(state) => reset(*state, return_to),
        Page::Invite(state) => invite(state, return_to),
        Page::Message { status, title, text } => respond(*status, &Told { title, text, next: Next::Nothing }),
    }
}

/// The words in which the two confirmations differ.
struct ConfirmWords {
    title: &'static str,
    lead: &'static str,
    button: &'static str,
    done_title: &'static str,
    done: &'static str,
}

const VERIFY: ConfirmWords = ConfirmWords {
    title: "Confirm your address",
    lead: "One press, and your account is ready to use.",
    button: "Confirm my address",
    done_title: "Your address is confirmed",
    done: "is confirmed. You can sign in now.",
};

const CHANGE_ADDRESS: ConfirmWords = ConfirmWords {
    title: "Confirm your new address",
    lead: "One press, and this is the address of your account. From then on you sign in with it.",
    button: "Confirm my new address",
    done_title: "Your new address is in use",
    done: "is the address of your account now. Sign in with it from now on.",
};

fn confirm(state: Confirm<'_>, words: &ConfirmWords, return_to: Option<&str>) -> Response<Body> {
    match state {
        Confirm::Ready { email, token } => respond(
            StatusCode::OK,
            &ConfirmForm { title: words.title, lead: words.lead, email, token, button: words.button },
        ),
        Confirm::Done { email } => done(words.done_title, &format!("{email} {}", words.done), return_to),
        Confirm::Taken { email } => in_the_way(
            "This address is taken",
            &format!(
                "Another account has {email} by now, so nothing was changed: your account keeps its address."
            ),
        ),
        Confirm::Bad => gone(
            "This link does not work any more",
            "It may have been used already: then your address is confirmed and you can simply sign in. If it is too \
             old, sign in or sign up again to get a new one.",
        ),
    }
}

fn reset(state: Reset<'_>, return_to: Option<&str>) -> Response<Body> {
    match state {
        Reset::Ready { email, token, problem } => {
            respond(form_status(problem), &ResetForm { email, token, problem })
        }
        Reset::Done => done(
            "Your new password is set",
            "You are signed out everywhere, to be on the safe side. Sign in with the new password to go on.",
            return_to,
        ),
        Reset::Bad => gone(
            "This link does not work any more",
            "It has been used, or its time is over. Ask for a new password once more and use the newest message you \
             get.",
        ),
    }
}

fn invite(state: &Invite<'_>, return_to: Option<&str>) -> Response<Body> {
    match state {
        Invite::Ready(invitation) => respond(form_status(invitation.problem), &InviteForm { invitation }),
        Invite::Done { organization, role } => done(
            &format!("Welcome to {organization}"),
            &format!("You are now {} of {organization}.", role.with_article()),
            return_to,
        ),
        Invite::Registered { organization, email } => respond(
            StatusCode::OK,
            &Told {
                title: "One last step: confirm your address",
                text: &format!(
                    "Your account is made, and it belongs to {organization} already. A message is on its way to \
                     {email}: open the link in it and press the button. After that you can sign in, not before."
                ),
                next: Next::Nothing,
            },
        ),
        Invite::AlreadyMember { organization, email } => done(
            &format!("Already a member of {organization}"),
            &format!("{email} belongs to it. There is nothing left to do here."),
            return_to,
        ),
        Invite::JoinFirst { organization, email } => in_the_way(
            &format!("Join {organization} first"),
            &format!(
                "Owners are chosen among the members, and {email} is none yet. Join with that address, then open \
                 this link again."
            ),
        ),
        Invite::Bad(why) => bad_invitation(*why),
    }
}

fn bad_invitation(why: Why) -> Response<Body> {
    let (title, text) = match why {
        Why::Unknown => (
            "This invitation does not work",
            "Please check that you opened the whole link from the newest message. If you did, ask the person who \
             invited you for a new one.",
        ),
        Why::Expired => {
            ("This invitation has expired", "Its time is over. Ask the person who invited you for a new one.")
        }
        Why::Used => (
            "This invitation was used already",
            "An invitation works once. If it was you who accepted it, you can simply sign in; if not, ask the person \
             who invited you.",
        ),
        Why::Withdrawn => (
            "This invitation was withdrawn",
            "Perhaps there is a newer one in your mail. If not, ask the person who invited you.",
        ),
    };
    gone(title, text)
}

fn form_status(problem: Option<&str>) -> StatusCode {
    if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }
}

fn done(title: &str, text: &str, return_to: Option<&str>) -> Response<Body> {
    respond(StatusCode::OK, &Told { title, text, next: Next::GoOn(return_to) })
}

fn gone(title: &str, text: &str) -> Response<Body> {
    respond(StatusCode::GONE, &Told { title, text, next: Next::Nothing })
}

fn in_the_way(title: &str, text: &str) -> Response<Body> {
    respond(StatusCode::CONFLICT, &Told { title, text, next: Next::Nothing })
}

/// A page of one of the templates.
pub(crate) fn respond(status: StatusCode, page: &impl Template) -> Response<Body> {
    html(status, written(page).into())
}

/// The page itself.
pub(crate) fn written(page: &impl Template) -> String {
    page.render().expect("writing to a string does not fail")
}

/// A page that is written already.
pub(crate) fn html(status: StatusCode, html: Body) -> Response<Body> {
    let mut response = Response::new(html);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
