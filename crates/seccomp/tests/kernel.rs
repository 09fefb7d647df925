//! The built-in profile loaded into the real kernel: what calls through the 64-bit and the 32-bit door come back with.
//!
//! Each call is made by a program of its own, some dozen bytes of machine code that make it and exit with its errno, so
//! that no library stands between. The filter is loaded by a thread, which alone is bound by it, and inherited by what
//! it starts.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use seccomp::{Arch, Kernel, Profile, Strictness, compile};

const EPERM: u8 = 1;
const EBADF: u8 = 9;
const EFAULT: u8 = 14;
const EINVAL: u8 = 22;
const ENOSYS: u8 = 38;

#[test]
fn the_kernel_answers_as_the_profile_says() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: loading a filter without no_new_privs needs root");
        return;
    }
    let dir = std::env::temp_dir().join(format!("seccomp-probe-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let here = dir.clone();
    // A panic in the thread must not keep the directory.
    let result = std::thread::spawn(move || filtered(&here)).join();
    std::fs::remove_dir_all(&dir).unwrap();
    result.unwrap();
}

fn filtered(dir: &Path) {
    let kernel = rustix::system::uname().release().to_str().unwrap().parse::<Kernel>().unwrap();
    let filter = Profile::builtin(Strictness::Default).resolve(
        &["CAP_CHOWN", "CAP_KILL"],
        Arch::X86_64,
        kernel,
    );
    let program = compile(&filter, Arch::X86_64).unwrap();
    sys::seccomp::install(program.as_bytes(), 0).unwrap();

    // This very thread is bound.
    assert_eq!(sys::process::unshare(sys::clone::NEWUTS).unwrap_err().raw_os_error(), Some(1));
    assert!(std::fs::read("/proc/self/status").is_ok());

    let check = |arch: Arch, name: &str, arguments: &[u32], expected: u8| {
        let code = match arch {
            Arch::X86 => machine_code_32(seccomp::number(name, arch).unwrap(), arguments),
            _ => machine_code_64(seccomp::number(name, arch).unwrap(), arguments),
        };
        let path = dir.join(format!("{arch:?}-{name}-{}", arguments.first().unwrap_or(&0)));
        std::fs::write(&path, elf(&code, arch == Arch::X86)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "what is tested is what a program started by us inherits"
        )]
        let status = std::process::Command::new(&path).status().unwrap();
        assert_eq!(
            status.code(),
            Some(i32::from(expected)),
            "{arch:?} {name} {arguments:?}: {status}"
        );
    };
    for arch in [Arch::X86_64, Arch::X86] {
        // Let through: the kernel's own answers to nonsense.
        check(arch, "close", &[12345], EBADF);
        check(arch, "openat", &[0, 0, 0], EFAULT);
        // glibc's way of making a thread, refused by the kernel for its combination of flags.
        check(arch, "clone", &[0x0001_0000], EINVAL);
        // Refused.
        for name in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "io_uring_setup",
            "keyctl",
            "perf_event_open",
            "fsopen",
            "reboot",
        ] {
            check(arch, name, &[], EPERM);
        }
        check(arch, "clone", &[0x1000_0000], EPERM);
        check(arch, "clone3", &[], ENOSYS);
        for family in [15, 33, 38, 40] {
            check(arch, "socket", &[family, 5, 0], EPERM);
        }
        // NETLINK_XFRM.
        check(arch, "socket", &[16, 3, 6], EPERM);
    }
    // The documented hole: the family of socketcall is in memory. EFAULT is the kernel's own answer.
    check(Arch::X86, "socketcall", &[1, 0], EFAULT);
    // x32 is refused by the filter before the kernel finds that it has no x32.
    check(Arch::X32, "mount", &[], EPERM);
    check(Arch::X32, "socket", &[38, 5, 0], EPERM);
}

/// `exit_group(-call(arguments…))`
fn machine_code_64(number: u32, arguments: &[u32]) -> Vec<u8> {
    // mov edi/esi/edx, imm32 zero-extends.
    const MOV: [u8; 3] = [0xbf, 0xbe, 0xba];
    let mut code = Vec::new();
    for (i, opcode) in MOV.into_iter().enumerate() {
        code.push(opcode);
        code.extend(arguments.get(i).copied().unwrap_or(0).to_le_bytes());
    }
    code.extend([0x4d, 0x31, 0xd2, 0x4d, 0x31, 0xc0, 0x4d, 0x31, 0xc9]); // xor r10, r8, r9
    code.push(0xb8); // mov eax, number
    code.extend(number.to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xf7, 0xd8, 0x89, 0xc7]); // neg eax; mov edi, eax
    code.extend([0xb8, 231, 0, 0, 0, 0x0f, 0x05]); // exit_group
    code
}

fn machine_code_32(number: u32, arguments: &[u32]) -> Vec<u8> {
    // mov ebx/ecx/edx, imm32
    const MOV: [u8; 3] = [0xbb, 0xb9, 0xba];
    let mut code = Vec::new();
    for (i, opcode) in MOV.into_iter().enumerate() {
        code.push(opcode);
        code.extend(arguments.get(i).copied().unwrap_or(0).to_le_bytes());
    }
    code.extend([0x31, 0xf6, 0x31, 0xff, 0x31, 0xed]); // xor esi, edi, ebp
    code.push(0xb8); // mov eax, number
    code.extend(number.to_le_bytes());
    code.extend([0xcd, 0x80]); // int 0x80
    code.extend([0xf7, 0xd8, 0x89, 0xc3]); // neg eax; mov ebx, eax
    code.extend([0xb8, 252, 0, 0, 0, 0xcd, 0x80]); // exit_group
    code
}

/// The smallest executable around `code` that the kernel accepts.
fn elf(code: &[u8], bits_32: bool) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let (header, entry): (u16, u16) = if bits_32 { (52, 32) } else { (64, 56) };
    let start = u64::from(header + entry);
    let size = start + code.len() as u64;
    let word =
        |n: u64| if bits_32 { n.to_le_bytes()[..4].to_vec() } else { n.to_le_bytes().to_vec() };
    let mut out = vec![0x7f, b'E', b'L', b'F', if bits_32 { 1 } else { 2 }, 1, 1];
    out.resize(16, 0);
    out.extend(2_u16.to_le_bytes()); // an executable
    out.extend(if bits_32 { 3_u16 } else { 62 }.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    out.extend(word(BASE + start)); // entry
    out.extend(word(u64::from(header))); // program headers
    out.extend(word(0)); // no sections
    out.extend(0_u32.to_le_bytes());
    for half in [header, entry, 1, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1_u32.to_le_bytes()); // PT_LOAD
    if !bits_32 {
        out.extend(5_u32.to_le_bytes()); // read, execute
    }
    for n in [0, BASE, BASE, size, size] {
        out.extend(word(n));
    }
    if bits_32 {
        out.extend(5_u32.to_le_bytes());
    }
    out.extend(word(0x1000));
    out.extend(code);
    out
}
