//! Classic BPF as the kernel runs it for seccomp, so that tests can ask a program without loading it.

/// What the program sees of a call: `struct seccomp_data`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Data {
    pub(crate) number: u32,
    pub(crate) arch: u32,
    pub(crate) arguments: [u64; 6],
}

/// The program's answer and how many instructions it took; panics where the kernel's checker would refuse.
pub(crate) fn run(program: &[u8], data: &Data) -> (u32, usize) {
    let word = |offset: u32| -> u32 {
        let argument = |n: u32| data.arguments[usize::try_from(n).unwrap()];
        match offset {
            0 => data.number,
            4 => data.arch,
            16..64 if offset.is_multiple_of(8) => argument((offset - 16) / 8) as u32,
            16..64 if offset % 8 == 4 => (argument((offset - 20) / 8) >> 32) as u32,
            other => panic!("load of offset {other}"),
        }
    };
    assert!(program.len().is_multiple_of(8) && program.len() / 8 <= 4096);
    let (mut accumulator, mut at, mut steps) = (0_u32, 0_usize, 0);
    loop {
        let insn: [u8; 8] = program[at * 8..at * 8 + 8].try_into().unwrap();
        let code = u16::from_ne_bytes([insn[0], insn[1]]);
        let (jt, jf) = (usize::from(insn[2]), usize::from(insn[3]));
        let k = u32::from_ne_bytes([insn[4], insn[5], insn[6], insn[7]]);
        steps += 1;
        at += 1;
        match code {
            0x20 => accumulator = word(k),
            0x54 => accumulator &= k,
            0x05 => at += usize::try_from(k).unwrap(),
            0x15 => at += if accumulator == k { jt } else { jf },
            0x25 => at += if accumulator > k { jt } else { jf },
            0x35 => at += if accumulator >= k { jt } else { jf },
            0x06 => return (k, steps),
            other => panic!("instruction {other:#x}"),
        }
    }
}
