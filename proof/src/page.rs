//! The page that a run writes: nobody edits it by hand.

use crate::item::{Item, Outcome, Told};
use crate::place::Place;
use crate::{Result, machine};

/// What stands on the page below the table, written by people.
const FOUND: &str = include_str!("../FOUND.md");

/// The items of a run and what came of them.
pub(crate) struct Page {
    /// What a row says of its run.
    run: String,
    told: Vec<Told>,
}

impl Page {
    /// Of the run that begins now: what is committed while it goes on is not what it tries.
    pub(crate) fn new(place: &Place) -> Result<Self> {
        let tier = if place.long { "long" } else { "quick" };
        let run = format!("{tier}, seed {}, {} of {}", place.seed, machine::today()?, machine::commit());
        Ok(Self { run, told: Vec::new() })
    }

    pub(crate) fn add(&mut self, told: Told) {
        self.told.push(told);
    }

    /// Whether every claim held that is to be judged.
    pub(crate) fn all_held(&self, is_judged: impl Fn(Item) -> bool) -> bool {
        self.told.iter().all(|told| told.held() || !is_judged(told.item))
    }

    /// In Markdown. Of what this run did not try, the rows of `earlier`, the page as it is, stay: each tells its run.
    pub(crate) fn render(&self, place: &Place, earlier: &str) -> Result<String> {
        let mut text = format!(
            "# What was proved\n\nWritten by `cargo run --release -p guildhall-proof -- {{quick|long}} [ITEM…] --write \
             docs/proof.md`, which replaces the rows of what it tries; not edited.\nThe last run was on {}\n\n\
             | claim | how it was tried | count | violations | control: without its guard | run |\n\
             |---|---|---|---:|---|---|\n",
            machine::facts(&place.program)?,
        );
        let (mut untried, mut figures) = (String::new(), String::new());
        for item in Item::ALL {
            let told = self.told.iter().find(|told| told.item == item);
            match told.map(|told| told.row(&self.run)).or_else(|| kept_row(earlier, item)) {
                Some(row) => text.push_str(&row),
                None => untried.push_str(&format!("- **{}** {}\n", item.name(), item.claim())),
            }
            let heading = format!("## Figures of {}\n", item.name());
            match told.map(|told| &told.outcome) {
                Some(Outcome::Measured { report, .. }) => {
                    figures.push_str(&format!("{heading}\n{}\n\n", report.trim_end()));
                }
                Some(_) => {}
                None => figures.push_str(section(earlier, &heading)),
            }
        }
        if !untried.is_empty() {
            text.push_str(&format!("\nNot tried yet:\n\n{untried}"));
        }
        Ok(format!("{text}\n{figures}{FOUND}"))
    }
}

impl Told {
    /// The line of the table, with the run that it is of.
    fn row(&self, run: &str) -> String {
        let (name, claim) = (self.item.name(), self.item.claim());
        let (how, count, number, control) = match &self.outcome {
            Outcome::Tried { how, count, violations, control } => {
                (how, count, violations.len().to_string(), control)
            }
            Outcome::Measured { how, count, short, control, .. } => {
                (how, count, format!("{} short of their goal, below", short.len()), control)
            }
            Outcome::Skipped(why) | Outcome::Barred(why) => {
                return format!("| **{name}** {claim} | SKIPPED: {why} | 0 | | | {run} |\n");
            }
        };
        let judged = if control.failed { "" } else { " **but did not fail**" };
        format!("| **{name}** {claim} | {how} | {count} | {number} | {}{judged} | {run} |\n", control.told)
    }
}

/// The row of an item on a page, with its end.
fn kept_row(page: &str, item: Item) -> Option<String> {
    let begin = format!("| **{}** ", item.name());
    page.lines().find(|line| line.starts_with(&begin)).map(|line| format!("{line}\n"))
}

/// What stands below a heading on a page, with it; nothing where it is not there.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let Some(begin) = page.find(heading) else { return "" };
    let rest = &page[begin..];
    let end = rest[heading.len()..].find("\n## ").map_or(rest.len(), |end| heading.len() + end + 1);
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_did_not_try_stays() {
        let page = "# What\n\n| **kill** It | how |\n| **races** One | how |\n\n## Figures of speed\n\n| a | b |\n\n## What the";
        assert_eq!(kept_row(page, Item::Races).as_deref(), Some("| **races** One | how |\n"));
        assert_eq!(kept_row(page, Item::Fuzz), None);
        assert_eq!(section(page, "## Figures of speed\n"), "## Figures of speed\n\n| a | b |\n\n");
        assert_eq!(section(page, "## Figures of fuzz\n"), "");
        assert_eq!(section(page, "## What the"), "## What the");
    }
}
