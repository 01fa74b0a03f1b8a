//! Mail: what a message is made of, and how it leaves the process.
//!
//! Pure but for [`Transport::send`]: the words come from [`letters`], the queue and its retries belong to the caller.

pub mod letters;

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use guildhall_domain::clock::Timestamp;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{Address, AsyncTransport, Tokio1Executor};
use reqwest::Url;

/// How long one step of a delivery (connecting, one command and its answer) may take.
const STEP: Duration = Duration::from_secs(10);
/// How long a whole delivery may take: a server that answers each step just in time holds a worker no longer.
const WHOLE: Duration = Duration::from_secs(30);
/// How much of a server's answer an error tells, in characters.
const ANSWER_LENGTH: usize = 200;

/// One message to one person, as the queue keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The unique id of its row in the queue: the `Message-ID` and the file name are made from it, so that a second
    /// attempt can be recognized as the same message. Characters other than ASCII letters, digits, `-` and `_` are dropped.
    pub id: String,
    /// When it was queued: its `Date`.
    pub at: Timestamp,
    /// The sender, `Name <address>` or the address alone.
    pub from: String,
    /// The recipient's bare address, as stored.
    pub to: String,
    /// The subject; line breaks in it become spaces.
    pub subject: String,
    /// The plain text part.
    pub text: String,
    /// The HTML part: the same words.
    pub html: String,
}

/// Shows no body: the links in it are secrets.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("at", &self.at)
            .field("to", &self.to)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Why a message was not delivered. The text is fit for a log: it holds no password, link or body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    /// Whether trying again is of no use.
    pub permanent: bool,
    /// What went wrong, in one line.
    pub text: String,
}

impl SendError {
    fn permanent(text: impl Into<String>) -> Self {
        Self { permanent: true, text: text.into() }
    }

    fn temporary(text: impl Into<String>) -> Self {
        Self { permanent: false, text: text.into() }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SendError {}

/// Where mail goes.
pub enum Transport {
    /// Each message becomes one complete file in this folder.
    Folder(PathBuf),
    /// Each message is handed to this server, over a connection of its own: a connection kept from the message before
    /// could be out of step, and mail is too rare for the greeting to matter.
    Smtp(Box<AsyncSmtpTransport<Tokio1Executor>>),
}

/// Shows neither server nor credentials.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => f.debug_tuple("Folder").field(folder).finish(),
            Self::Smtp(_) => f.write_str("Smtp(..)"),
        }
    }
}

impl Transport {
    /// The transport that a configured URL names:
    ///
    /// - `dir:PATH`, a folder, made when missing and readable by its owner alone;
    /// - `smtp://user:password@host:587`, where the server must offer STARTTLS;
    /// - `smtps://user:password@host:465`, TLS from the first byte;
    /// - `smtp+plain://host:25`, no encryption, and so no password: for a relay on the same machine.
    ///
    /// User and password are percent-decoded; ports may be left out. Nothing is connected to yet.
    ///
    /// # Errors
    /// One line that says what is wrong with the URL, without showing it: there may be a password in it.
    pub fn open(url: &str) -> Result<Self, String> {
        if let Some(folder) = url.strip_prefix("dir:") {
            if folder.is_empty() {
                return Err("dir: needs a folder after it".to_owned());
            }
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| format!("cannot make the mail folder {folder}: {error}"))?;
            return Ok(Self::Folder(PathBuf::from(folder)));
        }
        smtp_transport(url).map(|transport| Self::Smtp(Box::new(transport)))
    }

    /// Delivers `message`, or says why not. Sending the same message again is harmless to a folder, where it replaces
    /// itself; a server gets it again with the same `Message-ID`.
    ///
    /// Takes at most 30 seconds with a server, 10 for each step.
    ///
    /// # Errors
    /// Permanent for an address that is none and for what the server refuses for good (5xx), except a refused sign-in:
    /// that is the operator's to mend, and no message should be lost by it. All else is worth another attempt.
    pub async fn send(&self, message: &Message) -> Result<(), SendError> {
        match self {
            Self::Folder(folder) => {
                let email = compose(message, Bodies::Readable)?;
                let (folder, name, bytes) = (folder.clone(), file_name(message), email.formatted());
                tokio::task::spawn_blocking(move || write_file(&folder, &name, &bytes))
                    .await
                    .map_err(|_| SendError::temporary("writing the message was interrupted"))?
                    .map_err(|error| SendError::temporary(format!("cannot write the message: {error}")))
            }
            Self::Smtp(server) => {
                let email = compose(message, Bodies::Encoded)?;
                match tokio::time::timeout(WHOLE, server.send(email)).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(refusal(&error)),
                    Err(_) => Err(SendError::temporary("the mail server took too long")),
                }
            }
        }
    }
}

/// The sender where none is configured: `Guildhall <guildhall@host>` with the host of the public URL, or `localhost`
/// where that is an IP address or no URL.
#[must_use]
pub fn default_from(public_url: &str) -> String {
    let url = Url::parse(public_url).ok();
    let host = url.as_ref().and_then(Url::domain).unwrap_or("localhost");
    format!("Guildhall <guildhall@{host}>")
}

/// Whether `from` can stand in a message's `From`: what the configuration is checked with.
///
/// # Errors
/// One line that says why not.
pub fn check_from(from: &str) -> Result<(), String> {
    from.parse::<Mailbox>()
        .map(drop)
        .map_err(|_| "not a sender such as Guildhall <hall@example.org>".to_owned())
}

/// `text` with every line break, and every other control character, made a space: nothing in it can start a new line.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'), " ")
}

/// How the parts of a message are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bodies {
    /// In ASCII and short lines, as every server takes them.
    Encoded,
    /// As they are: whoever opens the file finds the link whole.
    Readable,
}

/// The message in the form that travels.
fn compose(message: &Message, bodies: Bodies) -> Result<lettre::Message, SendError> {
    let from: Mailbox = message
        .from
        .parse()
        .map_err(|error| SendError::permanent(format!("the sender is no mail address: {error}")))?;
    let to: Address = message
        .to
        .parse()
        .map_err(|error| SendError::permanent(format!("the recipient is no mail address: {error}")))?;
    let id = plain_id(&message.id);
    let seconds = u64::try_from(message.at.seconds()).unwrap_or(0);
    let parts = MultiPart::alternative()
        // No part holds this line: nobody who has a say in the words knows the id.
        .boundary(format!("=_{id}"))
        .singlepart(part(&message.text, ContentType::TEXT_PLAIN, bodies))
        .singlepart(part(&message.html, ContentType::TEXT_HTML, bodies));
    lettre::Message::builder()
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        .date(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_DATE)))
        .from(from)
        .to(Mailbox::new(None, to))
        .subject(one_line(&message.subject))
        // Asks holiday notices and the like not to answer (RFC 3834).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .multipart(parts)
        .map_err(|error| SendError::permanent(format!("the message cannot be composed: {error}")))
}

fn part(text: &str, kind: ContentType, bodies: Bodies) -> SinglePart {
    let fits = text.lines().all(|line| line.len() <= LINE_LENGTH);
    let body = if bodies == Bodies::Readable && fits {
        let lines: Vec<&str> = text.lines().collect();
        Body::dangerous_pre_encoded(lines.join("\r\n").into_bytes(), ContentTransferEncoding::EightBit)
    } else {
        Body::new(text.to_owned())
    };
    SinglePart::builder().header(kind).body(body)
}

/// The longest line that may stand in a message, in bytes (RFC 5322, 2.1.1).
const LINE_LENGTH: usize = 998;

/// The last second that a `Date` can tell: that of the year 9999.
const LAST_DATE: u64 = 253_402_300_799;

fn plain_id(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// A name that sorts by time, then by id: `20261121T093000.000000Z-<id>.eml`.
fn file_name(message: &Message) -> String {
    let at = jiff::Timestamp::from_microsecond(message.at.0).unwrap_or(jiff::Timestamp::MAX);
    format!("{}-{}.eml", at.strftime("%Y%m%dT%H%M%S.%6fZ"), plain_id(&message.id))
}

/// Writes under another name first, so that whoever looks into the folder never finds half a message.
fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = folder.join(format!(".{name}.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// What is told where a mail URL is of no known kind.
const EXPECTED: &str = "expected dir:PATH, smtp://…, smtps://… or smtp+plain://…";

/// Checks that the URL is of a kind that [`Transport::open`] knows.
///
/// # Errors
/// The kinds that there are.
pub fn check_place(url: &str) -> Result<(), String> {
    let is_known = ["dir:", "smtp://", "smtps://", "smtp+plain://"].iter().any(|kind| url.starts_with(kind));
    if is_known { Ok(()) } else { Err(EXPECTED.to_owned()) }
}

fn smtp_transport(url: &str) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    if !url.contains("://") {
        return Err(EXPECTED.to_owned());
    }
    let url = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
    let port = match url.scheme() {
        "smtp" => 587,
        "smtps" => 465,
        "smtp+plain" => 25,
        _ => return Err(EXPECTED.to_owned()),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the mail server's name is missing")?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("nothing may follow the mail server's name and port".to_owned());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let tls = || TlsParameters::new(host.to_owned()).map_err(|error| format!("cannot use TLS: {error}"));
    let tls = match url.scheme() {
        "smtp" => Tls::Required(tls()?),
        "smtps" => Tls::Wrapper(tls()?),
        _ => Tls::None,
    };
    let encrypted = !matches!(tls, Tls::None);
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(url.port().unwrap_or(port))
        .tls(tls)
        .timeout(Some(STEP));
    match (url.username(), url.password()) {
        ("", None) => Ok(builder.build()),
        ("", Some(_)) | (_, None) => Err("user and password belong together".to_owned()),
        _ if !encrypted => Err("smtp+plain:// takes no password: it would travel unencrypted".to_owned()),
        (user, Some(password)) => {
            Ok(builder.credentials(Credentials::new(decode(user)?, decode(password)?)).build())
        }
    }
}

fn decode(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "user and password must be UTF-8".to_owned())
}

/// What a failed delivery means.
fn refusal(error: &smtp::Error) -> SendError {
    let Some(code) = error.status() else {
        return SendError::temporary(one_line(&chain(error)));
    };
    let number = u16::from(code);
    let answer = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let text = match number {
        530 | 534 | 535 | 538 => format!("the mail server refused the sign-in ({number})"),
        _ => format!("the mail server answered {number}{}", quoted(&answer)),
    };
    let permanent = error.is_permanent() && !matches!(number, 530 | 534 | 535 | 538);
    SendError { permanent, text }
}

/// The server's words, unless they may repeat a command that held the password, or a link.
fn quoted(answer: &str) -> String {
    let lower = answer.to_ascii_lowercase();
    if answer.is_empty() || lower.contains("auth") || lower.contains("token") {
        return String::new();
    }
    format!(": {}", one_line(answer).chars().take(ANSWER_LENGTH).collect::<String>())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some kinds tell their cause themselves.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text.chars().take(2 * ANSWER_LENGTH).collect()
}
