use super::*;
use crate::interpreter::{Data, run};
use crate::{Kernel, Profile, Strictness, names, number};
use oci::runtime::{Arg, Syscall};
use proptest::prelude::*;

const KERNEL: Kernel = Kernel { major: 6, minor: 1 };

/// The document's meaning, read straight from the document: the other opinion.
struct Document<'a> {
    filter: &'a Seccomp,
    machine: Arch,
    /// Numbers that each rule's names have, per ABI in the order of [`Arch::ALL`], looked up once.
    numbers: Vec<Vec<Vec<u32>>>,
    newest: Vec<u32>,
}

impl<'a> Document<'a> {
    fn new(filter: &'a Seccomp, machine: Arch) -> Self {
        let per_rule = |abi: Arch, rule: &Syscall| -> Vec<u32> {
            rule.names.iter().filter_map(|n| number(n, abi)).collect()
        };
        let numbers: Vec<Vec<Vec<u32>>> =
            Arch::ALL.map(|abi| filter.syscalls.iter().map(|r| per_rule(abi, r)).collect()).into();
        let newest = Arch::ALL.into_iter().zip(&numbers).map(|(abi, numbers)| {
            let named = numbers.iter().flatten().copied();
            let bare = filter.syscalls.iter().filter(|r| abi == Arch::X86 && r.args.is_empty());
            let through = bare.flat_map(|r| r.names.iter()).filter_map(|n| Some(multiplexer(n)?.0));
            let all = named.chain(through).filter(|n| abi != Arch::Arm || *n < 0xf_0000);
            all.max().unwrap_or(abi.number_bits())
        });
        let newest = newest.collect();
        Self { filter, machine, numbers, newest }
    }

    fn answer(&self, data: &Data) -> u32 {
        let answer = |action: &str, errno: Option<u32>| match action {
            "SCMP_ACT_ALLOW" => 0x7fff_0000,
            "SCMP_ACT_ERRNO" => 0x0005_0000 + errno.unwrap_or(1),
            "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
            "SCMP_ACT_LOG" => 0x7ffc_0000,
            "SCMP_ACT_TRAP" => 0x0003_0000,
            other => panic!("{other}"),
        };
        let default = answer(&self.filter.default_action, self.filter.default_errno_ret);
        let abi = match data.arch {
            0xc000_003e if data.number >= 0x4000_0000 => Arch::X32,
            0xc000_003e => Arch::X86_64,
            0x4000_0003 => Arch::X86,
            0xc000_00b7 => Arch::Aarch64,
            0x4000_0028 => Arch::Arm,
            _ => return 0x8000_0000,
        };
        let newer = if matches!(default >> 16, 0x7fff | 0x7ffc) { default } else { 0x0005_0026 };
        let possible = match self.machine {
            Arch::X86_64 => matches!(abi, Arch::X86 | Arch::X32),
            _ => abi == Arch::Arm,
        };
        let named = self.filter.architectures.iter().any(|a| a == abi.name());
        if abi != self.machine && !(possible && named) {
            let answered_by_a_tracer = abi == Arch::X32 && possible && data.number == u32::MAX;
            return if answered_by_a_tracer { newer } else { 0x8000_0000 };
        }
        let column = Arch::ALL.iter().position(|a| *a == abi).unwrap();
        // (answer, unconditional, holds) of every rule for this number.
        let mut rules = Vec::new();
        for (rule, numbers) in self.filter.syscalls.iter().zip(&self.numbers[column]) {
            let answer = answer(&rule.action, rule.errno_ret);
            if answer == default {
                continue;
            }
            for _ in numbers.iter().filter(|n| **n == data.number) {
                rules.push((answer, rule.args.is_empty(), met(&rule.args, data)));
            }
            if abi == Arch::X86 && rule.args.is_empty() && matches!(data.number, 102 | 117) {
                for (through, selector, mask) in rule.names.iter().filter_map(multiplexer) {
                    if through == data.number {
                        rules.push((answer, false, data.arguments[0] & mask == selector));
                    }
                }
            }
        }
        let first = rules.iter().find(|r| r.1).or_else(|| rules.iter().find(|r| r.2));
        let private = abi == Arch::Arm && data.number >= 0xf_0000;
        match first {
            Some((answer, _, _)) => *answer,
            None if data.number > self.newest[column] && !private => newer,
            None => default,
        }
    }
}

/// Whether a rule's conditions hold: all of them, or one where two speak of the same argument.
fn met(args: &[Arg], data: &Data) -> bool {
    let holds = |arg: &Arg| {
        let value = data.arguments[arg.index as usize];
        match arg.op.as_str() {
            "SCMP_CMP_EQ" => value == arg.value,
            "SCMP_CMP_NE" => value != arg.value,
            "SCMP_CMP_LT" => value < arg.value,
            "SCMP_CMP_LE" => value <= arg.value,
            "SCMP_CMP_GT" => value > arg.value,
            "SCMP_CMP_GE" => value >= arg.value,
            "SCMP_CMP_MASKED_EQ" => value & arg.value == arg.value_two,
            other => panic!("{other}"),
        }
    };
    let mut indexes: Vec<u32> = args.iter().map(|a| a.index).collect();
    indexes.sort_unstable();
    match indexes.windows(2).any(|w| w[0] == w[1]) {
        true => args.iter().any(holds),
        false => args.iter().all(holds),
    }
}

/// socketcall and ipc of i386 for the names that the tests use.
fn multiplexer(name: &str) -> Option<(u32, u64, u64)> {
    match name {
        "socket" => Some((102, 1, u64::MAX)),
        "connect" => Some((102, 3, u64::MAX)),
        "accept4" => Some((102, 18, u64::MAX)),
        "sendmmsg" => Some((102, 20, u64::MAX)),
        "shmat" => Some((117, 21, 0xffff)),
        "semop" => Some((117, 1, 0xffff)),
        "semtimedop" => Some((117, 4, 0xffff)),
        // The built-in profiles name all of them but allow the two calls that carry them anyway.
        _ => None,
    }
}

/// Numbers worth asking for: every one that any table has, and the surroundings of the edges.
fn numbers(abi: Arch) -> Vec<u32> {
    let mut all: Vec<u32> = (0..600).map(|n| n | abi.number_bits()).collect();
    all.extend([1000, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, u32::MAX - 1, u32::MAX]);
    if abi == Arch::Arm {
        all.extend(0xe_fffe..0xf_0010);
    }
    all
}

/// Argument values near those that the rules compare with.
fn interesting(filter: &Seccomp) -> Vec<u64> {
    let mut values = vec![0, 1, 2, 3, 18, 20, 21, 0x1_0015, 1 << 32, u64::MAX];
    for arg in filter.syscalls.iter().flat_map(|s| &s.args) {
        for value in [arg.value, arg.value_two] {
            values.extend([
                value.wrapping_sub(1),
                value,
                value.wrapping_add(1),
                value ^ 1 << 32,
                value | 0xf0 << 40,
            ]);
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// Compares program and document over all numbers and arguments; gives instructions and average steps of what is allowed.
fn compare(filter: &Seccomp, machine: Arch, seed: u64, rounds: usize) -> (usize, f64) {
    let program = compile(filter, machine).unwrap();
    assert!(program.instructions() <= Program::MAX);
    let document = Document::new(filter, machine);
    let values = interesting(filter);
    let mut random = seed | 1;
    let mut next = || {
        // xorshift64: only to choose among values.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut steps, mut count) = (0, 0);
    for abi in Arch::ALL {
        for number in numbers(abi) {
            for _ in 0..rounds {
                let mut arguments = [0; 6];
                for argument in &mut arguments {
                    let pick = next();
                    *argument =
                        if pick % 16 == 0 { next() } else { values[pick as usize % values.len()] };
                }
                let data = Data { number, arch: abi.audit(), arguments };
                let (answer, took) = run(program.as_bytes(), &data);
                assert_eq!(answer, document.answer(&data), "{abi:?} {number:#x} {arguments:x?}");
                if answer == 0x7fff_0000 && abi == machine {
                    steps += took;
                    count += 1;
                }
            }
        }
    }
    // An architecture that nobody has heard of.
    assert_eq!(run(program.as_bytes(), &Data { arch: 7, ..Data::default() }).0, 0x8000_0000);
    (program.instructions(), steps as f64 / f64::from(count.max(1)))
}

#[test]
fn the_built_in_profiles_mean_what_they_say() {
    for strictness in [Strictness::Default, Strictness::Strict] {
        for caps in [&[][..], &["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE"]] {
            for machine in [Arch::X86_64, Arch::Aarch64] {
                let mut filter = Profile::builtin(strictness).resolve(caps, machine, KERNEL);
                // The other opinion knows only a few of the calls behind socketcall and ipc; with these two allowed, as
                // the default profile has them, the rest cannot matter.
                if strictness == Strictness::Strict {
                    let plain = |name: &&str| (name.starts_with("ipc")) || *name == "socketcall";
                    assert_eq!(
                        filter
                            .syscalls
                            .iter()
                            .flat_map(|s| s.names.iter())
                            .filter(|n| plain(n))
                            .count(),
                        1
                    );
                    filter.syscalls.push(rule("socketcall", "SCMP_ACT_TRAP", &[]));
                }
                let (instructions, steps) = compare(&filter, machine, 42, 12);
                println!(
                    "{strictness:?} {machine:?} {} capabilities: {instructions} instructions, {steps:.1} steps",
                    caps.len()
                );
                assert!(instructions < 700, "{instructions}");
                assert!(steps < 16.0, "{steps}");
            }
        }
    }
}

fn rule(name: &str, action: &str, args: &[(u32, &str, u64, u64)]) -> Syscall {
    let arg = |(index, op, value, value_two): &(u32, &str, u64, u64)| Arg {
        index: *index,
        value: *value,
        value_two: *value_two,
        op: format!("SCMP_CMP_{op}"),
    };
    Syscall {
        names: name.split(' ').collect(),
        action: action.to_owned(),
        errno_ret: None,
        args: args.iter().map(arg).collect(),
    }
}

fn filter(default: &str, syscalls: Vec<Syscall>) -> Seccomp {
    Seccomp {
        default_action: default.to_owned(),
        architectures: vec![
            "SCMP_ARCH_X86".to_owned(),
            "SCMP_ARCH_X32".to_owned(),
            "SCMP_ARCH_ARM".to_owned(),
        ],
        syscalls,
        ..Seccomp::default()
    }
}

fn ask(filter: &Seccomp, abi: Arch, name: &str, arguments: [u64; 2]) -> u32 {
    let [a, b] = arguments;
    let data = Data {
        number: number(name, abi).unwrap(),
        arch: abi.audit(),
        arguments: [a, b, 0, 0, 0, 0],
    };
    run(compile(filter, Arch::X86_64).unwrap().as_bytes(), &data).0
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const TRAP: u32 = 0x0003_0000;

#[test]
fn rules_that_meet() {
    let both = |first: Syscall, second: Syscall| filter("SCMP_ACT_ERRNO", vec![first, second]);
    let bare = rule("chmod", "SCMP_ACT_ALLOW", &[]);
    let trap = rule("chmod", "SCMP_ACT_TRAP", &[]);
    let one = rule("chmod", "SCMP_ACT_TRAP", &[(0, "EQ", 1, 0)]);
    let either = rule("chmod", "SCMP_ACT_ALLOW", &[(0, "EQ", 1, 0), (0, "EQ", 2, 0)]);
    let all = rule("chmod", "SCMP_ACT_ALLOW", &[(0, "EQ", 1, 0), (1, "EQ", 2, 0)]);
    let check = |filter: &Seccomp, arguments, answer| {
        assert_eq!(
            ask(filter, Arch::X86_64, "chmod", arguments),
            answer,
            "{filter:?} {arguments:?}"
        );
    };
    check(&both(bare.clone(), trap.clone()), [0, 0], ALLOW);
    check(&both(trap, bare.clone()), [0, 0], TRAP);
    check(&both(one.clone(), bare), [1, 0], ALLOW);
    check(&both(one.clone(), either.clone()), [1, 0], TRAP);
    check(&both(one.clone(), either.clone()), [2, 0], ALLOW);
    check(&both(either.clone(), one.clone()), [1, 0], ALLOW);
    check(&both(either, one), [3, 0], EPERM);
    check(&filter("SCMP_ACT_ERRNO", vec![all.clone()]), [1, 2], ALLOW);
    check(&filter("SCMP_ACT_ERRNO", vec![all]), [1, 3], EPERM);
    let same = rule("chmod", "SCMP_ACT_ERRNO", &[]);
    let later = rule("chmod", "SCMP_ACT_ALLOW", &[(0, "EQ", 1, 0)]);
    check(&both(same, later), [1, 0], ALLOW);
}

#[test]
fn a_denial_holds_on_the_32_bit_way_too() {
    let denied = filter("SCMP_ACT_ALLOW", vec![rule("socket shmat", "SCMP_ACT_ERRNO", &[])]);
    assert_eq!(ask(&denied, Arch::X86, "socketcall", [1, 0]), EPERM);
    assert_eq!(ask(&denied, Arch::X86, "socketcall", [2, 0]), ALLOW);
    assert_eq!(ask(&denied, Arch::X86, "ipc", [0x0001_0015, 0]), EPERM);
    assert_eq!(ask(&denied, Arch::X86, "ipc", [22, 0]), ALLOW);
}

#[test]
fn what_cannot_be_understood_is_refused() {
    let refused = |change: &dyn Fn(&mut Seccomp)| {
        let mut filter = filter("SCMP_ACT_ALLOW", vec![rule("read", "SCMP_ACT_ERRNO", &[])]);
        change(&mut filter);
        compile(&filter, Arch::X86_64).unwrap_err().to_string()
    };
    assert!(
        refused(&|f| f.default_action = "ALLOW".to_owned())
            .contains("invalid seccomp action \"ALLOW\"")
    );
    assert!(
        refused(&|f| f.architectures.push("SCMP_ARCH_VAX".to_owned())).contains("SCMP_ARCH_VAX")
    );
    assert!(
        refused(&|f| f.flags.push("FAST".to_owned())).contains("invalid seccomp flag \"FAST\"")
    );
    assert!(refused(&|f| f.syscalls[0].errno_ret = Some(4096)).contains("errnoRet 4096"));
    let mut fine = filter("SCMP_ACT_ALLOW", vec![rule("no_such_call read", "SCMP_ACT_ERRNO", &[])]);
    fine.architectures.push("SCMP_ARCH_S390X".to_owned());
    assert_eq!(ask(&fine, Arch::X86_64, "read", [0, 0]), EPERM);
}

#[test]
fn a_profile_too_long_for_the_kernel_is_refused_and_long_jumps_work() {
    let many = |count: u64| {
        let conditions = (0..count)
            .map(|n| rule("read", "SCMP_ACT_ALLOW", &[(0, "MASKED_EQ", u64::MAX, n << 33)]));
        filter("SCMP_ACT_ERRNO", conditions.collect())
    };
    let long = many(120);
    assert_eq!(ask(&long, Arch::X86_64, "read", [119 << 33, 0]), ALLOW);
    assert_eq!(ask(&long, Arch::X86_64, "read", [120 << 33, 0]), EPERM);
    compare(&long, Arch::X86_64, 7, 2);
    let error = compile(&many(2000), Arch::X86_64).unwrap_err().to_string();
    assert!(error.contains("instructions, the kernel takes 4096"), "{error}");
}

fn any_rule() -> impl Strategy<Value = Syscall> {
    let pool = [
        "read",
        "write",
        "open",
        "socket",
        "connect",
        "accept4",
        "clone",
        "clone3",
        "socketcall",
        "ipc",
        "shmat",
        "semop",
        "arch_prctl",
        "set_tls",
        "openat2",
        "chmod",
        "execve",
        "getpid",
        "file_setattr",
        "nothing_known",
    ];
    let names = prop::collection::vec(prop::sample::select(pool.to_vec()), 1..4);
    let action = prop::sample::select(vec!["ALLOW", "ERRNO", "KILL_PROCESS", "LOG", "TRAP"]);
    let value = prop_oneof![
        0..30_u64,
        Just(1 << 32),
        Just(u64::MAX),
        Just(u64::MAX - 1),
        Just(0xffff_ffff),
        any::<u64>()
    ];
    let op = prop::sample::select(vec!["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"]);
    let arg = (0..3_u32, op, value.clone(), value);
    (names, action, prop::option::of(1..20_u32), prop::collection::vec(arg, 0..4)).prop_map(
        |(names, action, errno, args)| Syscall {
            errno_ret: errno,
            ..rule(&names.join(" "), &format!("SCMP_ACT_{action}"), &args)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_profile_means_what_it_says(
        rules in prop::collection::vec(any_rule(), 0..24),
        default in prop::sample::select(vec!["ALLOW", "ERRNO", "KILL_PROCESS", "LOG"]),
        speaks in any::<[bool; 3]>(),
        machine in prop::sample::select(vec![Arch::X86_64, Arch::Aarch64]),
        seed in any::<u64>(),
    ) {
        let mut filter = filter(&format!("SCMP_ACT_{default}"), rules);
        let mut keep = speaks.iter();
        filter.architectures.retain(|_| *keep.next().unwrap());
        compare(&filter, machine, seed, 3);
    }
}

#[test]
fn names_of_calls_have_no_gaps() {
    // What the comparison above walks through must cover the tables.
    for abi in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm] {
        let asked = numbers(abi);
        assert!(names().filter_map(|n| number(n, abi)).all(|n| asked.contains(&n)), "{abi:?}");
    }
}
