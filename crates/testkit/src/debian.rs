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

/// What an application is made of: a web server, a cache, a database and a shell, with the libraries that they link.
const STACK_PACKAGES: &[&str] =
    &["busybox-static", "nginx", "redis-server", "redis-tools", "postgresql-15"];

/// The programs, by their places in the packages; what else they need follows from `ld.so`.
const STACK_PROGRAMS: &str = "usr/sbin/nginx usr/bin/redis-server usr/bin/redis-cli \
    usr/lib/postgresql/15/bin/postgres usr/lib/postgresql/15/bin/initdb usr/lib/postgresql/15/bin/pg_isready \
    usr/lib/postgresql/15/bin/psql usr/lib/postgresql/15/lib/plpgsql.so usr/lib/postgresql/15/lib/dict_snowball.so";

/// Run by `mmdebstrap` with the unpacked packages: puts together in `.kept` what is wanted of them, as a tar file.
const STACK: &str = r#"
set -eu
cd "$1"
mkdir .kept
keep() { mkdir -p ".kept/$(dirname "$1")"; cp -L "$1" ".kept/$1"; }
for program in $STACK_PROGRAMS; do
    keep "$program"
    for library in $(chroot . /lib64/ld-linux-x86-64.so.2 --list "/$program" 2>/dev/null |
        sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\).*/\1/p' | sort -u)
    do
        [ -e ".kept$library" ] || keep "${library#/}"
    done
done
keep lib64/ld-linux-x86-64.so.2
keep bin/busybox
mkdir -p .kept/usr/share/postgresql
cp -a usr/share/postgresql/15 .kept/usr/share/postgresql/
cd .kept
mkdir -p sbin usr/local/bin etc dev proc sys run root tmp var/tmp var/log/nginx var/lib/nginx var/lib/postgresql/data
chmod 1777 tmp var/tmp run
chroot . /bin/busybox --install -s /bin
ln -s ../lib/postgresql/15/bin/initdb ../lib/postgresql/15/bin/postgres ../lib/postgresql/15/bin/psql \
    ../lib/postgresql/15/bin/pg_isready usr/bin/
printf 'root:x:0:0::/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >etc/passwd
printf 'root:x:0:\npostgres:x:70:\nnogroup:x:65534:\n' >etc/group
chown -R 70:70 var/lib/postgresql
chmod 700 var/lib/postgresql/data
tar --sort=name --mtime=2024-01-02T03:04:05Z -cf "$STACK_FILE" .
"#;

/// An image `stack:latest` with nginx, Redis, PostgreSQL 15 and a shell of Debian 12, made on the first call.
///
/// `Err` when `mmdebstrap` is missing or cannot reach a mirror.
pub fn stack() -> Result<PathBuf, String> {
    let file = images::folder().join("stack-image.tar");
    if file.exists() {
        return Ok(file);
    }
    if need::find("mmdebstrap").is_none() {
        return Err("needs mmdebstrap (Debian's package of that name)".to_owned());
    }
    let work = tempfile::tempdir_in(images::folder()).map_err(|e| e.to_string())?;
    let tree = work.path().join("tree.tar");
    let hook = work.path().join("hook");
    std::fs::write(&hook, format!("#!/bin/sh{STACK}")).map_err(|e| e.to_string())?;
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=extract", "--format=null"])
        .arg(format!("--include={}", STACK_PACKAGES.join(",")))
        .arg(format!("--extract-hook=sh {} \"$1\"", hook.display()))
        .arg("bookworm")
        .env("STACK_PROGRAMS", STACK_PROGRAMS)
        .env("STACK_FILE", &tree);
    let output = Running::start(command, None).end(Duration::from_secs(900));
    if output.code != 0 {
        let why = output.stderr.lines().last().unwrap_or_default().to_owned();
        return Err(format!("mmdebstrap failed: {why}"));
    }
    let config = serde_json::json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["sh"],
    });
    images::wrap(&tree, "stack", &config, &file);
    Ok(file)
}
