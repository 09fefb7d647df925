//! Traces to an OpenTelemetry collector, as the environment asks for them: with the feature `otel` alone.
//!
//! As with dockerd, a mistake in these variables is told and costs the traces, not the daemon.

use tracing_subscriber::{Layer, Registry};

/// What collects spans, what sends them until it is dropped, and what the user should know.
#[derive(Default)]
pub(crate) struct Traces {
    pub(crate) layer: Option<Box<dyn Layer<Registry> + Send + Sync>>,
    pub(crate) sender: Option<Sender>,
    pub(crate) notice: Option<String>,
}

#[cfg(feature = "otel")]
pub(crate) use otlp::Sender;

#[cfg(not(feature = "otel"))]
pub(crate) enum Sender {}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(feature = "otel")]
pub(crate) fn start() -> Traces {
    let settings = otlp::Settings::from_env(variable, "gantryd", env!("CARGO_PKG_VERSION"));
    let started = settings.and_then(|settings| settings.map(otlp::start).transpose());
    match started {
        Ok(None) => Traces::default(),
        Ok(Some((traces, sender))) => {
            let spans = |of: &tracing::Metadata<'_>| of.is_span() && of.target() == otlp::TARGET;
            let filter = tracing_subscriber::filter::filter_fn(spans);
            let layer = traces.with_filter(filter).boxed();
            Traces { layer: Some(layer), sender: Some(sender), notice: None }
        }
        Err(e) => {
            Traces { notice: Some(format!("traces are not collected: {e}")), ..Traces::default() }
        }
    }
}

#[cfg(not(feature = "otel"))]
pub(crate) fn start() -> Traces {
    let asked = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        .into_iter()
        .find(|name| variable(name).is_some_and(|value| !value.trim().is_empty()));
    let notice = asked.map(|name| {
        format!(
            "{name} has no effect: gantryd was built without OpenTelemetry (its feature \"otel\")"
        )
    });
    Traces { notice, ..Traces::default() }
}
