//! What a jailed thread cannot do, and that others still can. Needs root for the capabilities to be worth dropping.

use super::*;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sys-jail-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(path.join("in")).unwrap();
        fs::write(path.join("out"), "secret").unwrap();
        Self(path)
    }

    fn dir(&self) -> Dir {
        Dir::open(self.0.join("in")).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn refused<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.expect_err("it should have been refused").raw_os_error()
}

#[test]
fn files_outside_are_out_of_reach() {
    let place = Place::new("files");
    let (inside, outside) = (place.0.join("in"), place.0.join("out"));
    let result = run("test", &[(&place.dir(), Access::Write)], |walls| {
        assert!(walls.landlock.is_some(), "this kernel has Landlock");
        assert_eq!(refused(fs::read("/etc/shadow")), Some(libc::EACCES));
        assert_eq!(refused(fs::read(&outside)), Some(libc::EACCES));
        assert_eq!(refused(fs::write(place.0.join("new"), "")), Some(libc::EACCES));
        assert_eq!(refused(fs::remove_file(&outside)), Some(libc::EACCES));
        // EACCES or EXDEV: the kernel words both so.
        fs::hard_link(&outside, inside.join("stolen")).unwrap_err();
        fs::rename(&outside, inside.join("stolen")).unwrap_err();
        // In its directory it can do everything.
        fs::create_dir(inside.join("d")).unwrap();
        fs::write(inside.join("d/f"), "text").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(inside.join("d/f")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o666, "the umask is the thread's own");
        fs::hard_link(inside.join("d/f"), inside.join("g")).unwrap();
        fs::rename(inside.join("g"), inside.join("d/g")).unwrap();
        fs::read(inside.join("d/g")).unwrap()
    });
    assert_eq!(result.unwrap(), b"text");
    assert_eq!(fs::read(&outside).unwrap(), b"secret");
}

#[test]
fn reading_rights_do_not_write() {
    let place = Place::new("read");
    fs::write(place.0.join("in/f"), "text").unwrap();
    run("test", &[(&place.dir(), Access::Read)], |_| {
        assert_eq!(fs::read(place.0.join("in/f")).unwrap(), b"text");
        assert_eq!(refused(fs::write(place.0.join("in/f"), "x")), Some(libc::EACCES));
        assert_eq!(refused(fs::write(place.0.join("in/new"), "x")), Some(libc::EACCES));
    })
    .unwrap();
}

#[test]
fn nothing_is_executed_or_forked() {
    let place = Place::new("exec");
    run("test", &[(&place.dir(), Access::Write)], |_| {
        let arguments = [c"true".to_owned()];
        let error = crate::process::exec(c"/bin/true", &arguments, &[]);
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        // JUSTIFICATION: fork must be tried as raw as an attacker would.
        // SAFETY: a child, should there be one, ends at once and touches nothing.
        let child = unsafe {
            let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
            if child == 0 {
                libc::_exit(0);
            }
            child
        };
        assert_eq!((child, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
    })
    .unwrap();
}

#[test]
fn nobody_is_talked_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let place = Place::new("net");
    run("test", &[(&place.dir(), Access::Write)], |_| {
        assert_eq!(refused(TcpStream::connect(address)), Some(libc::EPERM));
        assert_eq!(refused(UnixStream::pair()), Some(libc::EPERM));
    })
    .unwrap();
    TcpStream::connect(address).unwrap();
}

#[test]
fn capabilities_are_few() {
    let place = Place::new("caps");
    run("test", &[(&place.dir(), Access::Write)], |_| {
        let now = rustix::thread::capabilities(None).unwrap();
        for gone in [
            CapabilitySet::SYS_PTRACE,
            CapabilitySet::NET_ADMIN,
            CapabilitySet::SETUID,
            CapabilitySet::SYS_MODULE,
            CapabilitySet::DAC_READ_SEARCH,
            CapabilitySet::SYS_CHROOT,
        ] {
            assert!(!now.permitted.intersects(gone) && !now.effective.intersects(gone), "{gone:?}");
        }
        // What unpacking needs works.
        let path = place.0.join("in/f");
        fs::write(&path, "").unwrap();
        std::os::unix::fs::chown(&path, Some(1234), Some(1234)).unwrap();
        rustix::fs::setxattr(&path, "trusted.x", b"y", rustix::fs::XattrFlags::empty()).unwrap();
        let error = crate::process::unshare(libc::CLONE_NEWNS as u64).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    })
    .unwrap();
}

#[test]
fn threads_inside_are_jailed_and_those_outside_are_not() {
    let place = Place::new("threads");
    let (ask, asked) = mpsc::channel::<()>();
    let (say, said) = mpsc::channel();
    let outside = std::thread::spawn(move || {
        // Waits until the jail stands.
        asked.recv().unwrap();
        say.send((fs::read("/etc/hostname").is_ok(), UnixStream::pair().is_ok())).unwrap();
    });
    let handle = spawn("test", &[(&place.dir(), Access::Write)], move |_| {
        ask.send(()).unwrap();
        std::thread::spawn(|| refused(fs::read("/etc/shadow"))).join().unwrap()
    })
    .unwrap();
    assert_eq!(handle.join().unwrap().unwrap(), Some(libc::EACCES));
    assert_eq!(said.recv().unwrap(), (true, true));
    outside.join().unwrap();
    assert!(fs::read("/etc/shadow").is_ok());
}

#[test]
fn a_panic_is_an_error() {
    let place = Place::new("panic");
    let result = run("test", &[(&place.dir(), Access::Read)], |_| {
        assert!(place.0.as_os_str().is_empty(), "on purpose");
    });
    assert_eq!(result.unwrap_err().to_string(), "the jailed thread panicked");
}
