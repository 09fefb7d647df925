//! Who has a port: the socket from the kernel (sock_diag), its process from `/proc`. On the way of an error only.

use network::Protocol;
use std::path::Path;
use sys::netlink::{Batch, Socket};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_DUMP: u16 = 0x300;
/// `TCP_LISTEN` and `TCP_CLOSE`, which is how unconnected UDP sockets are counted.
const LISTEN: u32 = 1 << 10;
const CLOSE: u32 = 1 << 7;

/// `nginx, process 4711`, as far as it can be told.
pub(super) fn of(protocol: Protocol, port: u16) -> Option<String> {
    let (number, states) = match protocol {
        Protocol::Tcp => (6, LISTEN),
        Protocol::Udp => (17, CLOSE),
        Protocol::Sctp => return None,
    };
    let mut socket = Socket::open(sys::netlink::Protocol::SockDiag).ok()?;
    // AF_INET, AF_INET6.
    let inode = [2, 10].iter().find_map(|family| {
        let mut batch = Batch::new();
        let request = request(*family, number, states, port);
        batch.message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request, |_| {});
        let answers = socket.query(&batch).ok()?;
        answers.iter().find_map(|answer| inode(&answer.body, port))
    })?;
    process(inode)
}

/// `struct inet_diag_req_v2`.
fn request(family: u8, protocol: u8, states: u32, port: u16) -> [u8; 56] {
    let mut bytes = [0; 56];
    (bytes[0], bytes[1]) = (family, protocol);
    bytes[4..8].copy_from_slice(&states.to_ne_bytes());
    bytes[8..10].copy_from_slice(&port.to_be_bytes());
    // INET_DIAG_NOCOOKIE.
    bytes[48..56].fill(0xff);
    bytes
}

/// The inode in a `struct inet_diag_msg` about this port.
fn inode(body: &[u8], port: u16) -> Option<u32> {
    let bytes = body.first_chunk::<72>()?;
    if bytes[4..6] != port.to_be_bytes() {
        return None;
    }
    Some(u32::from_ne_bytes([bytes[68], bytes[69], bytes[70], bytes[71]]))
        .filter(|inode| *inode != 0)
}

/// The first process that has the socket open.
fn process(inode: u32) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|n| n.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        // Processes come and go while we look.
        let Ok(files) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        let has = files
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(&wanted)));
        if has {
            let program = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("{}, process {pid}", program.trim()));
        }
    }
    None
}
