use super::*;
use stdx::Kind;

fn capacity() -> Capacity {
    super::limits::tests::capacity()
}

fn convert(json: &str, minor: u16) -> Result<Asked> {
    let body = ContainerCreateBody::from_json(json.as_bytes()).expect("a body");
    create(body, "", "", ApiVersion::v1(minor), &capacity())
}

fn host(fields: &str) -> Result<Asked> {
    convert(&format!(r#"{{"Image":"busybox","HostConfig":{{{fields}}}}}"#), 47)
}

/// A refusal as a user sees it; `wanted` empty: let through.
fn check(result: Result<Asked>, kind: Kind, wanted: &str) {
    match result {
        Ok(_) => assert_eq!(wanted, ""),
        Err(e) => assert_eq!((e.kind(), e.message()), (kind, wanted)),
    }
}

/// Recorded from dockerd 26.1.
#[test]
fn refusals_are_dockers() {
    let invalid = |fields: &str, wanted: &str| check(host(fields), Kind::InvalidArgument, wanted);
    invalid(r#""Memory":1"#, "Minimum memory limit allowed is 6MB");
    invalid(
        r#""RestartPolicy":{"Name":"foo"}"#,
        "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    );
    let only = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
    invalid(r#""RestartPolicy":{"Name":"always","MaximumRetryCount":3}"#, only);
    invalid(r#""RestartPolicy":{"MaximumRetryCount":3}"#, only);
    invalid(
        r#""RestartPolicy":{"Name":"on-failure","MaximumRetryCount":-3}"#,
        "invalid restart policy: maximum retry count cannot be negative",
    );
    invalid(
        r#""AutoRemove":true,"RestartPolicy":{"Name":"always"}"#,
        "can't create 'AutoRemove' container with restart policy",
    );
    invalid(
        r#""NetworkMode":"container:""#,
        "Invalid network mode: invalid container format container:<name|id>",
    );
    invalid(r#""PidMode":"foo""#, "invalid PID mode: foo");
    invalid(r#""IpcMode":"foo""#, "invalid IPC mode: foo");
    invalid(r#""UTSMode":"foo""#, "invalid UTS mode: foo");
    invalid(r#""CgroupnsMode":"foo""#, "invalid cgroup namespace mode: foo");
    invalid(
        r#""Isolation":"hyperv""#,
        "Invalid isolation: \"hyperv\" - linux only supports 'default'",
    );
    invalid(r#""SecurityOpt":["foo"]"#, "invalid --security-opt 1: \"foo\"");
    invalid(r#""SecurityOpt":["foo=bar"]"#, "invalid --security-opt 2: \"foo=bar\"");
    invalid(r#""ExtraHosts":["foo"]"#, "bad format for add-host: \"foo\"");
    invalid(r#""VolumesFrom":[""]"#, "volumes-from specification cannot be an empty string");
    invalid(
        r#""Annotations":{"":"x"}"#,
        "invalid Annotations: the empty string is not permitted as an annotation key",
    );
    let mount = |mount: &str, wanted: &str| invalid(&format!(r#""Mounts":[{mount}]"#), wanted);
    mount(
        r#"{"Type":"bind","Source":"/tmp","Target":"/x","VolumeOptions":{}}"#,
        "VolumeOptions must not be specified on mount type \"bind\"",
    );
    mount(
        r#"{"Type":"volume","Source":"v","Target":"/x","BindOptions":{}}"#,
        "BindOptions must not be specified on mount type \"volume\"",
    );
    mount(
        r#"{"Type":"tmpfs","Target":"/x","BindOptions":{}}"#,
        "BindOptions must not be specified on mount type \"tmpfs\"",
    );

    let config = |json: &str, wanted: &str| check(convert(json, 45), Kind::InvalidArgument, wanted);
    config("{}", "config cannot be empty in order to create a container");
    config("null", "config cannot be empty in order to create a container");
    config(r#"{"Env":["=x"]}"#, "invalid environment variable: =x");
    config(r#"{"Env":[""]}"#, "invalid environment variable: ");
    config(
        r#"{"WorkingDir":"x"}"#,
        "the working directory 'x' is invalid, it needs to be an absolute path",
    );
    config(r#"{"Healthcheck":{"Interval":5}}"#, "Interval in Healthcheck cannot be less than 1ms");
    config(r#"{"Healthcheck":{"Retries":-1}}"#, "Retries in Healthcheck cannot be negative");
    config(
        r#"{"Hostname":"h","HostConfig":{"UTSMode":"host"}}"#,
        "conflicting options: hostname and the UTS mode",
    );
    config(
        r#"{"Hostname":"h","HostConfig":{"NetworkMode":"container:aa"}}"#,
        "conflicting options: hostname and the network mode",
    );
    config(
        r#"{"Image":"b","NetworkingConfig":{"EndpointsConfig":{"a":null,"b":null}}}"#,
        "* invalid config for network a: EndpointsConfig is nil\n* invalid config for network b: EndpointsConfig is nil",
    );
}

#[test]
fn what_is_not_there_yet_is_said_to_be() {
    let missing = |fields: &str| {
        let error = host(fields).expect_err(fields);
        assert_eq!(error.kind(), Kind::NotImplemented, "{fields}: {error}");
    };
    missing(r#""Cgroup":"container:a""#);
}

#[test]
fn wishes_for_networks_reach_the_engine() {
    let body = r#"{"Image":"b","MacAddress":"02:42:ac:11:00:09","HostConfig":{"NetworkMode":"front",
        "PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}],"53/udp":null}},
        "NetworkingConfig":{"EndpointsConfig":{"front":{"Aliases":["x"],"IPAMConfig":{"IPv4Address":"10.0.0.9"}},
        "back":{"DriverOpts":{"a":"b"},"GwPriority":7}}}}"#;
    let CreateContainer { host, endpoints, .. } = convert(body, 48).expect("a request").request;
    let front = &endpoints["front"];
    assert_eq!((front.ipv4.as_str(), front.mac.as_str()), ("10.0.0.9", "02:42:ac:11:00:09"));
    assert_eq!(front.aliases, ["x"]);
    assert_eq!(
        (endpoints["back"].gateway_priority, endpoints["back"].options["a"].as_str()),
        (7, "b")
    );
    let published = &host.port_bindings["80/tcp"][0];
    assert_eq!((published.address.as_str(), published.port.as_str()), ("127.0.0.1", "8080"));
    assert!(host.port_bindings["53/udp"].is_empty());
    let shown = host::to_wire(&host).port_bindings.expect("given");
    assert_eq!(shown["80/tcp"].as_ref().expect("given")[0].host_port, "8080");
}

#[test]
fn lines_cannot_be_smuggled_into_files() {
    for json in [
        r#"{"Hostname":"a\nb"}"#,
        r#"{"Domainname":"a b"}"#,
        r#"{"Image":"b","HostConfig":{"ExtraHosts":["a\nb:1.2.3.4"]}}"#,
        r#"{"Image":"b","HostConfig":{"ExtraHosts":["a:1.2.3.4\n5.6.7.8 c"]}}"#,
        r#"{"Image":"b","HostConfig":{"Dns":["1.1.1.1\noptions x"]}}"#,
        r#"{"Image":"b","HostConfig":{"DnsSearch":["a\nnameserver 6.6.6.6"]}}"#,
        r#"{"Image":"b","HostConfig":{"DnsOptions":["a b"]}}"#,
        r#"{"Env":["A=\u0000"]}"#,
        r#"{"Cmd":["a\u0000"]}"#,
        r#"{"Image":"b","HostConfig":{"DeviceCgroupRules":["z"]}}"#,
        r#"{"Image":"b","HostConfig":{"DeviceCgroupRules":["c 1:3 rw\na"]}}"#,
    ] {
        assert_eq!(convert(json, 45).expect_err(json).kind(), Kind::InvalidArgument, "{json}");
    }
}

/// What docker CLI 28.2 sends for `docker run -it --rm busybox sh`, but for fields with zero values.
#[test]
fn what_the_docker_client_sends_is_converted() {
    let body = r#"{"Hostname":"","AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"Tty":true,"OpenStdin":true,
        "StdinOnce":true,"Env":null,"Cmd":["sh"],"Image":"busybox","Volumes":{"/data":{}},"WorkingDir":"","Entrypoint":null,
        "ExposedPorts":{"80/tcp":{}},"OnBuild":null,"Labels":{"a":"b"},"StopSignal":"","HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":
        {"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no",
        "MaximumRetryCount":0},"AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[41,166],
        "CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,
        "GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,
        "PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,
        "BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"Devices":[],"DeviceRequests":null,"MemorySwappiness":-1,
        "OomKillDisable":false,"PidsLimit":0,"Ulimits":[],"MaskedPaths":null,"ReadonlyPaths":null},
        "NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,"Links":null,"Aliases":null,
        "MacAddress":"","DriverOpts":null,"NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,
        "IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}}}}"#;
    let Asked { request, warnings } = convert(body, 47).expect("a request");
    assert!(warnings.is_empty());
    let CreateContainer { name, platform, config, host, endpoints } = request;
    assert!(endpoints.contains_key("default"));
    assert_eq!((name, platform), (None, None));
    assert!(config.tty && config.open_stdin && config.stdin_once && host.auto_remove);
    assert_eq!(config.cmd, Some(vec!["sh".to_owned()]));
    assert_eq!(
        (config.volumes, config.exposed_ports),
        (vec!["/data".to_owned()], vec!["80/tcp".to_owned()])
    );
    assert_eq!(host.console_size, [41, 166]);
    assert_eq!(host.network_mode, "default");
    assert_eq!(host.resources.pids_limit, Some(0));
}

#[test]
fn what_comes_in_goes_out_again() {
    let body = r#"{"Image":"busybox","User":"1:2","HostConfig":{"Binds":["/a:/b"],"CapAdd":["SYS_ADMIN"],
        "Memory":10000000,"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],"Devices":[{"PathOnHost":"/dev/null"}],
        "Mounts":[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":5,"Mode":448}},
        {"Type":"bind","Source":"/a","Target":"/c","ReadOnly":true,"BindOptions":{"Propagation":"rshared"}},
        {"Type":"volume","Source":"v","Target":"/v","VolumeOptions":{"NoCopy":true,"Labels":{"l":"1"}}}]}}"#;
    let sent: api::HostConfig = ContainerCreateBody::from_json(body.as_bytes())
        .expect("a body")
        .host_config
        .expect("given");
    let asked = convert(body, 47).expect("a request").request;
    let back = host::to_wire(&asked.host);
    assert_eq!(back.mounts, sent.mounts);
    assert_eq!((back.binds, back.cap_add, back.cap_drop), (sent.binds, sent.cap_add, None));
    assert_eq!((back.memory, back.ulimits), (sent.memory, sent.ulimits));
    let devices = back.devices.expect("given");
    assert_eq!(
        (devices[0].path_in_container.as_str(), devices[0].cgroup_permissions.as_str()),
        ("/dev/null", "rwm")
    );
    assert_eq!((back.dns, back.shm_size), (Some(vec![]), 64 << 20));
    let config = to_wire(&asked.config);
    assert_eq!((config.user.as_str(), config.env, config.volumes), ("1:2", None, None));
}

#[test]
fn old_clients_mean_what_they_meant() {
    let mounts = r#"{"Image":"b","HostConfig":{"Annotations":{"a":"b"},"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/x",
        "ReadOnly":true,"BindOptions":{"NonRecursive":true,"CreateMountpoint":true}}]}}"#;
    let of = |minor| convert(mounts, minor).expect("a request").request.host;
    let (old, middle, new) = (of(24), of(43), of(47));
    assert_eq!((old.ipc_mode.as_str(), new.ipc_mode.as_str()), ("shareable", ""));
    assert!(old.annotations.is_empty() && !middle.annotations.is_empty());
    let seen = |h: &store::records::container::HostConfig| {
        let m = &h.mounts[0];
        (m.non_recursive, m.create_mountpoint, m.read_only_non_recursive)
    };
    assert_eq!(seen(&old), (false, false, true));
    assert_eq!(seen(&middle), (true, true, true));
    assert_eq!(seen(&new), (true, true, false));
}
