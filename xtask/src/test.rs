//! `cargo xtask test`: every test of the workspace, with a real PostgreSQL beside it.
//!
//! It compares the contracts' artifacts with their sources, builds the tests, starts private servers, tells the
//! tests where they are, passes their output through and counts it. It never hides a line of theirs, never
//! retries, and is not content with cargo's exit code alone: a test binary that dies without a result and a run of
//! no tests are failures. A run of all tests has a budget of time; to exceed it is a warning, not a failure.

mod tally;

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cargo_metadata::{Artifact, Message, Metadata, TargetKind};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use crate::moto::PrivateS3;
use crate::packages::Tools;
use crate::postgres::PrivatePostgres;
use crate::workspace::Workspace;
use crate::{anvil, contracts, npm, promtool};
use tally::{Tally, TargetNames};

/// How long all tests of the workspace may take on two cores, once they are built.
const SUITE_SECS_MAX: u64 = 15 * 60;
/// Targets that the warning about an exceeded budget names.
const SLOWEST_NAMED_COUNT: usize = 3;

#[derive(Args)]
pub(crate) struct Options {
    /// Run only the tests whose name contains NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) filter: Option<String>,

    /// Passed on to `cargo test`, for instance `-- -p bowline-line -- --nocapture`
    #[arg(last = true, value_name = "CARGO_TEST_ARGUMENTS")]
    pub(crate) cargo_args: Vec<String>,

    /// How long the tests that can go on for ever do so; `cargo xtask soak` sets it.
    #[arg(skip)]
    pub(crate) soak_secs: Option<u64>,
}

/// What stands beside the tests.
struct Servers {
    postgres: PrivatePostgres,
    s3: PrivateS3,
    tools: Tools,
    /// A program; tests that need an EVM chain start one each.
    anvil: PathBuf,
    /// The folder `node_modules` with what tests run from npm.
    npm: PathBuf,
    promtool: PathBuf,
}

/// What a run of the tests came to.
pub(crate) struct Outcome {
    tally: Tally,
    /// From the start of the built tests to their end, examples in documentation with their compilation.
    took: Duration,
    /// Why the run failed, if the tests themselves do not say it.
    fault: Option<String>,
}

impl Outcome {
    pub(crate) fn is_success(&self) -> bool {
        self.fault.is_none() && self.tally.failed() == 0
    }

    /// `N passed, N failed, N skipped`
    pub(crate) fn last_line(&self) -> String {
        let (passed, failed) = (self.tally.passed(), self.tally.failed());
        format!("{passed} passed, {failed} failed, {} skipped", self.tally.ignored())
    }

    fn not_run(fault: String) -> Outcome {
        Outcome { tally: Tally::default(), took: Duration::ZERO, fault: Some(fault) }
    }

    fn of(tally: Tally, took: Duration, cargo_succeeded: bool) -> Outcome {
        let fault = if tally.failed() > 0 {
            None
        } else if !cargo_succeeded {
            Some("cargo test failed although no test did; its output above says why".to_owned())
        } else if tally.passed() == 0 {
            Some("no test ran; is the filter right?".to_owned())
        } else {
            None
        };
        Outcome { tally, took, fault }
    }

    /// What a run of the suite says about its time.
    fn time_line(&self) -> String {
        let took = self.took.as_secs_f64();
        if took <= SUITE_SECS_MAX as f64 {
            return format!("time: {took:.0} s of a budget of {SUITE_SECS_MAX} s");
        }
        let mut targets: Vec<_> = self.tally.targets().iter().collect();
        targets.sort_by(|left, right| right.seconds.total_cmp(&left.seconds));
        let slowest: Vec<String> = targets
            .iter()
            .take(SLOWEST_NAMED_COUNT)
            .map(|target| format!("{} ({:.0} s)", target.name, target.seconds))
            .collect();
        let slowest = slowest.join(", ");
        format!(
            "warning: the tests took {took:.0} s, the budget is {SUITE_SECS_MAX} s; the slowest: {slowest}"
        )
    }
}

/// Builds and runs the tests and prints a table of what they came to, but not the last line.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let outcome = prepare_and_run(workspace, options)?;
    if !outcome.tally.targets().is_empty() {
        println!("\n{}", table_of(&outcome.tally));
        // Soaking goes on for as long as it was told.
        if options.soak_secs.is_none() {
            println!("{}", outcome.time_line());
        }
    }
    for (target, test) in outcome.tally.failures() {
        println!("failed: {target}: {test}");
    }
    if let Some(fault) = &outcome.fault {
        println!("error: {fault}");
    }
    Ok(outcome)
}

fn prepare_and_run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let stale = contracts::stale_since_checked(workspace)?;
    if !stale.is_empty() {
        return Ok(Outcome::not_run(stale.join("\n")));
    }
    let Some(names) = build(workspace, options)? else {
        return Ok(Outcome::not_run("the tests do not build; cargo's errors are above".to_owned()));
    };
    let target = workspace.metadata()?.target_directory.into_std_path_buf();
    let tools = Tools::find_or_install()?;
    let anvil = anvil::find_or_install(&target)?;
    let npm = npm::for_tests(&target)?;
    let promtool = promtool::find_or_install(&target)?;
    let postgres = PrivatePostgres::start()?;
    eprintln!("PostgreSQL: {} at {}", postgres.version()?, postgres.url());
    let s3 = PrivateS3::start(&target)?;
    eprintln!("S3: moto at {}", s3.url());
    run_tests(workspace, options, &Servers { postgres, s3, tools, anvil, npm, promtool }, names)
}

/// Builds all test binaries; `None` if that fails. Cargo shows its progress and its errors itself.
fn build(workspace: &Workspace, options: &Options) -> Result<Option<TargetNames>> {
    if options.cargo_args.iter().any(|argument| argument == "--doc") {
        return Ok(Some(TargetNames::default()));
    }
    let metadata = workspace.metadata()?;
    let mut command =
        cargo_test(workspace, options, &["--no-run", "--message-format=json-render-diagnostics"]);
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let mut names = TargetNames::default();
    if let Some(stdout) = child.stdout.take() {
        for message in Message::parse_stream(BufReader::new(stdout)) {
            if let Message::CompilerArtifact(artifact) = message.context("cargo's messages cannot be read")?
                && let Some(executable) = &artifact.executable
            {
                names.insert(executable.as_str(), name_of(&artifact, &metadata));
            }
        }
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    Ok(status.success().then_some(names))
}

fn name_of(artifact: &Artifact, metadata: &Metadata) -> String {
    let package = metadata.packages.iter().find(|package| package.id == artifact.package_id);
    let package = package.map_or("?", |package| package.name.as_str());
    let target = &artifact.target;
    if target.is_kind(TargetKind::Test) {
        format!("{package} tests/{}", target.name)
    } else if target.is_kind(TargetKind::Bin) {
        format!("{package} bin {}", target.name)
    } else {
        format!("{package} unit")
    }
}

fn run_tests(
    workspace: &Workspace,
    options: &Options,
    servers: &Servers,
    names: TargetNames,
) -> Result<Outcome> {
    let Servers { postgres, s3, tools, anvil, npm, promtool } = servers;
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    let mut command = cargo_test(workspace, options, &[]);
    command.env("BOWLINE_TEST_DATABASE_URL", postgres.url());
    command.env("BOWLINE_TEST_PG_BINDIR", postgres.bindir());
    command.env("BOWLINE_TEST_PG_USER", postgres.account_name());
    command.env("BOWLINE_TEST_S3_URL", s3.url());
    command.env("BOWLINE_TEST_ANVIL", anvil);
    command.env("BOWLINE_TEST_NPM", npm);
    command.env("BOWLINE_TEST_PROMTOOL", promtool);
    command.envs(tools.variables());
    if let Some(secs) = options.soak_secs {
        command.env("BOWLINE_SOAK_SECS", secs.to_string());
    }
    // The lines are counted by their first letters, which colours would hide.
    command.env("CARGO_TERM_COLOR", "never");
    command.stdout(writer.try_clone().context("cannot share a pipe")?).stderr(writer);
    let started = Instant::now();
    let mut child = command.spawn().context("cannot run cargo test")?;
    // The command holds the pipe's other end; as long as it lives, reading would not end.
    drop(command);
    let mut tally = Tally::new(names);
    let passed_through = pass_through(BufReader::new(reader), &mut tally);
    let status = child.wait().context("cannot wait for cargo test")?;
    passed_through.context("the output of cargo test cannot be passed through")?;
    tally.finish();
    Ok(Outcome::of(tally, started.elapsed(), status.success()))
}

fn pass_through(mut reader: impl BufRead, tally: &mut Tally) -> io::Result<()> {
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()?;
        tally.read_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

fn cargo_test(workspace: &Workspace, options: &Options, own_args: &[&str]) -> Command {
    let mut command = workspace.cargo();
    command.arg("test").arg("--no-fail-fast").args(own_args);
    if !names_packages(&options.cargo_args) {
        command.arg("--workspace");
    }
    command.args(&options.filter).args(&options.cargo_args);
    command
}

/// Cargo would ignore a choice of packages beside `--workspace`.
fn names_packages(cargo_args: &[String]) -> bool {
    let own = cargo_args.iter().take_while(|argument| *argument != "--");
    own.into_iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

fn table_of(tally: &Tally) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["target", "passed", "failed", "ignored", "seconds"]);
    for target in tally.targets() {
        table.add_row([
            target.name.clone(),
            target.passed.to_string(),
            target.failed.to_string(),
            target.ignored.to_string(),
            format!("{:.2}", target.seconds),
        ]);
    }
    table.add_row([
        "total".to_owned(),
        tally.passed().to_string(),
        tally.failed().to_string(),
        tally.ignored().to_string(),
        format!("{:.2}", tally.seconds()),
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally_of(lines: &[&str]) -> Tally {
        let mut tally = Tally::new(TargetNames::default());
        for line in lines {
            tally.read_line(line);
        }
        tally.finish();
        tally
    }

    const PASSED: &str =
        "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s";
    const FAILED: &str =
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";
    const NONE: &str =
        "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s";

    #[test]
    fn a_run_succeeds_only_if_tests_ran_and_cargo_agrees() {
        let outcome_of = |lines, succeeded| Outcome::of(tally_of(lines), Duration::ZERO, succeeded);
        let passed = outcome_of(&[PASSED], true);
        assert!(passed.is_success());
        assert_eq!(passed.last_line(), "3 passed, 0 failed, 1 skipped");
        assert!(!outcome_of(&[PASSED], false).is_success());
        assert!(!outcome_of(&[PASSED, FAILED], false).is_success());
        assert!(!outcome_of(&[PASSED, FAILED], true).is_success());
        assert!(!outcome_of(&[NONE], true).is_success());
        assert!(!outcome_of(&[], true).is_success());
    }

    #[test]
    fn a_suite_over_its_budget_is_warned_about_with_its_slowest_targets() {
        let lines = [("a", 90.0), ("b", 400.25), ("c", 1.0), ("d", 410.0)].map(|(name, seconds)| {
            let result = PASSED.replace("0.10s", &format!("{seconds}s"));
            [format!("     Running {name} (/t/{name}-1)"), result]
        });
        let lines: Vec<&str> = lines.iter().flatten().map(String::as_str).collect();
        let after = |secs| Outcome::of(tally_of(&lines), Duration::from_secs(secs), true);
        assert_eq!(after(900).time_line(), "time: 900 s of a budget of 900 s");
        assert_eq!(
            after(902).time_line(),
            "warning: the tests took 902 s, the budget is 900 s; the slowest: d (410 s), b (400 s), a (90 s)"
        );
        assert!(after(902).is_success());
    }

    #[test]
    fn a_choice_of_packages_replaces_the_workspace() {
        let arguments = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        assert!(names_packages(&arguments("-p bowline-line")));
        assert!(names_packages(&arguments("--release --package=bowline-line")));
        assert!(!names_packages(&arguments("--release -- -p")));
    }
}
