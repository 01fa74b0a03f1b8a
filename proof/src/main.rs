//! What Guildhall promises, tried out on the real program: `cargo run --release -p guildhall-proof`.
//!
//! Each item is one claim. It is tried with a count, and with a control: the same with what guards the claim taken away,
//! which has to fail, so that nobody takes a check that cannot fail for a proof. See README.md beside this package.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

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
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage: proof [quick|long] [--seed N] [--write FILE] [ITEM…]
  quick         a few of each, for every change (the default)
  long          as many of each as a release is judged by
  --seed N      repeats what chance decided in a run that told this seed
  --write FILE  writes the page, docs/proof.md; the rows of what is not tried stay
  --times-aside what is a matter of times alone is told and does not decide the exit code: for a machine that does other things
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
    times_aside: bool,
    items: Vec<Item>,
}

impl Wish {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut wish = Self {
            long: false,
            seed: fresh_seed(),
            write: None,
            program: None,
            times_aside: false,
            items: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match (argument.as_str(), Item::parse(argument)) {
                ("quick", _) => wish.long = false,
                ("long", _) => wish.long = true,
                ("--times-aside", _) => wish.times_aside = true,
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

/// Tries each, so many at a time, in this order.
fn side_by_side<T: Send>(
    all: Vec<T>,
    lanes: usize,
    try_one: impl Fn(T) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let left = Mutex::new(all.into_iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let lane = || std::iter::from_fn(next).try_for_each(&try_one);
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| "one of them panicked")?)
    })
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
    let page = Mutex::new(Page::new(&place)?);
    let (alone, mut together): (Vec<Item>, Vec<Item>) =
        wish.items.into_iter().partition(|item| item.is_alone());
    together.sort_by_key(|item| !item.is_long());
    let try_one = |item: Item| {
        let told = item.run(&place)?;
        println!("{}; {versions}", told.line(wish.seed));
        let mut page = page.lock().unwrap_or_else(PoisonError::into_inner);
        page.add(told);
        // Each as soon as it is known: a long run may be ended before its end, and another may write rows of its own meanwhile.
        if let Some(file) = &wish.write {
            let earlier = std::fs::read_to_string(file).unwrap_or_default();
            std::fs::write(file, page.render(&place, &earlier)?)?;
        }
        Ok(())
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    side_by_side(together, processors, |item| {
        try_one(item).map_err(|error: Box<dyn std::error::Error>| format!("{}: {error}", item.name()))
    })?;
    for item in alone {
        match try_one(item) {
            Err(error) if wish.times_aside && item.is_clocked() => eprintln!("{}: {error}", item.name()),
            tried => tried?,
        }
    }
    let page = page.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(page.all_held(|item| !(wish.times_aside && item.is_clocked())))
}
