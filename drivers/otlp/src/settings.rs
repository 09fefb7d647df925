//! What the environment says: the variables of OpenTelemetry's specification that matter to who only sends traces.

use crate::span::Value;
use dial::{Address, Tls};
use std::path::PathBuf;
use std::time::Duration;
use stdx::{Error, Result};
use url::Url;

/// Where traces go, and which.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) address: Address,
    /// As the `Host` header has it.
    pub(crate) host: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) form: Form,
    pub(crate) sampler: Sampler,
    /// What tells this program from others.
    pub(crate) resource: Vec<(String, Value)>,
    /// How long a span waits for others.
    pub(crate) delay: Duration,
    /// Spans that wait at most; more are dropped.
    pub(crate) queue: usize,
    /// Spans of one request at most.
    pub(crate) batch: usize,
}

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Protobuf,
    Json,
}

/// Which traces are collected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampler {
    /// Whether a caller's decision stands.
    pub(crate) follows_parent: bool,
    /// The part of the others, from 0 to 1.
    pub(crate) ratio: f64,
}

impl Settings {
    /// From variables that `get` knows; `None` when they ask for no traces, as dockerd does without an endpoint.
    /// `service` is the program's name, unless they say another.
    pub fn from_env(
        get: impl Fn(&str) -> Option<String>,
        service: &str,
        version: &str,
    ) -> Result<Option<Self>> {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let of_traces = |rest: &str| {
            get(&format!("OTEL_EXPORTER_OTLP_TRACES_{rest}"))
                .or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{rest}")))
        };
        let off = get("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
            || get("OTEL_TRACES_EXPORTER").as_deref() == Some("none");
        // The endpoint of traces is taken as it is; the one of everything gets the path of traces.
        let endpoint = match get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            Some(own) => Some((own, "")),
            None => get("OTEL_EXPORTER_OTLP_ENDPOINT").map(|all| (all, "v1/traces")),
        };
        let Some((endpoint, path)) = endpoint.filter(|_| !off) else { return Ok(None) };
        let form = match of_traces("PROTOCOL").as_deref() {
            None | Some("http/protobuf") => Form::Protobuf,
            Some("http/json") => Form::Json,
            Some(other) => {
                return Err(Error::not_implemented(format!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL: traces are sent by http/protobuf or http/json, not by {other}"
                )));
            }
        };
        let url = parse(&endpoint, path)?;
        let tls = Tls {
            ca: of_traces("CERTIFICATE").map(PathBuf::from),
            cert: of_traces("CLIENT_CERTIFICATE").map(PathBuf::from),
            key: of_traces("CLIENT_KEY").map(PathBuf::from),
            skip_verify: false,
        };
        let (address, host) = destination(&url, tls)?;
        let mut resource = vec![("service.version".to_owned(), Value::Text(version.to_owned()))];
        resource.extend(
            pairs("OTEL_RESOURCE_ATTRIBUTES", get("OTEL_RESOURCE_ATTRIBUTES"))?
                .into_iter()
                .map(|(key, value)| (key, Value::Text(value))),
        );
        if let Some(name) = get("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), Value::Text(name)));
        } else if !resource.iter().any(|(key, _)| key == "service.name") {
            resource.push(("service.name".to_owned(), Value::Text(service.to_owned())));
        }
        let number = |name: &str, default: u32| match get(name) {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| Error::invalid(format!("{name}: \"{text}\" is no whole number"))),
        };
        let queue = number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?.clamp(1, 1 << 16);
        let batch = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.clamp(1, queue);
        Ok(Some(Self {
            address,
            host,
            path: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
            headers: pairs("OTEL_EXPORTER_OTLP_HEADERS", of_traces("HEADERS"))?,
            form,
            sampler: sampler(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))?,
            resource,
            delay: Duration::from_millis(number("OTEL_BSP_SCHEDULE_DELAY", 5000)?.into()),
            queue: queue as usize,
            batch: batch as usize,
        }))
    }
}

fn parse(endpoint: &str, path: &str) -> Result<Url> {
    let wrong =
        |why: String| Error::invalid(format!("OTEL_EXPORTER_OTLP_ENDPOINT: \"{endpoint}\": {why}"));
    let mut url = Url::parse(endpoint.trim()).map_err(|e| wrong(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("it is of the form http://HOST:PORT or https://HOST:PORT".to_owned()));
    }
    if !path.is_empty() {
        let whole = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&whole);
    }
    Ok(url)
}

/// Where to connect, and how the server calls itself.
fn destination(url: &Url, tls: Tls) -> Result<(Address, String)> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(4318);
    let address = format!("{host}:{port}");
    let name = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    if url.scheme() == "http" {
        return Ok((Address::Tcp(address), name));
    }
    tls.check()?;
    Ok((Address::Tls(address, tls), name))
}

/// `key=value,key=value`, with values as in a URL.
fn pairs(name: &str, text: Option<String>) -> Result<Vec<(String, String)>> {
    let text = text.unwrap_or_default();
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let wrong =
                || Error::invalid(format!("{name}: \"{pair}\" is not of the form key=value"));
            let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
            let (key, value) = (key.trim(), unescape(value.trim()));
            // They may become lines of a request.
            if key.is_empty() || [key, &value].iter().any(|t| t.contains(char::is_control)) {
                return Err(wrong());
            }
            Ok((key.to_owned(), value))
        })
        .collect()
}

/// Takes `%20` and the like out; what is no such thing stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = || {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
            u8::from_str_radix(digits, 16).ok()
        };
        match (first, code()) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn sampler(name: Option<String>, argument: Option<String>) -> Result<Sampler> {
    let name = name.unwrap_or_else(|| "parentbased_always_on".to_owned());
    let own = name.strip_prefix("parentbased_");
    let ratio = match own.unwrap_or(&name) {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => match &argument {
            None => 1.0,
            Some(text) => {
                text.trim().parse().ok().filter(|r| (0.0..=1.0).contains(r)).ok_or_else(|| {
                    Error::invalid(format!(
                        "OTEL_TRACES_SAMPLER_ARG: \"{text}\" is no number from 0 to 1"
                    ))
                })?
            }
        },
        _ => {
            return Err(Error::invalid(format!(
                "OTEL_TRACES_SAMPLER: \"{name}\" is none of always_on, always_off, traceidratio and these after parentbased_"
            )));
        }
    };
    Ok(Sampler { follows_parent: own.is_some(), ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> std::result::Result<Option<Settings>, String> {
        let get = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::from_env(get, "gantryd", "1").map_err(|e| e.to_string())
    }

    #[test]
    fn without_an_endpoint_nothing_is_traced() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"), ("OTEL_SDK_DISABLED", "true")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"), ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(settings(variables).unwrap().is_none(), "{variables:?}");
        }
    }

    #[test]
    fn endpoints_are_taken_as_the_specification_says() {
        for (variable, value, address, path) in [
            ("ENDPOINT", "http://collector:4318", "tcp collector:4318", "/v1/traces"),
            ("ENDPOINT", "http://collector/base/", "tcp collector:80", "/base/v1/traces"),
            ("TRACES_ENDPOINT", "http://[::1]:9/own?a=b", "tcp [::1]:9", "/own?a=b"),
            ("TRACES_ENDPOINT", "https://collector", "tls collector:443", "/"),
        ] {
            let name = format!("OTEL_EXPORTER_OTLP_{variable}");
            let found = settings(&[(&name, value)]).unwrap().unwrap();
            assert_eq!((found.address.text().as_str(), found.path.as_str()), (address, path));
            assert_eq!(found.form, Form::Protobuf);
        }
    }

    #[test]
    fn names_headers_and_samplers_are_read() {
        let found = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b%2c, other=c=d"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,deployment.environment=test"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        let found = found.unwrap().unwrap();
        assert_eq!(found.form, Form::Json);
        assert_eq!(found.headers[0], ("api-key".to_owned(), "a b,".to_owned()));
        assert_eq!(found.headers[1], ("other".to_owned(), "c=d".to_owned()));
        assert_eq!(found.sampler, Sampler { follows_parent: true, ratio: 0.25 });
        let names: Vec<_> = found.resource.iter().filter(|(k, _)| k == "service.name").collect();
        assert_eq!(names, [&("service.name".to_owned(), Value::Text("x".to_owned()))]);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1");
        for (variables, text) in [
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")][..], "http://HOST:PORT"),
            (&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "not by grpc"),
            (&[endpoint, ("OTEL_TRACES_SAMPLER", "jaeger_remote")], "\"jaeger_remote\" is none"),
            (&[endpoint, ("OTEL_BSP_SCHEDULE_DELAY", "soon")], "\"soon\" is no whole number"),
            (&[endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0ac")], "key=value"),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"),
                    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such"),
                ],
                "could not read CA certificate",
            ),
        ] {
            let error = settings(variables).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
