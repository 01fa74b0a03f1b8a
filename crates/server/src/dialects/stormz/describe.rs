//! What stormz's calls are, take and answer.

use serde_json::{Value, json};

use crate::describe::schema::{
    answer, answer_with, at_least, boolean, constant, form, like, list, name, named, nullable, number,
    one_of, open_form, password, pattern, picture, said, some_text, text, time, url, visible_text,
};
use crate::describe::{About, FORM, JSON, MULTIPART, Operation};

/// The whole.
pub(super) const ABOUT: About = About {
    name: "stormz",
    title: "stormz: organizations, members and avatars",
    text: "Organizations for their members: looking, renaming, the avatar, who belongs. `POST /oauth/token` gives a token \
           for a password. Errors are an object with the key `message`; the token endpoint's are those of RFC 6749. A \
           slash at the end of a path is optional.",
    scheme: "Bearer",
    challenge: Some("`Bearer`."),
    refusal: |_| named("Error", answer([("message", text())])),
};

/// The id of a thing, in either case where a path names it.
fn id() -> Value {
    like(pattern("^[0-9a-fA-F]{24}$"), "5007d396eb7abf319a000047")
}

fn plan() -> Value {
    named("Plan", answer([("name", text()), ("workshops_max_attendees", at_least(0))]))
}

fn organization() -> Value {
    named("Organization", answer([("id", id()), ("name", text()), ("avatar_url", url()), ("plan", plan())]))
}

fn member() -> Value {
    let email = nullable(json!({"type": "string"}));
    named("Member", answer([("id", id()), ("email", email), ("name", text()), ("avatar_url", url())]))
}

pub(super) fn token() -> Operation {
    let refusal = answer_with([("error", text())], [("error_description", text())]);
    let refusal = named("OAuthError", refusal);
    let token = answer([
        ("access_token", text()),
        ("token_type", constant("bearer")),
        ("expires_in", said(number(), "In seconds.")),
        ("scope", one_of(["read", "write", "read write"])),
    ]);
    let body = form(
        [
            ("grant_type", constant("password")),
            ("username", like(some_text(), "ada@example.org")),
            ("password", password()),
        ],
        [
            (
                "scope",
                said(
                    pattern("^(?:(?:read|write)(?: (?:read|write))*)?$"),
                    "`read`, `write`, or both, which is also meant where it is absent. `write` may read.",
                ),
            ),
            (
                "client_id",
                said(text(), "Asked for only where clients are configured; HTTP Basic does as well."),
            ),
            ("client_secret", text()),
        ],
    );
    Operation::anyone("create_token", "Get a token for a password")
        .body(FORM, open_form(body.clone()))
        .body(JSON, body)
        .answer(200, "A token.", named("Token", token))
        .answer(400, "Refused as RFC 6749 has it: `invalid_grant` for a wrong password.", refusal.clone())
        .answer(401, "Clients are configured, and this is none of them.", refusal)
        .header("WWW-Authenticate", "`Basic`.")
}

pub(super) fn me() -> Operation {
    let user = answer([
        ("id", id()),
        ("email", nullable(json!({"type": "string"}))),
        ("name", text()),
        ("avatar_url", url()),
        ("plan", plan()),
        ("admin", said(boolean(), "Whether an operator of this server.")),
        ("created_at", time()),
        ("confirmed_at", nullable(time())),
        ("updated_at", time()),
    ]);
    Operation::signed_in("get_me", "Show the caller").answer(200, "The caller.", named("User", user))
}

/// The two keys of a query by which a list comes in pages.
fn paged(operation: Operation) -> Operation {
    operation
        .query("page", at_least(1), "Which page, from 1.")
        .query(
            "per_page",
            at_least(1),
            "How many on a page: 30 where only `page` is given, never more than 100.",
        )
        .text("Whole where neither `page` nor `per_page` is given.")
        .refuse(422, "`page` or `per_page` is no positive number.")
}

pub(super) fn my_organizations() -> Operation {
    paged(Operation::signed_in("list_my_organizations", "List the caller's organizations"))
        .answer(200, "By joining.", list(organization()))
        .header("Link", "Other pages, where there are any.")
}

fn on_organization(id_: &'static str, summary: &'static str) -> Operation {
    Operation::signed_in(id_, summary)
        .path(
            "id",
            id(),
            "The organization, by an id from `/v1/user/me/organizations`: that in the example is nobody's.",
        )
        .refuse(404, "No such organization, or the caller is no member.")
}

pub(super) fn get() -> Operation {
    on_organization("get_organization", "Show an organization").answer(
        200,
        "The organization.",
        organization(),
    )
}

pub(super) fn update() -> Operation {
    on_organization("update_organization", "Rename an organization")
        .text("For its admins. Other keys are ignored; without `name` nothing is changed.")
        .json(form([], [("name", like(name(1), "Makers"))]))
        .empty(204, "Done.")
        .refuse(403, "The caller is no admin, or the organization is archived.")
        .refuse(409, "A public organization of that name is there already.")
        .refuse(415, "The body is not sent as JSON.")
        .refuse(422, "`name` is no name.")
}

pub(super) fn put_avatar() -> Operation {
    on_organization("put_avatar", "Set or remove an organization's avatar")
        .text("For its admins. A form without the part `avatar` removes it.")
        .body(MULTIPART, open_form(form([], [("avatar", picture())])))
        .empty(204, "Done.")
        .refuse(403, "The caller is no admin, or the organization is archived.")
        .refuse(415, "The body is not multipart/form-data.")
        .refuse(422, "`avatar` is not such a picture.")
}

pub(super) fn list_members() -> Operation {
    paged(on_organization("list_members", "List the members of an organization"))
        .answer(200, "By joining.", list(member()))
        .header("Link", "Other pages, where there are any.")
}

pub(super) fn add_member() -> Operation {
    let body = form(
        [("email", like(visible_text(), "ada@example.org")), ("role", one_of(["facilitator", "admin"]))],
        [],
    );
    on_organization("add_member", "Add somebody who has an account")
        .text("For its admins. Unknown keys are ignored.")
        .json(body)
        .answer(201, "The new member.", member())
        .refuse(403, "The caller is no admin, or the organization is archived.")
        .refuse(404, "Nobody has that address.")
        .refuse(409, "A member already.")
        .refuse(415, "The body is not sent as JSON.")
        .refuse(422, "A key is missing, blank, or of another kind.")
}

pub(super) fn remove_member() -> Operation {
    on_organization("remove_member", "Remove a member, or leave")
        .text("For its admins; oneself for everybody.")
        .path("user", id(), "The member.")
        .empty(204, "Done.")
        .refuse(403, "The caller is no admin, or the organization is archived.")
        .refuse(404, "No such member.")
        .refuse(409, "The last admin stays.")
}
