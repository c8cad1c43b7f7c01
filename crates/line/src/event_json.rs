//! An event as clients read it, wherever it is given: by the gateway, or by a tool on the database.

use bowline_store::{StoredEvent, StoredReceipt};
use serde_json::json;

/// The event on one line, its payload as it was sent but for line breaks between tokens, with its receipt if wanted. A
/// receipt that nobody has signed yet says so.
pub fn event_json(event: &StoredEvent, receipt: bool) -> String {
    let mut text = event.envelope.sequenced_json(event.receipt.sequence_number, event.receipt.sequenced_at);
    if !receipt {
        return text;
    }
    // Written as ingest writes it, so that a receipt has the same bytes wherever it is given.
    let receipt = match event.receipt.signed() {
        Some(receipt) => serde_json::to_string(&receipt).ok(),
        None => Some(unsigned(&event.receipt)),
    };
    if let Some(receipt) = receipt
        && text.pop() == Some('}')
    {
        text.push_str(&format!(",\"receipt\":{receipt}}}"));
    }
    text
}

/// As VES v1 writes a receipt without a signature.
fn unsigned(receipt: &StoredReceipt) -> String {
    let wire = json!({
        "sequencerId": receipt.sequencer_id,
        "eventId": receipt.event_id,
        "sequenceNumber": receipt.sequence_number,
        "sequencedAt": receipt.sequenced_at,
        "receiptHash": receipt.receipt_hash.to_string(),
        "signatureAlg": "none",
        "sequencerSignature": "",
        "sequencerKeyVersion": receipt.key_version,
        "tenantId": receipt.stream.tenant_id,
        "storeId": receipt.stream.store_id,
    });
    wire.to_string()
}
