use super::*;
use proptest::prelude::*;

const HEX: &str = "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0";

fn check(text: &str, full: &str, familiar: &str) {
    let text = text.replace("HEX", HEX);
    let reference: ImageRef = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(reference.to_string(), full.replace("HEX", HEX), "{text}");
    assert_eq!(reference.familiar(), familiar.replace("HEX", HEX), "{text}");
    assert_eq!(reference.familiar().parse(), Ok(reference.clone()), "familiar form of {text}");
    assert_eq!(reference.to_string().parse(), Ok(reference), "full form of {text}");
}

#[test]
fn names_are_normalised_and_familiar_again() {
    check("busybox", "docker.io/library/busybox", "busybox");
    check("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36");
    check("library/busybox", "docker.io/library/busybox", "busybox");
    check("docker.io/busybox", "docker.io/library/busybox", "busybox");
    check("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox");
    check("me/app", "docker.io/me/app", "me/app");
    check("me/app/part", "docker.io/me/app/part", "me/app/part");
    check("library/a/b", "docker.io/library/a/b", "library/a/b");
    check("localhost/app", "localhost/app", "localhost/app");
    check("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1");
    check("127.0.0.1:5000/a/b_c", "127.0.0.1:5000/a/b_c", "127.0.0.1:5000/a/b_c");
    check("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app");
    check("[2001:db8::1]/app", "[2001:db8::1]/app", "[2001:db8::1]/app");
    check("quay.io/a-b/c.d__e", "quay.io/a-b/c.d__e", "quay.io/a-b/c.d__e");
    check("Host/app", "Host/app", "Host/app");
    // Without the domain, these would be taken for another registry's.
    check("docker.io/localhost/x", "docker.io/localhost/x", "docker.io/localhost/x");
    check("docker.io/a.b/c", "docker.io/a.b/c", "docker.io/a.b/c");
    check("a---b", "docker.io/library/a---b", "a---b");
    check("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000");
    check("app@sha256:HEX", "docker.io/library/app@sha256:HEX", "app@sha256:HEX");
    check("app:v1@sha256:HEX", "docker.io/library/app:v1@sha256:HEX", "app:v1@sha256:HEX");
    check("app:_V1.x-y", "docker.io/library/app:_V1.x-y", "app:_V1.x-y");
    check(
        &format!("a:{}", "t".repeat(128)),
        &format!("docker.io/library/a:{}", "t".repeat(128)),
        &format!("a:{}", "t".repeat(128)),
    );
}

#[test]
fn refusals_have_dockers_texts() {
    let refuse = |text: &str, error: &str| {
        let text = text.replace("HEX", HEX);
        assert_eq!(
            text.parse::<ImageRef>().unwrap_err().to_string(),
            error.replace("HEX", HEX),
            "{text}"
        );
    };
    for bad in [
        "",
        ":",
        "/",
        "a/",
        "/a",
        "a//b",
        "a:",
        ":a",
        "a@",
        "@sha256:HEX",
        "a b",
        "-a",
        "a-",
        "a__-b",
        "a___b",
        "a..b",
        "a:b:c",
        "a:-b",
        "https://a/b",
        "http://quay.io/x",
        "localhost:/a",
        "localhost:x/a",
        "a.-b.c/d",
        "[::1/a",
        "[]/a",
        "[::1]x/a",
        "a@sha256",
        "a@sha256:abc",
        "a@sha256:HEX@sha256:HEX",
        "a\n",
        "ä",
        "../a",
        "a/../b",
        "a.b/./c",
        "a.b/",
    ] {
        refuse(bad, "invalid reference format");
    }
    refuse(&format!("a:{}", "t".repeat(129)), "invalid reference format");
    refuse(
        "Busybox",
        "invalid reference format: repository name (library/Busybox) must be lowercase",
    );
    refuse(
        "quay.io/Me/app:v1",
        "invalid reference format: repository name (Me/app) must be lowercase",
    );
    refuse("HEX", "invalid repository name (HEX), cannot specify 64-byte hexadecimal strings");
    refuse("a@sha512:HEX", "invalid checksum digest length");
    refuse("a@md5:HEX", "unsupported digest algorithm");
    refuse(
        "a/".repeat(200).trim_end_matches('/'),
        "repository name must not be more than 255 characters",
    );
}

#[test]
fn parts() {
    let name: ImageRef = "busybox".parse().unwrap();
    assert!(name.is_name_only());
    assert_eq!(name.clone().with_default_tag().familiar(), "busybox:latest");
    assert_eq!(name.with_tag("1").unwrap().familiar(), "busybox:1");
    assert_eq!(name.with_tag("a b").unwrap_err().to_string(), "invalid tag format");
    let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
    let both: ImageRef = format!("me/app:1@{digest}").parse().unwrap();
    assert_eq!(both.clone().with_default_tag(), both);
    assert_eq!(both.without_digest().familiar(), "me/app:1");
    assert_eq!(both.name_only().familiar(), "me/app");
    assert_eq!(both.with_digest(digest.clone()).familiar(), format!("me/app@{digest}"));
    assert_eq!(
        (both.domain(), both.path(), both.tag(), both.digest()),
        ("docker.io", "me/app", Some("1"), Some(&digest))
    );
}

proptest! {
    #[test]
    fn nothing_panics_and_what_parses_prints_back(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,40}") {
        if let Ok(reference) = text.parse::<ImageRef>() {
            prop_assert_eq!(reference.to_string().parse::<ImageRef>(), Ok(reference.clone()));
            prop_assert_eq!(reference.familiar().parse::<ImageRef>(), Ok(reference));
        }
    }
}
