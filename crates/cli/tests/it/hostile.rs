//! Clients that stand still: each is let go within its time, and nobody else notices.
//!
//! They are many at once, because one that is let go proves little.

use std::sync::Arc;
use std::time::Duration;

use crate::author::{Author, INGEST};
use crate::site::Site;
use crate::wire::Wire;

const CLIENTS: usize = 20;
/// Between two bytes of a body that trickles.
const TRICKLE: Duration = Duration::from_millis(50);

pub(crate) async fn clients_that_stand_still_are_let_go(site: Arc<Site>) {
    let spec = site.node("data").config("api:\n  header_secs_max: 1\n").env("REQUEST_TIMEOUT_SECS", "1");
    let node = spec.start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;

    let mut standing = Vec::new();
    for at in 0..CLIENTS {
        let mut wire = Wire::connect(&node).await.unwrap();
        if at % 2 == 0 {
            wire.send("POST /api/v1/ves/events/ingest HTTP/1.1\r\nHost: node\r\nx-ap").await.unwrap();
        }
        standing.push(wire);
    }
    author.grow(&api, 1).await;
    for wire in standing {
        let answer = wire.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    let mut trickling = Wire::announcing(&node, INGEST, 100_000).await;
    let trickle = async {
        while !trickling.read.contains("504") {
            drop(trickling.send(" ").await);
            drop(tokio::time::timeout(TRICKLE, trickling.more()).await);
        }
        trickling.until("TIMEOUT").await;
    };
    crate::site::soon(trickle).await;
    author.grow(&api, 1).await;
    assert_eq!(api.get("/health").await.status, 200);
    assert_eq!(author.head(&api).await["head_sequence"], 2);
}
