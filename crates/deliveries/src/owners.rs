//! The owners of jobs: a job names its owner and one of the owner's actions.
//!
//! Workers know no subsystem. They ask the [`JobOwners`] of the owner's kind for the actions and the breaker's settings;
//! a subsystem implements that trait over its own tables and `node` registers it. An owner that is gone cancels its
//! jobs; a kind that this process does not know leaves them to other processes.

mod cache;

use std::fmt;

use async_trait::async_trait;
use bowline_store::{ActionRecord, BreakerKey, BreakerSettings, NewJob, StoreError};
use bowline_types::TenantId;
use serde_json::Value;
use uuid::Uuid;

pub(crate) use self::cache::{OwnerCache, ReadyOwner};

/// A kind of owners: a word such as `trigger`. Headers and template fields are named after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerKind(&'static str);

impl OwnerKind {
    /// Bytes of a word at most.
    const BYTES_MAX: usize = 20;

    /// The kind of that word: 1 to 20 lower-case letters.
    ///
    /// # Panics
    /// On any other word; a constant is refused by the compiler.
    pub const fn new(word: &'static str) -> Self {
        let bytes = word.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= Self::BYTES_MAX, "a kind has 1 to 20 letters");
        let mut index = 0;
        while index < bytes.len() {
            assert!(bytes[index].is_ascii_lowercase(), "a kind has lower-case letters only");
            index += 1;
        }
        Self(word)
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for OwnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The owner of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobOwner {
    /// Which subsystem knows it.
    pub kind: OwnerKind,
    /// Its id there.
    pub id: Uuid,
}

/// An owner as far as deliveries go.
#[derive(Debug, Clone)]
pub struct OwnerRecord {
    /// Its organization.
    pub tenant_id: TenantId,
    /// Its name for people; templates name it `KIND_name`.
    pub name: String,
    /// When the breaker before its deliveries opens and closes.
    pub breaker: BreakerSettings,
    /// Its actions, with their secrets sealed.
    pub actions: Vec<ActionRecord>,
}

/// Which owners changed.
#[derive(Debug, Clone, Default)]
pub struct OwnerChanges {
    /// Those that were written or deleted after the revision that was asked for.
    pub changed: Vec<Uuid>,
    /// Every change up to this revision is among them; below [`JobOwners::revision`] only if another call has the rest.
    pub revision: u64,
}

/// The owners of one kind, as the subsystem that has them answers.
///
/// Workers keep what [`Self::owner`] returns until [`Self::changes`] names the owner. An implementation MUST raise
/// [`Self::revision`] with every change of an action or a breaker's settings, and MUST NOT answer [`Self::owner`] from a
/// copy that is older than the revision it told.
#[async_trait]
pub trait JobOwners: fmt::Debug + Send + Sync + 'static {
    /// The kind.
    fn kind(&self) -> OwnerKind;

    /// One owner; none if it was deleted.
    async fn owner(&self, id: Uuid) -> Result<Option<OwnerRecord>, StoreError>;

    /// The revision up to which this process knows that owners changed. It costs no round trip.
    fn revision(&self) -> u64;

    /// The owners that changed after that revision.
    async fn changes(&self, after: u64) -> Result<OwnerChanges, StoreError>;

    /// An event of this kind's jobs that never happened, for test sends: a JSON object.
    fn example_event(&self) -> Value;
}

/// The kind of every row: `action_jobs` and `circuit_breaker_state` name their owner in `trigger_id` and have no column for
/// another kind.
const KIND_OF_ROWS: OwnerKind = OwnerKind::new("trigger");

impl JobOwner {
    /// The owner that a row names.
    pub(crate) fn of_row(job: &NewJob) -> Self {
        Self { kind: KIND_OF_ROWS, id: job.trigger_id }
    }

    /// The breaker before all of its deliveries.
    pub(crate) fn breaker(self) -> BreakerKey {
        BreakerKey::Trigger(self.id)
    }
}
