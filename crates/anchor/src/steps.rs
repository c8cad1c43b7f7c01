//! The points between which a process may die. Tests stop an anchoring process at each of them; in a node nobody
//! listens.

use std::fmt::Debug;

use async_trait::async_trait;

/// A point that a commitment passes on its way to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The chain was asked what it knows.
    Asked,
    /// A transaction is signed and nothing of it is written down.
    Signed,
    /// It is written down and not broadcast.
    Recorded,
    /// It is broadcast.
    Broadcast,
    /// Its receipt was read and is not written down.
    ReceiptSeen,
    /// It is written down that it was mined.
    MinedRecorded,
    /// It was found to be final, which is not written down.
    FinalSeen,
    /// Its commitments are marked.
    Anchored,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Asked,
        Self::Signed,
        Self::Recorded,
        Self::Broadcast,
        Self::ReceiptSeen,
        Self::MinedRecorded,
        Self::FinalSeen,
        Self::Anchored,
    ];
}

/// Who listens to steps.
#[async_trait]
pub trait Steps: Debug + Send + Sync + 'static {
    /// The process has got there; it goes on when this returns.
    async fn reached(&self, step: Step);
}
