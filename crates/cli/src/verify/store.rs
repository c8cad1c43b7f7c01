//! `bowline verify store`: a whole store, offline and read-only, from its first event to its last cursor.
//!
//! It opens the SQLite file or the PostgreSQL database itself, beside a running node if there is one, and needs
//! neither the node nor its lock. The checks are `bowline_node::audit`; here is where the store is and what is
//! said of it.

use std::path::PathBuf;

use bowline_node::{AuditReport, AuditScope, DataFolder, Finding, audit};
use bowline_store::{PostgresSnapshot, Snapshot, SqliteSnapshot, StoreError};
use bowline_types::{Secret, StoreId, StreamId, TenantId};
use clap::Args;
use serde_json::json;

use crate::operate::serve::SettingsArgs;
use crate::terminal::context::{Context, block_on, until_interrupted};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::{output, progress};

/// Findings that people are shown; JSON has all that were kept.
const FINDINGS_SHOWN_MAX: usize = 50;

/// `bowline verify store`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without PATH and --database-url it is the store of the settings: --config, DATABASE_URL, --data.
A node may go on writing meanwhile: what is checked is the store at the moment when the check began.")]
pub(crate) struct Options {
    /// A data folder, or the SQLite file in it
    path: Option<PathBuf>,
    /// A PostgreSQL database instead
    #[arg(long, value_name = "URL", conflicts_with = "path")]
    database_url: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Only this stream, as TENANT/STORE
    #[arg(long, value_name = "TENANT/STORE", value_parser = parse_stream)]
    stream: Option<StreamId>,
    /// Leave the signatures out: numbers, hashes, versions and commitments only
    #[arg(long)]
    quick: bool,
}

/// Where a store is.
#[derive(Debug)]
pub(crate) enum StorePlace {
    /// An SQLite file.
    File(PathBuf),
    /// A PostgreSQL database.
    Database(Secret),
}

impl StorePlace {
    /// The one that is named, else the one of the settings.
    pub(crate) fn find(
        context: &Context,
        settings: &SettingsArgs,
        path: Option<PathBuf>,
        database_url: Option<String>,
    ) -> Result<Self, Failure> {
        if let Some(url) = database_url {
            return Ok(Self::Database(Secret::new(url)));
        }
        if let Some(path) = path {
            return Ok(Self::File(if path.is_dir() { DataFolder::database_in(&path) } else { path }));
        }
        let config = settings.load(context)?;
        Ok(match config.store.url {
            Some(url) => Self::Database(url),
            None => Self::File(DataFolder::database_in(&config.data)),
        })
    }

    /// One moment of the store.
    pub(crate) async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Failure> {
        match self {
            Self::File(path) if !path.is_file() => {
                Err(Failure::usage(format!("there is no store: {} is no file", path.display()))
                    .next("name the data folder with --data, or a database with --database-url"))
            }
            Self::File(path) => {
                let opened = SqliteSnapshot::open(path, &bowline_node::schema()).await;
                opened.map(|found| Box::new(found) as _).map_err(|error| unreadable(&path.display(), &error))
            }
            Self::Database(url) => {
                let opened =
                    PostgresSnapshot::open(url.reveal(), "bowline verify", &bowline_node::schema()).await;
                opened.map(|found| Box::new(found) as _).map_err(|error| unreadable(&"the database", &error))
            }
        }
    }
}

/// The store can't be read at all.
pub(crate) fn unreadable(what: &dyn std::fmt::Display, error: &StoreError) -> Failure {
    let exit = if error.retryable() { Exit::Unreachable } else { Exit::Usage };
    let next = match error {
        StoreError::NewerSchema { .. } => "run this with the newer bowline that migrated the store",
        StoreError::NeedsMigration { .. } => "`bowline migrate` brings the store's schema up to date",
        _ => {
            "check the path or the URL; a store that is damaged beyond reading is brought back with \
              `bowline backup restore`"
        }
    };
    Failure::new(exit, format!("{what}: {error}")).next(next)
}

pub(crate) fn parse_stream(text: &str) -> Result<StreamId, String> {
    let (tenant, store) = text.split_once('/').ok_or("expected TENANT/STORE, two UUIDs")?;
    let tenant: TenantId = tenant.parse().map_err(|error| format!("tenant: {error}"))?;
    let store: StoreId = store.parse().map_err(|error| format!("store: {error}"))?;
    Ok(StreamId::new(tenant, store))
}

pub(super) fn run(context: &Context, options: Options) -> Outcome {
    block_on(async {
        let scope = AuditScope { stream: options.stream, quick: options.quick };
        let place = StorePlace::find(context, &options.settings, options.path, options.database_url)?;
        let mut snapshot = place.snapshot().await?;
        let report = until_interrupted(audited(context, snapshot.as_mut(), scope)).await?;
        say(context, &report, scope)
    })
}

/// Runs the audit under a progress bar.
pub(crate) async fn audited(
    context: &Context,
    snapshot: &mut dyn Snapshot,
    scope: AuditScope,
) -> Result<AuditReport, Failure> {
    let bar = progress::count(context.quiet(), Some(0));
    bar.set_message("events verified");
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let report = audit(snapshot, scope, &mut progress).await;
    bar.finish_and_clear();
    report.map_err(|error| unreadable(&"the store", &error))
}

/// Prints the report; the exit code is its verdict.
pub(crate) fn say(context: &Context, report: &AuditReport, scope: AuditScope) -> Outcome {
    match context.is_json() {
        true => output::line(&report_json(report, scope).to_string())?,
        false => print_report(report, scope)?,
    }
    if report.is_clean() {
        return Ok(Exit::Done);
    }
    let faults = match report.findings.total() {
        1 => "a fault".to_owned(),
        total => format!("{total} faults"),
    };
    Err(Failure::no(format!("the store has {faults}"))
        .next("keep the store as it is, and bring back a good one with `bowline backup restore`"))
}

/// The report as JSON.
pub(crate) fn report_json(report: &AuditReport, scope: AuditScope) -> serde_json::Value {
    json!({
        "clean": report.is_clean(), "engine": report.engine, "schema_version": report.schema_version,
        "streams": report.streams, "events": report.events, "signatures_verified": report.signatures,
        "quick": scope.quick, "commitments": report.commitments, "cursors": report.cursors,
        "findings_total": report.findings.total(), "findings": report.findings.kept(),
    })
}

pub(crate) fn print_report(report: &AuditReport, scope: AuditScope) -> Result<(), Failure> {
    let findings = report.findings.kept();
    for finding in findings.iter().take(FINDINGS_SHOWN_MAX) {
        print_finding(finding)?;
    }
    let shown = findings.len().min(FINDINGS_SHOWN_MAX) as u64;
    if report.findings.total() > shown {
        output::line(&format!("… and {} more; --output json has them\n", report.findings.total() - shown))?;
    }
    let signatures = match scope.quick {
        true => "left out (--quick)".to_owned(),
        false => report.signatures.to_string(),
    };
    output::fields([
        ("verdict", if report.is_clean() { "clean".to_owned() } else { "faulty".to_owned() }),
        ("findings", report.findings.total().to_string()),
        ("store", format!("{}, schema version {}", report.engine, report.schema_version)),
        ("streams", report.streams.to_string()),
        ("events", report.events.to_string()),
        ("signatures", signatures),
        ("commitments", report.commitments.to_string()),
        ("cursors", report.cursors.to_string()),
    ])
}

fn print_finding(finding: &Finding) -> Result<(), Failure> {
    let kind = serde_json::to_value(finding.kind).unwrap_or_default();
    let mut place = kind.as_str().unwrap_or_default().to_owned();
    if let Some(number) = finding.sequence_number {
        place += &format!(" at {number}");
    }
    if let Some(stream) = finding.stream {
        place += &format!(" of {stream}");
    }
    if !finding.subject.is_empty() {
        place += &format!(", {}", output::shown(&finding.subject, 200));
    }
    output::line(&place)?;
    output::fields([("  expected", finding.expected.clone()), ("  found", finding.found.clone())])?;
    output::line("")
}
