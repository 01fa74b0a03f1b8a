//! `/account/verify/`: confirms a new account's address, or gives an account its new one.

use axum::extract::State;
use axum::response::Response;
use guildhall_domain::credentials::{self, Purpose};
use guildhall_domain::error::{Conflict, Error};

use super::{Failed, Form, if_known, look};
use crate::app::App;
use crate::http::Query;
use crate::pages::{Confirm, Page, field, render};

const PURPOSES: &[Purpose] = &[Purpose::Verify, Purpose::ChangeAddress];

pub(super) async fn show(State(app): State<App>, query: Query) -> Result<Response, Failed> {
    let token = query.get(field::TOKEN).unwrap_or_default();
    Ok(match look(&app, token, PURPOSES).await? {
        Some(mailed) => page(&app, mailed.purpose, Confirm::Ready { email: &mailed.email, token }),
        None => page(&app, Purpose::Verify, Confirm::Bad),
    })
}

pub(super) async fn confirm(State(app): State<App>, form: Form) -> Result<Response, Failed> {
    let Some(mailed) = look(&app, &form.token, PURPOSES).await? else {
        return Ok(page(&app, Purpose::Verify, Confirm::Bad));
    };
    let confirmed = app.write(move |db| credentials::confirm_address(db, &form.token)).await;
    let state = match if_known(confirmed) {
        Ok(Some(_)) => Confirm::Done { email: &mailed.email },
        Ok(None) => Confirm::Bad,
        Err(Error::Conflict(Conflict::EmailTaken)) => Confirm::Taken { email: &mailed.email },
        Err(error) => return Err(error.into()),
    };
    Ok(page(&app, mailed.purpose, state))
}

fn page(app: &App, purpose: Purpose, state: Confirm<'_>) -> Response {
    let page =
        if purpose == Purpose::ChangeAddress { Page::ChangeAddress(state) } else { Page::Verify(state) };
    render(&page, app.return_to.as_deref())
}
