//! What a process is made to be.

use serde_json::{Value, json};

use super::only_newer;
use crate::bundle::{Bundle, is_ours};

#[test]
fn identity_groups_and_mask() {
    let script = "id -u; id -g; id -G; umask; touch /tmp/f; stat -c %a /tmp/f";
    let bundle = Bundle::with(&["sh", "-c", script], |c| {
        c["process"]["user"] =
            json!({ "uid": 7, "gid": 8, "umask": 0o027, "additionalGids": [20, 30] });
    });
    use std::os::unix::fs::PermissionsExt as _;
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(bundle.path.join("rootfs/tmp"), all).unwrap();
    assert_eq!(bundle.runs(), "7\n8\n8 20 30\n0027\n640");
}

#[test]
fn environment_and_directory() {
    let seen = Bundle::says("echo $A$HOME; echo $PWD", |c| {
        c["process"]["env"] = json!(["PATH=/bin", "A=x", "HOME=/h"]);
        c["process"]["cwd"] = json!("/tmp");
    });
    assert_eq!(seen, "x/h\n/tmp");
    let error = Bundle::refused(|c| c["process"]["cwd"] = json!("relative"));
    assert!(error.to_lowercase().contains("cwd"), "{error}");
}

#[test]
fn capabilities_are_the_sets() {
    let script = "grep Cap /proc/self/status | tr -d '\\t' | tr '\\n' ' '";
    let kill = json!(["CAP_KILL"]);
    let seen = Bundle::says(script, |c| {
        c["process"]["capabilities"] = json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": kill, "effective": kill, "inheritable": kill, "ambient": kill,
        });
        c["process"]["user"] = json!({ "uid": 5, "gid": 5 });
    });
    let one = "0000000000000020";
    assert_eq!(
        seen,
        format!("CapInh:{one} CapPrm:{one} CapEff:{one} CapBnd:0000000000000021 CapAmb:{one}")
    );
    let seen = Bundle::says(script, |c| {
        c["process"]["capabilities"] =
            json!({ "bounding": kill, "permitted": kill, "effective": kill });
    });
    let none = "0000000000000000";
    assert_eq!(seen, format!("CapInh:{none} CapPrm:{one} CapEff:{one} CapBnd:{one} CapAmb:{none}"));
}

#[test]
fn limits_and_scores() {
    let seen = Bundle::says(
        "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; grep NoNew /proc/self/status",
        |c| {
            c["process"]["rlimits"] = json!([
                { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }, { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            ]);
            c["process"]["oomScoreAdj"] = json!(123);
            c["process"]["noNewPrivileges"] = json!(true);
        },
    );
    assert_eq!(seen, "100\n200\n0\n123\nNoNewPrivs:\t1");
}

#[test]
fn what_no_module_enforces_is_refused() {
    let error = Bundle::refused(|c| c["process"]["selinuxLabel"] = json!("a:b:c:s0"));
    assert!(
        error.contains(
            "selinux label is specified in config, but selinux is disabled or not supported"
        ),
        "{error}"
    );
    let error = Bundle::refused(|c| c["linux"]["mountLabel"] = json!("a:b:c:s0"));
    assert!(error.contains("selinux label is specified in config") || !is_ours(), "{error}");
    if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        let error = Bundle::refused(|c| c["process"]["apparmorProfile"] = json!("some-profile"));
        assert!(error.contains("unable to apply apparmor profile"), "{error}");
    }
    let error = Bundle::refused(|c| c["linux"]["intelRdt"] = json!({ "l3CacheSchema": "L3:0=f" }));
    assert!(error.contains("Intel RDT"), "{error}");
}

#[test]
fn descriptors_can_be_kept() {
    let bundle = Bundle::new(&[
        "sh",
        "-c",
        "ls /proc/self/fd; cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID",
    ]);
    std::fs::write(bundle.path.join("three"), "3\n").unwrap();
    std::fs::write(bundle.path.join("four"), "4\n").unwrap();
    let shell = |options: &str, environment: &str| {
        let script = format!(
            "exec 3<{0}/three 4<{0}/four 5</dev/null; {environment} exec {1} --root {0}/state run {options} -b {0} {2}",
            bundle.bundle(),
            crate::bundle::runtime(),
            bundle.id
        );
        #[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // The last number is the directory that ls has open.
    assert_eq!(shell("--preserve-fds 2", ""), "0\n1\n2\n3\n4\n5\n3\n4\n\n");
    assert_eq!(
        shell("--preserve-fds 1", "LISTEN_FDS=1 LISTEN_PID=$$"),
        "0\n1\n2\n3\n4\n5\n3\n4\n1 1\n"
    );
    let without = Bundle::new(&["sh", "-c", "ls /proc/self/fd | tr '\\n' ' '"]).runs();
    assert_eq!(without, "0 1 2 3");
    let error = bundle.error(&["run", "--preserve-fds", "200", "-b", bundle.bundle(), &bundle.id]);
    assert!(error.contains("preserve"), "{error}");
}

#[test]
fn schedulers_and_personalities() {
    if !only_newer("scheduler, ioPriority and personality") {
        return;
    }
    let seen = Bundle::says("cut -d' ' -f19,41 /proc/self/stat; ionice -p $$; uname -m", |c| {
        c["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 7 });
        c["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 3 });
        c["linux"]["personality"] = json!({ "domain": "LINUX32" });
    });
    let machine = if cfg!(target_arch = "x86_64") { "i686" } else { "armv8l" };
    assert_eq!(seen, format!("7 3\nidle\n{machine}"));
    let error =
        Bundle::refused(|c| c["process"]["scheduler"] = json!({ "policy": "SCHED_SOMEHOW" }));
    assert!(error.contains("invalid scheduler policy"), "{error}");
    let error = Bundle::refused(|c| c["linux"]["personality"] = json!({ "domain": "SOLARIS" }));
    assert!(error.contains("personality"), "{error}");
}

#[test]
fn a_terminal_has_a_size() {
    let bundle =
        Bundle::with(&["sh", "-c", "tty; stat -c %u /dev/console; echo done; sleep 100"], |c| {
            c["process"]["terminal"] = json!(true);
            c["process"]["consoleSize"] = json!({ "height": 33, "width": 99 });
        });
    let path = bundle.path.join("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let output = std::fs::File::create(bundle.path.join("output")).unwrap();
    let words =
        ["create", "-b", bundle.bundle(), "--console-socket", path.to_str().unwrap(), &bundle.id];
    let mut child =
        bundle.command(&words).stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    let (mut name, mut fds) = ([0; 64], Vec::new());
    sys::scm::recv_with_fds(&stream, &mut name, &mut fds).unwrap();
    assert!(child.wait().unwrap().success(), "{}", bundle.output());
    bundle.ok(&["start", &bundle.id]);
    let mut text = String::new();
    while !text.contains("done") {
        let mut bytes = [0; 64];
        let n = rustix::io::read(&fds[0], &mut bytes).unwrap();
        text.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
    }
    assert_eq!(text, "/dev/pts/0\r\n0\r\ndone\r\n");
    let size = sys::tty::size(&fds[0]).unwrap();
    assert_eq!((size.rows, size.columns), (33, 99));
}

#[test]
fn documents_that_are_none_are_refused() {
    let bundle = Bundle::new(&["true"]);
    std::fs::write(bundle.path.join("config.json"), "{ nothing").unwrap();
    let _error = bundle.error(&["run", "-b", bundle.bundle(), &bundle.id]);
    let error = Bundle::refused(|c| c["process"] = Value::Null);
    assert!(error.to_lowercase().contains("process"), "{error}");
    let error = Bundle::refused(|c| c["process"]["args"] = json!([]));
    assert!(error.contains("args"), "{error}");
}
