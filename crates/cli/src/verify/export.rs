//! `bowline verify export FILE`: a whole export, from its first byte to its last.
//!
//! The check itself is `bowline_ves::verify_export`; here is what a person gives it and what it says. The
//! first thing that is wrong is named by its event and its line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read as _};
use std::path::PathBuf;

use bowline_types::AgentId;
use bowline_ves::{
    AgentPublicKey, ExportError, ExportReport, SequencerKeyRecord, TrustedKeys, verify_export,
};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::is_stdin;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::{output, progress};

const READ_BYTES: usize = 1 << 20;
/// Bytes of the first line that are looked at for its keys; the verifier reads the whole line anyway.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// `bowline verify export`.
#[derive(Debug, Args)]
#[group(id = "export")]
#[command(after_help = "\
Without --sequencer-key the file vouches for itself: it is shown to be whole and consistent, not who made it.
A sequencer publishes its keys; see `bowline keys sequencer`, and compare them over another channel.")]
pub(crate) struct Options {
    /// The export; `-` is standard input
    file: PathBuf,
    /// Accept only receipts of this sequencer key; may be repeated
    #[arg(long, value_name = "HEX", value_parser = AgentPublicKey::parse_hex)]
    sequencer_key: Vec<AgentPublicKey>,
    /// The key of an agent as you know it; may be repeated
    #[arg(long, value_name = "AGENT:KEYID:HEX", value_parser = parse_agent_key)]
    agent_key: Vec<AgentKey>,
}

type AgentKey = ((AgentId, u32), AgentPublicKey);

fn parse_agent_key(text: &str) -> Result<AgentKey, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(agent), Some(key_id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("expected AGENT:KEYID:HEX".to_owned());
    };
    let agent = agent.parse::<AgentId>().map_err(|error| error.to_string())?;
    let key_id = key_id.parse().map_err(|_| format!("`{key_id}` is not a key id"))?;
    let key = AgentPublicKey::parse_hex(key).map_err(|error| error.to_string())?;
    Ok(((agent, key_id), key))
}

/// The part of the first line that the report repeats.
#[derive(Default, Deserialize)]
pub(super) struct Header {
    #[serde(default)]
    sequencer_keys: Vec<SequencerKeyRecord>,
}

/// What a report without pinned keys leaves open.
pub(super) const UNPINNED: &str = "note: the sequencer's keys were trusted from the file; give them with --sequencer-key to know who signed";

pub(super) fn run(context: &Context, options: &Options) -> Outcome {
    let (report, header) = check(context, options)?;
    match context.is_json() {
        true => output::line(&report_json(&report, &header).to_string())?,
        false => print_report(&report, &header)?,
    }
    Ok(Exit::Done)
}

/// Verifies the whole file; what is wrong with it is the failure.
pub(super) fn check(context: &Context, options: &Options) -> Result<(ExportReport, Header), Failure> {
    let pinned = TrustedKeys {
        sequencer_keys: options.sequencer_key.clone(),
        agent_keys: options.agent_key.iter().cloned().collect(),
    };
    let refuse = |error: io::Error| {
        Failure::usage(format!("cannot read {}: {error}", options.file.display()))
            .next("make a file with `bowline export`")
    };
    let (reader, bar): (Box<dyn BufRead>, _) = if is_stdin(&options.file) {
        let bar = progress::bytes(context.quiet(), None);
        (Box::new(BufReader::with_capacity(READ_BYTES, bar.wrap_read(io::stdin()))), bar)
    } else {
        let file = File::open(&options.file).map_err(refuse)?;
        let bar = progress::bytes(context.quiet(), file.metadata().ok().map(|found| found.len()));
        (Box::new(BufReader::with_capacity(READ_BYTES, bar.wrap_read(file))), bar)
    };
    let (header, reader) = peek_header(reader).map_err(refuse)?;
    let mut events: u64 = 0;
    let result = verify_export(reader, &pinned, |_| {
        events += 1;
        if events.is_multiple_of(1024) {
            bar.set_message(format!("{events} events verified"));
        }
    });
    bar.finish_and_clear();
    match result {
        Ok(report) => Ok((report, header)),
        Err(error @ ExportError::Io { .. }) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            Err(Failure::usage(format!("{error}{}", source.unwrap_or_default())))
        }
        Err(error) => {
            if context.is_json() {
                output::line(&error_json(&error).to_string())?;
            }
            Err(Failure::no(error.to_string()).next(remedy(&error)))
        }
    }
}

/// Reads the first line for its keys and puts it back in front of the rest.
fn peek_header(mut reader: Box<dyn BufRead>) -> io::Result<(Header, impl BufRead)> {
    let mut line = Vec::new();
    reader.by_ref().take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
    // What is wrong with the line is for the verifier to say.
    let header = serde_json::from_slice(&line).unwrap_or_default();
    Ok((header, Cursor::new(line).chain(reader)))
}

fn print_report(report: &ExportReport, header: &Header) -> Result<(), Failure> {
    let events = report.event_count;
    let open = events - report.committed_event_count;
    let commitments = match report.commitment_count {
        0 => "none in the file".to_owned(),
        count => {
            format!("{count}, over {} events: roots recomputed, chain unbroken", report.committed_event_count)
        }
    };
    let corrections = match report.correction_count {
        0 => "none in the file".to_owned(),
        count => format!("{count}; {} of the commitments are replaced, see below", report.corrected.len()),
    };
    let state_root = report.last_state_root.map_or_else(|| "-".to_owned(), |root| root.to_string());
    output::fields([
        ("stream", report.stream.to_string()),
        (
            "events",
            format!("{events}, numbered {}..={} without a gap", report.sequence_start, report.sequence_end),
        ),
        ("payload hashes", format!("{events} recomputed")),
        ("agent signatures", format!("{events} valid")),
        ("receipts", format!("{events} valid, both signatures")),
        ("commitments", commitments),
        ("corrections", corrections),
        ("last state root", state_root),
        ("not committed", format!("{open} events")),
        ("head at export", report.head_sequence.to_string()),
        ("content hash", report.content_hash.to_string()),
        (
            "agent keys",
            format!(
                "{} given by you, {} from the file",
                report.agent_keys_pinned, report.agent_keys_from_file
            ),
        ),
        (
            "sequencer keys",
            if report.sequencer_keys_pinned { "given by you" } else { "from the file" }.to_owned(),
        ),
    ])?;
    for key in &header.sequencer_keys {
        let (sequencer, version) = (key.sequencer_id, key.key_version);
        output::line(&format!("  {sequencer} version {version}: 0x{}", key.public_key))?;
    }
    for corrected in &report.corrected {
        let problem = corrected.problem.as_deref().unwrap_or("nothing wrong was found with it");
        output::line(&format!(
            "  commitment {} over {}..={} is replaced by {}: {problem}",
            corrected.batch_id, corrected.sequence_start, corrected.sequence_end, corrected.corrected_by
        ))?;
    }
    output::line(if report.corrected.is_empty() {
        "the export is valid"
    } else {
        "the export is valid with its corrections"
    })?;
    if !report.sequencer_keys_pinned {
        output::talk(UNPINNED);
    }
    Ok(())
}

pub(super) fn report_json(report: &ExportReport, header: &Header) -> Value {
    json!({
        "valid": true,
        "tenant_id": report.stream.tenant_id,
        "store_id": report.stream.store_id,
        "event_count": report.event_count,
        "sequence_start": report.sequence_start,
        "sequence_end": report.sequence_end,
        "head_sequence": report.head_sequence,
        "commitment_count": report.commitment_count,
        "committed_event_count": report.committed_event_count,
        "last_state_root": report.last_state_root,
        "correction_count": report.correction_count,
        "corrected": report.corrected.iter().map(|one| json!({
            "batch_id": one.batch_id, "corrected_by": one.corrected_by, "sequence_start": one.sequence_start,
            "sequence_end": one.sequence_end, "problem": one.problem,
        })).collect::<Vec<_>>(),
        "sequencer_keys_pinned": report.sequencer_keys_pinned,
        "sequencer_keys": header.sequencer_keys,
        "agent_keys_pinned": report.agent_keys_pinned,
        "agent_keys_from_file": report.agent_keys_from_file,
        "content_hash": report.content_hash,
    })
}

fn error_json(error: &ExportError) -> Value {
    let (kind, line, sequence_number) = match error {
        ExportError::Io { line, .. } => ("io", Some(*line), None),
        ExportError::BadHeader { .. } => ("bad_header", Some(1), None),
        ExportError::BadLine { line, .. } => ("bad_line", Some(*line), None),
        ExportError::BadKey { line, .. } => ("bad_key", Some(*line), None),
        ExportError::BadEvent { sequence_number, line, .. } => {
            ("bad_event", Some(*line), Some(*sequence_number))
        }
        ExportError::BadCommitment { line, sequence_start, .. } => {
            ("bad_commitment", Some(*line), Some(*sequence_start))
        }
        ExportError::Truncated { line, .. } => ("truncated", Some(*line), None),
        ExportError::ContentHash { .. } => ("content_hash", None, None),
    };
    json!({
        "valid": false, "kind": kind, "line": line, "sequence_number": sequence_number,
        "message": error.to_string(),
    })
}

fn remedy(error: &ExportError) -> &'static str {
    match error {
        ExportError::Truncated { .. } => "get the file again: it was cut off on the way",
        ExportError::BadHeader { .. } => "see that the file was made by `bowline export`",
        ExportError::BadKey { .. } => {
            "compare the key with what the sequencer and the agents publish, over another channel"
        }
        ExportError::Io { .. }
        | ExportError::BadLine { .. }
        | ExportError::BadEvent { .. }
        | ExportError::BadCommitment { .. }
        | ExportError::ContentHash { .. } => {
            "get the file again from its source; if the same is wrong there, the source is not to be trusted"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_key_has_three_parts() {
        let agent = "64527dd3-a654-4410-9327-e58a1492ce77";
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let ((id, key_id), parsed) = parse_agent_key(&format!("{agent}:3:0x{key}")).unwrap();
        assert_eq!((id.to_string().as_str(), key_id, parsed.to_string().as_str()), (agent, 3, key));
        assert_eq!(parse_agent_key(agent).unwrap_err(), "expected AGENT:KEYID:HEX");
        assert!(parse_agent_key(&format!("{agent}:x:{key}")).unwrap_err().contains("key id"));
    }
}
