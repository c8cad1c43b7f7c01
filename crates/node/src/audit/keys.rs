//! The keys that a page of events was signed with, ready to verify with on every core.
//!
//! A sequencer's keys and agents' keys that sign often get a table each. The ring forgets all agents' keys when
//! it is full, which costs reading them again and never a wrong answer.

use std::collections::HashMap;
use std::sync::Arc;

use bowline_store::{EventTrace, SequencerKeyRecord, Snapshot, StoreError};
use bowline_types::{AgentId, TenantId};
use bowline_ves::{AgentPublicKey, PreparedKey, Signature, VerifyKey};
use uuid::Uuid;

/// Agents' keys held at a time; with its table one takes 30 KiB.
const AGENT_KEYS_MAX: usize = 4_096;
/// Signatures after which an agent's key gets its table, which costs as much as it saves in sixty.
const USES_BEFORE_TABLE: u64 = 64;

type AgentKeyId = (TenantId, AgentId, u32);

/// A key, with or without its table.
#[derive(Debug, Clone)]
pub(super) enum Key {
    Plain(AgentPublicKey),
    Prepared(Arc<PreparedKey>),
}

impl VerifyKey for Key {
    fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        match self {
            Self::Plain(key) => key.verify(message, signature),
            Self::Prepared(key) => key.verify(message, signature),
        }
    }
}

/// An agent's key as the store has it, or why there is none to verify with.
type Registered = Result<Key, String>;

/// All keys that are known so far.
#[derive(Debug)]
pub(super) struct KeyRing {
    sequencers: Arc<HashMap<(Uuid, u32), Registered>>,
    agents: HashMap<AgentKeyId, (Registered, u64)>,
}

/// The keys of one page; none if signatures are not asked for.
#[derive(Debug)]
pub(super) struct PageKeys {
    signatures: bool,
    sequencers: Arc<HashMap<(Uuid, u32), Registered>>,
    agents: HashMap<AgentKeyId, Registered>,
}

impl KeyRing {
    pub(super) fn new(sequencers: Vec<SequencerKeyRecord>) -> Self {
        let prepared = |record: SequencerKeyRecord| {
            let key = parse(record.public_key).map(|key| Key::Prepared(Arc::new(PreparedKey::new(key))));
            ((record.sequencer_id, record.key_version), key)
        };
        let sequencers = Arc::new(sequencers.into_iter().map(prepared).collect());
        Self { sequencers, agents: HashMap::new() }
    }

    /// The keys that the events of a page name.
    pub(super) async fn of_page(
        &mut self,
        snapshot: &mut dyn Snapshot,
        page: &[EventTrace],
        quick: bool,
    ) -> Result<Arc<PageKeys>, StoreError> {
        let mut agents = HashMap::new();
        if !quick {
            for (id, uses) in uses(page) {
                agents.insert(id, self.agent(snapshot, id, uses).await?);
            }
        }
        Ok(Arc::new(PageKeys { signatures: !quick, sequencers: Arc::clone(&self.sequencers), agents }))
    }

    async fn agent(
        &mut self,
        snapshot: &mut dyn Snapshot,
        id: AgentKeyId,
        uses: u64,
    ) -> Result<Registered, StoreError> {
        if !self.agents.contains_key(&id) {
            if self.agents.len() >= AGENT_KEYS_MAX {
                self.agents.clear();
            }
            let (tenant_id, agent_id, key_id) = id;
            let bytes = snapshot.agent_key(tenant_id, agent_id, key_id).await?;
            let key = bytes.ok_or_else(|| "no such key is registered".to_owned()).and_then(parse);
            self.agents.insert(id, (key.map(Key::Plain), 0));
        }
        let Some((key, used)) = self.agents.get_mut(&id) else {
            return Err(StoreError::Internal(String::new()));
        };
        *used += uses;
        if let Ok(Key::Plain(plain)) = key
            && *used > USES_BEFORE_TABLE
        {
            *key = Ok(Key::Prepared(Arc::new(PreparedKey::new(*plain))));
        }
        Ok(key.clone())
    }
}

impl PageKeys {
    /// Whether signatures are to be verified.
    pub(super) fn signatures(&self) -> bool {
        self.signatures
    }

    pub(super) fn agent(&self, id: AgentKeyId) -> Result<&Key, String> {
        match self.agents.get(&id) {
            Some(key) => key.as_ref().map_err(Clone::clone),
            None => Err("no such key is registered".to_owned()),
        }
    }

    pub(super) fn sequencer(&self, sequencer_id: Uuid, key_version: u32) -> Result<&Key, String> {
        match self.sequencers.get(&(sequencer_id, key_version)) {
            Some(key) => key.as_ref().map_err(Clone::clone),
            None => Err("no such key is in sequencer_keys".to_owned()),
        }
    }
}

fn parse(bytes: [u8; 32]) -> Result<AgentPublicKey, String> {
    AgentPublicKey::from_bytes(&bytes).map_err(|error| format!("the key can't be used: {error}"))
}

fn uses(page: &[EventTrace]) -> HashMap<AgentKeyId, u64> {
    let mut uses = HashMap::new();
    for event in page.iter().filter_map(|trace| trace.event.as_ref().ok()) {
        let envelope = &event.envelope;
        let id = (envelope.stream.tenant_id, envelope.source_agent_id, envelope.agent_key_id);
        *uses.entry(id).or_default() += 1;
    }
    uses
}
