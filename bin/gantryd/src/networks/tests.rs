//! What is made of the options, and what is refused, with the words of dockerd 26.1 where it has any.

use super::*;

fn read(file: &str) -> Result<NetworkDefaults> {
    networks(&Given::from_file(file.as_bytes())?)
}

fn flags(flags: &[&str]) -> Result<NetworkDefaults> {
    networks(&Given::from_flags(&crate::flags::matches(flags)?))
}

#[test]
fn nothing_said_is_what_docker_has() {
    assert_eq!(read("{}").unwrap(), NetworkDefaults::default());
    assert_eq!(flags(&["--mtu", "0", "--icc", "--ip", "0.0.0.0"]).unwrap(), read("{}").unwrap());
    let bridge = BridgeDefaults::default();
    assert!(bridge.icc && bridge.masquerade && !bridge.enable_ipv6);
}

#[test]
fn mistakes_are_told_in_dockerds_words() {
    let check = |file: &str, want: &str| {
        let got = read(file).map_or_else(|e| e.to_string(), |_| "fine".to_owned());
        assert_eq!(got, want, "{file}");
    };
    check(r#"{"bip":"x"}"#, "invalid bip: invalid CIDR address: x");
    check(r#"{"bip":"10.1.0.1"}"#, "invalid bip: invalid CIDR address: 10.1.0.1");
    check(r#"{"bip":"fd00::1/64"}"#, "invalid bip: fd00::1/64 is not an IPv4 address");
    check(r#"{"bip6":"10.1.0.1/24"}"#, "invalid bip6: 10.1.0.1/24 is not an IPv6 address");
    check(
        r#"{"bip":"10.1.0.0/24"}"#,
        "invalid bip: 10.1.0.0 cannot be the bridge's address in 10.1.0.0/24",
    );
    check(
        r#"{"bip":"10.1.0.255/24"}"#,
        "invalid bip: 10.1.0.255 cannot be the bridge's address in 10.1.0.0/24",
    );
    check(r#"{"bip":"10.1.0.0/31"}"#, "fine");
    check(
        r#"{"bip":"10.1.0.1/24","bridge":"br0"}"#,
        "You specified -b & --bip, mutually exclusive options. Please specify only one",
    );
    check(r#"{"fixed-cidr":"x"}"#, "invalid fixed-cidr: invalid CIDR address: x");
    check(r#"{"fixed-cidr-v6":"x"}"#, "invalid fixed-cidr-v6: invalid CIDR address: x");
    check(
        r#"{"fixed-cidr-v6":"10.0.0.0/8"}"#,
        "invalid fixed-cidr-v6: fixed-cidr-v6 is not an IPv6 subnet",
    );
    check(
        r#"{"bip":"10.1.0.1/24","fixed-cidr":"10.2.0.0/24"}"#,
        "invalid fixed-cidr: 10.2.0.0/24 is no part of the bridge's subnet 10.1.0.0/24",
    );
    check(r#"{"default-gateway":"x"}"#, "invalid IP address: x");
    check(
        r#"{"default-gateway":"fd00::1"}"#,
        "invalid default-gateway: fd00::1 is not an IPv4 address",
    );
    check(
        r#"{"default-gateway-v6":"1.2.3.4"}"#,
        "invalid default-gateway-v6: 1.2.3.4 is not an IPv6 address",
    );
    check(
        r#"{"bip":"172.17.0.1/16","default-gateway":"10.0.0.1"}"#,
        "auxiliary address: (DefaultGatewayIPv4:10.0.0.1) must belong to the master pool: 172.17.0.0/16",
    );
    check(
        r#"{"icc":false,"iptables":false}"#,
        "You specified --iptables=false with --icc=false. ICC=false uses iptables to function. Please set --icc or \
         --iptables to true",
    );
    check(r#"{"mtu":-1}"#, "invalid default MTU: -1");
    check(r#"{"mtu":40}"#, "invalid default MTU: 40");
    check(r#"{"mtu":70000}"#, "invalid default MTU: 70000");
    check(r#"{"ip":"x"}"#, "invalid IP address: x");
    check(r#"{"firewall-backend":"foo"}"#, "invalid firewall-backend \"foo\"");
    check(r#"{"bridge-accept-fwmark":"x"}"#, "invalid firewall mark/mask \"x\"");
    check(r#"{"bridge-accept-fwmark":"1/"}"#, "invalid firewall mark/mask \"1/\"");
    check(r#"{"bridge-accept-fwmark":"4294967296"}"#, "invalid firewall mark/mask \"4294967296\"");
    check(r#"{"publish-policy":"x"}"#, "invalid publish-policy \"x\": use \"open\" or \"host\"");
    check(
        r#"{"host-gateway-ips":["1.2.3.4","1.2.3.5"]}"#,
        "only one IPv4 host gateway IP address can be specified",
    );
}

#[test]
fn pools_and_options_of_networks_are_checked_in_both_forms() {
    let check = |file: &str, want: &str| {
        let got = read(file).map_or_else(|e| e.to_string(), |_| "fine".to_owned());
        assert_eq!(got, want, "{file}");
    };
    let pools = |items: &str| format!("{{\"default-address-pools\":{items}}}");
    check(
        &pools(r#"[{"base":"x","size":24}]"#),
        "invalid base pool \"x\": invalid CIDR address: x",
    );
    check(&pools(r#"[{"size":8}]"#), "invalid base pool \"\": invalid CIDR address: ");
    check(&pools(r#"[{"base":"10.0.0.0/16","size":8}]"#), "invalid pools size: 8");
    check(&pools(r#"[{"base":"10.0.0.0/16","size":33}]"#), "invalid pools size: 33");
    check(&pools(r#"[{"base":"10.0.0.0/16"}]"#), "invalid pools size: 0");
    check(
        &pools(r#"[{"base":"10.0.0.0/16","size":"24"}]"#),
        "json: cannot unmarshal string into Go struct field Config.default-address-pools.size of type int",
    );
    check(
        &pools("{}"),
        "json: cannot unmarshal object into Go struct field Config.default-address-pools of type \
         []*ipamutils.NetworkToSplit",
    );
    check(&pools("null"), "fine");
    check(&pools("[]"), "fine");
    check(
        r#"{"default-network-opts":{"bridge":"x"}}"#,
        "json: cannot unmarshal string into Go struct field Config.default-network-opts of type map[string]string",
    );
    check(
        r#"{"default-network-opts":{"bridge":{"a":1}}}"#,
        "json: cannot unmarshal number into Go struct field Config.default-network-opts of type string",
    );
    let refused = |args: &[&str], want: &str| {
        let got = flags(args).unwrap_err().to_string();
        // As `Problem::Flag`, whose quotes are escaped.
        assert!(got.replace("\\\"", "\"").contains(want), "{args:?}: {got}");
    };
    refused(&["--default-address-pool", "foo"], "invalid field 'foo' must be a key=value pair");
    refused(&["--default-address-pool", "foo=1"], "unexpected key 'foo' in 'foo=1'");
    refused(
        &["--default-address-pool", "base=10.0.0.0/16,size=x"],
        "(must be integer): strconv.Atoi: parsing",
    );
    for text in ["x", "bridge=x", "=a=b"] {
        let want = "for map option, should be root-key=key=value";
        refused(&["--default-network-opt", text], want);
    }
    let from_flags = flags(&[
        "--default-address-pool",
        "base=10.0.0.0/16,size=24",
        "--default-address-pool",
        "base=fd00:1::/48,size=64",
        "--default-network-opt",
        "bridge=a=b=c",
        "--default-network-opt",
        "bridge=d=",
    ]);
    let from_file = read(
        r#"{"default-address-pools":[{"base":"10.0.0.0/16","size":24},{"base":"fd00:1::/48","size":64}],
            "default-network-opts":{"bridge":{"a":"b=c","d":""}}}"#,
    );
    let found = from_flags.unwrap();
    assert_eq!(found, from_file.unwrap());
    assert_eq!(found.pools.len(), 2);
    assert_eq!(found.pools[0], Pool { base: "10.0.0.0/16".parse().unwrap(), size: 24 });
    assert_eq!(found.options["bridge"]["a"], "b=c");
}

#[test]
fn the_default_bridge_is_put_together() {
    let bridge = |file: &str| read(file).unwrap().bridge.unwrap();
    assert_eq!(read(r#"{"bridge":"none"}"#).unwrap().bridge, None);
    assert_eq!(bridge(r#"{"bridge":"br7"}"#).link.as_deref(), Some("br7"));
    let found = bridge(
        r#"{"bip":"10.1.0.9/16","fixed-cidr":"10.1.2.0/24","default-gateway":"10.1.0.254","mtu":1400,"icc":false,
            "ip":"127.0.0.1","ip-masq":false}"#,
    );
    let net: IpNet = "10.1.0.0/16".parse().unwrap();
    assert_eq!(found.ipv4, Some(Subnet { net, address: Some([10, 1, 0, 9].into()) }));
    assert_eq!(found.range_ipv4, Some("10.1.2.0/24".parse().unwrap()));
    assert_eq!(found.gateway_ipv4, Some([10, 1, 0, 254].into()));
    assert_eq!((found.mtu, found.icc, found.masquerade), (Some(1400), false, false));
    assert_eq!(found.publish_address, IpAddr::from([127, 0, 0, 1]));
    // A range alone is the subnet.
    let found = bridge(r#"{"ipv6":true,"fixed-cidr-v6":"fd00::5/64"}"#);
    let net: IpNet = "fd00::/64".parse().unwrap();
    assert_eq!(found.ipv6, Some(Subnet { net, address: None }));
    assert!(found.enable_ipv6 && found.ipv4.is_none());
    // Nobody masquerades without rules.
    assert!(!bridge(r#"{"iptables":false,"ip-masq":true}"#).masquerade);
}

#[test]
fn rules_and_name_servers_are_handed_on() {
    let found = read(
        r#"{"ip-forward":false,"ip-forward-no-drop":true,"ip6tables":false,"allow-direct-routing":true,"bridge-accept-fwmark":"0x10/0xff",
            "publish-policy":"host","dns":["192.0.2.1","fd00::1"],"dns-opts":["ndots:2"],"dns-search":["."],
            "host-gateway-ip":"192.0.2.9"}"#,
    )
    .unwrap();
    let want = Rules {
        forward: false,
        guard: false,
        ipv4: true,
        ipv6: false,
        direct_routing: true,
        accept_mark: Some(Mark { value: 16, mask: 255 }),
        publish: PublishPolicy::Host,
    };
    assert_eq!(found.rules, want);
    assert_eq!(found.dns.len(), 2);
    assert_eq!((found.dns_options[0].as_str(), found.dns_search[0].as_str()), ("ndots:2", "."));
    assert_eq!(found.host_gateways, [IpAddr::from([192, 0, 2, 9])]);
}
