//! Figures, printed and bounded loosely: `cargo test -p gantry-shim -- --nocapture figures`, with `GANTRY_TEST_SHIM`
//! naming the static build.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use task::protocol::{Log, Request, Session};

use crate::rig::{OUTPUT, Rig, pause};

#[test]
fn figures_of_a_start() {
    let mut times = Vec::new();
    for _ in 0..12 {
        let mut rig = Rig::new();
        // Being told that it is too early takes the same way as `Create`.
        rig.refused(Request::State);
        let ready = rig.launched.elapsed();
        let create = rig.program(&["/bin/true"]);
        let begin = Instant::now();
        rig.run(create);
        let started = begin.elapsed();
        rig.exit();
        let ended = begin.elapsed();
        rig.shut_down();
        times.push([ready, started, ended, begin.elapsed()]);
    }
    times.remove(0);
    let what = [
        "launch to first answer",
        "Create to Started",
        "Create to Exit of true",
        "Create to the shim's end",
    ];
    for (i, what) in what.iter().enumerate() {
        let mut column: Vec<_> = times.iter().map(|t| t[i].as_micros()).collect();
        column.sort_unstable();
        println!("{what}: median {} µs, min {} µs", column[column.len() / 2], column[0]);
    }
}

#[test]
fn figures_of_idling() {
    let mut rigs: Vec<_> = (0..10)
        .map(|_| {
            let mut rig = Rig::new();
            let create = rig.script("echo some output; sleep 60");
            rig.run(create);
            rig
        })
        .collect();
    pause(Duration::from_millis(2500));
    let mut sum = [0; 3];
    for rig in &rigs {
        let rollup =
            std::fs::read_to_string(format!("/proc/{}/smaps_rollup", rig.shim.pid())).unwrap();
        for (i, key) in ["Pss:", "Private_Dirty:", "Rss:"].iter().enumerate() {
            let line = rollup.lines().find(|l| l.starts_with(key)).unwrap();
            sum[i] += line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        }
    }
    let [pss, dirty, rss] = sum.map(|s| s / 10);
    println!(
        "idle, mean of ten: {pss} KiB proportional, {dirty} KiB private dirty, {rss} KiB resident"
    );
    for rig in &mut rigs {
        rig.must(Request::Kill { session: Session::Container, signal: 9, all: false });
        rig.exit();
        rig.shut_down();
    }
}

#[test]
fn figures_of_throughput() {
    // Only with the optimised program is it a figure.
    let total = if std::env::var_os("GANTRY_TEST_SHIM").is_some() { 64 << 20 } else { 8 << 20 };
    const LINE: &[u8] = b"10.0.0.1 - - GET /index.html HTTP/1.1 200 612 curl/8.5.0 0.00012\n";
    for (what, logged, attached, line) in [
        ("nothing", false, false, LINE),
        ("a client", false, true, LINE),
        ("the log, lines of 66 bytes", true, false, LINE),
        ("the log, lines of 2 bytes", true, false, b"y\n"),
        ("the log and a client, lines of 66 bytes", true, true, LINE),
    ] {
        let mut rig = Rig::new();
        let size = if line.len() < 10 { total / 4 } else { total };
        std::fs::write(rig.path("root/lines"), line.repeat(size / 4 / line.len())).unwrap();
        let mut create = rig.program(&["/bin/cat", "/lines", "/lines", "/lines", "/lines"]);
        create.log = Log::None;
        if logged {
            let (path, max_size) = (rig.path("log"), Some(64 << 20));
            create.log = Log::JsonFile { path, max_size, max_files: 1, attributes: Vec::new() };
        }
        let sockets = if attached { vec![OUTPUT] } else { vec![] };
        let begin = Instant::now();
        for socket in rig.run_attached(create, &sockets) {
            assert!(count(socket) > size - 4 * line.len());
        }
        rig.exit();
        let seconds = begin.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a figure for humans")]
        let rate = size as f64 / 1e6 / seconds;
        let ticks = crate::stdio::cpu_ticks(rig.shim.pid());
        println!(
            "to {what}: {rate:.0} MB/s; {} MB took the shim {} ms of processor",
            size >> 20,
            ticks * 10
        );
        rig.shut_down();
    }
}

fn count(mut socket: UnixStream) -> usize {
    let mut buffer = vec![0; 256 << 10];
    let mut sum = 0;
    loop {
        match socket.read(&mut buffer).unwrap() {
            0 => return sum,
            n => sum += n,
        }
    }
}
