//! From the program's start to its first answer, with a large database.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cases::Plan;
use crate::growth::Home;
use crate::report::{Report, median, time};
use crate::{Result, client, server, town};

const AT_MOST: Duration = Duration::from_millis(200);

/// Starts the server again and again, each time until it has answered a member's request for one organization: with the
/// database in the system's memory as the last run left it, and with the system told to forget it.
pub(crate) fn measure(
    plan: &Plan,
    program: &Path,
    folder: &Path,
    home: &Home<'_>,
    report: &mut Report,
) -> Result<()> {
    let reader = server::token(program, &home.place(), town::READER)?;
    let path = format!("/v1/organizations/{}", home.world.circle.uid.short());
    let file = home.world.data.join("guildhall.db");
    let start = || -> Result<Duration> {
        let begun = Instant::now();
        let process = server::serve(program, &home.place(), &folder.join("start.log"))?;
        client::get(&process.base, &path, &reader)?.body()?;
        Ok(begun.elapsed())
    };
    start()?;
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for _ in 0..plan.starts {
        warm.push(start()?);
        forget(&file)?;
        cold.push(start()?);
    }
    let [warm, cold] = [warm, cold]
        .map(|all| (median(all.clone()).unwrap_or_default(), all.into_iter().max().unwrap_or_default()));
    report.note(format!(
        "Start with a database of {:.2} GB, to the first answer: {} ({} at most of {}), and {} ({} at most){} with none of it in \
         the system's memory (at most {}).",
        std::fs::metadata(&file)?.len() as f64 / 1e9,
        time(warm.0),
        time(warm.1),
        plan.starts,
        time(cold.0),
        time(cold.1),
        if warm.1.max(cold.1) > AT_MOST { ", **missed**," } else { "" },
        time(AT_MOST),
    ));
    Ok(())
}

/// Has the system drop what it has of the file in memory; all of it is on the disk.
fn forget(file: &Path) -> Result<()> {
    let mut of = std::ffi::OsString::from("of=");
    of.push(file);
    let done = Command::new("dd")
        .arg(of)
        .args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"])
        .status()?;
    if done.success() { Ok(()) } else { Err("dd cannot make the system forget a file".into()) }
}
