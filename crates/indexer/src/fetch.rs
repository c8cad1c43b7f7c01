//! What an endpoint says of blocks, taken only if it is bound to them.
//!
//! Blocks that are deep are asked for in ranges: the hash of the last one must be the same before and after, and the
//! first one must follow on what is known. Near the head each block is asked for by its hash, which an endpoint that
//! does not have it can't answer. Either way a log counts only if its block is one of those.

use std::collections::BTreeMap;

use bowline_evm::{Block, Log, Rpc, RpcError};
use bowline_types::{EvmAddress, EvmHash};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::event::{Entry, entries};
use crate::halt::Halt;

/// Events that are written at once; a block that has more is written alone.
const STEP_EVENTS: usize = 2_000;
/// Questions to an endpoint at a time, for what is asked one by one.
const QUESTIONS_AT_A_TIME: usize = 8;

/// Consecutive blocks and their logs, to be written at once.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The first block.
    pub(crate) from: u64,
    /// The hash of the block before it, if the step tells.
    pub(crate) parent: Option<EvmHash>,
    /// Blocks whose hashes are known, ascending, with how many of the entries come up to each; the last one is the last
    /// block of the step.
    pub(crate) marks: Vec<(u64, EvmHash, u64)>,
    /// When the last block was made, seconds since 1970.
    pub(crate) last_time: Option<u64>,
    /// The logs, in order.
    pub(crate) entries: Vec<Entry>,
}

/// The block of that number, which the endpoint must have.
pub(crate) async fn header(rpc: &Rpc, number: u64) -> Result<Block, Halt> {
    let block = rpc.block(number).await?;
    let block = block.ok_or_else(|| Halt::unserved(rpc.name(), format!("has no block {number}")))?;
    if block.number() != number {
        return Err(Halt::unserved(rpc.name(), format!("gives block {} for {number}", block.number())));
    }
    Ok(block)
}

/// The blocks of these numbers, in their order.
pub(crate) async fn headers(rpc: &Rpc, numbers: impl IntoIterator<Item = u64>) -> Result<Vec<Block>, Halt> {
    let asked = numbers.into_iter().map(|number| header(rpc, number));
    stream::iter(asked.collect::<Vec<_>>()).buffered(QUESTIONS_AT_A_TIME).try_collect().await
}

/// Deep blocks, in steps.
pub(crate) async fn range(
    rpc: &Rpc,
    contracts: &[EvmAddress],
    from: u64,
    to: u64,
) -> Result<Vec<Step>, Halt> {
    let (first, last) = match from == to {
        true => {
            let block = header(rpc, to).await?;
            (block.clone(), block)
        }
        false => tokio::try_join!(header(rpc, from), header(rpc, to))?,
    };
    let mut logs = rpc.logs_in_range(contracts, from, to).await?;
    if header(rpc, to).await?.hash() != last.hash() {
        return Err(Halt::unserved(rpc.name(), format!("changed its mind about block {to}")));
    }
    logs.sort_by_key(|log| (log.block_number(), log.index()));
    check(rpc, contracts, &logs)?;
    let mut known: BTreeMap<u64, (EvmHash, Option<u64>)> = BTreeMap::new();
    for log in &logs {
        let is_inside = (from..=to).contains(&log.block_number());
        let (hash, _) = *known.entry(log.block_number()).or_insert((log.block_hash(), log.block_timestamp()));
        if !is_inside || hash != log.block_hash() {
            return Err(Halt::unserved(rpc.name(), format!("mixes blocks in {from} to {to}")));
        }
    }
    let ends = step_ends(&logs, to);
    // The hash of a step's last block is kept for long, and not every endpoint tells a block's time with its logs.
    let asked = known.iter().filter(|(number, (_, time))| time.is_none() || ends.contains(number));
    let asked: Vec<u64> = asked.map(|(number, _)| *number).filter(|number| *number != to).collect();
    let mut blocks = headers(rpc, asked).await?;
    blocks.push(last.clone());
    for block in &blocks {
        if let Some((hash, time)) = known.get_mut(&block.number()) {
            if *hash != block.hash() {
                let problem = format!("has logs of another block {}", block.number());
                return Err(Halt::unserved(rpc.name(), problem));
            }
            *time = Some(block.timestamp());
        }
    }
    let timed = logs.into_iter().filter_map(|log| {
        let time = known.get(&log.block_number()).and_then(|(_, time)| *time)?;
        Some((log, time))
    });
    let marks = ends.iter().filter_map(|end| match *end == to {
        true => Some((to, last.hash(), Some(last.timestamp()))),
        false => known.get(end).map(|(hash, time)| (*end, *hash, *time)),
    });
    Ok(in_steps(from, first.parent_hash(), marks.collect(), entries(timed.collect())))
}

/// Blocks near the head, by their hashes; each follows on the one before it.
pub(crate) async fn blocks(
    rpc: &Rpc,
    contracts: &[EvmAddress],
    from: u64,
    to: u64,
) -> Result<Vec<Step>, Halt> {
    let blocks = headers(rpc, from..=to).await?;
    for pair in blocks.windows(2) {
        if pair[1].parent_hash() != pair[0].hash() {
            let problem =
                format!("has a block {} that does not follow on the one before it", pair[1].number());
            return Err(Halt::unserved(rpc.name(), problem));
        }
    }
    let asked: Vec<_> = blocks.iter().map(|block| logs_of(rpc, contracts, block)).collect();
    let found: Vec<Vec<Log>> = stream::iter(asked).buffered(QUESTIONS_AT_A_TIME).try_collect().await?;
    let mut logs = Vec::new();
    for (block, found) in blocks.iter().zip(found) {
        logs.extend(found.into_iter().map(|log| (log, block.timestamp())));
    }
    let marks = blocks.iter().map(|block| (block.number(), block.hash(), Some(block.timestamp()))).collect();
    let Some(first) = blocks.first() else { return Ok(Vec::new()) };
    Ok(in_steps(from, first.parent_hash(), marks, entries(logs)))
}

async fn logs_of(rpc: &Rpc, contracts: &[EvmAddress], block: &Block) -> Result<Vec<Log>, Halt> {
    let logs = rpc.logs_in_block(contracts, block.hash()).await;
    let mut logs = logs.map_err(|error| match error {
        // It may not have that block any more, or not yet.
        RpcError::Refused { message, .. } => {
            Halt::unserved(rpc.name(), format!("has no logs of a block: {message}"))
        }
        error => error.into(),
    })?;
    logs.sort_by_key(Log::index);
    check(rpc, contracts, &logs)?;
    let is_of_block = |log: &Log| log.block_hash() == block.hash() && log.block_number() == block.number();
    if !logs.iter().all(is_of_block) {
        return Err(Halt::unserved(rpc.name(), format!("has logs of another block {}", block.number())));
    }
    Ok(logs)
}

/// Whether logs, in order, are an answer at all.
fn check(rpc: &Rpc, contracts: &[EvmAddress], logs: &[Log]) -> Result<(), Halt> {
    let place = |log: &Log| (log.block_number(), log.index());
    let problem = if logs.windows(2).any(|pair| place(&pair[0]) == place(&pair[1])) {
        "gives a log twice"
    } else if logs.iter().any(|log| !contracts.contains(&log.address())) {
        "gives logs of contracts that were not asked for"
    } else if logs.iter().any(Log::is_removed) {
        "gives logs that it says are taken back"
    } else {
        return Ok(());
    };
    Err(Halt::unserved(rpc.name(), problem))
}

/// The blocks that steps end with: each step has no more events than may be written at once, but for those of one block.
fn step_ends(logs: &[Log], to: u64) -> Vec<u64> {
    let (mut ends, mut begin) = (Vec::new(), 0);
    for (index, log) in logs.iter().enumerate() {
        let is_next_block = index > begin && logs[index - 1].block_number() != log.block_number();
        let rest = &logs[index..];
        let of_block = rest.iter().take_while(|other| other.block_number() == log.block_number());
        if is_next_block && index - begin + of_block.count() > STEP_EVENTS {
            ends.push(logs[index - 1].block_number());
            begin = index;
        }
    }
    ends.push(to);
    ends
}

/// A block's number, its hash, and when it was made.
type Mark = (u64, EvmHash, Option<u64>);

/// Cuts entries at the marks so that no step has more than it may.
fn in_steps(from: u64, parent: EvmHash, marks: Vec<Mark>, entries: Vec<Entry>) -> Vec<Step> {
    let begun = |from, parent| Step {
        from,
        parent: Some(parent),
        marks: Vec::new(),
        last_time: None,
        entries: Vec::new(),
    };
    let (mut steps, mut entries) = (Vec::new(), entries.into_iter().peekable());
    let mut step = begun(from, parent);
    for (number, hash, time) in marks {
        let mut of_mark = Vec::new();
        while let Some(entry) = entries.next_if(|entry| entry.log.block_number() <= number) {
            of_mark.push(entry);
        }
        if step.entries.len() + of_mark.len() > STEP_EVENTS
            && let Some((last, last_hash, _)) = step.marks.last().copied()
        {
            steps.push(std::mem::replace(&mut step, begun(last + 1, last_hash)));
        }
        step.entries.extend(of_mark);
        step.marks.push((number, hash, step.entries.len() as u64));
        step.last_time = time;
    }
    steps.push(step);
    steps
}
