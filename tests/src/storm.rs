//! Fifty clients at once on a dozen containers, held against what a model allows.
//!
//! Each client has a connection of its own and a random life of its own. What each answer may be is known ([`Call`]);
//! what happened in which order the daemon tells by its events, so these are replayed: every step must be legal for its
//! container ([`replay`]), every call that succeeded must be among them, and what the daemon lists in the end must be
//! what the replay comes to.

mod replay;

use replay::{Life, State};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use testkit::seed::Random;

/// Clients at a time.
const CLIENTS: u64 = 50;
/// Names that they fight over.
const NAMES: usize = 12;
/// No answer within this time is a hang: the machine may be busy, but nothing here waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Create,
    Start,
    Stop,
    Restart,
    Kill,
    Pause,
    Unpause,
    Rename,
    Remove,
    RemoveForced,
    Prune,
    Update,
    Exec,
    Inspect,
    List,
    Top,
    Logs,
    Stats,
    Stat,
    Changes,
}

/// How often each is chosen, and the statuses that it may be answered with. Never among them: 500.
const CALLS: [(Call, usize, &[u16]); 20] = [
    (Call::Create, 14, &[201, 409]),
    (Call::Start, 16, &[204, 304, 404, 409]),
    (Call::Stop, 8, &[204, 304, 404]),
    (Call::Restart, 6, &[204, 404, 409]),
    (Call::Kill, 6, &[204, 404, 409]),
    (Call::Pause, 5, &[204, 404, 409]),
    (Call::Unpause, 6, &[204, 404, 409]),
    (Call::Rename, 6, &[204, 400, 404, 409]),
    (Call::Remove, 5, &[204, 404, 409]),
    (Call::RemoveForced, 6, &[204, 404, 409]),
    (Call::Prune, 1, &[200]),
    (Call::Update, 3, &[200, 404, 409]),
    (Call::Exec, 8, &[200, 404, 409]),
    (Call::Inspect, 4, &[200, 404]),
    (Call::List, 3, &[200]),
    (Call::Top, 2, &[200, 404, 409]),
    (Call::Logs, 2, &[200, 404]),
    (Call::Stats, 1, &[200, 404]),
    (Call::Stat, 2, &[200, 404]),
    (Call::Changes, 1, &[200, 404]),
];

/// Name and state of every container, by id.
type Listed = BTreeMap<String, (String, String)>;

/// What was answered, of all clients.
#[derive(Debug, Default)]
struct Tally {
    /// How often which call was answered with which status.
    answers: BTreeMap<(Call, u16), usize>,
    /// Containers that go away by themselves.
    leaving: usize,
    /// Containers that a prune has removed.
    pruned: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn count(&self, call: Call, status: u16) -> usize {
        self.answers.get(&(call, status)).copied().unwrap_or(0)
    }
}

/// Storms the daemon behind `socket` for so long; how many calls were answered. No container may be there before, none
/// is there afterwards. The error is what was found, one finding a line.
pub fn run(socket: &Path, seed: u64, duration: Duration) -> Result<usize, String> {
    let listener = Listener::start(socket)?;
    let tally = Mutex::new(Tally::default());
    let end = Instant::now() + duration;
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let tally = &tally;
            scope.spawn(move || {
                let mut client = Client {
                    random: Random::new(seed.wrapping_mul(CLIENTS).wrapping_add(number)),
                    socket,
                    tally,
                };
                while Instant::now() < end {
                    client.step();
                }
            });
        }
    });
    let listed = settled(socket)?;
    let history = listener.finish(socket)?;
    let mut tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut wrong = std::mem::take(&mut tally.wrong);
    let lives = replay::replay(&history, &mut wrong);
    compare(&tally, &lives, &history, &mut wrong);
    compare_with_list(&lives, &listed, &mut wrong);
    for id in listed.keys() {
        let answer = ask(socket, "DELETE", &format!("/containers/{id}?force=1"), None)?;
        // Some go by themselves.
        if !matches!(answer.0, 204 | 404 | 409) {
            wrong.push(format!("in the end, {id} is not removed: {answer:?}"));
        }
    }
    if wrong.is_empty() {
        return Ok(tally.answers.values().sum());
    }
    wrong.truncate(20);
    Err(format!("seed {seed}:\n{}\n{:?}", wrong.join("\n"), tally.answers))
}

struct Client<'a> {
    random: Random,
    socket: &'a Path,
    tally: &'a Mutex<Tally>,
}

impl Client<'_> {
    fn step(&mut self) {
        let (call, allowed) = self.choose();
        let name = format!("storm{}", self.random.below(NAMES));
        let begun = Instant::now();
        let result = self.act(call, &name);
        let took = begun.elapsed();
        let mut tally = self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match result {
            Ok((status, body)) => {
                *tally.answers.entry((call, status)).or_default() += 1;
                if !allowed.contains(&status) {
                    tally.wrong.push(format!("{call:?} {name}: {status} {body}"));
                } else if status >= 400 && call != Call::Stat && message(&body).is_empty() {
                    tally
                        .wrong
                        .push(format!("{call:?} {name}: {status} without a message: {body}"));
                }
            }
            Err(e) => tally.wrong.push(format!("{call:?} {name}: {e} after {took:?}")),
        }
    }

    fn choose(&mut self) -> (Call, &'static [u16]) {
        let mut left = self.random.below(CALLS.iter().map(|(_, weight, _)| weight).sum());
        for (call, weight, allowed) in CALLS {
            if left < weight {
                return (call, allowed);
            }
            left -= weight;
        }
        (Call::List, &[200])
    }

    fn act(&mut self, call: Call, name: &str) -> Result<(u16, String), String> {
        let of = |method, rest: &str| (method, format!("/containers/{name}{rest}"));
        let (method, path) = match call {
            Call::Create => return self.create(name),
            Call::Exec => return self.exec(name),
            Call::Rename => {
                let other = self.random.below(NAMES);
                of("POST", &format!("/rename?name=storm{other}"))
            }
            Call::Start => of("POST", "/start"),
            Call::Stop => of("POST", "/stop?t=0"),
            Call::Restart => of("POST", "/restart?t=0"),
            Call::Kill => of("POST", "/kill"),
            Call::Pause => of("POST", "/pause"),
            Call::Unpause => of("POST", "/unpause"),
            Call::Remove => of("DELETE", ""),
            Call::RemoveForced => of("DELETE", "?force=1"),
            Call::Prune => ("POST", "/containers/prune".to_owned()),
            Call::Update => of("POST", "/update"),
            Call::Inspect => of("GET", "/json"),
            Call::List => ("GET", "/containers/json?all=1".to_owned()),
            Call::Top => of("GET", "/top"),
            Call::Logs => of("GET", "/logs?stdout=1"),
            Call::Stats => of("GET", "/stats?stream=0&one-shot=1"),
            Call::Stat => of("HEAD", "/archive?path=/etc/passwd"),
            Call::Changes => of("GET", "/changes"),
        };
        let body = (call == Call::Update).then_some(r#"{"PidsLimit":100}"#);
        let answer = ask(self.socket, method, &path, body)?;
        if call == Call::Prune {
            let json: serde_json::Value = serde_json::from_str(&answer.1).unwrap_or_default();
            let deleted = json["ContainersDeleted"].as_array().map_or(0, Vec::len);
            self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pruned += deleted;
        }
        Ok(answer)
    }

    /// One that sleeps, one that ends at once, or one that ends and goes.
    fn create(&mut self, name: &str) -> Result<(u16, String), String> {
        let (command, auto_remove) = match self.random.below(4) {
            0 => (r#"["sh","-c","exit 3"]"#, false),
            1 => (r#"["sh","-c","sleep 0.05"]"#, true),
            _ => (r#"["sleep","1000"]"#, false),
        };
        let body = format!(
            r#"{{"Image":"busybox","Cmd":{command},"HostConfig":{{"AutoRemove":{auto_remove}}}}}"#
        );
        let path = format!("/containers/create?name={name}");
        let answer = ask(self.socket, "POST", &path, Some(&body))?;
        if answer.0 == 201 && auto_remove {
            self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).leaving += 1;
        }
        Ok(answer)
    }

    fn exec(&self, name: &str) -> Result<(u16, String), String> {
        let path = format!("/containers/{name}/exec");
        let answer = ask(self.socket, "POST", &path, Some(r#"{"Cmd":["true"]}"#))?;
        if answer.0 != 201 {
            return Ok(answer);
        }
        let json: serde_json::Value = serde_json::from_str(&answer.1).unwrap_or_default();
        let path = format!("/exec/{}/start", json["Id"].as_str().unwrap_or_default());
        ask(self.socket, "POST", &path, Some(r#"{"Detach":true}"#))
    }
}

/// What succeeded must have happened, and what happened somebody must have asked for.
fn compare(
    tally: &Tally,
    lives: &BTreeMap<String, Life>,
    history: &[Event],
    wrong: &mut Vec<String>,
) {
    let told = |action: &str| history.iter().filter(|e| e.action == action).count();
    let mut between = |what: &str, told: usize, least: usize, most: usize| {
        if told < least || told > most {
            wrong.push(format!("{told} {what} events where calls want {least} to {most}"));
        }
    };
    let exactly = |call: Call, status: u16| (tally.count(call, status), tally.count(call, status));
    for (what, (least, most)) in [
        ("create", exactly(Call::Create, 201)),
        ("rename", exactly(Call::Rename, 204)),
        ("pause", exactly(Call::Pause, 204)),
        ("update", exactly(Call::Update, 200)),
    ] {
        between(what, told(what), least, most);
    }
    let (starts, restarts) = (tally.count(Call::Start, 204), tally.count(Call::Restart, 204));
    // Restarts of the same moment share one start; one that was asked for may have failed at a removal.
    let most = starts + restarts + tally.count(Call::Restart, 409);
    between("start", told("start"), starts, most);
    between("restart", told("restart"), 0, restarts);
    let removed =
        tally.count(Call::Remove, 204) + tally.count(Call::RemoveForced, 204) + tally.pruned;
    between("destroy", told("destroy"), removed, removed + tally.leaving);
    between("exec_start", told("exec_start: true "), tally.count(Call::Exec, 200), usize::MAX);
    if lives.len() != tally.count(Call::Create, 201) {
        wrong.push(format!("{} containers are told of", lives.len()));
    }
}

/// The list in the end is what the events come to.
fn compare_with_list(lives: &BTreeMap<String, Life>, listed: &Listed, wrong: &mut Vec<String>) {
    for (id, life) in lives {
        let found = listed.get(id).map(|(name, state)| (name.as_str(), state.as_str()));
        let expected = match life.state {
            State::Gone => None,
            State::Created => Some("created"),
            State::Running => Some("running"),
            State::Paused => Some("paused"),
            State::Exited => Some("exited"),
        };
        let is_told = match (found, expected) {
            (None, None) => true,
            (Some((name, state)), Some(expected)) => name == life.name && state == expected,
            _ => false,
        };
        if !is_told {
            wrong.push(format!("{id} is listed as {found:?}; its events make it {life:?}"));
        }
    }
    for id in listed.keys().filter(|id| !lives.contains_key(*id)) {
        wrong.push(format!("{id} is listed and was never told of"));
    }
}

/// What is listed when all that end or go by themselves have.
fn settled(socket: &Path) -> Result<Listed, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let (listed, moves) = list(socket)?;
        if !moves {
            return Ok(listed);
        }
        if Instant::now() > end {
            return Err(format!("some neither end nor go: {listed:?}"));
        }
    }
}

/// Name and state of every container, by id, and whether one of them is about to change by itself.
fn list(socket: &Path) -> Result<(Listed, bool), String> {
    let (status, body) = ask(socket, "GET", "/containers/json?all=1", None)?;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    if status != 200 {
        return Err(format!("list: {status} {body}"));
    }
    let all: Vec<_> = json.as_array().into_iter().flatten().collect();
    let moves = all.iter().any(|c| {
        // See `create`: the shells end, and one of the two kinds goes.
        let (command, state) =
            (c["Command"].as_str().unwrap_or_default(), c["State"].as_str().unwrap_or_default());
        let (ends, goes) = (command.starts_with("sh "), command.contains("sleep 0.05"));
        (ends && state == "running") || (goes && state == "exited") || state == "removing"
    });
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let named = all.iter().map(|c| {
        let name = text(&c["Names"][0]).trim_start_matches('/').to_owned();
        (text(&c["Id"]), (name, text(&c["State"])))
    });
    Ok((named.collect(), moves))
}

/// One thing that the daemon told.
#[derive(Debug, Clone)]
struct Event {
    action: String,
    id: String,
    name: String,
}

/// Who hears all events from before the storm on.
struct Listener {
    stream: UnixStream,
    thread: std::thread::JoinHandle<Vec<Event>>,
}

impl Listener {
    fn start(socket: &Path) -> Result<Self, String> {
        let mut stream = UnixStream::connect(socket).map_err(|e| e.to_string())?;
        stream
            .write_all(b"GET /v1.45/events HTTP/1.1\r\nHost: x\r\n\r\n")
            .map_err(|e| e.to_string())?;
        let mut reader = BufReader::new(stream.try_clone().map_err(|e| e.to_string())?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).map_err(|e| e.to_string())?;
        }
        let thread = std::thread::spawn(move || {
            // Every event is a line; the lines between say how long the chunks are.
            let lines = reader.lines().map_while(Result::ok).filter(|l| l.starts_with('{'));
            let mut all = Vec::new();
            for line in lines {
                let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
                let (kind, action) = (text(&json["Type"]), text(&json["Action"]));
                if kind == "volume" {
                    break;
                }
                if kind == "container" {
                    let name = text(&json["Actor"]["Attributes"]["name"]);
                    all.push(Event { action, id: text(&json["Actor"]["ID"]), name });
                }
            }
            all
        });
        Ok(Self { stream, thread })
    }

    /// Everything told so far: a volume's making is the last thing that is listened to.
    fn finish(self, socket: &Path) -> Result<Vec<Event>, String> {
        let body = r#"{"Name":"storm"}"#;
        let made = ask(socket, "POST", "/volumes/create", Some(body))?;
        self.stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
        let events = self.thread.join().map_err(|_| "the events' reader panicked".to_owned())?;
        let gone = ask(socket, "DELETE", "/volumes/storm", None)?;
        match (made.0, gone.0) {
            (201, 204) => Ok(events),
            _ => Err(format!("the volume that ends the history: {made:?}, {gone:?}")),
        }
    }
}

/// One request on a connection of its own; status and body.
fn ask(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> Result<(u16, String), String> {
    let mut stream = UnixStream::connect(socket).map_err(|e| format!("connect: {e}"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    let body = body.unwrap_or_default();
    let head = format!(
        "{method} /v1.45{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(|e| format!("send: {e}"))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|e| format!("no answer: {e}"))?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    // What may come in chunks is searched for braces only.
    let from = body.find(['{', '[']).unwrap_or(0);
    let to = body.rfind(['}', ']']).map_or(body.len(), |at| at + 1);
    Ok((status, body.get(from..to).unwrap_or_default().to_owned()))
}

fn message(body: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    json["message"].as_str().unwrap_or_default().to_owned()
}
