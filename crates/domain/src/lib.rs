//! What is true in Guildhall: users, organizations, memberships, roles, invitations.
//!
//! No HTTP, no wire JSON, no async. The modules stand in reading order, which is dependency order: a module uses only
//! those above it.

pub mod clock;
