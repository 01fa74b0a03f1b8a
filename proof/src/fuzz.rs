//! What the server answers is what its descriptions say, whatever is sent: schemathesis by way of `fuzz/fuzz.py`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Result;
use crate::item::{Control, Outcome};
use crate::place::Place;

/// The requests of the two tiers.
const REQUESTS: (usize, usize) = (10_000, 500_000);
/// The requests of the control, to one API as one role.
const CONTROL: usize = 100;

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    if Command::new("python3").args(["-m", "venv", "--help"]).output().is_ok_and(|out| out.status.success()) {
        tried(place)
    } else {
        Ok(Outcome::Skipped("python3 is missing: apt-get install python3 python3-venv".into()))
    }
}

fn tried(place: &Place) -> Result<Outcome> {
    let all = fuzz(place, place.number(REQUESTS.0, REQUESTS.1), &[])?;
    let control = fuzz(place, CONTROL, &["--control", "--dialect", "stormz", "--role", "owner"])?;
    let text = |key: &str| all[key].as_str().unwrap_or_default().to_owned();
    Ok(Outcome::Tried {
        how: format!(
            "schemathesis {} with all its checks, to the five APIs as nobody, member, admin and owner",
            text("schemathesis")
        ),
        count: format!(
            "{} requests, {} server errors, {} panics",
            all["requests"], all["server_errors"], all["panics"]
        ),
        violations: findings(&all),
        control: Control {
            failed: !findings(&control).is_empty(),
            told: format!("with 404 left out of a description, {} findings", findings(&control).len()),
        },
    })
}

/// What was found, a line each.
fn findings(told: &Value) -> Vec<String> {
    let found = told["findings"].as_array().into_iter().flatten();
    found.map(Value::to_string).collect()
}

/// What a run of the script tells.
fn fuzz(place: &Place, requests: usize, further: &[&str]) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz.py");
    let result = place.path("fuzz.json");
    let out = Command::new("python3")
        .arg(script)
        .args(["--requests", &requests.to_string(), "--seed", &(place.seed % (1 << 31)).to_string()])
        .arg("--program")
        .arg(&place.program)
        .arg("--json")
        .arg(&result)
        .args(further)
        .output()?;
    let told = std::fs::read_to_string(&result)
        .map_err(|_| format!("fuzz.py: {}", String::from_utf8_lossy(&out.stderr)))?;
    Ok(serde_json::from_str(&told)?)
}
