//! Messages as a server sees them, and what a server may answer.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use stdx::time::Timestamp;

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn shipper(pairs: &[(&str, &str)]) -> Box<dyn Shipper> {
    let info = Info {
        options: options(pairs),
        id: "f".repeat(64),
        name: "web".to_owned(),
        ..Info::default()
    };
    match Fluentd.check(&info.options).and_then(|()| Fluentd.open(&info)).unwrap() {
        Destination::Remote(shipper) => shipper,
        Destination::File(_) => panic!("fluentd is no file"),
    }
}

fn entry(line: &str) -> Entry {
    let time = Timestamp::from_unix(0x6b02_7392, 7);
    Entry {
        stream: Stream::Stdout,
        time,
        line: line.as_bytes().to_vec(),
        partial: line.len() == logging::MAX_LINE,
        attributes: None,
    }
}

#[test]
fn messages_are_dockers() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let mut shipper = shipper(&[("fluentd-address", &address)]);
    let long = "x".repeat(logging::MAX_LINE);
    shipper.ship(&[entry("hello"), entry(&long), entry("end")]).unwrap();
    drop(shipper);
    let mut seen = Vec::new();
    server.accept().unwrap().0.read_to_end(&mut seen).unwrap();
    let first = [
        &b"\x94\xacffffffffffff\xd2k\x02s\x92\x84\xaccontainer_id\xd9@"[..],
        "f".repeat(64).as_bytes(),
        b"\xaecontainer_name\xa4/web\xa6source\xa6stdout\xa3log\xa5hello\x80",
    ]
    .concat();
    assert!(seen.starts_with(&first), "{}", String::from_utf8_lossy(&seen[..first.len()]));
    let has = |part: &[u8]| seen.windows(part.len()).any(|w| w == part);
    assert!(has(b"\xa3log\xda@\x00xxx"));
    assert!(has(b"\xafpartial_message\xa4true\xaapartial_id\xd9@ffff"));
    assert!(has(b"\xafpartial_ordinal\xa12\xacpartial_last\xa4true\x80"));
}

#[test]
fn acknowledged_messages_wait_for_it_and_unacknowledged_ones_are_sent_again() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", server.local_addr().unwrap());
    let mut shipper = shipper(&[
        ("fluentd-address", &address),
        ("fluentd-request-ack", "true"),
        ("fluentd-sub-second-precision", "true"),
        ("tag", "docker.{{.Name}}"),
    ]);
    let thread = std::thread::spawn(move || {
        // The first connection ends without a word.
        drop(server.accept().unwrap());
        let (mut stream, _) = server.accept().unwrap();
        let mut seen = Vec::new();
        let mut block = [0; 4096];
        let chunk = loop {
            let n = stream.read(&mut block).unwrap();
            seen.extend_from_slice(&block[..n]);
            if let Some(at) = seen.windows(6).position(|w| w == b"\xa5chunk") {
                break seen[at + 6..].to_vec();
            }
        };
        // In two pieces.
        stream.write_all(b"\x81\xa3a").unwrap();
        stream.write_all(&[b"ck", &chunk[..]].concat()).unwrap();
        seen
    });
    let failed = shipper.ship(&[entry("hi")]).unwrap_err();
    assert_eq!(failed.delivered, 0);
    shipper.ship(&[entry("hi")]).unwrap();
    let seen = thread.join().unwrap();
    assert!(seen.starts_with(b"\x94\xaadocker.web\xd7\x00k\x02s\x92\0\0\0\x07"), "{seen:?}");
}

#[test]
fn what_is_no_acknowledgement_is_an_error() {
    for (bytes, expected) in [
        (&b""[..], None),
        (b"\x81", None),
        (b"\x81\xa3ac", None),
        (b"\x81\xa3ack\xa2x", None),
        (b"\x81\xa3ack\xa2xy", Some(("xy", 8))),
        (b"\x81\xa3ack\xd9\x02xyz", Some(("xy", 9))),
        (b"\x81\xa3nak\xa2xy", Some(("", 0))),
        (b"HTTP", Some(("", 0))),
        (b"\x81\xa1\xff", Some(("", 0))),
    ] {
        assert_eq!(msgpack::ack(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn wrong_options_are_told_as_docker_tells_them() {
    let check = |name: &str, value: &str, expected: &str| {
        let got = Fluentd.check(&options(&[(name, value)]));
        assert_eq!(
            got.map_or_else(|e| e.to_string(), |()| String::new()),
            expected,
            "{name}={value}"
        );
    };
    check("x", "1", "unknown log opt 'x' for fluentd log driver");
    for good in
        ["", "host", "host:1", "tcp://host", "tls://host:1", "unix:///a", "[::1]", "tcp://[::1]:5"]
    {
        check("fluentd-address", good, "");
    }
    let address = |value: &str, why: &str| {
        check("fluentd-address", value, &format!("invalid fluentd-address ({value}): {why}"));
    };
    address("ftp://x", "unsupported scheme: 'ftp'");
    address("unix://", "path is empty");
    address("127.0.0.1:x", "parse \"tcp://127.0.0.1:x\": invalid port \":x\" after host");
    address("tcp://127.0.0.1:9/path", "should not contain a path element");
    check("fluentd-async", "zz", "strconv.ParseBool: parsing \"zz\": invalid syntax");
    let interval = |value: &str, why: &str| {
        let name = "fluentd-async-reconnect-interval";
        check(name, value, &format!("invalid value for {name}: {why}"));
    };
    interval("zz", "time: invalid duration \"zz\"");
    interval("1ms", "value (\"1ms\") must be between 100ms and 10s");
    interval("-1s", "value (\"-1s\") must be between 100ms and 10s");
    check("fluentd-buffer-limit", "zz", "invalid size: 'zz'");
    check("fluentd-retry-wait", "zz", "time: invalid duration \"zz\"");
    check("fluentd-max-retries", "zz", "strconv.ParseUint: parsing \"zz\": invalid syntax");
}
