//! strace, which makes system calls of the real program fail, end it, or lie.

use std::path::Path;
use std::process::Command;

/// What is missing to trace a process; nothing where all is there.
pub(crate) fn missing() -> Option<String> {
    match Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output() {
        Ok(out) if out.status.success() => None,
        Ok(out) => Some(format!("strace may not trace here: {}", String::from_utf8_lossy(&out.stderr).trim())),
        Err(_) => Some("strace is missing: apt-get install strace".into()),
    }
}

/// `command`, run under strace with these options; its process is strace's parent, so signals reach it as ever.
pub(crate) fn under(options: &[&str], log: &Path, command: &Command) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-D", "-f", "-qq", "-y", "-o"]).arg(log).args(options).arg("--");
    traced.arg(command.get_program()).args(command.get_args()).env_clear();
    traced
}
