//! What is printed: one table in Markdown.

use std::fmt;
use std::time::Duration;

use crate::wrk::Figures;

/// The lines of the table.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    notes: Vec<String>,
}

/// What a case is compared with.
pub(crate) struct Against {
    pub(crate) what: &'static str,
    pub(crate) per_second: f64,
    /// The least ratio that is good, where one was set as a goal.
    pub(crate) at_least: Option<f64>,
}

impl Report {
    /// A case, and what it is compared with, if anything.
    pub(crate) fn add(&mut self, case: &str, figures: Figures, against: Option<Against>) {
        let Figures { per_second, p50, p99 } = figures;
        let compared = match against {
            Some(Against { what, per_second: other, at_least }) => {
                let ratio = per_second / other;
                let judged = if at_least.is_some_and(|least| ratio < least) { " **missed**" } else { "" };
                let goal = at_least.map(|least| least.to_string()).unwrap_or_default();
                format!("{what} | {} | {ratio:.2}{judged} | {goal}", rate(other))
            }
            None => "| | |".into(),
        };
        let line = format!("| {case} | {} | {} | {} | {compared} |", rate(per_second), time(p50), time(p99));
        eprintln!("{line}");
        self.lines.push(line);
    }

    /// What is no rate, in a sentence.
    pub(crate) fn note(&mut self, note: String) {
        eprintln!("{note}");
        self.notes.push(note);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.lines.is_empty() {
            writeln!(f, "| case | requests/s | p50 | p99 | against | its /s | ratio | at least |")?;
            writeln!(f, "|---|---:|---:|---:|---|---:|---:|---:|")?;
        }
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}\n"))
    }
}

/// A number with its thousands apart.
fn rate(per_second: f64) -> String {
    if per_second < 100.0 {
        return format!("{per_second:.1}");
    }
    let digits = format!("{per_second:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration in milliseconds.
pub(crate) fn time(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// The one in the middle.
pub(crate) fn median<T: Copy + PartialOrd>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [rate(41.26), rate(999.6), rate(28_123.4), rate(1_000_000.0)],
            ["41.3", "1,000", "28,123", "1,000,000"]
        );
        assert_eq!(time(Duration::from_micros(1_234)), "1.23 ms");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median::<f64>([]), None);
    }
}
