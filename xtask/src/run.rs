//! `run IMAGE [ARG…]`: the thirty-second try.

use crate::{build, sh};
use anyhow::{Context as _, Result, bail};
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn task(args: &[String]) -> Result<ExitCode> {
    if args.is_empty() {
        bail!("usage: cargo xtask run IMAGE [ARG…], as in: cargo xtask run hello-world");
    }
    build::build()?;
    let socket = daemon()?;
    let status = Command::new(sh::programs().join("gantry"))
        .arg("-H")
        .arg(format!("unix://{}", socket.display()))
        .args(["run", "--rm"])
        .args(args)
        .status()
        .context("run gantry")?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

/// A private daemon below `target/`; started if it does not answer. It stays for the next call.
fn daemon() -> Result<PathBuf> {
    let home = sh::root().join("target/private");
    let socket = home.join("gantryd.sock");
    if UnixStream::connect(&socket).is_ok() {
        return Ok(socket);
    }
    std::fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let log_path = home.join("gantryd.log");
    let log = std::fs::File::create(&log_path)
        .with_context(|| format!("create {}", log_path.display()))?;
    let mut daemon = Command::new(sh::programs().join("gantryd"));
    daemon
        .arg("-H")
        .arg(format!("unix://{}", socket.display()))
        .arg("--data-root")
        .arg(home.join("data"))
        .arg("--exec-root")
        .arg(home.join("exec"))
        .arg("--pidfile")
        .arg(home.join("gantryd.pid"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let mut child = daemon.spawn().context("start gantryd")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(&socket).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("gantryd ended ({status}): {}", tail(&log_path));
        }
        if Instant::now() > deadline {
            bail!("gantryd does not answer: {}", tail(&log_path));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(socket)
}

fn tail(path: &Path) -> String {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    if read.is_err() {
        return String::new();
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
