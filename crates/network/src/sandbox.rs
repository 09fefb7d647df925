//! Network namespaces, ready to be joined to networks.

use crate::route;
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use stdx::{Context as _, Error, Result};
use sys::netlink::{Batch, Protocol, Socket};
use sys::netns;

/// What every new namespace is set to, as Docker does for containers with a namespace of their own:
/// unprivileged processes may bind any port and send echo requests (moby since 20.10), and links that come later have no
/// IPv6 unless their network has (CVE-2024-32473); loopback keeps `::1`, as since Docker 26.
const SYSCTLS: [(&str, &str); 3] = [
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/ipv4/ping_group_range", "0 2147483647"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// A network namespace of a container that is about to start. Dropping it ends the namespace unless a process lives in it.
#[derive(Debug)]
pub struct Sandbox {
    netns: OwnedFd,
    /// A socket opened inside, so that nobody has to go there again. It keeps the namespace alive like the descriptor.
    route: Socket,
    /// What links there are: modules may have put fallback tunnels there.
    links: Vec<(u32, String)>,
}

impl Sandbox {
    /// Makes a namespace with loopback up, and nothing else. About 0.7 ms; [`Sandboxes`] has them ready.
    pub fn create() -> Result<Self> {
        let (netns, route) = netns::create(set_up).context(|| "create network namespace")?;
        Self::with(netns, route?)
    }

    /// Sets up a new namespace that somebody else has made, such as one that belongs to a user namespace.
    pub fn of_new(netns: OwnedFd) -> Result<Self> {
        let route = netns::inside(netns.as_fd(), set_up).context(|| "enter network namespace")?;
        Self::with(netns, route?)
    }

    /// The namespace of a container that runs.
    pub fn adopt(netns: OwnedFd) -> Result<Self> {
        let route = netns::inside(netns.as_fd(), || Socket::open(Protocol::Route))
            .and_then(|opened| opened)
            .context(|| "enter network namespace")?;
        Self::with(netns, route)
    }

    fn with(netns: OwnedFd, mut route: Socket) -> Result<Self> {
        let links =
            route::links(&mut route)?.into_iter().map(|link| (link.index, link.name)).collect();
        Ok(Self { netns, route, links })
    }

    /// The namespace.
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    /// The namespace alone, for whoever puts a process into it.
    pub fn into_netns(self) -> OwnedFd {
        self.netns
    }

    /// rtnetlink inside the namespace.
    pub fn route(&mut self) -> &mut Socket {
        &mut self.route
    }

    /// The number that the next link inside will most likely have, and a free name: `eth0`, `eth1`, … The number is the
    /// kernel's choice; in a new namespace it counts up, in one that lost links it need not.
    pub fn next_link(&self) -> (u32, String) {
        self.next_link_named("eth")
    }

    /// The same with another beginning of the name.
    pub fn next_link_named(&self, prefix: &str) -> (u32, String) {
        let index = self.links.iter().map(|(index, _)| *index).max().unwrap_or(route::LOOPBACK) + 1;
        let taken = |name: &str| self.links.iter().any(|(_, other)| other == name);
        let name = (0..).map(|n| format!("{prefix}{n}")).find(|name| !taken(name));
        (index, name.expect("there are fewer links than numbers"))
    }

    /// Makes exactly these the default routes, each a link's name and the gateway behind it; none leaves the sandbox
    /// without a way out. Packets may get lost for a moment where a family's gateway changes.
    ///
    /// # Errors
    /// `NotFound` when there is no such link; the routes are as they were then.
    pub fn set_default_routes(&mut self, wanted: &[(&str, IpAddr)]) -> Result<()> {
        let links = route::links(&mut self.route)?;
        let wanted = wanted
            .iter()
            .map(|(name, gateway)| {
                let link = links.iter().find(|link| link.name == *name);
                let link =
                    link.ok_or_else(|| Error::not_found(format!("no link {name} in the sandbox")))?;
                Ok(route::DefaultRoute { index: link.index, gateway: *gateway })
            })
            .collect::<Result<Vec<_>>>()?;
        let present = route::default_routes(&mut self.route)?;
        let mut batch = Batch::new();
        for old in present.iter().filter(|old| !wanted.contains(old)) {
            route::delete_default_route(&mut batch, old.index, old.gateway);
        }
        for new in wanted.iter().filter(|new| !present.contains(new)) {
            route::add_default_route(&mut batch, new.index, new.gateway);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.route
            .execute(batch)
            .map_err(|e| Error::internal("set the default routes").caused_by(e))
    }

    /// Writes network sysctls of the namespace, `net/…` and their values.
    ///
    /// # Errors
    /// `InvalidArgument` when the kernel refuses a value; `NotFound` when there is no such setting.
    pub fn sysctls(&self, settings: Vec<(String, String)>) -> Result<()> {
        let wrote = netns::inside(self.netns.as_fd(), move || {
            for (key, value) in settings {
                if let Err(e) = std::fs::write(format!("/proc/sys/{key}"), &value) {
                    return Some((key, value, e));
                }
            }
            None
        });
        match wrote.context(|| "enter network namespace")? {
            None => Ok(()),
            Some((key, value, e)) => {
                let key = key.replace('/', ".");
                match e.kind() {
                    io::ErrorKind::NotFound => {
                        Err(Error::not_found(format!("sysctl {key} is not there")))
                    }
                    io::ErrorKind::InvalidInput => {
                        Err(Error::invalid(format!("sysctl {key} cannot be {value:?}")))
                    }
                    _ => Err(Error::io(format!("set sysctl {key}"), e)),
                }
            }
        }
    }

    /// A link was made inside.
    pub fn linked(&mut self, index: u32, name: &str) {
        self.links.push((index, name.to_owned()));
    }
}

/// What a new namespace needs, done inside: settings and loopback. Answers a socket of it.
fn set_up() -> Result<Socket> {
    for (key, value) in SYSCTLS {
        sysctl(key, value).context(|| format!("set {key}"))?;
    }
    let mut route = Socket::open(Protocol::Route).context(|| "open netlink socket")?;
    let mut batch = Batch::new();
    route::raise(&mut batch, route::LOOPBACK);
    route.execute(batch).map_err(|e| Error::internal("raise loopback").caused_by(e))?;
    Ok(route)
}

/// Writes a network sysctl of the calling thread's namespace. That the kernel lacks it (no IPv6) is success.
fn sysctl(key: &str, value: &str) -> io::Result<()> {
    // The daemon's own /proc, never a container's; /proc/sys/net follows the thread's network namespace.
    match OpenOptions::new().write(true).open(format!("/proc/sys/{key}")) {
        Ok(mut file) => file.write_all(value.as_bytes()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// How long a container that was just started has the processors and the kernel's link lock to itself: what runs for a
/// moment only has ended by then, and whoever starts one after the other is not back yet.
const REST: Duration = Duration::from_millis(5);

/// Keeps a few sandboxes ready, because making one takes longer than joining it.
///
/// One thread makes them, after the taker has done its own work with the kernel's link lock.
#[derive(Debug)]
pub struct Sandboxes {
    shared: Arc<Shared>,
    filler: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stock: Mutex<Stock>,
    changed: Condvar,
    ready: usize,
}

#[derive(Debug, Default)]
struct Stock {
    sandboxes: VecDeque<Sandbox>,
    /// Somebody said that soon is a good time.
    wanted: bool,
    closed: bool,
}

impl Sandboxes {
    /// Keeps `ready` sandboxes, at most eight. Each is some hundred kilobytes of the kernel's memory.
    pub fn new(ready: usize) -> Result<Self> {
        let stock = Stock { wanted: true, ..Stock::default() };
        let shared = Arc::new(Shared {
            stock: Mutex::new(stock),
            changed: Condvar::new(),
            ready: ready.min(8),
        });
        let theirs = Arc::clone(&shared);
        let filler = std::thread::Builder::new()
            .name("sandboxes".into())
            .stack_size(256 << 10)
            .spawn(move || theirs.fill())
            .context(|| "start thread")?;
        Ok(Self { shared, filler: Some(filler) })
    }

    /// One that is ready, or else a new one. Call [`refill`](Self::refill) when the container runs.
    pub fn take(&self) -> Result<Sandbox> {
        let ready = self.shared.lock().sandboxes.pop_front();
        match ready {
            Some(sandbox) => Ok(sandbox),
            None => Sandbox::create(),
        }
    }

    /// Soon is a good time to make what was taken: a container has been started, and after [`REST`] it has begun.
    pub fn refill(&self) {
        self.shared.lock().wanted = true;
        self.shared.changed.notify_one();
    }

    /// How many are ready.
    pub fn len(&self) -> usize {
        self.shared.lock().sandboxes.len()
    }

    /// Whether none is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Sandboxes {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(filler) = self.filler.take() {
            // A panic of the filler has been reported by its own hook; there is nothing left to do about it.
            let _ended = filler.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self) {
        let mut stock = self.lock();
        while !stock.closed {
            if !stock.wanted || stock.sandboxes.len() >= self.ready {
                stock.wanted = false;
                stock = self.changed.wait(stock).unwrap_or_else(PoisonError::into_inner);
                let closed = |stock: &mut Stock| !stock.closed;
                stock = self
                    .changed
                    .wait_timeout_while(stock, REST, closed)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                continue;
            }
            drop(stock);
            let made = Sandbox::create();
            stock = self.lock();
            match made {
                Ok(sandbox) => stock.sandboxes.push_back(sandbox),
                // The next taker makes its own and reports why it cannot.
                Err(_) => stock.wanted = false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_has_loopback_up_and_no_more() {
        let mut sandbox = Sandbox::create().unwrap();
        let links = route::links(sandbox.route()).unwrap();
        assert_eq!(
            links.iter().filter(|l| l.up).map(|l| l.name.as_str()).collect::<Vec<_>>(),
            ["lo"]
        );
        let addresses = route::addresses(sandbox.route()).unwrap();
        assert!(addresses.iter().any(|(_, a)| a.to_string() == "127.0.0.1/8"), "{addresses:?}");
        let (index, name) = sandbox.next_link();
        assert!(links.iter().all(|l| l.index < index));
        assert_eq!(name, "eth0");
        sandbox.linked(index, &name);
        assert_eq!(sandbox.next_link(), (index + 1, "eth1".into()));
        let read = netns::inside(sandbox.netns(), || {
            SYSCTLS.map(|(key, _)| {
                std::fs::read_to_string(format!("/proc/sys/{key}")).unwrap_or_default()
            })
        });
        let read = read.unwrap().map(|v| v.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(read, SYSCTLS.map(|(_, value)| value.to_owned()));
    }

    #[test]
    fn the_stock_is_bounded_and_comes_back() {
        let sandboxes = Sandboxes::new(2).unwrap();
        for _ in 0..5 {
            let a = netns::identity(sandboxes.take().unwrap().netns()).unwrap();
            let b = netns::identity(netns::current().unwrap().as_fd()).unwrap();
            assert_ne!(a, b);
            sandboxes.refill();
        }
        let patience = std::time::Instant::now();
        while sandboxes.len() < 2 {
            assert!(patience.elapsed().as_secs() < 10);
            std::thread::yield_now();
        }
        assert_eq!(sandboxes.len(), 2);
    }
}
