//! What users say of logs (`--log-opt`), and what Docker says of what they say wrongly.

use std::collections::BTreeMap;
use std::time::Duration;

use stdx::{Error, Result};
use types::ByteSize;

/// `--log-opt`s by name.
pub type Options = BTreeMap<String, String>;

/// What every driver takes: delivery and the cache that `logs` reads.
const COMMON: [&str; 6] = [
    "mode",
    "max-buffer-size",
    "cache-disabled",
    "cache-max-size",
    "cache-max-file",
    "cache-compress",
];

/// Which attributes of a container go into its records; most drivers take these.
pub const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];

/// The options without those that every driver takes, which are checked here.
pub(crate) fn without_common(options: &Options) -> Result<Options> {
    let text = |name: &str| options.get(name).map_or("", String::as_str);
    match text("mode") {
        "" | "blocking" | "non-blocking" => {}
        other => {
            return Err(Error::invalid(format!("logger: logging mode not supported: {other}")));
        }
    }
    if let Some(size) = options.get("max-buffer-size") {
        if text("mode") != "non-blocking" {
            return Err(Error::invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ));
        }
        size.parse::<ByteSize>()
            .map_err(|e| Error::invalid(format!("error parsing option max-buffer-size: {e}")))?;
    }
    let disabled = text("cache-disabled");
    if !disabled.is_empty() && bool_of(disabled).is_err() {
        return Err(Error::invalid(format!("invalid value for option cache-disabled: {disabled}")));
    }
    let own = options.iter().filter(|(name, _)| !COMMON.contains(&name.as_str()));
    Ok(own.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// That there is no option but `known` and [`ATTRIBUTES`]; the first other one is told as most of Docker's drivers do.
pub fn check_names(options: &Options, driver: &str, known: &[&str]) -> Result<()> {
    let all = |name: &str| known.contains(&name) || ATTRIBUTES.contains(&name);
    match options.keys().find(|name| !all(name)) {
        Some(name) => {
            Err(Error::invalid(format!("unknown log opt '{name}' for {driver} log driver")))
        }
        None => Ok(()),
    }
}

/// Go's `strconv.ParseBool`.
pub fn bool_of(text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
    }
}

/// A switch that may be absent or empty.
pub fn flag(options: &Options, name: &str) -> Result<Option<bool>> {
    options.get(name).filter(|text| !text.is_empty()).map(|text| bool_of(text)).transpose()
}

/// Go's `strconv.Atoi`.
pub fn int_of(text: &str) -> Result<i64> {
    text.parse()
        .map_err(|_| Error::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
}

/// A size in bytes by powers of 1024, Docker's `RAMInBytes`.
pub fn size_of(text: &str) -> Result<u64> {
    text.parse::<ByteSize>().map(|size| size.0).map_err(|e| Error::invalid(e.to_string()))
}

/// A duration such as `1m30s` or `500ms`, as Go reads it.
pub fn duration_of(text: &str) -> Result<(bool, Duration)> {
    go_duration(text).ok_or_else(|| Error::invalid(format!("time: invalid duration {text:?}")))
}

fn go_duration(text: &str) -> Option<(bool, Duration)> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some((negative, Duration::ZERO));
    }
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[end..];
        total += number * unit;
    }
    // Go's durations end at 292 years.
    (total < 9.2e9).then(|| (negative, Duration::from_secs_f64(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_all_drivers_take_is_checked_as_docker_checks_it() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            let text = match without_common(&options(pairs)) {
                Ok(rest) => rest.into_keys().collect::<Vec<_>>().join(","),
                Err(e) => e.to_string(),
            };
            assert_eq!(text, expected);
        };
        check(&[("mode", "blocking"), ("x", "1"), ("cache-max-size", "1m")], "x");
        check(&[("mode", "bad")], "logger: logging mode not supported: bad");
        check(
            &[("max-buffer-size", "1m")],
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        );
        check(
            &[("mode", "non-blocking"), ("max-buffer-size", "zz")],
            "error parsing option max-buffer-size: invalid size: 'zz'",
        );
        check(&[("cache-disabled", "maybe")], "invalid value for option cache-disabled: maybe");
        check(&[("cache-foo", "1")], "cache-foo");
    }

    #[test]
    fn durations_are_gos() {
        let check = |text: &str, expected: Option<(bool, u64)>| {
            let got =
                duration_of(text).ok().map(|(n, d)| (n, u64::try_from(d.as_millis()).unwrap()));
            assert_eq!(got, expected, "{text}");
        };
        check("1s", Some((false, 1000)));
        check("-1m30s", Some((true, 90_000)));
        check("1.5h", Some((false, 5_400_000)));
        check("250ms", Some((false, 250)));
        check("0", Some((false, 0)));
        for bad in ["", "-", "1", "zz", "1x", "s", "1s2", "99999999999h"] {
            check(bad, None);
        }
    }
}
