//! The real program as a process of its own: commands and servers.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;

/// The release build of the server, made first where it is not fresh.
pub(crate) fn build() -> Result<PathBuf> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let built = Command::new("cargo")
        .args(["build", "--release", "--quiet", "-p", "guildhall", "--manifest-path", manifest])
        .status()?;
    let program = std::env::current_exe()?.with_file_name("guildhall");
    if built.success() && program.exists() {
        Ok(program)
    } else {
        Err(format!("the server could not be built as {}", program.display()).into())
    }
}

/// A finished command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// The one JSON object that it printed.
    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.out).map_err(|error| format!("{error} in {self:?}"))?)
    }
}

/// Runs `command` to its end, with `input` on its standard input.
pub(crate) fn finish(command: &mut Command, input: &str) -> Result<Done> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that was killed reads nothing, which its status tells.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Done { status: output.status, out: text(output.stdout), err: text(output.stderr) })
}

/// A command of the program on a data folder.
pub(crate) fn command(program: &Path, data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).args(["--json", "--data"]).arg(data).env_clear();
    command
}

/// What a command answers that has to succeed.
pub(crate) fn json(program: &Path, data: &Path, arguments: &[&str]) -> Result<Value> {
    let done = finish(&mut command(program, data, arguments), "")?;
    if done.status.success() { done.json() } else { Err(format!("{arguments:?}: {done:?}").into()) }
}

/// Makes an account with a confirmed address `name@example.com` and the username `name`; answers a session token for it.
pub(crate) fn user(program: &Path, data: &Path, name: &str) -> Result<String> {
    let email = format!("{name}@example.com");
    json(
        program,
        data,
        &["user", "create", "--email", &email, "--username", name, "--name", name, "--verified"],
    )?;
    token(program, data, name)
}

/// A session token for the account.
pub(crate) fn token(program: &Path, data: &Path, name: &str) -> Result<String> {
    let made = json(program, data, &["token", "create", "--user", name])?;
    Ok(made["token"].as_str().ok_or("no token")?.to_owned())
}

/// A running server; killed when it goes.
pub(crate) struct Server {
    child: Child,
    /// `host:port`.
    pub(crate) address: String,
    /// Where what it logs goes.
    pub(crate) log: PathBuf,
}

/// The command that serves `data`: everything as it is by default but the limits on how often, which are there to
/// refuse what is done here.
pub(crate) fn serving(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command.env("GUILDHALL_LOG", "warn");
    command.args(["serve", "--listen", "127.0.0.1:0", "--limits", "off", "--data"]).arg(data);
    command
}

impl Server {
    /// Starts `command` and waits until it is ready; its log goes to a file beside the run's folders.
    ///
    /// # Errors
    /// With what it logged, where it ends instead.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?).spawn()?;
        let mut server = Self { child, address: String::new(), log };
        let mut line = String::new();
        if let Some(out) = server.child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match line.trim().strip_prefix("listening on http://") {
            Some(address) => server.address.push_str(address),
            None => return Err(format!("not ready: {}", server.logged()?).into()),
        }
        Ok(server)
    }

    /// What it has logged.
    pub(crate) fn logged(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does, and waits for that.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended, for at most `patience`; nothing where it has not.
    pub(crate) fn ended(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let begun = Instant::now();
        loop {
            match self.child.try_wait()? {
                None if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(2)),
                status => return Ok(status),
            }
        }
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        Command::new("kill").args(["-s", "TERM", &self.pid().to_string()]).status()?;
        self.ended(Duration::from_secs(30))?.ok_or_else(|| "the server does not stop".into())
    }

    /// A number of `/proc/<pid>/status`, such as `VmRSS` in KiB.
    pub(crate) fn status(&self, key: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no such line")?;
        Ok(number.parse()?)
    }

    /// How many files it has open.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
