//! Images of Debian packages: what users really run, made with `mmdebstrap` and kept in `target/images`.

use crate::process::Running;
use crate::{images, need};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A root file system as a tar file with these packages on top of a minimal Debian 12, made on the first call.
///
/// `Err` when `mmdebstrap` is missing or cannot reach a mirror.
pub fn tree(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let file = images::folder().join(format!("{name}.tar"));
    if file.exists() {
        return Ok(file);
    }
    if need::find("mmdebstrap").is_none() {
        return Err("needs mmdebstrap (Debian's package of that name)".to_owned());
    }
    let new = images::folder().join(format!(".{name}.{}.tar", std::process::id()));
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=essential", "--format=tar"]);
    if !packages.is_empty() {
        command.arg(format!("--include={}", packages.join(",")));
    }
    command.arg("bookworm").arg(&new);
    let output = Running::start(command, None).end(Duration::from_secs(900));
    if output.code != 0 {
        drop(std::fs::remove_file(&new));
        return Err(format!(
            "mmdebstrap failed: {}",
            output.stderr.lines().last().unwrap_or_default()
        ));
    }
    std::fs::rename(&new, &file).map_err(|e| e.to_string())?;
    Ok(file)
}

/// A Debian image with Python 3 as a docker-archive named `python:latest`.
pub fn python() -> Result<PathBuf, String> {
    let file = images::folder().join("python-image.tar");
    if !file.exists() {
        let tree = tree("python", &["python3-minimal", "libpython3-stdlib"])?;
        images::wrap(
            &tree,
            "python",
            &serde_json::json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["python3"]}),
            &file,
        );
    }
    Ok(file)
}
