//! Bytes on their way into a file.

/// A piece of memory that is written from its start.
///
/// Its own copying, in words of a known size, is why this is no `Vec` that grows: in the static program, calling the C
/// library's `memcpy` for every few bytes costs more than all the rest together.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

/// Words may be written over the end of what they are to say; the next ones overwrite what is too much.
const SLACK: usize = 64;

/// The memory that a buffer begins with: a batch and the longest record behind it.
const INITIAL: usize = 256 << 10;

impl Buffer {
    /// What has been written.
    pub fn written(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Whether `more` bytes find room without the whole becoming larger than `bound`, unless it is empty.
    pub(crate) fn has_room(&self, more: usize, bound: usize) -> bool {
        self.used == 0 || self.used + more <= bound
    }

    /// Forgets what has been written.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    /// Gives its memory back, if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.used == 0 {
            self.bytes = Vec::new();
        }
    }

    /// Puts one byte before everything.
    pub(crate) fn put_first(&mut self, byte: u8) {
        self.reserve(1);
        self.bytes.copy_within(..self.used, 1);
        self.bytes[0] = byte;
        self.used += 1;
    }

    /// Makes room for `more` bytes, of which what follows must not write more.
    #[inline]
    pub fn reserve(&mut self, more: usize) {
        let needed = self.used + more + SLACK;
        if self.bytes.len() < needed {
            if self.used == 0 {
                // Fresh zero pages, which cost nothing until they are written to.
                self.bytes = vec![0; needed.max(INITIAL)];
            } else {
                self.bytes.resize(needed, 0);
            }
        }
    }

    /// Appends a word; room has been reserved.
    #[inline]
    pub fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.put_part(bytes, N);
    }

    /// Appends a whole word of which only the first `length` bytes count; at most 64 bytes, room has been reserved.
    #[inline]
    pub fn put_part<const N: usize>(&mut self, bytes: &[u8; N], length: usize) {
        self.bytes[self.used..self.used + N].copy_from_slice(bytes);
        self.used += length;
    }

    /// Appends `bytes`, for which room has been reserved.
    #[inline]
    pub fn put_all(&mut self, bytes: &[u8]) {
        self.bytes[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    /// Appends a text in whole words of which `length` bytes count; room has been reserved.
    #[inline]
    pub fn put_words(&mut self, words: &[[u8; 16]], length: usize) {
        let end = self.used + length;
        words.iter().for_each(|word| self.put(word));
        self.used = end;
    }
}
