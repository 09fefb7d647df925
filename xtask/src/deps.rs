//! `deps`: who may use whom (ARCHITECTURE.md, "Layers"), checked from cargo's own metadata.

use crate::sh;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Layers from the floor up. A crate uses crates of lower layers only, and the exceptions below.
const LAYERS: [&[&str]; 7] = [
    &["sys", "stdx"],
    &["types", "oci", "api", "tar", "template"],
    &[
        "content", "snapshot", "network", "volume", "logging", "task", "store", "layer", "cgroups",
        "seccomp", "nft", "dial", "dns", "plugin",
    ],
    &["image", "remote", "container", "shim", "runtime", "netd"],
    &["engine"],
    &["server", "client"],
    &["cli"],
];

/// Edges within a layer, or into a driver, that are meant.
const MEANT: [(&str, &str); 8] = [
    // Formats meet in digests and platforms; errors and time are the floor's.
    ("oci", "types"),
    ("sys", "stdx"),
    // The supervisor starts the container itself (architecture: one exec less).
    ("shim", "runtime"),
    // The shim writes logs; it is the only user of drivers outside bin/.
    ("shim", "jsonlog"),
    ("shim", "locallog"),
    ("runtime", "cgroups"),
    ("content", "oci"),
    // TLS as everybody else has it.
    ("plugin", "dial"),
];

/// Crates that must never be compiled into these: the small programs have no runtime, no TLS, no C.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("gantry-shim", &["tokio", "hyper", "rustls", "ring", "zstd-sys", "redb", "engine", "store"]),
    ("gantry-netd", &["tokio", "hyper", "rustls", "ring", "zstd-sys", "redb", "engine", "store"]),
    (
        "gantry-runtime",
        &["tokio", "hyper", "rustls", "ring", "zstd-sys", "redb", "engine", "store"],
    ),
    ("gantry", &["engine", "store", "redb"]),
];

pub(crate) fn task(_: &[String]) -> Result<ExitCode> {
    let findings = check()?;
    findings.iter().for_each(|f| println!("{f}"));
    let lock = std::fs::read_to_string(sh::root().join("Cargo.lock")).context("read Cargo.lock")?;
    println!("{} packages in Cargo.lock (budget: about 300)", lock.matches("[[package]]").count());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every edge that should not be.
pub(crate) fn check() -> Result<Vec<String>> {
    // Of this platform alone: otherwise cargo downloads what only others need.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = sh::output(
        "cargo",
        &["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform],
    )?;
    let metadata: Value = serde_json::from_str(&metadata).context("parse cargo metadata")?;
    let mut findings = edges(&metadata);
    findings.extend(forbidden(&metadata));
    Ok(findings)
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn edges(metadata: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let (name, path) = (text(&package["name"]), text(&package["manifest_path"]));
        if !package["source"].is_null() {
            continue;
        }
        let is_driver = path.contains("/drivers/");
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // Development dependencies may look anywhere; only what is shipped is layered.
            if !dependency["kind"].is_null() || dependency["path"].is_null() {
                continue;
            }
            let used = text(&dependency["name"]);
            if MEANT.contains(&(name, used)) {
                continue;
            }
            let used_is_driver = text(&dependency["path"]).contains("/drivers/");
            let allowed = match (layer(name), layer(used)) {
                _ if path.contains("/bin/")
                    || path.contains("/benches/")
                    || matches!(name, "tests" | "testkit" | "xtask") =>
                {
                    true
                }
                _ if used_is_driver => false,
                (Some(own), Some(other)) => other < own,
                // A driver uses one contract and what is below it.
                (None, Some(other)) if is_driver => other <= 2,
                _ => false,
            };
            if !allowed {
                findings
                    .push(format!("{name} must not use {used}: see \"Layers\" in ARCHITECTURE.md"));
            }
        }
    }
    findings
}

/// What is compiled into a program, through everything it uses.
fn forbidden(metadata: &Value) -> Vec<String> {
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|n| (text(&n["id"]), n))
        .collect();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| (text(&p["id"]), text(&p["name"])))
        .collect();
    let mut findings = Vec::new();
    for (program, banned) in FORBIDDEN {
        let Some((id, _)) = names.iter().find(|(_, name)| **name == program) else { continue };
        let (mut seen, mut next) = (Vec::new(), vec![*id]);
        while let Some(id) = next.pop() {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            for dependency in nodes.get(id).and_then(|n| n["deps"].as_array()).into_iter().flatten()
            {
                let normal = dependency["dep_kinds"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|k| k["kind"].is_null());
                if normal {
                    next.push(text(&dependency["pkg"]));
                }
            }
        }
        for name in seen.iter().filter_map(|id| names.get(id)) {
            if banned.contains(name) {
                findings.push(format!("{program} must not contain {name}"));
            }
        }
    }
    findings
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
