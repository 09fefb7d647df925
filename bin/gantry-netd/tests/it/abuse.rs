//! Containers that want the helper to stumble.

use crate::rig::*;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Clock ticks (10 ms) that the process used.
pub(crate) fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit_once(')').unwrap().1;
    rest.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum()
}

#[test]
fn stalled_and_malformed_tcp_clients_hold_nobody_up() {
    let host = Host::new();
    host.network("n1", "front", false);
    let bad = host.container("bad1", &sandbox(&[("n1", &["10.9.0.2"], &["bad"])]));
    let good = host.container("good1", &sandbox(&[("n1", &["10.9.0.3"], &["good"])]));
    let pid = host.client.pid().unwrap().unwrap();
    // CVE-2024-8418, CVE-2026-35406: silence, parts, and lengths that lie.
    let whole = query(1, "good", A);
    let starts: [&[u8]; 7] =
        [&[], &[0], &[0, 40], &[0, 40, 1, 2, 3], &[0xff, 0xff], &[0xff, 0xff, 0, 0], &[0, 12]];
    let stalled: Vec<TcpStream> = (0..500)
        .map(|n| {
            let mut stream = bad.tcp();
            stream.write_all(starts[n % starts.len()]).unwrap();
            stream
        })
        .collect();
    let status = host.client.status().unwrap().unwrap();
    assert!(status.tcp_clients <= 256, "{status:?}");
    // What is no DNS ends at once.
    for nonsense in
        [&[0, 0][..], &[0, 1, 7], &[0, 2, 7, 7], &[0, 12, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]]
    {
        let mut stream = bad.tcp();
        stream.write_all(nonsense).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "{nonsense:?}");
    }
    let before = (ticks(pid), Instant::now());
    let mut times: Vec<Duration> = (0..500)
        .map(|n| {
            let start = Instant::now();
            let from = if n % 2 == 0 { &good } else { &bad };
            assert_eq!(from.ask("good", A).text(), "10.9.0.3");
            start.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[495] < Duration::from_millis(50), "{:?}", times[495]);
    assert_eq!(good.ask_tcp("good", A).text(), "10.9.0.3");
    // The one who is to blame is still served over TCP too: its oldest went.
    assert_eq!(bad.ask_tcp("good", A).text(), "10.9.0.3");
    wait_for("the stalled are turned out", Duration::from_secs(8), || {
        host.client.status().unwrap().unwrap().tcp_clients == 0
    });
    let share = (ticks(pid) - before.0) as f64 * 10.0 / before.1.elapsed().as_millis() as f64;
    assert!(share < 0.2, "{share}");
    // And there is nothing to do any more.
    let after = ticks(pid);
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks(pid) - after < 5, "{} of 100 ticks", ticks(pid) - after);
    drop(stalled);
    // A drop every second does not help: five seconds are for the whole question.
    let mut stream = bad.tcp();
    let start = Instant::now();
    let mut bytes = (whole.len() as u16).to_be_bytes().to_vec();
    bytes.extend(&whole);
    for byte in bytes {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_client_that_does_not_read_its_answers_is_turned_out() {
    let host = Host::new();
    host.network("n1", "front", false);
    let addresses: Vec<String> = (0..250).map(|n| format!("10.9.1.{n}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let bad = host.container("bad1", &sandbox(&[("n1", &addresses, &["bad"])]));
    let mut stream = bad.tcp();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let question = query(1, "bad", A);
    let mut bytes = (question.len() as u16).to_be_bytes().to_vec();
    bytes.extend(&question);
    let many = bytes.repeat(1000);
    while stream.write_all(&many).is_ok() {}
    assert_eq!(bad.ask("bad", A).records.len(), 30);
    wait_for("it is turned out", Duration::from_secs(8), || {
        host.client.status().unwrap().unwrap().tcp_clients == 0
    });
}

#[test]
fn no_datagram_is_too_strange() {
    let host = Host::new();
    host.network("n1", "front", false);
    let bad = host.container("bad1", &sandbox(&[("n1", &["10.9.0.2"], &["bad"])]));
    let pid = host.client.pid().unwrap();
    let socket = bad.udp();
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    let good = query(1, "bad", A);
    for n in 0..20_000 {
        let mut bytes = if n % 2 == 0 { good.clone() } else { vec![0; random() % 600] };
        for _change in 0..random() % 8 {
            if !bytes.is_empty() {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
        }
        bytes.truncate(1 + random() % 700);
        socket.send(&bytes).unwrap();
    }
    // In its own time it is through with them. What came when its buffer was full is lost, as on any network.
    let socket = bad.udp();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    wait_for("it answers", Duration::from_secs(10), || {
        socket.send(&query(1, "bad", A)).unwrap();
        let mut buffer = [0; 512];
        socket.recv(&mut buffer).is_ok_and(|length| said(&buffer[..length]).text() == "10.9.0.2")
    });
    assert_eq!(host.client.pid().unwrap(), pid);
}
