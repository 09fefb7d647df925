use super::*;
use crate::{
    ContainerCreateBody, ContainerInspect, ContainerSummary, ExecStartBody, HostConfig, JsonMessage,
};

fn error<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
    from_slice::<T>(text.as_bytes()).expect_err("an error").to_string()
}

#[test]
fn names_match_in_any_case_and_null_is_zero() {
    let host: HostConfig = from_slice(
        br#"{"privileged":true,"MEMORY":5,"Binds":null,"NetworkMode":null,"LogConfig":null,"Unknown":{"deep":[1]},
            "RestartPolicy":{"name":"always","MaximumRetryCount":null},"oomkilldisable":null,"consolesize":[3,4,5]}"#,
    )
    .unwrap();
    assert!(host.privileged);
    assert_eq!(host.memory, 5);
    assert_eq!((host.binds, host.network_mode.as_str()), (None, ""));
    assert_eq!(host.restart_policy.name, "always");
    assert_eq!(host.oom_kill_disable, None);
    assert_eq!(host.console_size.0, [3, 4]);
    assert_eq!(from_slice::<HostConfig>(b"null").unwrap(), HostConfig::default());
}

#[test]
fn strings_are_lists_of_one() {
    let body = ContainerCreateBody::from_json(
        br#"{"Cmd":"ls -l","Entrypoint":["a","b"],"HostConfig":{"CapAdd":"ALL"}}"#,
    );
    let body = body.unwrap();
    assert_eq!(body.config.cmd, Some(vec!["ls -l".to_owned()]));
    assert_eq!(body.config.entrypoint, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(body.host_config.unwrap().cap_add, Some(vec!["ALL".to_owned()]));
    let body = ContainerCreateBody::from_json(br#"{"Cmd":null,"Entrypoint":[]}"#).unwrap();
    assert_eq!((body.config.cmd, body.config.entrypoint), (None, Some(vec![])));
}

#[test]
fn errors_are_gos() {
    assert_eq!(error::<ExecStartBody>(" "), "EOF");
    assert_eq!(error::<ExecStartBody>("{"), "unexpected EOF");
    assert_eq!(error::<ExecStartBody>("{} x"), "unexpected content after JSON");
    assert_eq!(error::<ExecStartBody>("x"), "invalid character 'x' looking for beginning of value");
    assert_eq!(
        error::<ExecStartBody>("{x"),
        "invalid character 'x' looking for beginning of object key string"
    );
    assert_eq!(error::<ExecStartBody>(r#"{"Tty" 1}"#), "invalid character '1' after object key");
    assert_eq!(
        error::<ExecStartBody>(r#"{"Tty":true;"#),
        "invalid character ';' after object key:value pair"
    );
    assert_eq!(
        error::<ExecStartBody>(r#"{"Tty":1}"#),
        "json: cannot unmarshal number into Go struct field ExecStartBody.Tty of type bool"
    );
    assert_eq!(
        error::<HostConfig>(r#"{"Memory":"x"}"#),
        "json: cannot unmarshal string into Go struct field HostConfig.Memory of type int64"
    );
    assert_eq!(
        error::<HostConfig>(r#"{"BlkioWeight":70000}"#),
        "json: cannot unmarshal number 70000 into Go struct field HostConfig.BlkioWeight of type uint16"
    );
    assert_eq!(
        error::<HostConfig>("[]"),
        "json: cannot unmarshal array into Go value of type HostConfig"
    );
    assert_eq!(
        error::<HostConfig>("5"),
        "json: cannot unmarshal number into Go value of type HostConfig"
    );
    assert_eq!(
        error::<HostConfig>(r#"{"Binds":[1]}"#),
        "json: cannot unmarshal number into Go struct field HostConfig.Binds of type string"
    );
}

#[test]
fn deep_nesting_is_an_error_or_skipped_but_never_a_crash() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(from_slice::<HostConfig>(deep.as_bytes()).is_err());
    assert!(from_slice::<serde_json::Value>(deep.as_bytes()).is_err());
    let unknown = format!("{{\"Unknown\":{deep}}}");
    drop(from_slice::<HostConfig>(unknown.as_bytes()));
    let wrong = format!("{{\"Binds\":{deep}}}");
    assert!(from_slice::<HostConfig>(wrong.as_bytes()).is_err());
}

#[test]
fn a_field_given_twice_is_refused() {
    assert!(
        error::<HostConfig>(r#"{"Privileged":false,"privileged":true}"#)
            .contains("duplicate field")
    );
}

#[test]
fn raw_values_pass_through() {
    let line: JsonMessage =
        from_slice(br#"{"aux":{"Tag":"a","Size":5},"progressDetail":{}}"#).unwrap();
    assert_eq!(line.aux.unwrap().get(), r#"{"Tag":"a","Size":5}"#);
    assert_eq!(line.progress_detail, Some(crate::Progress::default()));
}

#[test]
fn answers_of_the_reference_daemon_are_read() {
    // dockerd 26.1 prints these fields as null in some situations.
    let seen: ContainerSummary =
        from_slice(br#"{"Id":"x","Names":null,"Labels":null,"Ports":null,"Mounts":null}"#).unwrap();
    assert_eq!((seen.id.as_str(), seen.names.len()), ("x", 0));
    let inspect: ContainerInspect =
        from_slice(br#"{"Args":null,"State":null,"NetworkSettings":null}"#).unwrap();
    assert_eq!(inspect, ContainerInspect::default());
}

#[test]
fn items_of_a_list_come_one_by_one() {
    type Item = ContainerSummary<de::IgnoredAny>;
    let read = |text: &str| {
        let mut ids = Vec::new();
        let result = each(text.as_bytes(), |item: Item| ids.push(item.id));
        (ids.join(" "), result.map_err(|e| e.to_string()))
    };
    let networks = r#""NetworkSettings":{"Networks":{"n":{"IPAddress":5}}}"#;
    assert_eq!(read(&format!(r#"[{{"Id":"a",{networks}}},{{"id":"b"}}]"#)), ("a b".into(), Ok(())));
    assert_eq!(read("null"), (String::new(), Ok(())));
    assert_eq!(read("[]"), (String::new(), Ok(())));
    for text in [r#"[{"Id":"a"},{"Id":5}]"#, r#"[{"Id":"a"},"#, r#"[{"Id":"a"}] 1"#] {
        let expected = error::<Vec<ContainerSummary>>(text);
        assert_eq!(read(text), ("a".into(), Err(expected)), "{text}");
    }
}
