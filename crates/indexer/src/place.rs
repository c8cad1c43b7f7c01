//! Where the line is, and the key under which a process writes on.

use std::sync::Arc;

use bowline_store::{AgentKeyFilter, AgentKeyRecord, AgentKeyStatus, BlockMark, ChangeKind, RegisterKey};

use crate::chain::Work;
use crate::event::Author;
use crate::halt::Halt;

/// Agent keys that are looked through for one's own.
const KEYS_MAX: usize = 10_000;

/// Where the line is, as far as this process knows.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) generation: u64,
    pub(crate) block: Option<BlockMark>,
    pub(crate) author: Arc<Author>,
    pub(crate) keys_epoch: u64,
}

impl Work<'_> {
    /// Finds out where the line is and under which key to write.
    pub(crate) async fn begin(&mut self) -> Result<(), Halt> {
        let chain = self.chain;
        // Before the key is looked at, so that a later change of it is not missed.
        let keys_epoch = chain.store.changes().epoch(ChangeKind::AGENT_KEYS);
        let author = Author::new(chain.config.chain_id, 0, Arc::clone(&chain.decoder));
        let author = Author { key_id: self.key_id(&author).await?, ..author };
        let checkpoint = chain.store.chain_checkpoint(chain.config.chain_id).await?;
        chain.progress.stored(checkpoint.as_ref());
        let place = Place {
            generation: checkpoint.map_or(0, |checkpoint| checkpoint.generation),
            block: checkpoint.and_then(|checkpoint| checkpoint.block),
            author: Arc::new(author),
            keys_epoch,
        };
        if !std::mem::replace(&mut self.has_told, true) {
            let (chain_id, from) = (chain.config.chain_id, self.next_of(&place));
            tracing::info!(component = "indexer", chain_id, "Indexing {} from block {from}", chain.title);
        }
        self.place = Some(place);
        Ok(())
    }

    /// The id of this process's key: processes with other keys have other ids.
    async fn key_id(&self, author: &Author) -> Result<u32, Halt> {
        let (store, tenant_id) = (&self.chain.store, author.stream.tenant_id);
        let public_key = self.chain.key.public().to_bytes();
        let revoked = || Halt::Stuck("the indexer's key is revoked: give it another one".to_owned());
        let keys = store.agent_keys(AgentKeyFilter::of(tenant_id, Some(author.agent), KEYS_MAX)).await?;
        if let Some(own) = keys.iter().find(|key| key.public_key == public_key) {
            return if own.status == AgentKeyStatus::Active { Ok(own.key_id) } else { Err(revoked()) };
        }
        let mut key_id = keys.iter().map(|key| key.key_id).max().map_or(1, |last| last.saturating_add(1));
        loop {
            let key = AgentKeyRecord {
                tenant_id,
                agent_id: author.agent,
                key_id,
                public_key,
                status: AgentKeyStatus::Active,
                valid_from: None,
                valid_to: None,
                revoked_at: None,
                revoked_reason: None,
                created_at: self.chain.clock.now(),
            };
            match store.register_agent_key(key).await? {
                RegisterKey::Created | RegisterKey::Unchanged => return Ok(key_id),
                RegisterKey::Conflict => {
                    key_id =
                        key_id.checked_add(1).ok_or_else(|| Halt::Stuck("no key id is left".to_owned()))?;
                }
                RegisterKey::Revoked => return Err(revoked()),
            }
        }
    }

    /// Where the line is.
    pub(crate) fn place(&self) -> Result<Place, Halt> {
        self.place.clone().ok_or_else(|| Halt::Stuck("the checkpoint is not known".to_owned()))
    }

    /// The next block to read.
    pub(crate) fn next_of(&self, place: &Place) -> u64 {
        let start = self.chain.config.start_block;
        match place.block {
            // Before the first event the settings may still move the beginning.
            Some(block) if block.head == 0 => start.max(block.number + 1),
            Some(block) => block.number + 1,
            None => start,
        }
    }
}
