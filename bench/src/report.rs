//! What is printed: one table in Markdown.

use std::fmt;
use std::time::Duration;

use crate::wrk::Figures;

/// The lines of the tables.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    delays: Vec<String>,
    notes: Vec<String>,
}

/// How long answers took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Spread {
    /// Of single ones, which are put in order.
    pub(crate) fn of(delays: &mut [Duration]) -> Self {
        delays.sort_unstable();
        let at = |part: usize| {
            let place = (delays.len() * part).div_ceil(100).saturating_sub(1);
            delays.get(place).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99) }
    }
}

/// What of two [`Spread`]s is compared, and how often the one may be the other at the most, where that was set as a goal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AtMost {
    P50(Option<f64>),
    P99(Option<f64>),
}

/// What a case is compared with.
pub(crate) struct Against<'a> {
    pub(crate) what: &'a str,
    pub(crate) per_second: f64,
    /// The least ratio that is good, where one was set as a goal.
    pub(crate) at_least: Option<f64>,
}

impl Report {
    /// A case, and what it is compared with, if anything.
    pub(crate) fn add(&mut self, case: &str, figures: Figures, against: Option<Against<'_>>) {
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

    /// How long answers take, and how long those of the other side, which is named with its own.
    pub(crate) fn delay(
        &mut self,
        case: &str,
        (ours, against): (Spread, &str),
        others: Spread,
        at_most: AtMost,
    ) {
        let (what, ratio, most) = match at_most {
            AtMost::P50(most) => ("p50", ours.p50.as_secs_f64() / others.p50.as_secs_f64(), most),
            AtMost::P99(most) => ("p99", ours.p99.as_secs_f64() / others.p99.as_secs_f64(), most),
        };
        let judged = if most.is_some_and(|most| ratio > most) { " **missed**" } else { "" };
        let goal = most.map(|most| most.to_string()).unwrap_or_default();
        let line = format!(
            "| {case} | {} | {} | {against} | {} | {} | {what}: {ratio:.2}{judged} | {goal} |",
            time(ours.p50),
            time(ours.p99),
            time(others.p50),
            time(others.p99)
        );
        eprintln!("{line}");
        self.delays.push(line);
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
        if !self.delays.is_empty() {
            writeln!(f, "\n| case | p50 | p99 | against | its p50 | its p99 | ratio | at most |")?;
            writeln!(f, "|---|---:|---:|---|---:|---:|---:|---:|")?;
        }
        self.delays.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}\n"))
    }
}

/// A number of things in a second.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.1}") } else { thousands(per_second) }
}

/// A whole number with its thousands apart.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
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
    fn a_spread_is_of_the_sorted_delays() {
        let mut delays: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let spread = Spread::of(&mut delays);
        assert_eq!((spread.p50.as_millis(), spread.p99.as_millis()), (100, 198));
        assert_eq!(Spread::of(&mut []), Spread { p50: Duration::ZERO, p99: Duration::ZERO });
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median::<f64>([]), None);
    }
}
