//! `events`, and the moments that it and `logs` take.

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FILTER, FORMAT, Flag, Matches};
use crate::output;
use crate::units;
use api::Event;
use client::Filters;
use std::rc::Rc;
use stdx::time::Timestamp;
use template::{Row, Template, Value};

pub(super) const COMMAND: Command = Command {
    group: "system",
    name: "events",
    aliases: &[],
    top: "events",
    arguments: "[OPTIONS]",
    about: "Get real time events from the server",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        FILTER,
        FORMAT,
        Flag::text("since", "Show all events created since timestamp"),
        Flag::text("until", "Stream events until this timestamp"),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let format = matches.text("format");
    let wrong = |e| Failure::new(format!("Error parsing format: {e}")).with_code(64);
    let template = match format.as_str() {
        "" | "json" => None,
        source => {
            let source = source.replace("\\t", "\t").replace("\\n", "\n");
            Some(Template::parse(&source).map_err(wrong)?)
        }
    };
    if let Some(template) = &template {
        // What is wrong with the template is told before anything is waited for.
        template.execute(&Value::Row(Rc::new(EventRow(Event::default())))).map_err(wrong)?;
    }
    let since = moment(matches.get("since").unwrap_or_default()).map_err(Failure::new)?;
    let until = moment(matches.get("until").unwrap_or_default()).map_err(Failure::new)?;
    let mut events = app.client()?.events(&since, &until, &filters(matches)).await?;
    while let Some(event) = events.next::<Event>().await? {
        let line = match (&template, format.as_str()) {
            (Some(template), _) => {
                template.execute(&Value::Row(Rc::new(EventRow(event)))).map_err(wrong)?
            }
            (None, "json") => serde_json::to_string(&event).unwrap_or_default(),
            (None, _) => plain(&event),
        };
        output::print(&format!("{line}\n"))?;
    }
    Ok(0)
}

/// An event as templates see it: Go's names for fields whose JSON is in lower case.
#[derive(Debug)]
struct EventRow(Event);

impl Row for EventRow {
    fn field(&self, name: &str) -> Option<Value> {
        let event = &self.0;
        let text = match name {
            "Status" => &event.status,
            "ID" => &event.id,
            "From" => &event.from,
            "Type" => &event.kind,
            "Action" => &event.action,
            "Scope" => &event.scope,
            "Actor" => return Some(Value::of(&event.actor)),
            "Time" => return Some(Value::Int(event.time)),
            "TimeNano" => return Some(Value::Int(event.time_nano)),
            _ => return None,
        };
        Some(Value::str(text))
    }

    fn call(&self, _: &str, _: &str) -> Option<Value> {
        None
    }

    fn names(&self) -> &[&'static str] {
        // The first three are older spellings, absent where there is nothing to say.
        let first = if self.0.status.is_empty() { 3 } else { 0 };
        &["Status", "ID", "From", "Type", "Action", "Actor", "Scope", "Time", "TimeNano"][first..]
    }

    fn json_name<'a>(&self, name: &'a str) -> &'a str {
        match name {
            "Status" => "status",
            "ID" => "id",
            "From" => "from",
            "Scope" => "scope",
            "Time" => "time",
            "TimeNano" => "timeNano",
            other => other,
        }
    }

    fn type_name(&self) -> &'static str {
        "*events.Message"
    }
}

/// `2026-11-22T01:00:00.123456789Z container start abc (image=busybox, name=x)`
fn plain(event: &Event) -> String {
    let time = if event.time_nano != 0 {
        units::local_nanos(event.time_nano)
    } else {
        units::local_nanos(event.time * 1_000_000_000)
    };
    let attributes: Vec<String> =
        event.actor.attributes.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time} {} {} {}{attributes}", event.kind, event.action, event.actor.id)
}

/// The `--filter` flags.
pub(super) fn filters(matches: &Matches) -> Filters {
    let mut filters = Filters::default();
    for condition in matches.list("filter") {
        if let Some((name, value)) = condition.split_once('=') {
            filters.add(name.trim().to_lowercase().as_str(), value.trim());
        }
    }
    filters
}

/// A moment as the API takes it: seconds since 1970, with nanoseconds behind a point. `10m` is ten minutes ago; dates
/// without a zone are the user's.
pub(super) fn moment(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    // "0" is a duration too, but means the beginning.
    if text != "0"
        && let Ok(nanos) = units::parse_duration(text)
    {
        // Whole seconds, as Docker has it.
        let then = Timestamp::now().unix_nanos() - i128::from(nanos);
        return Ok(then.div_euclid(1_000_000_000).to_string());
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Ok(text.to_owned());
    }
    let wrong = || format!("failed to parse value as time or duration: \"{text}\"");
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Ok(in_seconds(stamp.as_nanosecond()));
    }
    let local = text.parse::<jiff::civil::DateTime>().map_err(|_| wrong())?;
    let zoned = local.to_zoned(jiff::tz::TimeZone::system()).map_err(|_| wrong())?;
    Ok(in_seconds(zoned.timestamp().as_nanosecond()))
}

fn in_seconds(nanos: i128) -> String {
    format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_seconds_since_1970() {
        let check = |text: &str, want: &str| assert_eq!(moment(text).unwrap(), want, "{text}");
        check("", "");
        check("0", "0");
        check("1732000000", "1732000000");
        check("1732000000.5", "1732000000.5");
        check("2024-11-19T07:06:40Z", "1732000000.000000000");
        check("2024-11-19T08:06:40.25+01:00", "1732000000.250000000");
        let ago: f64 = moment("10m").unwrap().parse().unwrap();
        let now = Timestamp::now().unix_seconds() as f64;
        assert!((now - ago - 600.0).abs() < 2.0);
        assert!(moment("yesterday").is_err());
    }
}
