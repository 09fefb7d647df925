//! `export`

use super::cp::{copy, refuse_terminal};
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "export",
    aliases: &[],
    top: "export",
    arguments: "[OPTIONS] CONTAINER",
    about: "Export a container's filesystem as a tar archive",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[Flag::text("output", "Write to a file, instead of STDOUT").short('o')]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let name = matches.arguments.first().map(String::as_str).unwrap_or_default();
    let Some(output) = matches.get("output").filter(|path| !path.is_empty()) else {
        refuse_terminal()?;
        let mut body = app.client()?.export_container(name).await?;
        copy(&mut body, &mut std::io::stdout().lock()).await?;
        return Ok(0);
    };
    check_output(Path::new(output))
        .map_err(|why| Failure::new(format!("failed to export container: {why}")))?;
    let mut body = app.client()?.export_container(name).await?;
    // Renamed into place when it is whole: half an archive is never taken for one.
    let partial = Partial::new(Path::new(output))?;
    copy(&mut body, &mut std::fs::File::create(&partial.path)?).await?;
    std::fs::rename(&partial.path, output)?;
    Ok(0)
}

/// Says why a file cannot be put there, before anything is asked for.
fn check_output(path: &Path) -> Result<(), String> {
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty())
        && let Err(e) = std::fs::metadata(above)
    {
        let why = match e.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            _ => e.to_string(),
        };
        return Err(format!("invalid output path: stat {}: {why}", above.display()));
    }
    match std::fs::metadata(path).map(|found| found.file_type()) {
        Ok(kind) if kind.is_dir() => Err("cannot write to a directory".to_owned()),
        Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
            Err("cannot write to a device".to_owned())
        }
        _ => Ok(()),
    }
}

/// A file beside its final place, gone with this value unless it was renamed.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn new(output: &Path) -> Result<Self> {
        let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!(".{name}.{}.partial", std::process::id());
        Ok(Self { path: output.with_file_name(name) })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _renamed = std::fs::remove_file(&self.path);
    }
}
