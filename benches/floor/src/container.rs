//! The container's side: from clone to exec.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount};
use rustix::thread::{CapabilitySet, CapabilitySets};
use sys::mount::{Attributes, Context, NODEV, NOEXEC, NOSUID, RDONLY, STRICTATIME};

use crate::groups::Group;
use crate::{Network, Result, link};

/// What a daemon keeps for each container and binds into its `/etc`.
pub(crate) const FILES: [&str; 3] = ["resolv.conf", "hostname", "hosts"];

/// Paths that must not be seen: the same twelve as Gantry's default.
const MASKED: [&str; 12] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/devices/virtual/powercap",
    "sys/firmware",
];

/// Paths that must not be written: the same five.
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD,
/// AUDIT_WRITE, SETFCAP.
const CAPABILITIES: u64 = 0xa804_25fb;
/// Kept until exec, for the filter.
const SYS_ADMIN: u64 = 1 << 21;

/// What the child is given.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    pub(crate) rootfs: OwnedFd,
    pub(crate) files: Vec<OwnedFd>,
    pub(crate) views: Vec<(String, OwnedFd)>,
    pub(crate) group: &'a Group,
    pub(crate) filter: &'a [u8],
    pub(crate) network: Network,
    pub(crate) wait: &'a OwnedFd,
}

/// The three files, detached.
pub(crate) fn open_files(dir: &Path) -> Result<Vec<OwnedFd>> {
    FILES.iter().map(|file| Ok(sys::mount::clone_tree(CWD, dir.join(file), false)?)).collect()
}

/// The group's directories, detached and read-only.
pub(crate) fn views(group: &Group) -> Result<Vec<(String, OwnedFd)>> {
    let set = RDONLY | NOSUID | NODEV | NOEXEC;
    group
        .shown()
        .map(|member| {
            let tree = sys::mount::clone_tree(&member.dir, c"", false)?;
            sys::mount::set_attributes(&tree, Attributes { set, ..Attributes::default() }, false)?;
            Ok((member.name.clone(), tree))
        })
        .collect()
}

impl Container<'_> {
    /// Becomes `/bin/true` in the container.
    pub(crate) fn become_it(&self) -> ! {
        let Err(error) = self.steps();
        // There is no other way to tell: the parent sees the code.
        let _told = rustix::io::write(
            rustix::stdio::stderr(),
            format!("floor: child: {error}\n").as_bytes(),
        );
        sys::process::exit_now(125)
    }

    fn steps(&self) -> Result<std::convert::Infallible> {
        sys::process::reset_signals();
        rustix::process::setsid()?;
        rustix::process::umask(Mode::empty());
        self.group.enter()?;
        sys::process::unshare(sys::clone::NEWCGROUP)?;
        rustix::system::sethostname(b"floor")?;
        if self.network != Network::Host {
            sys::process::loopback_up()?;
        }
        let slave = Attributes { propagation: sys::mount::SLAVE, ..Attributes::default() };
        sys::mount::set_attributes_at(CWD, c"/", slave, true)?;
        sys::mount::attach(
            &self.rootfs,
            rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
        )?;
        self.mount_all()?;
        self.hide()?;
        rustix::process::fchdir(&self.rootfs)?;
        rustix::process::pivot_root(c".", c".")?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")?;
        if self.network == Network::Bridge {
            rustix::io::read(self.wait, &mut [0; 1])?;
            link::set_up_inside()?;
        }
        sys::process::join_session_keyring()?;
        drop_capabilities()?;
        sys::process::close_on_exec_from(3)?;
        sys::seccomp::install(self.filter, 0)?;
        let arguments = [CString::new("true")?];
        let environment = [CString::new("PATH=/bin")?];
        Err(sys::process::exec(c"/bin/true", &arguments, &environment).into())
    }

    fn mount_all(&self) -> Result<()> {
        let most = NOSUID | NODEV | NOEXEC;
        self.mount("proc", "proc", &[], most)?;
        let dev = [("mode", "755"), ("size", "65536k")];
        self.mount("tmpfs", "dev", &dev, NOSUID | STRICTATIME)?;
        for dir in ["dev/pts", "dev/mqueue", "dev/shm"] {
            rustix::fs::mkdirat(&self.rootfs, dir, Mode::from_raw_mode(0o755))?;
        }
        let pts = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
        self.mount("devpts", "dev/pts", &pts, NOSUID | NOEXEC)?;
        self.mount("sysfs", "sys", &[], most | RDONLY)?;
        self.show_groups(most)?;
        self.mount("mqueue", "dev/mqueue", &[], most)?;
        self.mount("tmpfs", "dev/shm", &[("mode", "1777"), ("size", "67108864")], most)?;
        for (file, tree) in FILES.iter().zip(&self.files) {
            self.attach(tree, &format!("etc/{file}"))?;
        }
        let dir =
            rustix::fs::openat(&self.rootfs, "dev", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        for (name, major, minor) in DEVICES {
            let number = sys::process::device(major, minor);
            rustix::fs::mknodat(
                &dir,
                name,
                FileType::CharacterDevice,
                Mode::from_raw_mode(0o666),
                number,
            )?;
        }
        for (name, target) in LINKS {
            rustix::fs::symlinkat(target, &dir, name)?;
        }
        Ok(())
    }

    fn show_groups(&self, attributes: u64) -> Result<()> {
        if let [(name, tree)] = &self.views[..]
            && name.is_empty()
        {
            return self.attach(tree, "sys/fs/cgroup");
        }
        let tmpfs = self.mount("tmpfs", "sys/fs/cgroup", &[("mode", "755")], attributes)?;
        for (name, tree) in &self.views {
            rustix::fs::mkdirat(&tmpfs, name.as_str(), Mode::from_raw_mode(0o755))?;
            self.attach(tree, &format!("sys/fs/cgroup/{name}"))?;
        }
        let read_only = Attributes { set: RDONLY, ..Attributes::default() };
        Ok(sys::mount::set_attributes(&tmpfs, read_only, false)?)
    }

    fn hide(&self) -> Result<()> {
        let read_only = Attributes { set: RDONLY, ..Attributes::default() };
        for path in READ_ONLY {
            if let Ok(tree) = sys::mount::clone_tree(&self.rootfs, path, true) {
                sys::mount::set_attributes(&tree, read_only, true)?;
                self.attach(&tree, path)?;
            }
        }
        let null = rustix::fs::open(c"/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let empty = Context::open("tmpfs")?.mount(RDONLY | NOSUID | NODEV | NOEXEC)?;
        let mut unused = Some(&empty);
        for path in MASKED {
            let Ok(stat) = rustix::fs::statat(&self.rootfs, path, rustix::fs::AtFlags::empty())
            else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                self.attach(&sys::mount::clone_tree(&null, c"", false)?, path)?;
            } else if let Some(first) = unused.take() {
                self.attach(first, path)?;
            } else {
                self.attach(&sys::mount::clone_tree(&empty, c"", false)?, path)?;
            }
        }
        Ok(())
    }

    fn mount(
        &self,
        kind: &str,
        target: &str,
        options: &[(&str, &str)],
        attributes: u64,
    ) -> Result<OwnedFd> {
        let context = Context::open(kind)?;
        for (key, value) in options {
            context.set(key, *value)?;
        }
        let mount = context.mount(attributes)?;
        self.attach(&mount, target)?;
        Ok(mount)
    }

    fn attach(&self, tree: &OwnedFd, target: &str) -> Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(tree, c"", &self.rootfs, target, flags)
            .map_err(|e| format!("mount at /{target}: {e}"))?;
        Ok(())
    }
}

fn drop_capabilities() -> Result<()> {
    let had = rustix::thread::capabilities(None)?.permitted.bits();
    for number in (0..64).filter(|n| CAPABILITIES & (1 << n) == 0) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if rustix::thread::remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    let permitted = CapabilitySet::from_bits_retain((CAPABILITIES | SYS_ADMIN) & had);
    let inheritable = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: permitted, permitted, inheritable },
    )?)
}
