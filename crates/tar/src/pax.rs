//! Extended headers: records of `<length> <key>=<value>\n`, and what their values mean.

use crate::entry::{Time, Xattrs};
use std::collections::BTreeMap;

/// What one extended header says; of a key that appears twice the last counts, as POSIX wants.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Keys with their values; an empty value takes the key back.
    pub(crate) values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Sparse format 0.0 says the same two keys again and again: the numbers in their order.
    pub(crate) sparse_pairs: Vec<u64>,
}

const SPARSE_OFFSET: &[u8] = b"GNU.sparse.offset";
const SPARSE_LENGTH: &[u8] = b"GNU.sparse.numbytes";

/// Takes a header's data apart.
pub(crate) fn parse(mut data: &[u8]) -> Result<Records, &'static str> {
    let mut records = Records::default();
    while !data.is_empty() {
        let space = data
            .iter()
            .take(12)
            .position(|b| *b == b' ')
            .ok_or("an extended record without a length")?;
        let length =
            decimal(&data[..space]).ok_or("an extended record with an unreadable length")?;
        if data[0] == b'0' {
            return Err("an extended record whose length begins with 0");
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > data.len() || length <= space + 1 {
            return Err("an extended record longer than its header");
        }
        let (record, rest) = data.split_at(length);
        data = rest;
        let body = record[space + 1..]
            .strip_suffix(b"\n")
            .ok_or("an extended record without a line end")?;
        let equals = body.iter().position(|b| *b == b'=').ok_or("an extended record without =")?;
        let (key, value) = (&body[..equals], &body[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err("an extended record with an impossible key");
        }
        if key == SPARSE_OFFSET || key == SPARSE_LENGTH {
            let first = records.sparse_pairs.len() % 2 == 0;
            if first != (key == SPARSE_OFFSET) {
                return Err("a sparse map out of order");
            }
            records.sparse_pairs.push(decimal(value).ok_or("an unreadable sparse map")?);
        } else if value.is_empty() {
            records.values.remove(key);
        } else {
            records.values.insert(key.to_vec(), value.to_vec());
        }
    }
    Ok(records)
}

impl Records {
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key.as_bytes()).map(Vec::as_slice)
    }

    /// A decimal number; an error says which key.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        decimal(value).map(Some).ok_or_else(|| format!("{key} is no number"))
    }

    /// A moment; an error says which key.
    pub(crate) fn time(&self, key: &str) -> Result<Option<Time>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        time(value).map(Some).ok_or_else(|| format!("{key} is no time"))
    }

    /// A text without NUL; an error says which key.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&[u8]>, String> {
        match self.get(key) {
            Some(value) if value.contains(&0) => Err(format!("{key} contains NUL")),
            value => Ok(value),
        }
    }

    /// The extended attributes under both spellings; they must not contradict each other.
    pub(crate) fn xattrs(&self) -> Result<Xattrs, String> {
        let mut found = BTreeMap::new();
        for (key, value) in &self.values {
            let (name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                (name.to_vec(), value.clone())
            } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                let name =
                    percent_decoded(name).ok_or("unreadable name of an extended attribute")?;
                (name, base64_decoded(value).ok_or("unreadable value of an extended attribute")?)
            } else {
                continue;
            };
            if name.is_empty() || name.contains(&0) {
                return Err("an extended attribute with an impossible name".to_owned());
            }
            if found.get(&name).is_some_and(|other| *other != value) {
                return Err("an extended attribute with two values".to_owned());
            }
            found.insert(name, value);
        }
        Ok(found.into_iter().collect())
    }
}

/// Digits only, no sign; `None` also on overflow.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter().try_fold(0_u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')))
}

/// Seconds with any number of decimals, possibly negative; `-0.5` is half a second before 1970.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|b| *b == b'.');
    let (whole, fraction) = dot.map_or((text, &b""[..]), |dot| (&text[..dot], &text[dot + 1..]));
    if dot.is_some() && !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    // Decimals beyond nanoseconds are cut off.
    let nanos =
        (0..9).fold(0_u32, |n, i| n * 10 + fraction.get(i).map_or(0, |d| u32::from(d - b'0')));
    Some(match (negative, nanos) {
        (false, _) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos },
        (true, _) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits)
            .ok()
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    Some(out)
}

/// Base 64 with or without padding: libarchive writes none.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |i| i + 1);
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in &text[..end] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_apart() {
        let records = parse(b"12 path=abc\n13 size=0012\n").unwrap();
        assert_eq!(records.get("path"), Some(&b"abc"[..]));
        assert_eq!(records.number("size"), Ok(Some(12)));
        let records = parse(b"12 path=abc\n12 path=def\n").unwrap();
        assert_eq!(records.get("path"), Some(&b"def"[..]));
        assert_eq!(parse(b"12 path=abc\n8 path=\n").unwrap().get("path"), None);
        assert_eq!(parse(b"17 comment=a=b\n\n\n").unwrap().get("comment"), Some(&b"a=b\n\n"[..]));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"12 path=abc"[..],
            b"99 path=abc\n",
            b"012 path=abc\n",
            b"+12 path=abc\n",
            b"path=abc\n",
            b"3 \n",
            b"4 =\n\n",
            b"6 =ab\n",
            b"8 a\0b=c\n",
            b"12 path abc\n",
            b"99999999999999999999 a=b\n",
            b"5 a=b\n",
            b"12 path=abc\n\0",
        ] {
            assert!(parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times() {
        let check = |text: &[u8], expected: Option<(i64, u32)>| {
            assert_eq!(
                time(text).map(|t| (t.seconds, t.nanos)),
                expected,
                "{}",
                String::from_utf8_lossy(text)
            );
        };
        check(b"1350244992.023960108", Some((1_350_244_992, 23_960_108)));
        check(b"1", Some((1, 0)));
        check(b"1.", Some((1, 0)));
        check(b"1.5", Some((1, 500_000_000)));
        check(b"-1.5", Some((-2, 500_000_000)));
        check(b"-0.000000001", Some((-1, 999_999_999)));
        check(b"-7", Some((-7, 0)));
        check(b"1.0000000009", Some((1, 0)));
        for bad in [&b""[..], b"-", b".5", b"1.x", b"1e3", b"99999999999999999999", b"+1", b"1.5.5"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn both_spellings_of_attributes() {
        let build = |pairs: &[(&str, &str)]| {
            let mut records = Records::default();
            for (key, value) in pairs {
                records.values.insert(key.as_bytes().to_vec(), value.as_bytes().to_vec());
            }
            records.xattrs()
        };
        let expected = Ok(vec![(b"user.a b".to_vec(), b"xyz".to_vec())]);
        assert_eq!(build(&[("SCHILY.xattr.user.a b", "xyz")]), expected);
        assert_eq!(build(&[("LIBARCHIVE.xattr.user.a%20b", "eHl6")]), expected);
        assert_eq!(
            build(&[("SCHILY.xattr.user.a b", "xyz"), ("LIBARCHIVE.xattr.user.a%20b", "eHl6")]),
            expected
        );
        assert!(build(&[("SCHILY.xattr.user.a", "1"), ("LIBARCHIVE.xattr.user.a", "Mg")]).is_err());
        assert!(build(&[("LIBARCHIVE.xattr.user.%zz", "Mg")]).is_err());
        assert!(build(&[("LIBARCHIVE.xattr.user.a", "M!")]).is_err());
        assert_eq!(base64_decoded(b"Mg==").as_deref(), Some(&b"2"[..]));
        assert_eq!(base64_decoded(b"AAECAwT//w").as_deref(), Some(&[0, 1, 2, 3, 4, 255, 255][..]));
    }
}
