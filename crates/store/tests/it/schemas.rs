//! Payload schemas: versions only grow, the newest active one judges, and who caches hears of every change.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_store::{
    ChangeKind, InsertSchema, SchemaCompatibility, SchemaFilter, SchemaRecord, SchemaStatus,
};
use bowline_types::{SchemaId, TenantId};

use crate::support::{Place, until};
use bowline_conformance::events::at;

pub(crate) fn schema(tenant_id: TenantId, event_type: &str, version: u32) -> SchemaRecord {
    SchemaRecord {
        schema_id: SchemaId::random(),
        tenant_id,
        event_type: event_type.to_owned(),
        version,
        schema_json: format!("{{ \"type\":\"object\", \"title\":\"ä {version}\" }}"),
        status: SchemaStatus::Active,
        compatibility: SchemaCompatibility::Forward,
        description: Some("what it is for".to_owned()),
        created_at: at(i64::from(version)),
        updated_at: at(i64::from(version)),
        created_by: None,
    }
}

fn all(tenant_id: TenantId) -> SchemaFilter {
    SchemaFilter { tenant_id, event_type: None, version: None, limit: 100 }
}

pub(crate) async fn a_schemas_number_is_given_once(place: Arc<Place>) {
    let store = place.open().await;
    let tenant = TenantId::random();
    let first = schema(tenant, "order.created", 1);
    let second =
        SchemaRecord { created_by: Some("an agent".to_owned()), ..schema(tenant, "order.created", 2) };
    for schema in [&first, &second] {
        assert_eq!(store.insert_schema(schema.clone(), 3).await.unwrap(), InsertSchema::Inserted);
    }
    let late = schema(tenant, "order.created", 2);
    assert_eq!(store.insert_schema(late, 3).await.unwrap(), InsertSchema::Superseded);
    let elsewhere = schema(TenantId::random(), "order.created", 2);
    assert_eq!(store.insert_schema(elsewhere, 3).await.unwrap(), InsertSchema::Inserted);
    let other = schema(tenant, "Order.paid", 1);
    assert_eq!(store.insert_schema(other.clone(), 3).await.unwrap(), InsertSchema::Inserted);
    let fourth = schema(tenant, "order.paid", 1);
    assert_eq!(store.insert_schema(fourth.clone(), 3).await.unwrap(), InsertSchema::TooMany);

    // Deleted ones make room, and their number stays taken.
    assert!(store.delete_schema(second.schema_id, at(9)).await.unwrap());
    assert!(!store.delete_schema(second.schema_id, at(9)).await.unwrap());
    assert!(!store.set_schema_status(second.schema_id, SchemaStatus::Active, at(9)).await.unwrap());
    assert_eq!(store.schema(second.schema_id).await.unwrap(), None);
    let head = store.schema_head(tenant, "order.created").await.unwrap();
    assert_eq!((head.last_version, head.current), (2, Some(first.clone())));
    assert_eq!(store.insert_schema(second, 9).await.unwrap(), InsertSchema::Superseded);
    assert_eq!(store.insert_schema(fourth, 3).await.unwrap(), InsertSchema::Inserted);
    store.close().await;

    let store = place.open().await;
    assert_eq!(store.schema(first.schema_id).await.unwrap().as_ref(), Some(&first));
    let listed = store.schemas(all(tenant)).await.unwrap();
    let names: Vec<_> = listed.iter().map(|schema| (schema.event_type.as_str(), schema.version)).collect();
    assert_eq!(names, [("Order.paid", 1), ("order.created", 1), ("order.paid", 1)]);
    assert_eq!(store.schemas(SchemaFilter { limit: 1, ..all(tenant) }).await.unwrap(), [other]);
    let narrow = SchemaFilter { event_type: Some("order.created".to_owned()), ..all(tenant) };
    assert_eq!(store.schemas(narrow.clone()).await.unwrap(), [first]);
    assert!(store.schemas(SchemaFilter { version: Some(2), ..narrow }).await.unwrap().is_empty());
}

pub(crate) async fn the_newest_active_schema_judges(place: Arc<Place>) {
    let store = place.open().await;
    let tenant = TenantId::random();
    let versions: Vec<_> = (1..=3).map(|version| schema(tenant, "t", version)).collect();
    assert_eq!(store.active_schema(tenant, "t").await.unwrap(), None);
    assert_eq!(store.schema_head(tenant, "t").await.unwrap(), Default::default());
    for schema in &versions {
        store.insert_schema(schema.clone(), 9).await.unwrap();
    }
    let active = async || store.active_schema(tenant, "t").await.unwrap().map(|schema| schema.version);
    let current = async || {
        let current = store.schema_head(tenant, "t").await.unwrap().current;
        current.map(|schema| (schema.version, schema.status, schema.updated_at))
    };
    assert_eq!(active().await, Some(3));
    let change = async |version: usize, status| {
        assert!(store.set_schema_status(versions[version - 1].schema_id, status, at(50)).await.unwrap());
    };
    change(3, SchemaStatus::Deprecated).await;
    assert_eq!((active().await, current().await), (Some(2), Some((3, SchemaStatus::Deprecated, at(50)))));
    change(3, SchemaStatus::Archived).await;
    assert_eq!((active().await, current().await), (Some(2), Some((2, SchemaStatus::Active, at(2)))));
    change(2, SchemaStatus::Archived).await;
    change(1, SchemaStatus::Archived).await;
    assert_eq!((active().await, current().await), (None, None));
    assert_eq!(store.active_schema(TenantId::random(), "t").await.unwrap(), None);
    // A newer binary may have written it.
    place.execute("UPDATE event_schemas SET status = 'probation', compatibility = 'transitive'").await;
    let read = store.schema(versions[0].schema_id).await.unwrap().unwrap();
    assert_eq!((read.status, read.compatibility), (SchemaStatus::Archived, SchemaCompatibility::Full));
}

pub(crate) async fn every_process_hears_of_a_changed_schema(place: Arc<Place>) {
    let stores = place.open_two().await;
    let epoch = |user: usize| stores[user].changes().epoch(ChangeKind::SCHEMAS);
    let schema = schema(TenantId::random(), "t", 1);
    let mut known = epoch(1);
    for step in 0..4 {
        match step {
            0 => drop(stores[0].insert_schema(schema.clone(), 9).await.unwrap()),
            1 => assert!(
                stores[0].set_schema_status(schema.schema_id, SchemaStatus::Archived, at(1)).await.unwrap()
            ),
            2 => assert!(stores[0].delete_schema(schema.schema_id, at(2)).await.unwrap()),
            // What changes nothing is not worth a word.
            _ => {
                assert!(!stores[0].delete_schema(schema.schema_id, at(2)).await.unwrap());
                assert_eq!(epoch(0), known);
                continue;
            }
        }
        assert!(epoch(0) > known, "step {step}");
        known = epoch(0);
        until(async || epoch(1) == known).await;
    }
}
