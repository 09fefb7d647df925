//! Manifests and blobs, as they come and as they do not.

use crate::fake::{Answer, Asked, Fake, config, descriptor, fetch, noise, sha256};
use content::Fetcher as _;
use oci::image::media;
use remote::Registry;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use stdx::Kind;

const MANIFEST: &str = r#"{"schemaVersion":2}"#;

fn manifest() -> Answer {
    Answer::new(200, MANIFEST)
        .header("content-type", media::OCI_MANIFEST)
        .header("docker-content-digest", sha256(MANIFEST.as_bytes()).as_str())
}

#[tokio::test]
async fn a_tag_is_resolved_over_plain_http_after_tls_was_tried() {
    let fake = Fake::new(|_| manifest());
    let registry = Registry::new(config());
    let resolved = registry.session(None).resolve(&fake.image("me/app")).await.unwrap();
    assert_eq!(resolved.bytes, MANIFEST);
    assert_eq!(resolved.descriptor, descriptor(media::OCI_MANIFEST, MANIFEST.as_bytes()));
    let asked = fake.asked();
    assert_eq!((asked.len(), asked[0].target.as_str()), (1, "/v2/me/app/manifests/latest"));
    assert_eq!(asked[0].header("accept"), Some(media::ACCEPT.join(", ").as_str()));
    assert_eq!(asked[0].header("authorization"), None);
    let digest = sha256(MANIFEST.as_bytes());
    let by_digest = fake.image(&format!("me/app@{digest}"));
    registry.session(None).resolve(&by_digest).await.unwrap();
    assert_eq!(fake.asked()[1].target, format!("/v2/me/app/manifests/{digest}"));
}

#[tokio::test]
async fn refusals_have_dockers_texts() {
    let answers = [
        (
            Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            Kind::NotFound,
            "manifest for HOST/app:v1 not found: manifest unknown: manifest unknown",
        ),
        (
            Answer::new(404, "<html>nothing</html>"),
            Kind::NotFound,
            "manifest for HOST/app:v1 not found: manifest unknown: manifest unknown",
        ),
        (
            Answer::error(404, "NAME_UNKNOWN", "repository name not known to registry"),
            Kind::NotFound,
            "repository HOST/app not found: name unknown: repository name not known to registry",
        ),
        (
            Answer::error(403, "DENIED", "requested access to the resource is denied"),
            Kind::NotFound,
            "pull access denied for HOST/app, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        ),
        (
            Answer::error(401, "UNAUTHORIZED", "authentication required"),
            Kind::Unauthorized,
            "unauthorized: authentication required",
        ),
        (
            Answer::error(429, "TOOMANYREQUESTS", "slow down"),
            Kind::Unavailable,
            "toomanyrequests: slow down",
        ),
        (
            Answer::new(500, "oops"),
            Kind::Unavailable,
            "received unexpected HTTP status: 500 Internal Server Error",
        ),
    ];
    for (answer, kind, text) in answers {
        let fake = Fake::new(move |_| answer.clone());
        let error =
            Registry::new(config()).session(None).resolve(&fake.image("app:v1")).await.unwrap_err();
        let text = text.replace("HOST", &fake.address.to_string());
        assert_eq!((error.kind(), error.to_string()), (kind, text));
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    // Bound and closed again: refused.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let image = format!("{address}/app").parse().unwrap();
    let error = Registry::new(config()).session(None).resolve(&image).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (
            Kind::Unavailable,
            format!(
                "Get \"http://{address}/v2/\": dial tcp {address}: connect: connection refused"
            )
        )
    );
}

#[tokio::test]
async fn a_registry_that_lies_about_manifests_is_caught() {
    let digest = sha256(b"other");
    let said = digest.clone();
    let fake = Fake::new(move |_| {
        Answer::new(200, MANIFEST)
            .header("content-type", media::OCI_MANIFEST)
            .header("docker-content-digest", said.as_str())
    });
    let session = Registry::new(config()).session(None);
    let expected = (Kind::DataLoss, format!("manifest verification failed for digest {digest}"));
    for image in [fake.image("app"), fake.image(&format!("app@{digest}"))] {
        let error = session.resolve(&image).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), expected);
    }
    let fake = Fake::new(|_| manifest());
    let mut wrong = descriptor(media::OCI_MANIFEST, MANIFEST.as_bytes());
    wrong.size += 1;
    let error = session.manifest(&fake.image("app"), &wrong).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DataLoss);
    // More than any manifest is: reading stops.
    let fake =
        Fake::new(|_| Answer::new(200, noise(5 << 20)).header("content-type", media::OCI_MANIFEST));
    let error = session.resolve(&fake.image("app")).await.unwrap_err();
    assert!(
        error.kind() == Kind::DataLoss
            && error.to_string().contains("answer is over 4194304 bytes"),
        "{error}"
    );
}

/// Serves `bytes` with ranges; `answer` may change each answer by its number.
fn blob(
    bytes: &[u8],
    change: impl Fn(usize, &Asked, Answer) -> Answer + Send + Sync + 'static,
) -> Fake {
    let bytes = bytes.to_vec();
    let number = AtomicUsize::new(0);
    Fake::new(move |asked| {
        let from = asked.from();
        let answer = if from > 0 {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Answer::new(206, &bytes[from..]).header("content-range", &range)
        } else {
            Answer::new(200, bytes.clone())
        };
        change(number.fetch_add(1, Ordering::SeqCst), asked, answer)
    })
}

#[tokio::test]
async fn cut_transfers_go_on_where_they_ended() {
    let bytes = noise(300_000);
    let wanted = descriptor(media::OCI_LAYER, &bytes);
    let last = bytes.len() - 1;
    for cut in [0, 1, 70_000, last] {
        let fake = blob(&bytes, move |n, _, answer| if n == 0 { answer.cut(cut) } else { answer });
        let session = Registry::new(config()).session(None);
        assert!(
            fetch(&session, &fake.image("app"), &wanted).await.unwrap() == bytes,
            "cut at {cut}"
        );
        let asked = fake.asked();
        assert_eq!(asked.len(), 2);
        // What came is not asked for again; the network may have lost the very last of it.
        assert!(asked[1].from() <= cut && asked[1].from() + 70_000 >= cut, "{}", asked[1].from());
    }
    // Every answer is cut after a bit: as long as something comes, it goes on.
    let fake = blob(&bytes, |_, _, answer| answer.cut(20_000));
    let session = Registry::new(config()).session(None);
    assert!(fetch(&session, &fake.image("app"), &wanted).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_server_without_ranges_is_heard_out_again() {
    let bytes = noise(100_000);
    let whole = bytes.clone();
    let fake = Fake::new({
        let number = AtomicUsize::new(0);
        move |_| {
            let answer = Answer::new(200, whole.clone());
            if number.fetch_add(1, Ordering::SeqCst) == 0 { answer.cut(60_000) } else { answer }
        }
    });
    let session = Registry::new(config()).session(None);
    let wanted = descriptor(media::OCI_LAYER, &bytes);
    assert!(fetch(&session, &fake.image("app"), &wanted).await.unwrap() == bytes);
}

#[tokio::test]
async fn giving_up_is_bounded() {
    let bytes = noise(100_000);
    let wanted = descriptor(media::OCI_LAYER, &bytes);
    // Headers, then nothing, for ever.
    let fake = blob(&bytes, |_, _, answer| answer.cut(0));
    let session = Registry::new(config()).session(None);
    let error = fetch(&session, &fake.image("app"), &wanted).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(
        error.to_string().contains("was cut 6 times in a row, last at byte 0 of 100000"),
        "{error}"
    );
    assert_eq!(fake.asked().len(), 6);
    // Not even headers.
    let fake = Fake::new(|_| Answer::new(200, "").cut(0));
    let error = fetch(&session, &fake.image("app"), &wanted).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(fake.asked().len() <= 8, "{}", fake.asked().len());
}

#[tokio::test]
async fn failures_that_pass_are_waited_for() {
    let bytes = noise(1000);
    let wanted = descriptor(media::OCI_LAYER, &bytes);
    let fake = blob(&bytes, |n, _, answer| match n {
        0 => Answer::new(503, ""),
        1 => Answer::error(429, "TOOMANYREQUESTS", "x").header("retry-after", "0"),
        2 => Answer::new(502, "<html>"),
        _ => answer,
    });
    let session = Registry::new(config()).session(None);
    assert!(fetch(&session, &fake.image("app"), &wanted).await.unwrap() == bytes);
}

#[tokio::test]
async fn blobs_of_the_wrong_length_are_refused() {
    let bytes = noise(1000);
    let session = Registry::new(config()).session(None);
    for size in [10, 999, 1001, 1 << 40] {
        let fake = blob(&bytes, |_, _, answer| answer);
        let mut wanted = descriptor(media::OCI_LAYER, &bytes);
        wanted.size = size;
        let error = fetch(&session, &fake.image("app"), &wanted).await.unwrap_err();
        assert_eq!(error.kind(), Kind::DataLoss, "{size}: {error}");
    }
    // Without a length: counted as it comes.
    let fake = blob(&bytes, |_, _, _| {
        Answer::new(
            200,
            "3e8\r\n".bytes().chain(noise(1000)).chain(*b"\r\n0\r\n\r\n").collect::<Vec<_>>(),
        )
        .header("transfer-encoding", "chunked")
        .header("content-length", "")
    });
    let mut wanted = descriptor(media::OCI_LAYER, &bytes);
    wanted.size = 999;
    assert!(fetch(&session, &fake.image("app"), &wanted).await.is_err());
    // Other bytes than were asked for.
    let fake = blob(&bytes, |n, _, answer| {
        if n == 0 {
            answer.cut(500)
        } else {
            Answer::new(206, noise(10)).header("content-range", "bytes 7-16/1000")
        }
    });
    let error = fetch(&session, &fake.image("app"), &descriptor(media::OCI_LAYER, &bytes))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("bytes that were not asked for"), "{error}");
}

#[tokio::test]
async fn mirrors_are_asked_first_and_may_fail() {
    let mirror = Fake::new(|_| manifest());
    let mut with_mirror = config();
    with_mirror.add_mirror(&format!("http://{}/hub", mirror.address)).unwrap();
    let session = Registry::new(with_mirror.clone()).session(Some(remote::Credentials {
        username: "me".into(),
        password: "secret".into(),
        ..remote::Credentials::default()
    }));
    session.resolve(&"busybox".parse().unwrap()).await.unwrap();
    let asked = mirror.asked();
    assert_eq!(asked[0].target, "/hub/v2/library/busybox/manifests/latest");
    assert_eq!(asked[0].header("authorization"), None, "a mirror gets no credentials");
    // Two mirrors: the first has it not.
    let empty = Fake::new(|_| Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    let mut two = config();
    two.add_mirror(&format!("http://{}", empty.address)).unwrap();
    two.mirrors.extend(with_mirror.mirrors);
    Registry::new(two).session(None).resolve(&"busybox".parse().unwrap()).await.unwrap();
    assert_eq!(empty.asked().len(), 1);
}
