//! Classic BPF written from its end to its start.
//!
//! Jumps of classic BPF only go forward and by at most 255 instructions when conditional. Writing backwards, every target
//! is known when a jump to it is written; a target that is too far gets a stepping stone, or, if it only returns, a copy.

/// `BPF_LD | BPF_W | BPF_ABS`
pub(crate) const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`
pub(crate) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`
pub(crate) const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`
pub(crate) const IF_EQ: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`
pub(crate) const IF_GT: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`
pub(crate) const IF_GE: u16 = 0x35;
/// `BPF_RET | BPF_K`
pub(crate) const RETURN: u16 = 0x06;

/// Where a path goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// It ends with this answer.
    Return(u32),
    /// The instruction written as the n-th, counted from the end of the program.
    At(usize),
}

#[derive(Debug, Clone, Copy)]
struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// A program being written, last instruction first.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    reversed: Vec<Insn>,
    /// The most recently written return of each value, the nearest for what comes next. There are few values.
    returns: Vec<(u32, usize)>,
}

/// The longest conditional jump.
const REACH: usize = 255;

impl Assembler {
    /// A word of `seccomp_data` at `offset` is loaded, then `next`.
    pub(crate) fn load(&mut self, offset: u32, next: Target) -> Target {
        self.then(LOAD, offset, next)
    }

    /// The loaded word is masked, then `next`.
    pub(crate) fn and(&mut self, mask: u32, next: Target) -> Target {
        self.then(AND, mask, next)
    }

    /// Goes to `yes` or `no` by a comparison of the loaded word with `k`.
    pub(crate) fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let (mut yes, mut no) = (self.reach(yes), self.reach(no));
        // A stepping stone for one moves the other one further away.
        loop {
            if self.distance(yes) > REACH {
                yes = self.step(yes);
            } else if self.distance(no) > REACH {
                no = self.step(no);
            } else {
                break;
            }
        }
        let near = |distance: usize| {
            u8::try_from(distance).expect("stepping stones keep targets within reach")
        };
        let (jt, jf) = (near(self.distance(yes)), near(self.distance(no)));
        self.push(Insn { code, jt, jf, k })
    }

    /// The instructions in order of execution, from `start`.
    pub(crate) fn finish(mut self, start: Target) -> Vec<[u8; 8]> {
        let first = self.reach(start);
        // Execution begins with the first instruction, which is the last one written.
        if self.distance(first) > 0 {
            self.step(first);
        }
        self.reversed.iter().rev().map(encode).collect()
    }

    fn then(&mut self, code: u16, k: u32, next: Target) -> Target {
        let at = self.reach(next);
        if self.distance(at) > 0 {
            self.step(at);
        }
        self.push(Insn { code, jt: 0, jf: 0, k })
    }

    fn push(&mut self, insn: Insn) -> Target {
        self.reversed.push(insn);
        Target::At(self.reversed.len() - 1)
    }

    /// How far an instruction written now would have to jump to `at`.
    fn distance(&self, at: usize) -> usize {
        self.reversed.len() - 1 - at
    }

    /// A place for `target`: returns are written anew when the last copy is about to be out of reach.
    fn reach(&mut self, target: Target) -> usize {
        let value = match target {
            Target::At(at) => return at,
            Target::Return(value) => value,
        };
        // The margin leaves room for the other target's return and its stepping stone.
        let known = self.returns.iter().position(|(v, _)| *v == value);
        if let Some(known) = known
            && self.distance(self.returns[known].1) + 4 < REACH
        {
            return self.returns[known].1;
        }
        self.push(Insn { code: RETURN, jt: 0, jf: 0, k: value });
        let at = self.reversed.len() - 1;
        match known {
            Some(known) => self.returns[known].1 = at,
            None => self.returns.push((value, at)),
        }
        at
    }

    fn step(&mut self, at: usize) -> usize {
        let k = u32::try_from(self.distance(at)).expect("programs are short");
        self.reversed.push(Insn { code: JUMP, jt: 0, jf: 0, k });
        self.reversed.len() - 1
    }
}

/// `struct sock_filter` (uapi `linux/filter.h`).
fn encode(insn: &Insn) -> [u8; 8] {
    let [c0, c1] = insn.code.to_ne_bytes();
    let [k0, k1, k2, k3] = insn.k.to_ne_bytes();
    [c0, c1, insn.jt, insn.jf, k0, k1, k2, k3]
}
