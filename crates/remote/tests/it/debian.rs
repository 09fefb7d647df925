//! Debian's `docker-registry`, a program that we did not write. Skipped where it is not installed.
#![allow(clippy::disallowed_methods, reason = "a test may start a registry")]

use crate::fake::{config, descriptor, fetch, noise};
use base64::Engine as _;
use content::Fetcher as _;
use oci::image::{Document, media};
use remote::{Credentials, Registry};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use stdx::Kind;
use types::ImageRef;

struct Served {
    child: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A registry with this addition to its configuration.
fn serve(more: &str) -> Option<Served> {
    let dir = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let root = dir.path().join("data");
    let more = more.replace("DIR", dir.path().to_str().unwrap());
    let yml = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n{more}",
        root.display()
    );
    let path = dir.path().join("config.yml");
    std::fs::write(&path, yml).unwrap();
    // "me" with the password "s3cret", bcrypt.
    std::fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
    let mut program = Command::new("docker-registry");
    let child = program.arg("serve").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(child) = child else {
        eprintln!("skipped: no docker-registry program");
        return None;
    };
    let served = Served { child, address, _dir: dir };
    let begin = Instant::now();
    while TcpStream::connect(&served.address).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the registry does not start");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Some(served)
}

const HTPASSWD: &str = "me:$2b$04$2eMZrPPXp9JeDavyADWWx.6cccLW1Wkf1zpAohiaZaIw7ttGLijdK\n";

/// One request, by hand: pushing is not the client's yet.
fn send(served: &Served, method: &str, path: &str, media_type: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(&served.address).unwrap();
    let token = base64::engine::general_purpose::STANDARD.encode("me:s3cret");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Basic {token}\r\nconnection: close\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n",
        served.address,
        body.len()
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let location = answer.lines().find_map(|l| l.strip_prefix("Location: ")).unwrap_or_default();
    (status, location.trim().to_owned())
}

fn push_blob(served: &Served, bytes: &[u8]) -> oci::image::Descriptor {
    let descriptor = descriptor(media::OCI_LAYER, bytes);
    let (status, location) = send(served, "POST", "/v2/me/app/blobs/uploads/", "", b"");
    assert_eq!(status, 202);
    let path = &location[location.find("/v2/").unwrap()..];
    let path = format!("{path}&digest={}", descriptor.digest);
    assert_eq!(send(served, "PUT", &path, "application/octet-stream", bytes).0, 201);
    descriptor
}

async fn pull(served: &Served, credentials: Option<Credentials>) {
    let blob = noise(3_000_000);
    let layer = push_blob(served, &blob);
    let mut config = push_blob(served, b"{}");
    config.media_type = media::OCI_CONFIG.to_owned();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": [layer],
    })
    .to_string();
    assert_eq!(
        send(served, "PUT", "/v2/me/app/manifests/v1", media::OCI_MANIFEST, manifest.as_bytes()).0,
        201
    );

    let image: ImageRef = format!("{}/me/app:v1", served.address).parse().unwrap();
    let session = Registry::new(self::config()).session(credentials);
    let resolved = session.resolve(&image).await.unwrap();
    assert_eq!(resolved.bytes, manifest);
    assert_eq!(resolved.descriptor.media_type, media::OCI_MANIFEST);
    assert!(matches!(
        Document::parse(&resolved.bytes, Some(&resolved.descriptor.media_type)),
        Ok(Document::Manifest(_))
    ));
    assert!(fetch(&session, &image, &layer).await.unwrap() == blob);
    let again = session.manifest(&image, &resolved.descriptor).await.unwrap();
    assert_eq!(again.bytes, resolved.bytes);

    let missing: ImageRef = format!("{}/me/app:none", served.address).parse().unwrap();
    let error = session.resolve(&missing).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (
            Kind::NotFound,
            format!(
                "manifest for {}/me/app:none not found: manifest unknown: manifest unknown",
                served.address
            )
        )
    );
    let error = fetch(&session, &image, &descriptor(media::OCI_LAYER, b"nobody has this"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_without_authentication() {
    let Some(served) = serve("") else { return };
    pull(&served, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_with_a_password() {
    let Some(served) = serve("auth: {htpasswd: {realm: test, path: DIR/htpasswd}}\n") else {
        return;
    };
    let me = |password: &str| {
        Some(Credentials {
            username: "me".into(),
            password: password.into(),
            ..Credentials::default()
        })
    };
    pull(&served, me("s3cret")).await;
    let image: ImageRef = format!("{}/me/app:v1", served.address).parse().unwrap();
    for credentials in [None, me("wrong")] {
        let error = Registry::new(config()).session(credentials).resolve(&image).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
    }
}
