//! pgbench, PostgreSQL's own load: what a client reaches that does nothing but send statements.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use guildhall_domain::clock::Clock;

use crate::Result;

/// What the transactions of a load run on.
pub(crate) struct Pgbench {
    program: PathBuf,
    /// The URL of the database.
    database: String,
    /// Names in the scripts, and what they stand for.
    values: Vec<(&'static str, String)>,
}

/// What pgbench measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Runs of the script.
    pub(crate) per_second: f64,
    /// Tries that failed and were made again, for each run of the script.
    pub(crate) retries: f64,
}

impl Pgbench {
    /// That of the PostgreSQL that the tests use; nothing where there is none.
    pub(crate) fn find(database: &str, values: Vec<(&'static str, String)>) -> Option<Self> {
        let program = testpg::programs()?.join("pgbench");
        program.is_file().then(|| Self { program, database: database.to_owned(), values })
    }

    /// Runs `script` on so many connections for so long, its statements prepared.
    ///
    /// # Errors
    /// Where a statement failed, but for those that another was in the way of: they are tried again.
    pub(crate) fn run(
        &self,
        script: &str,
        connections: u32,
        lasting: Duration,
        folder: &Path,
    ) -> Result<Counted> {
        let file = folder.join("load.sql");
        std::fs::write(&file, script)?;
        let mut command = Command::new(&self.program);
        command.args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--max-tries=1000"]);
        command.args(["--client", &connections.to_string(), "--time", &lasting.as_secs().to_string()]);
        // Ids that are made of the moment differ from one run to the next.
        let moment = [("now", Clock::system().now().0.to_string()), ("turn", "0".into())];
        for (name, value) in self.values.iter().chain(&moment) {
            command.arg("--define").arg(format!("{name}={value}"));
        }
        let out = command.arg("--file").arg(&file).arg(&self.database).stderr(Stdio::inherit()).output()?;
        let said = String::from_utf8_lossy(&out.stdout);
        let counted = if out.status.success() { read(&said) } else { None };
        counted.ok_or_else(|| format!("pgbench failed:\n{said}").into())
    }
}

fn read(said: &str) -> Option<Counted> {
    let number = |before: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(before))?;
        line.split([' ', '/']).next()?.parse::<f64>().ok()
    };
    let runs = number("number of transactions actually processed: ")?;
    if runs < 1.0 || number("number of failed transactions: ")? > 0.0 {
        return None;
    }
    let retries = number("total number of retries: ").unwrap_or_default();
    Some(Counted { per_second: number("tps = ")?, retries: retries / runs })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "number of transactions actually processed: 500\n\
        number of failed transactions: 0 (0.000%)\n\
        number of transactions retried: 40 (8.000%)\n\
        total number of retries: 250\n\
        latency average = 27.976 ms\n\
        tps = 285.955844 (without initial connection time)\n";

    #[test]
    fn figures_are_read_and_refused_with_one_failure() {
        let counted = read(SAID).unwrap();
        assert!((counted.per_second - 285.955_844).abs() < 1e-9);
        assert!((counted.retries - 0.5).abs() < 1e-9);
        assert!(read(&SAID.replace("failed transactions: 0", "failed transactions: 1")).is_none());
        assert!(read("pgbench: error\n").is_none());
    }
}
