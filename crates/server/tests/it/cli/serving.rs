//! `guildhall serve`: its first line, its folder, its end.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::harness::Folder;
use crate::process::{Server, answer, call, guildhall, head, json, on, run, token, user, wait_for};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn it_says_where_it_listens_and_answers_there() {
    let folder = Folder::new();
    let server = Server::start(&folder.0.join("data"), &[]);
    assert!(server.address.starts_with("127.0.0.1:") && !server.address.ends_with(":0"));
    assert_eq!(server.call("GET", "/health/live", "", ""), (200, "ok\n".into()));
    assert_eq!(server.call("GET", "/health/ready", "", ""), (200, "ok\n".into()));
    server.stop();
}

#[test]
fn no_command_is_serve_and_the_environment_counts() {
    let folder = Folder::new();
    let mut command = guildhall(&[]);
    command.env("GUILDHALL_LISTEN", "127.0.0.1:0").env("GUILDHALL_DATA", folder.0.join("data"));
    let server = Server::of(command);
    assert_eq!(server.call("GET", "/health/live", "", "").0, 200);
    server.signal("INT");
    assert_eq!(server.end().code(), Some(0));
    assert!(folder.0.join("data/guildhall.db").exists());
}

#[test]
fn what_it_keeps_is_its_owners_alone() {
    let folder = Folder::new();
    let data = folder.0.join("data");
    let server = Server::start(&data, &[]);
    user(&data, "ana");
    for name in ["", "mail", "media"] {
        assert_eq!(mode(&data.join(name)), 0o700, "{name}");
    }
    for name in ["guildhall.db", "guildhall.db-wal", "guildhall.db-shm", "guildhall.lock", "secret"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    server.stop();
    assert!(!data.join("guildhall.db-wal").exists(), "the log is put back into the file");
}

#[test]
fn a_folder_that_is_open_to_others_is_closed_if_nothing_elses_is_in_it() {
    let folder = Folder::new();
    std::fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o755)).unwrap();
    Server::start(&folder.0, &[]).stop();
    assert_eq!(mode(&folder.0), 0o700);
    std::fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o755)).unwrap();
    Server::start(&folder.0, &[]).stop();
    assert_eq!(mode(&folder.0), 0o700, "ours is closed again");

    let others = Folder::new();
    std::fs::write(others.0.join("thesis.txt"), "").unwrap();
    std::fs::set_permissions(&others.0, PermissionsExt::from_mode(0o755)).unwrap();
    let why = "holds other files and is open to others; name a folder of its own, or close it (chmod 700)";
    on(&others.0, &["serve", "--listen", "127.0.0.1:0"])
        .failed(2, &format!("data: {} {why}", others.0.display()));
    assert_eq!(mode(&others.0), 0o755);
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let folder = Folder::new();
    let first = Server::start(&folder.0, &[]);
    let serve = ["--listen", "127.0.0.1:0", "--log", "off"];
    let refusal = format!("another guildhall server is using {}", folder.0.display());
    on(&folder.0, &serve).failed(1, &refusal);
    // The same database from another folder is the same data.
    let other = Folder::new();
    let database = format!("sqlite:{}", folder.0.join("guildhall.db").display());
    on(&other.0, &[&serve[..], &["--database", &database]].concat()).failed(1, &refusal);
    assert_eq!(first.call("GET", "/health/ready", "", "").0, 200);
    // However the first one ends, the next may begin.
    first.signal("KILL");
    first.end();
    Server::start(&folder.0, &[]).stop();
}

#[test]
fn a_misspelled_variable_is_told() {
    let folder = Folder::new();
    let mut command = guildhall(&["--listen", "127.0.0.1:0", "--data"]);
    command.arg(&folder.0).env("GUILDHALL_TRUSTED_PROXY", "10.0.0.1").env("GUILDHALL_LOG", "warn");
    let server = Server::of(command);
    wait_for("the warning", || {
        server.log().contains("GUILDHALL_TRUSTED_PROXY: there is no such key").then_some(())
    });
    assert!(!server.log().contains("GUILDHALL_LOG"));
    server.stop();
}

#[test]
fn a_port_that_is_taken_is_told() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.0.join("data");
    on(&data, &["--listen", &address, "--log", "off"]).failed(
        2,
        &format!("listen: {address}: another program listens there; choose another with --listen"),
    );
    assert!(!data.exists(), "nothing is made");
}

#[test]
fn a_request_in_flight_is_answered_before_the_end() {
    let folder = Folder::new();
    user(&folder.0, "ana");
    let token = token(&folder.0, "ana");
    let server = Server::start(&folder.0, &[]);
    let address = server.address.clone();
    let body = r#"{"organization_name": "Last"}"#;
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(head("POST", "/api/organizations", &token, body).as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..5]).unwrap();
    // Another call shows that the server has had time to see the first.
    assert_eq!(server.call("GET", "/health/live", "", "").0, 200);
    server.signal("TERM");
    wait_for("the port to be closed", || TcpStream::connect(&address).err());
    stream.write_all(&body.as_bytes()[5..]).unwrap();
    assert_eq!(answer(&mut stream).unwrap().0, 201);
    assert_eq!(server.end().code(), Some(0));
    assert_eq!(json(&folder.0, &["org", "list"])["organizations"][0]["name"], "Last");
}

#[test]
fn metrics_have_an_address_of_their_own() {
    let folder = Folder::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = Server::start(&folder.0, &["--metrics-listen", &free]);
    assert_eq!(server.call("GET", "/metrics", "", "").0, 404);
    let (status, text) = call(&free, "GET", "/metrics", "", "").unwrap();
    assert_eq!(status, 200);
    assert!(
        text.contains("guildhall_requests_total{") && text.contains("guildhall_open_connections "),
        "{text}"
    );
    server.stop();
}

#[test]
fn the_log_is_json_lines_on_standard_error_and_can_be_filtered() {
    let folder = Folder::new();
    let server = Server::start(&folder.0, &[]);
    server.call("GET", "/health/live", "", "");
    let log = wait_for("the request in the log", || {
        let log = server.log();
        log.contains("/health/live").then_some(log)
    });
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    server.stop();
    let server = Server::start(&folder.0, &["--log", "warn"]);
    server.call("GET", "/health/live", "", "");
    server.signal("TERM");
    wait_for("the end", || TcpStream::connect(&server.address).err());
    assert_eq!(server.log(), "");
}

#[test]
fn who_is_counted_and_logged_is_whom_a_trusted_proxy_speaks_for() {
    let folder = Folder::new();
    let data = folder.0.to_str().unwrap();
    let mut command = guildhall(&["serve", "--data", data, "--listen", "127.0.0.1:0"]);
    command.env("GUILDHALL_TRUSTED_PROXIES", "127.0.0.1").env("GUILDHALL_CONNECTIONS_PER_ADDRESS", "1");
    let server = Server::of(command);
    let mut streams = Vec::new();
    for client in ["192.0.2.7", "2001:db8::7"] {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let call =
            format!("GET /health/live HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4, {client}\r\n\r\n");
        stream.write_all(call.as_bytes()).unwrap();
        streams.push(stream);
        let line = format!("\"client\":\"{client}\"");
        wait_for("the log", || server.log().contains(&line).then_some(()));
    }
    server.stop();
}

#[test]
fn what_a_command_does_is_in_force_at_the_next_request() {
    let folder = Folder::new();
    let server = Server::start(&folder.0, &[]);
    let list = |credential: &str| server.call("GET", "/api/organizations", credential, "").0;
    for name in ["ana", "ben"] {
        user(&folder.0, name);
    }
    let ben = token(&folder.0, "ben");
    assert_eq!(list(&ben), 200);
    json(&folder.0, &["user", "disable", "ben"]);
    assert_eq!(list(&ben), 401);
    json(&folder.0, &["user", "enable", "ben"]);
    assert_eq!(list(&ben), 401, "what ended stays ended");
    assert_eq!(list(&token(&folder.0, "ben")), 200);

    let key = || json(&folder.0, &["key", "create", "--user", "ana"])["key"].as_str().unwrap().to_owned();
    let first = key();
    assert_eq!(list(&first), 200);
    let second = key();
    assert_eq!((list(&first), list(&second)), (401, 200));

    let before = token(&folder.0, "ana");
    json(&folder.0, &["signing-key", "rotate"]);
    let after = token(&folder.0, "ana");
    assert_ne!(before.split('.').next(), after.split('.').next(), "another key signs");
    assert_eq!((list(&before), list(&after)), (200, 200));

    json(&folder.0, &["org", "create", "--name", "Tea", "--owner", "ana"]);
    json(&folder.0, &["member", "add", "tea", "ben", "--role", "member"]);
    let body = server.call("GET", "/api/organizations", &token(&folder.0, "ben"), "").1;
    assert!(body.contains("\"name\":\"Tea\""), "{body}");
    server.stop();
}

#[test]
fn the_demo_prints_calls_and_pages_that_work_and_does_so_again() {
    let folder = Folder::new();
    let data = folder.0.join("demo");
    for _ in 0..2 {
        let mut command = guildhall(&["demo", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        command.current_dir(&folder.0);
        let mut server = Server::of(command);
        let mut text = String::new();
        while !text.contains("Ctrl-C") {
            std::io::BufRead::read_line(&mut server.out, &mut text).unwrap();
        }
        let calls: Vec<&str> = text.lines().filter(|line| line.starts_with("curl ")).collect();
        assert_eq!(calls.len(), 5, "{text}");
        for call in calls {
            let (_, path) = call.rsplit_once(&server.address).unwrap();
            let (_, credential) = call.split_once("'Authorization: ").unwrap();
            let token = credential.split(['\'', ' ']).nth(1).unwrap();
            let (status, body) = server.call("GET", path, token, "");
            assert_eq!(status, 200, "{call} {body}");
        }
        let pages: Vec<&str> = text.lines().filter(|line| line.contains("/account/")).collect();
        assert_eq!(pages.len(), 3, "{text}");
        for page in pages {
            let (_, path) = page.rsplit_once(&server.address).unwrap();
            assert_eq!(server.call("GET", path, "", "").0, 200, "{page}");
        }
        assert_eq!(data.join("mail").read_dir().unwrap().count() % 3, 0);
        server.stop();
    }
    assert_eq!(json(&data, &["user", "list"])["users"].as_array().unwrap().len(), 4);
    assert_eq!(json(&data, &["check"]), json!({"findings": []}));

    let other = Folder::new();
    user(&other.0, "zoe");
    let done = run(&["demo", "--data", other.0.to_str().unwrap(), "--listen", "127.0.0.1:0", "--log", "off"]);
    done.failed(1, "the folder holds other data than a demo's; name another with --data");
    assert_eq!(json(&other.0, &["user", "list"])["users"].as_array().unwrap().len(), 1);
}
