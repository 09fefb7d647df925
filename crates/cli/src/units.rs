//! Times and numbers as Docker prints and reads them.

use stdx::time::Timestamp;

/// How long something took or is ago, in one unit: `3 seconds`, `About an hour`, `2 weeks`.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Hours are rounded, everything else is cut.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `3 seconds ago`, for seconds since 1970.
pub(crate) fn ago(unix: i64) -> String {
    format!("{} ago", human_duration(Timestamp::now().unix_seconds() - unix))
}

/// Go's `Time.String()` in the user's time zone, `2026-11-22 01:02:03 +0100 CET`.
pub(crate) fn local_time(unix: i64) -> String {
    zoned(unix).map_or_else(String::new, |t| t.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string())
}

/// `Sun Nov 22 01:00:00 2026` for an RFC 3339 text, in its own zone; `None` when it is none.
pub(crate) fn readable_date(text: &str) -> Option<String> {
    let parts = jiff::fmt::temporal::DateTimeParser::new().parse_datetime(text).ok()?;
    Some(parts.strftime("%a %b %e %H:%M:%S %Y").to_string())
}

/// RFC 3339 in the user's time zone with nanoseconds, as `events` prints it.
pub(crate) fn local_nanos(nanos: i64) -> String {
    let Ok(stamp) = jiff::Timestamp::from_nanosecond(nanos.into()) else { return String::new() };
    let zoned = stamp.to_zoned(jiff::tz::TimeZone::system());
    let fraction = nanos.rem_euclid(1_000_000_000);
    let offset = zoned.strftime("%:z").to_string();
    let offset = if zoned.offset().is_zero() { "Z".to_owned() } else { offset };
    format!("{}.{fraction:09}{offset}", zoned.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// RFC 3339 in the user's time zone, seconds.
pub(crate) fn local_rfc3339(unix: i64) -> String {
    zoned(unix).map_or_else(String::new, |zoned| {
        let offset = if zoned.offset().is_zero() {
            "Z".to_owned()
        } else {
            zoned.strftime("%:z").to_string()
        };
        format!("{}{offset}", zoned.strftime("%Y-%m-%dT%H:%M:%S"))
    })
}

fn zoned(unix: i64) -> Option<jiff::Zoned> {
    Some(jiff::Timestamp::from_second(unix).ok()?.to_zoned(jiff::tz::TimeZone::system()))
}

/// A Go duration such as `1h30m` or `500ms`, as nanoseconds; the error is Go's.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0_f64;
    let mut exact = 0_i128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number = &rest[..digits];
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(wrong());
        }
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000_i64,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            unknown => return Err(format!("time: unknown unit {unknown:?} in duration {text:?}")),
        };
        match number.parse::<i64>() {
            Ok(whole) => exact += i128::from(whole) * i128::from(unit),
            Err(_) => total += number.parse::<f64>().map_err(|_| wrong())? * unit as f64,
        }
        rest = &rest[letters..];
    }
    let nanos = exact + total as i128;
    let nanos = i64::try_from(nanos).map_err(|_| wrong())?;
    Ok(if negative { -nanos } else { nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_docker_tells_them() {
        let check =
            |seconds: i64, text: &str| assert_eq!(human_duration(seconds), text, "{seconds}");
        check(-5, "Less than a second");
        check(0, "Less than a second");
        check(1, "1 second");
        check(59, "59 seconds");
        check(60, "About a minute");
        check(119, "About a minute");
        check(120, "2 minutes");
        check(3599, "59 minutes");
        check(3600, "About an hour");
        check(3600 + 1799, "About an hour");
        check(3600 + 1800, "2 hours");
        check(47 * 3600, "47 hours");
        check(48 * 3600, "2 days");
        check(13 * 86_400, "13 days");
        check(14 * 86_400, "2 weeks");
        check(59 * 86_400, "8 weeks");
        check(60 * 86_400, "2 months");
        check(729 * 86_400, "24 months");
        check(730 * 86_400, "2 years");
    }

    #[test]
    fn go_durations_are_read() {
        let check = |text: &str, want: Result<i64, &str>| {
            assert_eq!(parse_duration(text), want.map_err(str::to_owned), "{text}");
        };
        check("5s", Ok(5_000_000_000));
        check("1m30s", Ok(90_000_000_000));
        check("1.5h", Ok(5_400_000_000_000));
        check("-1s", Ok(-1_000_000_000));
        check("100ms", Ok(100_000_000));
        check("0", Ok(0));
        check("x", Err("time: invalid duration \"x\""));
        check("", Err("time: invalid duration \"\""));
        check("5", Err("time: missing unit in duration \"5\""));
        check("5d", Err("time: unknown unit \"d\" in duration \"5d\""));
    }
}
