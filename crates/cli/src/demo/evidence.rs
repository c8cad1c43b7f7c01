//! Commits, proves, exports, verifies, and shows that tampering is found: all with what a client gets.
//!
//! Every check is made here from the bytes themselves; nothing that the node says of itself is believed.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use bowline_client::answers::{Head, Proof};
use bowline_client::{Call, Client};
use bowline_types::StreamId;
use bowline_ves::{
    Commitment, Envelope, ExportError, ExportReport, Hash, InclusionProof, TrustedKeys, event_signing_hash,
    leaf_hash, verify_export,
};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::feed::Fed;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::progress;

/// What the demo shows in the end.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) head: u64,
    pub(super) merkle_root: String,
    pub(super) state_root: String,
    pub(super) proved_sequence: u64,
    pub(super) export: String,
    /// What the verifier found in it.
    pub(super) verified: ExportReport,
    pub(super) tampered_sequence: u64,
    /// What the verifier said of the tampered copy.
    pub(super) caught: String,
}

#[derive(Deserialize)]
struct Events {
    events: Vec<Box<RawValue>>,
}

pub(super) async fn gather(
    context: &Context,
    client: &Client,
    stream: StreamId,
    data: &Path,
    fed: &Fed,
) -> Result<Evidence, Failure> {
    if fed.accepted == 0 {
        return Err(Failure::no("no event was accepted, so there is nothing to prove"));
    }
    let head: Head = client.json(&Call::get(&["api", "v1", "ves", "head"]).stream(stream)).await?;
    let commitment = commit(client, stream).await?;
    // Somewhere in the middle, so that the path has left and right siblings.
    let proved_sequence = commitment.sequence_start + u64::from(commitment.leaf_count) * 2 / 3;
    prove(client, stream, &commitment, proved_sequence).await?;
    let export = export(context, client, stream, data, head.head_sequence).await?;
    let verified = verify(context, &export, head.head_sequence)?.map_err(|error| {
        Failure::new(Exit::No, format!("the export does not verify, which is a defect: {error}"))
    })?;
    let tampered_sequence = head.head_sequence.div_ceil(2);
    let caught = tamper(context, &export, tampered_sequence, head.head_sequence)?;
    Ok(Evidence {
        head: head.head_sequence,
        merkle_root: commitment.merkle_root.to_string(),
        state_root: commitment.new_state_root.to_string(),
        proved_sequence,
        export: export.display().to_string(),
        verified,
        tampered_sequence,
        caught,
    })
}

/// Commits everything; the last commitment is the one that is proved from.
async fn commit(client: &Client, stream: StreamId) -> Result<Commitment, Failure> {
    let body = json!({ "tenant_id": stream.tenant_id, "store_id": stream.store_id });
    let call = Call::post(&["api", "v1", "ves", "commitments"], &body)?;
    let text = client.text(&call).await?;
    Commitment::from_json(&text).map_err(|error| Failure::new(Exit::Unreachable, error.to_string()))
}

/// Asks for a proof and checks it here, from the event's own bytes up.
async fn prove(
    client: &Client,
    stream: StreamId,
    commitment: &Commitment,
    sequence_number: u64,
) -> Result<(), Failure> {
    let wrong = |problem: String| Failure::no(format!("the proof of event {sequence_number}: {problem}"));
    let call = Call::get(&["api", "v1", "ves", "proofs", &sequence_number.to_string()]).stream(stream);
    let answer: Proof = client.json(&call).await?;
    let call = Call::get(&["api", "v1", "ves", "events"]).stream(stream);
    let call = call.query("from", Some(sequence_number)).query("limit", Some(1));
    let page: Events = client.json(&call).await?;
    let event = page.events.first().ok_or_else(|| wrong("the event is not there".to_owned()))?;
    let envelope = Envelope::parse(event.get()).map_err(|malformed| wrong(malformed.to_string()))?;
    let leaf = leaf_hash(stream, sequence_number, &event_signing_hash(&envelope), &envelope.agent_signature);
    let path = answer.proof_path.iter().map(|text| Hash::parse_hex(text)).collect::<Result<_, _>>();
    let path = path.map_err(|error| wrong(error.to_string()))?;
    let proof = InclusionProof { leaf_hash: leaf, leaf_index: answer.leaf_index, path };
    proof.verify(&commitment.merkle_root).map_err(|error| wrong(error.to_string()))
}

async fn export(
    context: &Context,
    client: &Client,
    stream: StreamId,
    data: &Path,
    head: u64,
) -> Result<PathBuf, Failure> {
    let path = data.join(format!("{}-1-{head}.bowline.ndjson", stream.store_id));
    let refuse = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let mut file = File::create(&path).map_err(refuse)?;
    let bar = progress::bytes(context.quiet(), None);
    bar.set_message("exporting");
    let mut incoming = client.open(&Call::get(&["api", "v1", "ves", "export"]).stream(stream)).await?;
    while let Some(chunk) = incoming.chunk().await? {
        file.write_all(&chunk).map_err(refuse)?;
    }
    bar.finish_and_clear();
    Ok(path)
}

fn verify(context: &Context, path: &Path, events: u64) -> Result<Result<ExportReport, ExportError>, Failure> {
    let file = File::open(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let bar = progress::count(context.quiet(), Some(events));
    bar.set_message("verifying offline");
    let verified = verify_export(BufReader::new(file), &TrustedKeys::default(), |_| bar.inc(1));
    bar.finish_and_clear();
    Ok(verified)
}

/// Changes one digit or letter of one event's payload in a copy, and lets the verifier find it.
fn tamper(context: &Context, export: &Path, sequence_number: u64, events: u64) -> Result<String, Failure> {
    let copy = export.with_extension("tampered.ndjson");
    let refuse = |error: std::io::Error| Failure::usage(format!("{}: {error}", copy.display()));
    let original = BufReader::new(File::open(export).map_err(refuse)?);
    let mut changed = BufWriter::new(File::create(&copy).map_err(refuse)?);
    let mark = format!("\"sequence_number\":{sequence_number},");
    let mut done = false;
    for line in original.lines() {
        let line = line.map_err(refuse)?;
        let other = if done || !line.contains(&mark) { None } else { tampered(&line) };
        done |= other.is_some();
        writeln!(changed, "{}", other.unwrap_or(line)).map_err(refuse)?;
    }
    changed.flush().map_err(refuse)?;
    match verify(context, &copy, events)? {
        Err(error) if done => Ok(error.to_string()),
        Err(error) => Err(Failure::no(format!("the copy was not changed and does not verify: {error}"))),
        Ok(_) => Err(Failure::no(format!("event {sequence_number} was changed and nobody noticed"))),
    }
}

/// The line with the last letter or digit of its payload's first half changed.
fn tampered(line: &str) -> Option<String> {
    let start = line.find("\"payload\":")? + "\"payload\":".len();
    let rest = line.get(start..)?;
    let offset = rest.find(|char: char| char.is_ascii_alphanumeric())?;
    let at = start + offset;
    let old = line.get(at..=at)?;
    let new = if old == "1" { "2" } else { "1" };
    // Within a word or a number any digit gives another value that is still JSON, except before `true`.
    let new = if old.chars().all(|char| char.is_ascii_digit()) { new } else { "X" };
    Some(format!("{}{new}{}", line.get(..at)?, line.get(at + 1..)?))
}
