//! The build house of Bowline: `cargo xtask tidy`, `test`, `ci`, `soak`, `bench`,
//! `size`, `release` and `contracts`.
//!
//! This file only reads the command line and turns a result into an exit code; each command lives in
//! the module of its name. It depends on no crate of the workspace, so that it still builds, and can
//! still say what is wrong, when they do not. Results go to stdout, progress and errors to stderr.
//!
//! Exit codes: 0 all is well, 1 a finding, a failed test or an error, 2 a wrong command line.
#![allow(clippy::print_stdout, reason = "a command-line tool: stdout is where its results go")]

mod anvil;
mod bench;
mod ci;
mod contracts;
mod moto;
mod npm;
mod packages;
mod postgres;
mod promtool;
mod release;
mod size;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the rules of the repository in seconds, without compiling anything
    ///
    /// Prints each finding as `path:line: what is wrong; how to mend it` and exits 1 if there is any.
    Tidy,
    /// Run every test of the workspace against a private PostgreSQL
    ///
    /// Installs PostgreSQL if this machine has none, starts one server on a free port in a temporary
    /// directory, and stops and removes it afterwards. The last line is `N passed, N failed, N skipped`.
    Test(test::Options),
    /// Run format check, clippy, tidy and tests in that order; stop at the first that fails
    Ci,
    /// Look for faults for a long time: kill nodes, fail every system call of a store, fuzz the byte rules
    ///
    /// What an ordinary run of the tests does a few times is done again and again here, or for every case there
    /// is. The last line is that of the tests; what fuzzing finds is kept and named.
    Soak(soak::Options),
    /// Measure the release binary
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
    /// Build the release binary and hold the number of packages and its size to their budgets
    Size(size::Options),
    /// Make a stripped binary, a Debian package and an image that `docker load` takes
    ///
    /// Builds the release binary, demands that it keeps its budgets, and writes the artifacts with their SHA-256
    /// into the folder `release-artifacts` of the target folder. Needs neither a container engine nor Debian.
    Release(release::Options),
    /// Compile the Solidity contracts into `contracts/artifacts`
    ///
    /// Installs the compiler from npm into the target folder. `cargo xtask test` fails if an artifact is stale.
    Contracts(contracts::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; `false` means that it did its work and the answer is no.
fn run(cli: Cli) -> Result<bool> {
    let workspace = Workspace::find()?;
    match cli.command {
        Command::Tidy => tidy::run(&workspace),
        Command::Test(options) => {
            let outcome = test::run(&workspace, &options)?;
            println!("{}", outcome.last_line());
            Ok(outcome.is_success())
        }
        Command::Ci => ci::run(&workspace),
        Command::Soak(options) => soak::run(&workspace, &options),
        Command::Bench { what } => bench::run(&workspace, &what),
        Command::Size(options) => size::run(&workspace, &options),
        Command::Release(options) => release::run(&workspace, &options),
        Command::Contracts(options) => contracts::run(&workspace, &options),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_two_dashes_goes_to_cargo_test() {
        let cli = Cli::try_parse_from([
            "xtask",
            "test",
            "--filter",
            "tail",
            "--",
            "-p",
            "bowline-line",
            "--",
            "--nocapture",
        ])
        .unwrap();
        let Command::Test(options) = cli.command else { panic!("not parsed as `test`") };
        assert_eq!(options.filter.as_deref(), Some("tail"));
        assert_eq!(options.cargo_args, ["-p", "bowline-line", "--", "--nocapture"]);
    }
}
