//! The bundle: a folder with `config.json`, and what the specification becomes for a runtime that knows OCI alone.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use oci::runtime::{Mount, Namespace, NamespaceKind, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use serde::Serialize;
use stdx::fs::{Durability, create_dir, remove_file, remove_tree, replace};
use stdx::{Context as _, Error, Result};
use sys::dir::Dir;

use super::is_own_descriptor;
use super::program::Place;

/// The version of the specification that everything here is of, and that every runtime knows.
const VERSION: &str = "1.0.2";
/// What says that a part of a mount's source is meant.
const SUBDIR: &str = "X-mount.subdir=";

/// The folder of one container, in its runtime folder.
#[derive(Debug)]
pub(super) struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    /// Makes it anew: what an earlier run left, the runtime's state too, is of processes that are gone.
    pub(super) fn begin(runtime_dir: &Path) -> Result<Self> {
        let dir = runtime_dir.join("bundle");
        remove_tree(&dir)?;
        for folder in [&dir, &dir.join("rootfs"), &dir.join("state")] {
            create_dir(folder, 0o700)?;
        }
        Ok(Self { dir })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the root file system is mounted, for the program alone.
    pub(super) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Writes a document.
    pub(super) fn write(&self, name: &str, document: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec(document)
            .map_err(|e| Error::internal(name.to_owned()).caused_by(e))?;
        replace(&self.dir.join(name), &json, 0o600, Durability::Process)
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        remove_file(&self.dir.join(name))
    }

    /// The last error that the program wrote to its log.
    pub(super) fn complaint(&self) -> Option<String> {
        let log = fs::read_to_string(self.dir.join("log.json")).ok()?;
        last_error(&log)
    }

    /// An empty file or folder for something to be mounted on.
    fn place(&self, name: &str, is_folder: bool) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if is_folder {
            create_dir(&path, 0o700)?;
        } else {
            fs::write(&path, "").context(|| format!("make {}", path.display()))?;
        }
        Ok(path)
    }
}

/// The message of the last line with an error, or the last message at all.
fn last_error(log: &str) -> Option<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let messages: Vec<(bool, String)> = lines
        .filter_map(|line| {
            let is_error = matches!(line["level"].as_str(), Some("error" | "fatal"));
            Some((is_error, line["msg"].as_str()?.trim().to_owned()))
        })
        .collect();
    let error = messages.iter().rev().find(|(is_error, _)| *is_error);
    error.or(messages.last()).map(|(_, text)| text.clone())
}

/// The specification without what is ours, and what is to be mounted for the program to find.
pub(super) fn plain(
    spec: &Spec,
    bundle: &Bundle,
    netns: Option<BorrowedFd<'_>>,
) -> Result<(Spec, Vec<Place>)> {
    let mut spec = spec.clone();
    let mut places = Vec::new();
    VERSION.clone_into(&mut spec.oci_version);
    if let Some(root) = &mut spec.root {
        root.path = bundle.rootfs();
    }
    if let Some(linux) = &mut spec.linux {
        if linux.namespaces.iter().any(|n| n.kind == NamespaceKind::User) {
            return Err(Error::not_implemented(
                "user namespaces are there with the built-in runtime only",
            ));
        }
        // Docker's containers have none, and not every runtime knows them.
        linux.namespaces.retain(|n| n.kind != NamespaceKind::Time);
        for namespace in &mut linux.namespaces {
            if namespace.kind == NamespaceKind::Network
                && let Some(netns) = netns
            {
                namespace.path = Some(format!("/proc/self/fd/{}", netns.as_raw_fd()).into());
            }
            reachable(namespace, bundle, &mut places)?;
        }
        linux.cgroups_path = linux.cgroups_path.as_ref().map(|path| absolute(path));
    }
    for (number, mount) in spec.mounts.iter_mut().enumerate() {
        source(mount, number, bundle, &mut places)?;
    }
    Ok((spec, places))
}

/// A relative cgroup is below the caller's own to other runtimes.
fn absolute(cgroup: &str) -> String {
    format!("/{}", cgroup.trim_start_matches('/'))
}

/// A namespace that we have open gets a name that lasts as long as the program runs.
fn reachable(namespace: &mut Namespace, bundle: &Bundle, places: &mut Vec<Place>) -> Result<()> {
    let Some(path) = namespace.path.take() else { return Ok(()) };
    if !is_own_descriptor(&path) {
        namespace.path = Some(path);
        return Ok(());
    }
    let target = bundle.place(&format!("ns-{:?}", namespace.kind).to_lowercase(), false)?;
    places.push(Place::bind(path, target.clone()));
    namespace.path = Some(target);
    Ok(())
}

/// Mounts whose source only we know get one that the program finds.
fn source(
    mount: &mut Mount,
    number: usize,
    bundle: &Bundle,
    places: &mut Vec<Place>,
) -> Result<()> {
    let subdir = mount.options.iter().position(|o| o.starts_with(SUBDIR));
    let Some(path) = mount.source.clone() else { return Ok(()) };
    let name = format!("mount-{number}");
    if let Some(at) = subdir {
        let inside = mount.options.remove(at).split_off(SUBDIR.len());
        let found = within(&path, &inside)
            .context(|| format!("open {inside} in bind mount source {}", path.display()))?;
        let is_folder = is_folder(&found)?;
        let target = bundle.place(&name, is_folder)?;
        // Copied here: in the namespace of the call it would be of another one, whose mounts nobody copies.
        let recursive = mount.options.iter().any(|o| o == "rbind");
        let tree = sys::mount::clone_tree(&found, c"", recursive)
            .context(|| format!("clone bind mount source {}", path.display()))?;
        places.push(Place::detached(tree, target.clone()));
        mount.source = Some(target);
    } else if is_own_descriptor(&path) {
        let target = bundle.place(&name, true)?;
        places.push(Place::bind(path, target.clone()));
        mount.source = Some(target);
    }
    Ok(())
}

/// Containers write there: links lead back inside, and what was looked up is what is mounted.
fn within(path: &Path, inside: &str) -> io::Result<std::os::fd::OwnedFd> {
    Dir::open(path)?.open_in_root(inside, OFlags::PATH, Mode::empty())
}

fn is_folder(fd: &std::os::fd::OwnedFd) -> Result<bool> {
    let stat =
        rustix::fs::fstat(fd.as_fd()).map_err(io::Error::from).context(|| "stat a source")?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::runtime::{Linux, Root};

    #[test]
    fn complaints_are_the_last_errors() {
        let log = "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"second\\n\"}\n\
                   {\"level\":\"warning\",\"msg\":\"third\"}\nno json\n";
        assert_eq!(last_error(log).as_deref(), Some("second"));
        assert_eq!(last_error("{\"msg\":\"alone\"}").as_deref(), Some("alone"));
        assert_eq!(last_error(""), None);
    }

    #[test]
    fn what_is_ours_is_left_out() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let bundle = Bundle::begin(folder.path()).unwrap();
        let namespace = |kind, path: Option<&str>| Namespace { kind, path: path.map(Into::into) };
        fs::create_dir_all(folder.path().join("volume/part")).unwrap();
        let mount = |source: PathBuf, options: &[&str]| Mount {
            destination: "/m".into(),
            source: Some(source),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            ..Mount::default()
        };
        let spec = Spec {
            oci_version: "1.2.0".to_owned(),
            root: Some(Root { path: "rootfs".into(), readonly: true }),
            mounts: vec![
                mount("tmpfs".into(), &["ro"]),
                mount(folder.path().join("volume"), &["rbind", "X-mount.subdir=part"]),
                mount("/proc/self/fd/7".into(), &["bind"]),
            ],
            linux: Some(Linux {
                namespaces: vec![
                    namespace(NamespaceKind::Mount, None),
                    namespace(NamespaceKind::Time, None),
                    namespace(NamespaceKind::Pid, Some("/proc/self/fd/5")),
                ],
                cgroups_path: Some("gantry/x".to_owned()),
                ..Linux::default()
            }),
            ..Spec::default()
        };
        let (plain, places) = plain(&spec, &bundle, None).unwrap();
        let linux = plain.linux.unwrap();
        assert_eq!(linux.cgroups_path.as_deref(), Some("/gantry/x"));
        assert_eq!(linux.namespaces[0], namespace(NamespaceKind::Mount, None));
        assert_eq!(linux.namespaces[1].path, Some(bundle.dir().join("ns-pid")));
        assert_eq!(linux.namespaces.len(), 2);
        assert_eq!(plain.root.unwrap(), Root { path: bundle.rootfs(), readonly: true });
        assert_eq!(plain.mounts[0].source, Some("tmpfs".into()));
        assert_eq!(plain.mounts[1].source, Some(bundle.dir().join("mount-1")));
        assert_eq!(plain.mounts[1].options, ["rbind"]);
        assert_eq!(plain.mounts[2].source, Some(bundle.dir().join("mount-2")));
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn a_part_of_a_volume_does_not_lead_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("out")).unwrap();
        within(folder.path(), "out/passwd").unwrap_err();
        within(folder.path(), "../..")
            .map(|fd| {
                let (found, root) =
                    (rustix::fs::fstat(&fd).unwrap(), fs::metadata(folder.path()).unwrap());
                assert_eq!(found.st_ino, std::os::unix::fs::MetadataExt::ino(&root));
            })
            .unwrap();
    }
}
