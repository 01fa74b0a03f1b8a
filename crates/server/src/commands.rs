//! The command line: what `guildhall` can be told to do.
//!
//! Every command but `serve` and `demo` works beside a running server on the same data: it calls the operations of the
//! domain as the system, and what it changes is in force at the server's next request.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use guildhall_domain::Error;

use self::output::Output;
use self::serve::Greeting;
use crate::config::{Config, Fault, Options, environment};
use crate::mail::one_line;

mod copy;
mod demo;
mod folder;
mod organizations;
mod output;
mod serve;
mod upkeep;
mod users;

/// Self-hosted organizations, members, roles and invitations.
#[derive(Parser)]
#[command(name = "guildhall", version)]
struct Line {
    /// Answer with one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until told to stop; the same as no command at all
    Serve,
    /// Make, list, disable and enable accounts
    #[command(subcommand)]
    User(users::UserCommand),
    /// Make and list organizations, and give them plans
    #[command(subcommand)]
    Org(organizations::OrgCommand),
    /// Add people to organizations, and change what they are there
    #[command(subcommand)]
    Member(organizations::MemberCommand),
    /// Make session tokens
    #[command(subcommand)]
    Token(users::TokenCommand),
    /// Make API keys
    #[command(subcommand)]
    Key(users::KeyCommand),
    /// Change the key that signs session tokens
    #[command(subcommand)]
    SigningKey(upkeep::SigningKeyCommand),
    /// Write a consistent copy of the database, also while a server runs
    Backup {
        /// Where to; must not exist
        file: PathBuf,
    },
    /// Copy all data into a database that holds none, of either engine, and compare both
    Copy {
        /// sqlite:PATH or postgres://USER@HOST/NAME; what is written to it meanwhile is not copied
        #[arg(long, value_name = "URL")]
        from: String,
        /// sqlite:PATH or postgres://USER@HOST/NAME; a file is made where it is missing, a PostgreSQL database is not
        #[arg(long, value_name = "URL")]
        to: String,
    },
    /// Verify the database, what must always hold in it, its secret and the pictures; exit code 1 where something is found
    Check,
    /// Serve a folder with a few people and organizations, and print calls to try
    Demo,
}

/// Does what the command line says; `arguments` begin with the program's name.
///
/// The exit code is 0, or 1 where the command failed or found something wrong, or 2 where the command line or the
/// configuration cannot be used. A failure is one line on standard error.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Without a command of its own `guildhall org` is an error as any other, and not its help.
    let command = Line::command().mut_subcommands(|command| command.arg_required_else_help(false));
    let parsed = command.try_get_matches_from(arguments);
    let line = match parsed.and_then(|matches| Line::from_arg_matches(&matches)) {
        Ok(line) => line,
        Err(error) => return misused(&error),
    };
    match execute(line) {
        Ok(code) => code,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "guildhall: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// Help goes to standard output whole, an error to standard error in its first sentence.
fn misused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if let Some(told) = lacks_command(error) {
        let _ = writeln!(io::stderr(), "guildhall: {told}");
        return ExitCode::from(2);
    }
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let told = lines.join(" ");
    let told = told.strip_prefix("error: ").unwrap_or(&told);
    let _ = writeln!(io::stderr(), "guildhall: {told} (see guildhall --help)");
    ExitCode::from(2)
}

/// What is told where a group of commands stands without one of them.
fn lacks_command(error: &clap::Error) -> Option<String> {
    let (Some(ContextValue::String(group)), Some(ContextValue::Strings(commands))) =
        (error.get(ContextKind::InvalidSubcommand), error.get(ContextKind::ValidSubcommand))
    else {
        return None;
    };
    if error.kind() != ErrorKind::MissingSubcommand {
        return None;
    }
    let commands: Vec<&str> = commands.iter().map(String::as_str).filter(|name| *name != "help").collect();
    let commands = match commands.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => return None,
    };
    let name = group.rsplit(' ').next().unwrap_or(group);
    Some(format!("{name}: a command is missing: {commands} (see {group} --help)"))
}

fn execute(line: Line) -> Result<ExitCode, Failure> {
    let command = line.command.unwrap_or(Command::Serve);
    if let Command::Demo = command {
        return demo::demo(&line.options).map(|()| ExitCode::SUCCESS);
    }
    let config = Config::load(&line.options, &environment, "./guildhall-data")?;
    let out = Output { json: line.json };
    match command {
        Command::Serve | Command::Demo => {
            serve::serve(config, Greeting::Operator(line.options.whereabouts()))?
        }
        Command::User(command) => users::user(&config, out, command)?,
        Command::Org(command) => organizations::org(&config, out, command)?,
        Command::Member(command) => organizations::member(&config, out, command)?,
        Command::Token(command) => users::token(&config, out, command)?,
        Command::Key(command) => users::key(&config, out, command)?,
        Command::SigningKey(command) => upkeep::signing_key(&config, out, command)?,
        Command::Backup { file } => upkeep::backup(&config, out, &file)?,
        Command::Copy { from, to } => return copy::copy(out, &from, &to),
        Command::Check => return upkeep::check(&config, out),
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a command did not do what it was told: one line, and the code to exit with.
#[derive(Debug)]
struct Failure {
    line: String,
    code: u8,
}

impl Failure {
    /// It cannot be done.
    fn new(why: impl fmt::Display) -> Self {
        Self { line: one_line(&why.to_string()), code: 1 }
    }

    /// The configuration cannot be used; `why` names the key.
    fn configuration(why: impl fmt::Display) -> Self {
        Self { line: one_line(&why.to_string()), code: 2 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::configuration(fault)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // Here the operator reads it: what is the matter says it all.
            Error::Unavailable(why) => Self::new(why),
            other => Self::new(other),
        }
    }
}
