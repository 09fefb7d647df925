//! Amounts of bytes as Docker reads and prints them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes. Parsing (`512m`, `1.5g`, `64KiB`) is by powers of 1024, as `--memory` has it; printing (`7.8MB`) is
/// by powers of 1000 with three digits, as `docker images` has it. [`binary`](Self::binary) prints as `docker stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// The text is no size; the messages are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSize {
    /// No digit, a negative number, or one beyond what 63 bits hold.
    #[error("invalid size: '{0}'")]
    Size(String),
    /// What follows the number is no unit.
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
    /// What precedes the unit is no number.
    #[error("strconv.ParseFloat: parsing \"{0}\": invalid syntax")]
    Number(String),
}

const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl ByteSize {
    /// Parses with units that are powers of 1000, as storage options have it.
    pub fn from_decimal(text: &str) -> Result<Self, InvalidSize> {
        parse(text, 1000.0)
    }

    /// By powers of 1024 with four digits, `7.797MiB`.
    pub fn binary(self) -> String {
        human(self.0, 1024.0, &BINARY, 4)
    }

    /// By powers of 1000 with `digits` significant digits; [`Display`](fmt::Display) has three.
    pub fn decimal(self, digits: usize) -> String {
        human(self.0, 1000.0, &DECIMAL, digits)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        parse(text, 1024.0)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.decimal(3))
    }
}

fn parse(text: &str, base: f64) -> Result<ByteSize, InvalidSize> {
    let wrong = || InvalidSize::Size(text.to_owned());
    // The number ends at the last digit, dot or space; one space may stand before the unit.
    let last =
        text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(last + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
    let bytes: f64 = if number.bytes().all(plain) { number.parse().ok() } else { None }
        .ok_or_else(|| InvalidSize::Number(number.to_owned()))?;
    if bytes < 0.0 {
        return Err(wrong());
    }
    let unit = unit.to_ascii_lowercase();
    let power = match unit.as_bytes() {
        [] | [b'b'] => 0,
        [unit_letter] | [unit_letter, b'b'] | [unit_letter, b'i', b'b'] => {
            b"kmgtp"
                .iter()
                .position(|u| u == unit_letter)
                .ok_or(InvalidSize::Suffix(unit.clone()))?
                + 1
        }
        _ => return Err(InvalidSize::Suffix(unit)),
    };
    let bytes = bytes * base.powi(i32::try_from(power).expect("at most five"));
    // 2^63: the limits this feeds are signed in Docker's API and in the kernel's files.
    if bytes >= 9_223_372_036_854_775_808.0 {
        return Err(wrong());
    }
    Ok(ByteSize(bytes as u64))
}

fn human(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", general(size, digits), units[unit])
}

/// C's and Go's `%.{digits}g`: significant digits, trailing zeros dropped, an exponent when the number needs more digits.
/// The exponent shows in Docker's answers too (`1e+03kB` for 999,999 bytes).
fn general(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) =
        scientific.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let trim = |s: &str| {
        if s.contains('.') {
            s.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            s.to_owned()
        }
    };
    let digits = i32::try_from(digits).expect("a few digits");
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(digits - 1 - exponent).expect("checked above");
    trim(&format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_as_docker_run_memory() {
        let check =
            |text: &str, bytes: u64| assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        check("0", 0);
        check("32", 32);
        check("32b", 32);
        check("32B", 32);
        check("32k", 32 << 10);
        check("32 kb", 32 << 10);
        check("32KiB", 32 << 10);
        check("512m", 512 << 20);
        check("1.5g", 3 << 29);
        check("2T", 2 << 40);
        check(".5k", 512);
        assert_eq!(ByteSize::from_decimal("10kB"), Ok(ByteSize(10_000)));
    }

    #[test]
    fn refuses_as_docker() {
        let check = |text: &str, error: &str| {
            assert_eq!(text.parse::<ByteSize>().unwrap_err().to_string(), error);
        };
        check("", "invalid size: ''");
        check("hello", "invalid size: 'hello'");
        check("-32", "invalid size: '-32'");
        check("32bb", "invalid suffix: 'bb'");
        check("32 mbb", "invalid suffix: 'mbb'");
        check("32x", "invalid suffix: 'x'");
        check("1.2.3m", "strconv.ParseFloat: parsing \"1.2.3\": invalid syntax");
        check("  1m", "strconv.ParseFloat: parsing \"  1\": invalid syntax");
        check("99999999999p", "invalid size: '99999999999p'");
        check("infm", "invalid size: 'infm'");
    }

    #[test]
    fn prints_as_docker_images() {
        let check = |bytes: u64, text: &str| assert_eq!(ByteSize(bytes).to_string(), text);
        check(0, "0B");
        check(999, "999B");
        check(1000, "1kB");
        check(7_800_000, "7.8MB");
        check(13_256, "13.3kB");
        check(117_000_000, "117MB");
        check(1_234_567_890, "1.23GB");
        check(999_999, "1e+03kB");
        assert_eq!(ByteSize(8_175_616).binary(), "7.797MiB");
        assert_eq!(ByteSize(1 << 30).binary(), "1GiB");
        assert_eq!(ByteSize(1023 << 20).binary(), "1023MiB");
        assert_eq!(ByteSize(123_456).decimal(4), "123.5kB");
    }
}
