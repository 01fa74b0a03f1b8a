//! One test binary: a file per concept.

mod issuers;
mod listen;
mod mail;
mod media;
mod pages;
mod tokens;
