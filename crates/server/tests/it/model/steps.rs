//! What may happen: each step once to the domain and once to the model, with what both answer.

use guildhall_domain::Error;
use guildhall_domain::authz::{Actor, Permission, Role, State};
use guildhall_domain::credentials::{self, Refused};
use guildhall_domain::db::Db;
use guildhall_domain::id::{OrganizationId, ShortId, UserId};
use guildhall_domain::invitations::{self, NewInvitations};
use guildhall_domain::memberships::{
    self, Among, At, Cursor, Grant, Listed, OrganizationKey, Own, Piece, Removal,
};
use guildhall_domain::organizations::{self, Changes, NewOrganization, Terms};
use guildhall_domain::outbox::Secrets;
use guildhall_domain::text::{Email, Name};
use guildhall_domain::users::{self, UserKey};

use super::profiles::New;
use super::rules::{DAY, Invitation, Model, Place, Session, Told, Who};

/// Something that somebody tries.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create(New),
    Add(UserId, Grant),
    ChangeRole(UserId, Own, Grant),
    ChangeRoles(Vec<UserId>, Grant),
    Remove(UserId, Among, Permission, Own),
    RemoveAll(Vec<UserId>),
    Leave,
    Join,
    Put(UserId, Role, State),
    ResetPasswords(Vec<UserId>),
    Update(Option<&'static str>, Option<bool>, Terms),
    Delete,
    Invite(String, Role, bool),
    Revoke(String),
    LookAt(String),
    Accept(String),
    Disable(UserId, bool),
    Enable(UserId),
    Seen,
    LogOut,
    Switch,
    CreateSession(UserId, Option<OrganizationId>),
    May(Permission),
    Get,
    Mine,
    Members(Listed),
    Member(UserId),
}

/// A step, who tries it and where.
#[derive(Clone, Debug)]
pub(crate) struct Try {
    pub(crate) step: Step,
    /// The session by which they act; nothing for nobody and the system.
    pub(crate) session: Option<usize>,
    pub(crate) who: Who,
    pub(crate) place: Place,
    /// In which of its forms an id is written: 0, 1, 2.
    pub(crate) form: u64,
}

/// The domain's answer: what the model tells of the same.
fn told<T>(answer: Result<T, Error>, tell: impl FnOnce(T) -> String) -> Told {
    answer.map(tell).map_err(|error| format!("{error:?}"))
}

fn nothing<T>(_: T) -> String {
    String::new()
}

fn tell_member(member: memberships::Member) -> String {
    format!("{} {} {}", member.user.id.0, member.role.as_str(), member.state.as_str())
}

impl Try {
    fn user_key(&self, model: &Model, id: UserId) -> UserKey {
        match (model.user(id), self.form) {
            (Some(user), 1) => UserKey::Short(ShortId::parse(&user.short).unwrap()),
            (Some(user), 2) => UserKey::Login(user.name.to_uppercase()),
            (Some(user), 3) => UserKey::Login(user.email()),
            (Some(user), 4) => UserKey::Email(user.email()),
            _ => UserKey::Number(id),
        }
    }

    fn at(&self, model: &Model) -> At {
        let Place(id, sight) = self.place;
        let key = match (model.organizations.get(&id), self.form) {
            (Some(organization), 1) => OrganizationKey::Short(ShortId::parse(&organization.short).unwrap()),
            (Some(organization), 2) => OrganizationKey::Slug(organization.slug.clone()),
            (None, 2) => OrganizationKey::Malformed,
            _ => OrganizationKey::Number(id),
        };
        At { key, sight }
    }

    /// Who acts, from the session; or why it does not count.
    fn actor(&self, db: &Db, model: &Model) -> Result<Actor, Refused> {
        match (self.session, self.who) {
            (Some(session), _) => credentials::by_session(db, &model.sessions[session].id)
                .expect("the database works")
                .map(|authenticated| authenticated.actor),
            (None, Who::System) => Ok(Actor::system()),
            (None, _) => Ok(Actor::nobody()),
        }
    }

    /// Does it to both, and answers what the domain told and what the model did.
    pub(crate) fn run(&self, db: &Db, model: &mut Model) -> (Told, Told) {
        if let Some(session) = self.session.map(|session| &model.sessions[session]) {
            let refused = match session {
                session if session.ended => Some("Ended"),
                session if session.expires <= model.now => Some("Expired"),
                _ => None,
            };
            let real = self.actor(db, model).map_err(|refused| format!("{refused:?}"));
            if refused.is_some() || real.is_err() {
                let want = refused.map_or(Ok(String::new()), |why| Err(why.into()));
                return (real.map(nothing), want);
            }
        }
        let actor = self.actor(db, model).expect("looked at above");
        match &self.step {
            Step::Create(_) | Step::Update(..) | Step::Delete | Step::Get | Step::Mine => {
                self.run_on_organizations(db, &actor, model)
            }
            Step::Invite(..) | Step::Revoke(_) | Step::LookAt(_) | Step::Accept(_) => {
                self.run_on_invitations(db, &actor, model)
            }
            Step::Disable(..)
            | Step::Enable(_)
            | Step::Seen
            | Step::LogOut
            | Step::Switch
            | Step::CreateSession(..) => self.run_on_accounts(db, &actor, model),
            _ => self.run_on_members(db, &actor, model),
        }
    }

    fn run_on_members(&self, db: &Db, actor: &Actor, model: &mut Model) -> (Told, Told) {
        let (who, place, at) = (self.who, self.place, self.at(model));
        let key = |user: &UserId| self.user_key(model, *user);
        match &self.step {
            Step::Add(user, grant) => (
                told(memberships::add(db, actor, &at, &key(user), *grant), tell_member),
                model.add(who, place, *user, *grant),
            ),
            Step::ChangeRole(user, own, grant) => (
                told(memberships::change_role(db, actor, &at, (&key(user), *own), *grant), tell_member),
                model.change_role(who, place, (*user, *own), *grant),
            ),
            Step::ChangeRoles(users, grant) => (
                told(memberships::change_roles(db, actor, &at, users, *grant), nothing),
                model.change_roles(who, place, users, *grant),
            ),
            Step::Remove(user, among, permission, own) => {
                let removal = Removal { user: key(user), among: *among, permission: *permission, own: *own };
                (
                    told(memberships::remove(db, actor, &at, &removal), |(_, name)| name),
                    model.remove(who, place, *user, (*among, *permission, *own)),
                )
            }
            Step::RemoveAll(users) => (
                told(memberships::remove_all(db, actor, &at, users), nothing),
                model.remove_all(who, place, users),
            ),
            Step::Leave => (told(memberships::leave(db, actor, &at), |name| name), model.leave(who, place)),
            Step::Join => (told(memberships::join(db, actor, &at), |name| name), model.join(who, place)),
            Step::Put(user, role, state) => (
                told(memberships::put(db, actor, &at.key, &key(user), (*role, *state)), tell_member),
                model.put(who, place, *user, (*role, *state)),
            ),
            Step::ResetPasswords(users) => (
                told(memberships::reset_passwords(db, actor, &at, users, &secrets()), nothing),
                model.reset_passwords(who, place, users),
            ),
            Step::Members(listed) => (
                told(all_members(db, actor, &at, *listed), |l| l.join(", ")),
                model.members(who, place, *listed),
            ),
            Step::Member(user) => (
                told(memberships::get(db, actor, &at, &key(user)), tell_member),
                model.member(who, place, *user),
            ),
            Step::May(permission) => (
                told(memberships::may(db, actor, &at, *permission), nothing),
                model.require(who, place, *permission).map(nothing),
            ),
            other => panic!("{other:?} is not about members"),
        }
    }

    fn run_on_organizations(&self, db: &Db, actor: &Actor, model: &mut Model) -> (Told, Told) {
        let (who, place, at) = (self.who, self.place, self.at(model));
        match &self.step {
            Step::Create(new) => {
                let organization = NewOrganization {
                    visibility: new.visibility,
                    joining: new.joining,
                    archived: new.archived,
                    ..NewOrganization::named(Name::parse(new.name).unwrap())
                };
                let made = organizations::create(db, actor, organization, new.terms);
                let want = model.create(who, new);
                if let (Ok(made), Ok(_), Some(owner)) = (&made, &want, who.user()) {
                    model.created(owner, new, (made.id, made.uid.short().into()));
                }
                (told(made, |made| made.slug), want)
            }
            Step::Update(name, archived, terms) => {
                let changes = Changes {
                    name: name.map(|name| Name::parse(name).unwrap()),
                    archived: *archived,
                    ..Changes::default()
                };
                let changed = organizations::update(db, actor, &at, changes, *terms);
                let tell = |seen: organizations::Seen| {
                    format!("{} {}", seen.organization.name, seen.organization.archived_at.is_some())
                };
                (told(changed, tell), model.update(who, place, (*name, *archived), *terms))
            }
            Step::Delete => (told(organizations::delete(db, actor, &at), nothing), model.delete(who, place)),
            Step::Get => {
                let tell = |seen: organizations::Seen| {
                    let role = seen.role.map_or("none", Role::as_str);
                    format!("{} {} {role}", seen.organization.slug, seen.organization.name)
                };
                (told(organizations::get(db, actor, &at), tell), model.get(who, place))
            }
            Step::Mine => (told(all_mine(db, actor), |own| format!("{own:?}")), model.mine(who)),
            other => panic!("{other:?} is not about organizations"),
        }
    }

    fn run_on_invitations(&self, db: &Db, actor: &Actor, model: &mut Model) -> (Told, Told) {
        let (who, place, at) = (self.who, self.place, self.at(model));
        match &self.step {
            Step::Invite(email, role, refuse_members) => {
                let new = NewInvitations {
                    emails: vec![Email::parse(email).unwrap(), Email::parse(&email.to_uppercase()).unwrap()],
                    role: *role,
                    lasts: std::time::Duration::from_secs(3600),
                    send: true,
                    refuse_members: *refuse_members,
                };
                let want = model.invite(who, place, email, (*role, *refuse_members));
                let made =
                    invitations::create(db, actor, &at, new, &secrets()).map_err(|refusal| match refusal {
                        invitations::Refusal::Error(error) => format!("{error:?}"),
                        invitations::Refusal::Member(email, name) => {
                            format!("{} is a member of {name}", email.as_str())
                        }
                    });
                if let (Ok(made), Ok(_)) = (&made, &want) {
                    assert_eq!(made.len(), 1, "an address is invited once");
                    model.invited(Invitation {
                        token: made[0].token.clone(),
                        organization: place.0,
                        email: email.clone(),
                        role: *role,
                        inviter: who.user(),
                        expires: model.now + 3600 * 1_000_000,
                        accepted: false,
                    });
                }
                (made.map(|made| made[0].organization.clone()), want)
            }
            Step::Revoke(email) => {
                let address = Email::parse(email).unwrap();
                (
                    told(invitations::revoke(db, actor, &at, &address), nothing),
                    model.revoke(who, place, email),
                )
            }
            Step::LookAt(token) => {
                let tell = |i: invitations::Invitation| {
                    format!("{} {:?} {:?}", i.organization_name, i.state, i.invitee)
                };
                (told(invitations::look_at(db, token), tell), model.look_at(token))
            }
            Step::Accept(token) => (
                told(invitations::accept(db, actor, token), |invitation| invitation.organization_name),
                model.accept(who, token),
            ),
            other => panic!("{other:?} is not about invitations"),
        }
    }

    fn run_on_accounts(&self, db: &Db, actor: &Actor, model: &mut Model) -> (Told, Told) {
        let (who, place) = (self.who, self.place);
        let key = |user: &UserId| self.user_key(model, *user);
        match &self.step {
            Step::Disable(user, force) => (
                told(memberships::disable_user(db, actor, &key(user), *force), nothing),
                model.disable(who, *user, *force),
            ),
            Step::Enable(user) => {
                (told(memberships::enable_user(db, actor, &key(user)), nothing), model.enable(who, *user))
            }
            Step::Seen => (told(users::seen(db, actor), nothing), model.seen(who)),
            Step::LogOut => {
                let ended = credentials::log_out(db, actor);
                let want = match self.session {
                    Some(session) => {
                        model.sessions[session].ended = true;
                        Ok(String::new())
                    }
                    None => Err("Unauthenticated".into()),
                };
                (told(ended, nothing), want)
            }
            Step::Switch => {
                let made = organizations::switch(db, actor, &self.at(model));
                // Who has no session is refused before it is looked at.
                let from = self.session.map(|session| model.sessions[session].clone());
                let from = from.unwrap_or(Session {
                    id: String::new(),
                    user: UserId(0),
                    reads_only: false,
                    expires: 0,
                    ended: true,
                });
                let want = model.switch(who, place, &from);
                if let (Ok(made), Ok(expires)) = (&made, &want) {
                    model.sessions.push(Session { id: made.id.clone(), expires: *expires, ..from });
                }
                (told(made, |made| made.expires_at.0.to_string()), want.map(|expires| expires.to_string()))
            }
            Step::CreateSession(user, organization) => {
                let in_organization = organization.map(OrganizationKey::Number);
                let made = organizations::create_session(db, actor, &key(user), in_organization.as_ref());
                let want = model.create_session(who, *user, *organization);
                if let (Ok(made), Ok(_)) = (&made, &want) {
                    model.sessions.push(Session {
                        id: made.id.clone(),
                        user: *user,
                        reads_only: false,
                        expires: model.now + 7 * DAY,
                        ended: !model.user(*user).is_some_and(|user| user.enabled),
                    });
                }
                (told(made, nothing), want)
            }
            other => panic!("{other:?} is not about accounts"),
        }
    }
}

pub(crate) fn secrets() -> Secrets {
    Secrets::new([7; 32])
}

/// The whole list, in pieces of three.
fn all_members(db: &Db, actor: &Actor, at: &At, listed: Listed) -> Result<Vec<String>, Error> {
    let (mut told, mut after) = (Vec::new(), Cursor::START);
    loop {
        let piece = memberships::list(db, actor, at, Piece { listed, after, most: 3 })?;
        let Some(last) = piece.last() else { return Ok(told) };
        after = last.cursor();
        told.extend(piece.into_iter().map(tell_member));
    }
}

/// The whole list, in pieces of two.
fn all_mine(db: &Db, actor: &Actor) -> Result<Vec<(i64, i64, &'static str)>, Error> {
    let (mut told, mut after) = (Vec::new(), None);
    loop {
        let piece = organizations::mine(db, actor, after.as_ref(), 2)?;
        let Some(last) = piece.last().cloned() else { return Ok(told) };
        told.extend(piece.iter().map(|mine| (mine.joined_at.0, mine.organization.id.0, mine.role.as_str())));
        after = Some(last);
    }
}
