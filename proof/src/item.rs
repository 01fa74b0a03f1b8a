//! The claims, and what came of trying one.

use crate::place::Place;
use crate::{Result, faults, fuzz, kill, overload, power_cut, revocation, secrets, slow, timing};

/// A claim that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    PowerCut,
    Kill,
    FailedSync,
    FullDisk,
    SlowClients,
    Overload,
    Timing,
    Secrets,
    Revocation,
    Fuzz,
}

impl Item {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 10] = [
        Self::PowerCut,
        Self::Kill,
        Self::FailedSync,
        Self::FullDisk,
        Self::SlowClients,
        Self::Overload,
        Self::Timing,
        Self::Secrets,
        Self::Revocation,
        Self::Fuzz,
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
            Self::SlowClients => "slow-clients",
            Self::Overload => "overload",
            Self::Timing => "timing",
            Self::Secrets => "secrets",
            Self::Revocation => "revocation",
            Self::Fuzz => "fuzz",
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
            Self::SlowClients => "Slow clients harm no other, and hold what they hold for a while only.",
            Self::Overload => "Asked for too much, the server does what it can, and tells the rest at once.",
            Self::Timing => {
                "Nobody learns from an answer or its time whether an account exists or is disabled."
            }
            Self::Secrets => "A secret is in the answer or letter that gives it, and nowhere else.",
            Self::Revocation => "What is taken away is gone for every request that begins after the answer.",
            Self::Fuzz => "Whatever is sent, what is answered is what the descriptions of the APIs say.",
        }
    }

    /// Tries it.
    ///
    /// # Errors
    /// Where it could not be tried, or not to its end.
    pub(crate) fn run(self, place: &Place) -> Result<Told> {
        let outcome = match self {
            Self::PowerCut => power_cut::run(place)?,
            Self::Kill => kill::run(place)?,
            Self::FailedSync => faults::failed_sync(place)?,
            Self::FullDisk => faults::full_disk(place)?,
            Self::SlowClients => slow::run(place)?,
            Self::Overload => overload::run(place)?,
            Self::Timing => timing::run(place)?,
            Self::Secrets => secrets::run(place)?,
            Self::Revocation => revocation::run(place)?,
            Self::Fuzz => fuzz::run(place)?,
        };
        Ok(Told { item: self, outcome })
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
    /// It could not be: what is missing, and how it is had.
    Skipped(String),
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
            Outcome::Skipped(_) => !must_run_all(),
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
            Outcome::Skipped(why) => format!("{name}: SKIPPED: {why}"),
        }
    }
}
