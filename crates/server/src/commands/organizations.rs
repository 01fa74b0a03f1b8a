//! `guildhall org` and `guildhall member`.

use clap::{Args, Subcommand};
use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::id::OrganizationId;
use guildhall_domain::memberships::{self, Joining, OrganizationKey, Visibility};
use guildhall_domain::organizations::{self, NewOrganization, Organization, Plan};
use guildhall_domain::text::{Name, Slug};
use guildhall_domain::users::{self, UserKey};
use serde_json::{Value, json};

use super::Failure;
use super::folder::{self, Missing};
use super::output::{Output, PIECE};
use super::users::{name, refuse_disabled};
use crate::config::Config;

#[derive(Subcommand)]
pub(super) enum OrgCommand {
    /// Make an organization
    Create(New),
    /// List all organizations
    List,
    /// Give an organization another plan
    Plan {
        /// Its slug
        slug: String,
        /// What the plan is called
        #[arg(long = "plan", value_name = "NAME", value_parser = name)]
        plan: Name,
        /// How many may attend a workshop
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
        attendees: i64,
    },
}

#[derive(Args)]
pub(super) struct New {
    /// Its name
    #[arg(long, value_name = "N", value_parser = name)]
    name: Name,
    /// The address or username of its owner
    #[arg(long, value_name = "E")]
    owner: String,
    /// Its short name in addresses; else one is made from the name
    #[arg(long, value_name = "S", value_parser = slug)]
    slug: Option<Slug>,
    /// Who sees its profile: public (anyone), internal (anyone signed in), private (its members)
    #[arg(long, value_name = "VISIBILITY", default_value = "private", value_parser = visibility)]
    visibility: Visibility,
    /// How one becomes a member: open (by oneself) or invite
    #[arg(long, value_name = "JOINING", default_value = "invite", value_parser = joining)]
    joining: Joining,
    /// What its plan is called
    #[arg(long, value_name = "NAME", value_parser = name)]
    plan: Option<Name>,
    /// How many may attend a workshop
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    attendees: Option<i64>,
}

#[derive(Subcommand)]
pub(super) enum MemberCommand {
    /// Make somebody exactly this in an organization, whether they are a member already or not
    Add {
        /// The organization's slug
        #[arg(value_name = "ORG-SLUG")]
        organization: String,
        /// The address or username
        #[arg(value_name = "E")]
        user: String,
        /// owner, admin or member
        #[arg(long, value_name = "ROLE", value_parser = role)]
        role: Role,
        /// active, inactive, pending or suspended
        #[arg(long, value_name = "STATE", default_value = "active", value_parser = state)]
        state: State,
    },
}

fn slug(text: &str) -> Result<Slug, String> {
    let of = Slug::of(text);
    match Slug::parse(text) {
        Some(slug) => Ok(slug),
        None if of.is_reserved() => Err("reserved".into()),
        None => Err(format!("not a slug such as {}", of.as_str())),
    }
}

fn visibility(text: &str) -> Result<Visibility, &'static str> {
    Visibility::parse(text).ok_or("expected public, internal or private")
}

fn joining(text: &str) -> Result<Joining, &'static str> {
    Joining::parse(text).ok_or("expected open or invite")
}

fn role(text: &str) -> Result<Role, &'static str> {
    Role::parse(text).ok_or("expected owner, admin or member")
}

fn state(text: &str) -> Result<State, &'static str> {
    State::parse(text).ok_or("expected active, inactive, pending or suspended")
}

pub(super) fn org(config: &Config, out: Output, command: OrgCommand) -> Result<(), Failure> {
    let db = folder::open_database(config, Missing::Refuse)?;
    let organization = match command {
        OrgCommand::List => {
            let next = |last: Option<&Organization>| {
                let after = last.map_or(OrganizationId(0), |organization| organization.id);
                organizations::all(&db, &Actor::system(), after, PIECE).map_err(Failure::from)
            };
            return out.list(("organizations", HEADER), next, (shown, told));
        }
        OrgCommand::Create(new) => {
            let usual = Plan::default();
            let plan = Plan {
                name: new.plan.map_or(usual.name, |name| name.as_str().to_owned()),
                attendees: new.attendees.unwrap_or(usual.attendees),
            };
            let (owner, visibility, joining, slug) = (new.owner, new.visibility, new.joining, new.slug);
            let new = NewOrganization { visibility, joining, slug, plan, ..NewOrganization::named(new.name) };
            let owner = UserKey::Login(owner);
            // Nobody could do anything in it.
            refuse_disabled(&users::lookup(&db, &Actor::system(), &owner)?)?;
            organizations::create_for(&db, &Actor::system(), &owner, new)?
        }
        OrgCommand::Plan { slug, plan, attendees } => {
            let plan = Plan { name: plan.as_str().to_owned(), attendees };
            organizations::set_plan(&db, &Actor::system(), &OrganizationKey::Slug(slug), plan)?
        }
    };
    out.show(&shown(&organization), &told(&organization))
}

pub(super) fn member(config: &Config, out: Output, command: MemberCommand) -> Result<(), Failure> {
    let MemberCommand::Add { organization, user, role, state } = command;
    let db = folder::open_database(config, Missing::Refuse)?;
    let key = OrganizationKey::Slug(organization.clone());
    let member = memberships::put(&db, &Actor::system(), &key, &UserKey::Login(user), (role, state))?;
    let user = member.user.email.clone().unwrap_or_else(|| member.user.username());
    let (role, state) = (member.role.as_str(), member.state.as_str());
    out.show(
        &json!({"user": user, "organization": organization, "role": role, "state": state}),
        &format!("{user} is {role} of {organization}, {state}"),
    )
}

fn shown(organization: &Organization) -> Value {
    json!({
        "id": organization.uid.uuid(),
        "number": organization.id.0,
        "slug": organization.slug,
        "name": organization.name,
        "stormz_id": organization.uid.short(),
        "visibility": organization.visibility.as_str(),
        "joining": organization.joining.as_str(),
        "archived": organization.archived_at.is_some(),
        "plan": organization.plan.name,
        "attendees": organization.plan.attendees,
    })
}

/// What stands in the columns of [`told`].
const HEADER: &str = "NUMBER\tSLUG\tNAME\tVISIBILITY\tJOINING\tARCHIVED\tPLAN\tATTENDEES";

fn told(organization: &Organization) -> String {
    let archived = if organization.archived_at.is_some() { "yes" } else { "no" };
    [
        &organization.id.0.to_string(),
        &organization.slug,
        &organization.name,
        organization.visibility.as_str(),
        organization.joining.as_str(),
        archived,
        &organization.plan.name,
        &organization.plan.attendees.to_string(),
    ]
    .join("\t")
}
