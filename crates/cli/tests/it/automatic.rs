//! Commitments that the node makes by itself, and the streams that it leaves to their clients.
//!
//! The claimed stream has waited longer than the others when it is looked at, so its silence is no accident.

use std::sync::Arc;

use serde_json::json;

use crate::author::Author;
use crate::site::{Site, until};

const CONFIG: &str = "line:\n  poll_ms: 100\n  commitments:\n    auto: unclaimed\n    events: 10\n";

pub(crate) async fn commitments_appear_where_no_client_makes_them(site: Arc<Site>) {
    let node = site.node("data").config(CONFIG).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let claimed = author.elsewhere();
    claimed.grow(&api, 5).await;
    assert_eq!(claimed.commit(&api, None, None).await.json()["sequence_end"], 5);
    claimed.grow(&api, 30).await;

    for round in 1..=3 {
        author.grow(&api, 9).await;
        author.grow(&api, 1).await;
        until(async || author.head(&api).await["committed_sequence"] == json!(10 * round)).await;
    }
    let listed = api.get(&author.path("commitments", "")).await.json();
    let made = listed["commitments"].as_array().unwrap();
    assert!(made.iter().all(|commitment| commitment["origin"] == "automatic"), "{listed}");
    let ends = made.iter().map(|commitment| commitment["sequence_end"].as_u64().unwrap());
    assert!(ends.eq([10, 20, 30]), "{listed}");
    assert_eq!(claimed.head(&api).await["committed_sequence"], 5);
    assert_eq!(claimed.commit(&api, None, None).await.json()["sequence_end"], 35);
}
