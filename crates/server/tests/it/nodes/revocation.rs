//! What is taken away at one node is gone at the next request of any other.

use axum::http::StatusCode;
use guildhall_domain::authz::{Actor, Role, State};
use guildhall_domain::clock::Random;
use guildhall_domain::memberships;
use serde_json::json;

use super::three;
use crate::harness::{Call, House, Plan, delete, get, patch, post};
use crate::place::{controlled, counted, times};
use crate::races::login;

/// What ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Session,
    Key,
    Removed,
    Demoted,
    Suspended,
    Disabled,
}

const ENDS: [End; 6] = [End::Session, End::Key, End::Removed, End::Demoted, End::Suspended, End::Disabled];

const MEMBERS: &str = "/api/v1/organizations/guild/users/";
const BEN: &str = "/api/v1/organizations/guild/users/ben/";

impl End {
    /// What needs the right.
    fn using(self, credential: &str) -> Call {
        let call = match self {
            Self::Session | Self::Key | Self::Disabled => get("/v1/user/me"),
            Self::Removed | Self::Suspended => get(MEMBERS),
            Self::Demoted => patch("/api/v1/organizations/guild/").json(json!({"description": "changed"})),
        };
        call.bearer(credential)
    }

    /// Ends ben's right by a request to that node, or by a command beside it.
    async fn end(self, node: &House, credential: &str, owner: &str) {
        let call = match self {
            Self::Session => delete("/user/logout").bearer(credential),
            Self::Key => post("/api/user/apikey").bearer(credential),
            Self::Removed => delete(BEN).bearer(owner),
            Self::Demoted => patch(BEN).json(json!({"admin": false})).bearer(owner),
            Self::Suspended => return node.member("guild", "ben", Role::Member, State::Suspended),
            Self::Disabled => return node.disable("ben"),
        };
        let answer = node.send(call).await;
        assert!(answer.status.is_success(), "{self:?}: {}", answer.text());
    }
}

/// Takes rights away at one node and asks another as soon as that is answered; tells what was accepted all the same. Where a
/// node `remembers` what it has answered, it answers that once more.
async fn late(tries: usize, remembers: bool) -> Vec<String> {
    let nodes = three(Plan { in_memory: true, ..Plan::default() });
    for name in ["ana", "ben"] {
        nodes[0].user(name);
    }
    nodes[0].organization("Guild", "ana");
    let owner = nodes[0].token("ana");
    let random = Random::seeded(3);
    let below = |end: u8| usize::from(random.bytes::<1>()[0] % end);
    let mut late = Vec::new();
    for number in 0..tries {
        let end = ENDS[number % ENDS.len()];
        let here = below(3);
        let there = (here + 1 + below(2)) % 3;
        let (here, there) = (&nodes[here], &nodes[there]);
        here.member("guild", "ben", Role::Admin, State::Active);
        let credential = if matches!(end, End::Key) { here.api_key("ben") } else { here.token("ben") };
        let before = there.send(end.using(&credential)).await;
        assert_eq!(before.status, StatusCode::OK, "{end:?}: {}", before.text());
        end.end(here, &credential, &owner).await;
        let after = if remembers { before.status } else { there.send(end.using(&credential)).await.status };
        if after.is_success() {
            late.push(format!("{number}: {end:?}"));
        } else {
            assert!(after.is_client_error(), "{end:?}: {after}");
        }
        if matches!(end, End::Disabled) {
            memberships::enable_user(here.db(), &Actor::system(), &login("ben")).unwrap();
        }
    }
    late
}

#[tokio::test]
async fn what_one_node_takes_away_no_other_gives() {
    let tries = times(500, 10_000);
    assert_eq!(late(tries, false).await, [""; 0]);
    counted(tries, "rights taken away at one node and asked for at another at once");
}

#[tokio::test]
async fn a_node_that_remembers_gives_what_was_taken_away() {
    let tries = 2 * ENDS.len();
    let late = late(tries, true).await;
    assert_eq!(late.len(), tries);
    controlled(&format!(
        "of nodes that remember what they answered, {} of {tries} requests are accepted",
        late.len()
    ));
}
