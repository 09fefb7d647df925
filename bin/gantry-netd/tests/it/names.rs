//! Names of containers, as containers ask for them.

use crate::rig::*;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};

#[test]
fn containers_know_each_other_by_name() {
    let host = Host::new();
    host.network("n1", "front", false);
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2", "fd09::2"], &["web"])]));
    let db = host.container("db1", &sandbox(&[("n1", &["10.9.0.3"], &["db", "database"])]));
    for (from, name, kind, told) in [
        (&web, "db", A, "10.9.0.3"),
        (&web, "DataBase", A, "10.9.0.3"),
        (&web, "db.front", A, "10.9.0.3"),
        (&web, "db", AAAA, "nothing"),
        (&db, "web", AAAA, "fd09::2"),
        (&db, "2.0.9.10.in-addr.arpa", PTR, "web.front"),
        // Nobody listens at the host's server.
        (&db, "elsewhere.example", A, "SERVFAIL"),
    ] {
        assert_eq!(from.ask(name, kind).text(), told, "{name}");
        assert_eq!(from.ask_tcp(name, kind).text(), told, "{name} over TCP");
    }
    // What changes is known when the call has returned.
    host.client.update(&db.id, &sandbox(&[("n1", &["10.9.0.4"], &["cache"])])).unwrap();
    assert_eq!(web.ask("cache", A).text(), "10.9.0.4");
    assert_eq!(web.ask("db", A).text(), "SERVFAIL");
    host.client.detach(&db.id).unwrap();
    assert_eq!(web.ask("cache", A).text(), "SERVFAIL");
}

#[test]
fn the_containers_own_ports_and_connections_are_left_alone() {
    let host = Host::new();
    host.network("n1", "front", false);
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    let (udp, tcp) = web.inside(|| {
        let udp = UdpSocket::bind("0.0.0.0:53").unwrap();
        let tcp = TcpListener::bind("0.0.0.0:53").unwrap();
        (udp, tcp)
    });
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    assert_eq!(web.ask_tcp("web", A).text(), "10.9.0.2");
    // And it is its own that is asked at its other addresses.
    let socket = web.inside(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    socket.send_to(b"mine", "127.0.0.1:53").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(udp.recv(&mut buffer).unwrap(), 4);
    let mut stream = web.inside(|| std::net::TcpStream::connect("127.0.0.1:53").unwrap());
    stream.write_all(b"mine").unwrap();
    tcp.accept().unwrap();
    // The answer comes from where it was asked, for whoever looks.
    let socket = web.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.send_to(&query(1, "web", A), RESOLVER).unwrap();
    let (_, from) = socket.recv_from(&mut [0; 512]).unwrap();
    assert_eq!(from.to_string(), "127.0.0.11:53");
    // Nothing of all this was tracked.
    let tracked = web.inside(|| {
        std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").map(|t| t.lines().count())
    });
    if let Ok(tracked) = tracked {
        assert_eq!(tracked, 0);
    }
}

#[test]
fn long_answers_are_cut_over_udp_and_whole_over_tcp() {
    let host = Host::new();
    host.network("n1", "front", false);
    let addresses: Vec<String> = (2..102).map(|n| format!("10.9.0.{n}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let web = host.container("web1", &sandbox(&[("n1", &addresses, &["many"])]));
    let cut = web.ask("many", A);
    assert!(cut.cut && cut.records.len() == 30, "{cut:?}");
    let whole = web.ask_tcp("many", A);
    assert!(!whole.cut);
    assert_eq!(whole.records.len(), 100);
    // Several questions on one connection, sent at once.
    let mut stream = web.tcp();
    let mut bytes = Vec::new();
    for id in 0..50u16 {
        let query = query(id, "many", A);
        bytes.extend((query.len() as u16).to_be_bytes());
        bytes.extend(query);
    }
    stream.write_all(&bytes).unwrap();
    for id in 0..50 {
        assert_eq!(said(&receive_tcp(&mut stream).unwrap()).id, id);
    }
}

#[test]
fn the_c_librarys_resolver_understands() {
    let host = Host::new();
    host.network("n1", "front", false);
    let mut own = sandbox(&[("n1", &["10.9.0.2", "fd09::2"], &["web"])]);
    own.hosts.insert("host.docker.internal".into(), vec!["10.9.0.1".parse().unwrap()]);
    let web = host.container("web1", &own);
    let conf = host.dir.path().join("container.conf");
    std::fs::write(&conf, "nameserver 127.0.0.11\noptions ndots:0\n").unwrap();
    let pid = web.process.id().to_string();
    let script = format!(
        "mount --bind {} /etc/resolv.conf && getent -s dns hosts web && \
         getent -s dns hosts 10.9.0.2 && getent -s dns hosts host.docker.internal",
        conf.display()
    );
    let told = run("nsenter", &["-n", "-t", &pid, "unshare", "-m", "sh", "-c", &script]);
    let words: Vec<&str> = told.split_whitespace().collect();
    for word in ["fd09::2", "web.front", "10.9.0.1", "host.docker.internal"] {
        assert!(words.contains(&word), "{word} in {told}");
    }
}
