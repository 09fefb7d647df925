//! The seccomp filter that a process gets.

use oci::runtime::Seccomp;

use crate::error::{Error, Result};
use crate::notify;

/// A compiled program and the flags to load it with.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) program: Vec<u8>,
    pub(crate) flags: u32,
    /// Whether some calls are answered by an agent.
    pub(crate) listened_to: bool,
}

/// The given program, or the specification's profile compiled.
pub(crate) fn of(profile: Option<&Seccomp>, given: Option<&[u8]>) -> Result<Option<Filter>> {
    let flags = flags(profile.map_or(&[][..], |p| &p.flags))?;
    profile.map_or(Ok(()), notify::check)?;
    let listened_to = profile.is_some_and(notify::wants);
    let program = match (given, profile) {
        (Some(program), _) => program.to_owned(),
        (None, Some(profile)) => seccomp::compile(profile, seccomp::Arch::native())?.into_bytes(),
        (None, None) => return Ok(None),
    };
    Ok(Some(Filter { program, flags, listened_to }))
}

fn flags(names: &[String]) -> Result<u32> {
    names.iter().try_fold(0, |flags, name| match name.as_str() {
        "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | sys::seccomp::FLAG_LOG),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | sys::seccomp::FLAG_SPEC_ALLOW),
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => {
            Ok(flags | sys::seccomp::FLAG_WAIT_KILLABLE_RECV)
        }
        // The process has one thread; there is nobody to synchronise with.
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(flags),
        other => Err(Error::NotImplemented(format!("seccomp flag {other} is not supported"))),
    })
}
