//! A daemon without its program, and a client that speaks HTTP by hand.

use engine::{Drivers, Engine, Settings};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

pub(crate) struct Rig {
    pub(crate) engine: Engine,
    socket: PathBuf,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

/// No container is started in these tests, so nobody joins a network.
#[derive(Debug)]
struct NoNetwork;

impl network::Driver for NoNetwork {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn create(&self, _: &network::NetworkConfig) -> stdx::Result<network::Network> {
        Err(stdx::Error::not_implemented("no networks in this test"))
    }

    fn delete(&self, _: &network::NetworkId) -> stdx::Result<()> {
        Ok(())
    }

    fn join(
        &self,
        _: &network::Endpoint,
        _: &mut network::Sandbox,
    ) -> stdx::Result<network::Joined> {
        Err(stdx::Error::not_implemented("no networks in this test"))
    }

    fn leave(&self, _: &network::EndpointId) -> stdx::Result<()> {
        Ok(())
    }

    fn recover(&self, _: Vec<network::Live>) -> stdx::Result<network::Recovered> {
        Ok(network::Recovered::default())
    }
}

#[derive(Debug)]
struct NoPlugins;

impl network::Plugins for NoPlugins {
    fn driver(&self, _: &str) -> Arc<dyn network::Driver> {
        Arc::new(NoNetwork)
    }

    fn loaded(&self) -> Vec<String> {
        Vec::new()
    }

    fn recover(&self, _: &[network::NetworkId], _: &[network::Owner]) {}
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Looked at when the engine opens, and not run by these tests.
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        for program in ["gantry-shim", "gantry-init"] {
            let path = folder.path().join("bin").join(program);
            std::fs::write(&path, "no program").unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
        }
        let settings = Settings {
            data_root: folder.path().join("data"),
            exec_root: folder.path().join("exec"),
            instance: Some("5e57e2".to_owned()),
            programs: folder.path().join("bin"),
            insecure_registries: vec!["127.0.0.0/8".to_owned()],
            resolv_conf: "/etc/resolv.conf".into(),
            ..Settings::default()
        };
        let engine = Engine::open(settings, |settings| {
            let root = &settings.data_root;
            Ok(Drivers {
                content: Arc::new(blobdir::BlobDir::open(root.join("content"))?),
                snapshots: Arc::new(overlay::Snapshotter::open(root.join("snapshots"))?),
                networks: vec![Arc::new(NoNetwork)],
                network_plugins: Arc::new(NoPlugins),
                volumes: Arc::new(localvol::Local::open(&root.join("volumes"))?),
                logs: logging::Registry::new(
                    vec![Arc::new(jsonlog::JsonFile)],
                    |_, path, query| jsonlog::open(path, query),
                ),
            })
        });
        let engine = engine.await.unwrap();
        let socket = folder.path().join("gantry.sock");
        let host = format!("unix://{}", socket.display());
        let listeners =
            server::bind(&server::Bind { hosts: vec![host], ..server::Bind::default() }).unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(server::serve(
            listeners,
            engine.clone(),
            server::Options::default(),
            stopped,
        ));
        Self { engine, socket, stop, serving, _folder: folder }
    }

    /// One with the image `tiny:latest`.
    pub(crate) async fn with_image() -> Self {
        let rig = Self::new().await;
        let answer =
            rig.post_bytes("/v1.45/images/load?quiet=1", "application/x-tar", &archive()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("Loaded image: tiny:latest"), "{}", answer.body);
        rig
    }

    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// Sends text as it is and reads until the connection ends.
    pub(crate) async fn raw(&self, text: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        // The server may have refused and closed before all was sent.
        let _refused = stream.write_all(text).await;
        let mut seen = Vec::new();
        let _reset = timeout(Duration::from_secs(20), stream.read_to_end(&mut seen))
            .await
            .expect("an answer in time");
        Answer::parse(&seen)
    }

    pub(crate) async fn send(&self, method: &str, path: &str) -> Answer {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        self.raw(text.as_bytes()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.post_bytes(path, "application/json", body.as_bytes()).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// Creates a container of `tiny`; its id.
    pub(crate) async fn container(&self, name: &str, fields: &str) -> String {
        let comma = if fields.is_empty() { "" } else { "," };
        let body = format!("{{\"Image\":\"tiny\"{comma}{fields}}}");
        let answer = self.post(&format!("/v1.45/containers/create?name={name}"), &body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["Id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        timeout(Duration::from_secs(5), self.serving).await.expect("in time").unwrap();
        assert!(!self.socket.exists());
        self.engine.close();
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Self { status: 0, head: text, body: String::new() };
        };
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_owned() };
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body,
        }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The text of an error.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

fn unchunk(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        text = rest[size..].strip_prefix("\r\n").unwrap();
        if size == 0 {
            break;
        }
    }
    whole
}

/// `docker save` of an image with one file.
fn archive() -> Vec<u8> {
    let layer = tar(&[("hello", b"hello\n")]);
    let digest = image::sha256(&layer);
    let config = json!({
        "architecture": types::Platform::host().architecture(), "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["/hello"], "Env": ["PATH=/bin"], "Labels": {"of": "image"}, "ExposedPorts": {"80/tcp": {}},
                   "Volumes": {"/data": {}}},
        "rootfs": {"type": "layers", "diff_ids": [digest.to_string()]},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "COPY hello /", "comment": "made by hand"}],
    });
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["tiny:latest"], "Layers": ["layer.tar"]}]);
    tar(&[
        ("config.json", config.to_string().as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.to_string().as_bytes()),
    ])
}

/// A ustar archive of plain files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}
