//! eBPF programs for the device controller of cgroup v2: bpf(2), four of its commands.
//!
//! A cgroup v2 group has no `devices.allow`; a program of type `BPF_PROG_TYPE_CGROUP_DEVICE` attached to it is asked
//! instead. Programs of a group and of all groups above it must agree, so attaching can only take away.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `BPF_PROG_LOAD`
const PROG_LOAD: libc::c_long = 5;
/// `BPF_PROG_ATTACH`
const PROG_ATTACH: libc::c_long = 8;
/// `BPF_PROG_DETACH`
const PROG_DETACH: libc::c_long = 9;
/// `BPF_PROG_GET_FD_BY_ID`
const PROG_GET_FD_BY_ID: libc::c_long = 13;
/// `BPF_PROG_QUERY`
const PROG_QUERY: libc::c_long = 16;

/// `BPF_PROG_TYPE_CGROUP_DEVICE`
const TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: groups beneath may have programs of their own.
const F_ALLOW_MULTI: u32 = 2;
/// `BPF_F_REPLACE`: one program takes another's place in one step (Linux 5.6).
const F_REPLACE: u32 = 4;

/// A program that the kernel has checked and holds ready.
#[derive(Debug)]
pub struct DeviceProgram {
    fd: OwnedFd,
}

/// `union bpf_attr` for `BPF_PROG_LOAD`, up to the fields used here (uapi `bpf.h`).
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

/// `union bpf_attr` for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
#[derive(Default)]
struct GetFdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

impl DeviceProgram {
    /// Has the kernel check `instructions` (`struct bpf_insn` each) as a device program.
    ///
    /// Needs CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN. A program that the verifier refuses is an `InvalidInput` error
    /// that carries the verifier's words.
    pub fn load(instructions: &[[u8; 8]]) -> io::Result<Self> {
        match load(instructions, &mut []) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) => {
                // The verifier says why only when asked; asking always would slow every start.
                let mut log = vec![0_u8; 64 * 1024];
                let Err(again) = load(instructions, &mut log) else { return Err(error) };
                let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
                let mut text = format!("eBPF device program refused: {again}");
                if end > 0 {
                    let _infallible =
                        write!(text, ": {}", String::from_utf8_lossy(&log[..end]).trim());
                }
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
            other => other,
        }
    }

    /// Asks `cgroup` (a directory descriptor of a v2 group) to consult this program from now on, besides those that are
    /// there; with `replace` in the place of that one, without a moment between.
    pub fn attach(&self, cgroup: BorrowedFd<'_>, replace: Option<&Self>) -> io::Result<()> {
        let attr = AttachAttr {
            target_fd: number(cgroup),
            attach_bpf_fd: number(self.fd.as_fd()),
            attach_type: ATTACH_CGROUP_DEVICE,
            attach_flags: F_ALLOW_MULTI | if replace.is_some() { F_REPLACE } else { 0 },
            replace_bpf_fd: replace.map_or(0, |p| number(p.fd.as_fd())),
        };
        bpf_attach(PROG_ATTACH, &attr)
    }

    /// Undoes [`attach`](Self::attach).
    pub fn detach(&self, cgroup: BorrowedFd<'_>) -> io::Result<()> {
        let attr = AttachAttr {
            target_fd: number(cgroup),
            attach_bpf_fd: number(self.fd.as_fd()),
            attach_type: ATTACH_CGROUP_DEVICE,
            ..AttachAttr::default()
        };
        bpf_attach(PROG_DETACH, &attr)
    }

    /// The device programs attached to `cgroup` itself.
    pub fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<Self>> {
        // The kernel refuses more than 64 programs per group (BPF_CGROUP_MAX_PROGS).
        let mut ids = [0_u32; 64];
        let mut attr = QueryAttr {
            target_fd: number(cgroup),
            attach_type: ATTACH_CGROUP_DEVICE,
            prog_ids: ids.as_mut_ptr() as u64,
            prog_cnt: 64,
            ..QueryAttr::default()
        };
        // JUSTIFICATION: no crate in use offers bpf(2).
        // SAFETY: `attr` is a whole, initialised attribute of the size given; `prog_ids` points to `prog_cnt` words that
        // live until after the call and are written to by nobody else.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut attr, size_of::<QueryAttr>())
        };
        check(result)?;
        let count = (attr.prog_cnt as usize).min(ids.len());
        ids[..count].iter().map(|id| Self::by_id(*id)).collect()
    }

    fn by_id(id: u32) -> io::Result<Self> {
        let attr = GetFdAttr { id, ..GetFdAttr::default() };
        // JUSTIFICATION: no crate in use offers bpf(2).
        // SAFETY: `attr` is a whole, initialised attribute of the size given and holds no pointer.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, &raw const attr, size_of::<GetFdAttr>())
        };
        Ok(Self { fd: owned(check(result)?) })
    }
}

impl AsFd for DeviceProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn load(instructions: &[[u8; 8]], log: &mut [u8]) -> io::Result<DeviceProgram> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut attr = LoadAttr {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).map_err(too_long)?,
        insns: instructions.as_ptr() as u64,
        // No helper function is called, so no licence is claimed that the program does not have.
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttr::default()
    };
    attr.prog_name[..14].copy_from_slice(b"gantry_devices");
    if !log.is_empty() {
        attr.log_level = 1;
        attr.log_size = u32::try_from(log.len()).map_err(too_long)?;
        attr.log_buf = log.as_mut_ptr() as u64;
    }
    // JUSTIFICATION: no crate in use offers bpf(2).
    // SAFETY: `attr` is a whole, initialised attribute of the size given. `insns` points to `insn_cnt` instructions of
    // eight bytes (the kernel copies, so alignment is free), `license` to a NUL-terminated constant, `log_buf` to
    // `log_size` writable bytes; all outlive the call. The kernel verifies the program itself.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attr, size_of::<LoadAttr>()) };
    Ok(DeviceProgram { fd: owned(check(result)?) })
}

fn bpf_attach(command: libc::c_long, attr: &AttachAttr) -> io::Result<()> {
    // JUSTIFICATION: no crate in use offers bpf(2).
    // SAFETY: `attr` is a whole, initialised attribute of the size given and holds no pointer; the descriptors in it are
    // borrowed by the caller for the time of the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<AttachAttr>())
    };
    check(result).map(drop)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    let fd = libc::c_int::try_from(fd).expect("the kernel's descriptors are small");
    // JUSTIFICATION: bpf(2) returns a bare number.
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}
