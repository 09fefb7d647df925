//! Runs a container described by a job (JSON on standard input) and tells what came of it (JSON on standard output).
//!
//! A small, single-threaded caller of this library, as a shim is: the tests drive it, and with `"repeat": N` it is the
//! library's stopwatch.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use oci::runtime::{Process, Spec};
use runtime::{Create, Exec, Rootfs, Stdio};
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Job {
    spec: Spec,
    #[serde(default)]
    directory: Option<PathBuf>,
    #[serde(default)]
    lower: Vec<PathBuf>,
    #[serde(default)]
    upper: Option<PathBuf>,
    #[serde(default)]
    work: Option<PathBuf>,
    #[serde(default)]
    netns: Option<PathBuf>,
    /// Make this group, live in it, remove it.
    #[serde(default)]
    cgroup: Option<String>,
    /// Create, look around, start, instead of all in one.
    #[serde(default)]
    two_steps: bool,
    /// Processes added while the container runs, which is then killed.
    #[serde(default)]
    execs: Vec<Process>,
    /// Standard input.
    #[serde(default)]
    stdin: String,
    /// Standard input is the host's null device.
    #[serde(default)]
    null: bool,
    /// What a terminal must have said before it is given `stdin`.
    #[serde(default)]
    expect: String,
    /// Mount a tmpfs here first, in a mount namespace of this process's own.
    #[serde(default)]
    tmpfs: Option<PathBuf>,
    /// Make that mount a shared one.
    #[serde(default)]
    shared: bool,
    /// Make these directories then.
    #[serde(default)]
    directories: Vec<PathBuf>,
    /// Runs it so often, and says how long each took.
    #[serde(default)]
    repeat: usize,
}

#[derive(Serialize, Default)]
struct Outcome {
    error: Option<String>,
    kind: Option<String>,
    code: i32,
    stdout: String,
    stderr: String,
    execs: Vec<Self>,
    /// Mounts seen beneath `tmpfs` afterwards.
    mounts_beneath: usize,
    /// Children that were left unreaped by the library.
    children: bool,
    /// Descriptors before and after.
    descriptors: [usize; 2],
    microseconds: Vec<u128>,
}

fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("a job on standard input");
    let job: Job = serde_json::from_str(&text).expect("a job");
    if let Some(place) = &job.tmpfs {
        prepare(place, job.shared, &job.directories);
    }
    let before = descriptors();
    let mut outcome = if job.repeat > 0 { measure(&job) } else { run(&job) };
    outcome.children = !matches!(
        rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG),
        Err(rustix::io::Errno::CHILD)
    );
    outcome.descriptors = [before, descriptors()];
    if let Some(place) = &job.tmpfs {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let beneath = format!(" {}/", place.display());
        outcome.mounts_beneath = mounts.lines().filter(|l| l.contains(&beneath)).count();
    }
    let text = serde_json::to_string(&outcome).expect("plain data");
    std::io::stdout().write_all(text.as_bytes()).expect("write the outcome");
}

fn prepare(place: &Path, shared: bool, directories: &[PathBuf]) {
    use sys::mount::{self, Attributes};
    sys::process::unshare(sys::clone::NEWNS).expect("a mount namespace");
    let private = Attributes { propagation: mount::PRIVATE, ..Attributes::default() };
    mount::set_attributes_at(rustix::fs::CWD, c"/", private, true).expect("private mounts");
    let tree = mount::Context::open("tmpfs").and_then(|context| context.mount(0)).expect("a tmpfs");
    if shared {
        let shared = Attributes { propagation: mount::SHARED, ..Attributes::default() };
        mount::set_attributes(&tree, shared, false).expect("a shared mount");
    }
    let target = std::fs::File::open(place).expect("a place");
    mount::attach(&tree, &target).expect("attach the tmpfs");
    for directory in directories {
        std::fs::create_dir(directory).expect("a new directory");
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

fn rootfs(job: &Job) -> Option<Rootfs> {
    match &job.directory {
        Some(path) => Some(Rootfs::Directory(path.clone())),
        None if job.lower.is_empty() => None,
        None => Some(Rootfs::Overlay {
            lower: job.lower.clone(),
            upper: job.upper.clone(),
            work: job.work.clone(),
        }),
    }
}

fn run(job: &Job) -> Outcome {
    let mut outcome = Outcome::default();
    let netns = job.netns.as_ref().map(|p| std::fs::File::open(p).expect("a network namespace"));
    let group = job.cgroup.as_ref().map(|path| {
        let hierarchies = cgroups::Hierarchies::detect().expect("cgroups");
        let resources =
            job.spec.linux.as_ref().and_then(|l| l.resources.clone()).unwrap_or_default();
        cgroups::Group::create(&hierarchies, path, &resources).expect("a cgroup")
    });
    let streams = if job.null { Streams::null() } else { Streams::new(&job.stdin) };
    let request = Create {
        spec: &job.spec,
        rootfs: rootfs(job),
        mapped_rootfs: false,
        netns: netns.as_ref().map(|n| n.as_fd()),
        stdio: streams.as_stdio(),
        cgroup: group.as_ref(),
        seccomp: None,
        who: None,
        preserve: &[],
        creators_keyring: false,
    };
    let made = match job.two_steps {
        false => runtime::run(&request),
        true => runtime::create(&request).and_then(|mut container| {
            let exe = std::fs::read_link(format!("/proc/{}/exe", container.pid)).expect("it waits");
            assert_eq!(
                exe,
                std::env::current_exe().expect("our own path"),
                "it has executed something"
            );
            container.start().inspect_err(|_| {
                let _code = wait(&container.pidfd);
            })?;
            Ok(container)
        }),
    };
    match made {
        Err(error) => fail(&mut outcome, &error),
        Ok(container) => {
            for process in &job.execs {
                outcome.execs.push(exec(process, &container.pidfd, group.as_ref()));
            }
            if !job.execs.is_empty() {
                sys::process::signal(&container.pidfd, 9).expect("kill the container");
            }
            let shown =
                container.console.map(|master| (talk(&master, &job.expect, &job.stdin), master));
            outcome.code = wait(&container.pidfd);
            (outcome.stdout, outcome.stderr) = streams.read();
            if let Some((text, _master)) = shown {
                outcome.stdout = text;
            }
        }
    }
    if let Some(group) = group {
        group.remove().expect("remove the cgroup");
    }
    outcome
}

fn exec(process: &Process, target: &OwnedFd, cgroup: Option<&cgroups::Group>) -> Outcome {
    let mut outcome = Outcome::default();
    let streams = Streams::new("");
    let request = Exec {
        target: target.as_fd(),
        process,
        stdio: streams.as_stdio(),
        cgroup,
        within: None,
        seccomp: None,
        profile: None,
        agent: None,
        user_namespace: false,
        preserve: &[],
    };
    match runtime::exec(&request) {
        Err(error) => fail(&mut outcome, &error),
        Ok(added) => {
            let shown = added.console.as_ref().map(|master| talk(master, "", ""));
            outcome.code = wait(&added.pidfd);
            (outcome.stdout, outcome.stderr) = streams.read();
            outcome.stdout.push_str(&shown.unwrap_or_default());
        }
    }
    outcome
}

fn fail(outcome: &mut Outcome, error: &runtime::Error) {
    outcome.error = Some(error.to_string());
    let kind = format!("{error:?}");
    outcome.kind = Some(kind.split(['(', ' ']).next().unwrap_or("").to_owned());
}

/// Exit code, or 128 and the signal.
fn wait(pidfd: &OwnedFd) -> i32 {
    let options = WaitIdOptions::EXITED;
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options)
        .expect("a child")
        .expect("ended");
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0))
}

/// Everything a terminal says; it is given `input` once it has said `expect`.
fn talk(master: &OwnedFd, expect: &str, input: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    let mut said = false;
    loop {
        if !said && text.contains(expect) {
            rustix::io::write(master, input.as_bytes()).expect("write to the terminal");
            said = true;
        }
        // EIO: the other end is closed.
        let Ok(n @ 1..) = rustix::io::read(master, &mut buffer) else { return text };
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
}

/// Pipes whose ends we hold; what is written must fit them.
struct Streams {
    stdin: OwnedFd,
    stdout: [OwnedFd; 2],
    stderr: [OwnedFd; 2],
}

impl Streams {
    fn new(input: &str) -> Self {
        let pipe = || std::io::pipe().expect("a pipe");
        let (reader, mut writer) = pipe();
        writer.write_all(input.as_bytes()).expect("a short input");
        let ends = |(r, w): (std::io::PipeReader, std::io::PipeWriter)| {
            [OwnedFd::from(r), OwnedFd::from(w)]
        };
        Self { stdin: reader.into(), stdout: ends(pipe()), stderr: ends(pipe()) }
    }

    /// As [`new`](Self::new), with the host's null device to read from.
    fn null() -> Self {
        let null = std::fs::File::options().read(true).write(true).open("/dev/null");
        Self { stdin: null.expect("/dev/null").into(), ..Self::new("") }
    }

    fn as_stdio(&self) -> Stdio<'_> {
        Stdio::Streams {
            stdin: self.stdin.as_fd(),
            stdout: self.stdout[1].as_fd(),
            stderr: self.stderr[1].as_fd(),
        }
    }

    fn read(self) -> (String, String) {
        let text = |[reader, writer]: [OwnedFd; 2]| {
            drop(writer);
            let mut bytes = Vec::new();
            std::fs::File::from(reader).read_to_end(&mut bytes).expect("a readable pipe");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        (text(self.stdout), text(self.stderr))
    }
}

/// Start to exec, and start to reaped, by turns.
fn measure(job: &Job) -> Outcome {
    let mut outcome = Outcome::default();
    let hierarchies = cgroups::Hierarchies::detect().expect("cgroups");
    let resources = job.spec.linux.as_ref().and_then(|l| l.resources.clone()).unwrap_or_default();
    let null =
        std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").expect("/dev/null");
    for i in 0..job.repeat {
        let begin = Instant::now();
        let group = job.cgroup.as_ref().map(|path| {
            cgroups::Group::create(&hierarchies, &format!("{path}-{i}"), &resources)
                .expect("a cgroup")
        });
        let grouped = begin.elapsed();
        let fd = null.as_fd();
        let request = Create {
            spec: &job.spec,
            rootfs: rootfs(job),
            mapped_rootfs: false,
            netns: None,
            stdio: Stdio::Streams { stdin: fd, stdout: fd, stderr: fd },
            cgroup: group.as_ref(),
            seccomp: None,
            who: None,
            preserve: &[],
            creators_keyring: false,
        };
        let container = runtime::run(&request).expect("a container");
        let started = begin.elapsed();
        wait(&container.pidfd);
        let ended = begin.elapsed();
        if let Some(group) = group {
            group.remove().expect("remove the cgroup");
        }
        let removed = begin.elapsed();
        outcome.microseconds.extend([grouped, started, ended, removed].map(|d| d.as_micros()));
    }
    outcome
}
