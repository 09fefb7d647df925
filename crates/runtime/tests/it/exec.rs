//! Processes added to a container that runs.

use oci::runtime::Process;

use crate::job::{Job, Outcome, added};

fn in_container(job: Job, processes: &[Process]) -> Vec<Outcome> {
    let outcome = job.set("execs", processes).run();
    assert_eq!((outcome.error.as_deref(), outcome.code), (None, 137), "{outcome:?}");
    outcome.execs
}

fn sleeper() -> Job {
    Job::new(&["sleep", "100"])
}

fn shell(script: &str) -> Process {
    added(&["sh", "-c", script])
}

#[test]
fn it_lives_in_all_of_the_containers_namespaces() {
    let script = "for n in cgroup ipc mnt net pid time uts; do \
                  test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || echo $n; done; \
                  hostname; test $$ -ne 1 && tr '\\0' ' ' < /proc/1/cmdline";
    let outcomes = in_container(sleeper(), &[shell(script)]);
    assert_eq!(outcomes[0].ok(), "box\nsleep 100");
}

#[test]
fn exit_codes_users_and_errors_are_its_own() {
    let mut web = shell("echo $(id -u) $(id -G) $HOME; pwd");
    web.user.username = Some("web".to_owned());
    web.cwd = "/tmp".to_owned();
    let mut lost = shell("true");
    lost.cwd = "/nosuch".to_owned();
    let mut nobody = shell("true");
    nobody.user.username = Some("nobody".to_owned());
    let outcomes =
        in_container(sleeper(), &[shell("exit 7"), web, lost, nobody, added(&["nosuch"])]);
    assert_eq!(outcomes[0].code, 7);
    assert_eq!(outcomes[1].ok(), "33 34 50 /home\n/tmp");
    assert_eq!(
        outcomes[2].failed(),
        "chdir to cwd (\"/nosuch\") set in config.json failed: no such file or directory"
    );
    assert_eq!(
        outcomes[3].failed(),
        "unable to find user nobody: no matching entries in passwd file"
    );
    assert_eq!(outcomes[4].failed(), "exec: \"nosuch\": executable file not found in $PATH");
    assert_eq!(outcomes[4].kind.as_deref(), Some("ProgramNotFound"));
}

#[test]
fn it_is_in_the_containers_cgroup() {
    let group = format!("gantry-test-exec-{}", std::process::id());
    let job = sleeper().set("cgroup", &group);
    let outcomes = in_container(job, &[shell("cut -d: -f3 /proc/self/cgroup | sort -u")]);
    assert_eq!(outcomes[0].ok(), "/");
}

#[test]
fn it_lives_beside_the_first_process_when_controllers_were_passed_on() {
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("skipped: needs cgroup v2 (`cargo xtask vm`)");
        return;
    }
    // As systemd and Docker do inside a container: itself into a group of its own, then controllers for it. That works as
    // soon as none of the processes added here is in the way.
    let script = "cd /sys/fs/cgroup && mkdir init && echo 1 > init/cgroup.procs && \
                  until echo +pids > cgroup.subtree_control; do :; done 2>/dev/null; echo > /tmp/ready; sleep 100";
    let group = format!("gantry-test-passed-{}", std::process::id());
    let job = Job::shell(script).set("cgroup", &group).with(|spec| {
        let mount = spec.mounts.iter_mut().find(|m| m.destination.ends_with("cgroup")).unwrap();
        mount.options.retain(|o| o != "ro");
    });
    let wait = shell("sleep 0.2; test -e /tmp/ready && cat /proc/self/cgroup");
    let outcomes = in_container(job, &vec![wait; 20]);
    assert_eq!(outcomes.last().unwrap().ok(), "0::/init");
}

#[test]
fn it_has_no_capabilities_beyond_its_own_and_none_inherited() {
    let mut process = shell("grep Cap /proc/self/status | cut -f2 | tr '\\n' ' '");
    process.oom_score_adj = Some(100);
    let outcomes = in_container(sleeper(), &[process]);
    let (set, zero) = ("00000000a80425fb", "0000000000000000");
    assert_eq!(outcomes[0].ok(), format!("{zero} {set} {set} {set} {zero}"));
}

#[test]
fn nothing_of_the_host_can_be_seen_while_it_joins() {
    // The container's root watches for processes with descriptors or a directory of the host (CVE-2016-9962).
    let watch = "echo ready > /tmp/ready; while :; do ls -l /proc/[0-9]*/fd /proc/[0-9]*/cwd /proc/[0-9]*/exe 2>/dev/null \
                 | grep -E -e '-> ' | grep -vE 'pipe:|/proc/|/dev/null|/bin/busybox|-> /$|-> /tmp|anon_inode' >> /tmp/seen; done";
    let execs: Vec<Process> =
        (0..20).map(|_| added(&["true"])).chain([shell("cat /tmp/seen")]).collect();
    let outcomes = in_container(Job::shell(watch), &execs);
    assert_eq!(outcomes.last().unwrap().stdout, "");
}

#[test]
fn working_directories_cannot_be_descriptors_of_the_host() {
    let processes: Vec<Process> = (0..40)
        .map(|n| {
            let mut process = added(&["cat", "../../../../etc/hostname"]);
            process.cwd = format!("/proc/self/fd/{n}");
            process
        })
        .collect();
    for outcome in in_container(sleeper(), &processes) {
        assert!(outcome.failed().starts_with("chdir to cwd"), "{outcome:?}");
    }
}
