//! `/account/invite/`: accepts an invitation, as the one who is signed in, by the invited account's password, or with a
//! new account for the invited address.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use guildhall_domain::authz::Role;
use guildhall_domain::error::{Conflict, Denied, Error, Missing, Result};
use guildhall_domain::invitations::{self, Invitation, InvitationState, Invitee};
use guildhall_domain::limits::REGISTRATIONS;
use guildhall_domain::onboarding::{self, SignedIn, With};
use guildhall_domain::outbox::is_token;
use guildhall_domain::text::{Email, Name, NameError, PersonName};
use guildhall_domain::users::{self, NewUser, Profile};

use super::{Failed, Form, if_known};
use crate::app::App;
use crate::auth::{self, Visitor};
use crate::http::{Address, Fault, Query};
use crate::mail::letters::InvitedAs;
use crate::pages::{self, Invite, Page, Why, field, render};

pub(super) async fn show(
    State(app): State<App>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Failed> {
    let visitor = auth::visitor(&app, &headers).await?;
    let token = query.get(field::TOKEN).unwrap_or_default().to_owned();
    page(&app, visitor.as_ref(), &Form { token, ..Form::default() }, None).await
}

pub(super) async fn accept(
    State(app): State<App>,
    Address(address): Address,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Failed> {
    let visitor = auth::visitor(&app, &headers).await?;
    let invitation = match look(&app, &form.token).await? {
        Some(invitation) if invitation.require_acceptable().is_ok() => invitation,
        _ => return page(&app, visitor.as_ref(), &form, None).await,
    };
    let accepted = match form.way.as_str() {
        field::WITH_SESSION => with_session(&app, visitor.as_ref(), &form).await,
        field::WITH_PASSWORD => with_password(&app, &invitation, &form, address).await,
        field::WITH_NEW_ACCOUNT => with_new_account(&app, &invitation, &form, address).await,
        _ => return Err(Fault::Syntax("an unknown way to accept".into()).into()),
    };
    let organization = invitation.organization_name.as_str();
    let done = match accepted {
        Ok(Accepted::Joined) => Invite::Done { organization, role: invited_as(&invitation) },
        Ok(Accepted::Registered) => Invite::Registered { organization, email: &invitation.email },
        Err(Refused::Problem(problem)) => return page(&app, visitor.as_ref(), &form, Some(problem)).await,
        Err(Refused::Error(error)) => return Err(error.into()),
    };
    Ok(render(&Page::Invite(done), app.return_to.as_deref()))
}

/// What came of pressing the button.
enum Accepted {
    /// An account accepted.
    Joined,
    /// An account was made, whose address is to be confirmed.
    Registered,
}

/// Why nothing came of it.
enum Refused {
    /// The form is shown again with this. Where the invitation cannot be accepted any more, that is shown instead.
    Problem(&'static str),
    /// There is nothing that the reader could do better.
    Error(Error),
}

const TAKEN: &str = "This address is in use already: as the address or as the username of an account.";

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Problem(match error {
            Error::Denied(Denied::OtherAddress) => {
                "You are signed in with another address than the one that is invited."
            }
            Error::Denied(Denied::Unverified) => {
                "The address of this account is not confirmed yet. Please confirm it first, by the link that was \
                 sent to it, then open the invitation again."
            }
            Error::Conflict(Conflict::EmailTaken) => TAKEN,
            Error::Limited(_) | Error::Unavailable(_) | Error::InDoubt(_) | Error::Internal(_) => {
                return Self::Error(error);
            }
            // Another request was faster.
            _ => "Something has changed in the meantime. Please try once more.",
        })
    }
}

async fn with_session(app: &App, visitor: Option<&Visitor>, form: &Form) -> Result<Accepted, Refused> {
    let Some(visitor) = visitor else {
        return Err(Refused::Problem("You are not signed in any more. Please accept in this way instead."));
    };
    if !visitor.was_shown(&form.csrf) {
        let problem = "Your sign-in has changed since this page was opened. Please press the button again.";
        return Err(Refused::Problem(problem));
    }
    let (actor, token) = (visitor.actor.clone(), form.token.clone());
    app.write(move |db| invitations::accept(db, &actor, &token)).await?;
    Ok(Accepted::Joined)
}

async fn with_password(
    app: &App,
    invitation: &Invitation,
    form: &Form,
    address: String,
) -> Result<Accepted, Refused> {
    if invitation.invitee == Invitee::Nobody {
        return Err(Refused::Problem(
            "There is no account with this address any more. You can create one here.",
        ));
    }
    let compared = app.compare(invitation.email.clone(), form.password.clone(), address).await?;
    let token = form.token.clone();
    match app.write(move |db| onboarding::accept_by_password(db, compared, token)).await? {
        SignedIn::Done(_) => Ok(Accepted::Joined),
        SignedIn::Wrong => Err(Refused::Problem("That is not the password of this account.")),
        SignedIn::Unverified(user) => {
            let secrets = app.secrets.clone();
            app.write(move |db| onboarding::verify_again(db, user.id, &secrets)).await?;
            Err(Refused::Problem(
                "The password is right, but the address is not confirmed yet. Another link is on its way to it: \
                 press the button behind that, then open the invitation again.",
            ))
        }
    }
}

async fn with_new_account(
    app: &App,
    invitation: &Invitation,
    form: &Form,
    address: String,
) -> Result<Accepted, Refused> {
    if invitation.invitee != Invitee::Nobody {
        return Err(Refused::Problem(TAKEN));
    }
    let first = name(&form.first_name).map_err(Refused::Problem)?;
    let last = name(&form.last_name).map_err(Refused::Problem)?;
    let password = form.chosen_password().map_err(Refused::Problem)?;
    app.admit(REGISTRATIONS, address).await?;
    let lost = || Error::Internal("a stored address has lost its form".into());
    let new = NewUser {
        username: None,
        // The form shows it and does not say it: whoever has the token can make an account for this address alone.
        email: Email::parse(&invitation.email).ok_or_else(lost)?,
        name: PersonName::parts(Some(first), Some(last)),
        password_hash: Some(app.hash(password).await?),
        profile: Profile::default(),
    };
    let (with, secrets) = (With::Invitation(form.token.clone()), app.secrets.clone());
    app.write(move |db| onboarding::register(db, new, with, &secrets)).await?;
    Ok(Accepted::Registered)
}

fn name(text: &str) -> Result<Name, &'static str> {
    Name::parse(text).map_err(|error| match error {
        NameError::Blank => "Please tell both your first and your last name.",
        NameError::TooLong => "This name is too long: please take at most 200 characters.",
        NameError::Character => "There is a character in this name that cannot be shown.",
    })
}

async fn look(app: &App, token: &str) -> Result<Option<Invitation>> {
    if !is_token(token) {
        return Ok(None);
    }
    let token = token.to_owned();
    if_known(app.read(move |db| invitations::look_at(db, &token)).await)
}

/// The page as it stands now, with what was sent where it is to be corrected.
async fn page(
    app: &App,
    visitor: Option<&Visitor>,
    sent: &Form,
    problem: Option<&'static str>,
) -> Result<Response, Failed> {
    let Some(found) = look(app, &sent.token).await? else {
        return Ok(render(&Page::Invite(Invite::Bad(Why::Unknown)), None));
    };
    let (organization, email) = (found.organization_name.as_str(), found.email.as_str());
    let user = match visitor.map(|visitor| visitor.actor.clone()) {
        Some(actor) => Some(app.read(move |db| users::me(db, &actor)).await?),
        None => None,
    };
    let signed_in_as = user.map(|user| user.email.clone().unwrap_or_else(|| user.username()));
    let state = match found.require_acceptable() {
        Ok(()) => Invite::Ready(pages::Invitation {
            organization,
            // An invitation whose sender is gone is withdrawn.
            inviter: found.inviter.as_deref().unwrap_or(organization),
            email,
            role: invited_as(&found),
            token: &sent.token,
            signed_in_as: signed_in_as.as_deref(),
            csrf: visitor.map_or("", |visitor| visitor.csrf.as_str()),
            account_exists: found.invitee != Invitee::Nobody,
            first_name: &sent.first_name,
            last_name: &sent.last_name,
            problem,
        }),
        Err(Error::Conflict(_)) => Invite::AlreadyMember { organization, email },
        Err(Error::Missing(Missing::Member)) => Invite::JoinFirst { organization, email },
        Err(_) => Invite::Bad(match found.state {
            InvitationState::Accepted => Why::Used,
            InvitationState::Expired => Why::Expired,
            InvitationState::Withdrawn => Why::Withdrawn,
            InvitationState::Open => Why::Unknown,
        }),
    };
    Ok(render(&Page::Invite(state), app.return_to.as_deref()))
}

fn invited_as(invitation: &Invitation) -> InvitedAs {
    if invitation.role == Role::Member { InvitedAs::Member } else { InvitedAs::Owner }
}
