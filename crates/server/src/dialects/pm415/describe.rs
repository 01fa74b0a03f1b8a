//! What pm415's calls are, take and answer.

use serde_json::{Value, json};

use super::form::{ORGANIZATION_NAME_MIN, USERS_MAX};
use crate::describe::schema::{
    answer, answer_with, any, boolean, closed, constant, email, form, like, list, list_of, name, named,
    new_password, nullable, number, one_of, password, path_number, pattern, said, some_text, text, time, url,
};
use crate::describe::{About, Operation};

/// The whole.
pub(super) const ABOUT: About = About {
    name: "pm415",
    title: "pm415: accounts, organizations, people and invitations",
    text: "Signing up, signing in and out of organizations, their people. `POST /api/account/login` gives a token. Every \
           answer says `success`; errors are `statusCode`, `error`, `message` and `success: false`, and tell the first key \
           that fails. Unknown keys are refused. A slash at the end of a path is optional, as is one more at its \
           beginning.",
    scheme: "Bearer",
    challenge: None,
    refusal,
};

fn refusal(_: u16) -> Value {
    named(
        "Error",
        answer([
            ("statusCode", json!({"type": "integer", "minimum": 400, "maximum": 599})),
            ("error", text()),
            ("message", text()),
            ("success", constant(false)),
        ]),
    )
}

/// An answer that says no more than that it went well, and these.
fn success<const N: usize>(keys: [(&'static str, Value); N]) -> Value {
    let mut schema = answer(keys);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("success".into(), constant(true));
    }
    match schema.get_mut("required").and_then(Value::as_array_mut) {
        Some(required) => required.push("success".into()),
        None => schema["required"] = json!(["success"]),
    }
    schema
}

const FORM_WRONG: &str = "A key is missing, unknown, or has a value that does not do: the first is told.";
const NO_FORM: &str = "The body is neither JSON nor a form.";
const NO_ADMIN: &str = "The caller's address is not confirmed; or they are no admin there, or none that may do this; or \
                        there is no such organization; or it is archived.";

/// A call with a body.
fn with_body(operation: Operation, schema: &Value) -> Operation {
    operation.json_or_form(schema).refuse(400, FORM_WRONG).refuse(415, NO_FORM)
}

fn person_name(example: &str) -> Value {
    like(name(1), example)
}

fn organization_name() -> Value {
    like(name(ORGANIZATION_NAME_MIN), "Makers")
}

pub(super) fn register() -> Operation {
    let mut body = form(
        [
            ("email", email()),
            ("password", new_password()),
            ("confirmation", said(new_password(), "The password once more.")),
            ("firstName", person_name("Ada")),
            ("lastName", person_name("Lovelace")),
            ("tosAccepted", constant("Y")),
        ],
        [
            (
                "organization",
                said(organization_name(), "A new organization, of which the caller becomes owner."),
            ),
            ("token", said(some_text(), "Of an invitation for exactly this address.")),
        ],
    );
    body["oneOf"] = json!([{"required": ["organization"]}, {"required": ["token"]}]);
    with_body(Operation::anyone("register", "Make an account"), &closed(body))
        .text("With a new organization or by an invitation. It can sign in once the link mailed to its address is used.")
        .answer(200, "It is made, and a letter on its way.", named("UserId", success([("userId", number())])))
        .refuse(409, "Another account has the address.")
        .refuse(422, "The invitation is over, or for another address.")
}

fn bad_verification() -> Value {
    named("BadToken", answer([("success", constant(false)), ("message", text())]))
}

fn mailed(operation: Operation) -> Operation {
    operation.query("token", like(text(), "0".repeat(64)), "The token of the mailed link.")
}

pub(super) fn show_verification() -> Operation {
    let good = named("UserId", success([("userId", number())]));
    mailed(Operation::anyone("show_verification", "Look at a link that confirms an address"))
        .text("Changes nothing.")
        .answer(200, "Whether the link is good.", any([good, bad_verification()]))
}

pub(super) fn verify() -> Operation {
    let good = named("Done", success([("userId", number()), ("message", text())]));
    mailed(Operation::anyone("verify", "Confirm an address")).answer(
        200,
        "Confirmed, or the link is not good.",
        any([good, bad_verification()]),
    )
}

fn named_organization() -> Value {
    named("NamedOrganization", answer([("id", number()), ("name", text())]))
}

fn user(organization: Value) -> Value {
    answer([
        ("id", number()),
        ("email", nullable(json!({"type": "string"}))),
        ("firstName", text()),
        ("lastName", text()),
        ("organizations", list(organization)),
    ])
}

pub(super) fn login() -> Operation {
    let body = form(
        [
            ("email", said(like(some_text(), "ada@example.org"), "The address or the username.")),
            ("password", password()),
        ],
        [("token", said(some_text(), "Of an invitation to accept."))],
    );
    let done = success([("token", text()), ("user", named("SignedInUser", user(named_organization())))]);
    with_body(Operation::anyone("login", "Sign in"), &closed(body))
        .answer(200, "A token.", named("SignedIn", done))
        .refuse(401, "A wrong address or password.")
        .refuse(403, "The address is not confirmed yet.")
        .refuse(409, "The invitation is of an organization to which one belongs.")
        .refuse(422, "The invitation is over, or for another address.")
}

pub(super) fn forgot_password() -> Operation {
    with_body(
        Operation::anyone("forgot_password", "Ask for a link to choose a new password"),
        &closed(form([("email", email())], [])),
    )
    .answer(
        200,
        "The same whether there is such an account or not.",
        named("Told", success([("message", text())])),
    )
}

pub(super) fn change_password() -> Operation {
    let body = form(
        [
            ("token", like(some_text(), "0".repeat(64))),
            ("password", new_password()),
            ("confirmation", said(new_password(), "The password once more.")),
        ],
        [],
    );
    let done = named("Done", success([("userId", number()), ("message", text())]));
    with_body(Operation::anyone("change_password", "Choose a new password by a mailed link"), &closed(body))
        .text("Ends every session and key of the account.")
        .answer(200, "It is set.", done)
        .refuse(422, "The link is not good.")
}

const UNCONFIRMED: &str = "The caller's address is not confirmed.";

fn role() -> Value {
    named("Role", answer([("id", number()), ("role", one_of(["Admin", "Member"]))]))
}

fn plain_organization() -> Value {
    named("Organization", answer([("id", number()), ("name", text()), ("roles", list(role()))]))
}

fn dated_organization() -> Value {
    let role = answer([
        ("id", number()),
        ("role", one_of(["Admin", "Member"])),
        ("createdAt", time()),
        ("updatedAt", time()),
    ]);
    named(
        "DatedOrganization",
        answer([
            ("id", number()),
            ("name", text()),
            ("createdAt", time()),
            ("updatedAt", time()),
            ("roles", list(named("DatedRole", role))),
        ]),
    )
}

pub(super) fn show_user() -> Operation {
    let body = answer_with(
        [("success", constant(true)), ("user", named("User", user(plain_organization())))],
        [(
            "organization",
            said(plain_organization(), "The one that the token is for; absent where it is for none."),
        )],
    );
    Operation::signed_in("show_user", "Show the caller")
        .answer(200, "The caller.", named("Caller", body))
        .refuse(403, UNCONFIRMED)
}

pub(super) fn list_user_organizations() -> Operation {
    let one = answer([("orgId", number()), ("name", text()), ("role", one_of(["Admin", "Member"]))]);
    let body = success([("organizations", list(named("OrganizationAndRole", one)))]);
    Operation::signed_in("list_user_organizations", "List the caller's organizations and roles")
        .answer(200, "By joining.", named("OrganizationsAndRoles", body))
        .refuse(403, UNCONFIRMED)
}

pub(super) fn show_api_key() -> Operation {
    let ending = said(
        nullable(json!({"type": "string"})),
        "`…` and the key's last four characters; null without one.",
    );
    Operation::signed_in("show_api_key", "Show how one's API key ends")
        .answer(200, "Its end.", named("ApiKeyEnding", success([("apikey", ending)])))
        .refuse(403, UNCONFIRMED)
}

pub(super) fn replace_api_key() -> Operation {
    let key = said(pattern("^[0-9a-f]{64}$"), "Shown this once.");
    Operation::signed_in("replace_api_key", "Make a new API key")
        .text("The earlier one ends.")
        .answer(200, "The key.", named("ApiKey", success([("apiKey", key)])))
        .refuse(403, UNCONFIRMED)
}

pub(super) fn create_organization() -> Operation {
    let organization =
        answer([("name", text()), ("updated_at", time()), ("created_at", time()), ("id", number())]);
    let user = answer([
        ("id", number()),
        ("email", nullable(json!({"type": "string"}))),
        ("password", constant("[redacted]")),
        ("firstName", text()),
        ("lastName", text()),
        ("isActive", json!({"enum": [0, 1]})),
        ("confirmedAt", nullable(time())),
        ("createdAt", time()),
        ("updatedAt", time()),
        ("apiKey", constant("[redacted]")),
        ("organizations", list(dated_organization())),
    ]);
    let body = success([("organization", organization), ("user", user)]);
    with_body(
        Operation::signed_in("create_organization", "Create an organization"),
        &closed(form([("name", organization_name())], [])),
    )
    .text("It is private, and joined by invitation.")
    .answer(200, "It is made, and the caller its owner; `user` is as before.", named("Created", body))
    .refuse(403, UNCONFIRMED)
    .refuse(409, "The caller belongs to one of that name.")
}

pub(super) fn list_organizations() -> Operation {
    let body = answer_with(
        [("success", constant(true)), ("organizations", list(dated_organization()))],
        [("current", said(dated_organization(), "The one that the token is for, for an API key the first."))],
    );
    Operation::signed_in("list_organizations", "List the caller's organizations")
        .answer(200, "By joining.", named("Organizations", body))
        .refuse(403, UNCONFIRMED)
}

pub(super) fn show_invitation() -> Operation {
    let body = success([("email", text()), ("organization", text())]);
    Operation::anyone("show_invitation", "Look at an invitation")
        .text("Changes nothing.")
        .needed_query(
            "token",
            like(pattern("^[0-9a-f]{64}$"), "0".repeat(64)),
            "The token of the mailed link.",
        )
        .answer(200, "It can be accepted.", named("Invitation", body))
        .refuse(422, "No token, or one that is over.")
}

fn on_organization(operation: Operation) -> Operation {
    operation.path("orgid", path_number(), "The organization.")
}

fn changed() -> Value {
    named("Changed", success([("organization", number())]))
}

pub(super) fn switch() -> Operation {
    let body = success([("organization", number()), ("token", text())]);
    on_organization(Operation::signed_in("switch_organization", "Get a token for another organization"))
        .text("The earlier token stays good until it ends.")
        .answer(200, "The token.", named("Switched", body))
        .refuse(403, UNCONFIRMED)
        .refuse(404, "No such organization, or the caller is no member.")
}

pub(super) fn update_organization() -> Operation {
    with_body(
        on_organization(Operation::signed_in("update_organization", "Rename an organization")),
        &closed(form([("name", organization_name())], [])),
    )
    .text("For its admins.")
    .answer(200, "Done.", changed())
    .refuse(403, NO_ADMIN)
    .refuse(409, "The caller belongs to one of that name, or a public one has it.")
}

pub(super) fn delete_organization() -> Operation {
    on_organization(Operation::signed_in("delete_organization", "Delete an organization"))
        .text("For its owners.")
        .answer(200, "Done.", named("Success", success([])))
        .refuse(403, NO_ADMIN)
}

pub(super) fn list_users() -> Operation {
    let person = answer([
        ("userId", number()),
        ("email", nullable(json!({"type": "string"}))),
        ("firstName", text()),
        ("lastName", text()),
        ("isActive", json!({"enum": [0, 1]})),
        ("role", one_of(["Admin", "Member", "Pending"])),
    ]);
    let body = success([("users", list(named("Person", person)))]);
    on_organization(Operation::signed_in("list_users", "List the people of an organization"))
        .text("For its members.")
        .answer(200, "By joining.", named("People", body))
        .refuse(
            403,
            "The caller's address is not confirmed, they are no member, or there is no such organization.",
        )
}

pub(super) fn invite() -> Operation {
    let flag = any([boolean(), pattern("^(?:[tT][rR][uU][eE]|[fF][aA][lL][sS][eE])$")]);
    let body =
        form([("email", email())], [("send", said(flag, "Whether to mail the link; true where absent."))]);
    with_body(
        on_organization(Operation::signed_in("invite", "Invite somebody to be a member")),
        &closed(body),
    )
    .text("For its admins. Asked again for the same address, the earlier link ends. Good once, within a day.")
    .answer(200, "The link.", named("InvitationLink", success([("confirmUrl", url())])))
    .refuse(403, NO_ADMIN)
    .refuse(409, "They belong already.")
}

/// A call about people of an organization. Only JSON can say a list of one.
fn on_users(id: &'static str, summary: &'static str) -> Operation {
    let user = any([json!({"type": "number"}), pattern("^-?[0-9]+$")]);
    let users = like(list_of(user, (1, USERS_MAX)), json!([1]));
    on_organization(Operation::signed_in(id, summary))
        .json(closed(form([("usersId", users)], [])))
        .answer(200, "Done.", named("Success", success([])))
        .refuse(400, FORM_WRONG)
        .refuse(403, NO_ADMIN)
        .refuse(415, NO_FORM)
}

pub(super) fn remove_users() -> Operation {
    on_users("remove_users", "Remove people, or leave")
        .text(
            "For its admins; oneself alone for everybody. All or nobody; who does not belong is passed over.",
        )
        .refuse(409, "The last one in charge stays.")
}

pub(super) fn grant() -> Operation {
    on_users("grant_admin", "Make people admins")
        .text("For its admins. All or nobody; who does not belong is passed over.")
}

pub(super) fn revoke() -> Operation {
    on_users("revoke_admin", "Make people plain members")
        .text("For its admins; makes members of pending people too. All or nobody; who does not belong is passed over.")
        .refuse(409, "The last one in charge stays.")
}

pub(super) fn reset_passwords() -> Operation {
    on_users("reset_passwords", "Mail people a link to choose a new password")
        .text("For its admins. The old password works until the link is used.")
}
