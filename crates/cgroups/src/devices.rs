//! Which device nodes a group may make and open.
//!
//! A policy is a default and its exceptions, which is all that v1 can express and what the v2 program is made from. A
//! request passes when a *single* exception covers it whole, as in the kernel's v1 controller
//! (`security/device_cgroup.c`); the default is refused first and always, so that no moment and no missing rule opens a
//! device.

use std::collections::BTreeMap;
use std::fmt;

use oci::runtime::DeviceRule;
use stdx::{Error, Result};

/// What every container may use, whatever its rules say: making any node (using one is another matter), the memory
/// devices, terminals.
///
/// `(kind, major, minor, access)`, `None` is any. The same list as runc's, which appends it to the rules of the document.
pub const DEFAULT_DEVICES: [(char, Option<u32>, Option<u32>, &str); 10] = [
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"), // null
    ('c', Some(1), Some(5), "rwm"), // zero
    ('c', Some(1), Some(7), "rwm"), // full
    ('c', Some(1), Some(8), "rwm"), // random
    ('c', Some(1), Some(9), "rwm"), // urandom
    ('c', Some(5), Some(0), "rwm"), // tty
    ('c', Some(5), Some(2), "rwm"), // ptmx
    ('c', Some(136), None, "rwm"),  // pts
];

/// Making a node (`m`), as `BPF_DEVCG_ACC_MKNOD`.
pub(crate) const MKNOD: u8 = 1;
/// Opening for reading (`r`), as `BPF_DEVCG_ACC_READ`.
pub(crate) const READ: u8 = 2;
/// Opening for writing (`w`), as `BPF_DEVCG_ACC_WRITE`.
pub(crate) const WRITE: u8 = 4;

/// A default and the exceptions to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePolicy {
    pub(crate) allow_by_default: bool,
    pub(crate) exceptions: BTreeMap<Node, u8>,
}

/// The devices that an exception speaks of. Any kind is not among them: that is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    pub(crate) block: bool,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
}

impl DevicePolicy {
    /// Nothing is allowed.
    pub(crate) fn deny_all() -> Self {
        Self { allow_by_default: false, exceptions: BTreeMap::new() }
    }

    /// The policy of a container: nothing, then `rules` in order, then [`DEFAULT_DEVICES`].
    ///
    /// Fails on rules that cannot be read, and on a rule that would cut a hole into a wider one, since v1 would silently
    /// not do it.
    pub fn for_container(rules: &[DeviceRule]) -> Result<Self> {
        let mut policy = Self::deny_all();
        for rule in rules {
            policy.apply(rule)?;
        }
        if !policy.allow_by_default {
            for (kind, major, minor, access) in DEFAULT_DEVICES {
                let node = Node { block: kind == 'b', major, minor };
                *policy.exceptions.entry(node).or_default() |= parse_access(access).unwrap_or(0);
            }
        }
        Ok(policy)
    }

    /// Whether everything is allowed without exception.
    pub(crate) fn allows_all(&self) -> bool {
        self.allow_by_default && self.exceptions.is_empty()
    }

    /// Whether `access` to a node of the given kind and numbers passes; the meaning that both back ends must have.
    pub fn allows(&self, block: bool, major: u32, minor: u32, access: u8) -> bool {
        let mut matching =
            self.exceptions.iter().filter(|(node, _)| node.covers_numbers(block, major, minor));
        if self.allow_by_default {
            !matching.any(|(_, bits)| access & bits != 0)
        } else {
            matching.any(|(_, bits)| access & !bits == 0)
        }
    }

    fn apply(&mut self, rule: &DeviceRule) -> Result<()> {
        let invalid =
            |why: &str| Error::invalid(format!("invalid device rule {}: {why}", Show(rule)));
        let number = |n: Option<i64>, what: &str| match n {
            None | Some(-1) => Ok(None),
            Some(n) => u32::try_from(n)
                .map(Some)
                .map_err(|_| invalid(&format!("{what} number out of range"))),
        };
        let access = match rule.access.as_deref() {
            None | Some("") => MKNOD | READ | WRITE,
            Some(text) => parse_access(text)
                .ok_or_else(|| invalid("access must be of the letters r, w and m"))?,
        };
        let block = match rule.kind.as_deref() {
            None | Some("" | "a") => {
                // Kind "all" means everything, as on v1, where numbers and access of such a rule are not looked at; a
                // narrower one is refused rather than widened.
                if number(rule.major, "major")?.is_some() || number(rule.minor, "minor")?.is_some()
                {
                    return Err(invalid("a rule for all kinds cannot name numbers"));
                }
                if rule.allow && access != MKNOD | READ | WRITE {
                    return Err(invalid("a rule for all kinds cannot name some accesses only"));
                }
                *self = Self { allow_by_default: rule.allow, exceptions: BTreeMap::new() };
                return Ok(());
            }
            Some("b") => true,
            // "u" is mknod's word for an unbuffered character device.
            Some("c" | "u") => false,
            Some(_) => return Err(invalid("kind must be one of a, b, c")),
        };
        let node = Node {
            block,
            major: number(rule.major, "major")?,
            minor: number(rule.minor, "minor")?,
        };
        if rule.allow != self.allow_by_default {
            *self.exceptions.entry(node).or_default() |= access;
            return Ok(());
        }
        // Back to the default: possible for exactly this node, but not as a hole in a wider exception.
        if let Some(bits) = self.exceptions.get_mut(&node) {
            *bits &= !access;
            if *bits == 0 {
                self.exceptions.remove(&node);
            }
        }
        self.exceptions.retain(|other, bits| {
            if node.contains(other) {
                *bits &= !access;
            }
            *bits != 0
        });
        if self.exceptions.iter().any(|(other, bits)| other.overlaps(&node) && bits & access != 0) {
            return Err(invalid("it would cut a hole into a wider rule before it"));
        }
        Ok(())
    }

    /// The lines that make a v1 group obey: what is written to `devices.deny` and `devices.allow`, in order.
    pub(crate) fn v1(&self) -> Vec<(&'static str, String)> {
        let (reset, except) = match self.allow_by_default {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        };
        let mut lines = vec![(reset, "a".to_owned())];
        lines.extend(
            self.exceptions
                .iter()
                .map(|(node, bits)| (except, format!("{node} {}", show_access(*bits)))),
        );
        lines
    }
}

impl DevicePolicy {
    /// What turns a v1 group whose `devices.list` is `current` into this policy, without a moment in which a device that
    /// is allowed before and after is refused, where that can be.
    pub(crate) fn v1_difference(&self, current: &str) -> Vec<(&'static str, String)> {
        let current: Vec<&str> = current.lines().map(str::trim).collect();
        // A group that allows by default does not list what it denies, so nothing can be compared.
        if self.allow_by_default || current.iter().any(|l| l.starts_with('a')) {
            return self.v1();
        }
        let wanted: Vec<String> =
            self.exceptions.iter().map(|(n, bits)| format!("{n} {}", show_access(*bits))).collect();
        let stays = |line: &str| wanted.iter().any(|w| w == line);
        let denied = current
            .iter()
            .filter(|l| !l.is_empty() && !stays(l))
            .map(|l| ("devices.deny", (*l).to_owned()));
        let allowed = wanted
            .iter()
            .filter(|w| !current.contains(&w.as_str()))
            .map(|w| ("devices.allow", w.clone()));
        denied.chain(allowed).collect()
    }
}

impl Node {
    fn covers_numbers(&self, block: bool, major: u32, minor: u32) -> bool {
        self.block == block
            && self.major.is_none_or(|m| m == major)
            && self.minor.is_none_or(|m| m == minor)
    }

    fn contains(&self, other: &Self) -> bool {
        let within = |outer: Option<u32>, inner: Option<u32>| outer.is_none() || outer == inner;
        self.block == other.block
            && within(self.major, other.major)
            && within(self.minor, other.minor)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.block == other.block && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

impl fmt::Display for Node {
    /// As in `devices.allow`: `c 1:*`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.block { "b " } else { "c " })?;
        let number = |f: &mut fmt::Formatter<'_>, n: Option<u32>| match n {
            Some(n) => write!(f, "{n}"),
            None => f.write_str("*"),
        };
        number(f, self.major)?;
        f.write_str(":")?;
        number(f, self.minor)
    }
}

/// A rule for messages.
struct Show<'a>(&'a DeviceRule);

impl fmt::Display for Show<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.0;
        let number = |n: Option<i64>| {
            n.filter(|n| *n != -1).map_or_else(|| "*".to_owned(), |n| n.to_string())
        };
        write!(
            f,
            "\"{} {} {}:{} {}\"",
            if rule.allow { "allow" } else { "deny" },
            rule.kind.as_deref().unwrap_or("a"),
            number(rule.major),
            number(rule.minor),
            rule.access.as_deref().unwrap_or("rwm"),
        )
    }
}

fn parse_access(text: &str) -> Option<u8> {
    text.bytes().try_fold(0, |bits, letter| match letter {
        b'r' => Some(bits | READ),
        b'w' => Some(bits | WRITE),
        b'm' => Some(bits | MKNOD),
        _ => None,
    })
}

fn show_access(bits: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, c)| *c)
        .collect()
}

#[cfg(test)]
mod tests;
