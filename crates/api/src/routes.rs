//! The route table: every path of the API, whether it is served yet or not.
//!
//! Adding an endpoint? 1. its row here becomes [`Stage::Served`], 2. its handler goes into `server`'s one match,
//! 3. its line of `docs/compat.tsv` is generated from this table.
//!
//! A `{name}` takes any text that is not empty, slashes included, as far as what follows it allows: image names have
//! slashes. Rows are tried in order, so a fixed path stands before the pattern that would take it.

use crate::version::ApiVersion;

/// HTTP methods of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
}

/// How far a route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Answered.
    Served,
    /// Known, answered with 501.
    NotYet,
    /// Swarm's: answered as by a daemon that is in no swarm.
    Swarm,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path without version, with `{name}` for what varies (at most once).
    pub path: &'static str,
    /// The version that brought it.
    pub since: ApiVersion,
    /// How far it is.
    pub stage: Stage,
    /// Who answers.
    pub handler: Handler,
}

macro_rules! routes {
    ($($method:ident $path:literal $since:literal $stage:ident $handler:ident;)+) => {
        /// Who answers a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Handler { $($handler),+ }

        /// All routes, in the order in which they are tried.
        pub const ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            since: ApiVersion::v1($since),
            stage: Stage::$stage,
            handler: Handler::$handler,
        }),+];
    };
}

routes! {
    // System
    Get    "/_ping"                        0  Served SystemPing;
    Head   "/_ping"                        0  Served SystemPingHead;
    Get    "/version"                      0  Served SystemVersion;
    Get    "/info"                         0  Served SystemInfo;
    Get    "/events"                       0  Served SystemEvents;
    Post   "/auth"                         0  Served SystemAuth;
    Get    "/system/df"                    25 Served SystemDataUsage;
    // What dockerd has for its developers.
    Get    "/debug/vars"                   0  Served DebugVars;
    Get    "/debug/pprof/{name}"           0  Served DebugPprof;
    // Containers
    Get    "/containers/json"              0  Served ContainerList;
    Post   "/containers/create"            0  Served ContainerCreate;
    Post   "/containers/prune"             25 Served ContainerPrune;
    Get    "/containers/{name}/json"       0  Served ContainerInspect;
    Get    "/containers/{name}/top"        0  Served ContainerTop;
    Get    "/containers/{name}/logs"       0  Served ContainerLogs;
    Get    "/containers/{name}/changes"    0  Served ContainerChanges;
    Get    "/containers/{name}/export"     0  Served ContainerExport;
    Get    "/containers/{name}/stats"      0  Served ContainerStats;
    Get    "/containers/{name}/attach/ws"  0  Served ContainerAttachWebsocket;
    Head   "/containers/{name}/archive"    0  Served ContainerArchiveHead;
    Get    "/containers/{name}/archive"    0  Served ContainerArchiveGet;
    Put    "/containers/{name}/archive"    0  Served ContainerArchivePut;
    Post   "/containers/{name}/resize"     0  Served ContainerResize;
    Post   "/containers/{name}/start"      0  Served ContainerStart;
    Post   "/containers/{name}/stop"       0  Served ContainerStop;
    Post   "/containers/{name}/restart"    0  Served ContainerRestart;
    Post   "/containers/{name}/kill"       0  Served ContainerKill;
    Post   "/containers/{name}/update"     22 Served ContainerUpdate;
    Post   "/containers/{name}/rename"     0  Served ContainerRename;
    Post   "/containers/{name}/pause"      0  Served ContainerPause;
    Post   "/containers/{name}/unpause"    0  Served ContainerUnpause;
    Post   "/containers/{name}/attach"     0  Served ContainerAttach;
    Post   "/containers/{name}/wait"       0  Served ContainerWait;
    Post   "/containers/{name}/exec"       0  Served ExecCreate;
    Delete "/containers/{name}"            0  Served ContainerRemove;
    // Exec
    Get    "/exec/{name}/json"             0  Served ExecInspect;
    Post   "/exec/{name}/start"            0  Served ExecStart;
    Post   "/exec/{name}/resize"           0  Served ExecResize;
    // Images
    Get    "/images/json"                  0  Served ImageList;
    Get    "/images/search"                0  NotYet ImageSearch;
    Get    "/images/get"                   0  NotYet ImagesSave;
    Get    "/images/{name}/get"            0  NotYet ImageSave;
    Get    "/images/{name}/history"        0  Served ImageHistory;
    Get    "/images/{name}/attestations"   55 NotYet ImageAttestations;
    Get    "/images/{name}/json"           0  Served ImageInspect;
    Post   "/images/load"                  0  Served ImageLoad;
    Post   "/images/create"                0  Served ImageCreate;
    Post   "/images/prune"                 25 Served ImagePrune;
    Post   "/images/{name}/push"           0  NotYet ImagePush;
    Post   "/images/{name}/tag"            0  Served ImageTag;
    Delete "/images/{name}"                0  Served ImageRemove;
    Post   "/commit"                       0  Served ContainerCommit;
    Post   "/build"                        0  NotYet Build;
    Post   "/build/prune"                  31 Served BuildPrune;
    Post   "/build/cancel"                 31 NotYet BuildCancel;
    Get    "/distribution/{name}/json"     30 NotYet DistributionInspect;
    Post   "/session"                      31 NotYet Session;
    Post   "/grpc"                         39 NotYet Grpc;
    // Volumes
    Get    "/volumes"                      0  Served VolumeList;
    Post   "/volumes/create"               0  Served VolumeCreate;
    Post   "/volumes/prune"                25 Served VolumePrune;
    Get    "/volumes/{name}"               0  Served VolumeInspect;
    Put    "/volumes/{name}"               42 Swarm  VolumeUpdate;
    Delete "/volumes/{name}"               0  Served VolumeRemove;
    // Networks
    Get    "/networks"                     0  Served NetworkList;
    Post   "/networks/create"              0  Served NetworkCreate;
    Post   "/networks/prune"               25 Served NetworkPrune;
    Post   "/networks/{name}/connect"      0  Served NetworkConnect;
    Post   "/networks/{name}/disconnect"   0  Served NetworkDisconnect;
    Get    "/networks/{name}"              0  Served NetworkInspect;
    // Ours.
    Get    "/gantry/networks/explain"      0  Served NetworkExplain;
    Delete "/networks/{name}"              0  Served NetworkRemove;
    // Plugins
    Get    "/plugins"                      25 NotYet PluginList;
    Get    "/plugins/privileges"           25 NotYet PluginPrivileges;
    Get    "/plugins/{name}/json"          25 NotYet PluginInspect;
    Post   "/plugins/pull"                 25 NotYet PluginPull;
    Post   "/plugins/create"               25 NotYet PluginCreate;
    Post   "/plugins/{name}/enable"        25 NotYet PluginEnable;
    Post   "/plugins/{name}/disable"       25 NotYet PluginDisable;
    Post   "/plugins/{name}/upgrade"       26 NotYet PluginUpgrade;
    Post   "/plugins/{name}/push"          25 NotYet PluginPush;
    Post   "/plugins/{name}/set"           25 NotYet PluginSet;
    Delete "/plugins/{name}"               25 NotYet PluginRemove;
    // Swarm
    Get    "/swarm"                        24 Swarm  SwarmInspect;
    Get    "/swarm/unlockkey"              24 Swarm  SwarmUnlockKey;
    Post   "/swarm/init"                   24 Swarm  SwarmInit;
    Post   "/swarm/join"                   24 Swarm  SwarmJoin;
    Post   "/swarm/leave"                  24 Swarm  SwarmLeave;
    Post   "/swarm/update"                 24 Swarm  SwarmUpdate;
    Post   "/swarm/unlock"                 24 Swarm  SwarmUnlock;
    Get    "/nodes"                        24 Swarm  NodeList;
    Get    "/nodes/{name}"                 24 Swarm  NodeInspect;
    Delete "/nodes/{name}"                 24 Swarm  NodeRemove;
    Post   "/nodes/{name}/update"          24 Swarm  NodeUpdate;
    Get    "/services"                     24 Swarm  ServiceList;
    Get    "/services/{name}/logs"         29 Swarm  ServiceLogs;
    Get    "/services/{name}"              24 Swarm  ServiceInspect;
    Post   "/services/create"              24 Swarm  ServiceCreate;
    Post   "/services/{name}/update"       24 Swarm  ServiceUpdate;
    Delete "/services/{name}"              24 Swarm  ServiceRemove;
    Get    "/tasks"                        24 Swarm  TaskList;
    Get    "/tasks/{name}/logs"            29 Swarm  TaskLogs;
    Get    "/tasks/{name}"                 24 Swarm  TaskInspect;
    Get    "/secrets"                      25 Swarm  SecretList;
    Post   "/secrets/create"               25 Swarm  SecretCreate;
    Get    "/secrets/{name}"               25 Swarm  SecretInspect;
    Post   "/secrets/{name}/update"        25 Swarm  SecretUpdate;
    Delete "/secrets/{name}"               25 Swarm  SecretRemove;
    Get    "/configs"                      30 Swarm  ConfigList;
    Post   "/configs/create"               30 Swarm  ConfigCreate;
    Get    "/configs/{name}"               30 Swarm  ConfigInspect;
    Post   "/configs/{name}/update"        30 Swarm  ConfigUpdate;
    Delete "/configs/{name}"               30 Swarm  ConfigRemove;
}

impl Route {
    /// The name in `path` (decoded, without version) when it is one of this route's; empty for a fixed path.
    pub fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        let Some((before, after)) = self.path.split_once("{name}") else {
            return (path == self.path).then_some("");
        };
        let name = path.strip_prefix(before)?.strip_suffix(after)?;
        // A trailing slash belongs to no name; an empty name would make `/images//json` mean something.
        (!name.is_empty() && !name.ends_with('/')).then_some(name)
    }
}

/// The route of a request with the name in its path; `None`: no such page.
pub fn find(method: Method, path: &str) -> Option<(&'static Route, &str)> {
    ROUTES
        .iter()
        .filter(|route| route.method == method)
        .find_map(|route| Some((route, route.matches(path)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, wanted: Option<(Handler, &str)>) {
        assert_eq!(find(method, path).map(|(route, name)| (route.handler, name)), wanted, "{path}");
    }

    #[test]
    fn paths_find_their_handlers() {
        use Handler::*;
        use Method::*;
        check(Get, "/containers/json", Some((ContainerList, "")));
        check(Get, "/containers/a/json", Some((ContainerInspect, "a")));
        check(Get, "/containers/json/json", Some((ContainerInspect, "json")));
        check(Delete, "/containers/a", Some((ContainerRemove, "a")));
        check(Get, "/images/reg:5000/a/b:c/json", Some((ImageInspect, "reg:5000/a/b:c")));
        check(Get, "/images/json", Some((ImageList, "")));
        check(Get, "/images/a/history/json", Some((ImageInspect, "a/history")));
        check(Delete, "/images/a/b@sha256:00", Some((ImageRemove, "a/b@sha256:00")));
        check(Post, "/images/a/b/tag", Some((ImageTag, "a/b")));
        check(Post, "/images/create", Some((ImageCreate, "")));
        check(Post, "/containers/create", Some((ContainerCreate, "")));
        check(Post, "/containers/x/attach", Some((ContainerAttach, "x")));
        check(Get, "/containers/x/attach/ws", Some((ContainerAttachWebsocket, "x")));
        check(Post, "/exec/5/start", Some((ExecStart, "5")));
        check(Head, "/_ping", Some((SystemPingHead, "")));
        check(Post, "/_ping", None);
        check(Get, "/containers//json", None);
        check(Get, "/images//json", None);
        check(Get, "/", None);
        check(Get, "", None);
        check(Get, "/containers/json/", None);
        check(Get, "/services/x/logs", Some((ServiceLogs, "x")));
    }

    #[test]
    fn rows_of_the_api_description_are_all_there() {
        // 77 rows of the description are not Swarm's; `/build/cancel`, `/grpc`, the two of `/debug` and `/gantry` are not in it.
        let plain = ROUTES.iter().filter(|r| r.stage != Stage::Swarm).count();
        assert_eq!((plain, ROUTES.len()), (82, 113));
    }

    #[test]
    fn every_row_can_be_reached() {
        for route in ROUTES {
            let path = route.path.replace("{name}", "zz");
            let (found, _) = find(route.method, &path).unwrap();
            assert_eq!(found.handler, route.handler, "{path}");
        }
    }
}
