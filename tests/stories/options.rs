//! What the daemon is told when it starts, seen by its users.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testkit::http::request;
use testkit::process::{PATIENCE, Running, eventually, send};
use testkit::registry::{Access, Registry};
use testkit::{Cli, Daemon, Host, Options, need};

/// A daemon with this file and these flags, and the test images unless it is `bare`.
fn daemon(file: &serde_json::Value, flags: &[&str], bare: bool) -> Daemon {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let mut daemon = Daemon::with(Options { flags, bare: true, ..Options::default() });
    daemon.stop();
    std::fs::write(daemon.config_file(), file.to_string()).unwrap();
    daemon.up();
    if !bare {
        daemon.load(&testkit::images::archive());
    }
    daemon
}

#[test]
fn places_versions_and_defaults_are_what_the_daemon_was_told() {
    need!(Root);
    // The init is told from the built-in one by its length: what follows a program is not looked at.
    // Closed: what is open for writing cannot be executed.
    let own_init = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let mut init = std::fs::read(testkit::program("gantry-init")).unwrap();
    init.extend([0; 1000]);
    std::fs::write(&own_init, &init).unwrap();
    std::fs::set_permissions(&own_init, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let file = serde_json::json!({
        "min-api-version": "1.41", "experimental": true, "default-init": true,
        "init-path": own_init.to_path_buf(),
    });
    let mut daemon = daemon(&file, &[], false);
    let socket = daemon.socket();

    let version =
        daemon.host().run(&testkit::program("gantryd").display().to_string(), &["--version"]).ok();
    assert!(version.stdout.starts_with("Gantry version "), "{version}");
    for path in ["/_ping", "/v1.41/_ping"] {
        let answer = request(&socket, "GET", path, None).is(200);
        assert_eq!(answer.header("docker-experimental"), Some("true"));
    }
    let text = "client version 1.40 is too old. Minimum supported API version is 1.41, please upgrade \
                your client to a newer version";
    assert_eq!(request(&socket, "GET", "/v1.40/info", None).is(400).message(), text);
    let told = request(&socket, "GET", "/version", None).is(200).json();
    assert_eq!((&told["MinAPIVersion"], &told["Experimental"]), (&"1.41".into(), &true.into()));

    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.run(&["info", "-f", "{{.ExperimentalBuild}}"]).ok().prints("true\n");
        // Without being asked for, the init is there, and it is the one that was named.
        let script = "tr '\\0' '\\n' </proc/1/cmdline | head -n 1; stat -c %s /sbin/docker-init";
        client
            .run(&["run", "--rm", "busybox", "sh", "-c", script])
            .ok()
            .prints(&format!("/sbin/docker-init\n{}\n", init.len()));
        client
            .run(&["run", "--rm", "--init=false", "busybox", "sh", "-c", "ls /sbin/docker-init"])
            .exits(1);
    }

    // A container's runtime files are in the exec-root, and the pid file is the daemon's own while it lives.
    let client = daemon.gantry();
    let id = client.run(&["run", "-d", "busybox", "sleep", "1000"]).ok().text().to_owned();
    assert!(daemon.exec_root().join("containers").join(&id).join("shim.json").exists());
    let pidfile = daemon.path("gantryd.pid");
    let pid: i32 = std::fs::read_to_string(&pidfile).unwrap().trim().parse().unwrap();
    assert!(daemon.host().processes().iter().any(|(p, _, name)| *p == pid && name == "gantryd"));
    client.run(&["rm", "-f", &id]).ok();
    daemon.stop();
    assert!(!pidfile.exists());
}

/// Passes HTTP requests on to a registry on the host's loopback, whoever they are for, and counts.
struct Relay {
    /// First lines of requests.
    seen: Mutex<Vec<String>>,
    /// Requests for blobs that are being answered, and the most there ever were.
    now: AtomicUsize,
    most: AtomicUsize,
    /// How many of them are waited for before the first is answered.
    wanted: AtomicUsize,
    /// Blobs are not to be had.
    fails: AtomicBool,
}

impl Relay {
    /// Listens inside `host`.
    fn start(host: &Host, port: u16, registry: &'static str) -> Arc<Self> {
        let relay = Arc::new(Self {
            seen: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
        });
        let (server, network) = (Arc::clone(&relay), host.network());
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            network.enter();
            let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
            ready.send(()).unwrap();
            for client in listener.incoming() {
                let (server, client) = (Arc::clone(&server), client.unwrap());
                // Who starts a thread is where the thread is.
                std::thread::spawn(move || server.serve(client, registry));
            }
        });
        wait.recv().unwrap();
        relay
    }

    fn serve(&self, mut client: TcpStream, registry: &str) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).ok()?;
            // No method begins so: TLS is tried first, and is to fail at once.
            (byte[0] != 0x16 || !head.is_empty()).then_some(())?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let (first, rest) = head.split_once("\r\n")?;
        self.seen.lock().unwrap().push(first.to_owned());
        let (method, target) = first.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
        if method == "CONNECT" {
            // Nobody behind it speaks TLS.
            return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").ok();
        }
        let path =
            target.strip_prefix("http://").map_or(target, |t| &t[t.find('/').unwrap_or(0)..]);
        let blob = path.contains("/blobs/");
        if blob && self.fails.load(Ordering::SeqCst) {
            let text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return client.write_all(text).ok();
        }
        if blob {
            self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Others that may come do so meanwhile; those that shall are waited for. The first of an image comes alone.
            std::thread::sleep(Duration::from_millis(100));
            let begun = Instant::now();
            while self.most.load(Ordering::SeqCst) < self.wanted.load(Ordering::SeqCst)
                && begun.elapsed() < Duration::from_secs(3)
            {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let mut server = TcpStream::connect(registry).ok()?;
        let lines = rest
            .lines()
            .filter(|l| !l.is_empty() && !l.to_ascii_lowercase().starts_with("connection:"));
        let lines = lines.fold(String::new(), |all, line| all + line + "\r\n");
        server
            .write_all(
                format!("{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n").as_bytes(),
            )
            .ok()?;
        let mut answer = Vec::new();
        let _whole = server.read_to_end(&mut answer);
        // Before the daemon can have it, and ask for the next.
        if blob {
            self.now.fetch_sub(1, Ordering::SeqCst);
        }
        client.write_all(&answer).ok()
    }

    /// How often each blob was asked for since the last time.
    fn blobs(&self) -> BTreeMap<String, usize> {
        let lines = std::mem::take(&mut *self.seen.lock().unwrap());
        lines.into_iter().filter(|line| line.contains("/blobs/")).fold(
            BTreeMap::new(),
            |mut all, line| {
                *all.entry(line).or_default() += 1;
                all
            },
        )
    }

    fn saw(&self, what: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|line| line.contains(what))
    }
}

#[test]
fn downloads_are_as_many_as_the_daemon_was_told_and_go_where_it_was_told() {
    need!(Root, Program("docker-registry", "docker-registry"), Program("skopeo", "skopeo"));
    let proxy = "http://user:secret@127.0.0.1:3128";
    let file = serde_json::json!({
        "max-concurrent-downloads": 1, "max-download-attempts": 2,
        "insecure-registries": ["far.test:5000", "near.test:5000"],
        "proxies": { "http-proxy": proxy, "https-proxy": proxy, "no-proxy": "near.test,.example" },
    });
    let by_file = daemon(&file, &[], true);
    let registry = Registry::start(by_file.host(), 5000, Access::Plain);
    registry.push(by_file.host(), "layers", "layers", &[]);
    let relay = Relay::start(by_file.host(), 3128, "127.0.0.1:5000");
    let client = by_file.gantry();

    // One at a time, though there are several; loopback needs no proxy.
    client.run(&["pull", "-q", "127.0.0.1:3128/layers"]).ok();
    let blobs = relay.blobs();
    assert!(blobs.len() > 2 && blobs.values().all(|times| *times == 1), "{blobs:?}");
    assert_eq!(relay.most.load(Ordering::SeqCst), 1);
    client.run(&["rmi", "127.0.0.1:3128/layers"]).ok();

    // As often as it was told, and not once more.
    relay.fails.store(true, Ordering::SeqCst);
    client.run(&["pull", "-q", "127.0.0.1:3128/layers"]).exits(1);
    let blobs = relay.blobs();
    assert_eq!(blobs.values().max(), Some(&2), "{blobs:?}");
    relay.fails.store(false, Ordering::SeqCst);

    // Told anew, without a restart.
    let mut file = file;
    file["max-concurrent-downloads"] = 3.into();
    std::fs::write(by_file.config_file(), file.to_string()).unwrap();
    send(by_file.pid(), rustix::process::Signal::HUP);
    eventually("the configuration is read", PATIENCE, || {
        by_file.log().contains("configuration reloaded")
    });
    relay.wanted.store(2, Ordering::SeqCst);
    client.run(&["pull", "-q", "127.0.0.1:3128/layers"]).ok();
    assert!(relay.most.load(Ordering::SeqCst) > 1);
    client.run(&["rmi", "127.0.0.1:3128/layers"]).ok();
    let told = "{{.HTTPProxy}} {{.HTTPSProxy}} {{.NoProxy}}";
    let shown = "http://xxxxx:xxxxx@127.0.0.1:3128";
    client.run(&["info", "-f", told]).ok().prints(&format!("{shown} {shown} near.test,.example\n"));

    // Names that only the proxy knows: first by TLS, then without; and one that it is not asked for.
    relay.blobs();
    client.run(&["pull", "-q", "far.test:5000/layers"]).ok();
    assert!(relay.saw("CONNECT far.test:5000"));
    assert!(relay.saw("GET http://far.test:5000/v2/layers/manifests/latest"));
    client.run(&["pull", "-q", "near.test:5000/layers"]).exits(1);
    assert!(!relay.saw("near.test"));

    // The same by flags.
    let flags = [
        "--http-proxy=http://127.0.0.1:3128",
        "--https-proxy=http://127.0.0.1:3128",
        "--no-proxy=near.test",
        "--insecure-registry=far.test:5000",
        "--insecure-registry=near.test:5000",
    ];
    let by_flags = daemon(&serde_json::json!({}), &flags, true);
    let registry = Registry::start(by_flags.host(), 5000, Access::Plain);
    registry.push(by_flags.host(), "busybox", "busybox", &[]);
    let relay = Relay::start(by_flags.host(), 3128, "127.0.0.1:5000");
    let client = by_flags.gantry();
    client.run(&["pull", "-q", "far.test:5000/busybox"]).ok();
    assert!(relay.saw("CONNECT far.test:5000") && relay.saw("GET http://far.test:5000/"));
    client.run(&["pull", "-q", "near.test:5000/busybox"]).exits(1);
    assert!(!relay.saw("near.test"));
}

#[test]
fn images_are_fetched_loaded_and_removed_by_every_parameter() {
    need!(Root, Program("docker-registry", "docker-registry"), Program("skopeo", "skopeo"));
    let daemon = Daemon::start();
    let registry = Registry::start(daemon.host(), 5000, Access::Plain);
    registry.push(daemon.host(), "busybox", "busybox:one", &[]);
    let socket = daemon.socket();
    let post =
        |query: &str| request(&socket, "POST", &format!("/v1.45/images/create?{query}"), None);
    // A name, a tag or a digest beside it, a platform. What fails early has a status, what fails later is the last line.
    let done = post("fromImage=127.0.0.1:5000/busybox&tag=one").is(200).body;
    let digest = done.split("Digest: ").nth(1).unwrap()[..71].to_owned();
    assert!(done.contains("Downloaded newer image for 127.0.0.1:5000/busybox:one"), "{done}");
    let done = post(&format!("fromImage=127.0.0.1:5000/busybox&tag={digest}")).is(200).body;
    assert!(done.contains("Image is up to date"), "{done}");
    post("fromImage=127.0.0.1:5000/busybox:one&platform=linux/amd64").is(200);
    let other = post("fromImage=127.0.0.1:5000/busybox:one&platform=linux/s390x");
    assert!(other.body.contains("linux/s390x"), "{other:?}");
    assert!(post("fromImage=127.0.0.1:5000/busybox:one&platform=nonsense/x/y/z").status >= 400);
    post("fromImage=UPPER").is(400);
    post("fromSrc=-&repo=made").is(501);

    // Loading, with and without news of each layer.
    let archive = std::fs::read(testkit::images::archive()).unwrap();
    for (quiet, progress) in [("0", true), ("1", false)] {
        for image in ["busybox", "entry", "full", "layers"] {
            request(&socket, "DELETE", &format!("/images/{image}?force=1"), None);
        }
        request(&socket, "DELETE", "/images/127.0.0.1:5000/busybox:one?force=1", None);
        let mut bytes = format!(
            "POST /images/load?quiet={quiet} HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n",
            archive.len()
        )
        .into_bytes();
        bytes.extend(&archive);
        let loaded = testkit::http::raw(&socket, &bytes).is(200).body;
        assert!(loaded.contains("Loaded image: busybox:latest"), "{loaded}");
        assert_eq!(loaded.contains("progressDetail"), progress, "{loaded}");
    }

    // Removing: another name, the last one, one in use, one that is not there.
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.run(&["tag", "entry", "also"]).ok();
        client.run(&["image", "rm", "--no-prune", "also"]).ok().prints("Untagged: also:latest\n");
        client.run(&["create", "--name", "user", "entry"]).ok();
        client.run(&["image", "rm", "entry"]).exits(1).says("container");
        client.run(&["image", "rm", "-f", "entry"]).ok().says("Untagged: entry:latest");
        client.run(&["rm", "user"]).ok();
        client.run(&["image", "rm", "nothing"]).exits(1).says("No such image: nothing:latest");
        client.run(&["image", "rm", "-f", "nothing"]).says("No such image: nothing:latest");
        daemon.load(&testkit::images::archive());
    }
    assert!(!PathBuf::from(digest).is_absolute());
}

#[test]
fn what_volumes_take_is_told_and_input_can_be_left_alone() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.run(&["volume", "create", "empty"]).ok();
        let fill = "head -c 1000000 /dev/zero >/data/file";
        client
            .run(&["run", "--name", "user", "-v", "full:/data", "busybox", "sh", "-c", fill])
            .ok();
        let usage = client.run(&["system", "df", "-v", "--format", "{{json .Volumes}}"]).ok();
        let usage = usage.json();
        let of = |name: &str| {
            let list = usage.as_array().unwrap();
            let one = list.iter().find(|v| v["Name"] == name).unwrap();
            [one["Links"].as_str().unwrap().to_owned(), one["Size"].as_str().unwrap().to_owned()]
        };
        assert_eq!(of("empty"), ["0", "0B"]);
        assert_eq!(of("full"), ["1", "1MB"]);
        client.run(&["rm", "user"]).ok();
        client.run(&["volume", "rm", "empty", "full"]).ok();

        // What is typed at a client that takes no input stays where it is.
        client.run(&["run", "-di", "--name", "cat", "busybox", "cat"]).ok();
        let attach = |args: &[&str], typed: &str| {
            Running::start(client.command(args), Some(typed.as_bytes().to_vec()))
        };
        let deaf = attach(&["attach", "--no-stdin", "cat"], "unread\n");
        let heard = attach(&["attach", "cat"], "read\n");
        eventually("it is read", PATIENCE, || !client.run(&["logs", "cat"]).ok().stdout.is_empty());
        client.run(&["kill", "cat"]).ok();
        for running in [deaf, heard] {
            running.end(PATIENCE).lacks("unread");
        }
        client.run(&["logs", "cat"]).ok().prints("read\n");
        client.run(&["rm", "-f", "cat"]).ok();
    }
}
