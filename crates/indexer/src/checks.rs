//! The indexer's health checks: whether chains are on the line as far as they are, and whether their endpoints answer.
//!
//! Each is a pure function of [`IndexerFacts`]; nothing here gathers anything. What a process indexes that was not
//! asked is judged by the checkpoints in the store, which move also when a chain's blocks have no logs.

use bowline_evm::EndpointState;
use bowline_runtime::{Check, Finding, Seen};
use bowline_store::SourceFacts;
use bowline_types::Timestamp;
use serde::Deserialize;

/// Everything that the indexer's checks look at.
#[derive(Debug, Clone)]
pub struct IndexerFacts {
    /// Each chain as the indexer's status tells of it.
    pub chains: Seen<Vec<ChainFacts>>,
    /// The chains' checkpoints.
    pub sources: Seen<Vec<SourceFacts>>,
    /// Our own moment.
    pub now: Timestamp,
}

/// What is looked at of a chain's status; the rest of it is left alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChainFacts {
    /// Its id by EIP-155.
    pub chain_id: u64,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// `starting`, `syncing`, `live`, `away`, or `idle` if another process indexes it.
    #[serde(default)]
    pub state: String,
    /// Blocks that count and are not on the line yet.
    #[serde(default)]
    pub lag_blocks: Option<u64>,
    /// Its endpoints.
    #[serde(default)]
    pub endpoints: Vec<EndpointState>,
    /// What went wrong last.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// Every check of the indexer.
pub const CHECKS: &[Check<IndexerFacts>] = &[
    Check { name: "indexer_lag", about: "chains' logs are on the line as they come", judge: lag },
    Check { name: "indexer_endpoints", about: "chains' endpoints answer", judge: endpoints },
];

/// The checks' thresholds, with the unit in the name.
mod threshold {
    /// Blocks that a chain may be behind.
    pub(super) const LAG_BLOCKS: u64 = 100;
    /// That a chain's checkpoint may stand still.
    pub(super) const STILL_WARN_SECS: i64 = 300;
    /// That a chain's checkpoint may stand still.
    pub(super) const STILL_FAIL_SECS: i64 = 3_600;
}

const RESTART: &str = "bowline doctor --check indexer_endpoints; if they are well: docker compose restart ponder-indexers \
                       (systemctl restart bowline-ponder-indexers), which goes on where it was";

fn lag(facts: &IndexerFacts) -> Finding {
    let sources = match &facts.sources {
        Ok(sources) => sources,
        Err(reason) => return Finding::skipped(reason.clone()),
    };
    let chains = facts.chains.as_deref().unwrap_or_default();
    if sources.is_empty() && chains.is_empty() {
        return Finding::skipped("no chain is indexed");
    }
    let still = |source: &SourceFacts| (facts.now.micros() - source.updated_at.micros()) / 1_000_000;
    let oldest = sources.iter().map(still).max().unwrap_or(0);
    let behind = chains.iter().filter_map(|chain| chain.lag_blocks).max().unwrap_or(0);
    let finding = if oldest >= threshold::STILL_FAIL_SECS {
        Finding::fail("nothing of a chain has come onto the line for an hour", RESTART)
    } else if oldest >= threshold::STILL_WARN_SECS {
        Finding::warn("nothing of a chain has come onto the line for minutes", RESTART)
    } else if behind > threshold::LAG_BLOCKS {
        Finding::warn(
            "a chain is behind",
            "wait while it catches up (bowline indexer status tells how long); else give it a faster endpoint",
        )
    } else {
        Finding::ok("chains are on the line as they come")
    };
    let finding = finding.held_against("blocks behind, at most", behind, threshold::LAG_BLOCKS).held_against(
        "seconds that a checkpoint stands still",
        oldest,
        threshold::STILL_WARN_SECS,
    );
    sources.iter().fold(finding, |finding, source| {
        let block = source.block.map_or_else(|| "no block yet".to_owned(), |block| format!("block {block}"));
        finding.with(format!("chain {}", source.chain_id), format!("{block}, {} s ago", still(source)))
    })
}

fn endpoints(facts: &IndexerFacts) -> Finding {
    let chains = match &facts.chains {
        Ok(chains) => chains,
        Err(reason) => return Finding::skipped(reason.clone()),
    };
    let mine: Vec<&ChainFacts> = chains.iter().filter(|chain| !chain.endpoints.is_empty()).collect();
    if mine.is_empty() {
        return Finding::skipped("the process that was asked indexes no chain");
    }
    let is_away = |endpoint: &&EndpointState| endpoint.breaker == "open";
    let away = mine.iter().flat_map(|chain| chain.endpoints.iter().filter(is_away)).count();
    let cut_off = mine.iter().find(|chain| chain.endpoints.iter().all(|one| is_away(&one)));
    let fix =
        "check <NET>_RPC_URL and the endpoints' limits, or add an endpoint; the indexer goes on by itself";
    let finding = match cut_off {
        Some(chain) => {
            let error = chain.last_error.as_deref().unwrap_or("it does not answer");
            Finding::fail(format!("no endpoint of chain {} answers: {error}", chain.chain_id), fix)
        }
        None if away > 0 => Finding::warn("endpoints are away; others stand in for them", fix),
        None => Finding::ok("chains' endpoints answer"),
    };
    let finding = finding.held_against("endpoints that are away", away, 1);
    mine.iter()
        .flat_map(|chain| chain.endpoints.iter().filter(is_away))
        .fold(finding, |finding, endpoint| finding.with(endpoint.name.clone(), endpoint.breaker.clone()))
}

#[cfg(test)]
mod tests {
    use bowline_runtime::Status;

    use super::*;

    const NOW: i64 = 1_700_000_000_000_000;

    fn ago(secs: i64) -> Timestamp {
        Timestamp::from_micros(NOW - secs * 1_000_000)
    }

    fn endpoint(name: &str, breaker: &str) -> EndpointState {
        EndpointState { name: name.to_owned(), breaker: breaker.to_owned() }
    }

    fn facts(still_secs: i64, lag_blocks: u64, breakers: [&str; 2]) -> IndexerFacts {
        let chain = ChainFacts {
            chain_id: 84_532,
            name: "Base Sepolia".to_owned(),
            state: "live".to_owned(),
            lag_blocks: Some(lag_blocks),
            endpoints: vec![endpoint("a:443", breakers[0]), endpoint("b:443", breakers[1])],
            last_error: Some("HTTP 429".to_owned()),
        };
        let source =
            SourceFacts { chain_id: 84_532, block: Some(7), generation: 0, updated_at: ago(still_secs) };
        IndexerFacts { chains: Ok(vec![chain]), sources: Ok(vec![source]), now: ago(0) }
    }

    fn found(facts: &IndexerFacts) -> Vec<Status> {
        CHECKS.iter().map(|check| check.run(facts).finding.status).collect()
    }

    #[test]
    fn each_trouble_is_found_by_its_check_alone() {
        let well = ["closed", "closed"];
        assert_eq!(found(&facts(299, 100, well)), [Status::Ok, Status::Ok]);
        assert_eq!(found(&facts(300, 0, well)), [Status::Warn, Status::Ok]);
        assert_eq!(found(&facts(3_600, 0, well)), [Status::Fail, Status::Ok]);
        assert_eq!(found(&facts(0, 101, well)), [Status::Warn, Status::Ok]);
        assert_eq!(found(&facts(0, 0, ["open", "closed"])), [Status::Ok, Status::Warn]);
        assert_eq!(found(&facts(0, 0, ["open", "open"])), [Status::Ok, Status::Fail]);
        let cut_off = (CHECKS[1].judge)(&facts(0, 0, ["open", "open"]));
        assert!(cut_off.cause.contains("84532") && cut_off.cause.contains("HTTP 429"), "{}", cut_off.cause);
    }

    #[test]
    fn where_nothing_is_indexed_there_is_nothing_to_judge() {
        let nothing = IndexerFacts { chains: Ok(Vec::new()), sources: Ok(Vec::new()), now: ago(0) };
        assert_eq!(found(&nothing), [Status::Skipped, Status::Skipped]);
        let away = "no answer".to_owned();
        let unseen = IndexerFacts { chains: Err(away.clone()), sources: Err(away), now: ago(0) };
        assert_eq!(found(&unseen), [Status::Skipped, Status::Skipped]);
    }

    #[test]
    fn a_checkpoint_that_stands_still_is_found_without_a_process_to_ask() {
        let facts = IndexerFacts { chains: Err("no answer".to_owned()), ..facts(4_000, 0, ["open", "open"]) };
        assert_eq!(found(&facts), [Status::Fail, Status::Skipped]);
    }
}
