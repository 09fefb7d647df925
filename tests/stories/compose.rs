//! An application of three services with both generations of Compose, unmodified: two networks, aliases, published
//! ports, health, configs, secrets, scale, profiles; and nothing is left of it.
//!
//! What is expected was found on dockerd 26.1: `GANTRY_STORY_ON=reference` shows it again.

use std::path::{Path, PathBuf};
use testkit::process::{PATIENCE, Running, eventually};
use testkit::{Cli, Client, Compose, Daemon, Host, Output, Reference, debian, need};

#[test]
fn an_application_of_compose_1_lives_and_goes() {
    need!(Root, Peers);
    story(Compose::One);
}

#[test]
fn an_application_of_compose_2_lives_and_goes() {
    need!(Root, Peers);
    story(Compose::Two);
}

/// With `GANTRY_STORY_ON=reference` it is dockerd's.
fn story(compose: Compose) {
    let Some(stack) = ready(compose) else { return };
    if std::env::var("GANTRY_STORY_ON").as_deref() == Ok("reference") {
        let reference = Reference::start();
        let client = reference.client(Cli::Reference);
        App::new(compose, client, reference.host(), &stack).lives_and_goes();
    } else {
        let daemon = Daemon::start();
        App::new(compose, daemon.client(Cli::Gantry), daemon.host(), &stack).lives_and_goes();
    }
}

/// The image's archive, if this machine can have it and this Compose.
fn ready(compose: Compose) -> Option<PathBuf> {
    let missing = compose.missing().map_or_else(debian::stack, Err);
    missing.map_err(|why| testkit::need::skip("compose", &why)).ok()
}

const FILE: &str = r#"
services:
  web:
    image: stack
    command: nginx -c /conf/nginx.conf
    ports:
      - "8080:80"
      - "127.0.0.1:8081-8082:81-82"
    volumes:
      - ./conf:/conf:ro
    networks:
      front:
        aliases: [www]
      back:
    depends_on:
      cache: {condition: service_healthy}
      db: {condition: service_healthy}
  cache:
    image: stack
    command: redis-server --save "" --protected-mode no
    networks:
      back:
        aliases: [kv]
    healthcheck: &quick
      test: [CMD, redis-cli, ping]
      interval: 1s
      timeout: 5s
      retries: 60
  db:
    image: stack
    user: postgres
    environment: {PGDATA: /var/lib/postgresql/data}
    command:
      - sh
      - -c
      - |
        test -s $$PGDATA/PG_VERSION ||
            initdb --no-sync --locale=C -A scram-sha-256 -U app --pwfile /run/secrets/password || exit 1
        echo "host all all all scram-sha-256" >>$$PGDATA/pg_hba.conf
        exec postgres -c listen_addresses=* -c fsync=off -k /tmp
    networks:
      back:
        aliases: [database]
        ipv4_address: 10.231.7.10
    volumes:
      - data:/var/lib/postgresql/data
    secrets: [password]
    healthcheck:
      <<: *quick
      test: [CMD, pg_isready, -h, 127.0.0.1, -U, app, -d, postgres]
  worker:
    image: stack
    command: sleep 1000
    init: true
    networks: [front]
  report:
    image: stack
    profiles: [tools]
    command:
      - sh
      - -c
      - PGPASSWORD=$$(cat /run/secrets/password) psql -h database -U app -d postgres -Atc "select 40 + 2"
    networks: [back]
    secrets: [password]
networks:
  front:
  back:
    internal: true
    ipam:
      config:
        - subnet: 10.231.7.0/24
volumes:
  data:
secrets:
  password:
    file: ./password
"#;

/// Compose 1 knows configs of swarms alone.
const CONFIGS: &str = "
services:
  web:
    configs:
      - source: page
        target: /www/index.html
configs:
  page:
    file: ./page
";

const NGINX: &str = r#"
daemon off;
user root;
pid /tmp/nginx.pid;
error_log /dev/stderr;
events {}
http {
    access_log off;
    server {
        listen 80; listen 81; listen 82;
        location / { return 200 "$server_port\n"; }
        location /page { alias /www/index.html; }
    }
}
"#;

struct App<'h> {
    compose: Compose,
    client: Client,
    host: &'h Host,
    folder: tempfile::TempDir,
}

impl<'h> App<'h> {
    fn new(compose: Compose, client: Client, host: &'h Host, stack: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("gantry-compose-").tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("conf")).unwrap();
        write("conf/nginx.conf", NGINX);
        write("password", "s3cret\n");
        write("page", "the page\n");
        write("compose.yaml", FILE);
        write("configs.yaml", CONFIGS);
        client.run(&["load", "-q", "-i", &stack.display().to_string()]).ok();
        Self { compose, client, host, folder }
    }

    #[track_caller]
    fn compose(&self, args: &[&str]) -> Output {
        let mut all = vec!["-p", "app", "-f", "compose.yaml"];
        if self.compose == Compose::Two {
            all.extend(["-f", "configs.yaml"]);
        }
        all.extend(args);
        let command = self.compose.command(&self.client, self.folder.path(), &all);
        Running::start(command, None).end(PATIENCE * 3)
    }

    /// A container's name: the generations join its parts differently.
    fn name(&self, service: &str) -> String {
        let dash = if self.compose == Compose::One { "_" } else { "-" };
        format!("app{dash}{service}{dash}1")
    }

    #[track_caller]
    fn exec(&self, service: &str, args: &[&str]) -> Output {
        let name = self.name(service);
        let mut all = vec!["exec", name.as_str()];
        all.extend(args);
        self.client.run(&all)
    }

    fn page(&self, address: &str) -> Output {
        self.host.run("busybox", &["wget", "-q", "-O", "-", &format!("http://{address}")])
    }

    fn lives_and_goes(&self) {
        self.compose(&["up", "-d", "--scale", "worker=2"]).ok();
        self.is_reached_where_it_was_published();
        self.services_know_each_other_by_network();
        self.compose(&["--profile", "tools", "run", "--rm", "report"]).ok().prints("42\n");
        self.scales();
        self.compose(&["restart", "-t", "1", "cache"]).ok();
        self.cache_answers();
        if self.compose == Compose::Two {
            self.exec("web", &["cat", "/www/index.html"]).ok().prints("the page\n");
            let ps = self.compose(&["ps", "--format", "{{.Service}} {{.State}} {{.Health}}"]).ok();
            ps.says("db running healthy").says("web running \n");
        }
        self.compose(&["down", "-v", "-t", "1"]).ok();
        self.client.run(&["ps", "-aq"]).ok().prints("");
        self.client.run(&["network", "ls", "-q", "-f", "type=custom"]).ok().prints("");
        self.client.run(&["volume", "ls", "-q"]).ok().prints("");
        assert_ne!(self.page("127.0.0.1:8080/").code, 0, "the port is free again");
    }

    fn is_reached_where_it_was_published(&self) {
        eventually("the web server answers", PATIENCE, || self.page("127.0.0.1:8080/").code == 0);
        self.page("127.0.0.1:8080/").ok().prints("80\n");
        self.page("127.0.0.1:8081/").ok().prints("81\n");
        self.page("127.0.0.1:8082/").ok().prints("82\n");
        self.compose(&["port", "web", "80"]).ok().prints("0.0.0.0:8080\n");
    }

    /// Waits for it: `restart` does not.
    fn cache_answers(&self) {
        let ping = || self.exec("web", &["redis-cli", "-h", "kv", "ping"]);
        eventually("the cache answers", PATIENCE, || ping().code == 0);
        ping().ok().prints("PONG\n");
    }

    fn services_know_each_other_by_network(&self) {
        self.exec("web", &["redis-cli", "-h", "kv", "set", "k", "v"]).ok().prints("OK\n");
        self.exec("web", &["redis-cli", "-h", "cache", "get", "k"]).ok().prints("v\n");
        let ready = ["pg_isready", "-q", "-h", "database", "-U", "app", "-d", "postgres"];
        self.exec("web", &ready).ok();
        self.exec("worker", &["wget", "-q", "-O", "-", "http://www/"]).ok().prints("80\n");
        // Workers are on the front network alone: the database has neither a name nor a way there.
        assert_ne!(self.exec("worker", &["nslookup", "database"]).code, 0);
        let ping = self.exec("worker", &["ping", "-c", "1", "-W", "1", "10.231.7.10"]);
        assert_ne!(ping.code, 0, "{ping}");
        // The back network is internal: there is no way out of it.
        self.exec("cache", &["ip", "route"]).ok().lacks("default");
        self.exec("web", &["ip", "route"]).ok().says("default via");
    }

    fn scales(&self) {
        let addresses = || {
            let answer = self.exec("worker", &["nslookup", "worker"]).stdout;
            // The first one is the server's.
            answer.lines().filter(|line| line.starts_with("Address")).count() - 1
        };
        assert_eq!(addresses(), 2);
        self.compose(&["up", "-d", "--scale", "worker=3"]).ok();
        assert_eq!(addresses(), 3, "each worker answers to the name of the service");
    }
}
