//! `stats`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FORMAT_TABLE, Flag, Matches};
use crate::format::{Listing, Prepared, short_id};
use crate::output;
use api::stats::Stats;
use api::{Event, stats};
use client::{Client, Filters, JsonLines, ListOptions};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::{self, LocalBoxStream, SelectAll};
use std::rc::Rc;
use std::time::Duration;
use template::{Row, Value};
use types::ByteSize;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "stats",
    aliases: &[],
    top: "stats",
    arguments: "[OPTIONS] [CONTAINER...]",
    about: "Display a live stream of container(s) resource usage statistics",
    arity: Arity::AtLeast(0),
    interspersed: true,
    flags: &[&[
        Flag::switch("all", "Show all containers (default shows just running)").short('a'),
        FORMAT_TABLE,
        Flag::switch("no-stream", "Disable streaming stats and only pull the first result"),
        Flag::switch("no-trunc", "Do not truncate output"),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

/// How often the screen is written anew.
const REDRAW: Duration = Duration::from_millis(500);
/// The cursor goes home; each line erases what it does not cover; the last takes the rest of the screen.
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\n";
const END_OF_SCREEN: &str = "\x1b[J";

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let format = match matches.text("format") {
        format if format.is_empty() => app.config().stats_format.clone(),
        format => format,
    };
    let listing = Listing { titles: TITLES, table: TABLE.to_owned(), raw: "" };
    let listing = listing
        .prepare(&format)
        .map_err(|e| Failure::new(format!("template parsing error: {e}")))?;
    let cut = !matches.is("no-trunc");
    let client = app.client()?;
    let named = !matches.arguments.is_empty();
    let names = if named {
        matches.arguments.clone()
    } else {
        let options = ListOptions { all: matches.is("all"), ..ListOptions::default() };
        let containers = client.list_containers(&options).await?;
        containers.into_iter().map(|c| c.id).collect()
    };
    if matches.is("no-stream") {
        return once(&client, &listing, names, cut).await;
    }
    let follow = (!named).then(|| matches.is("all"));
    live(&client, &listing, names, cut, follow).await
}

async fn once(client: &Client, listing: &Prepared, names: Vec<String>, cut: bool) -> Result<u8> {
    let answers = join_all(names.iter().map(|name| client.container_stats(name))).await;
    let mut rows: Vec<Rc<dyn Row>> = Vec::new();
    let mut failures = Vec::new();
    for (name, answer) in names.into_iter().zip(answers) {
        match answer {
            Ok(stats) => rows.push(Rc::new(StatsRow { name, stats: Some(stats), cut })),
            Err(e) => failures.push(e.to_string()),
        }
    }
    if !failures.is_empty() {
        return Err(Failure::new(failures.join("\n")));
    }
    output::print(&listing.render(rows)?)?;
    Ok(0)
}

/// A container that is watched.
struct Watched {
    name: String,
    last: Option<Stats>,
}

type Samples = LocalBoxStream<'static, (String, Option<Stats>)>;

/// `follow`: containers that start are added and those that end are taken away, unless it says that all are shown.
async fn live(
    client: &Client,
    listing: &Prepared,
    names: Vec<String>,
    cut: bool,
    follow: Option<bool>,
) -> Result<u8> {
    let mut events = match follow {
        Some(_) => Some(client.events("", "", &container_events()).await?),
        None => None,
    };
    let mut samples: SelectAll<Samples> = SelectAll::new();
    let mut watched = Vec::new();
    let mut failures = Vec::new();
    for (name, answer) in
        names.iter().zip(join_all(names.iter().map(|name| client.follow_stats(name))).await)
    {
        match answer {
            Ok(lines) => {
                samples.push(following(name.clone(), lines));
                watched.push(Watched { name: name.clone(), last: None });
            }
            Err(e) => failures.push(e.to_string()),
        }
    }
    if !failures.is_empty() {
        return Err(Failure::new(failures.join("\n")));
    }
    let mut redraw = tokio::time::interval(REDRAW);
    let mut complete = false;
    loop {
        tokio::select! {
            Some((name, stats)) = samples.next(), if !samples.is_empty() => {
                match stats {
                    Some(stats) => {
                        if let Some(one) = watched.iter_mut().find(|w| w.name == name) {
                            one.last = Some(stats);
                        }
                    }
                    None => watched.retain(|w| w.name != name),
                }
            }
            event = next_event(&mut events) => {
                let Some(event) = event? else { return Ok(0) };
                let id = event.actor.id;
                match event.action.as_str() {
                    "create" if follow == Some(true) => add(client, &mut samples, &mut watched, id).await,
                    "start" => add(client, &mut samples, &mut watched, id).await,
                    "die" if follow == Some(false) => watched.retain(|w| w.name != id),
                    _ => {}
                }
            }
            _ = redraw.tick() => {
                if watched.is_empty() && follow.is_none() {
                    return Ok(0);
                }
                // Nothing is shown before everything that is there can be.
                complete = complete || watched.iter().all(|w| w.last.is_some());
                if complete {
                    let rows = watched.iter().map(|w| {
                        let (name, stats) = (w.name.clone(), w.last.clone());
                        Rc::new(StatsRow { name, stats, cut }) as Rc<dyn Row>
                    });
                    let text = listing.render(rows.collect())?;
                    let text = text.replace('\n', END_OF_LINE);
                    output::print(&format!("{HOME}{text}{END_OF_SCREEN}"))?;
                }
            }
        }
    }
}

fn container_events() -> Filters {
    let mut filters = Filters::default();
    filters.add("type", "container");
    for action in ["create", "start", "die"] {
        filters.add("event", action);
    }
    filters
}

async fn next_event(events: &mut Option<JsonLines>) -> Result<Option<Event>> {
    match events {
        Some(events) => Ok(events.next::<Event>().await?),
        None => std::future::pending().await,
    }
}

async fn add(
    client: &Client,
    samples: &mut SelectAll<Samples>,
    watched: &mut Vec<Watched>,
    id: String,
) {
    if watched.iter().any(|w| w.name == id) {
        return;
    }
    // One that is gone again is none to show.
    if let Ok(lines) = client.follow_stats(&id).await {
        samples.push(following(id.clone(), lines));
        watched.push(Watched { name: id, last: None });
    }
}

/// The container's samples, and `None` when there will be no more.
fn following(name: String, lines: JsonLines) -> Samples {
    let next = |(name, lines): (String, Option<JsonLines>)| async move {
        let mut lines = lines?;
        match lines.next::<Stats>().await {
            Ok(Some(stats)) => Some(((name.clone(), Some(stats)), (name, Some(lines)))),
            Ok(None) | Err(_) => Some(((name.clone(), None), (name, None))),
        }
    };
    stream::unfold((name, Some(lines)), next).boxed_local()
}

const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

const TITLES: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

#[derive(Debug)]
struct StatsRow {
    /// As it was asked for.
    name: String,
    stats: Option<Stats>,
    cut: bool,
}

impl Row for StatsRow {
    fn field(&self, name: &str) -> Option<Value> {
        let stats = self.stats.as_ref();
        let or = |dashes: &str, show: &dyn Fn(&Stats) -> String| {
            stats.map_or_else(|| dashes.to_owned(), show)
        };
        Some(Value::str(match name {
            "Container" => self.name.clone(),
            "Name" => or("--", &|s| match s.name.trim_start_matches('/') {
                "" => "--".to_owned(),
                name => name.to_owned(),
            }),
            "ID" => {
                let id = stats.map(|s| s.id.clone()).unwrap_or_default();
                if self.cut { short_id(&id).to_owned() } else { id }
            }
            "CPUPerc" => or("--", &|s| percent(cpu(&s.precpu_stats, &s.cpu_stats))),
            "MemUsage" => or("-- / --", &|s| {
                let limit = ByteSize(s.memory_stats.limit).binary();
                format!("{} / {limit}", ByteSize(used(&s.memory_stats)).binary())
            }),
            "MemPerc" => or("--", &|s| {
                percent(match s.memory_stats.limit {
                    0 => 0.0,
                    limit => share(used(&s.memory_stats), limit) * 100.0,
                })
            }),
            "NetIO" => or("--", &|s| {
                let sum = |of: fn(&stats::NetworkStats) -> u64| s.networks.values().map(of).sum();
                pair(sum(|n| n.rx_bytes), sum(|n| n.tx_bytes))
            }),
            "BlockIO" => or("--", &|s| {
                let entries = s.blkio_stats.io_service_bytes_recursive.iter().flatten();
                let sum = |first: char| {
                    let of = |e: &&stats::BlkioEntry| {
                        e.op.chars().next().is_some_and(|c| c.eq_ignore_ascii_case(&first))
                    };
                    entries.clone().filter(of).map(|e| e.value).sum()
                };
                pair(sum('r'), sum('w'))
            }),
            "PIDs" => or("--", &|s| s.pids_stats.current.to_string()),
            _ => return None,
        }))
    }

    fn call(&self, _name: &str, _argument: &str) -> Option<Value> {
        None
    }

    fn names(&self) -> &[&'static str] {
        &["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"]
    }

    fn type_name(&self) -> &'static str {
        "*container.statsContext"
    }
}

fn pair(a: u64, b: u64) -> String {
    format!("{} / {}", ByteSize(a), ByteSize(b))
}

fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Of one processor, so that two busy ones are 200 %.
fn cpu(before: &stats::CpuStats, now: &stats::CpuStats) -> f64 {
    let used = now.cpu_usage.total_usage.saturating_sub(before.cpu_usage.total_usage);
    let passed = now.system_cpu_usage.saturating_sub(before.system_cpu_usage);
    let cpus = match now.online_cpus {
        0 => u32::try_from(now.cpu_usage.percpu_usage.len()).unwrap_or(1),
        cpus => cpus,
    };
    if passed == 0 { 0.0 } else { share(used, passed) * f64::from(cpus) * 100.0 }
}

/// Without file contents that could be dropped at once.
fn used(memory: &stats::MemoryStats) -> u64 {
    let cache = ["total_inactive_file", "inactive_file"];
    let cache = cache.iter().find_map(|name| memory.stats.get(*name)).copied().unwrap_or(0);
    if cache < memory.usage { memory.usage - cache } else { memory.usage }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_dockers() {
        let cpu_of = |total, system| stats::CpuStats {
            cpu_usage: stats::CpuUsage { total_usage: total, ..stats::CpuUsage::default() },
            system_cpu_usage: system,
            online_cpus: 2,
            ..stats::CpuStats::default()
        };
        assert_eq!(percent(cpu(&cpu_of(100, 1000), &cpu_of(200, 2000))), "20.00%");
        assert_eq!(percent(cpu(&cpu_of(100, 1000), &cpu_of(200, 1000))), "0.00%");
        let memory = |key: &str| stats::MemoryStats {
            usage: 1000,
            stats: [(key.to_owned(), 400)].into(),
            ..stats::MemoryStats::default()
        };
        assert_eq!((used(&memory("total_inactive_file")), used(&memory("x"))), (600, 1000));
    }

    #[test]
    fn rows_without_figures_have_dashes() {
        let row = StatsRow { name: "a".to_owned(), stats: None, cut: true };
        let listing = Listing { titles: TITLES, table: TABLE.to_owned(), raw: "" };
        assert_eq!(
            listing
                .render("{{.Container}} {{.Name}} {{.MemUsage}} {{.PIDs}}", vec![Rc::new(row)])
                .unwrap(),
            "a -- -- / -- --\n"
        );
        let row = StatsRow { name: "a".to_owned(), stats: Some(Stats::default()), cut: true };
        assert_eq!(
            listing
                .render("{{.CPUPerc}} {{.MemUsage}} {{.NetIO}} {{.PIDs}}", vec![Rc::new(row)])
                .unwrap(),
            "0.00% 0B / 0B 0B / 0B 0\n"
        );
    }
}
