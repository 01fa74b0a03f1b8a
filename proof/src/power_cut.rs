//! The power goes under load; what was acknowledged is on the disk.
//!
//! The data folder is on ext4 in a file, behind a loop device that bypasses the cache of the machine: in the file is what
//! the kernel has sent to the disk and nothing else. A copy of the file, made in one moment, is what a power cut leaves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::compare::Comparer;
use crate::disk::{self, Disk, Mount, Shelf};
use crate::item::{Control, Outcome};
use crate::ledger::Ledger;
use crate::place::{Place, below};
use crate::process::{self, Server};
use crate::workload::{Crew, Load, refusals};
use crate::{Result, tracer};

/// Clients that write at the same time.
const WRITERS: usize = 8;
/// Cuts on one disk; then it is made anew, so that starting with nothing is cut too.
const CUTS_ON_A_DISK: usize = 10;
/// The longest time between two cuts, in milliseconds.
const LONGEST: usize = 150;

/// What the cuts showed.
#[derive(Default)]
struct Cuts {
    number: usize,
    acknowledged: usize,
    wrong: Vec<String>,
    /// Cuts after which something was wrong.
    losing: usize,
}

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    if let Some(missing) = disk::missing().or_else(tracer::missing) {
        return Ok(Outcome::Skipped(missing));
    }
    if let Some(why) = disk::barred(place, true) {
        return Ok(Outcome::Barred(why));
    }
    let shelf = Shelf::new(place)?;
    let (mut cuts, mut control) = (Cuts::default(), Cuts::default());
    for _ in 0..place.number(20, 500).div_ceil(CUTS_ON_A_DISK) {
        era(place, &shelf, false, &mut cuts)?;
    }
    for _ in 0..place.number(1, 5) {
        era(place, &shelf, true, &mut control)?;
    }
    Ok(Outcome::Tried {
        how: format!(
            "ext4 in a file behind direct I/O, copied in one moment while {WRITERS} clients make every kind of write; \
             each copy mounted and served, every acknowledged write looked for, `guildhall check`"
        ),
        count: format!("{} cuts, {} acknowledged writes compared", cuts.number, cuts.acknowledged),
        violations: cuts.wrong,
        control: Control {
            failed: control.losing * 2 > control.number,
            told: format!(
                "without the sync of the log at a commit, as with synchronous=NORMAL, {} of {} cuts lost acknowledged writes",
                control.losing, control.number
            ),
        },
    })
}

/// The life of one disk.
fn era(place: &Place, shelf: &Shelf<'_>, unsynced: bool, cuts: &mut Cuts) -> Result<()> {
    let random = place.random(&format!("power-cut {unsynced} {}", cuts.number));
    let disk = shelf.disk()?;
    let data = disk.folder().join("data");
    let crew = Crew::found(&place.program, &data, WRITERS)?;
    let ledger = Arc::new(Ledger::default());
    let serving = process::serving(&place.program, &data);
    let log = data.join("guildhall.db-wal");
    // The system call is told to have succeeded and is never made.
    let lie = ["-P", log.to_str().ok_or("a path that is no text")?, "-e", "inject=fdatasync,fsync:retval=0"];
    let mut serving = if unsynced { tracer::under(&lie, "/dev/null".as_ref(), &serving) } else { serving };
    let server = Server::start(&mut serving, place.path("server.log"))?;
    let load = Load::start(&server.address, &crew, &random, &ledger);
    let mut copies: Vec<(usize, PathBuf)> = Vec::new();
    for number in 0..CUTS_ON_A_DISK {
        std::thread::sleep(Duration::from_millis(below(&random, LONGEST) as u64));
        let mark = ledger.mark();
        copies.push((mark, disk.cut(&format!("cut-{number}"))?));
    }
    let halts = load.stop();
    if !unsynced {
        cuts.wrong.extend(refusals(&halts));
    }
    server.stop()?;
    for (mark, copy) in copies {
        let comparer = Comparer { place, crew: &crew, ledger: &ledger };
        let mount = Mount::image(place, &copy, false)?;
        let wrong = comparer.restart(&mount.at.join("data"), mark)?;
        drop(mount);
        std::fs::remove_file(copy)?;
        cuts.number += 1;
        cuts.acknowledged += ledger.successes(mark);
        cuts.losing += usize::from(!wrong.is_empty());
        cuts.wrong.extend(wrong);
    }
    drop::<Disk<'_>>(disk);
    Ok(())
}
