//! How each call is made so that nothing but the caller's right is in its way.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use serde_json::json;

use super::scene::{Place, Scene};
use crate::harness::{Call, PASSWORD, call};

/// In what a call can differ from the usual one: whom it names, who makes it, what it changes.
pub(super) const AN_OWNER: &str = "an owner";
pub(super) const ONESELF: &str = "oneself";
pub(super) const PRESENTER: &str = "by a presenter";
const ARCHIVE: &str = "archive";
const UNARCHIVE: &str = "unarchive";

/// In what ways a call is tried besides the usual one.
pub(crate) fn variants(method: &str, path: &str) -> &'static [&'static str] {
    match (method, path) {
        ("PATCH", "/api/v1/organizations/{slug}/") => &["", ARCHIVE, UNARCHIVE],
        ("PATCH" | "DELETE", "/api/v1/organizations/{slug}/users/{username}/")
        | ("POST", "/api/org/{orgid}/users/remove")
        | ("DELETE", "/organizations/{organization_id}/remove" | "/v1/organizations/{id}/members/{user}") => {
            &["", AN_OWNER, ONESELF]
        }
        (
            "PUT",
            "/api/org/{orgid}/admin/grant"
            | "/api/org/{orgid}/admin/revoke"
            | "/api/org/{orgid}/admin/resetpassword",
        ) => &["", AN_OWNER],
        ("PUT" | "DELETE", "/events/{event_id}") => &["", PRESENTER],
        _ => &[""],
    }
}

/// The call, or nothing where nobody wrote down how it is made.
pub(crate) fn of(
    dialect: &str,
    (method, path): (&str, &str),
    scene: &Scene<'_>,
    variant: &str,
) -> Option<Call> {
    let call = call(method, &filled(path, &scene.place));
    let route = (method, path);
    match dialect {
        "bit" => bit(call, route, scene),
        "buildog" => buildog(call, route, scene),
        "cadasta" => cadasta(call, route, scene, variant),
        "pm415" => pm415_account(call.clone(), route, scene).or_else(|| pm415(call, route, scene)),
        "stormz" => stormz(call, route, scene),
        _ => None,
    }
}

/// The path with what the scene's place is called.
fn filled(path: &str, place: &Place) -> String {
    [
        ("{type}", "Student"),
        ("{organization_id}", &place.number),
        ("{orgid}", &place.number),
        ("{id}", &place.short),
        ("{slug}", &place.slug),
        ("{event_id}", &place.event),
        ("{username}", &place.member.username),
        ("{user}", &place.member.short),
    ]
    .into_iter()
    .fold(path.to_owned(), |path, (name, value)| path.replace(name, value))
}

fn bit(call: Call, route: (&str, &str), scene: &Scene<'_>) -> Option<Call> {
    let Scene { place, serial, guest, .. } = scene;
    let name = format!("Pot {serial}");
    Some(match route {
        ("POST", "/users/{type}/create") => call.json(json!({
            "name": "New", "username": format!("new{serial}@example.com"), "password": PASSWORD,
            "location": "Here", "image": "none",
        })),
        ("POST", "/user/login") => call.json(json!({"username": guest.email, "password": PASSWORD})),
        ("POST", "/organizations/create") => {
            let picture = picture();
            call.multipart(&[
                ("name", None, name.as_bytes()),
                ("image", Some("a.png"), &picture),
                ("background_image", Some("b.png"), &picture),
            ])
        }
        ("PUT", "/organizations/{organization_id}") => call.multipart(&[("name", None, name.as_bytes())]),
        ("PUT", "/organizations/{organization_id}/invite") => call.json(json!({"people": [guest.email]})),
        ("DELETE", "/organizations/{organization_id}/remove") => {
            call.json(json!({"username": place.member.email}))
        }
        ("POST", "/organizations/{organization_id}/events/create") => call.json(json!({
            "name": "Feast", "date": "2026-02-10T22:27:00+0000", "presenters": [place.member.email],
        })),
        ("PUT", "/events/{event_id}") => call.json(json!({"presenters": [place.member.email]})),
        ("DELETE", "/user/logout")
        | ("GET" | "DELETE", "/organizations/{organization_id}" | "/events/{event_id}")
        | ("PUT" | "DELETE", "/organizations/{organization_id}/membership" | "/events/{event_id}/rsvp") => {
            call
        }
        _ => return None,
    })
}

fn picture() -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(1, 1).write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

fn buildog(call: Call, route: (&str, &str), scene: &Scene<'_>) -> Option<Call> {
    Some(match route {
        ("GET", "/api/organizations" | "/organizations") => call,
        ("POST", "/api/organizations" | "/organizations") => {
            call.json(json!({"organization_name": format!("Dog {}", scene.serial)}))
        }
        ("POST", "/api/users") => call.json(json!({"first_name": "Ada", "last_name": "Lund"})),
        _ => return None,
    })
}

fn cadasta(call: Call, route: (&str, &str), scene: &Scene<'_>, variant: &str) -> Option<Call> {
    let Scene { serial, guest, .. } = scene;
    Some(match route {
        ("POST", "/api/v1/account/register/") => call.json(json!({
            "username": format!("new{serial}"), "email": format!("new{serial}@example.com"), "password": PASSWORD,
        })),
        ("POST", "/api/v1/account/login/") => {
            call.json(json!({"username": guest.username, "password": PASSWORD}))
        }
        ("PATCH", "/api/v1/account/") => call.json(json!({"full_name": "Ada Lund"})),
        ("POST", "/api/v1/organizations/") => call.json(json!({"name": format!("Map {serial}")})),
        ("PATCH" | "PUT", "/api/v1/organizations/{slug}/") => call.json(match variant {
            ARCHIVE => json!({"archived": true}),
            UNARCHIVE => json!({"archived": false}),
            _ => json!({"name": format!("Map {serial}")}),
        }),
        ("POST", "/api/v1/organizations/{slug}/users/") => call.json(json!({"username": guest.username})),
        ("PATCH", "/api/v1/organizations/{slug}/users/{username}/") => {
            // What changes something: a member is made an admin, an admin or owner a member.
            call.json(json!({"admin": variant.is_empty()}))
        }
        ("POST", "/api/v1/account/logout/")
        | ("GET", "/api/v1/account/" | "/api/v1/organizations/" | "/api/v1/organizations/{slug}/")
        | ("GET", "/api/v1/organizations/{slug}/users/")
        | ("GET" | "DELETE", "/api/v1/organizations/{slug}/users/{username}/") => call,
        _ => return None,
    })
}

fn pm415_account(plain: Call, (method, path): (&str, &str), scene: &Scene<'_>) -> Option<Call> {
    let Scene { serial, guest, link, .. } = scene;
    Some(match (method, path) {
        ("POST", "/api/account/register") => plain.json(json!({
            "email": format!("new{serial}@example.com"), "password": PASSWORD, "confirmation": PASSWORD,
            "firstName": "Ada", "lastName": "Lund", "tosAccepted": "Y", "organization": format!("New {serial}"),
        })),
        ("GET" | "POST", "/api/account/verify") | ("GET", "/api/org/invite") => {
            call(method, &format!("{path}?token={link}"))
        }
        ("POST", "/api/account/login") => plain.json(json!({"email": guest.email, "password": PASSWORD})),
        ("POST", "/api/account/forgotpassword") => plain.json(json!({"email": guest.email})),
        ("POST", "/api/account/changepassword") => {
            plain.json(json!({"token": link, "password": PASSWORD, "confirmation": PASSWORD}))
        }
        ("GET", "/api/user" | "/api/user/orgs") | ("GET" | "POST", "/api/user/apikey") => plain,
        _ => return None,
    })
}

fn pm415(call: Call, route: (&str, &str), scene: &Scene<'_>) -> Option<Call> {
    let Scene { serial, guest, place, .. } = scene;
    Some(match route {
        ("POST", "/api/org") | ("PUT", "/api/org/{orgid}") => {
            call.json(json!({"name": format!("Log {serial}")}))
        }
        ("POST", "/api/org/{orgid}/invitelink") => call.json(json!({"email": guest.email})),
        ("POST", "/api/org/{orgid}/users/remove")
        | (
            "PUT",
            "/api/org/{orgid}/admin/grant"
            | "/api/org/{orgid}/admin/revoke"
            | "/api/org/{orgid}/admin/resetpassword",
        ) => call.json(json!({"usersId": [place.member.number]})),
        ("GET", "/api/org" | "/api/org/{orgid}/users")
        | ("POST", "/api/org/switch/{orgid}")
        | ("DELETE", "/api/org/{orgid}") => call,
        _ => return None,
    })
}

fn stormz(call: Call, route: (&str, &str), scene: &Scene<'_>) -> Option<Call> {
    let Scene { serial, guest, .. } = scene;
    Some(match route {
        ("POST", "/oauth/token") => call.form(&[
            ("grant_type", "password"),
            ("username", guest.email.as_str()),
            ("password", PASSWORD),
        ]),
        ("PUT", "/v1/organizations/{id}") => call.json(json!({"name": format!("Wind {serial}")})),
        ("PUT", "/v1/organizations/{id}/avatar") => call.multipart(&[("avatar", Some("a.png"), &picture())]),
        ("POST", "/v1/organizations/{id}/members") => {
            call.json(json!({"email": guest.email, "role": "facilitator"}))
        }
        ("GET", "/v1/user/me" | "/v1/user/me/organizations")
        | ("GET", "/v1/organizations/{id}" | "/v1/organizations/{id}/members")
        | ("DELETE", "/v1/organizations/{id}/members/{user}") => call,
        _ => return None,
    })
}
