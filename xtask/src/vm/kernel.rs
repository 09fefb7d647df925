//! The machine's kernel: Debian's own, as a package has it, cut into what qemu starts and what the machine loads.
//!
//! Started as a compressed `bzImage` it would unpack itself on an emulated processor, which takes longer than all the rest
//! of its start; so the kernel proper is unpacked here, once.

use super::{cpio::Archive, place};
use crate::sh;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Depends on the newest kernel for virtual machines: without drivers of real hardware, hence small.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// Modules that the tests need; those they depend on are found in them.
const MODULES: [&str; 29] = [
    "virtio_pci",
    "virtio_blk",
    "overlay",
    "loop",
    "zram",
    "lzo_rle",
    "bfq",
    "tun",
    "veth",
    "bridge",
    "br_netfilter",
    "macvlan",
    "ipvlan",
    "8021q",
    "dummy",
    "sctp",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_ct",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_chain_nat",
    "nft_fib_inet",
    "nft_meta_bridge",
    "nft_reject_inet",
    "nft_limit",
    "nft_dup_ipv4",
    "nft_dup_ipv6",
];

/// What the machine is started with.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The kernel proper, an ELF file.
    pub(super) image: PathBuf,
    /// Modules and the first script.
    pub(super) first: PathBuf,
    /// As `uname -r` says it.
    pub(super) release: String,
}

/// Fetches and unpacks it, unless that is done.
pub(super) fn kernel() -> Result<Kernel> {
    let [image, first, release] = ["vmlinux", "first.cpio", "release"].map(place);
    if !release.exists() {
        let tree = download().context("fetch a kernel")?;
        let boot = tree.join("boot");
        let compressed = only(&boot, "vmlinuz-")?;
        unpack(&compressed, &image)?;
        let name = compressed.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Written last: with it everything is there.
        std::fs::write(&release, name.trim_start_matches("vmlinuz-"))
            .context("remember the kernel's release")?;
    }
    let release = std::fs::read_to_string(&release).context("read the kernel's release")?;
    // Made each time: it holds a script of ours and the machine's busybox, and takes no time.
    let modules = place("tree").join("lib/modules").join(&release);
    std::fs::write(&first, archive(&modules)?).context("write the first archive")?;
    Ok(Kernel { image, first, release })
}

/// The unpacked package, of the release that the machine's own apt uses.
fn download() -> Result<PathBuf> {
    let [deb, tree] = ["deb", "tree"].map(place);
    for folder in [&deb, &tree] {
        let _none = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let fetch = || -> Result<()> {
        let depends = sh::output("apt-cache", &["depends", PACKAGE])?;
        let real = depends
            .lines()
            .filter_map(|l| l.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with("linux-image-"))
            .with_context(|| format!("apt knows no {PACKAGE}"))?;
        let mut command =
            sh::command("apt-get", &["-o", "APT::Sandbox::User=root", "download", "-qq", real]);
        let status = command.current_dir(&deb).status().context("run apt-get")?;
        ensure!(status.success(), "apt-get download {real} failed: {status}");
        Ok(())
    };
    if fetch().is_err() {
        sh::run("apt-get", &["update", "-qq"])?;
        fetch()?;
    }
    let package = only(&deb, "linux-image-")?;
    sh::run("dpkg", &["-x", &package.display().to_string(), &tree.display().to_string()])?;
    Ok(tree)
}

/// The file of a folder whose name starts so.
fn only(folder: &Path, start: &str) -> Result<PathBuf> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut names = entries.flatten().map(|e| e.path());
    names
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(start)))
        .with_context(|| format!("no {start}… in {}", folder.display()))
}

/// Takes the kernel proper out of a `bzImage`, whose header says where the compressed one lies
/// (Linux: Documentation/arch/x86/boot.rst).
fn unpack(compressed: &Path, to: &Path) -> Result<()> {
    let image =
        std::fs::read(compressed).with_context(|| format!("read {}", compressed.display()))?;
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the kernel's file is short")?;
        let number = u32::from_le_bytes(bytes.try_into().context("four bytes")?);
        Ok(usize::try_from(number)?)
    };
    ensure!(image.get(0x202..0x206) == Some(b"HdrS"), "the kernel's file is no bzImage");
    let setup_sectors = usize::from(image[0x1f1]);
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    // The last word is the unpacked size, which some of the programs would take for data.
    let payload = image.get(start..start + word(0x24c)?).context("the kernel's file is short")?;
    let (payload, size) = payload.split_at(payload.len().saturating_sub(4));
    let program = match payload {
        [0x02, 0x21, ..] => "lz4",
        [0xfd, b'7', b'z', ..] => "xz",
        [0x28, 0xb5, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        _ => bail!("the kernel is compressed in a way that is not known here"),
    };
    let packed = place("payload");
    std::fs::write(&packed, payload).context("write the compressed kernel")?;
    let output = sh::command(program, &["-dc", &packed.display().to_string()])
        .output()
        .with_context(|| format!("run {program}"))?;
    let size = u32::from_le_bytes(size.try_into().context("four bytes")?);
    ensure!(
        output.stdout.len() == usize::try_from(size)?,
        "{program} unpacked {} of {size} bytes of the kernel: {}",
        output.stdout.len(),
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::write(to, output.stdout).context("write the kernel")?;
    std::fs::remove_file(packed).context("remove the compressed kernel")
}

/// The kernel's first files: a shell, modules in the order of their numbers, and the script that loads them.
fn archive(modules: &Path) -> Result<Vec<u8>> {
    let mut all = BTreeMap::new();
    collect(modules, &mut all)?;
    let mut order = Vec::new();
    for name in MODULES {
        add(name, &all, &mut order)?;
    }
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules", "new"] {
        archive.folder(folder)?;
    }
    archive.file("init", include_bytes!("first.sh"))?;
    archive.file("bin/busybox", &std::fs::read("/bin/busybox").context("read busybox")?)?;
    for (number, (name, content)) in order.iter().enumerate() {
        archive.file(&format!("modules/{number:03}-{name}.ko"), content)?;
    }
    archive.finish()
}

/// Adds a module behind those that it names as its own needs.
fn add(
    name: &str,
    all: &BTreeMap<String, PathBuf>,
    order: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    if order.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let path = all.get(name).with_context(|| format!("the kernel has no module {name}"))?;
    let content = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    for needed in needs(&content).split(',').filter(|n| !n.is_empty()) {
        add(&needed.replace('-', "_"), all, order)?;
    }
    order.push((name.to_owned(), content));
    Ok(())
}

/// The `depends=` entry of a module's information section.
fn needs(module: &[u8]) -> String {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|w| w == KEY) else { return String::new() };
    let value = module[at + KEY.len()..].iter().take_while(|b| **b != 0);
    value.map(|b| char::from(*b)).collect()
}

/// Modules by name, as the kernel spells it.
fn collect(folder: &Path, all: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            collect(&entry.path(), all)?;
        } else if let Some(name) = name.strip_suffix(".ko") {
            all.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}
