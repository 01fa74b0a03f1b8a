//! What is true in Guildhall: users, organizations, memberships, roles, invitations.
//!
//! No HTTP, no wire JSON, no async. The modules stand in reading order, which is dependency order: a module uses those
//! above it. (`db` takes who asks and one default from two below it.)

pub mod clock;
pub mod error;
pub mod id;
pub mod page;
pub mod text;

pub mod db;

pub mod authz;

mod acting;
mod activity;
pub mod keys;
pub mod limits;
pub mod outbox;

pub mod users;

pub mod credentials;

pub mod memberships;

pub mod organizations;

pub mod invitations;

pub mod events;

pub mod onboarding;

pub mod check;

pub mod copy;

pub use error::{Error, Result};
