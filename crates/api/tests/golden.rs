//! What dockerd 26.1 answers is read into our structs and written again without a difference, `null`s and field
//! order of the top level included.

#![allow(clippy::unwrap_used)] // A test: a panic is its way to fail.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn check<T: Serialize + DeserializeOwned>(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = fs::read(&path).unwrap();
    let value: T = api::json::from_slice(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let ours = serde_json::to_string_pretty(&value).unwrap();
    let theirs: Value = serde_json::from_slice(&text).unwrap();
    let again: Value = serde_json::from_str(&ours).unwrap();
    let mut differences = Vec::new();
    diff(String::new(), &theirs, &again, &mut differences);
    assert!(differences.is_empty(), "{name}: {differences:#?}");
}

fn diff(at: String, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    Some(other) => diff(format!("{at}.{key}"), value, other, found),
                    None => found.push(format!("{at}.{key} is missing")),
                }
            }
            found.extend(
                b.keys()
                    .filter(|key| !a.contains_key(*key))
                    .map(|key| format!("{at}.{key} is too much")),
            );
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (value, other)) in a.iter().zip(b).enumerate() {
                diff(format!("{at}[{i}]"), value, other, found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push(format!("{at}: {theirs} became {ours}")),
    }
}

#[test]
fn containers() {
    check::<Vec<api::ContainerSummary>>("list1.45.json");
    for name in ["inspect1.45-aa.json", "inspect1.45-bb.json", "inspect1.45-dd.json"] {
        check::<api::ContainerInspect>(name);
    }
}

#[test]
fn images() {
    check::<Vec<api::ImageSummary>>("images1.45.json");
    check::<Vec<api::ImageSummary>>("images1.24.json");
    check::<api::ImageInspect>("image1.45.json");
    check::<api::ImageInspect>("image1.24.json");
    check::<Vec<api::HistoryItem>>("history1.45.json");
}

#[test]
fn system() {
    check::<api::Version>("version1.45.json");
    check::<api::Info>("info1.45.json");
}

#[test]
fn volumes_and_networks() {
    check::<api::VolumeList>("volumes1.45.json");
    check::<Vec<api::Network>>("networks1.24.json");
}
