//! Commands about several containers at once: all are asked side by side, answers come in the order typed.

use crate::exit::{Failure, Result};
use crate::output;
use client::Client;
use futures_util::future::join_all;

/// Asks for each of `names`, prints the names that went well, and fails with what did not.
pub(super) async fn each(
    client: &Client,
    names: &[String],
    ask: impl AsyncFn(&Client, &str) -> client::Result<()>,
) -> Result<u8> {
    let outcomes = join_all(names.iter().map(|name| ask(client, name))).await;
    let mut failures = Vec::new();
    let mut done = String::new();
    for (name, outcome) in names.iter().zip(outcomes) {
        match outcome {
            Ok(()) => done.push_str(&format!("{name}\n")),
            Err(e) => failures.push(e.to_string()),
        }
    }
    output::print(&done)?;
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
}
