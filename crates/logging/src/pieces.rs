//! Long lines: which part of which line an entry is.

use crate::{Entry, Stream};

/// An entry's place in a line that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// All parts of a line have the same, no other line has: 64 hexadecimal digits.
    pub id: String,
    /// 1 for the first part.
    pub ordinal: u32,
    /// The line's end.
    pub last: bool,
}

/// Counts the parts of lines, for one container.
#[derive(Debug)]
pub struct Pieces {
    container: String,
    /// How many parts of the present line there have been, of either stream.
    parts: [u32; 2],
}

impl Pieces {
    /// For the container of this id.
    pub fn new(container: &str) -> Self {
        Self { container: container.to_owned(), parts: [0; 2] }
    }

    /// What part `entry` is; `None` for a whole line. Entries come in order.
    pub fn piece(&mut self, entry: &Entry) -> Option<Piece> {
        let parts = &mut self.parts[usize::from(entry.stream == Stream::Stderr)];
        let last = !entry.is_cut();
        if last && *parts == 0 {
            return None;
        }
        *parts += 1;
        let ordinal = *parts;
        if last {
            *parts = 0;
        }
        // All parts of a line have the time of its first, which no other line of the container has.
        let start = self.container.get(..48).unwrap_or(&self.container);
        let nanos = crate::files::nanos(entry.time);
        Some(Piece { id: format!("{start:0<48}{nanos:016x}"), ordinal, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_LINE;
    use stdx::time::Timestamp;

    #[test]
    fn parts_are_counted_by_stream() {
        let mut pieces = Pieces::new(&"a".repeat(64));
        let mut piece = |stream, length: usize, partial| {
            let time = Timestamp::from_unix_nanos(255);
            let entry = Entry { stream, time, line: vec![b'x'; length], partial, attributes: None };
            pieces.piece(&entry).map(|p| (p.ordinal, p.last, p.id))
        };
        let id = format!("{}{:016x}", "a".repeat(48), 255);
        assert_eq!(piece(Stream::Stdout, 5, false), None);
        assert_eq!(piece(Stream::Stdout, 5, true), None, "an unterminated last line is whole");
        assert_eq!(piece(Stream::Stdout, MAX_LINE, true), Some((1, false, id.clone())));
        assert_eq!(piece(Stream::Stderr, 5, false), None);
        assert_eq!(piece(Stream::Stdout, MAX_LINE - 3, true), Some((2, false, id.clone())));
        assert_eq!(piece(Stream::Stdout, 0, false), Some((3, true, id)));
        assert_eq!(piece(Stream::Stdout, 0, false), None);
    }
}
