//! Sockets to listen on, from `-H` texts.

use std::fmt;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use stdx::{Context, Error, Result};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::conn::{self, Service, Turn};
use super::crowd::Crowd;
use super::socket::Socket;
use super::tls::{self, Tls};
use std::os::fd::OwnedFd;
use tokio_rustls::TlsAcceptor;

/// How many clients of one socket are served at a time. For one more the connection goes that has been idle for longest.
const CONNECTIONS: usize = 2000;
/// How many clients may wait to be accepted, as Go has it where the kernel allows it. With the 128 of the standard library
/// clients of a crowd are not heard, and try again after seconds.
const BACKLOG: i32 = 4096;
/// How many a socket has places for, however few files the daemon may open.
const FEWEST: usize = 16;
/// How long what was said last may take to reach a client over TLS, once the connection has ended for us.
const LAST_WORDS: Duration = Duration::from_secs(60);
/// After so long without a word on a network the kernel asks whether the client is still there, and so often until it is
/// given up for gone (as Go's server has it). Nothing else would tell where a container prints nothing.
const KEEP_ALIVE: (Duration, u32) = (Duration::from_secs(15), 9);
/// How long requests may go on when the server stops.
const GRACE: Duration = Duration::from_secs(2);
/// Groups that may use the socket, the first that exists.
const GROUPS: [&str; 2] = ["gantry", "docker"];

/// Where to listen, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bind {
    /// `unix://PATH`, `/PATH`, `tcp://HOST:PORT` and `fd://` (what a service manager has bound).
    pub hosts: Vec<String>,
    /// The group (name or number) that may use Unix sockets; `None`: `gantry` or `docker`, the first that exists.
    pub group: Option<String>,
    /// `tcp://` is encrypted.
    pub tls: Option<Tls>,
    /// `--tls=false` or `--tlsverify=false` was given. Otherwise `tcp://` without TLS is refused: everyone who can
    /// connect would be root here.
    pub plain_tcp: bool,
}

/// Bound sockets.
#[derive(Debug, Default)]
pub struct Listeners {
    all: Vec<Listener>,
}

enum Listener {
    Unix {
        socket: UnixListener,
        path: PathBuf,
        node: (u64, u64),
    },
    /// Bound by somebody else, whose file it is.
    Passed(UnixListener),
    Tcp {
        socket: TcpListener,
        tls: Option<TlsAcceptor>,
    },
}

/// What `tcp://` is.
#[derive(Clone)]
enum Tcp {
    Refused,
    Plain,
    Encrypted(TlsAcceptor),
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "unix://{}", path.display()),
            Self::Passed(socket) => write!(f, "fd://{:?}", socket.local_addr()),
            Self::Tcp { socket, .. } => match socket.local_addr() {
                Ok(address) => write!(f, "tcp://{address}"),
                Err(_) => f.write_str("tcp://"),
            },
        }
    }
}

impl Listener {
    /// How many descriptors one of its clients takes: an encrypted connection has a pair of sockets beside its own.
    fn files_of_a_client(&self) -> usize {
        match self {
            Self::Tcp { tls: Some(_), .. } => 3,
            _ => 1,
        }
    }
}

impl Listeners {
    /// Where they listen, for the log.
    pub fn addresses(&self) -> Vec<String> {
        self.all.iter().map(|listener| format!("{listener:?}")).collect()
    }
}

impl Drop for Listener {
    /// Removes the socket's file, unless it is another daemon's by now.
    fn drop(&mut self) {
        if let Self::Unix { path, node, .. } = self
            && std::fs::symlink_metadata(&*path)
                .is_ok_and(|found| (found.dev(), found.ino()) == *node)
        {
            let _gone = std::fs::remove_file(path);
        }
    }
}

/// Binds all hosts, or none. Must run inside a tokio runtime.
///
/// A Unix socket belongs to root and to its group, mode 0660. A file that is left from a daemon that died is replaced;
/// one behind which somebody answers is not ([`stdx::Kind::Conflict`]).
pub fn bind(wanted: &Bind) -> Result<Listeners> {
    let group = socket_group(wanted.group.as_deref())?;
    let tcp = match &wanted.tls {
        Some(tls) => Tcp::Encrypted(tls.acceptor()?),
        None if wanted.plain_tcp => Tcp::Plain,
        None => Tcp::Refused,
    };
    let mut all = Vec::with_capacity(wanted.hosts.len());
    for host in &wanted.hosts {
        match host.strip_prefix("fd://") {
            Some(which) => all.extend(passed(which, &tcp)?),
            None => all.push(bind_one(host, group, &tcp)?),
        }
    }
    Ok(Listeners { all })
}

/// The number of the group that was asked for, which must exist, or of the first default one that does.
fn socket_group(asked: Option<&str>) -> Result<Option<u32>> {
    match asked.filter(|name| !name.is_empty()) {
        None => Ok(GROUPS.iter().find_map(|name| group_id(name))),
        Some(name) => match name.parse().ok().or_else(|| group_id(name)) {
            Some(id) => Ok(Some(id)),
            None => Err(Error::invalid(format!("group {name} not found"))),
        },
    }
}

fn bind_one(host: &str, group: Option<u32>, tcp: &Tcp) -> Result<Listener> {
    match host.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => bind_unix(Path::new(path), group),
        None if host.starts_with('/') => bind_unix(Path::new(host), group),
        Some(("tcp", address)) => {
            let tls = tcp.admit(host)?;
            let socket = bind_tcp(&with_defaults(address, tls.is_some()), host)?;
            Ok(Listener::Tcp { socket, tls })
        }
        _ => Err(Error::invalid(format!("Invalid bind address format: {host}"))),
    }
}

impl Tcp {
    /// The encryption of a socket on a network, which may be none only where that was asked for.
    fn admit(&self, host: &str) -> Result<Option<TlsAcceptor>> {
        match self {
            Self::Encrypted(acceptor) => Ok(Some(acceptor.clone())),
            Self::Plain => {
                tracing::warn!(%host, "everyone who can connect to this address is root on this host");
                Ok(None)
            }
            Self::Refused => Err(Error::invalid(format!(
                "{host}: the API over TCP without TLS makes everyone who can connect root on this host; \
                 say --tlsverify with certificates, or --tls=false to have it nevertheless"
            ))),
        }
    }
}

/// An address with what Docker adds: loopback for no host, 2375 or 2376 for no port.
fn with_defaults(address: &str, encrypted: bool) -> String {
    let (name, port) = match address.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (address, ""),
    };
    let name = if name.is_empty() { "127.0.0.1" } else { name };
    let port = match port {
        "" if encrypted => "2376",
        "" => "2375",
        port => port,
    };
    format!("{name}:{port}")
}

/// The sockets that a service manager has bound: all, or the one with this number.
fn passed(which: &str, tcp: &Tcp) -> Result<Vec<Listener>> {
    let first = sys::activation::FIRST;
    let wanted = match which {
        "" | "*" => None,
        number => {
            let number = number.parse::<i32>().ok().filter(|n| *n >= first);
            let number = number.ok_or_else(|| {
                Error::invalid(format!("fd://{which}: a number from {first} on is wanted"))
            })?;
            Some(usize::try_from(number - first).unwrap_or_default())
        }
    };
    let mut sockets = sys::activation::take_sockets()
        .map_err(|e| Error::io("take the sockets of the service manager", e))?;
    if sockets.is_empty() {
        return Err(Error::invalid(
            "no sockets found via socket activation: make sure the service was started by systemd",
        ));
    }
    if let Some(wanted) = wanted {
        if wanted >= sockets.len() {
            return Err(Error::invalid(
                "failed to listen on specified file descriptor: too few sockets were passed by the service manager",
            ));
        }
        // One daemon's sockets are taken once: the others are closed with it.
        sockets = vec![sockets.swap_remove(wanted)];
    }
    sockets.into_iter().map(|socket| adopt(socket, tcp)).collect()
}

fn adopt(socket: OwnedFd, tcp: &Tcp) -> Result<Listener> {
    use rustix::net::SocketAddrAny;
    let failed = |e: io::Error| Error::io("take over a socket of the service manager", e);
    let address = rustix::net::getsockname(&socket).map_err(|e| failed(e.into()))?;
    rustix::io::ioctl_fionbio(&socket, true).map_err(|e| failed(e.into()))?;
    match SocketAddrAny::address_family(&address) {
        rustix::net::AddressFamily::UNIX => {
            UnixListener::from_std(socket.into()).map(Listener::Passed).map_err(failed)
        }
        rustix::net::AddressFamily::INET | rustix::net::AddressFamily::INET6 => {
            let tls = tcp.admit("fd://")?;
            let socket = TcpListener::from_std(socket.into()).map_err(failed)?;
            Ok(Listener::Tcp { socket, tls })
        }
        family => Err(Error::invalid(format!("fd://: a socket of the family {family:?}"))),
    }
}

fn bind_unix(path: &Path, group: Option<u32>) -> Result<Listener> {
    let shown = path.display();
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Error::conflict(format!("unix://{shown}: another daemon listens there")));
    }
    let socket = bind_replacing(path).context(|| format!("listen on unix://{shown}"))?;
    let meta = std::fs::symlink_metadata(path).context(|| format!("stat {shown}"))?;
    let listener = Listener::Unix { socket, path: path.to_owned(), node: (meta.dev(), meta.ino()) };
    if group.is_some() {
        chown(path, None, group).context(|| format!("give {shown} to its group"))?;
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o660))
        .context(|| format!("set mode of {shown}"))?;
    Ok(listener)
}

fn bind_replacing(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            std::fs::remove_file(path)?;
        }
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let socket = UnixListener::bind(path)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A group's number from /etc/group (no NSS: it would load libraries into the daemon).
fn group_id(name: &str) -> Option<u32> {
    let file = std::fs::read_to_string("/etc/group").ok()?;
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn bind_tcp(address: &str, host: &str) -> Result<TcpListener> {
    let listen = || -> io::Result<TcpListener> {
        let socket = std::net::TcpListener::bind(address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    };
    listen().context(|| format!("listen on {host}"))
}

/// Binds one address for plain HTTP that anybody may read.
pub(crate) fn bind_plain(address: &str) -> io::Result<Listeners> {
    let socket = std::net::TcpListener::bind(with_any_host(address).as_ref())?;
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from_std(socket)?;
    Ok(Listeners { all: vec![Listener::Tcp { socket, tls: None }] })
}

/// `:PORT` is every address, as Go has it.
fn with_any_host(address: &str) -> std::borrow::Cow<'_, str> {
    if address.starts_with(':') { format!("[::]{address}").into() } else { address.into() }
}

/// Answers clients until `stop` turns true; then lets requests finish for a moment and cuts what is left.
pub(crate) async fn serve(
    listeners: Listeners,
    service: Arc<dyn Service>,
    mut stop: watch::Receiver<bool>,
) {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let sockets = listeners.all.len();
    let mut accepting = JoinSet::new();
    for listener in listeners.all {
        // Each socket has places of its own: what strangers on a network do keeps nobody from the one of this machine.
        let crowd = Arc::new(Crowd::new(places(files, sockets, listener.files_of_a_client())));
        accepting.spawn(accept(listener, Arc::clone(&service), crowd, stop.clone()));
    }
    // An error says that whoever would stop us is gone, which is a stop, too.
    drop(stop.wait_for(|stop| *stop).await);
    let deadline = tokio::time::Instant::now() + GRACE;
    let all = async { while accepting.join_next().await.is_some() {} };
    if tokio::time::timeout_at(deadline, all).await.is_err() {
        tracing::debug!("cutting connections that are left");
    }
}

/// How many places each of `sockets` has for clients that take `each` descriptors: together they get half of those that
/// this process may have, since without one left the daemon could neither accept a client nor do anything for it.
fn places(files: Option<u64>, sockets: usize, each: usize) -> usize {
    let half = files.map_or(usize::MAX, |files| usize::try_from(files / 2).unwrap_or(usize::MAX));
    (half / sockets.max(1) / each).clamp(FEWEST, CONNECTIONS)
}

/// Accepts clients; at the end waits for those that are served. Dropping it cuts them.
async fn accept(
    listener: Listener,
    service: Arc<dyn Service>,
    crowd: Arc<Crowd>,
    mut stop: watch::Receiver<bool>,
) {
    let mut clients = JoinSet::new();
    loop {
        let socket = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            // What has ended is forgotten.
            Some(_) = clients.join_next(), if !clients.is_empty() => continue,
            socket = accept_one(&listener) => socket,
        };
        // Whoever sits in the place that is for this client leaves when the client is there, not before.
        let place = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            place = crowd.enter() => place,
        };
        match socket {
            Ok(socket) => {
                let (service, stop) = (Arc::clone(&service), stop.clone());
                clients.spawn(async move {
                    serve_one(socket, service, stop, place.turn()).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: trying at once again would only burn time.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // No new clients find the socket while the old ones finish.
    drop(listener);
    while clients.join_next().await.is_some() {}
}

/// Who has connected.
enum Client {
    Plain(Socket),
    Encrypted(tokio::net::TcpStream, TlsAcceptor),
}

async fn accept_one(listener: &Listener) -> io::Result<Client> {
    match listener {
        Listener::Unix { socket, .. } | Listener::Passed(socket) => {
            Ok(Client::Plain(Socket::Unix(socket.accept().await?.0)))
        }
        Listener::Tcp { socket, tls } => {
            let stream = socket.accept().await?.0;
            // Whoever is gone before we look has no options to set, which is nothing to wait for.
            let _gone = tune(&stream);
            Ok(match tls {
                None => Client::Plain(Socket::Tcp(stream)),
                Some(acceptor) => Client::Encrypted(stream, acceptor.clone()),
            })
        }
    }
}

async fn serve_one(
    client: Client,
    service: Arc<dyn Service>,
    stop: watch::Receiver<bool>,
    turn: Arc<Turn>,
) {
    match client {
        Client::Plain(socket) => conn::serve(socket, service, stop, turn).await,
        Client::Encrypted(stream, acceptor) => {
            let shaken = tokio::select! {
                shaken = tls::accept(&acceptor, stream) => shaken,
                // Whoever has not shown who it is holds no place that somebody else needs.
                () = turn.asked_to_leave() => return,
            };
            match shaken {
                Ok((inner, bridge)) => {
                    serve_encrypted(Socket::Tls(inner), bridge, service, stop, turn).await;
                }
                Err(error) => tracing::debug!(%error, "TLS handshake"),
            }
        }
    }
}

async fn serve_encrypted(
    socket: Socket,
    bridge: tls::Bridge,
    service: Arc<dyn Service>,
    stop: watch::Receiver<bool>,
    turn: Arc<Turn>,
) {
    let mut carrying = pin!(bridge.run());
    let mut serving = pin!(conn::serve(socket, service, stop, Arc::clone(&turn)));
    tokio::select! {
        () = &mut carrying => serving.await,
        () = &mut serving => tokio::select! {
            () = carrying => {}
            // A client that does not read would keep its place for ever.
            () = tokio::time::sleep(LAST_WORDS) => {}
            () = turn.asked_to_leave() => {}
        },
    }
}

fn tune(stream: &tokio::net::TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    let (pause, times) = KEEP_ALIVE;
    sockopt::set_tcp_keepidle(stream, pause)?;
    sockopt::set_tcp_keepintvl(stream, pause)?;
    sockopt::set_tcp_keepcnt(stream, times)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(hosts: &[&str]) -> Bind {
        Bind { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), ..Bind::default() }
    }

    #[tokio::test]
    async fn a_socket_is_for_its_group_alone_and_vanishes_with_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/gantry.sock");
        let host = format!("unix://{}", path.display());
        let listeners = bind(&Bind { group: Some("1".to_owned()), ..hosts(&[&host]) }).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.gid()), (0o660, 1));
        assert_eq!(bind(&hosts(&[&host])).expect_err("in use").kind(), stdx::Kind::Conflict);
        drop(listeners);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_dead_daemon_left_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let host = format!("unix://{}", path.display());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = bind(&hosts(&[&host])).unwrap();
        // Somebody else's by now: not ours to remove.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        drop(first);
        assert!(path.exists());
        bind(&hosts(&[&host])).expect_err("no socket");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn places_leave_half_of_the_descriptors() {
        for (files, sockets, each, expected) in [
            (None, 1, 1, 2000),
            (Some(1 << 20), 2, 3, 2000),
            (Some(1024), 1, 1, 512),
            (Some(1024), 2, 1, 256),
            (Some(1024), 2, 3, 85),
            (Some(64), 2, 3, 16),
        ] {
            assert_eq!(places(files, sockets, each), expected, "{files:?} {sockets} {each}");
        }
    }

    #[test]
    fn addresses_are_completed() {
        assert_eq!(with_defaults("", false), "127.0.0.1:2375");
        assert_eq!(with_defaults(":99", true), "127.0.0.1:99");
        assert_eq!(with_defaults("0.0.0.0", true), "0.0.0.0:2376");
        assert_eq!(with_defaults("[::1]", true), "[::1]:2376");
        assert_eq!(with_defaults("[::1]:5", true), "[::1]:5");
    }

    #[tokio::test]
    async fn hosts_that_cannot_be_served_are_refused() {
        let error = |wanted: Bind| bind(&wanted).expect_err("refused").to_string();
        assert!(error(hosts(&["tcp://127.0.0.1:0"])).contains("--tls=false"));
        assert!(error(hosts(&["fd://"])).contains("no sockets found via socket activation"));
        assert!(error(hosts(&["fd://2"])).contains("a number from 3 on"));
        assert_eq!(error(hosts(&["foo"])), "Invalid bind address format: foo");
        let group = Bind { group: Some("no-such-group".to_owned()), ..hosts(&["unix:///nowhere"]) };
        assert_eq!(error(group), "group no-such-group not found");
        let plain = Bind { plain_tcp: true, ..hosts(&["tcp://127.0.0.1:0"]) };
        assert_eq!(bind(&plain).unwrap().addresses().len(), 1);
    }
}
