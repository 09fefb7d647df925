//! Proving who asks: Basic, and Bearer tokens from a token server.
//!
//! Source: RFC 9110 section 11 (challenges), distribution's "Token Authentication Specification" and its OAuth2 variant.
//! Where the password may go is decided by [`may_have_credentials`]: CVE-2020-15157 and its kin were clients that sent it
//! wherever a registry's answer pointed.

use crate::Session;
use crate::config::{Config, Credentials};
use crate::endpoint::Endpoint;
use crate::errors::{self, Answer};
use crate::wire;
use base64::Engine as _;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stdx::{Error, Kind, Result};

/// Tokens by endpoint and scope.
pub(crate) type Tokens = Arc<Mutex<HashMap<(String, String), Granted>>>;

/// A token and how long it may be used.
#[derive(Clone)]
pub(crate) struct Granted {
    header: HeaderValue,
    until: Option<Instant>,
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Granted").field("until", &self.until).finish_non_exhaustive()
    }
}

const LARGEST_TOKEN: usize = 1 << 20;

/// One way in which a registry wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

/// Reads `WWW-Authenticate`. Schemes that we do not know are left out.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for header in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = header.to_str() else { continue };
        for (scheme, parameters) in split(text) {
            let get =
                |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            match scheme.as_str() {
                "basic" => found.push(Challenge::Basic),
                "bearer" => {
                    if let Some(realm) = get("realm") {
                        found.push(Challenge::Bearer {
                            realm,
                            service: get("service").unwrap_or_default(),
                            scope: get("scope").unwrap_or_default(),
                        });
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// `Bearer realm="…",service="…", Basic realm="…"` → schemes with their parameters, lower-case names.
fn split(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        let (word, after) = rest.split_at(end);
        let after = after.trim_start();
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = value_of(value.trim_start());
            if let Some((_, parameters)) = schemes.last_mut() {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            schemes.push((word.to_ascii_lowercase(), Vec::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    schemes
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[i + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// Whether the user's password for `registry` may be shown to the token server at `realm`: the same host, its parent
/// domain or a sister (`registry.example.com` and `auth.example.com`), or one that is configured; never with less
/// protection on the way than the registry itself has.
fn may_have_credentials(config: &Config, registry: &Url, realm: &Url) -> bool {
    if registry.scheme() == "https" && realm.scheme() != "https" {
        return false;
    }
    let (Some(a), Some(b)) = (registry.host_str(), realm.host_str()) else { return false };
    if a == b {
        return true;
    }
    if realm.scheme() != "https" {
        return false;
    }
    if config.token_hosts.iter().any(|(registry, token)| registry == a && token == b) {
        return true;
    }
    // Only names have parents, and a parent must itself have a dot: `com` vouches for nobody.
    let Some(url::Name(parent)) = url::parent(registry) else { return false };
    b == parent || b.strip_suffix(parent).is_some_and(|sister| sister.ends_with('.'))
}

/// The little that is wanted of host names.
mod url {
    use reqwest::Url;

    pub(super) struct Name<'a>(pub(super) &'a str);

    /// The domain above a host name.
    pub(super) fn parent(url: &Url) -> Option<Name<'_>> {
        let name = url.domain()?;
        let (_, parent) = name.split_once('.')?;
        parent.contains('.').then_some(Name(parent))
    }
}

impl Session {
    /// The header that `endpoint` has accepted, or will, for `scope`.
    pub(crate) fn known_authorization(
        &self,
        endpoint: &Endpoint,
        scope: &str,
    ) -> Option<HeaderValue> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = tokens.get(&(endpoint.base.to_string(), scope.to_owned()))?;
        granted.until.is_none_or(|until| Instant::now() < until).then(|| granted.header.clone())
    }

    /// Answers a challenge of `endpoint` for `scope`, and keeps the answer.
    pub(crate) async fn authorize(
        &self,
        endpoint: &Endpoint,
        challenges: &[Challenge],
        scope: &str,
        url: &Url,
    ) -> Result<HeaderValue> {
        let credentials = if endpoint.is_mirror { None } else { self.credentials.as_deref() };
        let granted = if let Some(token) =
            credentials.map(|c| c.registry_token.as_str()).filter(|t| !t.is_empty())
        {
            Granted { header: bearer(token)?, until: None }
        } else if let Some(Challenge::Bearer { realm, service, scope: asked }) =
            challenges.iter().find(|c| matches!(c, Challenge::Bearer { .. }))
        {
            let scope = if scope.is_empty() { asked } else { scope };
            self.token(endpoint, realm, service, scope, credentials).await?
        } else if challenges.contains(&Challenge::Basic) {
            let Some(credentials) = credentials.filter(|c| !c.username.is_empty()) else {
                return Err(Error::new(
                    Kind::Unauthorized,
                    format!("Get \"{}\": no basic auth credentials", errors::shown(url)),
                ));
            };
            Granted { header: basic(credentials)?, until: None }
        } else {
            return Err(Error::new(Kind::Unauthorized, "unauthorized: authentication required"));
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert((endpoint.base.to_string(), scope.to_owned()), granted.clone());
        Ok(granted.header)
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        realm: &str,
        service: &str,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Granted> {
        let mut url: Url = realm.parse().map_err(|e| {
            Error::new(
                Kind::DataLoss,
                format!("token realm \"{realm}\" of {}: {e}", endpoint.domain),
            )
        })?;
        let registry = &endpoint.base;
        let same_host = registry.host_str() == url.host_str();
        let plain_is_fine = endpoint.is_plain() && same_host;
        if !(url.scheme() == "https" || (url.scheme() == "http" && plain_is_fine)) {
            return Err(Error::new(
                Kind::Forbidden,
                format!(
                    "refusing to ask for a token at {}: it is neither https nor the registry's own host",
                    errors::shown(&url)
                ),
            ));
        }
        let config = &self.registry.config;
        let credentials = credentials.filter(|_| may_have_credentials(config, registry, &url));
        let is_insecure = (endpoint.is_insecure && same_host)
            || config.is_insecure(&crate::endpoint::authority(&url));
        let client = self.registry.clients.get(&url, is_insecure)?;
        let request = match credentials {
            Some(c) if !c.identity_token.is_empty() => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("client_id", "gantry"),
                    ("scope", scope),
                    ("refresh_token", &c.identity_token),
                ];
                client
                    .post(url.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(encode(&form))
            }
            other => {
                {
                    let mut query = url.query_pairs_mut();
                    if !service.is_empty() {
                        query.append_pair("service", service);
                    }
                    // Several scopes are several parameters.
                    for one in scope.split(' ').filter(|s| !s.is_empty()) {
                        query.append_pair("scope", one);
                    }
                    if let Some(c) = other.filter(|c| !c.username.is_empty()) {
                        query.append_pair("account", &c.username);
                    }
                }
                let request = client.get(url.clone());
                match other.filter(|c| !c.username.is_empty()) {
                    Some(c) => request.header(AUTHORIZATION, basic(c)?),
                    None => request,
                }
            }
        };
        let answer = request.send().await.map_err(|e| errors::no_answer(&url, &e))?;
        // Not followed when it is a redirect: the next host is not the realm that was checked above.
        if !answer.status().is_success() {
            let answer = Answer::read(answer).await;
            if answer.status == reqwest::StatusCode::UNAUTHORIZED {
                let said = if answer.code.is_empty() {
                    "unauthorized: incorrect username or password".to_owned()
                } else {
                    answer.said()
                };
                return Err(Error::new(
                    Kind::Unauthorized,
                    format!("Get \"{}\": {said}", registry_root(registry)),
                ));
            }
            return Err(answer.into_error());
        }
        let body = errors::body(answer, LARGEST_TOKEN).await?;
        let token: wire::Token = serde_json::from_slice(&body).map_err(|e| {
            Error::new(
                Kind::DataLoss,
                format!("token server {} answered garbage", errors::shown(&url)),
            )
            .caused_by(e)
        })?;
        let text = if token.token.is_empty() { &token.access_token } else { &token.token };
        if text.is_empty() {
            return Err(Error::new(
                Kind::Unauthorized,
                "authorization server did not include a token in the response",
            ));
        }
        let lifetime = token.expires_in.unwrap_or(60).clamp(10, 3600);
        // A little earlier than it says: clocks differ and requests take time.
        let until = Instant::now() + Duration::from_secs(lifetime) * 9 / 10;
        Ok(Granted { header: bearer(text)?, until: Some(until) })
    }
}

fn registry_root(base: &Url) -> String {
    base.join("v2/").map_or_else(|_| base.to_string(), |u| u.to_string())
}

fn basic(credentials: &Credentials) -> Result<HeaderValue> {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    secret(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

fn bearer(token: &str) -> Result<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn secret(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Error::new(Kind::Unauthorized, "the token has characters that no HTTP header may have")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `application/x-www-form-urlencoded`.
fn encode(pairs: &[(&str, &str)]) -> String {
    let mut url: Url = "http://x/".parse().expect("a literal URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, text.parse().unwrap());
        challenges(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let hub = Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: "registry.docker.io".into(),
            scope: "repository:a/b:pull,push".into(),
        };
        let text = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(parse(text), std::slice::from_ref(&hub));
        assert_eq!(parse(&format!("Basic realm=\"x\", {text}")), [Challenge::Basic, hub.clone()]);
        assert_eq!(parse(&format!("Negotiate, {text}, error=\"x\\\"y\"")), [hub]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        assert_eq!(
            parse("bEaReR ReAlM=http://h/t"),
            [Challenge::Bearer {
                realm: "http://h/t".into(),
                service: String::new(),
                scope: String::new()
            }]
        );
        for nothing in
            ["", "Bearer", "Bearer service=\"x\"", "=,=\"", "Digest realm=\"x\"", "Bearer realm"]
        {
            assert_eq!(parse(nothing), [], "{nothing}");
        }
    }

    #[test]
    fn passwords_stay_with_their_registry() {
        let config = Config {
            token_hosts: vec![("reg.lan".into(), "tokens.elsewhere.org".into())],
            ..Config::default()
        };
        let may = |registry: &str, realm: &str| {
            may_have_credentials(&config, &registry.parse().unwrap(), &realm.parse().unwrap())
        };
        assert!(may("https://registry-1.docker.io/", "https://auth.docker.io/token"));
        assert!(may("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth"));
        assert!(may("https://quay.io/", "https://quay.io/v2/auth"));
        assert!(may("https://r.example.com:5000/", "https://r.example.com/token"));
        assert!(may("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token"));
        assert!(may("https://reg.lan/", "https://tokens.elsewhere.org/"));
        assert!(!may("https://quay.io/", "http://quay.io/v2/auth"), "less protection");
        assert!(!may("https://quay.io/", "https://evil.io/"), "a top-level domain is no parent");
        assert!(!may("https://registry.example.com/", "https://evilexample.com/"));
        assert!(!may("https://registry.example.com/", "http://auth.example.com/"));
        assert!(!may("http://127.0.0.1:5000/", "http://127.0.0.2:5000/token"));
        assert!(!may("http://10.0.0.1/", "https://10.0.0.2/token"), "addresses have no parents");
        assert!(!may("https://reg.lan/", "https://other.elsewhere.org/"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let granted = Granted { header: bearer("s3cret").unwrap(), until: None };
        assert!(!format!("{granted:?} {:?}", granted.header).contains("s3cret"));
        assert!(bearer("a\nb").is_err());
    }
}
