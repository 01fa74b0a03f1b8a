//! The processes that are measured: the server as an operator runs it, and the floor.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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

/// Where the server keeps what it has.
pub(crate) struct Place<'a> {
    /// The data folder.
    pub(crate) data: &'a Path,
    /// The URL of its database, where that is not the SQLite file in the data folder.
    pub(crate) database: Option<&'a str>,
}

impl Place<'_> {
    /// As the command line names it.
    fn options(&self) -> Vec<&OsStr> {
        let mut options = vec![OsStr::new("--data"), self.data.as_os_str()];
        options.extend(self.database.iter().flat_map(|url| [OsStr::new("--database"), OsStr::new(url)]));
        options
    }
}

/// A process that listens, ended when this is dropped.
pub(crate) struct Process {
    child: Child,
    /// `http://host:port`.
    pub(crate) base: String,
}

impl Process {
    /// Starts `command`, whose first line on standard output says where it listens; the rest of what it says goes to the
    /// file `log`.
    fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let child = command.stdout(Stdio::piped()).stderr(File::create(log)?).spawn()?;
        let mut process = Self { child, base: String::new() };
        let mut line = String::new();
        if let Some(out) = process.child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match line.trim().strip_prefix("listening on ") {
            Some(base) => process.base.push_str(base),
            None => {
                let said = std::fs::read_to_string(log)?;
                return Err(format!("{command:?} does not listen: {said}").into());
            }
        }
        Ok(process)
    }

    /// The memory it has in use, in KiB: `VmRSS`; the most it ever had: `VmHWM`.
    pub(crate) fn memory(&self, which: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
        let line = line.ok_or_else(|| format!("no {which}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server on its data folder, with everything as it is by default but the limits on how often, which are there to
/// refuse what is done here.
pub(crate) fn serve(program: &Path, place: &Place<'_>, log: &Path) -> Result<Process> {
    Process::start(&mut serving(program, place), log)
}

/// The same server with a commit for each write.
pub(crate) fn serve_one_by_one(program: &Path, place: &Place<'_>, log: &Path) -> Result<Process> {
    let mut command = serving(program, place);
    command.env("GUILDHALL_WRITES_PER_COMMIT", "1");
    Process::start(&mut command, log)
}

fn serving(program: &Path, place: &Place<'_>) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--limits", "off"]).args(place.options());
    command
}

/// How many commits the SQLite database in that data folder has had, in a count that begins anywhere and goes round: one of
/// what SQLite itself keeps in the head of the log's index (<https://sqlite.org/walformat.html>, "The WAL-Index Header").
pub(crate) fn commits(data: &Path) -> Result<u32> {
    let index = std::fs::read(data.join("guildhall.db-shm"))?;
    let count = index.get(8..12).and_then(|bytes| bytes.try_into().ok()).ok_or("an index without a head")?;
    Ok(u32::from_ne_bytes(count))
}

/// This program as the floor, answering `body`.
pub(crate) fn floor(body: &[u8], folder: &Path) -> Result<Process> {
    let file = folder.join("floor.json");
    std::fs::write(&file, body)?;
    Process::start(Command::new(std::env::current_exe()?).arg("floor").arg(file), &folder.join("floor.log"))
}

/// A session token of the account, as the command line makes one.
pub(crate) fn token(program: &Path, place: &Place<'_>, login: &str) -> Result<String> {
    let out = Command::new(program)
        .args(["token", "create", "--json", "--user", login])
        .args(place.options())
        .stderr(Stdio::inherit())
        .output()?;
    let said: Value = serde_json::from_slice(&out.stdout)?;
    Ok(said["token"].as_str().ok_or("no token")?.to_owned())
}

/// Copies the SQLite database of the place to the one of that URL; answers how many rows it has.
pub(crate) fn copy(program: &Path, from: &Place<'_>, to: &str) -> Result<u32> {
    let mut source = std::ffi::OsString::from("sqlite:");
    source.push(from.data.join("guildhall.db"));
    let out = Command::new(program)
        .args(["copy", "--json", "--to", to, "--from"])
        .arg(source)
        .stderr(Stdio::inherit())
        .output()?;
    let said: Value = serde_json::from_slice(&out.stdout)?;
    if !out.status.success() {
        return Err(format!("guildhall copy failed: {said}").into());
    }
    let rows = said["tables"].as_array().into_iter().flatten().filter_map(|table| table["rows"].as_u64());
    Ok(u32::try_from(rows.sum::<u64>())?)
}

/// Whether the database keeps the rules.
///
/// # Errors
/// Where it does not, with what `guildhall check` found.
pub(crate) fn check(program: &Path, place: &Place<'_>) -> Result<()> {
    let out = Command::new(program).arg("check").args(place.options()).output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!(
        "guildhall check: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
    .into())
}
