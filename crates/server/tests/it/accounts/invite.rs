//! `/account/invite/`: the three ways to accept, and all that can stand in the way.

use std::sync::Arc;

use guildhall_domain::authz::{Actor, Role, Scope, State};
use guildhall_domain::credentials;
use guildhall_domain::error::{Conflict, Error};
use guildhall_domain::invitations;
use guildhall_domain::memberships::{self, Grant, Own};
use guildhall_domain::onboarding;
use guildhall_domain::outbox::Kind;
use guildhall_domain::text::{Email, Username};
use guildhall_domain::users::{self, Changes, UserKey};

use super::{
    HOUR, INVITE, NEW, SECOND, VERIFY, acme, actor, asked_for_reset, at, belongs, invite, is_confirmed,
    members, open, press, stored, tells, with_new_account, with_password,
};
use crate::harness::{House, PASSWORD};

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

#[tokio::test]
async fn a_session_that_may_only_read_accepts_nothing() {
    let (house, token) = acme("grace@example.com");
    house.user("grace");
    let compared = house.app.compare("grace".into(), PASSWORD.into(), String::new()).await.unwrap();
    let wanted = credentials::Wanted::Token { scope: Scope::Read, for_first_organization: false };
    let onboarding::SignedIn::Done(session) =
        onboarding::sign_in(house.db(), compared, wanted, None).unwrap()
    else {
        panic!("the password is right");
    };
    let (session, csrf) = house.app.token(&session).await.unwrap();
    tells(&house.send(open(INVITE, &token).cookie(&session)).await, 200, "Accept with your password");
    let pressed = press(INVITE, &token, &[("way", "session"), ("csrf", &csrf)]).cookie(&session);
    tells(&house.send(pressed).await, 422, "Accept with your password");
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
async fn nobody_takes_an_address_that_is_invited_as_their_username() {
    let (house, token) = acme("ken@example.com");
    house.user("other");
    let changes = Changes { username: Username::parse("Ken@example.com").ok(), ..Changes::default() };
    let refused =
        users::update(house.db(), &actor(&house, "other"), changes, &house.app.secrets).unwrap_err();
    assert!(matches!(refused, Error::Conflict(Conflict::UsernameTaken)), "{refused}");
    tells(&house.send(with_new_account(&token)).await, 200, "One last step");
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

/// What each of an owner's invitations says on its page, of a member-to-be and of an owner-to-be who is a member already,
/// after `lose` took bob's right and then gave it back.
async fn after_right_came_back(lose: impl Fn(&House)) -> [u16; 2] {
    let (house, _) = acme("grace@example.com");
    for name in ["bob", "kim"] {
        house.user(name);
    }
    house.member("acme", "bob", Role::Owner, State::Active);
    house.member("acme", "kim", Role::Member, State::Active);
    let member = invite(&house, "acme", "bob", "lee@example.com", Role::Member);
    let owner = invite(&house, "acme", "bob", "kim@example.com", Role::Owner);
    lose(&house);
    house.member("acme", "bob", Role::Owner, State::Active);
    let mut statuses = [0; 2];
    for (status, token) in statuses.iter_mut().zip([member, owner]) {
        let page = house.send(open(INVITE, &token)).await;
        *status = page.status.as_u16();
        if *status != 200 {
            tells(&page, 410, "This invitation was withdrawn");
        }
    }
    statuses
}

#[tokio::test]
async fn an_invitation_does_not_come_back_with_the_right_of_its_sender() {
    let becomes = |role, state| move |house: &House| house.member("acme", "bob", role, state);
    assert_eq!(after_right_came_back(becomes(Role::Owner, State::Inactive)).await, [200, 200]);
    assert_eq!(after_right_came_back(becomes(Role::Admin, State::Active)).await, [200, 410]);
    assert_eq!(after_right_came_back(becomes(Role::Member, State::Active)).await, [410, 410]);
    assert_eq!(after_right_came_back(becomes(Role::Owner, State::Suspended)).await, [410, 410]);
    assert_eq!(after_right_came_back(becomes(Role::Owner, State::Pending)).await, [410, 410]);
    let leaves = |house: &House| {
        memberships::leave(house.db(), &actor(house, "bob"), &at("acme")).unwrap();
    };
    assert_eq!(after_right_came_back(leaves).await, [410, 410]);
    let bob = UserKey::Login("bob".into());
    let is_lowered = |house: &House| {
        let whom = (&bob, Own::Refused);
        memberships::change_role(house.db(), &actor(house, "ana"), &at("acme"), whom, Grant::Member).unwrap();
    };
    assert_eq!(after_right_came_back(is_lowered).await, [410, 410]);
    let is_removed = |house: &House| {
        let bob = users::lookup(house.db(), &Actor::system(), &bob).unwrap().id;
        memberships::remove_all(house.db(), &actor(house, "ana"), &at("acme"), &[bob]).unwrap();
    };
    assert_eq!(after_right_came_back(is_removed).await, [410, 410]);
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
