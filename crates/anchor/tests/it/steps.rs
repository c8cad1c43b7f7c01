//! An anchoring process that dies between each pair of steps, and another one that goes on: every commitment is on
//! the chain exactly once in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bowline_anchor::{Step, Steps};
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

async fn dies_at(step: Step) {
    let rig = Rig::new().await;
    let streams = [new_stream(), new_stream()];
    for stream in streams {
        rig.commit(stream, 2).await;
    }
    let stop = Arc::new(StopAt { step, is_there: AtomicBool::new(false), told: Notify::new() });
    let dying = rig.start_with(&rig.config, Some(Arc::clone(&stop) as Arc<dyn Steps>));
    let mining = async {
        loop {
            rig.chain.anvil.mine(1).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let there = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        tokio::select! {
            () = stop.told.notified() => {}
            () = mining => {}
        }
    });
    there.await.unwrap_or_else(|_| panic!("{step:?} was never reached"));
    assert!(stop.is_there.load(Ordering::SeqCst));
    dying.kill().await;
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
