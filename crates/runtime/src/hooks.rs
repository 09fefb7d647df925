//! Programs of the host that the specification has run at fixed points of a container's life.
//!
//! Each gets the container's state as a file on its standard input and nothing else of ours: no descriptors, no
//! environment but its own. What it says is shown when it fails.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use oci::runtime::{Hook, Hooks, Spec};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::process::{WaitId, WaitIdOptions};
use sys::clone::{Clone3, Cloned};

use crate::error::{Error, Result, Step as _};

/// Whose hooks and agents they are: what a state document says beside the process.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its bundle, absolute.
    pub bundle: &'a Path,
}

/// Where a container is in its life, in the specification's words (runtime-spec, `runtime.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits for its start.
    Created,
    /// Its program runs.
    Running,
    /// Its process has ended.
    Stopped,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

/// The state document that hooks and seccomp agents get.
pub fn state(who: Who<'_>, spec: &Spec, pid: i32, status: Status) -> serde_json::Value {
    let mut document = serde_json::json!({
        "ociVersion": spec.oci_version,
        "id": who.id,
        "status": status.word(),
        "bundle": who.bundle,
    });
    if status != Status::Stopped {
        document["pid"] = pid.into();
    }
    if !spec.annotations.is_empty() {
        document["annotations"] = serde_json::json!(spec.annotations);
    }
    document
}

/// Runs hooks one after the other, up to the first that fails. `kind` is their name in the specification.
///
/// The calling process must be single-threaded.
pub fn run_hooks(kind: &str, hooks: &[Hook], state: &serde_json::Value) -> Result<()> {
    hooks.iter().enumerate().try_for_each(|(number, hook)| {
        let failed =
            |why: String| Error::Hook(format!("error running {kind} hook #{number}: {why}"));
        run(hook, state)
            .map_err(|error| failed(error.to_string()))?
            .map_or(Ok(()), |why| Err(failed(why)))
    })
}

/// Refuses hooks that cannot be run whatever happens.
pub(crate) fn check(hooks: &Hooks) -> Result<()> {
    let all = [
        &hooks.prestart,
        &hooks.create_runtime,
        &hooks.create_container,
        &hooks.start_container,
        &hooks.poststart,
        &hooks.poststop,
    ];
    for hook in all.into_iter().flatten() {
        if !hook.path.is_absolute() {
            return Err(Error::Invalid(format!(
                "hook path {} is not absolute",
                hook.path.display()
            )));
        }
        if hook.timeout.is_some_and(|t| t <= 0) {
            return Err(Error::Invalid(format!(
                "hook {}: the timeout must be greater than zero",
                hook.path.display()
            )));
        }
    }
    Ok(())
}

/// Runs one; why it failed, if it did.
fn run(hook: &Hook, state: &serde_json::Value) -> Result<Option<String>> {
    let string = |text: &[u8]| {
        CString::new(text).map_err(|_| Error::Invalid("it has a NUL byte".to_owned()))
    };
    let path = string(hook.path.as_os_str().as_bytes())?;
    let mut args = hook.args.iter().map(|a| string(a.as_bytes())).collect::<Result<Vec<_>>>()?;
    if args.is_empty() {
        args.push(path.clone());
    }
    let env = hook.env.iter().map(|e| string(e.as_bytes())).collect::<Result<Vec<_>>>()?;
    let input = document(state).step(|| "write the state")?;
    let (output, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .step(|| "make a pipe for the output")?;
    let pidfd = match sys::clone::clone3(Clone3::default()).step(|| "clone")? {
        Cloned::Child => become_hook(&path, &args, &env, &input, &end),
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    drop(end);
    let deadline = hook
        .timeout
        .and_then(|t| u64::try_from(t).ok())
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let said = listen(&pidfd, &output, deadline)?;
    let Some(said) = said else {
        // With it whatever it started: it leads a session.
        let _gone = sys::process::signal(&pidfd, 9);
        reap(&pidfd)?;
        let seconds = hook.timeout.unwrap_or(0);
        return Ok(Some(format!("hook ran past specified timeout of {seconds}s")));
    };
    let status = reap(&pidfd)?;
    let how = match (status.0, status.1) {
        (Some(0), _) => return Ok(None),
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal: {}", signal.unwrap_or(0)),
    };
    Ok(Some(format!("{how}, output: {}", String::from_utf8_lossy(&said).trim_end())))
}

/// A file that nobody else has, with the state in it: a hook may read it, seek in it, or open it again.
fn document(state: &serde_json::Value) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"state", rustix::fs::MemfdFlags::CLOEXEC)?;
    let text = state.to_string();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let n = rustix::io::write(&file, rest)?;
        rest = &rest[n..];
    }
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    Ok(file)
}

fn become_hook(
    path: &CString,
    args: &[CString],
    env: &[CString],
    input: &OwnedFd,
    output: &OwnedFd,
) -> ! {
    sys::process::reset_signals();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let ready = || -> io::Result<()> {
        rustix::process::setsid()?;
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(output)?;
        sys::process::close_on_exec_from(3)
    };
    let error = match ready() {
        Ok(()) => sys::process::exec(path, args, env),
        Err(error) => error,
    };
    let text = format!("{}: {}", path.to_string_lossy(), crate::error::words(&error));
    let _told = rustix::io::write(output, text.as_bytes());
    sys::process::exit_now(127)
}

/// The last of what it says until it ends; `None` when the time is over before.
fn listen(
    process: &OwnedFd,
    output: &OwnedFd,
    deadline: Option<Instant>,
) -> Result<Option<Vec<u8>>> {
    /// Error texts are short.
    const MOST: usize = 2048;
    let flags = rustix::fs::fcntl_getfl(output).step(|| "look at the output")?;
    rustix::fs::fcntl_setfl(output, flags | OFlags::NONBLOCK).step(|| "look at the output")?;
    let (mut said, mut buffer, mut open) = (Vec::new(), [0_u8; 4096], true);
    let mut drain = |said: &mut Vec<u8>| loop {
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => break false,
            Ok(n) => {
                said.extend_from_slice(&buffer[..n]);
                said.drain(..said.len().saturating_sub(MOST));
            }
            Err(_) => break true,
        }
    };
    loop {
        let left = match deadline.map(|d| d.checked_duration_since(Instant::now())) {
            None => None,
            Some(None) => return Ok(None),
            Some(Some(left)) => Some(Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }),
        };
        let wanted = if open { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = [PollFd::new(process, PollFlags::IN), PollFd::new(output, wanted)];
        // A pipe whose writers have gone is told again and again; it is left out then.
        let count = if open { 2 } else { 1 };
        match rustix::event::poll(&mut fds[..count], left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result.step(|| "wait for it")?,
        };
        let ended = !fds[0].revents().is_empty();
        if open {
            open = drain(&mut said);
        }
        if ended {
            return Ok(Some(said));
        }
    }
}

/// Its exit code or the signal that ended it.
fn reap(pidfd: &OwnedFd) -> Result<(Option<i32>, Option<i32>)> {
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    })
    .step(|| "wait for it")?;
    Ok(status.map_or((None, None), |s| (s.exit_status(), s.terminating_signal())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_the_specifications() {
        let spec = Spec { oci_version: "1.2.0".into(), ..Spec::default() };
        let who = Who { id: "x", bundle: Path::new("/b") };
        assert_eq!(
            state(who, &spec, 7, Status::Creating).to_string(),
            r#"{"bundle":"/b","id":"x","ociVersion":"1.2.0","pid":7,"status":"creating"}"#
        );
        assert_eq!(
            state(who, &spec, 7, Status::Stopped).to_string(),
            r#"{"bundle":"/b","id":"x","ociVersion":"1.2.0","status":"stopped"}"#
        );
    }

    #[test]
    fn bad_hooks_are_refused() {
        let hooks = |hook: Hook| Hooks { poststop: vec![hook], ..Hooks::default() };
        let hook = |path: &str, timeout| Hook { path: path.into(), timeout, ..Hook::default() };
        assert!(check(&hooks(hook("/a", Some(1)))).is_ok());
        assert!(check(&hooks(hook("a", None))).unwrap_err().to_string().contains("not absolute"));
        assert!(check(&hooks(hook("/a", Some(0)))).unwrap_err().to_string().contains("timeout"));
    }
}
