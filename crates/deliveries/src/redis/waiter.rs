//! Hears on a connection of its own that there are new jobs.
//!
//! A message that is published while the connection is lost is not heard: a waiter waits for a limited time, and is woken
//! when the connection is back.

use std::time::Duration;

use futures_util::StreamExt;
use redis::Client;
use tokio::sync::watch;

/// The channel that tells of new jobs.
pub(super) const CHANNEL: &str = "action_jobs_wake";

/// Between two tries to listen, at least and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// Waits for new jobs; one a worker.
#[derive(Debug)]
pub struct QueueWaiter(pub(super) watch::Receiver<u64>);

impl QueueWaiter {
    /// Returns when there are new jobs, at once if there have been some since it last returned, or after `at_most`.
    pub async fn wait(&mut self, at_most: Duration) {
        if let Ok(Err(_)) = tokio::time::timeout(at_most, self.0.changed()).await {
            // The listener has ended.
            tokio::time::sleep(at_most).await;
        }
    }
}

pub(super) async fn listen(client: Client, heard: watch::Sender<u64>, timeout: Duration) {
    let [mut pause, pause_max] = PAUSES;
    let wake = || heard.send_modify(|count| *count = count.wrapping_add(1));
    loop {
        let subscribed = tokio::time::timeout(timeout, async {
            let mut pubsub = client.get_async_pubsub().await?;
            pubsub.subscribe(CHANNEL).await?;
            Ok::<_, redis::RedisError>(pubsub)
        });
        if let Ok(Ok(mut pubsub)) = subscribed.await {
            pause = PAUSES[0];
            wake();
            let mut messages = pubsub.on_message();
            while messages.next().await.is_some() {
                wake();
            }
            tracing::debug!(component = "queue", "Redis tells of no new jobs until the connection is back");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
}
