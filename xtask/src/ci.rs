//! `cargo xtask ci`: what a change must pass, in one command, the quickest check first.
//!
//! It stops at the first step that fails. `.ci/run` runs the same steps on a fresh machine, but as
//! single commands, so that it also tells when this crate itself does not build.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use crate::{test, tidy};

/// Runs all steps; `true` if each of them passed. The test runner's line is the last one.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let mut fmt = workspace.cargo();
    fmt.args(["fmt", "--all", "--check"]);
    let mut clippy = workspace.cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    let options = test::Options { filter: None, cargo_args: Vec::new(), soak_secs: None };
    let mut last_line = String::new();

    let passed = step("fmt", || succeeds(&mut fmt))?
        && step("clippy", || succeeds(&mut clippy))?
        && step("tidy", || tidy::run(workspace))?
        && step("test", || {
            let outcome = test::run(workspace, &options)?;
            last_line = outcome.last_line();
            Ok(outcome.is_success())
        })?;
    if !last_line.is_empty() {
        println!("{last_line}");
    }
    Ok(passed)
}

fn step(name: &str, run: impl FnOnce() -> Result<bool>) -> Result<bool> {
    println!("== {name}");
    let started = Instant::now();
    let passed = run().with_context(|| format!("step {name}"))?;
    println!("{}", verdict(name, passed, started.elapsed()));
    Ok(passed)
}

fn verdict(name: &str, passed: bool, took: Duration) -> String {
    format!("== {name} {} in {:.1} s", if passed { "passed" } else { "failed" }, took.as_secs_f64())
}

fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.status().context("cannot run cargo")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_tells_its_verdict_and_an_error_names_its_step() {
        assert_eq!(verdict("tidy", true, Duration::from_millis(1250)), "== tidy passed in 1.2 s");
        assert!(!step("tidy", || Ok(false)).unwrap());
        let error = step("clippy", || anyhow::bail!("no cargo")).unwrap_err();
        assert_eq!(format!("{error:#}"), "step clippy: no cargo");
    }
}
