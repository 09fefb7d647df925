//! How fast packets go: from container to container, and through a published port.

use super::Contest;
use super::figures::{Report, Turn, interleave};
use super::host::{Client, Host, wait_for};
use crate::test;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

const HAND: &str = "by hand";
/// The host as its neighbours know it.
const GATE: &str = "192.0.2.1";

/// Prints a process in a network namespace of its own, once it is there.
const PLACE: &str = r#"
place() {
    unshare --net sleep 100000 >/dev/null 2>&1 &
    while [ "$(readlink /proc/$!/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
    nsenter -t $! -n ip link set lo up
    echo $!
}
"#;

/// A neighbour of the host, on a link of its own.
const OUTSIDE: &str = r"
outside=$(place)
ip link add lan0 type veth peer name eth0 netns $outside
ip addr add 192.0.2.1/24 dev lan0
ip link set lan0 up
nsenter -t $outside -n sh -ec 'ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up'
echo $outside
";

/// The same bridge, links and rules as a person would make them.
const BRIDGE: &str = r"
server=$(place)
client=$(place)
ip link add br0 type bridge
ip addr add 10.99.0.1/24 dev br0
ip link set br0 up
number=2
for pid in $server $client; do
    ip link add port$number type veth peer name eth0 netns $pid
    ip link set port$number master br0 up
    nsenter -t $pid -n sh -ec 'ip addr add 10.99.0.'$number'/24 dev eth0; ip link set eth0 up; ip route add default via 10.99.0.1'
    number=$((number + 1))
done
echo 1 > /proc/sys/net/ipv4/ip_forward
nft -f - <<END
table ip hand {
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established,related accept
        oif br0 ct status dnat accept
        iif br0 accept
        drop
    }
    chain prerouting {
        type nat hook prerouting priority -100;
        fib daddr type local tcp dport 5201 dnat to 10.99.0.2:5201
    }
    chain postrouting {
        type nat hook postrouting priority 100;
        ip saddr 10.99.0.0/24 oif != br0 masquerade
    }
}
END
echo $server $client
";

/// A server, a client beside it and one outside, each in a network namespace of its own.
#[derive(Debug)]
struct Site<'a> {
    host: &'a Host,
    /// Processes, as the host numbers them.
    client: String,
    outside: String,
    /// The server's own address.
    server: String,
}

impl<'a> Site<'a> {
    /// Without any daemon.
    fn by_hand(host: &'a Host) -> Result<Self> {
        let pids = script(host, BRIDGE)?;
        let (server, client) = pids.split_once(' ').context("two processes were made")?;
        serve(host, server)?;
        let (client, outside) = (client.to_owned(), script(host, OUTSIDE)?);
        Ok(Self { host, client, outside, server: "10.99.0.2".into() })
    }

    /// Two containers on the default network.
    fn of(client: &Client, host: &'a Host) -> Result<Self> {
        for (name, more) in [("server", &["-p", "5201:5201"][..]), ("client", &[])] {
            let mut args = vec!["run", "-d", "--name", name];
            args.extend(more);
            args.extend(["busybox", "sleep", "100000"]);
            client.quiet(&args)?;
        }
        serve(host, &ask(client, "server", "{{.State.Pid}}")?)?;
        Ok(Self {
            host,
            client: ask(client, "client", "{{.State.Pid}}")?,
            outside: script(host, OUTSIDE)?,
            server: ask(client, "server", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?,
        })
    }

    /// Gbit/s that arrive within a second.
    fn throughput(&self, from: &str, to: &str) -> Result<f64> {
        let output = inside(self.host, from, &["iperf3", "-c", to, "-t", "1", "-J"]).output()?;
        let said: Value = serde_json::from_slice(&output.stdout).context("read iperf3's JSON")?;
        let bits = said["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(bits.with_context(|| format!("iperf3 to {to}: {}", said["error"]))? / 1e9)
    }

    fn turn(&self) -> Result<Vec<f64>> {
        let beside = self.throughput(&self.client, &self.server)?;
        Ok(vec![beside, self.throughput(&self.outside, GATE)?])
    }
}

/// Throughput of iperf3, of the same links made by hand and of every daemon.
pub(crate) fn traffic(contest: &Contest) -> Result<Report> {
    let missing = test::install(&[("iperf3", "iperf3"), ("nft", "nftables"), ("ip", "iproute2")]);
    ensure!(missing.is_empty(), "{}", missing.join("; "));
    let hand = Host::start()?;
    let daemons = contest.daemons()?;
    let mut sites = vec![(HAND.to_owned(), Site::by_hand(&hand)?)];
    for daemon in &daemons {
        let client = contest.client(daemon)?;
        sites.push((daemon.name.to_owned(), Site::of(&client, daemon.host())?));
    }
    let contestants: Vec<(String, Turn<'_>)> = sites
        .iter()
        .map(|(name, site)| -> (String, Turn<'_>) { (name.clone(), Box::new(|| site.turn())) })
        .collect();
    let columns = [("beside", "Gbit/s"), ("published", "Gbit/s")];
    let mut report = Report::default();
    report.add(interleave(contest.rounds, Duration::from_millis(50), &columns, contestants));
    for way in ["beside", "published"] {
        // By what is lost, so that a smaller figure is the better one.
        report.ratio(&format!("{way}: {HAND}"), &format!("{way}: gantryd"), Some(1.0 / 0.9));
        report.ratio(&format!("{way}: dockerd"), &format!("{way}: gantryd"), Some(1.0));
    }
    Ok(report)
}

/// A field of a container.
fn ask(client: &Client, name: &str, format: &str) -> Result<String> {
    let output =
        client.command(&["inspect", "-f", format, name]).stdout(Stdio::piped()).output()?;
    ensure!(output.status.success(), "inspect {name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A command in the network namespace of one of the host's processes.
fn inside(host: &Host, pid: &str, args: &[&str]) -> Command {
    let mut command = host.command("nsenter");
    command.args(["-t", pid, "-n"]).args(args).stdin(Stdio::null());
    command
}

/// Runs a server there until the host ends.
fn serve(host: &Host, pid: &str) -> Result<()> {
    let started = inside(host, pid, &["iperf3", "-s", "-D"]).status().context("run iperf3")?;
    ensure!(started.success(), "iperf3 -s: {started}");
    wait_for("iperf3", || {
        let asked = inside(host, pid, &["iperf3", "-c", "127.0.0.1", "-n", "1K"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success()).then_some(())
    })
}

/// What a script prints that runs on the host.
fn script(host: &Host, text: &str) -> Result<String> {
    let output = host.command("sh").args(["-ec", &format!("{PLACE}{text}")]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
