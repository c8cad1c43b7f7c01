//! Which public keys an export is verified with: those that the verifier pinned, and those of the file.
//!
//! A pinned key always wins. Without pins a file vouches for itself, which shows that it is intact and not
//! who made it; the report counts both kinds so that nobody mistakes one for the other.

use std::collections::HashMap;

use bowline_types::AgentId;
use uuid::Uuid;

use crate::export::{AgentKeyRecord, SequencerKeyRecord};
use crate::hash::Signature;
use crate::keys::AgentPublicKey;
use crate::prepared::PreparedKey;

/// Agent keys that one export may bring; more is an error, because each is held in memory.
pub const AGENT_KEYS_MAX: usize = 1 << 18;

/// Uses after which an agent's key gets a table: making one costs as much as it saves in about sixty uses.
const USES_BEFORE_TABLE: u32 = 64;

/// Agent keys that get a table of 30 KiB; further ones are verified without.
const TABLES_MAX: usize = 1024;

/// Keys that the verifier knows from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    /// The sequencer's keys. If there are any, a key of the file that is not among them is an error.
    pub sequencer_keys: Vec<AgentPublicKey>,
    /// Agents' keys. One that the file gives differently is an error; one that the file lacks is used.
    pub agent_keys: HashMap<(AgentId, u32), AgentPublicKey>,
}

/// The sequencer keys of a file's header, accepted.
pub(crate) struct SequencerKeys(HashMap<(Uuid, u32), PreparedKey>);

impl SequencerKeys {
    /// Takes the keys of a header, or says which of them is not acceptable.
    pub(crate) fn accept(records: &[SequencerKeyRecord], pinned: &TrustedKeys) -> Result<Self, String> {
        let mut keys = HashMap::new();
        for record in records {
            let named = format!("sequencer key version {}", record.key_version);
            let key = record.public_key;
            if !pinned.sequencer_keys.is_empty() && !pinned.sequencer_keys.contains(&key) {
                return Err(format!("{named} ({key}) is not one of the pinned keys"));
            }
            if keys.insert((record.sequencer_id, record.key_version), PreparedKey::new(key)).is_some() {
                return Err(format!("{named} is given twice"));
            }
        }
        Ok(Self(keys))
    }

    pub(crate) fn get(&self, sequencer_id: Uuid, key_version: u32) -> Option<&PreparedKey> {
        self.0.get(&(sequencer_id, key_version))
    }
}

/// One agent's key as an export uses it.
pub(crate) struct AgentKey {
    key: AgentPublicKey,
    table: Option<PreparedKey>,
    uses: u32,
}

impl crate::check::VerifyKey for AgentKey {
    fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        match &self.table {
            Some(table) => table.verify(message, signature),
            None => self.key.verify(message, signature),
        }
    }
}

/// The agents' keys that are known so far.
pub(crate) struct AgentKeys<'p> {
    pinned: &'p TrustedKeys,
    known: HashMap<(AgentId, u32), AgentKey>,
    tables: usize,
    /// Keys of the file that no pin confirms.
    pub(crate) from_file: u64,
    /// Keys used or confirmed by a pin.
    pub(crate) from_pins: u64,
}

impl<'p> AgentKeys<'p> {
    pub(crate) fn new(pinned: &'p TrustedKeys) -> Self {
        Self { pinned, known: HashMap::new(), tables: 0, from_file: 0, from_pins: 0 }
    }

    /// Takes a key that the file gives, or says why not.
    pub(crate) fn accept(&mut self, record: &AgentKeyRecord) -> Result<(), String> {
        let id = (record.agent_id, record.agent_key_id);
        let named = format!("key {} of agent {}", id.1, id.0);
        let key = record.public_key;
        if self.pinned.agent_keys.get(&id).is_some_and(|pin| *pin != key) {
            return Err(format!("{named} is not the pinned key"));
        }
        match self.known.get(&id) {
            Some(known) if known.key == key => Ok(()),
            Some(_) => Err(format!("{named} is given twice with different keys")),
            None if self.known.len() >= AGENT_KEYS_MAX => {
                Err(format!("more than {AGENT_KEYS_MAX} agent keys"))
            }
            None => {
                self.add(id, key);
                Ok(())
            }
        }
    }

    /// The key for an event, or why there is none.
    pub(crate) fn get(&mut self, agent_id: AgentId, key_id: u32) -> Result<&AgentKey, String> {
        let id = (agent_id, key_id);
        if let Some(pin) = self.pinned.agent_keys.get(&id)
            && !self.known.contains_key(&id)
        {
            self.add(id, *pin);
        }
        let tables_left = self.tables < TABLES_MAX;
        let Some(known) = self.known.get_mut(&id) else {
            return Err(format!("the file has no key {key_id} of agent {agent_id} before this event"));
        };
        known.uses = known.uses.saturating_add(1);
        if known.table.is_none() && known.uses > USES_BEFORE_TABLE && tables_left {
            known.table = Some(PreparedKey::new(known.key));
            self.tables += 1;
        }
        Ok(known)
    }

    fn add(&mut self, id: (AgentId, u32), key: AgentPublicKey) {
        if self.pinned.agent_keys.contains_key(&id) {
            self.from_pins += 1;
        } else {
            self.from_file += 1;
        }
        self.known.insert(id, AgentKey { key, table: None, uses: 0 });
    }
}
