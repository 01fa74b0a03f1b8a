//! What cadasta's calls are, take and answer.

use guildhall_domain::text::{DESCRIPTION_MAX, SLUG_MAX};
use serde_json::{Value, json};

use super::contacts::{ELEMENTS_MAX, TEXTS};
use super::listing::{LIMIT_MAX, SEARCH_MAX};
use super::organizations::URL_MAX;
use crate::describe::schema::{
    answer, answer_with, any, blank, boolean, email, form, free_text, like, list, list_of, name,
    name_or_blank, named, new_password, nullable, password, pattern, said, some_text, text, time,
    visible_text,
};
use crate::describe::{About, Operation};

/// The whole.
pub(super) const ABOUT: About = About {
    name: "cadasta",
    title: "cadasta: accounts, organizations and their members",
    text: "Organizations that anyone may see, told by their slugs. `POST /api/v1/account/login/` gives a key, which calls \
           carry as `Authorization: Token …`. Errors are an object with the key `detail`, or with a list of texts for each \
           field that is wrong. The slash at the end of a path is optional.",
    scheme: "Token",
    challenge: Some("`Token`."),
    refusal,
};

fn refusal(status: u16) -> Value {
    let detail = named("Error", answer([("detail", text())]));
    let fields = json!({
        "title": "FieldErrors",
        "type": "object",
        "description": "By field what is wrong with it; of contacts an object for each that fails.",
        "minProperties": 1,
        "properties": {"detail": false},
        "additionalProperties": {"type": "array", "items": {"type": ["string", "object"]}, "minItems": 1},
    });
    if status == 400 { any([detail, fields]) } else { detail }
}

const FIELDS_WRONG: &str = "A field is missing or has a value that does not do: every such field is told.";
const NO_JSON: &str = "The body is neither JSON nor a form.";

/// True or false, also as forms say it.
fn flag() -> Value {
    let words = ["t", "T", "true", "True", "TRUE", "1", "f", "F", "false", "False", "FALSE", "0"];
    let mut values = vec![json!(true), json!(false), json!(1), json!(0)];
    values.extend(words.map(Value::from));
    json!({"enum": values, "description": "True or false."})
}

/// Letters here are those of every script; what a pattern can say is which other signs there are.
fn username() -> Value {
    let told = "1 to 30 letters, digits and `@ . + - _`; not `add` or `new`.";
    let mut schema = like(said(pattern(r"^[\p{L}\p{Nd}@.+_-]{1,30}$"), told), "ada");
    schema["not"] = pattern("^(?:[aA][dD][dD]|[nN][eE][wW]|[uU][sS][eE][rR]-[0-9a-fA-F]{24})$");
    schema
}

fn person() -> [(&'static str, Value); 5] {
    [
        ("username", text()),
        ("full_name", text()),
        ("email", text()),
        ("email_verified", boolean()),
        ("last_login", nullable(time())),
    ]
}

fn user() -> Value {
    named("User", answer(person()))
}

fn member() -> Value {
    let [username, full_name, email, email_verified, last_login] = person();
    let keys = [username, full_name, email, email_verified, last_login, ("admin", boolean())];
    named("Member", answer(keys))
}

pub(super) fn register() -> Operation {
    let body = form(
        [("username", username()), ("email", email()), ("password", new_password())],
        [("full_name", nullable(name_or_blank()))],
    );
    let made = answer([
        ("username", text()),
        ("full_name", text()),
        ("email", text()),
        ("email_verified", boolean()),
    ]);
    Operation::anyone("register", "Make an account")
        .text("It can sign in once the link mailed to its address is used. Unknown keys are ignored.")
        .json_or_form(&body)
        .answer(201, "It is made, and a letter on its way.", named("Registered", made))
        .refuse(400, FIELDS_WRONG)
        .refuse(415, NO_JSON)
}

pub(super) fn login() -> Operation {
    let body = form([("username", like(some_text(), "ada")), ("password", password())], []);
    Operation::anyone("login", "Sign in")
        .text("By username or e-mail address. Earlier keys stay good.")
        .json_or_form(&body)
        .answer(200, "A new key.", named("Key", answer([("auth_token", pattern("^[0-9a-f]{40}$"))])))
        .refuse(400, "A wrong username or password, or the address is not confirmed yet: then it is mailed a new link.")
        .refuse(415, NO_JSON)
}

pub(super) fn logout() -> Operation {
    Operation::signed_in("logout", "Sign out").empty(200, "The key is dead.")
}

pub(super) fn show_account() -> Operation {
    Operation::signed_in("show_account", "Show one's account").answer(200, "The account.", user())
}

pub(super) fn update_account() -> Operation {
    let mut body =
        form([], [("username", username()), ("full_name", nullable(name_or_blank())), ("email", email())]);
    body["examples"] = json!([{"full_name": "Ada King"}]);
    Operation::signed_in("update_account", "Change one's account")
        .text("Absent keys stay. A new address counts once the link mailed to it is used.")
        .json(body)
        .body_optional()
        .answer(200, "The account as it is now.", user())
        .refuse(400, FIELDS_WRONG)
        .refuse(415, NO_JSON)
}

/// A url of an organization or a contact.
fn page() -> Value {
    let host = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z][a-z0-9]*";
    let shape = format!(r"^https?://{host}(?::[1-9][0-9]{{0,3}})?(?:[/?#][!-~]*)?$");
    let told = "An http or https URL; host names of other scripts do as well.";
    like(said(pattern(&shape), told), "https://example.org/")
}

fn contact() -> Value {
    let mut properties = json!({
        "name": visible_text(),
        "email": any([email(), blank(), json!({"type": "null"})]),
        "tel": nullable(text()),
        "url": any([page(), blank()]),
    });
    for key in TEXTS {
        properties[key] = text();
    }
    json!({
        "title": "Contact",
        "type": "object",
        "description": "A name, and an e-mail address or a telephone number. Further keys are kept.",
        "properties": properties,
        "required": ["name"],
        "anyOf": [
            {"required": ["email"], "properties": {"email": {"type": "string", "format": "email"}}},
            {"required": ["tel"], "properties": {"tel": visible_text()}},
        ],
        "examples": [{"name": "Ada Lovelace", "email": "ada@example.org"}],
    })
}

/// What can be said of an organization besides its name.
fn profile() -> [(&'static str, Value); 4] {
    let mut urls = page();
    urls["maxLength"] = URL_MAX.into();
    let contacts = list_of(contact(), (0, ELEMENTS_MAX));
    [
        ("description", nullable(free_text(DESCRIPTION_MAX))),
        ("archived", flag()),
        ("urls", nullable(list_of(urls, (0, ELEMENTS_MAX)))),
        ("contacts", any([contacts, contact(), json!({"type": "null"})])),
    ]
}

fn organization_name() -> Value {
    let mut schema = like(name(1), "Makers");
    // Slugs drop what is neither letter nor digit, so this says what matters and not all.
    schema["not"] = pattern("^\\W*(?:[aA][dD][dD]|[nN][eE][wW])\\W*$");
    schema
}

fn shown() -> [(&'static str, Value); 7] {
    [
        ("id", pattern("^[a-km-np-z2-9]{24}$")),
        ("slug", json!({"type": "string", "minLength": 1, "maxLength": SLUG_MAX})),
        ("name", text()),
        ("description", nullable(text())),
        ("archived", boolean()),
        ("urls", list(text())),
        (
            "contacts",
            list(like(
                json!({"type": "object"}),
                json!({"name": "Ada Lovelace", "email": "ada@example.org"}),
            )),
        ),
    ]
}

/// An organization with its members for one of them, else without.
fn organization() -> Value {
    let users = said(list(user()), "Its members, by joining; absent to one who is none.");
    named("Organization", answer_with(shown(), [("users", users)]))
}

pub(super) fn list_organizations() -> Operation {
    let one = named("ListedOrganization", answer(shown()));
    let whole = |least, most: usize| json!({"type": "integer", "minimum": least, "maximum": most});
    Operation::either("list_organizations", "List the organizations that the caller may see")
        .text("By name. Whole where neither `limit` nor `offset` is given.")
        .query("archived", text(), "`true` for archived ones alone, `false` for others alone.")
        .query(
            "search",
            json!({"type": "string", "maxLength": SEARCH_MAX}),
            "Words that all stand in name or description.",
        )
        .query(
            "ordering",
            text(),
            "`name` or `description` (its first 200 characters), with `-` before it from the end; several with commas.",
        )
        .query("permissions", text(), "What the caller may do there, as `org.update`; several with commas.")
        .query("limit", whole(1, LIMIT_MAX), "The most that are answered; 100 where only `offset` is given.")
        .query("offset", json!({"type": "integer", "minimum": 0}), "How many to pass over.")
        .answer(200, "The organizations.", list(one))
        .header("Link", "Other parts, where a part was asked for.")
        .refuse(400, "`limit`, `offset` or `search` does not do.")
}

pub(super) fn create_organization() -> Operation {
    let [description, archived, urls, contacts] = profile();
    let body = form([("name", organization_name())], [description, archived, urls, contacts]);
    Operation::signed_in("create_organization", "Create an organization")
        .text("Anyone may see it; it is joined by invitation. Unknown keys are ignored.")
        .json(body)
        .answer(201, "It is made, and the caller its owner.", organization())
        .refuse(400, FIELDS_WRONG)
        .refuse(415, NO_JSON)
}

fn slug() -> Value {
    like(some_text(), "makers")
}

fn on_organization(id: &'static str, summary: &'static str) -> Operation {
    Operation::either(id, summary)
        .path("slug", slug(), "The organization.")
        .refuse(404, "No such organization, or none that the caller may see.")
}

pub(super) fn show_organization() -> Operation {
    on_organization("show_organization", "Show an organization").answer(
        200,
        "The organization.",
        organization(),
    )
}

fn change(operation: Operation) -> Operation {
    operation
        .answer(200, "The organization as it is now.", organization())
        .refuse(400, FIELDS_WRONG)
        .refuse(403, "The caller is no admin, or the organization is archived.")
        .refuse(415, NO_JSON)
}

pub(super) fn update_organization() -> Operation {
    let [description, archived, urls, contacts] = profile();
    let mut body = form([], [("name", organization_name()), description, archived, urls, contacts]);
    body["examples"] = json!([{"description": "We make things."}]);
    change(on_organization("update_organization", "Change an organization"))
        .text("For its admins. Absent keys stay, null clears what is optional. `archived` alone brings back an archived one.")
        .json(body)
        .body_optional()
}

pub(super) fn replace_organization() -> Operation {
    let [description, archived, urls, contacts] = profile();
    let body = form([("name", organization_name())], [description, archived, urls, contacts]);
    change(on_organization("replace_organization", "Change an organization, its name included"))
        .text("As PATCH, with `name` required: absent keys stay all the same.")
        .json(body)
}

pub(super) fn list_members() -> Operation {
    on_organization("list_members", "List the members of an organization")
        .answer(200, "By joining.", list(member()))
        .refuse(403, "The caller is no member.")
}

pub(super) fn add_member() -> Operation {
    let body = form([("username", like(visible_text(), "ada"))], [("admin", flag())]);
    on_organization("add_member", "Add somebody who has an account")
        .text("For its admins. By username or e-mail address. Unknown keys are ignored.")
        .json(body)
        .answer(201, "The new member.", member())
        .refuse(400, "Nobody is called so, or they are a member already; or a field does not do.")
        .refuse(403, "The caller is no admin, or the organization is archived.")
        .refuse(415, NO_JSON)
}

fn on_member(id: &'static str, summary: &'static str) -> Operation {
    on_organization(id, summary)
        .path("username", like(some_text(), "ada"), "The member, by username or e-mail address.")
        .refuse(404, "No such member.")
}

pub(super) fn show_member() -> Operation {
    on_member("show_member", "Show a member")
        .answer(200, "The member.", member())
        .refuse(403, "The caller is no member.")
}

pub(super) fn update_member() -> Operation {
    on_member("update_member", "Make a member an admin, or not")
        .text("For its admins, of others alone.")
        .json(like(form([], [("admin", flag())]), json!({"admin": true})))
        .body_optional()
        .answer(200, "The member as they are now.", member())
        .refuse(400, "`admin` is neither true nor false, or the caller's own.")
        .refuse(403, "The caller is no admin, or the organization is archived.")
        .refuse(415, NO_JSON)
}

pub(super) fn remove_member() -> Operation {
    on_member("remove_member", "Remove a member")
        .text("For its admins, of others alone.")
        .empty(204, "Done.")
        .refuse(403, "The caller is no admin, would remove themself, or the organization is archived.")
}
