//! What holds for every call: credentials, bodies, paths, methods, and the order of what is asked.

use guildhall_domain::authz::{Role, State};
use serde_json::json;

use super::{done, error, read_token};
use crate::harness::{Call, House, call, delete, get, post, put};

/// Every call that needs a sign-in, with nothing wrong in it but the organization.
fn signed_in() -> Vec<Call> {
    let users = json!({"usersId": [9]});
    vec![
        get("/api/user"),
        get("/api/user/orgs"),
        get("/api/user/apikey"),
        post("/api/user/apikey"),
        post("/api/org").json(json!({"name": "Acme"})),
        get("/api/org"),
        post("/api/org/switch/9"),
        put("/api/org/9").json(json!({"name": "Acme"})),
        delete("/api/org/9"),
        get("/api/org/9/users"),
        post("/api/org/9/invitelink").json(json!({"email": "new@example.com"})),
        post("/api/org/9/users/remove").json(users.clone()),
        put("/api/org/9/admin/grant").json(users.clone()),
        put("/api/org/9/admin/revoke").json(users.clone()),
        put("/api/org/9/admin/resetpassword").json(users),
    ]
}

#[tokio::test]
async fn who_is_not_signed_in_or_not_confirmed_gets_nowhere() {
    let house = House::new();
    house.unverified_user("una");
    house.user("dan");
    let (una, dan) = (house.token("una"), house.token("dan"));
    house.disable("dan");
    for call in signed_in() {
        house.send(call.clone()).await.is(401, error(401, "Authentication required"));
        for token in [dan.as_str(), "x", &"0".repeat(40), &"0".repeat(64)] {
            house.send(call.clone().bearer(token)).await.is(401, error(401, "Authentication required"));
        }
        let basic = call.clone().header("authorization", "Basic YTpi");
        house.send(basic).await.is(401, error(401, "Authentication required"));
        house.send(call.bearer(&una)).await.is(403, error(403, "User not confirmed or inactive"));
    }
    let broken = post("/api/org").body("text/plain", b"{");
    house.send(broken.clone()).await.is(401, error(401, "Authentication required"));
    house.send(broken.bearer(&una)).await.is(403, error(403, "User not confirmed or inactive"));
}

#[tokio::test]
async fn one_credential_of_any_form() {
    let house = House::new();
    house.user("ana");
    let (token, key) = (house.token("ana"), house.api_key("ana"));
    let none = json!({"success": true, "organizations": []});
    for header in [format!("Bearer {token}"), format!("token {token}"), format!("TOKEN {key}")] {
        house.send(get("/api/user/orgs").header("authorization", &header)).await.is(200, none.clone());
    }
    let query = format!("/api/user/orgs?access_token={token}");
    house.send(get(&query)).await.is(401, error(401, "Authentication required"));
    let cookie = format!("access_token_cookie={token}");
    house.send(get("/api/user/orgs").header("cookie", &cookie)).await.is(200, none);
    house
        .send(get("/api/user/orgs").header("cookie", &cookie).bearer(&token))
        .await
        .is(400, error(400, "More than one credential in the request"));
    let new = || post("/api/org").json(json!({"name": "Acme"})).header("cookie", &cookie);
    house.send(new()).await.is(403, error(403, "CSRF token missing or wrong"));
    house.send(new().header("x-csrf-token", "x")).await.is(403, error(403, "CSRF token missing or wrong"));
    let csrf = house.app.keys.verify(&token).unwrap().csrf.clone();
    assert_eq!(house.send(new().header("x-csrf-token", &csrf)).await.status, 200);
}

#[tokio::test]
async fn a_credential_that_may_only_read_changes_nothing() {
    let house = House::new();
    house.user("ana");
    house.organization("Acme", "ana");
    let read = read_token(&house, "ana").await;
    for path in ["/api/user", "/api/user/orgs", "/api/user/apikey", "/api/org", "/api/org/1/users"] {
        assert_eq!(house.send(get(path).bearer(&read)).await.status, 200, "{path}");
    }
    for call in [post("/api/user/apikey"), post("/api/org").json(json!({"name": "Another"}))] {
        house.send(call.bearer(&read)).await.is(403, error(403, "Insufficient scope"));
    }
    let leave = post("/api/org/1/users/remove").json(json!({"usersId": [1]}));
    house.send(leave.bearer(&read)).await.is(403, error(403, "Insufficient scope"));
}

#[tokio::test]
async fn the_form_is_told_before_the_right() {
    let house = House::new();
    house.user("ana");
    house.user("bo");
    house.organization("Acme", "ana");
    house.member("acme", "bo", Role::Member, State::Active);
    let bo = house.token("bo");
    for id in [1, 9] {
        for call in [put(&format!("/api/org/{id}")), post(&format!("/api/org/{id}/users/remove"))] {
            let malformed = call.clone().body("application/json", b"{").bearer(&bo);
            house.send(malformed).await.is(400, error(400, "Request body is malformed"));
        }
        house
            .send(put(&format!("/api/org/{id}")).bearer(&bo))
            .await
            .is(400, error(400, "\"Name\" is required"));
    }
}

#[tokio::test]
async fn bodies_are_json_or_forms() {
    let house = House::new();
    house.user("ana");
    let ana = house.token("ana");
    let new = || post("/api/org").bearer(&ana);
    let unsupported =
        error(415, "Content-Type must be application/json or application/x-www-form-urlencoded");
    for media_type in ["text/plain", "multipart/form-data; boundary=x", "", "application/xml"] {
        house.send(new().body(media_type, br#"{"name":"Acme"}"#)).await.is(415, unsupported.clone());
    }
    house.send(new().body("text/plain", b"")).await.is(415, unsupported);
    // No body at all is one without keys.
    house.send(new()).await.is(400, error(400, "\"Name\" is required"));
    house.send(new().body("application/json", b"")).await.is(400, error(400, "\"Name\" is required"));
    let deep = "[".repeat(10_000);
    for malformed in [b"{".as_slice(), b"{\"name\":\"\xff\"}", b"{} {}", deep.as_bytes()] {
        house
            .send(new().body("application/json", malformed))
            .await
            .is(400, error(400, "Request body is malformed"));
    }
    for (name, sent) in [
        ("One", new().body("application/json; charset=utf-8", br#"{"name":"One"}"#)),
        ("Two", new().body("Application/VND.x+JSON", br#"{"name":"Two"}"#)),
        ("Three ä", new().form(&[("name", "Three ä")])),
    ] {
        let answer = house.send(sent).await;
        assert_eq!(answer.value()["organization"]["name"], name, "{}", answer.text());
    }
    let twice = new().form(&[("name", "One"), ("name", "Two")]);
    house.send(twice).await.is(400, error(400, "\"Name\" must be a string"));
    let large = vec![b' '; 1024 * 1024 + 1];
    for call in [new(), post("/api/account/login")] {
        let answer = house.send(call.body("application/json", &large)).await;
        answer.is(413, error(413, "Request body too large"));
    }
}

#[tokio::test]
async fn slashes_paths_and_methods() {
    let house = House::new();
    house.user("ana");
    house.organization("Acme", "ana");
    let ana = house.token("ana");
    for path in ["/api/org/1/users", "/api/org/1/users/", "//api/org/1/users", "//api/org/1/users/"] {
        assert_eq!(house.send(get(path).bearer(&ana)).await.status, 200, "{path}");
    }
    let nobody = json!({"usersId": ["9"]});
    let remove = post("//api/org/1/users/remove").json(nobody);
    house.send(remove.bearer(&ana)).await.is(200, done());
    for path in ["/api", "/api/", "/api/nothing", "/api/org/1/nothing", "/api/user/1", "/api/account"] {
        house.send(get(path).bearer(&ana)).await.is(404, error(404, "Not Found"));
        house.send(get(path)).await.is(404, error(404, "Not Found"));
    }
    for (sent, allow) in [
        (put("/api/user"), "GET,HEAD"),
        (delete("/api/org"), "GET,HEAD,POST"),
        (get("/api/org/1"), "PUT,DELETE"),
        (get("/api/org/switch/1"), "POST"),
        (post("/api/org/invite"), "GET,HEAD"),
        (call("PATCH", "/api/account/verify/"), "GET,HEAD,POST"),
    ] {
        let answer = house.send(sent.bearer(&ana)).await;
        answer.is(405, error(405, "Method Not Allowed"));
        let mut allowed: Vec<&str> = answer.header("allow").split(',').collect();
        allowed.sort_unstable();
        let mut wanted: Vec<&str> = allow.split(',').collect();
        wanted.sort_unstable();
        assert_eq!(allowed, wanted);
    }
    let answer = house.send(get("/api/user").bearer(&ana)).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_ne!(answer.header("x-request-id"), "");
}
