//! Logs to fluentd, by its forward protocol: MessagePack arrays `[tag, time, record, options]` over a stream.
//!
//! With `fluentd-request-ack` every message carries a name that fluentd sends back when it has it; what is not
//! acknowledged is sent again. `fluentd-async`, `-buffer-limit` and `-max-retries` are taken and mean nothing: all
//! messages wait in the container's log file until they are delivered.

#![forbid(unsafe_code)]

mod msgpack;
mod options;

use std::time::Duration;

use base64::Engine as _;
use dial::Remote;
use logging::{Destination, Driver, Entry, Info, Options, Pieces, Shipper, Stream, Undelivered};
use msgpack::Packer;
use stdx::{Error, Result};

/// `--log-driver fluentd`.
#[derive(Debug)]
pub struct Fluentd;

impl Driver for Fluentd {
    fn name(&self) -> &'static str {
        "fluentd"
    }

    fn check(&self, options: &Options) -> Result<()> {
        options::check(options)
    }

    fn open(&self, info: &Info) -> Result<Destination> {
        Ok(Destination::Remote(Box::new(Forward::new(info)?)))
    }
}

/// A container's way to fluentd.
#[derive(Debug)]
struct Forward {
    remote: Remote,
    tag: String,
    /// `container_id`, `container_name` and what was chosen.
    common: Vec<(String, String)>,
    sub_second: bool,
    ack: bool,
    wait: Duration,
    pieces: Pieces,
}

impl Forward {
    fn new(info: &Info) -> Result<Self> {
        let set = options::Set::of(&info.options)?;
        let mut common = vec![
            ("container_id".to_owned(), info.id.clone()),
            ("container_name".to_owned(), format!("/{}", info.name)),
        ];
        common.extend(info.attributes(str::to_owned)?);
        Ok(Self {
            remote: Remote::new(set.address),
            tag: info.tag("{{.ID}}")?,
            common,
            sub_second: set.sub_second,
            ack: set.ack,
            wait: set.retry_wait,
            pieces: Pieces::new(&info.id),
        })
    }

    /// The message of an entry, with the name to acknowledge it by.
    fn message(&mut self, entry: &Entry) -> (Vec<u8>, String) {
        let stream = if entry.stream == Stream::Stderr { "stderr" } else { "stdout" };
        let piece = self.pieces.piece(entry);
        let mut out = Packer::default();
        out.array(4);
        out.text(&self.tag);
        if self.sub_second {
            out.event_time(entry.time);
        } else {
            out.int(entry.time.unix_seconds());
        }
        out.map(self.common.len() + 2 + if piece.is_some() { 4 } else { 0 });
        for (name, value) in &self.common {
            out.text(name);
            out.text(value);
        }
        out.text("source");
        out.text(stream);
        out.text("log");
        out.bytes_as_text(&entry.line);
        if let Some(piece) = piece {
            for (name, value) in [
                ("partial_message", "true"),
                ("partial_id", &piece.id),
                ("partial_ordinal", &piece.ordinal.to_string()),
                ("partial_last", if piece.last { "true" } else { "false" }),
            ] {
                out.text(name);
                out.text(value);
            }
        }
        let mut chunk = String::new();
        if self.ack {
            // Unique among what one connection has under way: no two records of a container have one time, stream and
            // ordinal.
            let name = format!("{}{stream}{}", entry.time.unix_nanos(), entry.line.len());
            chunk = base64::engine::general_purpose::STANDARD.encode(name);
            out.map(1);
            out.text("chunk");
            out.text(&chunk);
        } else {
            out.map(0);
        }
        (out.done(), chunk)
    }

    /// Sends, and waits for what is to be acknowledged. Says how many are delivered.
    fn send(&mut self, messages: &[(Vec<u8>, String)]) -> Result<(), Undelivered> {
        for (sent, (bytes, _)) in messages.iter().enumerate() {
            if let Err(error) = self.remote.send(bytes) {
                // What was sent before over the same connection may be lost with it; without acknowledgements there
                // is no knowing.
                let delivered = if self.ack { 0 } else { sent };
                return Err(Undelivered { delivered, error });
            }
        }
        if self.ack {
            let mut buffer = Vec::new();
            for (delivered, (_, chunk)) in messages.iter().enumerate() {
                self.acknowledged(&mut buffer, chunk)
                    .map_err(|error| Undelivered { delivered, error })?;
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, buffer: &mut Vec<u8>, chunk: &str) -> Result<()> {
        loop {
            match msgpack::ack(buffer) {
                Some((acknowledged, length)) if acknowledged == chunk => {
                    buffer.drain(..length);
                    return Ok(());
                }
                Some(_) => {
                    self.remote.hang_up();
                    return Err(Error::invalid("fluentd acknowledged what was not sent"));
                }
                None => {}
            }
            let mut block = [0; 4096];
            let n = self.remote.receive(&mut block)?;
            buffer.extend_from_slice(&block[..n]);
        }
    }
}

impl Shipper for Forward {
    fn ship(&mut self, entries: &[Entry]) -> Result<(), Undelivered> {
        // Not so many at a time that acknowledgements fill what nobody reads.
        let mut delivered = 0;
        for some in entries.chunks(64) {
            let messages: Vec<_> = some.iter().map(|entry| self.message(entry)).collect();
            self.send(&messages)
                .map_err(|u| Undelivered { delivered: delivered + u.delivered, error: u.error })?;
            delivered += some.len();
        }
        Ok(())
    }

    fn retry_wait(&self) -> Duration {
        self.wait
    }
}

#[cfg(test)]
mod tests;
