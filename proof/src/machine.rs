//! What a run ran on.

use std::path::Path;
use std::process::Command;

use crate::Result;

/// The versions that belong to every line.
pub(crate) fn versions(program: &Path) -> Result<String> {
    Ok(format!("{}, SQLite {}, Linux {}", said(program, "--version")?, rusqlite::version(), kernel()?))
}

/// The machine and its tools, in a few lines of Markdown.
pub(crate) fn facts(program: &Path) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).ok_or("no MemTotal")?.parse()?;
    Ok(format!(
        "{cores} cores of {model}, {} GiB, Linux {}; {}; {}, SQLite {}, {}.",
        kib.div_ceil(1024 * 1024),
        kernel()?,
        said("rustc".as_ref(), "-V")?,
        said(program, "--version")?,
        rusqlite::version(),
        said("strace".as_ref(), "-V").unwrap_or_else(|_| "no strace".into()),
    ))
}

/// The day of the run, in UTC.
pub(crate) fn today() -> Result<String> {
    let out = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?.stdout;
    Ok(String::from_utf8_lossy(&out).trim().to_owned())
}

/// The commit that is checked out, with `+` where something was changed since.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let out =
            Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else { return "an unknown commit".into() };
    let is_changed =
        git(&["status", "--porcelain", "--", "..", ":!../docs/proof.md"]).is_none_or(|out| !out.is_empty());
    format!("`{commit}{}`", if is_changed { "+" } else { "" })
}

fn kernel() -> Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

/// The first line that a program says of itself.
fn said(program: &Path, option: &str) -> Result<String> {
    let out = Command::new(program).arg(option).output()?.stdout;
    Ok(String::from_utf8_lossy(&out).lines().next().unwrap_or_default().trim().to_owned())
}
