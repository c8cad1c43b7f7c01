//! An event as clients read it, wherever it is given: by the gateway, or by a tool on the database.

use bowline_store::StoredEvent;

/// The event on one line, its payload as it was sent but for line breaks between tokens, with its receipt if wanted.
pub fn event_json(event: &StoredEvent, receipt: bool) -> String {
    let mut text = event.envelope.sequenced_json(event.receipt.sequence_number, event.receipt.sequenced_at);
    // Written as ingest writes it, so that a receipt has the same bytes wherever it is given.
    if receipt
        && let Ok(receipt) = serde_json::to_string(&event.receipt)
        && text.pop() == Some('}')
    {
        text.push_str(&format!(",\"receipt\":{receipt}}}"));
    }
    text
}
