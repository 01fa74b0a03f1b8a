//! The keys of a server: kept in its database, sealed with a secret beside it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guildhall::keyring::{self, KeysError};
use guildhall::sealing::{Seal, SealError, Secret, WAY_OUT};
use guildhall_domain::authz::Actor;
use guildhall_domain::db::{Db, Settings};
use guildhall_domain::keys::{self, Key, Purpose};

use crate::harness::Folder;
use crate::process::{Done, Server, guildhall, json, on, token, user, wait_for};

fn seal(digits: &str) -> Seal {
    Seal::new(Secret::parse(&digits.repeat(32)))
}

fn open(folder: &Folder) -> Db {
    Db::sqlite(&folder.0.join("guildhall.db"), Settings::default()).unwrap()
}

fn stored(db: &Db, purpose: Purpose) -> Vec<Key> {
    keys::all(db, &Actor::system(), purpose).unwrap()
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn whoever_reads_the_database_finds_no_key_in_it() {
    let folder = Folder::new();
    let db = open(&folder);
    // As it is where no secret is given, and then one is.
    keyring::prepare(&db, &Seal::new(None)).unwrap();
    let plain: Vec<Key> = [stored(&db, Purpose::Signing), stored(&db, Purpose::Mail)].concat();
    assert!(!keyring::is_sealed(&db).unwrap());
    keyring::prepare(&db, &seal("5e")).unwrap();
    assert!(keyring::is_sealed(&db).unwrap());
    let sealed: Vec<Key> = [stored(&db, Purpose::Signing), stored(&db, Purpose::Mail)].concat();
    for (plain, sealed) in plain.iter().zip(&sealed) {
        let key = plain.value.strip_prefix("plain:").unwrap();
        assert!(STANDARD.decode(key).unwrap().len() >= 32);
        assert!(!sealed.value.contains(key), "{}", sealed.id);
        assert_eq!(seal("5e").open(&sealed.id, &sealed.value), Seal::new(None).open(&plain.id, &plain.value));
    }
    for (seal, why) in [(Seal::new(None), SealError::NoSecret), (seal("e5"), SealError::OtherSecret)] {
        let error = keyring::prepare(&db, &seal).unwrap_err();
        assert!(matches!(error, KeysError::Seal(error) if error == why), "{error}");
    }
}

#[test]
fn nodes_that_start_at_once_have_the_same_keys() {
    let folder = Folder::new();
    drop(open(&folder));
    let start = || {
        let db = open(&folder);
        keyring::prepare(&db, &seal("5e")).unwrap();
        let token = keyring::mail_secrets(&db, &seal("5e")).unwrap().token("nonce");
        (token, stored(&db, Purpose::Signing).pop())
    };
    let nodes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(nodes.iter().all(|node| node == &nodes[0]), "each has the others' keys");
}

/// What is served with that configured secret.
fn serve(data: &Path, secret: &str) -> Done {
    let mut command = guildhall(&["serve", "--listen", "127.0.0.1:0", "--log", "off", "--data"]);
    command.arg(data).env("GUILDHALL_SECRET", secret).output().unwrap().into()
}

/// The token of the link in a letter.
fn mailed(folder: &Path) -> Option<String> {
    let letter =
        fs::read_dir(folder).ok()?.flatten().find(|file| file.path().extension() == Some("eml".as_ref()))?;
    let text = fs::read_to_string(letter.path()).ok()?;
    text.split("token=").nth(1)?.get(..64).map(str::to_owned)
}

#[test]
fn the_secret_is_a_file_that_a_copy_of_the_database_does_not_have() {
    let folder = Folder::new();
    let data = folder.0.join("data");
    user(&data, "ana");
    let ana = token(&data, "ana");
    let secret = data.join("secret");
    let text = fs::read_to_string(&secret).unwrap();
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let me = |server: &Server| server.call("GET", "/v1/user/me/organizations", &ana, "").0;
    let server = Server::start(&data, &[]);
    assert_eq!(me(&server), 200, "a command's token is the server's");
    server.stop();

    fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();
    let path = secret.display();
    on(&data, &["serve", "--listen", "127.0.0.1:0"])
        .failed(2, &format!("secret: {path}: must be its owner's alone (chmod 600)"));
    write(&secret, b"a secret");
    let unusable = format!("secret: {path}: not 64 hex digits");
    on(&data, &["token", "create", "--user", "ana"]).failed(2, &unusable);
    on(&data, &["signing-key", "renew"]).failed(2, &unusable);
    let check = on(&data, &["check"]);
    assert_eq!((check.code, check.out), (1, format!("{unusable}\n")));
    fs::remove_file(&secret).unwrap();
    let gone = format!("is not there, and the keys in the database are sealed with one: {WAY_OUT}");
    on(&data, &["serve", "--listen", "127.0.0.1:0"]).failed(2, &format!("secret: {path}: {gone}"));
    let none =
        format!("secret: none is given, and the keys in the database are sealed with one: {WAY_OUT}\n");
    let check = on(&data, &["check"]);
    assert_eq!((check.code, check.out), (1, none));
    assert!(!secret.exists(), "another one would open nothing");
    let other = format!("secret: not the one that the keys in the database are sealed with: {WAY_OUT}");
    serve(&data, &"e5".repeat(32)).failed(2, &other);
    let mut check = guildhall(&["check", "--data"]);
    let check = Done::from(check.arg(&data).env("GUILDHALL_SECRET", "e5".repeat(32)).output().unwrap());
    assert_eq!((check.code, check.out), (1, format!("{other}\n")));
    let wrong = serve(&data, "hunter2");
    let why = "secret: not 64 hex digits (make one with: openssl rand -hex 32) (from GUILDHALL_SECRET)";
    wrong.failed(2, why);

    // The same from the environment; and where it is lost for good, new keys.
    let mut command = guildhall(&["serve", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(&data).env("GUILDHALL_SECRET", text.trim());
    let server = Server::of(command);
    assert_eq!(me(&server), 200);
    let account = r#"{"username": "ben", "email": "ben@example.com", "password": "opensesame42"}"#;
    assert_eq!(server.call("POST", "/api/v1/account/register/", "", account).0, 201);
    let link = wait_for("a letter", || mailed(&data.join("mail")));
    let is_good = |server: &Server| {
        let path = format!("/api/account/verify?token={link}");
        server.call("GET", &path, "", "").1.contains(r#""success":true"#)
    };
    assert!(is_good(&server));
    server.stop();
    json(&data, &["signing-key", "renew"]);
    let server = Server::start(&data, &[]);
    assert_eq!(me(&server), 401, "what was signed before has ended");
    assert!(!is_good(&server), "as has what was mailed");
    assert_eq!(server.call("GET", "/v1/user/me/organizations", &token(&data, "ana"), "").0, 200);
    server.stop();
}

#[test]
fn a_rotation_by_command_is_in_force_at_the_running_server() {
    let folder = Folder::new();
    let server = Server::start(&folder.0, &[]);
    user(&folder.0, "ana");
    let before = token(&folder.0, "ana");
    let kid = json(&folder.0, &["signing-key", "rotate"])["kid"].as_str().unwrap().to_owned();
    for token in [before, token(&folder.0, "ana")] {
        assert_eq!(server.call("GET", "/v1/user/me/organizations", &token, "").0, 200);
    }
    assert!(server.call("GET", "/.well-known/jwks.json", "", "").1.contains(&kid));
    server.stop();
}

#[test]
fn on_postgresql_who_may_not_make_tables_is_told_so_and_a_renewal_asks_for_a_secret() {
    let Some(cluster) = testpg::shared() else { return };
    let (database, folder) = (cluster.database(), Folder::new());
    let name = database.name();
    let user = format!("user_of_{name}");
    cluster.psql("postgres", &format!("CREATE ROLE {user} LOGIN"));
    cluster.psql(name, "REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let url = database.url().replacen("//guildhall@", &format!("//{user}@"), 1);
    let create = ["user", "create", "--email", "ana@example.com", "--database", &url];
    let owner = format!("ALTER DATABASE {name} OWNER TO {user}");
    let why = format!("database: {user} may not make tables in {name}; make it the owner ({owner})");
    on(&folder.0, &create).failed(1, &why);
    cluster.psql("postgres", &owner);
    assert_eq!(on(&folder.0, &create).code, 0);

    let renew = ["signing-key", "renew", "--database", &url];
    let why = "secret: none is given, and the new keys would not be sealed: make one with `openssl rand -hex 32`, \
               and give every server the same as GUILDHALL_SECRET";
    on(&folder.0, &renew).failed(2, why);
    let mut command = guildhall(&[&renew[..], &["--data"]].concat());
    let renewed = command.arg(&folder.0).env("GUILDHALL_SECRET", "e5".repeat(32)).output().unwrap();
    assert!(renewed.status.success(), "{renewed:?}");
    let sealed = cluster.psql(name, "SELECT DISTINCT split_part(value, ':', 1) FROM keys");
    assert_eq!(sealed.trim(), "sealed");
}
