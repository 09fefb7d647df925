//! `peers`: the reference that Gantry is compared with, unpacked into `target/peers` beside the system.
//!
//! dockerd 26.1 with its client, Compose, buildx, containerd and crun come out of Debian 13's packages, runc out of the
//! machine's own release (13's wants a newer libseccomp). Packages come from the mirror that the machine's own apt uses,
//! into an apt root of our own, so that neither the system's packages nor its lists change.

use crate::sh;
use anyhow::{Context as _, Result, bail};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Part of what is remembered as done: change it when what is unpacked changes.
const EDITION: &str = "3";
const RELEASE: &str = "trixie";
const PACKAGES: [&str; 13] = [
    "docker.io",
    "docker-cli",
    "docker-compose",
    "docker-buildx",
    "containerd",
    "crun",
    "tini",
    // What crun is linked to: the system's C library is older.
    "libc6",
    "libcap2",
    "libseccomp2",
    "libyajl2",
    "libsystemd0",
    "libgcc-s1",
];
/// Compose 1.29 and the modules that it needs, of the machine's own release: its Python runs them.
const COMPOSE: [&str; 20] = [
    "docker-compose",
    "python3-attr",
    "python3-certifi",
    "python3-chardet",
    "python3-charset-normalizer",
    "python3-distro",
    "python3-distutils",
    "python3-docker",
    "python3-dockerpty",
    "python3-docopt",
    "python3-dotenv",
    "python3-idna",
    "python3-jsonschema",
    "python3-pyrsistent",
    "python3-requests",
    "python3-six",
    "python3-texttable",
    "python3-urllib3",
    "python3-websocket",
    "python3-yaml",
];
const PROGRAMS: [&str; 6] =
    ["dockerd", "docker", "docker-proxy", "containerd", "containerd-shim-runc-v2", "ctr"];
const PLUGINS: [&str; 2] = ["docker-compose", "docker-buildx"];

pub(crate) fn task(_: &[String]) -> Result<ExitCode> {
    match fetch() {
        Ok(()) => {
            versions()?;
            Ok(ExitCode::SUCCESS)
        }
        Err(e) => {
            eprintln!("xtask peers: the reference cannot be had: {e:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Where the peers are kept.
pub(crate) fn folder() -> PathBuf {
    sh::root().join("target/peers")
}

/// Fetches and unpacks what is not there. Why it cannot be had is left in `target/peers/missing` for the tests.
pub(crate) fn fetch() -> Result<()> {
    let done = folder().join("done");
    // Links and crun's loader name the folder: one that was moved here is made anew.
    let edition = format!("{EDITION} in {}", folder().display());
    if std::fs::read_to_string(&done).is_ok_and(|made| made == edition) {
        return Ok(());
    }
    std::fs::create_dir_all(folder()).context("make target/peers")?;
    let missing = folder().join("missing");
    match unpack() {
        Ok(()) => {
            let _none = std::fs::remove_file(missing);
            std::fs::write(done, edition).context("remember that it is done")
        }
        Err(e) => {
            std::fs::write(missing, format!("{e:#}\n")).context("remember why not")?;
            Err(e)
        }
    }
}

fn unpack() -> Result<()> {
    for program in ["apt-get", "dpkg"] {
        if !sh::have(program) {
            bail!("this is no Debian machine: there is no {program}");
        }
    }
    let [bin, tree, deb, own, plugins] =
        ["bin", "tree", "deb", "own", "cli-plugins"].map(|name| folder().join(name));
    for folder in [&bin, &tree, &deb, &own, &plugins] {
        // What an interrupted call left is made anew.
        let _none = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    download(&deb)?;
    for package in files(&deb)? {
        extract(&package, &tree)?;
    }
    for name in PROGRAMS {
        let file = find(&tree, name).with_context(|| format!("no {name} in the packages"))?;
        symlink(&file, bin.join(name)).with_context(|| format!("link {name}"))?;
    }
    if let Some(init) = find(&tree, "tini-static") {
        symlink(init, bin.join("docker-init")).context("link docker-init")?;
    }
    for name in PLUGINS {
        let file = find(&tree, name).with_context(|| format!("no {name} in the packages"))?;
        symlink(&file, plugins.join(name)).with_context(|| format!("link {name}"))?;
    }
    runc(&own, &bin)?;
    if let Err(e) = compose() {
        println!("Compose 1.29 is left out: {e:#}");
    }
    crun(&tree, &bin)
}

/// Compose 1.29, which releases after Debian 12 no longer have.
fn compose() -> Result<()> {
    let [packages, tree] = ["compose-1/deb", "compose-1/tree"].map(|name| folder().join(name));
    for folder in [&packages, &tree] {
        let _none = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let mut args = vec!["download", "-qq"];
    args.extend(COMPOSE);
    if apt(&args, None, &packages).is_err() {
        apt(&["update", "-qq"], None, &packages)?;
        apt(&args, None, &packages)?;
    }
    for package in files(&packages)? {
        extract(&package, &tree)?;
    }
    let program = tree.join("usr/bin/docker-compose");
    let version = std::fs::read_dir(tree.join("usr/lib/python3/dist-packages"))
        .context("list the modules")?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("docker_compose-1."));
    if program.is_file() && version {
        return Ok(());
    }
    let _other = std::fs::remove_dir_all(&tree);
    bail!("this release has another Compose")
}

/// Downloads Debian 13's packages with an apt root of our own.
fn download(to: &Path) -> Result<()> {
    let root = folder().join("apt");
    for folder in [
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "etc/apt/sources.list.d",
        "var/lib/dpkg",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
    ] {
        std::fs::create_dir_all(root.join(folder)).context("make an apt root")?;
    }
    std::fs::write(root.join("var/lib/dpkg/status"), "").context("make an apt root")?;
    let (mirror, signed_by) = mirror()?;
    let source = format!("deb [{signed_by}] {mirror} {RELEASE} main\n");
    std::fs::write(root.join("etc/apt/sources.list"), source).context("make an apt root")?;
    let architecture = sh::output("dpkg", &["--print-architecture"])?;
    let config = root.join("apt.conf");
    let text = format!(
        "Dir \"{}\";\nDir::State::status \"{}\";\nDir::Etc::Trusted \"/etc/apt/trusted.gpg\";\n\
         Dir::Etc::TrustedParts \"/etc/apt/trusted.gpg.d\";\nAPT::Architecture \"{}\";\nAPT::Sandbox::User \"root\";\n",
        root.display(),
        root.join("var/lib/dpkg/status").display(),
        architecture.trim()
    );
    std::fs::write(&config, text).context("make an apt root")?;
    apt(&["update", "-qq"], Some(&config), to)?;
    let mut args = vec!["download", "-qq"];
    args.extend(PACKAGES);
    apt(&args, Some(&config), to)
}

/// The Debian mirror that the machine's own apt uses, and how its packages are signed.
fn mirror() -> Result<(String, String)> {
    let targets = sh::output(
        "apt-get",
        &[
            "indextargets",
            "--format",
            "$(SITE) $(CODENAME) $(SIGNED_BY)",
            "Created-By: Packages",
            "Component: main",
        ],
    )?;
    // Debian's own suites have Debian's keyring; the release before 13 is among them on the machines that build here.
    let line = targets
        .lines()
        .find(|l| l.contains("/debian") && !l.contains("security"))
        .or_else(|| targets.lines().next())
        .context("apt knows no sources with a component main")?;
    let mut fields = line.split_whitespace();
    let site = fields.next().unwrap_or_default().trim_end_matches('/').to_owned();
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let signed_by = match fields.nth(1) {
        Some(path) if path.starts_with('/') => format!("signed-by={path}"),
        _ if Path::new(keyring).exists() => format!("signed-by={keyring}"),
        _ => bail!("there is no Debian archive keyring (package debian-archive-keyring)"),
    };
    Ok((site, signed_by))
}

/// runc as the machine has it, or out of its own release's package.
fn runc(own: &Path, bin: &Path) -> Result<()> {
    if let Some(path) = ["/usr/sbin/runc", "/usr/bin/runc"].iter().find(|p| Path::new(p).exists()) {
        return symlink(path, bin.join("runc")).context("link runc");
    }
    if apt(&["download", "-qq", "runc"], None, own).is_err() {
        apt(&["update", "-qq"], None, own)?;
        apt(&["download", "-qq", "runc"], None, own)?;
    }
    let package = files(own)?.into_iter().next().context("apt downloaded no runc")?;
    let tree = folder().join("tree-own");
    extract(&package, &tree)?;
    let file = find(&tree, "runc").context("no runc in its package")?;
    symlink(file, bin.join("runc")).context("link runc")
}

/// crun with the C library that it was built for. Without patchelf it is left out: only the benchmarks want it.
fn crun(tree: &Path, bin: &Path) -> Result<()> {
    let (Some(program), Some(libc), Some(loader)) =
        (find(tree, "crun"), find(tree, "libc.so.6"), find_start(tree, "ld-linux-"))
    else {
        return Ok(());
    };
    if !sh::have("patchelf") {
        let quiet = std::process::Stdio::null;
        let mut install = sh::command(
            "apt-get",
            &["install", "-y", "-qq", "--no-install-recommends", "patchelf"],
        );
        let _tried = install
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(quiet())
            .stderr(quiet())
            .status();
    }
    if !sh::have("patchelf") {
        println!("crun is left out: Debian's package patchelf is not there");
        return Ok(());
    }
    let own = bin.join("crun");
    std::fs::copy(program, &own).context("copy crun")?;
    let libraries = libc.parent().unwrap_or(tree).display().to_string();
    let loader = loader.display().to_string();
    let args = [
        "--set-interpreter",
        &loader,
        "--force-rpath",
        "--set-rpath",
        &libraries,
        &own.display().to_string(),
    ];
    sh::run("patchelf", &args)
}

fn versions() -> Result<()> {
    let bin = folder().join("bin");
    for name in ["dockerd", "docker", "containerd", "runc", "crun"] {
        let path = bin.join(name);
        if path.exists() {
            let text = sh::output(&path.display().to_string(), &["--version"])?;
            println!("{}", text.lines().next().unwrap_or_default());
        }
    }
    for name in PLUGINS {
        let text = sh::output(
            &folder().join("cli-plugins").join(name).display().to_string(),
            &["version"],
        )?;
        println!("{}", text.lines().next().unwrap_or_default());
    }
    println!("in {}", bin.display());
    Ok(())
}

fn apt(args: &[&str], config: Option<&Path>, folder: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    // Downloading as root into a folder that apt's own user cannot write is meant.
    command.args(["-o", "APT::Sandbox::User=root"]).args(args).current_dir(folder);
    if let Some(config) = config {
        command.env("APT_CONFIG", config);
    }
    let output = command.output().context("run apt-get")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("apt-get {} failed: {}", args[0], said.lines().next().unwrap_or("it said nothing"));
    }
    Ok(())
}

fn extract(package: &Path, tree: &Path) -> Result<()> {
    sh::run("dpkg", &["-x", &package.display().to_string(), &tree.display().to_string()])
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    Ok(entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "deb"))
        .collect())
}

/// The regular file of this name below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    walk(folder, &|file| file == name)
}

fn find_start(folder: &Path, start: &str) -> Option<PathBuf> {
    walk(folder, &|file| file.starts_with(start))
}

fn walk(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    // Folders of data hold start scripts and completions of the same names.
    let skipped = ["etc", "share"];
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let (path, kind) = (entry.path(), entry.file_type().ok()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !skipped.contains(&name.as_str()) {
            if let Some(found) = walk(&path, wanted) {
                return Some(found);
            }
        } else if kind.is_file() && wanted(&name) {
            return Some(path);
        }
    }
    None
}
