//! Calls the load generator as a process of its own, and reads its one JSON line.
//!
//! Nothing is measured here: the generator counts and times, and says so in figures with units. An
//! answer that lacks a figure is an error, never a zero.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::builds::Program;

/// How long each load run lasts, after a warm-up that does not count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) seconds: u32,
    pub(super) warmup_secs: u32,
}

/// The shape of one load: events a request, open connections, streams written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) batch: u32,
    pub(super) connections: u32,
    pub(super) streams: u32,
    /// Events a second to send; as fast as the answers come if absent.
    pub(super) rate: Option<u32>,
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "batch {}, {} connections, {} streams", self.batch, self.connections, self.streams)?;
        self.rate.map_or(Ok(()), |rate| write!(out, ", {rate} events/s sent"))
    }
}

/// What one load run came to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct LoadReport {
    pub(super) events_per_sec: f64,
    /// Latency of a request.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Requests that were not answered with success.
    pub(super) errors: u64,
}

#[derive(Debug, Deserialize)]
struct WriterReport {
    events_per_sec: f64,
}

#[derive(Debug, Deserialize)]
struct VerifyReport {
    verify_per_sec: f64,
}

/// The load generator of one build.
pub(super) struct Generator<'a> {
    pub(super) program: &'a Program,
    pub(super) api_key: &'a str,
    pub(super) timing: Timing,
}

impl Generator<'_> {
    /// Puts one shape of load on the node at `url`.
    pub(super) fn ingest(&self, url: &str, shape: Shape) -> Result<LoadReport> {
        let mut command = self.program.command();
        command.args(["ingest", "--url", url, "--api-key", self.api_key, "--output", "json"]);
        for (name, value) in [
            ("--connections", shape.connections),
            ("--batch", shape.batch),
            ("--streams", shape.streams),
            ("--seconds", self.timing.seconds),
            ("--warmup-secs", self.timing.warmup_secs),
        ] {
            command.arg(name).arg(value.to_string());
        }
        if let Some(rate) = shape.rate {
            command.arg("--rate").arg(rate.to_string());
        }
        self.ask(&mut command, "ingest")
    }

    /// Events a second that one caller writes without a server, one transaction each.
    pub(super) fn writer(&self, folder: &Path, database_url: Option<&str>) -> Result<f64> {
        let mut command = self.program.command();
        command.args(["writer", "--output", "json", "--seconds", &self.timing.seconds.to_string()]);
        command.arg("--data").arg(folder).env_remove("DATABASE_URL");
        command.envs(database_url.map(|url| ("DATABASE_URL", url)));
        Ok(self.ask::<WriterReport>(&mut command, "writer")?.events_per_sec)
    }

    /// R: single strict Ed25519 verifications a second on one core.
    pub(super) fn verify_per_sec(&self) -> Result<f64> {
        let mut command = self.program.command();
        command.args(["verify", "--output", "json", "--seconds", &self.timing.seconds.to_string()]);
        Ok(self.ask::<VerifyReport>(&mut command, "verify")?.verify_per_sec)
    }

    fn ask<T: DeserializeOwned>(&self, command: &mut Command, what: &str) -> Result<T> {
        ask(command, &format!("{} {what}", self.program.name()))
    }
}

/// Runs the generator to its end; its talk on stderr goes to ours.
pub(super) fn ask<T: DeserializeOwned>(command: &mut Command, name: &str) -> Result<T> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}; what it said is above", output.status);
    }
    parse(&String::from_utf8_lossy(&output.stdout)).with_context(|| format!("the answer of {name}"))
}

/// Reads the last line that is a JSON object.
fn parse<T: DeserializeOwned>(stdout: &str) -> Result<T> {
    match stdout.lines().rev().find(|line| line.starts_with('{')) {
        Some(line) => serde_json::from_str(line).with_context(|| format!("`{line}` is not the agreed JSON")),
        None => bail!("there is no line of JSON; does the binary know `--output json`?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_line_is_read_and_may_say_more() {
        let stdout = "connecting\n{\"events_per_sec\":1234.5,\"p50_ms\":0.5,\"p99_ms\":3,\"requests\":9,\
                      \"errors\":2,\"events\":900,\"seconds\":8}\n\n";
        let load: LoadReport = parse(stdout).unwrap();
        assert_eq!(load, LoadReport { events_per_sec: 1234.5, p50_ms: 0.5, p99_ms: 3.0, errors: 2 });
        let verify: VerifyReport = parse("{\"verify_per_sec\":20000.0}").unwrap();
        assert_eq!(verify.verify_per_sec, 20000.0);
    }

    #[test]
    fn a_missing_figure_or_line_is_an_error() {
        let error = parse::<LoadReport>("{\"events_per_sec\":1.0,\"p50_ms\":0.5,\"errors\":0}").unwrap_err();
        assert!(format!("{error:#}").contains("p99_ms"), "{error:#}");
        assert!(parse::<LoadReport>("nothing to see\n").is_err());
        assert!(parse::<LoadReport>("{\"events_per_sec\":null}").is_err());
    }
}
