//! What stands before a message's text.

use stdx::time::Timestamp;

/// The forms, by their names in `syslog-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// None named: that of local daemons, without a host name.
    Unix,
    /// `rfc3164`
    Rfc3164,
    /// `rfc5424`
    Rfc5424,
    /// `rfc5424micro`, with microseconds.
    Rfc5424Micro,
}

impl Format {
    pub(crate) fn head(self, priority: u8, time: Timestamp, hostname: &str, tag: &str) -> String {
        // Docker says its own, as every syslog client does.
        let pid = std::process::id();
        match self {
            Self::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp(time)),
            Self::Rfc3164 => format!("<{priority}>{} {hostname} {tag}[{pid}]: ", stamp(time)),
            Self::Rfc5424 | Self::Rfc5424Micro => {
                let time =
                    if self == Self::Rfc5424 { rfc3339(time, "") } else { rfc3339(time, "%.6f") };
                format!("<{priority}>1 {time} {hostname} {tag} {pid} {tag} - ")
            }
        }
    }
}

fn zoned(time: Timestamp) -> jiff::Zoned {
    let nanos = time.unix_nanos();
    let time = jiff::Timestamp::from_nanosecond(nanos).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system())
}

/// `Nov  2 04:45:58`, in the host's zone.
fn stamp(time: Timestamp) -> String {
    zoned(time).strftime("%b %e %H:%M:%S").to_string()
}

fn rfc3339(time: Timestamp, fraction: &str) -> String {
    let zoned = zoned(time);
    let zone = if zoned.offset().is_zero() { "Z" } else { "%:z" };
    zoned.strftime(&format!("%Y-%m-%dT%H:%M:%S{fraction}{zone}")).to_string()
}
