//! Accounts: making one, signing in with cookies, signing out.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use guildhall_domain::authz::Scope;
use guildhall_domain::credentials::password::Password;
use guildhall_domain::credentials::{self, Session, Wanted};
use guildhall_domain::limits::REGISTRATIONS;
use guildhall_domain::onboarding::{self, With};
use guildhall_domain::text::{DESCRIPTION_MAX, Email, Name, PersonName, is_free_text};
use guildhall_domain::users::{NewUser, Profile};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Bit, Error, form, message, username};
use crate::app::{App, Entry};
use crate::auth::{COOKIE, CSRF_COOKIE, SignedIn};
use crate::http::{self, Address, Params, Payload};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    name: String,
    username: String,
    password: String,
    location: String,
    image: String,
    roles: Option<Value>,
    track_id: Option<Value>,
    class_code: Option<Value>,
}

/// Makes an account. What credential comes with the request is no matter.
pub(super) async fn create(
    State(app): State<App>,
    Address(address): Address,
    params: Params,
    payload: Payload<Bit>,
) -> Result<Response, Error> {
    let label = params.get(0);
    let what = match label {
        "Student" => "create a student",
        "Teacher" => "create a teacher",
        "Admin" => "create a admin",
        _ => return Err(Error::new(StatusCode::NOT_FOUND, "User type does not exist")),
    };
    let (new, password) = read_account(form(&payload, what)?, label).ok_or_else(|| Error::incorrect(what))?;
    app.admit(REGISTRATIONS, address).await?;
    let new = NewUser { password_hash: Some(app.hash(password).await?), ..new };
    let secrets = app.secrets.clone();
    app.write(move |db| onboarding::register(db, new, With::Nothing, &secrets)).await?;
    Ok(message(StatusCode::ACCEPTED, &format!("{label} successfully created")))
}

/// The account that the form asks for, without its password's hash; nothing where a value does not do.
fn read_account(form: Registration, label: &str) -> Option<(NewUser, Password)> {
    let text = |text: String| {
        (!text.trim().is_empty() && is_free_text(&text, DESCRIPTION_MAX)).then_some(Some(text))
    };
    let mut details = Map::new();
    let optional = [("roles", form.roles), ("track_id", form.track_id), ("class_code", form.class_code)];
    details.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    let details = (!details.is_empty()).then(|| Value::Object(details).to_string());
    if details.as_ref().is_some_and(|details| details.len() > DESCRIPTION_MAX) {
        return None;
    }
    let new = NewUser {
        username: None,
        email: Email::parse(&form.username)?,
        name: PersonName::Whole(Name::parse(&form.name).ok()?),
        password_hash: None,
        profile: Profile {
            label: Some(label.to_owned()),
            location: text(form.location)?,
            image: text(form.image)?,
            details,
        },
    };
    Some((new, Password::chosen(&form.password).ok()?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    username: String,
    password: String,
}

/// Signs in. A credential that comes with the request is not looked at: a browser whose cookie is over sends it here too.
pub(super) async fn log_in(
    State(app): State<App>,
    Address(address): Address,
    payload: Payload<Bit>,
) -> Result<Response, Error> {
    let Login { username, password } = form(&payload, "log in")?;
    let wanted = Wanted::Token { scope: Scope::Write, for_first_organization: false };
    let entry = Entry { login: username, password, address, wanted, invitation: None };
    match app.sign_in(entry).await? {
        onboarding::SignedIn::Done(session) => signed_in(&app, &session).await,
        onboarding::SignedIn::Wrong => {
            Err(Error::new(StatusCode::UNAUTHORIZED, "Wrong username or password"))
        }
        onboarding::SignedIn::Unverified(_) => Err(Error::new(
            StatusCode::FORBIDDEN,
            "Your account has not been activated. Go to your email to validate your email.",
        )),
    }
}

async fn signed_in(app: &App, session: &Session) -> Result<Response, Error> {
    let (token, csrf) = app.token(session).await?;
    let user_type = session.user.label.as_deref().unwrap_or("Student");
    let body = json!({"username": username(&session.user), "user_type": user_type, "csrf_token": csrf});
    let cookies = [format!("{COOKIE}={token}; HttpOnly"), format!("{CSRF_COOKIE}={csrf}")];
    Ok(with_cookies(app, http::json(StatusCode::OK, &body), &cookies))
}

/// `response` with the cookies, which last as long as the browser's session, go to this whole server and to no other, and
/// are sent along where somebody comes by a link from elsewhere, but by nothing else from there.
fn with_cookies(app: &App, mut response: Response, cookies: &[String]) -> Response {
    let secure = if app.is_https() { "; Secure" } else { "" };
    for cookie in cookies {
        // Tokens are of characters that a header takes.
        if let Ok(value) = HeaderValue::try_from(format!("{cookie}; Path=/; SameSite=Lax{secure}")) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}

/// Ends the credential that called, on the server, whatever its form, and has the browser forget both cookies.
pub(super) async fn log_out(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
) -> Result<Response, Error> {
    app.write(move |db| credentials::log_out(db, &actor)).await?;
    let cookies = [format!("{COOKIE}=; HttpOnly; Max-Age=0"), format!("{CSRF_COOKIE}=; Max-Age=0")];
    Ok(with_cookies(&app, http::json(StatusCode::OK, &json!({"logout": true})), &cookies))
}
