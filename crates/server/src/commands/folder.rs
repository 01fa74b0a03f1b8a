//! The data folder: for its owner alone, and for one server at a time.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use guildhall_domain::Error;
use guildhall_domain::clock::{Clock, Random};
use guildhall_domain::db::{Db, Settings};
use guildhall_domain::outbox::Secrets;

use super::Failure;
use crate::config::{Config, Database, Fault};
use crate::keyring::{self, KeysError};
use crate::sealing::{Seal, Secret, WAY_OUT};
use crate::tokens::Keys;

/// What may be done about a database that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made.
    Make,
    /// It is told: a mistyped folder must not look like an empty one.
    Refuse,
}

/// The file of the secret that keys are sealed with: 64 hex digits.
const SECRET: &str = "secret";

/// Makes the folder where it is missing, and closes it to all but its owner. Answers whether it was missing.
///
/// # Errors
/// Where that cannot be done; where the folder is open to others and holds what is not ours, so that closing it could
/// shut somebody out of theirs.
pub(super) fn prepare(folder: &Path) -> Result<bool, Failure> {
    let fault = |error: io::Error| Fault::new("data", format_args!("{}: {error}", folder.display()));
    if folder.is_file() {
        return Err(Fault::new("data", format_args!("{} is not a folder", folder.display())).into());
    }
    let is_new = !folder.try_exists().map_err(fault)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault)?;
    if folder.metadata().map_err(fault)?.mode() & 0o077 == 0 {
        return Ok(is_new);
    }
    let is_ours = folder.join("guildhall.db").exists();
    let is_empty = folder.read_dir().map_err(fault)?.next().is_none();
    if !is_ours && !is_empty {
        let why =
            "holds other files and is open to others; name a folder of its own, or close it (chmod 700)";
        return Err(Fault::new("data", format_args!("{} {why}", folder.display())).into());
    }
    std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(fault)?;
    Ok(is_new)
}

/// Kept while a server runs; the system gives it back when the process ends, however it ends.
pub(super) struct Locks {
    _files: Vec<File>,
}

/// Takes the data folder, and the database where it lies elsewhere, for this server.
///
/// # Errors
/// Where another server has either.
pub(super) fn lock(config: &Config) -> Result<Locks, Failure> {
    let Database::Sqlite(database) = &config.database else {
        // Servers that share a database are equal, and share the folder too where it is shared.
        return Ok(Locks { _files: Vec::new() });
    };
    let mut paths = vec![config.data.join("guildhall.lock"), database.with_extension("lock")];
    paths.dedup();
    let files = paths.iter().map(|path| lock_file(config, path)).collect::<Result<_, _>>()?;
    Ok(Locks { _files: files })
}

/// The folder that `file` is to lie in, where that is missing: what is then wrong with any file in it.
pub(super) fn missing_folder(file: &Path) -> Option<&Path> {
    file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
}

/// What is wrong with a file that the configuration names: told of the key that led to it.
fn fault(config: &Config, file: &Path, why: impl fmt::Display) -> Fault {
    let key = if file.starts_with(&config.data) { "data" } else { "database" };
    if let Some(folder) = missing_folder(file) {
        return Fault::new(key, format_args!("the folder {} does not exist", folder.display()));
    }
    Fault::new(key, format_args!("{}: {why}", file.display()))
}

fn lock_file(config: &Config, path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| fault(config, path, error);
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let folder = path.parent().unwrap_or(path);
            Err(Failure::new(format_args!("another guildhall server is using {}", folder.display())))
        }
        Err(TryLockError::Error(error)) => Err(failed(error).into()),
    }
}

/// Opens the database.
///
/// # Errors
/// Where it cannot be used, or is not there and may not be made.
pub(super) fn open_database(config: &Config, missing: Missing) -> Result<Db, Failure> {
    try_open_database(config, missing)?.map_err(|error| match (error, &config.database) {
        (Error::Internal(why), Database::Sqlite(file)) => {
            Failure::new(format_args!("database: {}: {why}; restore a backup", file.display()))
        }
        (other, _) => other.into(),
    })
}

/// As [`open_database`], for who makes something of a damaged database: that is an [`Error::Internal`].
///
/// # Errors
/// Where its file cannot be reached.
pub(super) fn try_open_database(
    config: &Config,
    missing: Missing,
) -> Result<guildhall_domain::error::Result<Db>, Failure> {
    if missing == Missing::Make && prepare(&config.data)? {
        let _ = writeln!(io::stderr(), "made data folder {}", config.data.display());
    }
    let settings = Settings {
        clock: Clock::system(),
        random: Random::system(),
        inactive_after: config.inactive_after,
        limits: config.limits,
        invitations_per_day: config.invitations_per_day,
        writes_per_commit: config.writes_per_commit,
    };
    let (connections, makes) = (config.database_connections, missing == Missing::Make);
    let opened = match &config.database {
        Database::Sqlite(file) => {
            require_file(config, file, missing)?;
            if makes { Db::sqlite(file, settings) } else { Db::existing(file, settings) }
        }
        Database::Postgres(target) if makes => Db::postgres(target, connections, settings),
        Database::Postgres(target) => Db::existing_postgres(target, connections, settings),
    };
    Ok(opened.map_err(|error| match error {
        Error::Unavailable(why) => Error::Unavailable(format!("database: {why}")),
        other => other,
    }))
}

/// Sees to it that the database's file can be reached.
fn require_file(config: &Config, file: &Path, missing: Missing) -> Result<(), Failure> {
    let makes = missing == Missing::Make;
    match OpenOptions::new().create(makes).append(true).read(true).mode(0o600).open(file) {
        Ok(_) => Ok(()),
        Err(error) if !makes && error.kind() == ErrorKind::NotFound => {
            Err(Failure::new(format_args!("there is no database {}", file.display())))
        }
        Err(error) => Err(fault(config, file, error).into()),
    }
}

/// What seals the keys: the configured secret, or that in the data folder's file. Where there is neither, nothing is sealed
/// yet and the data folder holds the database, the file is made: then a copy of the database alone opens no door.
///
/// # Errors
/// Where the secret of what is sealed is missing, or its file cannot be used.
pub(super) fn open_seal(config: &Config, db: &Db) -> Result<Seal, Failure> {
    let secret = read_secret(config)?;
    if secret.is_some() || !matches!(config.database, Database::Sqlite(_)) {
        return Ok(Seal::new(secret));
    }
    let path = config.data.join(SECRET);
    let fault = |why: &dyn fmt::Display| Fault::new("secret", format_args!("{}: {why}", path.display()));
    if keyring::is_sealed(db).map_err(Failure::new)? {
        let why = format!("is not there, and the keys in the database are sealed with one: {WAY_OUT}");
        return Err(fault(&why).into());
    }
    make_secret(&config.data, &Secret::new(db.random())).map_err(|error| fault(&error))?;
    read_secret(config).map(Seal::new)
}

/// The configured secret, or that in the data folder's file; nothing where there is neither.
///
/// # Errors
/// Where the file cannot be used.
pub(super) fn read_secret(config: &Config) -> Result<Option<Secret>, Failure> {
    if config.secret.is_some() {
        return Ok(config.secret.clone());
    }
    let path = config.data.join(SECRET);
    let fault = |why: &dyn fmt::Display| {
        Failure::from(Fault::new("secret", format_args!("{}: {why}", path.display())))
    };
    if !path.try_exists().map_err(|error| fault(&error))? {
        return Ok(None);
    }
    let file = File::open(&path).map_err(|error| fault(&error))?;
    if file.metadata().map_err(|error| fault(&error))?.mode() & 0o077 != 0 {
        return Err(fault(&"must be its owner's alone (chmod 600)"));
    }
    let mut text = String::new();
    file.take(256).read_to_string(&mut text).map_err(|error| fault(&error))?;
    Secret::parse(text.trim()).map(Some).ok_or_else(|| fault(&"not 64 hex digits"))
}

/// Under another name first, so that a power cut leaves no half secret behind; and never over one that another command has
/// made in the same moment.
fn make_secret(folder: &Path, secret: &Secret) -> io::Result<()> {
    let draft = folder.join(format!(".{SECRET}.{}.part", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", secret.text())?;
    file.sync_all()?;
    let made = std::fs::hard_link(&draft, folder.join(SECRET));
    std::fs::remove_file(&draft)?;
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(folder)?.sync_all(),
    }
}

/// The keys in the database, and what opens them.
pub(super) struct Ring {
    /// They sign sessions.
    pub(super) keys: Keys,
    /// They make the tokens of mailed links.
    pub(super) secrets: Secrets,
    /// It seals them.
    pub(super) seal: Seal,
}

/// Opens the keys; makes the first where there is none.
///
/// # Errors
/// Where they cannot be used.
pub(super) fn open_keys(config: &Config, db: &Db) -> Result<Ring, Failure> {
    let seal = open_seal(config, db)?;
    let open = || {
        keyring::prepare(db, &seal)?;
        let secrets = keyring::mail_secrets(db, &seal)?;
        Ok((Keys::open(db, seal.clone(), config.names.clone())?, secrets))
    };
    let (keys, secrets) = open().map_err(|error| match error {
        KeysError::Seal(error) => Fault::new("secret", error).into(),
        other => Failure::new(other),
    })?;
    Ok(Ring { keys, secrets, seal })
}
