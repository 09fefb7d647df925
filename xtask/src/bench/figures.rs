//! Samples, taking turns, and what is printed and kept of them.

use crate::sh;
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What was measured for one contestant.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) samples: Vec<f64>,
}

/// Two rows set against each other.
#[derive(Debug)]
struct Ratio {
    what: String,
    value: f64,
    /// At most this is the bar, if there is one.
    bar: Option<f64>,
}

/// A benchmark's outcome.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
    notes: Vec<String>,
}

/// Work of one contestant: it does it once and says what it took, one number a label.
pub(crate) type Turn<'a> = Box<dyn FnMut() -> Result<Vec<f64>> + 'a>;

impl Row {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, samples: Vec<f64>) -> Self {
        Self { name: name.into(), unit, samples }
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    fn min(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn max(&self) -> f64 {
        self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// Lets contestants take turns. The first round is dropped; between turns the machine rests, so that what one leaves to
/// the kernel (a network namespace to take apart) does not fall on the next.
///
/// `columns` names the numbers that each turn yields and their units; the only one may have no name.
pub(crate) fn interleave(
    rounds: usize,
    rest: Duration,
    columns: &[(&str, &'static str)],
    contestants: Vec<(String, Turn<'_>)>,
) -> Vec<Row> {
    let mut running: Vec<(String, Turn<'_>, Vec<Vec<f64>>)> = contestants
        .into_iter()
        .map(|(name, turn)| (name, turn, vec![Vec::new(); columns.len()]))
        .collect();
    for round in 0..=rounds {
        running.retain_mut(|(name, turn, samples)| {
            let took = turn();
            std::thread::sleep(rest);
            match took {
                Ok(took) => {
                    if round > 0 {
                        samples.iter_mut().zip(took).for_each(|(all, value)| all.push(value));
                    }
                    true
                }
                Err(e) => {
                    println!("   {name} is out: {e:#}");
                    false
                }
            }
        });
    }
    let mut rows = Vec::new();
    for (at, (column, unit)) in columns.iter().enumerate() {
        for (name, _, samples) in &running {
            let name = if column.is_empty() { name.clone() } else { format!("{column}: {name}") };
            rows.push(Row::new(name, unit, samples[at].clone()));
        }
    }
    rows
}

impl Report {
    pub(crate) fn add(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Sets the median of one row against another's, if both are there.
    pub(crate) fn ratio(&mut self, what: &str, against: &str, bar: Option<f64>) {
        let median = |name: &str| self.rows.iter().find(|r| r.name == name).map(Row::median);
        if let (Some(a), Some(b)) = (median(what), median(against)) {
            self.ratios.push(Ratio { what: format!("{what} : {against}"), value: a / b, bar });
        }
    }

    /// Holds what a row's median takes beyond another's against a bar, if both are there.
    pub(crate) fn beyond(&mut self, what: &str, base: &str, bar: Option<f64>) {
        let find = |name: &str| self.rows.iter().find(|r| r.name == name);
        if let (Some(row), Some(base_row)) = (find(what), find(base)) {
            let (value, unit) = (row.median() - base_row.median(), row.unit);
            self.ratios.push(Ratio { what: format!("{what} beyond {base} ({unit})"), value, bar });
        }
    }

    /// Holds a row's median against a bar of its own.
    pub(crate) fn at_most(&mut self, what: &str, bar: f64) {
        if let Some(row) = self.rows.iter().find(|r| r.name == what) {
            let (value, unit) = (row.median(), row.unit);
            self.ratios.push(Ratio { what: format!("{what} ({unit})"), value, bar: Some(bar) });
        }
    }

    /// Prints it and keeps it.
    pub(crate) fn finish(&self, name: &str, what: &str, rounds: usize) -> Result<()> {
        let width = self.rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0);
        for row in &self.rows {
            let pad = " ".repeat(width - row.name.chars().count());
            let (median, unit) = (show(row.median()), row.unit);
            match row.samples.len() {
                0 | 1 => println!("   {}{pad}  {median} {unit}", row.name),
                _ => println!(
                    "   {}{pad}  {median} {unit} ({}–{})",
                    row.name,
                    show(row.min()),
                    show(row.max())
                ),
            }
        }
        for ratio in &self.ratios {
            let value = match ratio.value {
                v if ratio.what.contains(" : ") && v > 0.0 && v < 1.0 => {
                    format!("1/{:.1}", 1.0 / v)
                }
                v => show(v),
            };
            let verdict = match ratio.bar {
                None => String::new(),
                Some(bar) => format!(
                    "  {} (bar {})",
                    if ratio.value <= bar { "met" } else { "MISSED" },
                    if ratio.what.contains(" : ") && bar < 1.0 {
                        format!("1/{:.0}", 1.0 / bar)
                    } else {
                        show(bar)
                    }
                ),
            };
            println!("   {} = {value}{verdict}", ratio.what);
        }
        for note in &self.notes {
            println!("   {note}");
        }
        self.keep(name, what, rounds)
    }

    fn keep(&self, name: &str, what: &str, rounds: usize) -> Result<()> {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "unit": row.unit,
                    "median": rounded(row.median()),
                    "min": rounded(row.min()),
                    "max": rounded(row.max()),
                    "samples": row.samples.len(),
                })
            })
            .collect();
        let ratios: Vec<Value> = self
            .ratios
            .iter()
            .map(|ratio| {
                let mut object = Map::new();
                object.insert("what".to_owned(), json!(ratio.what));
                object.insert("value".to_owned(), rounded(ratio.value));
                if let Some(bar) = ratio.bar {
                    object.insert("bar".to_owned(), rounded(bar));
                    object.insert("met".to_owned(), json!(ratio.value <= bar));
                }
                Value::Object(object)
            })
            .collect();
        let document = json!({
            "bench": name,
            "what": what,
            "date": sh::output("date", &["-u", "+%FT%TZ"])?.trim(),
            "commit": sh::output("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_default().trim(),
            "rounds": rounds,
            "machine": machine(),
            "figures": rows,
            "ratios": ratios,
            "notes": self.notes,
        });
        let folder = sh::root().join("benches/results");
        std::fs::create_dir_all(&folder).context("make benches/results")?;
        let text = serde_json::to_string_pretty(&document).context("write JSON")? + "\n";
        let file = folder.join(format!("{name}.json"));
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    }
}

/// What the figures depend on.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        text.lines()
            .find(|l| l.starts_with(key))
            .and_then(|l| l.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let file_system = sh::output("stat", &["-f", "-c", "%T", "."]).unwrap_or_default();
    let cgroup = sh::output("stat", &["-f", "-c", "%T", "/sys/fs/cgroup"]).unwrap_or_default();
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "processor": after(&read("/proc/cpuinfo"), "model name"),
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": after(&read("/proc/meminfo"), "MemTotal"),
        "file_system": file_system.trim(),
        "cgroup": if cgroup.trim() == "cgroup2fs" { "v2" } else { "v1 or hybrid" },
        // How much else was going on, at the end.
        "load": read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
    })
}

fn show(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn rounded(value: f64) -> Value {
    json!((value * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_taken_in_order_and_the_first_round_is_dropped() {
        let order = std::cell::RefCell::new(Vec::new());
        let contestant = |name: &'static str, base: f64| {
            let order = &order;
            let mut n = 0.0;
            let turn: Turn<'_> = Box::new(move || {
                order.borrow_mut().push(name);
                n += 1.0;
                Ok(vec![base + n, 2.0 * n])
            });
            (name.to_owned(), turn)
        };
        let contestants = vec![contestant("a", 0.0), contestant("b", 100.0)];
        let rows = interleave(2, Duration::ZERO, &[("x", "ms"), ("y", "ms")], contestants);
        assert_eq!(*order.borrow(), ["a", "b", "a", "b", "a", "b"]);
        let shown: Vec<_> = rows.iter().map(|r| (r.name.as_str(), r.samples.clone())).collect();
        assert_eq!(
            shown,
            [
                ("x: a", vec![2.0, 3.0]),
                ("x: b", vec![102.0, 103.0]),
                ("y: a", vec![4.0, 6.0]),
                ("y: b", vec![4.0, 6.0])
            ]
        );
    }

    #[test]
    fn who_fails_is_out_and_the_others_go_on() {
        let mut left = 2;
        let failing: Turn<'_> = Box::new(move || {
            left -= 1;
            anyhow::ensure!(left > 0, "on purpose");
            Ok(vec![1.0])
        });
        let steady: Turn<'_> = Box::new(|| Ok(vec![5.0]));
        let contestants = vec![("f".to_owned(), failing), ("s".to_owned(), steady)];
        let rows = interleave(3, Duration::ZERO, &[("", "ms")], contestants);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].name.as_str(), rows[0].median()), ("s", 5.0));
    }

    #[test]
    fn medians_are_of_the_middle() {
        let median = |samples: &[f64]| Row::new("", "ms", samples.to_vec()).median();
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), 3.0);
        assert!(median(&[]).is_nan());
    }
}
