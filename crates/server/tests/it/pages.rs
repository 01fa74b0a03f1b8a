//! The pages behind mail links: whole, safe, escaped, and each with the form its reader needs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::path::Path;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use guildhall::mail::letters::InvitedAs;
use guildhall::pages::{Confirm, Invitation, Invite, Page, Reset, Why, field, render};
use http_body_util::BodyExt;

use crate::harness::{House, get};

const TOKEN: &str = "0123456789abcdef";
const EMAIL: &str = "grace@example.org";
/// As long as a name may be, and without a place to break it.
const LONG: &str = concat!(
    "Donaudampfschifffahrtselektrizitaetenhauptbetriebswerk",
    "bauunterbeamtengesellschaftundfreundederhistorischen",
    "schaufelraddampferaufdemoberendonaulaufzwischenpassauund",
    "wienmitsitzinlinzanderdonauevvv"
);
const RETURN_TO: &str = "https://app.example.org/";

const INVITATION: Invitation<'static> = Invitation {
    organization: "Tea & Cake Society",
    inviter: "Ada Lovelace",
    email: EMAIL,
    role: InvitedAs::Member,
    token: TOKEN,
    signed_in_as: None,
    csrf: "",
    account_exists: false,
    first_name: "",
    last_name: "",
    problem: None,
};

/// Every page in every state, by name.
fn every_page() -> Vec<(&'static str, Page<'static>)> {
    let ready = Confirm::Ready { email: EMAIL, token: TOKEN };
    let invite = |invitation| Page::Invite(Invite::Ready(invitation));
    let problem = Some("The two passwords are not the same. Please type both again.");
    let reset = |problem| Page::Reset(Reset::Ready { email: EMAIL, token: TOKEN, problem });
    let organization = "Tea & Cake Society";
    let known = Invitation { account_exists: true, ..INVITATION };
    vec![
        ("verify", Page::Verify(ready)),
        ("verify-done", Page::Verify(Confirm::Done { email: EMAIL })),
        ("verify-bad", Page::Verify(Confirm::Bad)),
        ("change", Page::ChangeAddress(ready)),
        ("change-done", Page::ChangeAddress(Confirm::Done { email: EMAIL })),
        ("change-taken", Page::ChangeAddress(Confirm::Taken { email: EMAIL })),
        ("change-bad", Page::ChangeAddress(Confirm::Bad)),
        ("reset", reset(None)),
        ("reset-problem", reset(problem)),
        ("reset-done", Page::Reset(Reset::Done)),
        ("reset-bad", Page::Reset(Reset::Bad)),
        ("invite-new", invite(INVITATION)),
        (
            "invite-new-problem",
            invite(Invitation { first_name: "Grace", last_name: "Hopper", problem, ..INVITATION }),
        ),
        ("invite-known", invite(known)),
        (
            "invite-known-problem",
            invite(Invitation { problem: Some("That is not the password of this account."), ..known }),
        ),
        ("invite-signed-in", invite(Invitation { signed_in_as: Some("Grace@Example.org"), ..known })),
        ("invite-owner", invite(Invitation { role: InvitedAs::Owner, ..known })),
        ("invite-long", invite(Invitation { organization: LONG, inviter: LONG, ..known })),
        ("invite-other-known", invite(Invitation { signed_in_as: Some("ada@example.org"), ..known })),
        ("invite-other-new", invite(Invitation { signed_in_as: Some("ada@example.org"), ..INVITATION })),
        ("invite-done", Page::Invite(Invite::Done { organization, role: InvitedAs::Owner })),
        ("invite-member", Page::Invite(Invite::AlreadyMember { organization, email: EMAIL })),
        ("invite-registered", Page::Invite(Invite::Registered { organization, email: EMAIL })),
        ("invite-join-first", Page::Invite(Invite::JoinFirst { organization, email: EMAIL })),
        ("invite-unknown", Page::Invite(Invite::Bad(Why::Unknown))),
        ("invite-expired", Page::Invite(Invite::Bad(Why::Expired))),
        ("invite-used", Page::Invite(Invite::Bad(Why::Used))),
        ("invite-withdrawn", Page::Invite(Invite::Bad(Why::Withdrawn))),
        (
            "message",
            Page::Message {
                status: StatusCode::TOO_MANY_REQUESTS,
                title: "Too many tries",
                text: "Please wait a minute and try again.",
            },
        ),
    ]
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn html(page: &Page<'_>) -> String {
    text(render(page, Some(RETURN_TO))).await
}

async fn invite_html(invitation: Invitation<'_>) -> String {
    html(&Page::Invite(Invite::Ready(invitation))).await
}

/// Writes each page to `target/tmp/pages`, for a browser to be sent there (see `browser.rs`).
pub(crate) async fn write_every_page() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, page) in every_page() {
        let response = render(&page, None);
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        std::fs::write(folder.join(format!("{name}.html")), text(response).await).unwrap();
        std::fs::write(folder.join("policy.txt"), policy).unwrap();
    }
    std::fs::write(folder.join("reset-done-return.html"), html(&Page::Reset(Reset::Done)).await).unwrap();
    let house = House::new();
    for page in ["", "/bit", "/buildog", "/cadasta", "/pm415", "/stormz"] {
        let file = format!("docs{}.html", page.replace('/', "-"));
        std::fs::write(folder.join(file), house.send(get(&format!("/docs{page}"))).await.body).unwrap();
    }
}

#[tokio::test]
async fn every_page_is_whole() {
    for (name, page) in every_page() {
        let html = text(render(&page, None)).await;
        for (once, count) in [("<h1>", 1), ("<main>", 1), ("<header>", 1), ("<title>", 1), ("<style>", 1)] {
            assert_eq!(html.matches(once).count(), count, "{name}: {once}");
        }
        assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"), "{name}");
        for never in ["<script", "javascript:", " style=", "http://", "https://"] {
            assert!(!html.contains(never), "{name}: {never}");
        }
        for input in html.split("<input ").skip(1).filter(|input| !input.starts_with("type=\"hidden\"")) {
            let id = input.split('"').nth(1).unwrap();
            assert_eq!(html.matches(&format!("<label for=\"{id}\">")).count(), 1, "{name}: {id}");
            assert!(input.contains("autocomplete=\""), "{name}: {id}");
        }
    }
}

#[test]
fn headers_and_statuses() {
    for (name, page) in every_page() {
        let response = render(&page, None);
        let expected = match name {
            "message" => 429,
            "change-taken" | "invite-join-first" => 409,
            _ if name.ends_with("-problem") => 422,
            _ if ["-bad", "-unknown", "-expired", "-used", "-withdrawn"]
                .iter()
                .any(|end| name.ends_with(end)) =>
            {
                410
            }
            _ => 200,
        };
        assert_eq!(response.status(), expected, "{name}");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        let policy = headers["content-security-policy"].to_str().unwrap();
        let directives: Vec<&str> = policy.split("; ").collect();
        assert_eq!(directives.len(), 6, "{policy}");
        assert_eq!(directives[0], "default-src 'none'");
        assert!(directives[1].starts_with("style-src 'sha256-") && directives[1].len() == 63, "{policy}");
        assert_eq!(
            directives[2..],
            ["img-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        );
    }
}

#[tokio::test]
async fn names_stay_text() {
    let nasty = "\"><script>alert(1)</script>";
    let all = Invitation {
        organization: nasty,
        inviter: nasty,
        email: nasty,
        token: nasty,
        first_name: nasty,
        last_name: nasty,
        problem: Some(nasty),
        signed_in_as: Some("x"),
        ..INVITATION
    };
    let pages = [
        Page::Invite(Invite::Ready(all)),
        Page::Invite(Invite::Done { organization: nasty, role: InvitedAs::Owner }),
        Page::Invite(Invite::AlreadyMember { organization: nasty, email: nasty }),
        Page::Invite(Invite::Registered { organization: nasty, email: nasty }),
        Page::Invite(Invite::JoinFirst { organization: nasty, email: nasty }),
        Page::Verify(Confirm::Taken { email: nasty }),
        Page::Verify(Confirm::Ready { email: nasty, token: nasty }),
        Page::Verify(Confirm::Done { email: nasty }),
        Page::Reset(Reset::Ready { email: nasty, token: nasty, problem: Some(nasty) }),
        Page::Message { status: StatusCode::NOT_FOUND, title: nasty, text: nasty },
    ];
    for page in pages {
        let html = text(render(&page, Some(nasty))).await;
        assert!(!html.contains("<script") && html.contains("&#34;&#62;&#60;script"), "{html}");
    }
}

fn has_field(html: &str, name: &str) -> bool {
    html.contains(&format!(" name=\"{name}\""))
}

#[tokio::test]
async fn forms_post_their_token_to_their_own_path() {
    for (name, page) in every_page() {
        let html = html(&page).await;
        let form = html.contains("<form method=\"post\" action=\"?\">");
        assert_eq!(form, html.contains("<button type=\"submit\">"), "{name}");
        assert_eq!(
            form,
            html.contains(&format!("<input type=\"hidden\" name=\"token\" value=\"{TOKEN}\">")),
            "{name}"
        );
        assert_eq!(
            html.matches(TOKEN).count(),
            usize::from(form),
            "{name}: the token stands in its field alone"
        );
    }
}

#[tokio::test]
async fn an_invitation_asks_for_what_its_reader_has() {
    let known = Invitation { account_exists: true, ..INVITATION };
    let cases = [
        (Invitation { signed_in_as: Some("GRACE@example.org"), ..known }, field::WITH_SESSION),
        (known, field::WITH_PASSWORD),
        (Invitation { signed_in_as: Some("ada@example.org"), ..known }, field::WITH_PASSWORD),
        (INVITATION, field::WITH_NEW_ACCOUNT),
        (Invitation { signed_in_as: Some("ada@example.org"), ..INVITATION }, field::WITH_NEW_ACCOUNT),
    ];
    for (invitation, way) in cases {
        let html = invite_html(invitation).await;
        assert!(html.contains(&format!("name=\"way\" value=\"{way}\"")), "{way}");
        assert_eq!(has_field(&html, field::PASSWORD), way != field::WITH_SESSION, "{way}");
        assert_eq!(has_field(&html, field::CSRF), way == field::WITH_SESSION, "{way}");
        for only_new in [field::CONFIRMATION, field::FIRST_NAME, field::LAST_NAME] {
            assert_eq!(has_field(&html, only_new), way == field::WITH_NEW_ACCOUNT, "{way}: {only_new}");
        }
        let current = html.contains("autocomplete=\"current-password\"");
        assert_eq!(current, way == field::WITH_PASSWORD, "{way}");
        let other = html.contains("You are signed in as <strong>ada@example.org</strong>, but");
        assert_eq!(other, invitation.signed_in_as == Some("ada@example.org"), "{way}");
    }
}

#[tokio::test]
async fn a_problem_is_told_and_what_was_typed_stays_but_for_passwords() {
    let problem = Some("The two passwords are not the same.");
    let html =
        invite_html(Invitation { first_name: "Grace", last_name: "Hopper", problem, ..INVITATION }).await;
    assert!(html.contains("role=\"alert\"") && html.contains("The two passwords are not the same."));
    assert!(html.contains("<title>Error: "));
    assert!(html.contains("aria-describedby=\"problem password-hint\""));
    assert!(html.contains("value=\"Grace\"") && html.contains("value=\"Hopper\""));
    assert!(!invite_html(INVITATION).await.contains("role=\"alert\""));
}

#[tokio::test]
async fn who_is_done_is_told_where_to_go() {
    for page in [Page::Reset(Reset::Done), Page::Verify(Confirm::Done { email: EMAIL })] {
        let html = html(&page).await;
        assert!(html.contains(&format!("<a class=\"button\" href=\"{RETURN_TO}\">Continue</a>")), "{html}");
        assert!(text(render(&page, None)).await.contains("You can close this page"));
    }
    assert!(!html(&Page::Reset(Reset::Bad)).await.contains(RETURN_TO));
}
