use super::*;
use crate::message::HEADER;
use crate::name;

const TYPE_MX: u16 = 15;

fn query(text: &str, kind: u16) -> Query {
    let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(name::encode(text).unwrap());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    Query::parse(&bytes).unwrap()
}

fn place(network: &str, names: &[&str], addresses: &[&str]) -> Place {
    Place {
        network: network.into(),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ..Place::default()
    }
}

fn view(places: impl Into<Vec<Place>>) -> View {
    View { places: places.into(), ..View::default() }
}

/// Two networks; `web` on both, `db` twice on the first, `cache` on the second alone.
fn tables() -> Tables {
    let mut tables = Tables::default();
    tables.set_network("n1", "Front", false);
    tables.set_network("n2", "back.example", true);
    let web = [
        place("n1", &["web", "0123456789ab"], &["10.1.0.2", "fd01::2"]),
        place("n2", &["web", "0123456789ab"], &["10.2.0.2"]),
    ];
    tables.set_sandbox("web", view(web));
    tables.set_sandbox("db1", view([place("n1", &["db-1", "DB"], &["10.1.0.3"])]));
    tables.set_sandbox("db2", view([place("n1", &["db-2", "db", "db"], &["10.1.0.4"])]));
    tables.set_sandbox("cache", view([place("n2", &["cache"], &["10.2.0.5", "fd02::5"])]));
    tables
}

/// What is said to `sandbox`: addresses or the name in their order as text, `-` for nothing, the decision's word otherwise.
fn ask(tables: &Tables, sandbox: &str, name: &str, kind: u16) -> String {
    let query = query(name, kind);
    match tables.decide(sandbox, &query, Transport::Udp, 7) {
        Decision::Forward => "forward".into(),
        Decision::Refuse(code) => format!("{code:?}"),
        Decision::Answer(bytes) => {
            let mut rest = &bytes[HEADER + query.name.wire().len() + 4..];
            let mut told = Vec::new();
            while !rest.is_empty() {
                let (data, next) = rest[12..].split_at(usize::from(rest[11]));
                told.push(match kind {
                    TYPE_A => IpAddr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
                    TYPE_AAAA => IpAddr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
                    _ => name::Name::parse(data).unwrap().text().unwrap().to_owned(),
                });
                rest = next;
            }
            told.sort();
            if told.is_empty() { "-".into() } else { told.join(" ") }
        }
    }
}

#[test]
fn names_of_a_containers_networks() {
    let tables = tables();
    for (sandbox, name, kind, told) in [
        ("db1", "web", TYPE_A, "10.1.0.2"),
        ("db1", "WEB", TYPE_A, "10.1.0.2"),
        ("db1", "web", TYPE_AAAA, "fd01::2"),
        ("db1", "0123456789ab", TYPE_A, "10.1.0.2"),
        ("db1", "web.front", TYPE_A, "10.1.0.2"),
        ("db1", "web.FRONT", TYPE_A, "10.1.0.2"),
        // Its own names too.
        ("db1", "db-1", TYPE_A, "10.1.0.3"),
        ("web", "db", TYPE_A, "10.1.0.3 10.1.0.4"),
        ("web", "web", TYPE_A, "10.1.0.2"),
        ("web", "web.back.example", TYPE_A, "10.2.0.2"),
        ("web", "cache", TYPE_A, "10.2.0.5"),
        ("web", "cache.back.example", TYPE_AAAA, "fd02::5"),
        // Known, but not like that: nobody else is asked.
        ("db1", "db", TYPE_AAAA, "-"),
        ("db1", "db", TYPE_MX, "-"),
        ("web", "web.back.example", TYPE_AAAA, "-"),
        // Not on a network of his.
        ("db1", "cache", TYPE_A, "forward"),
        ("db1", "cache.back.example", TYPE_A, "forward"),
        ("db1", "web.example", TYPE_A, "forward"),
        ("db1", "example.com", TYPE_MX, "forward"),
    ] {
        assert_eq!(ask(&tables, sandbox, name, kind), told, "{sandbox} asks {name} {kind}");
    }
}

#[test]
fn addresses_have_names() {
    let tables = tables();
    let reverse = |sandbox: &str, text: &str| ask(&tables, sandbox, text, TYPE_PTR);
    assert_eq!(reverse("db1", "2.0.1.10.in-addr.arpa"), "web.front");
    assert_eq!(reverse("web", "5.0.2.10.in-addr.arpa"), "cache.back.example");
    assert_eq!(reverse("db1", "5.0.2.10.in-addr.arpa"), "forward");
    assert_eq!(reverse("cache", "2.0.1.10.in-addr.arpa"), "ServFail");
    let six = format!("5.{}2.0.d.f.ip6.arpa", "0.".repeat(27));
    assert_eq!(reverse("web", &six), "cache.back.example");
}

#[test]
fn internal_networks_ask_nobody_outside() {
    let mut tables = tables();
    assert_eq!(ask(&tables, "cache", "web", TYPE_A), "10.2.0.2");
    for name in ["secret.example.com", "single"] {
        for kind in [TYPE_A, TYPE_AAAA, TYPE_MX, 16, 255] {
            assert_eq!(ask(&tables, "cache", name, kind), "ServFail", "{name} {kind}");
        }
    }
    // One that is on another network too has a way out, and one that nobody knows has none.
    assert_eq!(ask(&tables, "web", "example.com", TYPE_A), "forward");
    assert_eq!(ask(&tables, "nobody", "web", TYPE_A), "ServFail");
    tables.set_sandbox("alone", View::default());
    assert_eq!(ask(&tables, "alone", "example.com", TYPE_A), "ServFail");
    let mut shut = place("n1", &["shut"], &["10.1.0.9"]);
    shut.internal = true;
    tables.set_sandbox("shut", view([shut]));
    assert_eq!(ask(&tables, "shut", "example.com", TYPE_A), "ServFail");
    // The default bridge is no network of names, but a way out.
    tables.set_sandbox("plain", view([place("bridge", &["plain"], &["172.17.0.2"])]));
    assert_eq!(ask(&tables, "plain", "plain", TYPE_A), "forward");
}

#[test]
fn what_a_container_alone_knows() {
    let mut tables = tables();
    let mut own = place("n1", &["own"], &["10.1.0.7"]);
    own.links = BTreeMap::from([("Database".into(), "db-1".into()), ("web".into(), "db-2".into())]);
    let mut seen = view([own]);
    seen.hosts.insert("Host.Docker.Internal".into(), vec!["10.1.0.1".parse().unwrap()]);
    seen.ndots = true;
    tables.set_sandbox("own", seen);
    assert_eq!(ask(&tables, "own", "database", TYPE_A), "10.1.0.3");
    assert_eq!(ask(&tables, "own", "database.front", TYPE_A), "10.1.0.3");
    assert_eq!(ask(&tables, "own", "database", TYPE_AAAA), "-");
    assert_eq!(ask(&tables, "own", "web", TYPE_A), "10.1.0.4");
    assert_eq!(ask(&tables, "db1", "database", TYPE_A), "forward");
    assert_eq!(ask(&tables, "own", "host.docker.internal", TYPE_A), "10.1.0.1");
    assert_eq!(ask(&tables, "own", "host.docker.internal", TYPE_AAAA), "-");
    assert_eq!(ask(&tables, "own", "unknown", TYPE_A), "-");
    assert_eq!(ask(&tables, "own", "unknown", TYPE_MX), "forward");
    assert_eq!(ask(&tables, "own", "unknown.example", TYPE_A), "forward");
}

#[test]
fn what_goes_is_forgotten() {
    let mut tables = tables();
    tables.set_sandbox("db1", view([place("n1", &["renamed"], &["10.1.0.3"])]));
    assert_eq!(ask(&tables, "web", "db", TYPE_A), "10.1.0.4");
    assert_eq!(ask(&tables, "web", "renamed", TYPE_A), "10.1.0.3");
    assert_eq!(ask(&tables, "web", "3.0.1.10.in-addr.arpa", TYPE_PTR), "renamed.front");
    // Its address went to somebody else before it was forgotten.
    tables.set_sandbox("new", view([place("n1", &["new"], &["10.1.0.3"])]));
    tables.remove_sandbox("db1");
    assert_eq!(ask(&tables, "web", "3.0.1.10.in-addr.arpa", TYPE_PTR), "new.front");
    tables.remove_network("n1");
    assert_eq!(ask(&tables, "web", "new", TYPE_A), "forward");
    for sandbox in ["new", "db2", "web", "cache"] {
        tables.remove_sandbox(sandbox);
    }
    tables.remove_network("n2");
    assert_eq!((tables.networks.len(), tables.counts()), (0, (0, 0)));
}

#[test]
fn everybody_comes_first_sometimes() {
    let mut tables = Tables::default();
    tables.set_network("n", "net", false);
    for n in 0..5u8 {
        let address = format!("10.0.0.{n}");
        tables.set_sandbox(&n.to_string(), view([place("n", &["app"], &[&address])]));
    }
    let query = query("app", TYPE_A);
    let mut first = [0; 5];
    for random in 0..1000 {
        let Decision::Answer(bytes) = tables.decide("0", &query, Transport::Udp, random) else {
            panic!("not answered")
        };
        let answers = &bytes[HEADER + query.name.wire().len() + 4..];
        assert_eq!(answers.len(), 5 * 16);
        first[usize::from(answers[15])] += 1;
    }
    assert!(first.iter().all(|n| (120..=280).contains(n)), "{first:?}");
}
