//! A network and address management plugin as a vendor would write one: it makes a bridge a network and a pair of links
//! an endpoint on a [`Host`], gives addresses, and remembers what it was asked. It can be told to misbehave.

use crate::Host;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a plugin answers what it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Well,
    /// With this body, and nothing is done.
    Body(String),
    /// With this status and this body, and nothing is done.
    Status(u16, String),
    /// It does it and hangs up without a word.
    HangUp,
    /// It says nothing and does not hang up.
    Silent,
    /// With more and more.
    Endless,
}

/// The plugin. It listens until it is dropped or stopped.
#[derive(Debug)]
pub struct Plugin {
    shared: Arc<Shared>,
    socket: PathBuf,
}

#[derive(Debug)]
struct Shared {
    /// The host's first process.
    first: i32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    calls: Vec<(String, Value)>,
    manners: BTreeMap<String, Manner>,
    /// Answers that replace the proper ones, member by member.
    extra: BTreeMap<String, Value>,
    gateways: BTreeMap<String, String>,
    networks: BTreeSet<String>,
    endpoints: BTreeSet<String>,
    pools: BTreeMap<String, Ipv4Addr>,
    addresses: BTreeSet<String>,
    next: u8,
}

/// Gives a host folders for plugins of its own: its `/run` is empty then.
pub fn make_room(host: &Host) {
    host.run("mount", &["-t", "tmpfs", "tmpfs", "/run"]).ok();
    host.run("mkdir", &["-p", "/run/docker/plugins"]).ok();
}

impl Plugin {
    /// Starts it under this name, on a host where there is room.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(host: &Host, name: &str) -> Self {
        let first = host.first();
        let socket = PathBuf::from(format!("/proc/{first}/root/run/docker/plugins/{name}.sock"));
        let shared = Arc::new(Shared { first, state: Mutex::default() });
        let plugin = Self { shared, socket };
        plugin.listen();
        plugin
    }

    /// It is gone, as if it had crashed: its socket is still there. What it knows stays.
    pub fn stop(&self) {
        self.shared.state().stopped = true;
        // Whoever waits for the next client sees that nobody is to be served.
        let _woken = UnixStream::connect(&self.socket);
    }

    /// Starts it again with what it knew.
    pub fn start_again(&self) {
        self.stop();
        let _gone = std::fs::remove_file(&self.socket);
        self.shared.state().stopped = false;
        self.listen();
    }

    fn listen(&self) {
        let listener = UnixListener::bind(&self.socket).expect("a plugin's socket");
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.state().stopped {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { return };
                std::thread::spawn(move || shared.serve(stream));
            }
        });
    }

    /// What it was asked since the last time this was asked: the calls without what they are about.
    pub fn calls(&self) -> Vec<String> {
        self.questions().into_iter().map(|(method, _)| method).collect()
    }

    /// The same with what they are about.
    pub fn questions(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.shared.state().calls)
    }

    /// How it answers a call from now on.
    pub fn answers(&self, method: &str, manner: Manner) {
        self.shared.state().manners.insert(method.to_owned(), manner);
    }

    /// What stands in the answer to a call beside or instead of what it would say.
    pub fn also(&self, method: &str, members: Value) {
        self.shared.state().extra.insert(method.to_owned(), members);
    }

    /// What it keeps for others: networks, endpoints, pools, addresses.
    pub fn keeps(&self) -> [usize; 4] {
        let state = self.shared.state();
        [state.networks.len(), state.endpoints.len(), state.pools.len(), state.addresses.len()]
    }

    /// It has forgotten all pools and addresses.
    pub fn forget_addresses(&self) {
        let mut state = self.shared.state();
        state.pools.clear();
        state.addresses.clear();
    }

    /// The addresses that it gave, with their pools.
    pub fn addresses(&self) -> Vec<String> {
        self.shared.state().addresses.iter().cloned().collect()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: UnixStream) {
        let Some((method, question)) = read(&mut stream) else { return };
        let (manner, extra) = {
            let mut state = self.state();
            state.calls.push((method.clone(), question.clone()));
            let manner = state.manners.get(&method).cloned().unwrap_or(Manner::Well);
            (manner, state.extra.get(&method).cloned())
        };
        // Whoever hangs up has heard enough.
        let _heard = match manner {
            Manner::Well => {
                let (status, mut answer) = match self.answer(&method, &question) {
                    Ok(answer) => (200, answer),
                    Err(text) => (500, json!({"Err": text})),
                };
                if let (Some(Value::Object(extra)), Some(answer)) = (extra, answer.as_object_mut())
                {
                    answer.extend(extra);
                }
                say(&mut stream, status, &answer.to_string())
            }
            Manner::Body(body) => say(&mut stream, 200, &body),
            Manner::Status(status, body) => say(&mut stream, status, &body),
            Manner::HangUp => {
                let _done = self.answer(&method, &question);
                Ok(())
            }
            Manner::Silent => stream.read_to_end(&mut Vec::new()).map(drop),
            Manner::Endless => {
                let begun = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"x\":\"");
                let more = [b'x'; 65536];
                begun.and_then(|()| (0..1 << 14).try_for_each(|_| stream.write_all(&more)))
            }
        };
    }

    fn answer(&self, method: &str, question: &Value) -> Result<Value, String> {
        let text = |key: &str| question[key].as_str().unwrap_or_default().to_owned();
        let (network, endpoint) = (text("NetworkID"), text("EndpointID"));
        let short = |id: &str| id.chars().take(8).collect::<String>();
        let (bridge, host_end, far_end) = (
            format!("pb{}", short(&network)),
            format!("pv{}", short(&endpoint)),
            format!("pc{}", short(&endpoint)),
        );
        match method {
            "Plugin.Activate" => Ok(json!({"Implements": ["NetworkDriver", "IpamDriver"]})),
            "NetworkDriver.GetCapabilities" => Ok(json!({"Scope": "local"})),
            "NetworkDriver.CreateNetwork" => {
                self.ip(&["link", "add", &bridge, "type", "bridge"]);
                self.ip(&["link", "set", &bridge, "up"]);
                if let Some(gateway) = question["IPv4Data"][0]["Gateway"].as_str() {
                    self.ip(&["addr", "add", gateway, "dev", &bridge]);
                    let bare = gateway.split('/').next().unwrap_or_default().to_owned();
                    self.state().gateways.insert(network.clone(), bare);
                }
                self.state().networks.insert(network);
                Ok(json!({}))
            }
            "NetworkDriver.DeleteNetwork" => {
                self.ip(&["link", "del", &bridge]);
                if self.state().networks.remove(&network) {
                    Ok(json!({}))
                } else {
                    Err(format!("no network {network}"))
                }
            }
            "NetworkDriver.CreateEndpoint" => {
                let mut state = self.state();
                state.endpoints.insert(endpoint);
                state.next += 1;
                let mac = format!("02:11:22:33:44:{:02x}", state.next);
                let has_mac = question["Interface"]["MacAddress"].as_str() != Some("");
                Ok(if has_mac { json!({}) } else { json!({"Interface": {"MacAddress": mac}}) })
            }
            "NetworkDriver.DeleteEndpoint" => {
                self.ip(&["link", "del", &host_end]);
                if self.state().endpoints.remove(&endpoint) {
                    Ok(json!({}))
                } else {
                    Err(format!("no endpoint {endpoint}"))
                }
            }
            "NetworkDriver.Join" => {
                self.ip(&["link", "add", &host_end, "type", "veth", "peer", "name", &far_end]);
                self.ip(&["link", "set", &host_end, "master", &bridge, "up"]);
                let gateway = self.state().gateways.get(&network).cloned().unwrap_or_default();
                Ok(json!({
                    "InterfaceName": {"SrcName": far_end, "DstPrefix": "plug"},
                    "Gateway": gateway,
                    "StaticRoutes": [{"Destination": "10.99.0.0/16", "RouteType": 1}],
                }))
            }
            "IpamDriver.GetCapabilities" => {
                Ok(json!({"RequiresMACAddress": true, "RequiresRequestReplay": true}))
            }
            "IpamDriver.GetDefaultAddressSpaces" => Ok(
                json!({"LocalDefaultAddressSpace": "here", "GlobalDefaultAddressSpace": "everywhere"}),
            ),
            "IpamDriver.RequestPool" => {
                let pool = Some(text("Pool")).filter(|p| !p.is_empty());
                let pool = pool.unwrap_or_else(|| "10.77.0.0/24".to_owned());
                let first: Ipv4Addr = pool
                    .split('/')
                    .next()
                    .and_then(|base| base.parse().ok())
                    .ok_or_else(|| "no IPv6 here".to_owned())?;
                self.state().pools.insert(format!("pool/{pool}"), first);
                Ok(json!({"PoolID": format!("pool/{pool}"), "Pool": pool, "Data": {}}))
            }
            "IpamDriver.ReleasePool" => {
                let id = text("PoolID");
                self.state().pools.remove(&id).map(|_| json!({})).ok_or(format!("no pool {id}"))
            }
            "IpamDriver.RequestAddress" => {
                let (id, wanted) = (text("PoolID"), text("Address"));
                let mut state = self.state();
                let base = *state.pools.get(&id).ok_or(format!("no pool {id}"))?;
                let key = |address: &str| format!("{id} {address}");
                let all = (1..255).map(|n| Ipv4Addr::from(u32::from(base) + n).to_string());
                let free = all.into_iter().find(|a| {
                    if wanted.is_empty() {
                        !state.addresses.contains(&key(a))
                    } else {
                        *a == wanted
                    }
                });
                let address = free.ok_or_else(|| "no address left".to_owned())?;
                if !state.addresses.insert(key(&address)) {
                    return Err(format!("{address} is taken"));
                }
                Ok(json!({"Address": format!("{address}/24"), "Data": {}}))
            }
            "IpamDriver.ReleaseAddress" => {
                let key = format!("{} {}", text("PoolID"), text("Address"));
                if self.state().addresses.remove(&key) {
                    Ok(json!({}))
                } else {
                    Err(format!("{key} is free"))
                }
            }
            _ => Ok(json!({})),
        }
    }

    /// What it does on its host. That a link is gone already is nothing to it.
    fn ip(&self, args: &[&str]) {
        let _status = Command::new("nsenter")
            .args(["--target", &self.first.to_string(), "--net", "--", "ip"])
            .args(args)
            .env("PATH", crate::host::search_path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A question: its path and its body.
fn read(stream: &mut UnixStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            let method = head.strip_prefix("POST /")?.split(' ').next()?.to_owned();
            return Some((method, serde_json::from_str(body).unwrap_or(Value::Null)));
        }
    }
}

fn say(stream: &mut UnixStream, status: u16, body: &str) -> std::io::Result<()> {
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes())
}
