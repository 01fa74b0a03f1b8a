//! Getting in: the first words on a connection.

use std::time::Instant;

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::fault::Refusal;
use super::session::Session;
use super::target::{Host, Target};
use super::tls::Tls;
use super::wire::Wire;

/// What holds on every connection. The server gives up what nobody waits for any more, and what was left open. Its warnings
/// are heard: one at a commit says that a standby may not have it.
const SETTINGS: &str = "SET statement_timeout = '5s'; SET lock_timeout = '3s';
    SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = 'warning'";

/// A session on the first of the target's hosts that takes writes.
///
/// # Errors
/// Why there is none, for the operator.
pub(super) fn connect(target: &Target, tls: &Tls, deadline: Instant) -> Result<Session, String> {
    let mut why = Vec::new();
    for host in &target.hosts {
        match connect_to(host, target, tls, deadline) {
            Ok(session) => return Ok(session),
            Err(error) => why.push(match host {
                Host::Tcp(name, port) => format!("{name}:{port}: {error}"),
                Host::Unix(file) => format!("{}: {error}", file.display()),
            }),
        }
    }
    Err(why.join("; "))
}

fn connect_to(host: &Host, target: &Target, tls: &Tls, deadline: Instant) -> Result<Session, String> {
    let mut wire = Wire::open(host, tls, deadline)?;
    let parameters = [
        ("user", target.user.as_str()),
        ("database", &target.database),
        ("client_encoding", "UTF8"),
        ("application_name", "guildhall"),
    ];
    frontend::startup_message(parameters, &mut wire.out).map_err(|error| error.to_string())?;
    sign_in(&mut wire, target)?;
    let session = Session::new(wire);
    session.batch(SETTINGS).map_err(|error| error.to_string())?;
    session.begin_alone();
    // A standby is never asked: what it shows may be over already.
    let is_standby = session
        .row("SELECT pg_is_in_recovery()", &[], |row| row.flag())
        .map_err(|error| error.to_string())?;
    if is_standby == Some(true) { Err("the server only reads (a standby)".into()) } else { Ok(session) }
}

/// Sends what waits, and shows the password in the way that the server asks for.
fn sign_in(wire: &mut Wire, target: &Target) -> Result<(), String> {
    let mut scram = None;
    wire.send().map_err(|error| error.to_string())?;
    loop {
        let message = wire.receive().map_err(|error| error.to_string())?;
        let password = || target.password.as_deref().ok_or("the server asks for a password");
        let written = match message {
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(password()?.as_bytes(), &mut wire.out)
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(target.user.as_bytes(), password()?.as_bytes(), body.salt());
                frontend::password_message(hash.as_bytes(), &mut wire.out)
            }
            Message::AuthenticationSasl(body) => {
                let is_known = body.mechanisms().any(|mechanism| Ok(mechanism == SCRAM_SHA_256));
                if !is_known.unwrap_or(false) {
                    return Err("the server asks for a way to sign in that is not known here".into());
                }
                let new = ScramSha256::new(password()?.as_bytes(), ChannelBinding::unsupported());
                frontend::sasl_initial_response(SCRAM_SHA_256, scram.insert(new).message(), &mut wire.out)
            }
            Message::AuthenticationSaslContinue(body) => {
                let scram = scram.as_mut().ok_or("the server speaks out of turn")?;
                scram
                    .update(body.data())
                    .and_then(|()| frontend::sasl_response(scram.message(), &mut wire.out))
            }
            Message::AuthenticationSaslFinal(body) => {
                // The server has to show that it knows the password too.
                let scram = scram.as_mut().ok_or("the server speaks out of turn")?;
                scram.finish(body.data()).map_err(|error| error.to_string())?;
                continue;
            }
            Message::ReadyForQuery(_) => return Ok(()),
            Message::ErrorResponse(body) => return Err(Refusal::read(body.fields()).to_string()),
            Message::AuthenticationOk
            | Message::BackendKeyData(_)
            | Message::ParameterStatus(_)
            | Message::NoticeResponse(_) => continue,
            _ => return Err("the server asks for a way to sign in that is not known here".into()),
        };
        written.and_then(|()| wire.send()).map_err(|error| error.to_string())?;
    }
}
