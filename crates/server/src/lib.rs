//! How Guildhall is reached: every byte of HTTP, mail and images, and the command line.

pub mod accounts;
pub mod app;
pub mod auth;
pub mod client;
pub mod commands;
pub mod config;
pub mod describe;
pub mod dialects;
pub mod docs;
pub mod http;
pub mod issuers;
pub mod keyring;
pub mod listen;
pub mod load;
pub mod mail;
pub mod media;
pub mod observe;
pub mod pages;
pub mod router;
pub mod sealing;
pub mod tokens;
mod verified;
pub mod workers;
