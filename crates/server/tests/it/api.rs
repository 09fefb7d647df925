//! What clients see of the daemon when all goes well, and the errors they know.

use crate::rig::Rig;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

#[tokio::test]
async fn ping_tells_what_clients_negotiate_by() {
    let rig = Rig::new().await;
    for (method, body) in [("GET", "OK"), ("HEAD", "")] {
        let answer = rig.send(method, "/_ping").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
        for header in [
            "Api-Version: 1.47",
            "Docker-Experimental: false",
            "Ostype: linux",
            "Server: Gantry/",
            "Cache-Control: no-cache, no-store, must-revalidate",
            "Pragma: no-cache",
            "Swarm: inactive",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(answer.head.contains(header), "{method}: {header} in {}", answer.head);
        }
    }
    let options = rig.send("OPTIONS", "/v1.45/anything/at/all").await;
    assert_eq!((options.status, options.body.as_str()), (200, ""));
    rig.stop().await;
}

#[tokio::test]
async fn versions_are_negotiated_in_dockers_words() {
    let rig = Rig::new().await;
    assert_eq!(
        rig.get("/v1.99/info").await.error(400),
        "client version 1.99 is too new. Maximum supported API version is 1.47"
    );
    assert_eq!(
        rig.get("/v1.20/info").await.error(400),
        "client version 1.20 is too old. Minimum supported API version is 1.22, please upgrade your client to a newer version"
    );
    for path in ["/version", "/v1.22/version", "/v1.47/version"] {
        let version = rig.get(path).await.json();
        assert_eq!(
            (&version["ApiVersion"], &version["MinAPIVersion"]),
            (&json!("1.47"), &json!("1.22"))
        );
    }
    let not_found = rig.get("/v1.45/nosuch").await;
    assert_eq!(not_found.error(404), "page not found");
    assert!(!not_found.head.contains("Api-Version"), "{}", not_found.head);
    assert_eq!(rig.post("/v1.45/info", "").await.error(404), "page not found");
    assert_eq!(rig.get("/v1.22/system/df").await.error(404), "page not found");
}

#[tokio::test]
async fn what_is_not_there_yet_says_so() {
    let rig = Rig::new().await;
    let mut seen = (0, 0);
    for route in api::ROUTES {
        let method = format!("{:?}", route.method).to_uppercase();
        let path = route.path.replace("{name}", "x");
        if route.since > api::MAX || route.stage == api::Stage::Served || method == "HEAD" {
            continue;
        }
        let answer = rig.send(&method, &path).await;
        match route.stage {
            api::Stage::Swarm => {
                assert!(
                    answer.error(503).starts_with("This node is not a swarm manager."),
                    "{path}"
                );
                seen.0 += 1;
            }
            // There are none, which `docker inspect` must be able to find out.
            _ if route.handler == api::routes::Handler::PluginInspect => {
                assert_eq!(answer.error(404), "plugin \"x\" not found");
            }
            _ => {
                assert!(
                    answer.error(501).ends_with("is not implemented yet (see docs/compat.tsv)"),
                    "{path}"
                );
                seen.1 += 1;
            }
        }
    }
    assert!(seen.0 > 30 && seen.1 > 15, "{seen:?}");
}

#[tokio::test]
async fn every_served_route_has_its_handler() {
    let rig = Rig::new().await;
    for route in api::ROUTES.iter().filter(|route| route.stage == api::Stage::Served) {
        let method = format!("{:?}", route.method).to_uppercase();
        let path = route.path.replace("{name}", "x");
        if path == "/events" {
            continue;
        }
        let answer = rig.send(&method, &path).await;
        assert_ne!(answer.status, 501, "{method} {path}: {}", answer.body);
        assert_ne!(answer.status, 0, "{method} {path}");
    }
}

#[tokio::test]
async fn info_has_what_clients_read() {
    let rig = Rig::with_image().await;
    rig.container("one", "").await;
    let info = rig.get("/v1.45/info").await.json();
    assert_eq!(
        (&info["Containers"], &info["ContainersStopped"], &info["Images"], &info["OSType"]),
        (&json!(1), &json!(1), &json!(2), &json!("linux"))
    );
    for field in ["DockerRootDir", "CgroupVersion", "ID", "Name", "KernelVersion", "ServerVersion"]
    {
        assert!(
            info[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field}: {}",
            info[field]
        );
    }
    assert!(info["SecurityOptions"][0].as_str().unwrap().starts_with("name=seccomp"));
    assert_eq!(info["RegistryConfig"]["InsecureRegistryCIDRs"], json!(["127.0.0.0/8"]));
    let old = rig.get("/v1.24/info").await.json();
    assert_eq!(old["SecurityOptions"][0], "seccomp");
}

#[tokio::test]
async fn images_in_the_shape_of_every_version() {
    let rig = Rig::with_image().await;
    assert_eq!(
        rig.get("/v1.45/images/json").await.json().as_array().unwrap().len(),
        2,
        "hello-world is there, too"
    );
    let tiny = "filters={%22reference%22:[%22tiny%22]}";
    let list = rig.get(&format!("/v1.45/images/json?{tiny}")).await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let image = &list[0];
    assert_eq!(image["RepoTags"], json!(["tiny:latest"]));
    assert_eq!((&image["Containers"], &image["SharedSize"]), (&json!(-1), &json!(-1)));
    assert_eq!(image["Labels"], json!({"of": "image"}));
    assert!(image.get("VirtualSize").is_none());
    let old = rig.get(&format!("/v1.24/images/json?{tiny}")).await.json();
    assert_eq!((&old[0]["VirtualSize"], &old[0]["RepoDigests"]), (&image["Size"], &Value::Null));
    let shared = rig.get(&format!("/v1.45/images/json?shared-size=1&{tiny}")).await.json();
    assert_eq!(shared[0]["SharedSize"], 0);

    let new = rig.get("/v1.45/images/tiny/json").await.json();
    assert_eq!(new["Config"]["Cmd"], json!(["/hello"]));
    assert_eq!((&new["Created"], &new["Os"]), (&json!("2024-01-02T03:04:05Z"), &json!("linux")));
    assert!(new.get("ContainerConfig").is_none() && new.get("VirtualSize").is_none());
    let old = rig.get("/v1.44/images/tiny/json").await.json();
    assert!(old["ContainerConfig"].is_object());

    let history = rig.get("/v1.45/images/tiny/history").await.json();
    assert_eq!(
        (&history[0]["CreatedBy"], &history[0]["Tags"]),
        (&json!("COPY hello /"), &json!(["tiny:latest"]))
    );

    assert_eq!(rig.post("/v1.45/images/tiny/tag?repo=other/name&tag=v1", "").await.status, 201);
    let filtered = |filter: &str| format!("/v1.45/images/json?filters={filter}");
    let named = rig.get(&filtered("{\"reference\":[\"other/*\"]}")).await.json();
    assert_eq!(named[0]["RepoTags"], json!(["other/name:v1"]));
    assert_eq!(rig.get(&filtered("{\"label\":[\"of=x\"]}")).await.json(), json!([]));
    assert_eq!(rig.get(&filtered("{\"dangling\":[\"true\"]}")).await.json(), json!([]));
    assert_eq!(rig.get(&filtered("{\"foo\":[\"x\"]}")).await.error(400), "invalid filter 'foo'");

    let removed = rig.send("DELETE", "/v1.45/images/other/name:v1").await.json();
    assert_eq!(removed, json!([{"Untagged": "other/name:v1"}]));
    assert_eq!(
        rig.get("/v1.45/images/nosuch/json").await.error(404),
        "No such image: nosuch:latest"
    );
}

#[tokio::test]
async fn a_container_in_the_shape_of_the_reference_daemon() {
    let rig = Rig::with_image().await;
    let fields = r#""Cmd":["/hello","a b"],"Tty":true,"HostConfig":{"Memory":10000000,"Binds":["/tmp:/x:ro"],
        "Mounts":[{"Type":"tmpfs","Target":"/t"}],"NetworkMode":"none","CapAdd":["SYS_ADMIN"]}"#;
    let id = rig.container("web", fields).await;
    let inspect = rig.get("/v1.45/containers/web/json").await.json();
    assert_eq!((&inspect["Id"], &inspect["Name"]), (&json!(id), &json!("/web")));
    assert_eq!((&inspect["Path"], &inspect["Args"]), (&json!("/hello"), &json!(["a b"])));
    assert_eq!(
        inspect["State"],
        json!({"Status": "created", "Running": false, "Paused": false, "Restarting": false, "OOMKilled": false,
               "Dead": false, "Pid": 0, "ExitCode": 0, "Error": "", "StartedAt": "0001-01-01T00:00:00Z",
               "FinishedAt": "0001-01-01T00:00:00Z"})
    );
    assert_eq!(inspect["Config"]["Hostname"], id[..12]);
    assert_eq!(inspect["Config"]["Labels"], json!({"of": "image"}));
    assert_eq!((&inspect["ExecIDs"], &inspect["LogPath"]), (&Value::Null, &json!("")));
    assert_eq!(inspect["HostConfig"]["CapDrop"], Value::Null);
    assert_eq!(inspect["HostConfig"]["Memory"], 10_000_000);
    assert_eq!(
        inspect["Mounts"].as_array().unwrap().len(),
        3,
        "bind, tmpfs and the image's volume"
    );
    assert!(inspect.get("SizeRw").is_none());
    assert!(rig.get("/v1.45/containers/web/json?size=1").await.json()["SizeRw"].is_i64());
    // The same fields as the reference daemon's, no more and no fewer.
    let reference = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../api/tests/golden/inspect1.45-bb.json"
    ));
    let reference: Value = serde_json::from_slice(&reference.unwrap()).unwrap();
    let names = |value: &Value, skip: &[&str]| -> Vec<String> {
        value.as_object().unwrap().keys().filter(|k| !skip.contains(&k.as_str())).cloned().collect()
    };
    assert_eq!(names(&inspect, &[]), names(&reference, &[]));
    for (part, skip) in
        [("HostConfig", &["Tmpfs", "Mounts"][..]), ("Config", &[]), ("NetworkSettings", &[])]
    {
        assert_eq!(names(&inspect[part], skip), names(&reference[part], skip), "{part}");
    }

    let list = rig.get("/v1.45/containers/json?all=1").await.json();
    let item = &list[0];
    assert_eq!((&item["Image"], &item["Command"]), (&json!("tiny"), &json!("/hello 'a b'")));
    assert_eq!(
        (&item["State"], &item["Status"], &item["Ports"]),
        (&json!("created"), &json!("Created"), &json!([]))
    );
    assert_eq!(item["HostConfig"], json!({"NetworkMode": "none"}));
    let volumes = rig.get("/v1.45/volumes").await.json();
    assert_eq!(volumes["Volumes"][0]["Labels"], json!({"com.docker.volume.anonymous": ""}));
    let name = volumes["Volumes"][0]["Name"].as_str().unwrap();
    assert_eq!(rig.get(&format!("/v1.45/volumes/{name}")).await.json(), volumes["Volumes"][0]);
    let networks = rig.get("/v1.45/networks?filters={\"name\":[\"none\"]}").await.json();
    assert_eq!(
        (&networks[0]["Driver"], &networks[0]["IPAM"]["Config"]),
        (&json!("null"), &Value::Null)
    );
    assert_eq!(rig.get("/v1.45/networks/none").await.json()["Id"], networks[0]["Id"]);
    assert_eq!(rig.get("/v1.45/networks/nosuch").await.error(404), "network nosuch not found");
}

#[tokio::test]
async fn lists_are_narrowed() {
    let rig = Rig::with_image().await;
    let mut ids = Vec::new();
    for (name, label) in [("one", "a"), ("two", "b"), ("two-more", "a")] {
        ids.push(rig.container(name, &format!(r#""Labels":{{"l":"{label}"}}"#)).await);
    }
    let check = async |query: &str, wanted: &[&str]| {
        let list = rig.get(&format!("/v1.45/containers/json?{query}")).await;
        assert_eq!(list.status, 200, "{query}: {}", list.body);
        let list = list.json();
        let names: Vec<&str> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["Names"][0].as_str().unwrap()[1..])
            .collect();
        assert_eq!(names, wanted, "{query}");
    };
    check("", &[]).await;
    check("all=1", &["two-more", "two", "one"]).await;
    check("limit=2", &["two-more", "two"]).await;
    check("limit=-1", &[]).await;
    let filters = |text: &str| format!("all=1&filters={}", text.replace('"', "%22"));
    check(&filters(r#"{"name":["^/two$"]}"#), &["two"]).await;
    check(&filters(r#"{"name":["two"]}"#), &["two-more", "two"]).await;
    check(&filters(r#"{"label":["l=a"]}"#), &["two-more", "one"]).await;
    check(&filters(r#"{"label":{"l=a":true}}"#), &["two-more", "one"]).await;
    check(&filters(r#"{"before":["two"]}"#), &["one"]).await;
    check(&filters(r#"{"since":["two"]}"#), &["two-more"]).await;
    check(&filters(&format!(r#"{{"id":["{}"]}}"#, &ids[0][..12])), &["one"]).await;
    check(&filters(r#"{"ancestor":["tiny"]}"#), &["two-more", "two", "one"]).await;
    check(&filters(r#"{"ancestor":["nosuch"]}"#), &[]).await;
    // Ports count where there is a network stack for them.
    check(&filters(r#"{"expose":["80"]}"#), &[]).await;
    check(&filters(r#"{"expose":["81/tcp"]}"#), &[]).await;
    check(&filters(r#"{"volume":["/data"]}"#), &["two-more", "two", "one"]).await;
    check(&filters(r#"{"network":["bridge"]}"#), &["two-more", "two", "one"]).await;
    check(&filters(r#"{"exited":["0"]}"#), &[]).await;
    check(&filters(r#"{"health":["none"]}"#), &["two-more", "two", "one"]).await;
    check(&filters(r#"{"is-task":["true"]}"#), &[]).await;
    check("filters={%22status%22:[%22created%22]}", &["two-more", "two", "one"]).await;

    let error =
        async |query: &str| rig.get(&format!("/v1.45/containers/json?{query}")).await.error(400);
    assert_eq!(error("filters=x").await, "invalid filter");
    assert_eq!(error("filters={%22foo%22:[%22x%22]}").await, "invalid filter 'foo'");
    assert_eq!(error("filters={%22status%22:[%22x%22]}").await, "invalid filter 'status=x'");
    assert_eq!(
        error("filters={%22exited%22:[%22x%22]}").await,
        "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"
    );
    assert_eq!(
        error("filters={%22health%22:[%22x%22]}").await,
        "unrecognized filter value for health: x"
    );
    assert_eq!(error("filters={%22is-task%22:[%22x%22]}").await, "invalid filter 'is-task=[x]'");
    assert_eq!(
        error("filters={%22publish%22:[%22x%22]}").await,
        "error while looking up for publish x: strconv.ParseUint: parsing \"x\": invalid syntax"
    );
    assert_eq!(error("limit=x").await, "strconv.Atoi: parsing \"x\": invalid syntax");
    let before = rig.get("/v1.45/containers/json?filters={%22before%22:[%22x%22]}").await;
    assert_eq!(before.error(404), "No such container: x");

    let kept =
        rig.post("/v1.45/containers/prune?filters={%22label%22:[%22l=b%22]}", "").await.json();
    assert_eq!(kept["ContainersDeleted"], json!([ids[1]]));
    let none =
        rig.post("/v1.45/containers/prune?filters={%22until%22:[%221h%22]}", "").await.json();
    assert_eq!(none["ContainersDeleted"], Value::Null);
}

#[tokio::test]
async fn a_container_that_does_not_run_answers_as_in_docker() {
    let rig = Rig::with_image().await;
    let id = rig.container("web", "").await;
    let v = |path: &str| format!("/v1.45/containers/{path}");
    assert_eq!(rig.get(&v("nosuch/json")).await.error(404), "No such container: nosuch");
    assert_eq!(
        rig.post(&v("web/kill"), "").await.error(409),
        format!("cannot kill container: web: container {id} is not running")
    );
    assert_eq!(rig.post(&v("web/stop"), "").await.status, 304);
    assert_eq!(
        rig.post(&v("web/stop?t=x"), "").await.error(400),
        "strconv.Atoi: parsing \"x\": invalid syntax"
    );
    assert_eq!(
        rig.post(&v("web/exec"), r#"{"Cmd":["true"]}"#).await.error(409),
        format!("container {id} is not running")
    );
    assert_eq!(rig.post(&v("web/exec"), "{}").await.error(400), "No exec command specified");
    assert_eq!(
        rig.get(&v("web/logs")).await.error(400),
        "Bad parameters: you must choose at least one stream"
    );
    let logs = rig.get(&v("web/logs?stdout=1")).await;
    assert_eq!((logs.status, logs.body.as_str()), (200, ""));
    assert!(
        logs.head.contains("Content-Type: application/vnd.docker.multiplexed-stream"),
        "{}",
        logs.head
    );
    let old = rig.get("/v1.41/containers/web/logs?stdout=1").await;
    assert!(old.head.contains("Content-Type: application/vnd.docker.raw-stream"), "{}", old.head);
    assert_eq!(
        rig.post(&v("web/resize?h=x&w=1"), "").await.error(400),
        "strconv.Atoi: parsing \"x\": invalid syntax"
    );
    assert_eq!(
        rig.post(&v("web/rename?name=b"), "").await.error(400),
        "Error when allocating new name: Invalid container name (/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    );
    assert_eq!(rig.post(&v("web/rename?name=other"), "").await.status, 204);
    let create =
        async |query: &str, body: &str| rig.post(&v(&format!("create{query}")), body).await;
    assert_eq!(
        create("?name=other", r#"{"Image":"tiny"}"#).await.error(409),
        format!(
            "Conflict. The container name \"/other\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
        )
    );
    assert_eq!(
        create("", r#"{"Image":"nosuch"}"#).await.error(404),
        "No such image: nosuch:latest"
    );
    assert_eq!(
        create("", r#"{"Image":"UPPER"}"#).await.error(400),
        "invalid reference format: repository name (library/UPPER) must be lowercase"
    );
    assert_eq!(
        create("", r#"{"Image":"tiny","HostConfig":{"Mounts":[{"Type":"bind","Source":"/nosuch","Target":"/x"}]}}"#).await.error(400),
        "invalid mount config for type \"bind\": bind source path does not exist: /nosuch"
    );
    assert_eq!(
        create("", r#"{"Image":"tiny","HostConfig":{"CapAdd":["FOO"]}}"#).await.error(400),
        "invalid CapAdd: unknown capability: \"CAP_FOO\""
    );
    assert_eq!(
        create(
            "",
            r#"{"Image":"tiny","HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"x"}]}}}"#
        )
        .await
        .error(400),
        "invalid port specification: \"x\""
    );
    let wait = rig.post(&v("other/wait"), "").await;
    assert_eq!((wait.status, wait.body.as_str()), (200, "{\"StatusCode\":0}\n"));
    assert_eq!(
        rig.post(&v("other/wait?condition=x"), "").await.error(400),
        "invalid condition: \"x\""
    );
    assert_eq!(rig.send("DELETE", &v("other")).await.status, 204);
    assert_eq!(rig.send("DELETE", &v("other")).await.error(404), "No such container: other");
}

#[tokio::test]
async fn wait_answers_its_head_at_once_and_its_body_at_the_end() {
    let rig = Rig::with_image().await;
    rig.container("web", "").await;
    let mut waiting = rig.connect().await;
    let request = "POST /v1.45/containers/web/wait?condition=removed HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n";
    waiting.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 4096];
    let n = timeout(Duration::from_secs(5), waiting.read(&mut head))
        .await
        .expect("the head alone")
        .unwrap();
    let head = String::from_utf8_lossy(&head[..n]).into_owned();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(rig.send("DELETE", "/v1.45/containers/web").await.status, 204);
    let mut body = [0; 4096];
    let n =
        timeout(Duration::from_secs(5), waiting.read(&mut body)).await.expect("the body").unwrap();
    assert!(String::from_utf8_lossy(&body[..n]).contains("{\"StatusCode\":0}"));
}

#[tokio::test]
async fn events_come_as_they_happen_and_as_asked() {
    let rig = Rig::with_image().await;
    let mut live = rig.connect().await;
    let filters = "{%22type%22:[%22container%22],%22event%22:[%22create%22,%22destroy%22]}";
    let request = format!("GET /v1.45/events?filters={filters} HTTP/1.1\r\nHost: d\r\n\r\n");
    live.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 65536];
    let mut read = async |live: &mut tokio::net::UnixStream| {
        let n = timeout(Duration::from_secs(5), live.read(&mut buffer))
            .await
            .expect("in time")
            .unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    assert!(read(&mut live).await.starts_with("HTTP/1.1 200 OK"));
    let id = rig.container("web", "").await;
    let line = read(&mut live).await;
    assert!(
        line.contains("\"Action\":\"create\"") && line.contains(&id) && line.ends_with("}\n\r\n"),
        "{line}"
    );
    rig.send("DELETE", "/v1.45/containers/web").await;
    assert!(read(&mut live).await.contains("\"Action\":\"destroy\""));
    drop(live);

    let past = rig.get("/v1.45/events?since=1&until=1").await;
    assert_eq!((past.status, past.body.as_str()), (200, ""));
    let until = stdx::time::Timestamp::now().unix_seconds() + 1;
    let past = rig
        .get(&format!("/v1.45/events?since=1&until={until}&filters={{%22image%22:[%22tiny%22]}}"))
        .await;
    assert!(past.body.lines().any(|line| line.contains("\"destroy\"")), "{}", past.body);
    assert_eq!(
        rig.get("/v1.45/events?since=5&until=4").await.error(400),
        "`since` time (5) cannot be after `until` time (4)"
    );
}

#[tokio::test]
async fn stopping_cuts_streams_and_takes_the_socket_away() {
    let rig = Rig::new().await;
    let mut live = rig.connect().await;
    live.write_all(b"GET /v1.45/events HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    let mut buffer = [0; 4096];
    let _head = live.read(&mut buffer).await.unwrap();
    let began = Instant::now();
    rig.stop().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(
        timeout(Duration::from_secs(5), live.read(&mut buffer)).await.unwrap().unwrap_or(0),
        0
    );
}

/// Not a benchmark (this build is not optimised), but a bound that would catch a thread or an allocation storm per item.
#[tokio::test]
async fn small_answers_are_quick() {
    let rig = Rig::with_image().await;
    for n in 0..100 {
        rig.container(&format!("c{n}"), r#""HostConfig":{"NetworkMode":"none"}"#).await;
    }
    let mut stream = rig.connect().await;
    let mut buffer = vec![0; 1 << 20];
    for (path, bound) in [("/version", 5), ("/v1.45/containers/json?all=1", 100)] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n");
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let began = Instant::now();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut seen = 0;
            loop {
                seen += stream.read(&mut buffer[seen..]).await.unwrap();
                let text = &buffer[..seen];
                if text.ends_with(b"}\n") || text.ends_with(b"]\n") {
                    break;
                }
            }
            best = best.min(began.elapsed());
        }
        eprintln!("{path}: {best:?}");
        assert!(best < Duration::from_millis(bound), "{path}: {best:?}");
    }
}
