//! Messages as a server sees them.

use super::*;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use stdx::time::Timestamp;

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn opened(pairs: &[(&str, &str)]) -> Result<Box<dyn Shipper>> {
    let info = Info {
        options: options(pairs),
        id: "0123456789abcdef".repeat(4),
        name: "web".to_owned(),
        hostname: "host".to_owned(),
        ..Info::default()
    };
    match Syslog.check(&info.options).and_then(|()| Syslog.open(&info))? {
        Destination::Remote(shipper) => Ok(shipper),
        Destination::File(_) => panic!("syslog is no file"),
    }
}

fn entry(line: &str, stream: Stream) -> Entry {
    let time = Timestamp::from_unix(1_795_322_766, 482_817_999);
    Entry { stream, time, line: line.as_bytes().to_vec(), partial: false, attributes: None }
}

/// The host's zone may be any: the hour is not looked at.
fn without_hour(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).replace(&format!("{}", std::process::id()), "PID");
    let mut out = text;
    for hour in 0..24 {
        out = out.replace(&format!("{hour:02}:46:06"), "HH:46:06");
    }
    out
}

#[test]
fn forms_are_dockers() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", server.local_addr().unwrap());
    let mut buffer = [0; 4096];
    let mut check = |pairs: &[(&str, &str)], stream, expected: &str| {
        let mut pairs = pairs.to_vec();
        pairs.push(("syslog-address", &address));
        opened(&pairs).unwrap().ship(&[entry("hi", stream)]).unwrap();
        let n = server.recv(&mut buffer).unwrap();
        assert_eq!(without_hour(&buffer[..n]), expected);
    };
    use Stream::{Stderr, Stdout};
    check(&[], Stdout, "<30>Nov 22 HH:46:06 0123456789ab[PID]: hi\n");
    check(&[("tag", "{{.Name}}")], Stderr, "<27>Nov 22 HH:46:06 web[PID]: hi\n");
    check(
        &[("syslog-format", "rfc3164"), ("syslog-facility", "local3")],
        Stdout,
        "<158>Nov 22 HH:46:06 host 0123456789ab[PID]: hi\n",
    );
    if jiff::tz::TimeZone::system().to_offset(jiff::Timestamp::now()).is_zero() {
        check(
            &[("syslog-format", "rfc5424"), ("syslog-facility", "19")],
            Stdout,
            "<158>1 2026-11-22THH:46:06Z host 0123456789ab PID 0123456789ab - hi\n",
        );
        check(
            &[("syslog-format", "rfc5424micro")],
            Stdout,
            "<30>1 2026-11-22THH:46:06.482817Z host 0123456789ab PID 0123456789ab - hi\n",
        );
    }
}

#[test]
fn streams_are_kept_open_and_made_anew() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", server.local_addr().unwrap());
    let mut shipper = opened(&[("syslog-address", &address)]).unwrap();
    shipper.ship(&[entry("one", Stream::Stdout), entry("two", Stream::Stdout)]).unwrap();
    let (mut first, _) = server.accept().unwrap();
    let mut seen = vec![0; 2048];
    let n = first.read(&mut seen).unwrap();
    drop(first);
    // The end is noticed before the next message is lost in it.
    let mut tries = 0;
    while shipper.ship(&[entry("three", Stream::Stdout)]).is_err() && tries < 10 {
        tries += 1;
    }
    drop(shipper);
    let mut rest = String::new();
    server.accept().unwrap().0.read_to_string(&mut rest).unwrap();
    assert!(n > 0 && rest.ends_with("three\n"), "{rest}");
}

#[test]
fn unix_datagrams() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let server = UnixDatagram::bind(&path).unwrap();
    let address = format!("unixgram://{}", path.display());
    opened(&[("syslog-address", &address)]).unwrap().ship(&[entry("hi", Stream::Stdout)]).unwrap();
    let mut buffer = [0; 256];
    let n = server.recv(&mut buffer).unwrap();
    assert!(buffer[..n].ends_with(b": hi\n"));
}

#[test]
fn wrong_options_are_told_as_docker_tells_them() {
    let check = |pairs: &[(&str, &str)], expected: &str| {
        let got = opened(pairs).map_or_else(|e| e.to_string(), |_| String::new());
        assert_eq!(got, expected, "{pairs:?}");
    };
    check(&[("x", "1")], "unknown log opt 'x' for syslog log driver");
    for (address, expected) in [
        ("udp://127.0.0.1", ""),
        ("tcp://[::1]:5", ""),
        ("nonsense", "unsupported scheme: ''"),
        ("ftp://a", "unsupported scheme: 'ftp'"),
        ("udp://127.0.0.1:1:2", "address 127.0.0.1:1:2: too many colons in address"),
        ("unix:///no/such", "stat /no/such: no such file or directory"),
    ] {
        check(&[("syslog-address", address)], expected);
    }
    let udp = ("syslog-address", "udp://127.0.0.1:1");
    check(&[udp, ("syslog-facility", "zz")], "invalid syslog facility");
    check(&[udp, ("syslog-facility", "99")], "invalid syslog facility");
    check(&[udp, ("syslog-format", "zz")], "Invalid syslog format");
    check(
        &[("syslog-address", "tcp+tls://127.0.0.1:9"), ("syslog-tls-ca-cert", "/no/such")],
        "could not read CA certificate \"/no/such\": open /no/such: no such file or directory",
    );
}
