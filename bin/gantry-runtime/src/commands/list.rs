//! `list` and `ps`.

use serde_json::json;
use stdx::{Context as _, Error, Kind, Result};

use crate::args::Global;
use crate::state::{self, Dir, Record, Status};

/// Prints all containers of the root.
pub(crate) fn list(global: &Global, quiet: bool, json: bool) -> Result<()> {
    let all = all(global)?;
    if quiet {
        all.iter().for_each(|(record, _)| println!("{}", record.id));
        return Ok(());
    }
    if json {
        let list: Vec<_> =
            all.iter().map(|(record, status)| state::describe(record, *status)).collect();
        // Go's nothing.
        println!("{}", if list.is_empty() { json!(null) } else { json!(list) });
        return Ok(());
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(all.iter().map(|(record, status)| {
        let pid = if *status == Status::Stopped { 0 } else { record.pid };
        [
            record.id.clone(),
            pid.to_string(),
            status.word().to_owned(),
            record.bundle.display().to_string(),
            record.created.clone(),
            state::OWNER.to_owned(),
        ]
    }));
    print!("{}", table(&rows));
    Ok(())
}

/// Prints a container's processes: their numbers, or as the host's ps shows them.
pub(crate) fn ps(global: &Global, id: &str, as_json: bool, args: &[String]) -> Result<()> {
    let record = Dir::of(&global.root, id)?.load()?;
    let pids = state::group(&record)?.pids()?;
    if as_json {
        println!("{}", json!(pids));
        return Ok(());
    }
    let standard = ["-ef".to_owned()];
    let text = run_ps(if args.is_empty() { &standard } else { args })?;
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| Error::invalid("couldn't find PID field in ps output"))?;
    println!("{title}");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse::<u32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            println!("{line}");
        }
    }
    Ok(())
}

fn all(global: &Global) -> Result<Vec<(Record, Status)>> {
    let doing = || format!("read {}", global.root.display());
    let entries = match std::fs::read_dir(&global.root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(doing)?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.context(doing)?;
        let Some(dir) = entry.file_name().to_str().and_then(|id| Dir::of(&global.root, id).ok())
        else {
            continue;
        };
        // Half made or just removed.
        let Ok(record) = dir.load() else { continue };
        let status = dir.status(&record);
        all.push((record, status));
    }
    all.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    Ok(all)
}

/// Columns of at least twelve, as wide as their longest cell and a space.
fn table(rows: &[[String; 6]]) -> String {
    let mut widths = [11; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        for (at, (width, cell)) in widths.iter().zip(row).enumerate() {
            text.push_str(cell);
            if at + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', width + 1 - cell.len()));
            }
        }
        text.push('\n');
    }
    text
}

/// What the host's own ps says.
fn run_ps(args: &[String]) -> Result<String> {
    use std::io::Read as _;
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    let program = std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .find_map(|dir| sys::command::Program::open(&dir.join("ps")).ok());
    let program = program.ok_or_else(|| {
        Error::not_found("there is no ps program: use --format json for process ids alone")
    })?;
    let (mut output, end) = std::io::pipe().context(|| "make a pipe")?;
    let errors = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)
        .map_err(std::io::Error::from)
        .context(|| "duplicate standard error")?;
    let mut spawn = sys::command::Spawn::new(&program).stdout(end.into()).stderr(errors);
    spawn = spawn.inherit_env("LANG").inherit_env("COLUMNS").env("PATH", &path);
    for arg in args {
        spawn = spawn.arg(arg);
    }
    let mut child = spawn.spawn().context(|| "run ps")?;
    let mut text = Vec::new();
    output.read_to_end(&mut text).context(|| "read what ps says")?;
    if !child.wait().context(|| "wait for ps")?.success() {
        return Err(Error::new(Kind::InvalidArgument, "ps failed"));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_runcs() {
        let row = |cells: [&str; 6]| cells.map(str::to_owned);
        let rows = [
            row(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]),
            row(["x", "12", "running", "/a/rather/long/path", "now", "root"]),
        ];
        assert_eq!(
            table(&rows),
            "ID          PID         STATUS      BUNDLE              CREATED     OWNER\n\
             x           12          running     /a/rather/long/path now         root\n"
        );
    }
}
