//! Tries a trigger on the events of the past: when it would have fired, had it been there.
//!
//! What conditions remember begins empty, events that the chain took back count for nothing, and `created_at` does
//! not matter. A back-test reads a limited number of events in a limited time; its cursor leads to the rest.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bowline_store::{ReadQuery, StoredEvent, StreamHead};
use bowline_types::{EventId, StreamId, TenantId, Timestamp, chain_stream, public_tenant};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::backtest_cursor::{Cursor, Memories};
use super::{Handle, Rule};
use crate::TriggerError;
use crate::rules::{self, Facts, Fallback, MemoryName, Reversal, State};

/// What to look at.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BacktestQuery {
    /// The stream; by default the trigger's chain, and without one every chain, one after the other.
    #[serde(skip)]
    pub stream: Option<StreamId>,
    /// Only events that happened then or later.
    pub since: Option<Timestamp>,
    /// Only events that happened before then.
    pub until: Option<Timestamp>,
    /// Events to look at, at most; 100,000 if absent, and 1,000,000 at most.
    pub events_max: Option<u64>,
    /// Times of firing that are listed; 100 if absent, and 1,000 at most. All are counted.
    pub fired_max: Option<usize>,
    /// Where an earlier back-test of the same trigger and range ended.
    pub cursor: Option<String>,
}

/// What a back-test found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backtest {
    /// Events that were looked at.
    pub events_looked_at: u64,
    /// How often it would have fired.
    pub count: u64,
    /// How often it would have fired on an event that the chain took back; not in `count`.
    pub retracted: u64,
    /// The first ones.
    pub fired: Vec<Fired>,
    /// The first time, by the events' own time.
    pub first: Option<Timestamp>,
    /// The last time.
    pub last: Option<Timestamp>,
    /// Seconds that a bucket is long.
    pub bucket_secs: u64,
    /// How often in each span of time, from `first` on, without gaps: 60 at most.
    pub buckets: Vec<Bucket>,
    /// The buckets as one line of block characters.
    pub sparkline: String,
    /// Where to go on; none if everything was looked at.
    pub cursor: Option<String>,
    /// Whether what conditions remembered was too much for the cursor: then the next part begins with nothing.
    pub memory_lost: bool,
}

/// One time of firing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fired {
    /// The event.
    pub event_id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// Its number.
    pub sequence_number: u64,
    /// Its type.
    pub event_type: String,
    /// Its agent.
    pub agent_id: Option<String>,
    /// When it happened.
    pub happened_at: Timestamp,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// When it begins.
    pub from: Timestamp,
    /// How often it would have fired.
    pub count: u64,
}

/// Events that are read by default, and at most.
const EVENTS: (u64, u64) = (100_000, 1_000_000);

/// Firings that are listed by default, and at most.
const LISTED: (usize, usize) = (100, 1_000);

/// Events that are read at a time.
const READ_AT_ONCE: usize = 500;

/// What one call may take.
pub(super) const TIME_MAX: Duration = Duration::from_secs(10);

/// Seconds after the range in which the chain may take events of the range back.
const RETRACTION_SECS: i64 = 60 * 60;

impl Handle {
    /// When a trigger would have fired.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], [`TriggerError::Invalid`] (also of a cursor that is none), [`TriggerError::Busy`], or the
    /// store's.
    pub async fn backtest(
        &self,
        tenant_id: TenantId,
        rule: Rule,
        query: BacktestQuery,
    ) -> Result<Backtest, TriggerError> {
        let (record, rule) = self.compiled(tenant_id, rule).await?;
        let _running = self.0.backtests.begin(tenant_id)?;
        let mut streams = self.backtest_streams(tenant_id, &rule).await?;
        if let Some(stream) = query.stream {
            streams.retain(|head| head.stream == stream);
        }
        let name = Cursor::name(&record, &query);
        let mut run = Run::new(rule, &query);
        let mut resumed = None;
        if let Some(text) = &query.cursor {
            let cursor = Cursor::read(text, &name).ok_or_else(|| {
                TriggerError::field("cursor", "is not one of a back-test of this trigger and range")
            })?;
            streams.retain(|head| head.stream >= cursor.stream);
            resumed = Some((cursor.stream, cursor.next));
            run.memories = cursor.memories();
        }
        let began = Instant::now();
        let events_max = query.events_max.unwrap_or(EVENTS.0).clamp(1, EVENTS.1);
        for head in streams {
            let mut next = match resumed {
                Some((stream, next)) if stream == head.stream => next,
                _ => {
                    run.memories.clear();
                    self.first_since(head, query.since).await?
                }
            };
            while next <= head.head && !run.is_over {
                if run.looked_at >= events_max || began.elapsed() >= TIME_MAX {
                    let (cursor, lost) = Cursor::write(name, head.stream, next, &run.memories);
                    return Ok(run.finish(Some(cursor), lost));
                }
                let left = usize::try_from(events_max - run.looked_at).unwrap_or(READ_AT_ONCE);
                let mut page = ReadQuery::from(head.stream, next, READ_AT_ONCE.min(left));
                (page.to, page.bytes_max) = (Some(head.head), 4 << 20);
                let events = self.store().read(page).await?.events;
                let Some(last) = events.last() else { break };
                next = last.receipt.sequence_number + 1;
                events.iter().for_each(|event| run.take(event));
            }
            run.is_over = false;
        }
        Ok(run.finish(None, false))
    }

    async fn backtest_streams(
        &self,
        tenant_id: TenantId,
        rule: &rules::Rule,
    ) -> Result<Vec<StreamHead>, TriggerError> {
        let mut streams = rules::streams_of(self.store(), tenant_id).await?;
        let is_line = rule.registry.as_deref() == Some(rules::LINE);
        let chain = rule.chain_id.map(chain_stream);
        streams.retain(|head| {
            let is_public = head.stream.tenant_id == public_tenant();
            is_public != is_line && chain.is_none_or(|chain| chain == head.stream)
        });
        streams.sort_by_key(|head| head.stream);
        Ok(streams)
    }

    /// The first number of an event that may have happened at that time or later. Times ascend along a chain but for
    /// retractions, which come soon.
    async fn first_since(&self, head: StreamHead, since: Option<Timestamp>) -> Result<u64, TriggerError> {
        let Some(since) = since else { return Ok(1) };
        let (mut low, mut high) = (1, head.head + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let page = self.store().read(ReadQuery::from(head.stream, middle, 1)).await?;
            let facts = page.events.first().and_then(|event| Facts::of(event).ok());
            if facts.is_some_and(|facts| facts.moment() < since) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}

/// A back-test under way.
struct Run {
    rule: rules::Rule,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    fired_max: usize,
    memories: Memories,
    looked_at: u64,
    /// When, by occurrence: what the chain takes back is found here.
    fired: HashMap<Uuid, i64>,
    listed: Vec<(Uuid, Fired)>,
    retracted: u64,
    /// Whether the stream is past the range.
    is_over: bool,
}

impl Run {
    fn new(rule: rules::Rule, query: &BacktestQuery) -> Self {
        Self {
            rule,
            since: query.since,
            until: query.until,
            fired_max: query.fired_max.unwrap_or(LISTED.0).min(LISTED.1),
            memories: Memories::new(),
            looked_at: 0,
            fired: HashMap::new(),
            listed: Vec::new(),
            retracted: 0,
            is_over: false,
        }
    }

    fn take(&mut self, event: &StoredEvent) {
        self.looked_at += 1;
        let Ok(facts) = Facts::of(event) else { return };
        let late = self.until.map(|until| facts.moment().micros() - until.micros());
        if late.is_some_and(|late| late >= RETRACTION_SECS * 1_000_000 && !facts.retracts) {
            self.is_over = true;
        }
        if late.is_some_and(|late| late >= 0) || self.since.is_some_and(|since| facts.moment() < since) {
            return;
        }
        if facts.event_type == "FeedbackRevoked" && facts.tenant_id.is_none() {
            // Agent, client and index name the feedback.
            let feedback = Facts { event_type: "NewFeedback".to_owned(), ..facts.clone() };
            self.reverse(&feedback, Reversal::Revoke(!facts.retracts));
        }
        if facts.retracts {
            if self.fired.remove(&facts.occurrence).is_some() {
                self.listed.retain(|(occurrence, _)| *occurrence != facts.occurrence);
                self.retracted += 1;
            }
            self.reverse(&facts, Reversal::Remove);
            return;
        }
        if !self.rule.passes(&facts) {
            return;
        }
        let places = places(&self.rule);
        let recall = |name: &_, fallback| recalled(&self.memories, &places, name, &facts, fallback);
        let advance = self.rule.advance(&facts, recall);
        self.keep(&places, &facts, advance.states);
        if !advance.fires {
            return;
        }
        if self.listed.len() < self.fired_max {
            let fired = Fired {
                event_id: event.envelope.event_id,
                stream: event.envelope.stream,
                sequence_number: event.receipt.sequence_number,
                event_type: facts.event_type.clone(),
                agent_id: Some(facts.subject.clone()).filter(|subject| !subject.is_empty()),
                happened_at: facts.moment(),
            };
            self.listed.push((facts.occurrence, fired));
        }
        self.fired.insert(facts.occurrence, facts.happened_at);
    }

    fn reverse(&mut self, facts: &Facts, reversal: Reversal) {
        let places = places(&self.rule);
        let recall = |name: &_, fallback| recalled(&self.memories, &places, name, facts, fallback);
        let states = self.rule.reverse(facts, reversal, recall);
        self.keep(&places, facts, states);
    }

    fn keep(&mut self, places: &[MemoryName], facts: &Facts, states: Vec<(MemoryName, State)>) {
        for (name, state) in states {
            if let Some(place) = places.iter().position(|known| *known == name) {
                self.memories.insert((place, facts.subject.clone()), state);
            }
        }
    }

    fn finish(self, cursor: Option<String>, memory_lost: bool) -> Backtest {
        let mut times: Vec<i64> = self.fired.into_values().collect();
        times.sort_unstable();
        let moment = |seconds: &i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
        let (bucket_secs, buckets) = buckets(&times);
        Backtest {
            events_looked_at: self.looked_at,
            count: times.len() as u64,
            retracted: self.retracted,
            fired: self.listed.into_iter().map(|(_, fired)| fired).collect(),
            first: times.first().map(moment),
            last: times.last().map(moment),
            bucket_secs,
            sparkline: sparkline(&buckets),
            buckets,
            cursor,
            memory_lost,
        }
    }
}

fn places(rule: &rules::Rule) -> Vec<MemoryName> {
    rule.memories().into_iter().map(|(name, _)| name.clone()).collect()
}

fn recalled(
    memories: &Memories,
    places: &[MemoryName],
    name: &MemoryName,
    facts: &Facts,
    fallback: Fallback,
) -> State {
    let place = places.iter().position(|known| known == name);
    let found = place.and_then(|place| memories.get(&(place, facts.subject.clone())));
    found.cloned().unwrap_or_else(|| State::read(None, fallback))
}

/// Spans of time at most.
const BUCKETS_MAX: i64 = 60;

fn buckets(times: &[i64]) -> (u64, Vec<Bucket>) {
    const SPANS: [i64; 9] = [60, 300, 900, 3_600, 6 * 3_600, 86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400];
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return (60, Vec::new()) };
    let fits = |span: &i64| last.div_euclid(*span) - first.div_euclid(*span) < BUCKETS_MAX;
    let span = SPANS.into_iter().find(fits).unwrap_or((last - first) / (BUCKETS_MAX - 1) + 1);
    let start = first.div_euclid(span);
    let count = usize::try_from(last.div_euclid(span) - start + 1).unwrap_or(1);
    let mut counts = vec![0; count];
    for time in times {
        let place = usize::try_from(time.div_euclid(span) - start).unwrap_or(0);
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    }
    let begins =
        (start..).map(|place| Timestamp::from_micros(place.saturating_mul(span).saturating_mul(1_000_000)));
    let buckets = begins.zip(counts).map(|(from, count)| Bucket { from, count });
    (span.unsigned_abs(), buckets.collect())
}

/// One character a bucket: nothing is a space, and the most is the full block.
fn sparkline(buckets: &[Bucket]) -> String {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0).max(1);
    let block = |bucket: &Bucket| {
        let height = usize::try_from((bucket.count * 8).div_ceil(most)).unwrap_or(8);
        BLOCKS.get(height).copied().unwrap_or('█')
    };
    buckets.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_no_gaps_and_a_line_shows_them() {
        let (span, found) = buckets(&[0, 10, 59, 120, 121, 240]);
        assert_eq!(span, 60);
        assert_eq!(found.iter().map(|bucket| bucket.count).collect::<Vec<_>>(), [3, 0, 2, 0, 1]);
        assert_eq!(sparkline(&found), "█ ▆ ▃");
        let (span, found) = buckets(&[0, 40 * 86_400]);
        assert_eq!((span, found.len()), (86_400, 41));
        assert_eq!(buckets(&[]), (60, Vec::new()));
        let (_, found) = buckets(&[-5_000_000_000, 5_000_000_000]);
        assert!(found.len() <= 60);
    }
}
