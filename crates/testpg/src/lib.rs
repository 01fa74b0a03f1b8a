//! A private PostgreSQL for tests: a cluster of its own in a temporary folder, on a free port of loopback.
//!
//! ```no_run
//! let Some(cluster) = testpg::shared() else { return }; // said aloud that it skips
//! let database = cluster.database();
//! println!("{}", database.url()); // postgres://guildhall@127.0.0.1:…/test_1
//! ```
//!
//! PostgreSQL's programs are found on the machine; nothing of a cluster that runs there is touched. Where the tests are
//! root's, it runs as `postgres` or `nobody`, since it refuses to run as root. A cluster is stopped and its folder
//! removed when it is dropped and when the process ends, however that ends: a shell beside it waits for the end of its
//! standard input, which the process holds open.
//!
//! Whatever goes wrong here panics with what PostgreSQL has said: it is a test's set-up that failed.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a cluster may take to start or to come back before that is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The superuser of every cluster, whom it trusts.
const USER: &str = "guildhall";

/// How a cluster keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// As fast as it can, at the cost of everything if the machine goes down. A killed PostgreSQL loses nothing even so.
    /// Nothing is cleared up behind what is changed, but in the long tier, where that would make it slow.
    Fast,
    /// As PostgreSQL does by itself: a commit is on the disk.
    Durably,
}

/// The cluster that all tests of this process share; nothing where PostgreSQL is not installed, which is said aloud, or
/// is a failure where the environment has `GUILDHALL_TEST_ALL`.
///
/// # Panics
/// Where PostgreSQL is there and does not start.
#[must_use]
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = SHARED.get_or_init(|| Cluster::start(Keeps::Fast, "")).as_ref();
    if cluster.is_none() {
        skip();
    }
    cluster
}

/// Says aloud that a test is skipped for want of PostgreSQL.
///
/// # Panics
/// Where the environment has `GUILDHALL_TEST_ALL`: then no test may be skipped.
#[expect(clippy::disallowed_methods, reason = "the variable is the tests' own")]
pub fn skip() {
    assert!(
        std::env::var_os("GUILDHALL_TEST_ALL").is_none(),
        "cannot be skipped: no PostgreSQL (initdb) found in PATH or /usr/lib/postgresql"
    );
    eprintln!("SKIPPED: no PostgreSQL (initdb) found in PATH or /usr/lib/postgresql");
}

/// Whether the environment asks for the long tier of what chance decides.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the variable is the tests' own")]
pub fn is_long() -> bool {
    std::env::var_os("GUILDHALL_LONG").is_some()
}

/// The folder with PostgreSQL's programs: of the first `initdb` in `PATH` that stands with its fellows, or of the newest
/// version that Debian's packages have installed.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "PATH is where programs are looked for")]
pub fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A link may stand alone, the programs together where it leads.
    let in_path = std::env::split_paths(&path)
        .filter_map(|folder| folder.join("initdb").canonicalize().ok()?.parent().map(Path::to_owned));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions.sort_by_key(|path| std::cmp::Reverse(number(path)));
    let complete = |folder: &PathBuf| {
        ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|program| folder.join(program).is_file())
    };
    in_path.chain(versions.into_iter().map(|version| version.join("bin"))).find(complete)
}

/// A running PostgreSQL of its own.
#[derive(Debug)]
pub struct Cluster {
    place: Arc<Place>,
    /// Stops it and removes the folder when its standard input ends.
    keeper: Child,
    /// The databases that others are copied from.
    templates: Mutex<HashMap<String, String>>,
    count: AtomicU64,
}

/// Where a cluster is and how its programs are run.
#[derive(Debug)]
struct Place {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    /// User and group as whom it runs, where not as ourselves.
    run_as: Option<(u32, u32)>,
}

impl Cluster {
    /// Starts a new cluster, with those lines at the end of its `postgresql.conf`; nothing where PostgreSQL is not
    /// installed.
    ///
    /// # Panics
    /// Where PostgreSQL is there and does not start.
    #[must_use]
    pub fn start(keeps: Keeps, settings: &str) -> Option<Self> {
        let place = Place::new(programs()?);
        place.run(
            place
                .program("initdb")
                .arg("--pgdata")
                .arg(place.data())
                .args(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"])
                .arg("--no-sync"),
        );
        place.configure(keeps, settings);
        Some(Self::of(place))
    }

    /// A hot standby of this cluster, which streams from it from now on. Whether commits wait for it is this cluster's
    /// `synchronous_standby_names`; the standby's name is `standby`.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let place = Place::new(self.place.programs.clone());
        let from = format!("host=127.0.0.1 port={} user={USER} application_name=standby", self.place.port);
        place.run(
            place
                .program("pg_basebackup")
                .args(["--write-recovery-conf", "--no-sync", "--checkpoint=fast", "--dbname", &from])
                .arg("--pgdata")
                .arg(place.data()),
        );
        // The copied file names the copied cluster's folder and port; the last line of a kind counts.
        place.append(&place.address());
        Self::of(place)
    }

    fn of(place: Place) -> Self {
        let keeper = place.keeper();
        let cluster =
            Self { place: Arc::new(place), keeper, templates: Mutex::default(), count: AtomicU64::new(0) };
        cluster.restart();
        cluster
    }

    /// Makes this standby a primary, and waits until it is one.
    ///
    /// # Panics
    /// Where it is none.
    pub fn promote(&self) {
        self.place.run(self.place.control().arg("promote").arg("--wait"));
    }

    /// The port of 127.0.0.1 that it listens on, the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// The URL of the database of that name.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.place.port)
    }

    /// Makes an empty database.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn database(&self) -> Database {
        self.copy_of("template0")
    }

    /// Makes a database that is a copy of the template of that name. Where there is none yet, `make` makes one of the
    /// empty database whose URL it is given; it must leave no connection open.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn database_from(&self, template: &str, make: impl FnOnce(&str)) -> Database {
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        let source = templates.entry(template.to_owned()).or_insert_with(|| {
            let database = self.database();
            make(database.url());
            let name = database.name.clone();
            // It stays as long as the cluster.
            std::mem::forget(database);
            name
        });
        let source = source.clone();
        drop(templates);
        self.copy_of(&source)
    }

    fn copy_of(&self, template: &str) -> Database {
        let name = format!("test_{}", self.count.fetch_add(1, Ordering::Relaxed) + 1);
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        Database { url: self.url(&name), name, place: Arc::clone(&self.place) }
    }

    /// Runs statements in that database; answers what they have found, a row a line with `|` between the columns.
    ///
    /// # Panics
    /// Where one fails.
    pub fn psql(&self, database: &str, statements: &str) -> String {
        self.place.run(self.place.psql(database).args(["--command", statements]))
    }

    /// Kills PostgreSQL with `SIGKILL`, and all that it has started; returns when the last of them is gone.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn kill(&self) {
        let pid = self.pid().expect("it runs");
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &pid]).output().expect("ps runs");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        let all: Vec<&str> = std::iter::once(pid.as_str()).chain(children.split_whitespace()).collect();
        // A child may be gone by itself: what counts is looked at below.
        drop(Command::new("kill").args(["-s", "KILL"]).args(&all).stderr(Stdio::null()).status());
        let is_alive =
            |pid: &&str| Command::new("kill").args(["-s", "0", pid]).stderr(Stdio::null()).status();
        let begun = Instant::now();
        while all.iter().any(|pid| is_alive(pid).is_ok_and(|status| status.success())) {
            assert!(begun.elapsed() < PATIENCE, "{all:?} do not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts PostgreSQL after [`Cluster::kill`], or stops it first where it runs; returns when it accepts connections.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart(&self) {
        if self.place.control().arg("status").output().is_ok_and(|output| output.status.success()) {
            self.place.run(self.place.control().args(["stop", "--wait", "--mode", "fast"]));
        }
        let log = self.place.folder.join("log");
        let seconds = PATIENCE.as_secs().to_string();
        let mut command = self.place.control();
        command.args(["start", "--wait", "--timeout", &seconds, "--log"]).arg(&log);
        let output = command.output().expect("pg_ctl runs");
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stderr), self.log());
    }

    /// Adds lines to `postgresql.conf`. Which of them are in force at once and which after [`Cluster::restart`] is
    /// PostgreSQL's to say.
    ///
    /// # Panics
    /// Where the file cannot be written.
    pub fn configure(&self, lines: &str) {
        self.place.append(lines);
        self.place.run(self.place.control().arg("reload"));
    }

    /// Writes a file of that name, readable by PostgreSQL alone, into the cluster's folder, beside the folder `data`:
    /// certificates, keys, another `data/pg_hba.conf`.
    ///
    /// # Panics
    /// Where that fails.
    pub fn put(&self, name: &str, content: &str) -> PathBuf {
        self.place.put(name, content)
    }

    /// What PostgreSQL has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.place.folder.join("log")).unwrap_or_default()
    }

    /// The process id of PostgreSQL, if it runs or was killed.
    fn pid(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.place.data().join("postmaster.pid")).ok()?;
        text.lines().next().map(str::to_owned)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

impl Place {
    /// A new folder, owned by whoever may run PostgreSQL, and a port that is free now.
    fn new(programs: PathBuf) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("guildhall-pg-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        // What is new is owned by whoever we are.
        let is_root = std::fs::metadata(&folder).is_ok_and(|folder| folder.uid() == 0);
        let run_as = is_root.then(unprivileged);
        let place = Self { programs, folder, port: free_port(), run_as };
        place.hand_over(&place.folder, 0o700);
        place
    }

    /// Makes the file or folder that of whoever runs PostgreSQL, with that mode.
    fn hand_over(&self, path: &Path, mode: u32) {
        let done = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .and_then(|()| self.run_as.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group))));
        done.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The lines that make a cluster this one: its port, its folder.
    fn address(&self) -> String {
        format!("port = {}\nunix_socket_directories = '{}'\n", self.port, self.folder.display())
    }

    fn configure(&self, keeps: Keeps, settings: &str) {
        let speed = match keeps {
            Keeps::Fast if is_long() => "fsync = off\nfull_page_writes = off\nautovacuum_naptime = 5s\n",
            Keeps::Fast => "fsync = off\nfull_page_writes = off\nautovacuum = off\n",
            Keeps::Durably => "",
        };
        self.append(&format!(
            "{}listen_addresses = '127.0.0.1'\nmax_connections = 400\nshared_buffers = 32MB\n{speed}{settings}\n",
            self.address()
        ));
    }

    fn append(&self, lines: &str) {
        let file = std::fs::OpenOptions::new().append(true).open(self.data().join("postgresql.conf"));
        file.and_then(|mut file| writeln!(file, "\n{lines}")).expect("postgresql.conf can be written");
    }

    fn put(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.hand_over(&path, 0o600);
        path
    }

    /// A program that runs as whoever may run PostgreSQL, and where that may be.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        if let Some((user, group)) = self.run_as {
            command.uid(user).gid(group);
        }
        command
    }

    fn program(&self, name: &str) -> Command {
        self.command(self.programs.join(name))
    }

    fn control(&self) -> Command {
        let mut command = self.program("pg_ctl");
        command.arg("--pgdata").arg(self.data()).arg("--silent");
        command
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = self.program("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]);
        command.args(["--host", "127.0.0.1", "--port", &self.port.to_string(), "--username", USER]);
        command.args(["--dbname", database]);
        // A commit that waits for a standby waits for good: a test that has failed there is to end.
        command.env("PGOPTIONS", "-c statement_timeout=60s");
        command
    }

    /// What waits for the end of its standard input, then stops PostgreSQL and removes the folder. In a process group of
    /// its own: what interrupts the tests from a terminal must not end it.
    fn keeper(&self) -> Child {
        const WAIT: &str =
            "read -r _; \"$1\" --pgdata \"$2/data\" --silent --mode immediate stop; cd /; rm -rf \"$2\"";
        let mut command = self.command("sh");
        command.args(["-c", WAIT, "sh"]).arg(self.programs.join("pg_ctl")).arg(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().expect("sh runs")
    }

    /// Runs it to its end; answers what it has printed.
    #[track_caller]
    fn run(&self, command: &mut Command) -> String {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

/// A database of its own, dropped with whatever is connected to it when this goes.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    place: Arc<Place>,
}

impl Database {
    /// Where it is: `postgres://guildhall@127.0.0.1:<port>/<name>`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects to it.
    ///
    /// # Panics
    /// Where `psql` does not run.
    #[must_use]
    pub fn session(&self) -> Session {
        let mut command = self.place.psql(&self.name);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql runs");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Session { child, out }
    }

    /// What it is called in its cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The cluster may have been killed by the test; with it goes the database.
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        drop(self.place.psql("postgres").args(["--command", &sql]).output());
    }
}

/// A connection that stays open, for tests that look at the tables again and again.
#[derive(Debug)]
pub struct Session {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Session {
    /// What a query finds, a row a line with `|` between the columns.
    ///
    /// # Panics
    /// Where it fails.
    pub fn rows(&mut self, query: &str) -> Vec<String> {
        const END: &str = "-- that was all --";
        let input = self.child.stdin.as_mut().expect("it is piped");
        writeln!(input, "{query};\n\\echo '{END}'").expect("psql runs");
        let lines = self.out.by_ref().lines().map(|line| line.expect("psql runs"));
        let mut ended = false;
        let rows = lines.take_while(|line| {
            ended = line == END;
            !ended
        });
        let rows = rows.collect();
        assert!(ended, "{query} failed");
        rows
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// A port that nobody listens on, below those that the machine gives to whoever asks for any: so it stays free while
/// the cluster is made or restarted.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let from = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    let ports = (0..COUNT).map(|_| FIRST + (from + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a port is free")
}

/// User and group of `postgres`, or of `nobody` where there is none.
fn unprivileged() -> (u32, u32) {
    let mut text = String::new();
    let read = std::fs::File::open("/etc/passwd").and_then(|mut file| file.read_to_string(&mut text));
    read.unwrap_or_else(|error| panic!("/etc/passwd: {error}"));
    let ids = |name: &str| {
        let mut fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found = fields.find(|fields| fields.len() > 3 && fields[0] == name)?;
        Some((found[2].parse().ok()?, found[3].parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).expect("postgres or nobody is in /etc/passwd")
}
