//! A compiled filter.

use crate::{Arch, Kernel};

/// A classic BPF program for `seccomp(SECCOMP_SET_MODE_FILTER)`: an array of `struct sock_filter` in the byte order of the
/// machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    bytes: Vec<u8>,
}

/// Raised whenever the compiler would give another program for the same input.
const COMPILER: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

impl Program {
    /// Most instructions that the kernel takes (`BPF_MAXINSNS`).
    pub const MAX: usize = 4096;

    pub(crate) fn new(instructions: &[[u8; 8]]) -> Self {
        Self { bytes: instructions.concat() }
    }

    /// The instructions, eight bytes each.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The instructions, eight bytes each.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How many instructions there are.
    pub fn instructions(&self) -> usize {
        self.bytes.len() / 8
    }

    /// A file name for the program that `profile` gives: 32 hexadecimal digits over everything that decides about it.
    ///
    /// `profile` is the text of the profile or the name of a built-in one; the order of `capabilities` does not matter.
    /// Not a cryptographic digest: whoever may choose profiles may choose what they allow.
    pub fn cache_key(
        profile: &str,
        capabilities: &[impl AsRef<str>],
        arch: Arch,
        kernel: Kernel,
    ) -> String {
        let mut capabilities: Vec<&str> = capabilities.iter().map(AsRef::as_ref).collect();
        capabilities.sort_unstable();
        capabilities.dedup();
        let mut hash = Fnv::default();
        hash.field(COMPILER);
        hash.field(profile);
        hash.field(&capabilities.join(","));
        hash.field(arch.name());
        hash.field(&format!("{}.{}", kernel.major, kernel.minor));
        format!("{:032x}", hash.0)
    }
}

/// FNV-1a of 128 bits.
struct Fnv(u128);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    fn field(&mut self, text: &str) {
        // The separator is no UTF-8, so fields cannot run into each other.
        for byte in text.bytes().chain([0xff]) {
            self.0 =
                (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_inputs_apart_and_ignore_order() {
        let kernel = Kernel { major: 6, minor: 1 };
        let key =
            |profile: &str, caps: &[&str]| Program::cache_key(profile, caps, Arch::X86_64, kernel);
        assert_eq!(key("a", &["B", "A"]), key("a", &["A", "B", "A"]));
        assert_eq!(key("a", &[]).len(), 32);
        let all =
            [key("a", &[]), key("b", &[]), key("a", &["A"]), key("a,A", &[]), key("", &["a"])];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one));
        }
        assert_ne!(
            Program::cache_key("a", &[""; 0], Arch::X86_64, kernel),
            Program::cache_key("a", &[""; 0], Arch::Aarch64, kernel)
        );
    }
}
