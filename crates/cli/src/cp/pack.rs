//! A local file or tree as an archive, streamed by a thread.

use super::{Info, split};
use crate::exit::{Failure, Result};
use bytes::Bytes;
use client::ByteStream;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use tar::{Entry, Kind, Time, Writer};

/// A source on this side: links on the way are followed, one at the end only when asked to.
pub(crate) fn source(path: &str, follow: bool) -> Result<Info> {
    let real = |path: &str| match fs::canonicalize(path) {
        Ok(path) => Ok(path.display().to_string()),
        Err(e) => Err(failed("lstat", path, &e)),
    };
    let (path, rebase) = if follow {
        super::followed(path, &real(path)?)
    } else {
        let (dir, base) = split(path);
        let dir = real(if dir.is_empty() { "." } else { &dir })?;
        let whole = format!("{}/{base}", dir.trim_end_matches('/'));
        (super::keep_end(whole, path), String::new())
    };
    // A slash at the end follows a link there.
    let found = fs::symlink_metadata(&path).map_err(|e| match e.kind() {
        // A slash behind a file: Docker says no more than this.
        io::ErrorKind::NotADirectory => Failure::new("not a directory"),
        _ => failed("lstat", &path, &e),
    })?;
    Ok(Info { path, exists: true, is_dir: found.is_dir(), rebase })
}

/// The archive of `source`, its names changed, and how many bytes have been sent of it.
pub(crate) fn stream(
    source: &Info,
    rename: Option<(String, String)>,
) -> Result<(ByteStream, Arc<AtomicU64>)> {
    let (reader, writer) = std::io::pipe()?;
    let top = source.path.clone();
    let (_, base) = split(&top);
    let shown = if source.rebase.is_empty() { base } else { source.rebase.clone() };
    let thread = std::thread::Builder::new().name("pack".to_owned()).spawn(move || {
        let mut out = BufWriter::with_capacity(256 << 10, writer);
        let packed = {
            let mut packer =
                Packer { writer: Writer::new(&mut out), rename, linked: HashMap::new() };
            packer
                .add(Path::new(&top), shown.into_bytes())
                .and_then(|()| Ok(packer.writer.finish()?))
        };
        packed.and_then(|()| Ok(out.flush()?))
    })?;
    let sent = Arc::new(AtomicU64::new(0));
    let state = Packing { reader, thread: Some(thread), sent: Arc::clone(&sent) };
    let stream = futures_util::stream::try_unfold(state, |mut state| async move {
        Ok(state.next()?.map(|piece| (piece, state)))
    });
    Ok((Box::pin(stream), sent))
}

struct Packing {
    reader: std::io::PipeReader,
    thread: Option<JoinHandle<Result<(), Trouble>>>,
    sent: Arc<AtomicU64>,
}

impl Packing {
    /// The next piece. Reading blocks this thread, which has nothing else to do meanwhile. An archive that could not be
    /// packed to its end ends with an error, so that nobody takes it for whole.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut piece = vec![0; 256 << 10];
        let n = self.reader.read(&mut piece)?;
        if n > 0 {
            piece.truncate(n);
            self.sent.fetch_add(n as u64, Ordering::Relaxed);
            return Ok(Some(piece.into()));
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(trouble))) => Err(io::Error::other(trouble.0)),
            Some(Err(_)) => Err(io::Error::other("the packing thread panicked")),
            Some(Ok(Ok(()))) | None => Ok(None),
        }
    }
}

/// Why packing failed, in words.
#[derive(Debug)]
struct Trouble(String);

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<tar::Error> for Trouble {
    fn from(error: tar::Error) -> Self {
        Self(stdx::Error::from(error).to_string())
    }
}

struct Packer<'o> {
    writer: Writer<'o>,
    rename: Option<(String, String)>,
    /// Files with several names, and what the first one is called.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl Packer<'_> {
    fn add(&mut self, path: &Path, shown: Vec<u8>) -> Result<(), Trouble> {
        let at = |e: io::Error| Trouble(failed("lstat", &path.display().to_string(), &e).message);
        let found = fs::symlink_metadata(path).map_err(at)?;
        let kind = found.file_type();
        let name = super::renamed(&shown, self.rename.as_ref());
        if kind.is_dir() {
            self.writer.append(&entry(name, Kind::Directory, &found), &mut io::empty())?;
            let mut names =
                fs::read_dir(path)?.map(|e| Ok(e?.file_name())).collect::<io::Result<Vec<_>>>()?;
            names.sort_unstable();
            for child in names {
                self.add(&path.join(&child), [&shown[..], b"/", child.as_bytes()].concat())?;
            }
            return Ok(());
        }
        if kind.is_socket() {
            // As everybody does: an archive cannot have it.
            return Ok(());
        }
        if found.nlink() > 1 {
            match self.linked.entry((found.dev(), found.ino())) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    let link = Kind::HardLink { target: first.get().clone() };
                    return Ok(self.writer.append(&entry(name, link, &found), &mut io::empty())?);
                }
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(name.clone());
                }
            }
        }
        let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        let kind = match () {
            () if kind.is_file() => return self.file(path, name),
            () if kind.is_symlink() => {
                Kind::Symlink { target: fs::read_link(path)?.as_os_str().as_bytes().to_vec() }
            }
            () if kind.is_fifo() => Kind::Fifo,
            () if kind.is_char_device() => Kind::CharDevice { major, minor },
            () => Kind::BlockDevice { major, minor },
        };
        Ok(self.writer.append(&entry(name, kind, &found), &mut io::empty())?)
    }

    fn file(&mut self, path: &Path, name: Vec<u8>) -> Result<(), Trouble> {
        let opened = fs::File::open(path);
        let file =
            opened.map_err(|e| Trouble(failed("open", &path.display().to_string(), &e).message))?;
        let found = file.metadata()?;
        let mut entry = entry(name, Kind::File, &found);
        entry.size = found.len();
        // Exactly as long as announced, whatever happens to the file meanwhile.
        let mut content = file.chain(io::repeat(0));
        Ok(self.writer.append(&entry, &mut content)?)
    }
}

fn entry(path: Vec<u8>, kind: Kind, found: &Metadata) -> Entry {
    Entry {
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        mtime: Time { seconds: found.mtime(), nanos: 0 },
        ..Entry::new(path, kind)
    }
}

/// As Go words it: `lstat /x: no such file or directory`.
pub(super) fn failed(call: &str, path: &str, error: &io::Error) -> Failure {
    let why = stdx::Error::io(format!("{call} {path}"), io::Error::from(error.kind()));
    let why = match error.kind() {
        io::ErrorKind::NotFound => format!("{call} {path}: no such file or directory"),
        io::ErrorKind::PermissionDenied => format!("{call} {path}: permission denied"),
        io::ErrorKind::NotADirectory => format!("{call} {path}: not a directory"),
        _ => format!("{why}: {error}"),
    };
    Failure::new(why)
}
