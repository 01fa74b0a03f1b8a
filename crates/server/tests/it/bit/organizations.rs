//! Fetching, making, changing and deleting an organization.

use std::time::Duration;

use guildhall::media::DEFAULT_NAME;
use guildhall_domain::authz::{Role, State};
use guildhall_domain::memberships::{Joining, Visibility};
use serde_json::{Value, json};

use super::{
    ARCHIVED, EVERYBODY, NO_ORGANIZATION, NOT_OWNER, crowd, incorrect, open_house, picture, private_house,
    read_token, says, told,
};
use crate::harness::{Call, House, delete, get, post, put};

fn person(name: &str) -> Value {
    json!({"username": format!("{name}@example.com")})
}

fn default_picture() -> String {
    format!("http://guildhall.test/media/{DEFAULT_NAME}")
}

/// What anybody is told of "Hot Pot", with these lists.
fn hot_pot([owners, active, inactive]: [&[&str]; 3]) -> Value {
    let people = |names: &[&str]| names.iter().map(|name| person(name)).collect::<Value>();
    json!({
        "name": "Hot Pot", "image": default_picture(), "background_image": default_picture(),
        "owners": people(owners), "active_users": people(active), "inactive_users": people(inactive)
    })
}

fn whole(call: Call, name: &str) -> Call {
    let picture = picture();
    call.multipart(&[
        ("name", None, name.as_bytes()),
        ("image", Some("a b.png"), &picture),
        ("background_image", Some("c.png"), &picture),
    ])
}

#[tokio::test]
async fn the_document_as_it_stands() {
    let house = House::new();
    house.user("student");
    let token = house.token("student");
    let made = house.send(whole(post("/organizations/create").bearer(&token), " HotPot Gang ")).await;
    made.is(202, says("Organization successfully created"));
    assert_eq!(made.header("location"), "/organizations/1");
    let answer = house.send(get("/organizations/1").bearer(&token)).await;
    let image = answer.value()["image"].as_str().unwrap().to_owned();
    answer.is(
        200,
        json!({
            "name": "HotPot Gang", "image": image, "background_image": image,
            "owners": [person("student")], "active_users": [person("student")], "inactive_users": []
        }),
    );
    let path = image.strip_prefix("http://guildhall.test").unwrap();
    let otherwise = path.replace(".png", "%2Epng");
    for path in [path, &otherwise] {
        let shown = house.send(get(path)).await;
        assert_eq!((shown.status.as_u16(), shown.header("content-type")), (200, "image/png"), "{path}");
    }

    let renamed = put("/organizations/1").bearer(&token).multipart(&[("name", None, b"Hot Pot 2")]);
    house.send(renamed).await.is(202, says("Organization successfully updated"));
    let shown = house.send(get("/organizations/1").bearer(&token)).await.value();
    assert_eq!((&shown["name"], &shown["image"]), (&json!("Hot Pot 2"), &json!(image)));
    let gone = house.send(delete("/organizations/1").bearer(&token)).await;
    gone.is(200, says("Organization successfully deleted"));
    house.send(get("/organizations/1").bearer(&token)).await.is(404, says(NO_ORGANIZATION));
    for path in [path, &otherwise] {
        house.send(get(path)).await.is(404, json!({"error": "Not found"}));
    }
}

#[tokio::test]
async fn what_bit_makes_is_internal_and_open() {
    let house = House::new();
    house.user("ana");
    house.user("bo");
    house.send(whole(post("/organizations/create").bearer(&house.token("ana")), "Hot Pot")).await;
    let joined = house.send(put("/organizations/1/membership").bearer(&house.token("bo"))).await;
    joined.is(200, says("bo has joined Hot Pot"));
    // Names of internal organizations may repeat.
    let again = whole(post("/organizations/create").bearer(&house.token("ana")), "Hot Pot");
    assert_eq!(house.send(again).await.header("location"), "/organizations/2");
}

#[tokio::test]
async fn who_sees_an_organization_and_its_members() {
    let members = hot_pot([&["owner"], &["owner", "member", "admin"], &["inactive"]]);
    let nobody = hot_pot([&[], &[], &[]]);
    let fetch = get("/organizations/1");
    // Where joining is open every signed-in user sees the members too.
    let rows = EVERYBODY.map(|who| (who, 200, members.clone()));
    told(&open_house(), &fetch, &rows[..3]).await;
    let by_invitation = super::house_with(Visibility::Internal, Joining::Invite);
    for who in &EVERYBODY[..3] {
        told(&by_invitation, &fetch, &[(who, 200, nobody.clone())]).await;
    }
    told(&by_invitation, &fetch, &rows[4..]).await;
    let private = private_house();
    for who in &EVERYBODY[..3] {
        told(&private, &fetch, &[(who, 404, says(NO_ORGANIZATION))]).await;
    }
    told(&private, &fetch, &rows[4..]).await;
    private.archive("hot-pot", true);
    told(&private, &fetch, &rows[4..]).await;
    let open = open_house();
    open.archive("hot-pot", true);
    told(&open, &fetch, &[("stranger", 404, says(NO_ORGANIZATION)), rows[4].clone()]).await;
    let read = read_token(&open, "member").await;
    open.send(fetch.bearer(&read)).await.is(200, members);
}

#[tokio::test]
async fn one_not_seen_for_long_is_inactive_and_one_seen_again_active() {
    let house = House::new();
    house.user("ana");
    house.user("bo");
    house.organization_as("Hot Pot", "ana", Visibility::Internal, Joining::Open);
    house.member("hot-pot", "bo", Role::Member, State::Active);
    house.pass(Duration::from_secs(91 * 24 * 3600));
    let fetch = || get("/organizations/1");
    let seen = house.send(fetch().bearer(&house.token("bo"))).await;
    seen.is(200, hot_pot([&["ana"], &["bo"], &["ana"]]));
    let seen = house.send(fetch().bearer(&house.token("ana"))).await;
    seen.is(200, hot_pot([&["ana"], &["ana", "bo"], &[]]));
}

#[tokio::test]
async fn long_lists_come_whole() {
    let house = House::new();
    house.user("owner");
    house.organization_as("Hot Pot", "owner", Visibility::Internal, Joining::Open);
    // The last piece is a full one, behind which there is nothing.
    let members = crowd(&house, 500, State::Inactive);
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let answer = house.send(get("/organizations/1").bearer(&house.token("owner"))).await;
    answer.is(200, hot_pot([&["owner"], &["owner"], &names]));
    house.member("hot-pot", names[0], Role::Member, State::Active);
    let answer = house.send(get("/organizations/1").bearer(&house.token("owner"))).await;
    answer.is(200, hot_pot([&["owner"], &["owner", names[0]], &names[1..]]));
}

#[tokio::test]
async fn who_may_change_an_organization() {
    let updated = (202, says("Organization successfully updated"));
    let not_owner = (403, says(NOT_OWNER));
    let rename = put("/organizations/1").multipart(&[("name", None, b"Hot Pot")]);
    let no_form = put("/organizations/1");
    let open = open_house();
    for who in EVERYBODY {
        let may = ["admin", "owner"].contains(&who);
        let (status, body) = if may { updated.clone() } else { not_owner.clone() };
        told(&open, &rename, &[(who, status, body)]).await;
        // What is wrong with a form is told to those who may send one.
        let (status, body) = if may { (422, incorrect("update a organization")) } else { not_owner.clone() };
        told(&open, &no_form, &[(who, status, body)]).await;
    }
    let private = private_house();
    for who in &EVERYBODY[..3] {
        told(&private, &rename, &[(who, 404, says(NO_ORGANIZATION))]).await;
    }
    told(&private, &rename, &[("member", 403, says(NOT_OWNER))]).await;
    let read = read_token(&open, "owner").await;
    for call in [&rename, &no_form] {
        open.send(call.clone().bearer(&read)).await.is(403, says("Insufficient scope"));
    }
    open.archive("hot-pot", true);
    told(&open, &rename, &[("owner", 403, says(ARCHIVED)), ("member", 403, says(NOT_OWNER))]).await;
}

#[tokio::test]
async fn who_may_delete_an_organization() {
    for house in [open_house(), private_house()] {
        let call = delete("/organizations/1");
        let rows = ["inactive", "member", "admin"].map(|who| (who, 403, says(NOT_OWNER)));
        told(&house, &call, &rows).await;
        let read = read_token(&house, "owner").await;
        house.send(call.clone().bearer(&read)).await.is(403, says("Insufficient scope"));
        house.archive("hot-pot", true);
        told(&house, &call, &[("stranger", 404, says(NO_ORGANIZATION)), ("admin", 403, says(NOT_OWNER))])
            .await;
        told(&house, &call, &[("owner", 200, says("Organization successfully deleted"))]).await;
        told(&house, &call, &[("owner", 404, says(NO_ORGANIZATION))]).await;
    }
}

#[tokio::test]
async fn a_public_name_is_anothers() {
    let house = House::new();
    house.user("ana");
    house.organization_as("Hot Pot", "ana", Visibility::Public, Joining::Open);
    house.organization_as("Cold Pot", "ana", Visibility::Public, Joining::Open);
    let rename = |name: &str| {
        put("/organizations/2").bearer(&house.token("ana")).multipart(&[("name", None, name.as_bytes())])
    };
    let taken = says("Organization with this name already exists");
    house.send(rename("hOT pOT")).await.is(409, taken);
    house.send(rename("COLD POT")).await.is(202, says("Organization successfully updated"));
}

/// A part of a form: its name, the file's name where it is one, what is in it.
type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

/// A house with an organization, and a token of its owner.
fn ready() -> (House, String) {
    let house = House::new();
    house.user("ana");
    house.organization_as("Hot Pot", "ana", Visibility::Internal, Joining::Open);
    let token = house.token("ana");
    (house, token)
}

/// The calls that read a form, and what they do.
fn with_form() -> [(Call, &'static str); 2] {
    [
        (post("/organizations/create"), "create a organization"),
        (put("/organizations/1"), "update a organization"),
    ]
}

#[tokio::test]
async fn parts_that_do_not_do_are_refused() {
    let (house, token) = ready();
    let picture = picture();
    let large = vec![0; 5 * 1024 * 1024 + 1];
    let (name, image): (Part<'_>, Part<'_>) = (("name", None, b"Hot"), ("image", Some("a"), &picture));
    let background: Part<'_> = ("background_image", Some("b"), &picture);
    let unfit: [Vec<Part<'_>>; 12] = [
        vec![],
        vec![name, image, background, ("extra", None, b"1")],
        vec![name, name, image, background],
        vec![name, image, image, background],
        vec![("name", None, b" "), image, background],
        vec![("name", None, b"\xff"), image, background],
        vec![("name", None, b"a\nb"), image, background],
        vec![("name", None, &[b'x'; 201]), image, background],
        vec![name, ("image", Some("a.png"), b"no picture"), background],
        vec![name, ("image", Some("a.png"), b""), background],
        vec![name, image, ("background_image", Some("b.png"), &large)],
        vec![name, ("image", Some("a.svg"), b"<svg xmlns='http://www.w3.org/2000/svg'/>"), background],
    ];
    for (call, what) in with_form() {
        for (place, parts) in unfit.iter().enumerate() {
            println!("{what}: form {place}");
            house.send(call.clone().bearer(&token).multipart(parts)).await.is(422, incorrect(what));
        }
    }
    for parts in [[name, image], [name, background], [image, background]] {
        let sent = post("/organizations/create").bearer(&token).multipart(&parts);
        house.send(sent).await.is(422, incorrect("create a organization"));
    }
    for part in [name, image, background] {
        let sent = put("/organizations/1").bearer(&token).multipart(&[part]);
        house.send(sent).await.is(202, says("Organization successfully updated"));
    }
}

#[tokio::test]
async fn a_body_that_is_no_form_or_too_large_is_refused() {
    let (house, token) = ready();
    let unread: [(&str, &[u8]); 6] = [
        ("application/json", b"{\"name\": \"Hot\"}"),
        ("application/x-www-form-urlencoded", b"name=Hot"),
        ("multipart/form-data", b"--edge--\r\n"),
        ("multipart/form-data; boundary=\"\"", b"--\r\n\r\n----"),
        ("multipart/form-data; boundary=edge", b""),
        (
            "multipart/form-data; boundary=edge",
            b"--edge\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nHot",
        ),
    ];
    let too_much = vec![0; 11 * 1024 * 1024 + 1];
    for (call, what) in with_form() {
        let call = call.bearer(&token);
        for (content_type, body) in unread {
            house.send(call.clone().body(content_type, body)).await.is(422, incorrect(what));
        }
        house.send(call.clone()).await.is(422, incorrect(what));
        let answer = house.send(call.body("multipart/form-data; boundary=edge", &too_much)).await;
        answer.is(413, says("The request body is too large."));
    }
    // Whoever may not make one is told so, whatever they send.
    let read = read_token(&house, "ana").await;
    house.send(post("/organizations/create").bearer(&read)).await.is(403, says("Insufficient scope"));
}

#[tokio::test]
async fn a_picture_that_cannot_be_stored_is_no_fault_of_its_sender() {
    let house = House::new();
    house.user("ana");
    let media = house.folder.0.join("media");
    std::fs::remove_dir_all(&media).unwrap();
    std::fs::write(&media, "in the way").unwrap();
    let call = whole(post("/organizations/create").bearer(&house.token("ana")), "Hot Pot");
    let answer = house.send(call).await;
    answer.is(503, says("The server is busy. Try again later."));
    assert_eq!(answer.header("retry-after"), "5");
}
