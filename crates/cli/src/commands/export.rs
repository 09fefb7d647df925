//! `export`

use super::cp::{check_output, copy, refuse_terminal};
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
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
    let failed = |f: Failure| Failure::new(format!("failed to export container: {f}"));
    check_output(output).map_err(failed)?;
    let mut body = app.client()?.export_container(name).await?;
    // Renamed into place when it is whole: half an archive is never taken for one.
    let partial = Partial::new(Path::new(output))?;
    copy(&mut body, &mut std::fs::File::create(&partial.path)?).await?;
    std::fs::rename(&partial.path, output)?;
    Ok(0)
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
