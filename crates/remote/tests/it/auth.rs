//! Who gets the password: the registry it is for, and nobody else.

use crate::fake::{Answer, Asked, Fake, config, descriptor, fetch, noise};
use base64::Engine as _;
use content::Fetcher as _;
use oci::image::media;
use remote::{Credentials, Registry};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use stdx::Kind;

const MANIFEST: &str = r#"{"schemaVersion":2}"#;

fn me() -> Option<Credentials> {
    Some(Credentials { username: "me".into(), password: "s3cret".into(), ..Credentials::default() })
}

fn manifest() -> Answer {
    Answer::new(200, MANIFEST).header("content-type", media::OCI_MANIFEST)
}

fn unauthorized(challenge: &str) -> Answer {
    Answer::error(401, "UNAUTHORIZED", "authentication required")
        .header("www-authenticate", challenge)
}

/// Nothing that was asked has the password or a token in it.
fn assert_no_secrets(fake: &Fake) {
    for asked in fake.asked() {
        let all = format!("{asked:?}");
        assert!(
            asked.header("authorization").is_none()
                && !all.contains("s3cret")
                && !all.contains("refresh-me"),
            "{all}"
        );
    }
}

#[tokio::test]
async fn basic() {
    let fake = Fake::new(|asked| {
        if asked.header("authorization") == Some(basic_header()) {
            manifest()
        } else {
            unauthorized("Basic realm=\"r\"")
        }
    });
    let registry = Registry::new(config());
    let session = registry.session(me());
    session.resolve(&fake.image("app")).await.unwrap();
    session.resolve(&fake.image("app")).await.unwrap();
    assert_eq!(fake.asked().len(), 3, "challenged once");
    let error = registry.session(None).resolve(&fake.image("app")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (
            Kind::Unauthorized,
            format!(
                "Get \"http://{}/v2/app/manifests/latest\": no basic auth credentials",
                fake.address
            )
        )
    );
    let wrong =
        Credentials { username: "me".into(), password: "wrong".into(), ..Credentials::default() };
    let error = registry.session(Some(wrong)).resolve(&fake.image("app")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::Unauthorized, "unauthorized: authentication required")
    );
    let login = |password: &str| {
        let credentials = Credentials {
            username: "me".into(),
            password: password.into(),
            ..Credentials::default()
        };
        let (registry, domain) = (Arc::clone(&registry), fake.address.to_string());
        async move { registry.login(&domain, credentials).await }
    };
    login("s3cret").await.unwrap();
    assert_eq!(login("wrong").await.unwrap_err().kind(), Kind::Unauthorized);
}

fn basic_header() -> &'static str {
    static HEADER: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HEADER.get_or_init(|| {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("me:s3cret"))
    })
}

/// A token server that knows me, and lets others have what is public.
fn tokens() -> Fake {
    Fake::new(|asked| {
        let known = match (asked.method.as_str(), asked.header("authorization")) {
            ("POST", _) => asked.body.contains("refresh_token=refresh-me"),
            (_, Some(header)) if header == basic_header() => true,
            (_, Some(_)) => {
                return Answer::error(401, "UNAUTHORIZED", "incorrect username or password");
            }
            (_, None) => false,
        };
        let name = if known { "mine" } else { "anonymous" };
        Answer::new(200, format!("{{\"access_token\":\"{name}\",\"expires_in\":300}}"))
    })
}

/// A registry that takes tokens of `realm`.
fn registry_of(realm: String, token: &'static str) -> Fake {
    Fake::new(move |asked| {
        if asked.header("authorization") == Some(&format!("Bearer {token}")) {
            return manifest();
        }
        unauthorized(&format!(
            "Bearer realm=\"{realm}\",service=\"the registry\",scope=\"repository:app:pull\""
        ))
    })
}

#[tokio::test]
async fn bearer() {
    let tokens = tokens();
    let realm = format!("http://{}/token", tokens.address);
    let fake = registry_of(realm.clone(), "mine");
    let session = Registry::new(config()).session(me());
    session.resolve(&fake.image("app")).await.unwrap();
    session.resolve(&fake.image("app")).await.unwrap();
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "a token is kept");
    assert_eq!(
        asked[0].target,
        "/token?service=the+registry&scope=repository%3Aapp%3Apull&account=me"
    );
    // Without credentials: what is public.
    let public = registry_of(realm.clone(), "anonymous");
    Registry::new(config()).session(None).resolve(&public.image("app")).await.unwrap();
    assert_eq!(tokens.asked()[1].header("authorization"), None);
    // A refresh token instead of a password.
    let refresh = Credentials { identity_token: "refresh-me".into(), ..Credentials::default() };
    Registry::new(config()).session(Some(refresh)).resolve(&fake.image("app")).await.unwrap();
    let last = tokens.asked().pop().unwrap();
    assert_eq!(last.method, "POST");
    assert!(
        last.body.contains("grant_type=refresh_token")
            && last.body.contains("service=the+registry"),
        "{}",
        last.body
    );
    // The wrong password.
    let wrong =
        Credentials { username: "me".into(), password: "no".into(), ..Credentials::default() };
    let error =
        Registry::new(config()).session(Some(wrong)).resolve(&fake.image("app")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (
            Kind::Unauthorized,
            format!(
                "Get \"http://{}/v2/\": unauthorized: incorrect username or password",
                fake.address
            )
        )
    );
}

#[tokio::test]
async fn an_expired_token_is_renewed() {
    let tokens = tokens();
    let realm = format!("http://{}/token", tokens.address);
    let used = AtomicUsize::new(0);
    let fake = Fake::new(move |asked| match asked.header("authorization") {
        // Good for one request.
        Some("Bearer mine") if used.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => manifest(),
        _ => unauthorized(&format!("Bearer realm=\"{realm}\",error=\"invalid_token\"")),
    });
    let session = Registry::new(config()).session(me());
    session.resolve(&fake.image("app")).await.unwrap();
    // Refused with the old one, asked for a new one, served.
    session.resolve(&fake.image("app")).await.unwrap();
    assert_eq!(tokens.asked().len(), 2);
}

#[tokio::test]
async fn token_servers_that_answer_garbage_are_errors() {
    for (answer, text) in [
        (Answer::new(200, "not json"), "answered garbage"),
        (Answer::new(200, "{}"), "authorization server did not include a token in the response"),
        (Answer::new(200, "{\"token\":\"a\\nb\"}"), "no HTTP header may have"),
        (Answer::new(200, noise(2 << 20)), "answer is over"),
        (Answer::new(500, ""), "received unexpected HTTP status: 500"),
        (
            Answer::new(302, "").header("location", "http://127.0.0.1:1/"),
            "received unexpected HTTP status: 302",
        ),
    ] {
        let tokens = Fake::new(move |_| answer.clone());
        let fake = registry_of(format!("http://{}/token", tokens.address), "mine");
        let error =
            Registry::new(config()).session(me()).resolve(&fake.image("app")).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn a_realm_elsewhere_gets_nothing() {
    let recorder = Fake::on("127.0.0.2".parse().unwrap(), None, |_: &Asked| {
        Answer::new(200, "{\"token\":\"mine\"}")
    });
    // Plain HTTP on another host: not asked at all.
    let fake = registry_of(format!("http://{}/token", recorder.address), "mine");
    for credentials in [me(), None] {
        let error = Registry::new(config())
            .session(credentials)
            .resolve(&fake.image("app"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Forbidden, "{error}");
    }
    assert!(recorder.asked().is_empty());
    for realm in ["ftp://127.0.0.1/token", "file:///etc/passwd", "nonsense", ""] {
        let fake = registry_of(realm.to_owned(), "mine");
        assert!(
            Registry::new(config()).session(me()).resolve(&fake.image("app")).await.is_err(),
            "{realm}"
        );
    }
}

#[tokio::test]
async fn redirects_elsewhere_get_nothing() {
    let bytes = noise(5000);
    let served = bytes.clone();
    let recorder = Fake::on("127.0.0.2".parse().unwrap(), None, move |asked: &Asked| {
        if asked.target.starts_with("/challenge") {
            return unauthorized("Basic realm=\"give it to me\"");
        }
        Answer::new(200, served.clone())
    });
    for (status, path) in [(302, "/blob?signature=abc"), (307, "/blob"), (307, "/challenge")] {
        let to = format!("http://{}{path}", recorder.address);
        let fake = Fake::new(move |asked| {
            if asked.header("authorization") != Some(basic_header()) {
                return unauthorized("Basic realm=\"r\"");
            }
            Answer::new(status, "").header("location", &to)
        });
        let session = Registry::new(config()).session(me());
        let wanted = descriptor(media::OCI_LAYER, &bytes);
        let result = fetch(&session, &fake.image("app"), &wanted).await;
        assert_eq!(result.is_ok(), path != "/challenge", "{result:?}");
    }
    assert_eq!(recorder.asked().len(), 3);
    assert_no_secrets(&recorder);
}

#[tokio::test]
async fn redirects_end() {
    let fake = Fake::new(|_| Answer::new(307, "").header("location", "/v2/app/manifests/latest"));
    let session = Registry::new(config()).session(None);
    let error = session.resolve(&fake.image("app")).await.unwrap_err();
    assert!(error.to_string().contains("stopped after 10 redirects"), "{error}");
    for location in ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://", ""] {
        let location = location.to_owned();
        let fake = Fake::new(move |_| Answer::new(302, "").header("location", &location));
        let error = session.resolve(&fake.image("app")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn urls_in_manifests_are_not_followed() {
    let recorder =
        Fake::on("127.0.0.2".parse().unwrap(), None, |_: &Asked| Answer::new(200, noise(100)));
    let fake = Fake::new(|_| Answer::error(404, "BLOB_UNKNOWN", "blob unknown to registry"));
    let mut foreign =
        descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", &noise(100));
    foreign.urls = vec![format!("http://{}/layer", recorder.address)];
    let session = Registry::new(config()).session(me());
    let error = fetch(&session, &fake.image("app"), &foreign).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::NotFound, "blob unknown: blob unknown to registry")
    );
    assert!(recorder.asked().is_empty());
}
