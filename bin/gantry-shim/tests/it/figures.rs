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
    pause(Duration::from_millis(1500));
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
    const SIZE: usize = 1 << 30;
    let json = |rig: &Rig| Log::JsonFile {
        path: rig.path("log"),
        max_size: Some(64 << 20),
        max_files: 1,
        attributes: Vec::new(),
    };
    let megabytes = SIZE >> 20;
    for (what, logged, attached, program) in [
        ("nothing", false, false, "dd if=/dev/zero bs=131072 count=8192 2>/dev/null"),
        ("a client", false, true, "dd if=/dev/zero bs=131072 count=8192 2>/dev/null"),
        (
            "the log, lines of 64 bytes",
            true,
            false,
            "yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde | head -c 268435456",
        ),
        ("the log, lines of 2 bytes", true, false, "yes | head -c 33554432"),
    ] {
        let mut rig = Rig::new();
        let mut create = rig.script(program);
        create.log = if logged { json(&rig) } else { Log::None };
        let begin = Instant::now();
        if attached {
            let [socket] = rig.run_attached(create, [OUTPUT]);
            assert!(count(socket) >= SIZE);
        } else {
            rig.run(create);
        }
        rig.exit();
        let bytes = match what {
            "the log, lines of 64 bytes" => 256,
            "the log, lines of 2 bytes" => 32,
            _ => megabytes,
        };
        let seconds = begin.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a figure for humans")]
        let rate = bytes as f64 * 1.048_576 / seconds;
        println!("to {what}: {rate:.0} MB/s");
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
