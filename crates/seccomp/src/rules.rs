//! A resolved profile as a verdict per call number: the meaning of the document, before any instruction.

use std::collections::BTreeMap;

use oci::runtime::{Arg, Seccomp};
use stdx::{Error, Result};

use crate::Arch;
use crate::table::number;

/// The actions of the OCI specification (for `features`).
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// The operators of the OCI specification (for `features`).
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// The flags of the OCI specification (for `features`); whoever loads the program passes them on.
pub const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// `SECCOMP_RET_…` (uapi `linux/seccomp.h`).
pub(crate) const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// What becomes of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Always this.
    Always(u32),
    /// The first alternative whose tests all hold; the default otherwise.
    Depends(Vec<Alternative>),
}

/// One rule with conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alternative {
    pub(crate) tests: Vec<Test>,
    pub(crate) answer: u32,
}

/// One condition on one argument, all 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Test {
    /// 0 to 5.
    pub(crate) argument: u8,
    pub(crate) operator: Operator,
    pub(crate) value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// `argument & mask == value`
    Masked(u64),
}

/// Everything that a filter says about one ABI.
#[derive(Debug)]
pub(crate) struct Verdicts {
    /// What rules say, by number (x32 with its bit).
    pub(crate) by_number: BTreeMap<u32, Verdict>,
    /// What is answered to other numbers that are not newer.
    pub(crate) default: u32,
    /// What is answered above `last`, private calls aside.
    pub(crate) newer: u32,
    /// The highest number that the document names.
    pub(crate) last: u32,
}

/// The verdicts of `filter` for `arch`.
pub(crate) fn verdicts(filter: &Seccomp, arch: Arch) -> Result<Verdicts> {
    let default = answer(&filter.default_action, filter.default_errno_ret)?;
    let mut out = Verdicts {
        by_number: BTreeMap::new(),
        default,
        newer: newer(default),
        last: arch.number_bits(),
    };
    for rule in &filter.syscalls {
        let answer = answer(&rule.action, rule.errno_ret)?;
        let alternatives = alternatives(&rule.args)?;
        for name in &rule.names {
            if let Some(number) = number(name, arch) {
                if number < arch.private_base() {
                    out.last = out.last.max(number);
                }
                out.add(number, answer, &alternatives);
            }
            // Old i386 programs reach sockets and System V IPC through one call each, told apart by its first argument.
            // What a rule says of a call must hold for this way too, or a denial could be walked around. Conditions on
            // arguments cannot be looked at there: they are in memory.
            if arch == Arch::X86
                && rule.args.is_empty()
                && let Some((number, test)) = multiplexed(name)
            {
                out.last = out.last.max(number);
                out.add(number, answer, &[vec![test]]);
            }
        }
    }
    Ok(out)
}

impl Verdicts {
    fn add(&mut self, number: u32, answer: u32, alternatives: &[Vec<Test>]) {
        if answer == self.default {
            return;
        }
        if alternatives.is_empty() {
            let verdict = self.by_number.entry(number).or_insert(Verdict::Always(answer));
            if matches!(verdict, Verdict::Depends(_)) {
                *verdict = Verdict::Always(answer);
            }
            return;
        }
        let verdict = self.by_number.entry(number).or_insert_with(|| Verdict::Depends(Vec::new()));
        if let Verdict::Depends(all) = verdict {
            all.extend(
                alternatives.iter().map(|tests| Alternative { tests: tests.clone(), answer }),
            );
        }
    }
}

/// What is answered to calls that are newer than the profile: ENOSYS, by which C libraries know to try the older call.
/// runc does this since 1.0, because profiles age. Not where the default lets pass or somebody else answers.
fn newer(default: u32) -> u32 {
    match default & 0xffff_0000 {
        ALLOW | LOG | TRACE => default,
        _ => ERRNO | ENOSYS,
    }
}

/// Refuses what cannot be compiled, without compiling.
pub(crate) fn check(action: &str, errno: Option<u32>, args: &[Arg]) -> Result<()> {
    answer(action, errno)?;
    alternatives(args).map(drop)
}

/// The value that a filter returns for an action.
fn answer(action: &str, data: Option<u32>) -> Result<u32> {
    let errno = data.unwrap_or(EPERM);
    // The kernel caps errno at 4095 (MAX_ERRNO); a larger one would arrive as another.
    let limit = if action == "SCMP_ACT_ERRNO" { 4095 } else { 0xffff };
    if errno > limit {
        return Err(Error::invalid(format!("invalid seccomp errnoRet {errno} for {action}")));
    }
    Ok(match action {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => ERRNO | errno,
        // libseccomp's plain KILL is the thread's.
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_TRACE" => TRACE | errno,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_NOTIFY" => USER_NOTIF,
        _ => return Err(Error::invalid(format!("invalid seccomp action \"{action}\""))),
    })
}

/// The conditions of a rule as alternatives; none for a rule without conditions.
fn alternatives(args: &[Arg]) -> Result<Vec<Vec<Test>>> {
    let tests = args.iter().map(test).collect::<Result<Vec<_>>>()?;
    let twice =
        tests.iter().enumerate().any(|(i, t)| tests[..i].iter().any(|u| u.argument == t.argument));
    Ok(match (tests.is_empty(), twice) {
        (true, _) => Vec::new(),
        (false, true) => tests.into_iter().map(|t| vec![t]).collect(),
        (false, false) => vec![tests],
    })
}

fn test(arg: &Arg) -> Result<Test> {
    let Ok(argument @ 0..=5) = u8::try_from(arg.index) else {
        return Err(Error::invalid(format!("invalid seccomp argument index {}", arg.index)));
    };
    let (operator, value) = match arg.op.as_str() {
        "SCMP_CMP_EQ" => (Operator::Eq, arg.value),
        "SCMP_CMP_NE" => (Operator::Ne, arg.value),
        "SCMP_CMP_LT" => (Operator::Lt, arg.value),
        "SCMP_CMP_LE" => (Operator::Le, arg.value),
        "SCMP_CMP_GT" => (Operator::Gt, arg.value),
        "SCMP_CMP_GE" => (Operator::Ge, arg.value),
        "SCMP_CMP_MASKED_EQ" => (Operator::Masked(arg.value), arg.value_two),
        other => return Err(Error::invalid(format!("invalid seccomp operator \"{other}\""))),
    };
    Ok(Test { argument, operator, value })
}

/// The call and the test by which i386 reaches `name` through socketcall(2) or ipc(2).
fn multiplexed(name: &str) -> Option<(u32, Test)> {
    // uapi linux/net.h and linux/ipc.h.
    const SOCKETCALL: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    if let Some(at) = SOCKETCALL.iter().position(|n| *n == name) {
        // The kernel takes the selector as an int, so only 32 bits count; i386 has no others anyway.
        let test = Test { argument: 0, operator: Operator::Eq, value: at as u64 + 1 };
        return Some((number("socketcall", Arch::X86)?, test));
    }
    let (_, selector) = IPC.iter().find(|(n, _)| *n == name)?;
    // The upper half is a version.
    let test = Test { argument: 0, operator: Operator::Masked(0xffff), value: *selector };
    Some((number("ipc", Arch::X86)?, test))
}
