//! The API itself: how long one answer takes on a connection that is kept.

use super::Contest;
use super::figures::{Report, Row};
use super::host::Daemon;
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Containers in the list.
const COUNT: usize = 100;
/// Requests that one daemon answers before it is the other's turn.
const BLOCK: usize = 20;

/// A path, its short name, and the bar in milliseconds.
const PATHS: [(&str, &str, Option<f64>); 5] = [
    ("/_ping", "/_ping", None),
    ("/version", "/version", Some(0.1)),
    ("/containers/json?all=1", "/containers/json?all=1, 100 stopped", Some(1.0)),
    ("/images/json", "/images/json", None),
    ("/info", "/info", None),
];

pub(crate) fn api(contest: &Contest) -> Result<Report> {
    let daemons = contest.daemons()?;
    for daemon in &daemons {
        stopped_containers(daemon)?;
    }
    let mut connections = daemons.iter().map(Connection::open).collect::<Result<Vec<_>>>()?;
    let mut report = Report::default();
    for (path, name, bar) in PATHS {
        let mut samples = vec![Vec::new(); daemons.len()];
        for _ in 0..contest.rounds.div_ceil(BLOCK) {
            for (connection, samples) in connections.iter_mut().zip(&mut samples) {
                // The first answer of a block pays for caches that the other one has emptied.
                connection.get(path)?;
                for _ in 0..BLOCK {
                    let start = Instant::now();
                    connection.get(path)?;
                    samples.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        for (daemon, samples) in daemons.iter().zip(samples) {
            report.add([Row::new(format!("{name}: {}", daemon.name), "ms", samples)]);
        }
        let ours = format!("{name}: gantryd");
        if let Some(bar) = bar {
            report.at_most(&ours, bar);
        }
        report.ratio(&ours, &format!("{name}: dockerd"), None);
    }
    Ok(report)
}

/// Containers that ran and ended.
fn stopped_containers(daemon: &Daemon) -> Result<()> {
    let mut connection = Connection::open(daemon)?;
    let body = r#"{"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}}"#;
    for number in 0..COUNT {
        let made = connection.post(&format!("/containers/create?name=s{number}"), body)?;
        let made: serde_json::Value = serde_json::from_slice(&made).context("read an id")?;
        let id = made["Id"].as_str().context("no id in the answer")?.to_owned();
        connection.post(&format!("/containers/{id}/start"), "")?;
        connection.post(&format!("/containers/{id}/wait"), "")?;
    }
    Ok(())
}

/// A kept-alive HTTP/1.1 connection, as small as it can be.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// Bytes of the next answer that came with the last.
    buffer: Vec<u8>,
}

impl Connection {
    fn open(daemon: &Daemon) -> Result<Self> {
        let stream = UnixStream::connect(&daemon.socket)
            .with_context(|| format!("connect to {}", daemon.name))?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).context("set a timeout")?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n"))
    }

    fn post(&mut self, path: &str, body: &str) -> Result<Vec<u8>> {
        let length = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn ask(&mut self, request: &str) -> Result<Vec<u8>> {
        self.stream.write_all(request.as_bytes()).context("send a request")?;
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        self.buffer.drain(..end);
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let header = |name: &str| {
            head.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned())
        };
        let body = if let Some(length) = header("content-length:") {
            self.take(length.parse().context("a content length")?)?
        } else if header("transfer-encoding:").as_deref() == Some("chunked") {
            self.chunks()?
        } else {
            ensure!(status == "204" || status == "304", "an answer without a length: {head}");
            Vec::new()
        };
        if !status.starts_with('2') {
            bail!(
                "{}: {status} {}",
                request.lines().next().unwrap_or_default(),
                String::from_utf8_lossy(&body)
            );
        }
        Ok(body)
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                    break self.take(at + 2)?;
                }
                self.more()?;
            };
            let digits = String::from_utf8_lossy(&line).trim().to_owned();
            let size = usize::from_str_radix(&digits, 16).context("the size of a chunk")?;
            let chunk = self.take(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend(&chunk[..size]);
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.more()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn more(&mut self) -> Result<()> {
        let mut bytes = [0; 64 << 10];
        let n = self.stream.read(&mut bytes).context("read an answer")?;
        ensure!(n > 0, "the daemon closed the connection");
        self.buffer.extend(&bytes[..n]);
        Ok(())
    }
}
