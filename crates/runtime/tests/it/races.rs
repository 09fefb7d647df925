//! Attacks that need the right moment (security design, 1.1): another container swaps what is mounted while this one
//! is made. Whatever the moment, nothing outside the root is touched, and nothing else is mounted than was asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::job::{Job, Outcome, mount};

/// Starts per race. The swapper exchanges some ten thousand times meanwhile.
const STARTS: usize = 60;

/// Somebody who exchanges two names all the time, as a container that shares the volume can.
struct Swapper {
    folder: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Swapper {
    /// A volume filled by `fill`, in which the names `one` and `other` are exchanged.
    fn start(one: &str, other: &str, fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::Builder::new().prefix("swapped-").tempdir().unwrap();
        fill(folder.path());
        let (one, other) = (folder.path().join(one), folder.path().join(other));
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !until.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                count += 1;
            }
            count
        });
        Self { folder, stop, thread: Some(thread) }
    }

    fn volume(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// How often names were exchanged.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Every name below a folder, for comparison.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            all.extend(names(&entry.path()));
        }
        all.push(entry.path());
    }
    all.sort();
    all
}

/// Runs the same job again and again; each outcome is checked, and that nothing has changed in `canary`.
fn race(canary: &Path, make: impl Fn() -> Job, check: impl Fn(&Outcome)) {
    let before = names(canary);
    for _ in 0..STARTS {
        let outcome = make().run();
        check(&outcome);
        assert_eq!(names(canary), before, "{outcome:?}");
    }
}

/// CVE-2021-30465 and CVE-2024-45310: the place of a mount lies in a volume in which directories and links are swapped.
/// The place is made where the link leads inside the root, or the start fails; never on the host.
///
/// Debian's runc is fixed: that the race is won on a vulnerable one (before 1.0-rc95) is not shown here.
#[test]
fn places_of_mounts_swapped_for_links_stay_inside() {
    let canary = tempfile::tempdir().unwrap();
    std::fs::create_dir(canary.path().join("b")).unwrap();
    let swapper = Swapper::start("a", "link", |volume| {
        std::fs::create_dir_all(volume.join("a/b")).unwrap();
        std::os::unix::fs::symlink(canary.path(), volume.join("link")).unwrap();
    });
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("mounted"), "").unwrap();
    for place in ["/shared/a/b", "/shared/a/new/deep"] {
        race(
            canary.path(),
            || {
                Job::shell(
                    "cat /proc/self/mountinfo | cut -d' ' -f5 | grep -c . >/dev/null; ls /shared",
                )
                .mount(mount("/shared", "bind", swapper.volume(), &["rbind"]))
                .mount(mount(place, "bind", source.path(), &["rbind"]))
            },
            |outcome| assert!(outcome.error.is_some() || outcome.code == 0, "{outcome:?}"),
        );
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(canary.path().to_str().unwrap()), "mounted on the host");
    }
    assert!(swapper.end() > 1000);
}

/// CVE-2025-31133 as a race: `/dev` is a volume in which `null` is now a device and now a link into procfs. What masks
/// is the container's own null, not what the volume has.
///
/// runc 1.1.5 binds whatever `null` leads to; shown by the deterministic form, `a_volume_over_dev_cannot_choose_what_masks`.
#[test]
fn what_masks_cannot_be_swapped() {
    let swapper = Swapper::start("null", "link", |volume| {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let device = rustix::fs::makedev(1, 3);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(CWD, volume.join("null"), kind, mode, device).unwrap();
        std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", volume.join("link")).unwrap();
    });
    let script = "grep -E ' /proc/(keys|timer_list|interrupts) ' /proc/self/mountinfo | cut -d' ' -f4 | sort -u";
    race(
        Path::new("/proc/sys/kernel/keys"),
        || {
            Job::shell(script)
                .with(|spec| spec.mounts.retain(|m| !m.destination.starts_with("/dev")))
                .mount(mount("/dev", "bind", swapper.volume(), &["rbind"]))
        },
        |outcome| assert!(outcome.error.is_some() || outcome.ok() == "/null", "{outcome:?}"),
    );
    assert!(swapper.end() > 1000);
}

/// CVE-2025-52565 as a race: `/dev/console` is now a file and now a link into procfs. What is mounted there is the
/// container's terminal, or the start fails.
#[test]
fn the_console_cannot_be_swapped() {
    let swapper = Swapper::start("console", "link", |volume| {
        std::fs::write(volume.join("console"), "").unwrap();
        std::fs::create_dir(volume.join("pts")).unwrap();
        std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", volume.join("link")).unwrap();
    });
    let script =
        "grep -c ' - devpts ' /proc/self/mountinfo; grep core_pattern /proc/self/mountinfo";
    race(
        Path::new("/proc/sys/kernel/keys"),
        || {
            Job::shell(script)
                .process(|p| p.terminal = true)
                .with(|spec| spec.mounts.retain(|m| !m.destination.starts_with("/dev")))
                .mount(mount("/dev", "bind", swapper.volume(), &["rbind"]))
                .mount(mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]))
        },
        |outcome| {
            let mounted = outcome.stdout.trim_end().replace('\r', "");
            assert!(outcome.error.is_some() || mounted == "2", "{outcome:?}");
        },
    );
    assert!(swapper.end() > 1000);
}

/// CVE-2026-55686 as a race: the working directory lies in a volume in which a directory and a link to the host are
/// swapped.
#[test]
fn the_working_directory_cannot_be_swapped() {
    let canary = tempfile::tempdir().unwrap();
    std::fs::write(canary.path().join("secret"), "of the host").unwrap();
    let swapper = Swapper::start("a", "link", |volume| {
        std::fs::create_dir(volume.join("a")).unwrap();
        std::os::unix::fs::symlink(canary.path(), volume.join("link")).unwrap();
    });
    race(
        canary.path(),
        || {
            Job::shell("cat secret ../secret 2>/dev/null; exit 0")
                .process(|p| p.cwd = "/shared/a/new".to_owned())
                .mount(mount("/shared", "bind", swapper.volume(), &["rbind"]))
        },
        |outcome| assert!(!outcome.stdout.contains("of the host"), "{outcome:?}"),
    );
    assert!(swapper.end() > 1000);
}
