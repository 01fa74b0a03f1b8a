//! Clients that are slow on purpose harm no other.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::client::{Call, Client};
use crate::crowd::{self, Siege, Slow, p99};
use crate::item::{Control, Outcome};
use crate::place::Place;
use crate::process::{self, Server};
use crate::{Result, floor};

/// Slow clients of each kind.
const EACH: usize = 2_000;
/// How long normal traffic is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// How long they are let alone before that.
const SETTLED: Duration = Duration::from_secs(2);
/// A difference that is none: turns of the processor among processes.
const GRAIN: Duration = Duration::from_millis(2);
/// What a connection may cost, in KiB: its buffers.
const KIB_EACH: u64 = 64;
/// After how long a client that has not sent a header has to be gone: the limit is 10 seconds.
const GONE_WITHIN: Duration = Duration::from_secs(14);
/// After how long all have to be gone: a whole body may take 120 seconds.
const ALL_GONE_WITHIN: Duration = Duration::from_secs(150);
/// The long list that slow readers ask for.
const LIST: &str = "/api/v1/organizations/";

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    crowd::open_many()?;
    let data = place.path("data");
    let token = process::user(&place.program, &data, "owner")?;
    let server = Server::start(&mut process::serving(&place.program, &data), place.path("server.log"))?;
    organizations(&server, &token, 300)?;
    let stock = floor::start(Duration::ZERO, place.path("floor.log"))?;
    // The crowd has threads of its own: what it is busy with is not to be measured.
    let outside = crowd::runtime()?;
    crowd::runtime()?.block_on(besieged(place, (&server, &stock), (&token, outside.handle())))
}

/// Makes so many public organizations.
pub(crate) fn organizations(server: &Server, token: &str, count: usize) -> Result<()> {
    let mut client = Client::new(&server.address);
    for number in 0..count {
        let body = json!({"name": format!("Public {number}"), "description": "x".repeat(300)});
        let answer = client.call(&Call::new("POST", LIST).by(token).json(&body))?;
        if answer.status != 201 {
            return Err(format!("no organization: {}", answer.status).into());
        }
    }
    Ok(())
}

/// What was seen of a siege.
struct Seen {
    /// The p99 of normal traffic before, and during it.
    calm: Duration,
    busy: Duration,
    /// Slow clients there were.
    most: u32,
    /// What each cost, in KiB.
    cost: u64,
    /// Clients without a header that were left when headers were due, here and at axum's own loop; and there were there.
    left: u32,
    stock_left: u32,
    stock_most: u32,
    wrong: Vec<String>,
}

async fn besieged(
    place: &Place,
    (server, stock): (&Server, &Server),
    (token, outside): (&str, &Handle),
) -> Result<Outcome> {
    let call = Call::get("/v1/user/me").by(token);
    let traffic = || crowd::steady(&server.address, &call, (4, Duration::from_millis(10)), MEASURED);
    let before = traffic().await?;
    let (memory, files) = (server.status("VmRSS")?, server.descriptors()?);
    let laid = Instant::now();
    let lay = |server: &Server, kinds: [Slow; 2], each| {
        let (address, outside) = (server.address.parse(), outside.clone());
        async move {
            Ok::<_, Box<dyn std::error::Error>>(
                outside.spawn(Siege::lay(address?, kinds, (each, LIST))).await?,
            )
        }
    };
    let unheard = lay(server, [Slow::Header, Slow::Idle], EACH).await?;
    let lasting = lay(server, [Slow::Body, Slow::Reader], EACH).await?;
    let most = unheard.laid() + lasting.laid();
    // What the readers asked for is written, as far as they let it.
    sleep(SETTLED).await;
    let during = traffic().await?;
    let cost = server.status("VmRSS")?.saturating_sub(memory) / u64::from(most.max(1));
    let files_then = server.descriptors()?;
    let control = lay(stock, [Slow::Header, Slow::Idle], EACH / 2).await?;
    sleep(GONE_WITHIN).await;
    let mut wrong = [unserved(&before), unserved(&during)].concat();
    if files_then > files + 4 * EACH + 50 {
        wrong.push(format!("{files_then} files open"));
    }
    let (left, stock_left) = (unheard.open(), control.open());
    if place.long {
        sleep(ALL_GONE_WITHIN.saturating_sub(laid.elapsed())).await;
        if lasting.open() > 0 || server.descriptors()? > files + 50 {
            wrong.push(format!("{} slow clients left after {:?}", lasting.open(), laid.elapsed()));
        }
    }
    let (calm, busy, stock_most) = (took(&before), took(&during), control.laid());
    Ok(Seen { calm, busy, most, cost, left, stock_left, stock_most, wrong }.judged())
}

impl Seen {
    fn judged(self) -> Outcome {
        let Self { calm, busy, most, cost, left, stock_left, stock_most, mut wrong } = self;
        if busy > (2 * calm).max(calm + GRAIN) {
            wrong.push(format!("p99 was {calm:?}, and {busy:?} under siege"));
        }
        if cost > KIB_EACH {
            wrong.push(format!("{cost} KiB for each slow client"));
        }
        if left > 0 {
            wrong.push(format!("{left} slow clients without a header left"));
        }
        Outcome::Tried {
            how: format!(
                "{EACH} each of slow headers, slow bodies, slow readers and idle connections at once, from a hundred addresses; \
                 p99 of normal traffic, memory and descriptors of the server"
            ),
            count: format!(
                "{most} slow clients, p99 {:.1} ms before and {:.1} ms during, {cost} KiB each, {left} left when headers were due",
                millis(calm),
                millis(busy)
            ),
            violations: wrong,
            control: Control {
                failed: stock_left > stock_most / 2,
                told: format!(
                    "axum's own accept loop still had {stock_left} of {stock_most} without a header by then"
                ),
            },
        }
    }
}

fn unserved(samples: &[crowd::Sample]) -> Vec<String> {
    let failed = samples.iter().filter(|sample| sample.status != 200).count();
    if failed == 0 {
        Vec::new()
    } else {
        vec![format!("{failed} of {} normal requests failed", samples.len())]
    }
}

fn took(samples: &[crowd::Sample]) -> Duration {
    p99(samples.iter().map(|sample| sample.took))
}

/// In milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
