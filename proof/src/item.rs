//! The claims, and what came of trying one.

use crate::place::Place;
use crate::{
    Result, faults, fuzz, kill, overload, power_cut, revocation, secrets, slow, speed, suite, supply, timing,
};

/// A claim that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    PowerCut,
    Kill,
    FailedSync,
    FullDisk,
    PostgresqlKilled,
    Standby,
    Authorization,
    Revocation,
    Nodes,
    Races,
    SlowClients,
    Overload,
    Fuzz,
    Parsers,
    Timing,
    Secrets,
    Engines,
    Speed,
    Supply,
}

impl Item {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 19] = [
        Self::PowerCut,
        Self::Kill,
        Self::FailedSync,
        Self::FullDisk,
        Self::PostgresqlKilled,
        Self::Standby,
        Self::Authorization,
        Self::Revocation,
        Self::Nodes,
        Self::Races,
        Self::SlowClients,
        Self::Overload,
        Self::Fuzz,
        Self::Parsers,
        Self::Timing,
        Self::Secrets,
        Self::Engines,
        Self::Speed,
        Self::Supply,
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item| item.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PowerCut => "power-cut",
            Self::Kill => "kill",
            Self::FailedSync => "fsync-fails",
            Self::FullDisk => "disk-full",
            Self::PostgresqlKilled => "postgresql-killed",
            Self::Standby => "standby",
            Self::Authorization => "authorization",
            Self::Revocation => "revocation",
            Self::Nodes => "nodes",
            Self::Races => "races",
            Self::SlowClients => "slow-clients",
            Self::Overload => "overload",
            Self::Fuzz => "fuzz",
            Self::Parsers => "parsers",
            Self::Timing => "timing",
            Self::Secrets => "secrets",
            Self::Engines => "engines",
            Self::Speed => "speed",
            Self::Supply => "supply",
        }
    }

    /// What is claimed.
    pub(crate) fn claim(self) -> &'static str {
        match self {
            Self::PowerCut => "What was acknowledged outlives a power cut at any moment.",
            Self::Kill => "What was acknowledged outlives the process, wherever it is killed.",
            Self::FailedSync => {
                "After a failed sync nothing is acknowledged, no sync is tried again, and reading goes on."
            }
            Self::FullDisk => {
                "A full disk is told, costs nothing acknowledged, and is over when there is room again."
            }
            Self::PostgresqlKilled => {
                "What was acknowledged outlives PostgreSQL, and two seconds after its return every node serves."
            }
            Self::Standby => "A standby that takes over has all that was acknowledged.",
            Self::Authorization => {
                "Everybody may do what the table says, and nothing in another's organization."
            }
            Self::Revocation => "What is taken away is gone for every request that begins after the answer.",
            Self::Nodes => {
                "What one node takes away no other gives; a node that dies costs nothing acknowledged."
            }
            Self::Races => "What only one may have or be stays so, whoever comes at the same moment.",
            Self::SlowClients => "Slow clients harm no other, and hold what they hold for a while only.",
            Self::Overload => "Asked for too much, the server does what it can, and tells the rest at once.",
            Self::Fuzz => "Whatever is sent, what is answered is what the descriptions of the APIs say.",
            Self::Parsers => "What a parser of ours takes it understands, and the rest it refuses.",
            Self::Timing => {
                "Nobody learns from an answer or its time whether an account exists or is disabled."
            }
            Self::Secrets => "A secret is in the answer or letter that gives it, and nowhere else.",
            Self::Engines => "SQLite and PostgreSQL answer the same.",
            Self::Speed => "It is as fast as its floor allows, and stays so as it grows.",
            Self::Supply => "Nothing is part of the program that nobody allowed.",
        }
    }

    /// Whether times alone are judged, which whatever else the machine does makes longer.
    fn is_timed(self) -> bool {
        matches!(self, Self::SlowClients | Self::Overload | Self::Timing)
    }

    /// Whether a busy machine makes it worse than it is.
    pub(crate) fn is_clocked(self) -> bool {
        self.is_timed() || self == Self::Speed
    }

    /// Whether it is tried with nothing beside it: what it claims is a matter of seconds or less.
    pub(crate) fn is_alone(self) -> bool {
        self.is_clocked() || matches!(self, Self::PostgresqlKilled | Self::Standby)
    }

    /// Whether it takes minutes.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, Self::Fuzz | Self::Authorization | Self::Races | Self::Engines)
    }

    /// Tries it. What is judged by times is tried once more where it did not hold, and that is told.
    ///
    /// # Errors
    /// Where it could not be tried, or not to its end.
    pub(crate) fn run(self, place: &Place) -> Result<Told> {
        let mut outcome = self.tried(place)?;
        if self.is_timed()
            && let Outcome::Tried { violations, .. } = &outcome
            && !violations.is_empty()
        {
            let first = violations.join("; ");
            eprintln!("{}: once more, after {first}", self.name());
            outcome = self.tried(place)?;
            if let Outcome::Tried { count, .. } = &mut outcome {
                count.push_str(&format!(" (at the second try, after: {first})"));
            }
        }
        Ok(Told { item: self, outcome })
    }

    fn tried(self, place: &Place) -> Result<Outcome> {
        let mut outcome = match self {
            Self::PowerCut => power_cut::run(place)?,
            Self::Kill => kill::run(place)?,
            Self::FailedSync => faults::failed_sync(place)?,
            Self::FullDisk => faults::full_disk(place)?,
            Self::PostgresqlKilled => suite::POSTGRESQL_KILLED.run(place)?,
            Self::Standby => suite::STANDBY.run(place)?,
            Self::Authorization => suite::AUTHORIZATION.run(place)?,
            Self::Revocation => revocation::run(place)?,
            Self::Nodes => suite::NODES.run(place)?,
            Self::Races => suite::RACES.run(place)?,
            Self::SlowClients => slow::run(place)?,
            Self::Overload => overload::run(place)?,
            Self::Fuzz => fuzz::run(place)?,
            Self::Parsers => suite::PARSERS.run(place)?,
            Self::Timing => timing::run(place)?,
            Self::Secrets => secrets::run(place)?,
            Self::Engines => suite::ENGINES.run(place)?,
            Self::Speed => speed::run(place)?,
            Self::Supply => supply::run(place)?,
        };
        if let Outcome::Tried { violations, .. } = &mut outcome {
            violations.extend(place.slow_starts());
        }
        Ok(outcome)
    }
}

/// What came of trying a claim.
pub(crate) enum Outcome {
    /// It was tried.
    Tried {
        /// How: a clause that the page shows.
        how: String,
        /// How often, of what.
        count: String,
        /// What was against it, a line each.
        violations: Vec<String>,
        /// What became of it without its guard.
        control: Control,
    },
    /// It was measured: no promise, but goals, each reached or not.
    Measured {
        /// How: a clause that the page shows.
        how: String,
        /// How much.
        count: String,
        /// What is short of its goal, a line each.
        short: Vec<String>,
        /// What became of it without what it is to show.
        control: Control,
        /// The figures, in Markdown.
        report: String,
    },
    /// It could not be: what is missing, and how it is had.
    Skipped(String),
    /// It cannot be on this machine, whatever is installed: why.
    Barred(String),
}

/// The same without the guard.
pub(crate) struct Control {
    /// Whether it failed, as it has to.
    pub(crate) failed: bool,
    /// A clause: what was taken away, and what came of it.
    pub(crate) told: String,
}

/// Whether skipping is forbidden, as where everything is installed.
#[expect(clippy::disallowed_methods, reason = "the variable is the tests' own")]
fn must_run_all() -> bool {
    std::env::var_os("GUILDHALL_TEST_ALL").is_some()
}

/// An item and its outcome.
pub(crate) struct Told {
    pub(crate) item: Item,
    pub(crate) outcome: Outcome,
}

impl Told {
    /// Whether the claim held and its control did not.
    pub(crate) fn held(&self) -> bool {
        match &self.outcome {
            Outcome::Tried { violations, control, .. } => violations.is_empty() && control.failed,
            Outcome::Measured { control, .. } => control.failed,
            Outcome::Skipped(_) => !must_run_all(),
            Outcome::Barred(_) => true,
        }
    }

    /// In one line; the first violations go to standard error.
    pub(crate) fn line(&self, seed: u64) -> String {
        let name = self.item.name();
        match &self.outcome {
            Outcome::Tried { count, violations, control, .. } => {
                violations.iter().take(20).for_each(|violation| eprintln!("{name}: {violation}"));
                let judged = if control.failed { "" } else { " (the control did not fail)" };
                let number = violations.len();
                format!(
                    "{name}: {count}, {number} violations; control: {}{judged}; seed {seed}",
                    control.told
                )
            }
            Outcome::Measured { count, short, control, .. } => {
                short.iter().for_each(|short| eprintln!("{name}: short of its goal: {short}"));
                let judged = if control.failed { "" } else { " (the control did not fail)" };
                let number = short.len();
                format!("{name}: {count}, {number} short of their goal; control: {}{judged}", control.told)
            }
            Outcome::Skipped(why) | Outcome::Barred(why) => format!("{name}: SKIPPED: {why}"),
        }
    }
}
