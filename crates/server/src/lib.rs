//! How Guildhall is reached: every byte of HTTP, mail and images, and the command line.

pub mod issuers;
pub mod listen;
pub mod mail;
pub mod media;
pub mod observe;
pub mod pages;
pub mod tokens;
mod verified;
