//! Installing seccomp programs.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// `SECCOMP_FILTER_FLAG_LOG`: log actions other than allow.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no speculative store bypass mitigation.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: a call that an agent has received can only be interrupted by a deadly signal.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const FLAG_NEW_LISTENER: u32 = 1 << 3;

/// Bytes of one instruction (`struct sock_filter`).
const INSTRUCTION: usize = 8;

/// Filters the system calls of the calling thread from now on with a classic BPF program, an array of `sock_filter`
/// as bytes in this machine's order (man 2 seccomp). There is no way back.
///
/// `EACCES` without `CAP_SYS_ADMIN` or `no_new_privs`, `EINVAL` for a program that the kernel's checker refuses.
pub fn install(program: &[u8], flags: u32) -> io::Result<()> {
    load(program, flags).map(drop)
}

/// As [`install`], and returns the descriptor at which an agent is told of calls whose answer is `SECCOMP_RET_USER_NOTIF`
/// (closed on exec). `EBUSY` when this thread has a filter with a listener already.
pub fn install_with_listener(program: &[u8], flags: u32) -> io::Result<OwnedFd> {
    let number = load(program, flags | FLAG_NEW_LISTENER)?;
    // JUSTIFICATION: the descriptor comes as a number.
    // SAFETY: with this flag the kernel returns a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn load(program: &[u8], flags: u32) -> io::Result<libc::c_int> {
    let length = u16::try_from(program.len() / INSTRUCTION).ok().filter(|n| *n > 0);
    let (Some(len), 0) = (length, program.len() % INSTRUCTION) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // JUSTIFICATION: no safe crate loads a program that is given as bytes.
    // SAFETY: the kernel copies `len` instructions from `filter`, which the slice covers (checked above); it does not
    // write to them and needs no alignment. The program can only take abilities from this thread.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u16, jump_true: u8, jump_false: u8, k: u32) -> [u8; INSTRUCTION] {
        let mut bytes = [0; INSTRUCTION];
        bytes[..2].copy_from_slice(&code.to_ne_bytes());
        bytes[2] = jump_true;
        bytes[3] = jump_false;
        bytes[4..].copy_from_slice(&k.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_filter_binds_its_own_thread_only() {
        let getppid = u32::try_from(libc::SYS_getppid).unwrap();
        let program = [
            instruction(0x20, 0, 0, 0),                  // A = nr
            instruction(0x15, 0, 1, getppid),            // getppid?
            instruction(0x06, 0, 0, 0x0005_0000 | 0x7b), // errno 123
            instruction(0x06, 0, 0, 0x7fff_0000),        // allow
        ]
        .concat();
        let filtered = std::thread::spawn(move || {
            install(&program, 0).unwrap();
            // JUSTIFICATION: a raw call is what is filtered.
            // SAFETY: getppid takes nothing and cannot fail.
            let result = unsafe { libc::syscall(libc::SYS_getppid) };
            (result, io::Error::last_os_error().raw_os_error())
        });
        assert_eq!(filtered.join().unwrap(), (-1, Some(123)));
        assert!(rustix::process::getppid().is_some());
    }

    #[test]
    fn broken_programs_are_refused() {
        for bytes in [&[][..], &[0; 7], &[0; 9]] {
            assert_eq!(install(bytes, 0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
        // Does not end in a return.
        assert!(install(&instruction(0x20, 0, 0, 0), 0).is_err());
    }
}
