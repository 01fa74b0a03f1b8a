//! How fast the server is, by bench/: its table stands on the page as it is.

use std::process::Command;

use crate::Result;
use crate::item::{Control, Outcome};
use crate::place::Place;

/// The first words of a row that misses its goal are its case; this marks it.
const MISSED: &str = "**missed**";
/// With what bench/ compares durable writes: the server without commits that many share, and SQLite with them.
const ALONE: &str = "the same server, a commit for each";
const SHARED: &str = "SQLite alone, a commit for 64";
/// The least part of the latter that is good.
const GOAL: f64 = 0.7;

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    if Command::new("wrk").arg("-v").output().is_err() {
        return Ok(Outcome::Skipped("wrk is missing: apt-get install wrk".into()));
    }
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = Command::new("cargo");
    command.args(["run", "--release", "--quiet", "-p", "guildhall-bench", "--manifest-path", manifest, "--"]);
    if !place.long {
        command.arg("--quick");
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("bench: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(judged(String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn judged(report: String) -> Outcome {
    let rows: Vec<Vec<&str>> = report.lines().filter_map(cells).collect();
    let first = |row: &Vec<&str>| row.first().copied().unwrap_or_default().to_owned();
    let short: Vec<String> = report
        .lines()
        .filter(|line| line.contains(MISSED))
        .map(|line| cells(line).as_ref().map_or_else(|| line.to_owned(), first))
        .collect();
    let against = |what: &str| {
        let row = rows.iter().find(|row| row.get(4) == Some(&what))?;
        row.get(5)?.replace(',', "").parse::<f64>().ok()
    };
    let control = match (against(ALONE), against(SHARED)) {
        (Some(alone), Some(shared)) => Control {
            failed: alone / shared < GOAL,
            told: format!(
                "the server with a commit for each request reaches {:.2} of what SQLite alone does with a commit for 64, where \
                 {GOAL} is the goal",
                alone / shared
            ),
        },
        _ => Control { failed: false, told: "bench/ has no row of a commit for each request".into() },
    };
    let is_head = |row: &&Vec<&str>| row.first() == Some(&"case");
    let count = format!("{} rows", rows.iter().filter(|row| !is_head(row)).count());
    Outcome::Measured {
        how:
            "bench/: each figure a ratio to its floor in the same run, or of a large database to a small one"
                .into(),
        count,
        short,
        control,
        report,
    }
}

/// The cells of a row of a table; nothing for a line that is none.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    (!inner.starts_with("---")).then(|| inner.split('|').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_judged() {
        let report = "\
| case | requests/s | p50 | p99 | against | its /s | ratio | at least |
|---|---:|---:|---:|---|---:|---:|---:|
| create | 7,700 | 7 ms | 23 ms | the same server, a commit for each | 1,256 | 6.13 | 5 |
| the same | 7,700 | 7 ms | 23 ms | SQLite alone, a commit for 64 | 13,615 | 0.57 **missed** | 0.7 |
";
        let Outcome::Measured { count, short, control, .. } = judged(report.into()) else {
            panic!("it was measured")
        };
        assert_eq!((count.as_str(), short), ("2 rows", vec!["the same".to_owned()]));
        assert!(control.failed && control.told.contains("0.09"), "{}", control.told);
    }
}
