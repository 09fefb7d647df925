//! Templates against what Go's text/template and Docker's functions answer.

use super::{Template, Value};

/// What `source` makes of a small document: the text, or the error.
fn run(source: &str) -> String {
    let data: Value = serde_json::from_str(
        r#"{"Name":"web","Pid":5,"Load":0.5,"Running":true,"Nothing":null,"List":["a","b","c"],
            "Labels":{"b":"2","a":"1"},"Ports":{"80/tcp":[{"HostPort":"8080"}],"81/tcp":null},
            "Deep":{"Er":{"Value":7}},"Html":"<a&b>"}"#,
    )
    .unwrap();
    Template::parse(source).and_then(|t| t.execute(&data)).unwrap_or_else(|e| format!("error: {e}"))
}

fn check(cases: &[(&str, &str)]) {
    for (source, want) in cases {
        assert_eq!(run(source), *want, "{source}");
    }
}

#[test]
fn fields_and_text() {
    check(&[
        ("plain", "plain"),
        ("{{.Name}}:{{ .Pid }}", "web:5"),
        ("{{.Deep.Er.Value}}", "7"),
        ("{{.Missing}}", "<no value>"),
        ("{{.Nothing}}", "<no value>"),
        ("{{.List}} {{.Labels}}", "[a b c] map[a:1 b:2]"),
        ("{{.Load}} {{.Running}}", "0.5 true"),
        ("{{.Ports}}", "map[80/tcp:[map[HostPort:8080]] 81/tcp:<nil>]"),
        ("{{(index .List 0)}}{{(index .Ports \"80/tcp\" 0).HostPort}}", "a8080"),
        ("{{$.Name}}", "web"),
        ("é{{.Name}}é", "éwebé"),
    ]);
}

#[test]
fn white_space_and_comments() {
    check(&[
        ("a {{- .Pid -}} b", "a5b"),
        ("a\n\t{{- /* note */ -}}\n b", "ab"),
        ("{{/* note */}}x", "x"),
        ("{{ -3 }}", "-3"),
        ("{{- 3}}", "3"),
    ]);
}

#[test]
fn decisions() {
    check(&[
        ("{{if .Running}}yes{{else}}no{{end}}", "yes"),
        ("{{if .Missing}}yes{{else if .Pid}}pid{{else}}no{{end}}", "pid"),
        ("{{if .Missing}}yes{{else if .Nothing}}x{{else}}no{{end}}", "no"),
        ("{{with .Deep.Er}}{{.Value}}{{end}}", "7"),
        ("{{with .Missing}}x{{else}}none{{end}}", "none"),
        ("{{with .Missing}}x{{else with .Deep}}{{.Er.Value}}{{end}}", "7"),
        ("{{and .Running .Name}} {{or .Missing .Name}} {{not .Running}}", "web web false"),
        ("{{and .Missing (index .List 9)}}", "<no value>"),
        ("{{eq .Pid 5}} {{eq .Name \"x\" \"web\"}} {{ne .Pid 5}}", "true true false"),
        ("{{lt .Pid 6}} {{le .Pid 5}} {{gt .Pid 5}} {{ge .Pid 5}}", "true true false true"),
        ("{{if and (gt .Pid 1) (lt .Pid 9)}}in{{end}}", "in"),
    ]);
}

#[test]
fn loops_and_variables() {
    check(&[
        ("{{range .List}}<{{.}}>{{end}}", "<a><b><c>"),
        ("{{range $i, $v := .List}}{{$i}}={{$v}} {{end}}", "0=a 1=b 2=c "),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a=1 b=2 "),
        ("{{range .Missing}}x{{else}}empty{{end}}", "empty"),
        ("{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range .List}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
        ("{{$x := .Pid}}{{$x}}{{$x = 6}}{{$x}}", "56"),
        ("{{$last := \"\"}}{{range .List}}{{$last = .}}{{end}}{{$last}}", "c"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{define \"t\"}}[{{.}}]{{end}}{{template \"t\" .Pid}}", "[5]"),
        ("{{block \"t\" .Name}}<{{.}}>{{end}}", "<web>"),
    ]);
}

#[test]
fn functions() {
    check(&[
        (
            "{{json .Labels}} {{json .List}} {{json .Html}}",
            r#"{"a":"1","b":"2"} ["a","b","c"] "<a&b>""#,
        ),
        ("{{join .List \",\"}} {{.Name | upper | lower | title}}", "a,b,c Web"),
        ("{{split \"a:b\" \":\"}} {{len .List}} {{len .Name}}", "[a b] 3 3"),
        ("{{pad .Name 2 1}}| {{truncate .Name 2}}", "  web | we"),
        ("{{index .Labels \"a\"}}{{index .Labels \"zz\"}}{{index .List 1}}", "1b"),
        ("{{slice .Name 1 2}} {{slice .List 1}}", "e [b c]"),
        ("{{print 1 2 \"a\" 3}} {{println \"x\"}}", "1 2a3 x\n"),
        (
            "{{html .Html}} {{js .Html}} {{urlquery .Html}}",
            "&lt;a&amp;b&gt; \\u003Ca\\u0026b\\u003E %3Ca%26b%3E",
        ),
        (
            "{{len .Pid}}",
            "error: template: :1:2: executing \"\" at <len .Pid>: error calling len: len of type int",
        ),
    ]);
}

#[test]
fn printf_has_gos_verbs() {
    check(&[
        (
            "{{printf \"%s|%5s|%-5s|%.2s|%q\" .Name .Name .Name .Name .Name}}",
            "web|  web|web  |we|\"web\"",
        ),
        (
            "{{printf \"%d|%05d|%+d|%x|%#x|%b|%c\" .Pid .Pid .Pid 255 255 5 65}}",
            "5|00005|+5|ff|0xff|101|A",
        ),
        ("{{printf \"%.2f|%6.1f|%e|%g\" .Load .Load .Load .Load}}", "0.50|   0.5|5.000000e-01|0.5"),
        ("{{printf \"%t %v %T %%\" .Running .List .Pid}}", "true [a b c] int %"),
        ("{{printf \"%d\" .Name}} {{printf \"%s\" .Pid}}", "%!d(string=web) %!s(int=5)"),
        (
            "{{printf \"%s %s\" .Name}} {{printf \"%s\" .Name 1}}",
            "web %!s(MISSING) web%!(EXTRA int=1)",
        ),
        ("{{printf \"%*d\" 4 .Pid}}", "   5"),
    ]);
}

#[test]
fn literals() {
    check(&[
        ("{{\"a\\tb\\\"\\u00e9\"}} {{`raw\\n`}} {{'a'}}", "a\tb\"é raw\\n 97"),
        ("{{0x10}} {{010}} {{0b11}} {{1_000}} {{1e3}} {{-5}} {{1.5}}", "16 8 3 1000 1000 -5 1.5"),
        ("{{true}} {{false}}", "true false"),
    ]);
}

#[test]
fn errors_are_gos() {
    check(&[
        ("{{.Name", "error: template: :1: unclosed action"),
        ("a\n{{foo}}", "error: template: :2: function \"foo\" not defined"),
        ("{{if}}x{{end}}", "error: template: :1: missing value for if"),
        ("{{if .Name}}x", "error: template: :1: unexpected EOF"),
        ("{{end}}", "error: template: :1: unexpected {{end}}"),
        ("{{}}", "error: template: :1: missing value for command"),
        ("{{\"a}}", "error: template: :1: unterminated quoted string"),
        ("{{$x}}", "error: template: :1: undefined variable \"$x\""),
        ("{{break}}", "error: template: :1: {{break}} outside {{range}}"),
        ("{{.Name | 3}}", "error: template: :1: non executable command in pipeline stage 2"),
        (
            "{{.Name.Foo}}",
            "error: template: :1:7: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type string",
        ),
        (
            "x\n {{index .List 9}}",
            "error: template: :2:3: executing \"\" at <index .List 9>: error calling index: index out of range: 9",
        ),
        (
            "{{join .Name \",\"}}",
            "error: template: :1:7: executing \"\" at <.Name>: wrong type for value; expected []string; got string",
        ),
        (
            "{{template \"t\"}}",
            "error: template: :1:11: executing \"\" at <{{template \"t\"}}>: template \"t\" not defined",
        ),
    ]);
}

#[test]
fn templates_that_invoke_themselves_end() {
    let got = run("{{define \"t\"}}{{template \"t\" .}}{{end}}{{template \"t\" .}}");
    assert!(got.contains("exceeded maximum template depth"), "{got}");
}

/// Garbage must end in an error or a text, never in a panic.
#[test]
fn no_text_panics() {
    let pieces = [
        "{{", "}}", "\"", "`", "'", "(", ")", ".", "$", "|", ":=", "a", "é", "if", "end", "range",
        "-", " ", "\\", "\n", "0x",
    ];
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut source = String::new();
        for _ in 0..(state >> 33) % 12 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            source.push_str(pieces[usize::try_from(state >> 33).unwrap() % pieces.len()]);
        }
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        run(&source);
    }
}

#[test]
fn structs_print_their_fields_and_remember_what_was_left_out() {
    let inspect = api::ContainerInspect {
        mounts: vec![api::MountPoint {
            kind: "bind".into(),
            source: "/a".into(),
            destination: "/b".into(),
            rw: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    let value = Value::of(&inspect);
    let check = |source: &str, want: &str| {
        let got = Template::parse(source).and_then(|t| t.execute(&value)).unwrap_or_else(|e| e);
        assert_eq!(got, want, "{source}");
    };
    check("{{.Mounts}}", "[{bind  /a /b   true }]");
    check("{{if .State.Health}}x{{else}}none{{end}}{{.State.Health}}", "none<nil>");
    check("{{.Config.Env}}{{.Config.Labels}}{{json .Config.Env}}", "[]map[]null");
    check("{{.ID}}", "");
    check(
        "{{.State.Health.Status}}",
        "template: :1:8: executing \"\" at <.State.Health.Status>: map has no entry for key \"Health\"",
    );
    check(
        "{{.Config.Foo}}",
        "template: :1:9: executing \"\" at <.Config.Foo>: map has no entry for key \"Foo\"",
    );
}

/// Structs as `api` has them, seen by Go's names and types.
#[test]
fn structs_are_seen_as_go_sees_them() {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Health {
        interval: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retries: Option<i64>,
    }
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Ulimit {
        name: &'static str,
        hard: i64,
        soft: i64,
    }
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        id: &'static str,
        cpu_shares: i64,
        health: Health,
        ulimits: Vec<Ulimit>,
        env: Vec<&'static str>,
    }
    let wire = Container {
        id: "abc",
        cpu_shares: 5,
        health: Health { interval: 90_500_000_000, timeout: None, retries: None },
        ulimits: vec![Ulimit { name: "nofile", hard: 6, soft: 5 }],
        env: vec!["A=1"],
    };
    let data = Value::of(&wire);
    let check = |source: &str, want: &str| {
        let got = Template::parse(source).and_then(|t| t.execute(&data));
        assert_eq!(got.unwrap_or_else(|e| format!("error: {e}")), want, "{source}");
    };
    check("{{.ID}} {{.CPUShares}}", "abc 5");
    check(
        "{{.CpuShares}}",
        "error: template: :1:2: executing \"\" at <.CpuShares>: map has no entry for key \"CpuShares\"",
    );
    check("{{.Health}} {{.Health.Interval}}", "{1m30.5s 0s 0} 1m30.5s");
    check("{{json .Health}}", r#"{"Interval":90500000000}"#);
    check(
        "{{.Ulimits}} {{json .Ulimits}}",
        r#"[nofile=5:6] [{"Name":"nofile","Hard":6,"Soft":5}]"#,
    );
    check("{{printf \"%T %+v\" .Env .Health}}", "[]string {Interval:1m30.5s Timeout:0s Retries:0}");
}

#[test]
fn json_without_types_has_no_zero_values() {
    let data: Value = serde_json::from_str(r#"{"Id":"abc","Ports":{},"Name":"x"}"#).unwrap();
    let check = |source: &str, want: &str| {
        let got = Template::parse(source).and_then(|t| t.execute_raw(&data));
        assert_eq!(got.unwrap_or_else(|e| format!("error: {e}")), want, "{source}");
    };
    check("{{.Id}}", "abc");
    let at = "error: template: :1:2: executing \"\" at";
    check("{{.ID}}", &format!("{at} <.ID>: map has no entry for key \"ID\""));
    check("{{index .Ports \"80\"}}", "<no value>");
    check(
        "{{index (index .Ports \"80\") 0}}",
        &format!("{at} <index (index .Ports \"80\") 0>: error calling index: index of untyped nil"),
    );
    check(
        "{{.Name.Nope}}",
        "error: template: :1:7: executing \"\" at <.Name.Nope>: can't evaluate field Nope in type interface {}",
    );
}

#[test]
fn wrong_arguments_are_pointed_at() {
    let at = "error: template: :1:";
    check(&[
        (
            "{{upper .Pid}}",
            &format!(
                "{at}8: executing \"\" at <.Pid>: wrong type for value; expected string; got int"
            ),
        ),
        (
            "{{join .Name \",\"}}",
            &format!(
                "{at}7: executing \"\" at <.Name>: wrong type for value; expected []string; got string"
            ),
        ),
        ("{{nil}}", &format!("{at}2: executing \"\" at <nil>: nil is not a command")),
        (
            "{{call .Name}}",
            &format!(
                "{at}2: executing \"\" at <call .Name>: error calling call: non-function .Name of type string"
            ),
        ),
        (
            "{{template \"nope\"}}",
            &format!(
                "{at}11: executing \"\" at <{{{{template \"nope\"}}}}>: template \"nope\" not defined"
            ),
        ),
    ]);
}
