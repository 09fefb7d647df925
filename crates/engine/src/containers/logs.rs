//! What a container has written, and what it writes on.

use crate::Engine;
use logging::driver::Format;
use logging::{Entry, Progress, Query, Reader, Stream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use stdx::time::Timestamp;
use stdx::{Context as _, Error, Result};
use store::records::container::ContainerRecord;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

/// What a client wants to read.
#[derive(Debug, Clone, Default)]
pub struct LogsRequest {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Go on while the container runs.
    pub follow: bool,
    /// Only records of this time or later.
    pub since: Option<Timestamp>,
    /// Only records of this time or earlier.
    pub until: Option<Timestamp>,
    /// Put each record's time before it.
    pub timestamps: bool,
    /// Only so many records from the end.
    pub tail: Option<u64>,
    /// Put each record's attributes before it.
    pub details: bool,
}

/// A log being read.
#[derive(Debug)]
pub struct Logs {
    /// The container has a terminal: chunks are raw; otherwise they are `stdcopy` frames.
    pub tty: bool,
    /// Chunks ready to be sent; the channel ends with the log.
    pub chunks: mpsc::Receiver<Result<Vec<u8>>>,
}

impl Engine {
    /// Reads a container's log. Dropping the result ends the reading; a slow client never holds the container up.
    pub async fn container_logs(&self, name: &str, request: LogsRequest) -> Result<Logs> {
        if !request.stdout && !request.stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        let container = self.inner.containers.find(name)?;
        let now = container.now();
        let (format, path) = log_file(self, &now.record)?;
        let tty = now.record.config.tty;
        let follow = request.follow && now.phase.is_running();
        let query = Query {
            tail: request.tail,
            since: request.since,
            until: request.until,
            follow,
            from: None,
        };
        let open = self.inner.logs.registry().opener();
        let reader = tokio::task::spawn_blocking(move || open(format, &path, query))
            .await
            .map_err(|e| Error::internal(e.to_string()))??;
        let (sender, chunks) = mpsc::channel(4);
        let published = container.follow();
        tokio::spawn(async move {
            if let Err(e) = pump(reader, &request, tty, follow, published, &sender).await {
                // The client may have gone.
                let _gone = sender.send(Err(e)).await;
            }
        });
        Ok(Logs { tty, chunks })
    }
}

/// Everything logged so far, as `attach` sends it first.
pub(crate) async fn all_logged(
    engine: &Engine,
    record: &ContainerRecord,
    stdout: bool,
    stderr: bool,
) -> Result<Vec<u8>> {
    let (format, path) = log_file(engine, record)?;
    let open = engine.inner.logs.registry().opener();
    let tty = record.config.tty;
    let request = LogsRequest { stdout, stderr, ..LogsRequest::default() };
    let read = move || -> Result<Vec<u8>> {
        let mut reader = open(format, &path, Query::default())?;
        let (mut bytes, mut entries) = (Vec::new(), Vec::new());
        while let Progress::More = reader.read_more(&mut entries)? {}
        entries.iter().for_each(|entry| write_entry(&mut bytes, entry, &request, tty));
        Ok(bytes)
    };
    tokio::task::spawn_blocking(read).await.map_err(|e| Error::internal(e.to_string()))?
}

fn log_file(engine: &Engine, record: &ContainerRecord) -> Result<(Format, PathBuf)> {
    engine
        .inner
        .logs
        .readable(record)
        .ok_or_else(|| Error::not_implemented("configured logging driver does not support reading"))
}

/// Reads and sends until the log is over, the container has ended or the client has gone.
async fn pump(
    mut reader: Box<dyn Reader>,
    request: &LogsRequest,
    tty: bool,
    follow: bool,
    mut published: watch::Receiver<container::Published>,
    sender: &mpsc::Sender<Result<Vec<u8>>>,
) -> Result<()> {
    #[allow(deprecated, reason = "an OwnedFd is what the successor's safety condition asks for")]
    let notices = reader
        .watch()
        .map(|fd| fd.try_clone_to_owned().and_then(AsyncFd::new))
        .transpose()
        .context(|| "watch the log")?;
    loop {
        // Looked at before reading: what is written before the end is read after it.
        let ended = !published.borrow_and_update().phase.is_running();
        loop {
            let (bytes, progress);
            (reader, bytes, progress) = read(reader, request.clone(), tty).await?;
            if !bytes.is_empty() && sender.send(Ok(bytes)).await.is_err() {
                return Ok(());
            }
            match progress {
                Progress::More => {}
                Progress::CaughtUp => break,
                Progress::Finished => return Ok(()),
            }
        }
        if !follow || ended {
            return Ok(());
        }
        tokio::select! {
            noticed = notice(notices.as_ref()) => noticed?,
            // The driver is gone with the container.
            changed = published.changed() => if changed.is_err() { return Ok(()) },
            () = sender.closed() => return Ok(()),
        }
    }
}

async fn notice(notices: Option<&AsyncFd<OwnedFd>>) -> Result<()> {
    match notices {
        Some(notices) => {
            let mut ready = notices.readable().await.context(|| "watch the log")?;
            // The reader takes the notice itself before it reads.
            ready.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}

/// One round of reading on a blocking thread.
async fn read(
    mut reader: Box<dyn Reader>,
    request: LogsRequest,
    tty: bool,
) -> Result<(Box<dyn Reader>, Vec<u8>, Progress)> {
    tokio::task::spawn_blocking(move || {
        let mut entries = Vec::new();
        reader.acknowledge();
        let progress = reader.read_more(&mut entries)?;
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| write_entry(&mut bytes, entry, &request, tty));
        Ok((reader, bytes, progress))
    })
    .await
    .map_err(|e| Error::internal(e.to_string()))?
}

/// Appends one record as a client gets it.
fn write_entry(bytes: &mut Vec<u8>, entry: &Entry, request: &LogsRequest, tty: bool) {
    let (wanted, stream) = match entry.stream {
        Stream::Stdout => (request.stdout, 1),
        Stream::Stderr => (request.stderr, 2),
    };
    if !wanted {
        return;
    }
    let start = bytes.len();
    if !tty {
        bytes.extend_from_slice(&[stream, 0, 0, 0, 0, 0, 0, 0]);
    }
    if request.timestamps {
        bytes.extend_from_slice(format!("{:#} ", entry.time).as_bytes());
    }
    if request.details {
        let attributes = entry.attributes.iter().flat_map(|a| a.iter());
        let pairs: Vec<String> = attributes
            .map(|(name, value)| format!("{}={}", query_escaped(name), query_escaped(value)))
            .collect();
        bytes.extend_from_slice(pairs.join(",").as_bytes());
        bytes.push(b' ');
    }
    bytes.extend_from_slice(&entry.line);
    if !entry.partial {
        bytes.push(b'\n');
    }
    if !tty {
        // A record is at most 16 KiB and some attributes: it fits.
        let length = u32::try_from(bytes.len() - start - 8).unwrap_or(u32::MAX);
        bytes[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
    }
}

/// Go's `url.QueryEscape`, which keeps what separates attributes out of them.
fn query_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str, partial: bool) -> Entry {
        Entry {
            stream: Stream::Stderr,
            time: Timestamp::from_unix(0, 0),
            line: line.as_bytes().to_vec(),
            partial,
            attributes: None,
        }
    }

    #[test]
    fn records_are_framed_unless_there_is_a_terminal() {
        let both = LogsRequest { stdout: true, stderr: true, ..LogsRequest::default() };
        let mut bytes = Vec::new();
        write_entry(&mut bytes, &entry("hi", false), &both, false);
        assert_eq!(bytes, b"\x02\0\0\0\0\0\0\x03hi\n");
        bytes.clear();
        write_entry(
            &mut bytes,
            &entry("hi", true),
            &LogsRequest { timestamps: true, ..both.clone() },
            true,
        );
        assert_eq!(bytes, b"1970-01-01T00:00:00.000000000Z hi");
        bytes.clear();
        let attributes = [("E1", "x"), ("tag", "a/b map[a:1 é]")];
        let own = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
        let detailed = Entry {
            attributes: Some(std::sync::Arc::new(attributes.into_iter().map(own).collect())),
            ..entry("hi", false)
        };
        let details = LogsRequest { details: true, ..both.clone() };
        write_entry(&mut bytes, &detailed, &details, true);
        assert_eq!(bytes, b"E1=x,tag=a%2Fb+map%5Ba%3A1+%C3%A9%5D hi\n");
        bytes.clear();
        write_entry(&mut bytes, &entry("hi", false), &LogsRequest { stderr: false, ..both }, false);
        assert!(bytes.is_empty());
    }
}
