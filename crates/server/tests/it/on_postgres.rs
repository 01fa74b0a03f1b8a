//! Every test whose rows are in a [`crate::place::Place`] once more, on PostgreSQL: this binary runs itself.

use std::process::{Command, Stdio};

use crate::place::ENGINE;
use crate::sources::{Source, files};

/// What is not run once more, and why. Parts of the names of tests.
const SKIPPED: [(&str, &str); 1] = [("engines::", "is on both by itself")];

/// The path of the module that a file is, if tests in it keep rows: `crates/server/tests/it/bit/events.rs` is
/// `bit::events::`.
fn module(source: &Source) -> Option<String> {
    let keeps_rows = ["House::", "Place::new"].iter().any(|word| source.text.contains(word));
    let path = source.path.strip_prefix("crates/server/tests/it/")?.strip_suffix(".rs")?;
    (keeps_rows && path != "on_postgres").then(|| format!("{}::", path.replace('/', "::")))
}

#[test]
fn every_test_of_the_apis_passes_on_postgresql_too() {
    if testpg::programs().is_none() {
        return testpg::skip();
    }
    let modules: Vec<String> = files("crates/server/tests/it", &[".rs"]).iter().filter_map(module).collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(&modules).env(ENGINE, "postgres").stdin(Stdio::null());
    for (name, _) in SKIPPED {
        command.args(["--skip", name]);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let passed = text.rsplit_once(" passed").and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
    let passed: usize = passed.expect("the runner counts");
    assert!(passed > 200, "only {passed} of {modules:?}");
    println!("{passed} tests passed on PostgreSQL");
}
