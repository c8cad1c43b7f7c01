//! The runbook's "Recover from Corrupt Commitment", through the command line: find it, correct it, prove and export.
//!
//! The commitment is damaged in the database, as a bad disk would do it, while the node runs.

use std::sync::Arc;

use bowline_ves::Commitment;
use serde_json::{Value, json};

use crate::author::Author;
use crate::client::Api;
use crate::commands::Person;
use crate::node::ADMIN_KEY;
use crate::site::Site;

pub(crate) async fn a_damaged_commitment_is_found_and_corrected(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let person = Person::with_key(&site, &node, ADMIN_KEY);
    let author = Author::known_to(&api).await;
    author.grow(&api, 12).await;
    let first = author.commit(&api, Some(1), Some(4)).await.json();
    let second = author.commit(&api, Some(5), Some(9)).await.json();
    let bad = first["batch_id"].as_str().unwrap();
    assert_eq!((&first["status"], &first["corrected_by"]), (&json!("valid"), &Value::Null));
    assert_eq!(person.asks("commitments check --all").await["checked"], 2);
    let correct = format!("commitments correct {bad} --reason bad-sector");
    assert!(person.types(&correct).await.must(1).stderr.contains("COMMITMENT_INTACT"));

    site.damage_commitment(1, "merkle_root").await;
    let found = person.types("commitments check --all --output json").await.json(1);
    assert_eq!((&found["checked"], found["wrong"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!(found["wrong"][0]["batch_id"], bad);
    assert!(person.types(&format!("commitments check {bad}")).await.must(1).stdout.contains("Merkle root"));
    api.get(&author.path("proofs/2", "")).await.refused(500, "INTERNAL_ERROR");
    let export = api.get(&author.path("export", "")).await.text;
    let verified = person.pipes(&export, "verify export - --output json").await.json(1);
    assert_eq!((&verified["kind"], &verified["sequence_number"]), (&json!("bad_commitment"), &json!(1)));

    let correction = person.asks(&correct).await;
    let good = correction["batch_id"].as_str().unwrap();
    assert_eq!(
        (&correction["corrects"], &correction["correction_reason"]),
        (&json!(bad), &json!("bad-sector"))
    );
    assert_eq!(correction["merkle_root"], first["merkle_root"]);
    assert_eq!(correction["prev_state_root"], second["new_state_root"]);
    assert!(person.types(&correct).await.must(1).stderr.contains("COMMITMENT_CORRECTED"));
    let checked = person.asks("commitments check --all").await;
    assert_eq!((&checked["checked"], &checked["corrected"]), (&json!(3), &json!(1)));
    let shown = person.asks(&format!("commitments show {bad}")).await;
    assert_eq!((&shown["status"], &shown["corrected_by"]), (&json!("corrected"), &json!(good)));
    assert!(person.types(&format!("commitments show {bad}")).await.must(0).stdout.contains("bad-sector"));
    let list = format!(
        "commitments list --all --tenant {} --store {}",
        author.stream.tenant_id, author.stream.store_id
    );
    assert!(person.types(&list).await.must(0).stdout.contains("correction"));
    what_follows_holds(&person, &api, &author, bad, &correction).await;
    a_broken_link_is_blamed_on_the_one_that_broke(&site, &person, &api, &author).await;
}

/// The commitment behind the damaged one continues what was there before, and is right.
async fn a_broken_link_is_blamed_on_the_one_that_broke(
    site: &Site,
    person: &Person,
    api: &Api,
    author: &Author,
) {
    site.damage_commitment(5, "new_state_root").await;
    let found = person.types("commitments check --all --output json").await.json(1);
    let wrong = found["wrong"].as_array().unwrap();
    assert_eq!((wrong.len(), &wrong[0]["sequence_start"]), (1, &json!(5)), "{found}");
    let id = wrong[0]["batch_id"].as_str().unwrap();
    person.types(&format!("commitments correct {id} --reason again")).await.must(0);
    assert_eq!(person.asks("commitments check --all").await["wrong"], json!([]));
    let export = api.get(&author.path("export", "")).await.text;
    let found = person.pipes(&export, "verify export - --output json").await.json(0);
    assert_eq!((&found["correction_count"], found["corrected"].as_array().unwrap().len()), (&json!(3), 3));
}

async fn what_follows_holds(person: &Person, api: &Api, author: &Author, bad: &str, correction: &Value) {
    let good = correction["batch_id"].as_str().unwrap();
    let proof = api.get(&author.path("proofs/2", "")).await.json();
    assert_eq!(proof["batch_id"], good);
    let proof = person.pipes(&proof.to_string(), "verify proof - --output json").await.json(0);
    assert_eq!(proof["valid"], true);
    let named = api.get(&author.path("proofs/2", &format!("&batch_id={bad}"))).await;
    assert!(named.refused(409, "COMMITMENT_CORRECTED").contains(good));
    assert_eq!(named.body()["error"]["details"]["corrected_by"], good);
    let third = author.commit(api, None, None).await.json();
    assert_eq!((&third["sequence_start"], &third["sequence_end"]), (&json!(10), &json!(12)));
    assert_eq!(third["prev_state_root"], correction["new_state_root"]);
    // The range of before is asked for again: the answer is the commitment that holds now.
    assert_eq!(author.commit(api, Some(1), Some(4)).await.json()["batch_id"], good);

    for (query, commitments, corrections, corrected) in [
        ("", 3, 1, 1),
        ("&to=9", 2, 1, 1),
        ("&to=4", 1, 1, 1),
        ("&from=5", 2, 1, 0),
        ("&from=5&to=9", 1, 1, 0),
        ("&from=10", 1, 0, 0),
        ("&from=2&to=3", 0, 0, 0),
    ] {
        let export = api.get(&author.path("export", query)).await.text;
        let found = person.pipes(&export, "verify export - --output json").await.json(0);
        let counts = ["commitment_count", "correction_count"].map(|name| found[name].as_u64().unwrap());
        assert_eq!(
            (counts, found["corrected"].as_array().unwrap().len()),
            ([commitments, corrections], corrected),
            "{query}"
        );
    }
    let export = api.get(&author.path("export", "")).await.text;
    let said = person.pipes(&export, "verify export -").await;
    assert!(said.must(0).stdout.contains(bad) && said.stdout.contains("with its corrections"), "{said:?}");
    let line = export.lines().find(|line| line.contains("\"corrects\"")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let written = Commitment::from_json(&line["commitment"].to_string()).unwrap();
    assert_eq!(written.corrects.unwrap().to_string(), bad);

    // Only an administrator of the stream corrects.
    let key = json!({"tenantId": author.stream.tenant_id});
    let path = format!("/api/v1/agents/{}/api-keys", author.agent_id);
    let writer = api.post(&path, key.to_string()).await.json();
    let writer = api.with_key(writer["apiKey"].as_str().unwrap());
    let body = json!({"reason": "because", "force": true}).to_string();
    let refused = writer.post(&format!("/api/v1/ves/commitments/{good}/correct"), body.clone()).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let forced = api.post(&format!("/api/v1/ves/commitments/{good}/correct"), body).await.json();
    assert_eq!(forced["corrects"], good);
    assert_eq!(person.asks("commitments check --all").await["wrong"], json!([]));
}
