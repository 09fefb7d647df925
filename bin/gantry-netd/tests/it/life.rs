//! Who lives how long, and what a killed helper finds again.

use crate::rig::*;
use netd::Sandbox;
use rustix::process::{Pid, Signal, kill_process};
use std::os::fd::AsFd as _;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(3);

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_killed_helper_is_started_again_and_serves_the_same() {
    let host = Host::new();
    host.network("n1", "front", false);
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    let db = host.container("db1", &sandbox(&[("n1", &["10.9.0.3"], &["db"])]));
    let port = host.client.redirect_port().unwrap();
    for _time in 0..2 {
        let pid = host.client.pid().unwrap().unwrap();
        kill(pid);
        wait_for("another helper", SOON, || host.client.pid().unwrap().is_some_and(|p| p != pid));
        assert!(!is_there(pid), "it was not waited for");
        assert_eq!(web.ask("db", A).text(), "10.9.0.3");
        assert_eq!(db.ask_tcp("web", A).text(), "10.9.0.2");
        assert_eq!(host.client.redirect_port().unwrap(), port);
        wait_for("it dies young and is started after a pause", SOON, || true);
    }
}

#[test]
fn names_go_on_without_a_daemon_and_the_next_daemon_finds_the_helper() {
    let mut host = Host::new();
    host.network("n1", "front", false);
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    let pid = host.client.pid().unwrap().unwrap();
    host.client = host.another_client();
    // The connection has ended; the helper has noticed when it answers after that.
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    assert!(host.client.adopt().unwrap());
    assert_eq!(host.client.pid().unwrap(), Some(pid));
    assert_eq!(host.client.status().unwrap().unwrap().attached, 1);
    // Both killed: the next daemon starts a helper, which finds the namespace by its process.
    host.client = host.another_client();
    kill(pid);
    let mut other = host.container_without_helper("gone1");
    wait_for("the helper is gone", SOON, || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") Z"))
            || !is_there(pid)
    });
    // What ended meanwhile is not attached again.
    let owner = host.dir.path().join("netd/owners/web1");
    std::fs::copy(&owner, host.dir.path().join("netd/owners/gone1")).unwrap();
    other.process.kill().unwrap();
    other.process.wait().unwrap();
    assert!(host.client.adopt().unwrap());
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    assert_eq!(host.client.status().unwrap().unwrap().attached, 1);
}

#[test]
fn a_start_that_is_cut_off_leaves_nothing() {
    let mut host = Host::new();
    host.network("n1", "front", false);
    let web = Container::new("web1");
    let own = sandbox(&[("n1", &["10.9.0.2"], &["web"])]);
    host.client.attach(&web.id, &own, web.netns().as_fd()).unwrap();
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    // The daemon dies between attach and owner.
    host.client = host.another_client();
    wait_for("the namespace is let go", SOON, || {
        host.client.status().unwrap().unwrap().attached == 0
    });
    // The next one finds that the container runs after all.
    host.client.owner(&web.id, web.process.id()).unwrap();
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    // Or that it does not.
    host.client.sweep(|_| false, |_| true).unwrap();
    let status = host.client.status().unwrap().unwrap();
    assert_eq!((status.attached, status.sandboxes, status.networks), (0, 0, 1));
    assert!(!host.dir.path().join("netd/owners/web1").exists());
    // The helper dies between attach and owner.
    host.client.attach(&web.id, &own, web.netns().as_fd()).unwrap();
    kill(host.client.pid().unwrap().unwrap());
    host.client.owner(&web.id, web.process.id()).unwrap();
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
}

#[test]
fn a_namespace_ends_with_its_process() {
    let host = Host::new();
    host.network("n1", "front", false);
    let mut web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    let pid = web.process.id().to_string();
    run("ip", &["link", "add", "gn0", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
    let _open = (web.udp(), web.tcp());
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    let helper = host.client.pid().unwrap().unwrap();
    let open = || std::fs::read_dir(format!("/proc/{helper}/fd")).unwrap().count();
    let before = open();
    drop(_open);
    web.process.kill().unwrap();
    web.process.wait().unwrap();
    let links = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    wait_for("the link is gone with the namespace", SOON, || !links().contains("gn0"));
    assert_eq!(host.client.status().unwrap().unwrap().attached, 0);
    assert!(open() <= before - 4, "{} of {before}", open());
    // Its record is the daemon's to remove; until then others find its names.
    assert_eq!(host.client.status().unwrap().unwrap().sandboxes, 1);
    host.client.owner(&web.id, web.process.id()).unwrap();
    host.client.detach(&web.id).unwrap();
    host.client.detach(&web.id).unwrap();
    assert_eq!(host.client.status().unwrap().unwrap().sandboxes, 0);
}

#[test]
fn a_container_with_a_user_namespace_is_served_the_same() {
    let host = Host::new();
    host.network("n1", "front", false);
    let process = std::process::Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            "ip link set lo up; exec sleep 600",
        ])
        .spawn()
        .unwrap();
    let web = Container { id: id("web1"), process };
    let name = format!("/proc/{}/comm", web.process.id());
    wait_for("it sleeps", SOON, || std::fs::read_to_string(&name).unwrap() == "sleep\n");
    let own = sandbox(&[("n1", &["10.9.0.2"], &["web"])]);
    host.client.attach(&web.id, &own, web.netns().as_fd()).unwrap();
    host.client.owner(&web.id, web.process.id()).unwrap();
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    let pid = host.client.pid().unwrap().unwrap();
    kill(pid);
    wait_for("another helper", SOON, || host.client.pid().unwrap().is_some_and(|p| p != pid));
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
}

#[test]
fn it_runs_only_when_it_is_needed() {
    let host = Host::new();
    assert!(!host.client.adopt().unwrap());
    assert_eq!(host.client.status().unwrap(), None);
    host.client.stop().unwrap();
    host.client.detach(&id("nobody")).unwrap();
    host.client.owner(&id("nobody"), 1).unwrap();
    host.network("n1", "front", false);
    let web = Container::new("web1");
    host.client.attach(&web.id, &Sandbox::default(), web.netns().as_fd()).unwrap();
    assert_eq!(host.client.pid().unwrap(), None);
    host.client
        .attach(&web.id, &sandbox(&[("n1", &["10.9.0.2"], &["web"])]), web.netns().as_fd())
        .unwrap();
    let pid = host.client.pid().unwrap().unwrap();
    assert!(!host.client.stop_if_idle().unwrap());
    host.client.detach(&web.id).unwrap();
    assert!(!host.client.stop_if_idle().unwrap());
    host.client.forget_network(&id("n1")).unwrap();
    assert!(host.client.stop_if_idle().unwrap());
    assert!(!is_there(pid));
    assert_eq!(host.client.pid().unwrap(), None);
    // And again when it is.
    host.network("n1", "front", false);
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
}

#[test]
fn it_keeps_few_rights_and_has_a_session_of_its_own() {
    let host = Host::new();
    host.client.redirect_port().unwrap();
    let pid = host.client.pid().unwrap().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    // SYS_ADMIN (21), SYS_PTRACE (19), NET_ADMIN (12).
    assert_eq!(line("CapEff:"), "0000000000281000");
    assert_eq!(line("CapPrm:"), "0000000000281000");
    assert_eq!((line("NoNewPrivs:"), line("Threads:")), ("1".into(), "1".into()));
    assert_eq!(line("Seccomp:"), "2");
    // The sixth field of stat (proc_pid_stat(5)); of the test's own session nothing is asked: it may lie outside of its pid namespace.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3);
    assert_eq!(session, Some(pid.to_string().as_str()), "{stat}");
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(descriptors < 20, "{descriptors}");
}

#[test]
fn a_broken_record_silences_nobody_else() {
    let host = Host::new();
    host.network("n1", "front", false);
    let web = host.container("web1", &sandbox(&[("n1", &["10.9.0.2"], &["web"])]));
    std::fs::write(host.dir.path().join("netd/sandboxes/bad1.json"), "{").unwrap();
    std::fs::write(host.dir.path().join("netd/networks/bad1.json"), "[]").unwrap();
    let pid = host.client.pid().unwrap().unwrap();
    kill(pid);
    wait_for("another helper", SOON, || host.client.pid().unwrap().is_some_and(|p| p != pid));
    assert_eq!(web.ask("web", A).text(), "10.9.0.2");
    let log = std::fs::read_to_string(host.dir.path().join("netd/log")).unwrap();
    assert!(log.contains("bad1.json"), "{log}");
    // A namespace that is none is an error, and no more.
    let file = std::fs::File::open("/dev/null").unwrap();
    let own = sandbox(&[("n1", &["10.9.0.9"], &["x"])]);
    let error = host.client.attach(&id("x1"), &own, file.as_fd()).unwrap_err();
    assert!(error.to_string().starts_with("embedded DNS: open 127.0.0.11"), "{error}");
    host.client.detach(&id("x1")).unwrap();
    assert_eq!(web.ask("x", A).text(), "SERVFAIL");
}
