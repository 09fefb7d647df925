//! Every named point, once: armed, reached by an operation that must pass it, and looked at afterwards.

use super::{Scene, guarded, want};
use std::time::Duration;
use testkit::plugin::{Plugin, make_room};
use testkit::registry::{Access, Registry};
use testkit::{failpoints, need};

/// Something a user does that passes a point, and how it is finished after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// `run -d` of a container that ends by itself with code 7.
    Run,
    /// A container that fails once and is started again by its policy.
    Again,
    /// `stop` of a container with a policy.
    Stop,
    /// `update` of a running container.
    Update,
    /// `rm` of a stopped container with an anonymous volume.
    Remove,
    /// `load` of an archive with one more image.
    Load,
    /// `pull` of an image from a registry.
    Pull,
    /// `rmi` of that image.
    RemoveImage,
    /// `volume create`.
    CreateVolume,
    /// `volume rm` of it.
    RemoveVolume,
    /// `network create`.
    CreateNetwork,
    /// `network create` on a link of the host's.
    CreateMacvlan,
    /// `network create` by a plugin.
    CreatePlugged,
    /// As `Run`, on a network of a plugin's.
    Plugged,
    /// `network rm` of it.
    RemoveNetwork,
    /// `network connect` of a container that runs.
    Connect,
    /// `network disconnect` of it.
    Disconnect,
    /// `rm --link` of a container that runs.
    Unlink,
    /// `commit` of a container that runs.
    Commit,
    /// The first container of a daemon whose network does not exist yet.
    FirstRun,
    /// As `Run`, of one with ids of its own.
    Mapped,
    /// As `Run`, of one whose log is rotated and compressed.
    Compressed,
    /// As `Run`, of one whose log is shipped.
    Shipped,
    /// As `Run`, by `runc`.
    Foreign,
    /// As `Run`, with a published port.
    Publish,
    /// As `Run`, of one that may not go everywhere.
    Judged,
    /// As `FirstRun`, on a host whose own rules forward nothing.
    Forbidden,
}

const COMPRESSED: [&str; 6] =
    ["--log-opt", "max-size=1k", "--log-opt", "max-file=3", "--log-opt", "compress=true"];

const SHIPPED: [&str; 4] =
    ["--log-driver", "syslog", "--log-opt", "syslog-address=udp://127.0.0.1:9"];

const CREATE_PLUGGED: [&str; 7] =
    ["network", "create", "-d", "vendor", "--ipam-driver", "vendor", "a-net"];

/// Which operation passes the points with this prefix; the first that fits counts.
const OPERATIONS: [(&str, Operation); 40] = [
    ("shim.foreign.", Operation::Foreign),
    ("container.commit.", Operation::Commit),
    ("image.commit.", Operation::Commit),
    ("log.compress.", Operation::Compressed),
    ("log.ship.", Operation::Shipped),
    ("volume.create.", Operation::CreateVolume),
    ("volume.remove.", Operation::RemoveVolume),
    ("container.create.after-ids", Operation::Mapped),
    ("container.create.", Operation::Run),
    ("container.start.", Operation::Run),
    ("container.restart.", Operation::Again),
    ("container.stop.", Operation::Stop),
    ("container.update.", Operation::Update),
    ("container.remove.", Operation::Remove),
    ("container.network.", Operation::Connect),
    ("container.unlink.", Operation::Unlink),
    ("network.create.", Operation::CreateNetwork),
    ("network.remove.", Operation::RemoveNetwork),
    ("network.connect.", Operation::Connect),
    ("network.turn.", Operation::Connect),
    ("network.disconnect.", Operation::Disconnect),
    ("network.", Operation::Run),
    ("shim.", Operation::Run),
    ("localvol.create.", Operation::Run),
    ("localvol.remove.", Operation::Remove),
    ("macvlan.create.", Operation::CreateMacvlan),
    ("netplugin.create.", Operation::CreatePlugged),
    ("netplugin.", Operation::Plugged),
    ("bridge.create.", Operation::FirstRun),
    ("bridge.publish.", Operation::Publish),
    ("bridge.egress.", Operation::Judged),
    ("bridge.foreign.", Operation::Forbidden),
    ("bridge.", Operation::Run),
    ("image.remove.", Operation::RemoveImage),
    ("image.pull.", Operation::Pull),
    ("image.", Operation::Load),
    ("snapshot.remove.", Operation::Remove),
    ("snapshot.", Operation::Load),
    ("blobdir.remove.", Operation::RemoveImage),
    ("blobdir.", Operation::Load),
];

/// Runs the matrix; the count of points.
pub fn run(only: Option<&str>, findings: &mut Vec<String>) -> usize {
    let points: Vec<String> = failpoints::all()
        .into_iter()
        .filter(|p| only.is_none_or(|only| p.starts_with(only)))
        .collect();
    // Without a registry the points of a pull cannot be reached; a machine that wants all installs one.
    let registry = need::find("docker-registry").is_some() && need::find("skopeo").is_some();
    let points: Vec<String> =
        points.into_iter().filter(|p| registry || !p.starts_with("image.pull.")).collect();
    // Without another runtime there is nobody to call.
    let runc = need::find("runc").is_some();
    let points: Vec<String> =
        points.into_iter().filter(|p| runc || !p.starts_with("shim.foreign.")).collect();
    // Without a program for it the host has no rules of its own.
    let iptables = need::find("iptables").is_some();
    let points: Vec<String> =
        points.into_iter().filter(|p| iptables || !p.starts_with("bridge.foreign.")).collect();
    for point in &points {
        guarded(point, findings, || one(point));
    }
    points.len()
}

fn one(point: &str) -> Result<(), String> {
    let operation = OPERATIONS
        .iter()
        .find(|(prefix, _)| point.starts_with(prefix))
        .map(|(_, operation)| *operation)
        .ok_or("no operation is known that passes this point: add one to OPERATIONS")?;
    let mut scene = Scene::start();
    let archive =
        testkit::images::large(&scene.daemon.path(""), "extra", 300_000).display().to_string();
    match operation {
        Operation::Remove => {
            want(scene.client.run(&[
                "run",
                "--name",
                "victim",
                "-v",
                "/volume",
                "busybox",
                "touch",
                "/volume/x",
            ]))?;
        }
        Operation::RemoveImage => {
            want(scene.client.run(&["load", "-q", "-i", &archive]))?;
        }
        Operation::RemoveVolume => {
            want(scene.client.run(&["volume", "create", "victim"]))?;
        }
        Operation::CreateMacvlan => {
            let wire = ["link", "add", "wire", "type", "veth", "peer", "name", "end"];
            want(scene.daemon.host().run("ip", &wire))?;
        }
        Operation::RemoveNetwork => {
            want(scene.client.run(&["network", "create", "a-net"]))?;
        }
        Operation::Connect | Operation::Disconnect => {
            want(scene.client.run(&["network", "create", "a-net"]))?;
            want(scene.client.run(&["run", "-d", "--name", "victim", "busybox", "sleep", "1000"]))?;
            if operation == Operation::Disconnect {
                want(scene.client.run(&["network", "connect", "a-net", "victim"]))?;
            }
        }
        Operation::FirstRun => {
            want(scene.client.run(&["rm", "-f", "bystander"]))?;
        }
        Operation::Forbidden => {
            want(scene.client.run(&["rm", "-f", "bystander"]))?;
            want(scene.daemon.host().run("iptables", &["-P", "FORWARD", "DROP"]))?;
        }
        Operation::Stop | Operation::Update => {
            let policy = ["--restart", "always", "busybox", "sleep", "100000"];
            want(scene.client.run(&[&["run", "-d", "--name", "victim"][..], &policy].concat()))?;
        }
        Operation::Unlink => {
            let linked = ["--link", "bystander:by", "busybox", "sleep", "1000"];
            want(scene.client.run(&[&["run", "-d", "--name", "victim"][..], &linked].concat()))?;
        }
        Operation::Commit => {
            want(scene.client.run(&["run", "-d", "--name", "victim", "busybox", "sleep", "1000"]))?;
        }
        _ => {}
    }
    let plugged = matches!(operation, Operation::CreatePlugged | Operation::Plugged);
    let plugin = plugged.then(|| {
        make_room(scene.daemon.host());
        Plugin::start(scene.daemon.host(), "vendor")
    });
    if operation == Operation::Plugged {
        want(scene.client.run(&CREATE_PLUGGED))?;
    }
    let registry = (operation == Operation::Pull).then(|| {
        let registry = Registry::start(scene.daemon.host(), 5000, Access::Plain);
        registry.copy(scene.daemon.host(), &format!("docker-archive:{archive}"), "extra:1", &[]);
        registry
    });
    let pulled = registry.as_ref().map(|r| r.image("extra:1")).unwrap_or_default();
    arm(&mut scene, point)?;
    let logged: Vec<&str> = match operation {
        Operation::Compressed => logged(&COMPRESSED),
        Operation::Foreign => logged(&["--runtime", "runc"]),
        _ => logged(&SHIPPED),
    };
    let command: &[&str] = match operation {
        Operation::Compressed | Operation::Shipped | Operation::Foreign => &logged,
        Operation::Run | Operation::FirstRun => &[
            "run",
            "-d",
            "--name",
            "victim",
            "-v",
            "/volume",
            "busybox",
            "sh",
            "-c",
            "sleep 0.5; exit 7",
        ],
        Operation::Forbidden => {
            &["run", "-d", "--name", "victim", "busybox", "sh", "-c", "sleep 0.5; exit 7"]
        }
        Operation::Publish => &[
            "run",
            "-d",
            "--name",
            "victim",
            "-p",
            "8080:80",
            "busybox",
            "sh",
            "-c",
            "sleep 0.5; exit 7",
        ],
        Operation::Judged => &[
            "run",
            "-d",
            "--name",
            "victim",
            "--egress",
            "allow:example.org:443,192.0.2.0/24",
            "busybox",
            "sh",
            "-c",
            "sleep 0.5; exit 7",
        ],
        Operation::Mapped => &[
            "run",
            "-d",
            "--name",
            "victim",
            "--userns=auto",
            "-v",
            "/volume",
            "busybox",
            "sh",
            "-c",
            "sleep 0.5; exit 7",
        ],
        Operation::Again => {
            &["run", "-d", "--name", "victim", "--restart", "on-failure:1", "busybox", "false"]
        }
        Operation::Stop => &["stop", "-t", "0", "victim"],
        Operation::Update => &["update", "--pids-limit", "77", "victim"],
        Operation::Remove => &["rm", "-v", "victim"],
        Operation::Load => &["load", "-q", "-i", &archive],
        Operation::Pull => &["pull", "-q", &pulled],
        Operation::RemoveImage => &["rmi", "extra"],
        Operation::CreateVolume => &["volume", "create", "victim"],
        Operation::RemoveVolume => &["volume", "rm", "victim"],
        Operation::CreateNetwork => &["network", "create", "a-net"],
        Operation::CreateMacvlan => {
            &["network", "create", "-d", "macvlan", "-o", "parent=wire", "a-net"]
        }
        Operation::CreatePlugged => &CREATE_PLUGGED,
        Operation::Plugged => {
            &["run", "-d", "--name", "victim", "--network", "a-net", "busybox", "sleep", "1000"]
        }
        Operation::RemoveNetwork => &["network", "rm", "a-net"],
        Operation::Connect => &["network", "connect", "a-net", "victim"],
        Operation::Disconnect => &["network", "disconnect", "a-net", "victim"],
        Operation::Unlink => &["rm", "--link", "victim/by"],
        Operation::Commit => &["commit", "victim", "made:1"],
    };
    let output = scene.client.run(command);
    // A point in the shim ends the shim; the daemon must notice by itself.
    let hit = if point.starts_with("shim.") {
        shim_died(&scene)
    } else {
        scene.daemon.ends_within(Duration::from_secs(5))
    };
    if !hit {
        return Err(format!("was not passed by {operation:?}\n{output}"));
    }
    // A point in the shim leaves the daemon alone; what follows is done by one in which nothing is armed.
    scene.recover();
    match operation {
        Operation::Run
        | Operation::Mapped
        | Operation::FirstRun
        | Operation::Compressed
        | Operation::Shipped
        | Operation::Publish
        | Operation::Judged
        | Operation::Forbidden
        | Operation::Foreign => {
            finish_run(&scene, point)?;
        }
        Operation::Again => finish_again(&scene)?,
        Operation::Stop | Operation::Update => finish_running(&scene)?,
        Operation::Remove => finish_remove(&scene)?,
        Operation::Load | Operation::RemoveImage => {
            finish_image(&scene, &["load", "-q", "-i", &archive], "extra")?;
        }
        Operation::Commit => finish_commit(&scene)?,
        Operation::Pull => finish_image(&scene, &["pull", "-q", &pulled], &pulled)?,
        Operation::CreateVolume | Operation::RemoveVolume => finish_volume(&scene)?,
        Operation::CreateNetwork | Operation::RemoveNetwork => finish_network(&scene)?,
        Operation::CreateMacvlan => {
            if scene.client.run(&["network", "inspect", "a-net"]).code != 0 {
                want(scene.client.run(command))?;
            }
            remove_network(&scene)?;
            want(scene.daemon.host().run("ip", &["link", "del", "wire"]))?;
        }
        Operation::CreatePlugged | Operation::Plugged => {
            let plugin = plugin.as_ref().ok_or("there is no plugin")?;
            finish_plugged(&scene, plugin)?;
            // As it was when the picture was taken.
            want(scene.daemon.host().run("umount", &["-l", "/run"]))?;
        }
        Operation::Connect => finish_connect(&scene, point)?,
        Operation::Disconnect => finish_disconnect(&scene)?,
        Operation::Unlink => finish_unlink(&scene, point)?,
    }
    drop(registry);
    if matches!(operation, Operation::FirstRun | Operation::Forbidden) {
        return Ok(());
    }
    // Once more through a restart: recovery leaves nothing to recover.
    scene.recover();
    scene.check().map_err(|e| format!("{e}\n{}", scene.daemon.log()))
}

/// It is there or it is not; either way it can be made, used and removed.
fn finish_volume(scene: &Scene) -> Result<(), String> {
    want(scene.client.run(&["volume", "create", "victim"]))?;
    want(scene.client.run(&["run", "--rm", "-v", "victim:/v", "busybox", "touch", "/v/x"]))?;
    want(scene.client.run(&["volume", "rm", "victim"])).map(drop)
}

/// It is there or it is not; either way it can be made, used and removed.
fn finish_network(scene: &Scene) -> Result<(), String> {
    let client = &scene.client;
    if client.run(&["network", "inspect", "a-net"]).code != 0 {
        want(client.run(&["network", "create", "a-net"]))?;
    }
    want(client.run(&["run", "--rm", "--network", "a-net", "busybox", "true"]))?;
    remove_network(scene)
}

/// The plugin has taken back what nobody owns, and the network can be used and removed.
fn finish_plugged(scene: &Scene, plugin: &Plugin) -> Result<(), String> {
    let client = &scene.client;
    client.run(&["rm", "-f", "victim"]);
    // The network's own is its pool's gateway.
    let has_network = client.run(&["network", "inspect", "a-net"]).code == 0;
    keeps(plugin, if has_network { [1, 0, 1, 1] } else { [0; 4] })?;
    if !has_network {
        want(client.run(&CREATE_PLUGGED))?;
    }
    want(client.run(&["run", "--rm", "--network", "a-net", "busybox", "true"]))?;
    keeps(plugin, [1, 0, 1, 1])?;
    remove_network(scene)?;
    keeps(plugin, [0; 4])
}

/// Waits until the plugin keeps this many networks, endpoints, pools and addresses, and no more.
fn keeps(plugin: &Plugin, wanted: [usize; 4]) -> Result<(), String> {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while plugin.keeps() != wanted {
        if std::time::Instant::now() > deadline {
            return Err(format!("the plugin keeps {:?}, not {wanted:?}", plugin.keeps()));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// The container is on the network or it is not, and its way out leads through one that it is on.
fn finish_connect(scene: &Scene, point: &str) -> Result<(), String> {
    let client = &scene.client;
    let connected = networks(scene)?.contains("a-net");
    // What was written down is done to its end.
    if connected == point.ends_with("before-record") {
        return Err(format!("connected: {connected}"));
    }
    let route = want(client.run(&["exec", "victim", "ip", "route"]))?;
    let links = route.stdout.lines().filter(|line| !line.starts_with("default")).count();
    let through = if connected { "dev eth1" } else { "dev eth0" };
    if links != 1 + usize::from(connected)
        || !route.stdout.lines().any(|l| l.starts_with("default") && l.contains(through))
    {
        return Err(format!("connected: {connected}, but {route}"));
    }
    if connected {
        want(client.run(&["network", "disconnect", "a-net", "victim"]))?;
    }
    want(client.run(&["network", "connect", "a-net", "victim"]))?;
    want(client.run(&["rm", "-f", "victim"]))?;
    remove_network(scene)
}

/// It has left the network, which can be removed.
fn finish_disconnect(scene: &Scene) -> Result<(), String> {
    if networks(scene)?.contains("a-net") {
        return Err("it is on the network still".to_owned());
    }
    let route = want(scene.client.run(&["exec", "victim", "ip", "route"]))?;
    if !route.stdout.contains("dev eth0") || route.stdout.contains("dev eth1") {
        return Err(route.to_string());
    }
    remove_network(scene)?;
    want(scene.client.run(&["rm", "-f", "victim"])).map(drop)
}

/// The link is there or it is not; either way it can be removed.
fn finish_unlink(scene: &Scene, point: &str) -> Result<(), String> {
    let client = &scene.client;
    let linked = client.run(&["inspect", "-f", "{{.Name}}", "victim/by"]).code == 0;
    if linked != point.ends_with("before-record") {
        return Err(format!("linked: {linked}"));
    }
    if linked {
        want(client.run(&["rm", "--link", "victim/by"]))?;
    }
    want(client.run(&["restart", "-t", "0", "victim"]))?;
    let hosts = want(client.run(&["exec", "victim", "cat", "/etc/hosts"]))?;
    if hosts.stdout.contains("\tby ") {
        return Err(hosts.to_string());
    }
    want(client.run(&["rm", "-f", "victim"])).map(drop)
}

fn networks(scene: &Scene) -> Result<String, String> {
    let format = "{{json .NetworkSettings.Networks}}";
    Ok(want(scene.client.run(&["inspect", "-f", format, "victim"]))?.stdout)
}

/// A container's link may be on its way out for some milliseconds, which is no reason to refuse.
fn remove_network(scene: &Scene) -> Result<(), String> {
    want(scene.client.run(&["network", "rm", "a-net"])).map(drop)
}

/// A run that writes, with options for its log.
fn logged<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let script = "seq 1 2000; sleep 0.5; exit 7";
    let (start, end) = (["run", "-d", "--name", "victim"], ["busybox", "sh", "-c", script]);
    [&start[..], options, &end].concat()
}

/// Starts the daemon anew with the point armed. One that is passed on the way up is hit there.
fn arm(scene: &mut Scene, point: &str) -> Result<(), String> {
    scene.daemon.stop();
    scene.daemon.launch(&[("GANTRY_FAILPOINTS".to_owned(), format!("{point}=kill"))]);
    let socket = scene.daemon.socket();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        if !scene.daemon.is_running() {
            return Ok(());
        }
        if std::time::Instant::now() > deadline {
            return Err("the armed daemon does not answer".to_owned());
        }
    }
    Ok(())
}

/// Whether the victim's shim is gone within the time.
fn shim_died(scene: &Scene) -> bool {
    let shims = || {
        scene
            .daemon
            .host()
            .processes()
            .iter()
            .filter(|(_, s, n)| n.starts_with("gantry-shim") && *s != 'Z')
            .count()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while shims() > 1 {
        if std::time::Instant::now() > deadline {
            return false;
        }
    }
    true
}

/// The container is there whole, or not at all; either way its name can be used.
fn finish_run(scene: &Scene, point: &str) -> Result<(), String> {
    let client = &scene.client;
    if scene.state("victim").is_some_and(|s| s.starts_with("running")) {
        let code = want(client.run(&["wait", "victim"]))?;
        // A shim that was killed before it wrote the exit down cannot tell it.
        let expected: &[&str] =
            if point == "shim.exit.before-record" { &["7", "137"] } else { &["7"] };
        if !expected.contains(&code.text()) {
            return Err(format!("exit code {}, not 7", code.text()));
        }
    }
    if let Some(state) = scene.state("victim") {
        want(client.run(&["logs", "victim"]))?;
        // What was made must also work.
        want(client.run(&["start", "victim"])).map_err(|e| format!("{state}, then {e}"))?;
        let code = want(client.run(&["wait", "victim"]))?;
        if code.text() != "7" && !point.starts_with("shim.") {
            return Err(format!("{state}, started again, exit code {}, not 7", code.text()));
        }
        want(client.run(&["rm", "-v", "victim"]))?;
    }
    want(client.run(&["run", "--name", "victim", "-v", "/volume", "busybox", "true"]))?;
    want(client.run(&["rm", "-v", "victim"])).map(drop)
}

/// The policy of a container that failed goes on where the daemon died, and counts on.
fn finish_again(scene: &Scene) -> Result<(), String> {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let format = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}";
    loop {
        let state = want(scene.client.run(&["inspect", "-f", format, "victim"]))?;
        if state.text() == "exited 1 1" {
            break;
        }
        if std::time::Instant::now() > deadline {
            return Err(format!("is {} and not given up after one more try", state.text()));
        }
    }
    want(scene.client.run(&["rm", "victim"])).map(drop)
}

/// A container that ran goes on, can be changed, and obeys.
fn finish_running(scene: &Scene) -> Result<(), String> {
    let client = &scene.client;
    want(client.run(&["update", "--pids-limit", "78", "victim"]))?;
    want(client.run(&["stop", "-t", "0", "victim"]))?;
    match scene.state("victim") {
        Some(state) if state == "exited 137" => {}
        state => return Err(format!("{state:?} after it was stopped")),
    }
    want(client.run(&["rm", "victim"])).map(drop)
}

/// The container runs on, not frozen, and can be committed.
fn finish_commit(scene: &Scene) -> Result<(), String> {
    let client = &scene.client;
    if !scene.state("victim").is_some_and(|s| s.starts_with("running")) {
        return Err(format!("the container is {:?}", scene.state("victim")));
    }
    want(client.run(&["commit", "victim", "made:1"]))?;
    want(client.run(&["run", "--rm", "made:1", "true"]))?;
    want(client.run(&["rm", "-f", "victim"]))?;
    want(client.run(&["rmi", "made:1"])).map(drop)
}

fn finish_remove(scene: &Scene) -> Result<(), String> {
    if scene.state("victim").is_some() {
        want(scene.client.run(&["rm", "-v", "victim"]))?;
    }
    want(scene.client.run(&["run", "--name", "victim", "busybox", "true"]))?;
    want(scene.client.run(&["rm", "victim"])).map(drop)
}

/// The image is there whole, or not at all; either way it can be got and removed.
fn finish_image(scene: &Scene, get: &[&str], name: &str) -> Result<(), String> {
    let client = &scene.client;
    if client.run(&["inspect", "--type", "image", name]).code == 0 {
        want(client.run(&["create", "--name", "victim", name, "/large"]))?;
        want(client.run(&["rm", "victim"]))?;
    }
    want(client.run(get))?;
    want(client.run(&["create", "--name", "victim", name, "/large"]))?;
    want(client.run(&["rm", "victim"]))?;
    want(client.run(&["rmi", name])).map(drop)
}
