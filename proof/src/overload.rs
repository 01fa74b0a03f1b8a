//! More is asked than can be done: what can be done is, and the rest is told at once.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Call;
use crate::crowd::{self, Sample, p99};
use crate::item::{Control, Outcome};
use crate::place::Place;
use crate::process::{self, Server};
use crate::slow::{millis, organizations};
use crate::{Result, disk, floor};

/// How many times its capacity the server is asked for.
const TIMES: f64 = 10.0;
/// The least share of the peak that is still done.
const GOODPUT: f64 = 0.8;
/// How soon the rest is told.
const TOLD_WITHIN: Duration = Duration::from_millis(100);
/// How soon all is as before.
const NORMAL_WITHIN: Duration = Duration::from_secs(5);
/// What normal is, and what other routes keep while sign-ins pour in.
const NORMAL: Duration = Duration::from_millis(50);
/// Sign-ins that pour in, a second: some ten times what two cores can hash.
const SIGN_INS: f64 = 600.0;

/// What a flood came to.
struct Flood {
    peak: f64,
    goodput: f64,
    turned_away: usize,
    told: Duration,
    untold: usize,
    back: Duration,
}

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Ok(Outcome::Skipped("the server and its clients need a processor each".into()));
    }
    crowd::open_many()?;
    let data = place.path("data");
    let token = process::user(&place.program, &data, "owner")?;
    let serving = process::serving(&place.program, &data);
    let server = Server::start(&mut crowd::pinned(0, &serving), place.path("server.log"))?;
    organizations(&server, &token, 400)?;
    let lasting = Duration::from_secs(place.number(6, 30) as u64);
    let call = Call::get("/api/v1/organizations/").by(&token);
    let runtime = crowd::runtime()?;
    // The crowd keeps to the other processor.
    disk::tool("taskset", &["-a", "-cp", "1", &std::process::id().to_string()])?;
    let flood = runtime.block_on(flood(&server.address, &call, lasting))?;
    let (mut wrong, short) = (flood.wrong(), flood.told());
    let stock = floor::command(Duration::from_millis(2))?;
    let stock = Server::start(&mut crowd::pinned(0, &stock), place.path("floor.log"))?;
    let control = runtime.block_on(self::flood(
        &stock.address,
        &Call::get("/"),
        lasting.min(Duration::from_secs(6)),
    ))?;
    let all =
        (0..std::thread::available_parallelism()?.get().max(2)).map(|n| n.to_string()).collect::<Vec<_>>();
    disk::tool("taskset", &["-a", "-cp", &all.join(","), &std::process::id().to_string()])?;
    drop(server);
    let server = Server::start(&mut process::serving(&place.program, &data), place.path("server.log"))?;
    let others = runtime.block_on(sign_ins(&server.address, &token, lasting))?;
    if others > NORMAL {
        wrong.push(format!("p99 of other routes was {others:?} while sign-ins poured in"));
    }
    Ok(Outcome::Tried {
        how: format!(
            "a list of 400 asked for at {TIMES} times the capacity by an open loop, server and crowd on a processor each; \
             {SIGN_INS} sign-ins a second while another route is measured"
        ),
        count: format!("{short}; p99 of other routes {:.0} ms under a flood of sign-ins", millis(others)),
        violations: wrong,
        control: Control {
            failed: !control.wrong().is_empty(),
            told: format!("axum's own accept loop with 2 ms of work: {}", control.told()),
        },
    })
}

impl Flood {
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.goodput < GOODPUT * self.peak {
            wrong.push(format!("{:.0} answered a second, where {:.0} can be", self.goodput, self.peak));
        }
        if self.untold > 0 {
            wrong.push(format!("{} requests were not answered, or not told when to come back", self.untold));
        }
        if self.turned_away == 0 {
            wrong.push("nobody was turned away".into());
        }
        if self.told > TOLD_WITHIN {
            wrong.push(format!("turned away after {:?}", self.told));
        }
        if self.back > NORMAL_WITHIN {
            wrong.push(format!("normal after {:?}", self.back));
        }
        wrong
    }

    fn told(&self) -> String {
        format!(
            "{:.0} of at most {:.0} answered a second, {} turned away within {:.0} ms (p99), {} not answered, normal after {:.1} s",
            self.goodput,
            self.peak,
            self.turned_away,
            millis(self.told),
            self.untold,
            self.back.as_secs_f64()
        )
    }
}

fn answered(samples: &[Sample]) -> usize {
    samples.iter().filter(|sample| sample.status == 200).count()
}

/// Finds what the server can do, asks for ten times that, and waits until all is normal.
async fn flood(address: &str, call: &Call, lasting: Duration) -> Result<Flood> {
    let measured = Duration::from_secs(3);
    crowd::steady(address, call, (16, Duration::ZERO), Duration::from_secs(1)).await?;
    let peak = answered(&crowd::steady(address, call, (16, Duration::ZERO), measured).await?) as f64;
    let peak = peak / measured.as_secs_f64();
    let samples = crowd::flood(address, call, (TIMES * peak, lasting)).await?;
    let begun = Instant::now();
    let mut normal = 0;
    // Ten in a row.
    while normal < 10 && begun.elapsed() < 2 * NORMAL_WITHIN {
        let one = crowd::steady(address, call, (1, Duration::ZERO), Duration::from_millis(1)).await?;
        let is_normal = one.iter().all(|sample| sample.status == 200 && sample.took < NORMAL);
        normal = if is_normal { normal + 1 } else { 0 };
    }
    let back = begun.elapsed();
    let away: Vec<&Sample> =
        samples.iter().filter(|sample| matches!(sample.status, 429 | 503) && sample.told_when).collect();
    let goodput = answered(&samples);
    Ok(Flood {
        peak,
        goodput: goodput as f64 / lasting.as_secs_f64(),
        turned_away: away.len(),
        told: p99(away.iter().map(|sample| sample.took)),
        untold: samples.len() - goodput - away.len(),
        back,
    })
}

/// The p99 of another route while sign-ins pour in.
async fn sign_ins(address: &str, token: &str, lasting: Duration) -> Result<Duration> {
    let body = json!({"email": "nobody@example.com", "password": "a wrong password"});
    let sign_in = Call::new("POST", "/api/account/login").json(&body);
    let other = Call::get("/v1/user/me").by(token);
    let (_, others) = tokio::try_join!(
        crowd::flood(address, &sign_in, (SIGN_INS, lasting)),
        crowd::steady(address, &other, (2, Duration::from_millis(10)), lasting),
    )?;
    if others.iter().any(|sample| sample.status != 200) {
        return Err("another route was not answered while sign-ins poured in".into());
    }
    Ok(p99(others.iter().map(|sample| sample.took)))
}
