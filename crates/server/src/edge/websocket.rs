//! Attach over a websocket (RFC 6455): the handshake, the frames, and a container's streams in them.
//!
//! No extensions, no fragments of our own; a server's half of the protocol is a state machine over a few bytes of
//! header, so there is no crate for it. As with dockerd the output is raw, standard error among it, and messages have
//! no meaning: what a client sends is input as it comes.

use super::conn::Raw;
use super::detach::DetachKeys;
use super::pump::{End, Streams};
use super::socket::Socket;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use rustix::net::Shutdown;
use tokio::sync::Mutex;

/// What RFC 6455 section 4.2.2 has every server append to a client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Large enough that a container's bulk output costs few wake-ups.
const BUFFER: usize = 64 * 1024;
/// The longest control frame.
const CONTROL: usize = 125;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A normal end, and a broken rule of the protocol.
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;

/// The head that accepts a client; otherwise why not, in the words of Go's library.
pub(crate) fn handshake(headers: &HeaderMap) -> Result<String, &'static str> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let has = |name, word: &str| {
        text(name).is_some_and(|all| all.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err("not websocket protocol");
    }
    if text(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err("missing or bad WebSocket Version");
    }
    let key = text(header::SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty());
    let key = key.ok_or("mismatch challenge/response")?;
    let digest = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{GUID}").as_bytes(),
    );
    let protocol = match text(header::SEC_WEBSOCKET_PROTOCOL) {
        // A client that names one expects it back.
        Some(one) if !one.contains(',') => format!("Sec-WebSocket-Protocol: {one}\r\n"),
        Some(_) => return Err("bad websocket protocol"),
        None => String::new(),
    };
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\
         {protocol}\r\n",
        STANDARD.encode(digest)
    ))
}

/// What the frames of a session are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Output goes out in binary frames, otherwise in text frames.
    pub(crate) binary: bool,
    /// What the shim and the log give is in `stdcopy` frames, which no websocket client gets.
    pub(crate) multiplexed: bool,
}

/// Sends `head`, then carries bytes until one side ends. The caller closes the connection then.
pub(crate) async fn run(raw: Raw, head: String, streams: Streams, shape: Shape) -> End {
    let Raw { socket, early } = raw;
    let Streams { history, shim, stdin, detach } = streams;
    if socket.write_all(head.as_bytes()).await.is_err() {
        return End::Client;
    }
    let client = Client { socket: &socket, writing: Mutex::new(()), shape };
    let mut output = Output { demultiplexer: Demultiplexer::default(), client: &client };
    if output.send(&history).await.is_err() {
        return End::Client;
    }
    let Some(shim) = shim else {
        client.close(NORMAL).await;
        return End::Output;
    };
    let shim = Socket::Unix(shim);
    let end = tokio::select! {
        // Output first: a container's last words count more than input that nobody reads any more.
        biased;
        end = output.carry(&shim) => end,
        end = input(&client, &early, &shim, stdin, detach) => end,
    };
    if end != End::Client {
        client.close(NORMAL).await;
    }
    end
}

/// The client's end; frames are written whole, one after the other.
struct Client<'a> {
    socket: &'a Socket,
    writing: Mutex<()>,
    shape: Shape,
}

impl Client<'_> {
    async fn send(&self, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
        let head = frame_head(opcode, payload.len());
        let _turn = self.writing.lock().await;
        self.socket.write_all(&head).await?;
        self.socket.write_all(payload).await
    }

    /// Says why there will be nothing more. Nobody waits for the answer.
    async fn close(&self, code: u16) {
        let _gone = self.send(CLOSE, &code.to_be_bytes()).await;
    }
}

struct Output<'a> {
    demultiplexer: Demultiplexer,
    client: &'a Client<'a>,
}

impl Output<'_> {
    async fn send(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        let opcode = if self.client.shape.binary { BINARY } else { TEXT };
        if !self.client.shape.multiplexed {
            return match bytes {
                [] => Ok(()),
                bytes => self.client.send(opcode, bytes).await,
            };
        }
        while let Some(payload) = self.demultiplexer.take(&mut bytes) {
            self.client.send(opcode, payload).await?;
        }
        Ok(())
    }

    async fn carry(&mut self, shim: &Socket) -> End {
        let mut buffer = vec![0; BUFFER];
        loop {
            match shim.read(&mut buffer).await {
                // An error: the shim died, and what it wrote has been read.
                Ok(0) | Err(_) => return End::Output,
                Ok(n) => {
                    if self.send(&buffer[..n]).await.is_err() {
                        return End::Client;
                    }
                }
            }
        }
    }
}

async fn input(
    client: &Client<'_>,
    early: &[u8],
    shim: &Socket,
    wanted: bool,
    mut detach: Option<DetachKeys>,
) -> End {
    let mut decoder = Decoder::default();
    let size = if wanted { BUFFER } else { 512 };
    let mut buffer = vec![0; size];
    let mut checked = Vec::new();
    let mut open = wanted;
    let mut early = Some(early).filter(|early| !early.is_empty());
    loop {
        let n = match early.take() {
            Some(early) => {
                buffer.clear();
                buffer.extend_from_slice(early);
                early.len()
            }
            None => match client.socket.read(&mut buffer).await {
                Ok(0) | Err(_) => return End::Client,
                Ok(n) => n,
            },
        };
        let mut bytes = &mut buffer[..n];
        loop {
            let (event, rest) = decoder.take(bytes);
            bytes = rest;
            match event {
                Event::Nothing => break,
                Event::Data(data) => {
                    let (data, detached) = match &mut detach {
                        Some(keys) => {
                            checked.clear();
                            let detached = keys.scan(data, &mut checked);
                            (&checked[..], detached)
                        }
                        None => (data, false),
                    };
                    // A container that closed its input is no reason to stop; detach keys are still looked for.
                    open = open && shim.write_all(data).await.is_ok();
                    if wanted && detached {
                        return End::Detached;
                    }
                }
                Event::Ping(payload) => {
                    if client.send(PONG, &payload).await.is_err() {
                        return End::Client;
                    }
                }
                Event::Close => {
                    if open {
                        let rest = detach.as_mut().map(DetachKeys::rest).unwrap_or_default();
                        let _closed = shim.write_all(&rest).await;
                        shim.shutdown(Shutdown::Write);
                    }
                    client.close(NORMAL).await;
                    return End::Client;
                }
                Event::Wrong => {
                    client.close(PROTOCOL_ERROR).await;
                    return End::Client;
                }
            }
        }
        buffer.resize(size, 0);
    }
}

/// The head of a frame of ours: whole, not masked.
fn frame_head(opcode: u8, length: usize) -> Vec<u8> {
    let mut head = vec![0x80 | opcode];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if length <= CONTROL => head.push(short),
        (_, Ok(medium)) => {
            head.push(126);
            head.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head
}

/// What a client's bytes are.
#[derive(Debug, PartialEq, Eq)]
enum Event<'b> {
    /// All bytes are taken.
    Nothing,
    /// A piece of a message, unmasked.
    Data(&'b [u8]),
    Ping(Vec<u8>),
    Close,
    /// A rule of the protocol is broken.
    Wrong,
}

/// Takes a client's frames apart as they come; of a message nothing is kept, of a control frame 125 bytes.
#[derive(Debug, Default)]
struct Decoder {
    head: Vec<u8>,
    frame: Option<Frame>,
    /// A message has begun and not ended.
    in_message: bool,
}

#[derive(Debug)]
struct Frame {
    opcode: u8,
    mask: [u8; 4],
    left: u64,
    /// How far the mask is.
    at: usize,
    /// Of a control frame: what has come.
    control: Vec<u8>,
}

impl Decoder {
    /// Takes the first event and leaves the rest.
    fn take<'b>(&mut self, mut bytes: &'b mut [u8]) -> (Event<'b>, &'b mut [u8]) {
        loop {
            let Some(frame) = &mut self.frame else {
                match self.head(bytes) {
                    Head::Whole(taken) => {
                        bytes = &mut bytes[taken..];
                        continue;
                    }
                    Head::Part => return (Event::Nothing, &mut []),
                    Head::Wrong => return (Event::Wrong, &mut []),
                }
            };
            let part = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at_mut(part);
            for byte in &mut *piece {
                *byte ^= frame.mask[frame.at];
                frame.at = (frame.at + 1) % 4;
            }
            frame.left -= part as u64;
            let (opcode, is_whole) = (frame.opcode, frame.left == 0);
            if opcode >= CLOSE {
                frame.control.extend_from_slice(piece);
            }
            let control = std::mem::take(&mut frame.control);
            if is_whole {
                self.frame = None;
            } else {
                frame.control = control.clone();
            }
            match opcode {
                CLOSE if is_whole => return (Event::Close, rest),
                PING if is_whole => return (Event::Ping(control), rest),
                CLOSE.. => {}
                _ if !piece.is_empty() => return (Event::Data(piece), rest),
                _ => {}
            }
            if rest.is_empty() && !is_whole {
                return (Event::Nothing, rest);
            }
            bytes = rest;
        }
    }

    /// Reads on in a frame's head.
    fn head(&mut self, bytes: &[u8]) -> Head {
        for (taken, byte) in bytes.iter().enumerate() {
            self.head.push(*byte);
            let extra = match self.head.get(1).map(|length| length & 0x7f) {
                None => continue,
                Some(126) => 2,
                Some(127) => 8,
                Some(_) => 0,
            };
            if self.head.len() < 2 + extra + 4 {
                continue;
            }
            let head = std::mem::take(&mut self.head);
            return match self.begin(&head, extra) {
                Some(frame) => {
                    self.frame = Some(frame);
                    Head::Whole(taken + 1)
                }
                None => Head::Wrong,
            };
        }
        Head::Part
    }

    /// A frame by its head; `None`: it must not be.
    fn begin(&mut self, head: &[u8], extra: usize) -> Option<Frame> {
        let (is_last, reserved, opcode) = (head[0] & 0x80 != 0, head[0] & 0x70, head[0] & 0x0f);
        let is_masked = head[1] & 0x80 != 0;
        let long = head[2..2 + extra].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        let left = if extra == 0 { u64::from(head[1] & 0x7f) } else { long };
        let mask = head[2 + extra..].try_into().ok()?;
        // Clients mask, extensions were not agreed on, and the highest bit of a length is not used.
        if !is_masked || reserved != 0 || left > u64::MAX >> 1 {
            return None;
        }
        match opcode {
            0 if !self.in_message => return None,
            TEXT | BINARY if self.in_message => return None,
            0 | TEXT | BINARY => self.in_message = !is_last,
            CLOSE | PING | PONG if is_last && left <= CONTROL as u64 => {}
            _ => return None,
        }
        Some(Frame { opcode, mask, left, at: 0, control: Vec::new() })
    }
}

enum Head {
    /// The frame's payload follows after so many bytes.
    Whole(usize),
    Part,
    Wrong,
}

/// Takes the `stdcopy` frames off a stream: one byte for the stream, three zeros, a length, the bytes.
#[derive(Debug, Default)]
struct Demultiplexer {
    head: Vec<u8>,
    left: usize,
}

impl Demultiplexer {
    /// The next piece of what is in the frames; `None` when `bytes` are used up.
    fn take<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
        loop {
            if bytes.is_empty() {
                return None;
            }
            if self.left > 0 {
                let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= piece.len();
                *bytes = rest;
                return Some(piece);
            }
            let (part, rest) = bytes.split_at((8 - self.head.len()).min(bytes.len()));
            self.head.extend_from_slice(part);
            *bytes = rest;
            if let [_, _, _, _, a, b, c, d] = self.head[..] {
                self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                self.head.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests;
