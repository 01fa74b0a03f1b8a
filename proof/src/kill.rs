//! The process is killed: at any moment under load, and at each call that changes a file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::compare::Comparer;
use crate::item::{Control, Outcome};
use crate::ledger::Ledger;
use crate::place::{Place, below};
use crate::process::{self, Server};
use crate::workload::{Crew, Load, Writer, refusals};
use crate::{Result, side_by_side, tracer};

/// Clients that write at the same time.
const WRITERS: usize = 8;
/// Kills in one data folder.
const KILLS_IN_A_FOLDER: usize = 20;
/// The longest time that a server lives, in milliseconds.
const LONGEST: usize = 120;
/// Writes of the fixed script.
const SCRIPT: usize = 200;
/// What changes files: SQLite's writes, those of others, syncs, and what gives and takes names and lengths.
const CALLS: [&str; 8] =
    ["pwrite64", "write", "fdatasync", "fsync", "rename", "renameat", "ftruncate", "unlink"];

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    if let Some(missing) = tracer::missing() {
        return Ok(Outcome::Skipped(missing));
    }
    let mut tally = Tally::default();
    while tally.kills < place.number(40, 200) {
        at_random(place, &mut tally)?;
    }
    let random = tally.kills;
    for script in Script::ALL {
        at_each(place, script, &mut tally)?;
    }
    let (failed, told) = control(place)?;
    Ok(Outcome::Tried {
        how: format!(
            "kill -9 at random moments while {WRITERS} clients make every kind of write, and at the Nth {} of {SCRIPT} writes, \
             of a first start, a backup and a key rotation; then a start, every acknowledged write looked for, `guildhall check`",
            CALLS.join(", ")
        ),
        count: format!(
            "{random} random kills and {} chosen ones, {} acknowledged writes compared",
            tally.kills - random,
            tally.acknowledged
        ),
        violations: tally.wrong,
        control: Control { failed, told },
    })
}

#[derive(Default)]
struct Tally {
    kills: usize,
    acknowledged: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.acknowledged += other.acknowledged;
        self.wrong.extend(other.wrong);
    }
}

/// One folder, whose server is killed and started again.
fn at_random(place: &Place, tally: &mut Tally) -> Result<()> {
    let random = place.random(&format!("kill {}", tally.kills));
    let data = place.path("data");
    let crew = Crew::found(&place.program, &data, WRITERS)?;
    let ledger = Arc::new(Ledger::default());
    let comparer = Comparer { place, crew: &crew, ledger: &ledger };
    for _ in 0..KILLS_IN_A_FOLDER {
        let log = place.path("server.log");
        let server = Server::start(&mut process::serving(&place.program, &data), log)?;
        let load = Load::start(&server.address, &crew, &random, &ledger);
        std::thread::sleep(Duration::from_millis(below(&random, LONGEST) as u64));
        server.kill()?;
        tally.wrong.extend(refusals(&load.stop()));
        tally.kills += 1;
    }
    tally.wrong.extend(comparer.restart(&data, ledger.mark())?);
    tally.acknowledged += ledger.successes(ledger.mark());
    std::fs::remove_dir_all(data)?;
    Ok(())
}

/// What is done while a call is the last one.
#[derive(Clone, Copy, Debug)]
enum Script {
    Writes,
    FirstStart,
    Backup,
    Rotation,
}

impl Script {
    const ALL: [Self; 4] = [Self::Writes, Self::FirstStart, Self::Backup, Self::Rotation];

    fn is_served(self) -> bool {
        matches!(self, Self::Writes | Self::FirstStart)
    }

    /// The command that is traced.
    fn command(self, place: &Place, data: &Path) -> Result<Command> {
        let copy = copy_of(data);
        let copy = copy.to_str().ok_or("a path that is no text")?;
        Ok(match self {
            Self::Writes | Self::FirstStart => process::serving(&place.program, data),
            Self::Backup => process::command(&place.program, data, &["backup", copy]),
            Self::Rotation => process::command(&place.program, data, &["signing-key", "rotate"]),
        })
    }
}

fn copy_of(data: &Path) -> PathBuf {
    data.with_extension("copy")
}

/// Where each attempt begins.
struct Beginning {
    script: Script,
    /// A data folder with the crew's accounts; it is not there before a first start.
    folder: PathBuf,
    crew: Crew,
}

impl Beginning {
    fn of(place: &Place, script: Script) -> Result<Self> {
        let folder = place.path("beginning");
        let crew = match script {
            Script::FirstStart => Crew(Arc::default()),
            _ => Crew::found(&place.program, &folder, 2)?,
        };
        Ok(Self { script, folder, crew })
    }

    /// A data folder of its own for one attempt.
    fn data(&self, place: &Place) -> Result<PathBuf> {
        let data = place.path("data");
        if self.folder.exists() {
            let copied = Command::new("cp").arg("-a").args([&self.folder, &data]).status()?;
            if !copied.success() {
                return Err(format!("{} could not be copied", self.folder.display()).into());
            }
        }
        Ok(data)
    }
}

/// Counts the calls of the script, then kills it at the first, the second, and so on.
fn at_each(place: &Place, script: Script, tally: &mut Tally) -> Result<()> {
    let trace = place.path("trace");
    let count = format!("trace={}", CALLS.join(","));
    let beginning = Beginning::of(place, script)?;
    attempt(place, &beginning, (&["-e", &count], &trace), &mut Tally::default())?;
    let counts = tracer::counts(&trace, &CALLS)?;
    let all = CALLS.iter().zip(counts).flat_map(|(call, count)| (1..=count).map(move |nth| (*call, nth)));
    let all: Vec<(&str, usize)> = all.collect();
    let random = place.random(&format!("at each {script:?}"));
    let few = place.number(6, usize::MAX);
    let chosen: Vec<(&str, usize)> =
        if all.len() <= few { all } else { (0..few).map(|_| all[below(&random, all.len())]).collect() };
    let tally = Mutex::new(tally);
    let kill_at = |(call, nth): (&str, usize)| {
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={nth}"));
        let mut one = Tally::default();
        attempt(place, &beginning, (&["-e", &trace, "-e", &inject], "/dev/null".as_ref()), &mut one)
            .map_err(|error| error.to_string())?;
        for wrong in &mut one.wrong {
            wrong.push_str(&format!(" (killed at {call} number {nth} of {script:?})"));
        }
        tally.lock().unwrap_or_else(PoisonError::into_inner).add(one);
        Ok(())
    };
    // An attempt waits for the disk most of its time.
    Ok(side_by_side(chosen, if place.long { 4 } else { 1 }, kill_at)?)
}

/// Runs the script once under strace with these options, then looks at what is left.
fn attempt(
    place: &Place,
    beginning: &Beginning,
    (options, trace): (&[&str], &Path),
    tally: &mut Tally,
) -> Result<()> {
    let (script, crew, data) = (beginning.script, &beginning.crew, beginning.data(place)?);
    // The same accounts, names and pictures each time: so the Nth call is the same.
    let random = place.random("script");
    let ledger = Arc::new(Ledger::default());
    let mut command = tracer::under(options, trace, &script.command(place, &data)?);
    if script.is_served() {
        // A server that is killed before it listens does not start.
        if let Ok(server) = Server::start(&mut command, place.path("server.log")) {
            if !matches!(script, Script::FirstStart) {
                let mut writer = Writer::new(0, crew, (&server.address, random), &ledger);
                // It ends with the server.
                let halt = (0..SCRIPT).find_map(|_| writer.step().err());
                tally.wrong.extend(refusals(halt.as_slice()));
            }
            server.stop()?;
        }
    } else {
        process::finish(&mut command, "")?;
    }
    tally.kills += 1;
    let comparer = Comparer { place, crew, ledger: &ledger };
    tally.wrong.extend(comparer.restart(&data, ledger.mark())?);
    tally.acknowledged += ledger.successes(ledger.mark());
    if !script.is_served() {
        tally.wrong.extend(again(place, script, &data)?);
    }
    std::fs::remove_dir_all(data)?;
    Ok(())
}

/// A command that was killed can be given again; and a backup is whole or not there.
fn again(place: &Place, script: Script, data: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let copy = copy_of(data);
    let is_backup = matches!(script, Script::Backup);
    if !is_backup || !copy.exists() {
        let done = process::finish(&mut script.command(place, data)?, "")?;
        if !done.status.success() {
            wrong.push(format!("given again: {}", done.err));
        }
    }
    if is_backup {
        let url = format!("sqlite:{}", copy.display());
        let mut check = process::command(&place.program, data, &["check", "--database", &url]);
        let done = process::finish(&mut check, "")?;
        if !done.status.success() {
            wrong.push(format!("the backup: {}{}", done.out, done.err));
        }
        std::fs::remove_file(copy)?;
    }
    Ok(wrong)
}

/// A server that answers before anything is written: what SQLite writes and syncs is told to have been, and never is.
fn control(place: &Place) -> Result<(bool, String)> {
    let data = place.path("data");
    let crew = Crew::found(&place.program, &data, 2)?;
    let ledger = Arc::new(Ledger::default());
    let log = data.join("guildhall.db-wal");
    let lie =
        ["-P", log.to_str().ok_or("a path that is no text")?, "-e", "inject=pwrite64:retval=4096:when=40+"];
    let serving = process::serving(&place.program, &data);
    let mut serving = tracer::under(&lie, "/dev/null".as_ref(), &serving);
    let server = Server::start(&mut serving, place.path("server.log"))?;
    let mut writer = Writer::new(0, &crew, (&server.address, place.random("control")), &ledger);
    // It ends where the server notices.
    let _ = (0..SCRIPT).find_map(|_| writer.step().err());
    server.kill()?;
    let wrong = Comparer { place, crew: &crew, ledger: &ledger }.restart(&data, ledger.mark())?;
    let count = ledger.successes(ledger.mark());
    let told = format!(
        "with writes of the log that never happen, {} of {count} acknowledged were missed",
        wrong.len()
    );
    Ok((!wrong.is_empty(), told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_a_trace_are_counted_by_thread() {
        let file = std::env::temp_dir().join(format!("guildhall-proof-trace-{}", std::process::id()));
        std::fs::write(
            &file,
            "12 fsync(3</a>) = 0\n13 fsync(3</a>) = 0\n12 fsync(3</a>) = 0\n12 write(1, \"x\", 1) = 1\n",
        )
        .unwrap();
        assert_eq!(tracer::counts(&file, &["fsync", "write", "rename"]).unwrap(), [2, 1, 0]);
        std::fs::remove_file(file).unwrap();
    }
}
