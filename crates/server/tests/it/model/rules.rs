//! The rules, written again from their text: who may do what, and what follows. Nothing here is taken from the domain but
//! the names of roles, states and rights.

use std::collections::BTreeMap;

use guildhall_domain::authz::{Permission, Role, State};
use guildhall_domain::id::{OrganizationId, UserId};
use guildhall_domain::memberships::{Among, Grant, Joining, Own, Sight, Visibility};

/// A day in microseconds.
pub(crate) const DAY: i64 = 24 * 3600 * 1_000_000;

/// What a step answers: what it tells, or the name of the error.
pub(crate) type Told<T = String> = Result<T, String>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) state: State,
    pub(crate) joined: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Organization {
    pub(crate) id: OrganizationId,
    pub(crate) short: String,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) visibility: Visibility,
    pub(crate) joining: Joining,
    pub(crate) archived: bool,
    pub(crate) members: BTreeMap<UserId, Member>,
}

impl Organization {
    /// Whether the standing of `user` lets them invite people to become that.
    pub(crate) fn may_invite(&self, user: UserId, invited_as: Role) -> bool {
        let least = if invited_as == Role::Member { Role::Admin } else { Role::Owner };
        self.members.get(&user).is_some_and(|member| counts(member.state) && member.role >= least)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) short: String,
    pub(crate) name: String,
    pub(crate) enabled: bool,
    pub(crate) confirmed: bool,
    pub(crate) seen: i64,
}

impl User {
    pub(crate) fn email(&self) -> String {
        format!("{}@example.com", self.name)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) user: UserId,
    pub(crate) reads_only: bool,
    pub(crate) expires: i64,
    pub(crate) ended: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Invitation {
    pub(crate) token: String,
    pub(crate) organization: OrganizationId,
    pub(crate) email: String,
    pub(crate) role: Role,
    pub(crate) inviter: Option<UserId>,
    pub(crate) expires: i64,
    pub(crate) accepted: bool,
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    System,
    User { id: UserId, reads_only: bool },
}

impl Who {
    pub(crate) fn user(self) -> Option<UserId> {
        match self {
            Self::User { id, .. } => Some(id),
            Self::Nobody | Self::System => None,
        }
    }

    fn require_user(self) -> Told<UserId> {
        self.user().ok_or_else(|| "Unauthenticated".into())
    }

    fn require_writing(self) -> Told<()> {
        match self {
            Self::User { reads_only: true, .. } => Err("Denied(Scope)".into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn require_system(self) -> Told<()> {
        if self == Self::System { Ok(()) } else { Err("Denied(Role)".into()) }
    }
}

/// Where: the organization's number, and to whom it exists there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(pub(crate) OrganizationId, pub(crate) Sight);

/// The whole state.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) now: i64,
    pub(crate) users: Vec<User>,
    pub(crate) organizations: BTreeMap<OrganizationId, Organization>,
    pub(crate) invitations: Vec<Invitation>,
    pub(crate) sessions: Vec<Session>,
}

fn refuse<T>(error: &str) -> Told<T> {
    Err(error.into())
}

fn counts(state: State) -> bool {
    state == State::Active || state == State::Inactive
}

fn leads(member: &Member) -> bool {
    member.role != Role::Member && counts(member.state)
}

fn least(permission: Permission) -> Role {
    use Permission as P;
    match permission {
        P::ReadProfile | P::ReadMembers | P::AttendEvents => Role::Member,
        P::Delete | P::InviteOwners | P::RemoveAsOwner => Role::Owner,
        _ => Role::Admin,
    }
}

/// An admin does everything but touch an owner.
fn touch(giver: Role, target: Role) -> Told<()> {
    if giver == Role::Admin && target == Role::Owner { refuse("Denied(OwnerOnly)") } else { Ok(()) }
}

fn granted(grant: Grant, giver: Role) -> Role {
    if grant == Grant::Member { Role::Member } else { giver }
}

impl Model {
    pub(crate) fn user(&self, id: UserId) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    fn is_enabled(&self, id: UserId) -> bool {
        self.user(id).is_some_and(|user| user.enabled)
    }

    /// An active or inactive member has their role's power, the operator an owner's.
    fn power(&self, who: Who, organization: &Organization) -> Option<Role> {
        match who {
            Who::System => Some(Role::Owner),
            Who::Nobody => None,
            Who::User { id, .. } => {
                organization.members.get(&id).filter(|member| counts(member.state)).map(|member| member.role)
            }
        }
    }

    /// Rules 7 and 8.
    pub(crate) fn visible(&self, who: Who, place: Place) -> Told<&Organization> {
        let Some(organization) = self.organizations.get(&place.0) else {
            return refuse("Missing(Organization)");
        };
        let power = self.power(who, organization);
        let sees = if organization.archived {
            match place.1 {
                Sight::ByVisibilityArchivedInCharge => power.is_some_and(|role| role != Role::Member),
                Sight::ByVisibility | Sight::MembersOnly => power.is_some(),
            }
        } else if power.is_some() {
            true
        } else {
            place.1 != Sight::MembersOnly
                && match organization.visibility {
                    Visibility::Public => true,
                    Visibility::Internal => who.user().is_some(),
                    Visibility::Private => false,
                }
        };
        if sees { Ok(organization) } else { refuse("Missing(Organization)") }
    }

    pub(crate) fn require(
        &self,
        who: Who,
        place: Place,
        permission: Permission,
    ) -> Told<(Organization, Role)> {
        let organization = self.visible(who, place)?;
        let reads = matches!(permission, Permission::ReadProfile | Permission::ReadMembers);
        if !reads {
            who.require_writing()?;
        }
        let Some(role) = self.power(who, organization) else { return refuse("Denied(Role)") };
        if role < least(permission) {
            return refuse(if role == Role::Admin { "Denied(OwnerOnly)" } else { "Denied(Role)" });
        }
        let frozen = !reads && !matches!(permission, Permission::Archive | Permission::Delete);
        if organization.archived && frozen && who != Who::System {
            return refuse("Denied(Archived)");
        }
        Ok((organization.clone(), role))
    }

    /// Rule 5: answers whether somebody is in charge, and lets the longest-serving admin succeed where no owner is left.
    fn settle(&self, organization: &mut Organization) -> bool {
        let mut first: Option<(i64, UserId)> = None;
        let mut has_owner = false;
        for (user, member) in &organization.members {
            if leads(member) && self.is_enabled(*user) {
                has_owner |= member.role == Role::Owner;
                let place = (member.joined, *user);
                first = Some(first.map_or(place, |first| first.min(place)));
            }
        }
        let Some((_, first)) = first else { return false };
        if !has_owner {
            organization.members.get_mut(&first).expect("a member").role = Role::Owner;
        }
        true
    }

    /// Keeps what became of an organization, unless a change took the last one in charge away.
    fn keep(&mut self, mut organization: Organization, took_charge: bool) -> Told<()> {
        if took_charge && !self.settle(&mut organization) {
            return refuse("Conflict(LastInCharge)");
        }
        let before = self.organizations.insert(organization.id, organization.clone());
        // Who was taken out or lowered is not let back in by an invitation that still lies about. What they sent themselves and
        // could not send any more does not come back with the right.
        for (user, member) in before.map(|before| before.members).unwrap_or_default() {
            for sent in self.invitations.iter_mut().filter(|sent| sent.organization == organization.id) {
                if sent.inviter == Some(user) && !sent.accepted && !organization.may_invite(user, sent.role) {
                    sent.inviter = None;
                }
            }
            let is_less = organization.members.get(&user).is_none_or(|now| now.role < member.role);
            if let (true, Some(email)) = (is_less, self.user(user).map(User::email)) {
                self.invitations.retain(|other| {
                    other.accepted || other.organization != organization.id || other.email != email
                });
            }
        }
        Ok(())
    }

    /// A member as it is shown: one not seen for 90 days is inactive.
    fn shown(&self, user: UserId, member: &Member) -> State {
        let unseen = self.user(user).is_some_and(|user| user.seen < self.now - 90 * DAY);
        if member.state == State::Active && unseen { State::Inactive } else { member.state }
    }

    fn tell(&self, organization: &OrganizationId, user: UserId) -> String {
        let member = &self.organizations[organization].members[&user];
        format!("{} {} {}", user.0, member.role.as_str(), self.shown(user, member).as_str())
    }

    pub(crate) fn add(&mut self, who: Who, place: Place, user: UserId, grant: Grant) -> Told {
        let (mut organization, role) = self.require(who, place, Permission::AddMembers)?;
        if self.user(user).is_none() {
            return refuse("Missing(User)");
        }
        match organization.members.get(&user) {
            Some(before) if before.state == State::Pending => touch(role, before.role)?,
            Some(_) => return refuse("Conflict(AlreadyMember)"),
            None => {}
        }
        let member = Member { role: granted(grant, role), state: State::Active, joined: self.now };
        organization.members.insert(user, member);
        self.keep(organization, false)?;
        Ok(self.tell(&place.0, user))
    }

    pub(crate) fn change_role(
        &mut self,
        who: Who,
        place: Place,
        (user, own): (UserId, Own),
        grant: Grant,
    ) -> Told {
        let (mut organization, role) = self.require(who, place, Permission::ChangeRoles)?;
        let Some(member) = organization.members.get_mut(&user).filter(|member| counts(member.state)) else {
            return refuse("Missing(Member)");
        };
        let changes = (member.role == Role::Member) != (grant == Grant::Member);
        if changes && own == Own::Refused && who.user() == Some(user) {
            return refuse("Denied(Own)");
        }
        touch(role, member.role)?;
        if changes {
            let took_charge = member.role != Role::Member;
            member.role = granted(grant, role);
            self.keep(organization, took_charge)?;
        }
        Ok(self.tell(&place.0, user))
    }

    pub(crate) fn change_roles(&mut self, who: Who, place: Place, users: &[UserId], grant: Grant) -> Told {
        let (mut organization, role) = self.require(who, place, Permission::ChangeRoles)?;
        let mut took_charge = false;
        for user in users {
            let Some(member) = organization.members.get_mut(user) else { continue };
            if member.state == State::Suspended {
                continue;
            }
            touch(role, member.role)?;
            let led = leads(member);
            if member.state == State::Pending {
                (member.state, member.joined) = (State::Active, self.now);
            }
            if (member.role == Role::Member) != (grant == Grant::Member) {
                member.role = granted(grant, role);
                took_charge |= led;
            }
        }
        self.keep(organization, took_charge)?;
        Ok(String::new())
    }

    pub(crate) fn remove(
        &mut self,
        who: Who,
        place: Place,
        user: UserId,
        (among, permission, own): (Among, Permission, Own),
    ) -> Told {
        let is_own = who.user() == Some(user);
        if is_own && own == Own::Allowed && permission == Permission::RemoveMembers {
            return self.leave(who, place);
        }
        let (mut organization, role) = self.require(who, place, permission)?;
        if is_own && own == Own::Refused {
            return refuse("Denied(Own)");
        }
        let holds = |state| match among {
            Among::Members => counts(state),
            Among::WithPending => state != State::Suspended,
            Among::All => true,
        };
        let Some(member) = organization.members.get(&user).filter(|member| holds(member.state)) else {
            return refuse("Missing(Member)");
        };
        touch(role, member.role)?;
        let took_charge = leads(member);
        organization.members.remove(&user);
        let name = organization.name.clone();
        self.keep(organization, took_charge)?;
        Ok(name)
    }

    pub(crate) fn remove_all(&mut self, who: Who, place: Place, users: &[UserId]) -> Told {
        if !users.is_empty() && users.iter().all(|user| who.user() == Some(*user)) {
            return self.leave(who, place).map(|_| String::new());
        }
        let (mut organization, role) = self.require(who, place, Permission::RemoveMembers)?;
        let mut took_charge = false;
        for user in users {
            let Some(member) = organization.members.get(user) else { continue };
            if member.state != State::Suspended {
                touch(role, member.role)?;
                took_charge |= leads(member);
                organization.members.remove(user);
            }
        }
        self.keep(organization, took_charge)?;
        Ok(String::new())
    }

    pub(crate) fn leave(&mut self, who: Who, place: Place) -> Told {
        let user = who.require_user()?;
        let Some(organization) = self.organizations.get(&place.0) else {
            return refuse("Missing(Organization)");
        };
        let is_pending = organization.members.get(&user).is_some_and(|m| m.state == State::Pending);
        if !is_pending {
            self.visible(who, place)?;
        }
        who.require_writing()?;
        let mut organization = organization.clone();
        let Some(member) = organization.members.remove(&user) else { return refuse("Missing(Member)") };
        if member.state == State::Suspended {
            return refuse("Denied(Suspended)");
        }
        let name = organization.name.clone();
        self.keep(organization, leads(&member))?;
        Ok(name)
    }

    pub(crate) fn join(&mut self, who: Who, place: Place) -> Told {
        let user = who.require_user()?;
        let mut organization = self.visible(who, place)?.clone();
        who.require_writing()?;
        if organization.archived {
            return refuse("Denied(Archived)");
        }
        if organization.members.contains_key(&user) {
            return refuse("Conflict(AlreadyMember)");
        }
        if organization.joining == Joining::Invite {
            return refuse("Denied(InvitationNeeded)");
        }
        let member = Member { role: Role::Member, state: State::Active, joined: self.now };
        organization.members.insert(user, member);
        let name = organization.name.clone();
        self.keep(organization, false)?;
        Ok(name)
    }

    pub(crate) fn put(&mut self, who: Who, place: Place, user: UserId, (role, state): (Role, State)) -> Told {
        who.require_system()?;
        let Some(mut organization) = self.organizations.get(&place.0).cloned() else {
            return refuse("Missing(Organization)");
        };
        if self.user(user).is_none() {
            return refuse("Missing(User)");
        }
        let before = organization.members.get(&user).cloned();
        let joined = before.as_ref().map_or(self.now, |member| member.joined);
        organization.members.insert(user, Member { role, state, joined });
        if before.as_ref().is_some_and(leads) {
            self.keep(organization, true)?;
        } else {
            self.settle(&mut organization);
            self.keep(organization, false)?;
        }
        if state == State::Inactive {
            let yesterday = self.now - DAY;
            let user = self.users.iter_mut().find(|other| other.id == user).expect("known");
            user.seen = user.seen.min(yesterday);
        }
        Ok(self.tell(&place.0, user))
    }

    pub(crate) fn reset_passwords(&self, who: Who, place: Place, users: &[UserId]) -> Told {
        let (organization, role) = self.require(who, place, Permission::ResetPasswords)?;
        for user in users {
            if let Some(member) = organization.members.get(user)
                && member.state != State::Suspended
            {
                touch(role, member.role)?;
            }
        }
        Ok(String::new())
    }

    pub(crate) fn disable(&mut self, who: Who, user: UserId, force: bool) -> Told {
        who.require_system()?;
        let mut after = self.clone();
        let Some(account) = after.users.iter_mut().find(|other| other.id == user) else {
            return refuse("Missing(User)");
        };
        account.enabled = false;
        for session in after.sessions.iter_mut().filter(|session| session.user == user) {
            session.ended = true;
        }
        for mut organization in self.organizations.values().cloned() {
            if organization.members.get(&user).is_some_and(leads) {
                if !after.settle(&mut organization) && !force {
                    return refuse("Conflict(LastInCharge)");
                }
                after.organizations.insert(organization.id, organization);
            }
        }
        *self = after;
        Ok(String::new())
    }

    pub(crate) fn enable(&mut self, who: Who, user: UserId) -> Told {
        who.require_system()?;
        let Some(account) = self.users.iter_mut().find(|other| other.id == user) else {
            return refuse("Missing(User)");
        };
        account.enabled = true;
        for mut organization in self.organizations.clone().into_values() {
            if organization.members.get(&user).is_some_and(leads) {
                self.settle(&mut organization);
                self.organizations.insert(organization.id, organization);
            }
        }
        Ok(String::new())
    }

    pub(crate) fn seen(&mut self, who: Who) -> Told {
        let id = who.require_user()?;
        let now = self.now;
        self.users.iter_mut().filter(|user| user.id == id).for_each(|user| user.seen = now);
        for organization in self.organizations.values_mut() {
            if let Some(member) = organization.members.get_mut(&id)
                && member.state == State::Inactive
            {
                member.state = State::Active;
            }
        }
        Ok(String::new())
    }
}
