//! Who a process is, by the container's own files.

use crate::job::Job;

#[track_caller]
fn check(user: &str, expected: &str) {
    let outcome = Job::shell("echo $(id -u):$(id -g) $(id -G) $HOME").user(user).run();
    match outcome.error {
        Some(error) => assert_eq!(format!("error: {error}"), expected, "{user:?}"),
        None => assert_eq!(outcome.ok(), expected, "{user:?}"),
    }
}

#[test]
fn names_numbers_and_groups() {
    check("", "0:0 0 /root");
    check("web", "33:34 34 50 /home");
    check("33", "33:34 34 50 /home");
    check("web:audio", "33:63 63 /home");
    check("5:6", "5:6 6 /");
    check("nosuch", "error: unable to find user nosuch: no matching entries in passwd file");
    check("web:nosuch", "error: unable to find group nosuch: no matching entries in group file");
    check("4294967296", "error: uids and gids must be in range 0-2147483647");
}

#[test]
fn groups_can_be_added_by_number_and_name() {
    let outcome = Job::shell("id -G")
        .user("web")
        .process(|p| {
            p.user.additional_gids = vec![777];
            p.user.additional_groups = vec!["audio".to_owned()];
        })
        .run();
    assert_eq!(outcome.ok(), "34 50 63 777");
}

#[test]
fn plain_ids_of_the_specification_are_taken_as_they_are() {
    let user =
        oci::runtime::User { uid: 7, gid: 8, additional_gids: vec![9], ..Default::default() };
    let outcome = Job::shell("echo $(id -u):$(id -g) $(id -G)").process(|p| p.user = user).run();
    assert_eq!(outcome.ok(), "7:8 8 9");
}

#[test]
fn a_user_can_open_its_streams_again() {
    let outcome = Job::shell("echo a > /dev/stdout; echo b > /proc/self/fd/2").user("web").run();
    assert_eq!((outcome.ok(), outcome.stderr.as_str()), ("a", "b\n"));
}

#[test]
fn supplementary_groups_bind() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let job = Job::shell("cat /secret 2>/dev/null || echo denied").user("web").file("secret", "s");
    let path = job.upper().join("secret");
    chown(&path, Some(0), Some(50)).unwrap();
    // Everybody may read it but the group staff, which web is in (CVE-2022-36109).
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(job.run().ok(), "denied");
}
