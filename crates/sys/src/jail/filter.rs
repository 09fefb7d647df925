//! The seccomp program of a jailed thread: few calls are forbidden, because what is left to it is the file system, and
//! that is Landlock's.

use std::os::raw::c_long;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// x32 calls carry this bit under x86_64's architecture number.
const X32: u32 = 0x4000_0000;

/// Talking to anybody, which no unpacking needs and a server does.
const NETWORK: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_setns,
];

/// What neither needs and an escape would.
const FORBIDDEN: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    // Everything above by another door.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other processes and threads.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_unshare,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    // SYS_ADMIN is kept for `trusted.` attributes; not for these.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_seccomp,
];

/// The program of a thread that works on files, as `sock_filter`s in bytes.
pub(super) fn program() -> Vec<u8> {
    let mut program = forbidding(&[NETWORK, FORBIDDEN]);
    // Threads yes, processes no.
    put(&mut program, JUMP_EQUAL, 0, 3, call(libc::SYS_clone));
    put(&mut program, LOAD, 0, 0, FIRST_ARGUMENT);
    put(&mut program, JUMP_SET, 1, 0, libc::CLONE_THREAD.cast_unsigned());
    put(&mut program, RETURN, 0, 0, eperm());
    put(&mut program, RETURN, 0, 0, ALLOW);
    program
}

/// The program of a server with one thread.
pub(super) fn server_program() -> Vec<u8> {
    let mut program = forbidding(&[FORBIDDEN, &[libc::SYS_clone]]);
    put(&mut program, RETURN, 0, 0, ALLOW);
    program
}

fn eperm() -> u32 {
    ERRNO | libc::EPERM.cast_unsigned()
}

/// The beginning of a program: none of these calls.
fn forbidding(calls: &[&[c_long]]) -> Vec<u8> {
    let forbid = |program: &mut Vec<u8>, jump: u16, k: u32, verdict: u32| {
        put(program, jump, 0, 1, k);
        put(program, RETURN, 0, 0, verdict);
    };
    let mut program = Vec::new();
    put(&mut program, LOAD, 0, 0, ARCHITECTURE);
    // 32-bit calls have other numbers: none of them.
    put(&mut program, JUMP_EQUAL, 1, 0, OURS);
    put(&mut program, RETURN, 0, 0, eperm());
    put(&mut program, LOAD, 0, 0, NUMBER);
    if cfg!(target_arch = "x86_64") {
        forbid(&mut program, JUMP_AT_LEAST, X32, eperm());
    }
    for number in calls.iter().copied().flatten() {
        forbid(&mut program, JUMP_EQUAL, call(*number), eperm());
    }
    // Its flags are in memory, where a filter cannot look; C libraries fall back to clone.
    forbid(&mut program, JUMP_EQUAL, call(libc::SYS_clone3), ERRNO | libc::ENOSYS.cast_unsigned());
    program
}

fn call(number: c_long) -> u32 {
    u32::try_from(number).expect("system call numbers are small")
}

/// One `sock_filter`; little or big endian as the machine is.
fn put(program: &mut Vec<u8>, code: u16, jump_true: u8, jump_false: u8, k: u32) {
    program.extend_from_slice(&code.to_ne_bytes());
    program.extend_from_slice(&[jump_true, jump_false]);
    program.extend_from_slice(&k.to_ne_bytes());
}
