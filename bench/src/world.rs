//! A database that is as large as one asks: as many organizations, people and members of one organization.

use std::path::{Path, PathBuf};

use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::clock::Random;
use guildhall_domain::credentials::password::Password;
use guildhall_domain::db::{Db, Settings};
use guildhall_domain::id::Uid;
use guildhall_domain::memberships::{self, Joining, OrganizationKey, Visibility};
use guildhall_domain::organizations::{self, NewOrganization, Organization};
use guildhall_domain::text::Name;
use guildhall_domain::users::UserKey;
use rusqlite::{Connection, Transaction, params};

use crate::{Result, town};

/// Belongs to one organization, and owns it.
pub(crate) const ONE: &str = "one";
/// Owns one as well, and belongs to so many in all, where there are so many.
pub(crate) const MANY: &str = "many";
pub(crate) const MANY_ORGANIZATIONS: i64 = 10_000;
/// What the reader belongs to besides the circle and the city.
const GUILDS_OF_READER: i64 = 8;
/// Greater than any size, and prime: the order of the names is not that of the ids.
const NAMES: i64 = 1_000_003;

/// The database and what of it has to be known.
pub(crate) struct World {
    /// The data folder.
    pub(crate) data: PathBuf,
    /// How many guilds there are, how many citizens, of whom each owns a guild, and of whom all are members of the city.
    pub(crate) size: i64,
    /// A private organization with two members, of whom the reader is one.
    pub(crate) circle: Organization,
    /// That of all citizens, which one can join by oneself.
    pub(crate) city: Organization,
    /// An event that every citizen comes to.
    pub(crate) event: i64,
    /// What [`ONE`] owns.
    pub(crate) of_one: Organization,
    /// What [`MANY`] owns.
    pub(crate) of_many: Organization,
}

/// Makes the database in `data`. The few come by the operations of the domain, the many by plain SQL: rows as these would
/// have written them, but for what happened.
///
/// # Errors
/// Where it cannot be written, or `size` is out of range.
pub(crate) fn found(data: &Path, size: i64) -> Result<World> {
    if !(GUILDS_OF_READER..NAMES).contains(&size) {
        return Err("no such size".into());
    }
    std::fs::create_dir_all(data)?;
    let file = data.join("guildhall.db");
    let db = Db::sqlite(&file, Settings::default())?;
    town::people(&db)?;
    let hash = Password::chosen(town::PASSWORD).map_err(|_| "a weak password")?.hash(db.random())?;
    [ONE, MANY].into_iter().try_for_each(|login| town::user(&db, login, &hash).map(drop))?;
    let private = (Visibility::Private, Joining::Invite);
    let circle = organization(&db, (town::OWNER, "Reading Circle"), private)?;
    let city = organization(&db, (town::OWNER, "City"), (Visibility::Internal, Joining::Open))?;
    for place in [&circle, &city] {
        let key = OrganizationKey::Slug(place.slug.clone());
        let reader = UserKey::Login(town::READER.into());
        memberships::put(&db, &Actor::system(), &key, &reader, (Role::Member, State::Active))?;
    }
    let of_one = organization(&db, (ONE, "Workshop of One"), private)?;
    let of_many = organization(&db, (MANY, "Workshop of Many"), private)?;
    drop(db);
    let mut connection = Connection::open(&file)?;
    // Nothing else is there yet, and a fill that breaks off ends the run: no care is taken until all is written.
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -1_000_000)?;
    let transaction = connection.transaction()?;
    let first = settle(&transaction, size)?;
    found_guilds(&transaction, first, size)?;
    join(&transaction, (first, size), city.id.0)?;
    let event = gather(&transaction, (first, size), city.id.0)?;
    transaction.commit()?;
    count(&connection)?;
    Ok(World { data: data.to_owned(), size, circle, city, event, of_one, of_many })
}

fn organization(
    db: &Db,
    (owner, name): (&str, &str),
    (visibility, joining): (Visibility, Joining),
) -> Result<Organization> {
    let name = Name::parse(name).map_err(|_| "no name")?;
    let new = NewOrganization { visibility, joining, ..NewOrganization::named(name) };
    Ok(organizations::create_for(db, &Actor::system(), &UserKey::Login(owner.into()), new)?)
}

/// The numbers of a kind, as many as are asked for; answers the first.
fn take_numbers(transaction: &Transaction<'_>, kind: &str, count: i64) -> Result<i64> {
    let sql = "UPDATE counters SET value = value + ?2 WHERE name = ?1 RETURNING value - ?2 + 1";
    Ok(transaction.query_row(sql, params![kind, count], |row| row.get(0))?)
}

/// The citizens; answers the number of the first.
fn settle(transaction: &Transaction<'_>, size: i64) -> Result<i64> {
    let (random, first) = (Random::system(), take_numbers(transaction, "users", size)?);
    let mut user = transaction.prepare(
        "INSERT INTO users (id, uid, username, username_key, email, email_key, name, confirmed_at, operator, seen_at,
                            created_at, updated_at)
         SELECT ?1, ?2, ?3, ?3, ?4, ?4, ?3, created_at, 0, created_at, created_at, created_at FROM users WHERE id = 1",
    )?;
    for id in first..first + size {
        let username = format!("citizen-{id}");
        let email = format!("{username}@example.com");
        user.execute(params![id, Uid::new(&random).as_str(), username, email])?;
    }
    Ok(first)
}

/// The name of a guild without what it begins with: in another order than the numbers.
fn name_of(number: i64) -> i64 {
    number * 7_919 % NAMES
}

/// The slug of the guild of that number, from 1; public, internal and private ones by turns.
pub(crate) fn slug(number: i64) -> String {
    format!("guild-{:07}", name_of(number))
}

/// The same in Lua.
pub(crate) const SLUG_IN_LUA: &str = r"
function slug(number) return string.format('guild-%07d', number * 7919 % 1000003) end
";

/// A guild for each citizen from `owner` on, who owns it.
fn found_guilds(transaction: &Transaction<'_>, owner: i64, size: i64) -> Result<()> {
    let (random, first) = (Random::system(), take_numbers(transaction, "organizations", size)?);
    let login = |login: &str| -> Result<i64> {
        let sql = "SELECT id FROM users WHERE username_key = ?1";
        Ok(transaction.query_row(sql, [login], |row| row.get(0))?)
    };
    let (reader, many) = (login(town::READER)?, login(MANY)?);
    let mut guild = transaction.prepare(
        "INSERT INTO organizations (id, uid, slug, name, name_key, public_name_key, description, urls, contacts, visibility,
                                    joining, plan, plan_attendees, created_by, created_at, updated_at)
         SELECT ?1, ?2, ?3, ?4, ?5, CASE ?6 WHEN 'public' THEN ?5 END, ?7, '[]', '[]', ?6, 'invite', 'organization', 20, ?8,
                created_at + ?1, created_at + ?1
         FROM users WHERE id = 1",
    )?;
    let mut membership = transaction.prepare(
        "INSERT INTO memberships (organization_id, user_id, role, state, joined_at)
         SELECT ?1, ?2, ?3, 'active', created_at + ?1 FROM users WHERE id = 1",
    )?;
    for number in 1..=size {
        let (id, owner) = (first + number - 1, owner + number - 1);
        let name = format!("Guild {:07}", name_of(number));
        let about = format!("Those who keep craft {} of the city alive.", name_of(number) % 1_000);
        let visibility = ["private", "public", "internal"][usize::try_from(number % 3)?];
        let uid = Uid::new(&random);
        let key = name.to_lowercase();
        guild.execute(params![id, uid.as_str(), slug(number), name, key, visibility, about, owner])?;
        membership.execute(params![id, owner, "owner"])?;
        if number <= GUILDS_OF_READER {
            membership.execute(params![id, reader, "member"])?;
        }
        if number < MANY_ORGANIZATIONS {
            membership.execute(params![id, many, "member"])?;
        }
    }
    Ok(())
}

/// Makes the citizens members of the city.
fn join(transaction: &Transaction<'_>, (first, size): (i64, i64), city: i64) -> Result<()> {
    transaction.execute(
        "INSERT INTO memberships (organization_id, user_id, role, state, joined_at)
         SELECT ?1, id, 'member', 'active', created_at + id FROM users WHERE id >= ?2 AND id < ?2 + ?3",
        [city, first, size],
    )?;
    Ok(())
}

/// The sums that operations would have kept.
fn count(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "DELETE FROM member_counts; DELETE FROM listed_counts;
         INSERT INTO member_counts (organization_id, stripe, members)
         SELECT m.organization_id, m.user_id % 256, COUNT(*) FROM memberships m JOIN organizations o ON o.id = m.organization_id
         WHERE m.user_id <> o.created_by GROUP BY 1, 2;
         INSERT INTO listed_counts (visibility, stripe, organizations)
         SELECT visibility, id % 256, COUNT(*) FROM organizations WHERE visibility <> 'private' GROUP BY 1, 2;",
    )?;
    Ok(())
}

/// An event of the city, with all citizens; answers its number.
fn gather(transaction: &Transaction<'_>, (first, size): (i64, i64), city: i64) -> Result<i64> {
    let event = take_numbers(transaction, "events", 1)?;
    transaction.execute(
        "INSERT INTO events (id, organization_id, name, starts_at, created_at)
         SELECT ?1, ?2, 'Fair', created_at, created_at FROM users WHERE id = 1",
        [event, city],
    )?;
    transaction.execute(
        "INSERT INTO event_people (organization_id, event_id, user_id, part, added_at)
         SELECT ?2, ?1, id, 'attendee', created_at + id FROM users WHERE id >= ?3 AND id < ?3 + ?4",
        [event, city, first, size],
    )?;
    Ok(event)
}
