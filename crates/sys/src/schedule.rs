//! Scheduling, I/O priority and memory placement of the calling thread.

use std::io;

/// `SCHED_FLAG_RESET_ON_FORK`: children do not inherit the policy.
pub const FLAG_RESET_ON_FORK: u64 = 0x01;
/// `SCHED_FLAG_RECLAIM`: a deadline task takes bandwidth that others leave.
pub const FLAG_RECLAIM: u64 = 0x02;
/// `SCHED_FLAG_DL_OVERRUN`: a deadline task is told by `SIGXCPU` when it overruns.
pub const FLAG_DL_OVERRUN: u64 = 0x04;
/// `SCHED_FLAG_KEEP_POLICY`: only the parameters change.
pub const FLAG_KEEP_POLICY: u64 = 0x08;
/// `SCHED_FLAG_KEEP_PARAMS`: only the policy changes.
pub const FLAG_KEEP_PARAMS: u64 = 0x10;
/// `SCHED_FLAG_UTIL_CLAMP_MIN`.
pub const FLAG_UTIL_CLAMP_MIN: u64 = 0x20;
/// `SCHED_FLAG_UTIL_CLAMP_MAX`.
pub const FLAG_UTIL_CLAMP_MAX: u64 = 0x40;

/// Scheduling attributes, as sched_setattr(2) has them (the first version of the structure, 48 bytes).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Attributes {
    /// Bytes of this structure; [`set`] fills it in.
    pub size: u32,
    /// `SCHED_…` number.
    pub policy: u32,
    /// `SCHED_FLAG_…` bits.
    pub flags: u64,
    /// Of `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// Of `SCHED_FIFO` and `SCHED_RR`, 1 to 99.
    pub priority: u32,
    /// Nanoseconds, of `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, of `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, of `SCHED_DEADLINE`.
    pub period: u64,
}

/// Schedules the calling thread as told (man 2 sched_setattr).
pub fn set(attributes: Attributes) -> io::Result<()> {
    let size = u32::try_from(size_of::<Attributes>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let attributes = Attributes { size, ..attributes };
    // JUSTIFICATION: no safe crate has sched_setattr.
    // SAFETY: the structure is plain integers, says its own size and outlives the call, which only reads it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    done(result)
}

/// Sets the I/O priority of the calling process (man 2 ioprio_set): `class` 1 is real-time, 2 best effort, 3 idle;
/// `priority` is 0 (highest) to 7.
pub fn set_io_priority(class: u32, priority: u32) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    let value = class << 13 | priority & 7;
    // JUSTIFICATION: no safe crate has ioprio_set.
    // SAFETY: integers; no memory is touched.
    done(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) })
}

/// Where the calling thread's memory comes from (man 2 set_mempolicy): an `MPOL_…` mode with its flags, and nodes.
///
/// `ENOSYS` where the kernel has no NUMA.
pub fn set_memory_policy(mode: u32, nodes: &[u32]) -> io::Result<()> {
    const BITS: usize = u64::BITS as usize;
    let highest = nodes.iter().max().map_or(0, |n| *n as usize);
    if highest >= 1024 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut mask = vec![0_u64; highest / BITS + 1];
    for node in nodes {
        mask[*node as usize / BITS] |= 1 << (*node as usize % BITS);
    }
    let (pointer, bits) = match nodes.is_empty() {
        true => (std::ptr::null(), 0),
        // The kernel takes one bit less than it is told.
        false => (mask.as_ptr(), mask.len() * BITS + 1),
    };
    // JUSTIFICATION: no safe crate has set_mempolicy.
    // SAFETY: the kernel reads `bits - 1` bits of the mask, which has them and outlives the call; null has none.
    done(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) })
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_made_nicer() {
        // In a thread of its own: there is no way back without a privilege.
        let changed = std::thread::spawn(|| {
            set(Attributes { policy: 3, nice: 5, ..Attributes::default() })?;
            set_io_priority(3, 0)
        });
        changed.join().unwrap().unwrap();
        let wrong = set(Attributes { policy: 99, ..Attributes::default() });
        assert_eq!(wrong.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(set_memory_policy(0, &[5000]).is_err());
    }
}
