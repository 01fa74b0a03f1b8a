//! Accounts: how they begin, how one signs in, and one's own.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use guildhall_domain::authz::Scope;
use guildhall_domain::credentials::password::Password;
use guildhall_domain::credentials::{self, MailedToken, Purpose, Session, Wanted};
use guildhall_domain::error::{Conflict, Denied, Missing};
use guildhall_domain::limits::{REGISTRATIONS, RESETS_ASKED};
use guildhall_domain::onboarding::{self, SignedIn, With};
use guildhall_domain::organizations::{Mine, NewOrganization};
use guildhall_domain::text::{Email, PersonName};
use guildhall_domain::users::{self, NewUser, Profile};
use serde::Serialize;
use serde_json::json;

use super::form::{self, Form};
use super::lists::{self, Named, Plain};
use super::organization::current;
use super::{Confirmed, Error, Pm415};
use crate::app::{App, Entry};
use crate::http::{self, Address, Payload, Query};

struct Registration {
    email: Email,
    password: Password,
    name: PersonName,
    with: With,
}

impl Registration {
    fn read(payload: &Payload<Pm415>) -> Result<Self, Error> {
        let mut form = Form::read(payload)?;
        let email = form.need(form::EMAIL, form::email)?;
        let password = form.need_new_password()?;
        let first = form.need(form::FIRST_NAME, form::name)?;
        let last = form.need(form::LAST_NAME, form::name)?;
        form.need(form::TERMS_OF_SERVICE, form::accepted)?;
        let organization = form.take(form::ORGANIZATION, form::organization_name)?;
        let token = form.take(form::TOKEN, form::text)?;
        form.end()?;
        let with = match (organization, token) {
            (Some(name), None) => With::Organization(Box::new(NewOrganization::named(name))),
            (None, Some(token)) => With::Invitation(token),
            (None, None) => {
                return Err(form::complaint("value", "must contain at least one of [Organization, Token]"));
            }
            (Some(_), Some(_)) => {
                let what = "contains a conflict between exclusive peers [Organization, Token]";
                return Err(form::complaint("value", what));
            }
        };
        Ok(Self { email, password, name: PersonName::parts(Some(first), Some(last)), with })
    }
}

pub(super) async fn register(
    State(app): State<App>,
    Address(address): Address,
    payload: Payload<Pm415>,
) -> Result<Response, Error> {
    let Registration { email, password, name, with } = Registration::read(&payload)?;
    app.admit(REGISTRATIONS, address).await?;
    let password_hash = Some(app.hash(password).await?);
    let new =
        NewUser { username: None, email: email.clone(), name, password_hash, profile: Profile::default() };
    let secrets = app.secrets.clone();
    let made = app.write(move |db| onboarding::register(db, new, with, &secrets)).await;
    let user = made.map_err(|error| refused_registration(error, &email))?;
    Ok(http::json(StatusCode::OK, &json!({"userId": user.id.0, "success": true})))
}

fn refused_registration(error: guildhall_domain::Error, email: &Email) -> Error {
    use guildhall_domain::Error as E;
    match error {
        // An address that is another account's username is taken as well.
        E::Conflict(Conflict::EmailTaken | Conflict::UsernameTaken) => {
            let message = format!("User with email {} already exists", email.as_str());
            Error::told(StatusCode::CONFLICT, message)
        }
        E::Denied(Denied::OtherAddress) => Error::new(StatusCode::UNPROCESSABLE_ENTITY, "Email is incorrect"),
        error => error.into(),
    }
}

/// A link that confirms an address, looked at: its page shows what this says before anybody presses its button.
pub(super) async fn show_verification(State(app): State<App>, query: Query) -> Result<Response, Error> {
    let token = query.get("token").unwrap_or_default().to_owned();
    let found = app.read(move |db| credentials::look_at_token(db, &token)).await;
    match found {
        Ok(MailedToken { purpose: Purpose::Verify | Purpose::ChangeAddress, user, .. }) => {
            Ok(http::json(StatusCode::OK, &json!({"success": true, "userId": user.0})))
        }
        Ok(_) | Err(guildhall_domain::Error::Missing(Missing::Token)) => Ok(bad_verification()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn verify(State(app): State<App>, query: Query) -> Result<Response, Error> {
    let token = query.get("token").unwrap_or_default().to_owned();
    match app.write(move |db| credentials::confirm_address(db, &token)).await {
        Ok(used) => {
            let body = json!({"userId": used.user.0, "success": true, "message": "Account verified"});
            Ok(http::json(StatusCode::OK, &body))
        }
        Err(guildhall_domain::Error::Missing(Missing::Token)) => Ok(bad_verification()),
        Err(error) => Err(error.into()),
    }
}

fn bad_verification() -> Response {
    http::json(StatusCode::OK, &json!({"success": false, "message": "Token is invalid or expired."}))
}

/// Who signs in here does so by address or by username: what is sent as the first is not asked for its form.
pub(super) async fn login(
    State(app): State<App>,
    Address(address): Address,
    payload: Payload<Pm415>,
) -> Result<Response, Error> {
    const UNABLE: Error = Error::new(StatusCode::UNAUTHORIZED, "Unable to login user");
    let mut form = Form::read(&payload)?;
    let login = form.need(form::EMAIL, form::text)?;
    let password = form.need(form::PASSWORD, form::text)?;
    let invitation = form.take(form::TOKEN, form::text)?;
    form.end()?;
    let wanted = Wanted::Token { scope: Scope::Write, for_first_organization: true };
    let entry = Entry { login, password, address, wanted, invitation };
    let session = match app.sign_in(entry).await.map_err(refused_login)? {
        SignedIn::Done(session) => session,
        SignedIn::Wrong => return Err(UNABLE),
        SignedIn::Unverified(_) => return Err(guildhall_domain::Error::from(Denied::Unverified).into()),
    };
    let (token, _) = app.token(&session).await?;
    // Whoever ended the session since then ended this sign-in.
    let Session { id, user, .. } = *session;
    let actor = app.read(move |db| credentials::by_session(db, &id)).await?.map_err(|_| UNABLE)?.actor;
    let (first, last) = user.name.first_and_last();
    let answer = json!({
        "token": token,
        "success": true,
        "user": {
            "id": user.id.0,
            "email": user.email,
            "firstName": first,
            "lastName": last,
            "organizations": [],
        },
    });
    let frame = lists::around("organizations", &answer);
    Ok(lists::stream_mine(&app, actor, frame, |mine| Some(Named::of(&mine.organization))).await?)
}

fn refused_login(error: guildhall_domain::Error) -> Error {
    use guildhall_domain::Error as E;
    match error {
        E::Denied(Denied::OtherAddress) => {
            Error::new(StatusCode::UNPROCESSABLE_ENTITY, "Invitation email mismatch")
        }
        E::Conflict(Conflict::AlreadyMember) => {
            Error::new(StatusCode::CONFLICT, "Invitation already accepted")
        }
        error => error.into(),
    }
}

pub(super) async fn forgot_password(
    State(app): State<App>,
    Address(address): Address,
    payload: Payload<Pm415>,
) -> Result<Response, Error> {
    let mut form = Form::read(&payload)?;
    let email = form.need(form::EMAIL, form::email)?;
    form.end()?;
    app.admit(RESETS_ASKED, address).await?;
    let message = format!("A message was sent to the {}", email.as_str());
    let secrets = app.secrets.clone();
    app.write(move |db| credentials::ask_for_reset(db, email.as_str(), &secrets)).await?;
    Ok(http::json(StatusCode::OK, &json!({"message": message, "success": true})))
}

pub(super) async fn change_password(
    State(app): State<App>,
    payload: Payload<Pm415>,
) -> Result<Response, Error> {
    let mut form = Form::read(&payload)?;
    let token = form.need(form::TOKEN, form::text)?;
    let password = form.need_new_password()?;
    form.end()?;
    // Looked at first, so that nobody has passwords hashed here without a link.
    let looked_at = token.clone();
    app.read(move |db| credentials::look_at_token(db, &looked_at)).await.map_err(refused_reset)?;
    let hash = app.hash(password).await?;
    let user =
        app.write(move |db| credentials::reset_password(db, &token, hash)).await.map_err(refused_reset)?;
    let body = json!({"userId": user.0, "success": true, "message": "New password saved"});
    Ok(http::json(StatusCode::OK, &body))
}

fn refused_reset(error: guildhall_domain::Error) -> Error {
    match error {
        guildhall_domain::Error::Missing(Missing::Token) => {
            Error::new(StatusCode::UNPROCESSABLE_ENTITY, "Token invalid")
        }
        error => error.into(),
    }
}

pub(super) async fn show(State(app): State<App>, Confirmed(actor): Confirmed) -> Result<Response, Error> {
    let caller = actor.clone();
    let user = app.read(move |db| users::me(db, &caller)).await?;
    let (first, last) = user.name.first_and_last();
    let mut answer = json!({
        "success": true,
        "user": {
            "id": user.id.0,
            "email": user.email,
            "firstName": first,
            "lastName": last,
            "organizations": [],
        },
    });
    if let Some((organization, role)) = current(&app, &actor).await? {
        answer["organization"] = json!(Plain::of(&organization, role));
    }
    let frame = lists::around("organizations", &answer);
    let shape = |mine: &Mine| Some(Plain::of(&mine.organization, mine.role));
    Ok(lists::stream_mine(&app, actor, frame, shape).await?)
}

#[derive(Serialize)]
struct OrganizationAndRole {
    #[serde(rename = "orgId")]
    org_id: i64,
    name: String,
    role: &'static str,
}

pub(super) async fn organizations(
    State(app): State<App>,
    Confirmed(actor): Confirmed,
) -> Result<Response, Error> {
    let answer = lists::stream_mine(&app, actor, lists::only("organizations"), |mine| {
        let organization = &mine.organization;
        let (_, role) = lists::role(mine.role);
        Some(OrganizationAndRole { org_id: organization.id.0, name: organization.name.clone(), role })
    });
    Ok(answer.await?)
}

pub(super) async fn show_api_key(
    State(app): State<App>,
    Confirmed(actor): Confirmed,
) -> Result<Response, Error> {
    let ending = app.read(move |db| credentials::api_key_ending(db, &actor)).await?;
    let shown = ending.map(|ending| format!("…{ending}"));
    Ok(http::json(StatusCode::OK, &json!({"success": true, "apikey": shown})))
}

pub(super) async fn replace_api_key(
    State(app): State<App>,
    Confirmed(actor): Confirmed,
) -> Result<Response, Error> {
    let key = app.write(move |db| credentials::replace_api_key(db, &actor)).await?;
    Ok(http::json(StatusCode::OK, &json!({"success": true, "apiKey": key})))
}
