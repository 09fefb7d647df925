//! One session's own ends of its streams: pipes, or a terminal.

use std::io;
use std::os::fd::OwnedFd;

use logging::Stream;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use sys::tty::Size;

use crate::poll::{Interest, Poll, Token};

/// A pipe that was full once gets this size: floods then need fewer turns.
const GROWN_PIPE: usize = 256 << 10;

/// The ends that belong to the session's process, and ours.
#[derive(Debug)]
pub(crate) struct Pipes {
    /// For the process: its standard input, output and error.
    pub(crate) theirs: [OwnedFd; 3],
    /// For [`Session::with_pipes`].
    pub(crate) ours: Ours,
}

/// Our ends of a session's pipes.
#[derive(Debug)]
pub(crate) struct Ours {
    input: Option<OwnedFd>,
    outputs: [OwnedFd; 2],
}

impl Pipes {
    /// Three pipes; without `stdin`, `/dev/null` instead of the first.
    pub(crate) fn new(stdin: bool) -> io::Result<Self> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (theirs_in, input) = if stdin {
            let (reader, writer) = pipe()?;
            rustix::io::ioctl_fionbio(&writer, true)?;
            (reader, Some(writer))
        } else {
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
            (rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?, None)
        };
        let ((out, theirs_out), (err, theirs_err)) = (pipe()?, pipe()?);
        for reader in [&out, &err] {
            rustix::io::ioctl_fionbio(reader, true)?;
        }
        Ok(Self {
            theirs: [theirs_in, theirs_out, theirs_err],
            ours: Ours { input, outputs: [out, err] },
        })
    }
}

/// A process's streams.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The end of a client's input ends the process's.
    pub(crate) ends_input: bool,
    /// The process has ended: clients hold it up no more, and this many bytes may still come of each stream.
    pub(crate) draining: Option<[usize; 2]>,
    /// Whether its output is the container's log.
    pub(crate) logged: bool,
    outputs: [Option<Output>; 2],
    input: Option<Input>,
    terminal: Option<Terminal>,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    interest: Interest,
    grown: bool,
}

#[derive(Debug)]
struct Input {
    fd: OwnedFd,
    interest: Interest,
    unsent: Vec<u8>,
    /// To be closed when everything has been written.
    ended: bool,
}

#[derive(Debug)]
struct Terminal {
    master: OwnedFd,
    /// The other end, held open while the process lives: without it, a process that closes its terminal and opens it
    /// again later would look like one that is gone.
    other: Option<OwnedFd>,
}

/// What a read of output gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// There will be no more.
    End,
}

impl Session {
    /// With pipes, whose other ends the process has.
    pub(crate) fn with_pipes(pipes: Ours) -> Self {
        let [out, err] = pipes
            .outputs
            .map(|fd| Some(Output { fd, interest: Interest::default(), grown: false }));
        Self { outputs: [out, err], input: pipes.input.map(Input::new), ..Self::default() }
    }

    /// With a terminal; `stdin` says whether anything may be typed.
    pub(crate) fn with_terminal(master: OwnedFd, stdin: bool) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let other = rustix::pty::ioctl_tiocgptpeer(&master, flags).ok();
        let output = Output { fd: master.try_clone()?, interest: Interest::default(), grown: true };
        let input = if stdin { Some(Input::new(master.try_clone()?)) } else { None };
        let terminal = Some(Terminal { master, other });
        Ok(Self { outputs: [Some(output), None], input, terminal, ..Self::default() })
    }

    /// Whether it has a terminal: its output is raw, and the end of input means nothing.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Sets the terminal's size; `None` when there is no terminal.
    pub(crate) fn resize(&self, size: Size) -> Option<io::Result<()>> {
        self.terminal.as_ref().map(|t| sys::tty::set_size(&t.master, size))
    }

    /// Reads output.
    pub(crate) fn read(&mut self, stream: Stream, buffer: &mut [u8]) -> Read {
        let Some(output) = &mut self.outputs[index(stream)] else { return Read::Nothing };
        loop {
            return match rustix::io::read(&output.fd, &mut *buffer) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Read::Nothing,
                // A terminal whose other end is closed everywhere says EIO.
                Ok(0) | Err(_) => {
                    self.outputs[index(stream)] = None;
                    Read::End
                }
                Ok(n) => {
                    if n >= buffer.len().min(64 << 10)
                        && !std::mem::replace(&mut output.grown, true)
                    {
                        // Beyond the user's share of pipe memory this is refused, and all goes on as before.
                        let _refused = rustix::pipe::fcntl_setpipe_size(&output.fd, GROWN_PIPE);
                    }
                    Read::Bytes(n)
                }
            };
        }
    }

    /// Whether no more output will come.
    pub(crate) fn at_end(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// Gives its outputs up: whoever else has them may go on writing, nobody reads.
    pub(crate) fn close_outputs(&mut self) {
        self.outputs = [None, None];
    }

    /// The process has ended: lets go of what only it needed.
    pub(crate) fn drain(&mut self, at_most: usize) {
        self.draining = Some([at_most; 2]);
        self.input = None;
        if let Some(terminal) = &mut self.terminal {
            terminal.other = None;
        }
    }

    /// Whether input can be passed on, if only to be dropped because the process has no input.
    pub(crate) fn has_room(&self) -> bool {
        self.input.as_ref().is_none_or(|i| i.unsent.is_empty())
    }

    /// Passes input on: writes what the process takes and keeps the rest.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if let Some(input) = &mut self.input {
            input.unsent.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Writes input that was kept, as far as the process takes it.
    pub(crate) fn flush(&mut self) {
        let Some(input) = &mut self.input else { return };
        let mut written = 0;
        let mut broken = false;
        while written < input.unsent.len() {
            match rustix::io::write(&input.fd, &input.unsent[written..]) {
                Ok(n) => written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    broken = true; // It closed its input.
                    break;
                }
            }
        }
        if written == input.unsent.len() {
            input.unsent = Vec::new();
        } else {
            input.unsent.drain(..written);
        }
        if broken || (input.ended && input.unsent.is_empty()) {
            self.input = None;
        }
    }

    /// A client ended its input: ends the process's, if it is to be ended with it, after what was kept.
    pub(crate) fn end_input(&mut self) {
        if self.ends_input && !self.is_terminal() {
            if let Some(input) = &mut self.input {
                input.ended = true;
            }
            self.flush();
        }
    }

    /// Registers what is being waited for. While a client `holds`, output is left where it is.
    pub(crate) fn watch(&mut self, poll: &Poll, id: u32, held: bool) -> io::Result<()> {
        let wanted = (!held || self.draining.is_some()).then_some(EventFlags::IN);
        for (output, stream) in self.outputs.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            if let Some(output) = output {
                output.interest.set(poll, &output.fd, Token::Output(id, stream), wanted)?;
            }
        }
        if let Some(input) = &mut self.input {
            let wanted = (!input.unsent.is_empty()).then_some(EventFlags::OUT);
            input.interest.set(poll, &input.fd, Token::Input(id), wanted)?;
        }
        Ok(())
    }
}

impl Input {
    fn new(fd: OwnedFd) -> Self {
        Self { fd, interest: Interest::default(), unsent: Vec::new(), ended: false }
    }
}

/// Where `stream` stands in arrays of two.
pub(crate) fn index(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}
