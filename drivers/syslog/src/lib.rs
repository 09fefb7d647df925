//! Logs to syslog servers: over UDP, TCP, TLS or UNIX sockets, in the forms of RFC 3164 and RFC 5424.

#![forbid(unsafe_code)]

mod format;
mod options;

use dial::Remote;
use format::Format;
use logging::{Destination, Driver, Entry, Info, Options, Shipper, Stream, Undelivered};
use options::Set;
use stdx::Result;

/// `--log-driver syslog`.
#[derive(Debug)]
pub struct Syslog;

impl Driver for Syslog {
    fn name(&self) -> &'static str {
        "syslog"
    }

    fn check(&self, options: &Options) -> Result<()> {
        options::check(options)
    }

    fn open(&self, info: &Info) -> Result<Destination> {
        let set = Set::of(&info.options)?;
        let writer = Writer {
            remote: Remote::new(set.connectable()?),
            priority: set.facility * 8,
            format: set.format,
            counted: set.is_counted(),
            hostname: info.hostname.clone(),
            tag: info.tag("{{.ID}}")?,
        };
        // Read for their errors: they go into no message.
        info.attributes(str::to_owned)?;
        Ok(Destination::Remote(Box::new(writer)))
    }
}

/// A container's way to a server.
#[derive(Debug)]
struct Writer {
    remote: Remote,
    priority: u8,
    format: Format,
    /// Every message has its length before it (RFC 5425).
    counted: bool,
    hostname: String,
    tag: String,
}

impl Writer {
    fn message(&self, entry: &Entry) -> Vec<u8> {
        // Of information or of an error.
        let severity = if entry.stream == Stream::Stderr { 3 } else { 6 };
        let head =
            self.format.head(self.priority + severity, entry.time, &self.hostname, &self.tag);
        let mut message = head.into_bytes();
        message.extend_from_slice(&entry.line);
        if !message.ends_with(b"\n") {
            message.push(b'\n');
        }
        if self.counted {
            message.splice(..0, format!("{} ", message.len()).into_bytes());
        }
        message
    }
}

impl Shipper for Writer {
    fn ship(&mut self, entries: &[Entry]) -> Result<(), Undelivered> {
        for (delivered, entry) in entries.iter().enumerate() {
            let message = self.message(entry);
            self.remote.send(&message).map_err(|error| Undelivered { delivered, error })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
