//! Signals by name or number.

/// Names by number (x86_64 and aarch64 agree), without `SIG`.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of `9`, `KILL`, `SIGKILL`, `RTMIN+1`...
pub(crate) fn parse(text: &str) -> Result<i32, String> {
    let unknown = || format!("unknown signal {text:?}");
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).map_err(|_| unknown());
    }
    let offset = |text: &str| {
        if text.is_empty() { Ok(0) } else { text.parse::<i32>().map_err(|_| unknown()) }
    };
    // The C library keeps 32 and 33 for itself.
    let number = match (name, name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        ("POLL", ..) => 29,
        ("IOT", ..) => 6,
        ("CLD", ..) => 17,
        (_, Some(rest), _) => 34 + offset(rest)?,
        (.., Some(rest)) => 64 + offset(rest)?,
        _ => return Err(unknown()),
    };
    if (1..=64).contains(&number) { Ok(number) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("SIGSYS", 31),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for bad in ["", "0", "65", "-1", "SIG", "NOPE", "RTMIN+40", "RTMINX"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
