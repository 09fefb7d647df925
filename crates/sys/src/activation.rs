//! What a service manager hands over and wants to hear: sockets that are bound already (`sd_listen_fds(3)`) and news of
//! the service's state (`sd_notify(3)`).

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
pub const FIRST: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The sockets that were handed over to this process, in their order; none when nobody did, or when they were taken
/// before.
pub fn take_sockets() -> io::Result<Vec<OwnedFd>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let (Some(pid), Some(count)) = (number("LISTEN_PID"), number("LISTEN_FDS")) else {
        return Ok(Vec::new());
    };
    if pid != std::process::id() || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let count = RawFd::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?;
    let end = FIRST.checked_add(count).ok_or(io::ErrorKind::InvalidInput)?;
    let open = |fd: &RawFd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    if !(FIRST..end).all(|fd| open(&fd)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("LISTEN_FDS={count}, and not all of them are open"),
        ));
    }
    // JUSTIFICATION: the protocol hands descriptors over by number; no safe crate here can own them.
    // SAFETY: the variables name this process, so these descriptors were opened for it before it began and nothing in
    // it has them; they are open, and the flag above keeps a second call from owning them again.
    Ok((FIRST..end).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}

/// Tells the service manager, if there is one, `state`: `READY=1`, `STOPPING=1`, ….
pub fn notify(state: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let place = place.to_string_lossy().into_owned();
    let address = match place.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

/// `RELOADING=1` with the moment that the protocol wants beside it; `READY=1` says that it is over.
pub fn notify_reloading() -> io::Result<()> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"))
}
