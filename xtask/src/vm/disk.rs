//! The machine's disk: the tests' programs at the places where they were built, so that whatever a test remembers of the
//! time of its building is true, and as much of a Debian as they call.

use super::{Suite, place};
use crate::sh;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Programs of the machine that builds, beside what busybox has.
const PROGRAMS: [&str; 13] = [
    "flock",
    "ip",
    "mount",
    "nft",
    "nsenter",
    "sh",
    "sha256sum",
    "setpriv",
    "stty",
    "tar",
    "timeout",
    "umount",
    "unshare",
];

/// Size of the disk; only what is written takes room.
const SIZE: u64 = 3 << 30;

/// Makes the disk anew, with suites that run beside each other, one after the other in each of the lists.
pub(super) fn make(suites: [&[Suite]; 2], programs: &[PathBuf]) -> Result<PathBuf> {
    let root = place("root");
    skeleton(&root)?;
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let path = find(name).with_context(|| format!("there is no {name} on this machine"))?;
        install(&root, &path, &mut libraries)?;
    }
    busybox(&root)?;
    for program in programs {
        install(&root, program, &mut libraries)?;
    }
    for library in &libraries {
        keep(&root, library, false)?;
    }
    images(&root)?;
    fs::create_dir_all(root.join("vm")).context("make a folder")?;
    for (number, lane) in suites.iter().enumerate() {
        let mut list = String::new();
        for suite in *lane {
            fs::create_dir_all(root.join(relative(&suite.folder))).context("make a folder")?;
            let (folder, program) = (suite.folder.display(), suite.program.display());
            let arguments = suite.arguments.join(" ");
            writeln!(list, "{}\t{folder}\t{}\t{program}\t{arguments}", suite.name, suite.limit)?;
        }
        fs::write(root.join(format!("vm/suites.{number}")), list)
            .context("write the list of tests")?;
    }
    let init = root.join("vm/init");
    fs::write(&init, include_str!("init.sh")).context("write the first script")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))
        .context("write the first script")?;
    format(&root)
}

/// Folders, links and files that every program takes for granted.
fn skeleton(root: &Path) -> Result<()> {
    for folder in [
        "dev",
        "proc",
        "sys",
        "run",
        "root",
        "etc",
        "var/lib",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "tmp",
    ] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("make {folder}"))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))
        .context("make tmp")?;
    for (link, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        if !root.join(link).exists() {
            symlink(target, root.join(link)).with_context(|| format!("link {link}"))?;
        }
    }
    let nobody = "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
    for (name, text) in [
        ("etc/passwd", format!("root:x:0:0:root:/root:/bin/sh\n{nobody}")),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n".to_owned()),
        ("etc/hosts", "127.0.0.1 localhost\n".to_owned()),
        ("etc/resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
    ] {
        fs::write(root.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

/// busybox under all its names that no real program has.
fn busybox(root: &Path) -> Result<()> {
    let path = find("busybox").context("there is no busybox on this machine")?;
    keep(root, &path, false)?;
    for name in sh::output("busybox", &["--list"])?.lines() {
        let taken = ["usr/bin", "usr/sbin"]
            .iter()
            .any(|f| root.join(f).join(name).symlink_metadata().is_ok());
        if !taken {
            symlink(&path, root.join("usr/bin").join(name))
                .with_context(|| format!("link {name}"))?;
        }
    }
    Ok(())
}

/// Puts a program to the place where it is on this machine, without its debug information, and notes its libraries.
fn install(root: &Path, program: &Path, libraries: &mut BTreeSet<PathBuf>) -> Result<()> {
    keep(root, program, true)?;
    let output =
        sh::command("ldd", &[&program.display().to_string()]).output().context("run ldd")?;
    // A static program has none, which ldd calls a failure.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().filter_map(|l| l.split_whitespace().find(|w| w.starts_with('/')));
    libraries.extend(words.map(PathBuf::from));
    Ok(())
}

/// Copies a file to its own place, unless the copy there is newer.
fn keep(root: &Path, file: &Path, stripped: bool) -> Result<()> {
    let to = root.join(relative(file));
    let modified = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    if modified(&to).zip(modified(file)).is_some_and(|(copy, original)| copy > original) {
        return Ok(());
    }
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let _old = fs::remove_file(&to);
    let (from, into) = (file.display().to_string(), to.display().to_string());
    let smaller = stripped
        && sh::command("strip", &["-o", &into, &from]).output().is_ok_and(|o| o.status.success());
    if !smaller {
        fs::copy(file, &to).with_context(|| format!("copy {from}"))?;
    }
    Ok(())
}

/// The test images that are built already: putting them together takes a while on an emulated processor.
fn images(root: &Path) -> Result<()> {
    let folder = sh::root().join("target/images");
    fs::create_dir_all(root.join(relative(&folder))).context("make a folder")?;
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("busybox-") {
            keep(root, &entry.path(), false)?;
        }
    }
    Ok(())
}

/// A file system of everything below `root`.
fn format(root: &Path) -> Result<PathBuf> {
    let image = place("disk");
    let _old = fs::remove_file(&image);
    let file = fs::File::create(&image).context("make the disk")?;
    file.set_len(SIZE).context("make the disk")?;
    let mut command =
        sh::command("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", "-E", "root_owner=0:0", "-d"]);
    let output = command.arg(root).arg(&image).output().context("run mkfs.ext4")?;
    ensure!(
        output.status.success(),
        "mkfs.ext4 failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(image)
}

fn find(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .map(|d| Path::new(d).join(name))
        .find(|p| p.is_file())
}

/// A path of this machine below another root.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
