//! Messages as a server sees them.

use super::*;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use stdx::time::Timestamp;

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn shipper(pairs: &[(&str, &str)]) -> Box<dyn Shipper> {
    let info = Info {
        options: options(pairs),
        id: "0123456789abcdef".repeat(4),
        name: "web".to_owned(),
        image_name: "busybox".to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned()],
        env: vec!["E1=x".to_owned()],
        hostname: "host".to_owned(),
        ..Info::default()
    };
    match Gelf.check(&info.options).and_then(|()| Gelf.open(&info)).unwrap() {
        Destination::Remote(shipper) => shipper,
        Destination::File(_) => panic!("gelf is no file"),
    }
}

fn entry(line: &[u8]) -> Entry {
    let time = Timestamp::from_unix(1_795_322_766, 741_999_999);
    Entry { stream: Stream::Stderr, time, line: line.to_vec(), partial: false, attributes: None }
}

fn unpacked(packing: &str, bytes: &[u8]) -> Value {
    let mut text = Vec::new();
    match packing {
        "gzip" => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).unwrap()),
        "zlib" => drop(flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut text).unwrap()),
        _ => text.extend_from_slice(bytes),
    }
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn datagrams_are_packed_and_cut_as_docker_does() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", server.local_addr().unwrap());
    let mut buffer = vec![0; 1 << 16];
    for packing in ["gzip", "zlib", "none"] {
        let mut shipper = shipper(&[
            ("gelf-address", &address),
            ("gelf-compression-type", packing),
            ("env", "E1"),
        ]);
        shipper.ship(&[entry(b""), entry(b"h\xff<")]).unwrap();
        let n = server.recv(&mut buffer).unwrap();
        let message = unpacked(packing, &buffer[..n]);
        assert_eq!(
            message.to_string(),
            serde_json::json!({
                "version": "1.1", "host": "host", "short_message": "h\u{fffd}<", "timestamp": 1_795_322_766.741,
                "level": 3, "_E1": "x", "_command": "sh -c", "_container_id": "0123456789abcdef".repeat(4),
                "_container_name": "web", "_created": "", "_image_id": "", "_image_name": "busybox",
                "_tag": "0123456789ab"
            })
            .to_string()
        );
    }
    let mut shipper = shipper(&[("gelf-address", &address), ("gelf-compression-type", "none")]);
    shipper.ship(&[entry(&vec![b'x'; 16 << 10])]).unwrap();
    let mut whole = Vec::new();
    loop {
        let n = server.recv(&mut buffer).unwrap();
        let (head, chunk) = buffer[..n].split_at(CHUNK_HEAD);
        assert!(n <= CHUNK && head[..2] == [0x1e, 0x0f]);
        whole.extend_from_slice(chunk);
        if head[10] + 1 == head[11] {
            break;
        }
    }
    assert_eq!(unpacked("none", &whole)["short_message"].as_str().unwrap().len(), 16 << 10);
}

#[test]
fn streams_end_messages_with_a_zero() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", server.local_addr().unwrap());
    let mut shipper = shipper(&[("gelf-address", &address)]);
    shipper.ship(&[entry(b"a"), entry(b"b")]).unwrap();
    drop(shipper);
    let mut text = Vec::new();
    server.accept().unwrap().0.read_to_end(&mut text).unwrap();
    let messages: Vec<_> = text.split(|b| *b == 0).collect();
    assert_eq!(messages.len(), 3);
    assert_eq!(unpacked("none", messages[1])["short_message"], "b");
}

#[test]
fn wrong_options_are_told_as_docker_tells_them() {
    let check = |pairs: &[(&str, &str)], expected: &str| {
        let got = Gelf.check(&options(pairs)).map_or_else(|e| e.to_string(), |()| String::new());
        assert_eq!(got, expected, "{pairs:?}");
    };
    let udp = ("gelf-address", "udp://127.0.0.1:12201");
    let tcp = ("gelf-address", "tcp://127.0.0.1:12201");
    check(&[udp], "");
    check(&[("x", "1")], "gelf-address is a required parameter");
    check(&[udp, ("x", "1")], "unknown log opt 'x' for gelf log driver");
    check(&[("gelf-address", "nonsense")], "gelf: endpoint needs to be TCP or UDP");
    check(&[("gelf-address", "http://a:1")], "gelf: endpoint needs to be TCP or UDP");
    check(
        &[("gelf-address", "udp://127.0.0.1")],
        "gelf: please provide gelf-address as proto://host:port",
    );
    for (name, value) in [("gelf-compression-type", "zz"), ("gelf-compression-level", "99")] {
        let expected = format!("unknown value {value:?} for log opt {name:?} for gelf log driver");
        check(&[udp, (name, value)], &expected);
    }
    check(
        &[udp, ("gelf-tcp-max-reconnect", "1")],
        "\"gelf-tcp-max-reconnect\" is only valid for TCP",
    );
    check(&[tcp, ("gelf-compression-type", "gzip")], "compression is only supported on UDP");
    check(
        &[tcp, ("gelf-tcp-reconnect-delay", "-1")],
        "\"gelf-tcp-reconnect-delay\" must be a positive integer",
    );
}
