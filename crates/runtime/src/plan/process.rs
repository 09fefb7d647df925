//! The process's own part of the plan, shared by create and exec.

use std::ffi::CString;
use std::path::PathBuf;

use oci::runtime::Process;
use rustix::process::Resource;

use super::schedule::Schedule;
use super::{clean, invalid};
use crate::capability;
use crate::error::Result;
use crate::label::Labels;
use crate::user::{Name, Wanted, name};

/// What a process becomes before it executes its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessPlan {
    pub(crate) terminal: bool,
    /// Rows and columns.
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) user: Wanted,
    pub(crate) extra_groups: Vec<u32>,
    pub(crate) extra_group_names: Vec<Name>,
    pub(crate) umask: u32,
    pub(crate) args: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) cwd: PathBuf,
    /// Capabilities to keep as far as the runtime has them itself.
    pub(crate) bounding: u64,
    pub(crate) permitted: u64,
    pub(crate) effective: u64,
    /// What programs with capabilities of their own may pass on; empty unless somebody asks (CVE-2022-24769).
    pub(crate) inheritable: u64,
    /// What survives exec for who is not root; empty unless somebody asks.
    pub(crate) ambient: u64,
    pub(crate) limits: Vec<Limit>,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) schedule: Schedule,
    pub(crate) labels: Labels,
}

/// Resource, soft and hard limit; `None` is no limit.
pub(crate) type Limit = (Resource, Option<u64>, Option<u64>);

impl ProcessPlan {
    /// Reads `process` of a specification.
    pub(crate) fn from_spec(process: &Process) -> Result<Self> {
        if process.args.is_empty() {
            return Err(invalid("args must not be empty"));
        }
        let set = |names: &[String]| {
            capability::set(names)
                .map_err(|unknown| invalid(format!("unknown capability {unknown:?}")))
        };
        let capabilities = process.capabilities.clone().unwrap_or_default();
        let (bounding, permitted) = (set(&capabilities.bounding)?, set(&capabilities.permitted)?);
        let inheritable = set(&capabilities.inheritable)?;
        let ambient = set(&capabilities.ambient)? & permitted;
        let user = &process.user;
        let wanted = match &user.username {
            Some(text) => Wanted::parse(text)?,
            None => Wanted::Ids { uid: id(user.uid)?, gid: id(user.gid)? },
        };
        Ok(Self {
            terminal: process.terminal,
            console_size: process.console_size.map(|s| (s.height, s.width)),
            user: wanted,
            extra_groups: user.additional_gids.iter().map(|g| id(*g)).collect::<Result<_>>()?,
            extra_group_names: user
                .additional_groups
                .iter()
                .filter_map(|n| name(n).transpose())
                .collect::<Result<_>>()?,
            umask: user.umask.unwrap_or(0o022) & 0o777,
            args: strings("args", &process.args)?,
            env: environment(&process.env)?,
            cwd: clean("cwd", std::path::Path::new(&process.cwd))?,
            bounding,
            permitted,
            effective: set(&capabilities.effective)? & permitted,
            // The kernel has ambient ones only among inheritable ones.
            inheritable: inheritable | ambient,
            ambient,
            limits: limits(process)?,
            no_new_privileges: process.no_new_privileges,
            oom_score_adj: process
                .oom_score_adj
                .map(|n| match n {
                    -1000..=1000 => Ok(n),
                    _ => Err(invalid(format!("oomScoreAdj {n} is not between -1000 and 1000"))),
                })
                .transpose()?,
            schedule: Schedule::from_spec(process)?,
            labels: Labels::from_spec(process),
        })
    }
}

fn id(number: u32) -> Result<u32> {
    // The same range as Docker's; 4294967295 would mean "leave it as it is" to the kernel, which is root.
    if i32::try_from(number).is_ok() {
        Ok(number)
    } else {
        Err(invalid("uids and gids must be in range 0-2147483647"))
    }
}

fn strings(what: &str, list: &[String]) -> Result<Vec<CString>> {
    let string = |s: &String| {
        CString::new(s.as_str()).map_err(|_| invalid(format!("{what}: {s:?} has a NUL byte")))
    };
    list.iter().map(string).collect()
}

/// The entries that name something; of entries with one name the last counts, as the shells have it. Entries without
/// `=` are dropped (security design, R7).
fn environment(list: &[String]) -> Result<Vec<CString>> {
    let named = |e: &String| e.find('=').filter(|at| *at > 0);
    let mut kept: Vec<String> = Vec::with_capacity(list.len());
    let mut places: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for entry in list {
        let Some(at) = named(entry) else { continue };
        match places.get(&entry[..at]) {
            Some(place) => kept[*place].clone_from(entry),
            None => {
                places.insert(&entry[..at], kept.len());
                kept.push(entry.clone());
            }
        }
    }
    strings("env", &kept)
}

fn limits(process: &Process) -> Result<Vec<Limit>> {
    let limit = |n: u64| (n != u64::MAX).then_some(n);
    let mut seen: Vec<Limit> = Vec::new();
    for rlimit in &process.rlimits {
        let resource = resource(&rlimit.kind)
            .ok_or_else(|| invalid(format!("unknown resource limit {:?}", rlimit.kind)))?;
        if rlimit.soft > rlimit.hard {
            return Err(invalid(format!(
                "{}: the soft limit is above the hard limit",
                rlimit.kind
            )));
        }
        if seen.iter().any(|(r, ..)| *r == resource) {
            return Err(invalid(format!("{} is given twice", rlimit.kind)));
        }
        seen.push((resource, limit(rlimit.soft), limit(rlimit.hard)));
    }
    Ok(seen)
}

pub(crate) fn resource(name: &str) -> Option<Resource> {
    Some(match name.strip_prefix("RLIMIT_")? {
        "AS" => Resource::As,
        "CORE" => Resource::Core,
        "CPU" => Resource::Cpu,
        "DATA" => Resource::Data,
        "FSIZE" => Resource::Fsize,
        "LOCKS" => Resource::Locks,
        "MEMLOCK" => Resource::Memlock,
        "MSGQUEUE" => Resource::Msgqueue,
        "NICE" => Resource::Nice,
        "NOFILE" => Resource::Nofile,
        "NPROC" => Resource::Nproc,
        "RSS" => Resource::Rss,
        "RTPRIO" => Resource::Rtprio,
        "RTTIME" => Resource::Rttime,
        "SIGPENDING" => Resource::Sigpending,
        "STACK" => Resource::Stack,
        _ => return None,
    })
}
