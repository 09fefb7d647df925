//! Archives on their way from a blocking thread to whoever waits for them.

use std::io::{self, Write};
use stdx::{Error, Result};
use tokio::sync::mpsc;

/// Bytes handed on at once.
const PIECE: usize = 128 * 1024;
/// Pieces that may wait; with them an archive of any size takes at most half a megabyte here.
const WAITING: usize = 4;

/// An archive piece by piece. An error is its last piece; dropping it ends the packing.
#[derive(Debug)]
pub struct ArchiveStream {
    pieces: mpsc::Receiver<Result<Vec<u8>>>,
}

impl ArchiveStream {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>>> {
        self.pieces.recv().await
    }

    /// As [`next`](Self::next), for a thread that may block.
    pub(crate) fn blocking_next(&mut self) -> Option<Result<Vec<u8>>> {
        self.pieces.blocking_recv()
    }
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: mpsc::Sender<Result<Vec<u8>>>,
    piece: Vec<u8>,
}

/// Both ends.
pub(crate) fn channel() -> (Pieces, ArchiveStream) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Pieces { pieces: sender, piece: Vec::new() }, ArchiveStream { pieces: receiver })
}

impl Pieces {
    /// For an error after which there is no [`end`](Self::end).
    pub(crate) fn teller(&self) -> mpsc::Sender<Result<Vec<u8>>> {
        self.pieces.clone()
    }

    /// Ends the stream as the packing ended.
    pub(crate) fn end(mut self, result: Result<()>) {
        let result = result.and_then(|()| self.flush().map_err(|e| Error::io("send archive", e)));
        if let Err(error) = result {
            // Nobody may be there any more, which is why it failed then.
            let _gone = self.pieces.blocking_send(Err(error));
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(PIECE);
        }
        let room = PIECE - self.piece.len();
        let taken = bytes.len().min(room);
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
