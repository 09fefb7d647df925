//! Bodies against what Docker's client 28.2 sends for the same arguments.

use super::flags::{COMMON, RUN_ONLY};
use super::{RunArgs, create_body};
use crate::env::Env;
use crate::flags::{Arity, Command, Matches};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

const COMMAND: Command = Command {
    group: "container",
    name: "run",
    aliases: &[],
    top: "run",
    arguments: "",
    about: "",
    arity: Arity::AtLeast(1),
    interspersed: false,
    flags: &[COMMON, RUN_ONLY],
    run: |_, _| Box::pin(async { Ok(0) }),
};

fn body(line: &str) -> Result<Value, String> {
    let args = shell_words::split(line).map_err(|e| e.to_string())?;
    let matches = Matches::parse(&COMMAND, &args, "docker run").map_err(|e| format!("{e:?}"))?;
    let env = Env::Given(BTreeMap::from([("FROM_SHELL".to_owned(), "from shell".to_owned())]));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let args = RunArgs::read(&matches, &env, &directory).map_err(|e| e.message)?;
    let body = create_body(&args)?;
    let mut body = serde_json::to_value(&body).map_err(|e| e.to_string())?;
    // Of the recording's terminal, not of the arguments.
    body["HostConfig"].as_object_mut().and_then(|host| host.remove("ConsoleSize"));
    Ok(body)
}

/// Without what means the same as not being there, and with lists that have no order sorted.
fn normal(value: Value, key: &str) -> Value {
    const MAPS: &[&str] = &[
        "Tmpfs",
        "Volumes",
        "Labels",
        "EndpointsConfig",
        "ExposedPorts",
        "PortBindings",
        "Sysctls",
        "Config",
        "Annotations",
        "StorageOpt",
        "DriverOpts",
        "Options",
    ];
    const UNORDERED: &[&str] = &["Env", "Binds"];
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    };
    match value {
        Value::Object(map) => {
            let keep = |(name, value): (String, Value)| {
                let value = normal(value, &name);
                let explicit =
                    matches!(name.as_str(), "MaskedPaths" | "ReadonlyPaths") && value.is_array();
                (explicit || MAPS.contains(&key) || !empty(&value)).then_some((name, value))
            };
            Value::Object(map.into_iter().filter_map(keep).collect::<Map<_, _>>())
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(|v| normal(v, "")).collect();
            if UNORDERED.contains(&key) {
                list.sort_by_key(Value::to_string);
            }
            Value::Array(list)
        }
        other => other,
    }
}

#[test]
fn bodies_are_dockers() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let golden = std::fs::read_to_string(directory.join("create.json")).unwrap();
    let golden = golden.replace("$CWD", &directory.display().to_string());
    let cases: Vec<Value> = serde_json::from_str(&golden).unwrap();
    assert!(cases.len() > 190);
    for case in cases {
        let line = case["args"].as_str().unwrap();
        let want = normal(case["body"].clone(), "");
        let got = normal(body(line).unwrap_or_else(|e| panic!("{line}: {e}")), "");
        assert_eq!(got, want, "{line}");
    }
}

#[test]
fn what_docker_refuses_is_refused_in_its_words() {
    let check = |line: &str, want: &str| match body(&format!("{line} busybox")) {
        Ok(body) => panic!("{line}: {body}"),
        Err(error) => assert!(error.contains(want), "{line}: {error}"),
    };
    check("-e =x", "invalid environment variable: =x");
    check("--cpus 1.0000000001", "value is too precise");
    check(
        "-p 80-90:80-81",
        "invalid ranges specified for container and host Ports: 80-81 and 80-90",
    );
    check("-p 1.2.3:80:80", "invalid IP address: 1.2.3");
    check("-p 80/foo", "invalid proto: foo");
    check("-p x", "invalid containerPort: x");
    check("-p 99999", "invalid containerPort: 99999");
    check("--memory-swappiness 101", "invalid value: 101. Valid memory swappiness range is 0-100");
    check("--pid x", "--pid: invalid PID mode");
    check("--rm --restart always", "conflicting options: cannot specify both --restart and --rm");
    check(
        "--net host --network-alias a",
        "network-scoped aliases are only supported for user-defined networks",
    );
    check("--no-healthcheck --health-cmd x", "--no-healthcheck conflicts with --health-* options");
    check("--mount type=bind,target=/b,foo=x", "unexpected key 'foo' in 'foo=x'");
    check(
        "--mount type=volume,tmpfs-size=1,target=/b",
        "cannot mix 'tmpfs-*' options with mount type 'volume'",
    );
    check(
        "--security-opt seccomp=/nope",
        "opening seccomp profile (/nope) failed: open /nope: no such file or directory",
    );
    check(
        "--ulimit nofile=10:5",
        "ulimit soft limit must be less than or equal to hard limit: 10 > 5",
    );
    check("--log-driver none --log-opt a=b", "invalid logging opts for driver none");
    check("--use-api-socket", "not there yet");
    // Stricter than Docker, which drops what it does not know.
    check("-p target=80,host_ip=1.2.3.4", "invalid field key: host_ip");
    check("-p target=80,mode=x", "invalid publish mode: x");
    check("-p 80/tcp/udp", "invalid proto: tcp/udp");
    check("--expose 80/foo", "invalid proto: foo");
    check("--expose 80-81-82", "invalid range format for --expose: 80-81-82");
}

#[test]
fn quoted_fields_may_have_commas() {
    let body = body("--mount 'type=bind,\"source=/a,b\",target=/t' busybox").unwrap();
    assert_eq!(body["HostConfig"]["Mounts"][0]["Source"], "/a,b");
    let check = |line: &str, want: &str| {
        let error = super::csv(line).unwrap_err();
        assert!(error.contains(want), "{line}: {error}");
    };
    check("\"a", "line 1, column 3: extraneous or missing");
    check("a,b\"", "line 1, column 4: bare");
    check("a,\"b\"c", "line 1, column 5: extraneous or missing");
    assert_eq!(super::csv("\"a\"\"b\",c,").unwrap(), ["a\"b", "c", ""]);
}

/// Docker's client makes the whole of it small, and then does not find the network.
#[test]
fn names_in_the_long_form_of_networks_keep_their_case() {
    let body = body("--network name=Net,alias=A,driver-opt=Name=Eth0 busybox").unwrap();
    assert_eq!(body["HostConfig"]["NetworkMode"], "Net");
    let endpoint = &body["NetworkingConfig"]["EndpointsConfig"]["Net"];
    assert_eq!(endpoint["Aliases"][0], "A");
    assert_eq!(endpoint["DriverOpts"]["name"], "Eth0");
}
