//! What GNU tar and Python's tarfile write, we read as they do; what we write, they read; and of damaged archives nobody
//! is shown something else than they are shown (security rule R16). Peers that are not there are passed over.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr)] // Tests; the peers are programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use tar::{Entry, Kind, Limits, Reader, Time, Writer};

/// One line for an entry, the same from everybody: kind, mode, owner, size, time, path, target, sum of the content.
type Line = String;

const PYTHON: &str = r#"
import hashlib, sys, tarfile
KINDS = {b'0': 'file', b'\0': 'file', b'7': 'file', b'1': 'hard', b'2': 'sym', b'3': 'char', b'4': 'block', b'5': 'dir', b'6': 'fifo', b'S': 'file'}
for name in sys.stdin.read().split():
    print('archive', name)
    try:
        with tarfile.open(name, 'r:') as t:
            for m in t:
                kind = KINDS.get(m.type, 'other')
                content = ''
                if kind == 'file' and m.size <= 1 << 22:
                    content = hashlib.sha256(t.extractfile(m).read()).hexdigest()[:16]
                target = m.linkname if kind in ('sym', 'hard') else ''
                size = m.size if kind == 'file' else 0
                path = m.name.rstrip('/')
                line = [kind, '%o' % (m.mode & 0o7777), m.uid, m.gid, size, int(m.mtime // 1), ascii(path), ascii(target), content]
                print('\t'.join(map(str, line)))
    except Exception as e:
        print('error', type(e).__name__)
"#;

/// As Python's `ascii` shows a name that was decoded with surrogateescape.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::from("'");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => out.extend(['\\', c]),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                ' '..='~' => out.push(c),
                c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            }
        }
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\udc{b:02x}")));
    }
    // Python prefers the other quote where that saves backslashes.
    if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        return format!("\"{}\"", out[1..].replace("\\'", "'"));
    }
    out + "'"
}

fn ours(archive: &[u8]) -> Result<Vec<Line>, tar::Error> {
    let mut input = archive;
    let mut reader = Reader::new(&mut input, Limits::default());
    let mut lines = Vec::new();
    let mut buffer = vec![0; 5000];
    while let Some(entry) = reader.next_entry()? {
        let mut content = String::new();
        if entry.kind == Kind::File && entry.size <= 1 << 22 {
            let mut whole = vec![0; usize::try_from(entry.size).unwrap()];
            while let Some(chunk) = reader.next_chunk(&mut buffer)? {
                let at = usize::try_from(chunk.offset).unwrap();
                whole[at..at + chunk.len].copy_from_slice(&buffer[..chunk.len]);
            }
            let digest = ring::digest::digest(&ring::digest::SHA256, &whole);
            content = digest.as_ref()[..8].iter().map(|b| format!("{b:02x}")).collect();
        }
        let (kind, target) = match &entry.kind {
            Kind::File => ("file", &[][..]),
            Kind::Directory => ("dir", &[][..]),
            Kind::Symlink { target } => ("sym", target.as_slice()),
            Kind::HardLink { target } => ("hard", target.as_slice()),
            Kind::Fifo => ("fifo", &[][..]),
            Kind::CharDevice { .. } => ("char", &[][..]),
            Kind::BlockDevice { .. } => ("block", &[][..]),
        };
        let path = entry.path.as_slice();
        let trimmed = &path[..path.iter().rposition(|b| *b != b'/').map_or(0, |i| i + 1)];
        lines.push(format!(
            "{kind}\t{:o}\t{}\t{}\t{}\t{}\t{}\t{}\t{content}",
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            entry.mtime.seconds,
            shown(trimmed),
            shown(target)
        ));
    }
    Ok(lines)
}

/// What Python sees in each archive; `None` without Python.
fn python(archives: &[&Path]) -> Option<Vec<Vec<Line>>> {
    use std::io::Write as _;
    let mut child = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let names: String = archives.iter().map(|p| format!("{}\n", p.display())).collect();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(names.as_bytes()));
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let mut all = Vec::new();
    for line in text.lines() {
        if line.starts_with("archive ") {
            all.push(Vec::new());
        } else if !line.starts_with("error ") {
            all.last_mut().unwrap().push(line.to_owned());
        }
    }
    assert_eq!(all.len(), archives.len(), "python3 ended early");
    Some(all)
}

/// Path and size as GNU tar lists them, with its exit code.
fn gnu(archive: &Path) -> Option<(Vec<String>, bool)> {
    let out = Command::new("tar")
        .args(["--numeric-owner", "--full-time", "--quoting-style=escape", "-tvf"])
        .arg(archive)
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // "-rw-r--r-- 0/0  3 2026-01-01 00:00:00 name", devices with "1,3" for the size, links with " -> " or " link to ".
    let lines = text
        .lines()
        .map(|line| {
            let kind = &line[..1];
            let fields: Vec<&str> = line.split_whitespace().collect();
            let size = if matches!(kind, "-" | "C") { fields[2] } else { "0" };
            let date = fields.iter().position(|f| f.contains(':') && f.len() >= 8).unwrap();
            let start = line.find(fields[date]).unwrap() + fields[date].len() + 1;
            let name = line[start..]
                .trim_start()
                .split(" -> ")
                .next()
                .unwrap()
                .split(" link to ")
                .next()
                .unwrap();
            format!("{size}\t{}", name.trim_end_matches('/'))
        })
        .collect();
    Some((lines, out.status.success()))
}

/// The same two facts from our line; only names that need no quoting are compared.
fn as_gnu(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let name = fields[6].trim_matches('\'');
    let plain =
        name.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'"') && !name.is_empty();
    plain.then(|| format!("{}\t{name}", fields[4]))
}

/// Files of every kind.
fn corpus(root: &Path) {
    let run = |script: &str| {
        let status = Command::new("sh").arg("-ec").arg(script).current_dir(root).status().unwrap();
        assert!(status.success(), "{script}");
    };
    run("mkdir -p d/e empty; printf text > d/f; ln d/f d/hard; ln -s ../d/f d/sym; mkfifo d/fifo
         mknod d/null c 1 3; mknod d/disk b 8 1; chmod 6755 d/f; chown 1000:2000 d/f; : > zero
         head -c 100000 /dev/urandom > random; touch -d '1969-12-31 23:59:58 UTC' old; touch -d '2030-01-01 00:00:00.5 UTC' frac
         n=$(printf 'n%.0s' $(seq 1 200)); mkdir -p $n/$n; echo long > $n/$n/$n; ln -s $n/$n/$n longlink; ln $n/$n/$n hardlong
         truncate -s 3000000 sparse; printf A | dd of=sparse bs=1 seek=1000000 conv=notrunc status=none
         truncate -s 2000000 allhole; chown 3000000:4000000000 zero
         for i in $(seq 1 60); do printf x | dd of=many bs=1 seek=$((i*20000)) conv=notrunc status=none; done");
    std::fs::write(root.join("ümläut \u{1F600}"), "name").unwrap();
    std::fs::write(root.join("sp ace'quote\\back\nline"), "odd").unwrap();
    use std::os::unix::ffi::OsStrExt as _;
    std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"not\xffutf8")), "raw").unwrap();
}

/// Every archive that the peers make of the corpus.
fn archives(dir: &Path) -> Vec<std::path::PathBuf> {
    let root = dir.join("corpus");
    std::fs::create_dir(&root).unwrap();
    corpus(&root);
    let mut made = Vec::new();
    let mut tar = |name: &str, arguments: &[&str]| {
        let out = dir.join(name);
        let done = Command::new("tar")
            .args(arguments)
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&out)
            .arg(".")
            .output();
        if done.is_ok_and(|o| o.status.success()) {
            made.push(out);
        }
    };
    tar("gnu.tar", &["--format=gnu"]);
    tar("gnu-sparse.tar", &["--format=gnu", "-S"]);
    tar("pax.tar", &["--format=posix"]);
    for version in ["0.0", "0.1", "1.0"] {
        tar(
            &format!("pax-sparse-{version}.tar"),
            &["--format=posix", "-S", &format!("--sparse-version={version}")],
        );
    }
    tar("numeric.tar", &["--format=gnu", "--numeric-owner", "-b1"]);
    let script = "import sys, tarfile
for f, n in ((tarfile.USTAR_FORMAT, 'ustar'), (tarfile.GNU_FORMAT, 'gnu'), (tarfile.PAX_FORMAT, 'pax')):
    out = sys.argv[2] + '/python-' + n + '.tar'
    with tarfile.open(out, 'w', format=f) as t:
        for name in ('d', 'random', 'empty', 'old', 'frac', 'zero') + (('longlink', 'n' * 200) if n != 'ustar' else ()):
            try: t.add(sys.argv[1] + '/' + name, name)
            except ValueError: pass
    print(out)";
    if let Ok(out) = Command::new("python3").args(["-c", script]).arg(&root).arg(dir).output() {
        made.extend(String::from_utf8_lossy(&out.stdout).lines().map(Into::into));
    }
    made
}

#[test]
fn we_read_what_they_write_as_they_do() {
    let dir = tempfile::tempdir().unwrap();
    let archives = archives(dir.path());
    if archives.is_empty() {
        eprintln!("neither tar nor python3 is there");
        return;
    }
    let paths: Vec<&Path> = archives.iter().map(AsRef::as_ref).collect();
    let python = python(&paths);
    for (number, path) in paths.iter().enumerate() {
        let name = path.file_name().unwrap().display();
        let lines = ours(&std::fs::read(path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(lines.len() >= 6, "{name}");
        if let Some(python) = &python {
            assert_eq!(lines, python[number], "{name}: Python disagrees");
        }
        if let Some((gnu, true)) = gnu(path) {
            for wanted in lines.iter().filter_map(|l| as_gnu(l)) {
                assert!(
                    gnu.contains(&wanted),
                    "{name}: GNU tar does not list {wanted:?}: {gnu:#?}"
                );
            }
        }
    }
}

#[test]
fn they_read_what_we_write_as_we_meant_it() {
    let mut entries = Vec::new();
    let mut add = |path: &str, kind: Kind, content: &[u8]| {
        let mut entry = Entry::new(path, kind);
        entry.size = content.len() as u64;
        entry.mtime = Time { seconds: 1_700_000_000, nanos: 0 };
        entries.push((entry, content.to_vec()));
    };
    let long = "component/".repeat(12);
    add("dir", Kind::Directory, b"");
    add("dir/file", Kind::File, b"content");
    add("empty", Kind::File, b"");
    add("block", Kind::File, &[7; 512]);
    add(&format!("{long}split-at-a-slash"), Kind::File, b"x");
    add(&format!("{long}{}", "n".repeat(150)), Kind::File, b"too long to split");
    add(&format!("{}/", "d".repeat(120)), Kind::Directory, b"");
    add("ünicode", Kind::File, b"x");
    add("link", Kind::Symlink { target: b"dir/file".to_vec() }, b"");
    add("longlink", Kind::Symlink { target: long.clone().into_bytes() }, b"");
    add("hard", Kind::HardLink { target: b"dir/file".to_vec() }, b"");
    add("fifo", Kind::Fifo, b"");
    add("null", Kind::CharDevice { major: 1, minor: 3 }, b"");
    add("disk", Kind::BlockDevice { major: 254, minor: 1_000_000 }, b"");
    add("owned", Kind::File, b"");
    entries.last_mut().unwrap().0.uid = 3_000_000;
    entries.last_mut().unwrap().0.gid = 4_000_000_000;
    entries.last_mut().unwrap().0.mode = 0o6755;
    entries.last_mut().unwrap().0.mtime = Time { seconds: -2, nanos: 500_000_000 };
    entries.last_mut().unwrap().0.user = b"somebody".to_vec();
    entries.last_mut().unwrap().0.xattrs =
        vec![(b"user.b".to_vec(), vec![0, 10, 61]), (b"user.a".to_vec(), b"1".to_vec())];
    let write = || {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for (entry, content) in &entries {
            writer.append(entry, &mut content.as_slice()).unwrap();
        }
        writer.finish().unwrap();
        out
    };
    let archive = write();
    assert_eq!(archive, write());
    // Ourselves: everything comes back.
    let mut input = &archive[..];
    let mut reader = Reader::new(&mut input, Limits::default());
    for (entry, _) in &entries {
        let mut expected = entry.clone();
        if expected.kind == Kind::Directory && !expected.path.ends_with(b"/") {
            expected.path.push(b'/');
        }
        expected.xattrs.sort();
        assert_eq!(reader.next_entry().unwrap().unwrap(), expected);
    }
    assert!(reader.next_entry().unwrap().is_none());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.tar");
    std::fs::write(&path, &archive).unwrap();
    let lines = ours(&archive).unwrap();
    if let Some(python) = python(&[&path]) {
        assert_eq!(python[0], lines);
    }
    if let Some((gnu, success)) = gnu(&path) {
        assert!(success && gnu.len() == lines.len(), "{gnu:#?}");
        for wanted in lines.iter().filter_map(|l| as_gnu(l)) {
            assert!(gnu.contains(&wanted), "GNU tar does not list {wanted:?}: {gnu:#?}");
        }
    }
}

#[test]
fn what_no_archive_can_hold_is_not_written() {
    let check = |entry: Entry| {
        let mut out = Vec::new();
        Writer::new(&mut out).append(&entry, &mut &b""[..]).unwrap_err();
    };
    check(Entry::new("", Kind::File));
    check(Entry::new("a\0b", Kind::File));
    check(Entry::new("a/", Kind::File));
    check(Entry::new("l", Kind::Symlink { target: Vec::new() }));
    check(Entry::new("c", Kind::CharDevice { major: 4096, minor: 0 }));
    let mut entry = Entry::new("x", Kind::File);
    entry.xattrs = vec![(b"user.a=b".to_vec(), b"c".to_vec())];
    check(entry);
    let mut entry = Entry::new("short", Kind::File);
    entry.size = 5;
    check(entry);
}

/// A small generator with a seed, so that a failure can be looked at again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// Changes a header where it hurts and mostly repairs its checksum, or moves, doubles, cuts or drops blocks.
fn damaged(archive: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = archive.to_vec();
    for _ in 0..=random.below(3) {
        let blocks = out.len() / 512;
        if blocks == 0 {
            break;
        }
        let headers: Vec<usize> =
            (0..blocks).filter(|b| &out[b * 512 + 257..b * 512 + 262] == b"ustar").collect();
        match random.below(10) {
            0..=6 if !headers.is_empty() => {
                let at = headers[random.below(headers.len())] * 512;
                let fields = [
                    0..100,
                    100..108,
                    108..124,
                    124..136,
                    136..148,
                    156..157,
                    157..257,
                    257..265,
                    329..345,
                    345..500,
                    386..495,
                ];
                let field = fields[random.below(fields.len())].clone();
                let position = at + field.start + random.below(field.len());
                out[position] = match random.below(4) {
                    0 => b"0123456789xgLKSVD5/ \0"[random.below(21)],
                    1 => out[position] ^ (1 << random.below(8)),
                    2 => [0x80, 0xff, 0xc0, 0x7f][random.below(4)],
                    _ => u8::try_from(random.below(256)).unwrap(),
                };
                if random.below(8) != 0 {
                    let sum: u32 = (0..512)
                        .map(|i| if (148..156).contains(&i) { 32 } else { u32::from(out[at + i]) })
                        .sum();
                    out[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
            7 => {
                let position = random.below(out.len());
                out[position] ^= 1 << random.below(8);
            }
            8 => {
                let (from, to) = (random.below(blocks) * 512, random.below(blocks) * 512);
                let block = out[from..from + 512].to_vec();
                out.splice(to..to, block);
            }
            _ => {
                let at = random.below(blocks) * 512;
                out.drain(at..at + 512);
            }
        }
    }
    out
}

/// Small archives with every extension, to be damaged.
fn seeds(dir: &Path) -> Vec<Vec<u8>> {
    let root = dir.join("small");
    std::fs::create_dir(&root).unwrap();
    let script = "mkdir d; printf text > d/f; ln d/f hard; ln -s d/f sym; printf ok > after
        n=$(printf 'n%.0s' $(seq 1 120)); echo long > $n; ln -s $n longlink
        truncate -s 200000 sparse; printf AB | dd of=sparse bs=1 seek=100000 conv=notrunc status=none";
    assert!(
        Command::new("sh").arg("-ec").arg(script).current_dir(&root).status().unwrap().success()
    );
    let mut seeds = Vec::new();
    for arguments in [
        &["--format=gnu", "-S"][..],
        &["--format=posix", "-S"],
        &["--format=posix", "-S", "--sparse-version=0.1"],
        &["--format=ustar", "--exclude=n*"],
    ] {
        let out = Command::new("tar")
            .args(arguments)
            .args(["-b1", "--sort=name", "-C"])
            .arg(&root)
            .args(["-cf", "-", "."])
            .output();
        if let Ok(out) = out {
            seeds.push(out.stdout);
        }
    }
    seeds
}

/// We are shown the same as the peers or nothing: they may stop earlier than we do, never see something else.
#[test]
fn damaged_archives_never_show_us_something_else() {
    // A few seconds; GANTRY_TAR_ROUNDS for a night.
    let rounds: usize =
        std::env::var("GANTRY_TAR_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let dir = tempfile::tempdir().unwrap();
    let seeds = seeds(dir.path());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut done = 0;
    while done < rounds && !seeds.is_empty() {
        // Only what we accept is interesting to the peers; in batches, because a Python takes its time to start.
        let mut accepted = Vec::new();
        for _ in 0..1000 {
            done += 1;
            let archive = damaged(&seeds[random.below(seeds.len())], &mut random);
            match ours(&archive) {
                Err(_) => *verdicts.entry("refused").or_default() += 1,
                Ok(lines) => {
                    let path = dir.path().join(format!("{done}.tar"));
                    std::fs::write(&path, archive).unwrap();
                    accepted.push((path, lines));
                }
            }
        }
        let paths: Vec<&Path> = accepted.iter().map(|(p, _)| p.as_path()).collect();
        let python = python(&paths);
        for (number, (path, lines)) in accepted.iter().enumerate() {
            *verdicts.entry("accepted").or_default() += 1;
            let keep = |who: &str, theirs: &dyn std::fmt::Debug| {
                let kept = std::env::temp_dir().join("tar-disagreement.tar");
                std::fs::copy(path, &kept).unwrap();
                panic!(
                    "{who} disagrees about {}:\nours {lines:#?}\ntheirs {theirs:#?}",
                    kept.display()
                );
            };
            if let Some(python) = &python
                && !lines.starts_with(&python[number])
            {
                keep("Python", &python[number]);
            }
            // Starting GNU tar is dear: every 32nd.
            if number % 32 == 0
                && let Some((gnu, _)) = gnu(path)
            {
                let comparable: Vec<_> = lines.iter().map(|l| as_gnu(l)).collect();
                let same = gnu.len() <= comparable.len()
                    && gnu
                        .iter()
                        .zip(&comparable)
                        .all(|(theirs, ours)| ours.as_ref().is_none_or(|o| o == theirs));
                if !same {
                    keep("GNU tar", &gnu);
                }
            }
            std::fs::remove_file(path).unwrap();
        }
    }
    eprintln!("{verdicts:?}");
    assert!(
        verdicts.len() == 2 || seeds.is_empty(),
        "the damage is too little or too much: {verdicts:?}"
    );
}

#[test]
fn rubbish_is_never_a_panic() {
    let mut random = Random(42);
    for round in 0..2000 {
        let mut bytes: Vec<u8> =
            (0..random.below(4096)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        if round % 2 == 0 {
            // Past the checksum.
            for block in bytes.chunks_exact_mut(512) {
                block[257..265].copy_from_slice(if round % 4 == 0 {
                    b"ustar\x0000"
                } else {
                    b"ustar  \0"
                });
                block[156] = b"01256xgLKS"[random.below(10)];
                block[124..136]
                    .copy_from_slice(format!("{:011o}\0", random.below(2000)).as_bytes());
                let sum: u32 = (0..512)
                    .map(|i| if (148..156).contains(&i) { 32 } else { u32::from(block[i]) })
                    .sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        drop(ours(&bytes));
    }
}
