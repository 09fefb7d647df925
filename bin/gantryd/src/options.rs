//! Every option of the daemon: dockerd's flags and `daemon.json` keys, and what becomes of each here.
//!
//! ```text
//! command line ── flags.rs ──┐
//!                            ├── given.rs (conflicts, types) ── config.rs (meaning) ── Settings, Bind, …
//! daemon.json ─── file.rs ───┘
//! ```
//! *Adding an option?* 1. its row here is [`Stage::Honoured`]; 2. a field and a line in `config.rs`; 3. its row in
//! `docs/compat.tsv`. Nothing else knows options: help, conflicts, types and refusals come from this table.

use crate::networks;
use crate::values as check;
use cli::flags::{Flag, Kind};

/// One option.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opt {
    /// On the command line; its name is empty when there is no flag.
    pub(crate) flag: Flag,
    /// In `daemon.json`; empty when it cannot be there.
    pub(crate) key: &'static str,
    /// What it takes.
    pub(crate) shape: Shape,
    /// Whether it is obeyed.
    pub(crate) stage: Stage,
}

/// What an option takes, in the file and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A boolean.
    Switch,
    /// A whole number.
    Int,
    /// A text.
    Text,
    /// Texts; the flag is given once for each.
    List,
    /// Texts by name; the flag takes `name=text`.
    Map,
    /// Booleans by name; the flag takes `name` or `name=bool`.
    Switches,
    /// Something of its own in the file, Go's type of it for errors; the flag takes texts.
    Json,
}

/// What becomes of an option that is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `config.rs` reads it.
    Honoured,
    /// Taken, with this told in the log.
    Meaningless(&'static str),
    /// Refused for this reason, unless it says what is so anyway.
    Refused {
        /// As the value is shown; empty for an option whose every value is refused.
        unless: &'static str,
        /// Why.
        why: &'static str,
    },
}

impl Opt {
    /// By what values are kept: the key, or the flag where there is no key.
    pub(crate) fn id(&self) -> &'static str {
        if self.key.is_empty() { self.flag.long } else { self.key }
    }

    const fn new(flag: &'static str, key: &'static str, kind: Kind, shape: Shape) -> Self {
        Self { flag: Flag::new(flag, kind, ""), key, shape, stage: Stage::Honoured }
    }

    const fn switch(name: &'static str, usage: &'static str) -> Self {
        Self::new(name, name, Kind::SWITCH, Shape::Switch).usage(usage)
    }

    const fn int(name: &'static str, usage: &'static str) -> Self {
        Self::new(name, name, Kind::INT, Shape::Int).usage(usage)
    }

    const fn text(name: &'static str, usage: &'static str) -> Self {
        Self::new(name, name, Kind::TEXT, Shape::Text).usage(usage)
    }

    const fn list(flag: &'static str, key: &'static str, usage: &'static str) -> Self {
        Self::new(flag, key, Kind::LIST, Shape::List).usage(usage)
    }

    /// A key without a flag.
    const fn key(key: &'static str, shape: Shape) -> Self {
        Self::new("", key, Kind::TEXT, shape)
    }

    const fn usage(mut self, usage: &'static str) -> Self {
        self.flag.usage = usage;
        self
    }

    const fn short(mut self, short: char) -> Self {
        self.flag.short = Some(short);
        self
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.flag.default = default;
        self
    }

    /// As help names what it takes, and what is wrong with a value.
    const fn takes(mut self, name: &'static str, check: fn(&str) -> Result<(), String>) -> Self {
        self.flag.kind = Kind { name, check };
        self
    }

    /// Not in the file, or under another name.
    const fn keyed(mut self, key: &'static str) -> Self {
        self.key = key;
        self
    }

    const fn shaped(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    const fn hidden(mut self) -> Self {
        self.flag.hidden = true;
        self
    }

    const fn meaningless(mut self, why: &'static str) -> Self {
        self.stage = Stage::Meaningless(why);
        self
    }

    const fn refused(self, why: &'static str) -> Self {
        self.refused_unless("", why)
    }

    const fn refused_unless(mut self, unless: &'static str, why: &'static str) -> Self {
        self.stage = Stage::Refused { unless, why };
        self
    }
}

const CONTAINERD: &str = "Gantry needs no containerd";
const SWARM: &str = "Swarm is not there yet";

/// All of them, in the order of `dockerd.md`'s chapters.
pub(crate) const OPTIONS: &[Opt] = &[
    // Sockets.
    Opt::list("host", "hosts", "Daemon socket(s) to connect to")
        .short('H')
        .takes("list", check::host),
    Opt::text("group", "Group for the unix socket").short('G').default("\"gantry\" or \"docker\""),
    Opt::switch(
        "tls",
        "Use TLS; implied by --tlsverify. With tcp:// hosts, --tls=false serves them in plain text",
    ),
    Opt::text("tlscacert", "Trust certs signed only by this CA").default("\"~/.docker/ca.pem\""),
    Opt::text("tlscert", "Path to TLS certificate file").default("\"~/.docker/cert.pem\""),
    Opt::text("tlskey", "Path to TLS key file").default("\"~/.docker/key.pem\""),
    Opt::switch("tlsverify", "Use TLS and verify the remote"),
    Opt::list("authorization-plugin", "authorization-plugins", "Authorization plugins to load")
        .refused("plugins are not there yet"),
    Opt::text("api-cors-header", "Set CORS headers in the Engine API")
        .refused("requests of web pages are never answered"),
    // The process.
    Opt::text("config-file", "Daemon configuration file").default("\"/etc/gantry/daemon.json\""),
    Opt::text("data-root", "Root directory of persistent state").default("\"/var/lib/gantry\""),
    Opt::text("exec-root", "Root directory for execution state files").default("\"/run/gantry\""),
    Opt::text("pidfile", "Path to use for daemon PID file").short('p'),
    Opt::switch("debug", "Enable debug mode").short('D'),
    Opt::switch("validate", "Validate daemon configuration and exit"),
    Opt::switch("version", "Print version information and quit").short('v').keyed(""),
    Opt::switch(
        "cleanup",
        "Remove everything that this daemon made on the host's network, and exit",
    )
    .keyed(""),
    Opt::int("shutdown-timeout", "Set the default shutdown timeout").default("15"),
    Opt::switch("live-restore", "Keep containers running when the daemon stops").default("true"),
    Opt::switch("experimental", "Enable experimental features"),
    Opt::new("feature", "features", Kind::TEXT, Shape::Switches)
        .usage("Enable feature in the daemon")
        .takes("map", check::feature),
    Opt::list("label", "labels", "Set key=value labels to the daemon").takes("list", check::label),
    Opt::switch("rootless", "Enable rootless mode; typically used with RootlessKit")
        .refused_unless("false", "rootless mode is not there yet"),
    // Runtimes.
    Opt::new("add-runtime", "runtimes", Kind::TEXT, Shape::Json)
        .usage("Register an additional OCI compatible runtime")
        .takes("runtime", check::runtime),
    Opt::text("default-runtime", "Default OCI runtime for containers").default("\"gantry\""),
    Opt::text("containerd", "containerd grpc address").meaningless(CONTAINERD),
    Opt::text("containerd-namespace", "Containerd namespace to use")
        .default("\"moby\"")
        .meaningless(CONTAINERD),
    Opt::text("containerd-plugins-namespace", "Containerd namespace to use for plugins")
        .default("\"plugins.moby\"")
        .keyed("containerd-plugin-namespace")
        .meaningless(CONTAINERD),
    Opt::switch("cri-containerd", "start containerd with cri").meaningless(CONTAINERD),
    Opt::switch("init", "Run an init in the container to forward signals and reap processes"),
    Opt::text("init-path", "Path to the init binary"),
    Opt::list("exec-opt", "exec-opts", "Runtime execution options"),
    Opt::list("cdi-spec-dir", "cdi-spec-dirs", "CDI specification directories to use"),
    Opt::list("node-generic-resource", "node-generic-resources", "Advertise user-defined resource")
        .takes("list", check::generic_resource)
        .meaningless(SWARM),
    // Defaults of containers.
    Opt::int("default-pids-limit", "Processes a container may have unless it says otherwise")
        .default("4096"),
    Opt::text(
        "default-cgroupns-mode",
        "Default mode for containers cgroup namespace (\"host\" | \"private\")",
    )
    .default("\"private\""),
    Opt::text("default-ipc-mode", "Default mode for containers ipc (\"shareable\" | \"private\")")
        .default("\"private\""),
    Opt::text("default-shm-size", "Default shm size for containers")
        .default("64MiB")
        .takes("bytes", check::bytes),
    Opt::new("default-ulimit", "default-ulimits", Kind::TEXT, Shape::Json)
        .usage("Default ulimits for containers")
        .takes("ulimit", cli::flags::check::ulimit),
    Opt::switch("no-new-privileges", "Set no-new-privileges by default for new containers"),
    Opt::text(
        "seccomp-profile",
        "Path to seccomp profile. Set to \"unconfined\" to disable the default seccomp profile",
    )
    .default("\"builtin\""),
    Opt::list(
        "default-cap-drop",
        "default-cap-drop",
        "Capabilities that containers do not have unless they ask for them",
    ),
    Opt::text("security-profile", "What containers may that do not say (\"default\" | \"strict\")")
        .default("\"default\""),
    Opt::switch("selinux-enabled", "Enable selinux support")
        .refused_unless("false", "SELinux is not there yet"),
    Opt::text("userns-remap", "User/Group setting for user namespaces"),
    Opt::text("cgroup-parent", "Set parent cgroup for all containers"),
    Opt::int(
        "cpu-rt-period",
        "Limit the CPU real-time period in microseconds for the parent cgroup for all containers",
    ),
    Opt::int(
        "cpu-rt-runtime",
        "Limit the CPU real-time runtime in microseconds for the parent cgroup for all containers",
    ),
    Opt::int("default-stop-timeout", "Set the default stop timeout of containers").default("10"),
    // Networks.
    Opt::text("bridge", "Attach containers to a network bridge").short('b'),
    Opt::text("bip", "Specify network bridge IP"),
    Opt::text("bip6", "Specify network bridge IPv6"),
    Opt::text("fixed-cidr", "IPv4 subnet for fixed IPs"),
    Opt::text("fixed-cidr-v6", "IPv6 subnet for fixed IPs"),
    Opt::text("default-gateway", "Container default gateway IPv4 address")
        .takes("ip", check::ip),
    Opt::text("default-gateway-v6", "Container default gateway IPv6 address")
        .takes("ip", check::ip),
    Opt::new("default-address-pool", "default-address-pools", Kind::TEXT, Shape::Json)
        .usage("Default address pools for node specific local networks")
        .takes("pool-options", networks::check_pool),
    Opt::new("default-network-opt", "default-network-opts", Kind::TEXT, Shape::Json)
        .usage("Default network options")
        .takes("mapmap", networks::check_option),
    Opt::list("dns", "dns", "DNS server to use").takes("ipSlice", check::dns),
    Opt::list("dns-opt", "dns-opts", "DNS options to use"),
    Opt::list("dns-search", "dns-search", "DNS search domains to use")
        .takes("list", cli::flags::check::dns_search),
    Opt::switch("icc", "Enable inter-container communication").default("true"),
    Opt::text("ip", "Default IP when binding container ports")
        .default("0.0.0.0")
        .takes("ip", check::ip),
    Opt::switch("ip-forward", "Enable net.ipv4.ip_forward").default("true"),
    Opt::switch(
        "ip-forward-no-drop",
        "Do not set the filter-FORWARD policy to DROP when enabling IP forwarding",
    ),
    Opt::switch("ip-masq", "Enable IP masquerading").default("true"),
    Opt::switch("iptables", "Enable addition of firewall rules").default("true"),
    Opt::switch("ip6tables", "Enable addition of IPv6 firewall rules").default("true"),
    Opt::switch("ipv6", "Enable IPv6 networking"),
    Opt::text("firewall-backend", "Firewall backend to use, iptables or nftables")
        .refused_unless("nftables", "rules are made in nf_tables alone"),
    Opt::switch(
        "allow-direct-routing",
        "Allow remote access to published ports on container IP addresses",
    ),
    Opt::text(
        "bridge-accept-fwmark",
        "In bridge networks, accept packets with this firewall mark/mask",
    ),
    Opt::int("mtu", "Set the MTU for the default \"bridge\" network")
        .default("1500"),
    Opt::int("network-control-plane-mtu", "Network Control plane MTU")
        .default("1500")
        .meaningless(SWARM),
    Opt::text(
        "publish-policy",
        "Who decides about published ports: nobody (\"open\") or the host's own input rules (\"host\")",
    )
    .default("\"open\""),
    Opt::switch("userland-proxy", "Use userland proxy for loopback traffic")
        .default("true")
        .meaningless("published ports need no proxy process"),
    Opt::text("userland-proxy-path", "Path to the userland proxy binary")
        .meaningless("published ports need no proxy process"),
    Opt::list(
        "host-gateway-ip",
        "host-gateway-ips",
        "IP addresses that 'host-gateway' in --add-host resolves to",
    )
    .takes("list", check::ip),
    Opt::text("network-diagnostic-port", "")
        .takes("int", cli::flags::check::int)
        .hidden()
        .keyed("network-diagnostic-port")
        .shaped(Shape::Int)
        .refused(SWARM),
    Opt::key("resolv-conf", Shape::Text),
    // Registries.
    Opt::list("insecure-registry", "insecure-registries", "Enable insecure registry communication"),
    Opt::list("registry-mirror", "registry-mirrors", "Preferred registry mirror")
        .takes("list", check::mirror),
    Opt::list(
        "allow-nondistributable-artifacts",
        "allow-nondistributable-artifacts",
        "Allow push of nondistributable artifacts to registry",
    )
    .meaningless("every layer is pushed"),
    Opt::int("max-concurrent-downloads", "Set the max concurrent downloads").default("3"),
    Opt::int("max-concurrent-uploads", "Set the max concurrent uploads").default("5"),
    Opt::int("max-download-attempts", "Set the max download attempts for each pull").default("5"),
    Opt::text("http-proxy", "HTTP proxy URL to use for outgoing traffic"),
    Opt::text("https-proxy", "HTTPS proxy URL to use for outgoing traffic"),
    Opt::text(
        "no-proxy",
        "Comma-separated list of hosts or IP addresses for which the proxy is skipped",
    ),
    // Storage.
    Opt::text("storage-driver", "Storage driver to use")
        .short('s')
        .refused_unless("overlay2", "overlay2 is the storage driver"),
    Opt::list("storage-opt", "storage-opts", "Storage driver options")
        .refused("the storage driver has no options yet"),
    // Logs and figures.
    Opt::text("log-driver", "Default driver for container logs").default("\"json-file\""),
    Opt::new("log-opt", "log-opts", Kind::TEXT, Shape::Map)
        .usage("Default log driver options for containers")
        .takes("map", cli::flags::check::anything),
    Opt::text("log-format", "Set the logging format (\"text\"|\"json\")").default("\"text\""),
    Opt::text(
        "log-level",
        "Set the logging level (\"debug\"|\"info\"|\"warn\"|\"error\"|\"fatal\")",
    )
    .short('l')
    .default("\"info\""),
    Opt::switch("raw-logs", "Full timestamps without ANSI coloring"),
    Opt::text("metrics-addr", "Set default address and port to serve the metrics api on"),
    // Swarm, builder, and what only the file has.
    Opt::text(
        "swarm-default-advertise-addr",
        "Set default address or interface for swarm advertised address",
    )
    .meaningless(SWARM),
    Opt::text("nri-opts", "").hidden().shaped(Shape::Json).refused("NRI plugins are not supported"),
    Opt::key("min-api-version", Shape::Text),
    Opt::key("builder", Shape::Json).meaningless("there is no builder yet"),
    Opt::key("swarm-raft-heartbeat-tick", Shape::Int).meaningless(SWARM),
    Opt::key("swarm-raft-election-tick", Shape::Int).meaningless(SWARM),
];

/// Keys whose own keys are options (`proxies`), and none else's.
pub(crate) const NESTED: &[(&str, &[&str])] =
    &[("proxies", &["http-proxy", "https-proxy", "no-proxy"])];

/// Other spellings of keys.
pub(crate) const KEY_ALIASES: &[(&str, &str)] =
    &[("host-gateway-ip", "host-gateway-ips"), ("default-init", "init")];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_stands_once() {
        let (mut flags, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for option in OPTIONS {
            assert!(option.flag.long.is_empty() || flags.insert(option.flag.long), "{option:?}");
            assert!(option.key.is_empty() || keys.insert(option.key), "{option:?}");
            assert!(!option.id().is_empty(), "{option:?}");
        }
    }
}
