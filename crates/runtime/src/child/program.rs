//! Which file `args[0]` is, by the container's own PATH, with the error texts of runc.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use crate::error::{Error, Result, words};

/// Looks the program up as the user that this process has become, from its working directory.
pub(super) fn find(name: &CStr, environment: &[CString]) -> Result<CString> {
    let shown = name.to_string_lossy();
    if name.to_bytes().contains(&b'/') {
        let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        return match executable(path) {
            Ok(()) => Ok(name.to_owned()),
            Err(Miss::Stat(e)) => {
                let text = format!("exec: {shown:?}: stat {shown}: {}", words(&e.into()));
                Err(if is_missing(e) {
                    Error::ProgramNotFound(text)
                } else {
                    Error::ProgramNotExecutable(text)
                })
            }
            Err(Miss::Other(e)) => {
                Err(Error::ProgramNotExecutable(format!("exec: {shown:?}: {}", words(&e.into()))))
            }
        };
    }
    let paths =
        environment.iter().find_map(|e| e.to_bytes().strip_prefix(b"PATH=")).unwrap_or_default();
    let found = std::env::split_paths(std::ffi::OsStr::from_bytes(paths)).find_map(|dir| {
        // An empty entry would be the working directory; so would a relative one. Go and Docker refuse both.
        let path: PathBuf = dir.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        (dir.is_absolute() && !name.is_empty() && executable(&path).is_ok()).then_some(path)
    });
    found.and_then(|path| CString::new(path.into_os_string().into_encoded_bytes()).ok()).ok_or_else(
        || Error::ProgramNotFound(format!("exec: {shown:?}: executable file not found in $PATH")),
    )
}

/// Why exec itself failed.
pub(super) fn exec_failed(path: &CStr, error: &std::io::Error) -> Error {
    let text = format!("exec {}: {}", path.to_string_lossy(), words(error));
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(e) if is_missing(e) => Error::ProgramNotFound(text),
        _ => Error::ProgramNotExecutable(text),
    }
}

enum Miss {
    Stat(Errno),
    Other(Errno),
}

fn executable(path: &Path) -> std::result::Result<(), Miss> {
    let stat = rustix::fs::stat(path).map_err(Miss::Stat)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        // What execve(2) says of a directory, and so runc, whose words users know.
        return Err(Miss::Other(Errno::ACCESS));
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(Miss::Other)
}

fn is_missing(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR)
}
