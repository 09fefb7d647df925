//! What no honest client sends: always an answer, never a crash, nothing half-made.

use crate::rig::{Answer, Rig};

/// Posts garbage to every route that reads JSON.
async fn everywhere(rig: &Rig, body: &str, check: impl Fn(&str, &Answer)) {
    rig.container("web", "").await;
    for path in ["/v1.45/containers/create", "/v1.45/containers/web/exec", "/v1.45/exec/x/start"] {
        let answer = rig.post(path, body).await;
        check(path, &answer);
    }
    assert_eq!(rig.get("/_ping").await.body, "OK");
    assert_eq!(rig.send("DELETE", "/v1.45/containers/web").await.status, 204);
}

#[tokio::test]
async fn malformed_json_is_refused_in_dockers_words() {
    let rig = Rig::with_image().await;
    for (body, wanted) in [
        ("{", "invalid JSON: unexpected EOF"),
        ("[]", "invalid JSON: json: cannot unmarshal array into Go value of type"),
        ("x", "invalid JSON: invalid character 'x' looking for beginning of value"),
        ("{} {}", "unexpected content after JSON"),
        ("\u{feff}{}", "invalid JSON: "),
        (" ", "invalid JSON: got EOF while reading request body"),
        (r#"{"Cmd":5,"Tty":"x"}"#, "invalid JSON: "),
        (r#"{"Tty":1e999}"#, "invalid JSON: "),
        (r#"{"Tty":"\ud800"}"#, "invalid JSON: "),
    ] {
        everywhere(&rig, body, |path, answer| {
            assert!(answer.error(400).starts_with(wanted), "{path} {body}: {}", answer.body);
        })
        .await;
    }
    let image = rig.post("/v1.45/containers/create", r#"{"Image":5}"#).await;
    assert_eq!(
        image.error(400),
        "invalid JSON: json: cannot unmarshal number into Go struct field ContainerConfig.Image of type string"
    );
}

#[tokio::test]
async fn deep_and_large_bodies_are_refused() {
    let rig = Rig::with_image().await;
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    everywhere(&rig, &deep, |path, answer| drop((path, answer.error(400)))).await;
    let inside = format!("{{\"Tty\":{deep}}}");
    everywhere(&rig, &inside, |path, answer| drop((path, answer.error(400)))).await;
    let large = format!("{{\"Image\":\"{}\"}}", "x".repeat(9 << 20));
    let answer = rig.post("/v1.45/containers/create", &large).await;
    assert_eq!(answer.error(400), "request body is larger than 8388608 bytes");
    // The same without a length that gives it away.
    let mut chunked =
        b"POST /v1.45/containers/create HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n\
          Transfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..10 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.resize(chunked.len() + 0x10_0000, b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = rig.raw(&chunked).await;
    // The connection may be gone before the client has sent all and reads.
    assert!(answer.status == 0 || answer.status == 400, "{answer:?}");
    assert_eq!(rig.get("/_ping").await.body, "OK");
}

#[tokio::test]
async fn content_types_are_checked() {
    let rig = Rig::new().await;
    let path = "/v1.45/containers/create";
    let answer = rig.post_bytes(path, "application/x-www-form-urlencoded", b"{}").await;
    assert_eq!(
        answer.error(400),
        "unsupported Content-Type header (application/x-www-form-urlencoded): must be 'application/json'"
    );
    let answer = rig.post_bytes(path, "application/json; charset=utf-8", b"{}").await;
    assert_eq!(answer.error(400), "config cannot be empty in order to create a container");
    let none = b"POST /v1.45/containers/create HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(
        rig.raw(none).await.error(400),
        "malformed Content-Type header (): mime: no media type"
    );
}

#[tokio::test]
async fn paths_and_queries_that_are_no_text() {
    let rig = Rig::new().await;
    for path in
        ["/v1.45/containers/%zz/json", "/v1.45/containers/%ff/json", "/v1.45/containers/%/json"]
    {
        assert_eq!(rig.get(path).await.status, 400, "{path}");
    }
    assert_eq!(
        rig.get("/v1.45/containers/json?filters=%zz").await.error(400),
        "invalid URL escape \"%zz\""
    );
    for path in [
        "/v1.45/containers/..%2f..%2fetc/json",
        "/v1.45/containers/a%00b/json",
        "/v1.45/images/%0a/json",
    ] {
        let answer = rig.get(path).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    for path in ["/v1.45/containers//json", "//containers/json", "/v1.45/", "/v1.45"] {
        assert_eq!(rig.get(path).await.error(404), "page not found", "{path}");
    }
}

#[tokio::test]
async fn web_pages_are_not_answered() {
    let rig = Rig::new().await;
    let page =
        b"GET /version HTTP/1.1\r\nHost: evil\r\nOrigin: http://evil\r\nConnection: close\r\n\r\n";
    assert_eq!(rig.raw(page).await.error(403), "requests of web pages are not answered");
}

#[tokio::test]
async fn broken_archives_make_nothing() {
    let rig = Rig::new().await;
    for body in [&b""[..], b"garbage", &[0; 4096]] {
        let answer = rig.post_bytes("/v1.45/images/load", "application/x-tar", body).await;
        let failed = answer.status >= 400 || answer.body.contains("\"error\"");
        assert!(failed, "{answer:?}");
    }
    let images = rig.get("/v1.45/images/json").await.json();
    assert_eq!(images.as_array().unwrap().len(), 1, "hello-world alone: {images}");
}

#[tokio::test]
async fn references_are_checked_before_a_registry_is_asked() {
    let rig = Rig::new().await;
    for (query, wanted) in [
        (
            "fromImage=UPPER",
            "invalid reference format: repository name (library/UPPER) must be lowercase",
        ),
        ("fromImage=a%20b", "invalid reference format"),
        ("fromImage=", "invalid reference format"),
    ] {
        assert_eq!(
            rig.post(&format!("/v1.45/images/create?{query}"), "").await.error(400),
            wanted,
            "{query}"
        );
    }
    let import = rig.post("/v1.45/images/create?fromSrc=-", "").await;
    assert!(import.error(501).contains("not implemented yet"));
}
