//! A request to a collector as protocol buffers: `ExportTraceServiceRequest` of opentelemetry-proto's
//! `collector/trace/v1` and what it holds (`trace/v1`, `common/v1`, `resource/v1`).

use crate::span::{STATUS_ERROR, Span, Value, nanos};

/// The whole request; `resource` says whose spans these are.
pub(crate) fn request(resource: &[(String, Value)], spans: &[Span]) -> Vec<u8> {
    let mut of_resource = Message::default();
    attributes(&mut of_resource, 1, resource);
    let mut scope = Message::default();
    scope.text(1, super::TARGET);
    let mut of_scope = Message::default();
    of_scope.message(1, &scope);
    for one in spans {
        of_scope.message(2, &span(one));
    }
    let mut resource_spans = Message::default();
    resource_spans.message(1, &of_resource);
    resource_spans.message(2, &of_scope);
    let mut request = Message::default();
    request.message(1, &resource_spans);
    request.0
}

fn span(span: &Span) -> Message {
    let mut message = Message::default();
    message.bytes(1, &span.context.trace);
    message.bytes(2, &span.context.span);
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.text(5, &span.name);
    message.number(6, span.kind as u64);
    message.fixed(7, nanos(span.began));
    message.fixed(8, nanos(span.ended));
    attributes(&mut message, 9, &span.attributes);
    if let Some(error) = &span.error {
        let mut status = Message::default();
        status.text(2, error);
        status.number(3, STATUS_ERROR);
        message.message(15, &status);
    }
    message
}

fn attributes(message: &mut Message, field: u64, attributes: &[(String, Value)]) {
    for (key, value) in attributes {
        let mut any = Message::default();
        match value {
            Value::Text(text) => any.text(1, text),
            Value::Truth(truth) => any.number(2, u64::from(*truth)),
            // Negative numbers are their two's complement (`int64`, not `sint64`).
            Value::Whole(number) => any.number(3, number.cast_unsigned()),
            Value::Real(number) => any.fixed(4, number.to_bits()),
        }
        let mut pair = Message::default();
        pair.text(1, key);
        pair.message(2, &any);
        message.message(field, &pair);
    }
}

/// A message's bytes: a key (field number and kind of value) before each value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn fixed(&mut self, field: u64, bits: u64) {
        self.varint(field << 3 | 1);
        self.0.extend(bits.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
}
