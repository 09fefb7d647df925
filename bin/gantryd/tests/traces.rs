//! Traces of a daemon that has the feature `otel`, as a collector gets them.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "it arranges programs and waits as users do")]

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use testkit::{Daemon, Options, http, need};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Takes requests inside the daemon's host, and gives their bodies on.
fn collector(daemon: &Daemon) -> mpsc::Receiver<Value> {
    let network = daemon.host().network();
    let (bodies, received) = mpsc::channel();
    let (ready, wait) = mpsc::channel();
    std::thread::spawn(move || {
        network.enter();
        let listener = TcpListener::bind("127.0.0.1:4318").unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
            let body = loop {
                let n = stream.read(&mut piece).unwrap();
                bytes.extend(&piece[..n]);
                let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
                let length = head.split("Content-Length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                while bytes.len() < end + 4 + length {
                    let n = stream.read(&mut piece).unwrap();
                    bytes.extend(&piece[..n]);
                }
                break serde_json::from_slice(&bytes[end + 4..]).unwrap();
            };
            let _gone = bodies.send(body);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    wait.recv().unwrap();
    received
}

/// An attribute's text or number.
fn attribute(span: &Value, key: &str) -> String {
    let list = span["attributes"].as_array().unwrap();
    let value = list.iter().find(|a| a["key"] == key).map(|a| &a["value"]).unwrap_or(&Value::Null);
    value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn a_request_is_a_span_and_what_it_does_are_its_children() {
    need!(Root);
    // This test's own daemon, with the helpers that all have.
    let programs = tempfile::tempdir().unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_gantryd"), programs.path().join("gantryd")).unwrap();
    for helper in ["gantry-shim", "gantry-init"] {
        std::fs::copy(testkit::program(helper), programs.path().join(helper)).unwrap();
    }
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_SERVICE_NAME", "tested"),
    ];
    let mut daemon = Daemon::with(Options {
        program: Some(programs.path().join("gantryd")),
        env: env.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        ..Options::default()
    });
    let received = collector(&daemon);
    let socket = daemon.socket();
    let post = |path: &str, body: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nTraceparent: {CALLER}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        http::raw(&socket, request.as_bytes())
    };
    let create = r#"{"Image":"busybox","Cmd":["true"]}"#;
    let id = post("/v1.45/containers/create?name=traced", create).is(201).json();
    let id = id["Id"].as_str().unwrap().to_owned();
    post("/v1.45/containers/traced/start", "").is(204);
    post("/v1.45/containers/traced/wait", "").is(200);
    http::request(&socket, "GET", "/containers/nobody/json", None).is(404);
    daemon.stop();

    // The last are sent when the daemon ends.
    let bodies: Vec<Value> = received.try_iter().collect();
    let resource = &bodies[0]["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name"), "tested");
    let spans: Vec<&Value> = bodies
        .iter()
        .flat_map(|b| b["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap())
        .collect();
    let find = |name: &str| {
        let found = spans.iter().find(|s| s["name"] == name);
        *found.unwrap_or_else(|| panic!("no span {name} in {spans:#?}"))
    };
    let started = find("POST /containers/{name}/start");
    assert_eq!(started["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(started["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(started["kind"], 2);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/containers/{name}/start"),
        ("http.response.status_code", "204"),
        ("url.path", "/v1.45/containers/traced/start"),
    ] {
        assert_eq!(attribute(started, key), value, "{started:#?}");
    }
    let below = |name: &str, parent: &Value| {
        let span = find(name);
        assert_eq!(span["parentSpanId"], parent["spanId"], "{span:#?}");
        assert_eq!(span["traceId"], parent["traceId"]);
        span
    };
    let start = below("start container", started);
    assert_eq!(attribute(start, "container.id"), id);
    for phase in ["prepare", "create", "join network", "start"] {
        below(phase, start);
    }
    let created = below("create container", find("POST /containers/create"));
    assert_eq!(attribute(created, "image"), "busybox");
    // Without a caller a trace begins.
    let looked = find("GET /containers/{name}/json");
    assert_eq!(looked["parentSpanId"], Value::Null);
    assert_eq!(attribute(looked, "http.response.status_code"), "404");
}
