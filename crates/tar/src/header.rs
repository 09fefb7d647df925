//! One header block: fixed fields, numbers, checksum. Knows nothing of what came before.

use crate::BLOCK;
use std::ops::Range;

// POSIX.1-2017, "ustar Header Block".
const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const USER: Range<usize> = 265..297;
const GROUP: Range<usize> = 297..329;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
// star puts times behind a shorter prefix and signs at the end.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_TRAILER: Range<usize> = 508..512;
// GNU tar manual, "struct oldgnu_header".
const GNU_SPARSE: Range<usize> = 386..482;
const GNU_EXTENDED: usize = 482;
const GNU_REAL_SIZE: Range<usize> = 483..495;

/// A block that has a right checksum.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    block: &'a [u8; BLOCK],
    pub(crate) format: Format,
}

/// Which fields there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Before 1988: no magic, no prefix, no names.
    V7,
    /// POSIX.
    Ustar,
    /// POSIX with star's times at the end of the prefix.
    Star,
    /// GNU: times and sparse map where the prefix is.
    Gnu,
}

/// Sums are right or this is no header.
pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Header<'_>, String> {
    let stored = octal(&block[CHECKSUM]).ok_or("unreadable checksum")?;
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (position, byte) in block.iter().enumerate() {
        let byte = if CHECKSUM.contains(&position) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        // Some historic tars summed signed characters; everybody accepts both.
        signed += i64::from(byte.cast_signed());
    }
    let stored = i64::try_from(stored).map_err(|_| "unreadable checksum")?;
    if stored != unsigned && stored != signed {
        return Err("checksum does not match".to_owned());
    }
    let format = match &block[MAGIC] {
        b"ustar  \0" => Format::Gnu,
        [b'u', b's', b't', b'a', b'r', 0, ..] if &block[STAR_TRAILER] == b"tar\0" => Format::Star,
        [b'u', b's', b't', b'a', b'r', 0, ..] => Format::Ustar,
        _ => Format::V7,
    };
    Ok(Header { block, format })
}

impl Header<'_> {
    pub(crate) fn type_flag(&self) -> u8 {
        self.block[TYPE]
    }

    /// The path from name and prefix.
    pub(crate) fn path(&self) -> Result<Vec<u8>, String> {
        let name = text(&self.block[NAME]);
        let prefix = match self.format {
            Format::Ustar => text(&self.block[PREFIX]),
            Format::Star => text(&self.block[STAR_PREFIX]),
            // Python takes a prefix from every header, and Go from GNU's when it does not look like the times that GNU
            // tar has there (only in incremental archives).
            Format::V7 | Format::Gnu if self.block[PREFIX.start] != 0 => {
                return Err("a prefix in a header that has none".to_owned());
            }
            Format::V7 | Format::Gnu => &[],
        };
        Ok(if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() })
    }

    pub(crate) fn link(&self) -> &[u8] {
        text(&self.block[LINK])
    }

    pub(crate) fn user(&self) -> &[u8] {
        if self.format == Format::V7 { &[] } else { text(&self.block[USER]) }
    }

    pub(crate) fn group(&self) -> &[u8] {
        if self.format == Format::V7 { &[] } else { text(&self.block[GROUP]) }
    }

    pub(crate) fn mode(&self) -> Option<i64> {
        number(&self.block[MODE])
    }

    pub(crate) fn uid(&self) -> Option<i64> {
        number(&self.block[UID])
    }

    pub(crate) fn gid(&self) -> Option<i64> {
        number(&self.block[GID])
    }

    pub(crate) fn size(&self) -> Option<i64> {
        number(&self.block[SIZE])
    }

    pub(crate) fn mtime(&self) -> Option<i64> {
        number(&self.block[MTIME])
    }

    pub(crate) fn device(&self) -> Option<(i64, i64)> {
        Some((number(&self.block[MAJOR])?, number(&self.block[MINOR])?))
    }

    /// GNU's sparse map in the header: its pairs, the real size, and whether blocks of more pairs follow.
    pub(crate) fn gnu_sparse(&self) -> (&[u8], &[u8], bool) {
        (&self.block[GNU_SPARSE], &self.block[GNU_REAL_SIZE], self.block[GNU_EXTENDED] != 0)
    }
}

/// A field's text: up to the first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number in octal or, with the first bit set, in base 256; `None` for anything else. Blank is 0.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field),
        _ => octal(field).and_then(|n| i64::try_from(n).ok()),
    }
}

/// GNU's extension for numbers that octal has no room for: big endian, two's complement, the first bit is the mark.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (position, byte) in field.iter().enumerate() {
        let byte = match position {
            0 if negative => byte | 0x80,
            0 => byte & 0x7f,
            _ => *byte,
        };
        // Fields have at most twelve bytes, and i128 has sixteen.
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).ok()
}

/// Spaces, octal digits, then only spaces and NULs. A sign, a digit after the end or any other byte is refused:
/// readers disagree about what it means.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|b| *b != b' ').unwrap_or(field.len());
    let rest = &field[start..];
    let digits = rest.iter().take_while(|b| (b'0'..=b'7').contains(b)).count();
    if rest[digits..].iter().any(|b| *b != b' ' && *b != 0) {
        return None;
    }
    rest[..digits].iter().try_fold(0_u64, |n, d| n.checked_mul(8)?.checked_add(u64::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check =
            |field: &[u8], expected: Option<i64>| assert_eq!(number(field), expected, "{field:?}");
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"00000000010 ", Some(8));
        check(b"77777777777", Some((1 << 33) - 1));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"        ", Some(0));
        check(b"644\0  \0 ", Some(0o644));
        check(b"0000648\0", None);
        check(b"-000644\0", None);
        check(b"644\x00644\0", None);
        check(b"0x1f\0\0\0\0", None);
        check(b"\x80\0\0\0\0\0\0\0\0\0\0\x05", Some(5));
        check(b"\x80\0\0\0\0\0\x02\0\0\0\0\0", Some(1 << 41));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2));
        check(b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None);
        check(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None);
    }
}
