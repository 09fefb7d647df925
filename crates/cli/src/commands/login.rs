//! `login` and `logout`

use crate::app::App;
use crate::config::HUB;
use crate::credentials;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
use crate::output;
use crate::terminal;
use api::AuthConfig;
use std::io::{BufRead as _, Read as _};

pub(super) const LOGIN: Command = Command {
    group: "",
    name: "login",
    aliases: &[],
    top: "login",
    arguments: "[OPTIONS] [SERVER]",
    about: "Authenticate to a registry",
    arity: Arity::AtMost(1),
    interspersed: true,
    flags: &[&[
        Flag::text("password", "Password or Personal Access Token (PAT)").short('p'),
        Flag::switch(
            "password-stdin",
            "Take the Password or Personal Access Token (PAT) from stdin",
        ),
        Flag::text("username", "Username").short('u'),
    ]],
    run: |app, matches| Box::pin(login(app, matches)),
};

pub(super) const LOGOUT: Command = Command {
    group: "",
    name: "logout",
    aliases: &[],
    top: "logout",
    arguments: "[SERVER]",
    about: "Log out from a registry",
    arity: Arity::AtMost(1),
    interspersed: true,
    flags: &[],
    run: |app, matches| Box::pin(async move { logout(app, matches) }),
};

/// How the registry is called in `config.json`.
fn server(matches: &Matches) -> String {
    match matches.arguments.first().map(String::as_str) {
        None | Some("" | "docker.io" | "index.docker.io" | "registry-1.docker.io") => {
            HUB.to_owned()
        }
        Some(HUB) => HUB.to_owned(),
        Some(server) => {
            let bare = server.trim_start_matches("https://").trim_start_matches("http://");
            bare.split('/').next().unwrap_or_default().to_owned()
        }
    }
}

async fn login(app: &App, matches: &Matches) -> Result<u8> {
    let server = server(matches);
    let mut auth = AuthConfig { serveraddress: server.clone(), ..AuthConfig::default() };
    let given = matches.get("username").unwrap_or_default().to_owned();
    auth.password = password(matches, &given)?;
    auth.username = given;
    if auth.username.is_empty()
        && auth.password.is_empty()
        && let Some(stored) = credentials::find(app.config(), &server)
        && !stored.username.is_empty()
    {
        output::complain(&format!(
            "Authenticating with existing credentials... [Username: {}]\n\n Info -> To login with a different account, run \
             'docker logout' followed by 'docker login'\n\n",
            stored.username
        ));
        auth = AuthConfig { serveraddress: server.clone(), ..stored };
    }
    ask_for_missing(&mut auth)?;
    let answer = app.client()?.login(&auth).await?;
    if !answer.identity_token.is_empty() {
        auth.password = String::new();
        auth.identitytoken.clone_from(&answer.identity_token);
    }
    let file = app.config_file();
    if credentials::keep(app.config(), &file, &server, &auth)? {
        output::complain(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this \
             warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            file.display()
        ));
    }
    output::print(&format!("{}\n", answer.status))?;
    Ok(0)
}

fn password(matches: &Matches, username: &str) -> Result<String> {
    let given = matches.get("password").unwrap_or_default();
    if !given.is_empty() {
        if matches.is("password-stdin") {
            return Err(Failure::new(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        output::complain(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
        );
        return Ok(given.to_owned());
    }
    if !matches.is("password-stdin") {
        return Ok(String::new());
    }
    if username.is_empty() {
        return Err(Failure::new("the --password-stdin option requires --username to be set"));
    }
    let mut text = String::new();
    std::io::stdin().take(1 << 16).read_to_string(&mut text)?;
    Ok(text.trim_end_matches('\n').trim_end_matches('\r').to_owned())
}

fn ask_for_missing(auth: &mut AuthConfig) -> Result<()> {
    let has_secret = !auth.password.is_empty() || !auth.identitytoken.is_empty();
    if !auth.username.is_empty() && has_secret {
        return Ok(());
    }
    if !terminal::stdin_is_terminal() {
        return Err(Failure::new(
            "Error: Cannot perform an interactive login from a non TTY device",
        ));
    }
    if auth.username.is_empty() {
        output::print("Username: ")?;
        auth.username = line()?;
        if auth.username.is_empty() {
            return Err(Failure::new("Error: Non-null Username Required"));
        }
    }
    if !has_secret {
        output::print("Password: ")?;
        auth.password = {
            let _hidden = sys::tty::Raw::hidden(std::io::stdin())?;
            line()?
        };
        output::print("\n")?;
        if auth.password.is_empty() {
            return Err(Failure::new("Error: Password Required"));
        }
    }
    Ok(())
}

fn line() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text)?;
    Ok(text.trim().to_owned())
}

fn logout(app: &App, matches: &Matches) -> Result<u8> {
    let server = server(matches);
    output::print(&format!("Removing login credentials for {server}\n"))?;
    credentials::forget(app.config(), &app.config_file(), &server)?;
    Ok(0)
}
