//! The daemon looked into: Prometheus' figures on their own address, debug pages, the dump on SIGUSR1.

use rustix::process::Signal;
use std::collections::BTreeSet;
use testkit::process::{PATIENCE, eventually, send};
use testkit::{Cli, Daemon, Host, Options, Reference, http, need};

const ADDRESS: &str = "127.0.0.1:9323";

fn page(host: &Host, path: &str) -> String {
    host.run("busybox", &["wget", "-q", "-O", "-", &format!("http://{ADDRESS}{path}")]).stdout
}

/// The value of the sample that is named so, labels included.
fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok())
}

/// Names of families with their kinds, of the engine and of its process.
fn families(text: &str) -> BTreeSet<String> {
    let own = |line: &&str| line.starts_with("engine_") || line.starts_with("process_");
    text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter(own).map(str::to_owned).collect()
}

/// Names of samples with their labels' names; values of labels where they are dockerd's words.
fn samples(text: &str) -> BTreeSet<String> {
    let shape = |line: &str| {
        let (sample, _) = line.rsplit_once(' ')?;
        if !sample.starts_with("engine_") {
            return None;
        }
        let Some((name, labels)) = sample.split_once('{') else { return Some(sample.to_owned()) };
        if name != "engine_daemon_engine_info" {
            return Some(sample.to_owned());
        }
        let names = labels.split(',').filter_map(|l| l.split_once('=')).map(|(name, _)| name);
        Some(format!("{name}{{{}}}", names.collect::<Vec<_>>().join(",")))
    };
    text.lines().filter_map(shape).collect()
}

fn daemon() -> Daemon {
    let flags = vec!["--metrics-addr".to_owned(), ADDRESS.to_owned()];
    Daemon::with(Options { flags, ..Options::default() })
}

#[test]
fn figures_are_counted_and_shown() {
    need!(Root);
    let mut daemon = daemon();
    for (round, cli) in Cli::all().into_iter().enumerate() {
        let client = daemon.client(cli);
        let before = page(daemon.host(), "/metrics");
        let probe = ["--health-cmd", "true", "--health-interval", "50ms"];
        client
            .run(
                &[&["run", "-d", "--name", "mm"], &probe[..], &["busybox", "sleep", "100"]]
                    .concat(),
            )
            .ok();
        client.run(&["diff", "mm"]).ok();
        client.run(&["commit", "mm", "kept"]).ok();
        eventually("a probe ran", PATIENCE, || {
            value(&page(daemon.host(), "/metrics"), "engine_daemon_health_checks_total") > Some(1.0)
        });
        let running = "engine_daemon_container_states_containers{state=\"running\"}";
        assert_eq!(value(&page(daemon.host(), "/metrics"), running), Some(1.0));
        client.run(&["rm", "-f", "mm"]).ok();
        let after = page(daemon.host(), "/metrics");
        let more = |sample: &str| value(&after, sample).unwrap() - value(&before, sample).unwrap();
        for action in ["changes", "commit", "create", "delete", "start"] {
            let of = |what: &str| {
                more(&format!(
                    "engine_daemon_container_actions_seconds_{what}{{action=\"{action}\"}}"
                ))
            };
            assert_eq!(of("count"), 1.0, "{action}\n{after}");
            assert!(of("sum") > 0.0, "{action}\n{after}");
        }
        assert!(more("engine_daemon_events_total") >= 5.0, "{after}");
        assert_eq!(value(&after, running), Some(0.0));
        assert_eq!(value(&after, "engine_daemon_health_checks_failed_total"), Some(0.0));
        assert!(value(&after, "process_open_fds") > Some(5.0), "round {round}: {after}");
    }
    assert_eq!(page(daemon.host(), "/"), "");
    assert_eq!(page(daemon.host(), "/version"), "", "the API is not served there");

    let vars = http::request(&daemon.socket(), "GET", "/debug/vars", None).is(200).json();
    assert!(vars["container_actions"]["start"]["count"].as_u64() > Some(0), "{vars}");
    assert!(vars["cmdline"][0].as_str().unwrap().ends_with("gantryd"), "{vars}");
    assert_eq!(vars["requests"]["running"], 1, "{vars}");
    let cmdline = http::request(&daemon.socket(), "GET", "/debug/pprof/cmdline", None).is(200);
    assert!(cmdline.body.contains("\0--metrics-addr\0"), "{cmdline:?}");
    let heap = http::request(&daemon.socket(), "GET", "/debug/pprof/heap", None).is(404);
    assert!(heap.message().contains("no pprof profiles"), "{heap:?}");

    daemon.gantry().run(&["run", "-d", "--name", "seen", "busybox", "sleep", "100"]).ok();
    send(daemon.pid(), Signal::USR1);
    eventually("the dump is told of", PATIENCE, || {
        daemon.log().contains("state of the daemon written")
    });
    assert!(daemon.is_running(), "{}", daemon.log());
    let is_dump = |name: &str| name.starts_with("gantryd-state-") && name.ends_with(".log");
    let dump = std::fs::read_dir(daemon.exec_root())
        .unwrap()
        .flatten()
        .find(|entry| is_dump(&entry.file_name().to_string_lossy()))
        .expect("a dump in the exec-root");
    let dump = std::fs::read_to_string(dump.path()).unwrap();
    assert!(dump.contains(" seen running pid=") && dump.contains(" gantryd-dump state="), "{dump}");
    assert!(dump.contains("requests being answered (0):"), "{dump}");
    daemon.gantry().run(&["rm", "-f", "seen"]).ok();
}

#[test]
fn figures_have_the_names_of_dockerds() {
    need!(Root, Peers);
    let ours = {
        let daemon = daemon();
        page(daemon.host(), "/metrics")
    };
    let theirs = {
        let reference = Reference::with(&["--metrics-addr", ADDRESS]);
        page(reference.host(), "/metrics")
    };
    assert_eq!(families(&ours), families(&theirs));
    assert_eq!(samples(&ours), samples(&theirs));
}
