//! Starting a shim.

use std::os::fd::OwnedFd;

use stdx::{Context as _, Result};
use sys::command::{Child, Program, Spawn};

/// A started shim. It waits for [`Request::Create`](crate::protocol::Request::Create) and ends when the connection is
/// closed before that came.
#[derive(Debug)]
pub struct Launched {
    /// The daemon's end of the connection; blocking, closed on exec.
    pub socket: OwnedFd,
    /// The shim, a child of ours until we end: whoever launches it waits for it, or it stays behind as a zombie.
    pub child: Child,
}

/// Starts a shim for the container `id`, which is only told to whoever reads the process list.
///
/// The shim has its end of the connection as its standard input, `log` (or `/dev/null`) as standard output and error,
/// no other descriptor of ours, no environment but the failpoints, and leaves our session by itself. Nothing ties it
/// to our life: no parent-death signal, because that would fire when the calling *thread* ends.
pub fn launch(shim: &Program, id: &str, log: Option<OwnedFd>) -> Result<Launched> {
    let (ours, theirs) = sys::scm::pair().context(|| "socket for shim")?;
    let mut spawn = Spawn::new(shim).name("gantry-shim").arg(id).stdin(theirs);
    spawn = spawn.inherit_env(stdx::failpoint::ENV);
    if let Some(log) = log {
        let copy = log.try_clone().context(|| "log descriptor for shim")?;
        spawn = spawn.stdout(copy).stderr(log);
    }
    let child = spawn.spawn().context(|| format!("start shim of container {id}"))?;
    Ok(Launched { socket: ours, child })
}
