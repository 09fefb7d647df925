//! SIGUSR1: what the daemon is doing, written to a file, as dockerd writes the stacks of its goroutines.
//!
//! It has a thread and a runtime of its own, because it is asked for when the daemon's seem to stand still.

use engine::Engine;
use server::Activity;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use stdx::fs::{Durability, replace};
use stdx::time::Timestamp;
use stdx::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Watches for the signal for as long as the process lives.
pub(crate) fn watch(engine: Engine, activity: Activity, folder: PathBuf) -> Result<()> {
    let main = tokio::runtime::Handle::current();
    let own = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context(|| "start the runtime for SIGUSR1")?;
    let mut asked = {
        let _inside = own.enter();
        signal(SignalKind::user_defined1()).context(|| "watch SIGUSR1")?
    };
    let answer = move || {
        own.block_on(async {
            while asked.recv().await.is_some() {
                let text = describe(&engine, &activity, &main);
                match write(&folder, &text) {
                    Ok(path) => {
                        tracing::info!("state of the daemon written to {}", path.display());
                    }
                    Err(e) => tracing::error!("write the state of the daemon: {e}\n{text}"),
                }
            }
        });
    };
    let thread = std::thread::Builder::new().name("gantryd-dump".to_owned());
    let _detached = thread.spawn(answer).context(|| "start the thread for SIGUSR1")?;
    Ok(())
}

fn write(folder: &Path, text: &str) -> Result<PathBuf> {
    let now: String = Timestamp::now().to_string().chars().filter(|c| *c != ':').collect();
    let path = folder.join(format!("gantryd-state-{now}.log"));
    replace(&path, text.as_bytes(), 0o600, Durability::Process)?;
    Ok(path)
}

fn describe(engine: &Engine, activity: &Activity, main: &tokio::runtime::Handle) -> String {
    let metrics = main.metrics();
    let mut text = format!(
        "gantryd {} at {}: {} tasks, {} of them waiting for a worker, {} workers\n",
        std::process::id(),
        Timestamp::now(),
        metrics.num_alive_tasks(),
        metrics.global_queue_depth(),
        metrics.num_workers(),
    );
    let mut chapter = |name: &str, lines: Vec<String>| {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "\n{name} ({}):", lines.len());
        for line in lines {
            let _written = writeln!(text, "  {line}");
        }
    };
    chapter("threads", threads());
    chapter("requests being answered", activity.running());
    chapter("containers", engine.state_of_containers());
    chapter("descriptors", descriptors());
    text
}

/// Every thread: its name, its state, what it waits for in the kernel, its system call.
fn threads() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let line = |entry: std::fs::DirEntry| {
        let read = |name: &str| {
            let text = std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        let stat = read("stat");
        let state =
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.get(..1)).unwrap_or("?").to_owned();
        let call = read("syscall");
        let call = call.split(' ').next().unwrap_or_default();
        format!(
            "{} {} state={state} wchan={} syscall={call}",
            entry.file_name().to_string_lossy(),
            read("comm"),
            read("wchan"),
        )
    };
    entries.flatten().map(line).collect()
}

/// How many descriptors there are of each kind; files by their names.
fn descriptors() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries.flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let kind = match target.split_once(":[") {
            Some((kind, _)) => kind.to_owned(),
            None => target.into_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds.into_iter().map(|(kind, count)| format!("{count} × {kind}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let named = std::thread::Builder::new().name("described".to_owned());
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let (ready, named_itself) = std::sync::mpsc::channel::<()>();
        let waiting = named
            .spawn(move || {
                let _here = ready.send(());
                wait.recv()
            })
            .unwrap();
        named_itself.recv().unwrap();
        assert!(threads().iter().any(|line| line.contains(" described state=")), "{:?}", threads());
        drop(stop);
        let _disconnected = waiting.join().unwrap();
        assert!(descriptors().iter().any(|line| line.contains(" × ")), "{:?}", descriptors());
    }
}
