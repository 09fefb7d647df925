//! TLS and plain TCP: who gets in, and by which name.

#![allow(clippy::disallowed_methods, reason = "curl is somebody else's client")]

use crate::rig::Rig;
use std::path::Path;
use std::process::Command;
use testkit::Papers;
use tokio::sync::watch;

fn tls(papers: &Papers, verify: bool) -> server::Tls {
    server::Tls {
        ca: verify.then(|| papers.path("ca.pem")),
        cert: papers.path("server.pem"),
        key: papers.path("server.key"),
    }
}

fn shown_by(papers: &Papers, name: &str, ca: &str) -> client::Tls {
    client::Tls {
        ca: Some(papers.path(ca)),
        identity: Some((papers.path(&format!("{name}.pem")), papers.path(&format!("{name}.key")))),
        skip_verify: false,
    }
}

struct Served {
    address: String,
    stop: watch::Sender<bool>,
}

impl Served {
    fn new(rig: &Rig, tls: Option<server::Tls>, names: &[&str]) -> Self {
        let bind = server::Bind {
            hosts: vec!["tcp://127.0.0.1:0".to_owned()],
            plain_tcp: tls.is_none(),
            tls,
            ..server::Bind::default()
        };
        let listeners = server::bind(&bind).unwrap();
        let address = listeners.addresses().remove(0);
        let (stop, stopped) = watch::channel(false);
        let options = server::Options {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..server::Options::default()
        };
        tokio::spawn(server::serve(listeners, rig.engine.clone(), options, stopped));
        Self { address, stop }
    }

    fn client(&self, tls: Option<client::Tls>) -> client::Client {
        client::Client::new(client::Options {
            host: self.address.parse().unwrap(),
            tls,
            version: None,
            user_agent: "test".to_owned(),
            headers: Vec::new(),
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _stopped = self.stop.send(true);
    }
}

async fn curl(args: Vec<String>) -> (bool, String) {
    let output = tokio::task::spawn_blocking(move || {
        Command::new("curl")
            .args(["-sS", "--noproxy", "*", "-m", "10"])
            .args(args)
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn file(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_shows_a_certificate_gets_in() {
    let (rig, papers) = (Rig::new().await, Papers::make());
    let served = Served::new(&rig, Some(tls(&papers, true)), &[]);
    let ours = served.client(Some(shown_by(&papers, "client", "ca.pem")));
    assert_eq!(ours.info().await.unwrap().containers, 0);
    // A stream that has no end is left when the client goes.
    let events = ours.events("", "", &client::Filters::default()).await.unwrap();
    drop(events);
    assert!(ours.ping().await.unwrap().api_version.is_some());

    let stranger = served.client(Some(shown_by(&papers, "other", "ca.pem")));
    assert!(stranger.info().await.is_err());
    let fooled = served.client(Some(shown_by(&papers, "client", "other.pem")));
    let error = fooled.info().await.unwrap_err().to_string();
    assert!(error.starts_with("error during connect: tls: "), "{error}");
    let nobody = client::Tls { ca: Some(papers.path("ca.pem")), ..client::Tls::default() };
    assert!(served.client(Some(nobody)).info().await.is_err());
    assert!(served.client(None).info().await.is_err());

    let url = served.address.replace("tcp://", "https://") + "/_ping";
    let ca = ["--cacert".to_owned(), papers.file("ca.pem")];
    let pair = [
        "--cert".to_owned(),
        papers.file("client.pem"),
        "--key".to_owned(),
        papers.file("client.key"),
    ];
    let known = [&ca[..], &pair[..], std::slice::from_ref(&url)].concat();
    assert_eq!(curl(known.clone()).await, (true, "OK".to_owned()));
    assert!(!curl([&ca[..], std::slice::from_ref(&url)].concat()).await.0, "without a certificate");
    let old = [&known[..], &["--tls-max".to_owned(), "1.1".to_owned()]].concat();
    assert!(!curl(old).await.0, "TLS 1.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_without_verification_asks_for_no_certificate() {
    let (rig, papers) = (Rig::new().await, Papers::make());
    let served = Served::new(&rig, Some(tls(&papers, false)), &[]);
    let anybody = client::Tls { skip_verify: true, ..client::Tls::default() };
    assert!(served.client(Some(anybody)).info().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_names_get_no_answer() {
    let rig = Rig::new().await;
    let served = Served::new(&rig, None, &["engine.lan"]);
    let url = served.address.replace("tcp://", "http://") + "/_ping";
    for (host, fine) in [
        ("127.0.0.1:1", true),
        ("[::1]:2375", true),
        ("localhost", true),
        ("Engine.LAN:99", true),
        ("evil.example", false),
        ("127.0.0.1.evil.example:80", false),
    ] {
        let args = ["-H".to_owned(), format!("Host: {host}"), url.clone()];
        let (_, text) = curl(args.to_vec()).await;
        assert_eq!(text == "OK", fine, "{host}: {text}");
    }
    let (_, text) = curl(vec!["-H".to_owned(), "Origin: http://127.0.0.1".to_owned(), url]).await;
    assert!(text.contains("requests of web pages are not answered"), "{text}");
}

#[test]
fn certificates_that_cannot_be_read_are_told_in_dockerds_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let tls = server::Tls { ca: None, cert: path("c"), key: path("k") };
    let error = tls.acceptor().err().unwrap().to_string();
    let (cert, key) = (file(&path("c")), file(&path("k")));
    assert_eq!(
        error,
        format!(
            "invalid TLS configuration: Could not load X509 key pair (cert: \"{cert}\", key: \"{key}\"): open {cert}: no \
             such file or directory"
        )
    );
}
