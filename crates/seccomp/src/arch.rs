//! Architectures as filters see them.

use stdx::{Error, Result};

/// An ABI through which system calls enter the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, on 64-bit kernels through `int 0x80`.
    X86,
    /// 32-bit pointers on 64-bit x86: the architecture of x86_64 with bit 30 in the number.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

/// The architecture names of the OCI specification that filters here can speak of (for `features`).
pub const ARCHITECTURES: [&str; 5] =
    ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];

/// Architectures of the specification whose calls never reach a kernel that Gantry runs on.
const FOREIGN: [&str; 16] = [
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
];

impl Arch {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm];

    /// What this build runs on.
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// The name in the OCI specification.
    pub fn name(self) -> &'static str {
        ARCHITECTURES[self.column()]
    }

    /// The name by which Docker profiles condition rules on the machine (`includes.arches`).
    pub fn docker(self) -> &'static str {
        ["amd64", "x86", "x32", "arm64", "arm"][self.column()]
    }

    /// Reads a name of the OCI specification; `Ok(None)` for one that is known but never met here.
    pub(crate) fn parse(name: &str) -> Result<Option<Self>> {
        match Self::ALL.into_iter().find(|a| a.name() == name) {
            Some(arch) => Ok(Some(arch)),
            None if FOREIGN.contains(&name) => Ok(None),
            None => Err(Error::invalid(format!("invalid seccomp architecture \"{name}\""))),
        }
    }

    /// The ABIs that a kernel of this architecture serves, itself first.
    pub(crate) fn served(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86_64, Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Aarch64, Self::Arm],
            Self::X86 => &[Self::X86],
            Self::X32 => &[Self::X32],
            Self::Arm => &[Self::Arm],
        }
    }

    /// `AUDIT_ARCH_…`, what `seccomp_data.arch` holds (uapi `linux/audit.h`).
    pub(crate) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Bits that every number of the ABI has: `__X32_SYSCALL_BIT`.
    pub(crate) fn number_bits(self) -> u32 {
        if self == Self::X32 { X32_BIT } else { 0 }
    }

    /// The column of the table of numbers.
    pub(crate) fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::X32 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        }
    }

    /// Above this there are only private calls (arm: `__ARM_NR_BASE`), far from the numbers that new calls get.
    pub(crate) fn private_base(self) -> u32 {
        if self == Self::Arm { 0xf_0000 } else { u32::MAX }
    }
}

/// `__X32_SYSCALL_BIT`
pub(crate) const X32_BIT: u32 = 0x4000_0000;
