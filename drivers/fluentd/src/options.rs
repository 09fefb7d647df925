//! The driver's options, with Docker's words for wrong ones.

use std::time::Duration;

use dial::{Address, Tls};
use logging::Options;
use logging::options::{bool_of, check_names, duration_of, size_of};
use stdx::{Error, Result};

const OWN: [&str; 12] = [
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-read-timeout",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
    "fluentd-tls-skip-verify",
];

/// What is obeyed.
pub(crate) struct Set {
    pub(crate) address: Address,
    pub(crate) sub_second: bool,
    pub(crate) ack: bool,
    pub(crate) retry_wait: Duration,
}

pub(crate) fn check(options: &Options) -> Result<()> {
    check_names(options, "fluentd", &OWN)?;
    Set::of(options).map(drop)
}

impl Set {
    pub(crate) fn of(options: &Options) -> Result<Self> {
        let text = |name: &str| options.get(name).map(String::as_str).filter(|t| !t.is_empty());
        let flag = |name: &str| text(name).map_or(Ok(false), bool_of);
        let address =
            address(text("fluentd-address").unwrap_or_default(), flag("fluentd-tls-skip-verify")?)?;
        flag("fluentd-async")?;
        flag("fluentd-async-connect")?;
        if text("fluentd-async").is_some() && text("fluentd-async-connect").is_some() {
            return Err(Error::invalid(
                "conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect'",
            ));
        }
        if let Some(interval) = text("fluentd-async-reconnect-interval") {
            check_interval(interval)?;
        }
        text("fluentd-buffer-limit").map(size_of).transpose()?;
        if let Some(retries) = text("fluentd-max-retries") {
            retries.parse::<u64>().map_err(|_| {
                Error::invalid(format!("strconv.ParseUint: parsing {retries:?}: invalid syntax"))
            })?;
        }
        for name in ["fluentd-read-timeout", "fluentd-write-timeout"] {
            if let Some(timeout) = text(name) {
                let (negative, _) = duration_of(timeout)
                    .map_err(|e| Error::invalid(format!("invalid value for {name}: {e}")))?;
                if negative {
                    return Err(Error::invalid(format!(
                        "invalid value for {name}: value must be a positive duration"
                    )));
                }
            }
        }
        let retry_wait = text("fluentd-retry-wait").map(duration_of).transpose()?;
        Ok(Self {
            address,
            sub_second: flag("fluentd-sub-second-precision")?,
            ack: flag("fluentd-request-ack")?,
            retry_wait: retry_wait
                .map_or(Duration::from_secs(1), |(_, wait)| wait.max(Duration::from_millis(50))),
        })
    }
}

fn check_interval(text: &str) -> Result<()> {
    let named = |e: String| {
        Error::invalid(format!("invalid value for fluentd-async-reconnect-interval: {e}"))
    };
    let (negative, interval) = duration_of(text).map_err(|e| named(e.to_string()))?;
    let bounds = Duration::from_millis(100)..=Duration::from_secs(10);
    if negative || !bounds.contains(&interval) {
        return Err(named(format!("value ({text:?}) must be between 100ms and 10s")));
    }
    Ok(())
}

/// `[tcp://|tls://]host[:port]` or `unix:///path`.
fn address(text: &str, skip_verify: bool) -> Result<Address> {
    let invalid =
        |why: String| Err(Error::invalid(format!("invalid fluentd-address ({text}): {why}")));
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match scheme {
        "unix" if rest.trim_matches('/').is_empty() => invalid("path is empty".to_owned()),
        "unix" => Ok(Address::Unix(rest.into())),
        "tcp" | "tls" => {
            if rest.contains('/') {
                return invalid("should not contain a path element".to_owned());
            }
            let (host, port) = match rest.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port),
                _ => (rest, ""),
            };
            if !port.is_empty() && port.parse::<u16>().is_err() {
                return invalid(format!(
                    "parse \"{scheme}://{rest}\": invalid port \":{port}\" after host"
                ));
            }
            let host = if host.is_empty() { "127.0.0.1" } else { host };
            let port = if port.is_empty() { "24224" } else { port };
            let place = format!("{host}:{port}");
            Ok(if scheme == "tcp" {
                Address::Tcp(place)
            } else {
                Address::Tls(place, Tls { skip_verify, ..Tls::default() })
            })
        }
        other => invalid(format!("unsupported scheme: '{other}'")),
    }
}
