//! Payload schemas as they are kept.
//!
//! A record holds the schema's text as it was sent; whether it is one, and what it accepts, is decided elsewhere.

use bowline_types::{SchemaId, TenantId, Timestamp};

/// Whether a schema is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaStatus {
    /// The newest of these judges the payloads of its event type.
    Active,
    /// Judges nothing any more; its successors are still compared with it.
    Deprecated,
    /// Kept for the record.
    Archived,
}

impl SchemaStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Deprecated, Self::Archived];

    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Archived => "archived",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// What a version promises to those who know the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SchemaCompatibility {
    /// Every payload that was valid before is valid now.
    #[default]
    Backward,
    /// Every payload that is valid now was valid before.
    Forward,
    /// Both.
    Full,
    /// Nothing.
    None,
}

impl SchemaCompatibility {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Backward, Self::Forward, Self::Full, Self::None];

    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backward => "backward",
            Self::Forward => "forward",
            Self::Full => "full",
            Self::None => "none",
        }
    }

    /// The compatibility of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|compatibility| compatibility.as_str() == word)
    }
}

/// One version of an event type's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRecord {
    /// Its id.
    pub schema_id: SchemaId,
    /// Whose events it judges.
    pub tenant_id: TenantId,
    /// The type of those events.
    pub event_type: String,
    /// Its number among the versions of its event type, from 1.
    pub version: u32,
    /// The JSON Schema as it was sent.
    pub schema_json: String,
    /// Whether it is in use.
    pub status: SchemaStatus,
    /// What it promises to those who know the version before it.
    pub compatibility: SchemaCompatibility,
    /// What its author says of it.
    pub description: Option<String>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its status changed last.
    pub updated_at: Timestamp,
    /// The agent that registered it, if it was one.
    pub created_by: Option<String>,
}

/// Which schemas to list, ascending by event type and version.
#[derive(Debug, Clone)]
pub struct SchemaFilter {
    /// Whose.
    pub tenant_id: TenantId,
    /// Only of this event type.
    pub event_type: Option<String>,
    /// Only this version.
    pub version: Option<u32>,
    /// So many at most.
    pub limit: usize,
}

/// Where the versions of an event type's schema stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaHead {
    /// The highest number ever given, also to one that was deleted; 0 if there was none.
    pub last_version: u32,
    /// The newest version that is active or deprecated.
    pub current: Option<SchemaRecord>,
}

/// Whether a schema got its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertSchema {
    /// It is kept.
    Inserted,
    /// Another one has that number; nothing was changed.
    Superseded,
    /// The tenant has as many as it may have; nothing was changed.
    TooMany,
}
