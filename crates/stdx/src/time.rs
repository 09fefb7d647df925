//! Moments, as Docker writes them: RFC 3339 in UTC with up to nine decimals and no trailing zeros.

use std::fmt;
use std::str::FromStr;

/// A moment in UTC: nanoseconds since 1970-01-01T00:00:00Z, from year 1 to 9999.
///
/// [`Timestamp::ZERO`] is Go's zero time, 0001-01-01T00:00:00Z, which the Engine API uses for "never".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    nanos: i128,
}

const NANOS: i128 = 1_000_000_000;
const ZERO_SECONDS: i128 = -62_135_596_800;

impl Timestamp {
    /// Go's zero time, "never" in the Engine API.
    pub const ZERO: Self = Self { nanos: ZERO_SECONDS * NANOS };

    /// Now, by the wall clock.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self { nanos: i128::from(now.tv_sec) * NANOS + i128::from(now.tv_nsec) }
    }

    /// From seconds and nanoseconds since 1970.
    pub fn from_unix(seconds: i64, nanos: u32) -> Self {
        Self { nanos: i128::from(seconds) * NANOS + i128::from(nanos) }
    }

    /// From nanoseconds since 1970.
    pub fn from_unix_nanos(nanos: i64) -> Self {
        Self { nanos: i128::from(nanos) }
    }

    /// Whole seconds since 1970, rounded down.
    pub fn unix_seconds(self) -> i64 {
        i64::try_from(self.nanos.div_euclid(NANOS)).unwrap_or(i64::MAX)
    }

    /// Nanoseconds since 1970, as events carry them.
    pub fn unix_nanos(self) -> i128 {
        self.nanos
    }

    /// The moment `nanos` nanoseconds later.
    #[must_use]
    pub fn plus_nanos(self, nanos: u32) -> Self {
        Self { nanos: self.nanos + i128::from(nanos) }
    }

    /// The nanoseconds within the second.
    pub fn subsec_nanos(self) -> u32 {
        u32::try_from(self.nanos.rem_euclid(NANOS)).unwrap_or(0)
    }

    /// Whether this is Go's zero time.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    fn date(self) -> (i64, u32, u32, i64) {
        // Days to civil date, after Howard Hinnant's `civil_from_days`.
        let seconds = self.unix_seconds();
        let z = seconds.div_euclid(86_400) + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = u32::try_from(doy - (153 * mp + 2) / 5 + 1).unwrap_or(1);
        let month = u32::try_from(if mp < 10 { mp + 3 } else { mp - 9 }).unwrap_or(1);
        (yoe + era * 400 + i64::from(month <= 2), month, day, seconds.rem_euclid(86_400))
    }
}

impl fmt::Display for Timestamp {
    /// Go's `RFC3339Nano`; with `{:#}` always nine decimals, as log lines want.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, rest) = self.date();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            rest / 3600,
            rest / 60 % 60,
            rest % 60
        )?;
        let nanos = self.subsec_nanos();
        if f.alternate() {
            write!(f, ".{nanos:09}")?;
        } else if nanos != 0 {
            let digits = format!("{nanos:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// The text is no RFC 3339 moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no RFC 3339 time")]
pub struct ParseTimestampError(String);

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// RFC 3339 with any number of decimals (nine are kept) and any offset.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseTimestampError(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = bytes.get(from..to)?;
        part.iter()
            .all(u8::is_ascii_digit)
            .then(|| part.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let at = |i: usize, set: &[u8]| bytes.get(i).filter(|b| set.contains(b)).map(|_| ());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    at(4, b"-")?;
    at(7, b"-")?;
    at(10, b"Tt ")?;
    at(13, b":")?;
    at(16, b":")?;
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut i = 19;
    let mut nanos = 0_i128;
    if bytes.get(i) == Some(&b'.') {
        let start = i + 1;
        i = start;
        while bytes.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        if i == start {
            return None;
        }
        let kept = &bytes[start..i.min(start + 9)];
        nanos = kept.iter().fold(0, |n, d| n * 10 + i128::from(d - b'0'));
        nanos *= 10_i128.pow(u32::try_from(9 - kept.len()).ok()?);
    }
    let offset = match bytes.get(i..)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let seconds = number(i + 1, i + 3)? * 3600 + number(i + 4, i + 6)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * m + 2) / 5 + day - 1;
    let seconds =
        (era * 146_097 + doe - 719_468) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp { nanos: i128::from(seconds) * NANOS + nanos })
}

/// A duration as Go prints it: `300ms`, `1.5s`, `1m30s`, `0s`.
pub fn go_duration(duration: std::time::Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |value: u128, unit: u128, name: &str| {
        let width = usize::try_from(unit.ilog10()).unwrap_or(0);
        let fraction = format!("{:0width$}", value % unit);
        match fraction.trim_end_matches('0') {
            "" => format!("{}{name}", value / unit),
            fraction => format!("{}.{fraction}{name}", value / unit),
        }
    };
    match nanos {
        0 => "0s".to_owned(),
        n if n < 1_000 => format!("{n}ns"),
        n if n < 1_000_000 => decimal(n, 1_000, "µs"),
        n if n < 1_000_000_000 => decimal(n, 1_000_000, "ms"),
        n => {
            let (minutes, rest) = (n / 60_000_000_000, n % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_go_does() {
        let check = |nanos, text: &str| {
            assert_eq!(go_duration(std::time::Duration::from_nanos(nanos)), text);
        };
        check(0, "0s");
        check(5, "5ns");
        check(1_500, "1.5µs");
        check(300_000_000, "300ms");
        check(1_500_000_000, "1.5s");
        check(30_000_000_000, "30s");
        check(90_000_000_000, "1m30s");
        check(3_600_000_000_000, "1h0m0s");
    }

    #[test]
    fn prints_as_go_does() {
        let check = |seconds, nanos, text: &str| {
            assert_eq!(Timestamp::from_unix(seconds, nanos).to_string(), text)
        };
        check(0, 0, "1970-01-01T00:00:00Z");
        check(1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z");
        check(951_782_400, 1, "2000-02-29T00:00:00.000000001Z");
        assert_eq!(Timestamp::ZERO.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(format!("{:#}", Timestamp::from_unix(0, 5)), "1970-01-01T00:00:00.000000005Z");
    }

    #[test]
    fn parses_what_it_prints_and_offsets() {
        for text in
            ["2023-11-14T22:13:20.12Z", "0001-01-01T00:00:00Z", "2000-02-29T23:59:59.000000001Z"]
        {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert_eq!(
            "2023-01-01T02:00:00+02:00".parse::<Timestamp>().unwrap().to_string(),
            "2023-01-01T00:00:00Z"
        );
        for bad in [
            "",
            "2023-01-01",
            "2023-13-01T00:00:00Z",
            "2023-01-01T00:00:00",
            "2023-01-01T00:00:00.Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
