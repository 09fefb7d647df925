//! Lines as callers of runc write them.

use super::*;

fn read(line: &str) -> Result<Invocation, String> {
    parse(line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned), |_| None)
        .map_err(|(_, text)| text)
}

#[test]
fn runcs_callers_are_understood() {
    let invocation =
        read("--root /run/x --log /l --log-format json create --bundle /b --pid-file /p id1")
            .unwrap();
    assert_eq!(
        invocation.global,
        Global { root: "/run/x".into(), log: Some("/l".into()), log_json: true, debug: false }
    );
    let make = |id: &str| Make {
        id: id.into(),
        bundle: "/b".into(),
        pid_file: Some("/p".into()),
        ..Make::default()
    };
    assert_eq!(invocation.command, Command::Create(make("id1")));
    let Command::Run { make: run, detach: true, keep: false } =
        read("run -d -b=/b -pid-file /p x").unwrap().command
    else {
        panic!()
    };
    assert_eq!(run, make("x"));
    let kill = |signal: &str, all| Command::Kill { id: "x".into(), signal: signal.into(), all };
    assert_eq!(read("kill x").unwrap().command, kill("SIGTERM", false));
    assert_eq!(read("kill --all x 9").unwrap().command, kill("9", true));
    assert_eq!(
        read("delete --force x").unwrap().command,
        Command::Delete { id: "x".into(), force: true }
    );
    let Command::Exec(exec) = read("exec -t -e A=1 x sh -c -x").unwrap().command else { panic!() };
    assert_eq!(
        (exec.tty, exec.args.join(" "), exec.env.join(" ")),
        (true, "sh -c -x".into(), "A=1".into())
    );
    assert_eq!(read("--version").unwrap().command, Command::Version);
    assert_eq!(read("").unwrap().command, Command::Help);
}

#[test]
fn what_is_wrong_or_missing_is_said() {
    for (line, text) in [
        ("create", "create requires a container id"),
        ("create a b", "unexpected argument \"b\""),
        ("create --colour a", "flag provided but not defined: -colour"),
        ("create --bundle", "flag needs an argument: -bundle"),
        ("checkpoint x", "checkpoint is not supported: containers are not checkpointed"),
        ("dance", "no such command: dance"),
        ("--systemd-cgroup create x", "the systemd cgroup driver is not supported: use cgroupfs"),
        ("--log-format xml state x", "invalid log-format: xml"),
        ("exec x", "process args cannot be empty"),
    ] {
        assert_eq!(read(line).unwrap_err(), text, "{line}");
    }
}

#[test]
fn updates_are_resources() {
    let Command::Update { id, file: None, resources } =
        read("update --memory 64m --cpu-share 5 --pids-limit=9 --cpuset-cpus 0 x").unwrap().command
    else {
        panic!()
    };
    let text = serde_json::to_string(&resources).unwrap();
    assert_eq!(
        (id.as_str(), text.as_str()),
        ("x", r#"{"memory":{"limit":67108864},"cpu":{"shares":5,"cpus":"0"},"pids":{"limit":9}}"#)
    );
    assert_eq!(read("update --memory lots x").unwrap_err(), "invalid value for memory: \"lots\"");
    assert_eq!(
        read("update --cpu-share x y").unwrap_err(),
        "invalid value \"x\" for flag -cpu-share"
    );
}

#[test]
fn intervals_are_gos_durations() {
    for (text, expected) in [("5s", 5), ("1m30s", 90), ("500ms", 1), ("1h", 3600)] {
        assert_eq!(seconds(text), Ok(expected));
    }
    for bad in ["5", "s", "-1s", "1x", "0s", ""] {
        assert!(seconds(bad).is_err(), "{bad}");
    }
}

#[test]
fn options_of_exec() {
    let line = "exec -u 1:2 -g 5 --cap CAP_KILL --no-new-privs --preserve-fds 2 --cgroup sub --ignore-paused x -- a -b";
    let Command::Exec(exec) = read(line).unwrap().command else { panic!() };
    assert_eq!((exec.user.as_deref(), exec.additional_gids.as_slice()), (Some("1:2"), &[5][..]));
    assert_eq!((exec.args.join(" "), exec.preserve_fds), ("a -b".to_owned(), 2));
    assert!(exec.no_new_privs && exec.ignore_paused && exec.caps == ["CAP_KILL"]);
    assert!(read("exec --cgroup cpu:x y z").unwrap_err().contains("without controllers"));
}
