//! Tables of what is mounted where.

use super::*;

fn show(point: &MountPoint) -> String {
    format!(
        "{:?} {}{} → {} {}{}",
        point.kind,
        point.source.display(),
        if point.anonymous { "" } else { point.name.as_deref().unwrap_or_default() },
        point.destination,
        if point.rw { "rw" } else { "ro" },
        if point.copy_up { "" } else { " nocopy" },
    )
}

fn check(text: &str, wanted: &str) {
    let got = bind::parse(text).map_or_else(|e| e.to_string(), |p| show(&p));
    assert_eq!(got, wanted, "{text}");
}

/// The refusals were recorded from dockerd 26.1.
#[test]
fn bind_texts() {
    check("/tmp:/a/../b", "Bind /tmp → /b rw nocopy");
    check("/tmp:/b:ro", "Bind /tmp → /b ro nocopy");
    check("/tmp:/b:ro,z,rslave,cached", "Bind /tmp → /b ro nocopy");
    check("data:/b:ro,nocopy", "Volume data → /b ro nocopy");
    check("data:/b", "Volume data → /b rw");
    check("/only", "Volume  → /only rw");
    for mode in ["foo", "ro,rw", "ro,ro", "z,Z", "rshared,rslave", "nocopy,nocopy", "ro,", "/z"] {
        check(&format!("/tmp:/x:{mode}"), &format!("invalid mode: {mode}"));
    }
    let of = |text: &str, kind: &str, why: &str| {
        let invalid = format!("invalid volume specification: '{text}'");
        check(text, &format!("{invalid}: invalid mount config for type \"{kind}\": {why}"));
    };
    of("/tmp:/x:nocopy", "bind", "field VolumeOptions must not be specified");
    of("vol1:/x:rshared", "volume", "field BindOptions must not be specified");
    of("/tmp:/", "bind", "invalid specification: destination can't be '/'");
    of("vol1:x", "volume", "invalid mount path: 'x' mount path must be absolute");
    check("a:b:c:d", "invalid volume specification: 'a:b:c:d'");
    check(":/x", "invalid volume specification: ':/x'");
}

fn planned(config: &Config, host: &HostConfig) -> Vec<String> {
    let other = |name: &str| match name {
        "other" => Ok(vec![
            bind::parse("/tmp:/one").unwrap(),
            bind::parse("data:/two").unwrap(),
            bind::parse("data:/three:ro").unwrap(),
        ]),
        name => Err(Error::not_found(format!("No such container: {name}"))),
    };
    match plan(config, host, other) {
        Ok(plan) => plan.points.iter().map(show).collect(),
        Err(e) => vec![e.to_string()],
    }
}

#[test]
fn the_same_place_twice_is_refused() {
    let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let none = Config::default();
    let binds = HostConfig { binds: texts(&["/tmp:/x", "vol:/x/"]), ..HostConfig::default() };
    assert_eq!(planned(&none, &binds), ["Duplicate mount point: /x"]);
    let tmpfs = |path: &str| [(path.to_owned(), String::new())].into();
    let both =
        HostConfig { binds: texts(&["vol:/x"]), tmpfs: tmpfs("/x"), ..HostConfig::default() };
    assert_eq!(planned(&none, &both), ["Duplicate mount point: /x"]);
    // The image's volume gives way.
    let image = Config { volumes: texts(&["/x", "/y"]), ..Config::default() };
    let one = HostConfig { binds: texts(&["vol:/x"]), ..HostConfig::default() };
    assert_eq!(planned(&image, &one), ["Volume vol → /x rw", "Volume  → /y rw"]);
}

#[test]
fn what_comes_from_others_gives_way() {
    let from = |specs: &[&str], binds: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let host =
            HostConfig { volumes_from: texts(specs), binds: texts(binds), ..HostConfig::default() };
        planned(&Config::default(), &host)
    };
    let three = [
        "Bind /tmp → /one rw nocopy",
        "Volume data → /two rw nocopy",
        "Volume data → /three ro nocopy",
    ];
    assert_eq!(from(&["other"], &[]), three);
    assert_eq!(from(&["other:rw", "other"], &[]), three);
    assert_eq!(from(&["other:ro"], &[]).iter().filter(|p| p.contains(" ro ")).count(), 3);
    assert_eq!(from(&["other"], &["mine:/two"]), [three[0], three[2], "Volume mine → /two rw"],);
    assert_eq!(from(&["nope"], &[]), ["No such container: nope"]);
    assert_eq!(from(&["nope:foo"], &[]), ["invalid mode: foo"]);
    assert_eq!(from(&["nope:ro:rw"], &[]), ["invalid mode: ro:rw"]);
}

#[test]
fn an_images_volume_gets_a_name_of_its_own() {
    let config = Config { volumes: vec!["/data".to_owned()], ..Config::default() };
    let plan = plan(&config, &HostConfig::default(), |_| Ok(Vec::new())).unwrap();
    assert_eq!(plan.volumes.len(), 1);
    assert!(plan.volumes[0].anonymous);
    assert!(
        plan.points[0].anonymous && plan.points[0].name.as_ref().is_some_and(|n| n.len() == 64)
    );
}

#[test]
fn tmpfs_texts() {
    let check = |target: &str, options: &str, wanted: &str| {
        let got = tmpfs::parse(target, options);
        let got = got.map_or_else(
            |e| e.to_string(),
            |p| {
                format!(
                    "{} {} {}",
                    p.destination,
                    if p.rw { "rw" } else { "ro" },
                    p.options.join(",")
                )
            },
        );
        assert_eq!(got, wanted);
    };
    check("/x/", "ro,exec,size=1m,mode=1700,uid=5", "/x ro exec,size=1m,mode=1700,uid=5");
    check("/x", "", "/x rw ");
    check("/x", "foo", "invalid tmpfs option \"foo\"");
    check("rel", "", "invalid mount path: 'rel' mount path must be absolute");
    check("/", "", "invalid specification: destination can't be '/'");
}

/// Images are strangers': what they ask for costs no more than its length, and more than is sane is refused.
#[test]
fn mounts_are_counted() {
    let paths = |count: usize| (0..count).map(|n| format!("/v{n}")).collect::<Vec<_>>();
    let refused = |got: &[String]| got.len() == 1 && got[0].contains("cannot have more than 1000");
    let begun = std::time::Instant::now();
    let image = |count| Config { volumes: paths(count), ..Config::default() };
    assert_eq!(planned(&image(1000), &HostConfig::default()).len(), 1000);
    assert!(refused(&planned(&image(200_000), &HostConfig::default())));
    let binds = paths(200_000).iter().map(|path| format!("/tmp:{path}")).collect();
    assert!(refused(&planned(&Config::default(), &HostConfig { binds, ..HostConfig::default() })));
    let volumes_from = vec!["other".to_owned(); 200_000];
    assert!(refused(&planned(
        &Config::default(),
        &HostConfig { volumes_from, ..HostConfig::default() }
    )));
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}
