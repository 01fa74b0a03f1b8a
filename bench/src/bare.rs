//! SQLite alone, taking the rows that the server writes for a new organization; and argon2id alone.

use std::path::Path;
use std::time::{Duration, Instant};

use guildhall_domain::clock::{Clock, Random};
use guildhall_domain::credentials::password::Password;
use guildhall_domain::id::Uid;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

use crate::{Result, town};

const SCHEMA: &str = include_str!("../../migrations/001_initial.sql");

/// A database of the server's own schema and settings, with nothing around it.
pub(crate) struct Bare {
    connection: Connection,
    random: Random,
    clock: Clock,
    made: u32,
}

impl Bare {
    /// In a new file, on the disk that the server's is on.
    pub(crate) fn open(file: &Path) -> Result<Self> {
        let connection = Connection::open(file)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -16_000)?;
        connection.execute_batch(SCHEMA)?;
        connection.execute(
            "INSERT INTO users (id, uid, username, operator, created_at, updated_at) VALUES (1, '1', 'owner', 0, 0, 0)",
            [],
        )?;
        Ok(Self { connection, random: Random::system(), clock: Clock::system(), made: 0 })
    }

    /// Makes organizations for so long, `batch` in a commit; answers how many in a second.
    pub(crate) fn create(&mut self, batch: u32, lasting: Duration) -> Result<f64> {
        let (before, begun) = (self.made, Instant::now());
        while begun.elapsed() < lasting {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for _ in 0..batch {
                self.organization()?;
            }
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(f64::from(self.made - before) / begun.elapsed().as_secs_f64())
    }

    /// The counter, the organization, its owner's membership, and what happened.
    fn organization(&mut self) -> Result<()> {
        self.made += 1;
        let (now, name) = (self.clock.now().0, format!("Guild {}", self.made));
        let key = name.to_lowercase();
        self.connection
            .prepare_cached("UPDATE counters SET value = value + 1 WHERE name = 'organizations'")?
            .execute([])?;
        let id: i64 = self
            .connection
            .prepare_cached("SELECT value FROM counters WHERE name = 'organizations'")?
            .query_row([], |row| row.get(0))?;
        self.connection
            .prepare_cached(
                "INSERT INTO organizations (id, uid, slug, name, name_key, urls, contacts, visibility, joining, plan,
                                            plan_attendees, created_by, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, '[]', '[]', 'private', 'invite', 'organization', 20, 1, ?6, ?6)",
            )?
            .execute(params![
                id,
                Uid::new(&self.random).as_str(),
                key.replace(' ', "-"),
                name,
                key,
                now
            ])?;
        self.connection
            .prepare_cached(
                "INSERT INTO memberships (organization_id, user_id, role, state, joined_at)
                 VALUES (?1, 1, 'owner', 'active', ?2)",
            )?
            .execute([id, now])?;
        self.connection
            .prepare_cached(
                "INSERT INTO activity (id, at, actor_id, organization_id, user_id, action)
                 VALUES (?1, ?2, 1, ?3, 1, 'organization.create')",
            )?
            .execute(params![format!("{now:016x}{}", self.random.hex::<8>()), now, id])?;
        Ok(())
    }
}

/// Compares a right password with its hash for so long on two threads, as many as the server has for it; answers how many
/// in a second.
pub(crate) fn hashes(lasting: Duration) -> Result<f64> {
    let password = Password::chosen(town::PASSWORD).map_err(|_| "a weak password")?;
    let hash = password.hash(&Random::system())?;
    let begun = Instant::now();
    let count = || {
        let mut count = 0;
        while begun.elapsed() < lasting {
            count += u32::from(password.matches(&hash));
        }
        count
    };
    let both: u32 = std::thread::scope(|scope| {
        let threads = [scope.spawn(count), scope.spawn(count)];
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    Ok(f64::from(both) / begun.elapsed().as_secs_f64())
}
