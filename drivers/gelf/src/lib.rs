//! Logs to Graylog, as GELF 1.1: over UDP, compressed and in chunks, or over TCP, each message ended by a zero byte.

#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::time::Duration;

use dial::{Address, Remote};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use logging::options::{check_names, int_of};
use logging::{Destination, Driver, Entry, Info, Options, Shipper, Stream, Undelivered};
use serde_json::{Map, Value};
use stdx::{Context as _, Error, Result};

/// A datagram of more bytes than this is cut.
const CHUNK: usize = 1420;

/// Magic, id, number, count.
const CHUNK_HEAD: usize = 12;

/// A message of more chunks than this cannot be sent.
const MAX_CHUNKS: usize = 128;

const OWN: [&str; 5] = [
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
];

/// `--log-driver gelf`.
#[derive(Debug)]
pub struct Gelf;

impl Driver for Gelf {
    fn name(&self) -> &'static str {
        "gelf"
    }

    fn check(&self, options: &Options) -> Result<()> {
        let (_, tcp) = address(options)?;
        for (name, value) in options {
            let unknown = || {
                Err(Error::invalid(format!(
                    "unknown value {value:?} for log opt {name:?} for gelf log driver"
                )))
            };
            match name.as_str() {
                "gelf-compression-type" if tcp => {
                    return Err(Error::invalid("compression is only supported on UDP"));
                }
                "gelf-compression-type" if !matches!(value.as_str(), "gzip" | "zlib" | "none") => {
                    return unknown();
                }
                "gelf-compression-level" if tcp => {
                    return Err(Error::invalid("compression is only supported on UDP"));
                }
                "gelf-compression-level" if !int_of(value).is_ok_and(|n| (-1..=9).contains(&n)) => {
                    return unknown();
                }
                "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay" if !tcp => {
                    return Err(Error::invalid(format!("{name:?} is only valid for TCP")));
                }
                "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay"
                    if !int_of(value).is_ok_and(|n| n >= 0) =>
                {
                    return Err(Error::invalid(format!("{name:?} must be a positive integer")));
                }
                _ => {}
            }
        }
        check_names(options, self.name(), &OWN)
    }

    fn open(&self, info: &Info) -> Result<Destination> {
        Ok(Destination::Remote(Box::new(Graylog::new(info)?)))
    }
}

/// The address, and whether it is TCP's.
fn address(options: &Options) -> Result<(Address, bool)> {
    let text = options.get("gelf-address").map_or("", String::as_str);
    if text.is_empty() {
        return Err(Error::invalid("gelf-address is a required parameter"));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let tcp = match scheme {
        "tcp" => true,
        "udp" => false,
        _ => return Err(Error::invalid("gelf: endpoint needs to be TCP or UDP")),
    };
    let rest = rest.trim_end_matches('/');
    if rest
        .rsplit_once(':')
        .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
    {
        return Err(Error::invalid("gelf: please provide gelf-address as proto://host:port"));
    }
    let address = rest.to_owned();
    Ok((if tcp { Address::Tcp(address) } else { Address::Udp(address) }, tcp))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zlib,
}

/// A container's way to Graylog.
#[derive(Debug)]
struct Graylog {
    remote: Remote,
    tcp: bool,
    packing: Packing,
    level: Compression,
    hostname: String,
    common: Map<String, Value>,
    delay: Duration,
}

impl Graylog {
    fn new(info: &Info) -> Result<Self> {
        let (address, tcp) = address(&info.options)?;
        let mut common = Map::new();
        for (name, value) in info.attributes(|name| format!("_{name}"))? {
            common.insert(name, value.into());
        }
        for (name, value) in [
            ("_command", info.command_line()),
            ("_container_id", info.id.clone()),
            ("_container_name", info.name.clone()),
            ("_created", info.created.clone()),
            ("_image_id", info.image_id.clone()),
            ("_image_name", info.image_name.clone()),
            ("_tag", info.tag("{{.ID}}")?),
        ] {
            common.insert(name.to_owned(), value.into());
        }
        let packing = match info.option("gelf-compression-type") {
            _ if tcp => Packing::None,
            Some("none") => Packing::None,
            Some("zlib") => Packing::Zlib,
            _ => Packing::Gzip,
        };
        let number = |name: &str| info.option(name).and_then(|text| text.parse::<u32>().ok());
        let level = match info.option("gelf-compression-level") {
            Some("-1") => Compression::default(),
            _ => Compression::new(number("gelf-compression-level").unwrap_or(1)),
        };
        let delay =
            Duration::from_secs(number("gelf-tcp-reconnect-delay").unwrap_or(1).max(1).into());
        let hostname = info.hostname.clone();
        Ok(Self { remote: Remote::new(address), tcp, packing, level, hostname, common, delay })
    }

    fn message(&self, entry: &Entry) -> Vec<u8> {
        let milliseconds = entry.time.unix_nanos() / 1_000_000;
        #[allow(clippy::cast_precision_loss, reason = "GELF's times are floats")]
        let timestamp = milliseconds as f64 / 1000.0;
        let mut message = Map::new();
        message.insert("version".to_owned(), "1.1".into());
        message.insert("host".to_owned(), self.hostname.clone().into());
        message.insert("short_message".to_owned(), String::from_utf8_lossy(&entry.line).into());
        message.insert("timestamp".to_owned(), timestamp.into());
        let level = if entry.stream == Stream::Stderr { 3 } else { 6 };
        message.insert("level".to_owned(), level.into());
        message.extend(self.common.clone());
        serde_json::to_vec(&message).unwrap_or_default()
    }

    fn send(&mut self, entry: &Entry) -> Result<()> {
        let mut message = self.message(entry);
        if self.tcp {
            message.push(0);
            return self.remote.send(&message);
        }
        let packed = pack(&message, self.packing, self.level).context(|| "compress")?;
        if packed.len() <= CHUNK {
            return self.remote.send(&packed);
        }
        let chunks: Vec<_> = packed.chunks(CHUNK - CHUNK_HEAD).collect();
        let Some(count) = u8::try_from(chunks.len()).ok().filter(|n| usize::from(*n) <= MAX_CHUNKS)
        else {
            // No number of tries would make it fit; a line is at most 16 KiB, so only attributes can be so large.
            return Ok(());
        };
        let mut id = [0; 8];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(io::Error::from)
            .context(|| "make an id")?;
        for (number, chunk) in (0_u8..).zip(chunks) {
            let datagram = [&[0x1e, 0x0f][..], &id, &[number, count], chunk].concat();
            self.remote.send(&datagram)?;
        }
        Ok(())
    }
}

fn pack(message: &[u8], packing: Packing, level: Compression) -> io::Result<Vec<u8>> {
    match packing {
        Packing::None => Ok(message.to_vec()),
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(message)?;
            encoder.finish()
        }
        Packing::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(message)?;
            encoder.finish()
        }
    }
}

impl Shipper for Graylog {
    fn ship(&mut self, entries: &[Entry]) -> Result<(), Undelivered> {
        for (delivered, entry) in entries.iter().enumerate() {
            // GELF has no empty messages.
            if !entry.line.is_empty() {
                self.send(entry).map_err(|error| Undelivered { delivered, error })?;
            }
        }
        Ok(())
    }

    fn retry_wait(&self) -> Duration {
        self.delay
    }
}

#[cfg(test)]
mod tests;
