//! The part of an event's life that triggers know: whether the event was matched. What its jobs became is told by deliveries.
//! It shows a viewer nothing of another organization's matches.

use std::sync::Arc;

use async_trait::async_trait;
use bowline_line::explain::{Chapter, ChapterSource, Subject};
use bowline_store::{LineStore, StoreError};
use bowline_types::public_tenant;

use crate::matching::FOLLOWER;

/// The chapters of triggers.
#[derive(Debug)]
pub struct TriggerChapters {
    store: Arc<dyn LineStore>,
}

impl TriggerChapters {
    /// Those of the triggers in `store`.
    pub fn new(store: Arc<dyn LineStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl ChapterSource for TriggerChapters {
    async fn tell(&self, subject: &Subject) -> Result<Vec<Chapter>, StoreError> {
        let envelope = &subject.event.envelope;
        let (stream, event_id) = (envelope.stream, envelope.event_id);
        let Some(row) = self.store.processed_event(stream, event_id).await? else {
            let number = subject.event.receipt.sequence_number;
            let is_past = self.store.cursor(FOLLOWER, stream).await? >= number;
            // Most organizations have no triggers on their own streams; on a chain's every event is matched.
            let is_expected = stream.tenant_id == public_tenant() && !is_past;
            let pending = Chapter::pending("matched", "no process has held triggers against it yet");
            return Ok(if is_expected { vec![pending] } else { Vec::new() });
        };
        let at = Some(row.processed_at);
        // A viewer of one organization does not see how many triggers of others a chain's event matched.
        let is_unrestricted = subject.viewer.is_none();
        let chapter = match &row.problem {
            Some(problem) => {
                Chapter::wrong("matched", at, format!("it can't be matched and was set aside: {problem}"))
            }
            None if !is_unrestricted => Chapter::done("matched", at, "triggers were held against it"),
            None => {
                let (matched, jobs) = (row.triggers_matched, row.actions_enqueued);
                Chapter::done(
                    "matched",
                    at,
                    format!("{matched} triggers matched it, and {jobs} jobs came of it"),
                )
            }
        };
        let chapter = match is_unrestricted {
            true => chapter
                .with("triggers_matched", row.triggers_matched)
                .with("actions_enqueued", row.actions_enqueued),
            false => chapter,
        };
        Ok(vec![chapter.with("duration_us", row.duration_us)])
    }
}
