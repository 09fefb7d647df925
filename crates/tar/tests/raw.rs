//! Archives made byte by byte: what they list as, or why they are refused.

#![allow(clippy::unwrap_used)] // Helpers are tests too.

use tar::{Error, Kind, Limits, Reader};

/// A header as security.md's Appendix A makes them.
struct Header([u8; 512]);

impl Header {
    fn new(name: &str, size: u64, flag: u8) -> Self {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[136..148].copy_from_slice(b"00000000000\0");
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        Self(block)
    }

    fn set(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn bytes(mut self) -> Vec<u8> {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|b| u32::from(*b)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.to_vec()
    }
}

fn header(name: &str, size: u64, flag: u8) -> Vec<u8> {
    Header::new(name, size, flag).bytes()
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    out.resize(data.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    [header(name, data.len() as u64, b'0'), padded(data)].concat()
}

fn pax_as(flag: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in pairs {
        let bare = key.len() + value.len() + 3;
        let mut length = bare + 1;
        while length != bare + length.to_string().len() {
            length = bare + length.to_string().len();
        }
        data.extend(format!("{length} {key}={value}\n").into_bytes());
    }
    [header("./PaxHeaders/x", data.len() as u64, flag), padded(&data)].concat()
}

fn pax(pairs: &[(&str, &str)]) -> Vec<u8> {
    pax_as(b'x', pairs)
}

fn end() -> Vec<u8> {
    vec![0; 1024]
}

/// Names with kinds and content, or the error.
fn list(archive: &[u8]) -> Result<Vec<String>, Error> {
    let mut input = archive;
    let mut reader = Reader::new(&mut input, Limits::default());
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        // A size may be a lie; the bytes then end before it matters.
        let mut content = vec![b'.'; usize::try_from(entry.size.min(1 << 20)).unwrap()];
        let mut buffer = [0; 100];
        while let Some(chunk) = reader.next_chunk(&mut buffer)? {
            let at = usize::try_from(chunk.offset).unwrap();
            content[at..at + chunk.len].copy_from_slice(&buffer[..chunk.len]);
        }
        let what = match &entry.kind {
            Kind::File => format!("={}", String::from_utf8_lossy(&content).escape_debug()),
            Kind::Directory => " dir".to_owned(),
            Kind::Symlink { target } => format!(" -> {}", String::from_utf8_lossy(target)),
            Kind::HardLink { target } => format!(" == {}", String::from_utf8_lossy(target)),
            Kind::Fifo => " fifo".to_owned(),
            Kind::CharDevice { major, minor } => format!(" char {major}:{minor}"),
            Kind::BlockDevice { major, minor } => format!(" block {major}:{minor}"),
        };
        all.push(format!("{}{what}", String::from_utf8_lossy(&entry.path)));
    }
    Ok(all)
}

fn lists(parts: &[Vec<u8>], expected: &[&str]) {
    assert_eq!(list(&parts.concat()).unwrap(), expected);
}

fn refused(parts: &[Vec<u8>], expected: &str) {
    let error = list(&parts.concat()).expect_err(expected).to_string();
    assert!(error.contains(expected), "{error:?} instead of {expected:?}");
}

fn first(archive: &[u8]) -> tar::Entry {
    let mut input = archive;
    Reader::new(&mut input, Limits::default()).next_entry().unwrap().unwrap()
}

/// CVE-2025-62518: a pax size of an archive inside the archive, a header size of 0.
#[test]
fn tarmageddon_lists_two_entries() {
    let inner = [file("smuggled.txt", b"EVIL\n"), end()].concat();
    let archive = [
        pax(&[("size", &inner.len().to_string())]),
        header("inner.tar", 0, b'0'),
        padded(&inner),
        file("after.txt", b"ok\n"),
        end(),
    ];
    let names: Vec<String> = list(&archive.concat())
        .unwrap()
        .iter()
        .map(|l| l.split('=').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["inner.tar", "after.txt"]);
}

/// CVE-2026-33055: the pax size is bigger than the header's, which is not 0.
#[test]
fn pax_inverse_lists_two_entries() {
    let inner = file("smuggled2.txt", b"EVIL\n");
    let archive = [
        pax(&[("size", &(512 + inner.len()).to_string())]),
        header("blob.bin", 512, b'0'),
        vec![b'A'; 512],
        inner,
        file("after.txt", b"ok\n"),
        end(),
    ];
    let names: Vec<String> = list(&archive.concat())
        .unwrap()
        .iter()
        .map(|l| l.split('=').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["blob.bin", "after.txt"]);
}

#[test]
fn every_kind_is_understood() {
    let archive = [
        file("f", b"text"),
        header("d/", 0, b'5'),
        Header::new("s", 0, b'2').set(157, b"../t").bytes(),
        Header::new("h", 4, b'1').set(157, b"f").bytes(),
        Header::new("c", 0, b'3').set(329, b"0000001\0").set(337, b"0000003\0").bytes(),
        Header::new("b", 0, b'4').set(329, b"0000376\0").set(337, b"3777777\0").bytes(),
        header("p", 0, b'6'),
        header("contiguous", 0, b'7'),
        Header::new("old", 0, 0).bytes(),
        Header::new("old/", 0, 0).bytes(),
        end(),
    ];
    lists(
        &archive,
        &[
            "f=text",
            "d/ dir",
            "s -> ../t",
            "h == f",
            "c char 1:3",
            "b block 254:1048575",
            "p fifo",
            "contiguous=",
            "old=",
            "old/ dir",
        ],
    );
}

#[test]
fn long_names_come_in_three_spellings() {
    let long = "n".repeat(200);
    let gnu = |flag, text: &str| {
        [header("././@LongLink", text.len() as u64, flag), padded(text.as_bytes())].concat()
    };
    lists(&[gnu(b'L', &format!("{long}\0")), header("n", 0, b'0'), end()], &[&format!("{long}=")]);
    lists(&[gnu(b'L', &long), header("n", 0, b'0'), end()], &[&format!("{long}=")]);
    lists(
        &[
            gnu(b'K', &long),
            gnu(b'L', "name"),
            Header::new("s", 0, b'2').set(157, b"x").bytes(),
            end(),
        ],
        &[&format!("name -> {long}")],
    );
    lists(&[pax(&[("path", &long)]), header("n", 0, b'0'), end()], &[&format!("{long}=")]);
    lists(
        &[pax(&[("linkpath", &long)]), Header::new("s", 0, b'2').bytes(), end()],
        &[&format!("s -> {long}")],
    );
    lists(&[Header::new("name", 0, b'0').set(345, b"pre/fix").bytes(), end()], &["pre/fix/name="]);
    // Both with the same text are no contradiction.
    lists(
        &[pax(&[("path", "same")]), gnu(b'L', "same\0"), header("n", 0, b'0'), end()],
        &["same="],
    );
    refused(
        &[pax(&[("path", "a")]), gnu(b'L', "b"), header("n", 0, b'0'), end()],
        "two long names",
    );
    refused(&[gnu(b'L', "a"), gnu(b'L', "b"), header("n", 0, b'0'), end()], "two long names");
    refused(&[gnu(b'L', "a\0b"), header("n", 0, b'0'), end()], "text behind its end");
    refused(&[gnu(b'L', ""), header("n", 0, b'0'), end()], "an entry without a name");
    refused(&[gnu(b'K', "t"), header("n", 0, b'0'), end()], "what is no link");
    refused(&[gnu(b'L', &"x".repeat(5000)), header("n", 0, b'0'), end()], "over the limit of 4097");
    refused(
        &[pax(&[("path", &"x".repeat(5000))]), header("n", 0, b'0'), end()],
        "a path over the limit of 4096",
    );
    refused(&[pax(&[("path", "a\0b")]), header("n", 0, b'0'), end()], "path contains NUL");
    refused(
        &[pax(&[("path", &"a/".repeat(257))]), header("n", 0, b'5'), end()],
        "a depth over the limit of 256",
    );
    refused(&[gnu(b'L', "a"), end()], "ends inside");
    refused(&[gnu(b'L', "a")], "ends inside");
}

#[test]
fn sizes_that_readers_disagree_about_are_refused() {
    for flag in [b'2', b'3', b'4', b'5', b'6'] {
        let entry = Header::new("x", 512, flag).set(157, b"target").bytes();
        refused(&[entry, vec![0; 512], end()], "content in what is no file");
    }
    refused(
        &[pax(&[("size", "512")]), Header::new("h", 0, b'1').set(157, b"f").bytes(), end()],
        "content in what is no file",
    );
    refused(&[pax(&[("size", "512")]), header("d", 0, b'5'), end()], "content in what is no file");
    refused(&[pax(&[("size", "-1")]), header("f", 0, b'0'), end()], "size is no number");
    refused(
        &[pax(&[("size", "9223372036854775808")]), header("f", 0, b'0'), end()],
        "impossible size",
    );
    refused(
        &[pax(&[("size", "99999999999999999999")]), header("f", 0, b'0'), end()],
        "size is no number",
    );
    let negative = Header::new("f", 0, b'0').set(124, &[0xff; 12]).bytes();
    refused(&[negative, end()], "negative size");
    let huge =
        Header::new("f", 0, b'0').set(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff").bytes();
    refused(&[huge, end()], "ends inside");
    refused(&[header("f", 5, b'0'), b"abc".to_vec()], "ends inside");
    refused(&[header("f/", 5, b'0'), padded(b"abcde"), end()], "ends in a slash");
    refused(
        &[Header::new("f/", 5, 0).bytes(), padded(b"abcde"), end()],
        "content in what is no file",
    );
    refused(&[pax(&[("path", "f/")]), Header::new("f", 0, 0).bytes(), end()], "by the other");
}

#[test]
fn extension_headers_do_not_override_each_other() {
    // A pax size belongs to the entry, not to the header of the long name between them.
    let name = [header("././@LongLink", 5, b'L'), padded(b"name\0")].concat();
    lists(
        &[pax(&[("size", "3")]), name, header("n", 0, b'0'), padded(b"abc"), end()],
        &["name=abc"],
    );
    refused(
        &[pax(&[("path", "a")]), pax(&[("path", "b")]), header("n", 0, b'0'), end()],
        "two extended headers",
    );
    refused(&[pax(&[("path", "a")]), end()], "ends inside");
    refused(&[header("x", 2 << 20, b'x')], "an extended header over the limit");
    refused(
        &[header("x", 3, b'x'), padded(b"abc"), header("n", 0, b'0'), end()],
        "extended record",
    );
}

#[test]
fn global_headers_say_only_what_is_harmless() {
    let global = |pairs: &[(&str, &str)]| pax_as(b'g', pairs);
    // As git archive writes them.
    lists(&[global(&[("comment", "0123abcd")]), file("f", b"x"), end()], &["f=x"]);
    let archive = [global(&[("mtime", "77.5")]), header("f", 0, b'0'), end()].concat();
    assert_eq!((first(&archive).mtime.seconds, first(&archive).mtime.nanos), (77, 500_000_000));
    for (key, value) in [
        ("size", "512"),
        ("path", "evil"),
        ("linkpath", "evil"),
        ("uid", "0"),
        ("SCHILY.xattr.user.a", "b"),
        ("GNU.sparse.major", "1"),
    ] {
        refused(&[global(&[(key, value)]), file("f", b"x"), end()], "a global header with");
    }
}

#[test]
fn numbers_that_fit_no_file_are_refused() {
    refused(&[Header::new("f", 0, b'0').set(108, &[0xff; 8]).bytes(), end()], "negative uid");
    refused(
        &[pax(&[("uid", "4294967295")]), header("f", 0, b'0'), end()],
        "uid 4294967295 is out of range",
    );
    refused(
        &[pax(&[("gid", "4294967296")]), header("f", 0, b'0'), end()],
        "gid 4294967296 is out of range",
    );
    refused(&[pax(&[("uid", "0x10")]), header("f", 0, b'0'), end()], "uid is no number");
    refused(
        &[Header::new("c", 0, b'3').set(329, b"0010000\0").bytes(), end()],
        "impossible device numbers",
    );
    refused(&[Header::new("f", 0, b'0').set(100, b"-000644\0").bytes(), end()], "unreadable mode");
    let archive =
        [pax(&[("uid", "4294967294"), ("mtime", "-1.25")]), header("f", 0, b'0'), end()].concat();
    assert_eq!(first(&archive).uid, u32::MAX - 1);
    assert_eq!((first(&archive).mtime.seconds, first(&archive).mtime.nanos), (-2, 750_000_000));
    let archive = [
        Header::new("f", 0, b'0')
            .set(136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe")
            .bytes(),
        end(),
    ]
    .concat();
    assert_eq!(first(&archive).mtime.seconds, -2);
    // The type bits of a mode are nobody's business.
    let archive = [Header::new("f", 0, b'0').set(100, b"0104755\0").bytes(), end()].concat();
    assert_eq!(first(&archive).mode, 0o4755);
}

#[test]
fn attributes_are_read() {
    let archive = [
        pax(&[("SCHILY.xattr.user.a", "b=c\n"), ("LIBARCHIVE.xattr.user.z", "AAE")]),
        header("f", 0, b'0'),
        end(),
    ]
    .concat();
    assert_eq!(
        first(&archive).xattrs,
        [(b"user.a".to_vec(), b"b=c\n".to_vec()), (b"user.z".to_vec(), vec![0, 1])]
    );
    refused(&[pax(&[("SCHILY.xattr.", "x")]), header("f", 0, b'0'), end()], "impossible name");
}

#[test]
fn ends_are_strict() {
    lists(&[end()], &[]);
    lists(&[vec![]], &[]);
    lists(&[vec![0; 512]], &[]);
    lists(&[file("f", b"x")], &["f=x"]);
    lists(&[file("f", b"x"), end(), vec![7; 512]], &["f=x"]);
    refused(&[file("f", b"x"), vec![0; 512], file("g", b"y"), end()], "a single block of zeros");
    refused(&[file("f", b"x"), vec![0; 100]], "ends inside");
    refused(&[vec![1; 512]], "checksum");
    let mut broken = file("f", b"x");
    broken[0] = b'g';
    refused(&[broken, end()], "checksum does not match");
    for flag in [b'D', b'M', b'N', b'V', b'X', b'A', b'?', 0xff] {
        refused(&[header("f", 0, flag), end()], "type");
    }
}

#[test]
fn sparse_files_in_four_spellings() {
    let data = padded(b"abcde");
    // 0.0
    let pairs = [
        ("GNU.sparse.size", "20"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "5"),
        ("GNU.sparse.numbytes", "3"),
        ("GNU.sparse.offset", "18"),
        ("GNU.sparse.numbytes", "2"),
    ];
    let expected = ["f=.....abc..........de"];
    lists(&[pax(&pairs), header("f", 5, b'0'), data.clone(), end()], &expected);
    // 0.1
    let pairs =
        [("GNU.sparse.size", "20"), ("GNU.sparse.name", "f"), ("GNU.sparse.map", "5,3,18,2,20,0")];
    lists(&[pax(&pairs), header("GNUSparseFile.1/f", 5, b'0'), data.clone(), end()], &expected);
    // 1.0
    let one = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "f"),
        ("GNU.sparse.realsize", "20"),
    ];
    let map = padded(b"2\n5\n3\n18\n2\n");
    lists(&[pax(&one), header("x", 517, b'0'), map, data.clone(), end()], &expected);
    // Old GNU, with a second block of pairs.
    let pair = |offset: u64, len: u64| format!("{offset:011o}\0{len:011o}\0").into_bytes();
    let old = |pairs: &[u8], extended: u8, size: u64| {
        Header::new("f", size, b'S')
            .set(257, b"ustar  \0")
            .set(386, pairs)
            .set(482, &[extended])
            .set(483, b"00000000024\0")
            .bytes()
    };
    lists(&[old(&[pair(5, 3), pair(18, 2)].concat(), 0, 5), data.clone(), end()], &expected);
    let mut more = pair(18, 2);
    more.resize(512, 0);
    lists(
        &[
            old(&[pair(5, 1), pair(6, 1), pair(7, 1), pair(8, 0)].concat(), 1, 5),
            more.clone(),
            data.clone(),
            end(),
        ],
        &expected,
    );
    let sparse = |map: &str, size: &str, stored: u64| {
        let pairs = [("GNU.sparse.size", size), ("GNU.sparse.map", map)];
        [pax(&pairs), header("f", stored, b'0'), data.clone(), end()]
    };
    refused(&sparse("5,3,7,2", "20", 5), "overlap");
    refused(&sparse("18,3,5,2", "30", 5), "overlap");
    refused(&sparse("5,3,18,3", "20", 6), "beyond its file");
    refused(&sparse("5,3,18,1", "20", 5), "another length than its data");
    refused(&sparse("5,3,18", "20", 5), "half a pair");
    refused(&sparse("5,-3", "20", 5), "unreadable sparse map");
    refused(&sparse("18446744073709551615,5", "20", 5), "overflows");
    refused(&sparse("0,5", "9223372036854775808", 5), "impossible size");
    refused(
        &[pax(&[("GNU.sparse.map", "0,5")]), header("f", 5, b'0'), data.clone(), end()],
        "without a size",
    );
    refused(
        &[pax(&[("GNU.sparse.size", "5")]), header("f", 5, b'0'), data.clone(), end()],
        "without a map",
    );
    refused(
        &[
            pax(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")]),
            header("f", 5, b'0'),
            data.clone(),
            end(),
        ],
        "unknown version",
    );
    refused(
        &[pax(&one), header("x", 517, b'0'), padded(b"99999999\n"), data.clone(), end()],
        "over the limit",
    );
    refused(&[pax(&one), header("x", 5, b'0'), data.clone(), end()], "cut sparse map");
    refused(&[old(&pair(5, 5), 1, 5), more, data.clone(), end()], "goes on behind its end");
    refused(&[pax(&[("size", "5")]), old(&pair(5, 5), 0, 5), data.clone(), end()], "in two ways");
    refused(
        &[pax(&[("GNU.sparse.map", "0,0"), ("GNU.sparse.size", "0")]), header("d", 0, b'5'), end()],
        "content in what is no file",
    );
}

#[test]
fn content_can_be_read_with_its_holes() {
    use std::io::Read as _;
    let pairs = [("GNU.sparse.size", "20"), ("GNU.sparse.map", "5,3,15,2")];
    let archive =
        [pax(&pairs), header("f", 5, b'0'), padded(b"abcde"), file("g", b"next"), end()].concat();
    let mut input = &archive[..];
    let mut reader = Reader::new(&mut input, Limits::default());
    for expected in [&b"\0\0\0\0\0abc\0\0\0\0\0\0\0de\0\0\0"[..], b"next"] {
        reader.next_entry().unwrap().unwrap();
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        assert_eq!(content, expected);
    }
    assert!(reader.next_entry().unwrap().is_none());
    let mut none = Vec::new();
    assert_eq!(reader.read_to_end(&mut none).unwrap(), 0);
}
