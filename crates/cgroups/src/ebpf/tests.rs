use super::*;
use oci::runtime::DeviceRule;

/// Runs the subset of eBPF that `assemble` emits, and panics on anything else.
fn run(program: &[[u8; 8]], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
    let context = [access << 16 | kind, major, minor];
    let mut registers = [0_u64; 11];
    let mut at = 0;
    loop {
        let [code, regs, o0, o1, i0, i1, i2, i3] = program[at];
        let (dst, src) = ((regs & 15) as usize, (regs >> 4) as usize);
        let off = i16::from_ne_bytes([o0, o1]);
        let imm = i32::from_ne_bytes([i0, i1, i2, i3]);
        at += 1;
        let jump = |taken: bool| if taken { usize::try_from(off).unwrap() } else { 0 };
        let word = registers[dst] as u32;
        match code {
            LOAD_WORD => {
                assert_eq!(src, 1, "only the context is loaded from");
                registers[dst] = u64::from(context[usize::try_from(off).unwrap() / 4]);
            }
            MOV_REG => registers[dst] = registers[src],
            MOV_IMM => registers[dst] = i64::from(imm) as u64,
            AND_IMM => registers[dst] = u64::from(word & imm as u32),
            RSH_IMM => registers[dst] = u64::from(word >> imm),
            JNE32_IMM => at += jump(word != imm as u32),
            JNE32_REG => at += jump(word != registers[src] as u32),
            JEQ32_IMM => at += jump(word == imm as u32),
            EXIT => return registers[0],
            other => panic!("unexpected instruction {other:#x}"),
        }
    }
}

fn policies() -> Vec<DevicePolicy> {
    let rule = |allow: bool, kind: &str, major: i64, minor: i64, access: &str| DeviceRule {
        allow,
        kind: Some(kind.to_owned()),
        major: Some(major),
        minor: Some(minor),
        access: Some(access.to_owned()),
    };
    let rules: Vec<Vec<DeviceRule>> = vec![
        vec![],
        vec![rule(true, "a", -1, -1, "rwm")],
        vec![
            rule(true, "a", -1, -1, "rwm"),
            rule(false, "c", 1, 3, "w"),
            rule(false, "b", 8, -1, "rwm"),
        ],
        vec![
            rule(true, "c", 10, 229, "rw"),
            rule(true, "b", 8, -1, "r"),
            rule(true, "b", -1, 1, "m"),
        ],
        vec![rule(true, "c", 4_294_967_295, 3_000_000_000, "r")],
    ];
    let mut out: Vec<_> = rules.iter().map(|r| DevicePolicy::for_container(r).unwrap()).collect();
    out.push(DevicePolicy::deny_all());
    out
}

#[test]
fn the_program_answers_as_the_policy_does() {
    let numbers = [0, 1, 3, 5, 8, 9, 10, 136, 229, 3_000_000_000, u32::MAX];
    for policy in policies() {
        let program = assemble(&policy);
        for (block, kind) in [(true, 1), (false, 2)] {
            for access in 1..8_u8 {
                for major in numbers {
                    for minor in numbers {
                        let answer = run(&program, kind, u32::from(access), major, minor);
                        let expected = policy.allows(block, major, minor, access);
                        assert_eq!(
                            answer,
                            u64::from(expected),
                            "{policy:?} {kind} {access} {major}:{minor}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_smallest_program_byte_by_byte() {
    let bytes: Vec<u8> = assemble(&DevicePolicy::deny_all()).concat();
    #[rustfmt::skip]
    let expected = [
        0x61, 0x12, 0, 0, 0, 0, 0, 0,       // r2 = *(u32 *)(r1 + 0)
        0xbf, 0x23, 0, 0, 0, 0, 0, 0,       // r3 = r2
        0x54, 0x02, 0, 0, 0xff, 0xff, 0, 0, // w2 &= 0xffff
        0x74, 0x03, 0, 0, 16, 0, 0, 0,      // w3 >>= 16
        0x61, 0x14, 4, 0, 0, 0, 0, 0,       // r4 = *(u32 *)(r1 + 4)
        0x61, 0x15, 8, 0, 0, 0, 0, 0,       // r5 = *(u32 *)(r1 + 8)
        0xb7, 0x00, 0, 0, 0, 0, 0, 0,       // r0 = 0
        0x95, 0x00, 0, 0, 0, 0, 0, 0,       // exit
    ];
    assert_eq!(bytes, expected);
}
