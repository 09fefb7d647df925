use super::*;

const KERNEL: Kernel = Kernel { major: 6, minor: 1 };

fn names(profile: &Profile, caps: &[&str], arch: Arch, kernel: Kernel) -> String {
    let filter = profile.resolve(caps, arch, kernel);
    filter
        .syscalls
        .iter()
        .map(|s| s.names.iter().collect::<Vec<_>>().join("+"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn conditions_decide_which_rules_are_there() {
    let profile = Profile::parse(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["always"],"action":"SCMP_ACT_ALLOW","args":null,"comment":"","includes":{},"excludes":null},
        {"names":["both"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_A","CAP_B"]}},
        {"names":["without"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_A","CAP_B"]}},
        {"names":["arm"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm","arm64"]}},
        {"names":["notarm"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["arm64"]}},
        {"names":["new"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.5"}},
        {"names":["old"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"6.5"}},
        {"name":"single","action":"SCMP_ACT_ALLOW"}
    ]}"#,
    )
    .unwrap();
    let check = |caps: &[&str], arch, kernel, expected: &str| {
        assert_eq!(names(&profile, caps, arch, kernel), expected);
    };
    let newer = Kernel { major: 6, minor: 10 };
    check(&[], Arch::X86_64, KERNEL, "always without notarm old single");
    check(&["CAP_A"], Arch::X86_64, KERNEL, "always notarm old single");
    check(&["CAP_A", "CAP_B"], Arch::X86_64, newer, "always both notarm new single");
    check(&[], Arch::Aarch64, newer, "always without arm new single");
}

#[test]
fn architectures_come_from_the_map_of_the_machine() {
    let profile = Profile::parse(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[
        {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]},
        {"architecture":"SCMP_ARCH_RISCV64","subArchitectures":null}],"syscalls":null}"#,
    )
    .unwrap();
    let architectures = |arch| profile.resolve(&[""; 0], arch, KERNEL).architectures;
    assert_eq!(architectures(Arch::X86_64), ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    assert!(architectures(Arch::Aarch64).is_empty());
}

#[test]
fn the_oci_form_is_a_profile_too() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"flags":["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ERRNO","errnoRet":13,
        "args":[{"index":1,"value":2,"valueTwo":3,"op":"SCMP_CMP_EQ"}]}]}"#;
    let resolved = Profile::parse(text).unwrap().resolve(&[""; 0], Arch::X86_64, KERNEL);
    assert_eq!(resolved, serde_json::from_str(text).unwrap());
}

#[test]
fn bad_profiles_are_refused_with_the_words_users_know() {
    let check = |text: &str, expected: &str| {
        let error = Profile::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check("{", "decoding seccomp profile failed: EOF");
    check("{}", "the seccomp profile has no 'defaultAction'");
    check(r#"{"defaultAction":"SCMP_ACT_DREAM"}"#, "invalid seccomp action \"SCMP_ACT_DREAM\"");
    check(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["a"],"archMap":[{"architecture":"b"}]}"#,
        "both 'architectures' and 'archMap' are specified",
    );
    check(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_LOG"}]}"#,
        "both 'name' and 'names' are specified",
    );
    let rule = |rest: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["a"],"action":"SCMP_ACT_ERRNO"{rest}}}]}}"#
        )
    };
    check(&rule(r#","errnoRet":5000"#), "invalid seccomp errnoRet 5000");
    check(
        &rule(r#","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]"#),
        "invalid seccomp argument index 6",
    );
    check(
        &rule(r#","args":[{"index":0,"value":0,"op":"SCMP_CMP_XX"}]"#),
        "invalid seccomp operator \"SCMP_CMP_XX\"",
    );
    check(
        &rule(r#","includes":{"minKernel":"six"}"#),
        "decoding seccomp profile failed: invalid kernel version: \"six\"",
    );
}

#[test]
fn kernel_versions_are_read_and_ordered() {
    let kernel = |text: &str| text.parse::<Kernel>().unwrap();
    assert_eq!(kernel("6.1.0-56-amd64"), KERNEL);
    assert_eq!(kernel("4.8"), Kernel { major: 4, minor: 8 });
    assert!(kernel("4.19") > kernel("4.8") && kernel("5.0") > kernel("4.19"));
    for bad in ["", "6", "6.", "a.1", "6.x"] {
        assert!(bad.parse::<Kernel>().is_err(), "{bad}");
    }
}

#[test]
fn profiles_survive_writing_and_reading() {
    let profile = Profile::builtin(crate::Strictness::Default);
    let text = serde_json::to_string(&profile).unwrap();
    assert_eq!(Profile::parse(&text).unwrap(), profile);
}
