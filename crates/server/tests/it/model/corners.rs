//! Corners of the rules, one by one.

use std::time::Duration;

use guildhall_domain::authz::{Actor, Credential, Permission, Role, Scope, State};
use guildhall_domain::credentials;
use guildhall_domain::invitations::{self, NewInvitations};
use guildhall_domain::memberships::{
    self, At, Cursor, Grant, Joining, Listed, OrganizationKey, Piece, Sight, Visibility,
};
use guildhall_domain::organizations::{self, Listing, Order};
use guildhall_domain::outbox::Kind;
use guildhall_domain::text::{Email, Name, PersonName, Username};
use guildhall_domain::users::{self, Identity, UserKey};

use crate::harness::House;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn guild() -> At {
    At { key: OrganizationKey::Slug("guild".into()), sight: Sight::ByVisibility }
}

fn login(name: &str) -> UserKey {
    UserKey::Login(name.into())
}

fn member(house: &House, name: &str) -> (Role, State) {
    let member = memberships::get(house.db(), &Actor::system(), &guild(), &login(name)).unwrap();
    (member.role, member.state)
}

#[track_caller]
fn refused<T: std::fmt::Debug, E: std::fmt::Debug>(answer: Result<T, E>) -> String {
    format!("{:?}", answer.unwrap_err())
}

/// ana owns the guild; ben and cem have accounts.
fn house() -> House {
    let house = House::new();
    for name in ["ana", "ben", "cem"] {
        house.user(name);
    }
    house.organization("Guild", "ana");
    house
}

#[test]
fn an_admin_succeeds_also_when_they_come_last() {
    let house = house();
    house.disable("ana");
    house.member("guild", "ben", Role::Member, State::Active);
    house.member("guild", "cem", Role::Admin, State::Active);
    assert_eq!(member(&house, "cem").0, Role::Owner, "put where nobody was in charge");
    house.member("guild", "ben", Role::Admin, State::Active);
    house.disable("ben");
    house.disable("cem");
    assert_eq!(member(&house, "ben").0, Role::Admin, "one who is disabled does not succeed");
    memberships::enable_user(house.db(), &Actor::system(), &login("ben")).unwrap();
    assert_eq!(member(&house, "ben").0, Role::Owner, "enabled where nobody was in charge");
    memberships::enable_user(house.db(), &Actor::system(), &login("ana")).unwrap();
    assert_eq!([member(&house, "ana").0, member(&house, "ben").0], [Role::Owner; 2]);
}

#[test]
fn disabling_asks_for_force_only_where_nobody_stays() {
    let house = house();
    let disable = |force| memberships::disable_user(house.db(), &Actor::system(), &login("ana"), force);
    assert_eq!(refused(disable(false)), "Conflict(LastInCharge)");
    assert!(users::lookup(house.db(), &Actor::system(), &login("ana")).unwrap().disabled_at.is_none());
    house.member("guild", "ben", Role::Admin, State::Inactive);
    disable(false).unwrap();
    assert_eq!(member(&house, "ben").0, Role::Owner);
}

#[test]
fn who_waits_or_is_suspended_keeps_nobody_in_charge() {
    let house = house();
    house.member("guild", "ben", Role::Owner, State::Pending);
    house.member("guild", "cem", Role::Owner, State::Suspended);
    let leave = |name| memberships::leave(house.db(), &house.acting(name), &guild());
    assert_eq!(refused(leave("ana")), "Conflict(LastInCharge)");
    assert_eq!(refused(leave("cem")), "Missing(Organization)");
    leave("ben").unwrap();
}

#[test]
fn an_admin_does_not_decide_about_one_who_waits_to_become_an_owner() {
    let house = house();
    house.member("guild", "ben", Role::Admin, State::Active);
    house.member("guild", "cem", Role::Owner, State::Pending);
    let add =
        |name| memberships::add(house.db(), &house.acting(name), &guild(), &login("cem"), Grant::Member);
    assert_eq!(refused(add("ben")), "Denied(OwnerOnly)");
    assert_eq!(add("ana").unwrap().role, Role::Member);
}

#[test]
fn making_one_membership_inactive_leaves_the_others_as_they_are() {
    let house = house();
    house.organization("Other", "ana");
    for slug in ["guild", "other"] {
        house.member(slug, "ben", Role::Member, State::Active);
    }
    house.pass(DAY * 91);
    assert_eq!(member(&house, "ben").1, State::Inactive, "not seen for 90 days");
    house.member("other", "ben", Role::Member, State::Inactive);
    assert_eq!(member(&house, "ben").1, State::Inactive, "still");
    let id = organizations::create_session(house.db(), &Actor::system(), &login("ben"), None).unwrap().id;
    let ben = credentials::by_session(house.db(), &id).unwrap().unwrap();
    assert!(ben.is_to_be_seen);
    users::seen(house.db(), &ben.actor).unwrap();
    assert_eq!(member(&house, "ben").1, State::Active);
    assert!(!credentials::by_session(house.db(), &id).unwrap().unwrap().is_to_be_seen);
    house.member("other", "ben", Role::Member, State::Inactive);
    assert!(credentials::by_session(house.db(), &id).unwrap().unwrap().is_to_be_seen);
    assert_eq!(member(&house, "ben").1, State::Active, "elsewhere they were just seen");
}

#[test]
fn a_new_password_ends_the_links_by_which_another_could_take_over() {
    let house = house();
    let ask = |house: &House| {
        let changes =
            users::Changes { email: Email::parse("thief@example.com"), ..users::Changes::default() };
        users::update(house.db(), &house.acting("ana"), changes, &house.app.secrets).unwrap();
        house.mailed_token(Kind::ChangeAddress, "thief@example.com")
    };
    let link = ask(&house);
    credentials::change_password(house.db(), &house.acting("ana"), "x".into()).unwrap();
    assert_eq!(refused(credentials::confirm_address(house.db(), &link)), "Missing(Token)");
    let link = ask(&house);
    credentials::ask_for_reset(house.db(), "ana@example.com", &house.app.secrets).unwrap();
    let reset = house.mailed_token(Kind::ResetPassword, "ana@example.com");
    credentials::reset_password(house.db(), &reset, "x".into()).unwrap();
    assert_eq!(refused(credentials::confirm_address(house.db(), &link)), "Missing(Token)");
    let link = ask(&house);
    house.disable("ana");
    memberships::enable_user(house.db(), &Actor::system(), &login("ana")).unwrap();
    assert_eq!(refused(credentials::confirm_address(house.db(), &link)), "Missing(Token)");
    // What nobody stands in the way of still works.
    credentials::confirm_address(house.db(), &ask(&house)).unwrap();
    users::lookup(house.db(), &Actor::system(), &login("thief@example.com")).unwrap();
}

fn ask_for_address(house: &House, own: &str, email: &str) {
    let changes = users::Changes { email: Email::parse(email), ..users::Changes::default() };
    users::update(house.db(), &house.acting(own), changes, &house.app.secrets).unwrap();
}

/// The link by which that account takes the address `email`.
fn link_to_address(house: &House, own: &str, email: &str) -> String {
    ask_for_address(house, own, email);
    house.mailed_token(Kind::ChangeAddress, email)
}

#[test]
fn to_ask_for_ones_own_address_takes_a_mistyped_one_back() {
    let house = house();
    let mistyped = link_to_address(&house, "ben", "bne@example.com");
    ask_for_address(&house, "ben", "ben@example.com");
    assert!(house.letters().is_empty(), "there is nothing to confirm");
    assert_eq!(refused(credentials::confirm_address(house.db(), &mistyped)), "Missing(Token)");
}

#[test]
fn a_username_that_was_the_address_goes_with_it() {
    let house = house();
    let named =
        users::Changes { username: Username::parse("BEN@example.com").ok(), ..users::Changes::default() };
    users::update(house.db(), &house.acting("ben"), named, &house.app.secrets).unwrap();
    let link = link_to_address(&house, "ben@example.com", "benjamin@example.com");
    credentials::confirm_address(house.db(), &link).unwrap();
    let lookup = |name: &str| users::lookup(house.db(), &Actor::system(), &login(name));
    assert_eq!(lookup("benjamin@example.com").unwrap().username(), "benjamin@example.com");
    assert_eq!(refused(lookup("ben@example.com")), "Missing(User)");
    // Whose address it is now can have it.
    let new = users::NewUser {
        username: None,
        email: Email::parse("ben@example.com").unwrap(),
        name: PersonName::Unknown,
        password_hash: None,
        profile: users::Profile::default(),
    };
    let other = users::create(house.db(), &Actor::system(), new, false, true).unwrap();
    assert_eq!(lookup("BEN@example.com").unwrap().id, other.id);
}

#[test]
fn a_username_that_was_not_the_address_stays() {
    let house = house();
    let link = link_to_address(&house, "ben", "benjamin@example.com");
    credentials::confirm_address(house.db(), &link).unwrap();
    let ben = users::lookup(house.db(), &Actor::system(), &login("benjamin@example.com")).unwrap();
    assert_eq!(ben.username(), "ben");
}

#[test]
fn an_address_named_twice_gets_one_good_link() {
    let house = house();
    let new = NewInvitations {
        emails: ["ben@example.com", "BEN@example.com", "cem@example.com"]
            .map(|e| Email::parse(e).unwrap())
            .into(),
        role: Role::Member,
        lasts: DAY,
        send: true,
        refuse_members: true,
    };
    let made =
        invitations::create(house.db(), &house.acting("ana"), &guild(), new, &house.app.secrets).unwrap();
    assert_eq!(made.len(), 2);
    let letters = house.letters();
    assert_eq!(letters.len(), 2);
    for letter in letters {
        let token = house.app.secrets.token(&letter.nonce.unwrap());
        let state = invitations::look_at(house.db(), &token).unwrap().state;
        assert_eq!(state, invitations::InvitationState::Open);
    }
}

#[test]
fn a_trusted_issuers_user_is_never_joined_to_an_account_by_address() {
    let house = house();
    let identity = |subject: &str, email: &str| Identity {
        issuer: "https://issuer.example".into(),
        subject: subject.into(),
        email: Email::parse(email),
        name: PersonName::Unknown,
    };
    let of = |identity| users::of_identity(house.db(), &Actor::system(), identity).unwrap();
    let first = of(identity("1", "ANA@example.com"));
    let ana = users::lookup(house.db(), &Actor::system(), &login("ana")).unwrap();
    assert_ne!(first.id, ana.id);
    assert_eq!(first.email, None);
    let second = of(identity("2", "new@example.com"));
    assert_eq!(second.email.as_deref(), Some("new@example.com"));
    assert_eq!(of(identity("2", "other@example.com")).id, second.id, "the subject is who they are");
    assert_eq!(of(identity("3", "new@example.com")).email, None);
    // Nobody can keep an address from its owner by taking it for a username.
    let named = users::Changes { username: Username::parse("x@y.org").ok(), ..users::Changes::default() };
    let answer = users::update(house.db(), &house.acting("ben"), named, &house.app.secrets);
    assert_eq!(refused(answer), "Conflict(UsernameTaken)");
    assert_eq!(of(identity("4", "x@y.org")).email.as_deref(), Some("x@y.org"));
}

#[test]
fn names_to_sign_in_by_are_one_in_every_normal_form() {
    let house = house();
    let named = users::Changes { username: Username::parse("Jos\u{e9}").ok(), ..users::Changes::default() };
    users::update(house.db(), &house.acting("ben"), named, &house.app.secrets).unwrap();
    let ben = users::lookup(house.db(), &Actor::system(), &login(" jose\u{301} ")).unwrap();
    assert_eq!(ben.username(), "Jos\u{e9}");
    let taken = users::Changes { username: Username::parse("JOSe\u{301}").ok(), ..users::Changes::default() };
    let answer = users::update(house.db(), &house.acting("cem"), taken, &house.app.secrets);
    assert_eq!(refused(answer), "Conflict(UsernameTaken)");
    let address =
        users::Changes { username: Username::parse("ANA@example.com").ok(), ..users::Changes::default() };
    let answer = users::update(house.db(), &house.acting("cem"), address, &house.app.secrets);
    assert_eq!(refused(answer), "Conflict(UsernameTaken)");
}

#[test]
fn a_derived_session_is_no_wider_and_ends_with_what_it_came_from() {
    let house = house();
    let key = house.api_key("ana");
    let by_key = credentials::by_api_key(house.db(), &key).unwrap().unwrap().actor;
    let derived = organizations::switch(house.db(), &by_key, &guild()).unwrap();
    assert_eq!(derived.scope, Scope::Write);
    let again = credentials::by_session(house.db(), &derived.id).unwrap().unwrap().actor;
    let twice = organizations::switch(house.db(), &again, &guild()).unwrap();
    credentials::replace_api_key(house.db(), &house.acting("ana")).unwrap();
    for id in [&derived.id, &twice.id] {
        assert!(credentials::by_session(house.db(), id).unwrap().is_err());
    }
    house.pass(DAY);
    let first = house.acting("ana");
    house.pass(DAY);
    let second = organizations::switch(house.db(), &first, &guild()).unwrap();
    let Credential::Session { expires_at, .. } = first.credential() else { panic!("{first:?}") };
    assert_eq!(second.expires_at, *expires_at);
}

#[test]
fn a_list_that_changes_while_it_is_read_skips_and_repeats_nobody() {
    let house = house();
    for number in 0..20 {
        house.pass(Duration::from_secs(u64::from(number % 3 == 0)));
        house.user(&format!("p{number:02}"));
        house.member("guild", &format!("p{number:02}"), Role::Member, State::Active);
    }
    let (mut told, mut after) = (Vec::new(), Cursor::START);
    for turn in 0.. {
        let piece = Piece { listed: Listed::Members, after, most: 3 };
        let piece = memberships::list(house.db(), &house.acting("ana"), &guild(), piece).unwrap();
        let Some(last) = piece.last() else { break };
        after = last.cursor();
        told.extend(piece.iter().map(|member| member.user.username()));
        // One who was told goes, one who comes is at the end.
        if turn < 3 {
            memberships::leave(house.db(), &house.acting(&format!("p{turn:02}")), &guild()).unwrap();
            house.pass(Duration::from_secs(1));
            house.member("guild", ["ben", "cem", "p00"][turn], Role::Member, State::Active);
        }
    }
    let mut want = vec!["ana".to_owned()];
    want.extend((0..20).map(|number| format!("p{number:02}")));
    want.extend(["ben", "cem", "p00"].map(str::to_owned));
    assert_eq!(told, want);
}

#[test]
fn lists_of_organizations_are_whole_in_pieces_of_any_size() {
    let house = house();
    let names = ["b", "A", "c", "B", "a", "C", "d"];
    let mut want = Vec::new();
    for (place, name) in names.into_iter().enumerate() {
        let visibility = [Visibility::Private, Visibility::Internal][place % 2];
        let made = house.organization_as(name, "ana", visibility, Joining::Invite);
        want.push((name.to_lowercase(), made.id));
    }
    want.push((
        "guild".into(),
        organizations::get(house.db(), &Actor::system(), &guild()).unwrap().organization.id,
    ));
    want.sort();
    let ana = house.acting("ana");
    let plain =
        Listing { archived: None, words: vec![], holding: vec![], order: vec![], sight: Sight::ByVisibility };
    let ordered = Listing { order: vec![Order::Name(false)], ..plain.clone() };
    let held = Listing { holding: vec![Permission::Update], ..plain.clone() };
    let backwards = Listing { order: vec![Order::Name(true)], ..plain.clone() };
    let held_backwards = Listing { order: vec![Order::Name(true)], ..held.clone() };
    let reversed: Vec<_> = want.iter().rev().cloned().collect();
    // None has a description: the older one first.
    let by_description = Listing { order: vec![Order::Description(false)], ..plain.clone() };
    let by_description_backwards = Listing { order: vec![Order::Description(true)], ..plain.clone() };
    let mut by_age = want.clone();
    by_age.sort_by_key(|(_, id)| *id);
    let younger_first: Vec<_> = by_age.iter().rev().cloned().collect();
    let lists = [
        (&by_description, &by_age),
        (&by_description_backwards, &younger_first),
        (&plain, &want),
        (&ordered, &want),
        (&held, &want),
        (&backwards, &reversed),
        (&held_backwards, &reversed),
    ];
    for ((listing, want), piece) in
        lists.into_iter().flat_map(|list| [1, 2, 3, 8, 9].map(|piece| (list, piece)))
    {
        let (mut page, _) = organizations::list(house.db(), &ana, listing, None, piece).unwrap();
        let mut told = Vec::new();
        loop {
            assert!(page.seen.len() <= piece);
            told.extend(page.seen.iter().map(|s| (s.organization.name.to_lowercase(), s.organization.id)));
            if page.is_last() {
                break;
            }
            page = page.next(house.db(), &ana, listing, piece).unwrap();
        }
        assert_eq!(told, *want, "{listing:?} in pieces of {piece}");
    }
    for ((listing, want), skip) in lists.into_iter().flat_map(|list| (0..=9).map(move |skip| (list, skip))) {
        let (page, count) = organizations::list(house.db(), &ana, listing, Some((skip, 3)), 8).unwrap();
        let told: Vec<_> = page.seen.iter().map(|seen| seen.organization.id).collect();
        let want: Vec<_> = want.iter().skip(skip).take(3).map(|(_, id)| *id).collect();
        assert_eq!((told, count), (want, Some(8)), "{listing:?} from {skip}");
    }
    let (page, count) = organizations::list(house.db(), &ana, &plain, Some((2, 3)), 2).unwrap();
    assert_eq!((page.seen.len(), count), (2, Some(8)));
    assert_eq!(page.next(house.db(), &ana, &plain, 2).unwrap().seen.len(), 1);
}

#[test]
fn a_part_is_found_however_much_stands_before_it() {
    let house = house();
    // Read in pieces of one, a hundred are passed over at a time.
    for number in 0..330 {
        let visibility = [Visibility::Public, Visibility::Internal, Visibility::Private][number % 3];
        let slug =
            house.organization_as(&format!("Part {number:03}"), "ana", visibility, Joining::Invite).slug;
        if number % 7 == 0 {
            house.archive(&slug, true);
        }
    }
    let ana = house.acting("ana");
    let every = [Order::Name(false), Order::Name(true), Order::Description(false), Order::Description(true)];
    for (order, archived) in every.into_iter().flat_map(|order| [(order, None), (order, Some(false))]) {
        let listing = Listing {
            archived,
            words: vec![],
            holding: vec![],
            order: vec![order],
            sight: Sight::ByVisibility,
        };
        for actor in [&ana, &Actor::nobody()] {
            let shown = |window, piece| {
                let (mut page, count) =
                    organizations::list(house.db(), actor, &listing, window, piece).unwrap();
                let mut ids: Vec<_> = page.seen.iter().map(|seen| seen.organization.id).collect();
                while !page.is_last() {
                    page = page.next(house.db(), actor, &listing, piece).unwrap();
                    ids.extend(page.seen.iter().map(|seen| seen.organization.id));
                }
                (ids, count)
            };
            let (whole, _) = shown(None, 1_000);
            for skip in (0..=whole.len() + 1).step_by(29).chain([whole.len() - 1, whole.len(), usize::MAX]) {
                let want: Vec<_> = whole.iter().skip(skip).take(2).copied().collect();
                assert_eq!(shown(Some((skip, 2)), 1), (want, Some(whole.len())), "{listing:?} from {skip}");
            }
        }
    }
}

#[test]
fn names_are_kept_one_way_and_compared_another() {
    let house = house();
    let public = |name: &str| {
        let new = organizations::NewOrganization {
            visibility: Visibility::Public,
            ..organizations::NewOrganization::named(Name::parse(name).unwrap())
        };
        organizations::create(house.db(), &house.acting("ana"), new, organizations::Terms::default())
    };
    assert_eq!(public(" E\u{301}quipe ").unwrap().name, "\u{c9}quipe");
    assert_eq!(refused(public("\u{e9}QUIPE")), "Conflict(NameTaken)");
    assert_eq!(public("Guild").unwrap().slug, "guild-1", "a private one's name may be used, its slug not");
    assert_eq!(public("New").unwrap().slug, "new-1");
    house.archive("new-1", true);
    assert_eq!(refused(public("NEW")), "Conflict(NameTaken)");
}
