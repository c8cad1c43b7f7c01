//! Sends signed lines in batches, one request at a time, and counts what became of each.
//!
//! A request without an answer, or with one that says to come back, is sent again with the same bytes: the
//! server takes an event id once, so nothing is doubled. After `bowline_client::ATTEMPTS_MAX` attempts the lines whose fate is unknown
//! are named.

use std::collections::VecDeque;
use std::time::Instant;

use bowline_client::answers::{Ingested, Rejection};
use bowline_client::{Call, Client, Retries};
use bowline_types::AgentId;
use bytes::Bytes;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc;

use super::reader::{Item, SignedLine};
use super::{announce_pause, show};
use crate::terminal::exit::{Exit, Failure};

/// Bytes of events in one request: the server's default limit, less what stands around them.
const BATCH_BYTES_MAX: usize = (10 << 20) - (64 << 10);
/// Rejected lines that are listed; further ones are counted.
const REJECTIONS_LISTED_MAX: usize = 1_000;

/// A line that did not become an event.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RejectedLine {
    pub(super) line: u64,
    pub(super) event_id: Option<String>,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What became of the lines so far.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    /// On the line already, from an earlier run or an earlier attempt.
    pub(super) replayed: u64,
    pub(super) rejected: u64,
    pub(super) rejections: Vec<RejectedLine>,
    pub(super) head_sequence: Option<u64>,
    /// The lines of the request under way.
    unconfirmed: Option<(u64, u64)>,
    started: Instant,
    last_answer: Option<Instant>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            accepted: 0,
            replayed: 0,
            rejected: 0,
            rejections: Vec::new(),
            head_sequence: None,
            unconfirmed: None,
            started: Instant::now(),
            last_answer: None,
        }
    }

    pub(super) fn events_per_sec(&self) -> f64 {
        let seconds = self.last_answer.map_or(0.0, |last| (last - self.started).as_secs_f64());
        if seconds > 0.0 { (self.accepted + self.replayed) as f64 / seconds } else { 0.0 }
    }

    /// Adds to a failure which lines nobody knows the fate of.
    pub(super) fn with_unconfirmed(&self, mut failure: Failure) -> Failure {
        let Some((first, last)) = self.unconfirmed else { return failure };
        failure.cause.push_str(&format!("; lines {first} to {last} are not confirmed"));
        let step = failure.next.take().map(|step| format!("{step}; then ")).unwrap_or_default();
        failure
            .next(format!("{step}compare `bowline tail --no-follow` with line {first} and append the rest"))
    }

    fn reject(&mut self, line: RejectedLine) {
        self.rejected += 1;
        if self.rejections.len() < REJECTIONS_LISTED_MAX {
            self.rejections.push(line);
        }
    }

    fn count(&mut self, batch: &[SignedLine], answer: Ingested) {
        self.last_answer = Some(Instant::now());
        self.accepted += answer.events_accepted;
        self.replayed += (batch.len() as u64)
            .saturating_sub(answer.events_accepted.saturating_add(answer.events_rejected));
        self.head_sequence = answer.head_sequence.or(self.head_sequence);
        let listed = answer.rejections.unwrap_or_default();
        // What the server counts and does not explain is still a rejection.
        self.rejected += answer.events_rejected.saturating_sub(listed.len() as u64);
        for rejection in listed {
            self.reject(placed(rejection, batch));
        }
    }
}

/// Finds the line of a rejection: by its index, or by its event's id.
fn placed(rejection: Rejection, batch: &[SignedLine]) -> RejectedLine {
    let by_index = rejection.index.and_then(|index| batch.get(index));
    let line = by_index.or_else(|| {
        let id = rejection.event_id.as_deref()?;
        batch.iter().find(|line| line.event_id.to_string() == id)
    });
    RejectedLine {
        line: line.map_or(0, |line| line.line),
        event_id: rejection.event_id,
        reason: rejection.reason,
        message: rejection.message,
    }
}

/// Where batches go.
pub(super) struct Sender<'a> {
    pub(super) client: &'a Client,
    pub(super) agent_id: AgentId,
    /// Events in one request at most.
    pub(super) batch: usize,
    pub(super) bar: &'a ProgressBar,
}

impl Sender<'_> {
    /// Sends everything that is received, until the reader ends.
    pub(super) async fn send_all(
        &self,
        mut items: mpsc::Receiver<Item>,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let mut waiting = VecDeque::new();
        let mut received = Vec::new();
        let mut broken = None;
        loop {
            if broken.is_some() && waiting.is_empty() {
                break;
            }
            if broken.is_none() {
                // Waiting for more while lines wait here could last forever: they hold the reader's memory.
                if waiting.is_empty() && items.recv_many(&mut received, self.batch).await == 0 {
                    break;
                }
                // While a request was under way the next lines have piled up; a lone line goes out at once.
                while waiting.len() + received.len() < self.batch
                    && let Ok(item) = items.try_recv()
                {
                    received.push(item);
                }
            }
            for item in received.drain(..) {
                match item {
                    Item::Event(line) => waiting.push_back(line),
                    Item::Rejected(line) => tally.reject(line),
                    Item::Broken { line, problem } => broken = Some((line, problem)),
                }
            }
            let batch = take_batch(&mut waiting);
            if !batch.is_empty() {
                self.send(batch, tally).await?;
            }
            show(self.bar, tally);
        }
        match broken {
            Some((line, problem)) => Err(Failure::usage(format!("line {line}: {problem}"))
                .next("mend the line and append from there on; every line before it is reported above")),
            None => Ok(()),
        }
    }

    async fn send(&self, batch: Vec<SignedLine>, tally: &mut Tally) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        let call = Call::ingest(self.body(&batch));
        tally.unconfirmed = Some((first.line, last.line));
        let answer = match self.answer(&call).await {
            Ok(answer) => answer,
            Err(mut failure) if failure.exit != Exit::Unreachable => {
                tally.unconfirmed = None;
                failure.cause.push_str(&format!("; lines {} to {} were not appended", first.line, last.line));
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        };
        tally.unconfirmed = None;
        self.bar.set_position(last.offset);
        tally.count(&batch, answer);
        Ok(())
    }

    async fn answer(&self, call: &Call) -> Result<Ingested, Failure> {
        let mut retries = Retries::default();
        loop {
            let error = match self.client.json(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = retries.pause_after(&error);
            let mut failure = Failure::from(error);
            let Some(pause) = pause else {
                if retries.attempts() > 1 {
                    failure.cause.push_str(&format!(" (after {} attempts)", retries.attempts()));
                }
                return Err(failure);
            };
            announce_pause(self.bar, &failure.cause, pause);
            tokio::time::sleep(pause).await;
        }
    }

    fn body(&self, batch: &[SignedLine]) -> Bytes {
        let bytes = batch.iter().map(|line| line.json.len() + 1).sum::<usize>();
        let mut body = String::with_capacity(bytes + 80);
        body.push_str(&format!("{{\"agentId\":\"{}\",\"events\":[", self.agent_id));
        for (index, line) in batch.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            body.push_str(&line.json);
        }
        body.push_str("]}");
        body.into()
    }
}

/// The first lines that fit one request; at least one.
fn take_batch(waiting: &mut VecDeque<SignedLine>) -> Vec<SignedLine> {
    let mut bytes = 0;
    let fit = waiting.iter().take_while(|line| {
        bytes += line.json.len() + 1;
        bytes <= BATCH_BYTES_MAX
    });
    let count = fit.count().max(1).min(waiting.len());
    waiting.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_whole() {
        let mut tally = Tally::new();
        tally.unconfirmed = Some((3, 9));
        let failure = tally.with_unconfirmed(Failure::usage("x").next("y"));
        assert!(
            failure.cause.contains("lines 3 to 9") && failure.next.unwrap().starts_with("y; then compare")
        );
        let answer =
            Ingested { events_accepted: 0, events_rejected: 2, head_sequence: Some(5), rejections: None };
        tally.count(&[], answer);
        assert_eq!((tally.rejected, tally.rejections.len(), tally.head_sequence), (2, 0, Some(5)));
    }
}
