//! Pictures: what is accepted, what is left of it, how it is kept and served.

#![allow(clippy::unwrap_used, reason = "what a test needs and does not get ends the test")]

mod accepting;
mod bucket;
mod fixtures;
mod keeping;
