//! Letters and their delivery: what they hold, that names cannot break out of them, and how failures are told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::skip;
use guildhall::mail::letters::{Change, InvitedAs, Letter, Rendered, render};
use guildhall::mail::{self, Message, Transport};
use guildhall_domain::clock::Timestamp;

/// 2026-11-21T09:30:00Z.
const AT: Timestamp = Timestamp(1_795_253_400_000_000);
const SITE: &str = "https://hall.example.org";
const LINK: &str = "https://hall.example.org/account/invite/?token=0123456789abcdef&x=1";

fn every_letter() -> [Letter<'static>; 8] {
    let (email, link, expires) = ("ada@example.org", LINK, AT);
    [
        Letter::Verify { email, link, expires },
        Letter::ChangeAddress { email, link, expires },
        Letter::ResetPassword { email, asked_by: None, link, expires },
        Letter::ResetPassword { email, asked_by: Some("Tea & Cake"), link, expires },
        invitation("Tea & Cake", "Ada Lovelace"),
        Letter::SecurityNotice { change: Change::Password, email, at: AT },
        Letter::SecurityNotice { change: Change::Address { to: "new@example.org" }, email, at: AT },
        Letter::SecurityNotice { change: Change::ApiKey, email, at: AT },
    ]
}

/// Also writes each letter's HTML part to `target/tmp/letters`, from which the pictures in docs/mail.md are made.
#[test]
fn every_letter_is_whole() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("letters");
    std::fs::create_dir_all(&folder).unwrap();
    let names = [
        "verify",
        "change-address",
        "reset-password",
        "reset-password-asked",
        "invitation",
        "password-changed",
        "address-changed",
        "api-key-made",
    ];
    for (name, letter) in names.into_iter().zip(every_letter()) {
        let rendered = render(&letter, SITE);
        assert!(
            rendered.html.starts_with("<!DOCTYPE html>") && rendered.html.trim_end().ends_with("</html>"),
            "{name}"
        );
        assert!(!rendered.subject.is_empty() && !rendered.text.is_empty(), "{name}");
        std::fs::write(folder.join(format!("{name}.html")), rendered.html).unwrap();
    }
}

fn invitation<'a>(organization: &'a str, inviter: &'a str) -> Letter<'a> {
    Letter::Invitation { organization, inviter, role: InvitedAs::Owner, link: LINK, expires: AT }
}

fn message(id: &str, letter: &Letter<'_>) -> Message {
    let Rendered { subject, text, html } = render(letter, SITE);
    Message {
        id: id.to_owned(),
        at: AT,
        from: mail::default_from(SITE),
        to: "bob@example.org".to_owned(),
        subject,
        text,
        html,
    }
}

/// A folder for one test, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mail").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What a folder gets of `message`.
async fn eml(test: &str, message: &Message) -> String {
    let folder = folder(test);
    let transport = Transport::open(&format!("dir:{}", folder.display())).unwrap();
    transport.send(message).await.unwrap();
    let names = names(&folder);
    assert_eq!(names.len(), 1, "{names:?}");
    std::fs::read_to_string(folder.join(&names[0])).unwrap()
}

#[test]
fn both_parts_say_the_same() {
    for letter in every_letter() {
        let Rendered { subject, text, html } = render(&letter, SITE);
        let linked = !matches!(letter, Letter::SecurityNotice { .. });
        assert_eq!(text.contains(LINK), linked, "{text}");
        assert_eq!(html.contains(&format!("href=\"{}\"", LINK.replace('&', "&#38;"))), linked, "{html}");
        for part in [&text, &html] {
            assert!(part.contains("21 November 2026, 09:30 UTC"), "{part}");
            assert!(part.contains("You get this because"), "{part}");
            assert!(part.contains(SITE), "{part}");
        }
        assert!(subject.len() < 78 && !subject.contains('\n'), "{subject}");
        assert!(text.is_ascii(), "{text}");
    }
}

#[test]
fn an_invitation_as_text() {
    let letter = render(&invitation("Tea & Cake", "Ada Lovelace"), SITE);
    assert_eq!(letter.subject, "Ada Lovelace invites you to \"Tea & Cake\"");
    assert_eq!(
        letter.text,
        "You are invited

Ada Lovelace invites you to be an owner of the organization \"Tea & Cake\".

See the invitation:
https://hall.example.org/account/invite/?token=0123456789abcdef&x=1

The link works once, until Saturday, 21 November 2026, 09:30 UTC.

You get this because your address was entered there. If you do not know the sender or do not want to join, \
ignore this message: nothing happens unless you accept.

-- 
Guildhall, https://hall.example.org"
    );
}

#[test]
fn names_stay_text_in_html() {
    let letter = render(&invitation("<script>alert(1)</script>", "\"><img src=x>"), SITE);
    assert!(!letter.html.contains("<script") && !letter.html.contains("<img"), "{}", letter.html);
    assert!(letter.html.contains("&#60;script&#62;alert(1)"), "{}", letter.html);
    assert!(letter.text.contains("<script>alert(1)</script>"), "{}", letter.text);
}

#[test]
fn long_names_are_cut_in_the_subject_alone() {
    let long = "Ä".repeat(200);
    let letter = render(&invitation(&long, &long), SITE);
    let cut = format!("{}…", "Ä".repeat(39));
    assert_eq!(letter.subject, format!("{cut} invites you to \"{cut}\""));
    assert!(letter.text.contains(&long) && letter.html.contains(&long));
}

#[tokio::test]
async fn line_breaks_in_names_and_subjects_start_no_header() {
    let nasty = "Eve\r\nBcc: all@example.org\r\n\r\n<b>\u{2028}\u{85}x";
    let letter = invitation(nasty, nasty);
    let rendered = render(&letter, SITE);
    assert!(
        !rendered.subject.contains(|c: char| c.is_control() || c == '\u{2028}'),
        "{:?}",
        rendered.subject
    );
    assert!(!rendered.text.contains("\nBcc:") && !rendered.text.contains('\r'), "{}", rendered.text);
    let mut message = message("nasty", &letter);
    message.subject = nasty.to_owned();
    let eml = eml("line-breaks", &message).await;
    let (headers, _) = eml.split_once("\r\n\r\n").unwrap();
    assert!(!headers.lines().any(|line| line.starts_with("Bcc")), "{headers}");
}

#[tokio::test]
async fn a_message_has_each_header_once() {
    let eml = eml("headers", &message("0193-a_b", &invitation("Tea & Cake", "Ada"))).await;
    let (headers, body) = eml.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = headers.split("\r\n").collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "Auto-Submitted: auto-generated",
            "Content-Type: multipart/alternative; boundary=\"=_0193-a_b\"",
            "Date: Sat, 21 Nov 2026 09:30:00 +0000",
            "From: Guildhall <guildhall@hall.example.org>",
            "MIME-Version: 1.0",
            "Message-ID: <0193-a_b@hall.example.org>",
            "Subject: Ada invites you to \"Tea & Cake\"",
            "To: bob@example.org",
        ]
    );
    let plain = body.find("Content-Type: text/plain; charset=utf-8").unwrap();
    let html = body.find("Content-Type: text/html; charset=utf-8").unwrap();
    assert!(plain < html, "the richest part stands last");
    assert!(body.contains(&format!("\r\n{LINK}\r\n")), "the link can be read as it is");
    assert!(eml.ends_with("--=_0193-a_b--\r\n"));
}

#[tokio::test]
async fn the_link_can_be_read_in_the_file_whatever_the_names() {
    let letter = invitation("Käse & Brot", "Zoë");
    let body = eml("readable", &message("1", &letter)).await;
    assert!(body.contains(&format!("\r\n{LINK}\r\n")) && body.contains("\"Käse & Brot\""), "{body}");
    // A line too long for any message is encoded all the same.
    let long = "🐘".repeat(200);
    let body = eml("readable", &message("1", &invitation(&long, &long))).await;
    assert!(body.lines().all(|line| line.len() <= 998), "{body}");
}

#[tokio::test]
async fn a_folder_keeps_complete_files_in_order_for_their_owner_alone() {
    let folder = folder("order").join("made");
    let transport = Transport::open(&format!("dir:{}", folder.display())).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut sent = message("../b", &every_letter()[0]);
    for (id, at) in [("z", 1), ("../b", 2_000_000), ("a", 2_000_000), ("a", 2_000_000), ("c", 1_999_999)] {
        sent.id = id.to_owned();
        sent.at = Timestamp(at);
        transport.send(&sent).await.unwrap();
    }
    let names = names(&folder);
    assert_eq!(
        names,
        [
            "19700101T000000.000001Z-z.eml",
            "19700101T000001.999999Z-c.eml",
            "19700101T000002.000000Z-a.eml",
            "19700101T000002.000000Z-b.eml",
        ]
    );
    for name in names {
        assert_eq!(mode(&folder.join(&name)), 0o600, "{name}");
        assert!(std::fs::read_to_string(folder.join(&name)).unwrap().ends_with("--\r\n"), "{name}");
    }
}

#[tokio::test]
async fn a_folder_that_is_gone_may_come_back() {
    let folder = folder("gone");
    let transport = Transport::open(&format!("dir:{}", folder.display())).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    let error = transport.send(&message("1", &every_letter()[0])).await.unwrap_err();
    assert!(!error.permanent, "{error}");
}

#[tokio::test]
async fn what_is_no_address_is_refused_for_good() {
    let folder = folder("addresses");
    let transport = Transport::open(&format!("dir:{}", folder.display())).unwrap();
    for to in [
        "",
        "bob",
        "bob@",
        "a@b@c",
        "bob@example.org\r\nBcc: x@example.org",
        "Bob <bob@example.org>",
        "a@x.org, b@x.org",
    ] {
        let message = Message { to: to.to_owned(), ..message("1", &every_letter()[0]) };
        assert!(transport.send(&message).await.unwrap_err().permanent, "{to:?}");
    }
    assert!(names(&folder).is_empty());
}

#[tokio::test]
async fn instants_beyond_the_calendar_are_written_all_the_same() {
    for at in [i64::MIN, -1, i64::MAX] {
        let letter = Letter::Verify { email: "a@x.org", link: LINK, expires: Timestamp(at) };
        let message = Message { at: Timestamp(at), ..message("1", &letter) };
        assert!(eml("calendar", &message).await.contains("\r\nDate: "));
    }
}

#[test]
fn senders() {
    assert_eq!(
        mail::default_from("https://hall.example.org:8443/x"),
        "Guildhall <guildhall@hall.example.org>"
    );
    for address in ["http://127.0.0.1:3010", "http://[::1]:3010", "nothing"] {
        assert_eq!(mail::default_from(address), "Guildhall <guildhall@localhost>");
    }
    assert_eq!(mail::check_from("Tea & Cake <tea@example.org>"), Ok(()));
    assert_eq!(mail::check_from(&mail::default_from("http://127.0.0.1")), Ok(()));
    assert!(mail::check_from("tea").is_err());
}

#[test]
fn urls_that_are_refused_never_show_their_password() {
    let refused = [
        "",
        "dir:",
        "imap://mail.example.org",
        "smtp:mail.example.org",
        "smtp://",
        "smtp://user:s3cret@",
        "smtp://user:s3cret@mail.example.org:99999",
        "smtp://user:s3cret@mail.example.org/path",
        "smtp://user:s3cret@mail.example.org?tls=none",
        "smtp://user:s3cret@mail.example.org#x",
        "smtp+plain://user:s3cret@mail.example.org",
        "smtps://user:s3cret%ff@mail.example.org",
        "smtps://:s3cret@mail.example.org",
        "smtps://user@mail.example.org",
    ];
    for url in refused {
        let error = Transport::open(url).expect_err(url);
        assert!(!error.contains("s3cret") && !error.contains('\n'), "{url}: {error}");
    }
}

#[test]
fn transports_show_no_credentials() {
    for url in ["smtps://user:p%40ss@mail.example.org", "smtp://user:p%40ss@mail.example.org:2587"] {
        let shown = format!("{:?}", Transport::open(url).unwrap());
        assert_eq!(shown, "Smtp(..)");
    }
    let message = message("1", &every_letter()[0]);
    assert!(!format!("{message:?}").contains("token"), "{message:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_back() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let transport = Transport::open(&format!("smtp+plain://127.0.0.1:{port}")).unwrap();
    let error = transport.send(&message("1", &every_letter()[0])).await.unwrap_err();
    assert!(!error.permanent && error.text.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_server_without_encryption_gets_nothing_unless_told_so() {
    let port = refusing_server("250 never reached");
    let transport = Transport::open(&format!("smtp://user:s3cret@127.0.0.1:{port}")).unwrap();
    let error = transport.send(&message("1", &every_letter()[0])).await.unwrap_err();
    assert!(!error.permanent && error.text.contains("STARTTLS"), "{error}");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let cases = [
        ("550 5.1.1 no such user", true, "the mail server answered 550: 5.1.1 no such user"),
        ("451 4.7.1 greylisted", false, "the mail server answered 451: 4.7.1 greylisted"),
        ("554 bad AUTH PLAIN AGFk", true, "the mail server answered 554"),
        ("554 spam: https://x/?Token=1", true, "the mail server answered 554"),
        ("530 5.7.0 sign in first", false, "the mail server refused the sign-in (530)"),
    ];
    for (answer, permanent, text) in cases {
        let transport =
            Transport::open(&format!("smtp+plain://127.0.0.1:{}", refusing_server(answer))).unwrap();
        let error = transport.send(&message("1", &every_letter()[0])).await.unwrap_err();
        assert_eq!((error.permanent, error.text.as_str()), (permanent, text));
    }
}

/// A server on loopback that greets, and gives `answer` to the first recipient; returns its port.
fn refusing_server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        let mut reply = "220 ready";
        while write!(stream, "{reply}\r\n").is_ok() {
            line.clear();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            reply = if line.starts_with("RCPT") { answer } else { "250 fine" };
        }
    });
    port
}

/// aiosmtpd, which puts what it gets into a Maildir; ends with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(mailbox: &Path) -> Option<Self> {
        let has = Command::new("python3").args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !has.is_ok_and(|status| status.success()) {
            skip("python3 has no aiosmtpd (pip install aiosmtpd)");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("python3")
            .args(["-m", "aiosmtpd", "-n", "-l", &format!("127.0.0.1:{port}")])
            .args(["-c", "aiosmtpd.handlers.Mailbox"])
            .arg(mailbox)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("aiosmtpd did not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_real_server_takes_every_letter() {
    let mailbox = folder("maildir");
    std::fs::create_dir_all(mailbox.parent().unwrap()).unwrap();
    let Some(server) = Server::start(&mailbox) else { return };
    let transport = Transport::open(&format!("smtp+plain://127.0.0.1:{}", server.port)).unwrap();
    let letters = every_letter();
    for (number, letter) in letters.iter().enumerate() {
        transport.send(&message(&format!("row-{number}"), letter)).await.unwrap();
    }
    let umlauts = invitation("Käse & Brot", "Zoë");
    transport.send(&message("umlauts", &umlauts)).await.unwrap();

    let received: Vec<String> = names(&mailbox.join("new"))
        .iter()
        .map(|name| std::fs::read_to_string(mailbox.join("new").join(name)).unwrap())
        .collect();
    assert_eq!(received.len(), letters.len() + 1);
    for message in &received {
        let (headers, body) = message.split_once("\n\n").unwrap();
        assert_eq!(headers.matches("Content-Type:").count(), 1, "{headers}");
        assert!(headers.contains("X-RcptTo: bob@example.org"), "{headers}");
        assert_eq!(body.matches("Content-Type: text/").count(), 2, "{body}");
    }
    assert!(received.iter().any(|message| message.contains("K=C3=A4se & Brot")), "umlauts arrive");
}
