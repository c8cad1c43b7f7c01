//! `bowline verify proof FILE`: whether a leaf is under a Merkle root, and with `--event` whose leaf it is.
//!
//! A proof that brings its own root shows only that it is consistent; `--root` is what a person knows from a
//! commitment, an export or a chain.

use std::path::PathBuf;

use bowline_types::{EventId, StoreId, StreamId, TenantId};
use bowline_ves::{Hash, InclusionProof, leaf_hash};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{EventFile, read_document};
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// `bowline verify proof`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
                        bowline commitments proof 17 --out proof.json\n  \
                        bowline events get EVENT_ID --output json > event.json\n  \
                        bowline verify proof proof.json --event event.json --root HEX")]
pub(crate) struct Options {
    /// The proof's JSON; `-` is standard input
    file: PathBuf,
    /// The Merkle root as you know it
    #[arg(long, value_name = "HEX", value_parser = Hash::parse_hex)]
    root: Option<Hash>,
    /// The event's JSON: also check that the leaf is this event's
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct ProofFile {
    sequence_number: Option<u64>,
    merkle_root: Option<Hash>,
    leaf_hash: Hash,
    leaf_index: u64,
    proof_path: Vec<Hash>,
    directions: Option<Vec<bool>>,
    tenant_id: Option<TenantId>,
    store_id: Option<StoreId>,
    event_id: Option<EventId>,
}

pub(super) fn run(context: &Context, options: Options) -> Outcome {
    let text = read_document(&options.file)?;
    let proof: ProofFile = serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("{} is not a proof: {error}", options.file.display()))
            .next("get one with `bowline commitments proof SEQ --out FILE`")
    })?;
    let root = options
        .root
        .or(proof.merkle_root)
        .ok_or_else(|| Failure::usage("the proof has no merkle_root").next("give the root with --root"))?;
    proof.check(&root)?;
    if let Some(path) = &options.event {
        proof.check_event(&EventFile::read(path)?)?;
    }
    let root_given = options.root.is_some();
    let event_checked = options.event.is_some();
    if context.is_json() {
        let answer = json!({
            "valid": true, "merkle_root": root, "leaf_hash": proof.leaf_hash, "leaf_index": proof.leaf_index,
            "sequence_number": proof.sequence_number, "root_given": root_given, "event_checked": event_checked,
        });
        output::line(&answer.to_string())?;
    } else {
        let number = proof.sequence_number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        output::fields([
            ("sequence number", number),
            ("leaf", proof.leaf_hash.to_string()),
            ("leaf index", format!("{} of a tree of depth {}", proof.leaf_index, proof.proof_path.len())),
            (
                "merkle root",
                format!("{root} ({})", if root_given { "given by you" } else { "from the proof" }),
            ),
            ("event", if event_checked { "the leaf is this event's" } else { "not checked" }.to_owned()),
        ])?;
        output::line("the proof is valid")?;
    }
    if !root_given {
        output::talk("note: the root came with the proof; give the one that you know with --root");
    }
    Ok(Exit::Done)
}

impl ProofFile {
    fn check(&self, root: &Hash) -> Result<(), Failure> {
        if let Some(told) = self.merkle_root.filter(|told| told != root) {
            return Err(Failure::no(format!("the proof is for root {told}, not for {root}"))
                .next("see which commitment has the root with `bowline commitments list --all`"));
        }
        let path = self.proof_path.clone();
        let proof = InclusionProof { leaf_hash: self.leaf_hash, leaf_index: self.leaf_index, path };
        proof.verify(root).map_err(|error| Failure::no(format!("the proof does not hold: {error}")))?;
        if self.directions.as_ref().is_some_and(|directions| *directions != proof.directions()) {
            return Err(Failure::no("the proof's directions are not those of its leaf index"));
        }
        Ok(())
    }

    /// Whether the leaf is that of the event at the proof's sequence number.
    fn check_event(&self, event: &EventFile) -> Result<(), Failure> {
        let envelope = &event.envelope;
        let number = self.sequence_number.or(event.sequence_number).ok_or_else(|| {
            Failure::usage(
                "neither the proof nor the event has a sequence_number, and the leaf depends on it",
            )
        })?;
        let differs = |what: &str| Err(Failure::no(format!("proof and event differ in {what}")));
        if event.sequence_number.is_some_and(|found| found != number) {
            return differs("their sequence number");
        }
        if self.event_id.is_some_and(|id| id != envelope.event_id) {
            return differs("their event id");
        }
        let StreamId { tenant_id, store_id } = envelope.stream;
        if self.tenant_id.is_some_and(|id| id != tenant_id) || self.store_id.is_some_and(|id| id != store_id)
        {
            return differs("their stream");
        }
        let leaf = leaf_hash(envelope.stream, number, &event.signing_hash, &envelope.agent_signature);
        if leaf != self.leaf_hash {
            return Err(Failure::no(format!(
                "the leaf is not this event's: the event at {number} has leaf {leaf}, the proof is for {}",
                self.leaf_hash
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bowline_ves::Tree;

    use super::*;

    fn proof(index: u64) -> (ProofFile, Hash) {
        let tree = Tree::new((0..5).map(|n| Hash::new([n; 32])).collect());
        let made = tree.path(index).unwrap();
        let text = json!({
            "leaf_hash": made.leaf_hash.to_string(), "leaf_index": index, "merkle_root": tree.root().to_string(),
            "proof_path": made.path.iter().map(Hash::to_string).collect::<Vec<_>>(),
            "directions": made.directions(), "sequence_number": index + 1,
        });
        (serde_json::from_value(text).unwrap(), tree.root())
    }

    #[test]
    fn a_proof_holds_for_its_root_and_position_alone() {
        let (mut file, root) = proof(4);
        file.check(&root).unwrap();
        assert!(file.check(&Hash::ZERO).unwrap_err().cause.contains("is for root"));
        file.leaf_index = 3;
        assert_eq!(file.check(&root).unwrap_err().exit, Exit::No);
    }

    #[test]
    fn directions_that_contradict_the_index_are_refused() {
        let (mut file, root) = proof(2);
        file.directions = Some(vec![false, false, true]);
        assert!(file.check(&root).unwrap_err().cause.contains("directions"));
    }
}
