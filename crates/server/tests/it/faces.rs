//! One organization through all five dialects: each narrows the one truth in its own way, and none has another.

use guildhall_domain::authz::{Role, State};
use guildhall_domain::organizations::Organization;
use guildhall_domain::users::{self, UserKey};
use serde_json::{Value, json};

use crate::harness::{Call, House, delete, get, patch, post, put};

/// What a dialect shows of one person: their name, and as what.
type Shown = Vec<(String, String)>;

struct Faces {
    house: House,
    organization: Organization,
}

impl Faces {
    fn new() -> Self {
        let house = House::new();
        house.user("olga");
        let organization = house.organization("Guild", "olga");
        Self { house, organization }
    }

    fn number(&self) -> i64 {
        self.organization.id.0
    }

    fn user_number(&self, name: &str) -> i64 {
        let user = users::lookup(self.house.db(), &House::system(), &UserKey::Login(name.into()));
        user.unwrap().id.0
    }

    /// What the caller is answered.
    async fn ask(&self, caller: &str, call: Call) -> Value {
        let answer = self.house.send(call.bearer(&self.house.token(caller))).await;
        assert!(answer.status.is_success(), "{} {}", answer.status, answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.value() }
    }

    /// The lists of the organization's page, in its order.
    async fn bit(&self, caller: &str) -> Shown {
        let page = self.ask(caller, get(&format!("/organizations/{}", self.number()))).await;
        let of = |list: &str| shown(&page[list], "username", |_| list.to_owned());
        ["owners", "active_users", "inactive_users"].into_iter().flat_map(of).collect()
    }

    async fn cadasta(&self, caller: &str) -> Shown {
        let users = self.ask(caller, get("/api/v1/organizations/guild/users/")).await;
        shown(&users, "email", |user| if user["admin"] == true { "admin" } else { "user" }.into())
    }

    async fn pm415(&self, caller: &str) -> Shown {
        let answer = self.ask(caller, get(&format!("/api/org/{}/users", self.number()))).await;
        shown(&answer["users"], "email", |user| user["role"].as_str().unwrap().into())
    }

    async fn stormz(&self, caller: &str) -> Shown {
        let members = self.ask(caller, get(&format!("{}/members", self.stormz_path()))).await;
        shown(&members, "email", |_| "member".into())
    }

    fn stormz_path(&self) -> String {
        format!("/v1/organizations/{}", self.organization.uid.short())
    }

    /// The name by which each dialect shows the organization to the caller; nothing where it does not.
    async fn names(&self, caller: &str) -> [Option<String>; 5] {
        let token = self.house.token(caller);
        let number = self.number();
        let ask = async |path: &str, pointer: &str| {
            let answer = self.house.send(get(path).bearer(&token)).await;
            answer.value().pointer(pointer).and_then(Value::as_str).map(str::to_owned)
        };
        [
            ask(&format!("/organizations/{number}"), "/name").await,
            ask("/api/v1/organizations/guild/", "/name").await,
            ask("/api/user/orgs", "/organizations/0/name").await,
            ask(&self.stormz_path(), "/name").await,
            ask("/api/organizations", "/0/name").await,
        ]
    }

    /// What each dialect that shows members shows `name` as.
    async fn views(&self, name: &str) -> [String; 4] {
        let of = |shown: Shown| {
            let of_name: Vec<String> =
                shown.into_iter().filter(|(who, _)| who == name).map(|(_, what)| what).collect();
            of_name.join(" ")
        };
        [
            of(self.bit("olga").await),
            of(self.cadasta("olga").await),
            of(self.pm415("olga").await),
            of(self.stormz("olga").await),
        ]
    }
}

/// Who stands in the list, by the address under `key`, and as what.
fn shown(list: &Value, key: &str, what: impl Fn(&Value) -> String) -> Shown {
    let name = |person: &Value| {
        let email = person[key].as_str().unwrap_or_default().to_owned();
        email.strip_suffix("@example.com").unwrap_or_default().to_owned()
    };
    list.as_array().unwrap().iter().map(|person| (name(person), what(person))).collect()
}

#[tokio::test]
async fn members_roles_and_states() {
    use Role::{Admin, Member, Owner};
    use State::{Active, Inactive, Pending, Suspended};
    // As what each of bit, cadasta, pm415 and stormz shows them; nothing where it does not.
    let table = [
        ("olga", Owner, Active, ["owners active_users", "admin", "Admin", "member"]),
        ("otto", Owner, Inactive, ["owners inactive_users", "admin", "Admin", "member"]),
        ("ada", Admin, Active, ["active_users", "admin", "Admin", "member"]),
        ("alan", Admin, Inactive, ["inactive_users", "admin", "Admin", "member"]),
        ("mia", Member, Active, ["active_users", "user", "Member", "member"]),
        ("max", Member, Inactive, ["inactive_users", "user", "Member", "member"]),
        ("paul", Owner, Pending, ["", "", "Pending", ""]),
        ("pia", Member, Pending, ["", "", "Pending", ""]),
        ("sam", Owner, Suspended, ["", "", "", ""]),
        ("sue", Member, Suspended, ["", "", "", ""]),
    ];
    let faces = Faces::new();
    for (name, role, state, ..) in &table[1..] {
        faces.house.user(name);
        faces.house.pass(std::time::Duration::from_secs(1));
        faces.house.member("guild", name, *role, *state);
    }
    // Every list is by joining, which is the order of the table.
    let column = |dialect: usize| -> Shown {
        let rows = table.iter().map(|(name, _, _, shown)| ((*name).to_owned(), shown[dialect].to_owned()));
        rows.filter(|(_, what)| !what.is_empty()).collect()
    };
    let lists = column(0);
    let of = |list: &'static str| {
        let in_it = lists.iter().filter(move |(_, what)| what.split(' ').any(|word| word == list));
        in_it.map(move |(name, _)| (name.clone(), list.to_owned()))
    };
    let bit: Shown = ["owners", "active_users", "inactive_users"].into_iter().flat_map(of).collect();
    for caller in ["olga", "ada", "mia"] {
        assert_eq!(faces.bit(caller).await, bit, "bit to {caller}");
        assert_eq!(faces.cadasta(caller).await, column(1), "cadasta to {caller}");
        assert_eq!(faces.pm415(caller).await, column(2), "pm415 to {caller}");
        assert_eq!(faces.stormz(caller).await, column(3), "stormz to {caller}");
    }
    faces.house.user("stranger");
    let everybody =
        table.iter().map(|(name, _, state, ..)| (*name, state.counts())).chain([("stranger", false)]);
    for (name, belongs) in everybody {
        let expected = if belongs { [Some("Guild"); 5] } else { [None; 5] };
        assert_eq!(faces.names(name).await, expected.map(|name| name.map(str::to_owned)), "to {name}");
    }
}

#[tokio::test]
async fn it_has_one_identity_in_each_form() {
    let faces = Faces::new();
    let (uid, number) = (&faces.organization.uid, faces.number());
    let cadasta = faces.ask("olga", get("/api/v1/organizations/guild/")).await;
    assert_eq!((&cadasta["id"], &cadasta["slug"]), (&json!(uid.letters()), &json!("guild")));
    assert_eq!(faces.ask("olga", get("/api/user/orgs")).await["organizations"][0]["orgId"], number);
    assert_eq!(faces.ask("olga", get("/v1/user/me/organizations")).await[0]["id"], uid.short());
    assert_eq!(faces.ask("olga", get("/api/organizations")).await[0]["id"], uid.uuid());
}

#[tokio::test]
async fn what_one_changes_all_show() {
    let faces = Faces::new();
    faces.house.user("mia");
    let (number, mia) = (faces.number(), faces.user_number("mia"));
    let members = format!("{}/members", faces.stormz_path());
    let cadasta = "/api/v1/organizations/guild/users/";
    let in_charge = ["owners active_users", "admin", "Admin", "member"];
    let plain = ["active_users", "user", "Member", "member"];
    let gone = ["", "", "", ""];
    let ids = json!({"usersId": [mia]});
    let address = "mia@example.com";
    for (what, call, views) in [
        ("stormz adds", post(&members).json(json!({"email": address, "role": "admin"})), in_charge),
        ("cadasta demotes", patch(&format!("{cadasta}mia/")).json(json!({"admin": false})), plain),
        ("pm415 promotes", put(&format!("/api/org/{number}/admin/grant")).json(ids.clone()), in_charge),
        (
            "bit removes",
            delete(&format!("/organizations/{number}/remove")).json(json!({"username": address})),
            gone,
        ),
        ("cadasta adds", post(cadasta).json(json!({"username": "mia"})), plain),
        ("pm415 removes", post(&format!("/api/org/{number}/users/remove")).json(ids), gone),
    ] {
        faces.ask("olga", call).await;
        assert_eq!(faces.views("mia").await, views, "{what}");
    }
    for (name, call) in [
        ("By stormz", put(&faces.stormz_path()).json(json!({"name": "By stormz"}))),
        ("By pm415", put(&format!("/api/org/{number}")).json(json!({"name": "By pm415"}))),
        ("By cadasta", patch("/api/v1/organizations/guild/").json(json!({"name": "By cadasta"}))),
        ("By bit", put(&format!("/organizations/{number}")).multipart(&[("name", None, b"By bit")])),
    ] {
        faces.ask("olga", call).await;
        assert_eq!(faces.names("olga").await, [name; 5].map(|name| Some(name.to_owned())));
    }
}

#[tokio::test]
async fn archived_it_is_read_by_those_who_belong() {
    let faces = Faces::new();
    faces.house.user("mia");
    faces.house.user("stranger");
    faces.house.member("guild", "mia", Role::Member, State::Active);
    faces.ask("olga", patch("/api/v1/organizations/guild/").json(json!({"archived": true}))).await;
    let guild = Some("Guild".to_owned());
    // cadasta shows it to its admins alone.
    for (name, in_cadasta, elsewhere) in
        [("olga", &guild, &guild), ("mia", &None, &guild), ("stranger", &None, &None)]
    {
        let [bit, cadasta, pm415, stormz, buildog] = faces.names(name).await;
        assert_eq!(&cadasta, in_cadasta, "to {name}");
        assert_eq!([&bit, &pm415, &stormz, &buildog], [elsewhere; 4], "to {name}");
    }
}
