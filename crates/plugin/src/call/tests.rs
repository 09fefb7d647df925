//! Plugins that behave and plugins that do not.

#![allow(clippy::disallowed_methods, reason = "a plugin that is slow is one of the cases")]

use super::*;
use serde_json::{Value, json};
use std::io::Read as _;
use std::os::unix::net::{UnixListener, UnixStream};

const SHORT: Duration = Duration::from_millis(300);

/// A plugin that answers activation properly and everything else with `answer`.
fn plugin(answer: impl Fn(&mut UnixStream) + Send + 'static) -> (tempfile::TempDir, Folders) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("p.sock")).unwrap();
    let folders = Folders { sockets: folder.path().to_owned(), specs: Vec::new() };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let n = stream.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..n]).into_owned();
            if asked.starts_with("POST /Plugin.Activate ") {
                say(&mut stream, 200, r#"{"Implements":["NetworkDriver"]}"#);
            } else {
                answer(&mut stream);
            }
        }
    });
    (folder, folders)
}

/// The other end may have hung up: that is its right.
fn say(stream: &mut UnixStream, status: u16, body: &str) {
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let _heard = stream.write_all(text.as_bytes());
}

fn ask(answer: impl Fn(&mut UnixStream) + Send + 'static) -> Result<Value, Failure> {
    let (_folder, folders) = plugin(answer);
    let plugin = Plugin::activate_within(&folders, "p", SHORT).unwrap();
    assert!(plugin.implements("NetworkDriver") && !plugin.implements("IpamDriver"));
    plugin
        .call::<std::collections::BTreeMap<String, u32>>("X.Do", &json!({"A": 1}))
        .map(|v| json!(v))
}

#[test]
fn a_good_answer() {
    assert_eq!(ask(|s| say(s, 200, r#"{"n":1}"#)).unwrap(), json!({"n":1}));
    assert_eq!(ask(|s| say(s, 200, "\n")).unwrap(), json!({}));
}

#[test]
fn every_bad_answer_names_the_plugin_and_the_call_and_comes_in_time() {
    let began = Instant::now();
    let drip = |s: &mut UnixStream| {
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".iter().cycle().take(2000) {
            if s.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let endless = |s: &mut UnixStream| {
        let _heard = s.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while s.write_all(&[b' '; 65536]).is_ok() {}
    };
    let silent = |s: &mut UnixStream| {
        let _end = s.read_to_end(&mut Vec::new());
    };
    type Answer = Box<dyn Fn(&mut UnixStream) + Send>;
    let cases: Vec<(Answer, &str)> = vec![
        (Box::new(|s| say(s, 500, r#"{"Err":"no more bridges"}"#)), "no more bridges"),
        (Box::new(|s| say(s, 200, r#"{"Err":"no"}"#)), "no"),
        (Box::new(|s| say(s, 500, "oh \u{1b}[31mdear\n")), "status 500: oh  [31mdear"),
        (Box::new(|s| say(s, 404, "")), "status 404: "),
        (Box::new(|s| say(s, 200, "{")), "its answer cannot be read: "),
        (Box::new(|s| say(s, 200, r#"{"n":"x"}"#)), "its answer cannot be read: "),
        (Box::new(|s| say(s, 200, "[]")), "its answer cannot be read: "),
        (Box::new(|s| say(s, 200, &"[".repeat(100_000))), "its answer cannot be read: "),
        (Box::new(|_| {}), "its answer ends in its head"),
        (Box::new(|s| drop(s.write_all(b"\x16\x03\x01"))), "its answer is no HTTP"),
        (Box::new(endless), "its answer is larger than 1048576 bytes"),
        (Box::new(drip), "no answer within 0 seconds"),
        (Box::new(silent), "no answer within 0 seconds"),
    ];
    let count = u32::try_from(cases.len()).unwrap();
    for (answer, want) in cases {
        let failure = ask(answer).unwrap_err();
        let text = failure.to_string();
        assert!(text.starts_with(&format!("plugin \"p\": X.Do: {want}")), "{text} / {want}");
        assert!(text.len() < 600, "{text}");
    }
    assert!(began.elapsed() < SHORT * count * 3);
}

#[test]
fn who_is_not_there_or_accepts_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let folders = Folders { sockets: folder.path().to_owned(), specs: Vec::new() };
    let activate = |name| Plugin::activate_within(&folders, name, SHORT).unwrap_err();
    let missing = activate("p");
    assert_eq!(missing.to_string(), "plugin \"p\" not found");
    assert_eq!(Error::from(missing).kind(), Kind::NotFound);

    drop(UnixListener::bind(folder.path().join("dead.sock")).unwrap());
    let dead = activate("dead");
    assert!(dead.to_string().contains("cannot be reached: Connection refused"), "{dead}");
    assert!(!dead.is_final());
    assert_eq!(Error::from(dead).kind(), Kind::Unavailable);

    // Its queue is full: a plain connect would wait for ever.
    let path = folder.path().join("full.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&_listener, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let full = activate("full");
    assert!(full.to_string().contains("no answer within"), "{full}");
    assert_eq!(Error::from(full).kind(), Kind::Timeout);
}
