//! Output of containers without a terminal: frames of stdout and stderr in one stream.
//!
//! ```text
//! byte 0        1..4     4..8 (big endian)   8..
//! which stream  zeros    length              that many bytes
//! ```
//! Source: the API's description of `POST /containers/{id}/attach`.

/// Which of a container's streams a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Echoed input; nothing sends it today.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The daemon's own error about the stream.
    System,
}

/// The stream is not framed: 0 to 3 was expected at the start of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Unrecognized input header: {0}")]
pub struct InvalidHeader(pub u8);

/// Takes frames apart, however the bytes are cut into reads. Holds a header at most, never content.
#[derive(Debug, Default)]
pub struct Demux {
    header: [u8; 8],
    have: usize,
    left: usize,
}

impl Demux {
    /// Takes the next piece off the front of `bytes`: its stream and content, or `None` when `bytes` is used up.
    pub fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<(Stream, &'a [u8])>, InvalidHeader> {
        loop {
            if self.left > 0 {
                if bytes.is_empty() {
                    return Ok(None);
                }
                let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
                *bytes = rest;
                self.left -= piece.len();
                return Ok(Some((self.stream()?, piece)));
            }
            let (taken, rest) = bytes.split_at((8 - self.have).min(bytes.len()));
            self.header[self.have..self.have + taken.len()].copy_from_slice(taken);
            self.have += taken.len();
            *bytes = rest;
            if self.have < 8 {
                return Ok(None);
            }
            self.stream()?;
            self.have = 0;
            let [_, _, _, _, length @ ..] = self.header;
            self.left = u32::from_be_bytes(length) as usize;
        }
    }

    fn stream(&self) -> Result<Stream, InvalidHeader> {
        match self.header[0] {
            0 => Ok(Stream::Stdin),
            1 => Ok(Stream::Stdout),
            2 => Ok(Stream::Stderr),
            3 => Ok(Stream::System),
            other => Err(InvalidHeader(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, content: &[u8]) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        frame.extend(content);
        frame
    }

    /// Content by stream, with the input cut into pieces of `cut` bytes.
    fn demux(input: &[u8], cut: usize) -> Result<(String, String), InvalidHeader> {
        let mut demux = Demux::default();
        let (mut out, mut err) = (String::new(), String::new());
        for mut piece in input.chunks(cut) {
            while let Some((stream, content)) = demux.next(&mut piece)? {
                let text = std::str::from_utf8(content).unwrap();
                if stream == Stream::Stdout { out.push_str(text) } else { err.push_str(text) }
            }
        }
        Ok((out, err))
    }

    #[test]
    fn frames_are_taken_apart_however_they_are_cut() {
        let mut input = frame(1, b"hello ");
        input.extend(frame(2, b"oops"));
        input.extend(frame(1, b""));
        input.extend(frame(1, b"world"));
        for cut in 1..=input.len() {
            assert_eq!(
                demux(&input, cut).unwrap(),
                ("hello world".into(), "oops".into()),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_stream_without_frames_is_refused() {
        assert_eq!(demux(b"plain text of a terminal", 5), Err(InvalidHeader(b'p')));
    }
}
