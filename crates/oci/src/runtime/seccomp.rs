//! The system call filter: `linux.seccomp` of `config.json`.
//!
//! Actions, architectures, flags and operators stay strings here, as the document has them; the `seccomp` crate gives
//! them meaning and refuses what it does not know.

use serde::{Deserialize, Serialize};

use super::is_default;

/// A system call filter (runtime-spec `config-linux.md`, seccomp).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// What happens to calls that no rule names, such as `SCMP_ACT_ERRNO`.
    pub default_action: String,
    /// errno of an `SCMP_ACT_ERRNO` default; absent is EPERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures the filter speaks of, such as `SCMP_ARCH_X86_64`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_...` names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Socket of the agent for `SCMP_ACT_NOTIFY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<String>,
    /// Data sent to that agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<String>,
    /// Rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<Syscall>,
}

/// One rule: these calls, with these arguments, get this action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Syscall {
    /// Names of system calls.
    #[serde(default)]
    pub names: Vec<String>,
    /// What happens.
    pub action: String,
    /// errno or trace message of the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions; all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arg>,
}

/// One condition on an argument.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arg {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// Compared with; the mask of `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// Value after masking of `SCMP_CMP_MASKED_EQ`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value_two: u64,
    /// Operator, such as `SCMP_CMP_EQ`.
    pub op: String,
}
