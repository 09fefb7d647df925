//! The same session on the reference daemon and on ours gives the same output, or `docs/differences.md` says why not.
//!
//! The reference's side was recorded by `cargo run -p tests --bin record`, one transcript per client version.

use testkit::{Cli, Daemon, need};
use tests::transcript::{self, Session};

#[test]
fn the_unmodified_docker_sees_what_dockerd_would_show() {
    need!(Root, Docker);
    compare(Session::Commands, Cli::Docker);
}

#[test]
fn the_reference_client_sees_what_dockerd_would_show() {
    need!(Root, Peers);
    compare(Session::Commands, Cli::Reference);
}

/// Our own client prints what Docker's prints.
#[test]
fn gantry_shows_what_docker_would_show() {
    need!(Root);
    compare(Session::Commands, Cli::Gantry);
}

/// Networks as the unmodified client sees them.
#[test]
fn docker_sees_the_networks_that_dockerd_would_show() {
    need!(Root, Docker);
    compare(Session::Networks, Cli::Docker);
}

/// Networks as our own client shows them.
#[test]
fn gantry_shows_the_networks_that_docker_would_show() {
    need!(Root);
    compare(Session::Networks, Cli::Gantry);
}

/// Both clients make the same of a template on the same daemon, what is wrong with it included.
#[test]
fn our_client_reads_templates_as_dockers_does() {
    need!(Root, Docker);
    if Cli::Docker.version().as_deref() != Some("28.2") {
        eprintln!("skipped: docker is not the version whose templates ours are");
        return;
    }
    let text = std::fs::read_to_string(transcript::folder().join("templates.txt")).unwrap();
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let daemon = Daemon::start();
    let answers = |cli: Cli| {
        let home = daemon.home();
        // Each under the name `docker`.
        let _other_client = std::fs::remove_file(home.join("docker"));
        transcript::run(&daemon.client(cli), &lines, &home)
    };
    let (docker, gantry) = (answers(Cli::Docker), answers(Cli::Gantry));
    let wrong: Vec<String> =
        transcript::differences(&docker, &gantry).into_iter().map(|(_, block)| block).collect();
    assert!(wrong.is_empty(), "{} templates differ\n{}", wrong.len(), wrong.join("\n"));
}

fn compare(session: Session, cli: Cli) {
    // Our client is held to the newest recorded one.
    let version = if cli == Cli::Gantry { Some("28.2".to_owned()) } else { cli.version() };
    let path = session.recorded(&version.unwrap());
    let Ok(recorded) = std::fs::read_to_string(&path) else {
        // Another client version prints other words; what it sees of the daemon is compared by the other tests.
        eprintln!("skipped: there is no {}", path.display());
        return;
    };
    let expected = transcript::read(&recorded);
    let daemon = Daemon::start();
    // The bundled image would only shift every list of images.
    daemon.gantry().run(&["rmi", "hello-world"]).ok();
    let got = transcript::record(session, &daemon.client(cli), &daemon.home());
    let mut reasons = Reasons::read(cli);
    // The file has the reasons of all sessions; what is in none of them is stale.
    let elsewhere: Vec<String> = Session::ALL
        .iter()
        .filter(|s| **s != session)
        .flat_map(|s| transcript::lines(*s))
        .collect();
    reasons.0.retain(|line| !elsewhere.contains(line));
    let mut wrong = Vec::new();
    let differences = transcript::differences(&expected, &got);
    for (line, block) in &differences {
        if !reasons.0.contains(line) {
            wrong.push(block.clone());
        }
    }
    for line in reasons.0.iter().filter(|line| !differences.iter().any(|(l, _)| l == *line)) {
        wrong.push(format!(
            "docs/differences.md lists a line that does not differ (any more): {line}\n"
        ));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} lines differ\n{}",
        wrong.len(),
        expected.len(),
        wrong.join("\n")
    );
}

/// The command lines that differ for a reason given in `docs/differences.md`: list items of the form
/// ``- `command line` ``, those below a heading with "client" for our client only.
struct Reasons(Vec<String>);

impl Reasons {
    fn read(cli: Cli) -> Self {
        let text = std::fs::read_to_string(testkit::root().join("docs/differences.md"))
            .unwrap_or_default();
        let mut lines = Vec::new();
        let mut ours_only = false;
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                ours_only = heading.contains("client");
            }
            let item = line.strip_prefix("- `` ").and_then(|l| l.strip_suffix(" ``"));
            let item = item.or_else(|| line.strip_prefix("- `").and_then(|l| l.strip_suffix('`')));
            if let Some(item) = item
                && (!ours_only || cli == Cli::Gantry)
            {
                lines.push(item.to_owned());
            }
        }
        Self(lines)
    }
}
