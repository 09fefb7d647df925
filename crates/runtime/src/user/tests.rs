use super::*;

const PASSWD: &str = "\
# comment
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:/bin/false

web:x:33:34:Web,,,:/var/www:/bin/sh
1000:x:0:0:a trap:/root:/bin/sh
99999999999999999999:x:0:0:a trap:/root:/bin/sh
4294967296:x:0:0:a trap:/root:/bin/sh
-1:x:0:0:a trap:/root:/bin/sh
broken:x:zero:0:no number:/root:/bin/sh
huge:x:4294967295:0:out of range:/root:/bin/sh
minus:x:-1:0:out of range:/root:/bin/sh
short:x:50
homeless:x:60:61::
";

const GROUP: &str = "\
root:x:0:
wheel:x:10:root,web
staff:x:50: web ,daemon
video:x:44:nobody
1234:x:0:web2
bad:x:nine:web
";

fn check(spec: &str, expected: &str) {
    let found = Wanted::parse(spec).and_then(|wanted| {
        let Wanted::Docker { user, group } = wanted else { unreachable!() };
        look_up(user.as_ref(), group.as_ref(), PASSWD, &mut || Ok(GROUP.to_owned()))
    });
    let text = match found {
        Ok(i) => format!("{}:{} {:?} {}", i.uid, i.gid, i.groups, i.home),
        Err(e) => format!("error: {e}"),
    };
    assert_eq!(text, expected, "{spec:?}");
}

#[test]
fn docker_user_strings() {
    check("", "0:0 [10] /root");
    check("root", "0:0 [10] /root");
    check("web", "33:34 [10, 50] /var/www");
    check("33", "33:34 [10, 50] /var/www");
    check("web:video", "33:44 [] /var/www");
    check("web:7", "33:7 [] /var/www");
    check("77", "77:0 [] /");
    check("77:88", "77:88 [] /");
    check("77:video", "77:44 [] /");
    check("1000:", "1000:0 [] /");
    check("homeless", "60:61 [] /");
    check("2147483647", "2147483647:0 [] /");
}

#[test]
fn nobody_is_an_error_with_dockers_words() {
    check("nosuch", "error: unable to find user nosuch: no matching entries in passwd file");
    check("web:nosuch", "error: unable to find group nosuch: no matching entries in group file");
    check("1000x", "error: unable to find user 1000x: no matching entries in passwd file");
    check("0x3e8", "error: unable to find user 0x3e8: no matching entries in passwd file");
    check(" 1000", "error: unable to find user  1000: no matching entries in passwd file");
    check("broken", "error: unable to find user broken: no matching entries in passwd file");
    check("huge", "error: unable to find user huge: no matching entries in passwd file");
    check("minus", "error: unable to find user minus: no matching entries in passwd file");
    check("short", "error: unable to find user short: no matching entries in passwd file");
    check("web:bad", "error: unable to find group bad: no matching entries in group file");
}

#[test]
fn numbers_never_become_names_and_never_wrap() {
    let range = "error: uids and gids must be in range 0-2147483647";
    // The user file maps each of these strings to uid 0.
    for spec in ["2147483648", "4294967295", "4294967296", "-1", "99999999999999999999", "+0", "-0"]
    {
        check(spec, range);
    }
    for spec in ["1000:4294967296", "web:-1", "web:2147483648"] {
        check(spec, range);
    }
    check("1000", "1000:0 [] /");
    check("web:1234", "33:1234 [] /var/www");
    check(":1000", "error: invalid user \":1000\": there is no user before the colon");
    check("a:b:c", "error: invalid user \"a:b:c\"");
    check("web\nroot", "error: invalid user \"web\\nroot\"");
}

#[test]
fn hostile_files_are_refused_or_count_as_empty_without_waiting() {
    let path = std::env::temp_dir().join(format!("runtime-user-{}", std::process::id()));
    std::fs::create_dir_all(path.join("etc")).unwrap();
    let root = Dir::open(&path).unwrap();
    let numeric = Wanted::parse("5").unwrap();
    let named = Wanted::parse("web").unwrap();
    let fifo = path.join("etc/passwd");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(resolve(&root, &numeric, &[], &[]).unwrap().uid, 5);
    assert!(
        resolve(&root, &named, &[], &[])
            .unwrap_err()
            .to_string()
            .starts_with("unable to find user web")
    );
    for target in ["/dev/zero", "/etc", "passwd", "../../../../etc/passwd", "/nowhere"] {
        std::fs::remove_file(&fifo).unwrap();
        std::os::unix::fs::symlink(target, &fifo).unwrap();
        assert_eq!(resolve(&root, &numeric, &[], &[]).unwrap().home, "/", "{target}");
    }
    std::fs::remove_file(&fifo).unwrap();
    std::fs::File::create(&fifo).unwrap().set_len(2 << 30).unwrap();
    assert!(resolve(&root, &numeric, &[], &[]).unwrap_err().to_string().contains("longer than"));
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn groups_are_a_set_with_the_own_one_among_them() {
    let path = std::env::temp_dir().join(format!("runtime-groups-{}", std::process::id()));
    std::fs::create_dir_all(path.join("etc")).unwrap();
    std::fs::write(path.join("etc/passwd"), PASSWD).unwrap();
    std::fs::write(path.join("etc/group"), GROUP).unwrap();
    let root = Dir::open(&path).unwrap();
    let groups = |spec: &str, extra: &[u32], names: &[&str]| {
        let names: Vec<Name> = names.iter().map(|n| name(n).unwrap().unwrap()).collect();
        resolve(&root, &Wanted::parse(spec).unwrap(), extra, &names).map(|i| i.groups)
    };
    assert_eq!(groups("web", &[], &[]).unwrap(), [10, 34, 50]);
    assert_eq!(groups("web:7", &[9, 7], &["video", "1234"]).unwrap(), [7, 9, 44, 1234]);
    let error = groups("web", &[], &["nosuch"]).unwrap_err().to_string();
    assert_eq!(error, "Unable to find group nosuch: no matching entries in group file");
    let ids = Wanted::Ids { uid: 33, gid: 1 };
    let identity = resolve(&root, &ids, &[3], &[]).unwrap();
    assert_eq!((identity.groups.as_slice(), identity.home.as_str()), (&[3][..], "/var/www"));
    std::fs::remove_dir_all(&path).unwrap();
}
