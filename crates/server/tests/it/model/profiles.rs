//! The rules about organizations as such, invitations, sessions and lists, written again from their text.

use guildhall_domain::authz::{Permission, Role, State};
use guildhall_domain::id::{OrganizationId, UserId};
use guildhall_domain::memberships::{Joining, Listed, Visibility};
use guildhall_domain::organizations::Terms;

use super::rules::{DAY, Invitation, Member, Model, Organization, Place, Session, Told, Who};

/// An organization to be.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub(crate) name: &'static str,
    pub(crate) visibility: Visibility,
    pub(crate) joining: Joining,
    pub(crate) archived: bool,
    pub(crate) terms: Terms,
}

fn refuse<T>(error: &str) -> Told<T> {
    Err(error.into())
}

fn counts(member: &Member) -> bool {
    matches!(member.state, State::Active | State::Inactive)
}

impl Model {
    /// Rule 10, for names of letters and spaces alone.
    fn slug(&self, name: &str) -> String {
        const RESERVED: [&str; 8] =
            ["add", "new", "create", "invite", "switch", "me", "users", "organizations"];
        let cut = |text: &str, most: usize| text[..text.len().min(most)].trim_end_matches('-').to_owned();
        let base = cut(&name.to_lowercase().replace(' ', "-"), 50);
        let is_free = |slug: &String| {
            !RESERVED.contains(&slug.as_str()) && self.organizations.values().all(|o| o.slug != *slug)
        };
        std::iter::once(base.clone())
            .chain((1..).map(|number| {
                let suffix = format!("-{number}");
                cut(&base, 50 - suffix.len()) + &suffix
            }))
            .find(is_free)
            .expect("numbers do not end")
    }

    fn is_public_name(&self, name: &str, except: Option<OrganizationId>) -> bool {
        self.organizations.values().any(|other| {
            other.visibility == Visibility::Public
                && Some(other.id) != except
                && other.name.eq_ignore_ascii_case(name)
        })
    }

    fn own(&self, user: UserId) -> impl Iterator<Item = (&Organization, &Member)> {
        let own = move |o| {
            let organization: &Organization = o;
            organization
                .members
                .get(&user)
                .filter(|member| counts(member))
                .map(|member| (organization, member))
        };
        self.organizations.values().filter_map(own)
    }

    fn refuse_own_name(&self, user: UserId, name: &str, except: Option<OrganizationId>) -> Told<()> {
        let same = |o: &Organization| Some(o.id) != except && o.name.eq_ignore_ascii_case(name);
        if self.own(user).any(|(o, _)| same(o)) { refuse("Conflict(OwnNameTaken)") } else { Ok(()) }
    }

    /// Whether it may be made, and its slug.
    pub(crate) fn create(&self, who: Who, new: &New) -> Told {
        let Who::User { id, reads_only } = who else { return refuse("Unauthenticated") };
        if reads_only {
            return refuse("Denied(Scope)");
        }
        let leads = self.own(id).any(|(_, member)| member.role != Role::Member);
        if new.terms.creator_leads_or_is_free && !leads && self.own(id).next().is_some() {
            return refuse("Denied(Role)");
        }
        if new.terms.own_names_differ {
            self.refuse_own_name(id, new.name, None)?;
        }
        if new.visibility == Visibility::Public && self.is_public_name(new.name, None) {
            return refuse("Conflict(NameTaken)");
        }
        Ok(self.slug(new.name))
    }

    /// Keeps what was made.
    pub(crate) fn created(&mut self, owner: UserId, new: &New, (id, short): (OrganizationId, String)) {
        let member = Member { role: Role::Owner, state: State::Active, joined: self.now };
        let organization = Organization {
            id,
            short,
            slug: self.slug(new.name),
            name: new.name.into(),
            visibility: new.visibility,
            joining: new.joining,
            archived: new.archived,
            members: [(owner, member)].into(),
        };
        self.organizations.insert(id, organization);
    }

    pub(crate) fn update(
        &mut self,
        who: Who,
        place: Place,
        (name, archived): (Option<&str>, Option<bool>),
        terms: Terms,
    ) -> Told {
        let permission = if archived == Some(false) { Permission::Archive } else { Permission::Update };
        let (mut organization, _) = self.require(who, place, permission)?;
        if let Some(name) = name {
            if organization.visibility == Visibility::Public && self.is_public_name(name, Some(place.0)) {
                return refuse("Conflict(NameTaken)");
            }
            if let (true, Some(user)) = (terms.own_names_differ, who.user()) {
                self.refuse_own_name(user, name, Some(place.0))?;
            }
            organization.name = name.into();
        }
        organization.archived = archived.unwrap_or(organization.archived);
        let told = format!("{} {}", organization.name, organization.archived);
        self.organizations.insert(place.0, organization);
        Ok(told)
    }

    pub(crate) fn delete(&mut self, who: Who, place: Place) -> Told {
        self.require(who, place, Permission::Delete)?;
        self.organizations.remove(&place.0);
        self.invitations.retain(|invitation| invitation.organization != place.0);
        Ok(String::new())
    }

    pub(crate) fn get(&self, who: Who, place: Place) -> Told {
        let organization = self.visible(who, place)?;
        let role = who.user().and_then(|user| organization.members.get(&user)).filter(|m| counts(m));
        let role = role.map_or("none", |member| member.role.as_str());
        Ok(format!("{} {} {role}", organization.slug, organization.name))
    }

    /// Whether it may be sent.
    pub(crate) fn invite(
        &self,
        who: Who,
        place: Place,
        email: &str,
        (role, refuse_members): (Role, bool),
    ) -> Told {
        let permission = if role == Role::Member { Permission::AddMembers } else { Permission::InviteOwners };
        let (organization, _) = self.require(who, place, permission)?;
        let invitee = self.users.iter().find(|user| user.email() == email);
        let is_member = invitee.is_some_and(|user| organization.members.contains_key(&user.id));
        if refuse_members && is_member {
            return Err(format!("{email} is a member of {}", organization.name));
        }
        Ok(organization.name)
    }

    /// Keeps what was sent: an earlier one for the same address ends.
    pub(crate) fn invited(&mut self, new: Invitation) {
        self.invitations.retain(|other| (other.organization, &other.email) != (new.organization, &new.email));
        self.invitations.push(new);
    }

    pub(crate) fn revoke(&mut self, who: Who, place: Place, email: &str) -> Told {
        self.require(who, place, Permission::AddMembers)?;
        self.invitations
            .retain(|other| (other.organization, other.email.as_str()) != (place.0, email) || other.accepted);
        Ok(String::new())
    }

    fn invitation(&self, token: &str) -> Told<&Invitation> {
        self.invitations.iter().find(|i| i.token == token).ok_or_else(|| "Missing(Token)".into())
    }

    fn invitation_state(&self, invitation: &Invitation) -> &'static str {
        let organization = &self.organizations[&invitation.organization];
        let is_meant = invitation.inviter.is_some_and(|inviter| {
            self.user(inviter).is_some_and(|user| user.enabled)
                && organization.may_invite(inviter, invitation.role)
        });
        if invitation.accepted {
            "Accepted"
        } else if invitation.expires <= self.now {
            "Expired"
        } else if organization.archived || !is_meant {
            "Withdrawn"
        } else {
            "Open"
        }
    }

    pub(crate) fn look_at(&self, token: &str) -> Told {
        let invitation = self.invitation(token)?;
        let organization = &self.organizations[&invitation.organization];
        let invitee = match self.users.iter().find(|user| user.email() == invitation.email) {
            None => "Nobody".to_owned(),
            Some(user) => match organization.members.get(&user.id) {
                Some(member) => format!("Member({:?}, {:?})", member.role, member.state),
                None => "Stranger".to_owned(),
            },
        };
        Ok(format!("{} {} {invitee}", organization.name, self.invitation_state(invitation)))
    }

    pub(crate) fn accept(&mut self, who: Who, token: &str) -> Told {
        let Who::User { id, reads_only } = who else { return refuse("Unauthenticated") };
        if reads_only {
            return refuse("Denied(Scope)");
        }
        let invitation = self.invitation(token)?.clone();
        let user = self.user(id).expect("who is signed in has an account");
        if user.email() != invitation.email {
            return refuse("Denied(OtherAddress)");
        }
        if !user.confirmed {
            return refuse("Denied(Unverified)");
        }
        let is_open = self.invitation_state(&invitation) == "Open";
        let now = self.now;
        let organization = self.organizations.get_mut(&invitation.organization).expect("it is there");
        match (organization.members.get_mut(&id), invitation.role) {
            (Some(_), Role::Member) => return refuse("Conflict(AlreadyMember)"),
            (Some(member), _) if member.role == Role::Owner => return refuse("Conflict(AlreadyMember)"),
            _ if !is_open => return refuse("Missing(Token)"),
            (None, Role::Member) => {
                let member = Member { role: Role::Member, state: State::Active, joined: now };
                organization.members.insert(id, member);
            }
            (Some(member), role) if counts(member) => member.role = role,
            _ => return refuse("Missing(Member)"),
        }
        let name = organization.name.clone();
        self.invitations.iter_mut().filter(|i| i.token == token).for_each(|i| i.accepted = true);
        Ok(name)
    }

    /// When a session for that organization would end.
    pub(crate) fn switch(&self, who: Who, place: Place, session: &Session) -> Told<i64> {
        if who.user().is_none() {
            return refuse("Unauthenticated");
        }
        self.require(who, place, Permission::ReadProfile)?;
        Ok(session.expires.min(self.now + 7 * DAY))
    }

    /// Whether the operator can make a session for that person, for that organization.
    pub(crate) fn create_session(
        &self,
        who: Who,
        user: UserId,
        organization: Option<OrganizationId>,
    ) -> Told {
        who.require_system()?;
        if self.user(user).is_none() {
            return refuse("Missing(User)");
        }
        let belongs = |id| self.own(user).any(|(organization, _)| organization.id == id);
        match organization {
            Some(id) if !self.organizations.contains_key(&id) => refuse("Missing(Organization)"),
            Some(id) if !belongs(id) => refuse("Missing(Member)"),
            _ => Ok(String::new()),
        }
    }

    pub(crate) fn mine(&self, who: Who) -> Told {
        let Some(user) = who.user() else { return refuse("Unauthenticated") };
        let mut own: Vec<_> = self.own(user).map(|(o, m)| (m.joined, o.id.0, m.role.as_str())).collect();
        own.sort_unstable();
        Ok(format!("{own:?}"))
    }

    pub(crate) fn members(&self, who: Who, place: Place, listed: Listed) -> Told {
        let organization = match listed {
            Listed::Members | Listed::WithPending => self.require(who, place, Permission::ReadMembers)?.0,
            Listed::Owners | Listed::Shown => {
                let organization = self.visible(who, place)?.clone();
                let is_member = who == Who::System
                    || who.user().and_then(|user| organization.members.get(&user)).is_some_and(counts);
                if !is_member && (organization.joining != Joining::Open || who.user().is_none()) {
                    return refuse("Denied(Role)");
                }
                organization
            }
        };
        let unseen = |user: &UserId| self.user(*user).is_some_and(|user| user.seen < self.now - 90 * DAY);
        let state = |user: &UserId, member: &Member| {
            if member.state == State::Active && unseen(user) { State::Inactive } else { member.state }
        };
        let is_in = |(_, member): &(&UserId, &Member)| match listed {
            Listed::Members | Listed::Shown => counts(member),
            Listed::WithPending => counts(member) || member.state == State::Pending,
            Listed::Owners => counts(member) && member.role == Role::Owner,
        };
        let mut list: Vec<_> = organization.members.iter().filter(is_in).collect();
        list.sort_by_key(|(user, member)| (member.joined, user.0));
        let told = list
            .iter()
            .map(|(user, m)| format!("{} {} {}", user.0, m.role.as_str(), state(user, m).as_str()));
        Ok(told.collect::<Vec<_>>().join(", "))
    }

    pub(crate) fn member(&self, who: Who, place: Place, user: UserId) -> Told {
        self.require(who, place, Permission::ReadMembers)?;
        let list = self.members(Who::System, place, Listed::Members)?;
        let begin = format!("{} ", user.0);
        let found = list.split(", ").find(|line| line.starts_with(&begin));
        found.map(str::to_owned).ok_or_else(|| "Missing(Member)".into())
    }
}
