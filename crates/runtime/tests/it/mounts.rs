//! Mounts that users ask for.

use crate::job::{Job, mount};

#[test]
fn directories_and_files_are_bound_and_their_places_made() {
    let job = Job::shell("cat /a/new/place/f /etc/one; echo w > /a/new/place/g");
    let (dir, file) = (job.host("dir"), job.host("file"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("f"), "in dir\n").unwrap();
    std::fs::write(&file, "one\n").unwrap();
    let job = job.mount(mount("/a/new/place", "bind", &dir, &["rbind", "rprivate"])).mount(mount(
        "/etc/one",
        "bind",
        &file,
        &["bind", "ro"],
    ));
    let written = dir.join("g");
    let outcome = job.run_keeping(|| std::fs::read_to_string(&written).unwrap());
    assert_eq!((outcome.0.ok(), outcome.1.as_str()), ("in dir\none", "w\n"));
}

#[test]
fn attributes_hold() {
    let job = Job::shell(
        "grep -E ' /(ro|nx|t|at) ' /proc/self/mountinfo | cut -d' ' -f5,6; touch /ro/x 2>/dev/null || echo ro",
    );
    let dir = job.host("dir");
    std::fs::create_dir_all(&dir).unwrap();
    let job = job
        .mount(mount("/ro", "bind", &dir, &["rbind", "ro"]))
        .mount(mount("/nx", "bind", &dir, &["bind", "noexec", "nosuid", "nodev"]))
        .mount(mount("/at", "bind", &dir, &["bind", "noatime"]))
        .mount(mount("/t", "tmpfs", "tmpfs", &["size=64k", "mode=1770", "ro"]));
    let outcome = job.run();
    assert_eq!(
        outcome.ok(),
        "/ro ro,relatime\n/nx rw,nosuid,nodev,noexec,relatime\n/at rw,noatime\n/t ro,relatime\nro"
    );
}

#[test]
fn recursive_attributes_reach_what_is_mounted_beneath() {
    let script = "for d in rro ro nonrec; do touch /$d/sub/x 2>/dev/null && echo $d; done; ls /ro/sub /nonrec/sub";
    let job = Job::shell(script);
    let dir = job.host("dir");
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    let outcome = job
        .set("tmpfs", dir.join("sub"))
        .mount(mount("/rro", "bind", &dir, &["rbind", "rro"]))
        .mount(mount("/ro", "bind", &dir, &["rbind", "ro"]))
        .mount(mount("/nonrec", "bind", &dir, &["bind"]))
        .run();
    // Through /ro the file system beneath is writable, as mount(8) has it; /nonrec does not have it.
    assert_eq!(outcome.ok(), "ro\nnonrec\n/nonrec/sub:\nx\n\n/ro/sub:\nx");
}

#[test]
fn propagation_is_what_was_asked_for() {
    let script = "mount -t tmpfs t /$1/new && echo mounted";
    let job = |words: &[&str]| {
        let job = Job::shell(&script.replace("$1", "s"));
        let dir = job.host("dir");
        std::fs::create_dir_all(&dir).unwrap();
        job.set("tmpfs", &dir)
            .set("shared", true)
            .set("directories", [dir.join("new")])
            .mount(mount("/s", "bind", &dir, words))
            .process(|p| {
                let sets = p.capabilities.as_mut().unwrap();
                for set in [&mut sets.bounding, &mut sets.permitted, &mut sets.effective] {
                    set.push("CAP_SYS_ADMIN".to_owned());
                }
            })
    };
    for (words, seen) in [
        (&["rbind"][..], 0),
        (&["rbind", "rslave"], 0),
        (&["rbind", "rprivate"], 0),
        (&["rbind", "rshared"], 1),
    ] {
        let outcome = job(words).run();
        assert_eq!((outcome.ok(), outcome.mounts_beneath), ("mounted", seen), "{words:?}");
    }
}

#[test]
fn a_missing_source_and_a_mismatch_are_told() {
    let outcome = Job::shell("true").mount(mount("/x", "bind", "/nonexistent/y", &["rbind"])).run();
    assert_eq!(
        outcome.failed(),
        "open bind mount source /nonexistent/y: no such file or directory"
    );
    let outcome = Job::shell("true").mount(mount("/etc/passwd", "bind", "/usr", &["rbind"])).run();
    assert_eq!(
        outcome.failed(),
        "mount /usr at /etc/passwd: open or make the mount point: not a directory"
    );
    let outcome = Job::shell("true").mount(mount("/etc", "bind", "/etc/passwd", &["rbind"])).run();
    assert_eq!(
        outcome.failed(),
        "mount /etc/passwd at /etc: mount a file on a directory: not a directory"
    );
    let outcome = Job::shell("true").mount(mount("/x", "tmpfs", "tmpfs", &["colour=blue"])).run();
    assert!(outcome.failed().starts_with("mount tmpfs at /x: colour=blue"), "{outcome:?}");
    let outcome = Job::shell("true").mount(mount("/x", "nosuchfs", "none", &[])).run();
    assert_eq!(outcome.failed(), "mount nosuchfs at /x: open the file system type: no such device");
}

#[test]
fn nothing_is_mounted_inside_proc() {
    for target in ["/proc/asound", "/proc/sys", "/proc/self", "/proc/../proc/1"] {
        let outcome = Job::shell("true").mount(mount(target, "tmpfs", "tmpfs", &[])).run();
        assert!(outcome.failed().contains("inside /proc"), "{target}: {outcome:?}");
    }
    let outcome =
        Job::shell("true").link("p", "/proc/sys").mount(mount("/p", "tmpfs", "tmpfs", &[])).run();
    assert!(outcome.failed().contains("leads into /proc"), "{outcome:?}");
    let outcome = Job::shell("true").mount(mount("/sys", "bind", "/usr", &["rbind"])).run();
    assert!(outcome.failed().contains("only a sysfs"), "{outcome:?}");
    let outcome = Job::shell("true").mount(mount("/proc", "bind", "/usr", &["rbind"])).run();
    assert!(outcome.failed().contains("not of type proc"), "{outcome:?}");
}

#[test]
fn devices_and_links_are_there() {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done; \
                  for l in fd stdin stdout stderr ptmx core; do readlink /dev/$l; done; echo x > /dev/null; \
                  stat -c '%t:%T %a %u:%g' /dev/net/tun";
    let device = oci::runtime::Device {
        path: "/dev/net/tun".into(),
        kind: "c".to_owned(),
        major: Some(10),
        minor: Some(200),
        file_mode: Some(0o640),
        uid: Some(3),
        gid: Some(4),
    };
    let outcome = Job::shell(script).linux(|l| l.devices.push(device)).run();
    // Only where the kernel has it.
    let core = if std::path::Path::new("/proc/kcore").exists() { "/proc/kcore\n" } else { "" };
    assert_eq!(
        outcome.ok(),
        format!(
            "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n\
             /dev/tty 5:0 666\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n\
             {core}a:c8 640 3:4"
        )
    );
}

#[test]
fn the_host_does_not_see_what_the_container_mounts_unless_shared() {
    let script = "cut -d' ' -f5,7 /proc/self/mountinfo | grep -E '^/(|p|s|h) '";
    let job = Job::shell(script);
    let dir = job.host("dir");
    std::fs::create_dir_all(&dir).unwrap();
    let outcome = job
        .mount(mount("/p", "bind", &dir, &["rbind"]))
        .mount(mount("/s", "bind", &dir, &["rbind", "rslave"]))
        .mount(mount("/h", "bind", &dir, &["rbind", "rshared"]))
        .run();
    let text = outcome.ok();
    assert!(text.lines().any(|l| l.starts_with("/h shared:")), "{text}");
    assert!(
        text.lines().filter(|l| !l.starts_with("/h ")).all(|l| !l.contains("shared")),
        "{text}"
    );
}
