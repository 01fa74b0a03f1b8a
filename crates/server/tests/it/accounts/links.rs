//! `/account/verify/` and `/account/reset-password/`.

use std::sync::Arc;

use guildhall_domain::credentials::{self, password::MAX_BYTES};
use guildhall_domain::onboarding;

use super::{
    GONE, NEW, RESET, VERIFY, asked_for_address, asked_for_reset, is_confirmed, new_password, open, press,
    registered, stored, tells,
};
use crate::harness::{House, PASSWORD, get};

#[tokio::test]
async fn an_address_is_confirmed_by_the_button_once() {
    let house = House::new();
    let token = registered(&house, "new@example.com");
    let page = house.send(open(VERIFY, &token)).await;
    tells(&page, 200, "Confirm my address");
    assert!(page.text().contains("new@example.com"));
    assert!(!is_confirmed(&house, "new@example.com"));
    let done = house.send(press(VERIFY, &token, &[])).await;
    tells(&done, 200, "new@example.com is confirmed. You can sign in now.");
    assert!(is_confirmed(&house, "new@example.com"));
    tells(&house.send(press(VERIFY, &token, &[])).await, 410, GONE);
    tells(&house.send(open(VERIFY, &token)).await, 410, GONE);
}

#[tokio::test]
async fn a_new_address_counts_from_the_button_on() {
    let house = House::new();
    house.user("eve");
    let token = asked_for_address(&house, "eve", "eve@new.example");
    tells(&house.send(open(VERIFY, &token)).await, 200, "Confirm my new address");
    assert!(!is_confirmed(&house, "eve@new.example"));
    let done = house.send(press(VERIFY, &token, &[])).await;
    tells(&done, 200, "eve@new.example is the address of your account now.");
    assert!(is_confirmed(&house, "eve@new.example") && !is_confirmed(&house, "eve@example.com"));
    tells(&house.send(press(VERIFY, &token, &[])).await, 410, GONE);
}

#[tokio::test]
async fn a_new_address_that_another_account_took_meanwhile_is_told() {
    let house = House::new();
    house.user("eve");
    let token = asked_for_address(&house, "eve", "bob@example.com");
    house.user("bob");
    tells(&house.send(open(VERIFY, &token)).await, 200, "Confirm my new address");
    tells(&house.send(press(VERIFY, &token, &[])).await, 409, "Another account has bob@example.com by now");
    assert!(is_confirmed(&house, "eve@example.com"));
}

#[tokio::test]
async fn a_new_password_ends_every_session() {
    let house = House::new();
    house.user("eve");
    let session = house.token("eve");
    let token = asked_for_reset(&house, "eve@example.com");
    let page = house.send(open(RESET, &token)).await;
    tells(&page, 200, "Set the new password");
    assert!(page.text().contains("value=\"eve@example.com\""));
    assert_eq!(house.send(get("/api/organizations").bearer(&session)).await.status, 200);
    tells(&house.send(new_password(&token, NEW, NEW)).await, 200, "Your new password is set");
    assert_eq!(house.send(get("/api/organizations").bearer(&session)).await.status, 401);
    tells(&house.send(new_password(&token, NEW, NEW)).await, 410, GONE);
    tells(&house.send(open(RESET, &token)).await, 410, GONE);
    for (password, right) in [(PASSWORD, false), (NEW, true)] {
        let tried = house.app.compare("eve".into(), password.into(), String::new()).await.unwrap();
        let wanted = credentials::Wanted::Key;
        let signed_in = onboarding::sign_in(house.db(), tried, wanted, None).unwrap();
        assert_eq!(matches!(signed_in, onboarding::SignedIn::Done(_)), right, "{password}");
    }
}

#[tokio::test]
async fn a_password_that_cannot_be_taken_is_told_and_the_link_stays_good() {
    let house = House::new();
    house.user("eve");
    let token = asked_for_reset(&house, "eve@example.com");
    let before = stored(&house);
    let long = "ab c".repeat(MAX_BYTES / 4) + "d";
    for (password, confirmation, words) in [
        (NEW, "something else", "The two passwords are not the same."),
        (NEW, "", "The two passwords are not the same."),
        ("", "", "too short"),
        ("kürzest", "kürzest", "too short"),
        ("password1", "password1", "one of the first that anybody would try"),
        (&long, &long, "too long"),
    ] {
        let answer = house.send(new_password(&token, password, confirmation)).await;
        tells(&answer, 422, words);
        assert!(answer.text().contains("Set the new password"), "the form is shown again");
        assert!(password.is_empty() || !answer.text().contains(password), "no password is shown");
    }
    assert!(before == stored(&house), "nothing was changed");
    tells(&house.send(new_password(&token, NEW, NEW)).await, 200, "Your new password is set");
}

#[tokio::test]
async fn an_older_reset_ends_with_the_newer_and_with_the_address_that_it_went_to() {
    let house = House::new();
    house.user("eve");
    let older = asked_for_reset(&house, "eve@example.com");
    let newer = asked_for_reset(&house, "eve@example.com");
    tells(&house.send(new_password(&newer, NEW, NEW)).await, 200, "is set");
    tells(&house.send(open(RESET, &older)).await, 410, GONE);
    let left_behind = asked_for_reset(&house, "eve@example.com");
    let change = asked_for_address(&house, "eve", "eve@new.example");
    tells(&house.send(press(VERIFY, &change, &[])).await, 200, "eve@new.example");
    tells(&house.send(open(RESET, &left_behind)).await, 410, GONE);
    tells(&house.send(new_password(&left_behind, NEW, NEW)).await, 410, GONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_at_once_one_confirms_and_one_sets_the_password() {
    let house = House::new();
    house.user("eve");
    let verify = registered(&house, "new@example.com");
    let reset = asked_for_reset(&house, "eve@example.com");
    let house = Arc::new(house);
    for call in [press(VERIFY, &verify, &[]), new_password(&reset, NEW, NEW)] {
        let all = (0..8).map(|_| {
            let (house, call) = (house.clone(), call.clone());
            tokio::spawn(async move { house.send(call).await.status.as_u16() })
        });
        let mut statuses: Vec<u16> =
            futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 410, 410, 410, 410, 410, 410, 410]);
    }
}
