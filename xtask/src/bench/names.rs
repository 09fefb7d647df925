//! Names: ten thousand questions a second while containers come and go.

use super::figures::{Report, Row};
use super::{Contest, proc};
use anyhow::{Context as _, Result, ensure};
use std::net::UdpSocket;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Questions a second.
const RATE: u16 = 10_000;
/// Questions, each with a number of its own (RFC 1035 section 4.1.1: 16 bits).
const COUNT: u16 = 5 * RATE;

/// Asks from a container's own network namespace.
pub(crate) fn names(contest: &Contest) -> Result<Report> {
    let daemons = contest.daemons()?;
    let daemon = daemons.first().context("no daemon of ours")?;
    let client = contest.gantry(daemon)?;
    client.quiet(&["network", "create", "front"])?;
    for name in ["asked", "asker"] {
        let args = ["run", "-d", "--name", name, "--network", "front", "busybox", "sleep", "1000"];
        client.quiet(&args)?;
    }
    let pid = client
        .command(&["inspect", "-f", "{{.State.Pid}}", "asker"])
        .stdout(Stdio::piped())
        .output()
        .context("inspect the asker")?;
    let pid = String::from_utf8_lossy(&pid.stdout).trim().to_owned();
    let helper = daemon.processes().into_iter().find(|p| p.name == "gantry-netd");
    let helper = helper.context("gantry-netd does not run")?.pid;
    let own = std::env::current_exe().context("find this program")?;
    let (mut all, mut cost, mut comings) = ([const { Vec::new() }; 3], Vec::new(), Vec::new());
    for _ in 0..contest.rounds {
        let mut asker = daemon.host().command("nsenter");
        asker.args(["-t", &pid, "-n"]).arg(&own).args(["bench-ask", "asked"]);
        asker.stdin(Stdio::null()).stderr(Stdio::piped());
        let before = proc::processor_time(helper);
        let over = AtomicBool::new(false);
        let (asked, runs) = std::thread::scope(|scope| {
            let runs = scope.spawn(|| -> Result<u32> {
                let mut runs = 0;
                while !over.load(Ordering::Relaxed) {
                    client.quiet(&["run", "--rm", "--network", "front", "busybox", "true"])?;
                    runs += 1;
                }
                Ok(runs)
            });
            let asked = asker.output();
            over.store(true, Ordering::Relaxed);
            (asked, runs.join())
        });
        let asked = asked.context("ask")?;
        ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        let text = String::from_utf8_lossy(&asked.stdout).into_owned();
        for (all, figure) in all.iter_mut().zip(text.split_whitespace()) {
            all.push(figure.parse().with_context(|| format!("read {text:?}"))?);
        }
        cost.push((proc::processor_time(helper) - before) * 1e3 / f64::from(COUNT));
        let runs = runs.ok().context("the thread that runs containers died")??;
        comings.push(f64::from(runs) * f64::from(RATE) / f64::from(COUNT));
    }
    let [median, late, lost] = all;
    let mut report = Report::default();
    report.add([
        Row::new("median of answers", "ms", median),
        Row::new("99th percentile", "ms", late),
        Row::new("answers that did not come", "", lost),
        Row::new("processor a question", "µs", cost),
        Row::new("containers a second meanwhile", "", comings),
    ]);
    report.at_most("99th percentile", 5.0);
    Ok(report)
}

/// `bench-ask NAME`: asks for a name's address as often as promised, and prints the median and the 99th percentile of what
/// the answers took, in milliseconds, and how many did not come. A wrong answer is an error.
pub(crate) fn ask(args: &[String]) -> Result<ExitCode> {
    let name = args.first().context("bench-ask needs a name")?;
    let socket = UdpSocket::bind("0.0.0.0:0").context("open a socket")?;
    socket.connect("127.0.0.11:53").context("connect to 127.0.0.11")?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).context("set a timeout")?;
    let sent: Vec<AtomicU64> = (0..COUNT).map(|_| AtomicU64::new(0)).collect();
    let begin = Instant::now();
    let mut took = std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in 0..COUNT {
                let due = Duration::from_secs(1) / u32::from(RATE) * u32::from(id);
                if let Some(early) = due.checked_sub(begin.elapsed()) {
                    std::thread::sleep(early);
                }
                sent[usize::from(id)].store(nanoseconds(begin), Ordering::Release);
                // What is not sent is not answered, and told as that.
                let _sent = socket.send(&question(id, name));
            }
        });
        let mut took = Vec::with_capacity(usize::from(COUNT));
        let mut buffer = [0; 512];
        while took.len() < usize::from(COUNT) {
            // Nothing more will come.
            let Ok(length) = socket.recv(&mut buffer) else { break };
            let answer = &buffer[..length];
            // One answer, no error (RFC 1035 section 4.1.1).
            ensure!(length > 12 && answer[3] & 15 == 0 && answer[7] == 1, "{answer:?}");
            let id = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
            let since = sent.get(id).context("an answer to nothing")?.load(Ordering::Acquire);
            took.push((nanoseconds(begin) - since) as f64 / 1e6);
        }
        Ok::<_, anyhow::Error>(took)
    })?;
    let lost = usize::from(COUNT) - took.len();
    took.sort_by(f64::total_cmp);
    // What did not come was late beyond all bounds.
    took.resize(usize::from(COUNT), f64::INFINITY);
    println!("{} {} {lost}", took[took.len() / 2], took[took.len() * 99 / 100]);
    Ok(ExitCode::SUCCESS)
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).expect("a benchmark takes less than centuries")
}

/// A question for the IPv4 address of a name.
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    // A query, recursion desired; one question.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).expect("a label is short"));
        packet.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    packet.extend([0, 0, 1, 0, 1]);
    packet
}
