//! Keys as a store keeps them: those of agents, of API clients and of sequencers.
//!
//! No record knows how it is kept. An API key's secret is never kept, only its hash.

use bowline_types::{AgentId, StoreId, TenantId, Timestamp};
use bowline_ves::Hash;
use uuid::Uuid;

/// Whether a key is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentKeyStatus {
    /// It may sign.
    Active,
    /// It was withdrawn.
    Revoked,
    /// Its time is over.
    Expired,
}

impl AgentKeyStatus {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Revoked, Self::Expired].into_iter().find(|s| s.as_str() == word)
    }
}

/// An agent's public key as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKeyRecord {
    /// The agent's tenant.
    pub tenant_id: TenantId,
    /// The agent.
    pub agent_id: AgentId,
    /// Which of the agent's keys.
    pub key_id: u32,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
    /// Whether it may sign.
    pub status: AgentKeyStatus,
    /// First moment of validity, inclusive.
    pub valid_from: Option<Timestamp>,
    /// Last moment of validity, inclusive.
    pub valid_to: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked, if somebody said so.
    pub revoked_reason: Option<String>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterKey {
    /// The key is new.
    Created,
    /// The same key stood there already.
    Unchanged,
    /// Another key has that id.
    Conflict,
    /// These bytes were revoked, under this id or under another one of the agent's.
    Revoked,
}

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Read events, receipts, proofs and commitments.
    Read,
    /// Append events and create commitments.
    Write,
    /// Register keys and everything else.
    Admin,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The word in the database, in tokens and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The permission of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == word)
    }
}

/// An API key; the key itself is never kept, only its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// SHA-256 of the key.
    pub key_hash: Hash,
    /// Whose it is; the nil tenant may act for every tenant.
    pub tenant_id: TenantId,
    /// The agent that it is bound to, if any.
    pub agent_id: Option<AgentId>,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// The stores that it may touch; empty for all of the tenant's.
    pub store_ids: Vec<StoreId>,
    /// Whether it may be used; not once it was revoked.
    pub active: bool,
    /// Its last moment, inclusive.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Requests and events that it may bring a minute; none for as many as its tenant may.
    pub rate_limit: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A sequencer's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequencerKeyRecord {
    /// The number that receipts carry, from 1.
    pub key_version: u32,
    /// The sequencer that signs with it.
    pub sequencer_id: Uuid,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
    /// When it was first used.
    pub created_at: Timestamp,
}

/// An API key's comma-separated lists as a store keeps them; none if a word in them is not known. An empty
/// list of stores means all of them, so a word that can't be read must never just be left out.
pub(crate) fn parse_scopes(permissions: &str, stores: &str) -> Option<(Vec<Permission>, Vec<StoreId>)> {
    fn split(text: &str) -> impl Iterator<Item = &str> {
        text.split(',').filter(|word| !word.is_empty())
    }
    let permissions = split(permissions).map(Permission::parse).collect::<Option<_>>()?;
    let stores = split(stores).map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some((permissions, stores))
}

/// The comma-separated list that [`parse_scopes`] reads.
pub(crate) fn join_words(words: impl Iterator<Item = impl ToString>) -> String {
    words.map(|word| word.to_string()).collect::<Vec<_>>().join(",")
}
