//! Where credentials are kept: in `config.json`, or by a program of the user's, `docker-credential-NAME` from their `PATH`,
//! as `credsStore` and `credHelpers` say. The programs' protocol is Docker's: the verb is the argument, the rest goes over
//! stdin and stdout.

use crate::config::{self, ConfigFile, HUB};
use crate::exit::{Failure, Result};
use api::AuthConfig;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The name under which a helper gives out a token.
const TOKEN: &str = "<token>";

/// What a helper keeps.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Kept {
    #[serde(rename = "ServerURL")]
    server_url: String,
    username: String,
    secret: String,
}

/// The credentials for a server, wherever they are kept; a helper that fails has none, as for Docker.
pub(crate) fn find(config: &ConfigFile, server: &str) -> Option<AuthConfig> {
    let Some(helper) = config.helper(server) else { return config.stored(server) };
    let kept: Kept = serde_json::from_str(&run(helper, "get", server).ok()?).ok()?;
    let mut auth = AuthConfig { serveraddress: server.to_owned(), ..AuthConfig::default() };
    if kept.username == TOKEN {
        auth.identitytoken = kept.secret;
    } else {
        (auth.username, auth.password) = (kept.username, kept.secret);
    }
    Some(auth)
}

/// The value of `X-Registry-Auth` for a registry; empty when there are no credentials for it.
pub(crate) fn header(config: &ConfigFile, registry: &str) -> String {
    let server = if registry == "docker.io" { HUB } else { registry };
    let Some(auth) = find(config, server).or_else(|| config.stored_by_host(registry)) else {
        return String::new();
    };
    if auth.username.is_empty() && auth.identitytoken.is_empty() && auth.registrytoken.is_empty() {
        return String::new();
    }
    let auth = AuthConfig { serveraddress: server.to_owned(), ..auth };
    serde_json::to_vec(&auth).map(|json| URL_SAFE.encode(json)).unwrap_or_default()
}

/// Keeps credentials for a server. Whether they are in a file for everybody who can read it, and were not before.
pub(crate) fn keep(
    config: &ConfigFile,
    file: &Path,
    server: &str,
    auth: &AuthConfig,
) -> Result<bool> {
    let Some(helper) = config.helper(server) else {
        let before = config.stored(server);
        let same = |old: &AuthConfig| {
            old.username == auth.username
                && old.password == auth.password
                && old.identitytoken == auth.identitytoken
        };
        if before.as_ref().is_some_and(same) {
            return Ok(false);
        }
        config::store(file, server, config::Entry::Secret(auth))?;
        return Ok(true);
    };
    let kept = if auth.identitytoken.is_empty() {
        Kept {
            server_url: server.to_owned(),
            username: auth.username.clone(),
            secret: auth.password.clone(),
        }
    } else {
        Kept {
            server_url: server.to_owned(),
            username: TOKEN.to_owned(),
            secret: auth.identitytoken.clone(),
        }
    };
    let input = serde_json::to_string(&kept).unwrap_or_default();
    run(helper, "store", &input).map_err(|why| {
        Failure::new(format!("Error saving credentials: error storing credentials - {why}"))
    })?;
    config::store(file, server, config::Entry::Elsewhere)?;
    Ok(false)
}

/// Forgets the credentials for a server; what a helper says to it does not matter, as for Docker.
pub(crate) fn forget(config: &ConfigFile, file: &Path, server: &str) -> Result<()> {
    // Older clients kept them under other names.
    let with_scheme = |scheme: &str| format!("{scheme}://{server}");
    let names = if server == HUB {
        vec![server.to_owned()]
    } else {
        vec![server.to_owned(), with_scheme("http"), with_scheme("https")]
    };
    for name in names {
        if let Some(helper) = config.helper(&name) {
            let _forgotten_or_never_known = run(helper, "erase", &name);
        }
        config::store(file, &name, config::Entry::None)?;
    }
    Ok(())
}

/// Runs a helper; its answer, or what Docker would say of its failure.
#[expect(
    clippy::disallowed_methods,
    reason = "the user's own program, looked for in the user's PATH, as Docker's client does"
)]
fn run(helper: &str, verb: &str, input: &str) -> Result<String, String> {
    let program = format!("docker-credential-{helper}");
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                format!("err: exec: \"{program}\": executable file not found in $PATH, out: ``")
            }
            _ => format!("err: {program}: {e}, out: ``"),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not want to know closes it; its answer tells.
        let _told = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| format!("err: {program}: {e}, out: ``"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(text);
    }
    let status = match output.status.code() {
        Some(code) => format!("exit status {code}"),
        None => output.status.to_string(),
    };
    Err(format!("err: {status}, out: `{text}`"))
}
