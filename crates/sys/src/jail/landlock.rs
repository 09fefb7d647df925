//! Landlock: a thread gives up the file system but for some directories. Kernel `Documentation/userspace-api/landlock.rst`.

use super::Access;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

// Rights, from `linux/landlock.h`.
const EXECUTE: u64 = 1 << 0;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// Everything of the first version, execution included.
const FIRST: u64 = (1 << 13) - 1;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// bind and connect.
const TCP: u64 = 0b11;
/// Abstract unix sockets and signals to the outside.
const SCOPES: u64 = 0b11;

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// `struct landlock_ruleset_attr`; older kernels know a part of it.
#[repr(C)]
struct Attributes {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// A set of rules that a thread can put itself under.
#[derive(Debug)]
pub(super) struct Prepared {
    ruleset: OwnedFd,
    abi: u32,
}

/// The version of the interface that this kernel offers; `None` if there is none or it was not switched on at boot.
pub fn abi() -> Option<u32> {
    // JUSTIFICATION: no dependency of ours speaks Landlock.
    // SAFETY: with this flag the kernel takes no attributes and only answers a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Attributes>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).ok().filter(|v| *v > 0)
}

/// Rules that leave the given directories. `None` where there is no Landlock.
pub(super) fn prepare<'a>(
    dirs: impl Iterator<Item = (BorrowedFd<'a>, Access)>,
) -> io::Result<Option<Prepared>> {
    let Some(abi) = abi() else { return Ok(None) };
    let handled = handled(abi);
    let attributes = Attributes {
        fs: handled,
        net: if abi >= 4 { TCP } else { 0 },
        scoped: if abi >= 6 { SCOPES } else { 0 },
    };
    let known: usize = match abi {
        ..=3 => 8,
        4..=5 => 16,
        _ => 24,
    };
    // JUSTIFICATION: no dependency of ours speaks Landlock.
    // SAFETY: `attributes` is initialised and at least `known` bytes long; the kernel copies it.
    let ruleset = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, known, 0_u32)
    };
    let Ok(ruleset @ 0..) = i32::try_from(ruleset) else { return Err(io::Error::last_os_error()) };
    // SAFETY: the kernel has just made this descriptor (close-on-exec) and nobody else has it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
    for (dir, access) in dirs {
        let allowed = match access {
            Access::Read => READ_FILE | READ_DIR,
            Access::Write => handled & !EXECUTE,
        };
        let rule = PathBeneath { allowed, parent: dir.as_raw_fd() };
        // JUSTIFICATION: no dependency of ours speaks Landlock.
        // SAFETY: both descriptors are open, `rule` is laid out as the kernel's packed structure and copied by it.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset.as_raw_fd(),
                RULE_PATH_BENEATH,
                &raw const rule,
                0_u32,
            )
        };
        if added != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(Some(Prepared { ruleset, abi }))
}

impl Prepared {
    pub(super) fn abi(&self) -> u32 {
        self.abi
    }

    /// Puts the calling thread under the rules, for ever.
    pub(super) fn restrict(self) -> io::Result<()> {
        // JUSTIFICATION: no dependency of ours speaks Landlock.
        // SAFETY: the descriptor is open; the call only takes rights from this thread.
        let done = unsafe {
            libc::syscall(libc::SYS_landlock_restrict_self, self.ruleset.as_raw_fd(), 0_u32)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Every right that a kernel of this version can refuse.
fn handled(abi: u32) -> u64 {
    [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)]
        .iter()
        .filter(|(since, _)| abi >= *since)
        .fold(FIRST, |all, (_, right)| all | right)
}
