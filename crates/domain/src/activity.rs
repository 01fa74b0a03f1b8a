//! What happened: one row per change, written in the transaction that made it.

use crate::authz::Actor;
use crate::db::WriteTx;
use crate::error::Result;
use crate::id::{OrganizationId, UserId};

/// What a change was about.
#[derive(Default)]
pub(crate) struct About<'a> {
    pub(crate) organization: Option<OrganizationId>,
    pub(crate) user: Option<UserId>,
    /// More, for people who read it; never a secret.
    pub(crate) detail: Option<&'a str>,
}

impl About<'_> {
    pub(crate) fn user(user: UserId) -> Self {
        Self { user: Some(user), ..Self::default() }
    }

    pub(crate) fn organization(organization: OrganizationId) -> Self {
        Self { organization: Some(organization), ..Self::default() }
    }

    pub(crate) fn member(organization: OrganizationId, user: UserId) -> Self {
        Self { organization: Some(organization), user: Some(user), detail: None }
    }
}

/// Appends the row: `actor` did `action`, written `thing.verb`.
pub(crate) fn record(tx: &WriteTx<'_>, actor: &Actor, action: &'static str, about: &About<'_>) -> Result<()> {
    tx.run(
        "INSERT INTO activity (id, at, actor_id, organization_id, user_id, action, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[
            (&tx.time_ordered_id()).into(),
            tx.now.into(),
            actor.user_id().into(),
            about.organization.into(),
            about.user.into(),
            action.into(),
            about.detail.into(),
        ],
    )?;
    Ok(())
}
