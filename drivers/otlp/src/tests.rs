//! Spans on their way to a collector, which is one of ours.

use super::*;
use crate::span::{Context, Kind, Span, Value};
use serde_json::Value as Json;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt as _;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Takes requests, answers each with `status`, and gives their heads and bodies on.
fn collector(status: &'static str) -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (requests, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
            let (head, body) = loop {
                let n = stream.read(&mut piece).unwrap();
                bytes.extend(&piece[..n]);
                let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
                let length = head.split("Content-Length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                while bytes.len() < end + 4 + length {
                    let n = stream.read(&mut piece).unwrap();
                    bytes.extend(&piece[..n]);
                }
                break (head, bytes.split_off(end + 4));
            };
            // Given on before it is answered: whoever has an answer finds it.
            if requests.send((head, body)).is_err() {
                return;
            }
            stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).unwrap();
        }
    });
    (address, received)
}

fn settings(address: &str, more: &[(&str, &str)]) -> Settings {
    let get = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(address.to_owned()),
        _ => more.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
    };
    Settings::from_env(get, "gantryd", "0.1").unwrap().unwrap()
}

/// What `work` traces, and what had arrived when the sender had ended.
fn collected(more: &[(&str, &str)], work: impl FnOnce()) -> Vec<Json> {
    let (address, received) = collector("200 OK");
    let all = [&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], more].concat();
    let (traces, sender) = start(settings(&address, &all)).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(traces), work);
    drop(sender);
    let requests = received.try_iter();
    requests
        .flat_map(|(head, body)| {
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("Content-Type: application/json"), "{head}");
            let body: Json = serde_json::from_slice(&body).unwrap();
            let whose = &body["resourceSpans"][0];
            assert_eq!(attribute(&whose["resource"], "service.name"), "gantryd");
            whose["scopeSpans"][0]["spans"].as_array().unwrap().clone()
        })
        .collect()
}

/// A text or a number as text.
fn attribute(of: &Json, key: &str) -> String {
    let attributes = of["attributes"].as_array().unwrap();
    let value = &attributes.iter().find(|a| a["key"] == key).unwrap()["value"];
    let text = value["stringValue"].as_str().or(value["intValue"].as_str());
    text.unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn request() -> tracing::Span {
    tracing::trace_span!(
        target: TARGET,
        "request",
        otel.name = "POST /containers/create",
        otel.kind = "server",
        traceparent = CALLER,
        http.request.method = "POST",
        http.response.status_code = tracing::field::Empty,
        error = tracing::field::Empty,
    )
}

#[test]
fn spans_arrive_with_names_parents_and_attributes() {
    let spans = collected(&[], || {
        let request = request();
        request
            .in_scope(|| tracing::trace_span!(target: TARGET, "create", tries = 2).in_scope(|| ()));
        request.record("http.response.status_code", 500);
        request.record("error", "no space");
    });
    let [create, request] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(request["name"], "POST /containers/create");
    assert_eq!(request["kind"], 2);
    assert_eq!(request["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(request["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(attribute(request, "http.request.method"), "POST");
    assert_eq!(attribute(request, "http.response.status_code"), "500");
    assert_eq!(request["status"]["code"], 2);
    assert_eq!(request["status"]["message"], "no space");
    assert_eq!(create["name"], "create");
    assert_eq!(create["kind"], 1);
    assert_eq!(create["traceId"], request["traceId"]);
    assert_eq!(create["parentSpanId"], request["spanId"]);
    assert_eq!(attribute(create, "tries"), "2");
    let nanos = |key: &str| create[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos("endTimeUnixNano") >= nanos("startTimeUnixNano"));
}

#[test]
fn a_sampler_decides_for_whole_traces() {
    let own = || {
        let _own = tracing::trace_span!(target: TARGET, "own").entered();
        drop(tracing::trace_span!(target: TARGET, "child"));
    };
    let off = [("OTEL_TRACES_SAMPLER", "always_off")];
    assert_eq!(collected(&off, own), [Json::Null; 0]);
    // The caller's decision stands, unless the sampler is asked to follow nobody.
    assert_eq!(collected(&off, || drop(request())), [Json::Null; 0]);
    let parents = [("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
    assert_eq!(collected(&parents, || drop(request())).len(), 1);
    assert_eq!(collected(&parents, own), [Json::Null; 0]);
    let half = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.5")];
    let some = collected(&half, || (0..400).for_each(|_| own()));
    assert!((200..600).contains(&some.len()), "{}", some.len());
    assert_eq!(some.len() % 2, 0, "a child without its parent");
}

#[test]
fn nobody_waits_for_a_collector() {
    let more = [("OTEL_BSP_MAX_QUEUE_SIZE", "4"), ("OTEL_EXPORTER_OTLP_HEADERS", "key=a%20b")];
    let (address, received) = collector("503 Service Unavailable");
    let (traces, sender) = start(settings(&address, &more)).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(traces), || {
        let begin = std::time::Instant::now();
        (0..5000).for_each(|_| drop(tracing::trace_span!(target: TARGET, "one of many")));
        assert!(begin.elapsed() < std::time::Duration::from_secs(4));
    });
    drop(sender);
    let (head, body) = received.try_iter().next().unwrap();
    assert!(head.ends_with("\r\nkey: a b") && head.contains("application/x-protobuf"), "{head}");
    assert!(body.windows(11).any(|w| w == b"one of many"));
}

#[test]
fn protocol_buffers_are_what_the_schema_says() {
    let at = stdx::time::Timestamp::from_unix_nanos(0x0102);
    let span = Span {
        context: Context { trace: [1; 16], span: [2; 8], sampled: true },
        parent: Some([3; 8]),
        name: "n".to_owned(),
        kind: Kind::Server,
        began: at,
        ended: at,
        attributes: vec![
            ("w".to_owned(), Value::Whole(-1)),
            ("t".to_owned(), Value::Truth(true)),
            ("r".to_owned(), Value::Real(1.0)),
        ],
        error: Some("e".to_owned()),
    };
    let time = [2, 1, 0, 0, 0, 0, 0, 0];
    let expected: Vec<u8> = [
        &[0x0a, 16][..],
        &[1; 16], // trace_id = 1
        &[0x12, 8],
        &[2; 8], // span_id = 2
        &[0x22, 8],
        &[3; 8],          // parent_span_id = 4
        &[0x2a, 1, b'n'], // name = 5
        &[0x30, 2],       // kind = 6
        &[0x39],
        &time,
        &[0x41],
        &time, // start_time_unix_nano = 7, end_time_unix_nano = 8
        &[0x4a, 16, 0x0a, 1, b'w', 0x12, 11, 0x18], // attributes = 9: key = 1, value = 2 { int_value = 3 }
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x4a, 7, 0x0a, 1, b't', 0x12, 2, 0x10, 1], // bool_value = 2
        &[0x4a, 14, 0x0a, 1, b'r', 0x12, 9, 0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f], // double_value = 4
        &[0x7a, 5, 0x12, 1, b'e', 0x18, 2],          // status = 15: message = 2, code = 3
    ]
    .concat();
    let request = protobuf::request(&[], &[span]);
    assert!(request.ends_with(&expected), "{request:x?}");
    // resource_spans = 1 { resource = 1 {}, scope_spans = 2 { scope = 1 { name = 1 }, spans = 2 } }, each with its length.
    let mut scope = vec![0x0a, 8, 0x0a, 6];
    scope.extend(b"traces");
    scope.push(0x12);
    // One byte each: all are below 128.
    let length = |n: usize| vec![u8::try_from(n).unwrap()];
    scope.extend(length(expected.len()));
    let inner = [vec![0x0a, 0, 0x12], length(scope.len() + expected.len()), scope].concat();
    let whole = [vec![0x0a], length(inner.len() + expected.len()), inner, expected].concat();
    assert_eq!(request, whole);
}
