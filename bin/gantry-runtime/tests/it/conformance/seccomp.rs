//! Filters of system calls.

use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use serde_json::{Value, json};

use crate::bundle::{Bundle, is_ours};

fn filter(config: &mut Value, rules: Value) {
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
        // runc 1.1 knows of none.
        "flags": if is_ours() { json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]) } else { json!([]) },
        "syscalls": rules,
    });
}

#[test]
fn actions_and_arguments() {
    let script = "grep Seccomp: /proc/self/status; mkdir /x 2>&1; chroot / true 2>&1; echo end";
    let seen = Bundle::says(script, |c| {
        filter(
            c,
            json!([
                { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 },
                { "names": ["chroot"], "action": "SCMP_ACT_ERRNO" },
                { "names": ["no_such_call"], "action": "SCMP_ACT_KILL" },
            ]),
        );
        c["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_CHROOT"]);
    });
    assert!(seen.contains("Seccomp:\t2") && seen.contains("No space left on device"), "{seen}");
    assert!(
        seen.contains("chroot: can't change root directory") && seen.ends_with("end"),
        "{seen}"
    );
    // Only this argument.
    let seen = Bundle::says("kill -USR1 $$ 2>&1; kill -0 $$ && echo zero", |c| {
        filter(
            c,
            json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
                     "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }] }]),
        );
    });
    assert!(seen.contains("denied") && seen.ends_with("zero"), "{seen}");
    let error =
        Bundle::refused(|c| filter(c, json!([{ "names": ["x"], "action": "SCMP_ACT_MAYBE" }])));
    assert!(error.contains("SCMP_ACT_MAYBE"), "{error}");
}

#[test]
fn a_call_can_end_the_process() {
    let bundle = Bundle::with(&["sh", "-c", "mkdir /x; echo $?"], |c| {
        filter(c, json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }]));
    });
    // SIGSYS; mkdir is a program of its own or runs in the shell.
    let output = bundle.run(&["run", "-b", bundle.bundle(), &bundle.id]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(159) || text.trim_end() == "159", "{output:?}");
}

#[test]
fn an_agent_is_given_the_listener() {
    let bundle = Bundle::with(&["sh", "-c", "mkdir /tmp/x; exec sleep 100"], |_| ());
    let socket = bundle.path.join("agent.sock");
    let path = bundle.path.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    filter(&mut config, json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]));
    config["linux"]["seccomp"]["listenerPath"] = json!(socket);
    config["linux"]["seccomp"]["listenerMetadata"] = json!("note");
    std::fs::write(&path, config.to_string()).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut bytes, mut fds) = (vec![0; 64 << 10], Vec::new());
        let n = sys::scm::recv_with_fds(&stream, &mut bytes, &mut fds).unwrap();
        bytes.truncate(n);
        stream.read_to_end(&mut bytes).unwrap();
        (bytes, fds)
    });
    bundle.create();
    bundle.ok(&["start", &bundle.id]);
    let (text, fds): (Vec<u8>, Vec<OwnedFd>) = agent.join().unwrap();
    let told: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!((&told["fds"], &told["metadata"]), (&json!(["seccompFd"]), &json!("note")));
    assert_eq!((&told["pid"], &told["state"]["id"]), (&json!(bundle.pid()), &json!(bundle.id)));
    let kind = std::fs::read_link(format!("/proc/self/fd/{}", fds[0].as_raw_fd())).unwrap();
    assert!(kind.display().to_string().contains("seccomp"), "{kind:?}");
    bundle.ok(&["delete", "--force", &bundle.id]);
    let error = Bundle::refused(|c| {
        filter(c, json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]))
    });
    assert!(error.contains("listenerPath"), "{error}");
}
