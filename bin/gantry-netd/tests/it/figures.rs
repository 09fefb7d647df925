//! Figures, printed and bounded loosely: `cargo test -p gantry-netd -- --nocapture figures`, with `GANTRY_TEST_NETD` naming
//! the static build.

use crate::abuse::ticks;
use crate::rig::*;
use netd::Sandbox;
use std::collections::HashMap;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Queries a second that are asked, and for how long.
const RATE: u32 = 10_000;
const TIME: Duration = Duration::from_secs(2);
/// Queries that may be unanswered at a time, after a stall too. A socket of the usual size holds 256 small datagrams, but a
/// quarter of that may be room of read ones that the kernel has not given back yet (`udp_rmem_release`).
const WINDOW: usize = 150;

/// What this thread has used of a processor.
fn own_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.cast_unsigned(), used.tv_nsec as u32)
}

fn at(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

/// Asks over one socket, at an even pace as long as answers come; how long each answer took, and how many were asked. No
/// answer is wrong.
fn storm(
    socket: &UdpSocket,
    (name, address): (&'static str, &'static str),
    rate: u32,
) -> (Vec<Duration>, usize) {
    let receiver = socket.try_clone().unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (tell, told) = channel();
    let (answered, answers) = channel();
    let reading = std::thread::spawn(move || {
        let mut sent: HashMap<u16, Instant> = HashMap::new();
        let (mut times, mut buffer) = (Vec::new(), [0; 512]);
        loop {
            // It reads as long as something is owed, and ends when nothing is and nothing more will be asked.
            if sent.is_empty() {
                let Ok(next) = told.recv() else { break };
                sent.extend([next]);
            }
            let length = match receiver.recv(&mut buffer) {
                Ok(length) => length,
                // As after a stop and go.
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let now = Instant::now();
            sent.extend(told.try_iter());
            let said = said(&buffer[..length]);
            assert_eq!(said.text(), address);
            if let Some(at) = sent.remove(&said.id) {
                times.push(now - at);
                // The sender may have ended.
                let _told = answered.send(());
            }
        }
        times
    });
    let (start, mut count, mut unanswered) = (Instant::now(), 0u32, 0);
    'asking: while start.elapsed() < TIME {
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        while count < due && start.elapsed() < TIME {
            unanswered -= answers.try_iter().count();
            if unanswered == WINDOW {
                // The reader gives up when something was lost.
                let Ok(()) = answers.recv() else { break 'asking };
                unanswered -= 1;
            }
            if tell.send((count as u16, Instant::now())).is_err() {
                break 'asking;
            }
            socket.send(&query(count as u16, name, A)).unwrap();
            (count, unanswered) = (count + 1, unanswered + 1);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    drop(tell);
    (reading.join().unwrap(), count as usize)
}

#[test]
fn figures_of_queries() {
    let host = Host::new();
    host.network("n1", "front", false);
    let _server = server("127.0.0.1:53", |q, _, _| Some(answer(q, 0, &[[192, 0, 2, 1]])));
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    let pid = host.client.pid().unwrap().unwrap();
    // Containers come and go all the while.
    let (client, end) = (host.client.clone(), Instant::now() + 2 * TIME);
    let other = Container::new("other1");
    let churn = std::thread::spawn(move || {
        let mut count = 0;
        while Instant::now() < end {
            let address = format!("10.9.1.{}", count % 250 + 1);
            let own = sandbox(&[("n1", &[&address], &["other", "app"])]);
            client.attach(&other.id, &own, other.netns().as_fd()).unwrap();
            client.owner(&other.id, other.process.id()).unwrap();
            client.detach(&other.id).unwrap();
            count += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        count
    });
    for (what, name, rate) in [
        ("names of ours", ("web", "10.9.0.2"), RATE),
        ("asked outside", ("www.example.com", "192.0.2.1"), RATE / 4),
    ] {
        let before = ticks(pid);
        let start = Instant::now();
        let (mut times, asked) = storm(&web.udp(), name, rate);
        let reached = times.len() as f64 / start.elapsed().as_secs_f64();
        let used = Duration::from_millis(10 * (ticks(pid) - before)) / asked as u32;
        let lost = asked - times.len();
        println!(
            "{what}: {reached:.0} of {rate} a second, {lost} lost, median {:?}, p99 {:?}, {used:?} of a processor each",
            at(&mut times, 0.5),
            at(&mut times, 0.99),
        );
        assert_eq!(lost, 0, "{what}: of {asked}");
    }
    println!("another container came and went {} times", churn.join().unwrap());
}

#[test]
fn figures_of_a_crowd() {
    let host = Host::new();
    host.network("n1", "front", false);
    let mut all = Vec::new();
    let (mut attach, mut owner, mut daemon) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..200u32 {
        let container = Container::new(&format!("c{n}"));
        let address = format!("10.9.{}.{}", n / 250, n % 250 + 2);
        let name = format!("name-{n}");
        let own = sandbox(&[("n1", &[&address], &[&name, &format!("{n:012}"), "app"])]);
        let netns = container.netns();
        let (start, before) = (Instant::now(), own_time());
        host.client.attach(&container.id, &own, netns.as_fd()).unwrap();
        let attached = Instant::now();
        host.client.owner(&container.id, container.process.id()).unwrap();
        attach.push(attached - start);
        owner.push(attached.elapsed());
        daemon.push(own_time() - before);
        all.push((container, own));
    }
    let mut update: Vec<Duration> = all
        .iter()
        .map(|(container, own)| {
            let own = Sandbox { ndots: true, ..own.clone() };
            let start = Instant::now();
            host.client.update(&container.id, &own).unwrap();
            start.elapsed()
        })
        .collect();
    println!("of the daemon's processor for both: median {:?}", at(&mut daemon, 0.5));
    let pid = host.client.pid().unwrap().unwrap();
    println!("of the helper's for one: {:?}", Duration::from_millis(10 * ticks(pid)) / 200);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find(|l| l.starts_with("VmRSS")).unwrap().to_owned();
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    for (what, times) in [("attach", &mut attach), ("owner", &mut owner), ("update", &mut update)] {
        let [least, median, p99] = [0.0, 0.5, 0.99].map(|share| at(times, share));
        println!("{what}: least {least:?}, median {median:?}, p99 {p99:?}");
    }
    println!("{} containers: {rss}, {descriptors} descriptors", all.len());
    assert_eq!(all[0].0.ask("app", A).records.len(), 30);
    assert!(descriptors < all.len() * 4 + 20, "{descriptors}");
    let start = Instant::now();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    wait_for("all are served again", Duration::from_secs(10), || {
        host.client.status().is_ok_and(|s| s.is_some_and(|s| s.attached == all.len()))
    });
    println!("all served again after a kill: {:?}", start.elapsed());
}
