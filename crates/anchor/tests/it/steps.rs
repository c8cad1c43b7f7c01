//! An anchoring process that dies between each pair of steps, and another one that goes on: every commitment is on
//! the chain exactly once in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bowline_anchor::tables::SendState;
use bowline_anchor::{Step, Steps};
use serde_json::json;
use tokio::sync::Notify;

use crate::rig::{Rig, new_stream};

/// Holds the process for ever at the first time that it gets to a step.
#[derive(Debug)]
struct StopAt {
    step: Step,
    is_there: AtomicBool,
    told: Notify,
}

#[async_trait]
impl Steps for StopAt {
    async fn reached(&self, step: Step) {
        if step == self.step {
            self.is_there.store(true, Ordering::SeqCst);
            self.told.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// A process that dies at that step.
async fn die(rig: &Rig, step: Step) {
    let stop = Arc::new(StopAt { step, is_there: AtomicBool::new(false), told: Notify::new() });
    let dying = rig.start_with(&rig.config, Some(Arc::clone(&stop) as Arc<dyn Steps>));
    let mining = async {
        loop {
            rig.chain.anvil.mine(1).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let there = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            () = stop.told.notified() => {}
            () = mining => {}
        }
    });
    there.await.unwrap_or_else(|_| panic!("{step:?} was never reached"));
    assert!(stop.is_there.load(Ordering::SeqCst));
    dying.kill().await;
}

async fn dies_at(step: Step) {
    let rig = Rig::new().await;
    let streams = [new_stream(), new_stream()];
    for stream in streams {
        rig.commit(stream, 2).await;
    }
    die(&rig, step).await;
    let running = rig.start();
    for stream in streams {
        let rows = rig.all_anchored(stream).await;
        assert_eq!(rows.len(), 2);
        // The contract refuses a second one, so its count is the proof that there was one each.
        assert_eq!(rig.on_chain(stream).await, 2, "{step:?}");
        for row in rows {
            let verified = running.handle.verify(row.commitment.commitment.batch_id).await.unwrap();
            assert!(verified.on_chain, "{step:?}");
            assert!(row.commitment.anchor.unwrap().tx_hash.is_some(), "{step:?}");
        }
    }
    let status = running.handle.status().await.unwrap();
    assert_eq!((status.pending, status.under_way, status.anchored), (0, 0, 4), "{step:?}");
    assert!(status.blocked.is_empty() && status.trouble.is_none(), "{step:?} {status:?}");
}

#[tokio::test]
async fn a_process_that_dies_anywhere_loses_and_doubles_nothing() {
    for step in Step::ALL {
        dies_at(step).await;
    }
}

#[tokio::test]
async fn a_recorded_transaction_that_the_chain_refuses_gives_way_to_smaller_ones() {
    let mut rig = Rig::new().await;
    rig.config.replace_after_secs = 1;
    let stream = new_stream();
    let made = rig.commit(stream, 20).await;
    die(&rig, Step::Recorded).await;
    // What was estimated to fit does not any more.
    rig.chain.anvil.call("evm_setBlockGasLimit", json!(["0x493e0"])).await;
    rig.chain.anvil.mine(1).await;
    let running = rig.start();
    rig.until_trouble(&running, "SEND_REFUSED").await;
    let rows = rig.all_anchored(stream).await;
    assert!(rows.iter().all(|row| row.shared_by < 20) && rig.on_chain(stream).await == 20);
    let sends = rig.tables().sends_of(made[0].commitment.batch_id).await.unwrap();
    assert_eq!((sends[0].state, sends.len() > 1), (SendState::Void, true), "{sends:?}");
}
