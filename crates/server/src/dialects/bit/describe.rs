//! What bit's calls are, take and answer.

use guildhall_domain::text::DESCRIPTION_MAX;
use serde_json::{Value, json};

use super::ADDRESSES_MAX;
use super::events::LOCATION_MAX;
use crate::describe::schema::{
    answer, any, closed, constant, email, form, free_text, like, list, list_of, name, named, new_password,
    nullable, number, one_of, password, path_number, pattern, picture, said, text, url, visible_free_text,
};
use crate::describe::{About, MULTIPART, Operation};

/// The whole.
pub(super) const ABOUT: About = About {
    name: "bit",
    title: "bit: organizations, their people and events",
    text: "Signing in sets the cookie `access_token_cookie`; calls that change something carry the answered `csrf_token` \
           as `X-CSRF-TOKEN` besides. A token in `Authorization` does as well. What a call refuses is an object with the \
           key `message`, what the check of the credential refuses one with `msg`. No slash stands at the end of a path.",
    scheme: "Bearer",
    challenge: None,
    refusal,
};

fn refusal(status: u16) -> Value {
    let call = named("Error", answer([("message", text())]));
    let credential = named("CredentialError", answer([("msg", text())]));
    match status {
        400 | 401 => any([call, credential]),
        _ => call,
    }
}

fn message() -> Value {
    named("Message", answer([("message", text())]))
}

pub(super) fn create_account() -> Operation {
    let body = form(
        [
            ("name", like(name(1), "Ada Lovelace")),
            ("username", said(email(), "The e-mail address.")),
            ("password", new_password()),
            ("location", like(visible_free_text(DESCRIPTION_MAX), "London")),
            ("image", like(visible_free_text(DESCRIPTION_MAX), "https://example.org/ada.png")),
        ],
        [("roles", json!({})), ("track_id", json!({})), ("class_code", json!({}))],
    );
    Operation::anyone("create_account", "Make an account")
        .text("It can sign in once the link mailed to its address is used. The type is a label that gives no power.")
        .path("type", one_of(["Student", "Teacher", "Admin"]), "What the account is labelled.")
        .json(closed(body))
        .answer(202, "It is made, and a letter on its way.", message())
        .refuse(404, "No such type.")
        .refuse(409, "Another account has the address.")
        .refuse(422, "A key is missing, unknown, or has a value that does not do.")
}

pub(super) fn log_in() -> Operation {
    let body = form([("username", like(text(), "ada@example.org")), ("password", password_typed())], []);
    let done = answer([("username", text()), ("user_type", text()), ("csrf_token", text())]);
    Operation::anyone("log_in", "Sign in")
        .json(closed(body))
        .answer(200, "Signed in; the cookies are set.", named("SignedIn", done))
        .header("Set-Cookie", "`access_token_cookie` and, in a header of its own, `csrf_access_token`.")
        .refuse(401, "A wrong username or password.")
        .refuse(403, "The address is not confirmed yet.")
        .refuse(422, "A key is missing or unknown, or no text.")
}

/// A password to sign in with: any text is looked at.
fn password_typed() -> Value {
    let mut schema = password();
    if let Some(keys) = schema.as_object_mut() {
        keys.remove("minLength");
    }
    schema
}

pub(super) fn log_out() -> Operation {
    Operation::signed_in("log_out", "Sign out")
        .answer(
            200,
            "The session is ended, the cookies taken away.",
            named("SignedOut", answer([("logout", constant(true))])),
        )
        .header("Set-Cookie", "Both cookies, over.")
}

/// What is sent of an organization.
fn profile<const N: usize, const M: usize>(
    required: [(&str, Value); N],
    optional: [(&str, Value); M],
) -> Value {
    closed(form(required, optional))
}

const FORM_REFUSED: &str =
    "A part is missing, unknown or there twice, or does not do; or the body is not multipart/form-data.";

pub(super) fn create_organization() -> Operation {
    let body = profile(
        [("name", like(name(1), "Makers")), ("image", picture()), ("background_image", picture())],
        [],
    );
    Operation::signed_in("create_organization", "Create an organization")
        .text("Any signed-in user may see and join it.")
        .body(MULTIPART, body)
        .answer(202, "It is made, and the caller its owner.", message())
        .header("Location", "Its path.")
        .refuse(422, FORM_REFUSED)
}

fn on_organization(id: &'static str, summary: &'static str) -> Operation {
    Operation::signed_in(id, summary)
        .path("organization_id", path_number(), "The organization.")
        .refuse(404, "No such organization, or none that the caller may see.")
}

fn people() -> Value {
    list(named("Person", answer([("username", said(text(), "The e-mail address."))])))
}

pub(super) fn fetch_organization() -> Operation {
    let organization = answer([
        ("name", text()),
        ("image", url()),
        ("background_image", url()),
        ("owners", people()),
        ("active_users", people()),
        ("inactive_users", people()),
    ]);
    on_organization("fetch_organization", "Show an organization")
        .text("The three lists are by joining, and empty for one who may not know who belongs.")
        .answer(200, "The organization.", named("Organization", organization))
}

pub(super) fn update_organization() -> Operation {
    let mut body = profile(
        [],
        [("name", like(name(1), "Makers")), ("image", picture()), ("background_image", picture())],
    );
    body["minProperties"] = 1.into();
    body["examples"] = json!([{"name": "Makers"}]);
    on_organization("update_organization", "Change an organization")
        .text("For its owners and admins. At least one part.")
        .body(MULTIPART, body)
        .answer(202, "Done.", message())
        .refuse(403, "The caller is neither owner nor admin, or the organization is archived.")
        .refuse(409, "A public organization of that name is there already.")
        .refuse(422, FORM_REFUSED)
}

pub(super) fn delete_organization() -> Operation {
    on_organization("delete_organization", "Delete an organization")
        .text("For its owners. Memberships, invitations, events and pictures go with it.")
        .answer(200, "Done.", message())
        .refuse(403, "The caller is no owner.")
}

pub(super) fn invite_owners() -> Operation {
    let people = list_of(email(), (1, ADDRESSES_MAX));
    on_organization("invite_owners", "Invite people to be owners")
        .text("For its owners. Each address gets a link that is good once and for an hour.")
        .json(closed(form([("people", people)], [])))
        .answer(200, "The letters are on their way.", message())
        .refuse(403, "The caller is no owner, or the organization is archived.")
        .refuse(422, "`people` is not such a list.")
}

pub(super) fn remove_member() -> Operation {
    let body = closed(form([("username", like(text(), "ada@example.org"))], []));
    on_organization("remove_member", "Remove somebody")
        .text("For its owners. Pending and suspended people can be removed too.")
        .json(body)
        .answer(200, "Done.", message())
        .refuse(403, "The caller is no owner, or the organization is archived.")
        .refuse(404, "They do not belong.")
        .refuse(409, "The last one in charge stays.")
        .refuse(422, "`username` is missing or no text, or a key is unknown.")
}

pub(super) fn join() -> Operation {
    on_organization("join", "Join an organization")
        .answer(200, "The caller is a member now.", message())
        .refuse(403, "It is joined by invitation, or archived.")
        .refuse(409, "A member already.")
}

pub(super) fn leave() -> Operation {
    on_organization("leave", "Leave an organization")
        .answer(200, "The caller has left.", message())
        .refuse(403, "The membership is suspended.")
        .refuse(404, "The caller does not belong.")
        .refuse(409, "The last one in charge stays.")
}

/// A moment. Seconds are whole; the offset may be written with a colon, or `Z`.
fn date() -> Value {
    let year = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])";
    let day =
        "(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)";
    let time = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]";
    let offset = "(?:Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])";
    like(pattern(&format!("^{year}-{day}T{time}{offset}$")), "2026-02-10T22:27:00+0000")
}

fn presenters() -> Value {
    let schema = list_of(email(), (0, ADDRESSES_MAX));
    like(said(schema, "Addresses of members."), json!([]))
}

pub(super) fn create_event() -> Operation {
    let body = form(
        [("name", like(name(1), "Open evening")), ("date", date())],
        [
            ("summary", nullable(free_text(DESCRIPTION_MAX))),
            ("location", nullable(free_text(LOCATION_MAX))),
            ("presenters", presenters()),
        ],
    );
    on_organization("create_event", "Create an event")
        .text("For the owners and admins of its organization.")
        .json(closed(body))
        .answer(202, "It is made.", message())
        .header("Location", "Its path.")
        .refuse(403, "The caller is neither owner nor admin, or the organization is archived.")
        .refuse(
            422,
            "A key is missing, unknown, or has a value that does not do; or a presenter is no member.",
        )
}

fn on_event(id: &'static str, summary: &'static str) -> Operation {
    Operation::signed_in(id, summary)
        .path("event_id", path_number(), "The event.")
        .refuse(404, "No such event, or none that the caller may see.")
}

pub(super) fn fetch_event() -> Operation {
    let event = answer([
        ("name", text()),
        ("date", said(text(), "In UTC, as `2026-02-10T22:27:00+0000`.")),
        ("summary", nullable(text())),
        ("location", nullable(text())),
        ("organization", answer([("id", number()), ("name", text())])),
        ("presenters", people()),
        ("rsvp_list", people()),
    ]);
    on_event("fetch_event", "Show an event")
        .text("The two lists are empty for one who may not know who belongs.")
        .answer(200, "The event.", named("Event", event))
}

pub(super) fn update_event() -> Operation {
    let mut body = closed(form(
        [],
        [
            ("name", like(name(1), "Open evening")),
            ("date", date()),
            ("summary", nullable(free_text(DESCRIPTION_MAX))),
            ("location", nullable(free_text(LOCATION_MAX))),
            ("presenters", presenters()),
        ],
    ));
    body["minProperties"] = 1.into();
    body["examples"] = json!([{"name": "Open evening"}]);
    on_event("update_event", "Change an event")
        .text("For its presenters and the owners and admins of its organization. At least one key; null takes a text away.")
        .json(body)
        .answer(202, "Done.", message())
        .refuse(403, "The caller may not, or the organization is archived.")
        .refuse(422, "A key is unknown or has a value that does not do; or a presenter is no member.")
}

pub(super) fn delete_event() -> Operation {
    on_event("delete_event", "Delete an event")
        .text("For its presenters and the owners and admins of its organization.")
        .answer(200, "Done.", message())
        .refuse(403, "The caller may not, or the organization is archived.")
}

pub(super) fn rsvp() -> Operation {
    on_event("rsvp", "Say that one comes")
        .answer(201, "The caller is on the list.", message())
        .refuse(403, "The caller is no member, or the organization is archived.")
        .refuse(409, "On the list already.")
}

pub(super) fn cancel_rsvp() -> Operation {
    on_event("cancel_rsvp", "Say that one does not come")
        .answer(200, "The caller is not on the list any more.", message())
        .refuse(403, "The caller is no member, or the organization is archived.")
        .refuse(409, "Not on the list.")
}
