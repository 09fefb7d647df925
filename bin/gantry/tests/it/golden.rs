//! The same arguments, the same daemon, the same words: against recordings of Docker's client 28.2.
//!
//! `golden/cases.txt` has a command line per line; `golden/answers.json` is what the daemon says; `golden/docker.json` is
//! what Docker's client made of it. Where that client is installed the recording itself is checked too.

use super::fake::{Answer, Ends, Fake, ID, frame};
use super::program::{DOCKER, Outcome, Which, run, words};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The daemon of all cases.
fn daemon(directory: &Path) -> Fake {
    let answers = std::fs::read_to_string(golden("answers.json")).unwrap();
    let answers: Vec<(String, u16, Value)> = serde_json::from_str(&answers).unwrap();
    let hello = Answer::Attach { sends: frame(1, b"hello\n"), framed: true, ends: Ends::AtOnce };
    let mut routes = vec![
        (format!("POST /containers/{ID}/attach"), hello),
        (format!("POST /containers/{ID}/wait"), Answer::Json(200, r#"{"StatusCode":0}"#.into())),
    ];
    for (route, status, body) in answers {
        // A text is several documents, one after another.
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        routes.push((
            route,
            Answer::Json(status, body.replace("\"$NOW", "$NOW").replace("NOW$\"", "")),
        ));
    }
    Fake::start(directory, routes)
}

fn cases() -> Vec<String> {
    let text = std::fs::read_to_string(golden("cases.txt")).unwrap();
    text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect()
}

/// What a program answers to one line, in a form that can be kept.
fn record(which: Which, line: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("archive.tar"), "not really").unwrap();
    let fake = daemon(directory.path());
    let Outcome { code, out, err } = run(which, directory.path(), &fake, &words(line));
    let mut requests: Vec<String> = fake
        .requests()
        .into_iter()
        // Docker's client also waits for containers that it leaves alone.
        .filter(|r| !(r.line.ends_with("/wait?condition=next-exit") && line.contains(" -d")))
        .map(|r| match r.line.starts_with("POST /networks/") && !r.body.is_empty() {
            true => {
                format!("{} {}", r.line, without_nothing(serde_json::from_str(&r.body).unwrap()))
            }
            false => r.line,
        })
        .collect();
    requests.sort();
    json!({ "code": code, "out": timeless(&out), "err": timeless(&err), "requests": requests })
}

/// A body without what means the same as not being there, by which clients differ.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let map = map.into_iter().map(|(name, value)| (name, without_nothing(value)));
            let is_nothing = |value: &Value| match value {
                Value::Null | Value::Bool(false) => true,
                Value::Number(n) => n.as_i64() == Some(0),
                Value::String(s) => s.is_empty(),
                Value::Array(a) => a.is_empty(),
                Value::Object(o) => o.is_empty(),
                Value::Bool(true) => false,
            };
            // That a family is not wanted is something.
            Value::Object(map.filter(|(n, v)| n.starts_with("Enable") || !is_nothing(v)).collect())
        }
        Value::Array(list) => list.into_iter().map(without_nothing).collect(),
        other => other,
    }
}

/// `2 years ago` will be three one day.
fn timeless(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split(" years ago").enumerate() {
        if i > 0 {
            out.truncate(out.trim_end_matches(|c: char| c.is_ascii_digit()).len());
            out.push_str("N years ago");
        }
        out.push_str(part);
    }
    // Dates of the fixture are before 2025; later ones are today's.
    let digits = |text: &str, pattern: &str| {
        text.len() >= pattern.len()
            && text
                .bytes()
                .zip(pattern.bytes())
                .all(|(b, p)| if p == b'0' { b.is_ascii_digit() } else { b == p })
    };
    const DATE: &str = "0000-00-00 00:00:00";
    let mut at = 0;
    while at < out.len() {
        if out.is_char_boundary(at) && digits(&out[at..], DATE) && &out[at..at + 4] >= "2025" {
            out.replace_range(at..at + DATE.len(), "TODAY");
        }
        at += 1;
    }
    out
}

/// Without the commands that docker does not have.
fn without_ours(text: &str) -> String {
    const OURS: [&str; 1] = ["  explain     Show which rules decide"];
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !OURS.iter().any(|ours| line.starts_with(ours))).collect()
}

#[test]
fn output_exit_codes_and_requests_are_dockers() {
    if std::env::var_os("GANTRY_RECORD").is_some() {
        return record_all();
    }
    let golden: Value =
        serde_json::from_str(&std::fs::read_to_string(golden("docker.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for line in cases() {
        let want = &golden[&line];
        assert!(!want.is_null(), "`{line}` is not recorded: GANTRY_RECORD=1 cargo test -p gantry");
        let mut got = record(Which::AsDocker, &line);
        for text in ["out", "err"] {
            got[text] = got[text].as_str().map_or(Value::Null, |text| without_ours(text).into());
        }
        for part in ["code", "out", "err", "requests"] {
            if got[part] != want[part] {
                wrong.push(format!(
                    "{line}: {part}\n  docker: {}\n  gantry: {}",
                    want[part], got[part]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

fn record_all() {
    let mut all = serde_json::Map::new();
    for line in cases() {
        let recorded = record(Which::Docker, &line);
        all.insert(line, recorded);
    }
    let text = serde_json::to_string_pretty(&Value::Object(all)).unwrap();
    std::fs::write(golden("docker.json"), text + "\n").unwrap();
}

/// The recording is what the installed client says today; a sample, since each start of it takes 20 ms.
#[test]
fn the_recording_is_true() {
    let version = std::process::Command::new(DOCKER).arg("--version").output();
    let version =
        version.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    if !version.starts_with("Docker version 28.2.") {
        eprintln!("skipped: no docker client 28.2 at {DOCKER} ({})", version.trim());
        return;
    }
    let golden: Value =
        serde_json::from_str(&std::fs::read_to_string(golden("docker.json")).unwrap()).unwrap();
    for line in cases().iter().step_by(7) {
        assert_eq!(&record(Which::Docker, line), &golden[line], "{line}");
    }
}
