//! The daemon's figures in Prometheus' text format, by dockerd's names.
//!
//! The format is a dozen lines to write; a library would keep a registry of its own beside the engine's counters.

use crate::convert::info::VERSION;
use engine::metrics::{BOUNDS, Distribution, Figures, Process};
use std::fmt::{Display, Write as _};

/// The answer's type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted, one sample a line.
pub(crate) fn text(figures: &Figures) -> String {
    let mut text = Text(String::with_capacity(16 << 10));
    containers(&mut text, figures);
    engine(&mut text, figures);
    health(&mut text, figures);
    text.head(
        "engine_daemon_host_info_functions_seconds",
        "histogram",
        "The number of seconds it takes to call functions gathering info about the host",
    );
    for (name, distribution) in &figures.host_functions {
        let label = ("function", *name);
        text.histogram("engine_daemon_host_info_functions_seconds", &[label], distribution);
    }
    process(&mut text, &figures.process);
    text.0
}

fn containers(text: &mut Text, figures: &Figures) {
    let actions = "engine_daemon_container_actions_seconds";
    text.head(
        actions,
        "histogram",
        "The number of seconds it takes to process each container action",
    );
    for (name, distribution) in &figures.actions {
        text.histogram(actions, &[("action", *name)], distribution);
    }
    let states = "engine_daemon_container_states_containers";
    text.head(states, "gauge", "The count of containers in various states");
    for (state, count) in figures.containers {
        text.sample(states, &[("state", state)], count);
    }
}

fn engine(text: &mut Text, figures: &Figures) {
    let host = &figures.host;
    text.one(
        "engine_daemon_engine_cpus_cpus",
        "gauge",
        "The number of cpus that the host system of the engine has",
        host.cpus,
    );
    let info = "engine_daemon_engine_info";
    text.head(info, "gauge", "The information related to the engine and the OS it is running on");
    let labels = [
        ("architecture", host.architecture.as_str()),
        ("commit", ""),
        ("daemon_id", &host.daemon_id),
        ("graphdriver", "overlay2"),
        ("kernel", &host.kernel),
        ("os", &host.os),
        ("os_type", "linux"),
        ("os_version", &host.os_version),
        ("version", VERSION),
    ];
    text.sample(info, &labels, 1);
    text.one(
        "engine_daemon_engine_memory_bytes",
        "gauge",
        "The number of bytes of memory that the host system of the engine has",
        host.memory,
    );
    text.one(
        "engine_daemon_events_subscribers_total",
        "gauge",
        "The number of current subscribers to events",
        figures.subscribers,
    );
    text.one(
        "engine_daemon_events_total",
        "counter",
        "The number of events logged",
        figures.events,
    );
}

fn health(text: &mut Text, figures: &Figures) {
    let launches = "engine_daemon_health_check_start_duration_seconds";
    text.head(
        launches,
        "histogram",
        "The number of seconds it takes to prepare to run health checks",
    );
    text.histogram(launches, &[], &figures.probe_launches);
    text.one(
        "engine_daemon_health_checks_failed_total",
        "counter",
        "The total number of failed health checks",
        figures.failed_probes,
    );
    text.one(
        "engine_daemon_health_checks_total",
        "counter",
        "The total number of health checks",
        figures.probes,
    );
}

/// What every client library of Prometheus tells of its process. What the kernel did not say is left out.
fn process(text: &mut Text, process: &Process) {
    let mut gauge = |name: &str, help: &str, value: Option<u64>| {
        if let Some(value) = value {
            text.one(name, "gauge", help, value);
        }
    };
    gauge("process_max_fds", "Maximum number of open file descriptors.", process.descriptors_limit);
    gauge(
        "process_open_fds",
        "Number of open file descriptors.",
        process.descriptors.and_then(|n| u64::try_from(n).ok()),
    );
    gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        process.resident_bytes,
    );
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", process.virtual_bytes);
    gauge(
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
        process.virtual_limit,
    );
    if let Some(seconds) = process.cpu_seconds {
        let help = "Total user and system CPU time spent in seconds.";
        text.one("process_cpu_seconds_total", "counter", help, seconds);
    }
    if let Some(seconds) = process.start_seconds {
        let help = "Start time of the process since unix epoch in seconds.";
        text.one("process_start_time_seconds", "gauge", help, seconds);
    }
    if let Some((received, sent)) = process.network {
        let help = "Number of bytes received by the process over the network.";
        text.one("process_network_receive_bytes_total", "counter", help, received);
        let help = "Number of bytes sent by the process over the network.";
        text.one("process_network_transmit_bytes_total", "counter", help, sent);
    }
}

/// The text so far. Writing to a `String` cannot fail, so results are dropped.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _written = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            let _written = write!(self.0, "{before}{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _written = writeln!(self.0, " {value}");
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], read: &Distribution) {
        let bucket = format!("{name}_bucket");
        let bounds = BOUNDS.iter().map(f64::to_string).zip(read.at_most);
        for (bound, count) in bounds.chain([("+Inf".to_owned(), read.count)]) {
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&bucket, &labels, count);
        }
        self.sample(&format!("{name}_sum"), labels, read.sum);
        self.sample(&format!("{name}_count"), labels, read.count);
    }
}

/// A label's value as it stands between quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_prometheus_text() {
        let mut text = Text(String::new());
        text.one("up", "gauge", "Whether.", 1);
        text.sample("x", &[("a", "say \"hi\"\n\\"), ("b", "")], 2.5);
        assert_eq!(
            text.0,
            "# HELP up Whether.\n# TYPE up gauge\nup 1\nx{a=\"say \\\"hi\\\"\\n\\\\\",b=\"\"} 2.5\n"
        );
    }

    #[test]
    fn histograms_end_with_everything() {
        let mut text = Text(String::new());
        let read = Distribution { at_most: [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2], count: 3, sum: 20.2 };
        text.histogram("h", &[("k", "v")], &read);
        let lines: Vec<&str> = text.0.lines().collect();
        assert_eq!(lines.len(), 14);
        assert_eq!(lines[0], "h_bucket{k=\"v\",le=\"0.005\"} 1");
        assert_eq!(lines[7], "h_bucket{k=\"v\",le=\"1\"} 2");
        assert_eq!(lines[11], "h_bucket{k=\"v\",le=\"+Inf\"} 3");
        assert_eq!(lines[12..], ["h_sum{k=\"v\"} 20.2", "h_count{k=\"v\"} 3"]);
    }
}
