//! The indexer's metrics, declared at zero for each chain so that a graph shows them from the start.

use std::sync::Arc;

use bowline_types::Timestamp;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::sign::Counted;

const LOGS: &str = "bowline_indexer_logs_total";
const UNDECODED: &str = "bowline_indexer_undecoded_total";
const RETRACTED: &str = "bowline_indexer_retracted_total";
const REORGS: &str = "bowline_indexer_reorgs_total";
const HEAD: &str = "bowline_indexer_head_block";
const BLOCK: &str = "bowline_indexer_block";
const LAG: &str = "bowline_indexer_lag_blocks";
/// Names that boards and alerts of this kind of system ask for.
const PONDER_LAG: &str = "ponder_sync_lag_blocks";
const PONDER_SYNCED: &str = "ponder_last_sync_timestamp";
const PONDER_ERRORS: &str = "ponder_rpc_errors_total";

/// The metrics of one chain.
#[derive(Debug, Clone)]
pub(crate) struct ChainMetrics {
    chain: Arc<str>,
}

impl ChainMetrics {
    /// Describes and zeroes them.
    pub(crate) fn declare(chain_id: u64, registries: &[Arc<str>]) -> Self {
        describe_counter!(LOGS, Unit::Count, "Logs that were written, by what the contract is called");
        describe_counter!(UNDECODED, Unit::Count, "Logs that could not be decoded and are kept raw");
        describe_counter!(RETRACTED, Unit::Count, "Logs that the chain took back");
        describe_counter!(REORGS, Unit::Count, "Reorganizations of the chain that were written down");
        describe_gauge!(HEAD, Unit::Count, "The chain's last block, as far as an endpoint said");
        describe_gauge!(BLOCK, Unit::Count, "The last block whose logs are on the line");
        describe_gauge!(LAG, Unit::Count, "Blocks that count and whose logs are not on the line yet");
        describe_gauge!(PONDER_LAG, Unit::Count, "The same as bowline_indexer_lag_blocks");
        describe_gauge!(PONDER_SYNCED, Unit::Seconds, "When the checkpoint last moved or was up to date");
        describe_counter!(
            PONDER_ERRORS,
            Unit::Count,
            "Rounds that ended because the chain could not be asked"
        );
        let chain: Arc<str> = chain_id.to_string().into();
        for registry in registries {
            counter!(LOGS, "chain" => Arc::clone(&chain), "registry" => Arc::clone(registry)).absolute(0);
        }
        for name in [UNDECODED, RETRACTED, REORGS, PONDER_ERRORS] {
            counter!(name, "chain" => Arc::clone(&chain)).absolute(0);
        }
        for name in [HEAD, BLOCK, LAG, PONDER_LAG, PONDER_SYNCED] {
            gauge!(name, "chain" => Arc::clone(&chain)).set(0.0);
        }
        Self { chain }
    }

    pub(crate) fn written(&self, counted: &Counted) {
        for (registry, count) in &counted.registries {
            counter!(LOGS, "chain" => Arc::clone(&self.chain), "registry" => Arc::clone(registry))
                .increment(*count);
        }
        counter!(UNDECODED, "chain" => Arc::clone(&self.chain)).increment(counted.undecoded);
    }

    pub(crate) fn retracted(&self, events: u64) {
        counter!(RETRACTED, "chain" => Arc::clone(&self.chain)).increment(events);
    }

    pub(crate) fn reorganized(&self) {
        counter!(REORGS, "chain" => Arc::clone(&self.chain)).increment(1);
    }

    pub(crate) fn rpc_failed(&self) {
        counter!(PONDER_ERRORS, "chain" => Arc::clone(&self.chain)).increment(1);
    }

    /// What is known of the chain now.
    pub(crate) fn at(&self, head: Option<u64>, block: Option<u64>, lag: Option<u64>) {
        let values = [(HEAD, head), (BLOCK, block), (LAG, lag), (PONDER_LAG, lag)];
        for (name, value) in values {
            if let Some(value) = value {
                gauge!(name, "chain" => Arc::clone(&self.chain)).set(value as f64);
            }
        }
    }

    /// The checkpoint moved, or there is nothing to move it to.
    pub(crate) fn synced(&self, now: Timestamp) {
        gauge!(PONDER_SYNCED, "chain" => Arc::clone(&self.chain)).set(now.micros() as f64 / 1e6);
    }
}
