//! Organizations: what they are called, who sees them, how they begin, change and end.

use crate::acting::write_as;
use crate::activity::{self, About};
use crate::authz::{Actor, Permission, Role, Scope};
use crate::clock::Timestamp;
use crate::credentials::{NewSession, Session, TOKEN_LASTS, derive_session, insert_session};
use crate::db::{Db, Row, Tx, WriteTx};
use crate::error::{Conflict, Denied, Error, Missing, Result};
use crate::id::{OrganizationId, Uid, UserId};
use crate::limits;
use crate::memberships::{
    self, At, Found, Joining, OrganizationKey, Visibility, found_columns, in_charge, locate, require,
};
use crate::text::{Name, Slug};
use crate::users::{self, UserKey};

mod counts;
mod list;
mod slugs;

use self::slugs::{free_slug, is_slug_taken};
pub(crate) use list::first_id;
pub use list::{Listing, Mine, Order, Page, all, first_of, list, mine, part_of_mine};

/// An organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its number.
    pub id: OrganizationId,
    /// Its long id.
    pub uid: Uid,
    /// Its short name in addresses.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Who sees its profile.
    pub visibility: Visibility,
    /// How one becomes a member.
    pub joining: Joining,
    /// Since when it is archived.
    pub archived_at: Option<Timestamp>,
    /// What it is about.
    pub description: Option<String>,
    /// Its pages, in a form that is the dialects' own.
    pub urls: String,
    /// Whom to write to, in a form that is the dialects' own.
    pub contacts: String,
    /// Its plan.
    pub plan: Plan,
    /// The stored name of its picture.
    pub image: Option<String>,
    /// The stored name of its background picture.
    pub background_image: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What an operator agreed on with an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it is called.
    pub name: String,
    /// How many may attend a workshop.
    pub attendees: i64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { name: "organization".into(), attendees: 20 }
    }
}

/// The columns of an organization behind those of a [`Found`].
macro_rules! organization_columns {
    () => {
        concat!(
            found_columns!(),
            ", o.uid, o.slug, o.description, o.urls, o.contacts, o.plan, o.plan_attendees, o.image, o.background_image, \
             o.created_at, o.updated_at"
        )
    };
}
pub(crate) use organization_columns;

/// An organization and how the caller stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub organization: Organization,
    /// The caller's role, where they are an active or inactive member.
    pub role: Option<Role>,
}

fn read_seen(row: &Row<'_>) -> Result<(Found, Organization)> {
    let found = Found::read(row)?;
    let organization = Organization {
        id: found.id,
        uid: Uid::stored(row.text()?),
        slug: row.text()?,
        name: found.name.clone(),
        visibility: found.visibility,
        joining: found.joining,
        archived_at: found.archived_at,
        description: row.opt_text()?,
        urls: row.text()?,
        contacts: row.text()?,
        plan: Plan { name: row.text()?, attendees: row.int()? },
        image: row.opt_text()?,
        background_image: row.opt_text()?,
        created_at: row.time()?,
        updated_at: row.time()?,
    };
    Ok((found, organization))
}

/// Organization `$2` (and `$3`, where a pair of bounds names it), with the standing of user `$1`.
macro_rules! seen {
    ($where:literal) => {
        concat!(
            "SELECT ",
            organization_columns!(),
            " FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $1 WHERE ",
            $where
        )
    };
}

fn see(tx: &Tx<'_>, actor: &Actor, key: &OrganizationKey) -> Result<Option<(Found, Organization)>> {
    let user = actor.user_id().unwrap_or(UserId(0)).into();
    match key {
        OrganizationKey::Number(id) => tx.row(seen!("o.id = $2"), &[user, (*id).into()], read_seen),
        OrganizationKey::Short(short) => {
            let (least, greatest) = short.bounds();
            tx.row(
                seen!("o.uid >= $2 AND o.uid <= $3"),
                &[user, (&least).into(), (&greatest).into()],
                read_seen,
            )
        }
        OrganizationKey::Slug(slug) => tx.row(seen!("o.slug = $2"), &[user, slug.into()], read_seen),
        OrganizationKey::Malformed => Ok(None),
    }
}

/// One organization, where the caller may see it.
///
/// # Errors
/// [`Missing::Organization`].
pub fn get(db: &Db, actor: &Actor, at: &At) -> Result<Seen> {
    db.read_one(|tx| get_in(tx, actor, at))
}

fn get_in(tx: &Tx<'_>, actor: &Actor, at: &At) -> Result<Seen> {
    let (found, organization) = see(tx, actor, &at.key)?.ok_or(Missing::Organization)?;
    if !found.is_visible(actor, at.sight) {
        return Err(Missing::Organization.into());
    }
    let role = found.standing.filter(|(_, state)| state.counts()).map(|(role, _)| role);
    Ok(Seen { organization, role })
}

/// An organization to make.
#[derive(Clone, Debug)]
pub struct NewOrganization {
    /// Its name.
    pub name: Name,
    /// Who sees it.
    pub visibility: Visibility,
    /// How one becomes a member.
    pub joining: Joining,
    /// What it is about.
    pub description: Option<String>,
    /// Its pages; opaque.
    pub urls: String,
    /// Whom to write to; opaque.
    pub contacts: String,
    /// Whether it begins archived.
    pub archived: bool,
    /// The slug that an operator chose; else one is made from the name.
    pub slug: Option<Slug>,
    /// Its plan.
    pub plan: Plan,
    /// The stored name of its picture.
    pub image: Option<String>,
    /// The stored name of its background picture.
    pub background_image: Option<String>,
}

impl NewOrganization {
    /// A private one that one is invited to, with nothing but a name.
    #[must_use]
    pub fn named(name: Name) -> Self {
        Self {
            name,
            visibility: Visibility::Private,
            joining: Joining::Invite,
            description: None,
            urls: "[]".into(),
            contacts: "[]".into(),
            archived: false,
            slug: None,
            plan: Plan::default(),
            image: None,
            background_image: None,
        }
    }
}

/// What a dialect asks of a name or a creator beyond what holds for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// No two of the caller's own organizations have one name.
    pub own_names_differ: bool,
    /// Only an owner or admin of some organization may make one, or a member of none.
    pub creator_leads_or_is_free: bool,
}

/// Makes an organization; the caller becomes its owner.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Denied::Scope`], [`Denied::Role`] where the terms say so, [`Conflict::NameTaken`],
/// [`Conflict::OwnNameTaken`], [`Error::Limited`].
pub fn create(db: &Db, actor: &Actor, new: NewOrganization, terms: Terms) -> Result<Organization> {
    let owner = actor.require_writer()?;
    write_as(db, actor, move |tx, actor| {
        if terms.creator_leads_or_is_free && !leads_or_is_free(tx, owner)? {
            return Err(Denied::Role.into());
        }
        if terms.own_names_differ {
            refuse_own_name(tx, owner, &new.name, None)?;
        }
        limits::take(tx, &limits::ORGANIZATIONS, &owner.0.to_string())?;
        insert(tx, actor, owner, &new)
    })
}

/// Makes an organization for somebody else, as an operator does.
///
/// # Errors
/// For all but the system; [`Missing::User`], [`Conflict::NameTaken`], [`Conflict::SlugTaken`].
pub fn create_for(db: &Db, actor: &Actor, owner: &UserKey, new: NewOrganization) -> Result<Organization> {
    actor.require_system()?;
    let (actor, owner) = (actor.clone(), owner.clone());
    db.write(move |tx| {
        let owner = users::find(tx, &owner)?.ok_or(Missing::User)?;
        insert(tx, &actor, owner.id, &new)
    })
}

/// Whether the caller may make an organization by the stricter of the [`Terms`], for a request that cannot be carried out
/// anyway.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Denied::Scope`], [`Denied::Role`].
pub fn may_create(db: &Db, actor: &Actor, terms: Terms) -> Result<()> {
    let owner = actor.require_writer()?;
    if terms.creator_leads_or_is_free && !db.read(|tx| leads_or_is_free(tx, owner))? {
        return Err(Denied::Role.into());
    }
    Ok(())
}

/// Whether the name is free for a new public organization, or for the one that is named: asked where a request cannot be
/// carried out anyway, so that all that is wrong with it is told at once. Names of others than public ones may repeat.
///
/// # Errors
/// [`Error::Unauthenticated`] for a new one; [`Missing::Organization`] and [`Denied::Role`] for one that is there.
pub fn is_name_free(db: &Db, actor: &Actor, at: Option<&At>, name: &Name) -> Result<bool> {
    let refused = db.read(|tx| match at {
        None => {
            actor.require_user()?;
            refuse_public_name(tx, &name.key(), None)
        }
        Some(at) => {
            let (found, _) = require(tx, actor, at, Permission::ReadProfile)?;
            let is_public = found.visibility == Visibility::Public;
            if is_public { refuse_public_name(tx, &name.key(), Some(found.id)) } else { Ok(()) }
        }
    });
    match refused {
        Ok(()) => Ok(true),
        Err(Error::Conflict(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn leads_or_is_free(tx: &Tx<'_>, user: UserId) -> Result<bool> {
    let belongs = "SELECT 1 FROM memberships WHERE user_id = $1 AND state IN ('active', 'inactive') LIMIT 1";
    let leads =
        concat!("SELECT 1 FROM memberships WHERE user_id = $1 AND ", in_charge!("memberships"), " LIMIT 1");
    Ok(tx.exists(leads, &[user.into()])? || !tx.exists(belongs, &[user.into()])?)
}

pub(crate) fn insert(
    tx: &WriteTx<'_>,
    actor: &Actor,
    owner: UserId,
    new: &NewOrganization,
) -> Result<Organization> {
    require_free(tx, new)?;
    let slug = new.slug.clone().unwrap_or_else(|| Slug::of(new.name.as_str()));
    let mut organization = Organization {
        id: OrganizationId(tx.next_number("organizations")?),
        uid: Uid::new(tx.random),
        slug: slug.as_str().to_owned(),
        name: new.name.as_str().to_owned(),
        visibility: new.visibility,
        joining: new.joining,
        archived_at: new.archived.then_some(tx.now),
        description: new.description.clone(),
        urls: new.urls.clone(),
        contacts: new.contacts.clone(),
        plan: new.plan.clone(),
        image: new.image.clone(),
        background_image: new.background_image.clone(),
        created_at: tx.now,
        updated_at: tx.now,
    };
    let name_key = new.name.key();
    // Most names have a slug of their own: whether this one has is not asked before. One that was chosen gets no number.
    if slug.is_reserved() || !store(tx, owner, &organization, &name_key)? {
        if new.slug.is_some() {
            return Err(Conflict::SlugTaken.into());
        }
        free_slug(tx, &slug)?.as_str().clone_into(&mut organization.slug);
        if !store(tx, owner, &organization, &name_key)? {
            return Err(Error::Internal("a free slug was taken".into()));
        }
    }
    let id = organization.id;
    memberships::begin(tx, id, owner, Role::Owner)?;
    counts::move_between(tx, (id, new.visibility), false, !new.archived)?;
    activity::record(tx, actor, "organization.create", &About::member(id, owner))?;
    Ok(organization)
}

/// Writes a new organization down as it is; whether its slug was free.
fn store(tx: &WriteTx<'_>, creator: UserId, new: &Organization, name_key: &str) -> Result<bool> {
    let public_name_key = (new.visibility == Visibility::Public).then_some(name_key);
    let stored = tx.run(
        "INSERT INTO organizations (id, uid, slug, name, name_key, public_name_key, description, urls, contacts, visibility,
                                    joining, archived_at, plan, plan_attendees, image, background_image, created_by,
                                    created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         ON CONFLICT (slug) DO NOTHING",
        &[
            new.id.into(),
            new.uid.as_str().into(),
            (&new.slug).into(),
            (&new.name).into(),
            name_key.into(),
            public_name_key.into(),
            new.description.as_deref().into(),
            (&new.urls).into(),
            (&new.contacts).into(),
            new.visibility.as_str().into(),
            new.joining.as_str().into(),
            new.archived_at.into(),
            (&new.plan.name).into(),
            new.plan.attendees.into(),
            new.image.as_deref().into(),
            new.background_image.as_deref().into(),
            creator.into(),
            new.created_at.into(),
            new.updated_at.into(),
        ],
    )?;
    Ok(stored == 1)
}

/// Refuses an organization whose public name or asked-for slug is another's.
pub(crate) fn require_free(tx: &Tx<'_>, new: &NewOrganization) -> Result<()> {
    if new.visibility == Visibility::Public {
        refuse_public_name(tx, &new.name.key(), None)?;
    }
    match &new.slug {
        Some(slug) if is_slug_taken(tx, slug)? => Err(Conflict::SlugTaken.into()),
        _ => Ok(()),
    }
}

fn whole(tx: &Tx<'_>, id: OrganizationId) -> Result<Organization> {
    let seen = see(tx, &Actor::system(), &OrganizationKey::Number(id))?;
    seen.map(|(_, organization)| organization)
        .ok_or_else(|| Error::Internal("the organization is gone".into()))
}

fn refuse_public_name(tx: &Tx<'_>, name_key: &str, own: Option<OrganizationId>) -> Result<()> {
    let sql = "SELECT 1 FROM organizations WHERE public_name_key = $1 AND id <> $2";
    let own = own.unwrap_or(OrganizationId(0));
    if tx.exists(sql, &[name_key.into(), own.into()])? { Err(Conflict::NameTaken.into()) } else { Ok(()) }
}

fn refuse_own_name(tx: &Tx<'_>, user: UserId, name: &Name, except: Option<OrganizationId>) -> Result<()> {
    let sql = "SELECT 1 FROM memberships m JOIN organizations o ON o.id = m.organization_id
               WHERE m.user_id = $1 AND o.name_key = $2 AND o.id <> $3 AND m.state IN ('active', 'inactive') LIMIT 1";
    let except = except.unwrap_or(OrganizationId(0));
    let taken = tx.exists(sql, &[user.into(), (&name.key()).into(), except.into()])?;
    if taken { Err(Conflict::OwnNameTaken.into()) } else { Ok(()) }
}

/// A change of one value that may also be taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Stays as it is.
    #[default]
    Keep,
    /// Is taken away.
    Clear,
    /// Becomes this.
    Set(T),
}

/// What of an organization is to change; what is not named stays.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// A new name. The slug stays.
    pub name: Option<Name>,
    /// What it is about.
    pub description: Patch<String>,
    /// Its pages; opaque.
    pub urls: Option<String>,
    /// Whom to write to; opaque.
    pub contacts: Option<String>,
    /// Whether it is archived.
    pub archived: Option<bool>,
    /// The stored name of its picture.
    pub image: Patch<String>,
    /// The stored name of its background picture.
    pub background_image: Patch<String>,
}

/// Which right a change needs: to unarchive is the one change that an archived organization knows.
#[must_use]
pub fn permission_to_change(archived: Option<bool>) -> Permission {
    if archived == Some(false) { Permission::Archive } else { Permission::Update }
}

/// Changes an organization.
///
/// # Errors
/// [`Missing::Organization`], what [`memberships::may`] refuses, [`Conflict::NameTaken`], [`Conflict::OwnNameTaken`].
pub fn update(db: &Db, actor: &Actor, at: &At, changes: Changes, terms: Terms) -> Result<Seen> {
    let at = at.clone();
    write_as(db, actor, move |tx, actor| {
        let (found, _) = require(tx, actor, &at, permission_to_change(changes.archived))?;
        if let Some(name) = &changes.name {
            rename(tx, actor, &found, name, terms)?;
        }
        apply(tx, found.id, &changes)?;
        if let Some(archived) = changes.archived {
            counts::move_between(tx, (found.id, found.visibility), found.archived_at.is_none(), !archived)?;
        }
        activity::record(tx, actor, "organization.update", &About::organization(found.id))?;
        // Archiving is the last that the caller may do, so what it looks like then is read as the system.
        Ok(Seen { organization: whole(tx, found.id)?, role: found.power(actor) })
    })
}

fn rename(tx: &WriteTx<'_>, actor: &Actor, found: &Found, name: &Name, terms: Terms) -> Result<()> {
    let name_key = name.key();
    let is_public = found.visibility == Visibility::Public;
    if is_public {
        refuse_public_name(tx, &name_key, Some(found.id))?;
    }
    if let (true, Some(user)) = (terms.own_names_differ, actor.user_id()) {
        refuse_own_name(tx, user, name, Some(found.id))?;
    }
    tx.run(
        "UPDATE organizations SET name = $2, name_key = $3, public_name_key = $4 WHERE id = $1",
        &[found.id.into(), name.as_str().into(), (&name_key).into(), is_public.then_some(&name_key).into()],
    )?;
    Ok(())
}

fn apply(tx: &WriteTx<'_>, id: OrganizationId, changes: &Changes) -> Result<()> {
    let set = |sql: &'static str, value: &Patch<String>| match value {
        Patch::Keep => Ok(0),
        Patch::Clear => tx.run(sql, &[id.into(), crate::db::Value::Null]),
        Patch::Set(value) => tx.run(sql, &[id.into(), value.into()]),
    };
    set("UPDATE organizations SET description = $2 WHERE id = $1", &changes.description)?;
    set("UPDATE organizations SET image = $2 WHERE id = $1", &changes.image)?;
    set("UPDATE organizations SET background_image = $2 WHERE id = $1", &changes.background_image)?;
    if let Some(urls) = &changes.urls {
        tx.run("UPDATE organizations SET urls = $2 WHERE id = $1", &[id.into(), urls.into()])?;
    }
    if let Some(contacts) = &changes.contacts {
        tx.run("UPDATE organizations SET contacts = $2 WHERE id = $1", &[id.into(), contacts.into()])?;
    }
    match changes.archived {
        Some(true) => {
            let sql = "UPDATE organizations SET archived_at = COALESCE(archived_at, $2) WHERE id = $1";
            tx.run(sql, &[id.into(), tx.now.into()])?;
        }
        Some(false) => {
            tx.run("UPDATE organizations SET archived_at = NULL WHERE id = $1", &[id.into()])?;
        }
        None => {}
    }
    tx.run("UPDATE organizations SET updated_at = $2 WHERE id = $1", &[id.into(), tx.now.into()])?;
    Ok(())
}

/// Gives an organization another plan, as an operator does.
///
/// # Errors
/// For all but the system; [`Missing::Organization`].
pub fn set_plan(db: &Db, actor: &Actor, key: &OrganizationKey, plan: Plan) -> Result<Organization> {
    actor.require_system()?;
    let (actor, key) = (actor.clone(), key.clone());
    db.write(move |tx| {
        let found = locate(tx, &actor, &key)?.ok_or(Missing::Organization)?;
        tx.run(
            "UPDATE organizations SET plan = $2, plan_attendees = $3, updated_at = $4 WHERE id = $1",
            &[found.id.into(), (&plan.name).into(), plan.attendees.into(), tx.now.into()],
        )?;
        activity::record(tx, &actor, "organization.set-plan", &About::organization(found.id))?;
        whole(tx, found.id)
    })
}

/// Deletes an organization with its memberships, invitations and events. Its pictures go when nothing else uses them.
///
/// # Errors
/// [`Missing::Organization`], what [`memberships::may`] refuses.
pub fn delete(db: &Db, actor: &Actor, at: &At) -> Result<()> {
    let at = at.clone();
    write_as(db, actor, move |tx, actor| {
        let (found, _) = require(tx, actor, &at, Permission::Delete)?;
        tx.run("DELETE FROM organizations WHERE id = $1", &[found.id.into()])?;
        counts::move_between(tx, (found.id, found.visibility), found.archived_at.is_none(), false)?;
        let about = About { detail: Some(&found.name), ..About::organization(found.id) };
        activity::record(tx, actor, "organization.delete", &about)
    })
}

/// A session for one of the caller's organizations, no wider than the credential they came with.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Missing::Organization`].
pub fn switch(db: &Db, actor: &Actor, at: &At) -> Result<Session> {
    actor.require_user()?;
    let at = at.clone();
    write_as(db, actor, move |tx, actor| {
        let (found, _) = require(tx, actor, &at, Permission::ReadProfile)?;
        derive_session(tx, actor, found.id)
    })
}

/// Makes a session for an account, as an operator does: for the organization that `organization` names, else for their first
/// by joining if there is one, as a sign-in does.
///
/// # Errors
/// For all but the system; [`Missing::User`]; [`Missing::Organization`]; [`Missing::Member`] where they do not belong to it.
pub fn create_session(
    db: &Db,
    actor: &Actor,
    user: &UserKey,
    organization: Option<&OrganizationKey>,
) -> Result<Session> {
    actor.require_system()?;
    let (actor, user, organization) = (actor.clone(), user.clone(), organization.cloned());
    db.write(move |tx| {
        let user = users::find(tx, &user)?.ok_or(Missing::User)?;
        let organization = match &organization {
            Some(key) => Some(own_id(tx, &actor, user.id, key)?),
            None => first_id(tx, user.id)?,
        };
        activity::record(tx, &actor, "session.create", &About::user(user.id))?;
        let expires_at = tx.now.after(TOKEN_LASTS);
        let new =
            NewSession { scope: Scope::Write, organization, from_api_key: false, expires_at, is_key: false };
        insert_session(tx, user, &new)
    })
}

/// The organization of that key, where `user` is an active or inactive member of it.
fn own_id(tx: &Tx<'_>, actor: &Actor, user: UserId, key: &OrganizationKey) -> Result<OrganizationId> {
    let found = locate(tx, actor, key)?.ok_or(Missing::Organization)?;
    let standing = memberships::standing(tx, found.id, user)?;
    let belongs = standing.is_some_and(|(_, state)| state.counts());
    if belongs { Ok(found.id) } else { Err(Missing::Member.into()) }
}

/// Whether any organization shows the picture stored under that name: whoever knows the name may see it.
///
/// # Errors
/// Where the database cannot be used.
pub fn uses_picture(db: &Db, name: &str) -> Result<bool> {
    let image = "SELECT 1 FROM organizations WHERE image = $1 LIMIT 1";
    let background = "SELECT 1 FROM organizations WHERE background_image = $1 LIMIT 1";
    db.read(|tx| Ok(tx.exists(image, &[name.into()])? || tx.exists(background, &[name.into()])?))
}
