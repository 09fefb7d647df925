//! `--security-opt`: what is accepted, and what it needs of the host; the profile that a container gets.
//!
//! As with Docker, a profile of a security module that is not active here is accepted and has no effect: there is nothing
//! that could heed it. Where the module *is* active it would have, and is refused until the runtime applies it.

mod strict;

pub(crate) use strict::settle as settle_strict;

use std::path::Path;
use stdx::{Error, Result};

/// `default` or `strict`: what containers get that do not say, by the option `profile` or the daemon's
/// `--security-profile`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SecurityProfile {
    /// As open as Docker's default, where images rely on it.
    #[default]
    Default,
    /// As closed as services bear that were not written for it.
    Strict,
}

impl SecurityProfile {
    /// Reads `default` or `strict`.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "default" => Ok(Self::Default),
            "strict" => Ok(Self::Strict),
            _ => Err(Error::invalid(format!(
                "invalid security profile {text:?}: there are \"default\" and \"strict\""
            ))),
        }
    }

    /// What the options ask for, of several the last; `self` if they do not say. Afterwards they say it once, where it
    /// matters.
    pub(crate) fn settle(self, options: &mut Vec<String>) -> Self {
        let said = options.iter().rev().find_map(|option| match pair(option) {
            ("profile", name) => Self::parse(name).ok(),
            _ => None,
        });
        options.retain(|option| pair(option).0 != "profile");
        let profile = said.unwrap_or(self);
        match profile {
            Self::Strict => options.push("profile=strict".to_owned()),
            Self::Default if said.is_some() => options.push("profile=default".to_owned()),
            Self::Default => {}
        }
        profile
    }
}

pub(crate) fn check(options: &[String]) -> Result<()> {
    for option in options {
        let (name, value) = pair(option);
        match (name, value) {
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor", _) if is_there("/sys/kernel/security/apparmor") => {
                return Err(missing(option, "AppArmor profiles are"));
            }
            ("label", _) if is_there("/sys/fs/selinux/enforce") => {
                return Err(missing(option, "SELinux labels are"));
            }
            ("seccomp", "unconfined" | "builtin") => {}
            ("seccomp", profile) => {
                seccomp::Profile::parse(profile)
                    .map_err(|e| Error::invalid(format!("Decoding seccomp profile failed: {e}")))?;
            }
            ("profile", name) => {
                SecurityProfile::parse(name)?;
            }
            ("writable-cgroups", "true" | "false" | "") => {}
            ("apparmor" | "label" | "no-new-privileges" | "systempaths" | "disable", _) => {}
            _ => {
                return Err(Error::invalid(format!("invalid --security-opt 2: {option:?}")));
            }
        }
    }
    Ok(())
}

/// `name=value`, or as Docker once wrote it `name:value`.
fn pair(option: &str) -> (&str, &str) {
    option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""))
}

fn is_there(path: &str) -> bool {
    Path::new(path).exists()
}

fn missing(option: &str, what: &str) -> Error {
    Error::not_implemented(format!(
        "--security-opt {option}: {what} not applied yet (see docs/compat.tsv)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_profiles_the_last_counts_and_is_told_once() {
        use SecurityProfile::{Default, Strict};
        let check = |own: SecurityProfile, asked: &[&str], wanted: (SecurityProfile, &[&str])| {
            let mut options: Vec<String> = asked.iter().map(|o| (*o).to_owned()).collect();
            assert_eq!(
                (own.settle(&mut options), options),
                (wanted.0, wanted.1.iter().map(|o| (*o).to_owned()).collect())
            );
        };
        check(Default, &["a=b"], (Default, &["a=b"]));
        check(Strict, &["a=b"], (Strict, &["a=b", "profile=strict"]));
        check(Strict, &["profile:default"], (Default, &["profile=default"]));
        check(
            Default,
            &["profile=default", "x", "profile:strict"],
            (Strict, &["x", "profile=strict"]),
        );
    }

    #[test]
    fn unknown_profiles_are_refused() {
        let refused = |option: &str| check(&[option.to_owned()]).unwrap_err().to_string();
        let text = "invalid security profile \"paranoid\": there are \"default\" and \"strict\"";
        assert_eq!(refused("profile=paranoid"), text);
        assert!(check(&["profile:strict".to_owned(), "profile=default".to_owned()]).is_ok());
    }
}
