//! buildog (document 004), read beside it: one call, the whole answer.

use serde_json::json;

use crate::harness::{House, delete, get, post};

#[tokio::test]
async fn the_document_as_it_stands() {
    let house = House::new();
    let ana = house.user("ana");
    let token = house.token("ana");
    house.send(get("/api/organizations").bearer(&token)).await.is(200, json!([]));
    let made = house
        .send(post("/api/organizations").bearer(&token).json(json!({
            "organization_name": "New Organization",
            "organization_description": "This is a description of the new organization."
        })))
        .await;
    let id = made.value()["organization_id"].as_str().unwrap().to_owned();
    made.is(201, json!({"organization_id": id, "user_id": ana.uid.uuid(), "role": "owner"}));
    for path in ["/api/organizations", "/organizations"] {
        house.send(get(path).bearer(&token)).await.is(
            200,
            json!([{
                "id": id,
                "name": "New Organization",
                "description": "This is a description of the new organization.",
                "created_by": ana.uid.uuid(),
                "created_at": "2026-01-02T03:04:05Z"
            }]),
        );
    }
}

#[tokio::test]
async fn every_error_has_the_documents_words() {
    let house = House::new();
    house.user("ana");
    let token = house.token("ana");
    let new = || post("/api/organizations").bearer(&token);
    house.send(get("/api/organizations")).await.is(401, json!({"error": "Token claims missing"}));
    house.send(get("/api/organizations").bearer("x")).await.is(401, json!({"error": "Token claims missing"}));
    for body in [json!([]), json!({}), json!({"organization_name": null}), json!({"organization_name": "  "})]
    {
        house.send(new().json(body)).await.is(400, json!({"error": "Invalid request body"}));
    }
    house.send(new().body("application/json", b"{")).await.is(400, json!({"error": "Invalid request body"}));
    house.send(delete("/organizations").bearer(&token)).await.is(405, json!({"error": "Method not allowed"}));
    house.send(get("/api/organizations/x").bearer(&token)).await.is(404, json!({"error": "Not found"}));
}
