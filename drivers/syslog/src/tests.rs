//! Messages as a server sees them.

use super::*;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use stdx::time::Timestamp;
use testkit::Papers;

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

/// Takes one connection of somebody who shows a certificate of `papers`, and says what came.
fn tls_server(papers: &Papers) -> (String, std::thread::JoinHandle<std::io::Result<String>>) {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = |name: &str| CertificateDer::from_pem_file(papers.path(name)).unwrap();
    let mut known = rustls::RootCertStore::empty();
    known.add(certificate("ca.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(known),
        Arc::clone(&provider),
    );
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![certificate("server.pem")],
            PrivateKeyDer::from_pem_file(papers.path("server.key")).unwrap(),
        )
        .unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp+tls://{}", server.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let mut connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = server.accept()?.0;
        let mut buffer = [0; 256];
        let n = rustls::Stream::new(&mut connection, &mut stream).read(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
    });
    (address, served)
}

#[test]
fn tls_goes_to_who_can_prove_who_it_is() {
    let papers = Papers::make();
    let file = |name: &str| papers.file(name);
    let (ca, other) = (file("ca.pem"), file("other.pem"));
    let (cert, key) = (file("client.pem"), file("client.key"));
    let ours = [("syslog-tls-cert", cert.as_str()), ("syslog-tls-key", key.as_str())];
    let ship = |pairs: &[(&str, &str)]| {
        let (address, served) = tls_server(&papers);
        let all = [pairs, &[("syslog-address", address.as_str())]].concat();
        let shipped = opened(&all).unwrap().ship(&[entry("hi", Stream::Stdout)]);
        (shipped.is_ok(), served.join().unwrap())
    };
    let (shipped, came) = ship(&[&ours[..], &[("syslog-tls-ca-cert", &ca)]].concat());
    assert!(shipped && came.unwrap().ends_with(": hi\n"));
    // Whom nobody vouches for gets nothing, unless that is what was asked for.
    let (shipped, came) = ship(&[&ours[..], &[("syslog-tls-ca-cert", &other)]].concat());
    assert!(!shipped && came.is_err());
    let (shipped, came) = ship(&[&ours[..], &[("syslog-tls-skip-verify", "true")]].concat());
    assert!(shipped && came.unwrap().ends_with(": hi\n"));
    // The server refuses whom it does not know.
    assert!(ship(&[("syslog-tls-ca-cert", &ca)]).1.is_err());
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
