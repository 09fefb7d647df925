//! What values flags take: checks with Docker's (mostly Go's) words, and the conversions behind them.

use std::net::IpAddr;
use types::ByteSize;

/// The result of a check.
pub type Checked = Result<(), String>;

/// Takes everything.
pub fn anything(_: &str) -> Checked {
    Ok(())
}

/// Go's `ParseBool`.
pub fn boolean(text: &str) -> Checked {
    to_bool(text).map(|_| ())
}

/// Go's `ParseBool`.
pub fn to_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// A signed number of 64 bits, in Go's notations.
pub fn int(text: &str) -> Checked {
    to_int(text).map(|_| ())
}

/// A signed number of 64 bits.
pub fn to_int(text: &str) -> Result<i64, String> {
    number(text, "ParseInt", true)
        .and_then(|n| i64::try_from(n).map_err(|_| range("ParseInt", text)))
}

/// An unsigned number of 16 bits.
pub fn uint16(text: &str) -> Checked {
    number(text, "ParseUint", false)
        .and_then(|n| u16::try_from(n).map_err(|_| range("ParseUint", text)))
        .map(|_| ())
}

/// A decimal number of 16 bits, as `ParseUint` reads it.
pub fn decimal16(text: &str) -> Checked {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("strconv.ParseUint: parsing {text:?}: invalid syntax"));
    }
    text.parse::<u16>().map(|_| ()).map_err(|_| range("ParseUint", text))
}

/// An unsigned number of 64 bits.
pub fn uint(text: &str) -> Checked {
    number(text, "ParseUint", false)
        .and_then(|n| u64::try_from(n).map_err(|_| range("ParseUint", text)))
        .map(|_| ())
}

fn range(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: value out of range")
}

/// Decimal, `0x`, `0o`, `0b` and leading-zero octal, as flags with base 0 take.
fn number(text: &str, function: &str, signed: bool) -> Result<i128, String> {
    let wrong = || format!("strconv.{function}: parsing {text:?}: invalid syntax");
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') if signed => (true, &text[1..]),
        Some(b'+') if signed => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(wrong());
    }
    let value = i128::from_str_radix(digits, base).map_err(|_| range(function, text))?;
    Ok(if negative { -value } else { value })
}

/// Texts with commas between them, each perhaps in quotes.
pub fn strings(text: &str) -> Checked {
    to_strings(text).map(|_| ())
}

/// Texts with commas between them; nothing is no text at all.
pub fn to_strings(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() { Ok(Vec::new()) } else { csv(text) }
}

/// Splits a line of comma-separated values in which a field may be quoted, as Go's `encoding/csv` does.
pub fn csv(text: &str) -> Result<Vec<String>, String> {
    let wrong = |rest: &str, what: &str| {
        let column = text.len() - rest.len() + 1;
        format!("parse error on line 1, column {column}: {what}")
    };
    const EXTRANEOUS: &str = "extraneous or missing \" in quoted-field";
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, next) =
                rest.split_once(',').map_or((rest, None), |(field, next)| (field, Some(next)));
            if let Some(at) = field.find('"') {
                return Err(wrong(&rest[at..], "bare \" in non-quoted-field"));
            }
            fields.push(field.to_owned());
            match next {
                Some(next) => rest = next,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut inside = quoted;
        let closing = loop {
            let end = inside.find('"').ok_or_else(|| wrong("", EXTRANEOUS))?;
            field.push_str(&inside[..end]);
            let closing = &inside[end..];
            inside = &closing[1..];
            match inside.strip_prefix('"') {
                Some(more) => {
                    field.push('"');
                    inside = more;
                }
                None => break closing,
            }
        };
        fields.push(field);
        match inside.strip_prefix(',') {
            Some(next) => rest = next,
            None if inside.is_empty() => return Ok(fields),
            None => return Err(wrong(closing, EXTRANEOUS)),
        }
    }
}

/// Memory: `512m`, `1.5g`.
pub fn bytes(text: &str) -> Checked {
    text.parse::<ByteSize>().map(|_| ()).map_err(|e| e.to_string())
}

/// Memory and swap: also `-1`.
pub fn swap_bytes(text: &str) -> Checked {
    if text == "-1" { Ok(()) } else { bytes(text) }
}

/// Go's durations.
pub fn duration(text: &str) -> Checked {
    crate::units::parse_duration(text).map(|_| ())
}

/// Processors: a decimal or a fraction, with at most nine digits behind the point.
pub fn cpus(text: &str) -> Checked {
    to_nano_cpus(text).map(|_| ())
}

/// Processors as billionths.
pub fn to_nano_cpus(text: &str) -> Result<i64, String> {
    let wrong = || format!("failed to parse {text} as a rational number");
    let (top, bottom) = match text.split_once('/') {
        Some((top, bottom)) => (
            top.parse::<i128>().map_err(|_| wrong())?,
            bottom.parse::<i128>().map_err(|_| wrong())?,
        ),
        None => {
            let (negative, plain) =
                text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
            let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
            let digits = format!("{whole}{fraction}");
            if digits.is_empty()
                || fraction.len() > 30
                || !digits.bytes().all(|b| b.is_ascii_digit())
            {
                return Err(wrong());
            }
            let value: i128 = digits.parse().map_err(|_| wrong())?;
            let scale = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
            (if negative { -value } else { value }, scale)
        }
    };
    if bottom == 0 {
        return Err(wrong());
    }
    let nanos = top.checked_mul(1_000_000_000).ok_or_else(wrong)?;
    if nanos % bottom != 0 {
        return Err("value is too precise".into());
    }
    i64::try_from(nanos / bottom).map_err(|_| wrong())
}

/// `name=value` conditions of lists.
pub fn filter(text: &str) -> Checked {
    if text.is_empty() || text.contains('=') {
        Ok(())
    } else {
        Err("bad format of filter (expected name=value)".into())
    }
}

/// `NAME`, `NAME=value`.
pub fn env(text: &str) -> Checked {
    if text.split('=').next().unwrap_or_default().is_empty() {
        return Err(format!("invalid environment variable: {text}"));
    }
    Ok(())
}

/// `name`, `name=value`.
pub fn label(text: &str) -> Checked {
    let name = text.split('=').next().unwrap_or_default();
    if name.trim().is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    if name.starts_with(char::is_whitespace) || name.contains(char::is_whitespace) {
        return Err(format!("label '{name}' contains whitespaces"));
    }
    Ok(())
}

/// `name:address` or `name=address`, where the address may be in brackets or `host-gateway`.
pub fn extra_host(text: &str) -> Checked {
    split_extra_host(text).map(|_| ())
}

/// The name and the address.
pub fn split_extra_host(text: &str) -> Result<(String, String), String> {
    let split =
        text.split_once('=').or_else(|| text.split_once(':')).filter(|(name, _)| !name.is_empty());
    let (name, address) = split.ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    let plain = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if address != "host-gateway" && plain.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok((name.to_owned(), plain.to_owned()))
}

/// An IP address.
pub fn ip(text: &str) -> Checked {
    let plain = text.trim();
    plain
        .parse::<IpAddr>()
        .map(|_| ())
        .map_err(|_| format!("IP address is not correctly formatted: {plain}"))
}

/// A search domain, or `.` for none.
pub fn dns_search(text: &str) -> Checked {
    let plain = text.trim();
    if plain == "." {
        return Ok(());
    }
    let part = |part: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        part.len() <= 63
            && edge(part.chars().next())
            && edge(part.chars().last())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let name = plain.strip_suffix('.').unwrap_or(plain);
    if name.len() > 254
        || !name.chars().any(|c| c.is_ascii_alphabetic())
        || !name.split('.').all(part)
    {
        return Err(format!("{plain} is not a valid domain"));
    }
    Ok(())
}

/// A stream's name.
pub fn attach(text: &str) -> Checked {
    match text.to_ascii_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
    }
}

/// `PATH:RATE` in bytes.
pub fn rate_bytes(text: &str) -> Checked {
    to_rate_bytes(text).map(|_| ())
}

/// A device and its rate in bytes a second.
pub fn to_rate_bytes(text: &str) -> Result<(String, u64), String> {
    let (path, rate) = device_pair(text)?;
    let size = rate.parse::<ByteSize>().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a \
             positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok((path, size.0))
}

/// `PATH:RATE` in operations.
pub fn rate_operations(text: &str) -> Checked {
    to_rate_operations(text).map(|_| ())
}

/// A device and its rate in operations a second.
pub fn to_rate_operations(text: &str) -> Result<(String, u64), String> {
    let (path, rate) = device_pair(text)?;
    let rate = rate.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive \
             integer"
        )
    })?;
    Ok((path, rate))
}

/// `PATH:WEIGHT`
pub fn weight_device(text: &str) -> Checked {
    to_weight_device(text).map(|_| ())
}

/// A device and its weight.
pub fn to_weight_device(text: &str) -> Result<(String, u16), String> {
    let (path, weight) = device_pair(text)?;
    let weight = weight.parse().ok().filter(|w| *w == 0 || (10..=1000).contains(w));
    Ok((path, weight.ok_or_else(|| format!("invalid weight for device: {text}"))?))
}

fn device_pair(text: &str) -> Result<(String, String), String> {
    let (path, value) = text
        .split_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or(format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path.to_owned(), value.to_owned()))
}

/// `c 1:3 rwm`
pub fn device_rule(text: &str) -> Checked {
    let wrong = || format!("invalid device cgroup format '{text}'");
    let mut parts = text.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let number = |n: &str| n == "*" || (!n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let numbers_fit =
        numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor));
    let access_fits =
        (1..=3).contains(&access.len()) && access.bytes().all(|b| b"rwm".contains(&b));
    if matches!(kind, "a" | "b" | "c") && numbers_fit && access_fits {
        Ok(())
    } else {
        Err(wrong())
    }
}

/// `name=soft[:hard]`
pub fn ulimit(text: &str) -> Checked {
    to_ulimit(text).map(|_| ())
}

/// The limits that Linux has, as Docker names them.
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Name, soft and hard limit.
pub fn to_ulimit(text: &str) -> Result<(String, i64, i64), String> {
    let wrong = || format!("invalid ulimit argument: {text}");
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let decimal = |n: &str| {
        n.parse::<i64>().map_err(|_| format!("strconv.ParseInt: parsing {n:?}: invalid syntax"))
    };
    let (soft, hard) = match values.split_once(':') {
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((soft, hard)) => (decimal(soft)?, Some(decimal(hard)?)),
        None => (decimal(values)?, None),
    };
    let hard = hard.unwrap_or(soft);
    // -1 is no limit, which is above every number.
    let above = |n: i64| if n == -1 { i64::MAX } else { n };
    if above(soft) > above(hard) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok((name.to_owned(), soft, hard))
}

/// Sysctls that belong to a container's own namespaces.
pub fn sysctl(text: &str) -> Checked {
    const NAMES: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let name = text.split_once('=').map(|(name, _)| name);
    match name {
        Some(name)
            if NAMES.contains(&name)
                || name.starts_with("net.")
                || name.starts_with("fs.mqueue.") =>
        {
            Ok(())
        }
        _ => Err(format!("sysctl '{text}' is not allowed")),
    }
}

/// A link: not empty, at most `name:alias`.
pub fn link(text: &str) -> Checked {
    if text.is_empty() {
        return Err("empty string specified for links".into());
    }
    if text.split(':').count() > 2 {
        return Err(format!("bad format for links: {text}"));
    }
    Ok(())
}
