//! The claims, and what came of trying one.

use crate::place::Place;
use crate::{Result, power_cut};

/// A claim that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    PowerCut,
}

impl Item {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 1] = [Self::PowerCut];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item| item.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PowerCut => "power-cut",
        }
    }

    /// What is claimed.
    pub(crate) fn claim(self) -> &'static str {
        match self {
            Self::PowerCut => "What was acknowledged outlives a power cut at any moment.",
        }
    }

    /// Tries it.
    ///
    /// # Errors
    /// Where it could not be tried, or not to its end.
    pub(crate) fn run(self, place: &Place) -> Result<Told> {
        let outcome = match self {
            Self::PowerCut => power_cut::run(place)?,
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
            Outcome::Skipped(_) => true,
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
                format!("{name}: {count}, {number} violations; control: {}{judged}; seed {seed}", control.told)
            }
            Outcome::Skipped(why) => format!("{name}: SKIPPED: {why}"),
        }
    }
}
