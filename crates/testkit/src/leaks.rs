//! What a daemon may have left behind: the machine before and after, compared.
//!
//! Looked at: mounts (the host's and the daemon's), cgroups below the daemon's parent, links and rules of its network
//! namespace, processes, files of its two roots, and its descriptors. Some ends are asynchronous by design (a dropped
//! network namespace takes its links a few milliseconds later; the trash is emptied behind the caller), so a machine is
//! taken down when it is at rest, and a difference counts when it does not go away.

use crate::{Daemon, need};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long asynchronous ends may take. A bound for a machine that stands still, not an expectation.
const GRACE: Duration = Duration::from_secs(20);

/// How long nothing must have changed for the machine to be at rest.
const REST: Duration = Duration::from_millis(300);

/// How long is waited for what may stay as it is: descriptors of another daemon, cgroups that somebody is in.
const SHORT: Duration = Duration::from_secs(2);

/// Where things lie that are about to be deleted.
const TRASH: [&str; 3] = ["file exec/trash/", "file data/trash/", "file data/snapshots/trash/"];

/// Folders of the roots whose insides are not compared: a tree of an image or of a volume, and a cache.
const CLOSED: [&str; 4] =
    ["data/snapshots/committed/", "data/volumes/", "exec/seccomp/", "data/snapshots/empty/"];

/// What there was on a machine: each thing and how many there are.
type Look = BTreeMap<String, usize>;

/// The state of a machine, for comparison.
#[derive(Debug, Clone)]
pub struct Leaks {
    before: Look,
    /// The daemon whose descriptors are among it.
    pid: i32,
}

impl Leaks {
    /// Takes down what there is now. Run one container first: caches fill with the first.
    pub fn snapshot(daemon: &Daemon) -> Self {
        Self { before: settled(daemon), pid: daemon.pid() }
    }

    /// What has appeared or gone since, once everything asynchronous is over. Empty: nothing leaks.
    pub fn differences(&self, daemon: &Daemon) -> Vec<String> {
        let begin = Instant::now();
        loop {
            // Asked for before looking: what is answered was so after the whole time.
            let waited = begin.elapsed();
            let differences = compare(&self.before, &look(daemon));
            // Descriptors of a daemon that was started again are other ones, and stay so.
            let others = daemon.pid() != self.pid
                && differences.iter().all(|difference| difference.contains(" descriptor "));
            if differences.is_empty() || waited >= if others { SHORT } else { GRACE } {
                return differences;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Requires that nothing was left behind.
    ///
    /// # Panics
    /// When something was.
    #[track_caller]
    pub fn check(&self, daemon: &Daemon) {
        let differences = self.differences(daemon);
        assert!(differences.is_empty(), "left behind (+) or lost (-):\n{}", differences.join("\n"));
    }
}

/// What there is once nothing changes any more and nothing waits to be deleted, at most after the grace time.
fn settled(daemon: &Daemon) -> Look {
    let begin = Instant::now();
    let mut last = look(daemon);
    let mut since = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let (at, now) = (Instant::now(), look(daemon));
        if now != last {
            (since, last) = (Instant::now(), now);
        }
        let emptied = !last.keys().any(|key| TRASH.iter().any(|trash| key.starts_with(trash)));
        let rested = at.saturating_duration_since(since) >= REST && emptied;
        if rested || at.duration_since(begin) >= GRACE {
            return last;
        }
    }
}

fn compare(before: &Look, now: &Look) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let (old, new) =
            (before.get(key).copied().unwrap_or(0), now.get(key).copied().unwrap_or(0));
        // A daemon with fewer descriptors than before is no leak: connections end when they like.
        if new > old {
            found.push(format!("+{} {key}", new - old));
        } else if new < old && !key.starts_with("descriptor ") {
            found.push(format!("-{} {key}", old - new));
        }
    }
    found
}

fn look(daemon: &Daemon) -> Look {
    let mut all = Vec::new();
    all.extend(mounts(daemon));
    all.extend(
        cgroups(&daemon.cgroup()).into_iter().map(|path| format!("cgroup {}", path.display())),
    );
    all.extend(links(daemon));
    all.extend(rules(daemon));
    all.extend(processes(daemon));
    for (label, root) in [("exec", daemon.exec_root()), ("data", daemon.data_root())] {
        files(&root, label, &mut all);
    }
    all.extend(descriptors(daemon.pid()));
    let mut counted = BTreeMap::new();
    for key in all {
        *counted.entry(key).or_default() += 1;
    }
    counted
}

/// Mounts of the machine that name the daemon's folder, and all that its own namespace has.
fn mounts(daemon: &Daemon) -> Vec<String> {
    let places = |file: String| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .map(|l| l.split(' ').skip(3).take(2).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    let folder = daemon.path("").display().to_string();
    let own = places("/proc/self/mountinfo".to_owned())
        .into_iter()
        .filter(|m| m.contains(folder.trim_end_matches('/')));
    let inner = places(format!("/proc/{}/mountinfo", daemon.host().first()));
    own.map(|m| format!("mount on the machine {m}"))
        .chain(inner.into_iter().map(|m| format!("mount {m}")))
        .collect()
}

/// Cgroups below `name` in every hierarchy, deepest first.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path());
    for parent in hierarchies.chain([root.to_owned()]).map(|h| h.join(name)).filter(|p| p.is_dir())
    {
        below(&parent, &mut found);
    }
    found
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            below(&entry.path(), found);
            found.push(entry.path());
        }
    }
}

/// Removes the cgroups of an instance whose processes have all been killed.
pub fn remove_cgroups(name: &str) {
    let deadline = Instant::now() + SHORT;
    loop {
        cgroups(name).iter().for_each(|path| drop(std::fs::remove_dir(path)));
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path());
        let mut left = false;
        for parent in
            hierarchies.chain([root.to_owned()]).map(|h| h.join(name)).filter(|p| p.is_dir())
        {
            left |= std::fs::remove_dir(parent).is_err();
        }
        if !left || Instant::now() > deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Network links; a container's are named anew each time, so only their kind counts.
fn links(daemon: &Daemon) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/net/dev", daemon.host().first()))
        .unwrap_or_default();
    let names = text.lines().skip(2).filter_map(|l| l.split(':').next()).map(str::trim);
    names.map(|name| format!("link {name}")).collect()
}

fn rules(daemon: &Daemon) -> Vec<String> {
    if need::find("nft").is_none() {
        return Vec::new();
    }
    let list = || daemon.host().run("nft", &["--stateless", "list", "ruleset"]);
    let mut output = list();
    // nft aborts (concat_expr_msort_value) when elements go while it reads them. Where it never works, nobody has rules.
    for _ in 0..20 {
        if output.code == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        output = list();
    }
    output.stdout.lines().map(|line| format!("rule {}", line.trim())).collect()
}

fn processes(daemon: &Daemon) -> Vec<String> {
    let all = daemon.host().processes().into_iter();
    // Whether it sleeps or runs at the moment is its own business; that it was not waited for is not.
    let state = |state: char| if state == 'Z' { " (zombie)" } else { "" };
    all.filter(|(.., name)| name != "gantryd" && name != "nft")
        .map(|(_, s, n)| format!("process {n}{}", state(s)))
        .collect()
}

/// What the daemon's network helper keeps for as long as there is an exec-root. Its records are counted.
const HELPERS: [&str; 9] = [
    "exec/netd",
    "exec/netd/firewall",
    "exec/netd/lock",
    "exec/netd/log",
    "exec/netd/networks",
    "exec/netd/owners",
    "exec/netd/port",
    "exec/netd/sandboxes",
    "exec/netd/socket",
];

fn files(root: &Path, label: &str, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = format!("{label}/{}", entry.file_name().to_string_lossy());
        let inside_closed = CLOSED.iter().any(|closed| name.starts_with(closed));
        if inside_closed && name.starts_with("exec/seccomp/") {
            continue;
        }
        if !HELPERS.contains(&name.as_str()) {
            all.push(format!("file {name}"));
        }
        if entry.file_type().is_ok_and(|t| t.is_dir()) && !inside_closed {
            files(&entry.path(), &name, all);
        }
    }
}

/// Descriptors by kind: what they point to, numbers taken out.
fn descriptors(pid: i32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|e| std::fs::read_link(e.path()).ok());
    let kind = |target: PathBuf| {
        let text = target.display().to_string();
        text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
    };
    targets.map(|t| format!("descriptor {}", kind(t))).collect()
}
