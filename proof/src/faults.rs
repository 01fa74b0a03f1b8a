//! The disk fails to keep what it is told, or is full.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Answer, Call, Client};
use crate::compare::Comparer;
use crate::disk::{self, Mount};
use crate::item::{Control, Outcome};
use crate::ledger::Ledger;
use crate::place::{Place, below};
use crate::process::{self, Server};
use crate::workload::{Crew, Halt, Writer};
use crate::{Result, tracer};

/// Writes that are tried before the fault, and after it.
const WRITES: usize = 60;
/// How soon there is full service again.
const WITHIN: Duration = Duration::from_secs(2);

/// What came of writes during a fault.
#[derive(Default)]
struct Told {
    acknowledged: usize,
    refused: usize,
    wrong: Vec<String>,
}

impl Told {
    /// Counts one write, and looks at how it was refused.
    fn count(&mut self, step: std::result::Result<(), Halt>) {
        match step {
            Ok(()) => self.acknowledged += 1,
            Err(Halt::Refused(answer)) => {
                self.refused += 1;
                self.wrong.extend(unclear(&answer));
            }
            Err(Halt::Broken(error)) => self.wrong.push(format!("not answered: {error}")),
        }
    }
}

/// What is wrong with a refusal that is to say: not now.
fn unclear(answer: &Answer) -> Option<String> {
    let is_clear = matches!(answer.status, 503 | 507) && answer.header("retry-after").is_some();
    (!is_clear).then(|| format!("refused with {}: {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

/// What is wrong with reading, where it has to go on.
fn reading(server: &Server, crew: &Crew) -> Option<String> {
    let answer = Client::new(&server.address).call(&Call::get("/v1/user/me").by(crew.token(0)));
    match answer {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => Some(format!("a read was answered with {}", answer.status)),
        Err(error) => Some(format!("a read was not answered: {error}")),
    }
}

pub(crate) fn failed_sync(place: &Place) -> Result<Outcome> {
    if let Some(missing) = tracer::missing() {
        return Ok(Outcome::Skipped(missing));
    }
    let random = place.random("failed-sync");
    let mut tally = (Told::default(), 0);
    for _ in 0..place.number(6, 200) {
        let nth = 3 + below(&random, WRITES);
        sync_fails(place, nth, &mut tally)?;
    }
    let (told, faults) = tally;
    let (failed, control) = forgets(place)?;
    Ok(Outcome::Tried {
        how: "EIO for the Nth sync of the database while a client writes; then writes, reads and readiness looked at, every \
              later sync of it in the trace counted, and a new start compared"
            .into(),
        count: format!("{faults} failed syncs, {} writes refused after them", told.refused),
        violations: told.wrong,
        control: Control { failed, told: control },
    })
}

/// One server whose sync of that number fails.
fn sync_fails(place: &Place, nth: usize, (told, faults): &mut (Told, usize)) -> Result<()> {
    let data = place.path("data");
    let crew = Crew::found(&place.program, &data, 2)?;
    let ledger = Arc::new(Ledger::default());
    let trace = place.path("trace");
    let (file, log) = (data.join("guildhall.db"), data.join("guildhall.db-wal"));
    let inject = format!("inject=fdatasync,fsync:error=EIO:when={nth}");
    let (file, log) = (file.to_str().ok_or("no text")?, log.to_str().ok_or("no text")?);
    let options = ["-P", file, "-P", log, "-e", "trace=fdatasync,fsync", "-e", &inject];
    let mut serving = tracer::under(&options, &trace, &process::serving(&place.program, &data));
    let server = Server::start(&mut serving, place.path("server.log"))?;
    let mut writer = Writer::new(0, &crew, (&server.address, place.random("failed-sync writer")), &ledger);
    let first = (0..2 * WRITES).find_map(|_| writer.step().err());
    match first {
        Some(Halt::Refused(answer)) => told.wrong.extend(unclear(&answer)),
        other => told.wrong.push(format!("sync {nth} failed, and was not told: {other:?}")),
    }
    let mut after = Told::default();
    (0..20).for_each(|_| after.count(writer.step()));
    if after.acknowledged > 0 {
        told.wrong.push(format!("{} writes acknowledged after sync {nth} failed", after.acknowledged));
    }
    told.refused += after.refused;
    told.wrong.extend(after.wrong);
    told.wrong.extend(reading(&server, &crew));
    let ready = Client::new(&server.address).call(&Call::get("/health/ready"))?.status;
    if ready != 503 {
        told.wrong.push(format!("ready is answered with {ready}"));
    }
    server.stop()?;
    *faults += 1;
    told.wrong.extend(tried_again(&trace)?);
    told.wrong.extend(Comparer { place, crew: &crew, ledger: &ledger }.restart(&data, ledger.mark())?);
    std::fs::remove_dir_all(data)?;
    Ok(())
}

/// The syncs after the one that failed.
fn tried_again(trace: &Path) -> Result<Option<String>> {
    let text = String::from_utf8_lossy(&std::fs::read(trace)?).into_owned();
    let mut after =
        text.lines().filter(|line| line.contains("sync")).skip_while(|line| !line.contains("(INJECTED)"));
    Ok(match (after.next(), after.count()) {
        (None, _) => Some("no sync failed".into()),
        (Some(_), 0) => None,
        (Some(_), more) => Some(format!("{more} syncs after the failed one")),
    })
}

/// SQLite by itself: it goes on after a failed sync.
fn forgets(place: &Place) -> Result<(bool, String)> {
    let file = place.path("bare.db");
    let trace = place.path("trace");
    let mut bare = std::process::Command::new(std::env::current_exe()?);
    bare.arg("bare").arg(&file);
    let options = ["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO:when=10"];
    let done = process::finish(&mut tracer::under(&options, &trace, &bare), "")?;
    let again = tried_again(&trace)?;
    let kept = done.out.trim().to_owned();
    let told = format!(
        "bare SQLite in the same mode: {}, {kept}",
        again.as_deref().unwrap_or("no sync after the failed one")
    );
    Ok((again.is_some_and(|again| again.contains("after")), told))
}

/// What the control runs: a writer that takes each commit for itself. Prints how many were acknowledged after the first that
/// was not.
pub(crate) fn bare(file: &Path) -> Result<()> {
    let database = rusqlite::Connection::open(file)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")?;
    let (mut failed, mut after) = (false, 0);
    for _ in 0..30 {
        match database.execute("INSERT INTO numbers DEFAULT VALUES", []) {
            Ok(_) => after += usize::from(failed),
            Err(_) => failed = true,
        }
    }
    println!("{after} commits acknowledged after it");
    Ok(())
}

/// Bytes of the disk that gets full.
const SMALL: u64 = 16 << 20;

pub(crate) fn full_disk(place: &Place) -> Result<Outcome> {
    if let Some(missing) = disk::missing() {
        return Ok(Outcome::Skipped(missing));
    }
    if let Some(why) = disk::barred(place, false) {
        return Ok(Outcome::Barred(why));
    }
    let random = place.random("full-disk");
    let (mut told, mut rounds, mut slowest, mut acknowledged) = (Told::default(), 0, Duration::ZERO, 0);
    for _ in 0..place.number(4, 100) {
        let room = 4096 * below(&random, 400) as u64;
        let round = fill(place, room)?;
        told.refused += round.told.refused;
        told.wrong.extend(round.told.wrong);
        slowest = slowest.max(round.back);
        acknowledged += round.acknowledged;
        rounds += 1;
    }
    Ok(Outcome::Tried {
        how: format!(
            "the data folder on {} MiB of tmpfs, filled to a random rest while a client writes; then emptied, and a new start compared",
            SMALL >> 20
        ),
        count: format!(
            "{rounds} times full, {} writes refused, {acknowledged} acknowledged writes compared, service back after {} ms at most",
            told.refused,
            slowest.as_millis()
        ),
        violations: told.wrong,
        control: Control {
            failed: told.refused > 0,
            told: "with room nothing is refused; without it writes were, in each round".into(),
        },
    })
}

struct Round {
    told: Told,
    /// From the moment there was room to the first write.
    back: Duration,
    acknowledged: usize,
}

/// One disk that gets full, but for `room` bytes.
fn fill(place: &Place, room: u64) -> Result<Round> {
    let disk = Mount::memory(place, SMALL)?;
    let data = disk.at.join("data");
    let crew = Crew::found(&place.program, &data, 2)?;
    let ledger = Arc::new(Ledger::default());
    let server = Server::start(&mut process::serving(&place.program, &data), place.path("server.log"))?;
    let mut writer = Writer::new(0, &crew, (&server.address, place.random("full-disk writer")), &ledger);
    let mut told = Told::default();
    (0..20).for_each(|_| told.count(writer.step()));
    if told.refused > 0 {
        told.wrong.push("refused while there was room".into());
    }
    let ballast = disk.at.join("ballast");
    let free: u64 = disk::tool("stat", &["-f", "-c", "%f", disk.at.to_str().ok_or("no text")?])?.parse()?;
    std::fs::write(&ballast, vec![1; usize::try_from((free * 4096).saturating_sub(room))?])?;
    let mut full = Told::default();
    let mut steps = 0;
    // The room is used up; then it is asked for some more.
    while full.refused < 20 && steps < 20_000 {
        full.count(writer.step());
        steps += 1;
    }
    if full.refused == 0 {
        told.wrong.push("nothing was refused".into());
    }
    told.wrong.extend(reading(&server, &crew));
    std::fs::remove_file(ballast)?;
    let begun = Instant::now();
    while writer.step().is_err() && begun.elapsed() < 2 * WITHIN {}
    let back = begun.elapsed();
    if back > WITHIN {
        told.wrong.push(format!("service was back after {back:?}"));
    }
    (0..20).for_each(|_| told.count(writer.step()));
    told.refused += full.refused;
    told.wrong.extend(full.wrong);
    told.wrong.extend(Comparer { place, crew: &crew, ledger: &ledger }.look(
        &server,
        &data,
        ledger.mark(),
    )?);
    server.stop()?;
    told.wrong.extend(Comparer { place, crew: &crew, ledger: &ledger }.restart(&data, ledger.mark())?);
    Ok(Round { told, back, acknowledged: ledger.successes(ledger.mark()) })
}
