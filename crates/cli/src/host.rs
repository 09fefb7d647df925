//! Which daemon a command speaks to: `-H`, `GANTRY_HOST`, `DOCKER_HOST`, the current context, our socket, Docker's.

use crate::config::ConfigFile;
use crate::env::Env;
use crate::exit::{Failure, Result};
use client::Host;
use std::path::Path;

const OUR_SOCKET: &str = "/run/gantry.sock";
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Chooses by what was typed (`hosts`, `context`), the environment and the user's configuration.
///
/// The sockets are chosen between by which is there, not by which answers: a command must not silently go to another
/// daemon because ours is being restarted.
pub(crate) fn choose(
    hosts: &[String],
    context: Option<&str>,
    env: &Env,
    config: &ConfigFile,
) -> Result<Host> {
    let endpoint = |e: String| {
        Failure::new(format!("Failed to initialize: unable to resolve docker endpoint: {e}"))
    };
    let parse = |text: &str| text.parse::<Host>().map_err(|e| endpoint(e.to_string()));
    match hosts {
        [] => {}
        [host] if context.is_none() => return parse(host),
        [_] => {
            return Err(Failure::new(
                "conflicting options: cannot specify both --host and --context",
            ));
        }
        _ => return Err(endpoint("Specify only one -H".into())),
    }
    if let Some(name) = context {
        not_there_yet(name)?;
    } else if let Some(host) = env.get("GANTRY_HOST").or_else(|| env.get("DOCKER_HOST")) {
        return parse(&host);
    } else {
        let current = env.get("DOCKER_CONTEXT").unwrap_or_else(|| config.current_context.clone());
        not_there_yet(&current)?;
    }
    let socket = if !Path::new(OUR_SOCKET).exists() && Path::new(DOCKER_SOCKET).exists() {
        DOCKER_SOCKET
    } else {
        OUR_SOCKET
    };
    Ok(Host::Unix(socket.into()))
}

fn not_there_yet(context: &str) -> Result<()> {
    if context.is_empty() || context == "default" {
        return Ok(());
    }
    Err(Failure::new(format!(
        "Failed to initialize: unable to resolve docker endpoint: context {context:?}: contexts other than \"default\" are \
         not there yet (see docs/compat.tsv)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_typed_comes_before_the_environment() {
        let check = |hosts: &[&str], context: Option<&str>, env: &[(&str, &str)], want: &str| {
            let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
            let env: BTreeMap<_, _> =
                env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let got = match choose(&hosts, context, &Env::Given(env), &ConfigFile::default()) {
                Ok(host) => host.to_string(),
                Err(failure) => failure.message,
            };
            assert!(got.starts_with(want), "{got} instead of {want}");
        };
        let both = [("GANTRY_HOST", "unix:///g"), ("DOCKER_HOST", "unix:///d")];
        check(&["unix:///h"], None, &both, "unix:///h");
        check(&[], None, &both, "unix:///g");
        check(&[], None, &both[1..], "unix:///d");
        check(&[], None, &[("DOCKER_HOST", "")], "unix:///");
        check(
            &["a", "b"],
            None,
            &[],
            "Failed to initialize: unable to resolve docker endpoint: Specify only one -H",
        );
        check(&["a"], Some("x"), &[], "conflicting options");
        check(
            &[],
            Some("x"),
            &both,
            "Failed to initialize: unable to resolve docker endpoint: context \"x\"",
        );
        check(&[], Some("default"), &both, "unix:///");
        check(&[], None, &[("DOCKER_CONTEXT", "x")], "Failed to initialize");
        check(
            &["foo://x"],
            None,
            &[],
            "Failed to initialize: unable to resolve docker endpoint: invalid bind address format: foo://x",
        );
    }
}
