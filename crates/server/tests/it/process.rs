//! The real program as a process of its own: commands, servers, and calls to them over the network.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long something may take that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these arguments and nothing of this process's environment.
pub(crate) fn guildhall(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guildhall"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// A finished command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().expect("the program ended by itself"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Done {
    /// Its one JSON object.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// Compares the code and the one line on standard error, and that there is nothing else.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, line: &str) {
        let told = (self.code, self.out.as_str(), self.err.as_str());
        assert_eq!(told, (code, "", format!("guildhall: {line}\n").as_str()));
    }
}

/// Runs a command to its end; one that does not come to it is killed.
pub(crate) fn run(arguments: &[&str]) -> Done {
    let child = guildhall(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    let (done, waits) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if waits.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            drop(Command::new("kill").args(["-s", "KILL", &pid]).status());
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watch.join().unwrap();
    output.into()
}

/// Runs a command on a data folder, answered as JSON.
#[track_caller]
pub(crate) fn json(data: &Path, arguments: &[&str]) -> Value {
    run(&[arguments, &["--json", "--data", data.to_str().unwrap()]].concat()).json()
}

/// Runs a command on a data folder.
pub(crate) fn on(data: &Path, arguments: &[&str]) -> Done {
    run(&[arguments, &["--data", data.to_str().unwrap()]].concat())
}

/// Makes an account with a confirmed address `name@example.com` and the username `name`.
pub(crate) fn user(data: &Path, name: &str) -> Value {
    let email = format!("{name}@example.com");
    json(data, &["user", "create", "--email", &email, "--username", name, "--name", name, "--verified"])
}

/// A session token for the account.
pub(crate) fn token(data: &Path, name: &str) -> String {
    json(data, &["token", "create", "--user", name])["token"].as_str().unwrap().to_owned()
}

/// A running server; killed when it goes.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// `127.0.0.1` and the port it got.
    pub(crate) address: String,
    /// What it prints after its first line.
    pub(crate) out: BufReader<std::process::ChildStdout>,
    log: PathBuf,
}

impl Server {
    /// Starts one on that data folder and a port of its own, and waits until it is ready.
    pub(crate) fn start(data: &Path, options: &[&str]) -> Self {
        let (data, listen) = (data.to_str().unwrap(), ["--listen", "127.0.0.1:0"]);
        Self::of(guildhall(&[&["serve", "--data", data], &listen[..], options].concat()))
    }

    /// Starts that command and waits until it is ready.
    pub(crate) fn of(mut command: Command) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("guildhall-log-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let log = std::env::temp_dir().join(name);
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on http://").map(str::trim_end).map(str::to_owned);
        let Some(address) = address else {
            panic!("not ready: {line:?}, {}", std::fs::read_to_string(&log).unwrap())
        };
        Self { child, address, out, log }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends the signal of that name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        assert_eq!(self.end().code(), Some(0));
    }

    /// Makes one call on a connection of its own.
    pub(crate) fn call(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        call(&self.address, method, path, token, body).expect("the server answers")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.log));
    }
}

/// The head of a call that has this body behind it: JSON where it is an object, a form otherwise.
pub(crate) fn head(method: &str, path: &str, token: &str, body: &str) -> String {
    let authorization =
        if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let kind = if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.0\r\nHost: test\r\n{authorization}\
         Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Makes one call on a connection of its own; an error where the server does not answer it whole.
pub(crate) fn call(
    address: &str,
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{}{body}", head(method, path, token, body)).as_bytes())?;
    answer(&mut stream)
}

/// Reads an answer to its end: status and body.
pub(crate) fn answer(stream: &mut TcpStream) -> std::io::Result<(u16, String)> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let cut_off = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(cut_off)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut_off)?;
    Ok((status, body.to_owned()))
}

/// Waits until `look` finds something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says aloud that a test is skipped because something is missing, which is forbidden where all tests must run.
#[expect(clippy::disallowed_methods, reason = "the variable is the tests' own")]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("GUILDHALL_TEST_ALL").is_none(), "cannot be skipped: {why}");
    eprintln!("SKIPPED: {why}");
}
