//! strace, which makes system calls of the real program fail, end it, or lie.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::Result;

/// What is missing to trace a process; nothing where all is there.
pub(crate) fn missing() -> Option<String> {
    match Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output() {
        Ok(out) if out.status.success() => None,
        Ok(out) => {
            Some(format!("strace may not trace here: {}", String::from_utf8_lossy(&out.stderr).trim()))
        }
        Err(_) => Some("strace is missing: apt-get install strace".into()),
    }
}

/// `command`, run under strace with these options; its process is strace's parent, so signals reach it as ever. It is stopped
/// at the calls that the options name and at no other, so that a traced server is not much slower.
pub(crate) fn under(options: &[&str], log: &Path, command: &Command) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-D", "-f", "--seccomp-bpf", "-qq", "-y", "-o"]).arg(log).args(options).arg("--");
    traced.arg(command.get_program()).args(command.get_args()).env_clear();
    traced.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    traced
}

/// How often each thread of a traced process made each of these calls, at the most: strace counts by thread.
pub(crate) fn counts(log: &Path, calls: &[&str]) -> Result<Vec<usize>> {
    let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
    let mut by_thread: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        *by_thread.entry((call, thread)).or_default() += 1;
    }
    let most = |call: &&str| by_thread.iter().filter(|((made, _), _)| made == call).map(|(_, n)| *n).max();
    Ok(calls.iter().map(|call| most(call).unwrap_or_default()).collect())
}
