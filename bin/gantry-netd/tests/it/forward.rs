//! What is asked outside: whom, from where, and whose answer is taken.

use crate::rig::*;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

#[test]
fn the_hosts_servers_are_asked_from_the_host_as_they_are_at_the_moment() {
    let host = Host::new();
    host.network("n1", "front", false);
    let first = server("127.0.0.1:53", |q, _, _| Some(answer(q, 0, &[[192, 0, 2, 1]])));
    let second = server("127.0.0.2:53", |q, _, _| Some(answer(q, 0, &[[192, 0, 2, 2]])));
    let tcp = tcp_server("127.0.0.1:53", |q| answer(q, 0, &[[192, 0, 2, 3]]));
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    assert_eq!(web.ask("example.com", A).text(), "192.0.2.1");
    let (seen, from) = first.recv().unwrap();
    assert_eq!(from.ip().to_string(), "127.0.0.1");
    assert_eq!(seen[2..], query(0x4711, "example.com", A)[2..]);
    // Over TCP as it came.
    assert_eq!(web.ask_tcp("example.com", A).text(), "192.0.2.3");
    assert_eq!(tcp.recv().unwrap()[2..], seen[2..]);
    // Names of ours stay here.
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    assert!(first.try_recv().is_err() && tcp.try_recv().is_err());
    host.servers(&["127.0.0.2"]);
    wait_for("the other server is asked", Duration::from_secs(2), || {
        web.ask("example.com", A).text() == "192.0.2.2"
    });
    assert!(second.try_recv().is_ok());
}

#[test]
fn the_containers_servers_are_asked_from_the_container() {
    let host = Host::new();
    host.network("n1", "front", false);
    let of_host = server("127.0.0.1:53", |q, _, _| Some(answer(q, 0, &[[192, 0, 2, 1]])));
    let mut own = sandbox(&[("n1", &["10.9.0.2"], &["web"])]);
    own.upstream = vec!["127.0.0.1:5300".parse().unwrap()];
    let web = host.container("web1", &own);
    let socket = web.inside(|| UdpSocket::bind("127.0.0.1:5300").unwrap());
    let inside = serve_on(socket, |q, _, _| Some(answer(q, 0, &[[192, 0, 2, 7]])));
    assert_eq!(web.ask("example.com", A).text(), "192.0.2.7");
    assert!(inside.try_recv().is_ok());
    assert!(of_host.try_recv().is_err());
    // The helper came home: another container asks the host's.
    let db = host.container("db1", &sandbox(&[("n1", &["10.9.0.3"], &["db"])]));
    assert_eq!(db.ask("example.com", A).text(), "192.0.2.1");
}

#[test]
fn internal_networks_send_not_one_packet_outside() {
    let host = Host::new();
    host.network("n1", "inside", true);
    let outside = server("127.0.0.1:53", |q, _, _| Some(answer(q, 0, &[[192, 0, 2, 1]])));
    let tcp = tcp_server("127.0.0.1:53", |q| answer(q, 0, &[[192, 0, 2, 3]]));
    let mut own = sandbox(&[("n1", &["10.9.0.2"], &["web"])]);
    let web = host.container("web1", &own);
    own.upstream = vec!["127.0.0.1:53".parse().unwrap()];
    let db = host.container("db1", &own);
    for container in [&web, &db] {
        for kind in [A, AAAA, PTR, 15, 16, 33, 255] {
            for name in ["secret.evil.example", "secret", "1.1.1.1.in-addr.arpa"] {
                assert_eq!(container.ask(name, kind).text(), "SERVFAIL");
                assert_eq!(container.ask_tcp(name, kind).text(), "SERVFAIL");
            }
        }
    }
    assert_eq!(web.ask("web", A).records.len(), 2);
    assert!(outside.try_recv().is_err() && tcp.try_recv().is_err());
    assert_eq!(host.client.status().unwrap().unwrap().forwarded, 0);
}

#[test]
fn only_the_asked_servers_answer_to_the_question_is_taken() {
    let host = Host::new();
    host.network("n1", "front", false);
    let _server = server("127.0.0.1:53", |q, socket, from| {
        let forged = |q: &[u8]| answer(q, 0, &[[6, 6, 6, 6]]);
        let right = forged(q);
        // From another port and from another address, with the right id.
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&right, from).unwrap();
        UdpSocket::bind("127.0.0.3:53").unwrap().send_to(&right, from).unwrap();
        // From the right one, with every other id, another question, no question, no answer.
        for wrong in 1..8u8 {
            let mut other = right.clone();
            other[1] ^= wrong;
            socket.send_to(&other, from).unwrap();
        }
        let mut other = right.clone();
        other[13] ^= 1;
        socket.send_to(&other, from).unwrap();
        socket.send_to(&right[..12], from).unwrap();
        socket.send_to(q, from).unwrap();
        socket.send_to(b"x", from).unwrap();
        Some(answer(q, 0, &[[192, 0, 2, 1]]))
    });
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    for _query in 0..20 {
        assert_eq!(web.ask("example.com", A).text(), "192.0.2.1");
    }
    assert_eq!(host.client.status().unwrap().unwrap().forged, 20 * 11);
}

#[test]
fn a_flood_of_guesses_is_never_believed() {
    let host = Host::new();
    host.network("n1", "front", false);
    host.servers(&["127.0.0.1", "127.0.0.2"]);
    // Somebody who knows the port, speaks as the server and lacks the id alone: 200 of 65,535 a query.
    let _attacked = server("127.0.0.1:53", |q, socket, from| {
        let mut forged = answer(q, 0, &[[6, 6, 6, 6]]);
        let id = u16::from_be_bytes([q[0], q[1]]);
        for step in 1..=200u16 {
            forged[..2].copy_from_slice(&id.wrapping_add(step * 327).to_be_bytes());
            // The helper may have gone on by now.
            let _sent = socket.send_to(&forged, from);
        }
        None
    });
    let _next = server("127.0.0.2:53", |q, _, _| Some(answer(q, 0, &[[192, 0, 2, 2]])));
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    for _query in 0..500 {
        // The port is given up after some, and the next server is asked, from another.
        assert_eq!(web.ask("example.com", A).text(), "192.0.2.2");
    }
    assert!(host.client.status().unwrap().unwrap().forged >= 500 * 64);
}

#[test]
fn ids_and_ports_are_not_to_be_guessed() {
    let host = Host::new();
    host.network("n1", "front", false);
    let seen = server("127.0.0.1:53", |q, _, _| Some(answer(q, 0, &[[192, 0, 2, 1]])));
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    let socket = web.udp();
    let (mut ids, mut ports) = (Vec::new(), Vec::new());
    for _query in 0..200 {
        ask(&socket, "example.com", A);
        let (query, from) = seen.recv().unwrap();
        ids.push(u16::from_be_bytes([query[0], query[1]]));
        ports.push(from.port());
    }
    for numbers in [&mut ids, &mut ports] {
        let steps: Vec<_> = numbers.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
        assert!(steps.iter().filter(|s| **s < 8).count() < 10, "they count up: {numbers:?}");
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() > 190, "{}", numbers.len());
    }
}

#[test]
fn the_next_server_is_asked_when_one_fails_refuses_or_is_silent() {
    let host = Host::new();
    host.network("n1", "front", false);
    // Nobody at the first, a failure at the second.
    host.servers(&["127.0.0.4", "127.0.0.2", "127.0.0.3"]);
    let _second = server("127.0.0.2:53", |q, _, _| Some(answer(q, 2, &[])));
    let _third = server("127.0.0.3:53", |q, _, _| match q[13] {
        b's' => None,
        b'n' => Some(answer(q, 3, &[])),
        _ => Some(answer(q, 0, &[[192, 0, 2, 3]])),
    });
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    assert_eq!(web.ask("example.com", A).text(), "192.0.2.3");
    assert_eq!(web.ask("nowhere.example", A).text(), "NXDOMAIN");
    let start = Instant::now();
    assert_eq!(web.ask("silent.example", A).text(), "SERVFAIL");
    let took = start.elapsed();
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(6), "{took:?}");
    // No server at all.
    host.servers(&[]);
    wait_for("nobody is asked", Duration::from_secs(2), || {
        web.ask("example.com", A).text() == "SERVFAIL"
    });
}

#[test]
fn a_containers_queries_that_wait_are_bounded() {
    let host = Host::new();
    host.network("n1", "front", false);
    let _silent =
        server("127.0.0.1:53", |q, _, _| (q[13] != b's').then(|| answer(q, 0, &[[192, 0, 2, 1]])));
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    let db = host.container("db1", &sandbox(&[("n1", &["10.9.0.3"], &["db"])]));
    let socket = web.udp();
    // In parts that the socket's buffer can hold.
    for part in 0..13 {
        for n in 0..100u16 {
            socket.send(&query(part * 100 + n, "silent.example", A)).unwrap();
        }
        assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    }
    let mut refused = 0;
    let mut buffer = [0; 512];
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    while let Ok(length) = socket.recv(&mut buffer) {
        assert_eq!(said(&buffer[..length]).text(), "REFUSED");
        refused += 1;
    }
    // As many of 276 as its buffer can hold.
    assert!((100..=276).contains(&refused), "{refused}");
    assert_eq!(host.client.status().unwrap().unwrap().in_flight, 1024);
    // Nobody else notices.
    assert_eq!(db.ask("example.com", A).text(), "192.0.2.1");
    wait_for("they are given up", Duration::from_secs(6), || {
        host.client.status().unwrap().unwrap().in_flight == 0
    });
    assert_eq!(web.ask("example.com", A).text(), "192.0.2.1");
}
