//! Volumes: made, listed, used by several, kept over crashes, removed; and every form in which they are mounted.

use testkit::{Cli, Daemon, need};

#[test]
fn volumes_are_made_listed_and_removed() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let docker = |args: &[&str]| client.run(args);
        docker(&["volume", "create", "--label", "a=b", "--label", "c", "data"])
            .ok()
            .prints("data\n");
        docker(&["volume", "create", "data"]).ok().prints("data\n");
        let anonymous = docker(&["volume", "create"]).ok().text().to_owned();
        assert_eq!(anonymous.len(), 64);
        docker(&[
            "volume",
            "inspect",
            "-f",
            "{{.Driver}} {{.Labels.a}} {{.Scope}} {{.Options}}",
            "data",
        ])
        .ok()
        .prints("local b local map[]\n");
        docker(&["inspect", "--type", "volume", "-f", "{{.Name}}", "data"]).ok().prints("data\n");
        let list = |filters: &[&str]| {
            let names = docker(&[&["volume", "ls", "-q"], filters].concat()).ok().text().to_owned();
            names
                .lines()
                .map(|l| if l.len() == 64 { "anonymous" } else { l })
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert!(list(&[]).contains("data") && list(&[]).contains("anonymous"));
        assert_eq!(list(&["-f", "label=a=b"]), "data");
        assert_eq!(list(&["-f", "label=c", "-f", "driver=local", "-f", "name=^da"]), "data");
        assert_eq!(list(&["-f", "driver=other"]), "");
        docker(&["volume", "ls", "-f", "foo=bar"]).exits(1).says("invalid filter 'foo'");
        docker(&[
            "run", "-d", "--name", "user", "-v", "data:/d", "-v", "/own", "busybox", "sleep",
            "1000",
        ])
        .ok();
        assert_eq!(list(&["-f", "dangling=true"]), "anonymous");
        docker(&["volume", "rm", "-f", "data"]).exits(1).says("remove data: volume is in use - [");
        docker(&["volume", "rm", "none"]).exits(1).says("get none: no such volume");
        docker(&["volume", "rm", "-f", "none"]).ok();
        docker(&["volume", "update", "data"]).exits(1);
        for (args, text) in [
            (&["a"][..], "create a: volume name is too short"),
            (&["a/b"], "create a/b: \"a/b\" includes invalid characters for a local volume name"),
            (&["-d", "foo", "xx"], "plugin \"foo\" not found"),
            (&["-o", "foo=bar", "xx"], "create xx: invalid option: \"foo\""),
            (&["--scope", "single", "xx"], "This node is not a swarm manager"),
        ] {
            docker(&[&["volume", "create"], args].concat()).exits(1).says(text);
        }
        // The anonymous one that nobody uses goes; with --all, and nobody using it, the named one too.
        docker(&["volume", "prune", "-f"]).ok().says(&anonymous).lacks("data");
        docker(&["rm", "-f", "user"]).ok();
        docker(&["volume", "prune", "-f", "--filter", "label=zz"]).ok().lacks("Deleted");
        docker(&["volume", "prune", "-f"]).ok().says("Deleted Volumes:").lacks("data");
        docker(&["volume", "prune", "-af"]).ok().says("data");
        assert_eq!(list(&[]), "");
    }
    let events = daemon.gantry().run(&[
        "events",
        "--since",
        "0",
        "--until",
        &crate::a_moment_from_now(),
        "--filter",
        "volume=data",
        "--format",
        "{{.Action}}",
    ]);
    let actions = events.ok().stdout;
    assert!(actions.starts_with("create\nmount\nunmount\ndestroy\n"), "{actions}");
}

#[test]
fn what_is_written_stays_and_is_shared() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    let run = |flags: &[&str], script: &str| {
        client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
    };
    // A named volume outlives the `--rm` container that made it, the daemon, and a crash of it.
    run(&["-v", "kept:/d"], "echo first >/d/file; mkdir /d/sub; echo deep >/d/sub/file; ln -s /etc/passwd /d/out; ln -s sub /d/in").ok();
    client
        .run(&[
            "run", "-d", "--name", "user", "-v", "kept:/d", "-v", "/own", "busybox", "sleep",
            "1000",
        ])
        .ok();
    daemon.kill9();
    daemon.up();
    let client = daemon.gantry();
    client.run(&["volume", "rm", "kept"]).exits(1).says("volume is in use");
    client.run(&["volume", "ls", "-qf", "dangling=true"]).ok().prints("");
    let run = |flags: &[&str], script: &str| {
        client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
    };
    run(&["-v", "kept:/d:ro"], "cat /d/file; echo x >/d/file").exits(1).prints("first\n");
    run(&["--mount", "type=volume,src=kept,dst=/d,readonly"], "touch /d/x").exits(1);
    let sub = |path: &str| format!("type=volume,src=kept,dst=/d,volume-subpath={path}");
    for path in ["sub", "in"] {
        run(&["--mount", &sub(path)], "cat /d/file").ok().prints("deep\n");
    }
    run(&["--mount", &sub("sub/file")], "cat /d").ok().prints("deep\n");
    // A link in the volume leads nowhere outside of it.
    run(&["--mount", &sub("out")], "cat /d").exits(127).says("no such file or directory");
    run(&["--mount", &sub("missing")], "true").exits(127);
    run(&["--mount", &sub("../x")], "true").exits(125).says("subpath must be a relative path");
    // What others mount.
    client.run(&["exec", "user", "sh", "-c", "echo own >/own/file"]).ok();
    run(&["--volumes-from", "user"], "cat /own/file /d/file; echo more >>/own/file")
        .ok()
        .prints("own\nfirst\n");
    run(&["--volumes-from", "user:ro"], "cat /own/file; echo x >/own/file")
        .exits(1)
        .prints("own\nmore\n");
    client.run(&["create", "--name", "borrower", "--volumes-from", "user", "busybox"]).ok();
    run(&["--volumes-from", "nope"], "true").exits(125).says("No such container: nope");
    // Its own volume goes with the last that uses it.
    let own = "{{range .Mounts}}{{if eq .Destination \"/own\"}}{{.Name}}{{end}}{{end}}";
    let own = client.run(&["inspect", "-f", own, "user"]).ok().text().to_owned();
    client.run(&["rm", "-fv", "user"]).ok();
    client.run(&["volume", "inspect", &own]).ok();
    client.run(&["rm", "-v", "borrower"]).ok();
    client.run(&["volume", "inspect", &own]).exits(1);
    client.run(&["volume", "rm", "kept"]).ok().prints("kept\n");
}

#[test]
fn every_form_of_mount_is_as_docker_has_it() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let folder = daemon.path("shared");
    std::fs::create_dir(&folder).unwrap();
    let shared = folder.display().to_string();
    let host = daemon.host();
    host.run("mkdir", &[&format!("{shared}/below")]).ok();
    host.run("mount", &["-t", "tmpfs", "none", &format!("{shared}/below")]).ok();
    let run = |flags: &[&str], script: &str| {
        client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
    };
    let mount = |more: &str| format!("type=bind,src={shared},dst=/m{more}");
    // Read-only is so for what is mounted below, unless somebody says otherwise.
    let below =
        "touch /m/x 2>/dev/null && echo top; touch /m/below/x 2>/dev/null && echo below; true";
    run(&["-v", &format!("{shared}:/m")], below).ok().prints("top\nbelow\n");
    run(&["-v", &format!("{shared}:/m:ro,z")], below).ok().prints("");
    run(&["--mount", &mount(",readonly")], below).ok().prints("");
    run(&["--mount", &mount(",readonly,bind-recursive=writable")], below).ok().prints("below\n");
    run(&["--mount", &mount(",readonly,bind-recursive=readonly,bind-propagation=rprivate")], below)
        .ok()
        .prints("");
    run(&["--mount", &mount(",bind-recursive=disabled,consistency=cached")], "ls -A /m/below")
        .ok()
        .prints("");
    // Propagation, as far as the host's mount has it.
    run(&["-v", &format!("{shared}:/m:rshared")], "true")
        .exits(125)
        .says("it is not a shared mount");
    run(&["-v", &format!("{shared}:/m:rslave")], "true")
        .exits(125)
        .says("it is not a shared or slave mount");
    host.run("mount", &["--make-shared", &format!("{shared}/below")]).ok();
    let propagation = |word: &str| {
        let bind = format!("type=bind,src={shared}/below,dst=/m,bind-propagation={word}");
        run(&["--mount", &bind], "grep ' /m ' /proc/self/mountinfo").ok().stdout
    };
    assert!(propagation("rshared").contains("shared:"));
    assert!(propagation("slave").contains("master:"));
    assert!(!propagation("rprivate").contains("shared:"));
    // A source that is missing.
    let missing = daemon.path("missing").display().to_string();
    run(&["--mount", &format!("type=bind,src={missing},dst=/m")], "true")
        .exits(125)
        .says("bind source path does not exist");
    run(&["-v", &format!("{missing}/a:/m")], "touch /m/x").ok();
    assert!(daemon.path("missing/a/x").exists());
    // Memory.
    run(
        &["--mount", "type=tmpfs,dst=/m,tmpfs-size=1m,tmpfs-mode=1750"],
        "stat -c %a /m; df -k /m | tail -n 1 | awk '{print $2}'",
    )
    .ok()
    .prints("1750\n1024\n");
    run(
        &["--tmpfs", "/m:rw,exec,size=2m,mode=700,uid=5"],
        "stat -c '%a %u' /m; grep ' /m ' /proc/mounts",
    )
    .ok()
    .says("700 5\n")
    .lacks("noexec");
    // Copied up once, with owners and modes; or not.
    let image = "stat -c %a /etc; ls /etc | grep -c passwd";
    run(&["-v", "fresh:/etc"], image).ok().says("\n1\n");
    run(&["-v", "bare:/data:nocopy", "-v", "other:/data2"], "ls -A /data | wc -l")
        .ok()
        .prints("0\n");
    // Refusals are Docker's (dockerd 26.1).
    for (flags, text) in [
        (&["-v", "vol1:/x", "--tmpfs", "/x"][..], "Duplicate mount point: /x"),
        (&["-v", "/tmp:/x:foo"], "invalid mode: foo"),
        (&["-v", "vol1:/x:rshared"], "field BindOptions must not be specified"),
        (
            &["--mount", "type=volume,src=vv,dst=/x,volume-opt=foo=bar"],
            "create vv: invalid option: \"foo\"",
        ),
        (&["--mount", "type=tmpfs,src=a,dst=/x"], "field Source must not be specified"),
        (&["--mount", "type=foo,dst=/x"], "mount type unknown"),
    ] {
        run(flags, "true").exits(125).says(text);
    }
}
