//! The other commands: what they answer, and what they refuse.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use guildhall_domain::authz::Actor;
use guildhall_domain::db::{Db, Settings};
use guildhall_domain::memberships::{At, OrganizationKey, Sight};
use guildhall_domain::organizations::{self, Changes, Patch};
use serde_json::{Value, json};

use crate::harness::Folder;
use crate::process::{Done, Server, guildhall, json, on, run, skip, token, user};

fn with_password(data: &Path, arguments: &[&str], password: &str) -> Done {
    let data = ["--password-stdin", "--data", data.to_str().unwrap()];
    let mut child = guildhall(&[arguments, &data].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

fn is_hex(value: &Value, digits: usize) -> bool {
    value.as_str().is_some_and(|text| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[test]
fn accounts() {
    let folder = Folder::new();
    let data = &folder.0;
    let create = ["user", "create", "--email", "Ana@example.com", "--username", "ana", "--name", "Ana B"];
    let flags = ["--verified", "--operator", "--json"];
    let ana = with_password(data, &[&create[..], &flags].concat(), "opensesame 42\n").json();
    let id = ana["id"].clone();
    let person = |disabled: bool| {
        json!({
            "id": id, "number": 1, "username": "ana", "email": "Ana@example.com", "name": "Ana B",
            "verified": true, "operator": true, "disabled": disabled
        })
    };
    assert_eq!(ana, person(false));
    assert_eq!(id.as_str().map(|id| id.split('-').map(str::len).collect()), Some(vec![8, 4, 4, 4, 12]));
    let ben = json(data, &["user", "create", "--email", "ben@example.com"]);
    assert_eq!(
        ben,
        json!({
            "id": ben["id"], "number": 2, "username": "ben@example.com", "email": "ben@example.com", "name": "",
            "verified": false, "operator": false, "disabled": false
        })
    );
    assert_eq!(json(data, &["user", "list"]), json!({"users": [person(false), ben]}));
    assert_eq!(json(data, &["user", "disable", "ana@example.com"]), person(true));
    assert_eq!(json(data, &["user", "enable", "ANA"]), person(false));
    assert_eq!(
        on(data, &["user", "list"]).out,
        "NUMBER\tUSERNAME\tEMAIL\tNAME\tMARKS\n\
         1\tana\tAna@example.com\tAna B\tverified,operator\n2\tben@example.com\tben@example.com\t\t-\n"
    );

    on(data, &["user", "create", "--email", "ana@EXAMPLE.com"])
        .failed(1, "an account with that address exists");
    on(data, &["user", "create", "--email", "c@example.com", "--username", "Ana"])
        .failed(1, "an account with that username exists");
    on(data, &["user", "disable", "nobody"]).failed(1, "no such account");
    on(data, &["user", "create", "--email", "x"])
        .failed(2, "invalid value 'x' for '--email <E>': not an e-mail address (see guildhall --help)");
    on(data, &["user", "create"])
        .failed(2, "the following required arguments were not provided: --email <E> (see guildhall --help)");
    with_password(data, &["user", "create", "--email", "d@example.com"], "short")
        .failed(1, "the password has fewer than 8 characters");
    with_password(data, &["user", "create", "--email", "d@example.com"], "opensesame\n42\n")
        .failed(1, "the password must be one line");
    assert_eq!(json(data, &["user", "list"])["users"].as_array().unwrap().len(), 2);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told command by command")]
fn organizations_and_members() {
    let folder = Folder::new();
    let data = &folder.0;
    user(data, "ana");
    user(data, "ben");
    let tea = json(data, &["org", "create", "--name", "Tea & Cake", "--owner", "ana@example.com"]);
    let uuid = tea["id"].as_str().unwrap();
    assert_eq!(tea["stormz_id"], uuid.replace('-', "")[..24]);
    assert_eq!(
        tea,
        json!({
            "id": uuid, "number": 1, "slug": "tea-cake", "name": "Tea & Cake", "stormz_id": tea["stormz_id"],
            "visibility": "private", "joining": "invite", "archived": false, "plan": "organization", "attendees": 20
        })
    );
    let every = [
        "--slug",
        "hall",
        "--visibility",
        "public",
        "--joining",
        "open",
        "--plan",
        "gold",
        "--attendees",
        "7",
    ];
    let hall = json(data, &[&["org", "create", "--name", "Hall", "--owner", "ben"], &every[..]].concat());
    let shown = |key: &str| hall[key].clone();
    let told = ["slug", "visibility", "joining", "plan", "attendees"].map(shown);
    assert_eq!(json!(told), json!(["hall", "public", "open", "gold", 7]));
    let planned = json(data, &["org", "plan", "hall", "--plan", "tin", "--attendees", "0"]);
    assert_eq!((&planned["plan"], &planned["attendees"]), (&json!("tin"), &json!(0)));
    assert_eq!(json(data, &["org", "list"]), json!({"organizations": [tea, planned]}));
    assert_eq!(
        on(data, &["org", "list"]).out,
        "NUMBER\tSLUG\tNAME\tVISIBILITY\tJOINING\tARCHIVED\tPLAN\tATTENDEES\n\
         1\ttea-cake\tTea & Cake\tprivate\tinvite\tno\torganization\t20\n\
         2\thall\tHall\tpublic\topen\tno\ttin\t0\n"
    );

    let add = |slug: &str, rest: &[&str]| on(data, &[&["member", "add", slug], rest].concat());
    let added = json(data, &["member", "add", "hall", "ana", "--role", "admin", "--state", "suspended"]);
    let want =
        json!({"user": "ana@example.com", "organization": "hall", "role": "admin", "state": "suspended"});
    assert_eq!(added, want);
    let changed = json(data, &["member", "add", "hall", "ana", "--role", "member"]);
    assert_eq!((&changed["role"], &changed["state"]), (&json!("member"), &json!("active")));
    add("hall", &["ben", "--role", "member"]).failed(1, "somebody has to stay in charge of the organization");
    add("none", &["ben", "--role", "member"]).failed(1, "no such organization");
    add("hall", &["eve", "--role", "member"]).failed(1, "no such account");
    add("hall", &["ana", "--role", "boss"]).failed(
        2,
        "invalid value 'boss' for '--role <ROLE>': expected owner, admin or member (see guildhall --help)",
    );

    let create =
        |rest: &[&str]| on(data, &[&["org", "create", "--name", "Hall", "--owner", "ana"], rest].concat());
    create(&["--slug", "hall"]).failed(1, "the slug is taken or reserved");
    create(&["--slug", "new"])
        .failed(2, "invalid value 'new' for '--slug <S>': reserved (see guildhall --help)");
    create(&["--slug", "A B"])
        .failed(2, "invalid value 'A B' for '--slug <S>': not a slug such as a-b (see guildhall --help)");
    create(&["--visibility", "public"]).failed(1, "a public organization has that name");
    user(data, "dan");
    json(data, &["user", "disable", "dan"]);
    on(data, &["org", "create", "--name", "Den", "--owner", "dan"])
        .failed(1, "the account is disabled (see guildhall user enable)");
    on(data, &["org", "plan", "none", "--plan", "tin", "--attendees", "0"]).failed(1, "no such organization");
}

#[test]
fn credentials() {
    let folder = Folder::new();
    let data = &folder.0;
    user(data, "ana");
    json(data, &["org", "create", "--name", "Tea", "--owner", "ana"]);
    assert_eq!(token(data, "ana").split('.').count(), 3);
    let made = json(data, &["token", "create", "--user", "ana", "--org", "tea"]);
    assert_eq!(made.as_object().unwrap().len(), 1);
    assert!(is_hex(&json(data, &["key", "create", "--user", "ana"])["key"], 64));
    assert!(is_hex(&json(data, &["signing-key", "rotate"])["kid"], 16));
    let rotated = on(data, &["signing-key", "rotate"]).out;
    assert!(rotated.starts_with("new tokens are signed by key "), "{rotated}");
    user(data, "ben");
    on(data, &["token", "create", "--user", "ben", "--org", "tea"]).failed(1, "ben is not a member of tea");
    on(data, &["token", "create", "--user", "ana", "--org", "none"]).failed(1, "no such organization");
    on(data, &["token", "create", "--user", "eve"]).failed(1, "no such account");
    json(data, &["user", "disable", "ana", "--force"]);
    for what in ["token", "key"] {
        on(data, &[what, "create", "--user", "ana"])
            .failed(1, "the account is disabled (see guildhall user enable)");
    }
}

#[test]
fn a_mistyped_folder_is_not_made() {
    let folder = Folder::new();
    let data = folder.0.join("typo");
    let file = data.join("guildhall.db").display().to_string();
    for command in [
        &["user", "list"][..],
        &["user", "disable", "ana"],
        &["org", "list"],
        &["token", "create", "--user", "ana"],
        &["key", "create", "--user", "ana"],
        &["check"],
        &["backup", "copy.db"],
        &["signing-key", "rotate"],
        &["signing-key", "renew"],
    ] {
        on(&data, command).failed(1, &format!("there is no database {file}"));
    }
    assert!(!data.exists());
}

#[test]
fn a_backup_of_a_running_server_opens_and_is_whole() {
    let folder = Folder::new();
    let data = folder.0.join("data");
    let server = Server::start(&data, &[]);
    user(&data, "ana");
    let ana = token(&data, "ana");
    assert_eq!(server.call("POST", "/api/organizations", &ana, r#"{"organization_name":"Tea"}"#).0, 201);
    let copy = folder.0.join("copy.db").display().to_string();
    assert_eq!(json(&data, &["backup", &copy]), json!({"file": copy}));
    on(&data, &["backup", &copy]).failed(1, &format!("{copy} exists already"));
    on(&data, &["backup", "/nowhere/copy.db"]).failed(1, "the folder /nowhere does not exist");
    let database = format!("sqlite:{copy}");
    let elsewhere = folder.0.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::copy(data.join("secret"), elsewhere.join("secret")).unwrap();
    let restored = |command: &[&str]| json(&elsewhere, &[command, &["--database", &database]].concat());
    assert_eq!(restored(&["check"]), json!({"findings": []}));
    assert_eq!(restored(&["org", "list"]), json(&data, &["org", "list"]));
    assert!(!folder.0.join("copy.db-wal").exists());
    server.stop();
}

#[test]
fn check_finds_what_is_wrong() {
    let folder = Folder::new();
    let data = &folder.0;
    user(data, "ana");
    json(data, &["org", "create", "--name", "Tea", "--owner", "ana"]);
    assert_eq!(on(data, &["check"]).out, "nothing is wrong\n");
    let why = "nobody would be left in charge of tea (--force disables it all the same)";
    on(data, &["user", "disable", "ana"]).failed(1, why);
    json(data, &["user", "disable", "ana", "--force"]);

    let picture = format!("{}.png", "0123456789abcdef".repeat(4));
    let db = Db::sqlite(&data.join("guildhall.db"), Settings::default()).unwrap();
    let at = At { key: OrganizationKey::Slug("tea".into()), sight: Sight::ByVisibility };
    let changes = Changes { image: Patch::Set(picture.clone()), ..Changes::default() };
    organizations::update(&db, &Actor::system(), &at, changes, Default::default()).unwrap();
    drop(db);
    let connection = rusqlite::Connection::open(data.join("guildhall.db")).unwrap();
    connection.execute("INSERT INTO member_counts SELECT id, 0, 1 FROM organizations", []).unwrap();
    connection.execute("INSERT INTO listed_counts VALUES ('public', 0, 1)", []).unwrap();
    drop(connection);

    let findings = [
        "organization tea: nobody is in charge (add an owner with `guildhall member add`)".to_owned(),
        "organization tea: the sums of its members are not how many there are".to_owned(),
        "the sums of public organizations are not how many there are".to_owned(),
        format!("organization tea: its picture {picture} is missing or damaged"),
    ];
    let done = on(data, &["check"]);
    assert_eq!((done.code, done.out, done.err.as_str()), (1, format!("{}\n", findings.join("\n")), ""));
    let done = on(data, &["check", "--json"]);
    assert_eq!((done.code, done.out), (1, format!("{}\n", json!({"findings": findings}))));
}

#[test]
fn a_file_that_is_no_database_is_told() {
    let folder = Folder::new();
    let file = folder.0.join("guildhall.db");
    std::fs::write(&file, "not a database, and long enough to have a header".repeat(100)).unwrap();
    let why = format!("database: {} is not an SQLite database; restore a backup", file.display());
    on(&folder.0, &["check"]).failed(1, &why);
    on(&folder.0, &["serve", "--listen", "127.0.0.1:0", "--log", "off"]).failed(1, &why);
    assert_eq!(run(&["--version"]).out, format!("guildhall {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_database_without_our_tables_stays_as_it_is() {
    let folder = Folder::new();
    let file = folder.0.join("guildhall.db");
    std::fs::write(&file, "").unwrap();
    for command in [&["check"][..], &["user", "list"], &["org", "list"], &["key", "create", "--user", "ana"]]
    {
        on(&folder.0, command).failed(1, &format!("database: {} is empty", file.display()));
    }
    assert_eq!(folder.0.read_dir().unwrap().count(), 1);
    assert_eq!(file.metadata().unwrap().len(), 0);
    // Another program's, which is none of ours to add to.
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE zebra (x)").unwrap();
    let before = std::fs::read(&file).unwrap();
    on(&folder.0, &["check"]).failed(1, &format!("database: {} is another program's", file.display()));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn damage_is_a_finding() {
    let folder = Folder::new();
    let data = &folder.0;
    user(data, "ana");
    let file = data.join("guildhall.db");
    let whole = std::fs::read(&file).unwrap();
    // The page that lists the tables, all pages behind it, and the end of the file.
    let garbage = |from: usize| [&whole[..from], &vec![0xA5; whole.len() - from][..]].concat();
    for damaged in [garbage(100), garbage(4096), whole[..whole.len() - 3 * 4096].to_vec()] {
        std::fs::write(&file, damaged).unwrap();
        let done = on(data, &["check", "--json"]);
        assert_eq!((done.code, done.err.as_str()), (1, ""), "{done:?}");
        let told: Value = serde_json::from_str(&done.out).unwrap();
        let findings = told["findings"].as_array().unwrap();
        assert!(!findings.is_empty(), "{told}");
        let lines: String = findings.iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect();
        let done = on(data, &["check"]);
        assert_eq!((done.code, done.out, done.err.as_str()), (1, lines, ""));
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let folder = Folder::new();
    user(&folder.0, "ana");
    for (command, is_json) in
        [(["user", "list"], false), (["user", "list"], true), (["check", "--data"], false)]
    {
        let mut command = guildhall(&command);
        if command.get_args().last() != Some("--data".as_ref()) {
            command.arg("--data");
        }
        command.arg(&folder.0).args(is_json.then_some("--json"));
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let done: Done = command.stdout(full).stderr(Stdio::piped()).output().unwrap().into();
        done.failed(1, "cannot write the answer: No space left on device (os error 28)");
    }
}

#[test]
fn a_group_of_commands_alone_names_them() {
    for (group, commands) in [
        ("org", "create, list or plan"),
        ("user", "create, list, disable or enable"),
        ("member", "add"),
        ("signing-key", "rotate or renew"),
    ] {
        let line = format!("{group}: a command is missing: {commands} (see guildhall {group} --help)");
        run(&[group]).failed(2, &line);
    }
    let help = run(&["help", "org"]);
    assert_eq!((help.code, help.out), (0, run(&["org", "--help"]).out));
}

#[test]
fn a_new_data_folder_is_told_beside_the_answer() {
    let folder = Folder::new();
    let data = folder.0.join("data");
    let create =
        |name: &str| on(&data, &["user", "create", "--json", "--email", &format!("{name}@example.com")]);
    let first = create("ana");
    assert_eq!(first.json()["number"], 1);
    assert_eq!(first.err, format!("made data folder {}\n", data.display()));
    assert_eq!(create("ben").err, "");
    let file = data.join("guildhall.db");
    on(&file, &["user", "create", "--email", "c@example.com"])
        .failed(2, &format!("data: {} is not a folder", file.display()));
}

#[test]
fn a_token_is_for_the_first_organization_by_joining() {
    let folder = Folder::new();
    let data = &folder.0;
    let server = Server::start(data, &[]);
    user(data, "ana");
    for name in ["Tea", "Hall"] {
        json(data, &["org", "create", "--name", name, "--owner", "ana"]);
    }
    let list = server.call("GET", "/api/org", &token(data, "ana"), "").1;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["current"]["name"], "Tea", "{list}");
    server.stop();
}

/// A command as a person who has no right on what the tests own; nothing where the tests cannot become somebody else.
fn as_nobody(arguments: &[&str]) -> Option<Done> {
    let mut command = guildhall(arguments);
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    Some(command.output().ok()?.into())
}

#[test]
fn what_may_not_be_read_is_told_as_such() {
    let folder = Folder::new();
    user(&folder.0, "ana");
    let data = folder.0.to_str().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--log", "off", "--data", data];
    for command in [&["user", "list", "--data", data][..], &["check", "--data", data], &serve] {
        let Some(done) = as_nobody(command) else { return skip("only root can become another user") };
        assert_eq!((done.code, done.out.as_str(), done.err.lines().count()), (2, "", 1), "{done:?}");
        assert!(done.err.starts_with(&format!("guildhall: data: {data}")), "{done:?}");
        assert!(done.err.ends_with(": Permission denied (os error 13)\n"), "{done:?}");
    }
}
