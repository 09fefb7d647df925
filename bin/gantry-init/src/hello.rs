//! What the bundled `hello-world` image says.

use std::io::Write as _;
use std::process::ExitCode;

const GREETING: &str = "
Hello from Gantry!
This message shows that your installation works, from the command line down to the kernel.

To bring it to you, this happened:
 1. The client asked the daemon, through its socket, to run the image \"hello-world\".
 2. The daemon had the image already (it is bundled) and made a container of it: a writable layer over the image's own.
 3. A supervisor of the container's own started this program with its own namespaces, cgroup, capabilities and
    system call filter.
 4. The supervisor kept what this program writes and passed it on through the daemon to the client, and so to you.

To try something with more to it, run a shell in any image:
 $ gantry run -it --rm debian bash

Every command has --help, and everything that speaks to Docker's socket can speak to this one:
 $ export DOCKER_HOST=unix:///run/gantry.sock
";

/// Says it.
pub(crate) fn greet() -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(GREETING.as_bytes()).and_then(|()| writeln!(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
