//! `bowline verify`: exports, proofs, receipts and whole stores, checked on this machine from their own bytes.
//!
//! It refuses to ask a node anything; `verify anchor` alone asks somebody, a chain. What a file says about itself proves only that it is whole; the
//! report says which keys and roots the person gave and which the file brought along.

pub(crate) mod anchor;
mod export;
mod proof;
mod receipt;
pub(crate) mod store;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bowline_ves::{Envelope, Hash, event_signing_hash};
use clap::Subcommand;
use serde::Deserialize;

use crate::terminal::context::{Context, block_on};
use crate::terminal::exit::{Failure, Outcome};

/// Bytes that a proof, a receipt or an event may have.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// `bowline verify`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Check every hash, signature, receipt, number and root of an export
    Export(export::Options),
    /// Check an export, and that its commitments are on a chain
    Anchor(anchor::Options),
    /// Check that an event is under a Merkle root
    Proof(proof::Options),
    /// Check that a sequencer signed an event's number and time
    Receipt(receipt::Options),
    /// Check a whole store: numbers, hashes, signatures, receipts, commitments, cursors
    Store(store::Options),
}

pub(crate) fn run(context: &Context, what: What) -> Outcome {
    context.refuse_curl()?;
    match what {
        What::Export(options) => export::run(context, &options),
        What::Anchor(options) => block_on(anchor::run(context, options)),
        What::Proof(options) => proof::run(context, options),
        What::Receipt(options) => receipt::run(context, options),
        What::Store(options) => store::run(context, options),
    }
}

/// A file's name, or standard input for `-`.
fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The whole text of a small file, or of standard input for `-`.
pub(crate) fn read_document(path: &Path) -> Result<String, Failure> {
    let refuse = |error: io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let source: Box<dyn Read> =
        if is_stdin(path) { Box::new(io::stdin()) } else { Box::new(File::open(path).map_err(refuse)?) };
    let mut text = String::new();
    source.take(DOCUMENT_BYTES_MAX + 1).read_to_string(&mut text).map_err(refuse)?;
    if text.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Failure::usage(format!("{} is larger than {DOCUMENT_BYTES_MAX} bytes", path.display())));
    }
    Ok(text)
}

/// An event as `bowline events get --output json` gave it.
struct EventFile {
    envelope: Envelope,
    signing_hash: Hash,
    sequence_number: Option<u64>,
}

impl EventFile {
    /// Reads an event and checks its payload against the hash that the agent signed.
    fn read(path: &Path) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Numbered {
            sequence_number: Option<u64>,
        }
        let text = read_document(path)?;
        let not_an_event =
            |problem: String| Failure::usage(format!("{} is not an event: {problem}", path.display()));
        let envelope = Envelope::parse(&text).map_err(|error| not_an_event(error.to_string()))?;
        let Numbered { sequence_number } =
            serde_json::from_str(&text).map_err(|error| not_an_event(error.to_string()))?;
        bowline_ves::check_hashes(&envelope)
            .map_err(|rejection| Failure::no(format!("the event {}: {rejection}", envelope.event_id)))?;
        let signing_hash = event_signing_hash(&envelope);
        Ok(Self { envelope, signing_hash, sequence_number })
    }
}
