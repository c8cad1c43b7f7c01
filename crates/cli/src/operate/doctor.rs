//! `bowline doctor`: every check of the operators' runbook on a running node and on its database, with the
//! figures behind each finding and the command that mends it.
//!
//! It gathers and prints; what is sick is decided by the subsystems' own checks. It refuses to change anything:
//! the database is opened read-only.

mod backups;
mod gather;

use bowline_anchor::checks::{self as anchor, AnchorFacts};
use bowline_deliveries::checks::{self as deliveries, DeliveryFacts};
use bowline_indexer::checks::{self as indexer, IndexerFacts};
use bowline_line::checks::{CHECKS, LineFacts};
use bowline_runtime::{Check, Checked, Evidence, Status};
use bowline_triggers::checks::{self as triggers, TriggerFacts};
use clap::Args;
use serde_json::json;

use crate::terminal::args::parse_url;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// `bowline doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes of this command:\n  \
                        0    every check is ok or skipped\n  \
                        1    there are warnings\n  \
                        2    something failed, or wrong usage\n\n\
                        Example: only the database's part, as JSON:\n  \
                        bowline doctor --database-url postgres://… --check sequence_gaps --output json")]
pub(crate) struct Options {
    /// Only this check; may be repeated
    #[arg(long, value_name = "NAME", value_parser = check_name)]
    check: Vec<String>,
    /// List the checks and what they look at
    #[arg(long)]
    list: bool,
    /// The node's PostgreSQL, read only; for an embedded store the data folder is used
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// The Redis that workers get jobs through
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,
    /// Where the indexer tells its status, if it is a process of its own
    #[arg(long, env = "INDEXER_STATUS_URL", value_name = "URL", value_parser = parse_url)]
    pub(crate) indexer_url: Option<reqwest::Url>,
    /// Where backups are kept: a folder, or s3://BUCKET/PREFIX
    #[arg(long, env = "BOWLINE_BACKUP_DESTINATION", value_name = "PLACE")]
    pub(crate) backups: Option<String>,
    /// Look at every event's number and every commitment instead of the last ones of each stream
    #[arg(long)]
    pub(crate) deep: bool,
    /// Judge latency and errors over so many seconds from now instead of since the node's start
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) window: Option<u64>,
}

/// What every subsystem's checks look at. A subsystem that has checks gets a field here, a line in
/// [`catalogue`] and one in [`examine`].
struct Facts {
    line: LineFacts,
    anchor: AnchorFacts,
    indexer: IndexerFacts,
    triggers: TriggerFacts,
    deliveries: DeliveryFacts,
}

/// Names and subjects of every check there is.
fn catalogue() -> impl Iterator<Item = (&'static str, &'static str)> {
    let chains = names(anchor::CHECKS).chain(names(indexer::CHECKS));
    names(CHECKS).chain(chains).chain(names(triggers::CHECKS)).chain(names(deliveries::CHECKS))
}

fn names<F>(checks: &'static [Check<F>]) -> impl Iterator<Item = (&'static str, &'static str)> {
    checks.iter().map(|check| (check.name, check.about))
}

/// Runs the checks of these names, or all if none is named.
fn examine(facts: &Facts, only: &[String]) -> Vec<Checked> {
    let line = run_all(CHECKS, &facts.line, only).chain(run_all(anchor::CHECKS, &facts.anchor, only));
    let chains = run_all(indexer::CHECKS, &facts.indexer, only);
    let jobs = run_all(deliveries::CHECKS, &facts.deliveries, only);
    line.chain(chains).chain(run_all(triggers::CHECKS, &facts.triggers, only)).chain(jobs).collect()
}

fn run_all<'a, F>(
    checks: &'static [Check<F>],
    facts: &'a F,
    only: &'a [String],
) -> impl Iterator<Item = Checked> + 'a {
    let wanted = |check: &&Check<F>| only.is_empty() || only.iter().any(|name| name == check.name);
    checks.iter().filter(wanted).map(|check| check.run(facts))
}

fn check_name(name: &str) -> Result<String, String> {
    let name = name.replace('-', "_");
    match catalogue().any(|(known, _)| known == name) {
        true => Ok(name),
        false => {
            let names: Vec<&str> = catalogue().map(|(name, _)| name).collect();
            Err(format!("the checks are {}", names.join(", ")))
        }
    }
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    context.refuse_curl()?;
    if options.list {
        return list(context);
    }
    let line = gather::line(context, &options).await?;
    let anchor = gather::anchor(context, &line).await?;
    let indexer = gather::indexer(context, &options, &line).await?;
    let triggers = gather::triggers(&line);
    let deliveries = gather::deliveries(&options, &line).await;
    let facts = Facts { line, anchor, indexer, triggers, deliveries };
    let checked = examine(&facts, &options.check);
    let worst = checked.iter().map(|checked| checked.finding.status).max().unwrap_or(Status::Ok);
    match context.is_json() {
        true => print_json(&checked, worst)?,
        false => print(&checked, !options.check.is_empty())?,
    }
    // The codes 1 and 2 have this command's own meaning, as its help says.
    Ok(match worst {
        Status::Ok | Status::Skipped => Exit::Done,
        Status::Warn => Exit::No,
        Status::Fail => Exit::Usage,
    })
}

fn list(context: &Context) -> Outcome {
    match context.is_json() {
        true => {
            let checks = catalogue().map(|(check, about)| json!({ "check": check, "about": about }));
            output::line(&json!({ "checks": checks.collect::<Vec<_>>() }).to_string())?;
        }
        false => {
            let rows = catalogue().map(|(check, about)| [check.to_owned(), about.to_owned()]);
            output::table(["check", "looks at"], rows)?;
        }
    }
    Ok(Exit::Done)
}

fn count(checked: &[Checked], status: Status) -> usize {
    checked.iter().filter(|checked| checked.finding.status == status).count()
}

fn print_json(checked: &[Checked], worst: Status) -> Result<(), Failure> {
    // What could not be looked at is no trouble that was found.
    let worst = if worst == Status::Skipped { Status::Ok } else { worst };
    let counts = [Status::Ok, Status::Warn, Status::Fail, Status::Skipped]
        .map(|status| (status.as_str().to_owned(), json!(count(checked, status))));
    let counts: serde_json::Map<_, _> = counts.into_iter().collect();
    output::line(&json!({ "status": worst.as_str(), "counts": counts, "checks": checked }).to_string())
}

/// One line a check; the figures of those that need a look, or of all that were asked for by name.
fn print(checked: &[Checked], all_figures: bool) -> Result<(), Failure> {
    for Checked { check, finding, .. } in checked {
        let status = match finding.status {
            Status::Fail => "FAIL",
            status => status.as_str(),
        };
        output::line(&format!("{status:<8}{check:<18}{}", output::shown(&finding.cause, LINE_CHARS_MAX)))?;
        let sick = matches!(finding.status, Status::Warn | Status::Fail);
        if sick || all_figures {
            finding.evidence.iter().try_for_each(|evidence| output::line(&figure(evidence)))?;
        }
        if let Some(fix) = finding.fix.as_ref().filter(|_| sick) {
            output::line(&format!("{:10}fix: {}", "", output::shown(fix, LINE_CHARS_MAX)))?;
        }
    }
    let [ok, warn, fail, skipped] =
        [Status::Ok, Status::Warn, Status::Fail, Status::Skipped].map(|status| count(checked, status));
    output::talk(&format!(
        "{} checks: {ok} ok, {warn} warnings, {fail} failed, {skipped} skipped",
        checked.len()
    ));
    Ok(())
}

/// Characters of a finding's sentence that are shown: they may hold what a server said.
const LINE_CHARS_MAX: usize = 600;

fn figure(evidence: &Evidence) -> String {
    let against = evidence.threshold.as_ref().map(|t| format!("  (trouble from: {t})")).unwrap_or_default();
    let line = format!("{}: {}{against}", evidence.name, evidence.value);
    format!("{:10}{}", "", output::shown(&line, LINE_CHARS_MAX))
}
