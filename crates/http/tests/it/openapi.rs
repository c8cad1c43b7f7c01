//! Fragments of a description: merged where they are apart, refused where two of them claim one name.

use bowline_http::openapi::{DocumentError, Fragment, Operation, merge, operations};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

fn document(paths: Value, schemas: Value) -> OpenApi {
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "paths": paths,
        "components": { "schemas": schemas },
    });
    serde_json::from_value(document).unwrap()
}

fn operation(id: &str) -> Value {
    json!({ "operationId": id, "responses": {} })
}

fn schema() -> Value {
    json!({ "type": "object" })
}

#[test]
fn fragments_that_are_apart_become_one_document() {
    let public = json!({ "operationId": "health", "responses": {}, "security": [{}] });
    let first =
        document(json!({ "/a": { "get": operation("get_a") }, "/health": { "get": public } }), json!({}));
    let second = document(json!({ "/a": { "post": operation("make_a") } }), json!({ "A": schema() }));
    let base = document(json!({}), json!({}));
    let fragments =
        vec![Fragment { name: "first", document: first }, Fragment { name: "second", document: second }];
    let merged = merge(base, fragments).unwrap();
    let found = operations(&merged).unwrap();
    let of = |path: &str, method: &str, id: &str, is_public: bool| Operation {
        path: path.to_owned(),
        method: method.to_owned(),
        id: id.to_owned(),
        is_public,
    };
    assert_eq!(
        found,
        [
            of("/a", "GET", "get_a", false),
            of("/a", "POST", "make_a", false),
            of("/health", "GET", "health", true)
        ]
    );
    assert!(merged.components.unwrap().schemas.contains_key("A"));
}

#[test]
fn a_name_that_two_claim_is_refused_with_both_of_them() {
    let first = document(json!({ "/a": { "get": operation("list") } }), json!({ "A": schema() }));
    let second = document(
        json!({ "/a": { "get": operation("other") }, "/b": { "get": operation("list") } }),
        json!({ "A": schema() }),
    );
    let fragments =
        vec![Fragment { name: "first", document: first }, Fragment { name: "second", document: second }];
    let refused = merge(document(json!({}), json!({})), fragments).err().unwrap();
    let DocumentError::Collisions(collisions) = &refused else { panic!("{refused}") };
    let names: Vec<(&str, &str)> = collisions.iter().map(|c| (c.kind, c.name.as_str())).collect();
    assert_eq!(names, [("operation", "GET /a"), ("operation id", "list"), ("schema", "A")]);
    let text = refused.to_string();
    assert!(
        text.contains("the operation id `list` is claimed by GET /a (first) and GET /b (second)"),
        "{text}"
    );
}
