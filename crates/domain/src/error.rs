//! The one error of the domain. Each dialect maps it once to its own words; none shows an internal text.

use std::fmt;
use std::time::Duration;

/// What every operation of the domain answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did not happen. Nothing was changed where one is returned, but for [`Error::InDoubt`].
#[derive(Debug)]
pub enum Error {
    /// The operation needs somebody who is signed in.
    Unauthenticated,
    /// What was named does not exist, or not for this caller: the two are one answer.
    Missing(Missing),
    /// The caller may see it, and may not do this.
    Denied(Denied),
    /// It cannot be done as things stand.
    Conflict(Conflict),
    /// Too often: may be tried again after that time.
    Limited(Duration),
    /// The database cannot be used now; nothing is wrong with the request.
    Unavailable(String),
    /// What was to be made durable failed at that: it may have happened or not, and is not tried again.
    InDoubt(String),
    /// A defect of ours. The text is for the log, never for a client.
    Internal(String),
}

/// What does not exist for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No such organization, or one that the caller may not see.
    Organization,
    /// No account with that name or address.
    User,
    /// The person does not belong to the organization.
    Member,
    /// No such event, or one of an organization that the caller may not see.
    Event,
    /// A mailed token that never was, was used, or whose time is over.
    Token,
}

/// Why the caller may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The credential may only read.
    Scope,
    /// The caller's role does not allow it, or the caller is no member.
    Role,
    /// It would touch an owner or needs one, and the caller is only an admin.
    OwnerOnly,
    /// The organization is archived: frozen until somebody in charge unarchives it.
    Archived,
    /// The caller's membership is suspended.
    Suspended,
    /// Nobody joins this organization without an invitation.
    InvitationNeeded,
    /// The caller tried on themself what only another may do.
    Own,
    /// The invitation is for another address than the caller's.
    OtherAddress,
    /// The account's address is not confirmed.
    Unverified,
}

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The person has a membership already, of whatever state. Their address, where the operation named several.
    AlreadyMember,
    /// Nobody would stay in charge of the organization.
    LastInCharge,
    /// A public organization of that name exists.
    NameTaken,
    /// The caller belongs to an organization of that name.
    OwnNameTaken,
    /// The asked-for slug is in use or reserved.
    SlugTaken,
    /// An account with that address, or with it as username, exists.
    EmailTaken,
    /// An account with that username, or with it as address, exists.
    UsernameTaken,
    /// The caller is on the list already.
    AlreadyAttending,
    /// The caller is not on the list.
    NotAttending,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthenticated => f.write_str("nobody is signed in"),
            Self::Missing(what) => f.write_str(match what {
                Missing::Organization => "no such organization",
                Missing::User => "no such account",
                Missing::Member => "not a member of the organization",
                Missing::Event => "no such event",
                Missing::Token => "the link is not good, was used, or its time is over",
            }),
            Self::Denied(why) => f.write_str(match why {
                Denied::Scope => "the credential may only read",
                Denied::Role => "the role does not allow it",
                Denied::OwnerOnly => "only an owner may do this",
                Denied::Archived => "the organization is archived",
                Denied::Suspended => "the membership is suspended",
                Denied::InvitationNeeded => "joining needs an invitation",
                Denied::Own => "only another member may do this",
                Denied::OtherAddress => "the invitation is for another address",
                Denied::Unverified => "the e-mail address is not confirmed",
            }),
            Self::Conflict(what) => f.write_str(match what {
                Conflict::AlreadyMember => "already a member",
                Conflict::LastInCharge => "somebody has to stay in charge of the organization",
                Conflict::NameTaken => "a public organization has that name",
                Conflict::OwnNameTaken => "one of your organizations has that name",
                Conflict::SlugTaken => "the slug is taken or reserved",
                Conflict::EmailTaken => "an account with that address exists",
                Conflict::UsernameTaken => "an account with that username exists",
                Conflict::AlreadyAttending => "already on the list",
                Conflict::NotAttending => "not on the list",
            }),
            Self::Limited(after) => write!(f, "too often; try again in {} seconds", after.as_secs().max(1)),
            Self::Unavailable(why) => write!(f, "the database cannot be used now: {why}"),
            Self::InDoubt(why) => write!(f, "it is not known whether this was done: {why}"),
            Self::Internal(why) => write!(f, "internal error: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Missing> for Error {
    fn from(what: Missing) -> Self {
        Self::Missing(what)
    }
}

impl From<Denied> for Error {
    fn from(why: Denied) -> Self {
        Self::Denied(why)
    }
}

impl From<Conflict> for Error {
    fn from(what: Conflict) -> Self {
        Self::Conflict(what)
    }
}
