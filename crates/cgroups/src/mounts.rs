//! What `/sys/fs/cgroup` is made of inside a container that has a cgroup namespace of its own.

use crate::hierarchy::{Hierarchies, Version};

/// One mount beneath `/sys/fs/cgroup` of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMount {
    /// `cgroup` or `cgroup2`.
    pub fstype: &'static str,
    /// Options for the file system, such as `cpu,cpuacct` or `none,name=systemd`; empty for v2.
    pub options: String,
    /// Relative to `/sys/fs/cgroup`; empty when it is mounted there itself (v2).
    pub target: String,
    /// Names beside `target` that are symbolic links to it, for controllers mounted together.
    pub links: Vec<String>,
}

impl Hierarchies {
    /// The mounts, in order. On v1 and hybrid `/sys/fs/cgroup` itself is a tmpfs that the runtime mounts first.
    ///
    /// They must be made inside the container's cgroup namespace, so that each shows the container's group as its root,
    /// and read-only (CVE-2022-0492: a writable `release_agent` runs as root on the host). The v2 part of a hybrid host
    /// is left out, as in Docker.
    pub fn container_mounts(&self) -> Vec<CgroupMount> {
        if self.version() == Version::V2 {
            let unified = CgroupMount {
                fstype: "cgroup2",
                options: String::new(),
                target: String::new(),
                links: Vec::new(),
            };
            return vec![unified];
        }
        let v1 = self.all.iter().filter(|h| !h.unified);
        v1.map(|hierarchy| {
            let options = hierarchy.controllers.join(",");
            match options.strip_prefix("name=") {
                Some(name) => CgroupMount {
                    fstype: "cgroup",
                    target: name.to_owned(),
                    options: format!("none,{options}"),
                    links: Vec::new(),
                },
                None => CgroupMount {
                    fstype: "cgroup",
                    target: options.clone(),
                    links: if hierarchy.controllers.len() > 1 {
                        hierarchy.controllers.clone()
                    } else {
                        Vec::new()
                    },
                    options,
                },
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> Vec<String> {
        let hierarchies: Hierarchies = text.parse().unwrap();
        let mounts = hierarchies.container_mounts();
        mounts
            .iter()
            .map(|m| format!("{} {} {} {:?}", m.fstype, m.target, m.options, m.links))
            .collect()
    }

    #[test]
    fn v2_is_one_mount() {
        assert_eq!(show("2:memory,pids:/sys/fs/cgroup"), ["cgroup2   []"]);
    }

    #[test]
    fn v1_is_one_per_hierarchy_with_links() {
        assert_eq!(
            show(
                "1:name=systemd:/a/systemd\n1:cpu,cpuacct:/a/cpu,cpuacct\n1:pids:/a/pids\n2::/a/unified"
            ),
            [
                "cgroup systemd none,name=systemd []",
                "cgroup cpu,cpuacct cpu,cpuacct [\"cpu\", \"cpuacct\"]",
                "cgroup pids pids []"
            ]
        );
    }
}
