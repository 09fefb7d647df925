//! Devices are refused and allowed, by the v1 controller and by a program on v2.

use crate::place::{Place, Script, layouts, resources, text};

#[test]
fn devices_are_refused_until_they_are_allowed() {
    for (name, hierarchies) in layouts() {
        let place = Place::new(&format!("dev-{name}"), hierarchies);
        // What Docker writes first.
        let group = place.create(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).unwrap();
        let dir = std::env::temp_dir().join(&place.name);
        std::fs::create_dir(&dir).unwrap();
        // /dev/mem, /dev/kmsg: nobody's. /dev/null: everybody's.
        let script = format!(
            "cd {}; mknod mem c 1 1 && echo made; mknod kmsg c 1 11; cat mem; exec 3>kmsg; echo never",
            dir.display()
        );
        let output =
            Script::start(&group, &format!("echo x >/dev/null; head -c1 /dev/zero; {script}"))
                .output();
        assert_eq!(text(&output.stdout), "\0made\n", "{output:?}");
        assert_eq!(
            text(&output.stderr).matches("Operation not permitted").count(),
            2,
            "{output:?}"
        );

        let open = format!("exec 3>{}/kmsg; echo opened", dir.display());
        group
            .update(&resources(
                r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"rw"}]}"#,
            ))
            .unwrap();
        assert_eq!(text(&Script::start(&group, &open).output().stdout), "opened\n");
        if name != "v2" {
            assert!(place.read("devices", "devices.list").contains("c 1:11 rw"));
        }
        group.update(&resources(r#"{"devices":[{"allow":false}]}"#)).unwrap();
        assert!(
            text(&Script::start(&group, &open).output().stderr).contains("Operation not permitted")
        );
        std::fs::remove_dir_all(&dir).unwrap();
        group.remove().unwrap();
    }
}

#[test]
fn on_v2_devices_are_refused_by_a_program() {
    let Some((_, all)) = layouts().into_iter().next() else { return };
    let all = all.to_string();
    let Some(unified) = all.lines().find(|l| l.starts_with('2')) else {
        println!("skipped: no v2 hierarchy is mounted");
        return;
    };
    // The v2 hierarchy alone, without the controllers: those would have to be enabled in the host's root.
    let mount = unified.splitn(3, ':').nth(2).unwrap();
    let place = Place::new("ebpf", format!("2::{mount}").parse().unwrap());
    let group = place.create(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).unwrap();
    let dir = std::env::temp_dir().join(&place.name);
    std::fs::create_dir(&dir).unwrap();
    let script = format!(
        "echo x >/dev/null; head -c1 /dev/zero; cd {}; mknod mem c 1 1 && echo made; mknod kmsg c 1 11; cat mem; \
         exec 3>kmsg; echo never",
        dir.display()
    );
    let output = Script::start(&group, &script).output();
    assert_eq!(text(&output.stdout), "\0made\n", "{output:?}");
    assert_eq!(text(&output.stderr).matches("Operation not permitted").count(), 2, "{output:?}");

    let attached = || sys::bpf::DeviceProgram::attached(group.enter_fd().unwrap()).unwrap().len();
    assert_eq!(attached(), 1);
    group
        .update(&resources(
            r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"w"}]}"#,
        ))
        .unwrap();
    assert_eq!(attached(), 1, "replaced, not added");
    let open = |how: &str| {
        text(
            &Script::start(&group, &format!("exec 3{how}{}/kmsg; echo opened", dir.display()))
                .output()
                .stdout,
        )
    };
    assert_eq!(open(">"), "opened\n");
    assert_eq!(open("<"), "", "only writing was allowed");
    group
        .update(&resources(
            r#"{"devices":[{"allow":true},{"allow":false,"type":"c","major":1,"minor":11}]}"#,
        ))
        .unwrap();
    assert_eq!(open(">"), "");
    let made =
        Script::start(&group, &format!("cd {}; mknod other b 7 77 && echo made", dir.display()))
            .output();
    assert_eq!(text(&made.stdout), "made\n");
    std::fs::remove_dir_all(&dir).unwrap();

    // A program that the kernel refuses says why: it ends without an answer.
    let error = sys::bpf::DeviceProgram::load(&[[0xb7, 0, 0, 0, 0, 0, 0, 0]]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("eBPF device program refused"), "{error}");
    group.kill().unwrap();
    group.remove().unwrap();
}
