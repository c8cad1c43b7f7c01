//! Dead letters as a store keeps them: events that were not taken for a reason that somebody can mend.
//!
//! No record knows how it is kept; the words are those of the table's columns, which operators query by hand. What
//! there is room for is decided here, for both stores alike.

use std::collections::{HashMap, HashSet};

use bowline_types::{EventId, LetterId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::Envelope;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in the database and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// That of the word, if there is one.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }
    };
}

words! {
    /// Why an event became a dead letter.
    LetterReason {
        /// Its payload does not satisfy the schema of its type.
        SchemaValidation = "schema_validation",
        /// It would break a rule of the stream.
        InvariantViolation = "invariant_violation",
        /// Its entity may not change in that way.
        InvalidStateTransition = "invalid_state_transition",
        /// Its entity is not at the version that it names.
        VersionConflict = "version_conflict",
        /// A follower could not take it and put it aside.
        HandlerError = "handler_error",
        /// The key that it names is not registered, or not valid yet.
        AgentKeyNotRegistered = "agent_key_not_registered",
        /// A word of another version of this program.
        Unknown = "unknown",
    }
}

words! {
    /// What is happening to a dead letter.
    LetterStatus {
        /// It waits for somebody to mend the cause and try again.
        Pending = "pending",
        /// It is being tried again.
        Retrying = "retrying",
        /// It was tried as often as it may be.
        Failed = "failed",
        /// Its event was taken on another way.
        Resolved = "resolved",
    }
}

/// A letter to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// The event.
    pub event_id: EventId,
    /// The event's stream.
    pub stream: StreamId,
    /// The event's type.
    pub event_type: String,
    /// Why it was not taken.
    pub reason: LetterReason,
    /// For people.
    pub error_message: String,
    /// The follower that put it aside; empty if the line itself refused it.
    pub follower: String,
    /// Its number, if it is on the line.
    pub sequence_number: Option<u64>,
    /// The whole envelope as JSON: what a retry appends.
    pub payload: String,
    /// A JSON object with particulars.
    pub metadata: String,
}

/// A letter as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names the letter.
    pub id: LetterId,
    /// What was kept.
    pub letter: NewDeadLetter,
    /// What is happening to it.
    pub status: LetterStatus,
    /// Tries since it was kept.
    pub retry_count: u32,
    /// Tries after which it has failed.
    pub max_retries: u32,
    /// When it was last tried.
    pub last_retry_at: Option<Timestamp>,
    /// When it was kept.
    pub created_at: Timestamp,
    /// How often it came.
    pub seen_count: u32,
    /// When it came last.
    pub last_seen_at: Timestamp,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterLimits {
    /// Letters of one stream.
    pub stream_max: u64,
    /// Letters of all streams.
    pub total_max: u64,
    /// Bytes of all letters' payloads.
    pub bytes_max: u64,
    /// Tries after which a letter has failed.
    pub retries_max: u32,
}

impl NewDeadLetter {
    /// The letter of an event that was rejected, or that a follower could not take.
    pub fn of(envelope: &Envelope, reason: LetterReason, problem: &str) -> Self {
        Self {
            event_id: envelope.event_id,
            stream: envelope.stream,
            event_type: envelope.event_type.clone(),
            reason,
            // PostgreSQL has no text with a NUL in it.
            error_message: problem.replace('\0', "\u{fffd}"),
            follower: String::new(),
            sequence_number: None,
            payload: envelope.to_json(),
            metadata: format!(
                r#"{{"source_agent_id":"{}","agent_key_id":{}}}"#,
                envelope.source_agent_id, envelope.agent_key_id
            ),
        }
    }
}

/// What became of letters that were to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LettersKept {
    /// New ones.
    pub kept: u64,
    /// Known ones that came again.
    pub again: u64,
    /// Ones for which there was no room.
    pub refused: u64,
}

/// Which letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Only this tenant's.
    pub tenant_id: Option<TenantId>,
    /// Only these stores'; empty for all.
    pub store_ids: Vec<StoreId>,
    /// Only with this reason.
    pub reason: Option<LetterReason>,
    /// Only with this status.
    pub status: Option<LetterStatus>,
    /// Only this follower's.
    pub follower: Option<String>,
}

/// A place between two letters of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterMark {
    /// When the letter at that place was kept.
    pub created_at: Timestamp,
    /// The letter at that place.
    pub id: LetterId,
}

/// In which order letters are listed, and where the page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterOrder {
    /// Newest first, those before the mark.
    Newest(Option<LetterMark>),
    /// Oldest first, those after the mark.
    Oldest(Option<LetterMark>),
}

impl LetterOrder {
    /// The operator that compares with the mark, the mark, and the sort.
    pub(crate) fn sql(self) -> (&'static str, Option<LetterMark>, &'static str) {
        match self {
            Self::Newest(mark) => ("<", mark, "DESC"),
            Self::Oldest(mark) => (">", mark, "ASC"),
        }
    }
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryEnd {
    /// The event was taken: the letter goes.
    Taken,
    /// It was refused again, for this reason; the letter stays, and has failed after its last try.
    Refused(LetterReason, String),
    /// Nothing is known, since the store was away: as if nobody had tried.
    Undone,
}

/// What a look over all letters changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LettersSwept {
    /// Letters whose event was found on the line.
    pub resolved: u64,
    /// Letters that were too old.
    pub expired: u64,
    /// Letters whose try was broken off by the end of a process.
    pub freed: u64,
}

/// Moments that a look over all letters compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterAges {
    /// The present.
    pub now: Timestamp,
    /// Letters that came last before this moment go.
    pub kept_since: Timestamp,
    /// Resolved letters that came last before this moment go.
    pub resolved_since: Timestamp,
    /// Tries of the line that began before this moment were broken off.
    pub retried_since: Timestamp,
}

/// What makes a letter the same one: its stream, its event, and the follower that put it aside.
pub(crate) type LetterKey = (StreamId, EventId, String);

impl NewDeadLetter {
    pub(crate) fn key(&self) -> LetterKey {
        (self.stream, self.event_id, self.follower.clone())
    }
}

/// Letters to write, each once, with how often it came.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) letters: Vec<(NewDeadLetter, u32)>,
}

impl Arrived {
    /// Of letters that came several times the last one counts.
    pub(crate) fn of(letters: Vec<NewDeadLetter>) -> Self {
        let mut places: HashMap<LetterKey, usize> = HashMap::new();
        let mut arrived = Self::default();
        for letter in letters {
            let place = *places.entry(letter.key()).or_insert(arrived.letters.len());
            match arrived.letters.get_mut(place) {
                Some((known, count)) => {
                    *known = letter;
                    *count += 1;
                }
                None => arrived.letters.push((letter, 1)),
            }
        }
        arrived
    }

    pub(crate) fn streams(&self) -> Vec<StreamId> {
        let streams: HashSet<StreamId> = self.letters.iter().map(|(letter, _)| letter.stream).collect();
        streams.into_iter().collect()
    }

    /// New letters of a stream, or of all.
    pub(crate) fn new_ones(&self, known: &HashSet<LetterKey>, stream: Option<StreamId>) -> u64 {
        let new = self.letters.iter().filter(|(letter, _)| !known.contains(&letter.key()));
        new.filter(|(letter, _)| stream.is_none_or(|stream| letter.stream == stream)).count() as u64
    }

    /// Leaves out the new letters for which there is no room.
    pub(crate) fn fit(
        &mut self,
        known: &HashSet<LetterKey>,
        mut taken: Taken,
        limits: LetterLimits,
    ) -> LettersKept {
        let mut result = LettersKept::default();
        self.letters.retain(|(letter, _)| {
            let bytes = letter.payload.len() as u64;
            if known.contains(&letter.key()) {
                result.again += 1;
                return true;
            }
            let of_stream = taken.streams.entry(letter.stream).or_insert(0);
            let fits = *of_stream < limits.stream_max
                && taken.letters < limits.total_max
                && taken.bytes.saturating_add(bytes) <= limits.bytes_max;
            if fits {
                *of_stream += 1;
                taken.letters += 1;
                taken.bytes += bytes;
                result.kept += 1;
            } else {
                result.refused += 1;
            }
            fits
        });
        result
    }
}

/// Room that is taken.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) letters: u64,
    pub(crate) bytes: u64,
    pub(crate) streams: HashMap<StreamId, u64>,
}

/// The comma-separated ids of a filter's stores as SQLite writes them; empty for all.
pub(crate) fn store_list(filter: &LetterFilter) -> String {
    let hex = |id: &StoreId| id.uuid().simple().to_string().to_uppercase();
    filter.store_ids.iter().map(hex).collect::<Vec<_>>().join(",")
}
