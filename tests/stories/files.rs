//! The files of a container: copied in and out, compared, exported, committed.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use testkit::process::{PATIENCE, eventually};
use testkit::{Cli, Client, Daemon, need};

/// What a container is given to hold.
const SCRIPT: &str = "mkdir -p /d/sub; echo hi >/d/f; ln -s f /d/l; ln -s ../etc /d/up; ln /d/f /d/hard; \
                      mkfifo /d/p; chmod 4755 /d/f; chown 5:6 /d/sub; echo ready; sleep 1000";

fn ready(client: &Client, name: &str) {
    testkit::process::eventually("the script has run", testkit::process::PATIENCE, || {
        client.run(&["logs", name]).stdout.contains("ready")
    });
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn files_are_copied_both_ways_whether_it_runs_or_not() {
    need!(Root);
    let daemon = Daemon::start();
    let here = daemon.path("here");
    fs::create_dir_all(here.join("tree/deep")).unwrap();
    fs::write(here.join("tree/deep/file"), "deep\n").unwrap();
    fs::write(here.join("one"), "one\n").unwrap();
    symlink("one", here.join("link")).unwrap();
    let at = |name: &str| here.join(name).display().to_string();
    let gantry = daemon.gantry();
    gantry.run(&["run", "-d", "--name", "cc", "-v", "vol:/data", "-v"]).exits(125);
    let bind = format!("{}:/bound:ro", here.display());
    let run = ["run", "-d", "--name", "cc", "-v", "vol:/data", "-v", &bind, "busybox", "sh", "-c"];
    gantry.run(&[&run[..], &[SCRIPT]].concat()).ok();
    ready(&gantry, "cc");
    for runs in [true, false] {
        if !runs {
            gantry.run(&["kill", "cc"]).ok();
        }
        for cli in Cli::all() {
            let client = daemon.client(cli);
            let name = format!("{cli:?}-{runs}");
            let back = at(&format!("{name}-back"));
            let cp = |args: &[&str]| client.run(&[&["cp"], args].concat());
            // Out: a file, a tree under a new name, the content of a tree, standard output.
            cp(&["cc:/d/f", &at(&format!("{name}-f"))]).ok();
            assert_eq!(text(at(&format!("{name}-f"))), "hi\n");
            cp(&["cc:/d", &at(&format!("{name}-d"))]).ok();
            let copied = here.join(format!("{name}-d"));
            assert_eq!(
                fs::metadata(copied.join("f")).unwrap().permissions().mode() & 0o7777,
                0o4755
            );
            assert_eq!(fs::read_link(copied.join("up")).unwrap(), Path::new("../etc"));
            assert_eq!(fs::metadata(copied.join("hard")).unwrap().nlink(), 2);
            assert!(copied.join("sub").is_dir());
            cp(&["cc:/d/l", &at(&format!("{name}-l"))]).ok();
            assert_eq!(fs::read_link(at(&format!("{name}-l"))).unwrap(), Path::new("f"));
            cp(&["-L", "cc:/d/l", &at(&format!("{name}-L"))]).ok();
            assert_eq!(text(at(&format!("{name}-L"))), "hi\n");
            let tar = client.shell("docker cp cc:/d/sub - | tar tvf - --numeric-owner").ok();
            assert!(tar.stdout.contains("5/6") && tar.stdout.contains("sub/"), "{tar}");
            // Volumes and binds are seen, and what is below the engine's own mounts is not.
            cp(&["cc:/data/seed", &back]).ok();
            assert_eq!(text(&back), "from the image\n");
            cp(&["cc:/bound/one", &at(&format!("{name}-bound"))]).ok();
            cp(&["cc:/proc/cpuinfo", &at("never")]).exits(1).says("Could not find the file");
            // In: into a directory, under a new name, from standard input, to a volume.
            cp(&[&at("one"), "cc:/tmp"]).ok();
            cp(&[&at("tree"), &format!("cc:/tmp/{name}")]).ok();
            cp(&[&at("link"), &format!("cc:/tmp/{name}-link")]).ok();
            cp(&["-L", &at("link"), "cc:/tmp/followed"]).ok();
            cp(&[&at("one"), &format!("cc:/data/{name}")]).ok();
            cp(&[&format!("cc:/tmp/{name}/deep/file"), &back]).ok();
            assert_eq!(text(&back), "deep\n");
            cp(&["cc:/tmp/followed", &back]).ok();
            assert_eq!(text(&back), "one\n");
            client
                .shell(&format!("tar -C {} -cf - one | docker cp - cc:/d/sub", here.display()))
                .ok();
            cp(&["cc:/d/sub/one", &back]).ok();
            // What is wrong is said in Docker's words.
            for (args, words) in [
                (["cc:/nope", "."], "Could not find the file /nope in container cc"),
                (["nope:/x", "."], "No such container: nope"),
                (["cc:/x", "cc:/y"], "copying between containers is not supported"),
                (["a", "b"], "must specify at least one container source"),
                ([&at("tree"), "cc:/tmp/one"], "cannot copy directory"),
                ([&at("one"), "cc:/no/such/x"], "Could not find the file /no/such in container cc"),
                ([&at("one"), "cc:/new/"], "no such directory"),
                (["cc:/d/f", "/dev/null"], "got a device"),
                (["cc:/d/f", "/no/such/dir/x"], "invalid output path: directory \"/no/such/dir\""),
                ([&at("one"), "cc:/bound"], "mounted volume is marked read-only"),
                (["cc:", "."], "bad parameter: pathcannot be empty"),
            ] {
                cp(&args).exits(1).says(words);
            }
        }
    }
    // It starts again with what was copied into it.
    gantry.run(&["start", "cc"]).ok();
    gantry.run(&["exec", "cc", "cat", "/tmp/one"]).ok().prints("one\n");
    gantry.run(&["exec", "cc", "sh", "-c", "ls /data | wc -l"]).ok();
    // A read-only root stays one, and owners are whoever `-a` says.
    gantry.run(&["run", "-d", "--name", "ro", "--read-only", "busybox", "sleep", "1000"]).ok();
    for cli in Cli::all() {
        daemon
            .client(cli)
            .run(&["cp", &at("one"), "ro:/tmp"])
            .exits(1)
            .says("container rootfs is marked read-only");
    }
    gantry.run(&["run", "-d", "--name", "uu", "-u", "tester", "busybox", "sleep", "1000"]).ok();
    gantry.run(&["cp", "-a", &at("one"), "uu:/tmp/mine"]).ok();
    gantry.run(&["exec", "uu", "stat", "-c", "%u:%g", "/tmp/mine"]).ok().prints("1000:1000\n");
    gantry.run(&["create", "--name", "never", "-v", "/fresh", "busybox"]).ok();
    gantry.run(&["cp", &at("one"), "never:/fresh/x"]).ok();
    gantry.run(&["cp", "never:/fresh/x", &at("fresh")]).ok();
    assert_eq!(text(at("fresh")), "one\n");
}

/// CVE-2018-15664, CVE-2019-14271, CVE-2026-41567, CVE-2021-41089, CVE-2019-10152 and their kin: whatever a container or
/// an archive does, nothing of the host is read, written or executed.
#[test]
fn no_copy_leaves_the_container() {
    need!(Root);
    let daemon = Daemon::start();
    let gantry = daemon.gantry();
    let canary = daemon.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("secret"), "of the host\n").unwrap();
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o700)).unwrap();
    let host = canary.display().to_string();
    // The container swaps a directory and a link to the host's root all the time, and has programs and libraries ready
    // for whoever would load them.
    let fakes = "for p in xz unpigz gzip zstd bzip2 tar; do printf '#!/bin/sh\\ntouch /marker\\n' >/bin/$p; chmod 755 \
                 /bin/$p; done; mkdir -p /lib; echo bad >/lib/libnss_files.so.2; echo 'passwd: files' >/etc/nsswitch.conf";
    let swap = format!(
        "rm /bin/tar /bin/gzip; {fakes}; mkdir -p /a{host} /b; echo inside >/a{host}/secret; ln -s / /r; echo ready; \
         while :; do mv /a /x; ln -s / /a; rm /a; mv /x /a; done"
    );
    gantry.run(&["run", "-d", "--name", "swap", "busybox", "sh", "-c", &swap]).ok();
    ready(&gantry, "swap");
    let put = daemon.path("put");
    fs::write(&put, "written\n").unwrap();
    for _ in 0..40 {
        let out = gantry.run(&["cp", &format!("swap:/a{host}/secret"), "-"]);
        assert!(!out.stdout.contains("of the host"), "{out}");
        let _found_or_not =
            gantry.run(&["cp", &put.display().to_string(), &format!("swap:/a{host}/new")]);
        let out = gantry.run(&["cp", &format!("swap:/r{host}/secret"), "-"]);
        assert!(!out.stdout.contains("of the host"), "{out}");
    }
    gantry.run(&["kill", "swap"]).ok();
    // Links on the way, magic ones too, and archives that lead out.
    gantry
        .run(&[
            "run", "-d", "--name", "links", "busybox", "sh", "-c",
            &format!("ln -s {host} /abs; ln -s /proc/1/root /magic; ln -s /proc/self/fd /fds; ln -s / /etc/up; mkdir /in; echo ready; sleep 1000"),
        ])
        .ok();
    ready(&gantry, "links");
    for path in ["/abs/secret", "/magic/etc/passwd", "/fds/0", "/proc/1/environ", "/proc/self/exe"]
    {
        gantry.run(&["cp", &format!("links:{path}"), "-"]).exits(1).lacks("of the host");
    }
    gantry.run(&["cp", &put.display().to_string(), "links:/abs/new"]).exits(1);
    for (name, script) in [
        ("dots", "tar -Pcf - --transform 's,^,../../esc-,' canary/secret"),
        ("hard", &*format!("tar -cf - --transform 's,.*,h,' -C {host} secret")),
    ] {
        let line = format!("cd {}; {script} | docker cp - links:/in", daemon.path("").display());
        let _refused_or_inside = (name, gantry.shell(&line));
    }
    // A link, then a directory entry of the same name: the mode goes nowhere else.
    let line = format!(
        "mkdir -p t/d && ln -s {host} t/l && (cd t && tar -cf ../l.tar l && rm l && mkdir -m 777 l && tar -rf ../l.tar l) && docker cp - links:/in <l.tar"
    );
    let _replaced = gantry.shell(&format!("cd {} && {line}", daemon.home().display()));
    assert_eq!(fs::metadata(&canary).unwrap().permissions().mode() & 0o777, 0o700);
    // A link to what neither the archive nor the container has: Docker's status.
    gantry
        .shell(
            "cd \"$HOME\" && echo x >a && ln a b && tar -cf h.tar a b && tar --delete -f h.tar a",
        )
        .ok();
    let archive = fs::read(daemon.home().join("h.tar")).unwrap();
    let head = format!(
        "PUT /containers/links/archive?path=/in HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\
         Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        archive.len()
    );
    let answer = testkit::http::raw(&daemon.socket(), &[head.as_bytes(), &archive].concat());
    assert!(answer.is(404).message().contains("hard link to a"));
    // Bytes that look compressed are unpacked by us or refused, never by a program of the container.
    for magic in ["\\3757zXZ\\0", "\\037\\213", "BZh91AY", "\\050\\265\\057\\375"] {
        gantry.shell(&format!("printf '{magic}garbage' | docker cp - links:/in")).exits(1);
    }
    gantry.run(&["exec", "links", "ls", "/marker"]).exits(1);
    let names: Vec<String> = fs::read_dir(&canary)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["secret"]);
    assert_eq!(text(canary.join("secret")), "of the host\n");
}

#[test]
fn changes_are_told_exported_and_committed() {
    need!(Root);
    let daemon = Daemon::start();
    let gantry = daemon.gantry();
    let script = "mkdir -p /newd/x; rm -r /home; mkdir /home; rm /etc/passwd; echo x>>/etc/group; rm -r /etc/conf; \
                  mkdir /etc/conf; touch /etc/conf/z; chmod 700 /work; ln /etc/group /etc/group2; mkfifo /newd/p; \
                  touch -d '2001-02-03 04:05:06' /newd/x; echo ready; sleep 1000";
    gantry
        .run(&["run", "-d", "--name", "cc", "--tmpfs", "/scratch", "layers", "sh", "-c", script])
        .ok();
    ready(&gantry, "cc");
    let wanted = "A /newd|A /newd/p|A /newd/x|A /scratch|C /etc|C /etc/conf|C /etc/group|A /etc/conf/z|A /etc/group2|\
                  C /home|C /work|D /etc/conf/new|D /etc/passwd|D /home/tester";
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let diff = client.run(&["diff", "cc"]).ok();
        let (mut found, mut expected): (Vec<&str>, Vec<&str>) =
            (diff.stdout.lines().collect(), wanted.split('|').collect());
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        client.run(&["diff", "nope"]).exits(1).says("No such container: nope");
        // Without what is mounted, and without a name for the root.
        let export = client.shell("docker export cc | tar tf -").ok();
        for name in ["newd/x/", "bin/busybox", "etc/conf/z", "proc/"] {
            assert!(export.stdout.lines().any(|l| l == name), "{name} in {export}");
        }
        assert!(!export.stdout.contains("proc/1/") && !export.stdout.contains("etc/passwd\n"));
        let file = daemon.path("export.tar").display().to_string();
        client.run(&["export", "-o", &file, "cc"]).ok();
        client.run(&["export", "-o", "/no/such/x", "cc"]).exits(1).says("invalid output path");

        let tag = format!("made:{}", format!("{cli:?}").to_lowercase());
        let commit = client
            .run(&[
                "commit",
                "-a",
                "Me <me@x>",
                "-m",
                "why",
                "-c",
                "CMD [\"cat\",\"/etc/group2\"]",
                "-c",
                "ENV A=1 B=\"two words\"",
                "-c",
                "EXPOSE 80 90/udp",
                "-c",
                "LABEL k=v",
                "-c",
                "VOLUME /v1",
                "-c",
                "WORKDIR /newd",
                "-c",
                "STOPSIGNAL SIGINT",
                "-c",
                "ONBUILD RUN true",
                "-c",
                "HEALTHCHECK NONE",
                "cc",
                &tag,
            ])
            .ok();
        let id = commit.text().to_owned();
        assert!(id.starts_with("sha256:") && id.len() == 71, "{commit}");
        let image = client.run(&["image", "inspect", &tag]).ok().json();
        let config = &image[0]["Config"];
        assert_eq!(image[0]["Id"], id);
        assert_eq!(
            (&image[0]["Author"], &image[0]["Comment"]),
            (&"Me <me@x>".into(), &"why".into())
        );
        assert_eq!(config["Cmd"], serde_json::json!(["cat", "/etc/group2"]));
        assert_eq!(config["WorkingDir"], "/newd");
        assert_eq!(config["StopSignal"], "SIGINT");
        assert_eq!(config["ExposedPorts"], serde_json::json!({"80/tcp": {}, "90/udp": {}}));
        assert!(config["Env"].to_string().contains("B=two words"), "{image}");
        assert_eq!(image[0]["RootFS"]["Layers"].as_array().unwrap().len(), 3);
        let history =
            client.run(&["history", "--no-trunc", "--format", "{{.ID}} {{.Comment}}", &tag]).ok();
        assert_eq!(history.stdout.lines().next(), Some(&*format!("{id} why")));
        assert_eq!(history.stdout.lines().count(), 4, "{history}");
        client.run(&["run", "--rm", &tag]).ok().says("x");
        let look = "ls -d /newd/x /etc/passwd /home/tester /etc/conf/new /etc/conf/z; stat -c %a:%Y /work /newd/x";
        let seen = client.run(&["run", "--rm", &tag, "sh", "-c", look]);
        assert!(
            seen.stdout.contains("/newd/x\n/etc/conf/z\n") || seen.stdout.contains("/etc/conf/z"),
            "{seen}"
        );
        assert!(seen.stdout.contains("700:") && seen.stdout.contains(":981173106"), "{seen}");
        assert_eq!(seen.stderr.matches("No such file").count(), 3, "{seen}");
        for (change, words) in [
            ("FROM x", "FROM is not a valid change command"),
            ("ENV a", "ENV must have two arguments"),
            ("EXPOSE abc", "Invalid containerPort: abc"),
            ("STOPSIGNAL nope", "invalid signal: nope"),
        ] {
            client.run(&["commit", "-c", change, "cc", "never:1"]).exits(1).says(words);
        }
        client.run(&["commit", "cc", "BAD NAME"]).exits(1).says("invalid reference format");
        // It runs on after each.
        assert_eq!(
            client.run(&["inspect", "-f", "{{.State.Status}}", "cc"]).ok().text(),
            "running"
        );
        client.run(&["rmi", &tag]).ok().says("Deleted: sha256:");
    }
    gantry.run(&["kill", "cc"]).ok();
    let id = gantry.run(&["commit", "cc"]).ok();
    gantry.run(&["run", "--rm", id.text(), "ls", "/newd/p"]).ok();
}

#[test]
fn processes_space_and_leftovers_are_told() {
    need!(Root);
    let daemon = Daemon::start();
    let gantry = daemon.gantry();
    gantry
        .run(&[
            "run",
            "-d",
            "--name",
            "one",
            "-v",
            "vol:/v",
            "busybox",
            "sh",
            "-c",
            "sleep 1000; true",
        ])
        .ok();
    gantry.run(&["create", "--name", "idle", "--label", "k=v", "busybox"]).ok();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let top = |args: &[&str]| client.run(&[&["top", "one"], args].concat());
        eventually("its shell has started the other", PATIENCE, || {
            top(&[]).ok().stdout.lines().any(|line| line.ends_with(" sleep 1000"))
        });
        let plain = top(&[]).ok();
        assert_eq!(
            plain.stdout.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
            ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        );
        assert_eq!(plain.stdout.lines().count(), 3, "{plain}");
        assert!(plain.stdout.contains("sleep 1000") && plain.stdout.starts_with("UID"), "{plain}");
        top(&["aux"]).ok().says("%CPU");
        let own = top(&["-o", "pid,user,comm,args"]).ok();
        assert!(
            own.stdout.lines().any(|l| l.contains("root") && l.ends_with("sleep 1000")),
            "{own}"
        );
        top(&["-o", "comm"]).exits(1).says("Couldn't find PID field in ps output");
        top(&["-o", "nonsense"]).exits(1).says("unknown user-defined format specifier");
        client.run(&["top", "idle"]).exits(1).says("is not running");

        let df = client.run(&["system", "df"]).ok();
        assert!(
            df.stdout.contains("RECLAIMABLE") && df.stdout.contains("Local Volumes   1         1"),
            "{df}"
        );
        client.run(&["system", "df", "-v"]).ok().says("Local Volumes space usage:").says("vol");
        client
            .run(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"])
            .ok()
            .says("Containers 2");
    }
    gantry.run(&["container", "prune", "-f", "--filter", "label=other"]).ok().lacks("Deleted");
    gantry
        .run_with(&["container", "prune"], b"n\n")
        .ok()
        .says("WARNING! This will remove all stopped");
    gantry
        .run(&["container", "prune", "-f", "--filter", "label=k=v"])
        .ok()
        .says("Deleted Containers:");
    gantry.run(&["commit", "one"]).ok();
    gantry.run(&["image", "prune", "-f"]).ok().says("deleted: sha256:");
    gantry.run(&["image", "prune", "-f"]).ok().prints("Total reclaimed space: 0B\n");
    gantry
        .run(&["image", "prune", "-a", "-f", "--filter", "label=tier=test"])
        .ok()
        .says("untagged: full:latest");
    gantry
        .run(&["image", "prune", "-f", "--filter", "foo=bar"])
        .exits(1)
        .says("invalid filter 'foo'");
    gantry.run(&["rm", "-f", "one"]).ok();
    let pruned = gantry.run(&["system", "prune", "-a", "-f"]).ok();
    pruned.says("untagged: busybox:latest").says("Total reclaimed space:");
    assert_eq!(gantry.run(&["images", "-q"]).ok().text(), "");
}

#[test]
fn a_login_is_checked_kept_and_forgotten() {
    use testkit::registry::{Access, Registry, USER};
    need!(Root, Program("docker-registry", "docker-registry"));
    let daemon = Daemon::start();
    let _registry = Registry::start(daemon.host(), 5003, Access::Basic);
    let server = "127.0.0.1:5003";
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let login = |password: &str| {
            client.run_with(
                &["login", "-u", USER.0, "--password-stdin", server],
                format!("{password}\n").as_bytes(),
            )
        };
        login("wrong").exits(1).lacks("Login Succeeded");
        login(USER.1).ok().says("Login Succeeded");
        let config = text(daemon.home().join(".docker/config.json"));
        assert!(config.contains(server) && !config.contains(USER.1), "{config}");
        client.run(&["logout", server]).ok().says("Removing login credentials for 127.0.0.1:5003");
        assert!(!text(daemon.home().join(".docker/config.json")).contains(server));
    }
    credentials_are_kept_by_a_program_of_the_users(&daemon, server);
    let gantry = daemon.gantry();
    gantry
        .run(&["login", "--password-stdin", server])
        .exits(1)
        .says("requires --username to be set");
    gantry.run(&["login", "-u", "x", server]).exits(1).says("non TTY device");
}

fn credentials_are_kept_by_a_program_of_the_users(daemon: &Daemon, server: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    use testkit::registry::USER;
    let (programs, kept) = (daemon.path("programs"), daemon.path("kept"));
    std::fs::create_dir(&programs).unwrap();
    let program = programs.join("docker-credential-kept");
    let script = "#!/bin/sh\ncase $1 in\nstore) cat >\"$KEPT\";;\nget) cat \"$KEPT\" 2>/dev/null || { echo 'credentials not found \
                  in native keychain'; exit 1; };;\nerase) rm -f \"$KEPT\";;\nesac\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = daemon.home().join(".docker/config.json");
    for cli in Cli::all() {
        let client = daemon.client(cli);
        std::fs::write(&config, r#"{"credsStore":"kept"}"#).unwrap();
        let places = format!("export PATH={}:$PATH KEPT={}", programs.display(), kept.display());
        let run = |line: &str| client.shell(&format!("{places}; {line}"));
        run(&format!("docker login {server} </dev/null")).exits(1).says("non TTY device");
        run(&format!("echo {} | docker login -u {} --password-stdin {server}", USER.1, USER.0))
            .ok()
            .says("Login Succeeded");
        assert!(text(&kept).contains(USER.1));
        assert!(text(&config).contains(server) && !text(&config).contains("\"auth\""));
        run(&format!("docker login {server} </dev/null")).ok().says("Login Succeeded");
        run(&format!("docker logout {server}")).ok();
        assert!(!kept.exists() && !text(&config).contains(server));
    }
    std::fs::write(&config, r#"{"credsStore":"missing"}"#).unwrap();
    daemon
        .gantry()
        .run_with(
            &["login", "-u", USER.0, "--password-stdin", server],
            format!("{}\n", USER.1).as_bytes(),
        )
        .exits(1)
        .says("exec: \"docker-credential-missing\": executable file not found in $PATH");
    std::fs::remove_file(&config).unwrap();
}
