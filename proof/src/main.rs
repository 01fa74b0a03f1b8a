//! What Guildhall promises, tried out on the real program: `cargo run --release -p guildhall-proof`.
//!
//! Each item is one claim. It is tried with a count, and with a control: the same with what guards the claim taken away,
//! which has to fail, so that nobody takes a check that cannot fail for a proof. See README.md beside this package.

use std::path::PathBuf;
use std::process::ExitCode;

use guildhall_domain::clock::Random;

use crate::item::Item;
use crate::page::Page;
use crate::place::Place;

mod client;
mod compare;
mod crowd;
mod disk;
mod faults;
mod floor;
mod fuzz;
mod item;
mod kill;
mod ledger;
mod machine;
mod overload;
mod page;
mod place;
mod power_cut;
mod process;
mod revocation;
mod secrets;
mod slow;
mod speed;
mod suite;
mod supply;
mod timing;
mod tracer;
mod workload;

/// A line for who runs this. Nothing here is handled: a run that cannot be trusted ends.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "usage: proof [quick|long] [--seed N] [--write FILE] [ITEM…]
  quick         a few of each, for every change (the default)
  long          as many of each as a release is judged by
  --seed N      repeats what chance decided in a run that told this seed
  --write FILE  writes the page of the whole run, docs/proof.md
  --program FILE  the program that is tried, in place of this checkout's release build
  ITEM          one of those that `proof --list` lists; all of them where none is named";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("proof: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was asked for.
struct Wish {
    long: bool,
    seed: u64,
    write: Option<PathBuf>,
    program: Option<PathBuf>,
    items: Vec<Item>,
}

impl Wish {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut wish =
            Self { long: false, seed: fresh_seed(), write: None, program: None, items: Vec::new() };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match (argument.as_str(), Item::parse(argument)) {
                ("quick", _) => wish.long = false,
                ("long", _) => wish.long = true,
                ("--seed", _) => wish.seed = arguments.next().ok_or(USAGE)?.parse()?,
                ("--write", _) => wish.write = Some(arguments.next().ok_or(USAGE)?.into()),
                ("--program", _) => wish.program = Some(arguments.next().ok_or(USAGE)?.into()),
                (_, Some(item)) => wish.items.push(item),
                _ => return Err(USAGE.into()),
            }
        }
        if wish.items.is_empty() {
            wish.items.extend(Item::ALL);
        }
        Ok(wish)
    }
}

fn fresh_seed() -> u64 {
    u64::from(u32::from_le_bytes(Random::system().bytes()))
}

/// Runs what was asked for; answers whether all of it held.
fn run(arguments: &[String]) -> Result<bool> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => {
            Item::ALL.iter().for_each(|item| println!("{:18} {}", item.name(), item.claim()));
            return Ok(true);
        }
        // What a control runs.
        ["floor", busy] => return floor::serve(busy).map(|()| true),
        ["bare", file] => return faults::bare(file.as_ref()).map(|()| true),
        _ => {}
    }
    let wish = Wish::parse(arguments)?;
    if cfg!(debug_assertions) {
        return Err("a debug build proves little: cargo run --release -p guildhall-proof".into());
    }
    let program = match wish.program {
        Some(program) => std::path::absolute(program)?,
        None => process::build()?,
    };
    let place = Place::new(program, wish.long, wish.seed)?;
    let versions = machine::versions(&place.program)?;
    let mut page = Page::new(wish.long);
    for item in wish.items {
        let told = item.run(&place)?;
        println!("{}; {versions}", told.line(wish.seed));
        page.add(told);
    }
    if let Some(file) = wish.write {
        std::fs::write(file, page.render(&place)?)?;
    }
    Ok(page.all_held())
}
