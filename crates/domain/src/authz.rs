//! Who acts, and what a role allows: the one table. Pure; nothing here asks the database.

use crate::error::{Denied, Error, Result};
use crate::id::{OrganizationId, UserId};

/// Who calls an operation.
///
/// Made by [`crate::credentials`] from a credential that was checked, or as nobody, or as the system itself.
#[derive(Clone, Debug)]
pub struct Actor {
    subject: Subject,
    /// What the credential may do at the most.
    pub(crate) scope: Scope,
    /// By which credential.
    pub(crate) credential: Credential,
    /// Whether the account's address is confirmed or a trusted issuer vouches for it.
    pub(crate) confirmed: bool,
}

#[derive(Clone, Debug)]
enum Subject {
    Nobody,
    User(UserId),
    System,
}

/// What a credential may do at the most, whatever its owner may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Look, and log itself out.
    Read,
    /// All that its owner may.
    Write,
}

/// The credential by which somebody acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// None: nobody, or the system.
    None,
    /// A session, by token or key: its id, the organization it was made for, and when it ends.
    Session {
        /// The `sid` of a token, or the hash of a key.
        id: String,
        /// The organization that the token was made for.
        organization: Option<OrganizationId>,
        /// When it ends by itself.
        expires_at: crate::clock::Timestamp,
        /// Whether it was derived from the account's API key, and ends with it.
        from_api_key: bool,
    },
    /// The account's API key.
    ApiKey {
        /// SHA-256 of the key.
        hash: String,
    },
    /// A token of a trusted issuer, and when it ends.
    Issued {
        /// SHA-256 of the token.
        hash: String,
        /// The token's own end.
        expires_at: crate::clock::Timestamp,
    },
}

impl Actor {
    /// Somebody who showed no credential.
    #[must_use]
    pub fn nobody() -> Self {
        Self { subject: Subject::Nobody, scope: Scope::Write, credential: Credential::None, confirmed: false }
    }

    /// The operator at the command line, and the program's own workers: may everything.
    #[must_use]
    pub fn system() -> Self {
        Self { subject: Subject::System, scope: Scope::Write, credential: Credential::None, confirmed: true }
    }

    pub(crate) fn user(user: UserId, scope: Scope, credential: Credential, confirmed: bool) -> Self {
        Self { subject: Subject::User(user), scope, credential, confirmed }
    }

    /// The account that acts.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for nobody, and for the system, which has no account.
    pub fn require_user(&self) -> Result<UserId> {
        self.user_id().ok_or(Error::Unauthenticated)
    }

    /// The account that acts, if one does.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        match self.subject {
            Subject::User(user) => Some(user),
            Subject::Nobody | Subject::System => None,
        }
    }

    /// The account that acts, which may change things.
    ///
    /// # Errors
    /// As [`Actor::require_user`]; [`Denied::Scope`] where the credential may only read.
    pub fn require_writer(&self) -> Result<UserId> {
        let user = self.require_user()?;
        self.require_write_scope()?;
        Ok(user)
    }

    /// # Errors
    /// [`Denied::Scope`] where the credential may only read.
    pub fn require_write_scope(&self) -> Result<()> {
        if self.scope == Scope::Read { Err(Denied::Scope.into()) } else { Ok(()) }
    }

    /// # Errors
    /// [`Denied::Role`] for all but the system.
    pub(crate) fn require_system(&self) -> Result<()> {
        if self.is_system() { Ok(()) } else { Err(Denied::Role.into()) }
    }

    /// Whether this is the operator or the program itself.
    #[must_use]
    pub fn is_system(&self) -> bool {
        matches!(self.subject, Subject::System)
    }

    /// Whether the account's address is confirmed or a trusted issuer vouches for it.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// By which credential this acts.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }
}

/// What somebody is in an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Belongs to it.
    Member,
    /// Runs it, but touches no owner and does not delete it.
    Admin,
    /// May do everything.
    Owner,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::Owner];

    /// As the database and the command line write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether it is one that keeps an organization in charge.
    #[must_use]
    pub fn is_in_charge(self) -> bool {
        self >= Self::Admin
    }
}

/// How a membership stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Belongs and comes.
    Active,
    /// Belongs and has not been seen for long; active again when seen.
    Inactive,
    /// Waits for approval: no power.
    Pending,
    /// Shut out: no power, and may neither leave nor join again.
    Suspended,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Active, Self::Inactive, Self::Pending, Self::Suspended];

    /// As the database and the command line write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Suspended => "suspended",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether one in this state has the power of their role and is listed.
    #[must_use]
    pub fn counts(self) -> bool {
        matches!(self, Self::Active | Self::Inactive)
    }
}

/// What somebody wants to do in an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// See that it is, and its profile, whatever its visibility.
    ReadProfile,
    /// See who its members are.
    ReadMembers,
    /// Change its name, profile and images.
    Update,
    /// Archive and unarchive it; the one change that an archived organization knows.
    Archive,
    /// Delete it.
    Delete,
    /// Add people, invite them as members.
    AddMembers,
    /// Invite people to become owners.
    InviteOwners,
    /// Make members admins or owners, and the reverse.
    ChangeRoles,
    /// Take people out.
    RemoveMembers,
    /// Take people out where a dialect documents that owners alone do.
    RemoveAsOwner,
    /// Have a link mailed to members by which they choose a new password.
    ResetPasswords,
    /// Make events, change and delete them.
    ManageEvents,
    /// Say that one comes to an event.
    AttendEvents,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 13] = [
        Self::ReadProfile,
        Self::ReadMembers,
        Self::Update,
        Self::Archive,
        Self::Delete,
        Self::AddMembers,
        Self::InviteOwners,
        Self::ChangeRoles,
        Self::RemoveMembers,
        Self::RemoveAsOwner,
        Self::ResetPasswords,
        Self::ManageEvents,
        Self::AttendEvents,
    ];

    /// Whether it only looks.
    #[must_use]
    pub fn only_reads(self) -> bool {
        matches!(self, Self::ReadProfile | Self::ReadMembers)
    }

    /// Whether an archived organization still allows it.
    #[must_use]
    pub fn survives_archiving(self) -> bool {
        self.only_reads() || matches!(self, Self::Archive | Self::Delete)
    }
}

/// The one table: what each role allows. What touches an owner is asked for by [`may_touch`] besides.
#[must_use]
pub fn allows(role: Role, permission: Permission) -> bool {
    let least = match permission {
        Permission::ReadProfile | Permission::ReadMembers | Permission::AttendEvents => Role::Member,
        Permission::Update
        | Permission::Archive
        | Permission::AddMembers
        | Permission::ChangeRoles
        | Permission::RemoveMembers
        | Permission::ResetPasswords
        | Permission::ManageEvents => Role::Admin,
        Permission::Delete | Permission::InviteOwners | Permission::RemoveAsOwner => Role::Owner,
    };
    role >= least
}

/// Whether one of `role` may change, remove or reset one of `target`: an admin does not touch an owner.
#[must_use]
pub fn may_touch(role: Role, target: Role) -> bool {
    role == Role::Owner || target < Role::Owner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_like_the_rule() {
        use Permission as P;
        let of = |role| P::ALL.into_iter().filter(|p| allows(role, *p)).collect::<Vec<_>>();
        assert_eq!(of(Role::Owner), P::ALL, "an owner can do everything");
        let not_admin: Vec<_> = P::ALL.into_iter().filter(|p| !allows(Role::Admin, *p)).collect();
        assert_eq!(not_admin, [P::Delete, P::InviteOwners, P::RemoveAsOwner]);
        assert_eq!(of(Role::Member), [P::ReadProfile, P::ReadMembers, P::AttendEvents]);
        let touched: Vec<_> =
            Role::ALL.into_iter().filter(|target| may_touch(Role::Admin, *target)).collect();
        assert_eq!(touched, [Role::Member, Role::Admin]);
    }
}
