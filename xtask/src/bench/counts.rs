//! System calls and syncs of one `run`: figures that do not depend on the machine's mood.

use super::Contest;
use super::figures::{Report, Row};
use super::host::{Client, Daemon, wait_for};
use super::{find, proc};
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What waits for a disk.
const SYNCS: [&str; 5] = ["fsync", "fdatasync", "syncfs", "sync_file_range", "sync"];

pub(crate) fn counts(contest: &Contest) -> Result<Report> {
    ensure!(find("strace").is_some(), "strace is missing (package of that name)");
    let daemons = contest.daemons()?;
    let mut report = Report::default();
    for daemon in &daemons {
        let client = match daemon.is_gantry() {
            true => contest.gantry(daemon)?,
            false => contest.client(daemon)?,
        };
        // Once unseen: what is done for the first container only is no part of it.
        client.quiet(&["run", "--rm", "busybox", "true"])?;
        let name = format!("counted-{}", std::process::id());
        let runs: [(&str, Vec<&str>); 2] = [
            ("run --rm", vec!["run", "--rm", "busybox", "true"]),
            ("run -d", vec!["run", "-d", "--name", &name, "busybox", "sleep", "1000"]),
        ];
        for (label, args) in runs {
            let trace = contest.folder.join("trace");
            let calls = traced(daemon, &client, &args, &trace)?;
            let own = client_calls(&client, &args, &name, &trace)?;
            add(&mut report, label, daemon, &client, &calls, own);
        }
        client.quiet(&["rm", "-f", &name])?;
    }
    report.at_most("run --rm: gantryd: syncs", 0.0);
    report.at_most("run -d: gantryd: syncs", 2.0);
    Ok(report)
}

/// What one process, or kind of process, called.
#[derive(Debug, Default)]
struct Calls {
    /// By the program that called.
    programs: BTreeMap<String, BTreeMap<String, u64>>,
    /// What was synced, with its path where strace knows it.
    syncs: Vec<String>,
}

fn add(
    report: &mut Report,
    label: &str,
    daemon: &Daemon,
    client: &Client,
    calls: &Calls,
    own: u64,
) {
    let row = |what: &str, n: u64| {
        Row::new(format!("{label}: {}: {what}", daemon.name), "calls", vec![n as f64])
    };
    let mut total = 0;
    for (program, by_name) in &calls.programs {
        let sum = by_name.values().sum::<u64>();
        total += sum;
        report.add([row(program, sum)]);
        let mut most: Vec<_> = by_name.iter().collect();
        most.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let most: Vec<String> =
            most.iter().take(10).map(|(name, n)| format!("{name} {n}")).collect();
        report.note(format!("{label}: {}: {program}: {}", daemon.name, most.join(", ")));
    }
    report.add([row("everything behind the API", total)]);
    let program = client.name.split(' ').next().unwrap_or_default();
    report.add([row(&format!("the client ({program})"), own)]);
    report.add([row("syncs", calls.syncs.len() as u64)]);
    // Where the benchmark stands on this machine says nothing of the work.
    let here = daemon.folder().parent().map(|p| format!("{}/", p.display())).unwrap_or_default();
    for sync in calls.syncs.iter().take(12) {
        let sync = sync.replace(&here, "");
        report.note(format!("{label}: {}: {sync}", daemon.name));
    }
}

/// Follows a daemon and all that it starts while a client does something.
fn traced(daemon: &Daemon, client: &Client, args: &[&str], file: &Path) -> Result<Calls> {
    let followed: Vec<u32> = daemon
        .processes()
        .iter()
        .filter(|p| matches!(p.name.as_str(), "gantryd" | "dockerd" | "containerd"))
        .map(|p| p.pid)
        .collect();
    let mut names = HashMap::new();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-s", "48", "-o"]).arg(file);
    for process in daemon.processes().iter().filter(|p| followed.contains(&p.pid)) {
        strace.args(["-p", &process.pid.to_string()]);
        names.extend(proc::threads(process.pid).into_iter().map(|t| (t, process.name.clone())));
    }
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut strace = Tracer(strace.spawn().context("run strace")?);
    wait_for("strace", || names.keys().all(|tid| is_traced(*tid)).then_some(()))?;
    // Before the first call of interest: whatever the daemon did on its own meanwhile is cut off below.
    std::thread::sleep(Duration::from_millis(200));
    let start = std::fs::metadata(file).map_or(0, |m| m.len());
    client.quiet(args)?;
    // The end of a supervisor and what the daemon does about it.
    std::thread::sleep(Duration::from_secs(1));
    for process in daemon.processes().iter().filter(|p| followed.contains(&p.pid)) {
        names.extend(proc::threads(process.pid).into_iter().map(|t| (t, process.name.clone())));
    }
    strace.stop();
    let text = std::fs::read(file).context("read the trace")?;
    let text =
        String::from_utf8_lossy(&text[usize::try_from(start).unwrap_or(0).min(text.len())..]);
    Ok(parse(&text, &names))
}

/// strace, to be ended so that it lets go of what it follows.
#[derive(Debug)]
struct Tracer(Child);

impl Tracer {
    fn stop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let _asked = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ended = self.0.wait();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_traced(tid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{tid}/status")).is_ok_and(|text| {
        text.lines().any(|l| l.strip_prefix("TracerPid:").is_some_and(|n| n.trim() != "0"))
    })
}

/// How many calls the client makes itself.
fn client_calls(client: &Client, args: &[&str], name: &str, file: &Path) -> Result<u64> {
    let again = format!("{name}-client");
    let args: Vec<&str> =
        args.iter().map(|a| if *a == name { again.as_str() } else { a }).collect();
    let command = client.command(&args);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(file).arg(command.get_program()).args(command.get_args());
    strace.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let status = strace
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("run strace")?;
    ensure!(status.success(), "the client failed under strace: {status}");
    if args.contains(&again.as_str()) {
        client.quiet(&["rm", "-f", &again])?;
    }
    let text = std::fs::read(file).context("read the trace")?;
    let calls = parse(&String::from_utf8_lossy(&text), &HashMap::new());
    Ok(calls.programs.values().flat_map(BTreeMap::values).sum())
}

/// Counts the calls in a trace. Who is not among `names` is called by what it executes.
fn parse(text: &str, names: &HashMap<u32, String>) -> Calls {
    let mut calls = Calls::default();
    let mut current: HashMap<u32, String> = names.clone();
    let mut early: HashMap<u32, BTreeMap<String, u64>> = HashMap::new();
    let known: HashSet<u32> = names.keys().copied().collect();
    for line in text.lines() {
        let Some((pid, rest)) = line.trim_start().split_once(' ') else { continue };
        let (Ok(pid), rest) = (pid.parse::<u32>(), rest.trim_start()) else { continue };
        let Some((name, _)) = rest.split_once('(') else { continue };
        // Signals (---), ends (+++) and the second halves of calls (<... resumed) are no calls.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        if SYNCS.contains(&name) {
            let who = current.get(&pid).map_or("?", String::as_str);
            calls.syncs.push(format!("{who}: {}", rest.split(" = ").next().unwrap_or(rest)));
        }
        if name == "execve" && !known.contains(&pid) {
            let program = executed(rest);
            let before = early.remove(&pid).unwrap_or_default();
            let setup = calls.programs.entry(format!("{program}, before its exec")).or_default();
            before.into_iter().for_each(|(name, n)| *setup.entry(name).or_insert(0) += n);
            *setup.entry(name.to_owned()).or_insert(0) += 1;
            current.insert(pid, program);
            continue;
        }
        let counter = match current.get(&pid) {
            Some(program) => calls.programs.entry(program.clone()).or_default(),
            None => early.entry(pid).or_default(),
        };
        *counter.entry(name.to_owned()).or_insert(0) += 1;
    }
    for by_name in early.into_values() {
        let others = calls.programs.entry("threads of helpers".to_owned()).or_default();
        by_name.into_iter().for_each(|(name, n)| *others.entry(name).or_insert(0) += n);
    }
    calls
}

/// `execve("/proc/self/fd/9", ["gantry-shim", …` is `gantry-shim`.
fn executed(call: &str) -> String {
    let first = call.split_once("[\"").and_then(|(_, rest)| rest.split('"').next());
    let first = first.unwrap_or("?");
    first.rsplit('/').next().unwrap_or(first).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_program() {
        let text = "\
10 epoll_wait(5<anon>, [], 1024, 0) = 0
11 clone3({flags=CLONE_VM|CLONE_VFORK} <unfinished ...>
12 dup2(4, 0) = 0
12 execve(\"/proc/self/fd/9\", [\"gantry-shim\", \"ab\"], 0x1 /* 0 vars */ <unfinished ...>
11 <... clone3 resumed>) = 12
12 <... execve resumed>) = 0
12 read(0, \"x\", 1) = 1
13 mount(\"a\", \"b\") = 0
13 execve(\"/bin/true\", [\"true\"], []) = 0
13 exit_group(0) = ?
13 +++ exited with 0 +++
12 --- SIGCHLD {si_signo=SIGCHLD} ---
11 fdatasync(7</data/store.redb>) = 0
14 futex(0x1, FUTEX_WAIT) = 0
";
        let names = [(10, "gantryd".to_owned()), (11, "gantryd".to_owned())].into();
        let calls = parse(text, &names);
        let sums: Vec<(&str, u64)> =
            calls.programs.iter().map(|(p, c)| (p.as_str(), c.values().sum())).collect();
        assert_eq!(
            sums,
            [
                ("gantry-shim", 1),
                ("gantry-shim, before its exec", 2),
                ("gantryd", 3),
                ("threads of helpers", 1),
                ("true", 1),
                ("true, before its exec", 2)
            ]
        );
        assert_eq!(calls.syncs, ["gantryd: fdatasync(7</data/store.redb>)"]);
    }
}
