//! Verdicts → instructions.

use oci::runtime::Seccomp;
use stdx::{Error, Kind, Result};

use crate::arch::X32_BIT;
use crate::assembler::{Assembler, IF_EQ, IF_GE, IF_GT, Target};
use crate::rules::{Alternative, FLAGS, KILL_PROCESS, Operator, Rules, Test, Verdict, Verdicts};
use crate::{Arch, Program};

/// Offsets in `struct seccomp_data`; all our machines are little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Compiles a resolved filter for a machine of `arch`.
///
/// Calls through an ABI that the filter does not speak of end the process. Names that the machine does not have are
/// ignored, as everybody does; unknown actions, operators, flags and architectures are
/// [`Kind::InvalidArgument`].
pub fn compile(filter: &Seccomp, arch: Arch) -> Result<Program> {
    for flag in &filter.flags {
        if !FLAGS.contains(&flag.as_str()) {
            return Err(Error::invalid(format!("invalid seccomp flag \"{flag}\"")));
        }
    }
    let mut spoken_of = vec![arch];
    for name in &filter.architectures {
        if let Some(named) = Arch::parse(name)?
            && arch.served().contains(&named)
            && !spoken_of.contains(&named)
        {
            spoken_of.push(named);
        }
    }
    let rules = Rules::of(filter)?;
    let mut out = Assembler::default();
    // Written last to first: the machine's own ABI ends up next to the start, where most calls go.
    let mut start = Target::Return(KILL_PROCESS);
    let x32 = match spoken_of.contains(&Arch::X32) && arch != Arch::X32 {
        true => Some(ranges(rules.verdicts(Arch::X32), Arch::X32)),
        false => None,
    };
    for abi in spoken_of.into_iter().rev() {
        if abi == Arch::X32 && arch != Arch::X32 {
            continue;
        }
        let verdicts = rules.verdicts(abi);
        let default = verdicts.default;
        let newer = verdicts.newer;
        let above = match &x32 {
            Some(ranges) => search(&mut out, ranges, default),
            // -1 is what a tracer leaves of a call that it has answered itself.
            None => {
                out.branch(IF_EQ, u32::MAX, Target::Return(newer), Target::Return(KILL_PROCESS))
            }
        };
        let mut numbers = search(&mut out, &ranges(verdicts, abi), default);
        if abi == Arch::X86_64 {
            numbers = out.branch(IF_GE, X32_BIT, above, numbers);
        }
        let numbers = out.load(NUMBER, numbers);
        start = out.branch(IF_EQ, abi.audit(), numbers, start);
    }
    let start = out.load(ARCH, start);
    let instructions = out.finish(start);
    if instructions.len() > Program::MAX {
        return Err(Error::new(
            Kind::InvalidArgument,
            format!(
                "seccomp profile needs {} instructions, the kernel takes {}",
                instructions.len(),
                Program::MAX
            ),
        ));
    }
    Ok(Program::new(&instructions))
}

/// Numbers from `start` up to the next range's start.
struct Range {
    start: u32,
    verdict: Verdict,
}

/// The whole number space as ranges with different verdicts, in order.
fn ranges(verdicts: Verdicts, arch: Arch) -> Vec<Range> {
    let Verdicts { by_number, default, newer, last } = verdicts;
    let mut ranges = Vec::with_capacity(2 * by_number.len() + 3);
    let unnamed = |ranges: &mut Vec<Range>, from: u32, to: u32| {
        for start in [from, last + 1, arch.private_base()] {
            if (from..to).contains(&start) {
                let known = start <= last || start >= arch.private_base();
                add(ranges, start, Verdict::Always(if known { default } else { newer }));
            }
        }
    };
    let mut next = arch.number_bits();
    for (number, verdict) in by_number {
        unnamed(&mut ranges, next, number);
        add(&mut ranges, number, verdict);
        next = number + 1;
    }
    unnamed(&mut ranges, next, u32::MAX);
    ranges
}

/// Begins another range, unless it is the same as the one before.
fn add(ranges: &mut Vec<Range>, start: u32, verdict: Verdict) {
    if ranges.last().is_none_or(|r| r.verdict != verdict) {
        ranges.push(Range { start, verdict });
    }
}

/// A binary search for the loaded number.
fn search(out: &mut Assembler, ranges: &[Range], default: u32) -> Target {
    match ranges {
        [] => Target::Return(default),
        [one] => match &one.verdict {
            Verdict::Always(answer) => Target::Return(*answer),
            Verdict::Depends(alternatives) => {
                let tree = decide(alternatives.clone(), default);
                emit(out, &tree, default)
            }
        },
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let high_target = search(out, high, default);
            let low_target = search(out, low, default);
            out.branch(IF_GE, high[0].start, high_target, low_target)
        }
    }
}

/// How the arguments of one call are looked at.
#[derive(Debug, PartialEq, Eq)]
enum Tree {
    Answer(u32),
    /// One argument below 2³² is searched among ranges that begin at the given values; larger ones belong to the last.
    Split {
        argument: u8,
        ranges: Vec<(u64, Self)>,
    },
    /// One alternative after the other.
    Chain(Vec<Alternative>),
}

/// Profiles list values one rule each (31 socket families in Docker's); tested one by one they would be the longest paths
/// of all, so comparisons of one argument are turned into ranges of it.
fn decide(mut alternatives: Vec<Alternative>, default: u32) -> Tree {
    if let Some(sure) = alternatives.iter().position(|a| a.tests.is_empty()) {
        alternatives.truncate(sure + 1);
    }
    match &alternatives[..] {
        [] => return Tree::Answer(default),
        [first, ..] if first.tests.is_empty() => return Tree::Answer(first.answer),
        _ => {}
    }
    let comparisons = |argument: u8| {
        let all = alternatives.iter().flat_map(|a| &a.tests);
        all.filter(move |t| t.argument == argument && !matches!(t.operator, Operator::Masked(_)))
    };
    let Some(argument) = (0..6).find(|argument| comparisons(*argument).count() > 1) else {
        return Tree::Chain(alternatives);
    };
    let mut edges: Vec<u64> = vec![0];
    for test in comparisons(argument) {
        let next = test.value.checked_add(1);
        match test.operator {
            Operator::Eq | Operator::Ne => {
                edges.extend([Some(test.value), next].into_iter().flatten());
            }
            Operator::Lt | Operator::Ge => edges.push(test.value),
            Operator::Le | Operator::Gt => edges.extend(next),
            Operator::Masked(_) => {}
        }
    }
    edges.sort_unstable();
    edges.dedup();
    if edges.last().is_some_and(|e| *e > 1 << 32) {
        return Tree::Chain(alternatives);
    }
    let mut ranges: Vec<(u64, Tree)> = Vec::new();
    for edge in edges {
        // Within a range every comparison has the same result as at its start.
        let rest = alternatives.iter().filter_map(|alternative| {
            let mut tests = Vec::new();
            for test in &alternative.tests {
                match (test.argument == argument, compare(test, edge)) {
                    (true, Some(true)) => {}
                    (true, Some(false)) => return None,
                    _ => tests.push(*test),
                }
            }
            Some(Alternative { tests, answer: alternative.answer })
        });
        let tree = decide(rest.collect(), default);
        if ranges.last().is_none_or(|(_, before)| *before != tree) {
            ranges.push((edge, tree));
        }
    }
    // A single range means that the argument does not matter.
    if ranges.len() == 1
        && let Some((_, only)) = ranges.pop()
    {
        return only;
    }
    Tree::Split { argument, ranges }
}

fn compare(test: &Test, value: u64) -> Option<bool> {
    Some(match test.operator {
        Operator::Eq => value == test.value,
        Operator::Ne => value != test.value,
        Operator::Lt => value < test.value,
        Operator::Le => value <= test.value,
        Operator::Gt => value > test.value,
        Operator::Ge => value >= test.value,
        Operator::Masked(_) => return None,
    })
}

fn emit(out: &mut Assembler, tree: &Tree, default: u32) -> Target {
    match tree {
        Tree::Answer(answer) => Target::Return(*answer),
        Tree::Chain(alternatives) => {
            let mut otherwise = Target::Return(default);
            for Alternative { tests, answer } in alternatives.iter().rev() {
                let mut met = Target::Return(*answer);
                for test in tests.iter().rev() {
                    met = emit_test(out, test, met, otherwise);
                }
                otherwise = met;
            }
            otherwise
        }
        Tree::Split { argument, ranges } => {
            let targets: Vec<(u64, Target)> = ranges
                .iter()
                .rev()
                .map(|(start, tree)| (*start, emit(out, tree, default)))
                .collect();
            let targets: Vec<(u64, Target)> = targets.into_iter().rev().collect();
            let large = targets.last().map_or(Target::Return(default), |(_, target)| *target);
            let small: Vec<_> =
                targets.iter().filter(|(start, _)| *start < 1 << 32).copied().collect();
            let found = search_value(out, &small);
            let low = out.load(low_half(*argument), found);
            let high = out.branch(IF_EQ, 0, low, large);
            out.load(high_half(*argument), high)
        }
    }
}

fn search_value(out: &mut Assembler, ranges: &[(u64, Target)]) -> Target {
    match ranges {
        [(_, only)] => *only,
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let start = u32::try_from(high[0].0).expect("only starts below 2^32 are searched");
            let high = search_value(out, high);
            let low = search_value(out, low);
            out.branch(IF_GE, start, high, low)
        }
    }
}

/// One comparison of 64 bits in two halves.
fn emit_test(out: &mut Assembler, test: &Test, yes: Target, no: Target) -> Target {
    let (high, low) = halves(test.value);
    let (at_high, at_low) = (high_half(test.argument), low_half(test.argument));
    match test.operator {
        Operator::Eq => {
            let second = out.branch(IF_EQ, low, yes, no);
            let second = out.load(at_low, second);
            let first = out.branch(IF_EQ, high, second, no);
            out.load(at_high, first)
        }
        Operator::Ne => emit_test(out, &Test { operator: Operator::Eq, ..*test }, no, yes),
        Operator::Gt | Operator::Ge => {
            let code = if test.operator == Operator::Gt { IF_GT } else { IF_GE };
            let second = out.branch(code, low, yes, no);
            let second = out.load(at_low, second);
            let equal = out.branch(IF_EQ, high, second, no);
            let first = out.branch(IF_GT, high, yes, equal);
            out.load(at_high, first)
        }
        Operator::Lt => emit_test(out, &Test { operator: Operator::Ge, ..*test }, no, yes),
        Operator::Le => emit_test(out, &Test { operator: Operator::Gt, ..*test }, no, yes),
        Operator::Masked(mask) => {
            let (mask_high, mask_low) = halves(mask);
            let second = out.branch(IF_EQ, low, yes, no);
            let second = out.and(mask_low, second);
            let second = out.load(at_low, second);
            match (mask_high, high) {
                // Nothing is asked of the upper half.
                (0, 0) => second,
                _ => {
                    let first = out.branch(IF_EQ, high, second, no);
                    let first = out.and(mask_high, first);
                    out.load(at_high, first)
                }
            }
        }
    }
}

/// The upper and the lower 32 bits.
fn halves(value: u64) -> (u32, u32) {
    // Both casts keep exactly the half they are meant to keep.
    ((value >> 32) as u32, value as u32)
}

fn low_half(argument: u8) -> u32 {
    ARGUMENTS + 8 * u32::from(argument)
}

fn high_half(argument: u8) -> u32 {
    low_half(argument) + 4
}

#[cfg(test)]
mod tests;
