//! What a container can see and do, looked at from inside.

use testkit::{Cli, Daemon, need};

#[test]
fn a_container_has_little_and_sees_little() {
    need!(Root);
    let daemon = Daemon::start();
    let secret = daemon.path("secret");
    std::fs::write(&secret, "host").unwrap();
    let client = daemon.gantry();
    let see = |script: &str| client.run(&["run", "--rm", "busybox", "sh", "-c", script]);
    see("grep -E 'Cap(Inh|Amb)' /proc/self/status")
        .ok()
        .prints("CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n");
    see("grep CapEff /proc/self/status").ok().prints("CapEff:\t00000000a80425fb\n");
    see("grep Seccomp: /proc/self/status").ok().prints("Seccomp:\t2\n");
    // Descriptors: nothing but the three streams (and the one that lists them).
    see("ls /proc/self/fd | wc -l").ok().prints("4\n");
    see("ls -l /proc/1/fd").ok().lacks("gantry");
    // Its own processes only: the shell looks itself, or there would be those that it starts.
    see("set -- /proc/[0-9]*; echo $#").ok().prints("1\n");
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"] {
        see(&format!("wc -c <{path}")).lacks("1");
    }
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/proc/bus/x",
        "/proc/irq/0/smp_affinity",
    ] {
        see(&format!("echo x >{path}")).exits(1);
    }
    see("ls -A /sys/firmware /proc/acpi 2>/dev/null | grep -v : | grep -c .").prints("0\n");
    // The host's tree is nowhere.
    see("cat /proc/self/mountinfo")
        .ok()
        .lacks("gantry-shim")
        .lacks(&format!("{} ", secret.display()));
    see("cat /proc/1/root/etc/passwd | head -n 1").ok().says("root:x:0:0:root:/root:/bin/sh");
    see("mount -t proc proc /tmp").exits(1);
    see("mknod /tmp/sda b 8 0 && cat /tmp/sda").exits(1);
    see("unshare -U true").exits(1);
    see("chroot / mount -o remount,rw /proc/sys").exits(1);
    see("dmesg").exits(1);
    see("hostname other").exits(1);
    see("date -s 2000-01-01").says("not permitted");
    see("cat /proc/1/cgroup").ok().lacks(&daemon.cgroup());
    see("readlink /proc/1/exe").ok().lacks("gantry");
}

#[test]
fn namespaces_are_the_containers_own() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    // Nor is the null device that has been opened for it the host's: it could change the mode of that.
    let same = "test $(stat -Lc %d:%i /proc/self/fd/0) = $(stat -c %d:%i /dev/null) && echo own";
    client.run(&["run", "--rm", "busybox", "sh", "-c", same]).ok().prints("own\n");
    client.run(&["run", "-d", "--name", "own", "busybox", "sleep", "1000"]).ok();
    client.run(&["exec", "own", "sh", "-c", same]).ok().prints("own\n");
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let host = daemon.host().run("readlink", &[&format!("/proc/self/ns/{kind}")]).ok();
        let own = client
            .run(&["run", "--rm", "busybox", "readlink", &format!("/proc/self/ns/{kind}")])
            .ok();
        assert_ne!(host.text(), own.text(), "{kind}");
    }
}

#[test]
fn what_is_granted_is_granted() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let run = |flags: &[&str], script: &str| {
            client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
        };
        run(&["--privileged"], "mount -t tmpfs none /tmp && echo mounted").ok().prints("mounted\n");
        run(&["--privileged"], "grep Seccomp: /proc/self/status").ok().prints("Seccomp:\t0\n");
        run(
            &["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"],
            "mount -t tmpfs none /tmp",
        )
        .ok();
        run(&["--cap-drop", "ALL"], "chown 1:1 /tmp").exits(1);
        run(
            &["--security-opt", "no-new-privileges", "-u", "tester"],
            "grep NoNewPrivs /proc/self/status",
        )
        .ok()
        .prints("NoNewPrivs:\t1\n");
        run(&["--ulimit", "nofile=64:128"], "ulimit -n; ulimit -Hn").ok().prints("64\n128\n");
        // More than the machine may give is clipped, not fatal.
        run(&["--ulimit", "nofile=10000000:10000000"], "true").ok();
        run(&["-u", "tester"], "cat /proc/self/status | grep CapEff")
            .ok()
            .prints("CapEff:\t0000000000000000\n");
        let profile = daemon.path("profile.json");
        std::fs::write(&profile, r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#).unwrap();
        run(&["--security-opt", &format!("seccomp={}", profile.display())], "mkdir /tmp/x")
            .exits(1)
            .says("Operation not permitted");
    }
}

#[test]
fn the_daemons_folders_are_closed() {
    need!(Root);
    use std::os::unix::fs::PermissionsExt as _;
    let daemon = Daemon::start();
    daemon.gantry().run(&["run", "-d", "busybox", "sleep", "1000"]).ok();
    for root in [daemon.data_root(), daemon.exec_root().join("containers")] {
        let mode = std::fs::metadata(&root).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{} has mode {mode:o}", root.display());
    }
    let mode = std::fs::metadata(daemon.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660, "{mode:o}");
}

/// `--security-opt writable-cgroups`: a container makes groups below its own and puts processes there; it still sees no
/// other container's, and without the option it does neither.
#[test]
fn a_container_may_manage_groups_below_its_own() {
    need!(Root);
    let daemon = Daemon::start();
    // A hierarchy of processes on cgroup v1, or the one of v2.
    let script = "cd /sys/fs/cgroup; test -d pids && cd pids; mkdir sub && echo 0 >sub/cgroup.procs && \
                  grep -E '(pids|^0:):?.*/sub$' /proc/self/cgroup | grep -c .";
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let run = |flags: &[&str]| {
            client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
        };
        run(&["--security-opt", "writable-cgroups=true"]).ok().prints("1\n");
        run(&["--security-opt", "writable-cgroups=false"]).exits(1);
        run(&[]).exits(1).says("Read-only file system");
        run(&["--security-opt", "writable-cgroups=perhaps"])
            .exits(125)
            .says("invalid --security-opt 2: \"writable-cgroups=perhaps\"");
    }
}

/// `--cgroup-parent`, `--cpu-rt-period` and `--cpu-rt-runtime` of the daemon: containers are below that group, and may
/// share its real-time budget among them.
#[test]
fn containers_are_below_the_daemons_group_and_share_its_budget() {
    need!(Root);
    let parent = format!("gantry-test-parent-{}", std::process::id());
    /// What the daemon leaves is this test's: the group has a name of its own.
    struct Parent(String);
    impl Drop for Parent {
        fn drop(&mut self) {
            testkit::leaks::remove_cgroups(&format!("{}/inner", self.0));
            testkit::leaks::remove_cgroups(&self.0);
        }
    }
    let _removed_last = Parent(parent.clone());
    let v1 = std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists();
    let mut flags = vec![format!("--cgroup-parent=/{parent}/inner")];
    if v1 {
        flags.extend(["--cpu-rt-period=1000000", "--cpu-rt-runtime=3000"].map(str::to_owned));
    }
    let daemon = Daemon::with(testkit::Options { flags, ..testkit::Options::default() });
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
        let pid = client.run(&["inspect", "-f", "{{.State.Pid}}", "cc"]).ok();
        let group = std::fs::read_to_string(daemon.host().proc().join(pid.text()).join("cgroup"));
        assert!(group.unwrap().contains(&format!("/{parent}/inner/")), "{pid}");
        client.run(&["rm", "-f", "cc"]).ok();
        if v1 {
            let budget = |runtime: &str| {
                let file = "/sys/fs/cgroup/cpu/cpu.rt_runtime_us";
                client.run(&["run", "--rm", "--cpu-rt-runtime", runtime, "busybox", "cat", file])
            };
            budget("2000").ok().prints("2000\n");
            // More than all containers together have.
            assert_ne!(budget("4000").code, 0);
            // While it runs, too: the period may become shorter than the runtime was. It is little, because the kernel
            // counts groups for a moment after they have gone.
            let limits = |period: &str, runtime: &str| {
                let limits = ["--cpu-rt-period", period, "--cpu-rt-runtime", runtime];
                client.run(&[&["update"], &limits[..], &["rt"]].concat())
            };
            let has = |file: &str| {
                let file = format!("/sys/fs/cgroup/cpu/cpu.{file}");
                client.run(&["exec", "rt", "cat", &file]).ok().text().to_owned()
            };
            client.run(&["run", "-d", "--name", "rt", "busybox", "sleep", "1000"]).ok();
            limits("4000000", "2400").ok();
            limits("2000", "1").ok();
            assert_eq!([has("rt_period_us"), has("rt_runtime_us")], ["2000", "1"]);
            limits("1000000", "4000")
                .exits(1)
                .says("unable to set real-time runtime to 4000: it does not fit");
            assert_eq!([has("rt_period_us"), has("rt_runtime_us")], ["2000", "1"]);
            let told = ["inspect", "-f", "{{.HostConfig.CpuRealtimeRuntime}}", "rt"];
            client.run(&told).ok().prints("1\n");
            client.run(&["rm", "-f", "rt"]).ok();
        }
    }
}
