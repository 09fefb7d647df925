//! Clients that take their time, on purpose or not: everybody else is answered meanwhile, and who says nothing sensible in
//! time is turned out (security design, 1.3).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use testkit::papers::Papers;
use testkit::process::{PATIENCE, Running, eventually};
use testkit::{Cli, Daemon, Leaks, Options, need};

/// The times that a head and a handshake get, and some for a machine that has other things to do.
const TURNED_OUT: Duration = Duration::from_secs(20);

/// The daemon's own memory, in kilobytes.
fn memory(daemon: &Daemon) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Room for thousands of connections, here and in the daemon, which inherits it.
fn many_files() {
    let limit = rustix::process::Resource::Nofile;
    let mut own = rustix::process::getrlimit(limit);
    own.current = own.maximum;
    rustix::process::setrlimit(limit, own).unwrap();
}

/// Whether the daemon has closed it.
fn is_closed(stream: &mut (impl Read + Write)) -> bool {
    match stream.read(&mut [0; 4096]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(e) => e.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn slow_clients_are_turned_out_and_hold_nobody_up() {
    need!(Root, Program("openssl", "openssl"));
    many_files();
    let papers = Papers::make();
    let flag = |name: &str, file: &str| format!("--{name}={}", papers.file(file));
    let ours = ["-H=tcp://127.0.0.1:2376".to_owned(), "--tlsverify".to_owned()];
    let ours = ours.into_iter().chain([flag("tlscacert", "ca.pem")]);
    let daemon = Daemon::with(Options {
        flags: ours
            .clone()
            .chain([flag("tlscert", "server.pem"), flag("tlskey", "server.key")])
            .collect(),
        ..Options::default()
    });
    let client = daemon.gantry();
    let gantry = testkit::program("gantry").display().to_string();
    let tls: Vec<String> =
        ours.chain([flag("tlscert", "client.pem"), flag("tlskey", "client.key")]).collect();
    let over_tls = |args: &[&str]| {
        let all: Vec<&str> = tls.iter().map(String::as_str).chain(args.iter().copied()).collect();
        daemon.host().run(&gantry, &all)
    };
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    over_tls(&["ps", "-q"]).ok().prints("");
    let before = memory(&daemon);
    let network = daemon.host().network();
    // More than there are places: strangers who never finish a handshake.
    let strangers = std::thread::spawn(move || {
        network.enter();
        let connect = |n: u32| {
            let mut stream = TcpStream::connect("127.0.0.1:2376").unwrap();
            let said: &[u8] = if n.is_multiple_of(2) { b"" } else { b"\x16\x03\x01\x02\x00\x01" };
            let _put_out = stream.write_all(said);
            stream.set_nonblocking(true).unwrap();
            stream
        };
        let begun = Instant::now();
        let all = (0..2500).map(connect).collect::<Vec<_>>();
        // Those that came first have left for those that came last, or these would have had to wait.
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        all
    });
    let mut strangers = strangers.join().unwrap();
    // On this machine: half a head, and one that grows by a byte now and then.
    let mut slow: Vec<UnixStream> = Vec::new();
    for _ in 0..500 {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.write_all(b"GET /v1.45/containers/js").unwrap();
        stream.set_nonblocking(true).unwrap();
        slow.push(stream);
    }
    // And who has shown a certificate, and goes no further.
    let known: Vec<Running> = (0..5)
        .map(|_| {
            let mut command = daemon.host().command("openssl");
            command.args(["s_client", "-quiet", "-connect", "127.0.0.1:2376"]);
            command.args(["-CAfile", &papers.file("ca.pem")]);
            command.args(["-cert", &papers.file("client.pem")]);
            command.args(["-key", &papers.file("client.key")]);
            Running::start(command, Some(b"GET /v1.45/containers/js".to_vec()))
        })
        .collect();
    let begun = Instant::now();
    for _ in 0..3 {
        let asked = Instant::now();
        client.run(&["run", "--rm", "busybox", "echo", "fine"]).ok().prints("fine\n");
        over_tls(&["run", "--rm", "busybox", "echo", "fine"]).ok().prints("fine\n");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    let during = memory(&daemon);
    assert!(during < before + (96 << 10), "{before} kB before, {during} kB with 3000 clients");
    let mut left = |what: &str, begun: Instant| {
        slow.retain_mut(|stream| stream.write_all(b"x").is_ok() && !is_closed(stream));
        strangers.retain_mut(|stream| !is_closed(stream));
        assert!(
            begun.elapsed() < TURNED_OUT || slow.is_empty() && strangers.is_empty(),
            "{what}: {} slow heads and {} handshakes are still waited for",
            slow.len(),
            strangers.len()
        );
        slow.len() + strangers.len()
    };
    while left("turned out", begun) > 0 {
        std::thread::sleep(Duration::from_millis(500));
        client.run(&["ps", "-q"]).ok().prints("");
    }
    for one in known {
        one.end(PATIENCE);
    }
    eventually("their memory is given back", PATIENCE, || memory(&daemon) < before + (32 << 10));
    over_tls(&["ps", "-q"]).ok().prints("");
}

/// Archives that come, or are taken, at a client's pace take no thread that others need.
#[test]
fn archives_that_never_end_hold_nobody_up() {
    need!(Root);
    many_files();
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
        client.run(&["cp", "cc:/etc/hosts", "-"]).ok();
        let leaks = Leaks::snapshot(&daemon);
        let mut held = Vec::new();
        for n in 0..300 {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            let (what, body) = match n % 3 {
                0 => ("POST /v1.45/images/load", "Content-Length: 100000\r\n\r\n"),
                1 => {
                    ("PUT /v1.45/containers/cc/archive?path=/tmp", "Content-Length: 10240\r\n\r\n")
                }
                _ => ("GET /v1.45/containers/cc/export", "\r\n"),
            };
            let head = format!("{what} HTTP/1.1\r\nHost: x\r\n{body}");
            stream.write_all(head.as_bytes()).unwrap();
            if body.len() > 2 {
                stream.write_all(&[0; 100]).unwrap();
            }
            held.push(stream);
        }
        let begun = Instant::now();
        client.run(&["run", "--rm", "busybox", "echo", "fine"]).ok().prints("fine\n");
        client.run(&["exec", "cc", "echo", "fine"]).ok().prints("fine\n");
        client.run(&["cp", "cc:/etc/hosts", "-"]).ok();
        client.run(&["images", "-q"]).ok();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        drop(held);
        leaks.check(&daemon);
        client.run(&["rm", "-f", "cc"]).ok();
    }
}
