//! The description of the API: complete without a node, and each name in it once.

use std::collections::BTreeSet;

use bowline_gateway::Serves;
use bowline_http::openapi::operations;

use crate::place::Place;

#[test]
fn every_operation_has_an_id_of_its_own() {
    let described = operations(&bowline_gateway::document().unwrap()).unwrap();
    assert!(described.len() >= 70, "{}", described.len());
    let ids: BTreeSet<&str> = described.iter().map(|operation| operation.id.as_str()).collect();
    assert_eq!(ids.len(), described.len());
    assert!(!ids.contains(""), "an operation without an id");
}

#[test]
fn every_schema_that_is_named_is_there() {
    let text = bowline_gateway::openapi_json().unwrap();
    let named: BTreeSet<&str> =
        text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(named.contains("IngestRequest"), "{named:?}");
    let document = bowline_gateway::document().unwrap();
    let schemas = document.components.unwrap().schemas;
    let missing: Vec<_> = named.iter().filter(|name| !schemas.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn what_is_served_is_what_is_described_without_a_node() {
    let place = Place::start(Serves::Everything).await;
    let served = place.ask("GET", "/openapi.json", None).await;
    assert_eq!((served.status, served.text), (200, bowline_gateway::openapi_json().unwrap()));
    let page = place.ask("GET", "/docs", None).await;
    assert!(page.status == 200 && page.text.contains("/openapi.json"), "{page:?}");
}
