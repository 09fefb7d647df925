//! The device policy as an eBPF program for cgroup v2, which has no device controller of its own.
//!
//! The kernel calls the program for each open and mknod of a device with `struct bpf_cgroup_dev_ctx` (uapi `bpf.h`):
//! kind and access in one word, then major and minor. It answers 1 (pass) or 0 (EPERM).
//!
//! ```text
//! r2 = kind   r3 = access   r4 = major   r5 = minor          loaded once
//! per exception: leave for the next unless kind, numbers and access fit; then answer and exit
//! answer the default and exit
//! ```

use crate::devices::{DevicePolicy, MKNOD, READ, WRITE};

/// `BPF_DEVCG_DEV_BLOCK`
const KIND_BLOCK: i32 = 1;
/// `BPF_DEVCG_DEV_CHAR`
const KIND_CHAR: i32 = 2;

/// `BPF_LDX | BPF_MEM | BPF_W`
const LOAD_WORD: u8 = 0x61;
/// `BPF_ALU64 | BPF_MOV | BPF_X`
const MOV_REG: u8 = 0xbf;
/// `BPF_ALU64 | BPF_MOV | BPF_K`
const MOV_IMM: u8 = 0xb7;
/// `BPF_ALU | BPF_AND | BPF_K`, 32 bits: the upper half becomes zero.
const AND_IMM: u8 = 0x54;
/// `BPF_ALU | BPF_RSH | BPF_K`, 32 bits.
const RSH_IMM: u8 = 0x74;
/// `BPF_JMP32 | BPF_JNE | BPF_K`: 32 bits, since major and minor are unsigned and `imm` would be sign-extended to 64.
const JNE32_IMM: u8 = 0x56;
/// `BPF_JMP32 | BPF_JNE | BPF_X`
const JNE32_REG: u8 = 0x5e;
/// `BPF_JMP32 | BPF_JEQ | BPF_K`
const JEQ32_IMM: u8 = 0x16;
/// `BPF_JMP | BPF_EXIT`
const EXIT: u8 = 0x95;

/// One `struct bpf_insn`, in the byte order of the machine.
fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; 8] {
    let [o0, o1] = off.to_ne_bytes();
    let [i0, i1, i2, i3] = imm.to_ne_bytes();
    // The registers are bit fields: dst is the low half on little-endian machines, the only ones we run on.
    [code, src << 4 | dst, o0, o1, i0, i1, i2, i3]
}

/// The program for `policy`; at most nine instructions per exception and six around them.
pub fn assemble(policy: &DevicePolicy) -> Vec<[u8; 8]> {
    let mut program = vec![
        insn(LOAD_WORD, 2, 1, 0, 0),
        insn(MOV_REG, 3, 2, 0, 0),
        insn(AND_IMM, 2, 0, 0, 0xffff),
        insn(RSH_IMM, 3, 0, 0, 16),
        insn(LOAD_WORD, 4, 1, 4, 0),
        insn(LOAD_WORD, 5, 1, 8, 0),
    ];
    for (node, &bits) in &policy.exceptions {
        // Each test jumps past the block when it fails; the distances are known once the block is complete.
        let mut block =
            vec![insn(JNE32_IMM, 2, 0, 0, if node.block { KIND_BLOCK } else { KIND_CHAR })];
        if let Some(major) = node.major {
            block.push(insn(JNE32_IMM, 4, 0, 0, major.cast_signed()));
        }
        if let Some(minor) = node.minor {
            block.push(insn(JNE32_IMM, 5, 0, 0, minor.cast_signed()));
        }
        if bits != MKNOD | READ | WRITE || policy.allow_by_default {
            block.push(insn(MOV_REG, 0, 3, 0, 0));
            block.push(insn(AND_IMM, 0, 0, 0, i32::from(bits)));
            // Allowed: every requested bit must be in the exception. Denied: one of them is enough.
            block.push(match policy.allow_by_default {
                false => insn(JNE32_REG, 0, 3, 0, 0),
                true => insn(JEQ32_IMM, 0, 0, 0, 0),
            });
        }
        block.push(insn(MOV_IMM, 0, 0, 0, i32::from(!policy.allow_by_default)));
        block.push(insn(EXIT, 0, 0, 0, 0));
        let length = block.len();
        for (at, instruction) in block.iter_mut().enumerate() {
            if matches!(instruction[0], JNE32_IMM | JNE32_REG | JEQ32_IMM) {
                let distance =
                    i16::try_from(length - at - 1).expect("a block has at most nine instructions");
                instruction[2..4].copy_from_slice(&distance.to_ne_bytes());
            }
        }
        program.extend(block);
    }
    program.push(insn(MOV_IMM, 0, 0, 0, i32::from(policy.allow_by_default)));
    program.push(insn(EXIT, 0, 0, 0, 0));
    program
}

#[cfg(test)]
mod tests;
