//! Writers that append until the node does not answer any more, and remember what it acknowledged.
//!
//! A batch without an answer is kept as it was sent: whether it is on the line is for a replay to find out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use crate::author::{Author, INGEST, Ingested, Stored};
use crate::client::Api;
use crate::site::{soon, until};

/// Events of one request.
pub(crate) const BATCH: u64 = 5;

/// Running writers.
pub(crate) struct Load {
    writers: Vec<JoinHandle<Done>>,
    requests: Arc<AtomicUsize>,
}

/// What writers have to show.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Receipts that came with an answer, byte for byte.
    pub(crate) acknowledged: Vec<String>,
    /// Requests without an answer that says what became of them.
    pub(crate) unsettled: Vec<String>,
}

impl Load {
    /// Starts so many writers. They end at the first request that is not answered with 200.
    pub(crate) fn start(api: &Api, author: &Author, writers: usize) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let writers =
            (0..writers).map(|_| tokio::spawn(write(api.clone(), author.clone(), Arc::clone(&requests))));
        Self { writers: writers.collect(), requests }
    }

    /// Waits until so many requests were answered.
    pub(crate) async fn until_acknowledged(&self, requests: usize) {
        until(async || self.requests.load(Ordering::Relaxed) >= requests).await;
    }

    /// Waits until the node answers no writer any more.
    pub(crate) async fn finish(self) -> Done {
        let mut all = Done::default();
        for writer in self.writers {
            let done = soon(writer).await.unwrap();
            all.acknowledged.extend(done.acknowledged);
            all.unsettled.extend(done.unsettled);
        }
        all
    }
}

async fn write(api: Api, author: Author, requests: Arc<AtomicUsize>) -> Done {
    let mut done = Done::default();
    loop {
        let body = author.body(&author.events(BATCH));
        match soon(api.try_ask("POST", INGEST, body.clone())).await {
            Ok(answer) if answer.status == 200 => {
                let ingested = Ingested::of(&answer);
                assert_eq!(ingested.events_accepted, BATCH, "{}", answer.text);
                done.acknowledged.extend(ingested.receipts().into_iter().map(str::to_owned));
                requests.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                // A refusal that is an answer says whether anything was done.
                let code = answer.header("x-error-code");
                let known = ["SERVICE_UNAVAILABLE", "OUTCOME_UNKNOWN", "STORAGE_FULL"];
                assert!(known.contains(&code), "{}", answer.text);
                assert_eq!(answer.status == 503, code == "SERVICE_UNAVAILABLE", "{}", answer.text);
                done.unsettled.push(body);
                return done;
            }
            Err(_) => {
                done.unsettled.push(body);
                return done;
            }
        }
    }
}

/// Sends a request of unknown outcome again: afterwards every event of it has a receipt.
pub(crate) async fn settle(api: &Api, body: &str) -> Vec<String> {
    let ingested = Ingested::of(&api.post(INGEST, body.to_owned()).await);
    assert_eq!(ingested.receipts().len() as u64, BATCH, "{ingested:?}");
    // One request is one transaction: all of it was there, or nothing.
    assert!([0, BATCH].contains(&ingested.events_accepted), "{ingested:?}");
    ingested.receipts().into_iter().map(str::to_owned).collect()
}

/// Every receipt is on the line as it was given.
pub(crate) fn assert_kept(acknowledged: &[String], stored: &[Stored]) {
    let on_the_line: HashMap<&str, u64> =
        stored.iter().map(|event| (event.receipt.as_str(), event.sequence_number)).collect();
    for receipt in acknowledged {
        assert!(on_the_line.contains_key(receipt.as_str()), "lost: {receipt}");
    }
}
