//! What a store keeps of triggers: the rules, what they remember, and what a step of matching writes.
//!
//! What a condition means is not the store's business: it keeps texts.

use bowline_types::{EventId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use crate::NewJob;

/// Why a job is cancelled whose event the chain took back; only such a one may wait again.
pub(crate) const EVENT_RETRACTED: &str = "the chain took its event back";

/// Why a job is cancelled whose trigger is gone.
pub(crate) const TRIGGER_DELETED: &str = "its trigger was deleted";

/// Microseconds that a deletion is remembered, so that every process hears of it: a week.
pub(crate) const DELETED_KEPT: i64 = 7 * 24 * 60 * 60 * 1_000_000;

/// A rule of an organization: which events it matches, and what is done then. Written and read as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerRecord {
    /// Its name for machines.
    pub trigger_id: Uuid,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Its name for people.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Only events of that chain; of every chain if absent.
    pub chain_id: Option<u64>,
    /// Only events of that registry; of every registry if absent.
    pub registry: Option<String>,
    /// Whether it is matched.
    pub enabled: bool,
    /// Whether a condition remembers something.
    pub is_stateful: bool,
    /// How its circuit breaker behaves.
    pub breaker: BreakerSettings,
    /// All must hold; none matches every event.
    pub conditions: Vec<ConditionRecord>,
    /// What is done, in no order.
    pub actions: Vec<ActionRecord>,
    /// When it was made; earlier events never match.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Grows with every change of any trigger of the store: a reader that knows all up to a revision asks for what
    /// came after it. Given by the store.
    pub revision: u64,
}

/// A condition as it was given; what it means is not the store's business.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionRecord {
    /// Its name.
    pub condition_id: Uuid,
    /// `agent_id_equals` and so on.
    pub condition_type: String,
    /// The field.
    pub field: Option<String>,
    /// The operator.
    pub operator: Option<String>,
    /// The value, as JSON text.
    pub value: Option<String>,
    /// Everything else, as JSON text of an object.
    pub config: Option<String>,
}

/// An action as it was given. Secrets are not in `config`.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRecord {
    /// Its name.
    pub action_id: Uuid,
    /// `rest`, `telegram` or `mcp`.
    pub action_type: String,
    /// Higher goes first.
    pub priority: i32,
    /// JSON text of an object.
    pub config: String,
    /// Its secrets, encrypted; the store has no key.
    pub sealed: Option<Vec<u8>>,
}

/// When a trigger's circuit breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it, 1 to 1,000.
    pub failure_threshold: u32,
    /// Seconds until it is half open, 60 to 604,800.
    pub recovery_secs: u32,
    /// Deliveries that try out a half-open one, 1 to 10.
    pub half_open_calls_max: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failure_threshold: 10, recovery_secs: 60, half_open_calls_max: 1 }
    }
}

/// Which triggers to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct TriggerFilter {
    /// Only of that organization.
    pub tenant_id: Option<TenantId>,
    /// Only those that are, or are not, matched.
    pub enabled: Option<bool>,
    /// Only of that chain.
    pub chain_id: Option<u64>,
    /// How many to leave out first.
    pub offset: u64,
    /// How many at most.
    pub limit: usize,
}

/// What became of a change of a trigger.
#[derive(Debug, Clone, PartialEq)]
pub enum PutTrigger {
    /// It is written; with its new revision.
    Written(u64),
    /// It is not there, or not that organization's.
    Absent,
    /// Somebody else changed it since; with its present revision.
    Changed(u64),
    /// The organization has as many as it may have.
    TooMany {
        /// How many those are.
        max: u64,
    },
}

/// A trigger's change, as a reader that keeps all of them sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum TriggerChange {
    /// It is there, and like this.
    Put(Box<TriggerRecord>),
    /// It is gone.
    Deleted {
        /// Which.
        trigger_id: Uuid,
        /// The revision of its deletion.
        revision: u64,
    },
}

impl TriggerChange {
    /// The change's revision.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Put(record) => record.revision,
            Self::Deleted { revision, .. } => *revision,
        }
    }
}

/// What one condition of a trigger remembers of one subject of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateKey {
    /// The trigger.
    pub trigger_id: Uuid,
    /// Its condition.
    pub condition_id: Uuid,
    /// The stream of the events: one process at a time matches it, so nobody else writes this.
    pub stream: StreamId,
    /// The agent, as text; empty for events without one.
    pub subject: String,
}

/// A step of matching: everything that comes of the events `from + 1 ..= to` of a stream.
#[derive(Debug, Clone)]
pub struct MatchCommit {
    /// The follower whose cursor moves.
    pub follower: &'static str,
    /// The stream.
    pub stream: StreamId,
    /// The cursor before, which must be the stored one.
    pub from: u64,
    /// The cursor afterwards.
    pub to: u64,
    /// What is remembered now, as JSON text; none forgets it.
    pub state: Vec<(StateKey, Option<String>)>,
    /// Jobs. One whose id is there already changes nothing, unless it was cancelled by a retraction: then it waits
    /// again.
    pub jobs: Vec<NewJob>,
    /// Occurrences that the chain has taken back: their jobs that nobody has begun are cancelled. Applied before
    /// `jobs`.
    pub retracted: Vec<Uuid>,
    /// A row an event.
    pub processed: Vec<ProcessedEvent>,
    /// Who did it.
    pub processor: String,
}

/// That an event was matched, for operators to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessedEvent {
    /// The event.
    pub event_id: EventId,
    /// Its number.
    pub sequence_number: u64,
    /// When.
    pub processed_at: Timestamp,
    /// Microseconds that it took.
    pub duration_us: u64,
    /// Triggers that matched.
    pub triggers_matched: u32,
    /// Jobs that came of it.
    pub actions_enqueued: u32,
    /// Why it was set aside, if it was.
    pub problem: Option<String>,
}
