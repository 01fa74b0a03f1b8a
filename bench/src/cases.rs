//! What is measured, and against what.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bare::{self, Bare};
use crate::report::{Against, Report, median};
use crate::server::{self, Place, Process};
use crate::town::{self, Town};
use crate::wrk::{self, Figures, Load};
use crate::{Result, client, growth, lists, remote};

/// How long and how often.
pub(crate) struct Plan {
    /// How often the turn of each side comes; the median counts.
    pub(crate) rounds: u32,
    /// One turn.
    pub(crate) turn: Duration,
    /// Before the first turn of each side.
    warm_up: Duration,
    /// People in the largest organization.
    crowd: i64,
    /// How often each members' list is read.
    pub(crate) lists: u32,
    /// Organizations and members in a small database, and in a large one.
    pub(crate) sizes: (i64, i64),
    /// How many single answers make a p99.
    pub(crate) samples: usize,
    /// When fewer have to do.
    pub(crate) patience: Duration,
    /// The load after which memory is looked at.
    pub(crate) load: Duration,
    /// How often the server is started.
    pub(crate) starts: usize,
}

impl Plan {
    /// For figures: under four minutes.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 3,
            turn: Duration::from_secs(4),
            warm_up: Duration::from_secs(1),
            crowd: 100_000,
            lists: 15,
            sizes: (1_000, 1_000_000),
            samples: 300,
            patience: Duration::from_secs(3),
            load: Duration::from_secs(60),
            starts: 9,
        }
    }

    /// To see that it runs.
    pub(crate) fn quick() -> Self {
        let turn = Duration::from_secs(1);
        Self {
            rounds: 1,
            turn,
            warm_up: Duration::ZERO,
            crowd: 5_000,
            lists: 3,
            sizes: (1_000, 3_000),
            samples: 20,
            patience: Duration::ZERO,
            load: turn,
            starts: 1,
        }
    }

    /// With as much load as the goal for memory speaks of.
    pub(crate) fn long(self) -> Self {
        Self { load: Duration::from_secs(3600), ..self }
    }

    /// Lets both have their turns, and takes the medians of each.
    pub(crate) fn by_turns<const N: usize>(
        &self,
        mut ours: impl FnMut(u32, Duration) -> Result<Figures>,
        mut others: impl FnMut(Duration) -> Result<[f64; N]>,
    ) -> Result<(Figures, [f64; N])> {
        let Plan { rounds, turn, warm_up, .. } = *self;
        if !warm_up.is_zero() {
            others(warm_up)?;
            ours(0, warm_up)?;
        }
        let (mut figures, mut compared) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            compared.push(others(turn)?);
            figures.push(ours(round, turn)?);
        }
        let middle = Figures {
            per_second: median(figures.iter().map(|figures| figures.per_second)).unwrap_or_default(),
            p50: median(figures.iter().map(|figures| figures.p50)).unwrap_or_default(),
            p99: median(figures.iter().map(|figures| figures.p99)).unwrap_or_default(),
        };
        let compared = std::array::from_fn(|place| {
            median(compared.iter().map(|rates| rates[place])).unwrap_or_default()
        });
        Ok((middle, compared))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Medians of {} turns of {} s each, the two sides by turns.",
            self.rounds,
            self.turn.as_secs()
        )
    }
}

/// A part of the run that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Read,
    List,
    Members,
    Create,
    SignIn,
    Upload,
    PgRead,
    PgCreate,
    PgNodes,
    PgLocks,
    Growth,
    Many,
    Memory,
    Start,
    PgGrowth,
    PgMany,
    PgMemory,
}

impl Case {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 17] = [
        Self::Read,
        Self::List,
        Self::Members,
        Self::Create,
        Self::SignIn,
        Self::Upload,
        Self::PgRead,
        Self::PgCreate,
        Self::PgNodes,
        Self::PgLocks,
        Self::Growth,
        Self::Many,
        Self::Memory,
        Self::Start,
        Self::PgGrowth,
        Self::PgMany,
        Self::PgMemory,
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Members => "members",
            Self::Create => "create",
            Self::SignIn => "sign-in",
            Self::Upload => "upload",
            Self::PgRead => "pg-read",
            Self::PgCreate => "pg-create",
            Self::PgNodes => "pg-nodes",
            Self::PgLocks => "pg-locks",
            Self::Growth => "growth",
            Self::Many => "many",
            Self::Memory => "memory",
            Self::Start => "start",
            Self::PgGrowth => "pg-growth",
            Self::PgMany => "pg-many",
            Self::PgMemory => "pg-memory",
        }
    }

    /// Whether it is about PostgreSQL.
    pub(crate) fn is_remote(self) -> bool {
        self.name().starts_with("pg-")
    }

    /// Whether it is about the size of the database.
    fn is_large(self) -> bool {
        matches!(
            self,
            Self::Growth
                | Self::Many
                | Self::Memory
                | Self::Start
                | Self::PgGrowth
                | Self::PgMany
                | Self::PgMemory
        )
    }
}

/// Where buildog makes organizations.
const CREATE: &str = "/api/organizations";

/// A running server and what is in it.
pub(crate) struct House<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) town: Town,
    pub(crate) server: Process,
    /// The reader's session token.
    pub(crate) reader: String,
    owner: String,
    program: PathBuf,
    folder: &'p Path,
}

/// Where everything is that a run makes: on the disk that holds the build, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::current_exe()?.with_file_name(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

/// Runs the chosen cases.
pub(crate) fn run(plan: &Plan, chosen: &[Case]) -> Result<Report> {
    let program = server::build()?;
    let folder = Folder::new()?;
    let mut report = Report::default();
    let (large, usual): (Vec<Case>, Vec<Case>) = chosen.iter().partition(|case| case.is_large());
    let (remote, local): (Vec<Case>, Vec<Case>) = usual.iter().partition(|case| case.is_remote());
    if !local.is_empty() {
        let house = House::found(plan, program.clone(), &folder.0)?;
        local.into_iter().try_for_each(|case| house.measure(case, &mut report))?;
    }
    if !remote.is_empty()
        && let Some(house) = remote::House::found(plan, &program, &folder.0)?
    {
        remote.into_iter().try_for_each(|case| house.measure(case, &mut report))?;
    }
    if !large.is_empty() {
        growth::run(plan, &program, &folder.0, &large, &mut report)?;
    }
    Ok(report)
}

impl<'p> House<'p> {
    fn found(plan: &'p Plan, program: PathBuf, folder: &'p Path) -> Result<Self> {
        let town = town::found(&folder.join("data"), plan.crowd)?;
        let place = Place { data: &town.data, database: None };
        let token = |login| server::token(&program, &place, login);
        let (reader, owner) = (token(town::READER)?, token(town::OWNER)?);
        let server = server::serve(&program, &place, &folder.join("server.log"))?;
        Ok(Self { plan, town, server, reader, owner, program, folder })
    }

    fn measure(&self, case: Case, report: &mut Report) -> Result<()> {
        let home = &self.town.home;
        match case {
            Case::Read => {
                let path = format!("/v1/organizations/{}", home.uid.short());
                self.read("stormz: one organization", &path, Some(0.5), report)?;
                let path = format!("/api/v1/organizations/{}/", home.slug);
                self.read("cadasta: one organization and its 2 members", &path, Some(0.5), report)
            }
            Case::List => {
                let (mine, path) = ("own organizations (10)", "/api/organizations");
                self.read(&format!("buildog: {mine}"), path, None, report)?;
                self.read(&format!("pm415: {mine}"), "/api/org", None, report)
            }
            Case::Members => lists::compare(self, self.plan.crowd, report),
            Case::Create => self.create(report),
            Case::SignIn => self.sign_in(report),
            Case::Upload => self.upload(report),
            _ => Ok(()),
        }
    }

    /// A GET, against the floor answering the same bytes.
    fn read(&self, name: &str, path: &str, at_least: Option<f64>, report: &mut Report) -> Result<()> {
        let body = client::get(&self.server.base, path, &self.reader)?.body()?;
        let floor = server::floor(&body, self.folder)?;
        let script = wrk::get(&self.reader);
        let load = |process: &Process| {
            let url = format!("{}{path}", process.base);
            move |script: &str, lasting| {
                wrk::run(&Load { url: &url, connections: 64, threads: 1, script }, lasting, self.folder)
            }
        };
        let (ours, floors) = (load(&self.server), load(&floor));
        let (figures, others) = self.plan.by_turns(
            |_, lasting| ours(&script, lasting),
            |lasting| Ok([floors(&script, lasting)?.per_second]),
        )?;
        let against = Against { what: "the floor", per_second: others[0], at_least };
        report.add(&format!("{name}, {} bytes", body.len()), figures, Some(against));
        Ok(())
    }

    /// New organizations, against the same server with a commit for each, and SQLite alone with as many in a commit as there are
    /// clients and as the server had.
    fn create(&self, report: &mut Report) -> Result<()> {
        let bare = RefCell::new(Bare::open(&self.folder.join("bare.db"))?);
        let data = self.folder.join("one-by-one");
        town::found(&data, 2)?;
        let place = Place { data: &data, database: None };
        let owner = server::token(&self.program, &place, town::OWNER)?;
        let log = self.folder.join("one-by-one.log");
        let one_by_one = server::serve_one_by_one(&self.program, &place, &log)?;
        let (ours, others) =
            (format!("{}{CREATE}", self.server.base), format!("{}{CREATE}", one_by_one.base));
        let create = |url: &str, script: &str, lasting| {
            wrk::run(&Load { url, connections: 64, threads: 1, script }, lasting, self.folder)
        };
        let turns = Cell::new(0);
        // How many the server had in a commit, and how many a second SQLite alone makes with as many.
        let mut alike: Vec<(u32, f64)> = Vec::new();
        let (figures, [single, many]) = self.plan.by_turns(
            |round, lasting| {
                let before = server::commits(&self.town.data)?;
                let figures = create(&ours, &creating(&self.owner, round), lasting)?;
                let commits = server::commits(&self.town.data)?.wrapping_sub(before).max(1);
                let made = figures.per_second * lasting.as_secs_f64();
                let batch = (made / f64::from(commits)).round().max(1.0) as u32;
                alike.push((batch, bare.borrow_mut().create(batch, lasting)?));
                Ok(figures)
            },
            |lasting| {
                turns.set(turns.get() + 1);
                let single = create(&others, &creating(&owner, turns.get()), lasting)?;
                Ok([single.per_second, bare.borrow_mut().create(64, lasting)?])
            },
        )?;
        let name = "buildog: create an organization, durably, 64 clients";
        let what = "the same server, a commit for each";
        report.add(name, figures, Some(Against { what, per_second: single, at_least: Some(5.0) }));
        let what = "SQLite alone, a commit for 64";
        report.add(name, figures, Some(Against { what, per_second: many, at_least: Some(0.7) }));
        let batch = median(alike.iter().map(|(batch, _)| *batch)).unwrap_or_default();
        let what = &format!("SQLite alone, a commit for {batch}, as the server had");
        let per_second = median(alike.iter().map(|(_, rate)| *rate)).unwrap_or_default();
        report.add(name, figures, Some(Against { what, per_second, at_least: Some(0.7) }));
        Ok(())
    }

    /// Sign-ins, against the comparing of passwords alone.
    fn sign_in(&self, report: &mut Report) -> Result<()> {
        let url = format!("{}/api/v1/account/login/", self.server.base);
        let script = signing_in();
        let (figures, [hashes]) = self.plan.by_turns(
            |_, lasting| {
                wrk::run(
                    &Load { url: &url, connections: 16, threads: 1, script: &script },
                    lasting,
                    self.folder,
                )
            },
            |lasting| Ok([bare::hashes(lasting)?]),
        )?;
        let against = Against { what: "argon2id on two threads", per_second: hashes, at_least: None };
        report.add("cadasta: sign in, 16 clients", figures, Some(against));
        Ok(())
    }

    /// Pictures, against nothing.
    fn upload(&self, report: &mut Report) -> Result<()> {
        let picture = self.folder.join("picture.jpg");
        let size = photograph(&picture)?;
        let url = format!("{}/v1/organizations/{}/avatar", self.server.base, self.town.home.uid.short());
        let script = uploading(&self.owner, &picture);
        let (figures, []) = self.plan.by_turns(
            |_, lasting| {
                wrk::run(
                    &Load { url: &url, connections: 8, threads: 1, script: &script },
                    lasting,
                    self.folder,
                )
            },
            |_| Ok([]),
        )?;
        report.add(
            &format!("stormz: upload a picture (JPEG, {SIDE} × {SIDE}, {} kB), 8 clients", size / 1000),
            figures,
            None,
        );
        Ok(())
    }
}

/// A name that was not there before in each request.
pub(crate) fn creating(token: &str, round: u32) -> String {
    format!(
        r#"{}wrk.headers['Content-Type'] = 'application/json'
local count = 0
request = function()
    count = count + 1
    local number = (place or 0) * 1000000 + count
    return wrk.format('POST', nil, nil, '{{"organization_name":"Guild {round} ' .. number .. '"}}')
end
"#,
        wrk::get(token)
    )
}

/// One account after the other.
fn signing_in() -> String {
    let signers = town::SIGNERS;
    let login = town::signer(0);
    let stem = login.trim_end_matches('0');
    let password = town::PASSWORD;
    format!(
        r#"wrk.headers['Content-Type'] = 'application/json'
local count = 0
request = function()
    count = (count + 1) % {signers}
    return wrk.format('POST', nil, nil, '{{"username":"{stem}' .. count .. '","password":"{password}"}}')
end
"#
    )
}

fn uploading(token: &str, picture: &Path) -> String {
    format!(
        r#"{}wrk.method = 'PUT'
wrk.headers['Content-Type'] = 'multipart/form-data; boundary=edge'
local file = io.open('{}', 'rb')
wrk.body = '--edge\r\nContent-Disposition: form-data; name="avatar"; filename="a.jpg"\r\n\r\n'
    .. file:read('*a') .. '\r\n--edge--\r\n'
file:close()
"#,
        wrk::get(token),
        picture.display()
    )
}

/// Pixels on each side of the picture that is uploaded.
const SIDE: u32 = 1024;

/// Writes a picture with as much in it as a photograph has, and answers how many bytes it takes.
fn photograph(file: &Path) -> Result<u64> {
    let mut noise = 1_u32;
    image::RgbImage::from_fn(SIDE, SIDE, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = (noise >> 28) as u8;
        image::Rgb([(x / 5) as u8 + grain, (y / 5) as u8 + grain, ((x + y) / 10) as u8 + grain])
    })
    .save(file)?;
    Ok(std::fs::metadata(file)?.len())
}
