//! Images that try to reach the host (security design, 1.1). Each checks a canary on the host afterwards.

use std::path::Path;

use crate::job::{Job, Outcome, mount};

/// A directory on the host that nothing may touch, and its content as text.
struct Canary(std::path::PathBuf);

impl Canary {
    fn new(job: &Job) -> Self {
        let path = job.host("canary");
        std::fs::create_dir_all(&path).unwrap();
        for name in ["ptmx", "null", "passwd"] {
            std::fs::write(path.join(name), "canary").unwrap();
        }
        Self(path)
    }

    fn state(&self) -> String {
        use std::os::unix::fs::MetadataExt as _;
        let mut lines: Vec<String> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let meta = std::fs::symlink_metadata(&path).unwrap();
                format!("{} {:o} {} {}", path.display(), meta.mode(), meta.uid(), meta.len())
            })
            .collect();
        lines.sort();
        lines.join("\n")
    }
}

/// Runs a job made by `prepare`, which gets the canary's path, and checks that the canary is as before.
fn unharmed(script: &str, prepare: impl FnOnce(Job, &Path) -> Job) -> Outcome {
    let job = Job::shell(script);
    let canary = Canary::new(&job);
    let before = canary.state();
    let job = prepare(job, &canary.0);
    let (outcome, after) = job.run_keeping(|| canary.state());
    assert_eq!(after, before, "the host was touched: {outcome:?}");
    outcome
}

#[test]
fn dev_as_a_link_stays_inside() {
    for hops in 0..3 {
        let outcome = unharmed("ls /dev/null", |mut job, canary| {
            job = match hops {
                0 => job.link("dev", canary),
                1 => job.link("dev", "one").link("one", canary),
                _ => job.link(
                    "dev",
                    Path::new("../../../../../../").join(canary.strip_prefix("/").unwrap()),
                ),
            };
            job.with(|spec| spec.mounts.retain(|m| !m.destination.starts_with("/dev")))
        });
        // Made inside the root, where the link leads, or refused.
        assert!(outcome.error.is_some() || outcome.code == 0, "{outcome:?}");
    }
}

#[test]
fn proc_and_sys_must_be_ordinary_directories() {
    for name in ["proc", "sys"] {
        let kind = if name == "proc" { "proc" } else { "sysfs" };
        let expected = format!("filesystem \"{kind}\" must be mounted on ordinary directory");
        let outcome = unharmed("true", |job, canary| job.link(name, canary));
        assert!(outcome.failed().ends_with(&expected), "{outcome:?}");
        let outcome = unharmed("true", |job, _| job.link(name, "/tmp"));
        assert!(outcome.failed().ends_with(&expected), "{outcome:?}");
        let outcome = unharmed("true", |job, _| {
            // A whiteout hides the directory below.
            job.file(name, "a file")
        });
        assert!(outcome.failed().ends_with(&expected), "{outcome:?}");
    }
}

#[test]
fn a_volume_over_dev_cannot_choose_what_masks() {
    // The deterministic form of CVE-2025-31133.
    let outcome = unharmed(
        "grep -E ' /proc/(keys|timer_list|interrupts) ' /proc/self/mountinfo | cut -d' ' -f4 | sort -u",
        |job, _| {
            let evil = job.host("evil");
            std::fs::create_dir_all(&evil).unwrap();
            std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", evil.join("null")).unwrap();
            job.with(|spec| spec.mounts.retain(|m| !m.destination.starts_with("/dev")))
                .mount(mount("/dev", "bind", evil, &["rbind"]))
        },
    );
    assert_eq!(outcome.ok(), "/null");
}

#[test]
fn mount_targets_behind_links_stay_inside() {
    // CVE-2021-30465, CVE-2024-45310: directories for mounts made on the host.
    let outcome = unharmed("ls /target/new >/dev/null && echo mounted", |job, canary| {
        let source = job.host("source");
        std::fs::create_dir_all(&source).unwrap();
        let target = canary.to_owned();
        std::fs::create_dir_all(job.upper().join(target.strip_prefix("/").unwrap())).unwrap();
        job.link("target", &target).mount(mount("/target/new", "bind", source, &["rbind"]))
    });
    assert_eq!(outcome.ok(), "mounted");
    let outcome = unharmed("ls /target/new >/dev/null && echo mounted", |job, canary| {
        let source = job.host("source");
        std::fs::create_dir_all(&source).unwrap();
        // The link leads to what the root does not have: it is made there.
        job.link("target", canary).mount(mount("/target/new", "bind", source, &["rbind"]))
    });
    assert_eq!(outcome.ok(), "mounted");
}

#[test]
fn the_working_directory_is_made_inside() {
    // CVE-2026-55686.
    let outcome = unharmed("pwd", |job, canary| {
        job.link("work", canary).process(|p| p.cwd = "/work/newdir".to_owned())
    });
    assert!(outcome.ok().ends_with("/canary/newdir"), "{outcome:?}");
}

#[test]
fn descriptors_of_the_host_are_no_working_directories() {
    // CVE-2024-21626.
    for n in 3..30 {
        let outcome = unharmed("cat ../../../../etc/hostname", |job, _| {
            job.process(|p| p.cwd = format!("/proc/self/fd/{n}"))
        });
        assert!(outcome.failed().starts_with("chdir to cwd"), "{n}: {outcome:?}");
        let outcome = unharmed("cat ../../../../etc/hostname", |job, _| {
            job.link("w", format!("/proc/self/fd/{n}")).process(|p| p.cwd = "/w".to_owned())
        });
        assert!(outcome.failed().starts_with("chdir to cwd"), "{n}: {outcome:?}");
    }
}

#[test]
fn a_console_cannot_be_redirected() {
    // CVE-2025-52565: /dev/pts of the image's choice, /dev/console as a link.
    let outcome = unharmed("true", |job, _| {
        let evil = job.host("evil");
        std::fs::create_dir_all(&evil).unwrap();
        std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", evil.join("0")).unwrap();
        std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", evil.join("ptmx")).unwrap();
        job.process(|p| p.terminal = true)
            .with(|spec| spec.mounts.retain(|m| m.destination != Path::new("/dev/pts")))
            .mount(mount("/dev/pts", "bind", evil, &["rbind"]))
    });
    assert_eq!(outcome.failed(), "a terminal needs a devpts at /dev/pts");
    let outcome = unharmed("true", |job, _| {
        let evil = job.host("evil");
        std::fs::create_dir_all(evil.join("pts")).unwrap();
        std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", evil.join("console")).unwrap();
        job.process(|p| p.terminal = true)
            .with(|spec| spec.mounts.retain(|m| !m.destination.starts_with("/dev")))
            .mount(mount("/dev", "bind", evil, &["rbind"]))
            .mount(mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]))
    });
    assert_eq!(outcome.failed(), "/dev/console of the container is a link");
}

#[test]
fn user_files_that_are_no_files_do_not_hang_anything() {
    // Not `id`, which would wait for the FIFO itself.
    const UID: &str = "grep Uid /proc/self/status | cut -f2";
    use rustix::fs::{FileType, Mode};
    for name in ["passwd", "group"] {
        let started = std::time::Instant::now();
        let outcome = unharmed(UID, |job, _| {
            let path = job.upper().join("etc").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                FileType::Fifo,
                Mode::from_raw_mode(0o644),
                0,
            )
            .unwrap();
            job.user("5")
        });
        assert_eq!(outcome.ok(), "5");
        for target in ["/dev/zero", "/proc/kmsg", "/etc"] {
            let outcome =
                unharmed(UID, |job, _| job.link(&format!("etc/{name}"), target).user("5"));
            assert_eq!(outcome.ok(), "5", "{target}");
        }
        let outcome = unharmed(UID, |job, _| {
            let path = job.upper().join("etc").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(path).unwrap().set_len(2 << 30).unwrap();
            job.user("web")
        });
        assert!(outcome.failed().contains("longer than 1048576 bytes"), "{outcome:?}");
        assert!(started.elapsed().as_secs() < 5);
    }
}

#[test]
fn the_runtimes_program_cannot_be_written_to() {
    // CVE-2019-5736: the program is a script whose interpreter is the runtime itself. The helper is executed from a
    // writable mount, so it must be busy or unreachable; either way nothing is written.
    let outcome = unharmed("true", |job, _| {
        let job = job.file("x", "#!/proc/self/exe\n");
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(job.upper().join("x"), mode).unwrap();
        job.process(|p| p.args = vec!["/x".to_owned()])
    });
    let helper = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/container");
    assert!(std::fs::metadata(helper).unwrap().len() > 100_000, "{outcome:?}");
}
