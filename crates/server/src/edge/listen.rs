//! Sockets to listen on, from `-H` texts.

use std::fmt;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stdx::{Context, Error, Result};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::conn::{self, Service};
use super::socket::Socket;

/// How many clients are served at a time; more wait to be accepted.
const CONNECTIONS: usize = 2000;
/// How long requests may go on when the server stops.
const GRACE: Duration = Duration::from_secs(2);
/// Groups that may use the socket, the first that exists.
const GROUPS: [&str; 2] = ["gantry", "docker"];

/// Where to listen, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bind {
    /// `unix://PATH`, `/PATH` and `tcp://HOST:PORT`.
    pub hosts: Vec<String>,
    /// The group (name or number) that may use Unix sockets; `None`: `gantry` or `docker`, the first that exists.
    pub group: Option<String>,
    /// `--tls=false` or `--tlsverify=false` was given. Otherwise `tcp://` is refused: everyone who can connect would be
    /// root here.
    pub plain_tcp: bool,
}

/// Bound sockets.
#[derive(Debug, Default)]
pub struct Listeners {
    all: Vec<Listener>,
}

enum Listener {
    Unix { socket: UnixListener, path: PathBuf, node: (u64, u64) },
    Tcp(TcpListener),
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "unix://{}", path.display()),
            Self::Tcp(socket) => write!(f, "tcp://{:?}", socket.local_addr()),
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
    let mut all = Vec::with_capacity(wanted.hosts.len());
    for host in &wanted.hosts {
        all.push(bind_one(host, group, wanted.plain_tcp)?);
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

fn bind_one(host: &str, group: Option<u32>, plain_tcp: bool) -> Result<Listener> {
    match host.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => bind_unix(Path::new(path), group),
        None if host.starts_with('/') => bind_unix(Path::new(host), group),
        Some(("tcp", address)) if plain_tcp => {
            tracing::warn!(%host, "everyone who can connect to this address is root on this host");
            bind_tcp(address, host)
        }
        Some(("tcp", _)) => Err(Error::invalid(format!(
            "{host}: the API over TCP without TLS makes everyone who can connect root on this host; \
             say --tls=false or --tlsverify=false to have it nevertheless (TLS is not implemented yet)"
        ))),
        Some(("fd", _)) => {
            Err(Error::not_implemented(format!("{host}: socket activation is not implemented yet")))
        }
        _ => Err(Error::invalid(format!("Invalid bind address format: {host}"))),
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
    UnixListener::bind(path)
}

/// A group's number from /etc/group (no NSS: it would load libraries into the daemon).
fn group_id(name: &str) -> Option<u32> {
    let file = std::fs::read_to_string("/etc/group").ok()?;
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn bind_tcp(address: &str, host: &str) -> Result<Listener> {
    let listen = || -> io::Result<TcpListener> {
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    };
    listen().map(Listener::Tcp).context(|| format!("listen on {host}"))
}

/// Answers clients until `stop` turns true; then lets requests finish for a moment and cuts what is left.
pub(crate) async fn serve(
    listeners: Listeners,
    service: Arc<dyn Service>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners.all {
        accepting.spawn(accept(listener, Arc::clone(&service), Arc::clone(&places), stop.clone()));
    }
    // An error says that whoever would stop us is gone, which is a stop, too.
    drop(stop.wait_for(|stop| *stop).await);
    let deadline = tokio::time::Instant::now() + GRACE;
    let all = async { while accepting.join_next().await.is_some() {} };
    if tokio::time::timeout_at(deadline, all).await.is_err() {
        tracing::debug!("cutting connections that are left");
    }
}

/// Accepts clients; at the end waits for those that are served. Dropping it cuts them.
async fn accept(
    listener: Listener,
    service: Arc<dyn Service>,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let mut clients = JoinSet::new();
    loop {
        let next = async {
            // Never closed, so there is always a place some time.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, accept_one(&listener).await)
        };
        let (place, socket) = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            // What has ended is forgotten.
            Some(_) = clients.join_next(), if !clients.is_empty() => continue,
            next = next => next,
        };
        match socket {
            Ok(socket) => {
                let (service, stop) = (Arc::clone(&service), stop.clone());
                clients.spawn(async move {
                    conn::serve(socket, service, stop).await;
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

async fn accept_one(listener: &Listener) -> io::Result<Socket> {
    match listener {
        Listener::Unix { socket, .. } => Ok(Socket::Unix(socket.accept().await?.0)),
        Listener::Tcp(socket) => {
            let stream = socket.accept().await?.0;
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }
    }
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

    #[tokio::test]
    async fn hosts_that_cannot_be_served_are_refused() {
        let error = |wanted: Bind| bind(&wanted).expect_err("refused").to_string();
        assert!(error(hosts(&["tcp://127.0.0.1:0"])).contains("--tls=false"));
        assert!(error(hosts(&["fd://"])).contains("not implemented"));
        assert_eq!(error(hosts(&["foo"])), "Invalid bind address format: foo");
        let group = Bind { group: Some("no-such-group".to_owned()), ..hosts(&["unix:///nowhere"]) };
        assert_eq!(error(group), "group no-such-group not found");
        let plain = Bind { plain_tcp: true, ..hosts(&["tcp://127.0.0.1:0"]) };
        assert_eq!(bind(&plain).unwrap().addresses().len(), 1);
    }
}
