//! What is said: one enum of requests, one of answers, one of events.
//!
//! ```text
//!   daemon                                    shim
//!   Create {start: true, …} + descriptors ─▶  cgroup, namespaces, root file system, exec
//!                                         ◀─  Started {pid}            or Failed; the shim ends after Failed
//!   Create {start: false, …}              ─▶  everything but exec
//!                                         ◀─  Created {pid}
//!   Start                                 ─▶  exec
//!                                         ◀─  Started {pid}
//!   Exec + descriptors                    ─▶  a further process in the container
//!                                         ◀─  Started {pid}            or Failed; the container goes on
//!   Attach + descriptor                   ─▶  one more client of a session's streams
//!                                         ◀─  Done
//!   Kill, Resize, Pause, Resume, Update   ─▶
//!                                         ◀─  Done                     or Failed
//!   State                                 ─▶
//!                                         ◀─  State {…}
//!                                         ◀═  Event::Exit              to every connection, after the record is written
//!   Shutdown                              ─▶  the exit has been taken: cgroup removed, shim ends
//! ```
//!
//! A message is a frame: a little-endian `u32` length (at most [`MAX_FRAME`]) and that many bytes of JSON. Requests
//! carry a number that the answer repeats; events carry none. Descriptors of a request travel with its first byte.

use oci::runtime::{Process, Resources, Spec};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of this protocol; a daemon that adopts a shim checks it.
pub const VERSION: u32 = 1;

/// No frame is longer than this many bytes.
pub const MAX_FRAME: usize = 4 << 20;

/// A request with its number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// Repeated by the answer.
    pub number: u64,
    /// What is asked.
    pub request: Request,
}

/// What a shim sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The answer to the request of that number.
    Answer {
        /// The request's number.
        number: u64,
        /// The answer.
        answer: Answer,
    },
    /// Something happened.
    Event(Event),
}

/// What the daemon asks of a shim.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Create the container, and start it in the same round when asked to.
    Create(Box<Create>),
    /// Let the created container's process execute its program.
    Start,
    /// Run a further process in the container.
    Exec(Box<Exec>),
    /// Give one more client a session's streams. One descriptor: the shim's end of a socket pair (see [`Attachment`]).
    Attach {
        /// Whose streams.
        session: Session,
        /// Which streams.
        streams: Attachment,
    },
    /// Send a signal to a session's first process, or to every process of the container.
    Kill {
        /// Whose process.
        session: Session,
        /// The signal's number.
        signal: i32,
        /// Every process in the container instead.
        all: bool,
    },
    /// Set a terminal's size.
    Resize {
        /// Whose terminal.
        session: Session,
        /// Its new size.
        size: TerminalSize,
    },
    /// Freeze every process of the container.
    Pause,
    /// Thaw them.
    Resume,
    /// Change limits.
    Update(Box<Resources>),
    /// Stop reading what the container writes to its log (its processes then wait), or go on. Who is held is let go
    /// when the last daemon hangs up.
    Hold(bool),
    /// What is the state of things?
    State,
    /// The exit has been taken (or the container was only created): clean up and end.
    Shutdown,
}

impl Request {
    /// How many descriptors travel with this request.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Create(create) => {
                usize::from(create.netns)
                    + create.joins.len()
                    + usize::from(create.shm)
                    + create.attachments.len()
            }
            Self::Exec(exec) => exec.attachments.len(),
            Self::Attach { .. } => 1,
            _ => 0,
        }
    }
}

/// The container's own process or one that was added.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Session {
    /// The container's first process.
    Container,
    /// The exec session of this id.
    Exec(String),
}

/// All that a shim needs to know of its container.
///
/// Descriptors, in this order: the network namespace when `netns` is set, one namespace an entry of `joins`, the mount of
/// `/dev/shm` when `shm` is set, then one socket an attachment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Create {
    /// The container's id, 64 hexadecimal digits.
    pub id: String,
    /// What to run and in what surroundings. `root.path` is ignored: `rootfs` says what the root is.
    pub spec: Spec,
    /// The root file system, described.
    pub rootfs: Rootfs,
    /// The network namespace to use comes as the first descriptor; otherwise `spec.linux.namespaces` decides.
    pub netns: bool,
    /// Namespaces of another container to join instead of new ones.
    #[serde(default)]
    pub joins: Vec<Join>,
    /// The files of the root file system have ids of the user namespace that is joined.
    #[serde(default)]
    pub mapped_rootfs: bool,
    /// A detached mount comes for `/dev/shm`.
    #[serde(default)]
    pub shm: bool,
    /// The cgroup, as a path below each hierarchy's root, such as `gantry/<id>`.
    pub cgroup: String,
    /// The hierarchies that the daemon found, in `cgroups::Hierarchies`' own text form; empty: look again.
    pub hierarchies: String,
    /// A compiled seccomp program (an array of `sock_filter`) to load instead of compiling `spec.linux.seccomp`.
    pub seccomp: Option<PathBuf>,
    /// Where the container's log goes.
    pub log: Log,
    /// Keep the container's standard input open.
    pub stdin: bool,
    /// Close it when the first client that had it ends its input or detaches.
    pub stdin_once: bool,
    /// Clients to attach before the container runs.
    pub attachments: Vec<Attachment>,
    /// The runtime folder: `shim.json`, `shim.sock` and `exit.json` are written there.
    pub runtime_dir: PathBuf,
    /// Where the exit record is written durably (synced) when no daemon took it.
    pub durable_exit: Option<PathBuf>,
    /// Start at once.
    pub start: bool,
    /// Another runtime than the one in the shim.
    #[serde(default)]
    pub runtime: Option<RuntimeProgram>,
}

/// A runtime that is called by its command line, which is runc's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeProgram {
    /// The program.
    pub path: PathBuf,
    /// Arguments before the command.
    pub args: Vec<String>,
}

/// A kind of namespace that can be another container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Join {
    /// Processes.
    Pid,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Users: one that the daemon made for this container, or another container's. `spec.linux` has its ids.
    User,
}

/// A root file system that is described, not attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay: lower directories from the top down, and the writable pair if any.
    Overlay {
        /// Read-only layers, top first.
        lower: Vec<PathBuf>,
        /// The writable layer.
        upper: Option<PathBuf>,
        /// The overlay's work directory, on the same file system as `upper`.
        work: Option<PathBuf>,
    },
    /// A directory as it is.
    Directory(PathBuf),
}

/// A further process in the container. Descriptors: one socket an attachment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exec {
    /// The exec session's id, 64 hexadecimal digits.
    pub id: String,
    /// What to run.
    pub process: Process,
    /// A compiled seccomp program to load.
    pub seccomp: Option<PathBuf>,
    /// Keep its standard input open.
    pub stdin: bool,
    /// Clients to attach before it runs.
    pub attachments: Vec<Attachment>,
}

/// Which of a session's streams a client gets through one socket.
///
/// From the shim: raw bytes when the session has a terminal, and otherwise `stdcopy` frames (one byte 1 or 2 for
/// stdout or stderr, three zero bytes, a big-endian `u32` length, the bytes). To the shim: input, raw. Shutting the
/// socket down for writing ends the input; closing it detaches. Attaching is lossless: a client that does not read
/// holds the container up, as with Docker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The client may send input.
    pub stdin: bool,
    /// The client gets standard output.
    pub stdout: bool,
    /// The client gets standard error.
    pub stderr: bool,
}

/// Where a container's output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Log {
    /// Nowhere.
    None,
    /// In a file of Docker's json-file format.
    JsonFile {
        /// The file; rotated ones are `<path>.1`, `<path>.2`, …
        path: PathBuf,
        /// Bytes after which a file is rotated; `None`: never.
        max_size: Option<u64>,
        /// How many files are kept, at least one.
        max_files: u32,
        /// `attrs` of every record (labels and environment that the user chose), empty as a rule.
        attributes: Vec<(String, String)>,
    },
    /// In a file of the compact form; the fields are those of `JsonFile`.
    Local {
        /// The file; its folder exists.
        path: PathBuf,
        /// Bytes after which a file is rotated; `None`: never.
        max_size: Option<u64>,
        /// How many files are kept, at least one.
        max_files: u32,
    },
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// A shim's answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The container exists and waits.
    Created {
        /// Its first process, in the daemon's pid namespace.
        pid: i32,
    },
    /// The session's program has been executed.
    Started {
        /// Its process, in the daemon's pid namespace.
        pid: i32,
        /// When, in nanoseconds since 1970.
        at: i64,
    },
    /// As asked.
    Done,
    /// The state of things.
    State(State),
    /// Not possible.
    Failed(Failure),
}

/// Why something was not possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it means.
    pub kind: FailureKind,
    /// The text for the human, as Docker's users know it where they do.
    pub message: String,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The program does not exist in the container (exit code 127).
    ProgramNotFound,
    /// The program cannot be executed (exit code 126).
    ProgramNotExecutable,
    /// The specification asks for what cannot be, such as an unknown user.
    Invalid,
    /// No such session or process.
    NotFound,
    /// Not in this state.
    Conflict,
    /// No space left.
    NoSpace,
    /// Anything else.
    Internal,
}

/// What a shim knows of its container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The container's first process.
    pub pid: i32,
    /// When it was started, in nanoseconds since 1970; `None`: it only waits.
    pub started_at: Option<i64>,
    /// Frozen.
    pub paused: bool,
    /// How it ended, if it did.
    pub exit: Option<Exit>,
    /// Exec sessions that run: id and process.
    pub execs: Vec<(String, i32)>,
}

/// Something happened in the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// A session's first process ended and its output has been logged.
    Exit {
        /// Whose.
        session: Session,
        /// How.
        exit: Exit,
    },
    /// The kernel killed a process of the container for want of memory.
    Oom,
}

/// How a process ended. Also the content of `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code; 128 + the signal's number when a signal ended it.
    pub code: i32,
    /// When, in nanoseconds since 1970.
    pub at: i64,
    /// Whether the kernel killed a process of the container for want of memory.
    pub oom: bool,
}

/// The content of `shim.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimRecord {
    /// [`VERSION`] of the shim.
    pub version: u32,
    /// The shim's process.
    pub pid: i32,
    /// Its start time in clock ticks since boot (field 22 of `/proc/PID/stat`), against pid reuse.
    pub start_time: u64,
    /// The boot that all this is of (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The container's first process, once there is one.
    pub container_pid: Option<i32>,
    /// The container's cgroup path, for the sweep when the shim was killed.
    pub cgroup: String,
}
