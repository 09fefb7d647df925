//! The daemon's own log: lines on standard error, in the shapes that readers of dockerd's log know.
//!
//! ```text
//! time="2026-11-22T04:36:11.123456789Z" level=info msg="API listen on unix:///run/gantry.sock"
//! {"level":"info","msg":"API listen on unix:///run/gantry.sock","time":"2026-11-22T04:36:11.123456789Z"}
//! ```
//! A terminal gets colours instead, unless `--raw-logs` says otherwise.

use crate::config::Config;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use stdx::time::Timestamp;
use stdx::{Error, Result};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Changes the level while the daemon runs.
#[derive(Debug)]
pub(crate) struct Log(reload::Handle<EnvFilter, Registry>);

impl Log {
    /// Begins to write messages to standard error, one a line, and to collect traces if they are asked for.
    pub(crate) fn start(
        config: &Config,
        traces: Option<Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>>,
    ) -> Result<Self> {
        use tracing_subscriber::Layer as _;
        use tracing_subscriber::layer::SubscriberExt as _;
        use tracing_subscriber::util::SubscriberInitExt as _;
        let (filter, handle) = reload::Layer::new(level(config));
        // Colours are for terminals, not for files and journals.
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = if terminal && !config.raw_logs && !config.log_json {
            lines.with_target(false).boxed()
        } else {
            lines.event_format(Lines { json: config.log_json }).boxed()
        };
        let layers: Vec<_> =
            [lines.with_filter(filter).boxed()].into_iter().chain(traces).collect();
        tracing_subscriber::registry()
            .with(layers)
            .try_init()
            .map_err(|e| Error::internal(e.to_string()))?;
        Ok(Self(handle))
    }

    /// Takes over another level.
    pub(crate) fn reload(&self, config: &Config) -> Result<()> {
        self.0.modify(|filter| *filter = level(config)).map_err(|e| Error::internal(e.to_string()))
    }
}

/// `GANTRY_LOG` (as in `container=debug`) over the configured level.
fn level(config: &Config) -> EnvFilter {
    match std::env::var("GANTRY_LOG") {
        Ok(own) => EnvFilter::new(own),
        Err(_) => EnvFilter::new(config.level()),
    }
}

/// One line an event.
struct Lines {
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = name(*event.metadata().level());
        writer.write_str(&line(self.json, &Timestamp::now().to_string(), level, fields))
    }
}

/// Dockerd's names of levels.
fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn line(json: bool, time: &str, level: &str, fields: Fields) -> String {
    if json {
        let mut all = fields.others;
        all.insert("level", level.to_owned());
        all.insert("msg", fields.message);
        all.insert("time", time.to_owned());
        return format!("{}\n", serde_json::to_string(&all).unwrap_or_default());
    }
    let mut out = format!("time=\"{time}\" level={level} msg={}", quoted(&fields.message));
    for (name, value) in &fields.others {
        // Writing to a String cannot fail.
        let _written = write!(out, " {name}={}", quoted(value));
    }
    out.push('\n');
    out
}

/// The text as it is where it has nothing that could be misread, in quotes otherwise.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: BTreeMap<&'static str, String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.insert(field.name(), text);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_dockerds_log() {
        let fields = || Fields {
            message: "say \"hi\"\nto all".to_owned(),
            others: [("error", "no such file".to_owned()), ("n", "5".to_owned())].into(),
        };
        assert_eq!(
            line(false, "T", "info", fields()),
            "time=\"T\" level=info msg=\"say \\\"hi\\\"\\nto all\" error=\"no such file\" n=5\n"
        );
        assert_eq!(
            line(true, "T", "info", fields()),
            "{\"error\":\"no such file\",\"level\":\"info\",\"msg\":\"say \\\"hi\\\"\\nto all\",\"n\":\"5\",\"time\":\"T\"}\n"
        );
    }
}
