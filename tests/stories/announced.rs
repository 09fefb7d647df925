//! Neighbours are told where the addresses of a container that has just come are.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use testkit::process::{PATIENCE, Running, eventually};
use testkit::{Client, Daemon, Host, need};

const COUNT: &str = "com.docker.network.advertise_addr_nmsgs";
const INTERVAL: &str = "com.docker.network.advertise_addr_ms";

/// Writes down what a bridge carries of announcements: when it arrived (the kernel says so: the reader may be late), the
/// address, the Ethernet address.
const LISTEN: &str = r#"
import socket, struct, sys
SO_TIMESTAMPNS = 35
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
s.bind((sys.argv[1], 0))
log = open(sys.argv[2], "w", buffering=1)
print("ready", file=log)
while True:
    f, ancillary, _, _ = s.recvmsg(2048, 256)
    address = None
    if f[12:14] == b"\x08\x06" and f[:6] == b"\xff" * 6 and f[20:22] == b"\0\x01" and f[28:32] == f[38:42]:
        address = socket.inet_ntoa(f[28:32])
    if f[12:14] == b"\x86\xdd" and f[20:22] == b"\x3a\xff" and f[54] == 136 and f[:6] == b"\x33\x33\0\0\0\x01":
        address = socket.inet_ntop(socket.AF_INET6, f[62:78])
    if address:
        arrived = [d for level, kind, d in ancillary if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS)]
        seconds, nanos = struct.unpack("ll", arrived[0])
        print(seconds * 1000 + nanos // 1000000, address, ":".join("%02x" % b for b in f[6:12]), file=log)
"#;

/// What was heard on a bridge since it began to listen.
struct Listener(PathBuf, #[expect(dead_code, reason = "it listens as long as it lives")] Running);

impl Listener {
    fn on(host: &Host, bridge: &str, folder: &Path) -> Self {
        let log = folder.join(format!("{bridge}.announced"));
        let mut python = host.command("python3");
        python.args(["-c", LISTEN, bridge]).arg(&log);
        let listener = Self(log, Running::start(python, None));
        eventually("it listens", PATIENCE, || listener.text().starts_with("ready"));
        listener
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }

    /// When it was said that the address is there, in milliseconds since 1970.
    fn times(&self, address: &str, mac: &str) -> Vec<u64> {
        let said = |line: &str| {
            let (time, what) = line.split_once(' ')?;
            (what == format!("{address} {mac}")).then(|| time.parse().unwrap())
        };
        self.text().lines().filter_map(said).collect()
    }
}

fn create(client: &Client, name: &str, subnet: u8, options: &[String]) {
    let (v4, v6) = (format!("10.{subnet}.0.0/24"), format!("fd{subnet}::/64"));
    let bridge = format!("com.docker.network.bridge.name={name}");
    let mut all =
        vec!["network", "create", "--ipv6", "--subnet", &v4, "--subnet", &v6, "-o", &bridge];
    all.extend(options.iter().flat_map(|option| ["-o", option.as_str()]));
    all.push(name);
    client.run(&all).ok();
}

fn run(client: &Client, name: &str, network: &str, more: &[&str]) {
    let run = ["run", "-d", "--name", name, "--network", network];
    client.run(&[&run[..], more, &["busybox", "sleep", "1000"]].concat()).ok();
}

#[test]
fn neighbours_forget_who_had_an_address_before() {
    need!(Root, Program("python3", "python3"));
    let daemon = Daemon::start();
    let (client, host) = (daemon.gantry(), daemon.host());
    let folder = tempfile::tempdir().unwrap();
    create(&client, "told", 66, &[format!("{INTERVAL}=150")]);
    create(&client, "silent", 67, &[format!("{COUNT}=0")]);
    let told = Listener::on(host, "told", folder.path());
    let silent = Listener::on(host, "silent", folder.path());

    // With an Ethernet address of its own choice, which the next one with its addresses does not have.
    let knows = |name: &str, net: u8, mac: &str| {
        let known = client.run(&["exec", name, "ip", "neigh"]).ok().stdout;
        [format!("10.{net}.0.9 "), format!("fd{net}::9 ")].iter().all(|address| {
            known.lines().any(|line| line.starts_with(address) && line.contains(mac))
        })
    };
    for (network, net) in [("told", 66), ("silent", 67)] {
        let (watcher, had, has) =
            (format!("{network}-watcher"), format!("{network}-had"), format!("{network}-has"));
        let (v4, v6) = (format!("10.{net}.0.9"), format!("fd{net}::9"));
        let at = |mac| ["--ip", &v4, "--ip6", &v6, "--mac-address", mac];
        run(&client, &watcher, network, &[]);
        run(&client, &had, network, &at("02:00:00:00:00:01"));
        for address in [&v4, &v6] {
            client.run(&["exec", &watcher, "ping", "-c", "1", "-W", "3", address]).ok();
        }
        assert!(knows(&watcher, net, "02:00:00:00:00:01"));
        client.run(&["rm", "-f", &had]).ok();
        run(&client, &has, network, &at("02:00:00:00:00:02"));
    }
    eventually("it has forgotten", PATIENCE, || knows("told-watcher", 66, "02:00:00:00:00:02"));

    // As often as was asked for, as far apart, and no more: whoever comes later has been told of three times, too.
    let fence = "02:42:0a:42:00:0a";
    run(&client, "fence", "told", &["--ip", "10.66.0.10"]);
    eventually("all were told", PATIENCE, || told.times("10.66.0.10", fence).len() == 3);
    for address in ["10.66.0.9", "fd66::9"] {
        let times = told.times(address, "02:00:00:00:00:02");
        // A millisecond less for a clock that is being set right.
        let apart: Vec<u64> = times.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(apart.len() == 2 && apart.iter().all(|apart| *apart >= 149), "{times:?}");
    }
    assert_eq!(silent.text(), "ready\n");
    assert!(knows("silent-watcher", 67, "02:00:00:00:00:01"), "it was told of the new one");

    // A container that connects is told of, and one that ends is not kept by what would still be said of it.
    create(&client, "slow", 68, &[format!("{INTERVAL}=2000")]);
    let slow = Listener::on(host, "slow", folder.path());
    client.run(&["network", "connect", "--ip", "10.68.0.9", "slow", "fence"]).ok();
    let mac = "02:42:0a:44:00:09";
    eventually("it is told", PATIENCE, || !slow.times("10.68.0.9", mac).is_empty());
    let ports = || host.run("ip", &["-o", "link", "show", "master", "slow"]).ok().stdout;
    assert_ne!(ports(), "");
    client.run(&["rm", "-f", "fence"]).ok();
    let (ended, answered) = (Instant::now(), SystemTime::now());
    eventually("the link is gone", PATIENCE, || ports().is_empty());
    assert!(ended.elapsed() < Duration::from_secs(3), "{:?}", ended.elapsed());
    // What the listener has heard of the next one came after all that was said of the one before.
    run(&client, "next", "slow", &["--ip", "10.68.0.10"]);
    let next = "02:42:0a:44:00:0a";
    eventually("the next is told", PATIENCE, || !slow.times("10.68.0.10", next).is_empty());
    let answered = answered.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let times = slow.times("10.68.0.9", mac);
    assert!(times.iter().all(|time| u128::from(*time) <= answered), "{answered}: {times:?}");

    for (option, text) in [
        (format!("{COUNT}=4"), "must be in the range 0 to 3"),
        (format!("{COUNT}=nonsense"), "\"nonsense\" must be an integer"),
        (format!("{INTERVAL}=99"), "must be in the range 100 to 2000"),
        (format!("{INTERVAL}=1s"), "\"1s\" must be integer milliseconds"),
    ] {
        let refused = client.run(&["network", "create", "-o", &option, "odd"]);
        refused.exits(1).says(text).says("com.docker.network.advertise_addr_");
        client.run(&["network", "inspect", "odd"]).exits(1);
    }
}
