//! What buildog's calls are, take and answer.

use guildhall_domain::text::DESCRIPTION_MAX;
use serde_json::{Value, json};

use crate::describe::schema::{
    answer, constant, form, free_text, like, list, name, name_or_blank, named, said, text, time,
};
use crate::describe::{About, Operation};

/// The whole.
pub(super) const ABOUT: About = About {
    name: "buildog",
    title: "buildog: the caller's organizations",
    text: "Lists the organizations of the caller and makes new ones. Calls carry a JWT of this server or of an issuer \
           that its operator trusts. Errors are an object with the key `error`. The organizations' path is there with \
           and without `/api`.",
    scheme: "Bearer",
    challenge: None,
    refusal: |_| named("Error", answer([("error", text())])),
};

fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn user_id() -> Value {
    said(text(), "A UUID; of a trusted issuer's user the issuer's subject.")
}

fn organization() -> Value {
    named(
        "Organization",
        answer([
            ("id", uuid()),
            ("name", text()),
            ("description", text()),
            ("created_by", user_id()),
            ("created_at", time()),
        ]),
    )
}

pub(super) fn list_organizations(id: &'static str) -> Operation {
    Operation::signed_in(id, "List the caller's organizations")
        .answer(200, "All of them, by joining.", list(organization()))
        .refuse(400, "The issuer's token names no user.")
}

pub(super) fn create_organization(id: &'static str) -> Operation {
    let body = form(
        [("organization_name", like(name(1), "Makers"))],
        [("organization_description", like(free_text(DESCRIPTION_MAX), "We make things."))],
    );
    let made = answer([("organization_id", uuid()), ("user_id", user_id()), ("role", constant("owner"))]);
    Operation::signed_in(id, "Create an organization")
        .text(
            "For an owner or admin of any organization, and for one who is a member of none. It is private, and joined by \
             invitation. Unknown keys are ignored.",
        )
        .json(body)
        .answer(201, "It is made, and the caller its owner.", named("Created", made))
        .refuse(400, "The body is not such an object, or the issuer's token names no user.")
        .refuse(403, "The caller is a plain member elsewhere.")
}

pub(super) fn name_oneself() -> Operation {
    let told =
        [("first_name", like(name_or_blank(), "Ada")), ("last_name", like(name_or_blank(), "Lovelace"))];
    let done = answer([("success", constant(true)), ("message", text())]);
    Operation::signed_in("name_oneself", "Set one's own first and last name")
        .text("A key that is absent leaves its name as it is, a blank text takes it away. Unknown keys are ignored.")
        .json(form([], told))
        .answer(200, "They are set; the same when repeated.", named("Done", done))
        .refuse(400, "The body is not such an object, or the issuer's token names no user.")
}
