//! Platforms that images are for: operating system, architecture, variant.
//!
//! Source: OCI image-spec image-index.md "platform"; the spellings accepted and the order of preference are those of
//! Docker (containerd's `platforms`).

use std::fmt;
use std::str::FromStr;

/// What an image runs on, in normal spelling, as in `linux/arm/v7`. An empty variant means the architecture's default.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

/// The text names no platform; the message is Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlatform {
    /// A single word that is neither.
    #[error("\"{0}\": unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// More than three parts, an empty part, or characters that no platform has.
    #[error("\"{0}\": cannot parse platform specifier: invalid argument")]
    Format(String),
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// The platform with these parts, brought into normal spelling (`x86_64` is `amd64`, `aarch64` is `arm64`).
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "" => HOST_OS.to_owned(),
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) =
            normal(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        Self { os, architecture, variant }
    }

    /// What this program was built for; containers are always Linux.
    pub fn host() -> Self {
        Self::new(HOST_OS, std::env::consts::ARCH, "")
    }

    /// The operating system, `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture in Go's spelling, `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant, `v7`, or empty.
    pub fn variant(&self) -> &str {
        &self.variant
    }

    /// How well something for `offered` runs here: 0 is exact, greater is a poorer fit, `None` does not run at all.
    pub fn rank(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os {
            return None;
        }
        self.runs()
            .iter()
            .position(|(a, v)| *a == offered.architecture && *v == offered.variant)
            .map(|p| p as u32)
    }

    /// Architectures and variants that run here, best first.
    fn runs(&self) -> Vec<(&str, String)> {
        let mut all = vec![(self.architecture.as_str(), self.variant.clone())];
        let version = |default| {
            self.variant.strip_prefix('v').and_then(|v| v.parse::<u32>().ok()).unwrap_or(default)
        };
        let arm_from = |top: u32| (5..=top.min(8)).rev().map(|v| ("arm", format!("v{v}")));
        match self.architecture.as_str() {
            "amd64" => {
                all.extend((2..version(1)).rev().map(|v| ("amd64", format!("v{v}"))));
                if !self.variant.is_empty() {
                    all.push(("amd64", String::new()));
                }
                all.push(("386", String::new()));
            }
            "arm64" => {
                if !self.variant.is_empty() {
                    all.push(("arm64", String::new()));
                }
                all.extend(arm_from(8));
            }
            "arm" => all.extend(arm_from(version(7).saturating_sub(1))),
            _ => {}
        }
        all
    }
}

const HOST_OS: &str = "linux";

impl FromStr for Platform {
    type Err = InvalidPlatform;

    /// `os/arch/variant`, `os/arch`, or one word that is an operating system or an architecture.
    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        let wrong = || InvalidPlatform::Format(text.to_owned());
        let plain = |p: &&str| {
            !p.is_empty()
                && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(plain) {
            return Err(wrong());
        }
        match parts[..] {
            [one] => {
                let os = Self::new(one, std::env::consts::ARCH, "");
                if SYSTEMS.contains(&os.os.as_str()) {
                    return Ok(os);
                }
                let architecture = Self::new(HOST_OS, one, "");
                if ARCHITECTURES.contains(&architecture.architecture.as_str()) {
                    return Ok(architecture);
                }
                Err(InvalidPlatform::Unknown(text.to_owned()))
            }
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

fn normal(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("loongarch64", v) => ("loong64", v),
        ("powerpc64le", v) => ("ppc64le", v),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_become_normal() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected);
        };
        check("linux/amd64", "linux/amd64");
        check("linux/x86_64", "linux/amd64");
        check("Linux/AArch64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/armhf", "linux/arm/v7");
        check("linux/arm/6", "linux/arm/v6");
        check("linux/amd64/v1", "linux/amd64");
        check("linux/amd64/v3", "linux/amd64/v3");
        check("i386", "linux/386");
        check("arm64", "linux/arm64");
        check("macos/arm64", "darwin/arm64");
        assert_eq!("windows".parse::<Platform>().unwrap().os(), "windows");
    }

    #[test]
    fn nonsense_is_refused() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Platform>().unwrap_err().to_string(), expected);
        };
        check(
            "nonsense",
            "\"nonsense\": unknown operating system or architecture: invalid argument",
        );
        check("", "\"\": cannot parse platform specifier: invalid argument");
        check("linux/", "\"linux/\": cannot parse platform specifier: invalid argument");
        check("a/b/c/d", "\"a/b/c/d\": cannot parse platform specifier: invalid argument");
        check(
            "linux/am d64",
            "\"linux/am d64\": cannot parse platform specifier: invalid argument",
        );
    }

    #[test]
    fn the_best_of_what_runs_is_chosen() {
        let rank = |host: &str, offered: &str| {
            host.parse::<Platform>().unwrap().rank(&offered.parse::<Platform>().unwrap())
        };
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/386"), Some(1));
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert_eq!(rank("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert!(rank("linux/amd64/v3", "linux/amd64/v2") < rank("linux/amd64/v3", "linux/amd64"));
        assert_eq!(rank("linux/arm64", "linux/arm/v7"), Some(2));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
    }
}
