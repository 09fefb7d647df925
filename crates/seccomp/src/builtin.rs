//! The profile that containers get when they name none.
//!
//! An allow list: what ordinary programs call, Docker's set of 2026 as a whole, so that images made for Docker keep
//! running. What is not listed answers EPERM. More is let pass with the capability that the kernel asks for anyway.
//! Differences from Docker's, all refusals with EPERM (security design, section 4):
//!
//! - socket families 15 (KEY) and 33 (RXRPC) besides Docker's 38 (ALG) and 40 (VSOCK): page-cache writes across
//!   containers (CVE-2026-31431, CVE-2026-43284, CVE-2026-43500);
//! - `socket(AF_NETLINK, …, NETLINK_XFRM)` without CAP_NET_ADMIN, the other way into the same code.
//!
//! On the 32-bit path socketcall(2) hides the family in memory, where no filter can look; it stays allowed as in Docker,
//! since 32-bit programs have no other way, and is refused by [`Strictness::Strict`].

use oci::runtime::Arg;

use crate::{Arch, ArchMap, Condition, Profile, Rule};

/// Which of the two built-in profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strictness {
    /// As compatible as Docker's.
    Default,
    /// Without what well-behaved services do not call: debugging other processes, splicing user memory, file handles,
    /// local descriptor tables, execution domains, raw packets, obsolete calls, the 32-bit socketcall(2).
    Strict,
}

/// Allowed to everybody, by either profile.
#[rustfmt::skip]
const ALLOWED: [&str; 10] = [
    // Files by name.
    "access chdir chmod chown chown32 creat execve execveat faccessat faccessat2 fchmodat \
     fchmodat2 fchownat fstatat64 futimesat getcwd getxattr getxattrat lchown lchown32 \
     lgetxattr link linkat listmount listxattr listxattrat llistxattr lremovexattr lsetxattr \
     lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat \
     openat2 readlink readlinkat removexattr removexattrat rename renameat renameat2 rmdir \
     setxattr setxattrat stat stat64 statfs statfs64 statmount statx symlink symlinkat \
     truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes",
    // Open files.
    "_llseek cachestat close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 \
     fallocate fanotify_mark fchdir fchmod fchown fchown32 fcntl fcntl64 fdatasync fgetxattr \
     flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatfs fstatfs64 fsync ftruncate \
     ftruncate64 getdents getdents64 inotify_add_watch inotify_init inotify_init1 \
     inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 \
     io_setup io_submit ioctl lseek pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev \
     pwritev2 read readahead readv sendfile sendfile64 splice sync sync_file_range syncfs tee \
     vmsplice write writev",
    // Waiting.
    "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 \
     epoll_wait epoll_wait_old eventfd eventfd2 futex futex_requeue futex_time64 futex_wait \
     futex_waitv futex_wake get_robust_list membarrier nanosleep pause poll ppoll \
     ppoll_time64 pselect6 pselect6_time64 rseq select set_robust_list signalfd signalfd4 \
     timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64",
    // Sockets; `socket` itself has rules of its own below.
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom \
     recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown \
     socketpair",
    // Memory.
    "brk madvise map_shadow_stack memfd_create memfd_secret mincore mlock mlock2 mlockall \
     mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free \
     pkey_mprotect process_mrelease remap_file_pages",
    // System V and POSIX IPC.
    "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
     mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop \
     semtimedop_time64 shmat shmctl shmdt shmget",
    // Processes, threads and who they are.
    "capget capset exit exit_group fork get_thread_area getcpu getegid getegid32 geteuid \
     geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid \
     getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid \
     gettid getuid getuid32 ioprio_get ioprio_set kill landlock_add_rule \
     landlock_create_ruleset landlock_restrict_self pidfd_open pidfd_send_signal prctl \
     prlimit64 sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr \
     sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 \
     sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp \
     set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 \
     setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 \
     setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 tgkill tkill \
     ugetrlimit uretprobe vfork wait4 waitid waitpid",
    // Signals.
    "restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
     rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack \
     sigprocmask sigreturn",
    // Time.
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 \
     clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer \
     gettimeofday setitimer time timer_create timer_delete timer_getoverrun timer_gettime \
     timer_gettime64 timer_settime timer_settime64 times",
    // The system.
    "getrandom sysinfo uname",
];

/// Allowed to everybody by the default profile only.
const ALLOWED_BY_DEFAULT: &str = "socketcall ptrace process_vm_readv process_vm_writev";

/// Among [`ALLOWED`], refused by the strict profile.
const NOT_STRICT: &str = "adjtimex clock_adjtime clock_adjtime64 epoll_ctl_old epoll_wait_old fanotify_mark futimesat \
                          get_thread_area ioprio_get ioprio_set listmount map_shadow_stack memfd_secret \
                          name_to_handle_at pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages \
                          statmount tee uretprobe vmsplice";

/// Allowed with a capability.
const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr perf_event_open \
         quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Allowed on some machines; the third says whether the strict profile has it too.
const ON_MACHINES: [(&[Arch], &str, bool); 3] = [
    (
        &[Arch::Aarch64, Arch::Arm],
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
        true,
    ),
    (&[Arch::X86_64, Arch::X32], "arch_prctl", true),
    (&[Arch::X86_64, Arch::X32, Arch::X86], "modify_ldt", false),
];

/// Allowed socket families from 12 on: all below are. Missing are 12 DECnet, 15 KEY, 16 NETLINK (has rules of its own),
/// 17 PACKET (default profile only), 19 ECONET, 20 ATMSVC, 23 IRDA, 25 WANPIPE, 33 RXRPC, 34 ISDN, 37 CAIF, 38 ALG and
/// 40 VSOCK.
const FAMILIES: [u64; 20] =
    [13, 14, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 35, 36, 39, 41, 42, 43, 44];
const FAMILIES_BELOW: u64 = 12;
const AF_NETLINK: u64 = 16;
const AF_PACKET: u64 = 17;
const AF_MCTP: u64 = 45;
const NETLINK_XFRM: u64 = 6;
/// `NETLINK_SMC`, the last protocol there is.
const NETLINK_LAST: u64 = 22;

/// Execution domains: Linux, Linux 32, either with UNAME26, and the question which one is set.
const DOMAINS: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `CLONE_NEW…` of clone(2): mount, cgroup, uts, ipc, user, pid, net.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

const ENOSYS: u32 = 38;

/// The profile of containers that name none: [`Strictness::Default`].
pub fn default_profile() -> Profile {
    Profile::builtin(Strictness::Default)
}

impl Profile {
    /// A built-in profile.
    pub fn builtin(strictness: Strictness) -> Self {
        let strict = strictness == Strictness::Strict;
        let mut syscalls = vec![allow(allowed(strict))];
        if !strict {
            syscalls.push(allow(words(ALLOWED_BY_DEFAULT)));
            syscalls.extend(DOMAINS.map(|domain| allow_if("personality", vec![is(0, domain)])));
        }
        syscalls.extend(sockets(strict));
        for (arches, names, also_strict) in ON_MACHINES {
            if also_strict || !strict {
                let arches = arches.iter().map(|a| a.docker().to_owned()).collect();
                let includes = Condition { arches, ..Condition::default() };
                syscalls.push(Rule { includes, ..allow(words(names)) });
            }
        }
        for (capability, names) in WITH_CAPABILITY {
            syscalls.push(Rule { includes: capabilities(capability), ..allow(words(names)) });
        }
        // New namespaces are for CAP_SYS_ADMIN. clone3 has its flags in memory: ENOSYS makes C libraries use clone.
        syscalls.push(Rule {
            excludes: capabilities("CAP_SYS_ADMIN"),
            ..allow_if("clone", vec![arg(0, "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES)])
        });
        syscalls.push(Rule {
            names: words("clone3"),
            action: "SCMP_ACT_ERRNO".to_owned(),
            errno_ret: Some(ENOSYS),
            excludes: capabilities("CAP_SYS_ADMIN"),
            ..Rule::default()
        });
        Self {
            default_action: "SCMP_ACT_ERRNO".to_owned(),
            default_errno_ret: Some(1),
            arch_map: vec![
                ArchMap {
                    architecture: Arch::X86_64.name().to_owned(),
                    sub_architectures: vec![
                        Arch::X86.name().to_owned(),
                        Arch::X32.name().to_owned(),
                    ],
                },
                ArchMap {
                    architecture: Arch::Aarch64.name().to_owned(),
                    sub_architectures: vec![Arch::Arm.name().to_owned()],
                },
            ],
            syscalls,
            ..Self::default()
        }
    }
}

fn allowed(strict: bool) -> Vec<String> {
    let dropped = if strict { words(NOT_STRICT) } else { Vec::new() };
    ALLOWED.iter().flat_map(|group| words(group)).filter(|name| !dropped.contains(name)).collect()
}

/// The rules for socket(2): its family, and for netlink its protocol.
///
/// Everything is allowed by value and nothing denied by value: the kernel looks at 32 bits of each argument, a filter at
/// 64, so that a denial of one value would be walked around with rubbish in the upper half.
fn sockets(strict: bool) -> Vec<Rule> {
    let mut rules = vec![allow_if("socket", vec![arg(0, "SCMP_CMP_LT", FAMILIES_BELOW)])];
    let packet = if strict { None } else { Some(AF_PACKET) };
    let families = FAMILIES.into_iter().chain(packet).chain([AF_MCTP]);
    rules.extend(families.map(|family| allow_if("socket", vec![is(0, family)])));
    rules.push(allow_if("socket", vec![is(0, AF_NETLINK), arg(2, "SCMP_CMP_LT", NETLINK_XFRM)]));
    for protocol in NETLINK_XFRM..=NETLINK_LAST {
        let rule = allow_if("socket", vec![is(0, AF_NETLINK), is(2, protocol)]);
        rules.push(match protocol {
            NETLINK_XFRM => Rule { includes: capabilities("CAP_NET_ADMIN"), ..rule },
            _ => rule,
        });
    }
    rules
}

fn allow(names: Vec<String>) -> Rule {
    Rule { names, action: "SCMP_ACT_ALLOW".to_owned(), ..Rule::default() }
}

fn allow_if(name: &str, args: Vec<Arg>) -> Rule {
    Rule { args, ..allow(words(name)) }
}

fn is(index: u32, value: u64) -> Arg {
    arg(index, "SCMP_CMP_EQ", value)
}

fn arg(index: u32, op: &str, value: u64) -> Arg {
    Arg { index, value, value_two: 0, op: op.to_owned() }
}

fn capabilities(name: &str) -> Condition {
    Condition { caps: words(name), ..Condition::default() }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
