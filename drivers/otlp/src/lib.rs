//! Traces to OpenTelemetry collectors, by OTLP over HTTP.
//!
//! What is traced says so itself: `tracing` spans with the target [`TARGET`], made wherever something is worth a span.
//! They are of the level TRACE, so that they cost a comparison of integers where nobody collects them. Fields are
//! attributes, but for these: `otel.name` (the name, where it varies), `otel.kind` (`server`), `traceparent` (the
//! caller's span, as W3C's Trace Context writes it) and `error` (the span's status, and why).
//!
//! ```text
//!   settings.rs   OTEL_… of the environment
//!   layer.rs      tracing's spans become ours
//!   span.rs       one finished span
//!   protobuf.rs   a request to a collector, in either form …
//!   json.rs
//!   export.rs     … and the thread that sends it
//! ```
//! The documents: <https://opentelemetry.io/docs/specs/otlp/> and "SDK environment variables" beside it. Written here
//! rather than taken from the SDK's crates: those bring some forty packages for these two messages.

#![forbid(unsafe_code)]

mod export;
mod json;
mod layer;
mod protobuf;
mod settings;
mod span;

pub use export::Sender;
pub use layer::Traces;
pub use settings::Settings;

use stdx::Result;

pub use stdx::TRACES as TARGET;

/// Begins to collect; what is collected is sent until the sender is dropped, which sends the rest.
pub fn start(settings: Settings) -> Result<(Traces, Sender)> {
    let sampler = settings.sampler;
    let (queue, sender) = export::start(settings)?;
    Ok((Traces::new(sampler, queue), sender))
}

#[cfg(test)]
mod tests;
