//! What the tests of the server try themselves: they run as `cargo test` runs them, and tell in lines of their own how much
//! they tried and what was found where the thing that they guard was taken away.

use std::process::Command;

use crate::Result;
use crate::item::{Control, Outcome};
use crate::place::Place;

/// Tests that belong to one claim.
pub(crate) struct Suite {
    /// How they try it: a clause that the page shows.
    how: &'static str,
    /// The runs that it takes.
    runs: &'static [Run],
}

/// One run of tests.
struct Run {
    /// What it runs on, as the page says it; nothing where the tests see to that themselves.
    engine: Option<Engine>,
    /// The packages and kinds of tests.
    of: &'static [&'static str],
    /// Parts of the names of the tests.
    names: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// The tests that start servers. Of the whole workspace, so that what `cargo test` has built is not built again with fewer
/// features of what it depends on.
const SERVER: &[&str] = &["--workspace", "--test", "it"];

const fn on(engine: Engine, names: &'static [&'static str]) -> Run {
    Run { engine: Some(engine), of: SERVER, names }
}

/// Tests that start a PostgreSQL of their own.
const fn with_postgres(names: &'static [&'static str]) -> Run {
    Run { engine: None, of: SERVER, names }
}

pub(crate) const AUTHORIZATION: Suite = Suite {
    how: "every call of the five APIs by thirteen callers with each form of credential, against a table written by hand; with \
          credentials that do not count; and with another organization's ids in every path, query, header and body",
    runs: &[on(Engine::Sqlite, &["authz::"]), on(Engine::Postgres, &["authz::"])],
};

pub(crate) const NODES: Suite = Suite {
    how: "three nodes on one database: a right taken away at one and used at another at once; a node killed under load",
    runs: &[
        on(Engine::Sqlite, &["nodes::revocation::"]),
        on(Engine::Postgres, &["nodes::revocation::", "faults::a_node_killed"]),
    ],
};

pub(crate) const RACES: Suite = Suite {
    how: "what only one may have or be, asked for by many at the same moment, at one node and at three; the tables queried at \
          the end",
    runs: &[
        on(Engine::Sqlite, &["races::", "nodes::attack::"]),
        on(Engine::Postgres, &["races::", "nodes::attack::"]),
    ],
};

pub(crate) const POSTGRESQL_KILLED: Suite = Suite {
    how: "PostgreSQL killed with all its processes under the load of two nodes; its tables and the letters compared with what \
          the clients were told",
    runs: &[with_postgres(&["faults::postgresql_"])],
};

pub(crate) const STANDBY: Suite = Suite {
    how: "a primary killed under the load of two nodes and its synchronous standby promoted; compared in the same way",
    runs: &[with_postgres(&["faults::a_standby_"])],
};

pub(crate) const ENGINES: Suite = Suite {
    how: "one random history of requests to a server on SQLite and to one on PostgreSQL: answers, letters and in the end rows \
          compared byte for byte",
    runs: &[with_postgres(&["engines::"])],
};

pub(crate) const PARSERS: Suite = Suite {
    how: "proptest and a kept corpus on every parser of ours: what is taken prints and parses back the same, what has to be \
          refused is",
    runs: &[Run { engine: None, of: &["--workspace", "--lib", "--test", "it"], names: &["parsers::"] }],
};

impl Suite {
    pub(crate) fn run(&self, place: &Place) -> Result<Outcome> {
        let needs_postgres =
            self.runs.iter().any(|run| run.of == SERVER && run.engine != Some(Engine::Sqlite));
        if needs_postgres && testpg::programs().is_none() {
            return Ok(Outcome::Skipped("PostgreSQL is missing: apt-get install postgresql".into()));
        }
        let (mut counts, mut violations, mut controls) = (Vec::new(), Vec::new(), Vec::new());
        for run in self.runs {
            let told = run.told(place)?;
            if told.counted.is_empty() {
                violations.push(format!("no test of {:?} told what it tried", run.names));
            }
            let on = run.engine.map(|engine| format!("on {}: ", engine.name())).unwrap_or_default();
            let counted: Vec<String> =
                told.counted.iter().map(|(number, what)| format!("{} {what}", grouped(*number))).collect();
            counts.push(format!("{on}{}", counted.join(", ")));
            violations.extend(told.failed.into_iter().map(|failed| format!("{on}{failed}")));
            controls.extend(told.controls.into_iter().map(|control| format!("{on}{control}")));
        }
        let failed = !controls.is_empty();
        Ok(Outcome::Tried {
            how: self.how.into(),
            count: counts.join("; "),
            violations,
            control: Control { failed, told: controls.join("; ") },
        })
    }
}

/// What tests have told.
#[derive(Default, PartialEq, Eq, Debug)]
struct Told {
    /// How much was tried of what.
    counted: Vec<(u64, String)>,
    /// What controls found; a control that finds nothing is a test that fails.
    controls: Vec<String>,
    /// The tests that failed, each with the first words of why.
    failed: Vec<String>,
}

impl Run {
    fn told(&self, place: &Place) -> Result<Told> {
        let mut command = Command::new("cargo");
        command.args(["test", "--quiet", "--no-fail-fast", "--manifest-path"]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).args(self.of);
        if place.long {
            command.arg("--release").env("GUILDHALL_LONG", "1").env("PROPTEST_CASES", "20000");
        }
        if self.engine == Some(Engine::Postgres) {
            command.env("GUILDHALL_TEST_ENGINE", "postgres");
        }
        command.env("GUILDHALL_SEED", place.seed.to_string());
        // One test at a time: they are about what happens under a load of their own.
        command.args(["--", "--nocapture", "--test-threads", "1"]).args(self.names);
        let output = command.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let told = Told::read(&out, &err);
        if !output.status.success() && told.failed.is_empty() {
            let end: Vec<&str> = err.lines().rev().take(20).collect();
            return Err(
                format!("{command:?}: {}", end.into_iter().rev().collect::<Vec<_>>().join("\n")).into()
            );
        }
        Ok(told)
    }
}

impl Told {
    /// From what the tests printed. A line of theirs may stand behind the name of the test.
    fn read(out: &str, err: &str) -> Self {
        let mut told = Self::default();
        for line in out.lines().chain(err.lines()) {
            if let Some((_, counted)) = line.split_once("COUNTED: ") {
                // Of whose properties may stand in front, as `parsers: slugs: 256 cases and 20 of the corpus`.
                let (about, counted) = counted.rsplit_once(": ").unwrap_or(("", counted));
                if !about.is_empty() {
                    told.count("1 properties");
                }
                match counted.split_once(" and ") {
                    Some((one, other)) if other.starts_with(|c: char| c.is_ascii_digit()) => {
                        told.count(one);
                        told.count(other);
                    }
                    _ => told.count(counted),
                }
            } else if let Some((_, found)) = line.split_once("CONTROL: ") {
                told.controls.push(found.to_owned());
            }
        }
        // The runner lists the names of those that failed twice: above what each printed, and at the end.
        let failures = out.rsplit_once("\nfailures:\n").map_or("", |(_, list)| list);
        let names = failures.lines().take_while(|line| !line.starts_with("test result")).map(str::trim);
        for name in names.filter(|name| !name.is_empty()) {
            let begin = format!("thread '{name}'");
            let why: Vec<&str> =
                err.lines().skip_while(|line| !line.starts_with(&begin)).skip(1).take(3).collect();
            told.failed.push(format!("{name}: {}", why.join(" ")));
        }
        told
    }

    /// Adds what a line tells, as `256 cases`.
    fn count(&mut self, counted: &str) {
        let Some((number, what)) = counted.split_once(' ') else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        match self.counted.iter_mut().find(|(_, known)| known == what) {
            Some((sum, _)) => *sum += number,
            None => self.counted.push((number, what.to_owned())),
        }
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_print_is_read() {
        let out = "\nrunning 3 tests\n.COUNTED: 20 rounds\nCOUNTED: 5 rounds\n\
                   CONTROL: without a lock, 3 of 4\n\nfailures:\n\nfailures:\n    races::one\n\ntest result: FAILED.\n";
        let err = "COUNTED: parsers: slugs: 256 cases and 7 of the corpus\nCOUNTED: parsers: ids: 4 cases\n\
                   thread 'races::one' (7) panicked at races.rs:1:2:\ntwo in charge\n";
        let told = Told::read(out, err);
        let counted: Vec<String> =
            told.counted.iter().map(|(number, what)| format!("{number} {what}")).collect();
        assert_eq!(counted, ["25 rounds", "2 properties", "260 cases", "7 of the corpus"]);
        assert_eq!(told.controls, ["without a lock, 3 of 4"]);
        assert_eq!(told.failed, ["races::one: two in charge"]);
        assert_eq!(Told::read("test result: ok.", ""), Told::default());
        assert_eq!([grouped(7), grouped(1_000), grouped(1_234_567)], ["7", "1,000", "1,234,567"]);
    }
}
