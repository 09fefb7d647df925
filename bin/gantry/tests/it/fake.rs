//! A daemon of canned answers on a Unix socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is answered to a request whose method and path begin with a text.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// Status and JSON body. `$NOW-90` in it is the moment 90 seconds ago.
    Json(u16, String),
    /// An attached stream: what is sent at once, whether it is framed, and what ends it.
    Attach { sends: Vec<u8>, framed: bool, ends: Ends },
    /// The head at once, the body when the attached stream has ended.
    Wait(String),
    /// The connection is closed instead.
    Drop,
}

/// What ends an attached stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// It ends as soon as everything is sent.
    AtOnce,
    /// The end of input.
    WithInput,
    /// An `X` in the input.
    OnX,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// `POST /containers/create?name=x`, without the version.
    pub(super) line: String,
    /// The version in the path.
    pub(super) version: String,
    pub(super) body: String,
}

#[derive(Debug)]
pub(super) struct Fake {
    pub(super) socket: PathBuf,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    routes: Vec<(String, Answer)>,
    api_version: String,
    requests: Mutex<Vec<Request>>,
    input: Mutex<Vec<u8>>,
    finished: Mutex<bool>,
    changed: Condvar,
}

pub(super) const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

impl Fake {
    /// Answers by the first route that fits; paths begin behind the version.
    pub(super) fn start(directory: &Path, routes: Vec<(String, Answer)>) -> Self {
        Self::with_version(directory, "1.47", routes)
    }

    /// A daemon whose newest API version is `version`.
    pub(super) fn with_version(
        directory: &Path,
        version: &str,
        routes: Vec<(String, Answer)>,
    ) -> Self {
        let socket = directory.join("fake.sock");
        let _old = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(State {
            routes,
            api_version: version.to_owned(),
            requests: Mutex::default(),
            input: Mutex::default(),
            finished: Mutex::default(),
            changed: Condvar::new(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(&state, stream));
            }
        });
        Self { socket, state }
    }

    /// What came so far, without `/_ping`.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.state
            .requests
            .lock()
            .unwrap()
            .iter()
            .filter(|r| !r.line.ends_with("/_ping"))
            .cloned()
            .collect()
    }

    /// Everything that came.
    pub(super) fn all_requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// What attached clients sent.
    pub(super) fn input(&self) -> Vec<u8> {
        self.state.input.lock().unwrap().clone()
    }

    /// Waits until a request begins with `line`.
    pub(super) fn until(&self, line: &str) -> Request {
        let mut requests = self.state.requests.lock().unwrap();
        loop {
            if let Some(found) = requests.iter().find(|r| r.line.starts_with(line)) {
                return found.clone();
            }
            let (guard, timeout) =
                self.state.changed.wait_timeout(requests, Duration::from_secs(20)).unwrap();
            requests = guard;
            assert!(!timeout.timed_out(), "no request {line}: {requests:?}");
        }
    }
}

fn serve(state: &State, stream: UnixStream) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((request, upgrade)) = read_request(&mut reader) {
        let is_head = request.line.starts_with("HEAD");
        state.requests.lock().unwrap().push(request.clone());
        state.changed.notify_all();
        let too_new = || {
            let minor =
                |v: &str| v.split('.').nth(1).and_then(|m| m.parse::<u32>().ok()).unwrap_or(0);
            !request.version.is_empty() && minor(&request.version) > minor(&state.api_version)
        };
        let answer = if request.line.ends_with("/_ping") {
            Answer::Json(200, "OK".into())
        } else if too_new() {
            let text = format!(
                "client version {} is too new. Maximum supported API version is {}",
                request.version, state.api_version
            );
            Answer::Json(400, serde_json::json!({ "message": text }).to_string())
        } else {
            let found =
                state.routes.iter().find(|(prefix, _)| request.line.starts_with(prefix.as_str()));
            found.map_or_else(
                || Answer::Json(404, serde_json::json!({ "message": format!("no such thing: {}", path_of(&request.line)) }).to_string()),
                |(_, answer)| answer.clone(),
            )
        };
        let head = |status: u16, more: &str| {
            format!(
                "HTTP/1.1 {status} X\r\nApi-Version: {}\r\nOstype: linux\r\nDocker-Experimental: false\r\n{more}\r\n",
                state.api_version
            )
        };
        let sent = match answer {
            Answer::Drop => return,
            Answer::Json(204 | 304, _) => writer.write_all(head(204, "").as_bytes()),
            Answer::Json(status, body) => {
                let body = with_times(&body);
                let head = head(
                    status,
                    &format!(
                        "Content-Type: application/json\r\nContent-Length: {}\r\n",
                        body.len()
                    ),
                );
                writer
                    .write_all(head.as_bytes())
                    .and_then(|()| if is_head { Ok(()) } else { writer.write_all(body.as_bytes()) })
            }
            Answer::Wait(body) => {
                let head =
                    head(200, "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n");
                let sent = writer.write_all(head.as_bytes());
                let mut finished = state.finished.lock().unwrap();
                while !*finished {
                    let (guard, timeout) =
                        state.changed.wait_timeout(finished, Duration::from_secs(20)).unwrap();
                    finished = guard;
                    if timeout.timed_out() {
                        return;
                    }
                }
                sent.and_then(|()| write!(writer, "{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
            }
            Answer::Attach { sends, framed, ends } => {
                assert!(upgrade, "attached without Upgrade");
                attach(state, reader, writer, &sends, framed, ends);
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn attach(
    state: &State,
    mut reader: BufReader<UnixStream>,
    mut writer: UnixStream,
    sends: &[u8],
    framed: bool,
    ends: Ends,
) {
    let kind = if framed { "multiplexed" } else { "raw" };
    let head = format!(
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.{kind}-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    );
    if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(sends)).is_err() {
        return;
    }
    let mut buffer = [0; 4096];
    if ends != Ends::AtOnce {
        loop {
            let count = reader.read(&mut buffer).unwrap_or(0);
            state.input.lock().unwrap().extend_from_slice(&buffer[..count]);
            if count == 0 || (ends == Ends::OnX && buffer[..count].contains(&b'X')) {
                break;
            }
        }
    }
    // The container ended: its stream does, and whoever waits is told.
    let _gone = writer.shutdown(std::net::Shutdown::Write);
    *state.finished.lock().unwrap() = true;
    state.changed.notify_all();
    while reader.read(&mut buffer).unwrap_or(0) > 0 {}
}

fn read_request(reader: &mut BufReader<UnixStream>) -> Option<(Request, bool)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut chunked, mut upgrade) = (0, false, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        match header.split_once(": ")? {
            ("content-length", value) => length = value.parse().ok()?,
            ("transfer-encoding", "chunked") => chunked = true,
            ("upgrade", _) => upgrade = true,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if chunked {
        read_chunks(reader, &mut body)?;
    }
    let (version, path) = match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
        Some((version, rest)) if version.starts_with('1') => {
            (version.to_owned(), format!("/{rest}"))
        }
        _ => (String::new(), path),
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    Some((Request { line: format!("{method} {path}"), version, body }, upgrade))
}

fn read_chunks(reader: &mut BufReader<UnixStream>, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut piece = vec![0; size + 2];
        reader.read_exact(&mut piece).ok()?;
        if size == 0 {
            return Some(());
        }
        body.extend_from_slice(&piece[..size]);
    }
}

fn path_of(line: &str) -> &str {
    line.split_whitespace().nth(1).and_then(|p| p.split('?').next()).unwrap_or_default()
}

/// Replaces `$NOW-90` by seconds since 1970.
fn with_times(body: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut out = String::new();
    let mut rest = body;
    while let Some(at) = rest.find("$NOW-") {
        out.push_str(&rest[..at]);
        let digits = &rest[at + 5..];
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        out.push_str(&(now - digits[..end].parse::<u64>().unwrap()).to_string());
        rest = &digits[end..];
    }
    out + rest
}

/// A frame of output.
pub(super) fn frame(stream: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    frame.extend(content);
    frame
}
