//! One child, signals for it, and everybody's zombies.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use rustix::io::Errno;
use rustix::process::WaitOptions;
use sys::clone::{Clone3, Cloned};

/// Numbers of the signals that are not passed on: about our own children, and about our own terminal access.
const OWN: [i32; 3] = [SIGCHLD, SIGTTIN, SIGTTOU];
const SIGCHLD: i32 = 17;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;

/// Runs the command and returns its exit code, or 128 and the number of the signal that ended it.
pub(crate) fn supervise(command: &[OsString]) -> io::Result<u8> {
    // Before the child exists, so that nothing that is meant for it is lost.
    sys::process::block_signals()?;
    let child = match sys::clone::clone3(Clone3::default())? {
        Cloned::Parent { pid, .. } => pid,
        Cloned::Child => become_child(command),
    };
    loop {
        let signal = sys::process::next_signal()?;
        if !OWN.contains(&signal) {
            // The group: what the child started in the foreground is meant too. It may be gone already.
            let _gone =
                sys::process::kill(-child, signal).or_else(|_| sys::process::kill(child, signal));
        }
        if let Some(code) = reap(child)? {
            return Ok(code);
        }
    }
}

/// Reaps everyone who has ended; the code if the child is among them.
fn reap(child: i32) -> io::Result<Option<u8>> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == child => {
                let how =
                    status.exit_status().or_else(|| status.terminating_signal().map(|s| 128 + s));
                code = how.and_then(|h| u8::try_from(h & 0xff).ok());
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(code),
            Err(e) => return Err(e.into()),
        }
    }
}

/// The child: a process group of its own, the terminal's foreground one if there is a terminal, and then the program.
fn become_child(command: &[OsString]) -> ! {
    let own_group = rustix::process::setpgid(None, None);
    if own_group.is_ok() {
        // Still with SIGTTOU blocked, or this would stop us. Without a terminal it fails, which is as well.
        let _no_terminal =
            rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpgrp());
    }
    sys::process::reset_signals();
    let error = exec(command);
    let name = command.first().map(|n| n.to_string_lossy()).unwrap_or_default();
    eprintln!("gantry-init: exec {name}: {error}");
    sys::process::exit_now(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

/// Executes the command, looked up in PATH as execvp(3) does; returns why none could be.
fn exec(command: &[OsString]) -> io::Error {
    let string = |s: &OsStr| CString::new(s.as_bytes());
    let arguments: Result<Vec<CString>, _> = command.iter().map(|a| string(a)).collect();
    let Ok(arguments) = arguments else { return Errno::INVAL.into() };
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| {
            let mut entry = name;
            entry.push("=");
            entry.push(value);
            string(&entry).ok()
        })
        .collect();
    let Some(name) = command.first() else { return Errno::NOENT.into() };
    if name.as_bytes().contains(&b'/') {
        return sys::process::exec(&arguments[0], &arguments, &environment);
    }
    let path =
        std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/bin:/usr/bin"));
    let mut denied = None;
    for dir in std::env::split_paths(&path) {
        let Ok(file) = string(dir.join(name).as_os_str()) else { continue };
        let error = sys::process::exec(&file, &arguments, &environment);
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
            // Something later in PATH may still do; if not, this is the reason to tell.
            io::ErrorKind::PermissionDenied => denied = Some(error),
            _ => return error,
        }
    }
    denied.unwrap_or_else(|| Errno::NOENT.into())
}
