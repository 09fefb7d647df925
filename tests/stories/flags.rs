//! Flags of `run` and `create`, each by its effect, through every client; one container for as many as fit.

use testkit::process::Output;
use testkit::{Cli, Client, Daemon, need};

fn run(client: &Client, flags: &[&str], script: &str) -> Output {
    client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
}

#[test]
fn identity_process_and_files() {
    need!(Root);
    let daemon = Daemon::start();
    let folder = daemon.path("files");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("env"), "# a comment\nFROM_FILE=1\nBOTH=file\n").unwrap();
    std::fs::write(folder.join("labels"), "from.file=1\nboth=file\n").unwrap();
    let file = |name: &str| folder.join(name).display().to_string();
    let (labels, env) = (file("labels"), file("env"));
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let cidfile = file(&format!("cid-{cli:?}"));
        let flags =
            [
                &[
                    "--name",
                    "all",
                    "-h",
                    "box",
                    "--domainname",
                    "example.org",
                    "--cidfile",
                    &cidfile,
                ][..],
                &["-l", "a=b", "-l", "both=flag", "--label-file", &labels],
                &["-e", "BOTH=flag", "-e", "EMPTY=", "--env-file", &env],
                &[
                    "-w",
                    "/made/here",
                    "-u",
                    "tester:1234",
                    "--group-add",
                    "audio",
                    "--group-add",
                    "4321",
                ],
                &["--entrypoint", "sh", "--ulimit", "nofile=100:200", "--ulimit", "core=0"],
                &[
                    "--shm-size",
                    "2m",
                    "--read-only",
                    "--oom-score-adj",
                    "123",
                    "--stop-timeout",
                    "3",
                ],
                &[
                    "--annotation",
                    "org.example=1",
                    "--pull",
                    "never",
                    "--platform",
                    "linux/amd64",
                    "-q",
                ],
                &[
                    "--add-host",
                    "other:10.1.2.3",
                    "--dns",
                    "10.9.9.9",
                    "--dns-search",
                    "corp",
                    "--dns-option",
                    "ndots:3",
                ],
                &[
                    "--sysctl",
                    "net.ipv4.ip_forward=1",
                    "--sysctl",
                    "kernel.shmmax=12345",
                    "--expose",
                    "77",
                ],
                &[
                    "--cap-drop",
                    "ALL",
                    "--cap-add",
                    "NET_ADMIN",
                    "--no-healthcheck",
                    "--isolation",
                    "default",
                ],
            ]
            .concat();
        let script = "hostname; hostname -f; env | grep -E '^(BOTH|FROM_FILE|EMPTY)=' | sort; pwd; id -u; id -g; id -G; \
                      ulimit -n; ulimit -Hn; df -k /dev/shm | tail -n 1 | awk '{print $2}'; cat /proc/self/oom_score_adj; \
                      grep other /etc/hosts; grep -v -e '^#' -e '^$' /etc/resolv.conf; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax; \
                      touch /x";
        let created =
            client.run(&[&["create"], flags.as_slice(), &["busybox", "-c", script]].concat()).ok();
        assert_eq!(std::fs::read_to_string(&cidfile).unwrap(), created.text());
        let output = client.run(&["start", "-a", "all"]).exits(1).says("Read-only file system");
        let wanted = "box\nbox.example.org\nBOTH=flag\nEMPTY=\nFROM_FILE=1\n/made/here\n1000\n1234\n1234 29 4321\n100\n200\n2048\n\
                      123\n10.1.2.3\tother\nnameserver 10.9.9.9\nsearch corp\noptions ndots:3\n1\n12345\n";
        assert_eq!(output.stdout, wanted, "{cli:?}: {output}");
        let shown = "{{.Config.Labels.a}} {{index .Config.Labels \"from.file\"}} {{.Config.Labels.both}} \
                     {{.HostConfig.Annotations}} {{.Config.StopTimeout}} {{.HostConfig.ShmSize}} \
                     {{.HostConfig.IpcMode}} {{.Config.Healthcheck.Test}}";
        client
            .run(&["inspect", "-f", shown, "all"])
            .ok()
            .prints("b 1 flag map[org.example:1] 3 2097152 private [NONE]\n");
        client
            .run(&["run", "--cidfile", &cidfile, "busybox"])
            .exits(125)
            .says("container ID file found");
        client.run(&["rm", "all"]).ok();
        // Attached to one stream alone.
        client
            .run(&["run", "--rm", "-a", "stderr", "busybox", "sh", "-c", "echo out; echo err >&2"])
            .ok()
            .prints("");
        client
            .run_with(
                &["run", "--rm", "-a", "stdin", "-a", "stdout", "-i", "busybox", "cat"],
                b"in\n",
            )
            .ok()
            .prints("in\n");
        client.run(&["run", "--help"]).ok().says("Usage:");
        // What is refused, in Docker's words (dockerd 26.1).
        for (flags, text) in [
            (
                &["--pull", "never", "--platform", "linux/arm64"][..],
                "was found but does not match the specified platform",
            ),
            (
                &["--isolation", "hyperv"],
                "Invalid isolation: \"hyperv\" - linux only supports 'default'",
            ),
            (
                &["--cpu-count", "1"],
                "\"--cpu-count\" is only supported on a Docker daemon running on windows",
            ),
            (&["--cpu-percent", "1"], "only supported on a Docker daemon running on windows"),
            (&["--io-maxiops", "1"], "only supported on a Docker daemon running on windows"),
            (&["--io-maxbandwidth", "1"], "only supported on a Docker daemon running on windows"),
            (&["--runtime", "foo"], "unknown or invalid runtime name: foo"),
            (
                &["--storage-opt", "size=10G"],
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
            ),
            (&["--storage-opt", "foo=10G"], "Unknown option foo"),
            (
                &["--volume-driver", "foo", "-v", "vv:/x"],
                "error looking up volume plugin foo: plugin \"foo\" not found",
            ),
            (&["--annotation", "=b"], "the empty string is not permitted as an annotation key"),
            (&["--shm-size", "-1"], "invalid"),
        ] {
            assert_ne!(run(&client, flags, "true").says(text).code, 0);
        }
        client
            .run(&["create", "--pull", "never", "no-such-image"])
            .says("No such image: no-such-image:latest");
        assert_eq!(client.run(&["ps", "-aq"]).ok().text(), "");
    }
}

#[test]
fn namespaces_are_shared_as_asked() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let see = |flags: &[&str], kind: &str| {
            let output = run(&client, flags, &format!("readlink /proc/self/ns/{kind}"));
            output.ok().text().to_owned()
        };
        client
            .run(&[
                "run",
                "-d",
                "--name",
                "donor",
                "--ipc",
                "shareable",
                "-h",
                "donor-host",
                "busybox",
                "sh",
                "-c",
                "echo shared >/dev/shm/file; exec sleep 1000",
            ])
            .ok();
        client.run(&["run", "-d", "--name", "closed", "busybox", "sleep", "1000"]).ok();
        client.run(&["create", "--name", "stopped", "busybox"]).ok();
        let of_donor = |kind: &str| {
            let output = client.run(&["exec", "donor", "readlink", &format!("/proc/1/ns/{kind}")]);
            output.ok().text().to_owned()
        };
        for (flag, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--network", "net")] {
            assert_eq!(see(&[flag, "container:donor"], kind), of_donor(kind), "{flag}");
            let host = daemon.host().run("readlink", &[&format!("/proc/self/ns/{kind}")]).ok();
            assert_eq!(see(&[flag, "host"], kind), host.text(), "{flag}");
            assert_ne!(see(&[], kind), host.text(), "{flag}");
        }
        for (flag, kind) in [("--uts", "uts"), ("--cgroupns", "cgroup")] {
            let host = daemon.host().run("readlink", &[&format!("/proc/self/ns/{kind}")]).ok();
            assert_eq!(see(&[flag, "host"], kind), host.text(), "{flag}");
        }
        run(&client, &["--pid", "container:donor"], "ps | grep -c '[s]leep 1000'; kill -0 1")
            .ok()
            .prints("1\n");
        run(&client, &["--ipc", "container:donor"], "cat /dev/shm/file; echo more >>/dev/shm/file")
            .ok()
            .prints("shared\n");
        client.run(&["exec", "donor", "tail", "-n", "1", "/dev/shm/file"]).ok().prints("more\n");
        run(&client, &["--ipc", "none"], "grep -c /dev/shm /proc/mounts").exits(1);
        run(
            &client,
            &["--network", "container:donor"],
            "hostname; grep -c donor-host /etc/hosts; ip -o a | grep -c eth0",
        )
        .ok()
        .prints("donor-host\n1\n1\n");
        let id = client.run(&["inspect", "-f", "{{.Id}}", "donor"]).ok().text().to_owned();
        client
            .run(&[
                "create",
                "--name",
                "shown",
                "--network",
                "container:donor",
                "--pid",
                "container:donor",
                "busybox",
            ])
            .ok();
        client
            .run(&["inspect", "-f", "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{json .NetworkSettings.Networks}}", "shown"])
            .ok()
            .prints(&format!("container:{id} container:{id} {{}}\n"));
        for (flags, text) in [
            (&["--pid", "container:nope"][..], "No such container: nope"),
            (&["--ipc", "container:nope"], "No such container: nope"),
            (&["--network", "container:nope"], "No such container: nope"),
            (&["--pid", "container:stopped"], "failed to join PID namespace: container "),
            (&["--ipc", "container:stopped"], "failed to join IPC namespace: container "),
            (
                &["--network", "container:stopped"],
                "cannot join network of a non running container: ",
            ),
            (
                &["--ipc", "container:closed"],
                "non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
            ),
            (&["--ipc", "foo"], "invalid IPC mode: foo"),
            (
                &["--network", "container:donor", "-h", "x"],
                "conflicting options: hostname and the network mode",
            ),
            (&["--uts", "host", "-h", "x"], "conflicting options: hostname and the UTS mode"),
            (
                &["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"],
                "not allowed in host network namespace",
            ),
            (
                &["--ipc", "host", "--sysctl", "kernel.shmmax=1"],
                "not allowed in host ipc namespace",
            ),
            (&["--sysctl", "kernel.hostname=x"], "is not allowed"),
            (&["--sysctl", "net.ipv4.nope=1"], "no such file or directory"),
        ] {
            assert_ne!(run(&client, flags, "true").says(text).code, 0);
        }
        // What shares its processes ends with its own cgroup, and its donor goes on.
        client
            .run(&[
                "run",
                "-d",
                "--name",
                "guest",
                "--pid",
                "container:donor",
                "busybox",
                "sh",
                "-c",
                "sleep 999 & sleep 998",
            ])
            .ok();
        client.run(&["rm", "-f", "guest"]).ok();
        client
            .run(&["exec", "donor", "sh", "-c", "ps | grep -c '[s]leep 99'"])
            .exits(1)
            .prints("0\n");
        client.run(&["rm", "-f", "donor", "closed", "stopped", "shown"]).ok();
    }
}

#[test]
fn devices_and_security() {
    need!(Root);
    let folder = tempfile::tempdir().unwrap();
    let specification = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/dev","devices":[{"name":"one","containerEdits":
        {"env":["CDI=1"],"deviceNodes":[{"path":"/dev/one","hostPath":"/dev/null"}]}}]}"#;
    std::fs::write(folder.path().join("vendor.json"), specification).unwrap();
    let gpu = "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices:\n- name: all\n  containerEdits:\n    env: [\"GPU=all\"]\n";
    std::fs::write(folder.path().join("gpu.yaml"), gpu).unwrap();
    let daemon = Daemon::with(testkit::Options {
        flags: vec!["--cdi-spec-dir".to_owned(), folder.path().display().to_string()],
        ..testkit::Options::default()
    });
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let run = |flags: &[&str], script: &str| run(&client, flags, script);
        run(
            &["--device", "/dev/loop-control:/dev/mine:r"],
            "exec 3</dev/mine && echo opened; echo x >/dev/mine",
        )
        .exits(1)
        .prints("opened\n")
        .says("not permitted");
        run(
            &["--device", "/dev/loop-control", "--device-cgroup-rule", "c 10:200 rwm"],
            "ls /dev/loop-control; mknod /tmp/tun c 10 200 && echo made",
        )
        .ok()
        .prints("/dev/loop-control\nmade\n");
        run(
            &["--device", "vendor.com/dev=one"],
            "echo $CDI; echo x >/dev/one && stat -c %t:%T /dev/one",
        )
        .ok()
        .prints("1\n1:3\n");
        run(&["--gpus", "all"], "echo $GPU").ok().prints("all\n");
        run(&["--security-opt", "apparmor=unconfined", "--security-opt", "label=disable"], "true")
            .ok();
        run(&["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status")
            .ok()
            .prints("Seccomp:\t0\n");
        run(&["--security-opt", "seccomp=builtin"], "grep Seccomp: /proc/self/status")
            .ok()
            .prints("Seccomp:\t2\n");
        run(&["--security-opt", "systempaths=unconfined"], "grep -c ' /proc/' /proc/mounts")
            .prints("0\n");
        run(&["--security-opt", "no-new-privileges=false"], "grep NoNewPrivs /proc/self/status")
            .ok()
            .prints("NoNewPrivs:\t0\n");
        run(
            &["--cgroup-parent", &format!("{}/below", daemon.cgroup()), "--cgroupns", "host"],
            "grep -c /below/ /proc/self/cgroup",
        )
        .ok()
        .lacks("\n0\n");
        run(&["--oom-kill-disable", "-m", "64m"], "true").ok();
        for (flags, text) in [
            (
                &["--device", "vendor.com/dev=two"][..],
                "unresolvable CDI devices vendor.com/dev=two",
            ),
            (&["--gpus", "device=7"], "unresolvable CDI devices nvidia.com/gpu=7"),
            (
                &["--gpus", "driver=foo"],
                "could not select device driver \"foo\" with capabilities: [[gpu]]",
            ),
            (
                &["--device", "/dev/nope"],
                "error gathering device information while adding custom device \"/dev/nope\": no such file or directory",
            ),
            (&["--device", "/etc/passwd"], "not a device node"),
            (&["--device-cgroup-rule", "c 1:* x"], "invalid device cgroup"),
            (&["--security-opt", "foo=bar"], "invalid --security-opt 2: \"foo=bar\""),
            (
                &["--security-opt", "no-new-privileges=x"],
                "invalid --security-opt 2: \"no-new-privileges=x\"",
            ),
            (
                &["--group-add", "nope"],
                "nable to find group nope: no matching entries in group file",
            ),
            (&["-u", "nope"], "unable to find user nope: no matching entries in passwd file"),
        ] {
            assert_ne!(run(flags, "true").says(text).code, 0);
        }
        assert_eq!(client.run(&["ps", "-aq", "--filter", "status=running"]).ok().text(), "");
    }
}

#[test]
fn the_daemons_defaults_reach_containers() {
    need!(Root);
    let profile = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(profile.path(), r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#).unwrap();
    let mut flags: Vec<String> = [
        "--default-ipc-mode=shareable",
        "--default-cgroupns-mode=host",
        "--default-shm-size=3m",
        "--default-ulimit=nofile=50:60",
        "--no-new-privileges",
        "--init",
        "--log-driver=local",
        "--log-opt=max-file=2",
        "--default-stop-timeout=1",
        "--exec-opt=native.cgroupdriver=cgroupfs",
    ]
    .map(str::to_owned)
    .to_vec();
    flags.push(format!("--seccomp-profile={}", profile.path().display()));
    let daemon = Daemon::with(testkit::Options { flags, ..testkit::Options::default() });
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let script = "ulimit -n; ulimit -Hn; df -k /dev/shm | tail -n 1 | awk '{print $2}'; grep NoNewPrivs /proc/self/status; \
                      mkdir /made || echo refused; readlink /proc/self/ns/cgroup; tr '\\0' '\\n' </proc/1/cmdline | head -n 1";
        let host = daemon.host().run("readlink", &["/proc/self/ns/cgroup"]).ok();
        let wanted =
            format!("50\n60\n3072\nNoNewPrivs:\t1\nrefused\n{}\n/sbin/docker-init\n", host.text());
        run(&client, &[], script).ok().prints(&wanted);
        // What a container says wins.
        let own = [
            "--ulimit",
            "nofile=70:80",
            "--shm-size",
            "4m",
            "--security-opt",
            "no-new-privileges:false",
            "--security-opt",
            "seccomp=builtin",
            "--cgroupns",
            "private",
        ];
        let output = run(&client, &own, script).ok();
        assert!(
            output.stdout.starts_with("70\n80\n4096\nNoNewPrivs:\t0\n")
                && !output.stdout.contains("refused"),
            "{output}"
        );
        client.run(&["create", "--name", "seen", "busybox"]).ok();
        client
            .run(&[
                "inspect",
                "-f",
                "{{with .HostConfig}}{{.IpcMode}} {{.CgroupnsMode}} {{.LogConfig}}{{end}}",
                "seen",
            ])
            .ok()
            .prints("shareable host {local map[max-file:2]}\n");
        client.run(&["rm", "seen"]).ok();
    }
    // Deaf to what asks it to stop, it is waited for as long as the daemon was told, not for ten seconds.
    let client = daemon.gantry();
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 1; done";
    client.run(&["run", "-d", "--name", "deaf", "busybox", "sh", "-c", deaf]).ok();
    testkit::process::eventually("it is deaf", testkit::process::PATIENCE, || {
        client.run(&["logs", "deaf"]).ok().text() == "deaf"
    });
    let asked = std::time::Instant::now();
    client.run(&["stop", "deaf"]).ok();
    assert!(asked.elapsed() < std::time::Duration::from_secs(8), "{:?}", asked.elapsed());
    client.run(&["rm", "deaf"]).ok();
}
