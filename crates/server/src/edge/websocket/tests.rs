//! Handshakes and frames, by RFC 6455's own examples where it has them.

use super::*;
use http::HeaderValue;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (header::HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

const WHOLE: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "keep-alive, Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[test]
fn a_handshake_is_answered() {
    let head = handshake(&headers(&WHOLE)).unwrap();
    assert!(
        head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
        "{head}"
    );
    let with = [&WHOLE[..], &[("sec-websocket-protocol", "chat")]].concat();
    assert!(handshake(&headers(&with)).unwrap().ends_with("Sec-WebSocket-Protocol: chat\r\n\r\n"));
    for (missing, why) in [
        ("upgrade", "not websocket protocol"),
        ("connection", "not websocket protocol"),
        ("sec-websocket-version", "missing or bad WebSocket Version"),
        ("sec-websocket-key", "mismatch challenge/response"),
    ] {
        let rest: Vec<_> = WHOLE.into_iter().filter(|(name, _)| *name != missing).collect();
        assert_eq!(handshake(&headers(&rest)).unwrap_err(), why, "{missing}");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Got {
    Data(Vec<u8>),
    Ping(Vec<u8>),
    Close,
    Wrong,
}

/// Everything that comes of bytes that come in pieces of this size; data put together.
fn decode(bytes: &[u8], size: usize) -> Vec<Got> {
    let (mut decoder, mut all) = (Decoder::default(), Vec::new());
    for piece in bytes.chunks(size) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            let (event, left) = decoder.take(rest);
            rest = left;
            match (event, all.last_mut()) {
                (Event::Nothing, _) => break,
                (Event::Data(data), Some(Got::Data(before))) => before.extend_from_slice(data),
                (Event::Data(data), _) => all.push(Got::Data(data.to_vec())),
                (Event::Ping(payload), _) => all.push(Got::Ping(payload)),
                (Event::Close, _) => all.push(Got::Close),
                (Event::Wrong, _) => {
                    all.push(Got::Wrong);
                    return all;
                }
            }
        }
    }
    all
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = frame_head(0, payload.len());
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    frame
}

fn check(frames: &[Vec<u8>], want: &[Got]) {
    let bytes = frames.concat();
    for size in [1, 2, 3, 7, 1000, usize::MAX] {
        assert_eq!(decode(&bytes, size.min(bytes.len().max(1))), want, "in pieces of {size}");
    }
}

#[test]
fn frames_are_taken_apart_however_they_come() {
    let data = |bytes: &[u8]| Got::Data(bytes.to_vec());
    // RFC 6455 section 5.7: a masked text message.
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58].to_vec();
    assert_eq!(masked(0x81, b"Hello"), hello);
    check(std::slice::from_ref(&hello), &[data(b"Hello")]);
    check(&[masked(0x01, b"Hel"), masked(0x80, b"lo")], &[data(b"Hello")]);
    let long = vec![7; 70_000];
    check(&[masked(0x82, &long), masked(0x82, &[7; 300])], &[data(&[7; 70_300])]);
    check(
        &[masked(0x02, b"a"), masked(0x89, b"ping"), masked(0x80, b"b"), masked(0x88, b"\x03\xe8")],
        &[data(b"a"), Got::Ping(b"ping".to_vec()), data(b"b"), Got::Close],
    );
    check(&[masked(0x81, b""), masked(0x8a, b"pong"), masked(0x89, b"")], &[Got::Ping(Vec::new())]);
}

#[test]
fn broken_rules_are_found() {
    for (why, frame) in [
        ("not masked", vec![0x81, 0x00, 0, 0, 0, 0]),
        ("a reserved bit", masked(0xc1, b"x")),
        ("an unknown opcode", masked(0x83, b"x")),
        ("a fragment of nothing", masked(0x80, b"x")),
        ("a control frame in parts", masked(0x09, b"x")),
        ("a control frame that is too long", masked(0x89, &[0; 126])),
        ("a length of more than 63 bits", [&[0x82, 0xff, 0xff][..], &[0; 11]].concat()),
        ("a message within a message", [masked(0x01, b""), masked(0x81, b"")].concat()),
    ] {
        assert_eq!(decode(&frame, frame.len()), [Got::Wrong], "{why}");
    }
}

#[test]
fn heads_of_frames_have_the_shortest_length() {
    assert_eq!(frame_head(BINARY, 5), [0x82, 5]);
    assert_eq!(frame_head(TEXT, 126), [0x81, 126, 0, 126]);
    assert_eq!(frame_head(BINARY, 65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn output_loses_its_frames() {
    let stream = b"\x01\0\0\0\0\0\0\x03abc\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x02de";
    for size in [1, 2, 5, 100] {
        let (mut demultiplexer, mut all) = (Demultiplexer::default(), Vec::new());
        for mut piece in stream.chunks(size) {
            while let Some(payload) = demultiplexer.take(&mut piece) {
                all.extend_from_slice(payload);
            }
        }
        assert_eq!(all, b"abcde", "in pieces of {size}");
    }
}
