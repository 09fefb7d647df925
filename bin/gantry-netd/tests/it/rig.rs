//! A host, containers and servers, each a network namespace or a thread; DNS messages by hand.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use netd::{Client, Config, Endpoint, Id, Network, Sandbox};
use tempfile::TempDir;

pub(crate) const A: u16 = 1;
pub(crate) const PTR: u16 = 12;
pub(crate) const AAAA: u16 = 28;
pub(crate) const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);

/// The host of a test: a namespace that this thread, and what it starts, is in.
pub(crate) struct Host {
    pub(crate) dir: TempDir,
    pub(crate) client: Client,
}

impl Host {
    pub(crate) fn new() -> Self {
        let (netns, up) = sys::netns::create(sys::process::loopback_up).unwrap();
        up.unwrap();
        sys::netns::enter(netns.as_fd()).unwrap();
        let dir = TempDir::new().unwrap();
        let client = Client::new(config(&dir));
        let host = Self { dir, client };
        host.servers(&["127.0.0.1"]);
        host
    }

    /// Writes the host's resolv.conf.
    pub(crate) fn servers(&self, servers: &[&str]) {
        let text: String = servers.iter().map(|s| format!("nameserver {s}\n")).collect();
        std::fs::write(self.dir.path().join("resolv.conf"), text).unwrap();
    }

    /// Another daemon's handle to the same helper.
    pub(crate) fn another_client(&self) -> Client {
        Client::new(config(&self.dir))
    }

    pub(crate) fn network(&self, id: &str, name: &str, internal: bool) {
        self.client.network(&self::id(id), &Network { name: name.into(), internal }).unwrap();
    }

    /// A container of which nobody was told.
    pub(crate) fn container_without_helper(&self, id: &str) -> Container {
        Container::new(id)
    }

    /// A container with a process, attached.
    pub(crate) fn container(&self, id: &str, sandbox: &Sandbox) -> Container {
        let container = Container::new(id);
        self.client.attach(&container.id, sandbox, container.netns().as_fd()).unwrap();
        self.client.owner(&container.id, container.process.id()).unwrap();
        container
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.client.stop().unwrap();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("netd/log"));
            eprintln!("the helper's log:\n{}", log.unwrap_or_default());
        }
    }
}

fn config(dir: &TempDir) -> Config {
    Config {
        dir: dir.path().join("netd"),
        program: std::env::var_os("GANTRY_TEST_NETD")
            .map_or_else(|| env!("CARGO_BIN_EXE_gantry-netd").into(), PathBuf::from),
        resolv_conf: dir.path().join("resolv.conf"),
    }
}

/// A namespace with a process in it, which is all that keeps it alive.
pub(crate) struct Container {
    pub(crate) id: Id,
    pub(crate) process: Child,
}

impl Container {
    pub(crate) fn new(id: &str) -> Self {
        let (_netns, process) = sys::netns::create(|| {
            sys::process::loopback_up().unwrap();
            Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
        })
        .unwrap();
        Self { id: self::id(id), process }
    }

    pub(crate) fn netns(&self) -> OwnedFd {
        sys::netns::of_process(self.process.id()).unwrap()
    }

    pub(crate) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        sys::netns::inside(self.netns().as_fd(), work).unwrap()
    }

    /// A socket inside that talks to the resolver.
    pub(crate) fn udp(&self) -> UdpSocket {
        let socket = self.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        socket.connect(RESOLVER).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = self.inside(|| TcpStream::connect(RESOLVER).unwrap());
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Asks over UDP.
    pub(crate) fn ask(&self, name: &str, kind: u16) -> Said {
        ask(&self.udp(), name, kind)
    }

    /// Asks over TCP.
    pub(crate) fn ask_tcp(&self, name: &str, kind: u16) -> Said {
        let mut stream = self.tcp();
        send_tcp(&mut stream, &query(7, name, kind));
        said(&receive_tcp(&mut stream).expect("an answer"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _killed = self.process.kill();
        let _status = self.process.wait();
    }
}

/// What was said: the code, whether it is cut, and the records as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) id: u16,
    pub(crate) code: u8,
    pub(crate) cut: bool,
    pub(crate) records: Vec<String>,
}

impl Said {
    /// Records with blanks between, or the code when there are none.
    pub(crate) fn text(&self) -> String {
        match (self.code, self.records.is_empty()) {
            (0, false) => self.records.join(" "),
            (0, true) => "nothing".into(),
            (2, _) => "SERVFAIL".into(),
            (3, _) => "NXDOMAIN".into(),
            (5, _) => "REFUSED".into(),
            (code, _) => code.to_string(),
        }
    }
}

pub(crate) fn id(text: &str) -> Id {
    text.parse().unwrap()
}

/// A sandbox on networks: their ids, its addresses there, its names.
pub(crate) fn sandbox(endpoints: &[(&str, &[&str], &[&str])]) -> Sandbox {
    Sandbox {
        dns: true,
        endpoints: endpoints
            .iter()
            .map(|(network, addresses, names)| Endpoint {
                network: id(network),
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
                names: names.iter().map(|n| (*n).to_owned()).collect(),
                links: Default::default(),
                internal: false,
            })
            .collect(),
        ..Sandbox::default()
    }
}

pub(crate) fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// The answer to a query with addresses, as a server gives it.
pub(crate) fn answer(query: &[u8], code: u8, addresses: &[[u8; 4]]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] |= 0x80;
    bytes[3] = 0x80 | code;
    bytes[7] = addresses.len() as u8;
    for address in addresses {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
        bytes.extend(address);
    }
    bytes
}

pub(crate) fn said(bytes: &[u8]) -> Said {
    assert!(bytes.len() >= 12 && bytes[2] & 0x80 != 0, "no answer: {bytes:?}");
    let mut records = Vec::new();
    let mut at = 12;
    let name = |mut at: usize| {
        let mut labels = Vec::new();
        while bytes[at] != 0 {
            let length = usize::from(bytes[at]);
            labels.push(String::from_utf8_lossy(&bytes[at + 1..at + 1 + length]).into_owned());
            at += 1 + length;
        }
        (labels.join("."), at + 1)
    };
    if bytes[5] == 1 {
        at = name(at).1 + 4;
    }
    for _record in 0..bytes[7] {
        let (kind, length) = (bytes[at + 3], usize::from(bytes[at + 11]));
        let data = &bytes[at + 12..at + 12 + length];
        records.push(match kind {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
            28 => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
            _ => name(at + 12).0,
        });
        at += 12 + length;
    }
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    Said { id, code: bytes[3] & 15, cut: bytes[2] & 2 != 0, records }
}

/// Asks over a connected socket.
pub(crate) fn ask(socket: &UdpSocket, name: &str, kind: u16) -> Said {
    socket.send(&query(0x4711, name, kind)).unwrap();
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{name}: {e}"));
    let said = said(&buffer[..length]);
    assert_eq!(said.id, 0x4711);
    said
}

pub(crate) fn send_tcp(stream: &mut TcpStream, message: &[u8]) {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend(message);
    stream.write_all(&bytes).unwrap();
}

/// A message, or `None` when the other end closed the connection.
pub(crate) fn receive_tcp(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// A server outside: tells each query that it gets (whole, its sender), and answers what `reply` says.
pub(crate) fn server(
    address: &str,
    reply: impl Fn(&[u8], &UdpSocket, SocketAddr) -> Option<Vec<u8>> + Send + 'static,
) -> Receiver<(Vec<u8>, SocketAddr)> {
    serve_on(UdpSocket::bind(address).unwrap(), reply)
}

pub(crate) fn serve_on(
    socket: UdpSocket,
    reply: impl Fn(&[u8], &UdpSocket, SocketAddr) -> Option<Vec<u8>> + Send + 'static,
) -> Receiver<(Vec<u8>, SocketAddr)> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            // A test that does not want to know any more still gets answers.
            let _told = tell.send((query.to_vec(), from));
            if let Some(answer) = reply(query, &socket, from) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    told
}

/// The same over TCP.
pub(crate) fn tcp_server(
    address: &str,
    reply: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
) -> Receiver<Vec<u8>> {
    let listener = TcpListener::bind(address).unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Some(query) = receive_tcp(&mut stream) {
                let _told = tell.send(query.clone());
                send_tcp(&mut stream, &reply(&query));
            }
        }
    });
    told
}

/// Waits until it is so, for at most `limit`; how long it took.
pub(crate) fn wait_for(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

/// Runs a program in the test's host.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
