//! The driver's options, with Docker's words for wrong ones.

use std::path::Path;

use dial::{Address, Tls};
use logging::Options;
use logging::options::check_names;
use stdx::{Error, Result};

use crate::format::Format;

const OWN: [&str; 7] = [
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
];

const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

const DAEMON: u8 = 3;

/// What is obeyed.
#[derive(Debug)]
pub(crate) struct Set {
    /// `None`: the host's own syslog.
    pub(crate) address: Option<Address>,
    pub(crate) facility: u8,
    pub(crate) format: Format,
}

pub(crate) fn check(options: &Options) -> Result<()> {
    check_names(options, "syslog", &OWN)?;
    Set::of(options).map(drop)
}

impl Set {
    pub(crate) fn of(options: &Options) -> Result<Self> {
        let text = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
        let path = |name: &str| Some(text(name)).filter(|t| !t.is_empty()).map(Into::into);
        let tls = Tls {
            ca: path("syslog-tls-ca-cert"),
            cert: path("syslog-tls-cert"),
            key: path("syslog-tls-key"),
            // As Docker reads it: said at all is said.
            skip_verify: options.contains_key("syslog-tls-skip-verify"),
        };
        let address = address(text("syslog-address"), tls)?;
        let facility = facility(text("syslog-facility"))?;
        let format = match text("syslog-format") {
            "" => Format::Unix,
            "rfc3164" => Format::Rfc3164,
            "rfc5424" => Format::Rfc5424,
            "rfc5424micro" => Format::Rfc5424Micro,
            _ => return Err(Error::invalid("Invalid syslog format")),
        };
        Ok(Self { address, facility, format })
    }

    /// The address, whose certificates are what they should be; the host's own syslog must be there.
    pub(crate) fn connectable(&self) -> Result<Address> {
        if let Some(Address::Tls(_, tls)) = &self.address {
            tls.check()?;
        }
        match &self.address {
            Some(address) => Ok(address.clone()),
            None => ["/dev/log", "/var/run/syslog", "/var/run/log"]
                .iter()
                .find(|path| Path::new(path).exists())
                .map(|path| Address::UnixDatagram(path.into()))
                .ok_or_else(|| Error::invalid("Unix syslog delivery error")),
        }
    }

    /// Over TLS, messages of RFC 5424 are counted (RFC 5425); otherwise a newline ends them.
    pub(crate) fn is_counted(&self) -> bool {
        matches!(self.address, Some(Address::Tls(..)))
            && matches!(self.format, Format::Rfc5424 | Format::Rfc5424Micro)
    }
}

fn facility(text: &str) -> Result<u8> {
    let named = FACILITIES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let numbered = || text.parse().ok().filter(|n| FACILITIES.iter().any(|(_, known)| known == n));
    match named.or_else(numbered) {
        _ if text.is_empty() => Ok(DAEMON),
        Some(number) => Ok(number),
        None => Err(Error::invalid("invalid syslog facility")),
    }
}

fn address(text: &str, tls: Tls) -> Result<Option<Address>> {
    if text.is_empty() {
        return Ok(None);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let path = || {
        std::fs::metadata(rest).map_err(|e| {
            let why = if e.kind() == std::io::ErrorKind::NotFound {
                "no such file or directory".to_owned()
            } else {
                e.to_string()
            };
            Error::invalid(format!("stat {rest}: {why}"))
        })
    };
    Ok(Some(match scheme {
        "unix" => {
            path()?;
            Address::Unix(rest.into())
        }
        "unixgram" => {
            path()?;
            Address::UnixDatagram(rest.into())
        }
        "udp" => Address::Udp(with_port(rest)?),
        "tcp" => Address::Tcp(with_port(rest)?),
        "tcp+tls" => Address::Tls(with_port(rest)?, tls),
        other => return Err(Error::invalid(format!("unsupported scheme: '{other}'"))),
    }))
}

/// 514 is syslog's port when none is named.
fn with_port(rest: &str) -> Result<String> {
    let host = rest.trim_end_matches('/');
    let outside = host.rsplit_once(']').map_or(host, |(_, after)| after);
    match outside.matches(':').count() {
        0 => Ok(format!("{host}:514")),
        1 => Ok(host.to_owned()),
        _ => Err(Error::invalid(format!("address {host}: too many colons in address"))),
    }
}
