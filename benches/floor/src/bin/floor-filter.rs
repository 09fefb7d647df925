//! Writes the default seccomp program of an ordinary container to a file: `floor-filter FILE`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "a command-line tool")]

use std::process::ExitCode;

/// The capabilities of a default container.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: floor-filter FILE");
        return ExitCode::from(2);
    };
    let arch = seccomp::Arch::native();
    let kernel = seccomp::Kernel { major: 6, minor: 1 };
    let filter = seccomp::default_profile().resolve(&CAPABILITIES, arch, kernel);
    match seccomp::compile(&filter, arch).map(|program| std::fs::write(&file, program.as_bytes())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(e)) => {
            eprintln!("floor-filter: {}: {e}", file.display());
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("floor-filter: {e}");
            ExitCode::FAILURE
        }
    }
}
