//! How fast the server is, against what the machine could do: `cargo run --release -p guildhall-bench`.
//!
//! Every figure is a ratio of two things measured in one run, turn by turn, so that it holds where absolute figures drift:
//! a read against axum answering the same bytes, a durable write against SQLite taking the same rows, a sign-in against
//! the password hash alone, PostgreSQL against pgbench sending the same statements. See README.md beside this package.

use std::process::ExitCode;

use crate::cases::{Case, Plan};

mod bare;
mod cases;
mod client;
mod floor;
mod growth;
mod lists;
mod machine;
mod memory;
mod pgbench;
mod remote;
mod report;
mod samples;
mod server;
mod start;
mod town;
mod world;
mod wrk;

/// A line for who runs this. Nothing here is handled: a run that cannot be trusted ends.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "usage: bench [--quick] [--long] [--size N] [CASE…]
  --quick   a smoke run of some seconds: its figures mean nothing
  --long    memory and pg-memory under an hour of load each
  --size N  organizations, and members of one of them, in the large database: 1000000 if it is not said
  CASE      read, list, create, sign-in, members, upload; on PostgreSQL pg-read, pg-create, pg-nodes, pg-locks;
            with a large database growth, many, memory, start, pg-growth, pg-many, pg-memory;
            all of them where none is named";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["floor", body] => floor::serve(body.as_ref()),
        _ => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let mut plan = Plan::full();
    let mut chosen = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), Case::parse(argument)) {
            ("--quick", _) => plan = Plan::quick(),
            ("--long", _) => plan = plan.long(),
            ("--size", _) => plan.sizes.1 = arguments.next().ok_or(USAGE)?.parse().map_err(|_| USAGE)?,
            (_, Some(case)) => chosen.push(case),
            _ => return Err(USAGE.into()),
        }
    }
    if cfg!(debug_assertions) {
        return Err("a debug build measures nothing: cargo run --release -p guildhall-bench".into());
    }
    if chosen.is_empty() {
        chosen.extend(Case::ALL);
    }
    wrk::find()?;
    let report = cases::run(&plan, &chosen)?;
    println!("{}\n{report}", machine::facts(&plan)?);
    Ok(())
}
