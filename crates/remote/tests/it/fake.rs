//! A registry of threads that does what the test says, and remembers what it was asked.

use bytes::Bytes;
use futures_util::StreamExt as _;
use oci::image::Descriptor;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use types::{Digest, ImageRef};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// From which byte on.
    pub(crate) fn from(&self) -> usize {
        let range = self.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-'));
        range.and_then(|r| r.parse().ok()).unwrap_or(0)
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Hang up after so many bytes of the body.
    cut: Option<usize>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None }
    }

    /// An error as the specification has it.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body =
            serde_json::json!({"errors": [{"code": code, "message": message, "detail": null}]});
        Self::new(status, body.to_string()).header("content-type", "application/json")
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A server for as long as the process lives.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Plain HTTP on 127.0.0.1.
    pub(crate) fn new(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1".parse().unwrap(), None, handler)
    }

    pub(crate) fn on(
        ip: IpAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let log: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let handler: Arc<Handler> = Arc::new(handler);
        let remembered = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (handler, log, tls) =
                    (Arc::clone(&handler), Arc::clone(&remembered), tls.clone());
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    match tls {
                        None => serve(stream, &log, handler.as_ref()),
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).unwrap();
                            serve(
                                rustls::StreamOwned::new(session, stream),
                                &log,
                                handler.as_ref(),
                            );
                        }
                    }
                });
            }
        });
        Self { address, log }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// `path` on this server as an image reference.
    pub(crate) fn image(&self, path: &str) -> ImageRef {
        format!("{}/{path}", self.address).parse().unwrap()
    }
}

fn serve(stream: impl Read + Write, log: &Mutex<Vec<Asked>>, handler: &Handler) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream) {
        log.lock().unwrap().push(asked.clone());
        let answer = handler(&asked);
        if write(stream.get_mut(), &answer).is_err() || answer.cut.is_some() {
            return;
        }
    }
    // As a real server does for what is no HTTP, a TLS greeting for example.
    drop(stream.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
}

fn read(stream: &mut BufReader<impl Read>) -> Option<Asked> {
    let mut line = String::new();
    let mut next = |stream: &mut BufReader<_>| {
        line.clear();
        stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = next(stream)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let header = next(stream)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Asked { method, target, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn write(stream: &mut impl Write, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    if !answer.headers.iter().any(|(n, _)| n == "content-length") {
        head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if answer.cut != Some(0) || !answer.body.is_empty() {
        stream.write_all(head.as_bytes())?;
    }
    stream.write_all(
        &answer.body[..answer.cut.unwrap_or(answer.body.len()).min(answer.body.len())],
    )?;
    stream.flush()
}

/// Quick retries and no certificates of this host's.
pub(crate) fn config() -> remote::Config {
    remote::Config {
        certificates: Vec::new(),
        pause: Duration::from_millis(1),
        idle_timeout: Duration::from_secs(5),
        ..remote::Config::default()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let value = ring::digest::digest(&ring::digest::SHA256, bytes);
    Digest::from_sha256(value.as_ref().try_into().unwrap())
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: sha256(bytes),
        size: bytes.len() as u64,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
    }
}

/// Reads a whole blob.
pub(crate) async fn fetch(
    fetcher: &dyn content::Fetcher,
    image: &ImageRef,
    descriptor: &Descriptor,
) -> stdx::Result<Vec<u8>> {
    let all = async {
        let mut stream = fetcher.fetch(image, descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk: Bytes = chunk?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("the transfer hangs")
}

/// Not compressible, not periodic.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}
