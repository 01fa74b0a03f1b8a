//! A long list against a short one: when it begins, and what it costs in memory.

use crate::cases::House;
use crate::memory::mb;
use crate::report::{Report, median, time};
use crate::{Result, client, town};

/// Reads both members' lists in turn.
pub(crate) fn compare(house: &House<'_>, crowd: i64, report: &mut Report) -> Result<()> {
    let path = |short: &str| format!("/v1/organizations/{short}/members");
    let (short, long) = (path(house.town.short.uid.short()), path(house.town.long.uid.short()));
    let ask = |path: &str| client::get(&house.server.base, path, &house.reader);
    warm_up(|| ask(&long)?.drain(|| Ok(())))?;
    let before = house.server.memory("VmRSS")?;
    let (mut firsts, mut longs, mut most, mut bytes) = (Vec::new(), Vec::new(), before, 0);
    for _ in 0..house.plan.lists {
        let answer = ask(&short)?;
        firsts.push(answer.first_byte);
        answer.drain(|| Ok(()))?;
        let answer = ask(&long)?;
        longs.push(answer.first_byte);
        bytes = answer.drain(|| {
            most = most.max(house.server.memory("VmRSS")?);
            Ok(())
        })?;
    }
    let (first, later) = (median(firsts).unwrap_or_default(), median(longs).unwrap_or_default());
    let ratio = later.as_secs_f64() / first.as_secs_f64();
    report.note(format!(
        "stormz members, first byte: {} of {} members, {} of {crowd} ({} MB): {ratio:.2} times{} (at most 2). \
         The server's memory: {:.1} MB before, {:.1} MB at most while it sent.",
        time(first),
        town::SHORT,
        time(later),
        bytes / 1_000_000,
        if ratio > 2.0 { ", **missed**" } else { "" },
        mb(before),
        mb(most),
    ));
    Ok(())
}

/// Reads the list many times at once, so that every connection that the server has to its database has filled its page
/// cache: what grows later is the list's own.
fn warm_up(read: impl Fn() -> Result<usize> + Sync) -> Result<()> {
    let readers = 2 * std::thread::available_parallelism()?.get();
    let is_read = || read().map_err(|error| error.to_string());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..readers).map(|_| scope.spawn(is_read)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(read) => read.map(drop).map_err(Into::into),
            Err(_) => Err("a reader panicked".into()),
        })
    })
}
