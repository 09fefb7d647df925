//! Images: loaded, pulled from real registries, named, removed.

use testkit::registry::{Access, Registry, USER};
use testkit::{Cli, Daemon, Leaks, need};

#[test]
fn images_are_loaded_tagged_listed_and_removed() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let archive = testkit::images::archive().display().to_string();
        let load = client.run(&["load", "-i", &archive]).ok();
        for name in ["busybox", "entry", "full", "layers"] {
            assert!(load.stdout.contains(&format!("Loaded image: {name}:latest")), "{load}");
        }
        client.run_with(&["load", "-q"], &std::fs::read(&archive).unwrap()).ok();
        client.run(&["tag", "busybox", "example.org/box:1"]).ok();
        let names =
            client.run(&["images", "--format", "{{.Repository}}:{{.Tag}}", "example.org/box"]).ok();
        assert_eq!(names.text(), "example.org/box:1");
        client.run(&["rmi", "example.org/box:1"]).ok().says("Untagged: example.org/box:1");
        client.run(&["run", "--rm", "busybox", "true"]).ok();
        // The second layer's whiteouts hide what the first one has.
        client
            .run(&["run", "--rm", "layers", "sh", "-c", "ls /etc/conf; ls /etc/gone"])
            .exits(1)
            .says("new\n")
            .lacks("old");
        client.run(&["inspect", "-f", "{{len .RootFS.Layers}}", "layers"]).ok().prints("2\n");
        client.run(&["history", "-q", "layers"]).ok();
    }
}

#[test]
fn an_image_in_use_stays() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["create", "--name", "user", "entry"]).ok();
    client.run(&["rmi", "entry"]).exits(1).says("conflict");
    client.run(&["rm", "user"]).ok();
    client.run(&["rmi", "entry"]).ok().says("Untagged: entry:latest");
    client.run(&["run", "--rm", "--pull", "never", "entry"]).exits(125).says("No such image");
}

#[test]
fn a_plain_registry_on_loopback_is_pulled_from() {
    need!(Root, Program("docker-registry", "docker-registry"), Program("skopeo", "skopeo"));
    let daemon = Daemon::start();
    let registry = Registry::start(daemon.host(), 5000, Access::Plain);
    registry.push(daemon.host(), "layers", "plain:1", &[]);
    registry.push(daemon.host(), "layers", "oci:1", &["--format", "oci"]);
    registry.push(
        daemon.host(),
        "layers",
        "zstd:1",
        &["--format", "oci", "--dest-compress-format", "zstd"],
    );
    for cli in Cli::all() {
        let client = daemon.client(cli);
        for name in ["plain:1", "oci:1", "zstd:1"] {
            let image = registry.image(name);
            client
                .run(&["pull", &image])
                .ok()
                .says(&format!("Status: Downloaded newer image for {image}"));
            client.run(&["pull", &image]).ok().says("Image is up to date");
            client.run(&["run", "--rm", &image, "cat", "/etc/conf/new"]).ok().prints("new\n");
            let digests = client.run(&["inspect", "-f", "{{index .RepoDigests 0}}", &image]).ok();
            assert!(digests.text().contains("@sha256:"), "{digests}");
            client.run(&["pull", "-q", digests.text()]).ok();
            client.run(&["rmi", "-f", digests.text(), &image]);
        }
        // run pulls what is not there.
        client.run(&["rmi", "-f", &registry.image("plain:1")]);
        client
            .run(&["run", "--rm", &registry.image("plain:1"), "echo", "pulled"])
            .ok()
            .says("pulled");
        client.run(&["rmi", "-f", &registry.image("plain:1")]);
        client
            .run(&["pull", &registry.image("plain:absent")])
            .exits(1)
            .says("manifest")
            .says("unknown");
        client.run(&["pull", &registry.image("absent:1")]).exits(1);
        client.run(&["pull", "127.0.0.1:9/nobody:1"]).exits(1).says("connection refused");
    }
}

#[test]
fn a_registry_with_users_wants_the_right_one() {
    need!(Root, Program("docker-registry", "docker-registry"), Program("skopeo", "skopeo"));
    let daemon = Daemon::start();
    let registry = Registry::start(daemon.host(), 5001, Access::Basic);
    registry.push(daemon.host(), "busybox", "private:1", &[]);
    let image = registry.image("private:1");
    for cli in Cli::all() {
        let client = daemon.client(cli);
        drop(std::fs::remove_dir_all(daemon.home().join(".docker")));
        client.run(&["pull", &image]).exits(1).says("no basic auth credentials");
        // As `docker login` leaves it.
        let auth = base64(&format!("{}:{}", USER.0, USER.1));
        std::fs::create_dir_all(daemon.home().join(".docker")).unwrap();
        let config = serde_json::json!({"auths": {"127.0.0.1:5001": {"auth": auth}}});
        std::fs::write(daemon.home().join(".docker/config.json"), config.to_string()).unwrap();
        client.run(&["pull", &image]).ok();
        client.run(&["rmi", &image]).ok();
        let wrong =
            serde_json::json!({"auths": {"127.0.0.1:5001": {"auth": base64("tester:wrong")}}});
        std::fs::write(daemon.home().join(".docker/config.json"), wrong.to_string()).unwrap();
        client.run(&["pull", &image]).exits(1).says("unauthorized");
    }
    assert!(!std::fs::read_to_string(daemon.log_path()).unwrap().contains("correct horse"));
}

#[test]
fn a_registrys_certificate_is_checked() {
    need!(
        Root,
        Program("docker-registry", "docker-registry"),
        Program("skopeo", "skopeo"),
        Program("openssl", "openssl")
    );
    // Outside 127.0.0.0/8 nothing is trusted without TLS; ::1 and other addresses of the host are outside.
    let daemon = Daemon::start();
    daemon.host().run("ip", &["addr", "add", "192.0.2.1/32", "dev", "lo"]).ok();
    let registry = Registry::start_at(daemon.host(), "192.0.2.1", 5002, Access::Tls);
    registry.push(daemon.host(), "busybox", "secure:1", &[]);
    let image = registry.image("secure:1");
    let client = daemon.gantry();
    client.run(&["pull", &image]).exits(1).says("certificate");
    let folder = std::path::Path::new("/etc/docker/certs.d/192.0.2.1:5002");
    daemon.host().run("mount", &["-t", "tmpfs", "tmpfs", "/etc/docker"]);
    let ca = registry.authority().display().to_string();
    let script = format!(
        "mkdir -p /etc/docker && mount -t tmpfs tmpfs /etc/docker && mkdir -p {0} && cp {ca} {0}/ca.crt",
        folder.display()
    );
    daemon.host().run("sh", &["-c", &script]).ok();
    client.run(&["pull", &image]).ok();
    client.run(&["run", "--rm", &image, "true"]).ok();
}

#[test]
fn python_answers() {
    need!(
        Root,
        Program("docker-registry", "docker-registry"),
        Program("skopeo", "skopeo"),
        Program("mmdebstrap", "mmdebstrap")
    );
    let archive = match testkit::debian::python() {
        Ok(archive) => archive,
        Err(why) => {
            testkit::need::skip("python_answers", &why);
            return;
        }
    };
    let daemon = Daemon::start();
    let registry = Registry::start(daemon.host(), 5000, Access::Plain);
    registry.copy(daemon.host(), &format!("docker-archive:{}", archive.display()), "python:3", &[]);
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let image = registry.image("python:3");
        client.run(&["pull", &image]).ok();
        client.run(&["run", "--rm", &image, "python3", "-c", "print(6*7)"]).ok().prints("42\n");
        client.run(&["rmi", &image]).ok();
    }
}

#[test]
fn a_registry_that_lies_is_refused_and_leaves_nothing() {
    need!(Root, Program("docker-registry", "docker-registry"), Program("skopeo", "skopeo"));
    let daemon = Daemon::start();
    let registry = Registry::start(daemon.host(), 5000, Access::Plain);
    registry.push(daemon.host(), "busybox", "damaged:1", &["--format", "oci"]);
    // One bit of its largest blob, after the registry has checked it.
    let mut blobs: Vec<_> = testkit::images::files(&registry.storage())
        .into_iter()
        .filter(|p| p.ends_with("data"))
        .collect();
    blobs.sort_by_key(|p| p.metadata().unwrap().len());
    let largest = blobs.last().unwrap();
    let mut bytes = std::fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(largest, bytes).unwrap();
    let client = daemon.gantry();
    client.run(&["rmi", "-f", "busybox", "entry", "full", "layers"]);
    let leaks = Leaks::snapshot(&daemon);
    let failed = client.run(&["pull", &registry.image("damaged:1")]).exits(1);
    assert!(!failed.stderr.trim().is_empty(), "{failed}");
    client.run(&["images", "-q", &registry.image("damaged")]).ok().prints("");
    leaks.check(&daemon);
}

fn base64(text: &str) -> String {
    let mut command = std::process::Command::new("base64");
    command.arg("-w0");
    testkit::process::Running::start(command, Some(text.as_bytes().to_vec()))
        .end(testkit::process::PATIENCE)
        .ok()
        .stdout
}

/// Docker ends at 127 layers, since the options of one mount call fill a page.
#[test]
fn an_image_of_three_hundred_layers_runs() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let (tree, base) = (daemon.path("tree"), daemon.path("base.tar"));
    client.run(&["create", "--name", "source", "busybox"]).ok();
    client.run(&["export", "-o", &base.display().to_string(), "source"]).ok();
    client.run(&["rm", "source"]).ok();
    std::fs::create_dir(&tree).unwrap();
    let mut layers = vec![base];
    for n in 0..299 {
        std::fs::write(tree.join("number"), n.to_string()).unwrap();
        std::fs::write(tree.join(format!("file-{n}")), "").unwrap();
        let layer = daemon.path(&format!("{n}.tar"));
        testkit::images::tar(&tree, &layer);
        std::fs::remove_file(tree.join(format!("file-{n}"))).unwrap();
        layers.push(layer);
    }
    let layers: Vec<&std::path::Path> = layers.iter().map(std::path::PathBuf::as_path).collect();
    let config = serde_json::json!({"Env": ["PATH=/bin"]});
    testkit::images::stack(&layers, "tall", &config, &daemon.path("tall.tar"));
    daemon.load(&daemon.path("tall.tar"));
    let see = ["run", "--rm", "tall", "sh", "-c", "cat /number; ls / | grep -c file-"];
    client.run(&see).ok().prints("298299\n");
    client.run(&["image", "inspect", "-f", "{{len .RootFS.Layers}}", "tall"]).ok().prints("300\n");
    client.run(&["rmi", "tall"]).ok();
}
