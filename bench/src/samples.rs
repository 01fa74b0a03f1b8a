//! How long single answers take, one after the other, of two sides by turns: what disturbs one disturbs the other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::report::{Spread, median};
use crate::{Result, cases::Plan};

/// Fewer samples than this tell nothing.
const FEWEST: usize = 10;
/// One answer that takes longer is a failure.
const LONGEST: Duration = Duration::from_secs(600);

/// What to ask of one side, again and again.
pub(crate) struct Asked<'a> {
    /// `http://host:port`.
    pub(crate) base: &'a str,
    /// Whose request.
    pub(crate) token: Option<&'a str>,
    /// The method and the path.
    pub(crate) what: String,
    /// The JSON body, where there is one; it is told how many were sent before it in this run.
    pub(crate) body: Option<&'a dyn Fn(usize) -> String>,
}

/// What came of both sides.
pub(crate) struct Compared {
    pub(crate) ours: Spread,
    pub(crate) others: Spread,
    /// Of each side in each round.
    pub(crate) samples: usize,
}

/// Asks both sides by turns, in as many rounds as the plan has: medians of the rounds. A round ends when it has as many samples
/// of each side as the plan wants, or has taken as long as the plan lets it.
///
/// # Errors
/// Where an answer is no success.
pub(crate) fn compare(plan: &Plan, ours: &Asked<'_>, others: &Asked<'_>) -> Result<Compared> {
    let mut rounds = Vec::new();
    let (mut count, mut samples) = (0, usize::MAX);
    // The first of each finds caches empty that stay filled.
    for _ in 0..3 {
        for asked in [ours, others] {
            asked.time(count)?;
            count += 1;
        }
    }
    for _ in 0..plan.rounds {
        let (mut first, mut second, begun) = (Vec::new(), Vec::new(), Instant::now());
        while first.len() < plan.samples && (first.len() < FEWEST || begun.elapsed() < plan.patience) {
            first.push(ours.time(count)?);
            second.push(others.time(count + 1)?);
            count += 2;
        }
        samples = samples.min(first.len());
        rounds.push((Spread::of(&mut first), Spread::of(&mut second)));
    }
    let middle =
        |of: &dyn Fn(&(Spread, Spread)) -> Duration| median(rounds.iter().map(of)).unwrap_or_default();
    Ok(Compared {
        ours: Spread { p50: middle(&|round| round.0.p50), p99: middle(&|round| round.0.p99) },
        others: Spread { p50: middle(&|round| round.1.p50), p99: middle(&|round| round.1.p99) },
        samples,
    })
}

impl Asked<'_> {
    /// From the request to the first byte of the answer, which is there when the first piece of a list was read. The connection
    /// is new and was used once before: what accepting it costs is not counted.
    fn time(&self, count: usize) -> Result<Duration> {
        let host = self.base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LONGEST))?;
        let mut read = vec![0; 64 * 1024];
        stream.write_all(format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        let length = stream.read(&mut read)?;
        succeeded(&read[..length], "GET /health/live")?;
        let request = self.request(host, count);
        let asked = Instant::now();
        stream.write_all(request.as_bytes())?;
        let length = stream.read(&mut read)?;
        let taken = asked.elapsed();
        succeeded(&read[..length], &self.what)?;
        Ok(taken)
    }

    fn request(&self, host: &str, count: usize) -> String {
        let body = self.body.map(|body| body(count)).unwrap_or_default();
        let mut request = format!("{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.what);
        if let Some(token) = self.token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if self.body.is_some() {
            request
                .push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(&body);
        request
    }
}

fn succeeded(answer: &[u8], what: &str) -> Result<()> {
    if answer.starts_with(b"HTTP/1.1 2") {
        return Ok(());
    }
    let said = String::from_utf8_lossy(answer);
    Err(format!("{what}: {}", said.chars().take(400).collect::<String>()).into())
}
