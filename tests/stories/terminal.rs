//! Containers in a terminal: what a user types and sees.

use testkit::pty::Terminal;
use testkit::{Cli, Daemon, need};

#[test]
fn a_shell_in_a_terminal_is_a_shell_in_a_terminal() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let mut terminal =
            Terminal::start(&client.command(&["run", "--rm", "-it", "busybox", "sh"]));
        terminal.expect("/ # ");
        terminal.send("echo $((6*7))\n");
        terminal.expect("\n42");
        terminal.expect("/ # ");
        // The size comes along, at the start and later.
        terminal.send("stty size\n");
        terminal.expect("24 80");
        terminal.resize(40, 120);
        terminal
            .send("while [ \"$(stty size)\" != '40 120' ]; do sleep 0.05; done; echo resized\n");
        terminal.expect("\nresized");
        // Job control: Ctrl-C ends the foreground job, not the shell.
        terminal.send("sh -c 'echo be\"\"gun; exec sleep 1000'\n");
        terminal.expect("\nbegun");
        terminal.send("\x03");
        terminal.expect("/ # ");
        terminal.send("exit 7\n");
        terminal.end().exits(7);
    }
}

#[test]
fn detach_keys_leave_the_container_running() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let name = format!("detached-{cli:?}");
        let mut terminal =
            Terminal::start(&client.command(&["run", "-it", "--name", &name, "busybox", "sh"]));
        terminal.expect("/ # ");
        terminal.send("\x10\x11");
        terminal.end().ok();
        client.run(&["inspect", "-f", "{{.State.Running}}", &name]).ok().prints("true\n");
        let mut terminal =
            Terminal::start(&client.command(&["attach", "--detach-keys", "ctrl-x,x", &name]));
        terminal.send("\n");
        terminal.expect("/ # ");
        terminal.send("echo again\n");
        terminal.expect("\nagain");
        terminal.send("\x18x");
        terminal.end();
        client.run(&["inspect", "-f", "{{.State.Running}}", &name]).ok().prints("true\n");
        client.run(&["rm", "-f", &name]).ok();
    }
}

#[test]
fn exec_in_a_terminal() {
    need!(Root);
    let daemon = Daemon::start();
    daemon.gantry().run(&["run", "-d", "--name", "ee", "busybox", "sleep", "1000"]).ok();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let mut terminal = Terminal::start(&client.command(&["exec", "-it", "ee", "sh"]));
        terminal.expect("/ # ");
        terminal.send("tty; stty size\n");
        terminal.expect("/dev/pts/");
        terminal.expect("24 80");
        terminal.send("exit 12\n");
        terminal.end().exits(12);
    }
}

#[test]
fn a_terminal_is_asked_for_only_on_a_terminal() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client
            .run_with(&["run", "--rm", "-it", "busybox", "true"], b"")
            .exits(1)
            .says("the input device is not a TTY");
        client
            .run(&["run", "--rm", "-t", "busybox", "sh", "-c", "test -t 1 && echo yes"])
            .ok()
            .prints("yes\r\n");
    }
}
