//! `bowline verify receipt FILE`: whether a sequencer's key signed that an event has its number since its time.
//!
//! The key must be given: a receipt that brought its own would prove nothing.

use std::path::PathBuf;

use bowline_ves::{AgentPublicKey, Receipt, ReceiptError};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{EventFile, read_document};
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// `bowline verify receipt`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The receipt's JSON, or an event with its receipt; `-` is standard input
    file: PathBuf,
    /// The sequencer's public key as you know it; may be repeated
    #[arg(long, value_name = "HEX", required = true, value_parser = AgentPublicKey::parse_hex)]
    sequencer_key: Vec<AgentPublicKey>,
    /// The event's JSON: also check that the receipt is this event's
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
}

pub(super) fn run(context: &Context, options: Options) -> Outcome {
    let text = read_document(&options.file)?;
    let receipt = Receipt::parse(inner(&text)).map_err(|error| match error {
        ReceiptError::Malformed { .. } => Failure::usage(format!("{}: {error}", options.file.display()))
            .next("get one with `bowline events get EVENT_ID --output json`"),
        _ => Failure::no(error.to_string()),
    })?;
    let event = options.event.as_deref().map(EventFile::read).transpose()?;
    if let Some(event) = &event {
        check_event(&receipt, event)?;
    }
    let signing_hash = event.as_ref().map(|event| &event.signing_hash);
    let mut checks = options.sequencer_key.iter().map(|key| receipt.verify(signing_hash, key).map(|()| key));
    // One key must have made both signatures; the first refusal says why the first key did not.
    let first = checks.next().unwrap_or(Err(ReceiptError::Signature));
    let key = match first {
        Ok(key) => key,
        Err(error) => checks.find_map(Result::ok).ok_or_else(|| {
            Failure::no(error.to_string())
                .next("see the sequencer's keys with `bowline keys sequencer`; the receipt names its version")
        })?,
    };
    report(context, &receipt, key, event.is_some())
}

fn check_event(receipt: &Receipt, event: &EventFile) -> Result<(), Failure> {
    let same = receipt.event_id == event.envelope.event_id
        && receipt.stream == event.envelope.stream
        && event.sequence_number.is_none_or(|number| number == receipt.sequence_number);
    match same {
        true => Ok(()),
        false => Err(Failure::no(format!(
            "the receipt is of event {} at {}, not of this event",
            receipt.event_id, receipt.sequence_number
        ))),
    }
}

fn report(context: &Context, receipt: &Receipt, key: &AgentPublicKey, event_checked: bool) -> Outcome {
    if context.is_json() {
        let answer = json!({
            "valid": true, "event_id": receipt.event_id, "sequence_number": receipt.sequence_number,
            "sequenced_at": receipt.sequenced_at, "sequencer_id": receipt.sequencer_id,
            "key_version": receipt.key_version, "public_key": key, "event_checked": event_checked,
        });
        output::line(&answer.to_string())?;
        return Ok(Exit::Done);
    }
    output::fields([
        ("stream", receipt.stream.to_string()),
        ("event", receipt.event_id.to_string()),
        ("sequence number", receipt.sequence_number.to_string()),
        ("sequenced at", receipt.sequenced_at.to_string()),
        ("sequencer", format!("{} key version {}", receipt.sequencer_id, receipt.key_version)),
        ("signed by", format!("0x{key}")),
        (
            "content",
            if event_checked { "it is this event's" } else { "not checked; give --event" }.to_owned(),
        ),
    ])?;
    output::line("the receipt is valid")?;
    Ok(Exit::Done)
}

/// The receipt itself, also out of an event that carries it.
fn inner(text: &str) -> &str {
    #[derive(Deserialize)]
    struct Carrier<'a> {
        #[serde(borrow)]
        receipt: &'a RawValue,
    }
    serde_json::from_str(text).map_or(text, |Carrier { receipt }| receipt.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_found_within_its_event() {
        assert_eq!(inner(r#"{"event_id":"x","receipt":{"a": 1}}"#), r#"{"a": 1}"#);
        assert_eq!(inner(r#"{"a":1}"#), r#"{"a":1}"#);
    }
}
