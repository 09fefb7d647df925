use super::*;

pub(crate) fn rule(text: &str) -> DeviceRule {
    let words: Vec<&str> = text.split(' ').collect();
    let numbers = words.get(2).map(|n| n.split_once(':').unwrap());
    let number = |n: &str| if n == "*" { None } else { Some(n.parse().unwrap()) };
    DeviceRule {
        allow: words[0] == "allow",
        kind: words.get(1).map(|k| (*k).to_owned()),
        major: numbers.and_then(|(a, _)| number(a)),
        minor: numbers.and_then(|(_, b)| number(b)),
        access: words.get(3).map(|a| (*a).to_owned()),
    }
}

fn check(rules: &[&str], expected: &str) {
    let mut policy = DevicePolicy::deny_all();
    let result = rules.iter().try_for_each(|text| policy.apply(&rule(text)));
    let text = match result {
        Err(error) => error.to_string(),
        Ok(()) => policy
            .v1()
            .iter()
            .map(|(f, l)| format!("{}<{l}", &f[8..]))
            .collect::<Vec<_>>()
            .join("; "),
    };
    assert_eq!(text, expected, "{rules:?}");
}

#[test]
fn rules_become_a_default_and_exceptions() {
    check(&[], "deny<a");
    check(&["deny a"], "deny<a");
    check(&["allow a"], "allow<a");
    check(&["allow c 1:3 rwm"], "deny<a; allow<c 1:3 rwm");
    check(&["allow c 1:3 r", "allow c 1:3 w"], "deny<a; allow<c 1:3 rw");
    check(&["allow b *:* m", "allow c 136:* rw"], "deny<a; allow<c 136:* rw; allow<b *:* m");
    check(&["allow a", "deny c 1:3 w"], "allow<a; deny<c 1:3 w");
    check(&["allow c 1:3", "deny a"], "deny<a");
    check(&["allow c 1:3", "deny c 1:3 w"], "deny<a; allow<c 1:3 rm");
    check(&["allow c 1:3", "allow c 1:5", "deny c 1:* rwm"], "deny<a");
    check(&["allow u 1:3 r"], "deny<a; allow<c 1:3 r");
}

#[test]
fn unreadable_and_impossible_rules_are_refused() {
    check(&["allow x 1:3 r"], "invalid device rule \"allow x 1:3 r\": kind must be one of a, b, c");
    check(
        &["allow c 1:3 rx"],
        "invalid device rule \"allow c 1:3 rx\": access must be of the letters r, w and m",
    );
    check(&["allow c -2:3 r"], "invalid device rule \"allow c -2:3 r\": major number out of range");
    check(
        &["allow a 1:3 rwm"],
        "invalid device rule \"allow a 1:3 rwm\": a rule for all kinds cannot name numbers",
    );
    check(
        &["allow a *:* r"],
        "invalid device rule \"allow a *:* r\": a rule for all kinds cannot name some accesses only",
    );
    check(
        &["allow c 1:* rwm", "deny c 1:3 w"],
        "invalid device rule \"deny c 1:3 w\": it would cut a hole into a wider rule before it",
    );
}

#[test]
fn containers_keep_the_default_devices_and_lose_the_rest() {
    let policy =
        DevicePolicy::for_container(&[rule("deny a"), rule("allow c 10:229 rwm")]).unwrap();
    for (block, major, minor, access, allowed) in [
        (false, 1, 3, READ | WRITE, true),
        (false, 1, 1, READ, false),
        (false, 1, 1, MKNOD, true),
        (true, 8, 0, READ, false),
        (true, 8, 0, MKNOD, true),
        (true, 8, 0, READ | MKNOD, false),
        (false, 10, 229, READ | WRITE | MKNOD, true),
        (false, 136, 77, READ | WRITE, true),
    ] {
        assert_eq!(
            policy.allows(block, major, minor, access),
            allowed,
            "{block} {major}:{minor} {access}"
        );
    }
    assert!(DevicePolicy::for_container(&[rule("allow a")]).unwrap().allows_all());
}
