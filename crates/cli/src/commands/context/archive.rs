//! `context export` and `import`: a context as a tar archive of `meta.json` and `tls/docker/*`.

use super::change::done;
use super::{read, read_file};
use crate::app::App;
use crate::contexts::{DEFAULT, Meta, TLS_FILES, TlsFiles, check_name};
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Matches};
use crate::output;
use std::io::{Read as _, Write as _};

pub(in crate::commands) const EXPORT: Command = Command {
    group: "context",
    name: "export",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] CONTEXT [FILE|-]",
    about: "Export a context to a tar archive FILE or a tar stream on STDOUT.",
    arity: Arity::Between(1, 2),
    interspersed: true,
    flags: &[],
    run: |app, matches| Box::pin(async move { export(app, matches) }),
};

pub(in crate::commands) const IMPORT: Command = Command {
    group: "context",
    name: "import",
    aliases: &[],
    top: "",
    arguments: "CONTEXT FILE|-",
    about: "Import a context from a tar or zip file",
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[],
    run: |app, matches| Box::pin(async move { import(app, matches) }),
};

/// The largest archive, and the largest file in one, that is read: Docker's bound.
const MAX: u64 = 10 << 20;

fn export(app: &App, matches: &Matches) -> Result<u8> {
    let name = &matches.arguments[0];
    if name != DEFAULT {
        check_name(name)?;
    }
    let (meta, tls) = read(app, name)?;
    let archive = pack(&meta, &tls)?;
    let path = matches.arguments.get(1).cloned().unwrap_or_else(|| format!("{name}.dockercontext"));
    if path == "-" {
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            return Err(Failure::new(
                "cowardly refusing to export to a terminal, specify a file path",
            ));
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&archive)?;
        stdout.flush()?;
        return Ok(0);
    }
    let open = || {
        use std::os::unix::fs::OpenOptionsExt as _;
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path)
    };
    let mut file = open().map_err(|e| {
        Failure::new(match e.kind() {
            std::io::ErrorKind::AlreadyExists => format!("open {path}: file exists"),
            std::io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
            _ => format!("open {path}: {e}"),
        })
    })?;
    file.write_all(&archive)?;
    output::complain(&format!("Written file {path:?}"));
    Ok(0)
}

fn pack(meta: &Meta, tls: &TlsFiles) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = tar::Writer::new(&mut out);
    let mut put = |path: &str, kind: tar::Kind, mode: u32, content: &[u8]| {
        let mut entry = tar::Entry::new(path, kind);
        entry.mode = mode;
        entry.size = content.len() as u64;
        writer.append(&entry, &mut &content[..]).map_err(|e| Failure::new(e.to_string()))
    };
    let text = serde_json::to_vec(meta).map_err(|e| Failure::new(e.to_string()))?;
    put("meta.json", tar::Kind::File, 0o644, &text)?;
    put("tls", tar::Kind::Directory, 0o700, &[])?;
    if !tls.is_empty() {
        put("tls/docker", tar::Kind::Directory, 0o700, &[])?;
        for (name, content) in tls {
            put(&format!("tls/docker/{name}"), tar::Kind::File, 0o600, content)?;
        }
    }
    writer.finish().map_err(|e| Failure::new(e.to_string()))?;
    Ok(out)
}

fn import(app: &App, matches: &Matches) -> Result<u8> {
    let (name, path) = (matches.arguments[0].as_str(), matches.arguments[1].as_str());
    check_name(name)?;
    let store = app.contexts();
    if store.has(name) {
        return Err(Failure::new(format!("context {name:?} already exists")));
    }
    let archive = if path == "-" {
        let mut all = Vec::new();
        std::io::stdin().lock().take(MAX + 1).read_to_end(&mut all)?;
        all
    } else {
        read_file(path)?
    };
    if archive.len() as u64 > MAX {
        return Err(Failure::new("the archive of a context is larger than 10 MiB"));
    }
    let (mut meta, tls) = unpack(&archive)?;
    name.clone_into(&mut meta.name);
    store.write(&meta, Some(&tls))?;
    done(name, &format!("Successfully imported context {name:?}"))
}

/// What an archive says. It may be anybody's: names in it are compared with those that may be there, and never become
/// paths.
fn unpack(archive: &[u8]) -> Result<(Meta, TlsFiles)> {
    if archive.starts_with(b"PK\x03\x04") {
        return Err(Failure::new(
            "zip archives of contexts cannot be read; export the context as tar",
        ));
    }
    let mut input = archive;
    let mut reader = tar::Reader::new(&mut input, tar::Limits::default());
    let (mut meta, mut tls) = (None, TlsFiles::new());
    // Archives are made of blocks of 512 bytes.
    let is_cut = !archive.len().is_multiple_of(512);
    let why = if is_cut { "unexpected EOF" } else { "archive/tar: invalid tar header" };
    let wrong = |_| Failure::new(why);
    while let Some(entry) = reader.next_entry().map_err(wrong)? {
        let path = String::from_utf8_lossy(&entry.path).trim_start_matches("./").to_owned();
        if entry.kind == tar::Kind::Directory {
            continue;
        }
        let mut content = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        while let Some(chunk) = reader.next_chunk(&mut buffer).map_err(wrong)? {
            content.extend_from_slice(&buffer[..chunk.len]);
            if content.len() as u64 > MAX {
                return Err(Failure::new("a file in the archive is larger than 10 MiB"));
            }
        }
        let file = TLS_FILES.iter().find(|file| path == format!("tls/docker/{file}"));
        match (entry.kind, path.as_str(), file) {
            (tar::Kind::File, "meta.json", _) => {
                let read: Meta = serde_json::from_slice(&content)
                    .map_err(|e| Failure::new(format!("meta.json: {e}")))?;
                meta = Some(read);
            }
            (tar::Kind::File, _, Some(file)) => {
                tls.insert((*file).to_owned(), content);
            }
            _ => {
                return Err(Failure::new(format!(
                    "unexpected file in the archive of a context: {path:?}"
                )));
            }
        }
    }
    let meta = meta.ok_or_else(|| Failure::new("invalid context: no metadata found"))?;
    Ok((meta, tls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::Endpoint;

    #[test]
    fn what_is_exported_is_imported_and_nothing_else() {
        let endpoint = Endpoint { host: "tcp://h".to_owned(), skip_verify: false };
        let meta = Meta::new("aa", "mine", &endpoint);
        let tls = TlsFiles::from([("key.pem".to_owned(), b"secret".to_vec())]);
        let archive = pack(&meta, &tls).unwrap();
        assert_eq!(unpack(&archive).unwrap(), (meta, tls));
        assert_eq!(unpack(b"no archive").unwrap_err().message, "unexpected EOF");
        let block = [b'x'; 512];
        assert_eq!(unpack(&block).unwrap_err().message, "archive/tar: invalid tar header");
        let mut out = Vec::new();
        let mut writer = tar::Writer::new(&mut out);
        let entry = tar::Entry::new("tls/docker/../../../x", tar::Kind::File);
        writer.append(&entry, &mut std::io::empty()).unwrap();
        writer.finish().unwrap();
        assert!(unpack(&out).unwrap_err().message.starts_with("unexpected file in the archive"));
        assert_eq!(unpack(&[0; 1024]).unwrap_err().message, "invalid context: no metadata found");
    }
}
