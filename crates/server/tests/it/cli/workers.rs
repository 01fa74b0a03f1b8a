//! What happens without a request: mail, and the pictures that nobody shows.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use axum::body::Bytes;
use guildhall::keyring;
use guildhall::sealing::{Seal, Secret};
use guildhall::workers;
use guildhall_domain::clock::Timestamp;
use guildhall_domain::credentials::{self, Purpose};
use guildhall_domain::db::{Db, Settings};
use guildhall_domain::memberships::{At, OrganizationKey, Sight};
use guildhall_domain::organizations::{self, Changes, Patch};
use guildhall_domain::outbox::{Kind, Letter, Secrets};

use crate::harness::{Folder, House, NOW};
use crate::process::{Server, user, wait_for};

fn letter(kind: Option<Kind>) -> Letter {
    Letter {
        id: "0001".into(),
        kind,
        recipient: "Ana@example.com".into(),
        nonce: Some("nonce".into()),
        person: Some("Ben".into()),
        organization: Some("Tea".into()),
        expires_at: Some(NOW.after(Duration::from_secs(3600))),
        created_at: NOW,
        taken_until: NOW,
    }
}

#[test]
fn every_kind_of_letter_becomes_its_message() {
    let secrets = Secrets::new([7; 32]);
    let url = "https://hall.example";
    for (kind, subject, page) in [
        (Kind::Verify, "Confirm your e-mail address", Some("verify")),
        (Kind::ChangeAddress, "Confirm your new e-mail address", Some("verify")),
        (Kind::ResetPassword, "Choose a new password", Some("reset-password")),
        (Kind::InviteMember, "Ben invites you to \"Tea\"", Some("invite")),
        (Kind::InviteOwner, "Ben invites you to \"Tea\"", Some("invite")),
        (Kind::PasswordChanged, "Your password was changed", None),
        (Kind::AddressChanged, "Your e-mail address was changed", None),
    ] {
        let letter = letter(Some(kind));
        let message = workers::message(&letter, &secrets, url, "Hall <hall@example.org>").unwrap();
        let envelope = (message.id.as_str(), message.at, message.from.as_str(), message.to.as_str());
        assert_eq!(envelope, ("0001", NOW, "Hall <hall@example.org>", "Ana@example.com"));
        assert_eq!(message.subject, subject);
        let link = page.map(|page| format!("{url}/account/{page}/?token={}", secrets.token("nonce")));
        assert_eq!(workers::link(&letter, &secrets, url), link);
        match link {
            Some(link) => assert!(message.text.contains(&link), "{}", message.text),
            None => assert!(!message.text.contains("token="), "{}", message.text),
        }
    }
    let text = |kind| workers::message(&letter(Some(kind)), &secrets, url, "hall@example.org").unwrap().text;
    assert!(text(Kind::InviteOwner).contains("to be an owner of"));
    assert!(text(Kind::InviteMember).contains("to be a member of"));
    assert!(text(Kind::AddressChanged).contains("now has the address Ben"));
}

#[test]
fn a_letter_of_a_newer_program_is_not_written() {
    let write =
        |letter: &Letter| workers::message(letter, &Secrets::new([7; 32]), "https://x", "a@b.example");
    assert!(write(&letter(None)).is_none());
    assert!(write(&Letter { nonce: None, ..letter(Some(Kind::Verify)) }).is_none());
    assert!(write(&Letter { organization: None, ..letter(Some(Kind::InviteMember)) }).is_none());
    let unknown_inviter = Letter { person: None, ..letter(Some(Kind::InviteMember)) };
    assert_eq!(write(&unknown_inviter).unwrap().subject, "Somebody invites you to \"Tea\"");
}

/// Has a link mailed for a new password, as a process beside the server does.
fn ask_for_reset(data: &Path, email: &str) -> Db {
    let secret = std::fs::read_to_string(data.join("secret")).unwrap();
    let db = Db::sqlite(&data.join("guildhall.db"), Settings::default()).unwrap();
    let secrets = keyring::mail_secrets(&db, &Seal::new(Secret::parse(secret.trim()))).unwrap();
    credentials::ask_for_reset(&db, email, &secrets).unwrap();
    db
}

/// The token of the link in a message.
fn token_in(message: &str) -> &str {
    let (_, rest) = message.split_once("?token=").expect("a link");
    &rest[..64]
}

/// The message in the folder, as soon as there is one.
fn first_mail(data: &Path) -> String {
    let file = wait_for("the letter", || {
        let mut files = data.join("mail").read_dir().unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|extension| extension == "eml"))
    });
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn mail_is_written_to_the_folder_with_a_link_that_works() {
    let folder = Folder::new();
    let server = Server::start(&folder.0, &[]);
    let register = r#"{"username":"ana","email":"ana@example.com","password":"opensesame 42"}"#;
    assert_eq!(server.call("POST", "/api/v1/account/register/", "", register).0, 201);
    let mail = first_mail(&folder.0);
    let (page, token) = ("/account/verify/", token_in(&mail));
    let link = format!("http://{}{page}?token={token}", server.address);
    assert!(mail.contains(&format!("{link}\r\n")), "{mail}");
    let log_in = || {
        let login = r#"{"username":"ana","password":"opensesame 42"}"#;
        server.call("POST", "/api/v1/account/login/", "", login).0
    };
    assert_eq!(server.call("GET", &format!("{page}?token={token}"), "", "").0, 200);
    assert_eq!(log_in(), 400, "to look at the page confirms nothing");
    assert_eq!(server.call("POST", page, "", &format!("token={token}")).0, 200);
    assert_eq!(log_in(), 200);
    assert!(!server.log().contains(token), "{}", server.log());
    server.stop();
}

#[test]
fn links_and_the_sender_follow_the_public_url() {
    let folder = Folder::new();
    user(&folder.0, "ana");
    let server = Server::start(&folder.0, &["--public-url", "https://hall.example/"]);
    let db = ask_for_reset(&folder.0, "ana@example.com");
    let mail = first_mail(&folder.0);
    assert!(mail.contains("\r\nTo: ana@example.com\r\n"), "{mail}");
    assert!(mail.contains("\r\nFrom: Guildhall <guildhall@hall.example>\r\n"), "{mail}");
    assert!(mail.contains("https://hall.example/account/reset-password/?token="), "{mail}");
    let good = credentials::look_at_token(&db, token_in(&mail)).unwrap();
    assert_eq!((good.purpose, good.email.as_str()), (Purpose::ResetPassword, "ana@example.com"));
    server.stop();
}

#[test]
fn the_queue_survives_a_restart_and_tries_again() {
    let folder = Folder::new();
    let data = &folder.0;
    user(data, "ana");
    // Nobody answers here yet.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mail = format!("smtp+plain://127.0.0.1:{port}");
    let server = Server::start(data, &["--mail", &mail]);
    drop(ask_for_reset(data, "ana@example.com"));
    wait_for("the failure", || server.log().contains("letter not sent").then_some(()));
    server.stop();

    let (sent, mails) = mpsc::channel();
    let relay = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in relay.incoming() {
            drop(sent.send(take_mail(&stream.unwrap())));
        }
    });
    let server = Server::start(data, &["--mail", &mail]);
    let mail = mails.recv_timeout(Duration::from_secs(60)).expect("it is tried again");
    assert!(mail.contains("To: ana@example.com\r\n"), "{mail}");
    server.stop();
}

/// Speaks as much SMTP as it takes to get one message.
fn take_mail(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let answer = |text: &str| (&*stream).write_all(format!("{text}\r\n").as_bytes()).unwrap();
    answer("220 relay");
    let mut mail = String::new();
    while let Some(line) = lines.next() {
        match line.split([' ', ':']).next().unwrap() {
            "DATA" => {
                answer("354 go on");
                for line in lines.by_ref().take_while(|line| line != ".") {
                    mail.push_str(&line);
                    mail.push_str("\r\n");
                }
                answer("250 taken");
            }
            "QUIT" => {
                answer("221 bye");
                return mail;
            }
            _ => answer("250 good"),
        }
    }
    mail
}

#[tokio::test]
async fn pictures_that_nobody_shows_are_removed_after_an_hour() {
    let house = House::new();
    house.user("ana");
    house.organization("Tea", "ana");
    let png = |shade: u8| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_pixel(1, 1, image::Rgb([shade; 3]));
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        Bytes::from(bytes.into_inner())
    };
    let shown = house.app.media.accept(png(1)).await.unwrap().name;
    let dropped = house.app.media.accept(png(2)).await.unwrap().name;
    let at = At { key: OrganizationKey::Slug("tea".into()), sight: Sight::ByVisibility };
    let changes = Changes { background_image: Patch::Set(shown.clone()), ..Changes::default() };
    organizations::update(house.db(), &House::system(), &at, changes, Default::default()).unwrap();

    // The files have the machine's time, at which the clock of the house is set to be.
    let written = house.folder.0.join("media").join(&dropped).metadata().unwrap().modified().unwrap();
    let written = written.duration_since(std::time::UNIX_EPOCH).unwrap();
    let written = Timestamp(i64::try_from(written.as_micros()).unwrap());
    house.pass(written.since(NOW) + Duration::from_secs(3500));
    let is_there = async |name: &str| house.app.media.check(name).await.unwrap();
    workers::collect_pictures(house.app.clone()).await;
    assert_eq!((is_there(&shown).await, is_there(&dropped).await), (true, true), "too young");
    house.pass(Duration::from_secs(200));
    workers::collect_pictures(house.app.clone()).await;
    assert_eq!((is_there(&shown).await, is_there(&dropped).await), (true, false));
}
