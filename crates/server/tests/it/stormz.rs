//! stormz (document 003), read beside it: one call, the whole answer.

use guildhall_domain::authz::{Role, State};
use guildhall_domain::memberships::{Joining, OrganizationKey, Visibility};
use guildhall_domain::organizations::{self, NewOrganization, Organization, Plan};
use guildhall_domain::users::{self, User, UserKey};
use serde_json::{Value, json};

use crate::harness::{Call, House, call, delete, get, patch, post, put};

mod avatar;
mod lists;
mod members;
mod token;

const DEFAULT_AVATAR: &str =
    "http://guildhall.test/media/6d58382f5c89f073fc8573fb15d258ac95df837a7c4cbecfbaa7cbe9f04534c4.png";

fn message(text: &str) -> Value {
    json!({"message": text})
}

/// As a list of members shows them.
fn member(user: &User) -> Value {
    json!({
        "id": user.uid.short(),
        "email": user.email,
        "name": user.display_name(),
        "avatar_url": DEFAULT_AVATAR
    })
}

fn shown(organization: &Organization, name: &str) -> Value {
    json!({
        "id": organization.uid.short(),
        "name": name,
        "avatar_url": DEFAULT_AVATAR,
        "plan": {"name": "organization", "workshops_max_attendees": 20}
    })
}

fn path(organization: &Organization) -> String {
    format!("/v1/organizations/{}", organization.uid.short())
}

/// An organization `Stormz` with somebody of every kind: who each is, is their name.
struct Stormz {
    house: House,
    organization: Organization,
}

const EVERYBODY: [(&str, Role, State); 6] = [
    ("admin", Role::Admin, State::Active),
    ("member", Role::Member, State::Active),
    ("inactive", Role::Member, State::Inactive),
    ("inactive-admin", Role::Admin, State::Inactive),
    ("pending", Role::Admin, State::Pending),
    ("suspended", Role::Owner, State::Suspended),
];

impl Stormz {
    fn new() -> Self {
        let house = House::new();
        house.user("owner");
        house.user("stranger");
        let organization = house.organization("Stormz", "owner");
        for (name, role, state) in EVERYBODY {
            house.user(name);
            house.member("stormz", name, role, state);
        }
        Self { house, organization }
    }

    fn user(&self, name: &str) -> User {
        users::lookup(self.house.db(), &House::system(), &UserKey::Login(name.into())).unwrap()
    }

    fn path(&self) -> String {
        path(&self.organization)
    }

    fn members(&self) -> String {
        format!("{}/members", self.path())
    }

    /// The path of that member.
    fn member(&self, name: &str) -> String {
        format!("{}/{}", self.members(), self.user(name).uid.short())
    }

    /// A token of `name` that may only read.
    async fn read_token(&self, name: &str) -> String {
        let email = format!("{name}@example.com");
        let form = [
            ("grant_type", "password"),
            ("username", &email),
            ("password", crate::harness::PASSWORD),
            ("scope", "read"),
        ];
        let answer = self.house.send(post("/oauth/token").form(&form)).await;
        answer.value()["access_token"].as_str().unwrap().to_owned()
    }

    /// Sends the call as each of these and compares status and message.
    async fn refuses(&self, table: &[(&str, u16, &str)], call: impl Fn() -> Call) {
        for (name, status, text) in table {
            let answer = match *name {
                "nobody" => self.house.send(call()).await,
                "reader" => self.house.send(call().bearer(&self.read_token("owner").await)).await,
                name => self.house.send(call().bearer(&self.house.token(name))).await,
            };
            assert_eq!((answer.status.as_u16(), answer.value()), (*status, message(text)), "{name}");
        }
    }
}

#[tokio::test]
async fn the_document_as_it_stands() {
    let house = House::new();
    let foo = house.user("foo");
    let bar = house.user("bar");
    let stormz = house.organization("Stormz", "foo");
    let token = house.token("foo");
    house.send(get("/v1/user/me").bearer(&token)).await.is(
        200,
        json!({
            "id": foo.uid.short(),
            "email": "foo@example.com",
            "name": "foo",
            "avatar_url": DEFAULT_AVATAR,
            "plan": {"name": "free", "workshops_max_attendees": 3},
            "admin": false,
            "created_at": "2026-01-02T03:04:05Z",
            "confirmed_at": "2026-01-02T03:04:05Z",
            "updated_at": "2026-01-02T03:04:05Z"
        }),
    );
    let (one, members) = (path(&stormz), format!("{}/members", path(&stormz)));
    house
        .send(get("/v1/user/me/organizations").bearer(&token))
        .await
        .is(200, json!([shown(&stormz, "Stormz")]));
    house.send(get(&one).bearer(&token)).await.is(200, shown(&stormz, "Stormz"));
    house.send(put(&one).bearer(&token).json(json!({"name": "Stormz Inc."}))).await.is_empty(204);
    house.send(get(&one).bearer(&token)).await.is(200, shown(&stormz, "Stormz Inc."));
    house.send(get(&members).bearer(&token)).await.is(200, json!([member(&foo)]));
    let new = json!({"email": "bar@example.com", "role": "admin"});
    house.send(post(&members).bearer(&token).json(new)).await.is(201, member(&bar));
    house.send(get(&members).bearer(&token)).await.is(200, json!([member(&foo), member(&bar)]));
    let bars = format!("{members}/{}", bar.uid.short());
    house.send(delete(&bars).bearer(&token)).await.is_empty(204);
    house.send(get(&members).bearer(&token)).await.is(200, json!([member(&foo)]));
}

#[tokio::test]
async fn an_operator_is_an_admin_and_one_without_an_address_has_none() {
    let house = House::new();
    let new = users::NewUser {
        username: None,
        email: guildhall_domain::text::Email::parse("op@example.com").unwrap(),
        name: guildhall_domain::text::PersonName::Unknown,
        password_hash: None,
        profile: users::Profile::default(),
    };
    users::create(house.db(), &House::system(), new, true, false).unwrap();
    let me = house.send(get("/v1/user/me").bearer(&house.token("op@example.com"))).await.value();
    assert_eq!((&me["admin"], &me["confirmed_at"]), (&json!(true), &json!(null)));
    assert_eq!(me["name"], "op@example.com", "a name is never empty");
    let who = users::Identity {
        issuer: "https://issuer.test".into(),
        subject: "1".into(),
        email: None,
        name: guildhall_domain::text::PersonName::Unknown,
    };
    let user = users::of_identity(house.db(), &House::system(), who).unwrap();
    let key = UserKey::Number(user.id);
    let session = organizations::create_session(house.db(), &House::system(), &key, None).unwrap();
    let (token, _) = house.app.token(&session).await.unwrap();
    let me = house.send(get("/v1/user/me").bearer(&token)).await.value();
    assert_eq!((&me["email"], &me["id"]), (&json!(null), &json!(user.uid.short())));
}

#[tokio::test]
async fn the_operator_sets_the_plan() {
    let house = House::new();
    house.user("ana");
    let new = NewOrganization {
        plan: Plan { name: "gold".into(), attendees: 500 },
        ..NewOrganization::named(guildhall_domain::text::Name::parse("Stormz").unwrap())
    };
    let ana = UserKey::Login("ana".into());
    let made = organizations::create_for(house.db(), &House::system(), &ana, new).unwrap();
    let plan =
        async || house.send(get(&path(&made)).bearer(&house.token("ana"))).await.value()["plan"].clone();
    assert_eq!(plan().await, json!({"name": "gold", "workshops_max_attendees": 500}));
    let key = OrganizationKey::Number(made.id);
    let silver = Plan { name: "silver".into(), attendees: 50 };
    organizations::set_plan(house.db(), &House::system(), &key, silver).unwrap();
    assert_eq!(plan().await, json!({"name": "silver", "workshops_max_attendees": 50}));
}

#[tokio::test]
async fn an_organization_is_there_for_its_members_alone() {
    let stormz = Stormz::new();
    for name in ["owner", "admin", "member", "inactive", "inactive-admin"] {
        let token = stormz.house.token(name);
        stormz
            .house
            .send(get(&stormz.path()).bearer(&token))
            .await
            .is(200, shown(&stormz.organization, "Stormz"));
        let mine = stormz.house.send(get("/v1/user/me/organizations").bearer(&token)).await;
        mine.is(200, json!([shown(&stormz.organization, "Stormz")]));
    }
    for name in ["stranger", "pending", "suspended"] {
        let token = stormz.house.token(name);
        stormz.house.send(get(&stormz.path()).bearer(&token)).await.is(404, message("Not Found"));
        stormz.house.send(get("/v1/user/me/organizations").bearer(&token)).await.is(200, json!([]));
    }
    let open = stormz.house.organization_as("Open", "owner", Visibility::Public, Joining::Open);
    stormz
        .refuses(&[("nobody", 401, "Requires authentication"), ("stranger", 404, "Not Found")], || {
            get(&path(&open))
        })
        .await;
    let upper = format!("/v1/organizations/{}/", open.uid.short().to_uppercase());
    stormz.house.send(get(&upper).bearer(&stormz.house.token("owner"))).await.is(200, shown(&open, "Open"));
    let number = open.id.0.to_string();
    for id in ["5007d396eb7abf319a000047", "5007d396", &number, &open.slug, open.uid.as_str(), "%ff", "%00"] {
        let there = get(&format!("/v1/organizations/{id}")).bearer(&stormz.house.token("owner"));
        stormz.house.send(there).await.is(404, message("Not Found"));
    }
}

#[tokio::test]
async fn those_in_charge_rename_it() {
    let stormz = Stormz::new();
    let rename = |name: &str| put(&stormz.path()).json(json!({"name": name}));
    for name in ["owner", "admin", "inactive-admin"] {
        let token = stormz.house.token(name);
        stormz.house.send(rename(&format!("  By {name} ")).bearer(&token)).await.is_empty(204);
        let now = shown(&stormz.organization, &format!("By {name}"));
        stormz.house.send(get(&stormz.path()).bearer(&token)).await.is(200, now);
    }
    let refused = [
        ("nobody", 401, "Requires authentication"),
        ("stranger", 404, "Not Found"),
        ("pending", 404, "Not Found"),
        ("suspended", 404, "Not Found"),
        ("member", 403, "Forbidden"),
        ("inactive", 403, "Forbidden"),
        ("reader", 403, "Forbidden"),
    ];
    // Whatever is wrong with the form, or where it names nothing to change: who may not is told that first.
    stormz.refuses(&refused, || rename("Taken over")).await;
    stormz.refuses(&refused, || rename("")).await;
    stormz.refuses(&refused, || put(&stormz.path()).json(json!({}))).await;
    stormz.refuses(&refused, || put(&stormz.path()).body("application/json", b"{")).await;
    stormz.refuses(&refused, || put(&stormz.path()).body("text/plain", b"x")).await;
    stormz.house.archive("stormz", true);
    let archived = [("owner", 403, "Organization is archived"), ("admin", 403, "Organization is archived")];
    stormz.refuses(&archived, || rename("Frozen")).await;
    stormz.refuses(&archived, || put(&stormz.path()).json(json!({}))).await;
    stormz
        .refuses(&[("member", 403, "Forbidden"), ("stranger", 404, "Not Found")], || rename("Frozen"))
        .await;
    let kept = shown(&stormz.organization, "By inactive-admin");
    stormz.house.send(get(&stormz.path()).bearer(&stormz.house.token("member"))).await.is(200, kept);
}

#[tokio::test]
async fn a_rename_says_what_is_wrong_with_it() {
    let stormz = Stormz::new();
    let token = stormz.house.token("owner");
    let change = || put(&stormz.path()).bearer(&token);
    for (body, text) in [
        (json!({"name": ""}), "name must not be blank"),
        (json!({"name": " \u{3000}"}), "name must not be blank"),
        (json!({"name": null}), "name must be a string"),
        (json!({"name": ["a"]}), "name must be a string"),
        (json!({"name": "a\u{202e}b"}), "name must not contain control characters"),
        (json!({"name": "x".repeat(201)}), "name must have at most 200 characters"),
    ] {
        stormz.house.send(change().json(body)).await.is(422, message(text));
    }
    for body in ["", "{", "[]", "\"name\"", "null", "{\"name\": \"\u{0}\"}"] {
        let answer = stormz.house.send(change().body("application/json", body.as_bytes())).await;
        answer.is(400, message("Problems parsing JSON"));
    }
    for media in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let answer = stormz.house.send(change().body(media, b"{\"name\": \"A\"}")).await;
        answer.is(415, message("Unsupported content type"));
    }
    let large = stormz.house.send(change().body("application/json", &vec![b' '; 1024 * 1024 + 1])).await;
    large.is(413, message("Request body too large"));
    for nothing in [json!({}), json!({"plan": {"name": "gold"}, "avatar_url": 1, "id": null})] {
        stormz.house.send(change().json(nothing)).await.is_empty(204);
    }
    stormz
        .house
        .send(get(&stormz.path()).bearer(&token))
        .await
        .is(200, shown(&stormz.organization, "Stormz"));
}

#[tokio::test]
async fn names_of_public_organizations_are_unique() {
    let stormz = Stormz::new();
    let token = stormz.house.token("owner");
    stormz.house.organization_as("Taken", "owner", Visibility::Public, Joining::Invite);
    let public = stormz.house.organization_as("Public", "owner", Visibility::Public, Joining::Invite);
    let rename = |at: &str| put(at).bearer(&token).json(json!({"name": "TAKEN"}));
    stormz.house.send(rename(&path(&public))).await.is(409, message("Name already taken"));
    stormz.house.send(rename(&stormz.path())).await.is_empty(204);
}

#[tokio::test]
async fn credentials_are_those_of_every_dialect() {
    let stormz = Stormz::new();
    let (house, me) = (&stormz.house, || get("/v1/user/me"));
    let token = house.token("owner");
    for good in [me().bearer(&token), me().token(&token), me().bearer(&house.api_key("owner"))] {
        assert_eq!(house.send(good).await.status, 200);
    }
    let cookie = format!("access_token_cookie={token}");
    assert_eq!(house.send(me().header("cookie", &cookie)).await.status, 200);
    let rename = put(&stormz.path()).header("cookie", &cookie).json(json!({"name": "A"}));
    for call in [rename.clone(), rename.header("x-csrf-token", "wrong")] {
        house.send(call).await.is(403, message("CSRF token missing or wrong"));
    }
    let unknown = me().header("authorization", "Basic b3duZXI6eA==");
    for bad in [me(), me().bearer("x"), me().header("authorization", "Bearer"), unknown] {
        let answer = house.send(bad).await;
        answer.is(401, message("Requires authentication"));
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let query = get(&format!("/v1/user/me?access_token={token}"));
    house.send(query).await.is(401, message("Requires authentication"));
    let two = house.send(me().bearer(&token).header("cookie", &cookie)).await;
    two.is(400, message("More than one credential in the request"));
    house.disable("owner");
    house.send(me().bearer(&token)).await.is(401, message("Requires authentication"));
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there() {
    let stormz = Stormz::new();
    for unknown in
        ["/v1", "/v1/", "/v1/user", "/v1/organizations", "/v1/user/me/avatar", "/oauth", "/oauth/authorize"]
    {
        stormz.house.send(get(unknown)).await.is(404, message("Not Found"));
    }
    for (wrong, allowed) in [
        (get("/oauth/token"), "POST"),
        (delete("/v1/user/me"), "GET,HEAD"),
        (post("/v1/user/me/organizations/"), "GET,HEAD"),
        (delete(&stormz.path()), "GET,HEAD,PUT"),
        (patch(&stormz.path()), "GET,HEAD,PUT"),
        (post(&format!("{}/avatar", stormz.path())), "PUT"),
        (put(&stormz.members()), "GET,HEAD,POST"),
        (get(&stormz.member("owner")), "DELETE"),
    ] {
        let answer = stormz.house.send(wrong).await;
        answer.is(405, message("Method Not Allowed"));
        let mut methods: Vec<&str> = answer.header("allow").split(',').collect();
        methods.sort_unstable();
        assert_eq!(methods.join(","), allowed);
    }
    let head = call("HEAD", "/v1/user/me/").bearer(&stormz.house.token("owner"));
    stormz.house.send(head).await.is_empty(200);
}
