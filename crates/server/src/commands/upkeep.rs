//! `guildhall backup`, `guildhall check` and `guildhall signing-key`.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use guildhall_domain::authz::Actor;
use guildhall_domain::check::findings;
use guildhall_domain::clock::{Clock, Random};
use guildhall_domain::db::Db;
use guildhall_domain::id::OrganizationId;
use guildhall_domain::organizations::{self, Organization};
use serde_json::json;

use super::Failure;
use super::folder::{self, Missing};
use super::output::{Output, PIECE};
use crate::config::{Config, Fault};
use crate::media::Media;
use crate::tokens;

#[derive(Subcommand)]
pub(super) enum SigningKeyCommand {
    /// Sign with a new key from now on; tokens of the old one stay good until their time is over
    Rotate,
}

pub(super) fn signing_key(config: &Config, out: Output, command: SigningKeyCommand) -> Result<(), Failure> {
    let SigningKeyCommand::Rotate = command;
    let folder = folder::keys_folder(config);
    if !folder.exists() {
        return Err(Failure::new(format_args!("there are no keys in {}", folder.display())));
    }
    let kid = tokens::rotate(&folder, &Clock::system(), &Random::system()).map_err(Failure::new)?;
    out.show(&json!({"kid": kid}), &kid);
    Ok(())
}

pub(super) fn backup(config: &Config, out: Output, file: &Path) -> Result<(), Failure> {
    folder::open_database(config, Missing::Refuse)?.backup(&Actor::system(), file)?;
    out.show(&json!({"file": file.to_string_lossy()}), &format!("{} is written", file.display()));
    Ok(())
}

pub(super) fn check(config: &Config, out: Output) -> Result<ExitCode, Failure> {
    let db = folder::open_database(config, Missing::Refuse)?;
    let mut found = findings(&db, &Actor::system())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot start: {error}")))?;
    found.extend(runtime.block_on(pictures(config, &db))?);
    let text = if found.is_empty() { "nothing is wrong".into() } else { found.join("\n") };
    out.show(&json!({"findings": found}), &text);
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong with the pictures that organizations show. Where none shows one, nothing need be there to keep them.
async fn pictures(config: &Config, db: &Db) -> Result<Vec<String>, Failure> {
    let mut media = None;
    let mut found = Vec::new();
    let mut after = OrganizationId(0);
    loop {
        let piece = organizations::all(db, &Actor::system(), after, PIECE)?;
        let Some(last) = piece.last() else { return Ok(found) };
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
