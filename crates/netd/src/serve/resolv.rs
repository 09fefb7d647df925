//! The host's own servers, as `/etc/resolv.conf` names them at the moment.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// As many as the C library asks (resolv.conf(5), `MAXNS`), and Docker.
pub(crate) const MOST_SERVERS: usize = 3;
/// A file that is longer is not read to its end.
const MOST_BYTES: u64 = 64 << 10;
/// How many links may follow each other.
const MOST_LINKS: usize = 8;

/// The file, watched. Its directory is, and those of what it links to: it is replaced rather than written.
#[derive(Debug)]
pub(crate) struct Resolv {
    path: PathBuf,
    notify: OwnedFd,
    watches: Vec<i32>,
    servers: Rc<[SocketAddr]>,
}

impl Resolv {
    /// Reads and watches `path`.
    pub(crate) fn watch(path: PathBuf) -> io::Result<Self> {
        let notify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut resolv = Self { path, notify, watches: Vec::new(), servers: Rc::new([]) };
        resolv.read_again();
        Ok(resolv)
    }

    /// Readable when it may have changed.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.notify.as_fd()
    }

    /// The servers now.
    pub(crate) fn servers(&self) -> Rc<[SocketAddr]> {
        Rc::clone(&self.servers)
    }

    /// Reads the file again, after it may have changed.
    pub(crate) fn read_again(&mut self) {
        let mut events = [0; 4096];
        while rustix::io::read(&self.notify, &mut events).is_ok_and(|n| n > 0) {}
        // Watches first: what changes from here on wakes us again.
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::ONLYDIR;
        let watches: Vec<_> = directories(&self.path)
            .iter()
            .filter_map(|dir| inotify::add_watch(&self.notify, dir, flags).ok())
            .collect();
        for old in self.watches.iter().filter(|old| !watches.contains(old)) {
            let _gone = inotify::remove_watch(&self.notify, *old);
        }
        self.watches = watches;
        self.servers = read(&self.path).map(|text| parse(&text)).unwrap_or_default().into();
    }
}

/// The directories in which a change may mean another content of `path`.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    let mut path = path.to_owned();
    for _link in 0..MOST_LINKS {
        let Some(dir) = path.parent().map(Path::to_owned) else { break };
        if !dirs.contains(&dir) {
            dirs.push(dir.clone());
        }
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = dir.join(target);
    }
    dirs
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The servers that a `resolv.conf` names.
fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()? == "nameserver").then(|| words.next()).flatten()
        })
        .filter_map(server)
        .take(MOST_SERVERS)
        .collect()
}

/// An address, as in `fe80::1%eth0` also one that is only meant on one link.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, link)) = text.split_once('%') else {
        return text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = link.parse().ok().or_else(|| {
        let is_name = !link.is_empty() && !link.contains(['/', '.']);
        let index = std::fs::read_to_string(format!("/sys/class/net/{link}/ifindex"));
        is_name.then_some(())?;
        index.ok()?.trim().parse().ok()
    })?;
    Some(SocketAddrV6::new(address, 53, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_resolv_conf_names() {
        let text = "# nameserver 1.1.1.1\n;nameserver 1.1.1.1\nsearch a\n nameserver\t10.0.0.1 # one\n\
                    nameserver nonsense\nnameserver ::1\nnameservers 9.9.9.9\nnameserver fe80::1%7\n\
                    nameserver fe80::1%../x\nnameserver 10.0.0.4\n";
        let servers: Vec<_> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53", "[fe80::1%7]:53"]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn a_file_that_is_replaced_written_or_linked_elsewhere_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (etc, run) = (dir.path().join("etc"), dir.path().join("run"));
        std::fs::create_dir(&etc).unwrap();
        std::fs::create_dir(&run).unwrap();
        let path = etc.join("resolv.conf");
        let mut resolv = Resolv::watch(path.clone()).unwrap();
        let mut expect = |what: &str, server: &[&str]| {
            let mut fds =
                [rustix::event::PollFd::new(&resolv.notify, rustix::event::PollFlags::IN)];
            let timeout = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
            assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).unwrap(), 1, "{what}");
            resolv.read_again();
            let now: Vec<_> = resolv.servers().iter().map(|s| s.ip().to_string()).collect();
            assert_eq!(now, server, "{what}");
        };
        std::fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        expect("written", &["10.0.0.1"]);
        std::fs::write(etc.join("new"), "nameserver 10.0.0.2\n").unwrap();
        std::fs::rename(etc.join("new"), &path).unwrap();
        expect("replaced", &["10.0.0.2"]);
        std::fs::write(run.join("real"), "nameserver 10.0.0.3\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("../run/real", &path).unwrap();
        expect("linked", &["10.0.0.3"]);
        std::fs::write(run.join("real"), "nameserver 10.0.0.4\n").unwrap();
        expect("written behind the link", &["10.0.0.4"]);
        std::fs::remove_file(run.join("real")).unwrap();
        expect("gone", &[]);
    }
}
