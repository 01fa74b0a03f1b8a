//! `guildhall backup`, `guildhall check` and `guildhall signing-key`.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use guildhall_domain::Error;
use guildhall_domain::authz::Actor;
use guildhall_domain::check::findings;
use guildhall_domain::db::Db;
use guildhall_domain::id::OrganizationId;
use guildhall_domain::keys;
use guildhall_domain::organizations::{self, Organization};
use serde_json::json;

use super::Failure;
use super::folder::{self, Missing};
use super::output::{Output, PIECE};
use crate::config::{Config, Fault};
use crate::keyring::{self, KeysError};
use crate::mail::one_line;
use crate::media::Media;
use crate::sealing::Seal;
use crate::tokens;

#[derive(Subcommand)]
pub(super) enum SigningKeyCommand {
    /// Sign with a new key from now on; tokens of the old one stay good until their time is over
    Rotate,
    /// Replace all keys, that of mailed links too, where the secret that they are sealed with is lost or known to others:
    /// every session token and mailed link ends, and each server is to be restarted
    Renew,
}

pub(super) fn signing_key(config: &Config, out: Output, command: SigningKeyCommand) -> Result<(), Failure> {
    let db = folder::open_database(config, Missing::Refuse)?;
    match command {
        SigningKeyCommand::Rotate => {
            let seal = folder::open_keys(config, &db)?.seal;
            let kid = tokens::rotate(&db, &seal).map_err(Failure::new)?;
            out.show(&json!({"kid": kid}), &format!("new tokens are signed by key {kid}"))
        }
        SigningKeyCommand::Renew => {
            if folder::read_secret(config)?.is_none() && db.is_remote() {
                let why = "none is given, and the new keys would not be sealed: make one with `openssl rand -hex 32`, and \
                           give every server the same as GUILDHALL_SECRET";
                return Err(Fault::new("secret", why).into());
            }
            // First, so that a secret that is lost is not asked for.
            keys::forget(&db, &Actor::system())?;
            keyring::prepare(&db, &folder::open_seal(config, &db)?).map_err(Failure::new)?;
            out.show(&json!({}), "every session token and mailed link has ended; restart every server")
        }
    }
}

pub(super) fn backup(config: &Config, out: Output, file: &Path) -> Result<(), Failure> {
    let db = folder::open_database(config, Missing::Refuse)?;
    if let Some(folder) = folder::missing_folder(file) {
        return Err(Failure::new(format_args!("the folder {} does not exist", folder.display())));
    }
    db.backup(&Actor::system(), file)?;
    out.show(&json!({"file": file.to_string_lossy()}), &format!("{} is written", file.display()))
}

pub(super) fn check(config: &Config, out: Output) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    if let Some(db) = readable(folder::try_open_database(config, Missing::Refuse)?, &mut found)? {
        let broken = readable(findings(&db, &Actor::system()), &mut found)?;
        found.extend(broken.unwrap_or_default());
        secret(config, &db, &mut found)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot start: {error}")))?;
        runtime.block_on(pictures(config, &db, &mut found))?;
    }
    let text = if found.is_empty() { "nothing is wrong".into() } else { found.join("\n") };
    out.show(&json!({"findings": found}), &text)?;
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was read; nothing where the database is too damaged for that, which is then among what is `found`.
fn readable<T>(read: Result<T, Error>, found: &mut Vec<String>) -> Result<Option<T>, Failure> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Error::Internal(why)) => {
            found.push(one_line(&format!("the database is damaged: {why}")));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Adds what is wrong with the secret, by opening the keys with it: a server with another one does not start.
fn secret(config: &Config, db: &Db, found: &mut Vec<String>) -> Result<(), Failure> {
    let secret = match folder::read_secret(config) {
        Ok(secret) => secret,
        Err(unusable) => {
            found.push(unusable.to_string());
            return Ok(());
        }
    };
    match keyring::check(db, &Seal::new(secret)) {
        Ok(()) => {}
        Err(KeysError::Database(error)) => drop(readable(Err::<(), _>(error), found)?),
        Err(error) => found.push(Fault::new("secret", error).to_string()),
    }
    Ok(())
}

/// Adds what is wrong with the pictures that organizations show. Where none shows one, nothing need be there to keep them.
async fn pictures(config: &Config, db: &Db, found: &mut Vec<String>) -> Result<(), Failure> {
    let mut media = None;
    let mut after = OrganizationId(0);
    loop {
        let read = organizations::all(db, &Actor::system(), after, PIECE);
        let Some(piece) = readable(read, found)? else { return Ok(()) };
        let Some(last) = piece.last() else { return Ok(()) };
        after = last.id;
        for (slug, name) in piece.iter().flat_map(shown_by) {
            let media = match &media {
                Some(media) => media,
                None => media.insert(Media::open(&config.media).map_err(|why| Fault::new("media", why))?),
            };
            match media.check(name).await {
                Ok(true) => {}
                Ok(false) => {
                    found.push(format!("organization {slug}: its picture {name} is missing or damaged"))
                }
                Err(error) => {
                    found.push(format!("organization {slug}: its picture {name} cannot be read: {error}"))
                }
            }
        }
    }
}

fn shown_by(organization: &Organization) -> impl Iterator<Item = (&str, &str)> {
    let names = [&organization.image, &organization.background_image];
    names.into_iter().flatten().map(|name| (organization.slug.as_str(), name.as_str()))
}
