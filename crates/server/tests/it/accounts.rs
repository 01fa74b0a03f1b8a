//! The pages behind mail links, as a browser meets them: opened, pressed, pressed again, pressed by somebody else.

use std::time::Duration;

use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::credentials;
use guildhall_domain::invitations::{self, NewInvitations};
use guildhall_domain::memberships::{self, At, Cursor, Listed, OrganizationKey, Piece, Sight};
use guildhall_domain::onboarding::{self, With};
use guildhall_domain::outbox::Kind;
use guildhall_domain::text::{Email, Name, PersonName};
use guildhall_domain::users::{self, Changes, NewUser, Profile, UserKey};

use crate::harness::{Answer, Call, House, PASSWORD, Plan, call, get, post};

mod invite;
mod links;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
const NEW: &str = "a wholly new phrase";
const VERIFY: &str = "/account/verify/";
const RESET: &str = "/account/reset-password/";
const INVITE: &str = "/account/invite/";
const GONE: &str = "This link does not work any more";

fn open(path: &str, token: &str) -> Call {
    get(&format!("{path}?token={token}"))
}

fn press(path: &str, token: &str, rest: &[(&str, &str)]) -> Call {
    post(path).form(&[&[("token", token)], rest].concat())
}

fn with_password(token: &str, password: &str) -> Call {
    press(INVITE, token, &[("way", "password"), ("password", password)])
}

fn with_new_account(token: &str) -> Call {
    let rest = [
        ("way", "new-account"),
        ("first_name", "Grace"),
        ("last_name", "Hopper"),
        ("password", NEW),
        ("confirmation", NEW),
    ];
    press(INVITE, token, &rest)
}

fn new_password(token: &str, password: &str, confirmation: &str) -> Call {
    press(RESET, token, &[("password", password), ("confirmation", confirmation)])
}

impl Call {
    fn cookie(self, session: &str) -> Self {
        self.header("cookie", &format!("access_token_cookie={session}"))
    }
}

/// A page of that status which says these words.
#[track_caller]
fn tells(answer: &Answer, status: u16, words: &str) {
    let text = answer.text();
    assert_eq!(answer.status.as_u16(), status, "{text}");
    assert!(text.contains(words), "{words:?} is not in {text}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert!(answer.headers.get("set-cookie").is_none(), "no page signs anybody in");
}

/// Everything that is stored.
fn stored(house: &House) -> Vec<String> {
    house.place.stored().everything()
}

fn actor(house: &House, login: &str) -> Actor {
    let claims = house.app.keys.verify(&house.token(login)).unwrap();
    credentials::by_session(house.db(), &claims.sid).unwrap().unwrap().actor
}

fn at(slug: &str) -> At {
    At { key: OrganizationKey::Slug(slug.into()), sight: Sight::ByVisibility }
}

/// The token of an invitation by `inviter`, good for an hour.
fn invite(house: &House, slug: &str, inviter: &str, email: &str, role: Role) -> String {
    let new = NewInvitations {
        emails: vec![Email::parse(email).unwrap()],
        role,
        lasts: HOUR,
        send: false,
        refuse_members: false,
    };
    let made = invitations::create(house.db(), &actor(house, inviter), &at(slug), new, &house.app.secrets);
    made.unwrap().remove(0).token
}

/// Ana owns Acme, and a token invites `email` to become a member.
fn acme(email: &str) -> (House, String) {
    let house = House::new();
    house.user("ana");
    house.organization("Acme", "ana");
    let token = invite(&house, "acme", "ana", email, Role::Member);
    (house, token)
}

/// Who belongs to the organization, as what.
fn members(house: &House, slug: &str) -> Vec<(String, Role)> {
    let piece = Piece { listed: Listed::Members, after: Cursor::START, most: 100 };
    let members = memberships::list(house.db(), &Actor::system(), &at(slug), piece).unwrap();
    members.into_iter().map(|member| (member.user.email.unwrap(), member.role)).collect()
}

fn belongs(house: &House, email: &str) -> bool {
    members(house, "acme").iter().any(|(member, _)| member == email)
}

/// An account that came by itself, with the token of its verification.
fn registered(house: &House, email: &str) -> String {
    let hash = credentials::password::Password::chosen(PASSWORD).unwrap().hash(house.app.random()).unwrap();
    let new = NewUser {
        username: None,
        email: Email::parse(email).unwrap(),
        name: PersonName::Whole(Name::parse("New").unwrap()),
        password_hash: Some(hash),
        profile: Profile::default(),
    };
    onboarding::register(house.db(), new, With::Nothing, &house.app.secrets).unwrap();
    house.mailed_token(Kind::Verify, email)
}

fn is_confirmed(house: &House, email: &str) -> bool {
    let user = users::lookup(house.db(), &Actor::system(), &UserKey::Email(email.into()));
    user.is_ok_and(|user| user.is_email_verified())
}

/// The token by which `login` takes the address `email`.
fn asked_for_address(house: &House, login: &str, email: &str) -> String {
    let changes = Changes { email: Email::parse(email), ..Changes::default() };
    users::update(house.db(), &actor(house, login), changes, &house.app.secrets).unwrap();
    house.mailed_token(Kind::ChangeAddress, email)
}

fn asked_for_reset(house: &House, email: &str) -> String {
    credentials::ask_for_reset(house.db(), email, &house.app.secrets).unwrap();
    house.mailed_token(Kind::ResetPassword, email)
}

/// One good link of each kind, with the page that it leads to.
fn one_of_each() -> (House, [(&'static str, String); 4]) {
    let (house, invitation) = acme("grace@example.com");
    house.user("eve");
    let links = [
        (VERIFY, registered(&house, "new@example.com")),
        (VERIFY, asked_for_address(&house, "eve", "other@example.com")),
        (RESET, asked_for_reset(&house, "ana@example.com")),
        (INVITE, invitation),
    ];
    (house, links)
}

#[tokio::test]
async fn opening_a_link_changes_nothing() {
    let (house, links) = one_of_each();
    // Eve has not been seen for long: even that is not written down by looking.
    house.member("acme", "eve", Role::Member, State::Inactive);
    let session = house.token("eve");
    let before = stored(&house);
    for (path, token) in &links {
        for path in [*path, path.trim_end_matches('/')] {
            let address = format!("{path}?token={token}");
            let page = house.send(get(&address)).await;
            tells(&page, 200, "<form method=\"post\" action=\"?\">");
            tells(&house.send(get(&address).cookie(&session)).await, 200, "<form method=\"post\"");
            let head = house.send(call("HEAD", &address)).await;
            assert_eq!((head.status, head.text()), (page.status, ""));
            assert_eq!(
                head.headers.get("content-security-policy"),
                page.headers.get("content-security-policy")
            );
        }
    }
    assert!(before == stored(&house), "nothing was changed");
}

#[tokio::test]
async fn a_token_is_good_for_its_own_page_alone() {
    let (house, links) = one_of_each();
    let before = stored(&house);
    for (own, token) in &links {
        for path in [VERIFY, RESET, INVITE].into_iter().filter(|path| path != own) {
            for call in [
                open(path, token),
                press(path, token, &[("password", NEW), ("confirmation", NEW), ("way", "password")]),
            ] {
                assert_eq!(house.send(call).await.status, 410, "{own} at {path}");
            }
        }
    }
    assert!(before == stored(&house), "nothing was changed");
    for (path, token) in &links {
        tells(&house.send(open(path, token)).await, 200, "<form");
    }
}

#[tokio::test]
async fn a_token_that_differs_anywhere_is_none() {
    let (house, links) = one_of_each();
    let before = stored(&house);
    for (path, token) in &links {
        let mut others: Vec<String> = (0..64)
            .map(|at| {
                let digit = u32::from_str_radix(&token[at..=at], 16).unwrap() ^ (1 << (at % 4));
                format!("{}{digit:x}{}", &token[..at], &token[at + 1..])
            })
            .collect();
        others.extend([
            String::new(),
            token.to_uppercase(),
            token[1..].into(),
            format!("{token}0"),
            format!("{token}\n"),
            "x".repeat(64),
            "é".repeat(32),
            "0".repeat(100_000),
        ]);
        for other in &others {
            let rest = [("way", "password"), ("password", NEW), ("confirmation", NEW)];
            assert_eq!(house.send(press(path, other, &rest)).await.status, 410, "{other:?}");
            if other.len() <= 65 && other.is_ascii() && !other.ends_with('\n') {
                assert_eq!(house.send(open(path, other)).await.status, 410, "{other:?}");
            }
        }
        for bare in [get(path), post(path).form(&[]), post(path).form(&[("way", "password")])] {
            assert_eq!(house.send(bare).await.status, 410, "{path}");
        }
    }
    assert!(before == stored(&house), "nothing was changed");
}

#[tokio::test]
async fn a_link_ends_to_the_second() {
    for (path, lasts) in [(VERIFY, users::VERIFY_FOR), (RESET, credentials::RESET_FOR), (INVITE, HOUR)] {
        let (house, links) = one_of_each();
        let same: Vec<&String> =
            links.iter().filter(|(own, _)| *own == path).map(|(_, token)| token).collect();
        house.pass(lasts - SECOND);
        for token in &same {
            tells(&house.send(open(path, token)).await, 200, "<form");
        }
        house.pass(SECOND);
        for token in &same {
            assert_eq!(house.send(open(path, token)).await.status, 410, "{path}");
            let rest = [("way", "password"), ("password", NEW), ("confirmation", NEW)];
            assert_eq!(house.send(press(path, token, &rest)).await.status, 410, "{path}");
        }
    }
}

#[tokio::test]
async fn a_disabled_accounts_links_are_good_for_nothing() {
    let (house, links) = one_of_each();
    house.user("bob");
    house.member("acme", "bob", Role::Owner, State::Active);
    for login in ["ana", "eve", "new@example.com"] {
        house.disable(login);
    }
    for (path, token) in &links {
        assert_eq!(house.send(open(path, token)).await.status, 410, "{path}");
    }
}

#[tokio::test]
async fn names_are_shown_as_text() {
    let house = House::new();
    house.user("ana");
    let changes = Changes {
        name: Some(PersonName::Whole(Name::parse("<script>alert(1)</script>").unwrap())),
        ..Changes::default()
    };
    users::update(house.db(), &actor(&house, "ana"), changes, &house.app.secrets).unwrap();
    let organization = house.organization("\"><img src=x onerror=alert(1)>", "ana");
    let token = invite(&house, &organization.slug, "ana", "o'neil&co@example.com", Role::Member);
    for call in [open(INVITE, &token), with_new_account(&token), with_new_account(&token)] {
        let answer = house.send(call).await;
        tells(&answer, 200, "&#34;&#62;&#60;img src=x");
        assert!(!answer.text().contains("<script") && !answer.text().contains("<img"));
    }
}

#[tokio::test]
async fn who_is_done_goes_on_where_the_configuration_says() {
    let house = House::with(Plan { return_to: Some("https://app.example/".into()), ..Plan::default() });
    let token = registered(&house, "new@example.com");
    let link = "<a class=\"button\" href=\"https://app.example/\">";
    assert!(!house.send(open(VERIFY, &token)).await.text().contains(link));
    tells(&house.send(press(VERIFY, &token, &[])).await, 200, link);
}

#[tokio::test]
async fn what_is_no_form_is_told_in_words() {
    let (house, links) = one_of_each();
    let before = stored(&house);
    let form = "application/x-www-form-urlencoded";
    for (path, token) in &links {
        let body = format!("token={token}");
        for (call, status, words) in [
            (post(path).body("application/json", b"{}"), 415, "not sent as a form"),
            (post(path).body("text/plain", body.as_bytes()), 415, "not sent as a form"),
            (post(path), 415, "not sent as a form"),
            (post(path).body(form, format!("{body}&{body}").as_bytes()), 400, "could not be read"),
            (post(path).body(form, &vec![b'a'; 1024 * 1024 + 1]), 413, "too much to read"),
            (post(path).body(form, b"token=%ff%00%zz&=&&==\xff\xfe"), 410, "does not work"),
            (call("PUT", path), 405, "This is a page"),
            (call("DELETE", path.trim_end_matches('/')), 405, "This is a page"),
        ] {
            let answer = house.send(call).await;
            tells(&answer, status, words);
            if status == 405 {
                assert_eq!(answer.header("allow"), "GET,HEAD,POST");
            }
        }
    }
    let (_, invitation) = &links[3];
    for way in [&[][..], &[("way", "")], &[("way", "admin")]] {
        tells(&house.send(press(INVITE, invitation, way)).await, 400, "could not be read");
    }
    assert!(before == stored(&house), "nothing was changed");
}
