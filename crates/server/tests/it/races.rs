//! What holds when things happen at the same moment: real threads on one database.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use guildhall_domain::authz::{Actor, Permission, Role, State};
use guildhall_domain::credentials;
use guildhall_domain::invitations::{self, NewInvitations};
use guildhall_domain::memberships::{
    self, Among, At, Cursor, Grant, Joining, Listed, OrganizationKey, Own, Piece, Removal, Sight, Visibility,
};
use guildhall_domain::onboarding::{self, With};
use guildhall_domain::organizations::{self, NewOrganization, Terms};
use guildhall_domain::outbox::Kind;
use guildhall_domain::text::{Email, Name, PersonName};
use guildhall_domain::users::{NewUser, Profile, UserKey};
use guildhall_domain::{Error, Result, check};

use crate::harness::{House, Plan};
use crate::place::{controlled, counted, insist, times};

fn house() -> House {
    House::with(Plan { in_memory: true, ..Plan::default() })
}

pub(crate) fn at(slug: &str) -> At {
    At { key: OrganizationKey::Slug(slug.into()), sight: Sight::ByVisibility }
}

pub(crate) fn login(name: &str) -> UserKey {
    UserKey::Login(name.into())
}

/// What each of `count` threads is answered that begin together.
pub(crate) fn together<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Vec<Result<T>> {
    let begin = Barrier::new(count);
    std::thread::scope(|scope| {
        let run = |number| {
            let (begin, work) = (&begin, &work);
            scope.spawn(move || {
                begin.wait();
                insist(|| work(number))
            })
        };
        let threads: Vec<_> = (0..count).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Exactly one succeeded, and every other was refused so.
#[track_caller]
pub(crate) fn expect_one<T: std::fmt::Debug, E: std::fmt::Debug>(answers: &[Result<T, E>], refusal: &str) {
    let refusals: Vec<String> =
        answers.iter().filter_map(|answer| answer.as_ref().err()).map(|error| format!("{error:?}")).collect();
    assert_eq!(refusals.len(), answers.len() - 1, "{answers:?}");
    assert!(refusals.iter().all(|error| error == refusal), "{refusals:?}");
}

/// What never may be, as queries over the tables that find it.
const NEVER: [(&str, &str); 5] = [
    (
        "an organization without anybody in charge",
        "SELECT id FROM organizations o WHERE NOT EXISTS (
             SELECT 1 FROM memberships m JOIN users u ON u.id = m.user_id
             WHERE m.organization_id = o.id AND m.role <> 'member' AND m.state IN ('active', 'inactive')
               AND u.disabled_at IS NULL)",
    ),
    (
        "a membership twice",
        "SELECT organization_id, user_id FROM memberships GROUP BY organization_id, user_id HAVING COUNT(*) > 1",
    ),
    ("a slug twice", "SELECT slug FROM organizations GROUP BY slug HAVING COUNT(*) > 1"),
    (
        "a public name twice",
        "SELECT name_key FROM organizations WHERE visibility = 'public' GROUP BY name_key HAVING COUNT(*) > 1",
    ),
    (
        "an address twice",
        "SELECT email_key FROM users WHERE email_key IS NOT NULL GROUP BY email_key HAVING COUNT(*) > 1",
    ),
];

/// What is there that never may be.
fn violations(house: &House) -> Vec<String> {
    let mut stored = house.place.stored();
    let found = NEVER
        .iter()
        .flat_map(|(what, query)| stored.rows(query).into_iter().map(move |row| format!("{what}: {row}")));
    found.collect()
}

/// Nothing is there that never may be, by queries over the tables and by what `guildhall check` looks at.
#[track_caller]
pub(crate) fn expect_sound(house: &House) {
    assert_eq!(violations(house), [""; 0]);
    assert_eq!(check::findings(house.db(), &Actor::system()).unwrap(), [""; 0]);
}

/// What looks and then acts in two transactions breaks the rule, and the queries find that.
#[test]
fn who_looks_and_then_acts_leaves_nobody_in_charge() {
    let house = house();
    let people = ["ana", "ben"].map(|name| house.user(name).id.0);
    let number = house.organization("Guild", "ana").id.0;
    let in_charge = format!("FROM memberships WHERE organization_id = {number} AND role = 'owner'");
    for round in 1..=2_000 {
        ["ana", "ben"].iter().for_each(|name| house.member("guild", name, Role::Owner, State::Active));
        together(2, |own| {
            let mut stored = house.place.stored();
            let others = stored.rows(&format!("SELECT user_id {in_charge} AND user_id <> {}", people[own]));
            if !others.is_empty() {
                stored.rows(&format!("DELETE {in_charge} AND user_id = {}", people[own]));
            }
            Ok(())
        });
        if let [found] = &violations(&house)[..] {
            assert!(found.starts_with(NEVER[0].0), "{found}");
            let rounds = if round == 1 { "one round".to_owned() } else { format!("{round} rounds") };
            return controlled(&format!(
                "of two who look whether another stays and then leave, in two transactions, none stays after {rounds}"
            ));
        }
    }
    panic!("nothing was found");
}

/// What somebody does to the one beside them, or to themself.
#[derive(Clone, Copy, Debug)]
enum Move {
    Leave,
    Demote,
    Remove,
    StepDown,
}

impl Move {
    fn make(self, house: &House, actor: &Actor, (own, other): (&str, &str), slug: &str) -> Result<()> {
        let db = house.db();
        match self {
            Self::Leave => memberships::leave(db, actor, &at(slug)).map(drop),
            Self::Demote => {
                memberships::change_role(db, actor, &at(slug), (&login(other), Own::Refused), Grant::Member)
                    .map(drop)
            }
            Self::StepDown => {
                memberships::change_role(db, actor, &at(slug), (&login(own), Own::Allowed), Grant::Member)
                    .map(drop)
            }
            Self::Remove => {
                let removal = Removal {
                    user: login(other),
                    among: Among::Members,
                    permission: Permission::RemoveMembers,
                    own: Own::Refused,
                };
                memberships::remove(db, actor, &at(slug), &removal).map(drop)
            }
        }
    }
}

#[test]
fn of_two_in_charge_one_stays_whatever_both_do_at_once() {
    use Move::{Demote, Leave, Remove, StepDown};
    let house = house();
    let people = ["ana", "ben"];
    for name in people {
        house.user(name);
    }
    let actors = people.map(|name| house.acting(name));
    house.organization("Guild", "ana");
    // Of each pair: what the later one may be told. To the one removed a private organization is not there.
    let pairs: [([Move; 2], &[&str]); 8] = [
        ([Leave, Leave], &["Conflict(LastInCharge)"]),
        ([StepDown, StepDown], &["Conflict(LastInCharge)"]),
        ([Demote, Demote], &["Denied(Role)"]),
        ([Remove, Remove], &["Missing(Organization)"]),
        ([Leave, StepDown], &["Conflict(LastInCharge)"]),
        ([Leave, Demote], &["Missing(Member)"]),
        ([Leave, Remove], &["Missing(Organization)", "Missing(Member)"]),
        ([Remove, Demote], &["Missing(Organization)", "Denied(Role)"]),
    ];
    for round in 0..times(1_000, 10_000) {
        let (moves, refusals) = pairs[round % pairs.len()];
        for name in people {
            house.member("guild", name, Role::Owner, State::Active);
        }
        let answers =
            together(2, |own| moves[own].make(&house, &actors[own], (people[own], people[1 - own]), "guild"));
        let refused: Vec<String> = answers
            .iter()
            .filter_map(|answer| answer.as_ref().err())
            .map(|error| format!("{error:?}"))
            .collect();
        // One who demotes first lets the other still leave; otherwise the second is refused.
        let both_may = matches!(moves, [Leave, Demote]);
        assert!(refused.len() == 1 || both_may && refused.is_empty(), "{moves:?}: {answers:?}");
        assert!(refused.iter().all(|error| refusals.contains(&error.as_str())), "{moves:?}: {answers:?}");
        let owners = Piece { listed: Listed::Owners, after: Cursor::START, most: 9 };
        let owners = memberships::list(house.db(), &Actor::system(), &at("guild"), owners).unwrap();
        assert_eq!(owners.len(), 1, "{moves:?}: {answers:?}");
    }
    expect_sound(&house);
    counted(times(1_000, 10_000), "rounds of two in charge who leave, demote or remove");
}

#[test]
fn when_the_owners_leave_at_once_the_longest_serving_admin_succeeds() {
    let house = house();
    let owners = ["ana", "ben", "cem"];
    for name in owners {
        house.user(name);
    }
    let actors = owners.map(|name| house.acting(name));
    house.organization("Guild", "ana");
    for name in ["dan", "eva"] {
        house.user(name);
    }
    let rounds = times(100, 1_000);
    for _ in 0..rounds {
        for name in owners {
            house.member("guild", name, Role::Owner, State::Active);
        }
        house.pass(std::time::Duration::from_secs(1));
        house.member("guild", "dan", Role::Admin, State::Active);
        house.pass(std::time::Duration::from_secs(1));
        house.member("guild", "eva", Role::Admin, State::Active);
        let answers = together(3, |own| memberships::leave(house.db(), &actors[own], &at("guild")));
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let role = |name: &str| {
            memberships::get(house.db(), &Actor::system(), &at("guild"), &login(name)).unwrap().role
        };
        assert_eq!([role("dan"), role("eva")], [Role::Owner, Role::Admin]);
    }
    expect_sound(&house);
    counted(rounds, "rounds of owners who leave together");
}

pub(crate) fn newcomer(name: &str) -> NewUser {
    NewUser {
        username: None,
        email: Email::parse(&format!("{name}@example.com")).unwrap(),
        name: PersonName::Unknown,
        password_hash: Some("a hash".into()),
        profile: Profile::default(),
    }
}

#[test]
fn a_mailed_token_is_good_once() {
    let house = house();
    let secrets = &house.app.secrets;
    let rounds = times(20, 500);
    for round in 0..rounds {
        let name = format!("new{round}");
        let to = format!("{name}@example.com");
        onboarding::register(house.db(), newcomer(&name), With::Nothing, secrets).unwrap();
        let token = house.mailed_token(Kind::Verify, &to);
        let answers = together(30, |_| credentials::confirm_address(house.db(), &token));
        expect_one(&answers, "Missing(Token)");
        credentials::ask_for_reset(house.db(), &to, secrets).unwrap();
        let token = house.mailed_token(Kind::ResetPassword, &to);
        let answers = together(30, |n| credentials::reset_password(house.db(), &token, format!("hash {n}")));
        expect_one(&answers, "Missing(Token)");
    }
    counted(2 * rounds, "mailed tokens shown thirty times together");
}

#[test]
fn an_invitation_is_accepted_once() {
    let house = house();
    house.user("ana");
    house.user("ben");
    let (ana, ben) = (house.acting("ana"), house.acting("ben"));
    let rounds = times(20, 500);
    for round in 0..rounds {
        let organization = house.organization(&format!("Guild {round}"), "ana");
        let new = NewInvitations {
            emails: vec![Email::parse("ben@example.com").unwrap()],
            role: Role::Member,
            lasts: std::time::Duration::from_secs(60),
            send: false,
            refuse_members: true,
        };
        let made = invitations::create(house.db(), &ana, &at(&organization.slug), new, &house.app.secrets);
        let token = &made.unwrap()[0].token;
        let answers = together(30, |_| invitations::accept(house.db(), &ben, token));
        expect_one(&answers, "Conflict(AlreadyMember)");
    }
    expect_sound(&house);
    counted(rounds, "invitations accepted thirty times together");
}

#[test]
fn what_is_unique_stays_so() {
    let house = house();
    house.user("ana");
    house.user("ben");
    let (ana, ben) = (house.acting("ana"), house.acting("ben"));
    let create = |name: &str, visibility| {
        let new = NewOrganization {
            visibility,
            joining: Joining::Open,
            ..NewOrganization::named(Name::parse(name).unwrap())
        };
        organizations::create(house.db(), &ana, new, Terms::default())
    };
    let rounds = times(10, 250);
    for round in 0..rounds {
        let name = format!("Public {round}");
        expect_one(&together(16, |_| create(&name, Visibility::Public)), "Conflict(NameTaken)");
        let slug = format!("public-{round}");
        let answers = together(16, |_| memberships::join(house.db(), &ben, &at(&slug)));
        expect_one(&answers, "Conflict(AlreadyMember)");
        let name = format!("new{round}");
        let secrets = &house.app.secrets;
        let answers =
            together(16, |_| onboarding::register(house.db(), newcomer(&name), With::Nothing, secrets));
        expect_one(&answers, "Conflict(EmailTaken)");
        let email = login(&format!("{name}@example.com"));
        let answers = together(16, |_| memberships::add(house.db(), &ana, &at(&slug), &email, Grant::Member));
        expect_one(&answers, "Conflict(AlreadyMember)");
    }
    let made = together(40, |_| create("Many", Visibility::Private));
    let made: Vec<String> = made.into_iter().map(|made| made.unwrap().slug).collect();
    let mut numbers: Vec<u64> = made
        .iter()
        .map(|slug| slug.strip_prefix("many-").map_or(0, |number| number.parse().unwrap()))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 40, "{made:?}");
    expect_sound(&house);
    counted(4 * rounds, "names, addresses and memberships given to sixteen together");
}

/// Sixteen threads do `work` until it was refused after `end` had answered; none that began later may succeed.
fn expect_ended(work: impl Fn() -> Result<()> + Sync, end: impl FnOnce()) {
    const AT_WORK: usize = 16;
    let (has_ended, tried) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_WORK {
            scope.spawn(|| {
                let mut refused = 0;
                while refused < 20 {
                    let began_after = has_ended.load(Ordering::SeqCst);
                    let answer = work();
                    tried.fetch_add(1, Ordering::SeqCst);
                    assert!(!(began_after && answer.is_ok()), "what began after the end succeeded");
                    refused += usize::from(began_after);
                }
            });
        }
        while tried.load(Ordering::SeqCst) < AT_WORK * 4 {
            std::thread::yield_now();
        }
        end();
        has_ended.store(true, Ordering::SeqCst);
    });
}

#[test]
fn what_is_taken_away_is_gone_when_that_is_answered() {
    let house = house();
    house.user("ana");
    house.organization("Guild", "ana");
    for round in 0..10 {
        let name = format!("ben{round}");
        house.user(&name);
        house.member("guild", &name, Role::Admin, State::Active);
        let db = house.db();
        let may = |actor: &Actor| memberships::may(db, actor, &at("guild"), Permission::Update);
        let key = house.api_key(&name);
        let by_key = || match credentials::by_api_key(db, &key)? {
            Ok(found) => may(&found.actor),
            Err(_) => Err(Error::Unauthenticated),
        };
        let actor = house.acting(&name);
        let credentials::Session { id, .. } =
            organizations::create_session(db, &Actor::system(), &login(&name), None).unwrap();
        let by_session = || match credentials::by_session(db, &id)? {
            Ok(found) => may(&found.actor),
            Err(_) => Err(Error::Unauthenticated),
        };
        match round % 5 {
            0 => expect_ended(by_key, || drop(credentials::replace_api_key(db, &actor).unwrap())),
            1 => expect_ended(by_session, || {
                let own = credentials::by_session(db, &id).unwrap().unwrap().actor;
                credentials::log_out(db, &own).unwrap();
            }),
            2 => expect_ended(by_session, || credentials::change_password(db, &actor, "x".into()).unwrap()),
            3 => expect_ended(by_session, || house.disable(&name)),
            _ => expect_ended(by_key, || house.member("guild", &name, Role::Member, State::Active)),
        }
    }
}

/// A request that was let in does not act any more once what it came with has ended: what it made would outlive that.
#[test]
fn what_is_on_its_way_when_a_credential_ends_does_not_arrive() {
    let house = house();
    house.user("ana");
    house.organization("acme", "ana");
    let refuses = |late: &Actor| {
        let unauthenticated = |answer: Result<()>| matches!(answer, Err(Error::Unauthenticated));
        let named = NewOrganization::named(Name::parse("Late").unwrap());
        assert!(unauthenticated(organizations::switch(house.db(), late, &at("acme")).map(drop)));
        assert!(unauthenticated(credentials::replace_api_key(house.db(), late).map(drop)));
        assert!(unauthenticated(organizations::create(house.db(), late, named, Terms::default()).map(drop)));
        assert!(unauthenticated(memberships::leave(house.db(), late, &at("acme")).map(drop)));
    };
    let by_session = house.acting("ana");
    credentials::log_out(house.db(), &by_session).unwrap();
    refuses(&by_session);
    let by_key = credentials::by_api_key(house.db(), &house.api_key("ana")).unwrap().unwrap().actor;
    house.api_key("ana");
    refuses(&by_key);
    let of_disabled = house.acting("ana");
    house.disable("ana");
    memberships::enable_user(house.db(), &Actor::system(), &login("ana")).unwrap();
    refuses(&of_disabled);
}

/// Who was taken out does not come back by an invitation that still lies about.
#[test]
fn an_open_invitation_ends_with_the_membership_of_the_invited() {
    let house = house();
    for name in ["ana", "bob"] {
        house.user(name);
    }
    house.organization("acme", "ana");
    let email = Email::parse("bob@example.com").unwrap();
    let new = NewInvitations {
        emails: vec![email],
        role: Role::Member,
        lasts: std::time::Duration::from_secs(3600),
        send: false,
        refuse_members: true,
    };
    let ana = house.acting("ana");
    let token =
        invitations::create(house.db(), &ana, &at("acme"), new, &house.app.secrets).unwrap().remove(0).token;
    memberships::add(house.db(), &ana, &at("acme"), &login("bob"), Grant::Member).unwrap();
    let removal = Removal {
        user: login("bob"),
        among: Among::Members,
        permission: Permission::RemoveMembers,
        own: Own::Refused,
    };
    memberships::remove(house.db(), &ana, &at("acme"), &removal).unwrap();
    assert!(invitations::accept(house.db(), &house.acting("bob"), &token).is_err());
}
