//! Attach over a websocket, by a client of a few lines.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use testkit::process::{PATIENCE, eventually};
use testkit::{Daemon, http, need};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

struct Client(UnixStream);

impl Client {
    fn connect(daemon: &Daemon, path: &str) -> Self {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = "Host: docker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{head}").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
        assert!(
            answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{answer}"
        );
        Self(stream)
    }

    fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [1, 2, 3, 4];
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126);
        let mut frame = vec![0x80 | opcode, 0x80 | length];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
        self.0.write_all(&frame).unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).ok()?;
        assert!(head[0] & 0x80 != 0 && head[1] < 126, "{head:?}");
        let mut payload = vec![0; head[1].into()];
        self.0.read_exact(&mut payload).unwrap();
        Some((head[0] & 0x0f, payload))
    }

    /// Reads frames of this kind until their text is `wanted`.
    fn expect(&mut self, opcode: u8, wanted: &str) {
        let mut text = String::new();
        while text.len() < wanted.len() {
            let (kind, payload) = self.frame().expect("more output");
            assert_eq!(kind, opcode, "{payload:?}");
            text.push_str(&String::from_utf8_lossy(&payload));
        }
        assert_eq!(text, wanted);
    }
}

fn state(daemon: &Daemon, name: &str) -> String {
    daemon.gantry().run(&["inspect", "-f", "{{.State.Status}}", name]).ok().text().to_owned()
}

#[test]
fn a_websocket_carries_the_streams_of_a_container() {
    need!(Root);
    let daemon = Daemon::start();
    let gantry = daemon.gantry();
    gantry
        .run(&["run", "-d", "-i", "--name", "cat", "busybox", "sh", "-c", "cat; echo end >&2"])
        .ok();
    let path = |version: &str, name: &str, query: &str| {
        format!("/{version}/containers/{name}/attach/ws?stream=1{query}")
    };
    let all = "&stdin=1&stdout=1&stderr=1";
    let mut first = Client::connect(&daemon, &path("v1.45", "cat", all));
    first.send(TEXT, b"one\n");
    first.expect(BINARY, "one\n");
    first.send(PING, b"there?");
    first.expect(PONG, "there?");
    // A client may be told a moment before the log is.
    eventually("it is logged", PATIENCE, || {
        gantry.run(&["logs", "cat"]).ok().stdout.contains("one")
    });
    // Text frames before 1.28, all streams before 1.42, and what was logged when it is asked for.
    let mut second = Client::connect(&daemon, &path("v1.27", "cat", "&logs=1"));
    second.expect(TEXT, "one\n");
    second.send(BINARY, b"two\n");
    second.expect(TEXT, "two\n");
    first.expect(BINARY, "two\n");
    // Who leaves takes nobody along.
    second.send(CLOSE, &1000_u16.to_be_bytes());
    assert_eq!(second.frame(), Some((CLOSE, 1000_u16.to_be_bytes().to_vec())));
    assert_eq!(second.frame(), None);
    drop(second);
    assert_eq!(state(&daemon, "cat"), "running");
    let mut wrong = Client::connect(&daemon, &path("v1.45", "cat", all));
    wrong.0.write_all(&[0x81, 0x00, 0, 0, 0, 0]).unwrap();
    assert_eq!(wrong.frame(), Some((CLOSE, 1002_u16.to_be_bytes().to_vec())), "frames are masked");
    gantry.run(&["kill", "cat"]).ok();
    assert_eq!(first.frame(), Some((CLOSE, 1000_u16.to_be_bytes().to_vec())));
    assert_eq!(first.frame(), None);

    // Attached before the start, the end of input when the client says goodbye.
    gantry
        .run(&["create", "-i", "--name", "once", "busybox", "sh", "-c", "cat; echo end; exit 5"])
        .ok();
    let mut early = Client::connect(&daemon, &path("v1.45", "once", all));
    gantry.run(&["start", "once"]).ok();
    early.send(BINARY, b"typed\n");
    early.expect(BINARY, "typed\n");
    early.send(CLOSE, b"");
    eventually("the end of its input ends it", PATIENCE, || state(&daemon, "once") == "exited");
    assert!(gantry.run(&["logs", "once"]).ok().stdout.ends_with("end\n"));

    // A terminal has detach keys.
    gantry.run(&["run", "-d", "-i", "-t", "--name", "tty", "busybox", "cat"]).ok();
    let mut tty =
        Client::connect(&daemon, &path("v1.45", "tty", &format!("{all}&detachKeys=ctrl-x")));
    tty.send(BINARY, b"a\n");
    tty.expect(BINARY, "a\r\na\r\n");
    tty.send(BINARY, b"\x18");
    assert_eq!(tty.frame(), Some((CLOSE, 1000_u16.to_be_bytes().to_vec())));
    assert_eq!(state(&daemon, "tty"), "running");

    let plain = http::request(&daemon.socket(), "GET", &path("v1.45", "tty", all), None).is(400);
    assert_eq!(plain.body, "not websocket protocol");
    let unknown =
        http::request(&daemon.socket(), "GET", &path("v1.45", "nobody", all), None).is(404);
    assert_eq!(unknown.message(), "No such container: nobody");
    let keys =
        http::request(&daemon.socket(), "GET", &path("v1.45", "tty", "&detachKeys=ctrl-1"), None);
    assert_eq!(keys.is(400).message(), "Invalid detach keys (ctrl-1) provided");
    gantry.run(&["rm", "-f", "tty", "cat", "once"]).ok();
}
