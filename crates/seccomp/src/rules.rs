//! A resolved profile as a verdict per call number: the meaning of the document, before any instruction.

use oci::runtime::{Arg, Seccomp};
use stdx::{Error, Result};

use crate::Arch;
use crate::table::Call;

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
    /// What rules say, in order of numbers (x32 with its bit).
    pub(crate) by_number: Vec<(u32, Verdict)>,
    /// What is answered to other numbers that are not newer.
    pub(crate) default: u32,
    /// What is answered above `last`, private calls aside.
    pub(crate) newer: u32,
    /// The highest number that the document names.
    pub(crate) last: u32,
}

/// A filter's rules with their words understood, to be asked for one ABI after the other.
#[derive(Debug)]
pub(crate) struct Rules {
    default: u32,
    rules: Vec<Rule>,
    /// What they say of which calls.
    said: Vec<Said>,
}

#[derive(Debug)]
struct Rule {
    answer: u32,
    /// None for a rule without conditions.
    alternatives: Vec<Vec<Test>>,
}

/// That a rule, by its number, speaks of a call.
#[derive(Debug)]
struct Said {
    call: Call,
    rule: usize,
    /// It does so under one condition, for i386: the call stands for many.
    through: Option<Test>,
}

impl Rules {
    /// Reads the rules of `filter`. Names that no kernel has are ignored.
    pub(crate) fn of(filter: &Seccomp) -> Result<Self> {
        let default = answer(&filter.default_action, filter.default_errno_ret)?;
        let mut rules = Vec::with_capacity(filter.syscalls.len());
        let mut said = Vec::with_capacity(512);
        for (at, rule) in filter.syscalls.iter().enumerate() {
            let alternatives = alternatives(&rule.args)?;
            let always = alternatives.is_empty();
            rules.push(Rule { answer: answer(&rule.action, rule.errno_ret)?, alternatives });
            for call in rule.names.iter().filter_map(Call::find) {
                said.push(Said { call, rule: at, through: None });
                // Old i386 programs reach sockets and System V IPC through one call each, told apart by its first
                // argument. What a rule says of a call must hold for this way too, or a denial could be walked around.
                // Conditions on arguments cannot be looked at there: they are in memory.
                if always && let Some((call, test)) = multiplexed(call.name()) {
                    said.push(Said { call, rule: at, through: Some(test) });
                }
            }
        }
        Ok(Self { default, rules, said })
    }

    /// What they say of `arch`.
    pub(crate) fn verdicts(&self, arch: Arch) -> Verdicts {
        let mut last = arch.number_bits();
        // By number, then in the order of the document.
        let mut order: Vec<(u32, usize)> = Vec::with_capacity(self.said.len());
        for (at, said) in self.said.iter().enumerate() {
            let Some(number) = said.call.number(arch) else { continue };
            if said.through.is_some() && arch != Arch::X86 {
                continue;
            }
            if number < arch.private_base() {
                last = last.max(number);
            }
            // What does the same as the default is no rule.
            if self.rules[said.rule].answer != self.default {
                order.push((number, at));
            }
        }
        order.sort_unstable();
        let mut by_number = Vec::with_capacity(order.len());
        for all in order.chunk_by(|a, b| a.0 == b.0) {
            by_number.push((all[0].0, self.verdict(all)));
        }
        Verdicts { by_number, default: self.default, newer: newer(self.default), last }
    }

    /// What becomes of one call, of which `all` is said.
    fn verdict(&self, all: &[(u32, usize)]) -> Verdict {
        let all = || all.iter().map(|(_, at)| &self.said[*at]).map(|s| (s, &self.rules[s.rule]));
        let sure = all().find(|(s, rule)| s.through.is_none() && rule.alternatives.is_empty());
        if let Some((_, rule)) = sure {
            return Verdict::Always(rule.answer);
        }
        let mut depends = Vec::new();
        for (said, rule) in all() {
            let through = said.through.map(|test| vec![test]);
            let tests = rule.alternatives.iter().cloned().chain(through);
            depends.extend(tests.map(|tests| Alternative { tests, answer: rule.answer }));
        }
        Verdict::Depends(depends)
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
fn multiplexed(name: &str) -> Option<(Call, Test)> {
    // The selectors: uapi linux/net.h and linux/ipc.h.
    let (call, selector) = match name {
        "socket" => (SOCKETCALL, 1),
        "bind" => (SOCKETCALL, 2),
        "connect" => (SOCKETCALL, 3),
        "listen" => (SOCKETCALL, 4),
        "accept" => (SOCKETCALL, 5),
        "getsockname" => (SOCKETCALL, 6),
        "getpeername" => (SOCKETCALL, 7),
        "socketpair" => (SOCKETCALL, 8),
        "send" => (SOCKETCALL, 9),
        "recv" => (SOCKETCALL, 10),
        "sendto" => (SOCKETCALL, 11),
        "recvfrom" => (SOCKETCALL, 12),
        "shutdown" => (SOCKETCALL, 13),
        "setsockopt" => (SOCKETCALL, 14),
        "getsockopt" => (SOCKETCALL, 15),
        "sendmsg" => (SOCKETCALL, 16),
        "recvmsg" => (SOCKETCALL, 17),
        "accept4" => (SOCKETCALL, 18),
        "recvmmsg" => (SOCKETCALL, 19),
        "sendmmsg" => (SOCKETCALL, 20),
        "semop" => (IPC, 1),
        "semget" => (IPC, 2),
        "semctl" => (IPC, 3),
        "semtimedop" => (IPC, 4),
        "msgsnd" => (IPC, 11),
        "msgrcv" => (IPC, 12),
        "msgget" => (IPC, 13),
        "msgctl" => (IPC, 14),
        "shmat" => (IPC, 21),
        "shmdt" => (IPC, 22),
        "shmget" => (IPC, 23),
        "shmctl" => (IPC, 24),
        _ => return None,
    };
    const SOCKETCALL: &str = "socketcall";
    const IPC: &str = "ipc";
    let operator = match call {
        // The upper half of ipc's is a version.
        IPC => Operator::Masked(0xffff),
        // The kernel takes the selector as an int, so only 32 bits count; i386 has no others anyway.
        _ => Operator::Eq,
    };
    Some((Call::find(call)?, Test { argument: 0, operator, value: selector }))
}
