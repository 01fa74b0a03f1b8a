//! The server on PostgreSQL, against pgbench sending the same statements to the same database.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guildhall_domain::db::{Db, Settings, Target};
use guildhall_domain::organizations::Organization;
use testpg::{Cluster, Database, Keeps};

use crate::cases::{Case, Plan, creating};
use crate::pgbench::{Counted, Pgbench};
use crate::report::{Against, Report, median};
use crate::server::{self, Place, Process};
use crate::wrk::{self, Figures, Load};
use crate::{Result, town};

/// Of a cluster that keeps what it commits: memory for all that is measured, and no checkpoint in the middle of a turn.
pub(crate) const SETTINGS: &str = "shared_buffers = 256MB\nmax_wal_size = 4GB\ncheckpoint_timeout = 30min";

const READ: &str = include_str!("../sql/read.sql");
const CREATE: &str = include_str!("../sql/create.sql");
const ADD_AND_REMOVE: &str = include_str!("../sql/add-and-remove.sql");

/// Clients at once.
const CLIENTS: u32 = 64;
/// Servers on one database.
const NODES: usize = 3;

/// A PostgreSQL and what is in it.
pub(crate) struct House<'p> {
    plan: &'p Plan,
    program: &'p Path,
    folder: &'p Path,
    data: PathBuf,
    home: Organization,
    reader: String,
    owner: String,
    read: Pgbench,
    write: Pgbench,
    /// How many loads of new organizations there were: each has names of its own.
    series: Cell<u32>,
    // Dropped in this order.
    database: Database,
    cluster: Cluster,
}

impl<'p> House<'p> {
    /// Nothing where PostgreSQL or its pgbench is not installed, which is said aloud.
    pub(crate) fn found(plan: &'p Plan, program: &'p Path, folder: &'p Path) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::start(Keeps::Durably, SETTINGS) else {
            testpg::skip();
            return Ok(None);
        };
        let database = cluster.database();
        let data = folder.join("remote");
        let home = {
            let db = Db::postgres(&Target::parse(database.url())?, 1, Settings::default())?;
            town::people(&db)?;
            town::organization(&db, "Reading Circle")?
        };
        let place = Place { data: &data, database: Some(database.url()) };
        let token = |login| server::token(program, &place, login);
        let (reader, owner) = (token(town::READER)?, token(town::OWNER)?);
        cluster.psql(database.name(), "ANALYZE");
        let pgbench = |login| {
            Pgbench::find(database.url(), values(&home, login, |sql| cluster.psql(database.name(), sql)))
        };
        let (Some(read), Some(write)) = (pgbench(town::READER), pgbench(town::OWNER)) else {
            eprintln!("SKIPPED: no pgbench beside PostgreSQL's other programs");
            return Ok(None);
        };
        let series = Cell::default();
        Ok(Some(Self {
            plan,
            program,
            folder,
            data,
            home,
            reader,
            owner,
            read,
            write,
            series,
            database,
            cluster,
        }))
    }

    pub(crate) fn measure(&self, case: Case, report: &mut Report) -> Result<()> {
        match case {
            Case::PgRead => self.read(report),
            Case::PgCreate => self.create(report),
            Case::PgNodes => self.nodes(report),
            Case::PgLocks => self.locks(report),
            _ => Ok(()),
        }
    }

    /// A member's GET of one organization.
    fn read(&self, report: &mut Report) -> Result<()> {
        let nodes = self.serve(1)?;
        let connections = connections()?;
        let (figures, [other]) = self.plan.by_turns(
            |_, lasting| self.send_reads(&nodes, lasting),
            |lasting| Ok([self.read.run(READ, connections, lasting, self.folder)?.per_second]),
        )?;
        let what = "pgbench, as many connections";
        let against = Against { what, per_second: other, at_least: Some(0.7) };
        report.add("PostgreSQL, stormz: one organization", figures, Some(against));
        Ok(())
    }

    /// New organizations.
    fn create(&self, report: &mut Report) -> Result<()> {
        let nodes = self.serve(1)?;
        let connections = connections()?;
        let count = |connections, lasting| self.write.run(CREATE, connections, lasting, self.folder);
        let (figures, [all, few]) = self.plan.by_turns(
            |_, lasting| self.send_creates(&nodes, lasting),
            |lasting| Ok([count(CLIENTS, lasting)?.per_second, count(connections, lasting)?.per_second]),
        )?;
        let name = "PostgreSQL, buildog: create an organization, 64 clients";
        let against = Against { what: "pgbench, 64 connections", per_second: all, at_least: Some(0.6) };
        report.add(name, figures, Some(against));
        let against = Against { what: "pgbench, as many connections", per_second: few, at_least: None };
        report.add(name, figures, Some(against));
        Ok(())
    }

    /// The same from three servers as from one.
    fn nodes(&self, report: &mut Report) -> Result<()> {
        let (one, three) = (self.serve(1)?, self.serve(NODES)?);
        let (figures, [other]) = self.plan.by_turns(
            |_, lasting| self.send_reads(&three, lasting),
            |lasting| Ok([self.send_reads(&one, lasting)?.per_second]),
        )?;
        let against = |per_second| Some(Against { what: "one node", per_second, at_least: None });
        report.add("PostgreSQL, three nodes: one organization", figures, against(other));
        let (figures, [other]) = self.plan.by_turns(
            |_, lasting| self.send_creates(&three, lasting),
            |lasting| Ok([self.send_creates(&one, lasting)?.per_second]),
        )?;
        report.add("PostgreSQL, three nodes: create an organization", figures, against(other));
        Ok(())
    }

    /// 64 clients that change one organization's members, in the two ways in which such changes can be kept apart.
    fn locks(&self, report: &mut Report) -> Result<()> {
        let serializable = script("BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE;", "");
        let locking = script(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;",
            "SELECT 1 FROM organizations WHERE id = :organization FOR UPDATE;",
        );
        for connections in [connections()?, CLIENTS] {
            let (mut alone, mut locked) = (Vec::new(), Vec::new());
            for _ in 0..self.plan.rounds {
                alone.push(self.write.run(&serializable, connections, self.plan.turn, self.folder)?);
                self.forget_members();
                locked.push(self.write.run(&locking, connections, self.plan.turn, self.folder)?);
                self.forget_members();
            }
            let rate = |all: &[Counted]| median(all.iter().map(|one| one.per_second)).unwrap_or_default();
            let retries = |all: &[Counted]| median(all.iter().map(|one| one.retries)).unwrap_or_default();
            report.note(format!(
                "{connections} connections add and remove members of one organization, pairs in a second: \
                 {:.0} SERIALIZABLE ({:.2} tries again for each), {:.0} READ COMMITTED with a lock on the organization.",
                rate(&alone),
                retries(&alone),
                rate(&locked),
            ));
        }
        Ok(())
    }

    /// Takes away those whom a client had added when its time was over.
    fn forget_members(&self) {
        self.cluster
            .psql(self.database.name(), "DELETE FROM memberships WHERE role = 'member' AND user_id > 2");
    }

    fn serve(&self, nodes: usize) -> Result<Vec<Process>> {
        let place = Place { data: &self.data, database: Some(self.database.url()) };
        let log = |number| self.folder.join(format!("node-{nodes}-{number}.log"));
        (0..nodes).map(|number| server::serve(self.program, &place, &log(number))).collect()
    }

    fn send_reads(&self, nodes: &[Process], lasting: Duration) -> Result<Figures> {
        let path = format!("/v1/organizations/{}", self.home.uid.short());
        self.send(nodes, &path, &wrk::get(&self.reader), lasting)
    }

    fn send_creates(&self, nodes: &[Process], lasting: Duration) -> Result<Figures> {
        self.series.set(self.series.get() + 1);
        self.send(nodes, "/api/organizations", &creating(&self.owner, self.series.get()), lasting)
    }

    fn send(&self, nodes: &[Process], path: &str, script: &str, lasting: Duration) -> Result<Figures> {
        let bases: Vec<&str> = nodes.iter().map(|node| node.base.as_str()).collect();
        let (url, script) = (format!("{}{path}", bases[0]), format!("{}{script}", wrk::spread(&bases)));
        let threads = u32::try_from(bases.len())?;
        wrk::run(&Load { url: &url, connections: CLIENTS, threads, script: &script }, lasting, self.folder)
    }
}

/// As many as the server has by default.
fn connections() -> Result<u32> {
    Ok(u32::try_from((4 * std::thread::available_parallelism()?.get()).min(32))?)
}

fn script(begin: &str, lock: &str) -> String {
    ADD_AND_REMOVE.replace("{begin}", begin).replace("{lock}", lock)
}

/// What the scripts' names stand for, where `login` acts; `find` answers what a query finds.
fn values(home: &Organization, login: &str, find: impl Fn(&str) -> String) -> Vec<(&'static str, String)> {
    let user = find(&format!("SELECT id FROM users WHERE username = '{login}'"));
    let first = find(&format!("SELECT id FROM users WHERE username = '{}'", town::signer(0)));
    let session = find(&format!("SELECT id FROM sessions WHERE user_id = {user}"));
    let short = home.uid.short();
    let fixed = [
        ("kind", "token"),
        ("counter", "organizations"),
        ("list", "[]"),
        ("visibility", "private"),
        ("joining", "invite"),
        ("plan", "organization"),
        ("attendees", "20"),
        ("role", "owner"),
        ("action", "organization.create"),
    ];
    let mut values: Vec<_> = fixed.map(|(name, value)| (name, value.to_owned())).into();
    values.extend([
        ("user", user),
        ("first", first),
        ("session", session),
        ("organization", home.id.0.to_string()),
        ("least", format!("{short}00000000")),
        ("greatest", format!("{short}ffffffff")),
    ]);
    values
}
