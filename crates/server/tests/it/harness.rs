//! A whole server in the test's own process: a database in a folder of its own, a clock that stands still, randomness that
//! a seed determines. A call goes through the router as one from the network would.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use guildhall::app::{self, App, Parts};
use guildhall::client::Client;
use guildhall::issuers::{IssuerConfig, Issuers};
use guildhall::keyring;
use guildhall::media::Media;
use guildhall::observe;
use guildhall::router::router;
use guildhall::sealing::Seal;
use guildhall::tokens::{Keys, Names};
use guildhall_domain::authz::{Actor, Role, Scope, State};
use guildhall_domain::clock::{Clock, Random, Timestamp};
use guildhall_domain::credentials;
use guildhall_domain::db::{Db, Settings};
use guildhall_domain::memberships::{self, Joining, OrganizationKey, Visibility};
use guildhall_domain::onboarding::SignedIn;
use guildhall_domain::organizations::{self, NewOrganization, Organization};
use guildhall_domain::outbox::{self, Kind, Letter, Secrets};
use guildhall_domain::text::{Email, Name, PersonName, Slug, Username};
use guildhall_domain::users::{self, NewUser, Profile, User, UserKey};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::described;
use crate::place::Place;

/// 2026-01-02T03:04:05.678901Z: where the clock of every house stands at first.
pub(crate) const NOW: Timestamp = Timestamp(1_767_323_045_678_901);
/// The same instant as answers show it.
pub(crate) const NOW_MICROS: &str = "2026-01-02T03:04:05.678901Z";
/// The password of everybody whom [`House::user`] makes.
pub(crate) const PASSWORD: &str = "opensesame 42";

/// A running server and everything behind it.
pub(crate) struct House {
    pub(crate) app: App,
    pub(crate) clock: Clock,
    pub(crate) folder: Arc<Folder>,
    pub(crate) place: Arc<Place>,
    plan: Plan,
    router: Router,
    password_hash: String,
}

/// A folder that is removed when it goes.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// One where writing costs nothing, if the machine has such a place: for tests of many thousand commits.
    pub(crate) fn in_memory() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory) } else { Self::new() }
    }

    fn below(parent: &std::path::Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("guildhall-it-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let path = parent.join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What a house is built with, where that is not the usual.
#[derive(Clone, Default)]
pub(crate) struct Plan {
    pub(crate) issuers: Vec<IssuerConfig>,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) oauth_clients: Vec<(String, String)>,
    pub(crate) public_url: Option<String>,
    pub(crate) return_to: Option<String>,
    /// With the limits on how often.
    pub(crate) limits: bool,
    /// How many invitations an organization may send in a day, where limits hold and not the usual number.
    pub(crate) invitations_per_day: Option<i64>,
    /// The machine's clock instead of one that stands still.
    pub(crate) real_clock: bool,
    /// Where a commit costs nothing: for tests of many thousand.
    pub(crate) in_memory: bool,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(Plan::default())
    }

    pub(crate) fn with(plan: Plan) -> Self {
        let folder = if plan.in_memory { Folder::in_memory() } else { Folder::new() };
        let place = Place::new(&folder.0);
        Self::at(place, folder, plan)
    }

    /// One whose database is that one, whatever the engine of this run.
    pub(crate) fn at(place: Place, folder: Folder, plan: Plan) -> Self {
        let clock = if plan.real_clock { Clock::system() } else { Clock::fixed(NOW) };
        Self::on((Arc::new(folder), Arc::new(place)), clock, Random::seeded(7), plan)
    }

    /// Another node on the same database, with the same pictures and the same clock.
    pub(crate) fn another_node(&self) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1_000);
        let random = Random::seeded(COUNT.fetch_add(1, Ordering::SeqCst));
        let whereabouts = (Arc::clone(&self.folder), Arc::clone(&self.place));
        Self::on(whereabouts, self.clock.clone(), random, self.plan.clone())
    }

    fn on((folder, place): (Arc<Folder>, Arc<Place>), clock: Clock, random: Random, plan: Plan) -> Self {
        let usual = Settings::default();
        let settings = Settings {
            clock: clock.clone(),
            random: random.clone(),
            limits: plan.limits,
            invitations_per_day: plan.invitations_per_day.unwrap_or(usual.invitations_per_day),
            ..usual
        };
        let db = place.open(settings);
        let seal = Seal::new(None);
        keyring::prepare(&db, &seal).unwrap();
        let keys = Keys::open(&db, seal, Names::default()).unwrap();
        let given = plan.clone();
        let app = App::new(Parts {
            db,
            keys,
            issuers: Issuers::new(given.issuers, clock.clone()).unwrap(),
            media: Media::open(&format!("dir:{}", folder.0.join("media").display())).unwrap(),
            secrets: Secrets::new([7; 32]),
            public_url: given.public_url.unwrap_or_else(|| "http://guildhall.test".into()),
            return_to: given.return_to,
            cors_origins: given.cors_origins,
            oauth_clients: given.oauth_clients.into_iter().collect(),
        });
        let router = observe::layer(router(&app), observe::Metrics::new(), random);
        // One hash serves everybody: hashing is slow, and has tests of its own.
        static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let password_hash = HASH
            .get_or_init(|| {
                credentials::password::Password::chosen(PASSWORD).unwrap().hash(&Random::seeded(1)).unwrap()
            })
            .clone();
        Self { app, clock, folder, place, plan, router, password_hash }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.app.db
    }

    pub(crate) fn system() -> Actor {
        Actor::system()
    }

    /// Moves the clock.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Makes an account with a confirmed address `name@example.com`, username `name`, [`PASSWORD`], called `name`.
    pub(crate) fn user(&self, name: &str) -> User {
        self.make_user(name, (false, true))
    }

    /// The same with an address that is not confirmed.
    pub(crate) fn unverified_user(&self, name: &str) -> User {
        self.make_user(name, (false, false))
    }

    /// As [`House::user`], with the operator's flag.
    pub(crate) fn operator(&self, name: &str) -> User {
        self.make_user(name, (true, true))
    }

    fn make_user(&self, name: &str, (as_operator, verified): (bool, bool)) -> User {
        let new = NewUser {
            username: Some(Username::parse(name).unwrap()),
            email: Email::parse(&format!("{name}@example.com")).unwrap(),
            name: PersonName::Whole(Name::parse(name).unwrap()),
            password_hash: Some(self.password_hash.clone()),
            profile: Profile::default(),
        };
        users::create(self.db(), &Actor::system(), new, as_operator, verified).unwrap()
    }

    /// Who acts by a new session of the account of that username or address.
    pub(crate) fn acting(&self, login: &str) -> Actor {
        let user = UserKey::Login(login.into());
        let session = organizations::create_session(self.db(), &Actor::system(), &user, None).unwrap();
        credentials::by_session(self.db(), &session.id).unwrap().unwrap().actor
    }

    /// A session token for the account of that username or address.
    pub(crate) fn token(&self, login: &str) -> String {
        self.token_in(login, None)
    }

    /// The account of that username or address as it acts with a session.
    pub(crate) async fn actor(&self, login: &str) -> Actor {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {}", self.token(login)).parse().unwrap());
        guildhall::auth::identify(&self.app, &Method::GET, &headers).await.unwrap().unwrap()
    }

    /// A session token made for the organization of that slug.
    pub(crate) fn token_in(&self, login: &str, slug: Option<&str>) -> String {
        let key = slug.map(|slug| OrganizationKey::Slug(slug.into()));
        let user = UserKey::Login(login.into());
        let session =
            organizations::create_session(self.db(), &Actor::system(), &user, key.as_ref()).unwrap();
        app::token(&self.app.keys, self.app.random(), &session).unwrap().0
    }

    /// A token of the account that may only read.
    pub(crate) async fn read_token(&self, login: &str) -> String {
        let wanted = credentials::Wanted::Token { scope: Scope::Read, for_first_organization: false };
        self.app.token(&self.signed_in(login, wanted).await).await.unwrap().0
    }

    /// A new session's key of 40 hex digits.
    pub(crate) async fn session_key(&self, login: &str) -> String {
        self.signed_in(login, credentials::Wanted::Key).await.key.unwrap()
    }

    async fn signed_in(&self, login: &str, wanted: credentials::Wanted) -> credentials::Session {
        let address = String::new();
        let (login, password) = (login.into(), PASSWORD.into());
        match self.app.sign_in(app::Entry { login, password, address, wanted, invitation: None }).await {
            Ok(SignedIn::Done(session)) => *session,
            other => panic!("{other:?}"),
        }
    }

    /// A new API key of the account.
    pub(crate) fn api_key(&self, login: &str) -> String {
        credentials::create_api_key(self.db(), &Actor::system(), &UserKey::Login(login.into())).unwrap()
    }

    /// Makes an organization as the command line does: private, by invitation, `owner` its owner.
    pub(crate) fn organization(&self, name: &str, owner: &str) -> Organization {
        self.organization_as(name, owner, Visibility::Private, Joining::Invite)
    }

    pub(crate) fn organization_as(
        &self,
        name: &str,
        owner: &str,
        visibility: Visibility,
        joining: Joining,
    ) -> Organization {
        let new =
            NewOrganization { visibility, joining, ..NewOrganization::named(Name::parse(name).unwrap()) };
        organizations::create_for(self.db(), &Actor::system(), &UserKey::Login(owner.into()), new).unwrap()
    }

    /// Makes somebody exactly that in the organization of that slug.
    pub(crate) fn member(&self, slug: &str, login: &str, role: Role, state: State) {
        let key = OrganizationKey::Slug(Slug::of(slug).as_str().into());
        memberships::put(self.db(), &Actor::system(), &key, &UserKey::Login(login.into()), (role, state))
            .unwrap();
    }

    /// Archives the organization of that slug.
    pub(crate) fn archive(&self, slug: &str, archived: bool) {
        let at = memberships::At {
            key: OrganizationKey::Slug(slug.into()),
            sight: memberships::Sight::ByVisibility,
        };
        let changes = organizations::Changes { archived: Some(archived), ..Default::default() };
        organizations::update(self.db(), &Actor::system(), &at, changes, Default::default()).unwrap();
    }

    /// Disables the account.
    pub(crate) fn disable(&self, login: &str) {
        memberships::disable_user(self.db(), &Actor::system(), &UserKey::Login(login.into()), true).unwrap();
    }

    /// Takes every letter that waits out of the queue, oldest first.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        let letters = outbox::take(self.db(), &Actor::system(), 1_000).unwrap();
        for letter in &letters {
            outbox::done(self.db(), &Actor::system(), &letter.id).unwrap();
        }
        letters
    }

    /// The token in the link of the newest waiting letter of that kind to that address; all waiting letters are taken.
    pub(crate) fn mailed_token(&self, kind: Kind, to: &str) -> String {
        let letters = self.letters();
        let letter = letters.iter().rev().find(|letter| letter.kind == Some(kind) && letter.recipient == to);
        let nonce =
            letter.unwrap_or_else(|| panic!("no {kind:?} to {to} in {letters:?}")).nonce.clone().unwrap();
        self.app.secrets.token(&nonce)
    }

    /// The router, to be served on a socket.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Sends the call and reads the whole answer, which has to be one that the description tells of.
    pub(crate) async fn send(&self, call: Call) -> Answer {
        let response = self.router.clone().oneshot(call.clone().request()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body comes whole").to_bytes().to_vec();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        described::check(&call, &answer);
        answer
    }

    /// How many bytes there are in each piece in which the answer comes.
    pub(crate) async fn pieces(&self, call: Call) -> Vec<usize> {
        let mut body = self.router.clone().oneshot(call.request()).await.unwrap().into_body();
        let mut pieces = Vec::new();
        while let Some(piece) = body.frame().await {
            pieces.extend(piece.expect("the body comes whole").into_data().map(|bytes| bytes.len()));
        }
        pieces
    }
}

/// A request, put together step by step.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    client: Option<IpAddr>,
}

pub(crate) fn call(method: &str, path: &str) -> Call {
    Call {
        method: method.parse().unwrap(),
        path: path.into(),
        headers: Vec::new(),
        body: Vec::new(),
        client: None,
    }
}

pub(crate) fn get(path: &str) -> Call {
    call("GET", path)
}

pub(crate) fn post(path: &str) -> Call {
    call("POST", path)
}

pub(crate) fn put(path: &str) -> Call {
    call("PUT", path)
}

pub(crate) fn patch(path: &str) -> Call {
    call("PATCH", path)
}

pub(crate) fn delete(path: &str) -> Call {
    call("DELETE", path)
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Comes from that address.
    pub(crate) fn from(mut self, address: &str) -> Self {
        self.client = Some(address.parse().unwrap());
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Token {token}"))
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.body("application/json", body.to_string().as_bytes())
    }

    pub(crate) fn form(self, pairs: &[(&str, &str)]) -> Self {
        let body = serde_urlencoded::to_string(pairs).unwrap();
        self.body("application/x-www-form-urlencoded", body.as_bytes())
    }

    pub(crate) fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("content-type", content_type)
    }

    /// A multipart/form-data body: name, file name where it is a file, content.
    pub(crate) fn multipart(self, parts: &[(&str, Option<&str>, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (name, file, content) in parts {
            let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
            let head = format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--edge--\r\n");
        self.body("multipart/form-data; boundary=edge", &body)
    }

    /// The first header of that name.
    pub(crate) fn sent(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn request(self) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(address) = self.client {
            request = request.extension(Client(address));
        }
        request.body(Body::from(self.body)).unwrap()
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Compares status and the whole body: the JSON as it is written, keys in their order.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: Value) -> &Self {
        let want = body.to_string();
        assert_eq!((self.status.as_u16(), self.text()), (status, want.as_str()));
        assert_eq!(self.header("content-type"), "application/json");
        self
    }

    /// Compares status and that there is no body.
    #[track_caller]
    pub(crate) fn is_empty(&self, status: u16) -> &Self {
        assert_eq!((self.status.as_u16(), self.text()), (status, ""));
        self
    }
}
