//! HTTP by hand, for what no client would send.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; 0 when the connection was closed without one.
    pub status: u16,
    /// The head's lines after the first, in lower case up to the colon.
    pub headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub body: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The error message in Docker's shape.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Requires a status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// Sends a request with an optional JSON body and reads the answer to its end.
///
/// # Panics
/// When the daemon does not listen, or says nothing for ten seconds.
#[track_caller]
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Answer {
    let body = body.map(|b| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{b}", b.len())
    });
    let rest = body.unwrap_or_else(|| "Content-Length: 0\r\n\r\n".to_owned());
    raw(
        socket,
        format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{rest}")
            .as_bytes(),
    )
}

/// Sends these bytes and reads what comes until the end of the connection.
///
/// # Panics
/// When the daemon does not listen, or says nothing for ten seconds.
#[track_caller]
pub fn raw(socket: &Path, bytes: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).expect("connect to the daemon");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set a limit");
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("set a limit");
    // A daemon may refuse before it has read all; its answer counts, not our failed write.
    let _refused = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 65536];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(e) => panic!("no answer: {e}; so far {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    parse(&answer)
}

fn parse(bytes: &[u8]) -> Answer {
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let body = bytes.get(at + 4..).unwrap_or_default();
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).unwrap_or(0);
    let headers: Vec<(String, String)> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let chunked =
        headers.iter().any(|(n, v)| n == "transfer-encoding" && v.eq_ignore_ascii_case("chunked"));
    let body = if chunked { unchunk(body) } else { body.to_vec() };
    Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(at) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..at])
            .ok()
            .and_then(|s| usize::from_str_radix(s.trim(), 16).ok());
        let Some(size) = size.filter(|s| *s > 0) else { break };
        let end = (at + 2 + size).min(bytes.len());
        whole.extend_from_slice(&bytes[at + 2..end]);
        bytes = bytes.get(end + 2..).unwrap_or_default();
    }
    whole
}
