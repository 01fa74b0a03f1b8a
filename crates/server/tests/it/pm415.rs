//! pm415 (document 002), read beside it: one call, the whole answer.

use guildhall::app::Entry;
use guildhall_domain::authz::Scope;
use guildhall_domain::credentials::Wanted;
use guildhall_domain::onboarding::SignedIn;
use serde_json::{Value, json};

use crate::harness::{House, PASSWORD};
use crate::place::hands;

mod account;
mod members;
mod organization;
mod requests;

/// The original's answer to what went wrong.
fn error(status: u16, message: &str) -> Value {
    let reason = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        other => panic!("{other} is told nowhere"),
    };
    json!({"statusCode": status, "error": reason, "message": message, "success": false})
}

fn done() -> Value {
    json!({"success": true})
}

/// Makes many things side by side, whose commits then go to the disk together.
fn make_many(count: usize, make: impl Fn(usize) + Sync) {
    let (make, lanes) = (&make, hands());
    std::thread::scope(|scope| {
        for lane in 0..lanes {
            scope.spawn(move || (lane..count).step_by(lanes).for_each(make));
        }
    });
}

/// A token that may only read.
async fn read_token(house: &House, login: &str) -> String {
    let entry = Entry {
        login: login.into(),
        password: PASSWORD.into(),
        address: String::new(),
        wanted: Wanted::Token { scope: Scope::Read, for_first_organization: false },
        invitation: None,
    };
    let SignedIn::Done(session) = house.app.sign_in(entry).await.unwrap() else { panic!("no session") };
    house.app.token(&session).await.unwrap().0
}
