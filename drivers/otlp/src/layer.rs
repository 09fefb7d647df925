//! From `tracing`'s spans to ours.

use crate::export::Queue;
use crate::settings::Sampler;
use crate::span::{Context, Kind, Span, SpanId, TraceId, Value};
use std::fmt;
use stdx::time::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer;
use tracing_subscriber::registry::LookupSpan;

/// Collects spans; a layer of the daemon's subscriber, to be filtered by [`crate::TARGET`].
#[derive(Debug)]
pub struct Traces {
    sampler: Sampler,
    queue: Queue,
}

impl Traces {
    pub(crate) fn new(sampler: Sampler, queue: Queue) -> Self {
        Self { sampler, queue }
    }

    /// The context of a span below `parent`, or of the first of a trace.
    fn context(&self, parent: Option<Context>, remote: bool) -> Context {
        let span: SpanId = random();
        match parent {
            Some(parent) if !remote || self.sampler.follows_parent => Context { span, ..parent },
            _ => {
                let trace: TraceId = parent.map_or_else(random, |parent| parent.trace);
                Context { trace, span, sampled: self.sampler.takes(&trace) }
            }
        }
    }
}

impl Sampler {
    /// Decided by the trace's name, so that every program decides alike.
    fn takes(&self, trace: &TraceId) -> bool {
        let [.., a, b, c, d, e, f, g, h] = *trace;
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
        // As exact as a ratio has to be.
        #[allow(clippy::cast_precision_loss, reason = "a ratio is no exact number")]
        let part = number as f64 / (1u64 << 63) as f64;
        part < self.ratio
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> layer::Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, scope: layer::Context<'_, S>) {
        let Some(span) = scope.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let above = span.parent().and_then(|p| p.extensions().get::<Span>().map(|s| s.context));
        let remote = fields.caller.take().filter(|_| above.is_none());
        let parent = above.or(remote);
        let context = self.context(parent, remote.is_some());
        let began = Timestamp::now();
        span.extensions_mut().insert(Span {
            context,
            parent: parent.map(|parent| parent.span),
            name: fields.name.unwrap_or_else(|| attributes.metadata().name().to_owned()),
            kind: fields.kind,
            began,
            ended: began,
            attributes: fields.attributes,
            error: fields.error,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, scope: layer::Context<'_, S>) {
        let Some(span) = scope.span(id) else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        let mut extensions = span.extensions_mut();
        let Some(span) = extensions.get_mut::<Span>() else { return };
        if let Some(name) = fields.name {
            span.name = name;
        }
        span.attributes.extend(fields.attributes);
        span.error = fields.error.or(span.error.take());
    }

    fn on_close(&self, id: Id, scope: layer::Context<'_, S>) {
        let Some(span) = scope.span(&id) else { return };
        let ended = span.extensions_mut().remove::<Span>();
        if let Some(mut span) = ended.filter(|span| span.context.sampled) {
            span.ended = Timestamp::now();
            self.queue.push(span);
        }
    }
}

/// What a span's fields say.
struct Fields {
    name: Option<String>,
    kind: Kind,
    caller: Option<Context>,
    error: Option<String>,
    attributes: Vec<(String, Value)>,
}

impl Default for Fields {
    fn default() -> Self {
        Self { name: None, kind: Kind::Internal, caller: None, error: None, attributes: Vec::new() }
    }
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.attributes.push((field.name().to_owned(), value));
    }

    fn text(&mut self, field: &Field, text: &str) {
        match field.name() {
            "otel.name" => self.name = Some(text.to_owned()),
            "otel.kind" if text == "server" => self.kind = Kind::Server,
            "otel.kind" => {}
            "traceparent" => self.caller = Context::parse(text),
            "error" => self.error = Some(text.to_owned()),
            _ => self.add(field, Value::Text(text.to_owned())),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::Real(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Whole(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Whole(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Truth(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}

/// Never all zeros, which names nothing.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    while bytes == [0; N] {
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .expect("short reads from the kernel's generator never fail");
    }
    bytes
}
