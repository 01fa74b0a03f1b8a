//! The pages behind mail links, as a browser meets them: opened, pressed, pressed again, pressed by somebody else.

use std::sync::Arc;
use std::time::Duration;

use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::credentials::{self, password::MAX_BYTES};
use guildhall_domain::invitations::{self, NewInvitations};
use guildhall_domain::memberships::{self, At, Cursor, Listed, OrganizationKey, Piece, Sight};
use guildhall_domain::onboarding::{self, With};
use guildhall_domain::outbox::Kind;
use guildhall_domain::text::{Email, Name, PersonName};
use guildhall_domain::users::{self, Changes, NewUser, Profile, UserKey};

use crate::harness::{Answer, Call, House, PASSWORD, Plan, call, get, post};

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

/// Everything that is stored, byte for byte.
fn stored(house: &House) -> Vec<u8> {
    let copy = house.folder.0.join("copy.db");
    house.db().backup(&copy).unwrap();
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::remove_file(&copy).unwrap();
    bytes
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
async fn an_address_is_confirmed_by_the_button_once() {
    let house = House::new();
    let token = registered(&house, "new@example.com");
    let page = house.send(open(VERIFY, &token)).await;
    tells(&page, 200, "Confirm my address");
    assert!(page.text().contains("new@example.com"));
    assert!(!is_confirmed(&house, "new@example.com"));
    let done = house.send(press(VERIFY, &token, &[])).await;
    tells(&done, 200, "new@example.com is confirmed. You can sign in now.");
    assert!(is_confirmed(&house, "new@example.com"));
    tells(&house.send(press(VERIFY, &token, &[])).await, 410, GONE);
    tells(&house.send(open(VERIFY, &token)).await, 410, GONE);
}

#[tokio::test]
async fn a_new_address_counts_from_the_button_on() {
    let house = House::new();
    house.user("eve");
    let token = asked_for_address(&house, "eve", "eve@new.example");
    tells(&house.send(open(VERIFY, &token)).await, 200, "Confirm my new address");
    assert!(!is_confirmed(&house, "eve@new.example"));
    let done = house.send(press(VERIFY, &token, &[])).await;
    tells(&done, 200, "eve@new.example is the address of your account now.");
    assert!(is_confirmed(&house, "eve@new.example") && !is_confirmed(&house, "eve@example.com"));
    tells(&house.send(press(VERIFY, &token, &[])).await, 410, GONE);
}

#[tokio::test]
async fn a_new_address_that_another_account_took_meanwhile_is_told() {
    let house = House::new();
    house.user("eve");
    let token = asked_for_address(&house, "eve", "bob@example.com");
    house.user("bob");
    tells(&house.send(open(VERIFY, &token)).await, 200, "Confirm my new address");
    tells(&house.send(press(VERIFY, &token, &[])).await, 409, "Another account has bob@example.com by now");
    assert!(is_confirmed(&house, "eve@example.com"));
}

#[tokio::test]
async fn a_new_password_ends_every_session() {
    let house = House::new();
    house.user("eve");
    let session = house.token("eve");
    let token = asked_for_reset(&house, "eve@example.com");
    let page = house.send(open(RESET, &token)).await;
    tells(&page, 200, "Set the new password");
    assert!(page.text().contains("value=\"eve@example.com\""));
    assert_eq!(house.send(get("/api/organizations").bearer(&session)).await.status, 200);
    tells(&house.send(new_password(&token, NEW, NEW)).await, 200, "Your new password is set");
    assert_eq!(house.send(get("/api/organizations").bearer(&session)).await.status, 401);
    tells(&house.send(new_password(&token, NEW, NEW)).await, 410, GONE);
    tells(&house.send(open(RESET, &token)).await, 410, GONE);
    for (password, right) in [(PASSWORD, false), (NEW, true)] {
        let tried = house.app.compare("eve".into(), password.into(), String::new()).await.unwrap();
        let wanted = credentials::Wanted::Key;
        let signed_in = onboarding::sign_in(house.db(), tried, wanted, None).unwrap();
        assert_eq!(matches!(signed_in, onboarding::SignedIn::Done(_)), right, "{password}");
    }
}

#[tokio::test]
async fn a_password_that_cannot_be_taken_is_told_and_the_link_stays_good() {
    let house = House::new();
    house.user("eve");
    let token = asked_for_reset(&house, "eve@example.com");
    let before = stored(&house);
    let long = "ab c".repeat(MAX_BYTES / 4) + "d";
    for (password, confirmation, words) in [
        (NEW, "something else", "The two passwords are not the same."),
        (NEW, "", "The two passwords are not the same."),
        ("", "", "too short"),
        ("kürzest", "kürzest", "too short"),
        ("password1", "password1", "one of the first that anybody would try"),
        (&long, &long, "too long"),
    ] {
        let answer = house.send(new_password(&token, password, confirmation)).await;
        tells(&answer, 422, words);
        assert!(answer.text().contains("Set the new password"), "the form is shown again");
        assert!(password.is_empty() || !answer.text().contains(password), "no password is shown");
    }
    assert!(before == stored(&house), "nothing was changed");
    tells(&house.send(new_password(&token, NEW, NEW)).await, 200, "Your new password is set");
}

#[tokio::test]
async fn an_older_reset_ends_with_the_newer_and_with_the_address_that_it_went_to() {
    let house = House::new();
    house.user("eve");
    let older = asked_for_reset(&house, "eve@example.com");
    let newer = asked_for_reset(&house, "eve@example.com");
    tells(&house.send(new_password(&newer, NEW, NEW)).await, 200, "is set");
    tells(&house.send(open(RESET, &older)).await, 410, GONE);
    let left_behind = asked_for_reset(&house, "eve@example.com");
    let change = asked_for_address(&house, "eve", "eve@new.example");
    tells(&house.send(press(VERIFY, &change, &[])).await, 200, "eve@new.example");
    tells(&house.send(open(RESET, &left_behind)).await, 410, GONE);
    tells(&house.send(new_password(&left_behind, NEW, NEW)).await, 410, GONE);
}

#[tokio::test]
async fn an_invitation_is_accepted_by_the_one_who_is_signed_in() {
    let (house, token) = acme("grace@example.com");
    house.user("grace");
    let session = house.token("grace");
    let page = house.send(open(INVITE, &token).cookie(&session)).await;
    tells(&page, 200, "You are signed in as <strong>grace@example.com</strong>");
    assert!(page.text().contains("<strong>ana</strong> invites you to be a member of <strong>Acme</strong>"));
    let csrf = house.app.keys.verify(&session).unwrap().csrf.clone();
    assert!(page.text().contains(&format!("name=\"csrf\" value=\"{csrf}\"")));
    let pressed = press(INVITE, &token, &[("way", "session"), ("csrf", &csrf)]).cookie(&session);
    tells(&house.send(pressed.clone()).await, 200, "Welcome to Acme");
    assert_eq!(
        members(&house, "acme"),
        [("ana@example.com".into(), Role::Owner), ("grace@example.com".into(), Role::Member)]
    );
    tells(&house.send(pressed).await, 200, "Already a member of Acme");
}

#[tokio::test]
async fn a_session_accepts_only_what_its_own_page_sent() {
    let (house, token) = acme("grace@example.com");
    house.user("grace");
    let (session, other) = (house.token("grace"), house.token("grace"));
    let others = house.app.keys.verify(&other).unwrap().csrf.clone();
    let own = house.app.keys.verify(&session).unwrap().csrf.clone();
    let before = stored(&house);
    for csrf in ["", "0", &others] {
        let pressed = press(INVITE, &token, &[("way", "session"), ("csrf", csrf)]).cookie(&session);
        tells(&house.send(pressed).await, 422, "Your sign-in has changed since this page was opened.");
    }
    let rest = [("way", "session"), ("csrf", own.as_str())];
    let with_bearer = press(INVITE, &token, &rest).bearer(&session);
    let with_both = press(INVITE, &token, &rest).bearer(&other).cookie(&session);
    let with_two = press(INVITE, &token, &rest).cookie(&session).cookie(&other);
    let with_garbage = press(INVITE, &token, &rest).cookie("garbage");
    for call in [press(INVITE, &token, &rest), with_bearer, with_both, with_two, with_garbage] {
        tells(&house.send(call).await, 422, "You are not signed in any more.");
    }
    assert!(before == stored(&house), "nothing was changed");
    credentials::log_out(house.db(), &session_actor(&house, &session)).unwrap();
    let ended = house.send(press(INVITE, &token, &rest).cookie(&session)).await;
    tells(&ended, 422, "Accept with your password");
    assert!(!belongs(&house, "grace@example.com"));
}

fn session_actor(house: &House, session: &str) -> Actor {
    let sid = house.app.keys.verify(session).unwrap().sid.clone();
    credentials::by_session(house.db(), &sid).unwrap().unwrap().actor
}

#[tokio::test]
async fn an_invitation_for_one_is_none_for_another() {
    let (house, token) = acme("grace@example.com");
    house.user("grace");
    house.user("bob");
    let session = house.token("bob");
    let page = house.send(open(INVITE, &token).cookie(&session)).await;
    tells(&page, 200, "but this invitation is for <strong>grace@example.com</strong>");
    let csrf = house.app.keys.verify(&session).unwrap().csrf.clone();
    let before = stored(&house);
    let pressed = press(INVITE, &token, &[("way", "session"), ("csrf", &csrf)]).cookie(&session);
    tells(&house.send(pressed).await, 422, "signed in with another address");
    assert!(before == stored(&house), "nothing was changed");
    // What the form says about the address decides nothing.
    let claimed = [("way", "password"), ("password", "bob's own phrase"), ("email", "bob@example.com")];
    tells(&house.send(press(INVITE, &token, &claimed)).await, 422, "not the password of this account");
    assert_eq!(members(&house, "acme").len(), 1);
    // Its own account accepts it, on whatever browser.
    tells(&house.send(with_password(&token, PASSWORD).cookie(&session)).await, 200, "Welcome to Acme");
    assert!(belongs(&house, "grace@example.com") && !belongs(&house, "bob@example.com"));
}

#[tokio::test]
async fn an_invitation_is_accepted_by_password() {
    let (house, token) = acme("Grace@Example.com");
    house.user("grace");
    let page = house.send(open(INVITE, &token)).await;
    tells(&page, 200, "Accept with your password");
    assert!(!page.text().contains("first_name"));
    tells(&house.send(with_password(&token, "wrong")).await, 422, "That is not the password");
    tells(&house.send(with_new_account(&token)).await, 422, "in use already");
    assert!(!belongs(&house, "grace@example.com"));
    tells(&house.send(with_password(&token, PASSWORD)).await, 200, "You are now a member of Acme.");
    assert!(belongs(&house, "grace@example.com"));
    tells(&house.send(with_password(&token, PASSWORD)).await, 200, "Already a member of Acme");
}

#[tokio::test]
async fn failed_passwords_slow_down_here_too() {
    let (house, token) = acme("grace@example.com");
    house.user("grace");
    for _ in 0..9 {
        // The longest pause until now: whoever keeps it is let in at once.
        house.pass(8 * SECOND);
        tells(&house.send(with_password(&token, "wrong")).await, 422, "That is not the password");
    }
    for _ in 0..2 {
        let answer = house.send(with_password(&token, PASSWORD)).await;
        tells(&answer, 429, "Please wait 16 seconds and try again.");
        assert_eq!(answer.header("retry-after"), "16");
    }
    house.pass(16 * SECOND);
    tells(&house.send(with_password(&token, PASSWORD)).await, 200, "Welcome to Acme");
}

#[tokio::test]
async fn an_account_whose_address_is_not_confirmed_is_sent_another_link() {
    let (house, token) = acme("grace@example.com");
    house.unverified_user("grace");
    tells(&house.send(with_password(&token, "wrong")).await, 422, "That is not the password");
    assert!(house.letters().is_empty());
    tells(&house.send(with_password(&token, PASSWORD)).await, 422, "not confirmed yet");
    assert!(!belongs(&house, "grace@example.com"));
    let link = house.mailed_token(Kind::Verify, "grace@example.com");
    tells(&house.send(press(VERIFY, &link, &[])).await, 200, "is confirmed");
    tells(&house.send(with_password(&token, PASSWORD)).await, 200, "Welcome to Acme");
}

#[tokio::test]
async fn an_invitation_is_accepted_with_a_new_account() {
    let (house, token) = acme("grace@example.com");
    let page = house.send(open(INVITE, &token)).await;
    tells(&page, 200, "Create your account");
    assert!(page.text().contains("You can sign in as soon as you have confirmed your address"));
    tells(&house.send(with_password(&token, PASSWORD)).await, 422, "There is no account with this address");
    let made = house.send(with_new_account(&token)).await;
    tells(&made, 200, "One last step: confirm your address");
    assert!(belongs(&house, "grace@example.com") && !is_confirmed(&house, "grace@example.com"));
    let user =
        users::lookup(house.db(), &Actor::system(), &UserKey::Email("grace@example.com".into())).unwrap();
    assert_eq!(user.name.first_and_last(), ("Grace".into(), "Hopper".into()));
    let link = house.mailed_token(Kind::Verify, "grace@example.com");
    tells(&house.send(with_new_account(&token)).await, 200, "Already a member of Acme");
    tells(&house.send(press(VERIFY, &link, &[])).await, 200, "You can sign in now.");
    let compared = house.app.compare("grace@example.com".into(), NEW.into(), String::new()).await.unwrap();
    let signed_in = onboarding::sign_in(house.db(), compared, credentials::Wanted::Key, None).unwrap();
    assert!(matches!(signed_in, onboarding::SignedIn::Done(_)));
}

#[tokio::test]
async fn a_new_account_that_cannot_be_made_is_told_and_what_was_typed_stays() {
    let (house, token) = acme("grace@example.com");
    let before = stored(&house);
    let long = "x".repeat(201);
    let send = |first: &str, last: &str, password: &str, confirmation: &str| {
        let rest = [
            ("way", "new-account"),
            ("first_name", first),
            ("last_name", last),
            ("password", password),
            ("confirmation", confirmation),
            ("email", "mallory@example.com"),
        ];
        house.send(press(INVITE, &token, &rest))
    };
    for (first, last, password, confirmation, words) in [
        ("", "Hopper", NEW, NEW, "both your first and your last name"),
        ("Grace", "  ", NEW, NEW, "both your first and your last name"),
        ("Grace", &long, NEW, NEW, "too long"),
        ("Gra\u{202e}ce", "Hopper", NEW, NEW, "a character in this name"),
        ("Grace", "Hopper", NEW, "other", "not the same"),
        ("Grace", "Hopper", "short", "short", "too short"),
        ("Grace", "Hopper", "password1", "password1", "one of the first"),
        ("<b>\"x\"</b>", "Hopper", "short", "short", "value=\"&#60;b&#62;&#34;x&#34;&#60;/b&#62;\""),
    ] {
        let answer = send(first, last, password, confirmation).await;
        tells(&answer, 422, words);
        assert!(answer.text().contains("Create your account") && !answer.text().contains(NEW));
    }
    assert!(before == stored(&house), "nothing was changed");
    tells(&send("Grace", "Hopper", NEW, NEW).await, 200, "grace@example.com");
    assert!(belongs(&house, "grace@example.com"), "the invited address, not the one in the form");
}

#[tokio::test]
async fn an_address_that_is_a_username_is_taken() {
    let (house, token) = acme("ken@example.com");
    house.user("other");
    let changes = Changes {
        username: guildhall_domain::text::Username::parse("ken@example.com").ok(),
        ..Changes::default()
    };
    users::update(house.db(), &actor(&house, "other"), changes, &house.app.secrets).unwrap();
    tells(&house.send(with_new_account(&token)).await, 422, "in use already");
}

#[tokio::test]
async fn every_way_in_which_an_invitation_is_over_is_told() {
    let (house, used) = acme("grace@example.com");
    house.user("grace");
    house.user("bob");
    house.member("acme", "bob", Role::Owner, State::Active);
    tells(&house.send(with_password(&used, PASSWORD)).await, 200, "Welcome");
    memberships::leave(house.db(), &actor(&house, "grace"), &at("acme")).unwrap();
    let replaced = invite(&house, "acme", "ana", "kim@example.com", Role::Member);
    let revoked = invite(&house, "acme", "ana", "kim@example.com", Role::Member);
    invitations::revoke(
        house.db(),
        &actor(&house, "ana"),
        &at("acme"),
        &Email::parse("kim@example.com").unwrap(),
    )
    .unwrap();
    let by_bob = invite(&house, "acme", "bob", "lee@example.com", Role::Member);
    house.member("acme", "bob", Role::Member, State::Active);
    let expired = invite(&house, "acme", "ana", "max@example.com", Role::Member);
    house.pass(HOUR);
    let archived = invite(&house, "acme", "ana", "ned@example.com", Role::Member);
    let elsewhere = asked_for_reset(&house, "bob@example.com");
    house.archive("acme", true);
    for (token, words) in [
        (&used, "This invitation was used already"),
        (&replaced, "This invitation does not work"),
        (&revoked, "This invitation does not work"),
        (&elsewhere, "This invitation does not work"),
        (&by_bob, "This invitation has expired"),
        (&expired, "This invitation has expired"),
        (&archived, "This invitation was withdrawn"),
    ] {
        let before = stored(&house);
        tells(&house.send(open(INVITE, token)).await, 410, words);
        tells(&house.send(with_password(token, PASSWORD)).await, 410, words);
        tells(&house.send(with_new_account(token)).await, 410, words);
        assert!(before == stored(&house), "{words}: nothing was changed");
    }
}

#[tokio::test]
async fn an_invitation_holds_no_longer_than_the_right_of_its_sender() {
    let (house, _) = acme("grace@example.com");
    house.user("bob");
    house.member("acme", "bob", Role::Owner, State::Active);
    let token = invite(&house, "acme", "bob", "lee@example.com", Role::Member);
    tells(&house.send(open(INVITE, &token)).await, 200, "Create your account");
    house.member("acme", "bob", Role::Member, State::Active);
    tells(&house.send(open(INVITE, &token)).await, 410, "withdrawn");
    tells(&house.send(with_new_account(&token)).await, 410, "withdrawn");
}

#[tokio::test]
async fn whether_one_is_a_member_is_told_before_how_the_invitation_stands() {
    for state in [State::Active, State::Inactive, State::Pending, State::Suspended] {
        let (house, token) = acme("grace@example.com");
        house.user("grace");
        house.member("acme", "grace", Role::Member, state);
        house.pass(HOUR);
        house.archive("acme", true);
        tells(&house.send(open(INVITE, &token)).await, 200, "Already a member of Acme");
        tells(&house.send(with_password(&token, PASSWORD)).await, 200, "Already a member of Acme");
    }
}

#[tokio::test]
async fn an_owner_to_be_joins_first() {
    let (house, _) = acme("nobody@example.com");
    let token = invite(&house, "acme", "ana", "grace@example.com", Role::Owner);
    tells(&house.send(open(INVITE, &token)).await, 409, "Join Acme first");
    tells(&house.send(with_new_account(&token)).await, 409, "Join Acme first");
    house.user("grace");
    tells(&house.send(open(INVITE, &token)).await, 409, "Join Acme first");
    for state in [State::Pending, State::Suspended] {
        house.member("acme", "grace", Role::Member, state);
        tells(&house.send(with_password(&token, PASSWORD)).await, 409, "Join Acme first");
    }
    house.member("acme", "grace", Role::Member, State::Active);
    tells(&house.send(open(INVITE, &token)).await, 200, "Become an owner of Acme");
    tells(&house.send(with_password(&token, PASSWORD)).await, 200, "You are now an owner of Acme.");
    assert!(members(&house, "acme").contains(&("grace@example.com".into(), Role::Owner)));
    let again = invite(&house, "acme", "ana", "grace@example.com", Role::Owner);
    tells(&house.send(open(INVITE, &again)).await, 200, "Already a member of Acme");
}

#[tokio::test]
async fn two_invitations_make_one_membership() {
    let (house, first) = acme("grace@example.com");
    house.user("grace");
    house.organization("Other", "ana");
    let other = invite(&house, "other", "ana", "grace@example.com", Role::Member);
    tells(&house.send(with_password(&first, PASSWORD)).await, 200, "Welcome to Acme");
    let second = invite(&house, "acme", "ana", "grace@example.com", Role::Member);
    tells(&house.send(with_password(&second, PASSWORD)).await, 200, "Already a member of Acme");
    assert_eq!(members(&house, "acme").len(), 2);
    tells(&house.send(with_password(&other, PASSWORD)).await, 200, "Welcome to Other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_thirty_at_once_one_accepts() {
    let (house, token) = acme("grace@example.com");
    house.user("grace");
    let session = house.token("grace");
    let csrf = house.app.keys.verify(&session).unwrap().csrf.clone();
    let house = Arc::new(house);
    let pressed = press(INVITE, &token, &[("way", "session"), ("csrf", &csrf)]).cookie(&session);
    let all = (0..30).map(|_| {
        let (house, pressed) = (house.clone(), pressed.clone());
        tokio::spawn(async move { house.send(pressed).await })
    });
    let mut welcomed = 0;
    for answer in futures_util::future::join_all(all).await {
        let answer = answer.unwrap();
        let is_welcome = answer.text().contains("Welcome to Acme");
        tells(&answer, 200, if is_welcome { "Welcome" } else { "Already a member of Acme" });
        welcomed += usize::from(is_welcome);
    }
    assert_eq!((welcomed, members(&house, "acme").len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_at_once_one_confirms_and_one_sets_the_password() {
    let house = House::new();
    house.user("eve");
    let verify = registered(&house, "new@example.com");
    let reset = asked_for_reset(&house, "eve@example.com");
    let house = Arc::new(house);
    for call in [press(VERIFY, &verify, &[]), new_password(&reset, NEW, NEW)] {
        let all = (0..8).map(|_| {
            let (house, call) = (house.clone(), call.clone());
            tokio::spawn(async move { house.send(call).await.status.as_u16() })
        });
        let mut statuses: Vec<u16> =
            futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 410, 410, 410, 410, 410, 410, 410]);
    }
}

#[tokio::test]
async fn opening_a_link_changes_nothing() {
    let (house, links) = one_of_each();
    // Whoever is signed in was last seen long ago: even that is not written down by looking.
    house.pass(Duration::from_secs(600));
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
