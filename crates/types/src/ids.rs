//! Identifiers as newtypes over UUIDs, so that a tenant can never be passed where a store is meant.
//!
//! On every wire an id is the hyphenated lower-case UUID; in preimages it is the 16 raw bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A string that is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a UUID: {cause}")]
pub struct ParseIdError {
    given: String,
    cause: uuid::Error,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// A fresh random id (UUID version 4).
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// The id whose 16 bytes are given, big-endian as RFC 9562 writes them.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 raw bytes that enter hash preimages.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The wrapped UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|cause| ParseIdError { given: text.chars().take(64).collect(), cause })
            }
        }
    };
}

uuid_id!(
    /// The organization that owns stores, agents and API keys.
    TenantId
);
uuid_id!(
    /// One store of a tenant; tenant and store together name a stream.
    StoreId
);
uuid_id!(
    /// One event, chosen by the client; the key of exactly-once ingest within its stream.
    EventId
);
uuid_id!(
    /// The agent that signed an event.
    AgentId
);
uuid_id!(
    /// A client's intent; at most one event per command is accepted in a stream.
    CommandId
);
uuid_id!(
    /// One commitment, or one ingest request in its answer.
    BatchId
);
uuid_id!(
    /// One version of an event type's schema.
    SchemaId
);
uuid_id!(
    /// One dead letter.
    LetterId
);

impl TenantId {
    /// The nil tenant of the bootstrap administrator, who may act for every tenant.
    pub const NIL: Self = Self(Uuid::nil());
}

/// A stream: the pair of tenant and store that has its own dense sequence 1, 2, 3, …
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// The owner.
    pub tenant_id: TenantId,
    /// The store within the owner.
    pub store_id: StoreId,
}

impl StreamId {
    /// The stream of that tenant and store.
    pub const fn new(tenant_id: TenantId, store_id: StoreId) -> Self {
        Self { tenant_id, store_id }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant_id, self.store_id)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_they_parse_and_name_what_they_refuse() {
        let text = "64527dd3-a654-4410-9327-e58a1492ce77";
        assert_eq!(text.parse::<TenantId>().unwrap().to_string(), text);
        let refused = "order-17".parse::<EventId>().unwrap_err();
        assert!(refused.to_string().starts_with("`order-17` is not a UUID"));
    }
}
