//! The caller's own account: make it, enter, leave, look, change.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use guildhall_domain::authz::Actor;
use guildhall_domain::credentials::password::{MAX_BYTES, MIN_CHARACTERS, Password, Weakness};
use guildhall_domain::credentials::{self, Wanted};
use guildhall_domain::error::Conflict;
use guildhall_domain::limits::REGISTRATIONS;
use guildhall_domain::onboarding::{self, SignedIn as Outcome, With};
use guildhall_domain::text::{Email, PersonName, Username, UsernameError};
use guildhall_domain::users::{self, Changes, NewUser, Profile};
use serde_json::{Value, json};

use super::fields::{
    self, BLANK, Body, Complaints, EMAIL_TAKEN, NOT_A_STRING, Read, USERNAME_TAKEN, required, told,
};
use super::members::User;
use super::{Cadasta, Error};
use crate::app::{App, Entry};
use crate::auth::SignedIn;
use crate::http::{self, Address, Payload};

/// Makes an account, which can sign in once the link mailed to its address is used. Whatever credential comes with it
/// is not looked at.
pub(super) async fn register(
    State(app): State<App>,
    Address(address): Address,
    payload: Payload<Cadasta>,
) -> Result<Response, Error> {
    let body = fields::body(&payload)?;
    app.admit(REGISTRATIONS, address).await?;
    let mut wrong = Complaints::default();
    let (username, email) = read_logins(&app, Actor::nobody(), &body).await?;
    let username = wrong.note("username", required(username));
    let name = wrong.note("full_name", read_full_name(&body));
    let email = wrong.note("email", required(email));
    let password = wrong.note("password", required(read_password(&body)));
    let (Some(username), Some(name), Some(email), Some(password)) = (username, name, email, password) else {
        return Err(wrong.into());
    };
    // As at a sign-in.
    drop((body, payload));
    let new = NewUser {
        username: Some(username),
        email,
        name: name.unwrap_or_default(),
        password_hash: Some(app.hash(password).await?),
        profile: Profile::default(),
    };
    let secrets = app.secrets.clone();
    let user = app.write(move |db| onboarding::register(db, new, With::Nothing, &secrets)).await?;
    let body = json!({
        "username": user.username(),
        "full_name": user.name.whole(),
        "email": user.email,
        "email_verified": user.is_email_verified(),
    });
    Ok(http::json(StatusCode::CREATED, &body))
}

/// Username and address, neither of which another account may have.
async fn read_logins(
    app: &App,
    actor: Actor,
    body: &Body,
) -> Result<(Read<Option<Username>>, Read<Option<Email>>), Error> {
    let (username, email) = (read_username(body), fields::email(body, "email"));
    let (wanted_username, wanted_email) =
        (username.clone().unwrap_or_default(), email.clone().unwrap_or_default());
    let taken = app
        .read(move |db| users::conflicts(db, &actor, wanted_username.as_ref(), wanted_email.as_ref()))
        .await?;
    let username =
        if taken.contains(&Conflict::UsernameTaken) { Err(told(USERNAME_TAKEN)) } else { username };
    let email = if taken.contains(&Conflict::EmailTaken) { Err(told(EMAIL_TAKEN)) } else { email };
    Ok((username, email))
}

fn read_username(body: &Body) -> Read<Option<Username>> {
    let Some(text) = fields::text(body, "username")? else { return Ok(None) };
    Username::parse(text).map(Some).map_err(|error| match error {
        UsernameError::Blank => told(BLANK),
        UsernameError::TooLong => told(fields::too_long(30)),
        UsernameError::Character => told(
            "Enter a valid username. This value may contain only letters, numbers and @/./+/-/_ characters.",
        ),
        UsernameError::Reserved => told("Username cannot be “add” or “new”."),
    })
}

/// What the person is called: optional, so null and an empty text take it away.
fn read_full_name(body: &Body) -> Read<Option<PersonName>> {
    match body.get("full_name") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(PersonName::Unknown)),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Some(PersonName::Unknown)),
        Some(Value::String(text)) => fields::name(text).map(|name| Some(PersonName::Whole(name))),
        Some(_) => Err(told(NOT_A_STRING)),
    }
}

fn read_password(body: &Body) -> Read<Option<Password>> {
    let Some(text) = fields::text(body, "password")? else { return Ok(None) };
    Password::chosen(text).map(Some).map_err(|weakness| match weakness {
        Weakness::TooShort => {
            told(format!("This password is too short. It must contain at least {MIN_CHARACTERS} characters."))
        }
        Weakness::TooLong => told(format!("Ensure this field has no more than {MAX_BYTES} bytes.")),
        Weakness::Common => told("This password is too common."),
    })
}

/// Signs in by password. Whatever credential comes with it, an old key above all, is not looked at.
pub(super) async fn login(
    State(app): State<App>,
    Address(address): Address,
    payload: Payload<Cadasta>,
) -> Result<Response, Error> {
    let body = fields::body(&payload)?;
    let mut wrong = Complaints::default();
    let login = wrong.note("username", required(fields::text(&body, "username")));
    let password = wrong.note("password", required(fields::text(&body, "password")));
    let (Some(login), Some(password)) = (login, password) else { return Err(wrong.into()) };
    let entry = Entry {
        login: login.to_owned(),
        password: password.to_owned(),
        address,
        wanted: Wanted::Key,
        invitation: None,
    };
    // Passwords wait for one another, and what is kept of a body takes many times its bytes.
    drop((body, payload));
    match app.sign_in(entry).await? {
        Outcome::Done(session) => Ok(http::json(StatusCode::OK, &json!({"auth_token": session.key}))),
        Outcome::Wrong => Err(Error::field("non_field_errors", "Unable to login with provided credentials.")),
        Outcome::Unverified(user) => {
            let secrets = app.secrets.clone();
            app.write(move |db| onboarding::verify_again(db, user.id, &secrets)).await?;
            Err(Error::detail(StatusCode::BAD_REQUEST, "The email has not been verified."))
        }
    }
}

pub(super) async fn logout(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Cadasta>,
) -> Result<Response, Error> {
    app.write(move |db| credentials::log_out(db, &actor)).await?;
    Ok(http::empty(StatusCode::OK))
}

pub(super) async fn show(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Cadasta>,
) -> Result<Response, Error> {
    let user = app.read(move |db| users::me(db, &actor)).await?;
    Ok(http::json(StatusCode::OK, &User::from(&user)))
}

pub(super) async fn update(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Cadasta>,
    payload: Payload<Cadasta>,
) -> Result<Response, Error> {
    actor.require_writer()?;
    let mut body = fields::body(&payload)?;
    let caller = actor.clone();
    let me = app.read(move |db| users::me(db, &caller)).await?;
    // An account without a username shows its address in that place: sent back unchanged, it changes nothing.
    if body.get("username").and_then(Value::as_str) == Some(me.username().as_str()) {
        body.shift_remove("username");
    }
    if body.get("email").is_some_and(|email| email.as_str() != me.email.as_deref()) {
        app.admit_address_change(&actor).await?;
    }
    let mut wrong = Complaints::default();
    let (username, email) = read_logins(&app, actor.clone(), &body).await?;
    let username = wrong.note("username", username).flatten();
    let name = wrong.note("full_name", read_full_name(&body)).flatten();
    let email = wrong.note("email", email).flatten();
    if !wrong.is_empty() {
        return Err(wrong.into());
    }
    let (changes, secrets) = (Changes { username, name, email }, app.secrets.clone());
    let user = app.write(move |db| users::update(db, &actor, changes, &secrets)).await?;
    Ok(http::json(StatusCode::OK, &User::from(&user)))
}
