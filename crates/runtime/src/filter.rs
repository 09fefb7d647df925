//! The seccomp filter that a container's first process gets.

use oci::runtime::Spec;

use crate::error::{Error, Result};

/// A compiled program and the flags to load it with.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) program: Vec<u8>,
    pub(crate) flags: u32,
}

/// The given program, or the specification's profile compiled.
pub(crate) fn of(spec: &Spec, given: Option<&[u8]>) -> Result<Option<Filter>> {
    let profile = spec.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let flags = flags(profile.map_or(&[][..], |p| &p.flags))?;
    match (given, profile) {
        (Some(program), _) => Ok(Some(Filter { program: program.to_owned(), flags })),
        (None, Some(profile)) => {
            let program = seccomp::compile(profile, seccomp::Arch::native())?.into_bytes();
            Ok(Some(Filter { program, flags }))
        }
        (None, None) => Ok(None),
    }
}

fn flags(names: &[String]) -> Result<u32> {
    names.iter().try_fold(0, |flags, name| match name.as_str() {
        "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | sys::seccomp::FLAG_LOG),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | sys::seccomp::FLAG_SPEC_ALLOW),
        // The process has one thread; there is nobody to synchronise with.
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(flags),
        other => Err(Error::NotImplemented(format!("seccomp flag {other} is not supported"))),
    })
}
