//! `/account/reset-password/`: chooses a new password, which ends every session and key of the account.

use axum::extract::State;
use axum::response::Response;
use guildhall_domain::credentials::{self, Purpose};

use super::{Failed, Form, if_known, look};
use crate::app::App;
use crate::http::Query;
use crate::pages::{Page, Reset, field, render};

const PURPOSES: &[Purpose] = &[Purpose::ResetPassword];

pub(super) async fn show(State(app): State<App>, query: Query) -> Result<Response, Failed> {
    let token = query.get(field::TOKEN).unwrap_or_default();
    Ok(match look(&app, token, PURPOSES).await? {
        Some(mailed) => page(&app, Reset::Ready { email: &mailed.email, token, problem: None }),
        None => page(&app, Reset::Bad),
    })
}

pub(super) async fn set(State(app): State<App>, form: Form) -> Result<Response, Failed> {
    // Before anything is hashed: that is slow, and only for one who holds a good link.
    let Some(mailed) = look(&app, &form.token, PURPOSES).await? else { return Ok(page(&app, Reset::Bad)) };
    let password = match form.chosen_password() {
        Ok(password) => password,
        Err(problem) => {
            let form = Reset::Ready { email: &mailed.email, token: &form.token, problem: Some(problem) };
            return Ok(page(&app, form));
        }
    };
    let hash = app.hash(password).await?;
    let set = app.write(move |db| credentials::reset_password(db, &form.token, hash)).await;
    Ok(page(&app, if if_known(set)?.is_some() { Reset::Done } else { Reset::Bad }))
}

fn page(app: &App, state: Reset<'_>) -> Response {
    render(&Page::Reset(state), app.return_to.as_deref())
}
