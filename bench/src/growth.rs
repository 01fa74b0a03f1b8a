//! What a million organizations and memberships cost a request that has to do with few of them.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use testpg::{Cluster, Database, Keeps};

use crate::cases::{Case, Plan, creating};
use crate::report::{AtMost, Report, Spread, median, thousands};
use crate::samples::{self, Asked};
use crate::server::{self, Place, Process};
use crate::world::{self, MANY_ORGANIZATIONS, World};
use crate::wrk::{self, Load};
use crate::{Result, memory, start, town};

/// What one answer may take, at the most, as often as from the small database.
const GROWTH: Option<f64> = Some(2.0);
/// The same of one who belongs to many organizations, against one who belongs to one.
const BELONGING: Option<f64> = Some(1.2);

/// A database of some size, and where a server finds it.
pub(crate) struct Home<'a> {
    pub(crate) world: &'a World,
    database: Option<&'a str>,
}

/// Session tokens of those who ask.
struct Tokens {
    reader: String,
    owner: String,
    one: String,
    many: String,
}

/// Runs those of `chosen` that are about size: on SQLite, then on PostgreSQL with a copy of the same rows.
pub(crate) fn run(
    plan: &Plan,
    program: &Path,
    folder: &Path,
    chosen: &[Case],
    report: &mut Report,
) -> Result<()> {
    let worlds = [
        world::found(&folder.join("small"), plan.sizes.0)?,
        world::found(&folder.join("large"), plan.sizes.1)?,
    ];
    let (remote, local): (Vec<Case>, Vec<Case>) = chosen.iter().partition(|case| case.is_remote());
    let [small, large] = worlds.each_ref().map(|world| Home { world, database: None });
    let bench = Bench { plan, program, folder, engine: "", small, large };
    if !local.is_empty() {
        bench.measure(&local, report)?;
    }
    if remote.is_empty() {
        return Ok(());
    }
    let Some(cluster) = Cluster::start(Keeps::Durably, crate::remote::SETTINGS) else {
        testpg::skip();
        return Ok(());
    };
    let [small, large] =
        [bench.small.copy(program, &cluster, report)?, bench.large.copy(program, &cluster, report)?];
    let small = Home { world: &worlds[0], database: Some(small.url()) };
    let large = Home { world: &worlds[1], database: Some(large.url()) };
    Bench { plan, program, folder, engine: "PostgreSQL, ", small, large }.measure(&remote, report)
}

struct Bench<'a> {
    plan: &'a Plan,
    program: &'a Path,
    folder: &'a Path,
    /// What stands before the names of what is measured.
    engine: &'static str,
    small: Home<'a>,
    large: Home<'a>,
}

impl Home<'_> {
    pub(crate) fn place(&self) -> Place<'_> {
        Place { data: &self.world.data, database: self.database }
    }

    fn tokens(&self, program: &Path) -> Result<Tokens> {
        let token = |login| server::token(program, &self.place(), login);
        Ok(Tokens {
            reader: token(town::READER)?,
            owner: token(town::OWNER)?,
            one: token(world::ONE)?,
            many: token(world::MANY)?,
        })
    }

    /// Its rows in a database of the cluster's.
    fn copy(&self, program: &Path, cluster: &Cluster, report: &mut Report) -> Result<Database> {
        let database = cluster.database();
        let begun = std::time::Instant::now();
        let rows = server::copy(program, &self.place(), database.url())?;
        let taken = begun.elapsed();
        cluster.psql(database.name(), "VACUUM (ANALYZE)");
        report.note(format!(
            "`guildhall copy` from SQLite to PostgreSQL: {} rows in {:.1} s, {} in a second, each read back and the whole \
             checked.",
            thousands(f64::from(rows)),
            taken.as_secs_f64(),
            thousands(f64::from(rows) / taken.as_secs_f64()),
        ));
        Ok(database)
    }
}

impl Bench<'_> {
    /// Each case, and at the end whether both databases are sound.
    fn measure(&self, cases: &[Case], report: &mut Report) -> Result<()> {
        for case in cases {
            match case {
                Case::Growth | Case::PgGrowth => self.grow(report)?,
                Case::Many | Case::PgMany => self.belong(report)?,
                Case::Memory | Case::PgMemory => self.fill_memory(report)?,
                Case::Start => start::measure(self.plan, self.program, self.folder, &self.large, report)?,
                _ => {}
            }
        }
        server::check(self.program, &self.small.place())?;
        server::check(self.program, &self.large.place())
    }

    fn serve(&self, home: &Home<'_>) -> Result<Process> {
        let log = self.folder.join(format!("world-{}.log", home.world.size));
        server::serve(self.program, &home.place(), &log)
    }

    /// The same requests to the large and the small database.
    fn grow(&self, report: &mut Report) -> Result<()> {
        let (ours, others) = (self.serve(&self.large)?, self.serve(&self.small)?);
        let (my, their) = (self.large.tokens(self.program)?, self.small.tokens(self.program)?);
        let against = thousands(f64::from(u32::try_from(self.small.world.size)?));
        let size = thousands(f64::from(u32::try_from(self.large.world.size)?));
        for (name, ask) in REQUESTS {
            let asked = |process: &Process, world, token: &str| {
                let what = format!("GET {}", ask(world));
                // A list that anybody may read is asked for by nobody.
                let token = (!name.ends_with("nobody")).then(|| token.to_owned());
                (process.base.clone(), what, token)
            };
            let (base, what, token) = asked(&ours, self.large.world, &my.reader);
            let ours = Asked { base: &base, token: token.as_deref(), what, body: None };
            let (base, what, token) = asked(&others, self.small.world, &their.reader);
            let others = Asked { base: &base, token: token.as_deref(), what, body: None };
            let compared = samples::compare(self.plan, &ours, &others)?;
            let few = if compared.samples < self.plan.samples {
                format!(" ({} samples)", compared.samples)
            } else {
                String::new()
            };
            let case = format!("{}{name}, of {size}{few}", self.engine);
            report.delay(&case, (compared.ours, &against), compared.others, AtMost::P99(GROWTH));
        }
        let name = |number| format!(r#"{{"organization_name":"Sampled {number}"}}"#);
        let asked = |base, token| Asked {
            base,
            token: Some(token),
            what: "POST /api/organizations".into(),
            body: Some(&name),
        };
        let compared =
            samples::compare(self.plan, &asked(&ours.base, &my.owner), &asked(&others.base, &their.owner))?;
        let case = format!("{}buildog: create, one client, of {size}", self.engine);
        report.delay(&case, (compared.ours, &against), compared.others, AtMost::P99(GROWTH));
        self.create((&ours, &my), (&others, &their), report)
    }

    /// New organizations by many clients at once.
    fn create(
        &self,
        ours: (&Process, &Tokens),
        others: (&Process, &Tokens),
        report: &mut Report,
    ) -> Result<()> {
        let series = Cell::new(0);
        let load = |(process, tokens): (&Process, &Tokens), lasting: Duration| {
            series.set(series.get() + 1);
            let (url, script) =
                (format!("{}/api/organizations", process.base), creating(&tokens.owner, series.get()));
            let load = Load { url: &url, connections: 64, threads: 1, script: &script };
            wrk::run(&load, lasting, self.folder).map(|figures| Spread { p50: figures.p50, p99: figures.p99 })
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for _ in 0..self.plan.rounds {
            second.push(load(others, self.plan.turn)?);
            first.push(load(ours, self.plan.turn)?);
        }
        let middle = |all: &[Spread]| Spread {
            p50: median(all.iter().map(|one| one.p50)).unwrap_or_default(),
            p99: median(all.iter().map(|one| one.p99)).unwrap_or_default(),
        };
        let [size, against] = [&self.large, &self.small]
            .map(|home| thousands(u32::try_from(home.world.size).map_or(f64::NAN, f64::from)));
        let case = format!("{}buildog: create, 64 clients, of {size}", self.engine);
        report.delay(&case, (middle(&first), &against), middle(&second), AtMost::P99(GROWTH));
        Ok(())
    }

    /// The same requests by one who belongs to many organizations and by one who belongs to one.
    fn belong(&self, report: &mut Report) -> Result<()> {
        let process = self.serve(&self.large)?;
        let tokens = self.large.tokens(self.program)?;
        let world = self.large.world;
        let many = thousands(f64::from(u32::try_from(MANY_ORGANIZATIONS.min(world.size))?));
        let mut compare = |name: &str, ours: &Asked<'_>, others: &Asked<'_>| -> Result<()> {
            let compared = samples::compare(self.plan, ours, others)?;
            let case = format!("{}{name}, in {many}", self.engine);
            report.delay(&case, (compared.ours, "in one"), compared.others, AtMost::P50(BELONGING));
            Ok(())
        };
        for (name, what) in
            [("cadasta: sign in", "POST /api/v1/account/login/"), ("bit: sign in", "POST /user/login")]
        {
            let login = |login: &'static str| {
                move |_| format!(r#"{{"username":"{login}@example.com","password":"{}"}}"#, town::PASSWORD)
            };
            let (many, one) = (login(world::MANY), login(world::ONE));
            let asked =
                |body| Asked { base: &process.base, token: None, what: what.into(), body: Some(body) };
            compare(name, &asked(&many), &asked(&one))?;
        }
        for (name, ask) in OWN {
            let asked = |token, own| Asked {
                base: &process.base,
                token: Some(token),
                what: format!("GET {}", ask(world, own)),
                body: None,
            };
            compare(name, &asked(&tokens.many, &world.of_many), &asked(&tokens.one, &world.of_one))?;
        }
        let buildog = |number| format!(r#"{{"organization_name":"Sampled {number}"}}"#);
        // PostgreSQL has been brought those that were made on SQLite, and public names are unique.
        let cadasta = |number| format!(r#"{{"name":"{}Public {number} {many}"}}"#, self.engine);
        let pm415 = |number| format!(r#"{{"name":"Renamed {number}"}}"#);
        let asked = |token, what: &str, body| Asked {
            base: &process.base,
            token: Some(token),
            what: what.into(),
            body: Some(body),
        };
        let (rename, others) =
            (format!("PUT /api/org/{}", world.of_many.id.0), format!("PUT /api/org/{}", world.of_one.id.0));
        compare(
            "pm415: rename",
            &asked(&tokens.many, &rename, &pm415),
            &asked(&tokens.one, &others, &pm415),
        )?;
        // Last: who makes organizations belongs to more of them.
        let what = "POST /api/v1/organizations/";
        compare(
            "cadasta: create",
            &asked(&tokens.many, what, &cadasta),
            &asked(&tokens.one, what, &cadasta),
        )?;
        let what = "POST /api/organizations";
        compare("buildog: create", &asked(&tokens.many, what, &buildog), &asked(&tokens.one, what, &buildog))
    }

    fn fill_memory(&self, report: &mut Report) -> Result<()> {
        let process = self.serve(&self.large)?;
        let tokens = self.large.tokens(self.program)?;
        let load = memory::Load { world: self.large.world, reader: &tokens.reader, owner: &tokens.owner };
        memory::measure(self.plan, self.folder, (&process, self.engine), &load, report)
    }
}

type Ask = fn(&World) -> String;

/// One organization, and every list that a dialect documents: what is measured is its first piece.
const REQUESTS: &[(&str, Ask)] = &[
    ("stormz: one organization", |world| format!("/v1/organizations/{}", world.circle.uid.short())),
    ("cadasta: one organization and its 2 members", |world| {
        format!("/api/v1/organizations/{}/", world.circle.slug)
    }),
    ("stormz: own organizations (10)", |_| "/v1/user/me/organizations".into()),
    ("stormz: the same, page 1", |_| "/v1/user/me/organizations?page=1".into()),
    ("buildog: own organizations (10)", |_| "/api/organizations".into()),
    ("pm415: own organizations (10)", |_| "/api/org".into()),
    ("pm415: the same of the user", |_| "/api/user/orgs".into()),
    ("stormz: members", |world| format!("/v1/organizations/{}/members", world.city.uid.short())),
    ("stormz: members, page 1", |world| {
        format!("/v1/organizations/{}/members?page=1", world.city.uid.short())
    }),
    ("pm415: users", |world| format!("/api/org/{}/users", world.city.id.0)),
    ("cadasta: members", |world| format!("/api/v1/organizations/{}/users/", world.city.slug)),
    ("cadasta: one organization and its members", |world| {
        format!("/api/v1/organizations/{}/", world.city.slug)
    }),
    ("bit: owners, active and inactive users", |world| format!("/organizations/{}", world.city.id.0)),
    ("bit: an event's guests", |world| format!("/events/{}", world.event)),
    ("cadasta: organizations, by nobody", |_| "/api/v1/organizations/".into()),
    ("cadasta: organizations", |_| "/api/v1/organizations/".into()),
    ("cadasta: organizations, limit=100", |_| "/api/v1/organizations/?limit=100".into()),
    ("cadasta: organizations, limit=100, offset=100", |_| {
        "/api/v1/organizations/?limit=100&offset=100".into()
    }),
    ("cadasta: organizations, ordering=name", |_| "/api/v1/organizations/?ordering=name".into()),
    ("cadasta: organizations, ordering=-name", |_| "/api/v1/organizations/?ordering=-name".into()),
    ("cadasta: organizations, ordering=description", |_| {
        "/api/v1/organizations/?ordering=description".into()
    }),
    ("cadasta: organizations, archived=true", |_| "/api/v1/organizations/?archived=true".into()),
    ("cadasta: organizations, permissions=org.update", |_| {
        "/api/v1/organizations/?permissions=org.update".into()
    }),
    ("cadasta: organizations, search=craft 77", |_| "/api/v1/organizations/?search=craft+77".into()),
];

type AskOwn = fn(&World, &guildhall_domain::organizations::Organization) -> String;

/// What does not list one's own organizations.
const OWN: &[(&str, AskOwn)] = &[
    ("stormz: one's organization", |_, own| format!("/v1/organizations/{}", own.uid.short())),
    ("stormz: oneself", |_, _| "/v1/user/me".into()),
    ("stormz: members", |_, own| format!("/v1/organizations/{}/members", own.uid.short())),
    ("cadasta: one's organization", |_, own| format!("/api/v1/organizations/{}/", own.slug)),
    ("cadasta: oneself", |_, _| "/api/v1/account/".into()),
    ("pm415: users", |_, own| format!("/api/org/{}/users", own.id.0)),
    ("bit: one's organization", |_, own| format!("/organizations/{}", own.id.0)),
    ("bit: an event", |world, _| format!("/events/{}", world.event)),
];
