//! A container to be driven: a root file system of busybox, a cgroup of its own, the real shim.

use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use oci::runtime::{
    Capabilities, Linux, Memory, Mount, Namespace, NamespaceKind, Process, Resources, Root, Spec,
    User,
};
use sys::command::{Child, Program};
use task::client::Client;
use task::protocol::{
    Answer, Attachment, Create, Event, Exec, Exit, Failure, Log, Request, Rootfs, Session,
    ShimRecord, State,
};

/// Everything of the container.
pub(crate) const ALL: Attachment = Attachment { stdin: true, stdout: true, stderr: true };
/// Its output only.
pub(crate) const OUTPUT: Attachment = Attachment { stdin: false, stdout: true, stderr: true };

const PATIENCE: Duration = Duration::from_secs(30);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// One shim and its surroundings; dropping it kills and removes everything.
pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) id: String,
    /// The cgroup above the container's. Its own: one that others use too is removed by one while another makes a group
    /// below it.
    parent: String,
    pub(crate) client: Option<Client>,
    pub(crate) shim: Child,
    pub(crate) launched: Instant,
    /// Ends that were told while another one was waited for.
    exits: Vec<(Session, Exit)>,
}

impl Rig {
    /// Starts a shim that waits for its container.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-shim-").tempdir().unwrap();
        for name in ["root/bin", "root/proc", "root/dev", "root/tmp", "upper", "work", "run"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let busybox = dir.path().join("root/bin/busybox");
        std::fs::copy("/bin/busybox", &busybox).expect("busybox-static is installed");
        for name in [
            "sh", "cat", "sleep", "yes", "dd", "ls", "stty", "head", "kill", "true", "tail", "wc",
            "setsid",
        ] {
            std::os::unix::fs::symlink("busybox", dir.path().join("root/bin").join(name)).unwrap();
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}{number:08x}", std::process::id()).repeat(4);
        let parent = format!("gantry-shim-test-{}-{number}", std::process::id());
        let program = Program::open(&binary()).unwrap();
        let begin = Instant::now();
        let launched = task::launch(&program, &id, None).unwrap();
        Self {
            dir,
            id,
            parent,
            client: Some(Client::new(launched.socket)),
            shim: launched.child,
            launched: begin,
            exits: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn cgroup(&self) -> String {
        format!("{}/{}", self.parent, self.id)
    }

    /// A container that runs a shell script.
    pub(crate) fn script(&self, script: &str) -> Create {
        self.program(&["/bin/sh", "-c", script])
    }

    /// A container that runs a program.
    pub(crate) fn program(&self, args: &[&str]) -> Create {
        let namespaces = [
            NamespaceKind::Pid,
            NamespaceKind::Mount,
            NamespaceKind::Ipc,
            NamespaceKind::Uts,
            NamespaceKind::Network,
            NamespaceKind::Cgroup,
        ];
        let namespaces = namespaces.map(|kind| Namespace { kind, path: None }).to_vec();
        let linux = Linux { namespaces, resources: Some(Resources::default()), ..Linux::default() };
        let spec = Spec {
            oci_version: "1.2.0".to_owned(),
            root: Some(Root { path: PathBuf::from("/"), readonly: false }),
            mounts: vec![
                mount("/proc", "proc"),
                mount("/dev", "tmpfs"),
                mount("/dev/pts", "devpts"),
            ],
            process: Some(process(args)),
            linux: Some(linux),
            ..Spec::default()
        };
        Create {
            joins: Vec::new(),
            shm: false,
            mapped_rootfs: false,
            id: self.id.clone(),
            spec,
            rootfs: Rootfs::Overlay {
                lower: vec![self.path("root")],
                upper: Some(self.path("upper")),
                work: Some(self.path("work")),
            },
            netns: false,
            cgroup: self.cgroup(),
            hierarchies: String::new(),
            seccomp: None,
            log: Log::JsonFile {
                path: self.path("log"),
                max_size: None,
                max_files: 1,
                attributes: Vec::new(),
            },
            stdin: false,
            stdin_once: false,
            attachments: Vec::new(),
            runtime_dir: self.path("run"),
            durable_exit: Some(self.path("exit.durable")),
            start: true,
            runtime: None,
        }
    }

    pub(crate) fn client(&mut self) -> &mut Client {
        self.client.as_mut().unwrap()
    }

    /// Asks, with nothing beside.
    pub(crate) fn ask(&mut self, request: Request) -> Answer {
        self.client().call(request, &[]).unwrap()
    }

    /// Asks for what must succeed.
    pub(crate) fn must(&mut self, request: Request) {
        match self.ask(request) {
            Answer::Done => {}
            other => panic!("{other:?}"),
        }
    }

    /// Asks for what must not be possible.
    pub(crate) fn refused(&mut self, request: Request) -> Failure {
        match self.ask(request) {
            Answer::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    /// Creates and starts the container; says its pid.
    pub(crate) fn run(&mut self, create: Create) -> i32 {
        self.run_with(create, &[])
    }

    pub(crate) fn run_with(&mut self, create: Create, fds: &[BorrowedFd<'_>]) -> i32 {
        match self.client().call(Request::Create(Box::new(create)), fds).unwrap() {
            Answer::Started { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    /// As `run`, with clients attached before the container runs.
    pub(crate) fn run_attached(
        &mut self,
        mut create: Create,
        attachments: &[Attachment],
    ) -> Vec<UnixStream> {
        let pairs: Vec<_> = attachments.iter().map(|_| UnixStream::pair().unwrap()).collect();
        create.attachments = attachments.to_vec();
        let theirs: Vec<_> = pairs.iter().map(|(_, theirs)| theirs.as_fd()).collect();
        self.run_with(create, &theirs);
        pairs.into_iter().map(|(ours, _)| patient(ours)).collect()
    }

    /// As `run_attached`, with one client.
    pub(crate) fn run_with_client(&mut self, create: Create, streams: Attachment) -> UnixStream {
        self.run_attached(create, &[streams]).remove(0)
    }

    /// Attaches one more client.
    pub(crate) fn attach(&mut self, session: Session, streams: Attachment) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let request = Request::Attach { session, streams };
        match self.client().call(request, &[theirs.as_fd()]).unwrap() {
            Answer::Done => patient(ours),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a further process with one client.
    pub(crate) fn exec(
        &mut self,
        id: &str,
        process: Process,
        stdin: bool,
    ) -> Result<UnixStream, Failure> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let exec =
            Exec { id: id.to_owned(), process, seccomp: None, stdin, attachments: vec![ALL] };
        match self.client().call(Request::Exec(Box::new(exec)), &[theirs.as_fd()]).unwrap() {
            Answer::Started { .. } => Ok(patient(ours)),
            Answer::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the end of a session.
    pub(crate) fn exit_of(&mut self, wanted: &Session) -> Exit {
        loop {
            if let Some(at) = self.exits.iter().position(|(session, _)| session == wanted) {
                return self.exits.remove(at).1;
            }
            if let Event::Exit { session, exit } = self.client().next_event(PATIENCE).unwrap() {
                self.exits.push((session, exit));
            }
        }
    }

    /// Waits for the container's end.
    pub(crate) fn exit(&mut self) -> Exit {
        self.exit_of(&Session::Container)
    }

    pub(crate) fn state(&mut self) -> State {
        match self.ask(Request::State) {
            Answer::State(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// Takes the exit and waits for the shim's end.
    pub(crate) fn shut_down(&mut self) {
        self.must(Request::Shutdown);
        self.ended();
    }

    /// Waits for the shim's own end, which must be a good one, and looks for what it may have left.
    pub(crate) fn ended(&mut self) {
        wait_until("the shim ends", || {
            self.shim.try_wait().unwrap().map(|status| assert!(status.success()))
        });
        assert!(!self.path("run/shim.sock").exists());
        assert!(!self.path("run/shim.json").exists());
        assert!(
            !self.path("run/shim.log").exists(),
            "{:?}",
            std::fs::read_to_string(self.path("run/shim.log"))
        );
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
    }

    /// The container's directories in all hierarchies.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        groups(&self.cgroup())
    }

    /// The log as records: stream, text, partial.
    pub(crate) fn log(&self) -> Vec<(String, String)> {
        use logging::Reader as _;
        let mut reader =
            jsonlog::Reader::open(&self.path("log"), logging::Query::default()).unwrap();
        let mut entries = Vec::new();
        while reader.read_more(&mut entries).unwrap() == logging::Progress::More {}
        assert_eq!(reader.lost(), 0);
        let text = |e: logging::Entry| {
            let newline = if e.partial { "" } else { "\n" };
            (e.stream.as_str().to_owned(), String::from_utf8(e.line).unwrap() + newline)
        };
        entries.into_iter().map(text).collect()
    }

    pub(crate) fn record(&self) -> ShimRecord {
        serde_json::from_slice(&std::fs::read(self.path("run/shim.json")).unwrap()).unwrap()
    }

    /// How many descriptors the shim has.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.shim.pid())).unwrap().count()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A shim that is killed leaves its container; the cgroup finds it.
        if self.shim.try_wait().is_ok_and(|status| status.is_none()) {
            self.shim.kill().unwrap();
            self.shim.wait().unwrap();
        }
        let hierarchies = cgroups::Hierarchies::detect().unwrap();
        if let Ok(group) = cgroups::Group::open(&hierarchies, &self.cgroup()) {
            group.kill().unwrap();
            group.remove().unwrap();
        }
        for parent in groups(&self.parent) {
            // The same hierarchy may be there by two names.
            if parent.exists() {
                std::fs::remove_dir(parent).unwrap();
            }
        }
    }
}

/// The directories of a cgroup in all hierarchies.
fn groups(name: &str) -> Vec<PathBuf> {
    let roots = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|e| e.unwrap().path());
    let roots = roots.chain([PathBuf::from("/sys/fs/cgroup")]);
    roots.map(|r| r.join(name)).filter(|p| p.exists()).collect()
}

fn mount(destination: &str, kind: &str) -> Mount {
    Mount {
        destination: destination.into(),
        kind: Some(kind.to_owned()),
        source: Some(kind.into()),
        options: if kind == "devpts" {
            vec!["newinstance".into(), "ptmxmode=0666".into()]
        } else {
            Vec::new()
        },
        ..Mount::default()
    }
}

/// A process with a usual environment.
pub(crate) fn process(args: &[&str]) -> Process {
    Process {
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/".to_owned(),
        user: User::default(),
        capabilities: Some(Capabilities::default()),
        ..Process::default()
    }
}

/// A memory limit in bytes.
pub(crate) fn limit_memory(create: &mut Create, limit: i64) {
    let resources = create.spec.linux.as_mut().unwrap().resources.as_mut().unwrap();
    // Without swap, or a machine that has some takes long to run out.
    resources.memory = Some(Memory { limit: Some(limit), swap: Some(limit), ..Memory::default() });
}

/// Splits `stdcopy` frames into what was written to either stream.
pub(crate) fn unframe(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        assert_eq!(header[1..4], [0; 3]);
        let length = u32::from_be_bytes(header[4..].try_into().unwrap()) as usize;
        let stream = if header[0] == 1 { &mut out } else { &mut err };
        stream.extend_from_slice(&rest[..length]);
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "half a header");
    (out, err)
}

/// Reads to the end.
pub(crate) fn read_all(mut socket: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Reads until the text ends with `end`.
pub(crate) fn read_until(mut socket: &UnixStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(
            socket.read(&mut byte).unwrap(),
            1,
            "end of stream after {:?}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Waits for something that nothing tells.
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        pause(Duration::from_millis(2));
    }
}

#[allow(clippy::disallowed_methods, reason = "what is waited for has no event")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The program under test: the one of this build, or the one that the environment names (such as the static one).
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("GANTRY_TEST_SHIM")
        .map_or_else(|| Path::new(env!("CARGO_BIN_EXE_gantry-shim")).to_owned(), Into::into)
}

fn patient(socket: UnixStream) -> UnixStream {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}
