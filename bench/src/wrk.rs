//! The load: wrk, driven by a Lua script that says what to send and prints the figures in one line.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Result;

/// What is to be sent, to whom, by how many at once.
pub(crate) struct Load<'a> {
    /// `http://host:port/path`.
    pub(crate) url: &'a str,
    /// Connections, each with one request at a time.
    pub(crate) connections: u32,
    /// Threads of wrk, which share the connections.
    pub(crate) threads: u32,
    /// A Lua script for wrk; empty for plain GETs.
    pub(crate) script: &'a str,
}

/// What wrk measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Prints what [`read`] reads: microseconds and counts, in one line.
const DONE: &str = r#"
done = function(summary, latency)
    local e = summary.errors
    io.write(string.format("figures %d %d %d %d %d\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.timeout + e.status))
end
"#;

/// A GET with that credential.
pub(crate) fn get(token: &str) -> String {
    format!("wrk.headers['Authorization'] = 'Bearer {token}'\n")
}

/// Spreads the connections over those servers, a thread of wrk for each, which knows its number as `place`.
pub(crate) fn spread(bases: &[&str]) -> String {
    let hosts =
        bases.iter().map(|base| base.trim_start_matches("http://").split_once(':').unwrap_or_default());
    let places: Vec<String> = hosts.map(|(host, port)| format!("{{'{host}', '{port}'}}")).collect();
    format!(
        r#"local places, given = {{ {} }}, 0
setup = function(thread)
    given = given + 1
    thread:set('place', given)
    thread.addr = wrk.lookup(unpack(places[given]))[1]
end
"#,
        places.join(", ")
    )
}

/// What `wrk -v` says of itself.
///
/// # Errors
/// Where there is no wrk.
pub(crate) fn find() -> Result<String> {
    let out = Command::new("wrk")
        .arg("-v")
        .output()
        .map_err(|_| "wrk is missing, which makes the load: apt-get install wrk")?;
    let said = String::from_utf8_lossy(&out.stdout);
    Ok(said.split(" Copyright").next().unwrap_or_default().trim().to_owned())
}

/// Sends `load` for so long.
///
/// # Errors
/// Where one request was not answered with success: figures of failures would look well.
pub(crate) fn run(load: &Load<'_>, lasting: Duration, folder: &Path) -> Result<Figures> {
    let script = folder.join("load.lua");
    std::fs::write(&script, format!("{}{DONE}", load.script))?;
    let out = Command::new("wrk")
        .args([
            "-t",
            &load.threads.to_string(),
            "-c",
            &load.connections.to_string(),
            "-d",
            &format!("{}s", lasting.as_secs()),
        ])
        .args(["--timeout", "30s", "-s"])
        .arg(&script)
        .arg(load.url)
        .stderr(Stdio::inherit())
        .output()?;
    let said = String::from_utf8_lossy(&out.stdout);
    read(&said).ok_or_else(|| format!("wrk failed, or not every answer was a success:\n{said}").into())
}

fn read(said: &str) -> Option<Figures> {
    let line = said.lines().find_map(|line| line.strip_prefix("figures "))?;
    let numbers: Vec<u32> = line.split(' ').map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
    let [requests, duration, p50, p99, 0] = numbers[..] else { return None };
    (requests > 0 && duration > 0).then(|| Figures {
        per_second: f64::from(requests) * 1e6 / f64::from(duration),
        p50: Duration::from_micros(p50.into()),
        p99: Duration::from_micros(p99.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_among_other_lines_and_refused_with_one_error() {
        let figures = read("Running 1s test\nfigures 5000 500000 120 900 0\n").unwrap();
        assert!((figures.per_second - 10_000.0).abs() < 1e-6);
        assert_eq!((figures.p50.as_micros(), figures.p99.as_micros()), (120, 900));
        assert!(read("figures 5000 500000 120 900 1\n").is_none());
        assert!(read("unable to connect\n").is_none());
    }
}
