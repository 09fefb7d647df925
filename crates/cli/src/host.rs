//! Which daemon a command speaks to: `-H`, `--context`, `GANTRY_HOST`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current
//! context, our socket, Docker's.

use crate::config::ConfigFile;
use crate::contexts::{self, Store};
use crate::env::Env;
use crate::exit::{Failure, Result};
use crate::flags::Matches;
use client::{Host, Tls};
use std::path::{Path, PathBuf};

const OUR_SOCKET: &str = "/run/gantry.sock";
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// A daemon, and how to speak with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Where it is.
    pub(crate) host: Host,
    /// How TLS is spoken; `None`: not at all.
    pub(crate) tls: Option<Tls>,
}

/// What was typed before the command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Every `-H`.
    pub(crate) hosts: Vec<String>,
    /// `--context`
    pub(crate) context: Option<String>,
    /// What `--tls…` and its variables ask for.
    pub(crate) tls: Option<Tls>,
}

impl Asked {
    /// Reads the global flags. `config`: the user's folder, where certificates are unless something else is said.
    pub(crate) fn new(globals: &Matches, env: &Env, config: &Path) -> Self {
        let verify = globals.is_or("tlsverify", env.get("DOCKER_TLS_VERIFY").is_some());
        let asked = verify
            || globals.has("tlsverify")
            || globals.is_or("tls", env.get("DOCKER_TLS").is_some());
        let folder = env.get("DOCKER_CERT_PATH").map_or_else(|| config.to_owned(), PathBuf::from);
        let file = |flag: &str, name: &str| match globals.get(flag) {
            Some(path) => Some(PathBuf::from(path.trim_matches('"'))),
            None => Some(folder.join(name)).filter(|path| path.exists()),
        };
        // Who verifies trusts the named authority alone: a missing one is an error, not a reason to trust the system's.
        let own_ca = || file("tlscacert", "ca.pem").unwrap_or_else(|| folder.join("ca.pem"));
        let tls = asked.then(|| Tls {
            ca: verify.then(own_ca),
            identity: file("tlscert", "cert.pem").zip(file("tlskey", "key.pem")),
            skip_verify: !verify,
        });
        Self {
            hosts: globals.list("host"),
            context: globals.get("context").map(str::to_owned),
            tls,
        }
    }
}

/// The context that is meant; `default` where a host is named.
pub(crate) fn context(asked: &Asked, env: &Env, config: &ConfigFile) -> String {
    if let Some(name) = asked.context.as_ref().filter(|name| !name.is_empty()) {
        return name.clone();
    }
    if !asked.hosts.is_empty() || host_of_environment(env).is_some() {
        return contexts::DEFAULT.to_owned();
    }
    let current = env.get("DOCKER_CONTEXT").unwrap_or_else(|| config.current_context.clone());
    if current.is_empty() { contexts::DEFAULT.to_owned() } else { current }
}

/// The host that the environment names.
pub(crate) fn host_of_environment(env: &Env) -> Option<String> {
    env.get("GANTRY_HOST").or_else(|| env.get("DOCKER_HOST"))
}

/// Where the default context's daemon is, as a text.
///
/// The sockets are chosen between by which is there, not by which answers: a command must not silently go to another
/// daemon because ours is being restarted.
pub(crate) fn default_host(asked: &Asked, env: &Env) -> String {
    if let Some(host) = asked.hosts.first().cloned().or_else(|| host_of_environment(env)) {
        return host;
    }
    let socket = if !Path::new(OUR_SOCKET).exists() && Path::new(DOCKER_SOCKET).exists() {
        DOCKER_SOCKET
    } else {
        OUR_SOCKET
    };
    format!("unix://{socket}")
}

/// Chooses by what was typed, the environment and the user's configuration.
pub(crate) fn choose(
    asked: &Asked,
    env: &Env,
    config: &ConfigFile,
    store: &Store,
) -> Result<Endpoint> {
    let endpoint = |e: String| {
        Failure::new(format!("Failed to initialize: unable to resolve docker endpoint: {e}"))
    };
    match asked.hosts.as_slice() {
        [] => {}
        [_] if asked.context.is_none() => {}
        [_] => {
            return Err(Failure::new(
                "conflicting options: cannot specify both --host and --context",
            ));
        }
        _ => return Err(endpoint("Specify only one -H".into())),
    }
    let name = context(asked, env, config);
    let (text, tls) = if name == contexts::DEFAULT {
        (default_host(asked, env), asked.tls.clone())
    } else {
        let docker = store.read(&name).map_err(|failure| endpoint(failure.message))?.endpoint();
        (docker.host, store.tls(&name, docker.skip_verify))
    };
    let host = Host::parse(&text, tls.is_some()).map_err(|e| endpoint(e.to_string()))?;
    let tls = tls.filter(|_| matches!(host, Host::Tcp { .. }));
    for file in tls.iter().flat_map(files) {
        std::fs::File::open(file).map_err(|e| {
            let why = rustix::io::Errno::from_io_error(&e);
            let why = match why {
                Some(rustix::io::Errno::NOENT) => "no such file or directory".to_owned(),
                Some(rustix::io::Errno::ACCESS) => "permission denied".to_owned(),
                _ => e.to_string(),
            };
            endpoint(format!("open {}: {why}", file.display()))
        })?;
    }
    Ok(Endpoint { host, tls })
}

/// The files that a connection reads.
fn files(tls: &Tls) -> impl Iterator<Item = &Path> {
    let identity = tls.identity.iter().flat_map(|(cert, key)| [cert, key]);
    tls.ca.iter().chain(identity).map(PathBuf::as_path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn environment(env: &[(&str, &str)]) -> Env {
        let env: BTreeMap<_, _> =
            env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Env::Given(env)
    }

    #[test]
    fn what_is_typed_comes_before_the_environment() {
        let store = Store::new(Path::new("/no/such/folder"));
        let check = |hosts: &[&str], context: Option<&str>, env: &[(&str, &str)], want: &str| {
            let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
            let asked = Asked { hosts, context: context.map(str::to_owned), tls: None };
            let got = match choose(&asked, &environment(env), &ConfigFile::default(), &store) {
                Ok(endpoint) => endpoint.host.to_string(),
                Err(failure) => failure.message,
            };
            assert!(got.starts_with(want), "{got} instead of {want}");
        };
        let both = [("GANTRY_HOST", "unix:///g"), ("DOCKER_HOST", "unix:///d")];
        let unresolved = "Failed to initialize: unable to resolve docker endpoint: ";
        check(&["unix:///h"], None, &both, "unix:///h");
        check(&[], None, &both, "unix:///g");
        check(&[], None, &both[1..], "unix:///d");
        check(&[], None, &[("DOCKER_HOST", "")], "unix:///");
        check(&["a", "b"], None, &[], &format!("{unresolved}Specify only one -H"));
        check(&["a"], Some("x"), &[], "conflicting options");
        check(
            &[],
            Some("x"),
            &both,
            &format!("{unresolved}context \"x\": context not found: open /no/such"),
        );
        check(&[], Some("default"), &both[1..], "unix:///d");
        check(
            &[],
            None,
            &[("DOCKER_CONTEXT", "x")],
            &format!("{unresolved}context \"x\": context not found"),
        );
        check(&[], None, &[("DOCKER_CONTEXT", "x"), ("DOCKER_HOST", "unix:///d")], "unix:///d");
        check(
            &["foo://x"],
            None,
            &[],
            &format!("{unresolved}invalid bind address format: foo://x"),
        );
    }

    #[test]
    fn certificates_are_where_docker_looks_for_them() {
        let read = |args: &[&str], env: &[(&str, &str)]| {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            let (globals, _) = Matches::parse_leading(crate::app::GLOBAL, &args).unwrap();
            Asked::new(&globals, &environment(env), Path::new("/no/such/folder")).tls
        };
        assert_eq!(read(&[], &[]), None);
        assert!(read(&["--tls"], &[]).unwrap().skip_verify);
        assert!(!read(&["--tlsverify"], &[]).unwrap().skip_verify);
        assert!(!read(&[], &[("DOCKER_TLS_VERIFY", "1")]).unwrap().skip_verify);
        assert!(read(&["--tlsverify=false"], &[]).unwrap().skip_verify);
        let named =
            read(&["--tlsverify", "--tlscacert", "/ca", "--tlscert=/c", "--tlskey=/k"], &[]);
        let identity = Some(("/c".into(), "/k".into()));
        assert_eq!(named, Some(Tls { ca: Some("/ca".into()), identity, skip_verify: false }));
        let verified = read(&["--tlsverify"], &[]).unwrap();
        assert_eq!((verified.ca, verified.identity), (Some("/no/such/folder/ca.pem".into()), None));
        assert_eq!(read(&["--tls"], &[]).unwrap().ca, None);
    }

    #[test]
    fn a_missing_authority_is_said_before_anything_is_asked() {
        let missing =
            Tls { ca: Some("/no/such/ca.pem".into()), identity: None, skip_verify: false };
        let asked = |host: &str| Asked {
            hosts: vec![host.to_owned()],
            context: None,
            tls: Some(missing.clone()),
        };
        let store = Store::new(Path::new("/no/such/folder"));
        let choose = |host: &str| {
            choose(&asked(host), &environment(&[]), &ConfigFile::default(), &store)
                .map(|endpoint| endpoint.tls)
                .map_err(|failure| failure.message)
        };
        assert_eq!(
            choose("tcp://127.0.0.1:1").unwrap_err(),
            "Failed to initialize: unable to resolve docker endpoint: open /no/such/ca.pem: no such file or directory"
        );
        assert_eq!(choose("unix:///s").unwrap(), None);
    }

    #[test]
    fn tls_has_a_port_of_its_own() {
        let store = Store::new(Path::new("/no/such/folder"));
        let check = |tls: Option<Tls>, wanted: &str| {
            let asked = Asked { hosts: vec!["tcp://h".to_owned()], context: None, tls };
            let chosen = choose(&asked, &environment(&[]), &ConfigFile::default(), &store);
            assert_eq!(chosen.map(|endpoint| endpoint.host.to_string()).unwrap(), wanted);
        };
        check(None, "tcp://h:2375");
        check(Some(Tls { ca: None, identity: None, skip_verify: true }), "tcp://h:2376");
    }
}
