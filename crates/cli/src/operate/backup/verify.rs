//! `bowline backup verify`: whether a backup could be brought back, without bringing it back.
//!
//! It says what it did not look at.

use std::path::PathBuf;

use bowline_node::{AuditScope, BackupId, Scratch, verify_backup};
use bowline_types::Secret;
use clap::Args;
use serde_json::json;

use super::{DestinationArgs, advance, bar, manifest_json, parse_id, refused};
use crate::terminal::context::{Context, until_interrupted};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;
use crate::verify::store;

/// `bowline backup verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
A backup of PostgreSQL is opened only with --scratch-database-url: in one transaction that is rolled back. Without
it the files are compared with the manifest and their rows are counted.")]
pub(crate) struct Options {
    /// The backup [default: the newest]
    #[arg(value_parser = parse_id)]
    id: Option<BackupId>,
    #[command(flatten)]
    destination: DestinationArgs,
    /// A PostgreSQL database to load the backup into; nothing stays in it
    #[arg(long, value_name = "URL")]
    scratch_database_url: Option<String>,
    /// A folder with room for an unpacked SQLite file [default: the system's temporary one]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Leave the signatures out
    #[arg(long)]
    quick: bool,
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    let (destination, _) = options.destination.open(context)?;
    let scratch =
        Scratch { folder: options.scratch, database: options.scratch_database_url.map(Secret::new) };
    let scope = AuditScope { stream: None, quick: options.quick };
    let bar = bar(context, "read");
    let verified = until_interrupted(async {
        let mut progress = |done, all| advance(&bar, done, all);
        verify_backup(&destination, options.id.as_ref(), &scratch, scope, &mut progress)
            .await
            .map_err(refused)
    })
    .await;
    bar.finish_and_clear();
    let verified = verified?;
    let is_clean = verified.audit.as_ref().is_none_or(bowline_node::AuditReport::is_clean);
    if context.is_json() {
        let audit = verified.audit.as_ref().map(|report| store::report_json(report, scope));
        let json = json!({ "intact": true, "backup": manifest_json(&verified.manifest), "store": audit });
        output::line(&json.to_string())?;
    } else {
        output::fields([
            ("backup", verified.manifest.id.to_string()),
            ("files", format!("{}, as they were written", verified.manifest.files.len())),
        ])?;
        match &verified.audit {
            Some(report) => store::print_report(report, scope)?,
            None => output::line(
                "the rows were counted, the store in them was not opened: see --scratch-database-url",
            )?,
        }
    }
    match is_clean {
        true => Ok(Exit::Done),
        false => Err(Failure::no("the backup is intact, and the store in it has faults")
            .next("use another backup: `bowline backup list`")),
    }
}
