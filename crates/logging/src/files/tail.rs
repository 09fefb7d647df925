//! Where the last lines of a file begin, found from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const BLOCK: usize = 64 << 10;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where the first of them begins.
    pub(crate) offset: u64,
    /// How many there are from there on, at most as many as were asked for.
    pub(crate) lines: u64,
}

/// Finds the last `wanted` whole lines within the first `size` bytes of `file`. What stands behind the last newline is
/// no line.
pub(crate) fn last_lines(file: &File, size: u64, wanted: u64) -> io::Result<Found> {
    let mut block = vec![0; BLOCK];
    let mut newlines = 0;
    let mut end = size;
    while end > 0 {
        let length = end.min(BLOCK as u64);
        let start = end - length;
        let bytes = &mut block[..usize::try_from(length).unwrap_or(BLOCK)];
        file.read_exact_at(bytes, start)?;
        for (i, _) in bytes.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            // The newline before the first wanted line.
            if newlines == wanted {
                return Ok(Found { offset: start + i as u64 + 1, lines: wanted });
            }
            newlines += 1;
        }
        end = start;
    }
    Ok(Found { offset: 0, lines: newlines })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines_are_found_from_the_end() {
        let mut file = tempfile::tempfile().unwrap();
        let mut check = |text: &[u8], wanted, offset, lines| {
            file.set_len(0).unwrap();
            rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
            file.write_all(text).unwrap();
            let found = last_lines(&file, text.len() as u64, wanted).unwrap();
            assert_eq!(found, Found { offset, lines });
        };
        check(b"", 3, 0, 0);
        check(b"a\nb\nc\n", 0, 6, 0);
        check(b"a\nb\nc\n", 2, 2, 2);
        check(b"a\nb\nc\n", 3, 0, 3);
        check(b"a\nb\nc\n", 9, 0, 3);
        check(b"a\nb\ntorn", 1, 2, 1);
        check(b"torn", 1, 0, 0);
        let long = [&vec![b'x'; 3 * BLOCK][..], b"\ny\n"].concat();
        check(&long, 1, 3 * BLOCK as u64 + 1, 1);
        check(&long, 2, 0, 2);
    }
}
