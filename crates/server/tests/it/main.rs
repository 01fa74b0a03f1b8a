//! One test binary: a file per concept.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod accounts;
mod authz;
mod bit;
mod browser;
mod buildog;
mod cadasta;
mod cli;
mod describe;
mod described;
mod engines;
mod faces;
mod faults;
mod harness;
mod hostile;
mod hygiene;
mod issuers;
mod keyring;
mod limits;
mod listen;
mod mail;
mod media;
mod model;
mod nodes;
mod on_postgres;
mod pages;
mod place;
mod pm415;
mod process;
mod races;
mod readme;
mod schema;
mod sources;
mod stormz;
mod tidy;
mod tokens;
