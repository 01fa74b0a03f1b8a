//! An organization with everybody whom a call can name, and the one who calls.

use std::sync::atomic::{AtomicU64, Ordering};

use guildhall_domain::authz::{Role, State};
use guildhall_domain::memberships::{Joining, Visibility};
use guildhall_domain::outbox::Kind;
use guildhall_domain::users::User;
use serde_json::json;

use super::calls::PRESENTER;
use crate::harness::{Answer, Call, House, PASSWORD, Plan, post, put};

/// Who calls.
pub(super) struct Caller {
    pub(super) name: &'static str,
    pub(super) part: Part,
    /// With a token of scope `read`.
    pub(super) only_reads: bool,
    /// In an archived organization.
    pub(super) archived: bool,
}

/// What a caller is to the organization.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Without a credential.
    Nobody,
    /// The owner of another organization.
    Stranger,
    /// Of no organization, with the operator's flag.
    Operator,
    Belongs(Role, State),
}

/// The columns of the table.
pub(super) const CALLERS: [Caller; 13] = [
    caller("nobody", Part::Nobody),
    caller("stranger", Part::Stranger),
    caller("pending", Part::Belongs(Role::Member, State::Pending)),
    caller("suspended", Part::Belongs(Role::Member, State::Suspended)),
    caller("inactive", Part::Belongs(Role::Member, State::Inactive)),
    caller("member", Part::Belongs(Role::Member, State::Active)),
    caller("admin", Part::Belongs(Role::Admin, State::Active)),
    OWNER,
    caller("operator", Part::Operator),
    Caller { name: "r:owner", only_reads: true, ..OWNER },
    Caller { name: "a:stranger", archived: true, ..caller("", Part::Stranger) },
    Caller { name: "a:member", archived: true, ..caller("", Part::Belongs(Role::Member, State::Active)) },
    Caller { name: "a:owner", archived: true, ..OWNER },
];

pub(super) const OWNER: Caller = caller("owner", Part::Belongs(Role::Owner, State::Active));

const fn caller(name: &'static str, part: Part) -> Caller {
    Caller { name, part, only_reads: false, archived: false }
}

/// Somebody as the dialects name them.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) number: String,
    pub(crate) short: String,
    pub(crate) username: String,
    pub(crate) email: String,
}

impl From<&User> for Person {
    fn from(user: &User) -> Self {
        Self {
            number: user.id.0.to_string(),
            short: user.uid.short().to_owned(),
            username: user.username(),
            email: user.email.clone().unwrap(),
        }
    }
}

/// What a call names.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) number: String,
    pub(crate) short: String,
    pub(crate) slug: String,
    pub(crate) event: String,
    pub(crate) member: Person,
}

/// One organization, and one who calls.
pub(crate) struct Scene<'h> {
    pub(crate) house: &'h House,
    /// No other scene of the house has it.
    pub(crate) serial: u64,
    pub(crate) place: Place,
    /// An owner who does not call.
    pub(crate) founder: Person,
    /// Somebody with an account and without an organization.
    pub(crate) guest: Person,
    /// The caller's account, where they have one.
    pub(crate) own: Option<Person>,
    /// What the caller sends.
    pub(crate) credential: Option<String>,
    /// What a mailed link carries, for the calls that need one.
    pub(crate) link: String,
}

pub(super) fn house() -> House {
    House::with(Plan { in_memory: true, ..Plan::default() })
}

/// How open an organization is that is made through the dialect.
pub(super) fn terms_of(dialect: &str) -> (Visibility, Joining) {
    match dialect {
        "bit" => (Visibility::Internal, Joining::Open),
        "cadasta" => (Visibility::Public, Joining::Invite),
        _ => (Visibility::Private, Joining::Invite),
    }
}

impl<'h> Scene<'h> {
    /// A new organization and everybody in it, before anything is archived.
    pub(super) async fn new(
        house: &'h House,
        caller: &Caller,
        (visibility, joining): (Visibility, Joining),
    ) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::SeqCst);
        let [founder, member, guest] = ["founder", "mate", "guest"].map(|who| format!("{who}{serial}"));
        let founder = house.user(&founder);
        let hall = house.organization_as(&format!("Hall {serial}"), &founder.username(), visibility, joining);
        let (member, guest) = (house.user(&member), house.user(&guest));
        house.member(&hall.slug, &member.username(), Role::Member, State::Active);
        let own = Self::caller(house, caller, (serial, &hall.slug));
        let mut scene = Self {
            house,
            serial,
            place: Place {
                number: hall.id.0.to_string(),
                short: hall.uid.short().to_owned(),
                slug: hall.slug,
                event: String::new(),
                member: Person::from(&member),
            },
            founder: Person::from(&founder),
            guest: Person::from(&guest),
            own: own.as_ref().map(Person::from),
            credential: None,
            link: String::new(),
        };
        scene.credential = match &scene.own {
            Some(own) if caller.only_reads => Some(house.read_token(&own.username).await),
            Some(own) => Some(house.token(&own.username)),
            None => None,
        };
        scene.make_event().await;
        scene
    }

    /// The account of the one who calls.
    fn caller(house: &House, caller: &Caller, (serial, slug): (u64, &str)) -> Option<User> {
        let name = format!("caller{serial}");
        Some(match caller.part {
            Part::Nobody => return None,
            Part::Operator => house.operator(&name),
            Part::Stranger => {
                let user = house.user(&name);
                house.organization(&format!("Other {serial}"), &name);
                user
            }
            Part::Belongs(role, state) => {
                let user = house.user(&name);
                house.member(slug, &name, role, state);
                user
            }
        })
    }

    async fn make_event(&mut self) {
        let body = json!({"name": "Feast", "date": "2026-02-10T22:27:00+0000"});
        let path = format!("/organizations/{}/events/create", self.place.number);
        let answer = self.send_as_founder(post(&path).json(body)).await;
        let location = answer.header("location");
        location.strip_prefix("/events/").unwrap().clone_into(&mut self.place.event);
    }

    /// Makes the caller present the event, if they are a member.
    async fn present(&self) {
        if let Some(own) = &self.own {
            let path = format!("/events/{}", self.place.event);
            self.send_as_founder(put(&path).json(json!({"presenters": [own.email]}))).await;
        }
    }

    async fn send_as_founder(&self, call: Call) -> Answer {
        self.house.send(call.bearer(&self.house.token(&self.founder.username))).await
    }

    /// Does what has to be done before the call can be carried out, then archives where the caller is to find that.
    pub(super) async fn prepare(&mut self, caller: &Caller, (method, path): (&str, &str), variant: &str) {
        match (method, path) {
            _ if variant == PRESENTER => self.present().await,
            ("DELETE", "/events/{event_id}/rsvp") => {
                if let Some(own) = &self.own {
                    let path = format!("/events/{}/rsvp", self.place.event);
                    self.house.send(put(&path).bearer(&self.house.token(&own.username))).await;
                }
            }
            (_, "/api/org/invite") => {
                let path = format!("/api/org/{}/invitelink", self.place.number);
                let body = json!({"email": self.guest.email, "send": false});
                let answer = self.send_as_founder(post(&path).json(body)).await.value();
                let (_, token) = answer["confirmUrl"].as_str().unwrap().split_once("token=").unwrap();
                self.link = token.to_owned();
            }
            (_, "/api/account/verify") => {
                let email = format!("new{}@example.com", self.serial);
                let body = json!({
                    "username": format!("new{}", self.serial), "email": email, "password": PASSWORD,
                });
                self.house.send(post("/api/v1/account/register/").json(body)).await;
                self.link = self.house.mailed_token(Kind::Verify, &email);
            }
            (_, "/api/account/changepassword") => {
                let body = json!({"email": self.guest.email});
                self.house.send(post("/api/account/forgotpassword").json(body)).await;
                self.link = self.house.mailed_token(Kind::ResetPassword, &self.guest.email);
            }
            _ => {}
        }
        if caller.archived {
            self.house.archive(&self.place.slug, true);
        }
    }
}
