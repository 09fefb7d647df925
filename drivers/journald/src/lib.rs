//! Logs into the systemd journal, by its native protocol.
//!
//! An entry is a datagram of fields, `NAME=value` and a newline each; a value with a newline in it is written as name,
//! newline, length (64 bits, little endian), value, newline. One that does not fit a datagram goes into a sealed memfd,
//! whose descriptor is sent instead (systemd's JOURNAL_NATIVE_PROTOCOL).

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use logging::options::check_names;
use logging::{Destination, Driver, Entry, Info, Options, Pieces, Shipper, Stream, Undelivered};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use stdx::{Context as _, Error, Result};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// `--log-driver journald`.
#[derive(Debug)]
pub struct Journald;

impl Driver for Journald {
    fn name(&self) -> &'static str {
        "journald"
    }

    fn check(&self, options: &Options) -> Result<()> {
        check_names(options, self.name(), &[])
    }

    fn open(&self, info: &Info) -> Result<Destination> {
        if !Path::new(SOCKET).exists() {
            return Err(Error::invalid("journald is not enabled on this host"));
        }
        Ok(Destination::Remote(Box::new(Journal::new(Path::new(SOCKET), info)?)))
    }
}

/// A container's way into the journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// The fields that all entries have.
    common: Vec<u8>,
    pieces: Pieces,
    ordinal: u64,
}

impl Journal {
    /// Into the journal that listens at `socket`.
    pub fn new(socket: &Path, info: &Info) -> Result<Self> {
        let tag = info.tag("{{.ID}}")?;
        let mut epoch = [0_u8; 32];
        rustix::rand::getrandom(&mut epoch, rustix::rand::GetRandomFlags::empty())
            .map_err(io::Error::from)
            .context(|| "make an epoch")?;
        let epoch: String = epoch.iter().map(|b| format!("{b:02x}")).collect();
        let mut common = Vec::new();
        for (name, value) in info.attributes(field_name)? {
            field(&mut common, &name, value.as_bytes());
        }
        for (name, value) in [
            ("CONTAINER_ID", info.short_id()),
            ("CONTAINER_ID_FULL", &info.id),
            ("CONTAINER_NAME", &info.name),
            ("CONTAINER_TAG", &tag),
            ("IMAGE_NAME", &info.image_name),
            ("SYSLOG_IDENTIFIER", &tag),
            ("CONTAINER_LOG_EPOCH", &epoch),
        ] {
            field(&mut common, name, value.as_bytes());
        }
        let pieces = Pieces::new(&info.id);
        Ok(Self { path: socket.to_owned(), socket: None, common, pieces, ordinal: 0 })
    }

    fn entry(&mut self, entry: &Entry) -> Vec<u8> {
        self.ordinal += 1;
        let mut bytes = Vec::with_capacity(entry.line.len() + self.common.len() + 256);
        let priority = if entry.stream == Stream::Stderr { "3" } else { "6" };
        field(&mut bytes, "PRIORITY", priority.as_bytes());
        field(&mut bytes, "MESSAGE", &entry.line);
        field(&mut bytes, "SYSLOG_TIMESTAMP", entry.time.to_string().as_bytes());
        field(&mut bytes, "CONTAINER_LOG_ORDINAL", self.ordinal.to_string().as_bytes());
        if let Some(piece) = self.pieces.piece(entry) {
            if !piece.last {
                field(&mut bytes, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
            field(&mut bytes, "CONTAINER_PARTIAL_ID", piece.id.as_bytes());
            field(&mut bytes, "CONTAINER_PARTIAL_ORDINAL", piece.ordinal.to_string().as_bytes());
            field(&mut bytes, "CONTAINER_PARTIAL_LAST", piece.last.to_string().as_bytes());
        }
        bytes.extend_from_slice(&self.common);
        bytes
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                // A journal that does not take anything for so long is tried again later.
                socket.set_write_timeout(Some(Duration::from_secs(10)))?;
                self.socket.insert(socket)
            }
        };
        match socket.send(bytes) {
            Ok(_) => Ok(()),
            Err(e) if is_too_long(&e) => send_in_memory(socket, bytes),
            Err(e) => Err(e),
        }
    }
}

impl Shipper for Journal {
    fn ship(&mut self, entries: &[Entry]) -> Result<(), Undelivered> {
        for (delivered, entry) in entries.iter().enumerate() {
            let bytes = self.entry(entry);
            if let Err(e) = self.send(&bytes) {
                // The journal was started anew, or is not there.
                self.socket = None;
                let error = Error::io(format!("write to {}", self.path.display()), e);
                return Err(Undelivered { delivered, error });
            }
        }
        Ok(())
    }
}

fn is_too_long(error: &io::Error) -> bool {
    [rustix::io::Errno::MSGSIZE, rustix::io::Errno::NOBUFS]
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

fn send_in_memory(socket: &UnixDatagram, bytes: &[u8]) -> io::Result<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("journal-entry", flags)?);
    file.write_all(bytes)?;
    // The journal maps it only when nobody can change it any more.
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    let fds = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn field(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
}

/// A label's or variable's name as the journal takes it: capitals, digits and underscores, no underscore in front.
fn field_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    let kept = |c: char| if c.is_ascii_uppercase() || c.is_ascii_digit() { c } else { '_' };
    upper.chars().map(kept).collect::<String>().trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;
    use stdx::time::Timestamp;

    fn info() -> Info {
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        Info {
            options: own(&[("labels", "com.x-y,a"), ("env", "E")]),
            id: "0123456789abcdef".repeat(4),
            name: "web".to_owned(),
            image_name: "busybox".to_owned(),
            labels: own(&[("com.x-y", "1"), ("a", "two\nlines")]),
            env: vec!["E=x".to_owned()],
            ..Info::default()
        }
    }

    fn entry(line: &[u8], stream: Stream, partial: bool) -> Entry {
        let time = Timestamp::from_unix(1_700_000_000, 5);
        Entry { stream, time, line: line.to_vec(), partial, attributes: None }
    }

    #[test]
    fn entries_are_dockers_whatever_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::new(&path, &info()).unwrap();
        let mut buffer = vec![0; 1 << 20];
        let mut text = |server: &UnixDatagram| {
            let n = server.recv(&mut buffer).unwrap();
            buffer[..n].to_vec()
        };
        journal.ship(&[entry(b"hi", Stream::Stderr, false)]).unwrap();
        let seen = text(&server);
        let has = |seen: &[u8], part: &[u8]| seen.windows(part.len()).any(|w| w == part);
        for part in [
            &b"PRIORITY=3\nMESSAGE=hi\n"[..],
            b"SYSLOG_TIMESTAMP=2023-11-14T22:13:20.000000005Z\n",
            b"CONTAINER_LOG_ORDINAL=1\n",
            b"CONTAINER_ID=0123456789ab\n",
            b"CONTAINER_NAME=web\n",
            b"SYSLOG_IDENTIFIER=0123456789ab\nCONTAINER_LOG_EPOCH=",
            b"IMAGE_NAME=busybox\n",
            b"COM_X_Y=1\n",
            b"A\n\x09\0\0\0\0\0\0\0two\nlines\n",
            b"E=x\n",
        ] {
            assert!(has(&seen, part), "{}", String::from_utf8_lossy(part));
        }
        let long = vec![b'x'; logging::MAX_LINE];
        journal
            .ship(&[entry(&long, Stream::Stdout, true), entry(b"y", Stream::Stdout, false)])
            .unwrap();
        assert!(has(&text(&server), b"CONTAINER_PARTIAL_MESSAGE=true\nCONTAINER_PARTIAL_ID=0123"));
        assert!(has(&text(&server), b"CONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=true\n"));
    }

    #[test]
    fn what_fits_no_datagram_goes_through_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::new(&path, &info()).unwrap();
        let huge = vec![b'x'; 4 << 20];
        journal.ship(&[entry(&huge, Stream::Stdout, false)]).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
        rustix::net::recvmsg(&server, &mut [], &mut ancillary, rustix::net::RecvFlags::empty())
            .unwrap();
        let fds: Vec<_> = ancillary
            .drain()
            .filter_map(|m| match m {
                rustix::net::RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        let file = File::from(fds.into_iter().next().unwrap());
        assert!(file.metadata().unwrap().len() > 4 << 20);
        let mut start = [0; 30];
        file.read_exact_at(&mut start, 0).unwrap();
        assert!(start.starts_with(b"PRIORITY=6\nMESSAGE=xxx"));
    }

    #[test]
    fn a_journal_that_was_away_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut journal = Journal::new(&path, &info()).unwrap();
        let entries = [entry(b"a", Stream::Stdout, false), entry(b"b", Stream::Stdout, false)];
        assert_eq!(journal.ship(&entries).unwrap_err().delivered, 0);
        let server = UnixDatagram::bind(&path).unwrap();
        journal.ship(&entries).unwrap();
        drop(server);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(journal.ship(&entries).unwrap_err().delivered, 0);
    }
}
