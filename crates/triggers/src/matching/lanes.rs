//! The lanes of a process, one a stream: a lane that ends early rests and is then wanted again.
//!
//! Nothing that a lane does may leave its stream unmatched until a restart. It decides nothing about streams: whoever
//! starts lanes asks which are followed.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

use bowline_types::StreamId;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

/// How long a stream rests whose lane ended early, so that one that always does costs little.
pub(super) const REST: Duration = Duration::from_secs(2);

/// The lanes that run, and the streams that rest.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    running: JoinSet<()>,
    streams: HashMap<Id, StreamId>,
    followed: HashSet<StreamId>,
    resting: Vec<(StreamId, Instant)>,
}

/// A lane that ended before the shutdown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) stream: StreamId,
    pub(super) cause: String,
}

impl Lanes {
    /// Whether a stream has a lane, or rests.
    pub(super) fn is_followed(&self, stream: StreamId) -> bool {
        self.followed.contains(&stream)
    }

    /// Starts the lane of a stream that has none.
    pub(super) fn start(&mut self, stream: StreamId, lane: impl Future<Output = ()> + Send + 'static) {
        self.followed.insert(stream);
        let id = self.running.spawn(lane).id();
        self.streams.insert(id, stream);
    }

    /// Waits for a lane to end; for ever if there is none. Its stream rests from now on.
    pub(super) async fn ended(&mut self) -> Ended {
        let (id, cause) = match self.running.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => (id, "it returned".to_owned()),
            Some(Err(error)) => (error.id(), error.to_string()),
        };
        let Some(stream) = self.streams.remove(&id) else { return std::future::pending().await };
        self.resting.push((stream, Instant::now() + REST));
        Ended { stream, cause }
    }

    /// Lets go of streams that have rested; true if there was one.
    pub(super) fn release(&mut self) -> bool {
        let now = Instant::now();
        let before = self.resting.len();
        let followed = &mut self.followed;
        self.resting.retain(|(stream, until)| *until > now || !followed.remove(stream));
        self.resting.len() < before
    }

    /// Waits until all have ended.
    pub(super) async fn join(mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use bowline_types::chain_stream;

    use super::*;

    #[tokio::test]
    async fn a_stream_whose_lane_ended_is_wanted_again_after_a_rest() {
        let mut lanes = Lanes::default();
        let (doomed, well) = (chain_stream(1), chain_stream(2));
        lanes.start(well, std::future::pending());
        lanes.start(doomed, async {
            tokio::task::yield_now().await;
            panic!("by design")
        });
        let ended = lanes.ended().await;
        assert_eq!(ended.stream, doomed);
        assert!(ended.cause.contains("by design"), "{ended:?}");
        assert!(!lanes.release() && lanes.is_followed(doomed), "it rests");
        tokio::time::sleep(REST).await;
        assert!(lanes.release());
        assert!(!lanes.is_followed(doomed) && lanes.is_followed(well));
        // One that only returns is as bad.
        lanes.start(doomed, async {});
        assert_eq!(lanes.ended().await, Ended { stream: doomed, cause: "it returned".to_owned() });
        lanes.running.abort_all();
        lanes.join().await;
    }
}
