//! What the figures were taken on.

use std::process::Command;

use crate::cases::Plan;
use crate::{Result, wrk};

/// In a few lines of Markdown.
pub(crate) fn facts(plan: &Plan) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let rustc = Command::new("rustc").arg("-V").output()?.stdout;
    let rustc = String::from_utf8_lossy(&rustc);
    Ok(format!(
        "{cores} cores of {model}, Linux {}; {}, SQLite {}, {}.\n{plan}\n",
        kernel.trim(),
        rustc.trim(),
        rusqlite::version(),
        wrk::find()?
    ))
}
