//! What options take: checks with dockerd's words.

use std::net::IpAddr;

type Checked = Result<(), String>;

/// `-H`: an address to listen on.
pub(crate) fn host(text: &str) -> Checked {
    let Some(rest) = text.trim().strip_prefix("tcp://") else { return Ok(()) };
    let wrong = |why: &str| Err(format!("invalid bind address ({text}): {why}"));
    if rest.contains('/') {
        return wrong("should not contain a path element");
    }
    match rest.rsplit_once(':') {
        Some((_, port))
            if !port.ends_with(']') && !port.is_empty() && port.parse::<u16>().is_err() =>
        {
            wrong(&format!("parse {text:?}: invalid port {:?} after host", format!(":{port}")))
        }
        _ => Ok(()),
    }
}

/// `--label`: `key=value`.
pub(crate) fn label(text: &str) -> Checked {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(()),
        _ => Err(format!("bad attribute format: {text}")),
    }
}

/// `--feature`: `name` or `name=bool`.
pub(crate) fn feature(text: &str) -> Checked {
    match text.split_once('=') {
        Some((_, value)) => cli::flags::check::boolean(value),
        None => Ok(()),
    }
}

/// `--add-runtime`: `name=path`.
pub(crate) fn runtime(text: &str) -> Checked {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            let reserved = |own: &&str| name.trim().eq_ignore_ascii_case(own);
            match container::runtimes::RESERVED.iter().copied().find(|own| reserved(own)) {
                Some(own) => Err(format!("runtime name '{own}' is reserved")),
                None => Ok(()),
            }
        }
        _ => Err(format!("invalid runtime argument: {text}")),
    }
}

/// `--node-generic-resource`: `name=value`.
pub(crate) fn generic_resource(text: &str) -> Checked {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(()),
        _ => Err(format!("invalid node-generic-resource format `{text}` expected `name=value`")),
    }
}

/// A number of bytes.
pub(crate) fn bytes(text: &str) -> Checked {
    cli::flags::check::bytes(text)
}

/// An IP address.
pub(crate) fn ip(text: &str) -> Checked {
    text.trim().parse::<IpAddr>().map(|_| ()).map_err(|_| format!("failed to parse IP: {text:?}"))
}

/// A name server.
pub(crate) fn dns(text: &str) -> Checked {
    text.trim()
        .parse::<IpAddr>()
        .map(|_| ())
        .map_err(|_| format!("invalid string being converted to IP address: {text}"))
}

/// `--registry-mirror`
pub(crate) fn mirror(text: &str) -> Checked {
    remote::Config::default().add_mirror(text).map_err(|e| e.to_string())
}
