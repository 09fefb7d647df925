//! One question and its answer over HTTP/1.1, bounded.

use crate::LARGEST;
use std::io::{self, Read};

/// Bytes of the largest head of an answer.
const LARGEST_HEAD: usize = 16 << 10;
const HEADERS: usize = 64;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// The bytes of a question. The connection is for this one alone.
pub(crate) fn question(host: &str, method: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /{method} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: gantry\r\nAccept: \
         application/vnd.docker.plugins.v1.2+json\r\nContent-Type: application/vnd.docker.plugins.v1.2+json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    ToTheEnd,
}

/// Reads an answer.
///
/// # Errors
/// `InvalidData` for what is no answer or too large a one; what reading says.
pub(crate) fn answer(stream: &mut dyn Read) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let (status, length) = loop {
        if let Some((status, length, head)) = parse_head(&bytes)? {
            bytes.drain(..head);
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            break (status, length);
        }
        if bytes.len() > LARGEST_HEAD {
            return Err(odd("the head of its answer is too large"));
        }
        if !more(stream, &mut bytes)? {
            return Err(odd("its answer ends in its head"));
        }
    };
    let body = match length {
        Length::Known(length) if length > LARGEST => return Err(too_large()),
        Length::Known(length) => {
            while bytes.len() < length {
                if !more(stream, &mut bytes)? {
                    return Err(odd("its answer is shorter than it says"));
                }
            }
            bytes.truncate(length);
            bytes
        }
        Length::ToTheEnd => {
            while more(stream, &mut bytes)? {
                if bytes.len() > LARGEST {
                    return Err(too_large());
                }
            }
            bytes
        }
        Length::Chunked => chunks(stream, bytes)?,
    };
    Ok(Answer { status, body })
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(u16, Length, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|e| odd(format!("its answer is no HTTP: {e}")))?;
    let httparse::Status::Complete(head) = parsed else { return Ok(None) };
    let status = response.code.ok_or_else(|| odd("its answer has no status"))?;
    let values = |name: &'static str| {
        response
            .headers
            .iter()
            .filter(move |h| h.name.eq_ignore_ascii_case(name))
            .map(|h| std::str::from_utf8(h.value).unwrap_or_default().trim())
    };
    let chunked = values("transfer-encoding").any(|v| v.to_ascii_lowercase().ends_with("chunked"));
    let length = values("content-length").next();
    let length = match (chunked, length) {
        _ if status < 200 || status == 204 => Length::Known(0),
        (true, _) => Length::Chunked,
        (false, Some(text)) => {
            Length::Known(text.parse().map_err(|_| odd("its answer has no length"))?)
        }
        (false, None) => Length::ToTheEnd,
    };
    Ok(Some((status, length, head)))
}

fn chunks(stream: &mut dyn Read, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (head, size) = loop {
            match httparse::parse_chunk_size(&bytes) {
                Ok(httparse::Status::Complete((head, size))) => break (head, size),
                Ok(httparse::Status::Partial) if bytes.len() <= LARGEST_HEAD => {}
                _ => return Err(odd("its answer is in no chunks")),
            }
            if !more(stream, &mut bytes)? {
                return Err(odd("its answer ends between chunks"));
            }
        };
        let size = usize::try_from(size).map_err(|_| too_large())?;
        if size > LARGEST || body.len() + size > LARGEST {
            return Err(too_large());
        }
        if size == 0 {
            return Ok(body);
        }
        // A chunk ends with a line's end.
        while bytes.len() < head + size + 2 {
            if !more(stream, &mut bytes)? {
                return Err(odd("its answer ends in a chunk"));
            }
        }
        body.extend_from_slice(&bytes[head..head + size]);
        bytes.drain(..head + size + 2);
    }
}

/// Reads what has come; `false` at the end.
fn more(stream: &mut dyn Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 8 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                bytes.extend_from_slice(&buffer[..n]);
                return Ok(true);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn odd(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

fn too_large() -> io::Error {
    odd(format!("its answer is larger than {LARGEST} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn read(text: &str) -> Result<(u16, String), String> {
        let mut all = Vec::new();
        for step in [1, 3, 4096] {
            let answer = answer(&mut Drip(text.as_bytes(), step));
            all.push(
                answer
                    .map(|a| (a.status, String::from_utf8(a.body).unwrap()))
                    .map_err(|e| e.to_string()),
            );
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
        all.remove(0)
    }

    #[test]
    fn bodies_end_as_they_say() {
        let ok = |body: &str| Ok((200, body.to_owned()));
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}rest"), ok("{}"));
        assert_eq!(read("HTTP/1.0 200 OK\r\n\r\n{}"), ok("{}"));
        assert_eq!(
            read(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n"
            ),
            ok("{\"a\":1}")
        );
        assert_eq!(
            read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx"),
            Ok((500, "x".to_owned()))
        );
        assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\n"), Ok((204, String::new())));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(LARGEST + 1));
        let head = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(LARGEST_HEAD + 9000));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        for bad in [
            "",
            "hello",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab",
            &long,
            &head,
            &many,
        ] {
            assert!(read(bad).is_err(), "{}", &bad[..bad.len().min(60)]);
        }
    }
}
