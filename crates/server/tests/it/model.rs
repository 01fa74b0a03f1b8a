//! The rules of the domain against a small model of them, over long random histories: each answer and the whole state.

use std::collections::BTreeMap;
use std::time::Duration;

use guildhall_domain::authz::{Actor, Permission, Role, State};
use guildhall_domain::clock::{Clock, Random};
use guildhall_domain::credentials::password::Password;
use guildhall_domain::credentials::{Wanted, sign_in};
use guildhall_domain::db::{Db, Settings};
use guildhall_domain::id::{OrganizationId, UserId};
use guildhall_domain::memberships::{Among, Grant, Joining, Listed, Own, Sight, Visibility};
use guildhall_domain::onboarding::{self, SignedIn};
use guildhall_domain::organizations::Terms;
use guildhall_domain::text::{Email, Name, PersonName, Username};
use guildhall_domain::users::{self, NewUser, Profile};
use guildhall_domain::{authz, check};

use crate::harness::{Folder, NOW, PASSWORD};
use crate::place::{self, Stored};
use profiles::New;
use rules::{DAY, Model, Place, Session, User, Who};
use steps::{Step, Try};

mod corners;
mod profiles;
mod rules;
mod steps;

/// Steps of one history.
const STEPS: u64 = 10_000;
const PEOPLE: usize = 8;
/// More organizations at once would only thin what happens in each.
const ORGANIZATIONS: usize = 6;

/// Numbers that a seed determines.
struct Dice(Random);

impl Dice {
    fn below(&self, sides: u64) -> u64 {
        u64::from_le_bytes(self.0.bytes()) % sides
    }

    fn of<'a, T>(&self, all: &'a [T]) -> &'a T {
        let sides = u64::try_from(all.len()).unwrap();
        &all[usize::try_from(self.below(sides)).unwrap()]
    }

    fn is(&self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

#[test]
fn a_known_history_keeps_the_rules_and_visits_every_answer() {
    let seen = history(1);
    for answer in [
        "Unauthenticated",
        "Missing(Organization)",
        "Missing(User)",
        "Missing(Member)",
        "Missing(Token)",
        "Denied(Scope)",
        "Denied(Role)",
        "Denied(OwnerOnly)",
        "Denied(Archived)",
        "Denied(Suspended)",
        "Denied(InvitationNeeded)",
        "Denied(Own)",
        "Denied(OtherAddress)",
        "Denied(Unverified)",
        "Conflict(AlreadyMember)",
        "Conflict(LastInCharge)",
        "Conflict(NameTaken)",
        "Conflict(OwnNameTaken)",
        "Ended",
        "Expired",
    ] {
        assert!(seen.contains_key(answer), "{answer} never came in {seen:?}");
    }
    let done = seen.iter().filter(|(answer, _)| answer.ends_with(" done")).count();
    assert_eq!(done, 27, "every kind of step succeeded at least once: {seen:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may be told its seed")]
fn any_history_keeps_the_rules() {
    let told =
        std::env::var("GUILDHALL_SEED").ok().map(|seed| seed.parse().expect("GUILDHALL_SEED is a number"));
    history(told.unwrap_or_else(|| u64::from_le_bytes(Random::system().bytes())));
}

/// Plays a history; answers how often each answer came.
fn history(seed: u64) -> BTreeMap<String, u64> {
    println!("GUILDHALL_SEED={seed}");
    let folder = Folder::in_memory();
    let clock = Clock::fixed(NOW);
    let settings =
        Settings { clock: clock.clone(), random: Random::seeded(seed), limits: false, ..Settings::default() };
    let place = place::Place::new(&folder.0);
    let (db, mut stored) = (place.open(settings), place.stored());
    let dice = Dice(Random::seeded(seed.wrapping_add(1)));
    let mut model = Model { now: NOW.0, ..Model::default() };
    people(&db, &mut model);
    let mut seen = BTreeMap::new();
    for step in 0..STEPS {
        clock.advance(pass(&dice));
        model.now = clock.now().0;
        let tried = choose(&dice, &db, &mut model);
        let before = activity(&mut stored);
        let (told, want) = tried.run(&db, &mut model);
        let about = || format!("step {step} of GUILDHALL_SEED={seed}: {tried:?}");
        assert_eq!(told, want, "{}", about());
        assert_eq!(memberships(&mut stored), expected_memberships(&model), "{}", about());
        assert_eq!(organizations(&mut stored), expected_organizations(&model), "{}", about());
        let lines = activity(&mut stored) - before;
        let is_right = match (told.is_ok(), is_written(&tried.step)) {
            (false, _) | (true, Some(false)) => lines == 0,
            (true, Some(true)) => lines > 0,
            (true, None) => true,
        };
        assert!(is_right, "{lines} lines say what happened: {}", about());
        let name = format!("{:?}", tried.step).split(['(', ' ']).next().unwrap_or_default().to_owned();
        let answer = told.map_or_else(|error| error, |_| format!("{name} done"));
        *seen.entry(answer).or_default() += 1;
        if step % 500 == 0 {
            check_rules(&db, &model, &about());
        }
    }
    seen
}

/// Mostly seconds or nothing, seldom half a day, very seldom so long that members become inactive.
fn pass(dice: &Dice) -> Duration {
    let seconds = match dice.below(1_000) {
        0 => 100 * 24 * 3600,
        1..10 => 12 * 3600,
        10..600 => dice.below(30),
        _ => 0,
    };
    Duration::from_secs(seconds)
}

/// Makes everybody, with a session that may write and one that only reads. The last one's address is not confirmed.
fn people(db: &Db, model: &mut Model) {
    let hash = Password::chosen(PASSWORD).unwrap().hash(&Random::seeded(1)).unwrap();
    for number in 0..PEOPLE {
        let name = format!("person{number}");
        let new = NewUser {
            username: Some(Username::parse(&name).unwrap()),
            email: Email::parse(&format!("{name}@example.com")).unwrap(),
            name: PersonName::Whole(Name::parse(&name).unwrap()),
            password_hash: Some(hash.clone()),
            profile: Profile::default(),
        };
        let confirmed = number + 1 < PEOPLE;
        let user = users::create(db, &Actor::system(), new, false, confirmed).unwrap();
        let short = user.uid.short().to_owned();
        model.users.push(User { id: user.id, short, name, enabled: true, confirmed, seen: model.now });
    }
    // A session that only reads comes from a sign-in alone, and that costs a hash: one does.
    renew_reader(db, model);
}

/// Signs the first person in who can, for reading.
fn renew_reader(db: &Db, model: &mut Model) {
    let Some(user) = model.users.iter().find(|user| user.enabled && user.confirmed).cloned() else { return };
    let attempt = sign_in::admit(db, &user.name, "192.0.2.1").unwrap();
    let wanted = Wanted::Token { scope: authz::Scope::Read, for_first_organization: false };
    let signed_in = onboarding::sign_in(db, attempt.compare(PASSWORD), wanted, None).unwrap();
    let SignedIn::Done(session) = signed_in else { panic!("{signed_in:?}") };
    model.seen(Who::User { id: user.id, reads_only: true }).unwrap();
    let expires = model.now + 7 * DAY;
    model.sessions.push(Session { id: session.id, user: user.id, reads_only: true, expires, ended: false });
}

/// Somebody, by a session that is good or was, or the operator, or nobody. `wanted` where that is not decided otherwise.
fn somebody(dice: &Dice, db: &Db, model: &mut Model, wanted: UserId) -> (Option<usize>, Who) {
    match dice.below(100) {
        0..15 => return (None, Who::System),
        15..18 => return (None, Who::Nobody),
        _ => {}
    }
    let now = model.now;
    model.sessions.retain(|session| !session.ended || dice.is(2));
    if !model.sessions.iter().any(|session| session.reads_only && session.expires > now) && dice.is(50) {
        renew_reader(db, model);
    }
    let is_good = |session: &Session| session.user == wanted && !session.ended && session.expires > now;
    let mut good: Vec<usize> = (0..model.sessions.len()).filter(|at| is_good(&model.sessions[*at])).collect();
    if good.is_empty() {
        let tried = Try {
            step: Step::CreateSession(wanted, None),
            session: None,
            who: Who::System,
            place: Place(OrganizationId(1), Sight::ByVisibility),
            form: 0,
        };
        let (told, want) = tried.run(db, model);
        assert_eq!(told, want);
        good.push(model.sessions.len() - 1);
    }
    let chosen = if dice.is(30) {
        usize::try_from(dice.below(u64::try_from(model.sessions.len()).unwrap())).unwrap()
    } else {
        *dice.of(&good)
    };
    let session = &model.sessions[chosen];
    (Some(chosen), Who::User { id: session.user, reads_only: session.reads_only })
}

fn choose(dice: &Dice, db: &Db, model: &mut Model) -> Try {
    let live: Vec<OrganizationId> = model.organizations.keys().copied().collect();
    let organization = if live.is_empty() || dice.is(40) {
        OrganizationId(i64::try_from(dice.below(20)).unwrap())
    } else {
        *dice.of(&live)
    };
    let crowded = live.len() >= ORGANIZATIONS;
    let step = match dice.below(100) {
        0..7 if !crowded => create(dice),
        0..55 => about_members(dice, model),
        55..80 => about_organizations(dice, model, organization),
        _ => to_look(dice, model),
    };
    let wanted = fitting(dice, model, organization, &step).unwrap_or(dice.of(&model.users).id);
    let (session, who) = somebody(dice, db, model, wanted);
    let sights =
        [Sight::ByVisibility, Sight::ByVisibility, Sight::ByVisibilityArchivedInCharge, Sight::MembersOnly];
    Try { step, session, who, place: Place(organization, *dice.of(&sights)), form: dice.below(5) }
}

/// One who could do it, for half of the tries: whom an invitation is for, or who belongs to the organization.
fn fitting(dice: &Dice, model: &Model, organization: OrganizationId, step: &Step) -> Option<UserId> {
    if dice.is(2) {
        return None;
    }
    if let Step::Accept(token) = step {
        let invitation = model.invitations.iter().find(|invitation| invitation.token == *token)?;
        return model.users.iter().find(|user| user.email() == invitation.email).map(|user| user.id);
    }
    let members: Vec<UserId> = model.organizations.get(&organization)?.members.keys().copied().collect();
    if members.is_empty() { None } else { Some(*dice.of(&members)) }
}

const NAMES: [&str; 8] = [
    "Alpha",
    "ALPHA",
    "alpha",
    "Beta",
    "New",
    "me",
    "Two Words",
    "A name of exactly so many letters that it is too long",
];

fn terms(dice: &Dice) -> Terms {
    Terms { own_names_differ: dice.is(4), creator_leads_or_is_free: dice.is(4) }
}

fn create(dice: &Dice) -> Step {
    let name = *dice.of(&NAMES);
    Step::Create(New {
        name,
        visibility: *dice.of(&[Visibility::Public, Visibility::Internal, Visibility::Private]),
        joining: *dice.of(&[Joining::Open, Joining::Invite]),
        archived: dice.is(30),
        terms: terms(dice),
    })
}

fn person(dice: &Dice, model: &Model) -> UserId {
    if dice.is(50) { UserId(99) } else { dice.of(&model.users).id }
}

fn some_people(dice: &Dice, model: &Model) -> Vec<UserId> {
    (0..dice.below(4)).map(|_| person(dice, model)).collect()
}

fn about_members(dice: &Dice, model: &Model) -> Step {
    let user = person(dice, model);
    let grant = *dice.of(&[Grant::Member, Grant::InCharge]);
    let own = *dice.of(&[Own::Allowed, Own::Refused]);
    match dice.below(16) {
        0 | 1 => Step::Add(user, grant),
        2 | 3 => Step::ChangeRole(user, own, grant),
        4 | 5 => Step::ChangeRoles(some_people(dice, model), grant),
        6 | 7 => {
            let among = *dice.of(&[Among::Members, Among::WithPending, Among::All]);
            Step::Remove(user, among, *dice.of(&[Permission::RemoveMembers, Permission::RemoveAsOwner]), own)
        }
        8 => Step::RemoveAll(some_people(dice, model)),
        9 => Step::Leave,
        10 | 11 => Step::Join,
        12 => Step::ResetPasswords(some_people(dice, model)),
        _ => {
            // Admins are rare by themselves: whoever makes one is mostly an owner, and makes owners.
            let role = *dice.of(&[Role::Member, Role::Admin, Role::Admin, Role::Owner]);
            Step::Put(user, role, *dice.of(&State::ALL))
        }
    }
}

fn about_organizations(dice: &Dice, model: &Model, organization: OrganizationId) -> Step {
    let user = person(dice, model);
    let email = format!("person{}@example.com", dice.below(10));
    match dice.below(20) {
        0..3 => {
            let name = if dice.is(2) { Some(*dice.of(&NAMES)) } else { None };
            Step::Update(
                name,
                *dice.of(&[None, None, Some(false), Some(false), Some(false), Some(true)]),
                terms(dice),
            )
        }
        3 => Step::Delete,
        4..9 => Step::Invite(email, *dice.of(&[Role::Member, Role::Member, Role::Owner]), dice.is(2)),
        9 => Step::Revoke(email),
        10..14 => Step::Accept(token(dice, model)),
        14 => Step::Disable(user, dice.is(3)),
        15 | 16 => Step::Enable(user),
        17 => Step::LogOut,
        18 => Step::Seen,
        _ => Step::CreateSession(user, Some(organization)),
    }
}

fn token(dice: &Dice, model: &Model) -> String {
    if model.invitations.is_empty() || dice.is(20) {
        return "never was".into();
    }
    dice.of(&model.invitations).token.clone()
}

fn to_look(dice: &Dice, model: &Model) -> Step {
    let listed = [Listed::Members, Listed::WithPending, Listed::Owners, Listed::Shown];
    match dice.below(8) {
        0 => Step::LookAt(token(dice, model)),
        1 => Step::Switch,
        2 => Step::May(*dice.of(&Permission::ALL)),
        3 => Step::Get,
        4 => Step::Mine,
        5 => Step::Member(person(dice, model)),
        _ => Step::Members(*dice.of(&listed)),
    }
}

/// Whether a step that succeeds leaves a line in the book of what happened; nothing where that depends.
fn is_written(step: &Step) -> Option<bool> {
    match step {
        Step::ChangeRole(..) | Step::ChangeRoles(..) | Step::RemoveAll(_) | Step::ResetPasswords(_) => None,
        Step::Seen
        | Step::LookAt(_)
        | Step::May(_)
        | Step::Get
        | Step::Mine
        | Step::Members(_)
        | Step::Member(_) => Some(false),
        _ => Some(true),
    }
}

fn activity(stored: &mut Stored) -> i64 {
    stored.rows("SELECT COUNT(*) FROM activity")[0].parse().unwrap()
}

fn memberships(stored: &mut Stored) -> Vec<String> {
    stored.rows(
        "SELECT organization_id || ' ' || user_id || ' ' || role || ' ' || state || ' ' || joined_at
         FROM memberships ORDER BY organization_id, user_id",
    )
}

fn expected_memberships(model: &Model) -> Vec<String> {
    let of = |o: &rules::Organization| {
        let line = |(user, m): (&UserId, &rules::Member)| {
            format!("{} {} {} {} {}", o.id.0, user.0, m.role.as_str(), m.state.as_str(), m.joined)
        };
        o.members.iter().map(line).collect::<Vec<_>>()
    };
    model.organizations.values().flat_map(of).collect()
}

fn organizations(stored: &mut Stored) -> Vec<String> {
    stored.rows(
        "SELECT id || ' ' || slug || ' ' || name || ' ' || CASE WHEN archived_at IS NULL THEN 0 ELSE 1 END
         FROM organizations ORDER BY id",
    )
}

fn expected_organizations(model: &Model) -> Vec<String> {
    let line =
        |o: &rules::Organization| format!("{} {} {} {}", o.id.0, o.slug, o.name, i64::from(o.archived));
    model.organizations.values().map(line).collect()
}

/// What `guildhall check` finds is that organizations of disabled people have nobody in charge, and nothing else.
fn check_rules(db: &Db, model: &Model, about: &str) {
    let is_led = |o: &&rules::Organization| {
        !o.members.iter().any(|(user, member)| {
            member.role != Role::Member
                && matches!(member.state, State::Active | State::Inactive)
                && model.user(*user).is_some_and(|user| user.enabled)
        })
    };
    let mut left: Vec<&str> = model.organizations.values().filter(is_led).map(|o| o.slug.as_str()).collect();
    left.sort_unstable();
    let want: Vec<String> = left
        .into_iter()
        .map(|slug| {
            format!("organization {slug}: nobody is in charge (add an owner with `guildhall member add`)")
        })
        .collect();
    assert_eq!(check::findings(db, &Actor::system()).unwrap(), want, "{about}");
}
