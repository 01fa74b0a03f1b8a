//! `guildhall demo`: something to try the five APIs on, at once.

use std::ffi::OsString;
use std::fmt::Write;
use std::time::Duration;

use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::credentials::{self, Session};
use guildhall_domain::error::{Error, Missing};
use guildhall_domain::id::UserId;
use guildhall_domain::invitations::{self, NewInvitations, Refusal};
use guildhall_domain::memberships::{self, At, Joining, OrganizationKey, Sight, Visibility};
use guildhall_domain::onboarding;
use guildhall_domain::organizations::{self, NewOrganization, Organization};
use guildhall_domain::outbox;
use guildhall_domain::text::{Email, Name, PersonName, Slug, Username};
use guildhall_domain::users::{self, NewUser, Profile, User, UserKey};

use super::Failure;
use super::serve::{Greeting, serve};
use crate::app::App;
use crate::config::{Config, Options, environment};
use crate::workers::{self, Post};

/// What the environment may say of a demo: nothing about the database, pictures and mail of a server in use.
const HEEDED: [&str; 4] = ["GUILDHALL_DATA", "GUILDHALL_LISTEN", "GUILDHALL_PUBLIC_URL", "GUILDHALL_LOG"];

/// Username, name and whether the address is confirmed.
const PEOPLE: [(&str, &str, bool); 4] = [
    ("ana", "Ana Lindqvist", true),
    ("ben", "Ben Okafor", true),
    ("chloe", "Chloé Martin", true),
    ("dan", "Dan Weiss", false),
];

/// Who makes the calls that are shown: the owner of all organizations.
const CALLER: &str = "ana";

/// Serves a demo until the process is told to stop.
///
/// # Errors
/// As [`serve`]; where the folder holds what no demo made.
pub(super) fn demo(options: &Options) -> Result<(), Failure> {
    let heeded =
        |name: &str| -> Option<OsString> { HEEDED.contains(&name).then(|| environment(name)).flatten() };
    serve(Config::load(options, &heeded, "./guildhall-demo")?, Greeting::Demo)
}

/// Makes what of the demo is not there yet, and says what to try.
///
/// # Errors
/// Where the folder holds what no demo made.
pub(super) async fn prepare(app: &App, post: &Post) -> Result<String, Failure> {
    refuse_others_data(app)?;
    for (username, name, verified) in PEOPLE {
        person(app, username, name, verified)?;
    }
    let (open, invite) = (Joining::Open, Joining::Invite);
    let members = [("ben", Role::Admin), ("chloe", Role::Member)];
    let makers = organization(app, "Riverside Makers", (Visibility::Internal, open), &members)?;
    let members = [("chloe", Role::Admin)];
    let theatre = organization(app, "Lantern Theatre", (Visibility::Private, invite), &members)?;
    organization(app, "City Archive", (Visibility::Public, invite), &[])?;
    let key = OrganizationKey::Slug(theatre.slug.clone());
    let caller = UserKey::Email(address(CALLER));
    let session = organizations::create_session(&app.db, &Actor::system(), &caller, Some(&key))?;
    let mut text = calls(app, &session, &makers, &theatre).await?;
    ask_for_letters(app, &session, &theatre)?;
    text.push_str("\nPages that mailed links open:\n\n");
    for letter in outbox::take(&app.db, &Actor::system(), 100)? {
        if let Some(link) = workers::link(&letter, &app.secrets, &app.public_url) {
            let _ = writeln!(text, "  {link}");
        }
        workers::send(app, post, &letter).await;
    }
    let _ = writeln!(text, "\nThe mail itself is {}. Ctrl-C stops the demo.", post.place());
    Ok(text)
}

fn refuse_others_data(app: &App) -> Result<(), Failure> {
    let is_empty = users::list(&app.db, &Actor::system(), UserId(0), 1)?.is_empty();
    match users::lookup(&app.db, &Actor::system(), &UserKey::Email(address(CALLER))) {
        Err(Error::Missing(Missing::User)) if !is_empty => {
            Err(Failure::new("the folder holds other data than a demo's; name another with --data"))
        }
        Err(Error::Missing(Missing::User)) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn address(username: &str) -> String {
    format!("{username}@demo.example")
}

fn person(app: &App, username: &str, name: &str, verified: bool) -> Result<User, Failure> {
    let key = UserKey::Email(address(username));
    match users::lookup(&app.db, &Actor::system(), &key) {
        Err(Error::Missing(Missing::User)) => {}
        known => return Ok(known?),
    }
    let new = NewUser {
        username: Username::parse(username).ok(),
        email: Email::parse(&address(username)).expect("the demo's addresses are some"),
        name: Name::parse(name).map_or(PersonName::Unknown, PersonName::Whole),
        password_hash: None,
        profile: Profile::default(),
    };
    Ok(users::create(&app.db, &Actor::system(), new, false, verified)?)
}

/// The organization of that name. What became of one that is there already stays as it is.
fn organization(
    app: &App,
    name: &str,
    (visibility, joining): (Visibility, Joining),
    members: &[(&str, Role)],
) -> Result<Organization, Failure> {
    let slug = Slug::of(name);
    let key = OrganizationKey::Slug(slug.as_str().to_owned());
    let at = At { key: key.clone(), sight: Sight::ByVisibility };
    match organizations::get(&app.db, &Actor::system(), &at) {
        Err(Error::Missing(Missing::Organization)) => {}
        known => return Ok(known?.organization),
    }
    let name = Name::parse(name).expect("the demo's names are some");
    let new = NewOrganization { visibility, joining, slug: Some(slug), ..NewOrganization::named(name) };
    let owner = UserKey::Email(address(CALLER));
    let made = organizations::create_for(&app.db, &Actor::system(), &owner, new)?;
    for (username, role) in members {
        let user = UserKey::Email(address(username));
        memberships::put(&app.db, &Actor::system(), &key, &user, (*role, State::Active))?;
    }
    Ok(made)
}

/// A call to each of the five APIs, as it can be typed.
async fn calls(
    app: &App,
    session: &Session,
    makers: &Organization,
    theatre: &Organization,
) -> Result<String, Failure> {
    let (token, _) = app.token(session).await?;
    let calls = [
        ("bit", "Bearer", format!("/organizations/{}", makers.id.0)),
        ("cadasta", "Token", "/api/v1/organizations/".into()),
        ("pm415", "Bearer", format!("/api/org/{}/users", theatre.id.0)),
        ("stormz", "Bearer", "/v1/user/me/organizations".into()),
        ("buildog", "Bearer", "/api/organizations".into()),
    ];
    let mut text = format!("\nA call to each API, as {} ({}):\n", session.user.name.whole(), address(CALLER));
    for (dialect, scheme, path) in calls {
        let url = &app.public_url;
        let _ = writeln!(text, "\n# {dialect}\ncurl -H 'Authorization: {scheme} {token}' {url}{path}");
    }
    Ok(text)
}

/// Queues a letter for each page that a link opens. An invitation holds no longer than its sender's right, so that a person
/// sends it: the caller of the session.
fn ask_for_letters(app: &App, session: &Session, theatre: &Organization) -> Result<(), Failure> {
    let unconfirmed = person(app, "dan", "Dan Weiss", false)?;
    onboarding::verify_again(&app.db, unconfirmed.id, &app.secrets)?;
    credentials::ask_for_reset(&app.db, &address("ben"), &app.secrets)?;
    let at = At { key: OrganizationKey::Number(theatre.id), sight: Sight::ByVisibility };
    let new = NewInvitations {
        emails: Email::parse(&address("eve")).into_iter().collect(),
        role: Role::Member,
        lasts: Duration::from_secs(24 * 3600),
        send: true,
        refuse_members: false,
    };
    let caller = match credentials::by_session(&app.db, &session.id)? {
        Ok(caller) => caller.actor,
        // Somebody disabled the demo's owner.
        Err(_) => return Ok(()),
    };
    match invitations::create(&app.db, &caller, &at, new, &app.secrets) {
        // The latter where somebody took the invitation up.
        Ok(_) | Err(Refusal::Member(..)) => Ok(()),
        Err(Refusal::Error(error)) => Err(error.into()),
    }
}
