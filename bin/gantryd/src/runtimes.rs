//! `--add-runtime` and `runtimes` of `daemon.json`.

use crate::given::{Given, Value};
use container::runtimes::{Program, RESERVED};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use stdx::{Error, Result};

/// Reads what was said. Texts of refusals are dockerd's.
pub(crate) fn configured(given: &Given) -> Result<BTreeMap<String, Program>> {
    let mut all = BTreeMap::new();
    match given.get("runtimes") {
        Some(Value::List(flags)) => {
            for flag in flags {
                let (name, path) = flag.split_once('=').unwrap_or((flag, ""));
                let program = Program { path: path.trim().into(), args: Vec::new() };
                if all.insert(name.trim().to_lowercase(), program).is_some() {
                    let text = format!("runtime '{}' was already defined", name.trim());
                    return Err(Error::invalid(text));
                }
            }
        }
        Some(Value::Json(Json::Object(object))) => {
            for (name, runtime) in object {
                all.insert(name.clone(), program(name, runtime)?);
            }
        }
        Some(Value::Json(other)) => return Err(wrong_type(other, "map[string]system.Runtime")),
        _ => {}
    }
    match RESERVED.iter().find(|name| all.contains_key(**name)) {
        Some(name) => Err(Error::invalid(format!("runtime name '{name}' is reserved"))),
        None => Ok(all),
    }
}

fn program(name: &str, json: &Json) -> Result<Program> {
    let Json::Object(object) = json else { return Err(wrong_type(json, "system.Runtime")) };
    let text = |key: &str| match object.get(key) {
        None | Some(Json::Null) => Ok(String::new()),
        Some(Json::String(text)) => Ok(text.clone()),
        Some(other) => Err(wrong_type(other, "string")),
    };
    let args = match object.get("runtimeArgs") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong_type(item, "string")))
            .collect::<Result<_>>()?,
        Some(other) => return Err(wrong_type(other, "[]string")),
    };
    let has_options =
        object.get("options").and_then(Json::as_object).is_some_and(|o| !o.is_empty());
    let wrong = |why: &str| Err(Error::invalid(format!("runtime {name}: {why}")));
    match (text("path")?, text("runtimeType")?) {
        (path, kind) if path.is_empty() && kind.is_empty() => {
            wrong("either a runtimeType or a path must be configured")
        }
        (path, kind) if !path.is_empty() && !kind.is_empty() => {
            wrong("cannot configure both path and runtimeType for the same runtime")
        }
        (_, kind) if !kind.is_empty() => Err(Error::not_implemented(format!(
            "runtime {name}: runtimeType {kind} needs containerd, which Gantry does without; give the path of an OCI \
             runtime's program"
        ))),
        _ if has_options => wrong("options cannot be used with a path runtime"),
        (path, _) => Ok(Program { path: path.into(), args }),
    }
}

fn wrong_type(json: &Json, wanted: &str) -> Error {
    let kind = crate::given::kind_of(json);
    Error::invalid(format!(
        "json: cannot unmarshal {kind} into Go struct field Config.runtimes of type {wanted}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> Result<BTreeMap<String, Program>> {
        configured(&Given::from_file(file.as_bytes())?)
    }

    #[test]
    fn runtimes_are_read_and_refused_with_dockerds_words() {
        let file =
            r#"{"runtimes":{"mine":{"path":"/a","runtimeArgs":["--x","y"]},"other":{"path":"b"}}}"#;
        let all = read(file).unwrap();
        let args = vec!["--x".to_owned(), "y".to_owned()];
        assert_eq!(all["mine"], Program { path: "/a".into(), args });
        assert_eq!(all["other"], Program { path: "b".into(), args: Vec::new() });
        for (runtimes, want) in [
            (r#"{"x":{}}"#, "runtime x: either a runtimeType or a path must be configured"),
            (
                r#"{"x":{"path":"/a","runtimeType":"t"}}"#,
                "runtime x: cannot configure both path and runtimeType for the same runtime",
            ),
            (
                r#"{"x":{"path":"/a","options":{"a":1}}}"#,
                "runtime x: options cannot be used with a path runtime",
            ),
            (r#"{"runc":{"path":"/a"}}"#, "runtime name 'runc' is reserved"),
            (r#"{"gantry":{"path":"/a"}}"#, "runtime name 'gantry' is reserved"),
            (
                r#"{"x":"path"}"#,
                "json: cannot unmarshal string into Go struct field Config.runtimes of type system.Runtime",
            ),
            (
                r#"["x"]"#,
                "json: cannot unmarshal array into Go struct field Config.runtimes of type map[string]system.Runtime",
            ),
        ] {
            let error = read(&format!(r#"{{"runtimes":{runtimes}}}"#)).expect_err(runtimes);
            assert_eq!(error.to_string(), want);
        }
        let shim = read(r#"{"runtimes":{"x":{"runtimeType":"io.containerd.runsc.v1"}}}"#);
        assert!(shim.unwrap_err().to_string().contains("needs containerd"));
    }
}
