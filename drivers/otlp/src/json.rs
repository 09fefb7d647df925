//! A request to a collector as JSON: the same message, with names in camel case, identifiers in hexadecimal digits and
//! large numbers as texts (OTLP, "JSON Protobuf Encoding").

use crate::span::{STATUS_ERROR, Span, Value, nanos};
use serde_json::json;
use std::fmt::Write as _;

/// The whole request; `resource` says whose spans these are.
pub(crate) fn request(resource: &[(String, Value)], spans: &[Span]) -> Vec<u8> {
    let spans: Vec<_> = spans.iter().map(span).collect();
    let request = json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(resource) },
        "scopeSpans": [{ "scope": { "name": super::TARGET }, "spans": spans }],
    }] });
    request.to_string().into_bytes()
}

fn span(span: &Span) -> serde_json::Value {
    let mut value = json!({
        "traceId": hex(&span.context.trace),
        "spanId": hex(&span.context.span),
        "name": span.name,
        "kind": span.kind as u64,
        "startTimeUnixNano": nanos(span.began).to_string(),
        "endTimeUnixNano": nanos(span.ended).to_string(),
        "attributes": attributes(&span.attributes),
    });
    if let Some(parent) = &span.parent {
        value["parentSpanId"] = hex(parent).into();
    }
    if let Some(error) = &span.error {
        value["status"] = json!({ "code": STATUS_ERROR, "message": error });
    }
    value
}

fn attributes(attributes: &[(String, Value)]) -> Vec<serde_json::Value> {
    let value = |value: &Value| match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Whole(number) => json!({ "intValue": number.to_string() }),
        Value::Real(number) => json!({ "doubleValue": number }),
        Value::Truth(truth) => json!({ "boolValue": truth }),
    };
    attributes.iter().map(|(key, v)| json!({ "key": key, "value": value(v) })).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
