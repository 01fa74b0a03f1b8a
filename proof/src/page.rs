//! The page that a run writes: nobody edits it by hand.

use crate::item::{Item, Outcome, Told};
use crate::place::Place;
use crate::{Result, machine};

/// What stands on the page below the table, written by people.
const FOUND: &str = include_str!("../FOUND.md");

/// The items of a run and what came of them.
pub(crate) struct Page {
    long: bool,
    told: Vec<Told>,
}

impl Page {
    pub(crate) fn new(long: bool) -> Self {
        Self { long, told: Vec::new() }
    }

    pub(crate) fn add(&mut self, told: Told) {
        self.told.push(told);
    }

    /// Whether every claim held.
    pub(crate) fn all_held(&self) -> bool {
        self.told.iter().all(Told::held)
    }

    /// What there is to try and was not.
    fn untried(&self) -> Vec<Item> {
        let is_untried = |item: &Item| self.told.iter().all(|told| told.item != *item);
        Item::ALL.into_iter().filter(is_untried).collect()
    }

    /// In Markdown.
    pub(crate) fn render(&self, place: &Place) -> Result<String> {
        let seed = place.seed;
        let tier = if self.long { "long" } else { "quick" };
        let untried = self.untried();
        let items: String = match untried.is_empty() {
            true => String::new(),
            false => self.told.iter().map(|told| format!("{} ", told.item.name())).collect(),
        };
        let mut text = format!(
            "# What was proved\n\nWritten by `cargo run --release -p guildhall-proof -- {tier} {items}--write docs/proof.md` on {}; \
             not edited.\n{}\nWhat chance decided follows from seed {seed}.\n\n\
             | claim | how it was tried | count | violations | control: without its guard | seed |\n\
             |---|---|---|---:|---|---:|\n",
            machine::today()?,
            machine::facts(&place.program)?,
        );
        for told in &self.told {
            let (name, claim) = (told.item.name(), told.item.claim());
            text.push_str(&match &told.outcome {
                Outcome::Tried { how, count, violations, control } => {
                    let number = violations.len();
                    let judged = if control.failed { "" } else { " **but did not fail**" };
                    format!(
                        "| **{name}** {claim} | {how} | {count} | {number} | {}{judged} | {seed} |\n",
                        control.told
                    )
                }
                Outcome::Measured { how, count, short, control, .. } => {
                    let number = short.len();
                    let judged = if control.failed { "" } else { " **but did not fail**" };
                    format!(
                        "| **{name}** {claim} | {how} | {count} | {number} short of their goal, below | {}{judged} | |\n",
                        control.told
                    )
                }
                Outcome::Skipped(why) | Outcome::Barred(why) => format!("| **{name}** {claim} | SKIPPED: {why} | 0 | | | |\n"),
            });
        }
        text.push('\n');
        if !untried.is_empty() {
            text.push_str("Not tried in this run:\n\n");
            untried
                .iter()
                .for_each(|item| text.push_str(&format!("- **{}** {}\n", item.name(), item.claim())));
            text.push('\n');
        }
        for told in &self.told {
            if let Outcome::Measured { report, .. } = &told.outcome {
                text.push_str(&format!("## Figures of {}\n\n{report}\n", told.item.name()));
            }
        }
        text.push_str(FOUND);
        Ok(text)
    }
}
