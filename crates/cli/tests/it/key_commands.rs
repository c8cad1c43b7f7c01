//! `bowline keys` and `bowline api-keys` as a person types them, in the spellings of the original's admin tool
//! too.

use std::sync::Arc;

use bowline_types::AgentId;
use bowline_ves::SecretKey;
use serde_json::{Value, json};

use crate::commands::Person;
use crate::site::Site;

fn one<'a>(list: &'a Value, name: &str) -> &'a Value {
    assert_eq!(list["count"], 1, "{list}");
    &list[name][0]
}

pub(crate) async fn a_person_rotates_and_revokes_keys(site: Arc<Site>) {
    let node = site.node("data").without("BOOTSTRAP_ADMIN_API_KEY");
    let node = node.config("api:\n  require_proof_of_possession: true\n").start().await;
    let person = Person::at(&site, &node);
    // Appending registers the key with proof, and so does registering by name.
    person.pipes("1\n", "append").await.must(0);
    let registered = person.asks("keys register --name default").await;
    assert_eq!((&registered["keyId"], &registered["success"]), (&json!(1), &json!(true)));
    person.types("keys register --name till-2").await.must(0);
    let bare = format!(
        "keys register --agent {} --public-key {}",
        AgentId::random(),
        SecretKey::random().unwrap().public()
    );
    assert!(person.types(&bare).await.must(2).stderr.contains("proofOfPossession"));

    let agent = registered["agentId"].as_str().unwrap().to_owned();
    let rotated = person.asks("keys rotate --name default --overlap-secs 60").await;
    assert_eq!((&rotated["keyId"], &rotated["retired"][0]["key_id"]), (&json!(2), &json!(1)), "{rotated}");
    person.pipes("2\n", "append").await.must(0);
    let events = person.asks("events list").await;
    let keys: Vec<_> =
        events["events"].as_array().unwrap().iter().map(|event| &event["agent_key_id"]).collect();
    assert_eq!(keys, [&json!(1), &json!(2)]);
    person.types("keys rotate --name default --revoke-old").await.must(0);
    person.pipes("3\n", "append").await.must(0);
    let revoked = person.asks(&format!("keys list --agent {agent} --status revoked")).await;
    assert_eq!(revoked["count"], 2, "{revoked}");
    let shown = person.asks(&format!("keys show --agent {agent} --key-id 2")).await;
    assert_eq!((&shown["status"], &shown["revoked_reason"]), (&json!("revoked"), &json!("rotated")));
    assert!(
        person
            .types(&format!("keys show --agent {agent} --key-id 3"))
            .await
            .must(0)
            .stdout
            .contains("active")
    );

    let one_key = format!("--agent {agent} --key-id 3");
    person.types(&format!("keys validity {one_key} --valid-to 2020-01-01T00:00:00Z")).await.must(0);
    assert!(person.pipes("4\n", "append").await.must(1).stdout.contains("any more"));
    let open = person.asks(&format!("keys validity {one_key} --valid-to none")).await;
    assert_eq!(open["key"]["valid_to"], Value::Null);
    person.pipes("4\n", "append").await.must(0);
    person.types(&format!("keys revoke {one_key} --reason stolen")).await.must(0);
    let refused = person.pipes("5\n", "append").await;
    assert!(refused.must(1).stderr.contains("revoked"), "{refused:?}");
    assert!(
        person
            .types(&format!("keys validity {one_key} --valid-to none"))
            .await
            .must(1)
            .stderr
            .contains("revoked")
    );
    person.types(&format!("keys revoke --agent {agent} --key-id 9")).await.must(1);
    person.types("keys rotate --name nobody").await.must(2);
    assert!(person.types(&format!("keys revoke {one_key} --curl")).await.must(0).stderr.contains("-X POST"));
}

pub(crate) async fn the_spellings_of_the_admin_tool_are_understood(site: Arc<Site>) {
    let node = site.node("data").without("BOOTSTRAP_ADMIN_API_KEY").start().await;
    let person = Person::at(&site, &node);
    let (tenant, agent) = (bowline_types::TenantId::random(), AgentId::random());
    let whose = format!("--tenant-id {tenant} --agent-id {agent}");
    let public = || SecretKey::random().unwrap().public();
    person.types(&format!("keys register {whose} --key-id 1 --public-key {}", public())).await.must(0);
    let rotate = |id: u32, more: &str| {
        format!("keys rotate {whose} --new-key-id {id} --public-key {}{more}", public())
    };
    let first = person.asks(&rotate(2, "")).await;
    assert_eq!((&first["keyId"], &first["retired"][0]["status"]), (&json!(2), &json!("active")));
    let second = person.asks(&rotate(5, " --revoke-old")).await;
    assert_eq!(second["retired"].as_array().unwrap().len(), 2, "{second}");
    let listed = person.asks(&format!("keys list --tenant-id {tenant}")).await;
    let statuses: Vec<_> =
        listed["keys"].as_array().unwrap().iter().map(|key| key["status"].clone()).collect();
    assert_eq!(statuses, ["revoked", "revoked", "active"]);
    let table = person.types(&format!("keys list {whose}")).await;
    assert_eq!(table.must(0).stdout.lines().count(), 4);
    assert!(table.stdout.lines().all(|line| line.chars().count() <= 200));
    person.types(&rotate(5, "")).await.must(1);
    person.types(&rotate(6, " --revoke-old --overlap-secs 5")).await.must(2);
}

pub(crate) async fn a_person_makes_and_revokes_api_keys(site: Arc<Site>) {
    let node = site.node("data").without("BOOTSTRAP_ADMIN_API_KEY").start().await;
    let person = Person::at(&site, &node);
    person.pipes("1\n", "append").await.must(0);
    let agent = AgentId::random();
    let made = person
        .asks(&format!("api-keys create --agent {agent} --read-only --expires-at 2999-01-01T00:00:00Z"))
        .await;
    let (key, prefix) = (made["apiKey"].as_str().unwrap(), made["keyHashPrefix"].as_str().unwrap());
    person.types(&format!("head --api-key {key}")).await.must(0);
    person.types(&format!("api-keys list --api-key {key}")).await.must(4);
    let listed = person.asks("api-keys list").await;
    assert_eq!(one(&listed, "api_keys")["key_prefix"], prefix);
    assert_eq!(
        one(&person.asks(&format!("api-keys list --agent {agent}")).await, "api_keys")["status"],
        "active"
    );
    for line in ["api-keys list".to_owned(), format!("api-keys show {prefix}")] {
        let shown = person.types(&line).await;
        assert!(shown.must(0).stdout.contains(prefix) && !shown.stdout.contains(key), "{shown:?}");
    }
    assert!(person.types(&format!("api-keys create --agent {agent}")).await.must(0).stdout.contains("ss_"));
    person.types(&format!("api-keys revoke {prefix}")).await.must(0);
    assert_eq!(person.asks(&format!("api-keys show {prefix}")).await["status"], "revoked");
    person.types(&format!("head --api-key {key}")).await.must(4);
    person.types("api-keys revoke 0123456789abcdef").await.must(1);
    person.types("api-keys revoke 0123").await.must(2);
}
