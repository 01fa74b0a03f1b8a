//! Who lives in the database that is measured.

use std::path::{Path, PathBuf};

use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::clock::Random;
use guildhall_domain::credentials::password::Password;
use guildhall_domain::db::{Db, Settings};
use guildhall_domain::id::{OrganizationId, Uid, UserId};
use guildhall_domain::memberships::{self, Joining, OrganizationKey, Visibility};
use guildhall_domain::organizations::{self, NewOrganization, Organization};
use guildhall_domain::text::{Email, Name, PersonName, Username};
use guildhall_domain::users::{self, NewUser, Profile, User, UserKey};
use rusqlite::{Connection, params};

use crate::Result;

/// Owns every organization, and makes more.
pub(crate) const OWNER: &str = "owner";
/// A member of ten organizations, who reads.
pub(crate) const READER: &str = "reader";
/// The password of everybody who signs in.
pub(crate) const PASSWORD: &str = "opensesame 42";
/// Of the ten, those with no other members than the owner.
const CIRCLES: usize = 8;
/// Accounts that sign in.
pub(crate) const SIGNERS: usize = 64;
/// Members of the short list.
pub(crate) const SHORT: i64 = 100;

/// The database and what of it has to be known.
pub(crate) struct Town {
    /// The data folder.
    pub(crate) data: PathBuf,
    /// One of the reader's organizations.
    pub(crate) home: Organization,
    /// One with [`SHORT`] members, of whom the reader is one.
    pub(crate) short: Organization,
    /// One with as many more as were asked for.
    pub(crate) long: Organization,
}

/// Makes the database in `data`; the longest list has `crowd` people.
pub(crate) fn found(data: &Path, crowd: i64) -> Result<Town> {
    std::fs::create_dir_all(data)?;
    let file = data.join("guildhall.db");
    let db = Db::sqlite(&file, Settings::default())?;
    people(&db)?;
    let homes = (0..CIRCLES).map(|number| organization(&db, &format!("Reading Circle {number}")));
    let homes: Vec<Organization> = homes.collect::<Result<_>>()?;
    let (short, long) = (organization(&db, "Village")?, organization(&db, "City")?);
    drop(db);
    settle(&file, short.id, SHORT, "villager")?;
    settle(&file, long.id, crowd, "citizen")?;
    let home = homes.into_iter().next().ok_or("no organization")?;
    Ok(Town { data: data.to_owned(), home, short, long })
}

/// The owner, the reader, and those who sign in.
pub(crate) fn people(db: &Db) -> Result<()> {
    let hash = Password::chosen(PASSWORD).map_err(|_| "a weak password")?.hash(db.random())?;
    let signers = (0..SIGNERS).map(signer);
    [OWNER, READER].map(str::to_owned).into_iter().chain(signers).try_for_each(|login| {
        user(db, &login, &hash)?;
        Ok(())
    })
}

/// The username of the account of that number that signs in.
pub(crate) fn signer(number: usize) -> String {
    format!("signer-{number}")
}

pub(crate) fn user(db: &Db, login: &str, hash: &str) -> Result<User> {
    let new = NewUser {
        username: Some(Username::parse(login).map_err(|_| "no username")?),
        email: Email::parse(&format!("{login}@example.com")).ok_or("no address")?,
        name: PersonName::Whole(Name::parse(login).map_err(|_| "no name")?),
        password_hash: Some(hash.to_owned()),
        profile: Profile::default(),
    };
    Ok(users::create(db, &Actor::system(), new, false, true)?)
}

/// The owner's, with the reader in it.
pub(crate) fn organization(db: &Db, name: &str) -> Result<Organization> {
    let name = Name::parse(name).map_err(|_| "no name")?;
    let new = NewOrganization {
        visibility: Visibility::Private,
        joining: Joining::Invite,
        ..NewOrganization::named(name)
    };
    let login = |login: &str| UserKey::Login(login.into());
    let made = organizations::create_for(db, &Actor::system(), &login(OWNER), new)?;
    let key = OrganizationKey::Slug(made.slug.clone());
    memberships::put(db, &Actor::system(), &key, &login(READER), (Role::Member, State::Active))?;
    Ok(made)
}

/// Fills the organization up to `count` members, who are there already when the server starts: by plain SQL in one
/// transaction, since a hundred thousand operations would take longer than all that is measured.
fn settle(file: &Path, organization: OrganizationId, count: i64, name: &str) -> Result<()> {
    let random = Random::system();
    let mut connection = Connection::open(file)?;
    let transaction = connection.transaction()?;
    let first: i64 = transaction.query_row(
        "UPDATE counters SET value = value + ?1 WHERE name = 'users' RETURNING value - ?1 + 1",
        [count - 2],
        |row| row.get(0),
    )?;
    {
        let mut user = transaction.prepare(
            "INSERT INTO users (id, uid, username, username_key, email, email_key, name, confirmed_at, operator, seen_at,
                                created_at, updated_at)
             SELECT ?1, ?2, ?3, ?3, ?4, ?4, ?3, created_at, 0, created_at, created_at, created_at FROM users WHERE id = 1",
        )?;
        let mut membership = transaction.prepare(
            "INSERT INTO memberships (organization_id, user_id, role, state, joined_at)
             SELECT ?1, ?2, 'member', 'active', created_at + ?2 FROM users WHERE id = 1",
        )?;
        for id in (first..).take(usize::try_from(count - 2)?).map(UserId) {
            let username = format!("{name}-{}", id.0);
            let email = format!("{username}@example.com");
            user.execute(params![id.0, Uid::new(&random).as_str(), username, email])?;
            membership.execute([organization.0, id.0])?;
        }
    }
    transaction.commit()?;
    Ok(())
}
