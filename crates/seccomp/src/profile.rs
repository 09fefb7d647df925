//! Docker's profile format, of which the OCI form is a part.

use std::fmt;
use std::str::FromStr;

use oci::runtime::{Arg, Seccomp, Syscall};
use serde::{Deserialize, Deserializer, Serialize};
use stdx::{Error, Result};

use crate::Arch;

/// A profile: what is allowed, under which conditions on the machine and the container's capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// What happens to calls that no rule names.
    #[serde(default)]
    pub default_action: String,
    /// errno of an `SCMP_ACT_ERRNO` default; absent is EPERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures, in the OCI form. Not together with `arch_map`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Architectures by the machine's own.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub arch_map: Vec<ArchMap>,
    /// `SECCOMP_FILTER_FLAG_…` names.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Socket of the agent for `SCMP_ACT_NOTIFY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<String>,
    /// Data sent to that agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<String>,
    /// The rules.
    #[serde(default, deserialize_with = "or_default")]
    pub syscalls: Vec<Rule>,
}

/// Which other ABIs a machine's filter speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchMap {
    /// The machine's own.
    pub architecture: String,
    /// The others.
    #[serde(default, deserialize_with = "or_default")]
    pub sub_architectures: Vec<String>,
}

/// One rule and when it is there at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// One name, as old profiles have it. Not together with `names`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Names of system calls; those that no kernel has are ignored.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What happens.
    pub action: String,
    /// errno or trace message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on arguments.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arg>,
    /// For the reader.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The rule is there only where all of this holds.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Condition::is_empty")]
    pub includes: Condition,
    /// The rule is not there where any of this holds.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Condition::is_empty")]
    pub excludes: Condition,
}

/// A condition on where and for whom a rule is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Capabilities of the container.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Machines, in Go's words (`amd64`, `arm64`).
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
    /// Oldest kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_kernel: Option<Kernel>,
}

/// A kernel's version as far as profiles ask: `6.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Kernel {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl Profile {
    /// Reads a profile. Unknown fields are ignored, `null` is the same as absent, as in Docker.
    pub fn parse(json: &str) -> Result<Self> {
        let profile: Self = serde_json::from_str(json)
            .map_err(|e| Error::invalid("decoding seccomp profile failed").caused_by(e))?;
        if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
            return Err(Error::invalid(
                "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or \
                 'archMap'",
            ));
        }
        if profile.default_action.is_empty() {
            return Err(Error::invalid("the seccomp profile has no 'defaultAction'"));
        }
        for rule in &profile.syscalls {
            match (rule.name.is_empty(), rule.names.is_empty()) {
                (false, false) => {
                    return Err(Error::invalid(
                        "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
                    ));
                }
                _ => crate::rules::check(&rule.action, rule.errno_ret, &rule.args)?,
            }
        }
        crate::rules::check(&profile.default_action, profile.default_errno_ret, &[])?;
        Ok(profile)
    }

    /// The profile as it is for one container: conditions on capabilities, machine and kernel are gone.
    ///
    /// `capabilities` are the container's bounding set, as `CAP_SYS_ADMIN`.
    pub fn resolve(&self, capabilities: &[impl AsRef<str>], arch: Arch, kernel: Kernel) -> Seccomp {
        let has = |name: &String| capabilities.iter().any(|c| c.as_ref() == name);
        let here = |name: &String| name == arch.docker();
        let mut architectures = self.architectures.clone();
        if let Some(map) = self.arch_map.iter().find(|m| m.architecture == arch.name()) {
            architectures.push(map.architecture.clone());
            architectures.extend(map.sub_architectures.iter().cloned());
        }
        let there = |rule: &&Rule| {
            let (yes, no) = (&rule.includes, &rule.excludes);
            yes.caps.iter().all(has)
                && (yes.arches.is_empty() || yes.arches.iter().any(here))
                && yes.min_kernel.is_none_or(|min| kernel >= min)
                && !no.caps.iter().any(has)
                && !no.arches.iter().any(here)
                && no.min_kernel.is_none_or(|min| kernel < min)
        };
        let syscalls = self.syscalls.iter().filter(there).map(|rule| Syscall {
            names: match rule.name.is_empty() {
                true => rule.names.iter().collect(),
                false => std::iter::once(&rule.name).collect(),
            },
            action: rule.action.clone(),
            errno_ret: rule.errno_ret,
            args: rule.args.clone(),
        });
        Seccomp {
            default_action: self.default_action.clone(),
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone(),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            syscalls: syscalls.collect(),
        }
    }
}

impl Condition {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Kernel {
    type Err = Error;

    /// Reads `4.8` and what uname(2) tells, `6.1.0-56-amd64`.
    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (major, rest) = text.split_once('.')?;
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            Some(Self { major: major.parse().ok()?, minor: rest[..end].parse().ok()? })
        };
        parse().ok_or_else(|| {
            Error::invalid(format!(
                "invalid kernel version: \"{text}\", expected \"<kernel>.<major>\""
            ))
        })
    }
}

impl TryFrom<String> for Kernel {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Kernel> for String {
    fn from(kernel: Kernel) -> Self {
        kernel.to_string()
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// `null` is what Go writes for an empty list.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
